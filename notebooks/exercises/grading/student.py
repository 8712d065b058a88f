"""The student's tree, a course's zip, and nbgrader's source, from solutions, keys and texts."""

import itertools
import json
import re
import shutil
from pathlib import Path

from . import course as courses
from . import pack
from .items import known_mistakes

HARNESS = ("call.py", "items.py", "judge.py", "pack.py", "run.py", "twice.py")  # of the grader, what tests need
HARNESS_SAYS = '"""What the tests need; nothing here is to be changed."""'
OPTIONS = """\
[pytest]
addopts = --tb=no -rN --no-header --strict-markers
filterwarnings = ignore
"""
LINK = re.compile(r"\[([^\]]*)\]\(([^)#]*)[^)]*\)")  # title and target
SEEDS = (101, 102)  # of the cases that students see
LARGE = 5000  # numbers in the arguments of an item that has one case, and no mistakes beside it


def write_tree(folder, course=0):
    """Stubs, notebooks, cases and tests; raises FileExistsError rather than overwrite work."""
    folder = Path(folder)
    folder.mkdir(parents=True)
    write_shared(folder)
    for name, source in {"conftest.py": "student_conftest.py", "test_exercises.py": "student_tests.py"}.items():
        shutil.copyfile(Path(__file__).with_name(source), folder / name)
    shutil.copyfile(courses.HERE / "STUDENT.md", folder / "README.md")
    marks = "\n".join(f"    {e}: exercise {e[2:]}" for e in courses.EXERCISES)
    (folder / "pytest.ini").write_text(f"{OPTIONS}markers =\n{marks}\n", encoding="utf-8")
    for exercise in courses.EXERCISES:
        (folder / f"{exercise}.py").write_text(courses.stub(exercise, course), encoding="utf-8")
        write_notebook(folder / f"{exercise}.ipynb", student_cells(exercise, notebooks="read/"))
        pack.save(folder / "cases" / f"{exercise}.npz", cases(exercise, course))


def write_shared(folder):
    """What both kinds of trees have: harness/, cases/, still empty, and the notebooks in read/."""
    for name in ("harness", "cases", "read"):
        (folder / name).mkdir()
    for name in HARNESS:
        shutil.copyfile(Path(__file__).with_name(name), folder / "harness" / name)
    (folder / "harness" / "__init__.py").write_text(f"{HARNESS_SAYS}\n", encoding="utf-8")
    links = [link for exercise in courses.EXERCISES for link in LINK.findall(text(exercise, notebooks=""))]
    cited = {target for _, target in links if "://" not in target}
    for name in cited:
        notebook = json.loads((courses.HERE.parent / name).read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            if cell["cell_type"] == "markdown":
                cell["source"] = linked("".join(cell["source"]), cited)
        write_json(folder / "read" / name, notebook)


def linked(text, there) -> str:
    """The text with its links to the web and to files that are there; others become titles."""
    return LINK.sub(lambda link: link[0] if link[2] in there or "://" in link[2] else link[1], text)


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


def text(exercise, notebooks="../") -> str:
    """The text of an exercise, with the folder of the notebooks that it links to."""
    written = (courses.HERE / "texts" / f"{exercise}.md").read_text(encoding="utf-8")
    return written.replace("](../../", f"]({notebooks}")


def student_cells(exercise, notebooks="../") -> list:
    """The text, and a cell that runs the tests on what the student has written in exNN.py."""
    how = f"Write your code in `{exercise}.py`, save it, and run the next cell as often as you like."
    tests = f'import sys\n\n!"{{sys.executable}}" -m pytest -q -m {exercise}'
    return [markdown(text(exercise, notebooks)), markdown(how), code(tests)]


def nbgrader_cells(exercise, course=0) -> list:
    """The text; the solution, to be hidden; per item a cell of marks, which ends with no value."""
    solution = nbgrader(code(courses.solution(exercise, course)), exercise, solution=True)
    cells = [markdown(text(exercise, notebooks="read/")), solution]
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
    write_json(path, {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5})


def write_json(path, content):
    Path(path).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write_nbgrader(folder, course=0, exercises=courses.EXERCISES):
    """source/exercises/ of an nbgrader course: a notebook per exercise, and the cases it reads."""
    source = Path(folder) / "source" / "exercises"
    source.mkdir(parents=True)
    write_shared(source)
    for exercise in exercises:
        write_notebook(source / f"{exercise}.ipynb", nbgrader_cells(exercise, course))
        pack.save(source / "cases" / f"{exercise}.npz", cases(exercise, course))
