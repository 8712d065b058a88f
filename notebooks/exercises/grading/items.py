"""What is asked of a submission: points, arguments from a seed, the right answer and mistakes."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

TOLERANCE = 1e-9  # of float64 answers, relative to the largest number of the right one


class Item(NamedTuple):
    """One thing that a submission must do.

    call     : the student's function; or "forward backward", two names: the first is called with
               the arguments but the last, returns out and cache, and the second is called with the
               last argument, the upstream, and cache
    make     : rng -> the arguments: arrays, numbers, strings, None, or tuples, lists and dicts of
               them
    expected : the same arguments -> the right answer, an array or number or a tuple of them
    mistakes : {the same arguments -> what that mistake gives, or a tuple of such functions: hint to
               the student}; the hint of the first that fits is told
    check    : answer, arguments -> None or a sentence, in the place of expected where many answers
               are right
    """

    name: str
    points: int
    call: str
    make: Callable
    expected: Callable | None = None
    mistakes: dict | None = None
    check: Callable | None = None
    tolerance: float = TOLERANCE
    memory: int = 512  # MiB that the submission may take beyond Python and NumPy


def known_mistakes(item, args) -> list:
    """[(hint, what that mistake gives)], but for mistakes that these arguments do not allow."""
    made = []
    with np.errstate(all="ignore"):
        for functions, hint in (item.mistakes or {}).items():
            for function in functions if isinstance(functions, tuple) else (functions,):
                try:
                    made.append((hint, function(*args)))
                except (ValueError, IndexError, TypeError):  # shapes that do not fit this mistake
                    continue
    return made


class Source(NamedTuple):
    """Code that a submission gets as a function: it is compiled in the student's process."""

    text: str
    name: str


def float32(*args):
    """The arguments in single precision, for items about dtype."""
    return tuple(a.astype(np.float32) if isinstance(a, np.ndarray) and a.dtype == np.float64 else a for a in args)


def same_dtype(answer, args) -> str | None:
    """A check: what comes out has the dtype of the first array that went in."""
    wanted = next(a.dtype for a in args if isinstance(a, np.ndarray) and a.dtype.kind == "f")
    for i, a in enumerate(answer if isinstance(answer, tuple) else (answer,)):
        if a.dtype != wanted:
            why = "a constant or a NumPy number in your formula changes it"
            return f"result {i} has dtype {a.dtype}, the arguments {wanted}: {why}"
    return None
