"""The student's tree, a course's zip, and nbgrader's source, from solutions, keys and texts."""

import itertools
import json
import shutil
from pathlib import Path

from . import course as courses
from . import pack
from .items import known_mistakes

HARNESS = ("call.py", "items.py", "judge.py", "pack.py", "run.py", "twice.py")  # of the grader, what tests need
SEEDS = (101, 102)  # of the cases that students see
LARGE = 5000  # numbers in the arguments of an item that has one case, and no mistakes beside it


def write_tree(folder, course=0):
    """Stubs, notebooks, cases and tests; raises FileExistsError rather than overwrite work."""
    folder = Path(folder)
    folder.mkdir(parents=True)
    (folder / "harness").mkdir()
    (folder / "cases").mkdir()
    for name in HARNESS:
        shutil.copyfile(Path(__file__).with_name(name), folder / "harness" / name)
    (folder / "harness" / "__init__.py").write_text('"""What the tests need; nothing here is to be changed."""\n')
    shutil.copyfile(Path(__file__).with_name("student_tests.py"), folder / "test_exercises.py")
    shutil.copyfile(courses.HERE / "STUDENT.md", folder / "README.md")
    marks = "\n".join(f"    {e}: exercise {e[2:]}" for e in courses.EXERCISES)
    options = "addopts = --tb=short --strict-markers\nfilterwarnings = ignore"
    (folder / "pytest.ini").write_text(f"[pytest]\n{options}\nmarkers =\n{marks}\n")
    for exercise in courses.EXERCISES:
        (folder / f"{exercise}.py").write_text(courses.stub(exercise, course), encoding="utf-8")
        write_notebook(folder / f"{exercise}.ipynb", student_cells(exercise))
        pack.save(folder / "cases" / f"{exercise}.npz", cases(exercise, course))


def cases(exercise, course) -> list:
    """What a student's tests compare with, as data: arguments, right answers, known mistakes."""
    made = []
    for item, seed in itertools.product(courses.items(exercise, course).values(), SEEDS):
        args = courses.arguments(item, seed)
        large = numbers(args) > LARGE
        if not (large and seed in SEEDS[1:]):
            case = {"name": item.name, "call": item.call, "points": item.points, "arguments": args}
            made.append(case | compared_with(item, args, large))
    return made


def compared_with(item, args, large) -> dict:
    if item.check:
        return {"check": "grader"}
    mistakes = [] if large else list(known_mistakes(item, args))
    return {"right": item.expected(*args), "mistakes": mistakes, "tolerance": item.tolerance}


def numbers(args) -> int:
    return sum(getattr(a, "size", 0) for a in args)


# ---------------------------------------------------------------------------------------- notebooks


def text(exercise) -> str:
    """The text of an exercise; a notebook lies one folder nearer to what it links to."""
    return (courses.HERE / "texts" / f"{exercise}.md").read_text(encoding="utf-8").replace("](../../", "](../")


def student_cells(exercise) -> list:
    """The text, and a cell that runs the tests on what the student has written in exNN.py."""
    how = f"Write your code in `{exercise}.py`, save it, and run the next cell as often as you like."
    return [markdown(text(exercise)), markdown(how), code(f"!python -m pytest -q -m {exercise}")]


def nbgrader_cells(exercise, course=0) -> list:
    """The text; the solution, to be hidden; per item a cell of marks, which ends with no value."""
    solution = nbgrader(code(courses.solution(exercise, course)), exercise, solution=True)
    cells = [markdown(text(exercise)), solution]
    for name, item in courses.items(exercise, course).items():
        if item.check is None:
            lines = f'from harness import run\n\nrun.item("{exercise}", {item.name!r}, globals())'
            marked = nbgrader(code(lines), f"{exercise}-{name}", grade=True, points=item.points)
            cells += [markdown(f"**{item.name}**, {item.points} points"), marked]
    return cells


def nbgrader(cell, grade_id, grade=False, solution=False, points=None) -> dict:
    """The cell with nbgrader's metadata, schema 3."""
    told = {"schema_version": 3, "grade_id": grade_id, "grade": grade, "solution": solution, "locked": not solution,
            "task": False}  # fmt: skip
    cell["metadata"]["nbgrader"] = told | ({"points": points} if grade else {})
    return cell


def markdown(text) -> dict:
    return {"cell_type": "markdown", "metadata": {}, "source": text}


def code(text) -> dict:
    return {"cell_type": "code", "metadata": {}, "source": text, "outputs": [], "execution_count": None}


def write_notebook(path, cells):
    """nbformat 4.5: every cell has an id."""
    cells = [cell | {"id": f"cell-{i}"} for i, cell in enumerate(cells)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    content = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    Path(path).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write_nbgrader(folder, course=0, exercises=courses.EXERCISES):
    """source/exercises/ of an nbgrader course: a notebook per exercise, and the cases it reads."""
    source = Path(folder) / "source" / "exercises"
    (source / "harness").mkdir(parents=True)
    (source / "cases").mkdir()
    for name in HARNESS:
        shutil.copyfile(Path(__file__).with_name(name), source / "harness" / name)
    (source / "harness" / "__init__.py").write_text("")
    for exercise in exercises:
        write_notebook(source / f"{exercise}.ipynb", nbgrader_cells(exercise, course))
        pack.save(source / "cases" / f"{exercise}.npz", cases(exercise, course))
