"""Softmax attention, and the softmax map that every other mechanism is built from.

B batch entries and H heads; T queries and S keys, each of d numbers; e numbers per value.
"""

import math
from typing import Annotated, NamedTuple

from ..ops.axes import swap
from ..ops.softmax import SoftmaxCache, softmax_backward, softmax_forward
from ..shapes import Array, takes, undoes
from .masks import seen_only


class SoftmaxMapCache(NamedTuple):
    q: Annotated[Array, "B H T d"]
    k: Annotated[Array, "B H S d"]
    softmax: SoftmaxCache


@takes(q="B H T d", k="B H S d", mask="mask B H T S")
def softmax_map_forward(q, k, mask=None) -> tuple[Array, SoftmaxMapCache]:
    """One softmax map: how much each query attends to each key.          [eq:softmax-map, standard]

        A = softmax(q k^T / sqrt(d))

    returns A : (B, H, T, S), and a SoftmaxMapCache
    """
    scale = 1 / math.sqrt(q.shape[-1])
    S = (scale * q) @ swap(k)
    A, softmax = softmax_forward(S, mask)
    return A, SoftmaxMapCache(q, k, softmax)


@undoes(SoftmaxMapCache, "B H T S")
def softmax_map_backward(dA, cache) -> tuple[Array, Array]:
    """The gradients dq (B, H, T, d) and dk (B, H, S, d)."""
    q, k, softmax = cache
    scale = 1 / math.sqrt(q.shape[-1])
    # A, softmax = softmax_forward(S, mask)
    dS = softmax_backward(dA, softmax)
    # S = (scale * q) @ swap(k)
    dq = scale * (dS @ k)
    dk = swap(dS) @ (scale * q)
    return dq, dk


class SoftmaxHeadCache(NamedTuple):
    A: Annotated[Array, "B H T S"]
    v: Annotated[Array, "B H S e"]
    map: SoftmaxMapCache


@takes(q="B H T d", k="B H S d", v="B H S e", mask="mask B H T S")
def softmax_head_forward(q, k, v, mask=None) -> tuple[Array, SoftmaxHeadCache]:
    """Softmax attention: for each query a weighted mean of the values.  [eq:softmax-head, standard]

        o = A v,   A = softmax(q k^T / sqrt(d))

    returns o : (B, H, T, e), and a SoftmaxHeadCache

    Rows of A sum to 1. A row is all 0 where the mask leaves no key.
    """
    q, k, v = seen_only(mask, [q], [k, v])
    A, map = softmax_map_forward(q, k, mask)
    o = A @ v
    return o, SoftmaxHeadCache(A, v, map)


@undoes(SoftmaxHeadCache, "B H T e")
def softmax_head_backward(do, cache) -> tuple[Array, Array, Array]:
    """The gradients dq, dk and dv, shaped like q, k and v.   [eq:softmax-head-backward, derived]"""
    A, v, map = cache
    # o = A @ v
    dA, dv = do @ swap(v), swap(A) @ do
    # A, map = softmax_map_forward(q, k, mask)
    dq, dk = softmax_map_backward(dA, map)
    return dq, dk, dv
