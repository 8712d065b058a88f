"""How two results are compared: to rounding, or bit for bit."""

import numpy as np

from dgsa_np.gradcheck import same_bits


def error(got, want):
    """max|got - want| / max|want|; 0 where both vanish."""
    off, size = abs(got - want).max(), abs(want).max()
    return off / size if size else (np.inf if off else 0.0)


def same(got, want):
    return all(same_bits(a, b) for a, b in zip(got, want, strict=True))


def rel(a, b):
    return abs(np.asarray(a, "float64") - b).max() / abs(b).max()
