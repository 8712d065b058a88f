"""Softmax, and sigmoid, which is the softmax of z and 0."""

import math
from typing import Annotated, NamedTuple

from ..backend import array_module
from ..shapes import Array, takes, undoes
from .axes import row_sum


class SoftmaxCache(NamedTuple):
    A: Annotated[Array, "... S"]


@takes(scores="... S", mask="mask ... S")
def softmax_forward(scores, mask=None) -> tuple[Array, SoftmaxCache]:
    """Softmax over the last axis; what is masked gets exactly 0.             [eq:softmax, standard]

        A_ij = exp(S_ij) / sum_k exp(S_ik)

    returns A : (..., S), and a SoftmaxCache
    raises    : TypeError for a mask that is not boolean, ShapeError for one that does not broadcast

    Rows sum to 1. A row is all 0 where nothing may be attended.
    """
    xp = array_module(scores, mask)
    if mask is not None:
        scores = xp.where(mask, scores, -math.inf)
    # The largest score of a row without a key is -inf, and -inf minus -inf would be nan.
    lowest = xp.finfo(scores.dtype).min
    E = xp.exp(scores - xp.maximum(scores.real.max(axis=-1, keepdims=True), lowest))
    total = row_sum(E)
    A = E / (total + (total == 0))
    return A, SoftmaxCache(A)


@undoes(SoftmaxCache, "... S")
def softmax_backward(dA, cache) -> Array:
    """dscores (..., S), row by row.                                  [eq:softmax-backward, derived]

        dS_i = sum_j dA_j A_j (delta_ij - A_i) = A_i (dA_i - sum_j dA_j A_j)

    A_j (delta_ij - A_i), with delta_ij = 1 for i = j and 0 otherwise, is the Jacobian of a row.
    """
    (A,) = cache
    # A = E / (total + (total == 0))
    # total = row_sum(E)
    return A * (dA - row_sum(dA * A))


def sigmoid(z) -> Array:
    """1 / (1 + exp(-z)), computed as the first entry of softmax(z, 0).

    No exp is above 1 this way, so that none overflows. 1 - sigmoid(z) is sigmoid(-z), which loses
    no digits where sigmoid(z) is close to 1.
    """
    xp = array_module(z)
    e, e_0 = xp.exp(xp.minimum(z, 0)), xp.exp(-xp.maximum(z, 0))
    return e / (e + e_0)
