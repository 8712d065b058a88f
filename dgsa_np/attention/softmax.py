"""Softmax attention, and the softmax map that every other mechanism is built from."""

import math
from typing import NamedTuple

from .. import check
from ..ops import SoftmaxCache, softmax_backward, softmax_forward, swap
from .masks import seen_only


class SoftmaxMapCache(NamedTuple):
    q: object
    k: object
    softmax: SoftmaxCache


def softmax_map_forward(q, k, mask=None):
    """Where each query looks.                                               [eq:softmax-map, standard]

        A = softmax(q k^T / sqrt(d))

    q : (B, H, T, d)      k : (B, H, S, d)      mask : bool, True = may attend, broadcastable to (B, H, T, S)
    returns A : (B, H, T, S), and a SoftmaxMapCache
    """
    scale = 1 / math.sqrt(q.shape[-1])
    S = (scale * q) @ swap(k)
    A, softmax = softmax_forward(S, mask)
    return A, SoftmaxMapCache(q, k, softmax)


def softmax_map_backward(dA, cache):
    """dq (B, H, T, d), dk (B, H, S, d)."""
    q, k, softmax = check.cache("softmax_map_backward", cache, SoftmaxMapCache, dA)
    scale = 1 / math.sqrt(q.shape[-1])
    # A, softmax = softmax_forward(S, mask)
    dS = softmax_backward(dA, softmax)
    # S = (scale * q) @ swap(k)
    dq = scale * (dS @ k)
    dk = swap(dS) @ (scale * q)
    return dq, dk


class SoftmaxHeadCache(NamedTuple):
    A: object
    v: object
    map: SoftmaxMapCache


def softmax_head_forward(q, k, v, mask=None):
    """Softmax attention: each query takes the mean of the values, weighted by its map.   [eq:softmax-head, standard]

        o = A v,   A = softmax(q k^T / sqrt(d))

    q : (B, H, T, d)      k : (B, H, S, d)      v : (B, H, S, e)
    mask : bool, True = may attend, broadcastable to (B, H, T, S)
    returns o : (B, H, T, e), and a SoftmaxHeadCache
    raises    : ShapeError, TypeError naming the argument

    Rows of A sum to 1, or are all 0 where the mask leaves no key.
    """
    check_head("softmax_head_forward", {"q": q, "k": k, "v": v}, mask)
    q, k, v = seen_only(mask, [q], [k, v])
    A, map = softmax_map_forward(q, k, mask)
    o = A @ v
    return o, SoftmaxHeadCache(A, v, map)


def softmax_head_backward(do, cache):
    """dq (B, H, T, d), dk (B, H, S, d), dv (B, H, S, e).                    [eq:softmax-head-backward, derived]"""
    A, v, map = check.cache("softmax_head_backward", cache, SoftmaxHeadCache, do)
    check.upstream("softmax_head_backward", do, (*A.shape[:3], v.shape[-1]))
    # o = A @ v
    dA, dv = do @ swap(v), swap(A) @ do
    # A, map = softmax_map_forward(q, k, mask)
    dq, dk = softmax_map_backward(dA, map)
    return dq, dk, dv


HEAD_AXES = {"q": "B H T d", "k": "B H S d", "v": "B H S e", "z_gate": "B H T", "gate": "B H T"}
HEAD_AXES |= {name + branch: HEAD_AXES[name] for name in "qk" for branch in ("_exc", "_inh")}


def check_head(function, arrays, mask):
    """The shapes of a head's arguments, queries and keys first; returns (B, H, T, S)."""
    check.arrays(function, {name: HEAD_AXES[name] for name in arrays}, *arrays.values())
    q, k, *_ = arrays.values()
    shape = (*q.shape[:3], k.shape[2])
    check.mask(function, mask, shape)
    return shape
