"""Predict, then run: a sheet of cells with constants of the student's own, and what they give."""

import ast
import itertools
import re

from .course import HERE
from .names import draw

SHEET = (HERE / "personal" / "predict.md").read_text(encoding="utf-8")
CONSTANTS = list(itertools.permutations(range(2, 10), 3))


def constants(course, student) -> tuple:
    """a, b, c: three different numbers from 2 to 9."""
    return CONSTANTS[draw(course, student, "predict") % len(CONSTANTS)]


def sheet(course, student) -> str:
    """The sheet of a student."""
    a, b, c = constants(course, student)
    text = re.sub(r"^a, b, c = .*$", f"a, b, c = {a}, {b}, {c}", SHEET, flags=re.MULTILINE)
    return re.sub(r"^Student: .*$", lambda _: f"Student: {student}", text, flags=re.MULTILINE)


def answers(text) -> list:
    """What the last line of each cell gives. The cells are those of our sheet."""
    first, *cells = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    names = {}
    exec(first, names)
    values = []
    for cell in cells:
        *lines, last = ast.parse(cell).body
        exec(compile(ast.Module(lines, []), "predict.md", "exec"), names)
        values.append(float(eval(compile(ast.Expression(last.value), "predict.md", "eval"), names)))
    return values
