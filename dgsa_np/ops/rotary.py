"""Rotary positions: queries and keys are turned by angles that depend on their positions."""

from typing import NamedTuple

from ..backend import array_module
from ..shapes import Array, ShapeError, is_array, takes, undoes


class RotaryCache(NamedTuple):
    cos: Array
    sin: Array
    shape: tuple


@takes(x="B H T d")
def rotary_forward(x, positions) -> tuple[Array, RotaryCache]:
    """Turn each pair of columns by an angle that grows with the position.    [eq:rotary, published]

        y_2i   = x_2i cos a - x_2i+1 sin a
        y_2i+1 = x_2i sin a + x_2i+1 cos a,   a = position / 10000^(2i/d)

    x         : its width d is even, so that neighbouring columns make pairs
    positions : (T,), or (B, T) where batch entries differ
    returns y : (B, H, T, d), and a RotaryCache

    The product of a query and a key, both turned, depends on the distance of their positions alone.
    """
    angles = _angles(x, positions)
    xp = array_module(x)
    cos, sin = xp.cos(angles).astype(x.real.dtype), xp.sin(angles).astype(x.real.dtype)
    y = _rotate(x, cos, sin)
    return y, RotaryCache(cos, sin, x.shape)


@undoes(RotaryCache, "shape")
def rotary_backward(dy, cache) -> Array:
    """dx (B, H, T, d): dy turned back by the same angles."""
    cos, sin, _ = cache
    # y = _rotate(x, cos, sin)
    return _rotate(dy, cos, -sin)


def _angles(x, positions):
    """The angle of each token and pair of columns, (1 or B, 1, T, d/2)."""
    (B, _, T, d), xp = x.shape, array_module(x)
    if hasattr(positions, "dtype"):
        is_array("rotary_forward", "positions", positions)
    positions = xp.asarray(positions, "float64")
    if d % 2 or positions.shape not in ((T,), (B, T)):
        wanted = f"(B, H, T, d) with an even d, since columns turn in pairs, and (T,) = {(T,)} or (B, T)"
        raise ShapeError(f"rotary_forward: x is {x.shape} and positions {positions.shape}, expected {wanted}")
    return positions.reshape(-1, 1, T, 1) * 10000 ** (-xp.arange(0, d, 2) / d)


def _rotate(x, cos, sin):
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = array_module(x).stack([even * cos - odd * sin, even * sin + odd * cos], axis=-1)
    return turned.reshape(x.shape)
