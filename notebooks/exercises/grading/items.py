"""What is asked of a submission: points, arguments from a seed, the right answer and mistakes."""

from collections.abc import Callable
from functools import wraps
from typing import NamedTuple

import numpy as np

TOLERANCE = 1e-9  # of float64 answers, relative to the largest number of the right one
SINGLE = 1e-4  # of float32 answers


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
               are right; they may differ from call to call
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


class Source(NamedTuple):
    """Code that a submission gets as a function: it is compiled in the student's process."""

    text: str
    name: str


def known_mistakes(item, args):
    """Yields (hint, what that mistake gives), but for mistakes that the arguments do not allow."""
    for functions, hint in (item.mistakes or {}).items():
        for function in functions if isinstance(functions, tuple) else (functions,):
            try:
                with np.errstate(all="ignore"):
                    gives = function(*args)
            except (ValueError, IndexError, TypeError):  # shapes that do not fit this mistake
                continue
            yield hint, gives


# ---------------------------------------------------------------------------- items about the dtype


def the_dtype_stays(points, call, make, expected, name="the dtype stays"):
    """An item whose arguments are float32: so must be what comes out, and right."""
    return Item(name, points, call, float32_of(make), in_float64(expected), tolerance=SINGLE)


def float32_of(make):
    """The arguments in single precision."""

    @wraps(make)
    def made(*args):
        return cast(make(*args), np.float64, np.float32)

    return made


def in_float64(expected):
    """The right answer in single precision, calculated in double precision."""

    @wraps(expected)
    def right(*args):
        return cast(expected(*cast(args, np.float32, np.float64)), np.float64, np.float32)

    return right


def cast(tree, old, new):
    """Arrays of one dtype become arrays of another, in tuples, lists and dicts too."""
    if type(tree) in (tuple, list):
        return type(tree)(cast(branch, old, new) for branch in tree)
    if isinstance(tree, dict):
        return {name: cast(branch, old, new) for name, branch in tree.items()}
    return np.asarray(tree, new) if isinstance(tree, (np.ndarray, np.generic)) and tree.dtype == old else tree


def wrong_dtype(answer, right) -> str | None:
    """What is said of another precision where float32 was asked for, or of floats for integers."""
    for i, (a, b) in enumerate(zip(answer, right, strict=True)):
        if b.dtype == np.float32 and a.dtype != np.float32:
            why = "a constant or a NumPy number in your formula changes it"
            return f"result {i} has dtype {a.dtype}, the arguments float32: {why}"
        if b.dtype.kind in "iu" and a.dtype.kind == "f":
            return f"result {i} has dtype {a.dtype}, expected integers"
    return None


def same_dtype(answer, args) -> str | None:
    """A check: what comes out has the dtype of the first array that went in."""
    wanted = next(a.dtype for a in args if isinstance(a, np.ndarray) and a.dtype.kind == "f")
    answer = answer if isinstance(answer, tuple) else (answer,)
    return wrong_dtype(answer, tuple(np.zeros(0, wanted) for _ in answer))
