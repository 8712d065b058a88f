"""Small steps on axes: transpose, sum, and give the heads an axis of their own or take it away."""

import numpy as np

from ..shapes import Array, ShapeError, takes


def swap(x) -> Array:
    """Transpose the last two axes."""
    return x.swapaxes(-1, -2)


def row_sum(x) -> Array:
    """The sum over the last axis, which stays as an axis of length 1."""
    return x.sum(axis=-1, keepdims=True)


def row_mean(x) -> Array:
    """The mean over the last axis, which stays as an axis of length 1."""
    return x.mean(axis=-1, keepdims=True)


def sum_to_shape(x, shape) -> Array:
    """The gradient of a broadcast: sum over the axes along which one number served many.

    The sum is taken in float64 or wider: over a million rows float32 would lose two digits.
    """
    lead = x.ndim - len(shape)
    axes = tuple(i for i, n in enumerate(x.shape) if i < lead or shape[i - lead] != n)
    wide = np.promote_types(x.dtype, "float64")
    return x.sum(axis=axes, dtype=wide).astype(x.dtype).reshape(shape) if axes else x


def sum_rows(x) -> Array:
    """The gradient of a bias or gain: sum over all axes but the last."""
    return sum_to_shape(x, x.shape[-1:])


@takes(x="B T H*d", n_heads="whole >= 1")
def split_heads(x, n_heads) -> Array:
    """(B, T, H d) -> (B, H, T, d). Its backward is merge_heads."""
    if x.shape[2] % n_heads:
        raise ShapeError(f"split_heads: x is {x.shape}, expected a last axis that n_heads = {n_heads} divides")
    return x.reshape(*x.shape[:2], n_heads, -1).swapaxes(1, 2)


@takes(x="B H T d")
def merge_heads(x) -> Array:
    """(B, H, T, d) -> (B, T, H d). Its backward is split_heads."""
    return x.swapaxes(1, 2).reshape(len(x), x.shape[2], -1)
