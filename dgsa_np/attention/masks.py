"""Attention masks.

A mask is boolean, True = may attend, and has four axes, which broadcast to (B, H, T, S). Join two
masks with &.
"""

import numpy as np

from ..backend import array_module
from ..shapes import Array, is_array, takes
from ..shapes import keep as check_keep


@takes(T="whole >= 1", S="whole >= 1 or None")
def causal_mask(T, S=None, xp=np) -> Array:
    """A mask (1, 1, T, S) that lets a query see the keys up to its own place, and no later ones.

    With S > T, as in decoding, the queries are the last T of the S tokens. The mask is read-only:
    its rows are overlapping windows on one line of T + S - 1 booleans, so that no T S of them are
    stored, and nothing is copied to or from a GPU.
    """
    S = T if S is None else S
    first_row = (xp.arange(1 - T, S) <= S - T)[T - 1 :]
    # each row starts one place to the left of the row before it
    return xp.broadcast_to(xp.lib.stride_tricks.as_strided(first_row, (T, S), (-1, 1)), (1, 1, T, S))


def padding_mask(keep) -> Array:
    """A mask (B, 1, 1, S) that lets no query see a dropped key.

    keep : (B, S) bool, True = a real token
    """
    is_array("padding_mask", "keep", keep)
    check_keep("padding_mask", keep, (*keep.shape[:2], "S")[:2] if keep.ndim else ("B", "S"), "its two axes (B, S)")
    return keep[:, None, None, :]


def seen_only(mask, queries, keys):
    """The same arrays, with 0 for queries that see no key and for keys that no query sees.

    queries : arrays (B, H, T, d)
    keys    : arrays (B, H, S, ...), the values among them
    mask    : as heads take it, or None
    returns the queries and the keys, one after the other

    The weight of what a query does not see is 0, but 0 times nan is nan. With this, whatever is
    masked away for all queries may hold nan or inf. A key that some queries see and others do not,
    as with a causal mask, stays as it is: nan in such a value reaches all outputs of its head, nan
    in such a key all gradients.
    """
    if mask is None:
        return *queries, *keys
    sees, seen = mask.any(axis=3, keepdims=True), mask.any(axis=2)[..., None]
    return *(select(sees, q) for q in queries), *(select(seen, k) for k in keys)


def select(kept, a):
    """a where kept is True, 0 elsewhere, even where a is nan: nan times 0 would still be nan."""
    return a if isinstance(kept, np.ndarray) and kept.all() else array_module(kept).where(kept, a, 0)
