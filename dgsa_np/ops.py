"""The pairs that a transformer is made of, forward and backward side by side.

A backward is its forward read upwards: above each of its lines stands the forward line that it undoes.
dX is the derivative of the loss with respect to X and has the shape of X.
"""

import math
from typing import NamedTuple

import numpy as np

from . import check
from .backend import array_module, erf, to_numpy
from .fast.fused import fused, sum_kernel


def swap(x):
    """Transpose the last two axes."""
    return x.swapaxes(-1, -2)


def sum_to_shape(x, shape):
    """The gradient of a broadcast: sum over the axes along which one number served many.

    In float64 at least: over a million rows float32 would lose two digits.
    """
    lead = x.ndim - len(shape)
    axes = tuple(i for i, n in enumerate(x.shape) if i < lead or shape[i - lead] != n)
    return x.sum(axis=axes, dtype=np.promote_types(x.dtype, "float64")).astype(x.dtype).reshape(shape) if axes else x


def sum_rows(x):
    """The gradient of a bias or gain: sum over all axes but the last; with NumPy first, as a product, the tokens."""
    x = np.ones(x.shape[-2], x.dtype) @ x if x.ndim > 2 and array_module(x) is np else x
    return sum_to_shape(x, x.shape[-1:])


def row_sum(x):
    """The sum over the last axis, kept as 1. In NumPy a product is several times faster than x.sum."""
    return x @ np.ones((x.shape[-1], 1), x.dtype) if array_module(x) is np else x.sum(axis=-1, keepdims=True)


def row_dot(x, y):
    """The sum of x y over the last axis, kept as 1. Nothing of the size of x y is made."""
    kernel = sum_kernel("row_dot", x, y)
    return (kernel(x, y, axis=-1) if kernel else array_module(x, y).einsum("...n,...n->...", x, y))[..., None]


def square_sum(x):
    """The sum of all squares, an array without axes, in float64 at least."""
    kernel = sum_kernel("square_sum", x)
    return kernel(x) if kernel else np.square(x, dtype=np.promote_types(x.dtype, "float64")).sum()


def split_heads(x, n_heads):
    """(B, T, H d) -> (B, H, T, d). Its backward is merge_heads."""
    check.arrays("split_heads", {"x": "B T H*d"}, x)
    check.whole("split_heads", n_heads=n_heads)
    if x.shape[2] % n_heads:
        raise check.ShapeError(f"split_heads: x is {x.shape}, expected a last axis that n_heads = {n_heads} divides")
    return x.reshape(*x.shape[:2], n_heads, -1).swapaxes(1, 2)


def merge_heads(x):
    """(B, H, T, d) -> (B, T, H d). Its backward is split_heads."""
    check.arrays("merge_heads", {"x": "B H T d"}, x)
    return x.swapaxes(1, 2).reshape(len(x), x.shape[2], -1)


# ---------------------------------------------------------------------------------------------- linear


class LinearCache(NamedTuple):
    x: object
    W: object
    b: object


def linear_forward(x, W, b=None):
    """A linear map of the last axis.                                        [eq:linear, standard]

        y = x W + b

    x : (..., n)      W : (n, m)      b : (m,), optional
    returns y : (..., m), and a LinearCache
    raises    : ShapeError, TypeError naming the argument
    """
    check.arrays("linear_forward", {"x": "... n", "W": "n m", "b": "m"}, x, W, b, optional=("b",))
    y = x @ W
    if b is not None:
        y = y + b
    return y, LinearCache(x, W, b)


def linear_backward(dy, cache):
    """dx (..., n), dW (n, m) and, where forward had a b, db (m,)."""
    x, W, b = check.cache("linear_backward", cache, LinearCache, dy)
    check.upstream("linear_backward", dy, (*x.shape[:-1], W.shape[1]))
    rows = dy.reshape(-1, dy.shape[-1])
    # y = x @ W
    dx = (rows @ W.T).reshape(x.shape)
    dW = x.reshape(-1, x.shape[-1]).T @ rows
    return (dx, dW) if b is None else (dx, dW, sum_rows(dy))


# ------------------------------------------------------------------------------------------- embedding


class EmbeddingCache(NamedTuple):
    tokens: object
    table: object


def embedding_forward(tokens, table):
    """One row of the table per token.                                       [eq:embedding, standard]

        x = table[tokens]

    tokens : (B, T) integers on the host, where their range is checked      table : (V, C)
    returns x : (B, T, C), and an EmbeddingCache
    raises    : IndexError for a token outside [0, V)
    """
    check.arrays("embedding_forward", {"table": "V C"}, table)
    check.indices("embedding_forward", "tokens", tokens, table.shape[0], f"table {table.shape}")
    x = table[array_module(table).asarray(to_numpy(tokens))]
    return x, EmbeddingCache(to_numpy(tokens), table)


def embedding_backward(dx, cache):
    """dtable (V, C): each row sums the gradients of the places where its token stood.

    The places of a token are added in pairs, then pairs of pairs: no place twice in one addition, so no atomics,
    the same bits on every run, on a GPU too, and the accuracy of a balanced sum.
    """
    tokens, table = check.cache("embedding_backward", cache, EmbeddingCache, dx)
    check.upstream("embedding_backward", dx, (*tokens.shape, table.shape[1]))
    xp = array_module(dx)
    rounds, places = _pair_equal(tokens.ravel())
    rows = dx.reshape(-1, table.shape[1]).copy()
    for into, source in rounds:
        rows[xp.asarray(into)] += rows[xp.asarray(source)]
    dtable = xp.zeros(table.shape, dx.dtype)
    # x = table[array_module(table).asarray(to_numpy(tokens))]
    dtable[xp.asarray(tokens.ravel()[places])] = rows[xp.asarray(places)]
    return dtable


def _pair_equal(tokens):
    """Rounds of (into, source): in each, a place is added into another of the same token; and the places left over."""
    places, rounds = np.argsort(tokens, kind="stable"), []
    while True:
        t = tokens[places]
        rank = np.arange(t.size) - np.searchsorted(t, t)  # first, second, third ... of its token
        odd = np.flatnonzero(rank % 2)
        if not odd.size:
            return rounds, places
        rounds.append((places[odd - 1], places[odd]))
        places = np.delete(places, odd)


# --------------------------------------------------------------------------------------------- softmax

# What the mask forbids becomes -inf; to fmin a nan is no limit. np.where on the scores would be slower.
_masked = fused(lambda S, mask, nan, least: np.fmin(S, np.where(mask, nan, least).astype(S.dtype)))
# In a row without a key the largest score is -inf too; the lowest number in its place makes all of its exp 0.
_exp_from = fused(lambda S, largest, lowest: np.exp(E := S - np.maximum(largest, lowest), out=E))
# E is made by softmax_forward and used up here, so it may be overwritten. A row without a key has the total 0.
_divided = fused(lambda E, total: np.divide(E, total + (total == 0), out=E))


class SoftmaxCache(NamedTuple):
    A: object


def softmax_forward(scores, mask=None):
    """Softmax over the last axis; what the mask forbids gets exactly nothing.    [eq:softmax, standard]

        A_ij = exp(S_ij) / sum_k exp(S_ik)

    scores : (..., S)      mask : bool, True = may attend, as many axes as scores, broadcastable to them
    returns A : (..., S), and a SoftmaxCache
    raises    : TypeError for a mask that is not boolean, ShapeError for one that does not broadcast

    Rows sum to 1, or are all 0 where nothing may be attended.
    """
    check.arrays("softmax_forward", {"scores": "... S"}, scores)
    check.mask("softmax_forward", mask, scores.shape)
    lowest = float(array_module(scores, mask).finfo(scores.dtype).min)
    if mask is not None:
        scores = _masked(scores, mask, math.nan, -math.inf)
    E = _exp_from(scores, scores.real.max(axis=-1, keepdims=True), lowest)
    A = _divided(E, row_sum(E))
    return A, SoftmaxCache(A)


def softmax_backward(dA, cache):
    """dscores (..., S): the Jacobian p_i (delta_ij - p_j), applied row by row.   [eq:softmax-backward, derived]"""
    (A,) = check.cache("softmax_backward", cache, SoftmaxCache, dA)
    check.upstream("softmax_backward", dA, A.shape)
    # A = _divided(E, row_sum(E))
    return A * (dA - row_dot(dA, A))


# ---------------------------------------------------------------------------------- silu, gelu, sigmoid


@fused
def sigmoid(z):
    """1 / (1 + exp(-z)) without overflow. Its derivative is sigmoid(z) sigmoid(-z); 1 - sigmoid(z) is sigmoid(-z)."""
    below = (z.real < 0).astype(z.dtype)  # 1 or 0: products choose, where would cost more than all the rest
    e = np.exp(z * (2 * below - 1))  # exp(-|z|) <= 1
    return (below * e + (1 - below)) / (1 + e)


_dsilu = fused(lambda dy, y, sigma: dy * (sigma + y * (1 - sigma)))


class SiluCache(NamedTuple):
    y: object
    sigma: object


def silu_forward(x):
    """x sigmoid(x), element by element.                                     [eq:silu, standard]

    x : (..., n)
    returns y : (..., n), and a SiluCache
    """
    check.arrays("silu_forward", {"x": "... n"}, x)
    sigma = sigmoid(x)
    y = x * sigma
    return y, SiluCache(y, sigma)


def silu_backward(dy, cache):
    """dx (..., n)."""
    y, sigma = check.cache("silu_backward", cache, SiluCache, dy)
    check.upstream("silu_backward", dy, y.shape)
    # y = x * sigma
    # sigma = sigmoid(x)
    return _dsilu(dy, y, sigma)  # x times sigma's own derivative, sigma (1 - sigma), is y (1 - sigma)


class GeluCache(NamedTuple):
    x: object
    Phi: object


def gelu_forward(x):
    """x times the normal distribution function, exact, not the tanh approximation.   [eq:gelu, standard]

        y = x Phi(x),   Phi(x) = (1 + erf(x / sqrt(2))) / 2

    x : (..., n)
    returns y : (..., n), and a GeluCache
    """
    check.arrays("gelu_forward", {"x": "... n"}, x)
    Phi = 0.5 * (1 + erf(x * math.sqrt(0.5)))
    y = x * Phi
    return y, GeluCache(x, Phi)


def gelu_backward(dy, cache):
    """dx (..., n)."""
    x, Phi = check.cache("gelu_backward", cache, GeluCache, dy)
    check.upstream("gelu_backward", dy, x.shape)
    # y = x * Phi
    # Phi = 0.5 * (1 + erf(x * math.sqrt(0.5)))
    density = array_module(x).exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))
    return dy * (Phi + x * density)


# --------------------------------------------------------------------------------------- normalisation

_inverse_root = fused(lambda square_sum, n, eps: 1 / np.sqrt(square_sum / n + eps))
_scale = fused(lambda x, r, w: (n := x * r, n * w))
_dscale = fused(lambda dn, n, r, dot, count: r * (dn - n * (dot / count)))


class RmsnormCache(NamedTuple):
    n: object
    r: object
    w: object


def rmsnorm_forward(x, w, eps=1e-5):
    """Divide the last axis by its root mean square, then apply a gain.      [eq:rmsnorm, standard]

        y = w x r,   r = (mean(x^2) + eps)^(-1/2)

    x : (..., n)      w : (n,)      eps : added to the mean square, in its units
    returns y : (..., n), and a RmsnormCache
    raises    : ShapeError, TypeError naming the argument
    """
    check.arrays("rmsnorm_forward", {"x": "... n", "w": "n"}, x, w)
    check.number("rmsnorm_forward", low=0, eps=eps)
    r = _inverse_root(row_dot(x, x), x.shape[-1], float(eps))
    n, y = _scale(x, r, w)
    return y, RmsnormCache(n, r, w)


def rmsnorm_backward(dy, cache):
    """dx (..., n), dw (n,).                                                 [eq:rmsnorm-backward, derived]"""
    n, r, w = check.cache("rmsnorm_backward", cache, RmsnormCache, dy)
    check.upstream("rmsnorm_backward", dy, n.shape)
    # n, y = _scale(x, r, w)
    dn, dw = dy * w, sum_rows(dy * n)
    # r = _inverse_root(row_dot(x, x), x.shape[-1], float(eps))
    dx = _dscale(dn, n, r, row_dot(dn, n), n.shape[-1])
    return dx, dw


class LayernormCache(NamedTuple):
    n: object
    r: object
    w: object


def layernorm_forward(x, w, b, eps=1e-5):
    """Centre the last axis, divide by its standard deviation, apply gain and bias.   [eq:layernorm, standard]

        y = w (x - mean(x)) r + b,   r = (var(x) + eps)^(-1/2)

    x : (..., n)      w, b : (n,)      eps : added to the variance, in its units
    returns y : (..., n), and a LayernormCache
    raises    : ShapeError, TypeError naming the argument

    The mean is taken off twice: once far from 0 it is rounded, and what is left of it the second time takes off.
    A row of equal numbers gives b.
    """
    check.arrays("layernorm_forward", {"x": "... n", "w": "n", "b": "n"}, x, w, b)
    check.number("layernorm_forward", low=0, eps=eps)
    centred = x - x.mean(axis=-1, keepdims=True)
    centred = centred - centred.mean(axis=-1, keepdims=True)
    r = _inverse_root(row_dot(centred, centred), x.shape[-1], float(eps))
    n = centred * r
    y = n * w + b
    return y, LayernormCache(n, r, w)


def layernorm_backward(dy, cache):
    """dx (..., n), dw (n,), db (n,)."""
    n, r, w = check.cache("layernorm_backward", cache, LayernormCache, dy)
    check.upstream("layernorm_backward", dy, n.shape)
    # y = n * w + b
    dn, dw, db = dy * w, sum_rows(dy * n), sum_rows(dy)
    # n = centred * r
    # r = _inverse_root(row_dot(centred, centred), x.shape[-1], float(eps))
    dcentred = _dscale(dn, n, r, row_dot(dn, n), n.shape[-1])
    # centred = centred - centred.mean(axis=-1, keepdims=True)
    dcentred = dcentred - dcentred.mean(axis=-1, keepdims=True)
    # centred = x - x.mean(axis=-1, keepdims=True)
    dx = dcentred - dcentred.mean(axis=-1, keepdims=True)
    return dx, dw, db


# ---------------------------------------------------------------------------------------------- rotary


class RotaryCache(NamedTuple):
    cos: object
    sin: object
    shape: tuple


def rotary_forward(x, positions):
    """Turn each pair of neighbouring columns by an angle that grows with the position.   [eq:rotary, published]

        y_2i = x_2i cos a - x_2i+1 sin a,   y_2i+1 = x_2i sin a + x_2i+1 cos a,   a = position / 10000^(2i/d)

    x : (B, H, T, d), d even      positions : (T,), or (B, T) where batch entries differ
    returns y : (B, H, T, d), and a RotaryCache
    raises    : ShapeError, TypeError naming the argument

    The product of a query and a key depends on the distance of their positions alone.
    """
    check.arrays("rotary_forward", {"x": "B H T d"}, x)
    B, _, T, d = x.shape
    positions, xp = _check_positions(positions, (B, T), x), array_module(x)
    angles = positions[..., None] * 10000 ** (-xp.arange(0, d, 2) / d)  # (1 or B, 1, T, d/2)
    cos, sin = xp.cos(angles).astype(x.real.dtype), xp.sin(angles).astype(x.real.dtype)
    y = _rotate(x, cos, sin)
    return y, RotaryCache(cos, sin, x.shape)


def rotary_backward(dy, cache):
    """dx (B, H, T, d): turned back."""
    cos, sin, shape = check.cache("rotary_backward", cache, RotaryCache, dy)
    check.upstream("rotary_backward", dy, shape)
    # y = _rotate(x, cos, sin)
    return _rotate(dy, cos, -sin)


def _check_positions(positions, shape, x):
    """As numbers (1 or B, 1, T), on the device of x."""
    if hasattr(positions, "dtype"):
        check.is_array("rotary_forward", "positions", positions)
    positions = array_module(x).asarray(positions, "float64")
    if x.shape[-1] % 2 or positions.shape not in (shape, shape[1:]):
        wanted = f"(B, H, T, d) with an even d, since columns turn in pairs, and (T,) = {shape[1:]} or (B, T)"
        raise check.ShapeError(f"rotary_forward: x is {x.shape} and positions {positions.shape}, expected {wanted}")
    return positions.reshape(-1, 1, shape[1])


def _rotate(x, cos, sin):
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = array_module(x).stack([even * cos - odd * sin, even * sin + odd * cos], axis=-1)
    return turned.reshape(x.shape)


# ---------------------------------------------------------------------------------------------- swiglu


class SwigluCache(NamedTuple):
    gate_path: LinearCache
    silu: SiluCache
    up_path: LinearCache
    down_path: LinearCache
    s: object
    u: object


def swiglu_forward(x, W_gate, W_up, W_down):
    """The gated feed-forward layer.                                         [eq:swiglu, standard]

        y = (silu(x W_gate) * (x W_up)) W_down

    x : (..., C)      W_gate, W_up : (C, F)      W_down : (F, C)
    returns y : (..., C), and a SwigluCache
    raises    : ShapeError, TypeError naming the argument
    """
    shapes = {"x": "... C", "W_gate": "C F", "W_up": "C F", "W_down": "F C"}
    check.arrays("swiglu_forward", shapes, x, W_gate, W_up, W_down)
    a, gate_path = linear_forward(x, W_gate)
    s, silu = silu_forward(a)
    u, up_path = linear_forward(x, W_up)
    y, down_path = linear_forward(s * u, W_down)
    return y, SwigluCache(gate_path, silu, up_path, down_path, s, u)


def swiglu_backward(dy, cache):
    """dx (..., C), dW_gate (C, F), dW_up (C, F), dW_down (F, C)."""
    gate_path, silu, up_path, down_path, s, u = check.cache("swiglu_backward", cache, SwigluCache, dy)
    # y, down_path = linear_forward(s * u, W_down)
    dh, dW_down = linear_backward(dy, down_path)
    # u, up_path = linear_forward(x, W_up)
    dx_up, dW_up = linear_backward(dh * s, up_path)
    # s, silu = silu_forward(a)
    da = silu_backward(dh * u, silu)
    # a, gate_path = linear_forward(x, W_gate)
    dx_gate, dW_gate = linear_backward(da, gate_path)
    return dx_up + dx_gate, dW_gate, dW_up, dW_down
