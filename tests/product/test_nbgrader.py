"""nbgrader's cycle: release, then right, wrong and empty submissions, marked.
Known traps are looked for.
"""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("nbgrader", reason="the extra nbgrader is not installed")

pytestmark = pytest.mark.slow
EXERCISES = Path(__file__).resolve().parents[2] / "notebooks" / "exercises"
sys.path.insert(0, str(EXERCISES))
from grading import course as courses  # noqa: E402
from grading import student  # noqa: E402

sys.path.remove(str(EXERCISES))

CHOSEN = courses.EXERCISES[::4]  # every fourth is enough: the cells are made in one way


def run(folder, *arguments):
    command = [sys.executable, "-m", "nbgrader", *arguments, "--CourseDirectory.course_id=dgsa"]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}  # for alembic
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course with its release, and three students' submissions, autograded."""
    folder = tmp_path_factory.mktemp("nbgrader")
    student.write_nbgrader(folder, exercises=CHOSEN)
    run(folder, "generate_assignment", "exercises", "--create")
    for name, change in {"right": right, "wrong": wrong, "empty": lambda exercise, source: source}.items():
        submitted = folder / "submitted" / name / "exercises"
        shutil.copytree(folder / "release" / "exercises", submitted)
        for exercise in CHOSEN:
            path = submitted / f"{exercise}.ipynb"
            notebook = json.loads(path.read_text(encoding="utf-8"))
            for cell in notebook["cells"]:
                if cell["metadata"].get("nbgrader", {}).get("solution"):
                    cell["source"] = change(exercise, cell["source"])
            path.write_text(json.dumps(notebook), encoding="utf-8")
    run(folder, "autograde", "exercises", "--create")
    return folder


def right(exercise, source):
    return "import sys\nprint('on the way', file=sys.stderr)\n" + courses.solution(exercise)  # noise is no mistake


def wrong(exercise, source):
    """Right but for its functions, which return nothing."""
    return courses.solution(exercise).replace("return ", "return None, ")


def marks(folder, name):
    """{exercise: (score, of)}"""
    rows = """SELECT notebook.name, SUM(COALESCE(grade.manual_score, grade.auto_score, 0)), SUM(grade_cells.max_score)
        FROM grade JOIN submitted_notebook ON grade.notebook_id = submitted_notebook.id
        JOIN notebook ON submitted_notebook.notebook_id = notebook.id
        JOIN submitted_assignment ON submitted_notebook.assignment_id = submitted_assignment.id
        JOIN grade_cells ON grade.cell_id = grade_cells.id
        WHERE submitted_assignment.student_id = ? GROUP BY notebook.name"""
    with sqlite3.connect(folder / "gradebook.db") as book:
        return {exercise: (score, most) for exercise, score, most in book.execute(rows, [name])}


def test_the_release_holds_no_solution(course):
    for exercise in CHOSEN:
        text = (course / "release" / "exercises" / f"{exercise}.ipynb").read_text(encoding="utf-8")
        assert "BEGIN SOLUTION" not in text and "NotImplementedError()" in text
    released = {p.suffix for p in (course / "release").rglob("*") if p.is_file() and p.parent.name == "exercises"}
    assert released == {".ipynb"}  # no paired source leaked


def test_right_submissions_have_all_points(course):
    got = marks(course, "right")
    assert got.keys() == set(CHOSEN) and all(score == most > 0 for score, most in got.values()), got


def test_wrong_and_empty_submissions_have_none_or_few(course):
    assert all(score == 0 for score, _ in marks(course, "empty").values()), marks(course, "empty")
    assert all(score < most for score, most in marks(course, "wrong").values()), marks(course, "wrong")
