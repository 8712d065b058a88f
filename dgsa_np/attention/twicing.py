"""Twicing attention: attend, then attend again to what the first pass left out of the values."""

from typing import Annotated, NamedTuple

from ..ops.axes import swap
from ..shapes import Array, takes, undoes
from .masks import seen_only
from .softmax import SoftmaxMapCache, softmax_map_backward, softmax_map_forward


class TwicingHeadCache(NamedTuple):
    A_softmax: Annotated[Array, "B H T T"]
    v: Annotated[Array, "B H T e"]
    missed: Array
    map: SoftmaxMapCache

    @property
    def A(self):
        """The fused map."""
        return 2 * self.A_softmax - self.A_softmax @ self.A_softmax


@takes(q="B H T d", k="B H T d", v="B H T e", mask="mask B H T T")
def twicing_head_forward(q, k, v, mask=None) -> tuple[Array, TwicingHeadCache]:
    """Softmax attention, then a second pass over what it missed.       [eq:twicing-head, published]

        o = (2 A - A^2) v = A v + A (v - A v),   A = softmax(q k^T / sqrt(d))

    returns o : (B, H, T, e), and a TwicingHeadCache

    There are as many keys as queries, since A^2 needs a square A. Rows of 2 A - A^2 sum to 1 where
    every row of A does, and entries may be negative. A^2 leads from a query to a key through a
    third token. So what the mask forbids stays 0 only if the mask forbids every such detour too, as
    causal and padding masks do.
    """
    q, k, v = seen_only(mask, [q], [k, v])
    A, map = softmax_map_forward(q, k, mask)
    first = A @ v
    missed = v - first
    o = first + A @ missed
    return o, TwicingHeadCache(A, v, missed, map)


@undoes(TwicingHeadCache, "B H T e")
def twicing_head_backward(do, cache) -> tuple[Array, Array, Array]:
    """The gradients dq, dk and dv, shaped like q, k and v.   [eq:twicing-head-backward, derived]"""
    A, v, missed, map = cache
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
