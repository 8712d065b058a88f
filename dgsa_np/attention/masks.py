"""Attention masks: boolean, True = may attend, four axes, broadcastable to (B, H, T, S). Join them with &."""

import numpy as np

from .. import check


def causal_mask(T, S=None, xp=np):
    """(1, 1, T, S): a query sees the keys up to its own place. With S > T the queries are the last T of S.

    Read-only: each row is a window on one line of T + S - 1 booleans, so that no (T, S) is made.
    """
    S = T if S is None else S
    check.whole("causal_mask", T=T, S=S)
    return xp.lib.stride_tricks.sliding_window_view(xp.arange(1 - T, S) <= S - T, S)[::-1][None, None]


def padding_mask(keep):
    """(B, 1, 1, S): no query sees a dropped key.      keep : (B, S) bool, True = a real token"""
    check.is_array("padding_mask", "keep", keep)
    check.keep("padding_mask", keep, (*keep.shape[:2], "S")[:2] if keep.ndim else ("B", "S"), "its two axes (B, S)")
    return keep[:, None, None, :]
