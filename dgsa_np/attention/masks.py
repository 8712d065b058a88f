"""Attention masks: boolean, True = may attend, four axes, broadcastable to (B, H, T, S). Join them with &."""

import numpy as np

from ..checks import ShapeError


def causal_mask(T, S=None, xp=np):
    """(1, 1, T, S): a query sees the keys up to its own place. With S > T the queries are the last T of S."""
    S = T if S is None else S
    return xp.tri(T, S, S - T, dtype=bool)[None, None]


def padding_mask(keep):
    """(B, 1, 1, S): no query sees a dropped key.      keep : (B, S) bool, True = a real token"""
    if keep.ndim != 2 or keep.dtype.name != "bool":
        raise ShapeError(f"padding_mask: keep is {keep.dtype} {keep.shape}, expected bool (B, S), True = a real token")
    return keep[:, None, None, :]
