"""Twicing attention: what a first pass of attention missed of the values is attended to once more."""

from typing import NamedTuple

from .. import check
from ..ops import swap
from .masks import seen_only
from .softmax import SoftmaxMapCache, check_head, softmax_map_backward, softmax_map_forward


class TwicingHeadCache(NamedTuple):
    A_softmax: object
    v: object
    missed: object
    map: SoftmaxMapCache

    @property
    def A(self):
        """The fused map."""
        return 2 * self.A_softmax - self.A_softmax @ self.A_softmax


def twicing_head_forward(q, k, v, mask=None):
    """Softmax attention, and a second pass over what the first one missed.  [eq:twicing-head, published]

        o = (2 A - A^2) v = A v + A (v - A v),   A = softmax(q k^T / sqrt(d))

    q, k : (B, H, T, d)      v : (B, H, T, e)      mask : bool, True = may attend, broadcastable to (B, H, T, T)
    returns o : (B, H, T, e), and a TwicingHeadCache
    raises    : ShapeError, TypeError naming the argument

    Rows of 2 A - A^2 sum to 1, where every row of A does, and may hold negative weights. A^2 takes two steps: what the
    mask forbids stays 0 only if it forbids every detour too, as causal and padding masks do.
    """
    B, H, T, S = check_head("twicing_head_forward", {"q": q, "k": k, "v": v}, mask)
    if S != T:
        why = f"T = {T} keys as q {q.shape}: A^2 is square"
        raise check.ShapeError(f"twicing_head_forward: k is {k.shape}, expected {why}")
    q, k, v = seen_only(mask, [q], [k, v])
    A, map = softmax_map_forward(q, k, mask)
    first = A @ v
    missed = v - first
    o = first + A @ missed
    return o, TwicingHeadCache(A, v, missed, map)


def twicing_head_backward(do, cache):
    """dq, dk (B, H, T, d), dv (B, H, T, e).                                 [eq:twicing-head-backward, derived]"""
    A, v, missed, map = check.cache("twicing_head_backward", cache, TwicingHeadCache, do)
    check.upstream("twicing_head_backward", do, v.shape)
    # o = first + A @ missed
    dA, dmissed = do @ swap(missed), swap(A) @ do
    # missed = v - first
    dfirst = do - dmissed
    # first = A @ v
    dA = dA + dfirst @ swap(v)
    dv = dmissed + swap(A) @ dfirst
    # A, map = softmax_map_forward(q, k, mask)
    dq, dk = softmax_map_backward(dA, map)
    return dq, dk, dv
