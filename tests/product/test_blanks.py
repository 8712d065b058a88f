"""The blanks of the notebooks: a cell with dots says that it is the reader's turn, and the notebook
runs on; filled in rightly it says "Right.", with a likely mistake "Not yet".

The answers are in blanks/NN.py: ANSWERS, a list of source texts in the order of the cells (a tuple
where a cell has several dots), and MISTAKES, as long, where there are such.
"""

import ast
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER, ANSWERS = Path(__file__).parents[2] / "notebooks", Path(__file__).parent / "blanks"
SOURCES = [FOLDER / "start_here.py", *sorted(FOLDER.glob("[0-9][0-9]_*.py"))]
DOTS = "Yours: replace the dots and run this cell again.\n"

# Runs the cells from the standard input, [[source, filled in, ...], ...], one after the other, and
# prints what each blank said: with its dots, then filled in, with a copy of the variables.
RUN = """
import contextlib, io, json, sys
import matplotlib.pyplot as plt

plt.show = lambda: plt.close("all")
variables, told = {"__name__": "__main__"}, []
for i, (source, *filled) in enumerate(json.load(sys.stdin)):
    said = []
    for text, names in ((source, variables), *((text, dict(variables)) for text in filled)):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(text, f"<code cell {i}>", "exec"), names)
        said.append(printed.getvalue())
    told += [said] * bool(filled)
print(json.dumps(told))
"""


def code_cells(path):
    """[(is a blank, source)] of a source in py:percent."""
    _, *parts = re.split(r"^# %%(.*)\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    cells = zip(parts[::2], parts[1::2], strict=True)
    return [('"blank"' in header, source) for header, source in cells if "[markdown]" not in header]


def answers(path):
    """The right answers of a notebook, and the mistakes: each a list, a tuple of texts per cell."""
    known = runpy.run_path(str(ANSWERS / f"{path.stem[:2]}.py"))
    lists = [known["ANSWERS"]] + [known["MISTAKES"]] * ("MISTAKES" in known)
    return [[(a,) if isinstance(a, str) else a for a in told] for told in lists]


def dots(source):
    """Where the dots to be replaced begin (not those of an index, A[..., 0]); source is ASCII."""
    tree, lines = ast.parse(source), source.splitlines(keepends=True)
    index = {n for whole in ast.walk(tree) if isinstance(whole, ast.Subscript) for n in ast.walk(whole.slice)}
    found = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and n.value is ... and n not in index]
    return sorted(sum(map(len, lines[: n.lineno - 1])) + n.col_offset for n in found)


def fill(source, texts):
    for start, text in reversed(list(zip(dots(source), texts, strict=True))):
        source = source[:start] + text + source[start + 3 :]
    return source


def names(source):
    """(all names in a cell, those it assigns or defines)"""
    nodes = list(ast.walk(ast.parse(source)))
    stored = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    defined = {n.name for n in nodes if isinstance(n, ast.FunctionDef)}
    return {n.id for n in nodes if isinstance(n, ast.Name)} | defined, stored | defined


def with_blanks():
    return [path for path in SOURCES if any(blank for blank, _ in code_cells(path))]


each = pytest.mark.parametrize("path", with_blanks(), ids=lambda path: path.stem)
LONG = "07_a_transformer_by_hand", "08_noise", "09_from_formulas_to_fast_code"  # half a minute and more


@each
def test_every_blank_has_an_answer_for_its_dots(path):
    blanks = [source for blank, source in code_cells(path) if blank]
    for told in answers(path):
        assert [len(texts) for texts in told] == [len(dots(source)) for source in blanks]
    assert all(dots(source) and source.isascii() for source in blanks)


@each
def test_what_a_blank_names_is_its_own(path):
    """No other cell reads it, and it hides nothing."""
    cells = code_cells(path)
    for i, (blank, source) in enumerate(cells):
        if blank:
            elsewhere = set().union(*(names(other)[0] for j, (_, other) in enumerate(cells) if j != i))
            assert names(source)[1] & elsewhere == set(), source


def in_its_tier(path):
    return pytest.param(path, marks=pytest.mark.torture if path.stem in LONG else pytest.mark.notebooks, id=path.stem)


@pytest.mark.parametrize("path", [in_its_tier(path) for path in with_blanks()])
def test_dots_run_on_and_the_answers_are_right(path):
    told, cells = answers(path), []
    turn = iter(zip(*told, strict=True))
    for blank, source in code_cells(path):
        cells.append([source, *(fill(source, texts) for texts in next(turn))] if blank else [source])
    child = subprocess.run(
        [sys.executable, "-c", RUN],
        input=json.dumps(cells),
        cwd=FOLDER,
        env=os.environ | {"MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert child.returncode == 0, child.stderr
    filled = [cell for cell in cells if len(cell) > 1]
    for (_, *sources), (with_dots, right, *wrong) in zip(filled, json.loads(child.stdout), strict=True):
        assert with_dots == DOTS and right == "Right.\n", sources[0] + right
        assert all(said.startswith("Not yet: ") for said in wrong), sources[1] + wrong[0]


def test_dots_are_replaced_where_they_are_to_be():
    source = "# Yours: ...\na, b = ..., ...\nblank((a, b), A[..., 0])\n"
    assert fill(source, ("1", "2 + 2")) == "# Yours: ...\na, b = 1, 2 + 2\nblank((a, b), A[..., 0])\n"
