"""Is an answer right? If not: the mistake it is known for, else where and how it differs."""

import re
from itertools import groupby

import numpy as np

from .items import TOLERANCE, wrong_dtype

try:
    from dgsa_np.gradcheck import diagnose
except ImportError:  # where a student has no library, less is said
    diagnose = None


def judge(answer, right, mistakes=(), tolerance=TOLERANCE) -> str | None:
    """None, or what is wrong.

    answer, right : an array or number, or a tuple of them; float32 is asked for where right is
    mistakes      : (sentence, what that mistake gives), the first that fits the answer is told
    """
    answer, right = as_tuple(answer), as_tuple(right)
    if any(a.dtype.kind not in "fiub" for a in answer):
        return f"returned {' and '.join(sorted({str(a.dtype) for a in answer}))}, expected arrays of real numbers"
    if same(answer, right, tolerance):
        return wrong_dtype(answer, right)
    known = known_for(answer, right, mistakes, tolerance)
    told = of_other_form(answer, right) or where_it_differs(answer, right, tolerance, known)
    return f"{known}\n{told}" if known else told


def known_for(answer, right, mistakes, tolerance) -> str | None:
    """The sentence of the first mistake that gives this answer."""
    for said, gives in mistakes:
        if same(answer, as_tuple(gives), tolerance):
            return said
    return in_another_order(answer, right, tolerance)


def in_another_order(answer, right, tolerance) -> str | None:
    """What is said of right results, each at the place of another."""
    places = [next((j for j, b in enumerate(right) if same((a,), (b,), tolerance)), None) for a in answer]
    if len(right) < 2 or set(places) != set(range(len(right))) or len(places) != len(right):
        return None
    moved = ", ".join(f"result {i} is what result {j} should be" for i, j in enumerate(places) if i != j)
    return f"the results are right, but in another order: {moved}"


def of_other_form(answer, right) -> str | None:
    if len(answer) != len(right):
        return f"returned {len(answer)} results, expected {len(right)}: {shapes(right)}"
    if shapes(answer) != shapes(right):
        return f"shape: returned {shapes(answer)}, expected {shapes(right)}"
    return wrong_dtype(answer, right)


def where_it_differs(answer, right, tolerance, known) -> str:
    """The worst element of the first wrong result; if no mistake is known, what gradcheck says."""
    i = next(i for i, (a, b) in enumerate(zip(answer, right, strict=True)) if not close(a, b, tolerance))
    a, b = answer[i], right[i]
    error = np.where(np.isfinite(a), abs(a.astype(float) - b), np.inf)
    worst = tuple(int(k) for k in np.unravel_index(error.argmax(), error.shape))
    which = f"result {i}" if len(right) > 1 else "the result"
    said = f"{which} {a.shape} differs, most at index {worst}: {a[worst]:.6g}, expected {b[worst]:.6g}"
    if known or diagnose is None or a.dtype.kind != "f" or b.dtype.kind != "f" or not b.any() or b.size == 1:
        return said
    told = diagnose(b.astype(float), a.astype(float), sizes=sizes_of(b))
    if told.kind == "angle":  # it says no more than where
        return said
    return f"{said}\n{fact(told.message)}"


def fact(message) -> str:
    """What gradcheck saw, without its questions: they are about gradients, and few results are."""
    return re.split(r"[:;] (?=[^:;]*\?)|; sizes=", message.replace("gradient", "result"))[0]


def case(args) -> str:
    """The arguments in brief."""

    def brief(a):
        if isinstance(a, np.ndarray):
            return f"{a.dtype} {a.shape}"
        return type(a).__name__ if isinstance(a, (tuple, list, dict)) else repr(a)

    parts = [(text, len(list(same))) for text, same in groupby(map(brief, args))]
    return ", ".join(text if n == 1 else f"{n} times {text}" for text, n in parts)


def sizes_of(b):
    """Factors that are often forgotten; 2 may be so many things."""
    return {f"the length {n} of axis {axis}": n for axis, n in enumerate(b.shape) if n > 2}


def as_tuple(answer) -> tuple:
    return tuple(map(np.asarray, answer)) if isinstance(answer, (tuple, list)) else (np.asarray(answer),)


def shapes(arrays) -> str:
    return ", ".join(str(a.shape) for a in arrays)


def same(answer, other, tolerance) -> bool:
    """All arrays are close, and have nan and infinity in the same places."""
    pairs = list(zip(answer, other, strict=False))
    return len(answer) == len(other) and all(a.shape == b.shape and close(a, b, tolerance) for a, b in pairs)


def close(a, b, tolerance) -> bool:
    if b.dtype.kind in "iub":
        return bool((a == b).all())
    known = np.isfinite(b)
    if not np.array_equal(np.where(known, 0, a), np.where(known, 0, b), equal_nan=True):
        return False
    scale = abs(b[known]).max(initial=0) or 1.0
    return bool((abs(a[known] - b[known]) <= tolerance * scale).all())
