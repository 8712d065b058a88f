"""Gated attention: softmax attention whose output a gate per token and head lets through."""

from typing import NamedTuple

from .. import check
from ..ops import LinearCache, linear_backward, linear_forward, sigmoid, swap
from .softmax import SoftmaxHeadCache, check_head, softmax_head_backward, softmax_head_forward


class OutputGateHeadCache(NamedTuple):
    gate: object
    o_softmax: object
    softmax: SoftmaxHeadCache

    @property
    def A(self):
        """The fused map."""
        return self.gate[..., None] * self.softmax.A


def output_gate_head_forward(q, k, v, gate, mask=None):
    """Softmax attention times a gate.                                       [eq:output-gate-head, published]

        o = g softmax(q k^T / sqrt(d)) v

    q : (B, H, T, d)      k : (B, H, S, d)      v : (B, H, S, e)      gate : (B, H, T)
    mask : bool, True = may attend, broadcastable to (B, H, T, S)
    returns o : (B, H, T, e), and an OutputGateHeadCache
    raises    : ShapeError, TypeError naming the argument

    Rows of the fused map sum to g.
    """
    check_head("output_gate_head_forward", {"q": q, "k": k, "v": v, "gate": gate}, mask)
    o_softmax, softmax = softmax_head_forward(q, k, v, mask)
    o = gate[..., None] * o_softmax
    return o, OutputGateHeadCache(gate, o_softmax, softmax)


def output_gate_head_backward(do, cache):
    """dq (B, H, T, d), dk (B, H, S, d), dv (B, H, S, e), dgate (B, H, T).   [derived]"""
    gate, o_softmax, softmax = check.cache("output_gate_head_backward", cache, OutputGateHeadCache, do)
    check.upstream("output_gate_head_backward", do, o_softmax.shape)
    # o = gate[..., None] * o_softmax
    do_softmax, dgate = gate[..., None] * do, (do * o_softmax).sum(axis=-1)
    # o_softmax, softmax = softmax_head_forward(q, k, v, mask)
    return *softmax_head_backward(do_softmax, softmax), dgate


# ------------------------------------------------------------------------ a number per token and head


class TokenGateCache(NamedTuple):
    name: str
    z: object
    linear: LinearCache


def token_gate_forward(x, p, cfg, lambda_init, name="W_gate"):
    """A gate without bias, one number in (0, 1) per token and head.         [eq:token-gate, published]

        g = sigmoid(x W)        W is W_gate of output_gate, W_lambda of diff_v2

    x : (B, T, C)      W : (C, H), p[name]
    returns gate : (B, H, T), and a TokenGateCache
    """
    z, linear = linear_forward(x, p[name])
    gate = sigmoid(swap(z))
    return gate, TokenGateCache(name, z, linear)


def token_gate_backward(dgate, cache):
    """dx (B, T, C), and the gradient of the matrix."""
    name, z, linear = check.cache("token_gate_backward", cache, TokenGateCache, dgate)
    # gate = sigmoid(swap(z))
    dz = swap(dgate) * sigmoid(z) * sigmoid(-z)
    # z, linear = linear_forward(x, p[name])
    dx, dW = linear_backward(dz, linear)
    return dx, {name: dW}
