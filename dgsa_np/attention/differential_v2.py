"""Differential Transformer V2: two queries look at the same keys and values; lambda is a number per token and head."""

from .. import check
from .differential import DifferentialHeadCache, check_lam, differential_head_backward, differential_head_forward
from .softmax import check_head


def differential_v2_head_forward(q_exc, q_inh, k, v, lam, mask=None):
    """The difference of two maps over shared keys.                          [eq:differential-v2-head, published]

        o = A v,   A = softmax(q_exc k^T / sqrt(d)) - lam softmax(q_inh k^T / sqrt(d))

    q_exc, q_inh : (B, H, T, d)      k : (B, H, S, d)      v : (B, H, S, e)
    lam : (B, H, T)      mask : bool, True = may attend, broadcastable to (B, H, T, S)
    returns o : (B, H, T, e), and a DifferentialHeadCache
    raises    : ShapeError, TypeError naming the argument
    """
    shape = check_head("differential_v2_head_forward", {"q_exc": q_exc, "k": k, "q_inh": q_inh, "v": v}, mask)
    check_lam("differential_v2_head_forward", q_exc, lam, shape[:3])
    o, head = differential_head_forward(q_exc, k, q_inh, k, v, lam, mask)
    return o, head


def differential_v2_head_backward(do, cache):
    """dq_exc, dq_inh (B, H, T, d), dk (B, H, S, d), dv (B, H, S, e), dlam (B, H, T).   [derived]"""
    check.cache("differential_v2_head_backward", cache, DifferentialHeadCache, do)
    check.upstream("differential_v2_head_backward", do, (*cache.A.shape[:3], cache.v.shape[-1]))
    # o, head = differential_head_forward(q_exc, k, q_inh, k, v, lam, mask)
    dq_exc, dk_exc, dq_inh, dk_inh, dv, dlam = differential_head_backward(do, cache)
    return dq_exc, dq_inh, dk_exc + dk_inh, dv, dlam
