"""What a teacher uploads: zips for Gradescope, and the template of a GitHub Classroom."""

import configparser
import json
import shutil
import sys
import tempfile
from pathlib import Path

from . import course as courses
from . import student

REPOSITORY = courses.HERE.parents[1]
LEFT_OUT = shutil.ignore_patterns("__pycache__", "lab", "data", "fast")  # of the library, what no key needs

# -------------------------------------------------------------------------------------- Gradescope


def gradescope(args) -> int:
    """A zip for every exercise, or that of --exercise: an assignment there has one autograder."""
    folder = args.folder or Path("." if args.exercise else "gradescope")
    exercises = [args.exercise] if args.exercise else courses.EXERCISES
    paths = {exercise: folder / f"gradescope-{exercise}-course{args.course}.zip" for exercise in exercises}
    for path in paths.values():
        if path.exists():
            raise ValueError(f"{path} exists already: nothing is overwritten")
    for exercise, path in paths.items():
        write_autograder(path, {"exercise": exercise, "course": args.course, "seed": args.seed})
        print(f"written to {path}")
    return 0


def write_autograder(path, settings):
    """One zip: Gradescope's two scripts, and what grades one exercise of one course."""
    with tempfile.TemporaryDirectory() as folder:
        write_source(Path(folder), settings)
        shutil.make_archive(str(path.with_suffix("")), "zip", folder)


def write_source(folder, settings):
    """Library, grader, key and solution, at the places that they have in the repository."""
    here, key = folder / courses.HERE.relative_to(REPOSITORY), f"{settings['exercise']}.py"
    shutil.copytree(REPOSITORY / "dgsa_np", folder / "dgsa_np", ignore=LEFT_OUT)
    shutil.copytree(courses.HERE / "grading", here / "grading", ignore=LEFT_OUT)
    for part in ("keys", "solutions"):
        (here / part).mkdir()
        shutil.copyfile(courses.HERE / part / key, here / part / key)
    (here / "autograder.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "requirements.txt").write_text(f"{numpy_that_is_needed()}\n", encoding="utf-8")
    for script in ("setup.sh", "run_autograder"):
        shutil.copyfile(courses.HERE / "gradescope" / script, folder / script)
        (folder / script).chmod(0o755)


def numpy_that_is_needed() -> str:
    """The line of setup.cfg, with the oldest version that will do."""
    config = configparser.ConfigParser(interpolation=None)
    config.read(REPOSITORY / "setup.cfg", encoding="utf-8")
    needed = config["options"]["install_requires"].split("\n")
    return next(line for line in needed if line.startswith("numpy"))


# -------------------------------------------------------------------------------- GitHub Classroom

WORKFLOW = """\
# GitHub Classroom runs this on every push: all points of an exercise, or none.
# It is feedback. Who owns a repository can change its tests, so marks are made elsewhere.
name: Autograding Tests
"on": [push, workflow_dispatch, repository_dispatch]
permissions:
  checks: write
  actions: read
  contents: read
jobs:
  run-autograding-tests:
    runs-on: ubuntu-24.04
    if: github.actor != 'github-classroom[bot]'
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.12"
"""
STEP = """\
      - name: {exercise}
        id: {exercise}
        uses: education/autograding-command-grader@v1
        with:
          test-name: {exercise}
          setup-command: python -m pip install --quiet numpy==2.2.6 pytest==8.4.2
          command: python -m pytest -m {exercise}
          timeout: 5
          max-score: {points}
"""
REPORT = """\
      - name: Autograding Reporter
        uses: education/autograding-grading-reporter@v1
        env:
{results}
        with:
          runners: {exercises}
"""


def classroom(args) -> int:
    """The student's tree, and what GitHub Classroom runs in it."""
    folder = args.folder or Path("classroom")
    if folder.exists():
        raise ValueError(f"{folder} exists already, expected a new folder: nothing is overwritten")
    student.write_tree(folder, args.course)
    path = folder / ".github" / "workflows" / "classroom.yml"
    path.parent.mkdir(parents=True)
    path.write_text(workflow(args.course), encoding="utf-8")
    print(f"written to {folder}/")
    return 0


def workflow(course=0) -> str:
    """A step for each exercise, with its points, and the step that adds them up."""
    points = {exercise: points_of(exercise, course) for exercise in courses.EXERCISES}
    steps = [STEP.format(exercise=exercise, points=most) for exercise, most in points.items()]
    result = '          {}_RESULTS: "${{{{ steps.{}.outputs.result }}}}"'
    results = "\n".join(result.format(exercise.upper(), exercise) for exercise in points)
    return WORKFLOW + "".join(steps) + REPORT.format(results=results, exercises=",".join(points))


def points_of(exercise, course=0) -> int:
    return sum(item.points for item in courses.items(exercise, course).values())


# ---------------------------------------------------------------------------------------- commands

COMMANDS = {"gradescope": gradescope, "classroom": classroom}


def run(args) -> int:
    """The status of a command: 2, and the reason, if it could not be done."""
    try:
        return COMMANDS[args.what](args)
    except (ValueError, OSError) as error:
        print(f"build: {error}", file=sys.stderr)
        return 2
