"""LayerNorm of the last axis."""

from typing import Annotated, NamedTuple

from ..backend import array_module
from ..shapes import Array, takes, undoes
from .axes import row_mean, sum_rows


class LayernormCache(NamedTuple):
    n: Annotated[Array, "... n"]
    r: Array
    w: Annotated[Array, "n"]


@takes(x="... n", w="n", b="n", eps="number >= 0")
def layernorm_forward(x, w, b, eps=1e-5) -> tuple[Array, LayernormCache]:
    """Centre and scale the last axis, then apply gain and bias.            [eq:layernorm, standard]

        y = w (x - mean(x)) r + b,   r = (var(x) + eps)^(-1/2)

    eps : added to the variance, in its units
    returns y : (..., n), and a LayernormCache

    The mean is subtracted twice: far from 0 the first mean is rounded, and the second one removes
    what the rounding left. A row of equal numbers gives b.
    """
    centred = x - row_mean(x)
    centred = centred - row_mean(centred)
    r = 1 / array_module(x).sqrt(row_mean(centred * centred) + eps)
    n = centred * r
    y = n * w + b
    return y, LayernormCache(n, r, w)


@undoes(LayernormCache, "... n")
def layernorm_backward(dy, cache) -> tuple[Array, Array, Array]:
    """dx (..., n), dw (n,), db (n,)."""
    n, r, w = cache
    # y = n * w + b
    dn, dw, db = dy * w, sum_rows(dy * n), sum_rows(dy)
    # n = centred * r
    # r = 1 / array_module(x).sqrt(row_mean(centred * centred) + eps)
    dcentred = r * (dn - n * row_mean(dn * n))
    # centred = centred - row_mean(centred)
    dcentred = dcentred - row_mean(dcentred)
    # centred = x - row_mean(x)
    dx = dcentred - row_mean(dcentred)
    return dx, dw, db
