"""Differential gated self-attention (M-DGSA): excitation minus inhibition, mixed by a gate per token and head."""

from typing import NamedTuple

from .. import check
from ..backend import array_module
from ..fast.fused import fused
from ..ops import LinearCache, linear_backward, linear_forward, row_dot, sigmoid, sum_to_shape, swap
from ..params import Spec
from .masks import seen_only
from .softmax import SoftmaxMapCache, check_head, softmax_map_backward, softmax_map_forward

mix = fused(lambda gate, A_exc, one_minus_gate, A_inh: gate * A_exc - one_minus_gate * A_inh)


class GatedHeadCache(NamedTuple):
    A: object
    A_exc: object
    A_inh: object
    gate: object
    one_minus_gate: object
    v: object
    exc: SoftmaxMapCache
    inh: SoftmaxMapCache


def gated_head_forward(q_exc, k_exc, q_inh, k_inh, v, z_gate, mask=None):
    """Excitatory minus inhibitory attention, mixed per query by a gate.     [eq:gated-head, machine review]

        A = g softmax(q_exc k_exc^T / sqrt(d)) - (1 - g) softmax(q_inh k_inh^T / sqrt(d)),   g = sigmoid(z_gate)
        o = A v

    q_exc, q_inh : (B, H, T, d)      k_exc, k_inh : (B, H, S, d)      v : (B, H, S, e)
    z_gate : (B, H, T)      mask : bool, True = may attend, broadcastable to (B, H, T, S)
    returns o : (B, H, T, e), and a GatedHeadCache
    raises    : ShapeError, TypeError naming the argument

    Rows of A sum to 2 g - 1 and may be negative. Under a head norm only (1 - g) / g = exp(-z_gate) acts, the lambda of
    differential attention in (0, inf); other readings of the paper have it in (0, 1): docs/paper_questions.md.
    """
    arrays = {"q_exc": q_exc, "k_exc": k_exc, "q_inh": q_inh, "k_inh": k_inh, "v": v, "z_gate": z_gate}
    check_head("gated_head_forward", arrays, mask)
    q_exc, q_inh, k_exc, k_inh, v = seen_only(mask, [q_exc, q_inh], [k_exc, k_inh, v])
    A_exc, exc = softmax_map_forward(q_exc, k_exc, mask)
    A_inh, inh = softmax_map_forward(q_inh, k_inh, mask)
    gate, one_minus_gate = sigmoid(z_gate), sigmoid(-z_gate)
    A = mix(gate[..., None], A_exc, one_minus_gate[..., None], A_inh)
    o = A @ v
    return o, GatedHeadCache(A, A_exc, A_inh, gate, one_minus_gate, v, exc, inh)


def gated_head_backward(do, cache):
    """dq_exc, dk_exc, dq_inh, dk_inh, dv, dz_gate, shaped like the arguments.   [eq:gated-head-backward, derived]"""
    A, A_exc, A_inh, gate, one_minus_gate, v, exc, inh = check.cache("gated_head_backward", cache, GatedHeadCache, do)
    check.upstream("gated_head_backward", do, (*A.shape[:3], v.shape[-1]))
    # o = A @ v
    dA, dv = do @ swap(v), swap(A) @ do
    # A = mix(gate[..., None], A_exc, one_minus_gate[..., None], A_inh)
    dA_exc, dA_inh = gate[..., None] * dA, -one_minus_gate[..., None] * dA
    dgate = row_dot(dA, A_exc + A_inh)[..., 0]
    # gate, one_minus_gate = sigmoid(z_gate), sigmoid(-z_gate)
    dz_gate = gate * one_minus_gate * dgate
    # A_inh, inh = softmax_map_forward(q_inh, k_inh, mask)
    dq_inh, dk_inh = softmax_map_backward(dA_inh, inh)
    # A_exc, exc = softmax_map_forward(q_exc, k_exc, mask)
    dq_exc, dk_exc = softmax_map_backward(dA_exc, exc)
    return dq_exc, dk_exc, dq_inh, dk_inh, dv, dz_gate


# --------------------------------------------------------------------------------- the gate's logits


def gate_specs(cfg):
    """W_gate starts at 0, so that every gate starts at sigmoid(b_gate); gate="head" has no W_gate."""
    b_gate = Spec("H", value=cfg.gate_bias)
    return {"W_gate": Spec("C H"), "b_gate": b_gate} if cfg.gate == "token" else {"b_gate": b_gate}


class GateLogitsCache(NamedTuple):
    linear: LinearCache | None  # None where the gate does not depend on the token


def gate_logits_forward(x, p, cfg, lambda_init):
    """One logit per query and head.                                         [eq:gate, machine review]

        z_gate = x W_gate + b_gate        or, with gate="head", z_gate = b_gate: learned once per head

    x : (B, T, C)      W_gate : (C, H)      b_gate : (H,)
    returns z_gate : (B, H, T), and a GateLogitsCache
    """
    if cfg.gate == "head":
        z_gate = array_module(x).broadcast_to(p["b_gate"][:, None], (x.shape[0], cfg.n_heads, x.shape[1]))
        return z_gate, GateLogitsCache(None)
    z, linear = linear_forward(x, p["W_gate"], p["b_gate"])
    z_gate = swap(z)
    return z_gate, GateLogitsCache(linear)


def gate_logits_backward(dz_gate, cache):
    """dx (B, T, C), or 0 where x plays no part, and the gradients of W_gate and b_gate."""
    if cache.linear is None:
        return 0, {"b_gate": sum_to_shape(dz_gate, (dz_gate.shape[1], 1))[:, 0]}
    # z_gate = swap(z)
    # z, linear = linear_forward(x, p["W_gate"], p["b_gate"])
    dx, dW_gate, db_gate = linear_backward(swap(dz_gate), cache.linear)
    return dx, {"W_gate": dW_gate, "b_gate": db_gate}


class GateLambdaCache(NamedTuple):
    z_gate: object
    logits: GateLogitsCache


def gate_lambda_forward(x, p, cfg, lambda_init):
    """The gate as the lambda of differential attention: on inhibition alone.   [eq:gate-on-inhibition, choice]

        lam = g = sigmoid(z_gate),   A = A_exc - g A_inh

    x : (B, T, C)      W_gate : (C, H)      b_gate : (H,)
    returns lam : (B, H, T), and a GateLambdaCache

    Rows of A sum to 1 - g. A_exc - (1 - g) A_inh, a third reading, is this one with W_gate and b_gate negated.
    """
    z_gate, logits = gate_logits_forward(x, p, cfg, lambda_init)
    lam = sigmoid(z_gate)
    return lam, GateLambdaCache(z_gate, logits)


def gate_lambda_backward(dlam, cache):
    """dx (B, T, C), or 0 where x plays no part, and the gradients of W_gate and b_gate."""
    z_gate, logits = check.cache("gate_lambda_backward", cache, GateLambdaCache, dlam)
    # lam = sigmoid(z_gate)
    dz_gate = dlam * sigmoid(z_gate) * sigmoid(-z_gate)
    # z_gate, logits = gate_logits_forward(x, p, cfg, lambda_init)
    return gate_logits_backward(dz_gate, logits)
