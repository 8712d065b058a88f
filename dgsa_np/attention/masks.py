"""Attention masks: boolean, True = may attend, four axes, broadcastable to (B, H, T, S). Join them with &."""

import numpy as np

from ..backend import array_module
from ..shapes import Array, is_array, takes
from ..shapes import keep as check_keep


@takes(T="whole >= 1", S="whole >= 1 or None")
def causal_mask(T, S=None, xp=np) -> Array:
    """(1, 1, T, S): a query sees the keys up to its own place. With S > T the queries are the last T of S.

    Read-only: each row is a window on one line of T + S - 1 booleans, so that no (T, S) is made.
    """
    S = T if S is None else S
    return xp.lib.stride_tricks.sliding_window_view(xp.arange(1 - T, S) <= S - T, S)[::-1][None, None]


def padding_mask(keep) -> Array:
    """(B, 1, 1, S): no query sees a dropped key.      keep : (B, S) bool, True = a real token"""
    is_array("padding_mask", "keep", keep)
    check_keep("padding_mask", keep, (*keep.shape[:2], "S")[:2] if keep.ndim else ("B", "S"), "its two axes (B, S)")
    return keep[:, None, None, :]


def seen_only(mask, queries, keys):
    """The same arrays, with 0 in the place of queries that see no key, and of keys and values that no query sees.

    queries : arrays (B, H, T, d)      keys : arrays (B, H, S, ...), values too      mask : as heads take it, or None
    returns queries and keys, one after the other

    The map is 0 there, but 0 times nan is nan. So what is masked away altogether is selected away before any product,
    and may be nan or inf. A key that some queries see and others do not (causal masks) stays as it is: nan in a value
    reaches all outputs of its head, nan in a key all gradients.
    """
    if mask is None:
        return *queries, *keys
    sees, seen = mask.any(axis=3, keepdims=True), mask.any(axis=2)[..., None]
    return *(select(sees, q) for q in queries), *(select(seen, k) for k in keys)


def select(kept, a):
    """a, with 0 in the place of what is not kept: nan there, times 0, would still be nan."""
    xp = array_module(kept)
    return a if xp is np and kept.all() else xp.where(kept, a, 0)
