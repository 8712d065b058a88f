"""Differential attention: one softmax map minus lambda times another.

This is the first version of the Differential Transformer (V1); the second is differential_v2.py.
"""

import math
from typing import Annotated, NamedTuple

from ..backend import array_module
from ..ops.axes import sum_to_shape, swap
from ..params import Spec
from ..shapes import Array, ShapeError, arrays, takes, undoes
from .masks import seen_only
from .softmax import SoftmaxMapCache, softmax_map_backward, softmax_map_forward


def as_lam(function, name, given):
    """For @takes: check that lam broadcasts to (B, H, T); a number takes the dtype of q_exc."""
    lam, q, shape = given[name], given["q_exc"], given["q_exc"].shape[:3]
    if isinstance(lam, (int, float)) or (getattr(lam, "shape", None) == () and lam.dtype.kind == "f"):
        # As float64 it would turn all that follows from float32 into float64.
        lam = array_module(q, lam).asarray(lam, q.dtype)
    arrays(function, {"q_exc": "...", "lam": "..."}, q, lam)
    if any(m not in (1, n) for m, n in zip(lam.shape[::-1], shape[::-1], strict=False)) or lam.ndim > 3:
        raise ShapeError(f"{function}: lam is {lam.shape}, expected a shape that broadcasts to (B, H, T) = {shape}")
    return lam


class DifferentialHeadCache(NamedTuple):
    A: Annotated[Array, "B H T S"]
    A_exc: Array
    A_inh: Array
    lam: Array
    v: Annotated[Array, "B H S e"]
    exc: SoftmaxMapCache
    inh: SoftmaxMapCache


@takes(q_exc="B H T d", k_exc="B H S d", q_inh="B H T d", k_inh="B H S d", v="B H S e", lam=as_lam,
       mask="mask B H T S")  # fmt: skip
def differential_head_forward(q_exc, k_exc, q_inh, k_inh, v, lam, mask=None) -> tuple[Array, DifferentialHeadCache]:
    """Excitatory minus lambda times inhibitory attention.         [eq:differential-head, published]

        o = A v,   A = softmax(q_exc k_exc^T / sqrt(d)) - lam softmax(q_inh k_inh^T / sqrt(d))

    lam : a number, or an array that broadcasts to (B, H, T); no unit
    returns o : (B, H, T, e), and a DifferentialHeadCache

    Rows of A sum to 1 - lam, and entries of A may be negative.
    """
    q_exc, q_inh, k_exc, k_inh, v = seen_only(mask, [q_exc, q_inh], [k_exc, k_inh, v])
    A_exc, exc = softmax_map_forward(q_exc, k_exc, mask)
    A_inh, inh = softmax_map_forward(q_inh, k_inh, mask)
    A = A_exc - lam[..., None] * A_inh
    o = A @ v
    return o, DifferentialHeadCache(A, A_exc, A_inh, lam, v, exc, inh)


@undoes(DifferentialHeadCache, "B H T e")
def differential_head_backward(do, cache) -> tuple[Array, Array, Array, Array, Array, Array]:
    """The six gradients, each shaped like its argument.                        [derived]

    returns dq_exc, dk_exc, dq_inh, dk_inh, dv, dlam
    """
    A, A_exc, A_inh, lam, v, exc, inh = cache
    # o = A @ v
    dA, dv = do @ swap(v), swap(A) @ do
    # A = A_exc - lam[..., None] * A_inh
    dA_exc, dA_inh = dA, -lam[..., None] * dA
    dlam = -sum_to_shape(dA * A_inh, (*lam.shape, 1))[..., 0]
    # A_inh, inh = softmax_map_forward(q_inh, k_inh, mask)
    dq_inh, dk_inh = softmax_map_backward(dA_inh, inh)
    # A_exc, exc = softmax_map_forward(q_exc, k_exc, mask)
    dq_exc, dk_exc = softmax_map_backward(dA_exc, exc)
    return dq_exc, dk_exc, dq_inh, dk_inh, dv, dlam


# ---------------------------------------------------------------------------------- lambda, learned


def depth_schedule(layer) -> float:
    """lambda_init grows from 0.2 at the first layer towards 0.8.     [eq:lambda-init, published]"""
    return 0.8 - 0.6 * math.exp(-0.3 * layer)


def lambda_specs(cfg) -> dict[str, Spec]:
    """The four vectors of the key width d that lambda is made of; all heads share them."""
    return {f"lambda_{s}": Spec("d", std=0.1) for s in ("q_exc", "k_exc", "q_inh", "k_inh")}


class LambdaCache(NamedTuple):
    p: dict
    e_exc: Array
    e_inh: Array


@takes(x="B T C")
def lambda_forward(x, p, cfg) -> tuple[Array, LambdaCache]:
    """One lambda, learned for the whole layer; tokens do not change it.      [eq:lambda, published]

        lam = exp(lambda_q_exc . lambda_k_exc) - exp(lambda_q_inh . lambda_k_inh) + lambda_init

    p : lambda_q_exc, lambda_k_exc, lambda_q_inh, lambda_k_inh (d,)
    cfg.lambda_init : a number, as at_depth makes it
    returns lam : (), and a LambdaCache
    """
    exp = array_module(x).exp
    e_exc = exp((p["lambda_q_exc"] * p["lambda_k_exc"]).sum())
    e_inh = exp((p["lambda_q_inh"] * p["lambda_k_inh"]).sum())
    lam = e_exc - e_inh + cfg.lambda_init
    return lam, LambdaCache(p, e_exc, e_inh)


@undoes(LambdaCache)
def lambda_backward(dlam, cache) -> tuple[int, dict]:
    """dx, which is 0 since lambda does not depend on x, and the gradients of the four vectors."""
    p, e_exc, e_inh = cache
    # e_inh = exp((p["lambda_q_inh"] * p["lambda_k_inh"]).sum())
    # e_exc = exp((p["lambda_q_exc"] * p["lambda_k_exc"]).sum())
    dexc, dinh = dlam * e_exc, -dlam * e_inh
    exc = {"lambda_q_exc": dexc * p["lambda_k_exc"], "lambda_k_exc": dexc * p["lambda_q_exc"]}
    inh = {"lambda_q_inh": dinh * p["lambda_k_inh"], "lambda_k_inh": dinh * p["lambda_q_inh"]}
    return 0, exc | inh
