"""SiLU and GELU, element by element."""

import math
from typing import Annotated, NamedTuple

from ..backend import array_module, erf
from ..shapes import Array, takes, undoes
from .softmax import sigmoid


class SiluCache(NamedTuple):
    y: Annotated[Array, "... n"]
    sigma: Array


@takes(x="... n")
def silu_forward(x) -> tuple[Array, SiluCache]:
    """x sigmoid(x), element by element.                                        [eq:silu, standard]

    returns y : (..., n), and a SiluCache
    """
    sigma = sigmoid(x)
    y = x * sigma
    return y, SiluCache(y, sigma)


@undoes(SiluCache, "... n")
def silu_backward(dy, cache) -> Array:
    """dx (..., n)."""
    y, sigma = cache
    # y = x * sigma
    # sigma = sigmoid(x)
    # The slope of sigma is sigma (1 - sigma); times x, this is y (1 - sigma).
    return dy * (sigma + y * (1 - sigma))


class GeluCache(NamedTuple):
    x: Annotated[Array, "... n"]
    Phi: Array


@takes(x="... n")
def gelu_forward(x) -> tuple[Array, GeluCache]:
    """x times the normal distribution function of x.                           [eq:gelu, standard]

        y = x Phi(x),   Phi(x) = (1 + erf(x / sqrt(2))) / 2

    returns y : (..., n), and a GeluCache

    This is the exact formula, not its approximation by tanh.
    """
    Phi = 0.5 * (1 + erf(x * math.sqrt(0.5)))
    y = x * Phi
    return y, GeluCache(x, Phi)


@undoes(GeluCache, "... n")
def gelu_backward(dy, cache) -> Array:
    """dx (..., n)."""
    x, Phi = cache
    # y = x * Phi
    # Phi = 0.5 * (1 + erf(x * math.sqrt(0.5)))
    density = array_module(x).exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))
    return dy * (Phi + x * density)
