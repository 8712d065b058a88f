"""How two results are compared: to rounding, or bit for bit."""

import numpy as np

from dgsa_np.gradcheck import same_bits
from dgsa_np.params import flatten


def error(got, want):
    """max|got - want| / max|want|; 0 where both vanish."""
    off, size = abs(got - want).max(), abs(want).max()
    return off / size if size else (np.inf if off else 0.0)


def same(got, want):
    """Arrays, one by one, to the last bit."""
    return all(same_bits(a, b) for a, b in zip(got, want, strict=True))


def rel(a, b):
    """max |a - b| over max |b|; b must not be all but zero."""
    scale = abs(b).max()
    assert a.shape == b.shape and scale > 1e-8
    return abs(a - b).max() / scale


def bits(tree):
    """The bytes of every array in a tree, under dotted names."""
    return {name: a.tobytes() for name, a in flatten(tree).items()}
