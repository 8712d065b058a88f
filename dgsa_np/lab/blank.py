"""Blanks in notebooks: replace the dots, run the cell again, read the verdict."""

import numpy as np


def blank(answer, right, hint="", rtol=1e-6):
    """Print whether what was filled in is right, and if not, where it is not.

    answer : `...` where nothing is filled in yet; else a number, array, string, or a tuple of them
    right  : what it should be
    hint   : where to look, for an answer that is not right
    """
    if answer is ... or (isinstance(answer, tuple) and any(a is ... for a in answer)):
        print("Yours: replace the dots and run this cell again.")
    elif wrong := _wrong(answer, right, rtol):
        print(f"Not yet: {wrong}.{f' {hint}' if hint else ''}")
    else:
        print("Right.")


def _wrong(answer, right, rtol):
    """None, or what is wrong with an answer."""
    if isinstance(right, tuple):
        if not isinstance(answer, tuple) or len(answer) != len(right):
            return f"expected {len(right)} results"
        told = ((i, _wrong(a, b, rtol)) for i, (a, b) in enumerate(zip(answer, right, strict=True)))
        return next((f"result {i}: {said}" for i, said in told if said), None)
    if isinstance(right, (str, bool)):
        return None if answer == right else "another answer is wanted"
    answer, right = np.asarray(answer), np.asarray(right)
    if answer.shape != right.shape:
        return f"its shape is {answer.shape}, expected {right.shape}"
    if answer.dtype.kind not in "fiub":
        return f"it is {answer.dtype}, expected numbers"
    if np.allclose(answer, right, rtol=rtol, atol=rtol * max(abs(right).max(initial=0), 1e-30)):
        return None
    worst = np.unravel_index(abs(answer - right).argmax(), right.shape)
    where = f"most at {tuple(map(int, worst))}: " if right.shape else ""
    return f"{where}{answer[worst]:.6g}, expected {right[worst]:.6g}"
