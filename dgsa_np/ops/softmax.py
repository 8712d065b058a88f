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
    """Softmax over the last axis; what the mask forbids gets exactly nothing.    [eq:softmax, standard]

        A_ij = exp(S_ij) / sum_k exp(S_ik)

    returns A : (..., S), and a SoftmaxCache
    raises    : TypeError for a mask that is not boolean, ShapeError for one that does not broadcast

    Rows sum to 1, or are all 0 where nothing may be attended.
    """
    xp = array_module(scores, mask)
    if mask is not None:
        scores = xp.where(mask, scores, -math.inf)
    lowest = xp.finfo(scores.dtype).min  # in place of -inf, the largest score of a row without a key
    E = xp.exp(scores - xp.maximum(scores.real.max(axis=-1, keepdims=True), lowest))
    total = row_sum(E)
    A = E / (total + (total == 0))
    return A, SoftmaxCache(A)


@undoes(SoftmaxCache, "... S")
def softmax_backward(dA, cache) -> Array:
    """dscores (..., S): the Jacobian p_i (delta_ij - p_j), applied row by row.   [eq:softmax-backward, derived]"""
    (A,) = cache
    # A = E / (total + (total == 0))
    # total = row_sum(E)
    return A * (dA - row_sum(dA * A))


def sigmoid(z) -> Array:
    """1 / (1 + exp(-z)), as the first of softmax(z, 0), so that no exp is above 1; 1 - sigmoid(z) is sigmoid(-z)."""
    xp = array_module(z)
    e, e_0 = xp.exp(xp.minimum(z, 0)), xp.exp(-xp.maximum(z, 0))
    return e / (e + e_0)
