"""Run an item on a student's functions, with the cases that came with it."""

import contextlib
import io
import warnings
from pathlib import Path

import numpy as np

from . import call, pack
from .items import same_dtype
from .judge import judge

CASES = Path(__file__).resolve().parents[1] / "cases"


def item(exercise, name, space):
    """Silent where all cases of an item are right; raises AssertionError with what is wrong."""
    found = [case for case in pack.load(CASES / f"{exercise}.npz") if case["name"] == name]
    assert found, f"{exercise} has no item {name!r}"
    for case in found:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            told = verdict(case, space)
        assert told is None, f"{name}\n{told}"


def verdict(case, space) -> str | None:
    """None, or what is wrong. What a student's function raises goes on to the student."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return judged(case, call.answer_of(space, case["call"], case["arguments"]))


def judged(case, answer) -> str | None:
    """None, or what is wrong with an answer."""
    if answer is None:
        return "returned None: is a return missing?"
    answer = tuple(map(np.asarray, answer)) if isinstance(answer, (tuple, list)) else np.asarray(answer)
    if case.get("check") == "same_dtype":
        return same_dtype(answer, case["arguments"])
    return judge(answer, case["right"], case["mistakes"], case["tolerance"])
