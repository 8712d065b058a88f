"""Solutions become stubs, and a course chooses the constants in them."""

import ast
import hashlib
import importlib.util
import inspect
import re
from functools import partial
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parents[1]
EXERCISES = [path.stem for path in sorted((HERE / "solutions").glob("ex*.py"))]
CONTINUES = {"ex07": "ex06"}  # it has the constants of the other
CHOICE = re.compile(r"^(\w+) = (.*?)(  # course choice: (.*))$", re.MULTILINE)
SOLUTION = re.compile(r"^( *)### BEGIN SOLUTION\n.*?^ *### END SOLUTION\n", re.MULTILINE | re.DOTALL)


def solution(exercise, course=0) -> str:
    """The solution's text, with the constants of a course."""
    text = (HERE / "solutions" / f"{exercise}.py").read_text(encoding="utf-8")
    chosen = constants(exercise, course)
    return CHOICE.sub(lambda match: f"{match[1]} = {chosen[match[1]]!r}{match[3]}", text)


def constants(exercise, course=0) -> dict:
    """{name: value}: course 0 has what stands in the solution, another draws from the choice."""
    text = (HERE / "solutions" / f"{exercise}.py").read_text(encoding="utf-8")
    return {name: drawn(exercise, course, name, value, choice) for name, value, _, choice in CHOICE.findall(text)}


def drawn(exercise, course, name, value, choice):
    """The value of a constant in a course; value and choice as they stand in the solution."""
    if course == 0:
        return ast.literal_eval(value)
    options = ast.literal_eval(f"({choice},)")
    return options[number_of(f"{course} {CONTINUES.get(exercise, exercise)} {name}") % len(options)]


def number_of(text) -> int:
    """A number that tells nothing about those of other texts: SHA-256."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")


def stub(exercise, course=0) -> str:
    """What a student gets: every solution becomes a NotImplementedError that names the exercise."""
    text = solution(exercise, course)

    def removed(match):
        name = re.findall(r"^def (\w+)", text[: match.start()], re.MULTILINE)[-1]
        return f'{match[1]}raise NotImplementedError("{exercise}: {name}")\n'

    text = SOLUTION.sub(removed, text)
    return re.sub(r"  # course choice: .*$", "", text, flags=re.MULTILINE)


def items(exercise, course=0) -> dict:
    """{file name: Item} of an exercise."""
    spec = importlib.util.spec_from_file_location(f"keys_{exercise}", HERE / "keys" / f"{exercise}.py")
    key = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(key)
    return {f"item{i}": item for i, item in enumerate(key.items(constants(exercise, course)))}


def for_course(course, items) -> list:
    """The items of a key, whose functions may ask for the constants of the course."""
    return [
        item._replace(
            make=given(course, item.make),
            expected=given(course, item.expected),
            mistakes={given(course, mistake): hint for mistake, hint in (item.mistakes or {}).items()},
            check=given(course, item.check),
        )
        for item in items
    ]


def given(course, function):
    """The function with the constants of the course, if its first parameter is called `course`."""
    if isinstance(function, tuple):
        return tuple(given(course, f) for f in function)
    if function is None or next(iter(inspect.signature(function).parameters), "") != "course":
        return function
    return partial(function, course)


def arguments(item, seed) -> tuple:
    """The arguments of an item for a seed."""
    return item.make(np.random.default_rng([seed, number_of(item.name) % 2**32]))
