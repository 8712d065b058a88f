"""Softmax attention whose heads learn how sharply they look.

A test adds this mechanism to a copy of the package. There it is dgsa_np/attention/toy.py, with a
row in the table of mechanisms, and nothing else knows it.
"""

from typing import Annotated, NamedTuple

from dgsa_np.attention.masks import seen_only
from dgsa_np.attention.softmax import SoftmaxMapCache, softmax_map_backward, softmax_map_forward
from dgsa_np.backend import array_module
from dgsa_np.ops.axes import row_sum, sum_to_shape, swap
from dgsa_np.params import Spec
from dgsa_np.shapes import Array, takes, undoes


class ToyHeadCache(NamedTuple):
    A: Annotated[Array, "B H T S"]
    q: Array
    v: Annotated[Array, "B H S e"]
    sharpness: Array
    softmax: SoftmaxMapCache


@takes(q="B H T d", k="B H S d", v="B H S e", sharpness="B H T", mask="mask B H T S")
def toy_head_forward(q, k, v, sharpness, mask=None) -> tuple[Array, ToyHeadCache]:
    """Softmax attention of queries that are made longer or shorter.      [eq:toy-head, choice]

        o = A v,   A = softmax(s q k^T / sqrt(d))

    sharpness : s; the larger, the nearer a row of A is to a single 1
    returns o : (B, H, T, e), and a ToyHeadCache

    Rows of A sum to 1, or are all 0 where the mask leaves no key.
    """
    q, k, v = seen_only(mask, [q], [k, v])
    longer = sharpness[..., None] * q
    A, softmax = softmax_map_forward(longer, k, mask)
    o = A @ v
    return o, ToyHeadCache(A, q, v, sharpness, softmax)


@undoes(ToyHeadCache, "B H T e")
def toy_head_backward(do, cache) -> tuple[Array, Array, Array, Array]:
    """dq (B, H, T, d), dk (B, H, S, d), dv (B, H, S, e), dsharpness (B, H, T).   [derived]"""
    A, q, v, sharpness, softmax = cache
    # o = A @ v
    dA, dv = do @ swap(v), swap(A) @ do
    # A, softmax = softmax_map_forward(longer, k, mask)
    dlonger, dk = softmax_map_backward(dA, softmax)
    # longer = sharpness[..., None] * q
    dq, dsharpness = sharpness[..., None] * dlonger, row_sum(dlonger * q)[..., 0]
    return dq, dk, dv, dsharpness


# ----------------------------------------------------------------------- sharpness, from the head


def sharpness_specs(cfg):
    """log_sharpness starts at 0, so that every head starts as softmax attention."""
    return {"log_sharpness": Spec("H")}


class SharpnessCache(NamedTuple):
    sharpness: Annotated[Array, "B H T"]


@takes(x="B T C")
def sharpness_forward(x, p, cfg) -> tuple[Array, SharpnessCache]:
    """One sharpness per head; of the tokens x only their number counts.  [eq:toy-sharpness, choice]

        s = exp(log_sharpness)

    p : log_sharpness (H,)
    returns sharpness : (B, H, T), and a SharpnessCache
    """
    xp = array_module(x)
    each = xp.exp(p["log_sharpness"])[:, None]
    sharpness = xp.broadcast_to(each, (x.shape[0], cfg.n_heads, x.shape[1]))
    return sharpness, SharpnessCache(sharpness)


@undoes(SharpnessCache, "B H T")
def sharpness_backward(dsharpness, cache) -> tuple[int, dict]:
    """dx, which is 0, and the gradient of log_sharpness."""
    (sharpness,) = cache
    # sharpness = xp.broadcast_to(each, (x.shape[0], cfg.n_heads, x.shape[1]))
    # each = xp.exp(p["log_sharpness"])[:, None]
    dlog = sum_to_shape(sharpness * dsharpness, (sharpness.shape[1], 1))[:, 0]
    return 0, {"log_sharpness": dlog}
