"""RMSNorm of the last axis, the norm that the models here use."""

from typing import Annotated, NamedTuple

from ..backend import array_module
from ..shapes import Array, takes, undoes
from .axes import row_mean, sum_rows


class RmsnormCache(NamedTuple):
    n: Annotated[Array, "... n"]
    r: Array
    w: Annotated[Array, "n"]


@takes(x="... n", w="n", eps="number >= 0")
def rmsnorm_forward(x, w, eps=1e-5) -> tuple[Array, RmsnormCache]:
    """Divide the last axis by its root mean square, then apply a gain.       [eq:rmsnorm, standard]

        y = w x r,   r = (mean(x^2) + eps)^(-1/2)

    eps : added to the mean square, in its units
    returns y : (..., n), and a RmsnormCache
    """
    r = 1 / array_module(x).sqrt(row_mean(x * x) + eps)
    n = x * r
    y = n * w
    return y, RmsnormCache(n, r, w)


@undoes(RmsnormCache, "... n")
def rmsnorm_backward(dy, cache) -> tuple[Array, Array]:
    """dx (..., n), dw (n,).                                       [eq:rmsnorm-backward, derived]"""
    n, r, w = cache
    # y = n * w
    dn, dw = dy * w, sum_rows(dy * n)
    # n = x * r
    # r = 1 / array_module(x).sqrt(row_mean(x * x) + eps)
    dx = r * (dn - n * row_mean(dn * n))
    return dx, dw
