"""The heads once more, on tiles that fit the cache: the same results, memory that grows with T instead of T S.

Every head here is a sum of softmax maps, A = sum_i w_i A_i, so one body serves all:

    softmax   w = 1        diff_v1, diff_v2   w = 1, -lam        dgsa   w = g, -(1 - g)

A softmax over keys can be streamed: keep the largest score m so far, the sum l of exp(s - m) and the output so far;
when a tile brings a larger score, what was summed fades by exp(m_old - m_new). Backward computes each tile of A_i again
from its scores and log sum exp, and knows the row sums of dA o A_i without a map: they are <do, o_i>.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np

from .. import check
from ..backend import array_module
from ..ops import sigmoid, sum_to_shape, swap
from .softmax import check_head

QUERIES, KEYS = 64, 256  # of a tile
CACHE = 2**17  # numbers of a slab of tiles, so that it stays in a core's cache


class TiledHeadCache(NamedTuple):
    Q: object  # (n, B, H, T, d): queries of the n maps, times 1 / sqrt(d)
    K: object  # (n, B, H, S, d)
    v: object
    w: object  # (n, B, H, T): the weight of each map
    o_each: object  # (n, B, H, T, e): the output of each map
    logsumexp: object  # (n, B, H, T, 1): of its scores
    mask: object


def streamed_forward(queries, keys, v, weights, mask=None):
    """A weighted sum of softmax maps over one set of values.                [eq:streamed, derived]

        o = sum_i w_i softmax(q_i k_i^T / sqrt(d)) v

    queries, keys, weights : lists of n arrays, (B, H, T, d), (B, H, S, d), (B, H, T)
    returns o : (B, H, T, e), and a TiledHeadCache
    """
    xp = array_module(v)
    Q, K, w = xp.stack(queries), xp.stack(keys), xp.stack(weights)
    Q *= 1 / math.sqrt(Q.shape[-1])
    o_each = xp.zeros((*Q.shape[:-1], v.shape[-1]), v.dtype)
    lse = xp.zeros((*Q.shape[:-1], 1), v.dtype)
    for b, h, t, key_tiles in _slabs(Q, K, mask):
        o_each[:, b, h, t], lse[:, b, h, t] = _stream(Q[:, b, h, t], K[:, b, h], v[b, h], key_tiles)
    o = (w[..., None] * o_each).sum(axis=0)
    return o, TiledHeadCache(Q, K, v, w, o_each, lse, mask)


def _stream(Q, K, v, key_tiles):
    xp = array_module(v)
    m, total, o = xp.finfo(v.dtype).min / 2, 0, 0
    for s, forbidden in key_tiles:
        E = _scores(Q, K, s, forbidden)
        m_old, m = m, xp.maximum(m, E.real.max(axis=-1, keepdims=True))
        E -= m
        xp.exp(E, out=E)
        fade = xp.exp(m_old - m)
        total = fade * total + E.sum(axis=-1, keepdims=True)
        o = fade * o + E @ v[..., s, :]
    total = total + (total == 0)
    return o / total, m + xp.log(total)


def _scores(Q, K, s, forbidden):
    S = Q @ swap(K[..., s, :])
    if forbidden is not None:
        array_module(S).copyto(S, -math.inf, where=forbidden)
    return S


def streamed_backward(do, cache):
    """Lists of dqueries, dkeys, then dv, dw (n, B, H, T)."""
    Q, K, v, w, o_each, lse, mask = cache
    xp = array_module(do)
    scale = 1 / math.sqrt(Q.shape[-1])
    dw = (do * o_each).sum(axis=-1)
    wQ = w[..., None] * Q
    dQ, dK, dv = xp.zeros_like(Q), xp.zeros_like(K), xp.zeros_like(v)
    for b, h, t, key_tiles in _slabs(Q, K, mask):
        rows = do[b, h, t]
        for s, forbidden in key_tiles:
            A = _scores(Q[:, b, h, t], K[:, b, h], s, forbidden)
            A -= lse[:, b, h, t]
            xp.exp(A, out=A)
            fused = (w[:, b, h, t, None] * A).sum(axis=0)
            dv[b, h, s] += swap(fused) @ rows
            dS = rows @ swap(v[b, h, s]) - dw[:, b, h, t, None]
            dS *= A
            dQ[:, b, h, t] += dS @ K[:, b, h, s]
            dK[:, b, h, s] += swap(dS) @ wQ[:, b, h, t]
    dQ *= scale * w[..., None]
    return list(dQ), list(dK), dv, dw


def _slabs(Q, K, mask):
    """Slices of batch, heads and queries, and for each of these the tiles of keys that they may see."""
    n, B, H, T, _ = Q.shape
    S = K.shape[-2]
    area = n * min(T, QUERIES) * min(S, KEYS)
    heads = max(1, min(H, CACHE // area))
    batch = max(1, CACHE // (area * H))
    for b, h, t in itertools.product(_cuts(0, B, batch), _cuts(0, H, heads), _cuts(0, T, QUERIES)):
        yield b, h, t, list(_key_tiles(mask, b, h, t, S, array_module(Q) is np))


def _key_tiles(mask, b, h, t, S, on_cpu):
    if mask is None:
        yield from ((s, None) for s in _cuts(0, S, KEYS))
        return
    rows = mask[tuple(x if m > 1 else slice(None) for x, m in zip((b, h, t), mask.shape))]
    first, last = 0, S
    if on_cpu and mask.shape[-1] > 1:
        seen = np.flatnonzero(rows.any(axis=(0, 1, 2)))
        first, last = (seen[0], seen[-1] + 1) if len(seen) else (0, 0)
    for s in _cuts(first, last, KEYS):
        allowed = rows[..., s] if mask.shape[-1] > 1 else rows
        yield s, None if on_cpu and allowed.all() else ~allowed


def _cuts(start, stop, size):
    return [slice(i, min(i + size, stop)) for i in range(start, stop, size)]


def gated_forward(q_exc, k_exc, q_inh, k_inh, v, z, mask=None):
    return streamed_forward([q_exc, q_inh], [k_exc, k_inh], v, [sigmoid(z), -sigmoid(-z)], mask)


def gated_backward(do, cache):
    (dqe, dqi), (dke, dki), dv, dw = streamed_backward(do, cache)
    g, minus = cache.w
    return dqe, dke, dqi, dki, dv, -g * minus * (dw[0] + dw[1])
