"""The heads once more, computed tile by tile: the same results with less memory.

A tile is a part of the map, for some queries and some keys, that fits the processor's cache. No
whole map is ever stored, so that memory grows with T, not with T S. Every head here is a weighted
sum of softmax maps over the same values, so one function serves all of them. The weights are

    softmax            w = 1
    diff_v1, diff_v2   w = 1, -lam
    dgsa               w = g, -(1 - g);   with gate_on="inhibition" w = 1, -g

Notebook 09 derives the method; docs/performance.md measures it.
"""

import math
from itertools import product
from typing import Annotated, NamedTuple

import numpy as np

from ..backend import array_module, to_numpy
from ..ops.axes import row_sum, sum_to_shape, swap
from ..ops.softmax import sigmoid
from ..shapes import Array, takes, undoes
from .differential import as_lam
from .masks import seen_only


class TiledHeadCache(NamedTuple):
    Q: Array  # (n, B, H, T, d), the queries of the n maps, times 1 / sqrt(d)
    K: Array  # (n, B, H, S, d)
    v: Array
    w: Array  # (n, B, H, T), the weights of the maps
    o_each: Annotated[Array, "n B H T e"]  # what each map makes of the values
    logsumexp: Array  # (n, B, H, T, 1), of each row of scores
    mask: Array | None
    lam: Array | None = None  # of a differential head
    gate: Array | None = None  # of a gated one

    def _map(self, i):
        """The map of branch i, (B, H, T, S), computed anew, since it was not stored."""
        keys = slice(0, self.K.shape[-2])
        limit = None if self.mask is None else _limit(self.mask, self.Q.dtype)
        return array_module(self.Q).exp(_scores(self.Q[i], self.K[i], keys, limit) - self.logsumexp[i])

    @property
    def A_exc(self):
        return self._map(0)

    @property
    def A_inh(self):
        return self._map(1)

    @property
    def A(self):
        """The fused map."""
        return sum(self.w[i][..., None] * self._map(i) for i in range(len(self.w)))


def streamed_forward(queries, keys, v, weights, mask=None) -> tuple[Array, TiledHeadCache]:
    """A weighted sum of softmax maps, applied to the values tile by tile.   [eq:streamed, standard]

        o = sum_i w_i softmax(q_i k_i^T / sqrt(d)) v

    queries, keys, weights : n arrays each, (B, H, T, d), (B, H, S, d), (B, H, T)
    v    : (B, H, S, e)
    mask : bool, True = may attend, broadcastable to (B, H, T, S)
    returns o : (B, H, T, e), and a TiledHeadCache
    """
    xp = array_module(v, mask)
    *shown, v = seen_only(mask, queries, [*keys, v])
    queries, keys = shown[: len(queries)], shown[len(queries) :]
    Q, K, w = xp.stack(queries), xp.stack(keys), xp.stack(weights)
    Q *= 1 / math.sqrt(Q.shape[-1])
    dtype = xp.result_type(Q, K, v)  # in a complex step one of them is complex
    o_each = xp.zeros((*Q.shape[:-1], v.shape[-1]), dtype)
    logsumexp = xp.zeros((*Q.shape[:-1], 1), dtype)
    for b, h, t, tiles in _slabs(Q, K, mask):
        o_each[:, b, h, t], logsumexp[:, b, h, t] = _stream(Q[:, b, h, t], K[:, b, h], v[b, h], tiles)
    o = (w[..., None] * o_each).sum(axis=0)
    return o, TiledHeadCache(Q, K, v, w, o_each, logsumexp, mask)


def _stream(Q, K, v, tiles):
    """The output of each map, and the log-sum-exp of each row of its scores.

    m is the largest score of a row so far. When a tile has a larger one, the sums over the tiles
    before are multiplied by exp(m_old - m), as if they had been made with the new m from the start.
    """
    xp = array_module(v)
    m, total, o = xp.finfo(Q.dtype).min, 0, 0
    for keys, limit in tiles:
        E = _scores(Q, K, keys, limit)
        m_old, m = m, xp.maximum(m, E.real.max(axis=-1, keepdims=True))
        E -= m
        xp.exp(E, out=E)
        fade = xp.exp(m_old - m)
        total = fade * total + row_sum(E)
        o = fade * o + E @ v[..., keys, :]
    total = total + (total == 0)
    return o / total, m + xp.log(total)


def _scores(Q, K, keys, limit):
    """The scores of some keys; a limit, where there is one, makes those of masked keys -inf."""
    S = Q @ swap(K[..., keys, :])
    return S if limit is None else array_module(S).fmin(S, limit, out=S)


@undoes(TiledHeadCache, "B H T e")
def streamed_backward(do, cache) -> tuple[list[Array], list[Array], Array, list[Array]]:
    """dqueries, dkeys, dv and dweights, lists as in forward.        [eq:streamed-backward, derived]

    Each tile of a map is computed anew from its scores, A = exp(S - logsumexp). The backward of a
    softmax subtracts the row sum of dA * A, where * multiplies element by element. That sum needs
    no map: with dA = w_i do v^T it is w_i <do, o_i>.

        dS_i = w_i A_i * (do v^T - <do, o_i>),   dw_i = <do, o_i>,   dv = (sum_i w_i A_i)^T do
        dq_i = dS_i k_i / sqrt(d),   dk_i = dS_i^T q_i / sqrt(d)

    In the code dS is still without its weight w_i: Q contains 1 / sqrt(d) and wQ also w, and dQ is
    multiplied by both at the end.
    """
    Q, K, v, w, o_each, logsumexp, mask, *_ = cache
    xp = array_module(do)
    # o = (w[..., None] * o_each).sum(axis=0)
    dw = row_sum(do * o_each)
    wQ = w[..., None] * Q
    dQ, dK, dv = (xp.zeros(a.shape, xp.result_type(do, o_each)) for a in (Q, K, v))
    for b, h, t, tiles in _slabs(Q, K, mask):
        do_t, dw_t, w_t = do[b, h, t], dw[:, b, h, t], w[:, b, h, t, None]
        for keys, limit in tiles:
            A = _scores(Q[:, b, h, t], K[:, b, h], keys, limit)
            A -= logsumexp[:, b, h, t]
            xp.exp(A, out=A)
            dv[b, h, keys] += swap((w_t * A).sum(axis=0)) @ do_t
            dS = do_t @ swap(v[b, h, keys]) - dw_t
            dS *= A
            dQ[:, b, h, t] += dS @ K[:, b, h, keys]
            dK[:, b, h, keys] += swap(dS) @ wQ[:, b, h, t]
    # Q *= 1 / math.sqrt(Q.shape[-1])
    dQ *= w[..., None] / math.sqrt(Q.shape[-1])
    # Q, K, w = xp.stack(queries), xp.stack(keys), xp.stack(weights)
    dqueries, dkeys, dweights = ([stack[i] for i in range(len(Q))] for stack in (dQ, dK, dw[..., 0]))
    return dqueries, dkeys, dv, dweights


# ---------------------------------------------------------------------------------------- the tiles


# Queries of a tile, keys of a tile, numbers in a slab of tiles (half a megabyte in float32).
CPU_TILES = 64, 256, 2**17
GPU_TILES = 1024, 1024, 2**26


def tiles_are_faster(xp, T, S) -> bool:
    """Whether T queries and S keys are enough for tiles to pay.

    The CPU's limit was measured, see docs/performance.md. On a GPU tiles save memory.
    """
    least = 2**15 if xp is np else 2**24
    return least <= T * S


def _slabs(Q, K, mask):
    """Slices of batch, heads and queries, to fit a core's cache, each with its tiles of keys."""
    queries, keys, slab = CPU_TILES if array_module(Q) is np else GPU_TILES
    n, B, H, T, _ = Q.shape
    S = K.shape[-2]
    area = n * min(T, queries) * min(S, keys)
    axes, last = (1, 1, 1, 1) if mask is None else mask.shape, None
    batch, heads = max(1, slab // (area * H)), max(1, slab // area)
    for t, b, h in product(_cuts(0, T, queries), _cuts(0, B, batch), _cuts(0, H, heads)):
        rows = tuple(cut if axis > 1 else slice(None) for cut, axis in zip((b, h, t), axes, strict=False))
        if rows != last:  # a mask that batch and heads share is cut into tiles once
            last, tiles = rows, list(_key_tiles(mask if mask is None else mask[rows], S, keys, Q.dtype))
        yield b, h, t, tiles


def _key_tiles(allowed, S, size, dtype):
    """Slices of keys, each with the limit of its scores, or None where no mask acts on it.

    They reach from the first key that any row sees to the last, and include what lies between.
    """
    if allowed is None:
        yield from ((keys, None) for keys in _cuts(0, S, size))
        return
    allowed = array_module(allowed).broadcast_to(allowed, (*allowed.shape[:3], S))
    seen, free = to_numpy([allowed.any(axis=(0, 1, 2)), allowed.all(axis=(0, 1, 2))])
    seen = np.flatnonzero(seen)
    for keys in _cuts(seen[0], seen[-1] + 1, size) if seen.size else ():
        yield keys, None if free[keys].all() else _limit(allowed[..., keys], dtype)


def _limit(allowed, dtype):
    """What fmin limits scores to: nan, which is no limit, where a query may attend, else -inf.

    A score of -inf gives a weight of exactly 0.
    """
    xp = array_module(allowed)
    return xp.where(allowed, xp.nan, -xp.inf).astype(dtype)


def _cuts(start, stop, size):
    return [slice(i, min(i + size, stop)) for i in range(start, stop, size)]


# ---------------------------------------------------------------------------- the heads, one by one


@takes(q="B H T d", k="B H S d", v="B H S e", mask="mask B H T S")
def tiled_softmax_head_forward(q, k, v, mask=None) -> tuple[Array, TiledHeadCache]:
    """softmax_head_forward on tiles.                                    [eq:softmax-head, standard]

    returns o : (B, H, T, e), and a TiledHeadCache
    """
    weights = [array_module(v).ones(q.shape[:3], v.dtype)]
    o, head = streamed_forward([q], [k], v, weights, mask)
    return o, head


@undoes(TiledHeadCache, "B H T e")
def tiled_softmax_head_backward(do, cache) -> tuple[Array, Array, Array]:
    """The gradients dq (B, H, T, d), dk (B, H, S, d) and dv (B, H, S, e)."""
    # o, head = streamed_forward([q], [k], v, weights, mask)
    (dq,), (dk,), dv, _ = streamed_backward(do, cache)
    return dq, dk, dv


@takes(q_exc="B H T d", k_exc="B H S d", q_inh="B H T d", k_inh="B H S d", v="B H S e", lam=as_lam,
       mask="mask B H T S")  # fmt: skip
def tiled_differential_head_forward(q_exc, k_exc, q_inh, k_inh, v, lam, mask=None) -> tuple[Array, TiledHeadCache]:
    """differential_head_forward on tiles.                         [eq:differential-head, published]

    lam : broadcastable to (B, H, T), a number or an array
    returns o : (B, H, T, e), and a TiledHeadCache
    """
    shape, xp = q_exc.shape[:3], array_module(v)
    weights = [xp.ones(shape, v.dtype), xp.broadcast_to(-lam, shape)]
    o, head = streamed_forward([q_exc, q_inh], [k_exc, k_inh], v, weights, mask)
    return o, head._replace(lam=lam)


@undoes(TiledHeadCache, "B H T e")
def tiled_differential_head_backward(do, cache) -> tuple[Array, Array, Array, Array, Array, Array]:
    """The gradients dq_exc, dk_exc, dq_inh, dk_inh, dv and dlam, each shaped like its argument."""
    # o, head = streamed_forward([q_exc, q_inh], [k_exc, k_inh], v, weights, mask)
    (dq_exc, dq_inh), (dk_exc, dk_inh), dv, (_, dw_inh) = streamed_backward(do, cache)
    # weights = [xp.ones(shape, v.dtype), xp.broadcast_to(-lam, shape)]
    dlam = sum_to_shape(-dw_inh, cache.lam.shape)
    return dq_exc, dk_exc, dq_inh, dk_inh, dv, dlam


@takes(q_exc="B H T d", k="B H S d", q_inh="B H T d", v="B H S e", lam=as_lam, mask="mask B H T S")
def tiled_differential_v2_head_forward(q_exc, q_inh, k, v, lam, mask=None) -> tuple[Array, TiledHeadCache]:
    """differential_v2_head_forward on tiles.                   [eq:differential-v2-head, published]

    lam : broadcastable to (B, H, T)
    returns o : (B, H, T, e), and a TiledHeadCache
    """
    o, head = tiled_differential_head_forward(q_exc, k, q_inh, k, v, lam, mask)
    return o, head


@undoes(TiledHeadCache, "B H T e")
def tiled_differential_v2_head_backward(do, cache) -> tuple[Array, Array, Array, Array, Array]:
    """The gradients dq_exc, dq_inh, dk, dv and dlam, each shaped like its argument."""
    # o, head = tiled_differential_head_forward(q_exc, k, q_inh, k, v, lam, mask)
    dq_exc, dk_exc, dq_inh, dk_inh, dv, dlam = tiled_differential_head_backward(do, cache)
    return dq_exc, dq_inh, dk_exc + dk_inh, dv, dlam


@takes(q_exc="B H T d", k_exc="B H S d", q_inh="B H T d", k_inh="B H S d", v="B H S e", z_gate="B H T",
       mask="mask B H T S")  # fmt: skip
def tiled_gated_head_forward(q_exc, k_exc, q_inh, k_inh, v, z_gate, mask=None) -> tuple[Array, TiledHeadCache]:
    """gated_head_forward on tiles.                                  [eq:gated-head, machine review]

    returns o : (B, H, T, e), and a TiledHeadCache
    """
    weights = [sigmoid(z_gate), -sigmoid(-z_gate)]
    o, head = streamed_forward([q_exc, q_inh], [k_exc, k_inh], v, weights, mask)
    return o, head._replace(gate=weights[0])


@undoes(TiledHeadCache, "B H T e")
def tiled_gated_head_backward(do, cache) -> tuple[Array, Array, Array, Array, Array, Array]:
    """The gradients dq_exc, dk_exc, dq_inh, dk_inh, dv and dz_gate, shaped like the arguments."""
    # o, head = streamed_forward([q_exc, q_inh], [k_exc, k_inh], v, weights, mask)
    (dq_exc, dq_inh), (dk_exc, dk_inh), dv, (dw_exc, dw_inh) = streamed_backward(do, cache)
    # weights = [sigmoid(z_gate), -sigmoid(-z_gate)]
    dz_gate = -cache.w[0] * cache.w[1] * (dw_exc + dw_inh)
    return dq_exc, dk_exc, dq_inh, dk_inh, dv, dz_gate
