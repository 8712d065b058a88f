"""A linear map of the last axis."""

from typing import Annotated, NamedTuple

from ..shapes import Array, takes, undoes
from .axes import sum_rows


class LinearCache(NamedTuple):
    x: Annotated[Array, "... n"]
    W: Annotated[Array, "n m"]
    b: Array | None


@takes(x="... n", W="n m", b="m or None")
def linear_forward(x, W, b=None) -> tuple[Array, LinearCache]:
    """A linear map of the last axis.                                          [eq:linear, standard]

        y = x W + b

    returns y : (..., m), and a LinearCache
    """
    y = x @ W
    if b is not None:
        y = y + b
    return y, LinearCache(x, W, b)


@undoes(LinearCache, "... m")
def linear_backward(dy, cache) -> tuple[Array, ...]:
    """dx (..., n), dW (n, m) and, where forward was given a b, db (m,)."""
    x, W, b = cache
    rows = dy.reshape(-1, dy.shape[-1])
    # y = x @ W
    dx = (rows @ W.T).reshape(x.shape)
    dW = x.reshape(-1, x.shape[-1]).T @ rows
    return (dx, dW) if b is None else (dx, dW, sum_rows(dy))
