"""Gradescope's side of the grader, in the tree that handout.py packs.

`python -m grading.autograder ROOT` grades ROOT/submission and writes ROOT/results/results.json;
without ROOT it makes a trial: has the solution all points on this machine?
"""

import json
import os
import secrets
import sys
import tempfile
import traceback
from pathlib import Path

from . import course as courses
from . import submissions
from .marks import as_text, grade, gradescope, refused, shown, write_json

SETTINGS = courses.HERE / "autograder.json"  # {"exercise": "ex07", "course": 7, "seed": null}


def main(root=None) -> int:
    settings = json.loads(SETTINGS.read_text(encoding="utf-8"))
    return run(Path(root), **settings) if root else trial(**settings)


def run(root, exercise, course, seed) -> int:
    """Marks, or a sentence to the teacher, take the place of what run_autograder has written."""
    try:
        marks = marks_of(root / "submission", exercise, course, seed)
        content, log = gradescope(marks), as_text(marks)
    except Exception as error:
        content, log = not_graded(error), traceback.format_exc()
    new = root / "results" / "results.new"
    write_json(new, content)
    os.replace(new, root / "results" / "results.json")
    print(log)
    return 0


def trial(exercise, course, seed) -> int:
    """The status is 0 if the solution is shut in here, and has all points."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, f"{exercise}.py").write_text(courses.solution(exercise, course), encoding="utf-8")
        marks = marks_of(Path(folder), exercise, course, seed)
    print("a trial with the solution:", as_text(marks))
    return 0 if marks.score == marks.most else 1


def marks_of(folder, exercise, course, seed):
    """Marks of what was handed in; without a seed each submission has a fresh one."""
    seed = secrets.randbits(31) if seed is None else seed
    try:
        path = meant(folder, exercise)
    except ValueError as error:
        return refused(exercise, folder / f"{exercise}.py", seed, course, str(error))
    return grade(exercise, path, seed, course)


def meant(folder, exercise) -> Path:
    """exNN.py or another download of it, else the only program under any name, else the only file.

    raises ValueError with what lies there instead
    """
    named = submissions.handed_in(folder, [exercise]).get(exercise, [])
    if named and named[0].stem == exercise:
        return named[0]
    there = [path for path in sorted(folder.iterdir()) if not path.name.startswith((".", "__"))]
    found = named or [path for path in there if path.suffix.lower() == ".py"] or there
    if len(found) != 1:
        names = ", ".join(path.name for path in found)
        what = f"{names}: which one is meant?" if found else "nothing was handed in,"
        raise ValueError(f"{what} expected {exercise}.py")
    (only,) = found
    is_folder = only.suffix == "" and only.is_dir() and not only.is_symlink()  # a zip was handed in
    return meant(only, exercise) if is_folder else only


def not_graded(error) -> dict:
    """What a student reads if the grader fails; the reason is for the teacher alone."""
    said = shown(f"{type(error).__name__}: {error}")
    why = {"name": "for the teacher", "score": 0, "max_score": 0, "visibility": "hidden", "output": said}
    told = "This could not be graded. It is not your mistake: please tell your teacher."
    return {"score": 0, "output": told, "tests": [why]}


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")  # a console may lack what a student wrote
    sys.exit(main(*sys.argv[1:]))
