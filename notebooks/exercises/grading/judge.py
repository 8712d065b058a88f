"""Is an answer right? If not: the mistake it is known for, else where and how it differs."""

import numpy as np

from .items import TOLERANCE

try:
    from dgsa_np.gradcheck import diagnose
except ImportError:  # where a student has no library, less is said
    diagnose = None


def judge(answer, right, mistakes=(), tolerance=TOLERANCE) -> str | None:
    """None, or what is wrong.

    answer, right : an array or number, or a tuple of them
    mistakes      : [(sentence, what that mistake gives)], the first that fits the answer is told
    """
    answer, right = as_tuple(answer), as_tuple(right)
    if any(a.dtype.kind not in "fiub" for a in answer):
        return f"returned {' and '.join(sorted({str(a.dtype) for a in answer}))}, expected arrays of real numbers"
    if len(answer) != len(right):
        return f"returned {len(answer)} results, expected {len(right)}: {shapes(right)}"
    if shapes(answer) != shapes(right):
        return f"shape: returned {shapes(answer)}, expected {shapes(right)}"
    wrong = [i for i, (a, b) in enumerate(zip(answer, right, strict=True)) if not close(a, b, tolerance)]
    if not wrong:
        return None
    known = next((text for text, gives in mistakes if same(answer, as_tuple(gives), tolerance)), None)
    where = where_it_differs(wrong[0], answer[wrong[0]], right[wrong[0]], several=len(right) > 1)
    return f"{known}\n{where}" if known else where


def where_it_differs(i, a, b, several) -> str:
    """The worst element, and what gradcheck makes of it."""
    which = f"result {i}" if several else "the result"
    error = np.where(np.isfinite(a), abs(a.astype(float) - b), np.inf)
    worst = tuple(int(k) for k in np.unravel_index(error.argmax(), error.shape))
    said = f"{which} {a.shape} differs, most at index {worst}: {a[worst]:.6g}, expected {b[worst]:.6g}"
    if diagnose is None or a.dtype.kind != "f" or b.dtype.kind != "f" or not b.any():
        return said
    told = diagnose(b.astype(float), a.astype(float), sizes=sizes_of(b))
    if told.kind == "angle":  # it says no more than where
        return said
    return f"{said}\n{told.message.replace('gradient', 'result')}"


def case(args) -> str:
    """The arguments in brief."""

    def brief(a):
        if isinstance(a, np.ndarray):
            return f"{a.dtype} {a.shape}"
        return type(a).__name__ if isinstance(a, (tuple, list, dict)) else repr(a)

    return ", ".join(map(brief, args))


def sizes_of(b):
    """Factors that are often forgotten."""
    return {f"the length {n} of axis {axis}": n for axis, n in enumerate(b.shape) if n > 1}


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
