"""Differential attention: one softmax map minus lambda times another (Differential Transformer V1)."""

import math
from typing import NamedTuple

from .. import check
from ..backend import array_module
from ..ops import row_dot, sum_to_shape, swap
from ..params import Spec
from .masks import seen_only
from .softmax import SoftmaxMapCache, check_head, softmax_map_backward, softmax_map_forward


class DifferentialHeadCache(NamedTuple):
    A: object
    A_exc: object
    A_inh: object
    lam: object
    v: object
    exc: SoftmaxMapCache
    inh: SoftmaxMapCache


def differential_head_forward(q_exc, k_exc, q_inh, k_inh, v, lam, mask=None):
    """Excitatory minus lambda times inhibitory attention.                   [eq:differential-head, published]

        o = A v,   A = softmax(q_exc k_exc^T / sqrt(d)) - lam softmax(q_inh k_inh^T / sqrt(d))

    q_exc, q_inh : (B, H, T, d)      k_exc, k_inh : (B, H, S, d)      v : (B, H, S, e)
    lam  : broadcastable to (B, H, T), a number (of the dtype of q_exc then) or an array, no unit
    mask : bool, True = may attend, broadcastable to (B, H, T, S)
    returns o : (B, H, T, e), and a DifferentialHeadCache
    raises    : ShapeError, TypeError naming the argument

    Rows of A sum to 1 - lam and may be negative.
    """
    arrays = {"q_exc": q_exc, "k_exc": k_exc, "q_inh": q_inh, "k_inh": k_inh, "v": v}
    B, H, T, S = check_head("differential_head_forward", arrays, mask)
    lam = as_lam("differential_head_forward", lam, q_exc, (B, H, T))
    q_exc, q_inh, k_exc, k_inh, v = seen_only(mask, [q_exc, q_inh], [k_exc, k_inh, v])
    A_exc, exc = softmax_map_forward(q_exc, k_exc, mask)
    A_inh, inh = softmax_map_forward(q_inh, k_inh, mask)
    A = A_exc - lam[..., None] * A_inh
    o = A @ v
    return o, DifferentialHeadCache(A, A_exc, A_inh, lam, v, exc, inh)


def differential_head_backward(do, cache):
    """dq_exc, dk_exc, dq_inh, dk_inh, dv, dlam, each shaped like its argument.   [derived]"""
    A, A_exc, A_inh, lam, v, exc, inh = check.cache("differential_head_backward", cache, DifferentialHeadCache, do)
    check.upstream("differential_head_backward", do, (*A.shape[:3], v.shape[-1]))
    # o = A @ v
    dA, dv = do @ swap(v), swap(A) @ do
    # A = A_exc - lam[..., None] * A_inh
    dA_exc, dA_inh = dA, -lam[..., None] * dA
    dlam = sum_to_shape(-row_dot(dA, A_inh)[..., 0], lam.shape)
    # A_inh, inh = softmax_map_forward(q_inh, k_inh, mask)
    dq_inh, dk_inh = softmax_map_backward(dA_inh, inh)
    # A_exc, exc = softmax_map_forward(q_exc, k_exc, mask)
    dq_exc, dk_exc = softmax_map_backward(dA_exc, exc)
    return dq_exc, dk_exc, dq_inh, dk_inh, dv, dlam


def as_lam(function, lam, q, shape):
    """lam as an array. A lone number takes the dtype of the queries: in float64 it would widen float32."""
    if isinstance(lam, (int, float)) or (getattr(lam, "shape", None) == () and lam.dtype.kind == "f"):
        lam = array_module(q, lam).asarray(lam, q.dtype)
    check_lam(function, q, lam, shape)
    return lam


def check_lam(function, q, lam, shape):
    """lam broadcasts to (B, H, T)."""
    check.arrays(function, {"q_exc": "...", "lam": "..."}, q, lam)
    if any(m not in (1, n) for m, n in zip(lam.shape[::-1], shape[::-1], strict=False)) or lam.ndim > 3:
        wanted = f"a shape that broadcasts to (B, H, T) = {shape}"
        raise check.ShapeError(f"{function}: lam is {lam.shape}, expected {wanted}")


# ------------------------------------------------------------------------------------ lambda, learned


def depth_schedule(layer):
    """lambda_init grows from 0.2 at the first layer towards 0.8.            [eq:lambda-init, published]"""
    return 0.8 - 0.6 * math.exp(-0.3 * layer)


def lambda_specs(cfg):
    """Four vectors of the key width per layer."""
    return {f"lambda_{s}": Spec("d", std=0.1) for s in ("q_exc", "k_exc", "q_inh", "k_inh")}


class LambdaCache(NamedTuple):
    p: dict
    e_exc: object
    e_inh: object


def lambda_forward(x, p, cfg, lambda_init):
    """One lambda for the whole layer; the tokens x play no part.            [eq:lambda, published]

        lam = exp(lambda_q_exc . lambda_k_exc) - exp(lambda_q_inh . lambda_k_inh) + lambda_init

    lambda_* : (d,)
    returns lam : (), and a LambdaCache
    """
    exp = array_module(x).exp
    e_exc = exp((p["lambda_q_exc"] * p["lambda_k_exc"]).sum())
    e_inh = exp((p["lambda_q_inh"] * p["lambda_k_inh"]).sum())
    lam = e_exc - e_inh + float(lambda_init)
    return lam, LambdaCache(p, e_exc, e_inh)


def lambda_backward(dlam, cache):
    """dx, which is 0, and the gradients of the four vectors."""
    p, e_exc, e_inh = check.cache("lambda_backward", cache, LambdaCache, dlam)
    # e_inh = exp((p["lambda_q_inh"] * p["lambda_k_inh"]).sum())
    # e_exc = exp((p["lambda_q_exc"] * p["lambda_k_exc"]).sum())
    dexc, dinh = dlam * e_exc, -dlam * e_inh
    exc = {"lambda_q_exc": dexc * p["lambda_k_exc"], "lambda_k_exc": dexc * p["lambda_q_exc"]}
    inh = {"lambda_q_inh": dinh * p["lambda_k_inh"], "lambda_k_inh": dinh * p["lambda_q_inh"]}
    return 0, exc | inh
