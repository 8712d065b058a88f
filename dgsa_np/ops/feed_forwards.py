"""The two kinds of feed-forward layer that a block can have."""

from typing import NamedTuple

from ..shapes import Array, takes, undoes
from .activations import GeluCache, SiluCache, gelu_backward, gelu_forward, silu_backward, silu_forward
from .linear import LinearCache, linear_backward, linear_forward


class SwigluCache(NamedTuple):
    gate_path: LinearCache
    silu: SiluCache
    up_path: LinearCache
    down_path: LinearCache
    s: Array
    u: Array


@takes(x="... C", W_gate="C F", W_up="C F", W_down="F C")
def swiglu_forward(x, W_gate, W_up, W_down) -> tuple[Array, SwigluCache]:
    """The gated feed-forward layer, SwiGLU.                                   [eq:swiglu, standard]

        y = (silu(x W_gate) * (x W_up)) W_down

    returns y : (..., C), and a SwigluCache
    """
    a, gate_path = linear_forward(x, W_gate)
    s, silu = silu_forward(a)
    u, up_path = linear_forward(x, W_up)
    y, down_path = linear_forward(s * u, W_down)
    return y, SwigluCache(gate_path, silu, up_path, down_path, s, u)


@undoes(SwigluCache, "down_path")
def swiglu_backward(dy, cache) -> tuple[Array, Array, Array, Array]:
    """dx (..., C), dW_gate (C, F), dW_up (C, F), dW_down (F, C)."""
    gate_path, silu, up_path, down_path, s, u = cache
    # y, down_path = linear_forward(s * u, W_down)
    dh, dW_down = linear_backward(dy, down_path)
    # u, up_path = linear_forward(x, W_up)
    dx_up, dW_up = linear_backward(dh * s, up_path)
    # s, silu = silu_forward(a)
    da = silu_backward(dh * u, silu)
    # a, gate_path = linear_forward(x, W_gate)
    dx_gate, dW_gate = linear_backward(da, gate_path)
    return dx_up + dx_gate, dW_gate, dW_up, dW_down


class GeluMlpCache(NamedTuple):
    up: LinearCache
    gelu: GeluCache
    down: LinearCache


@takes(x="... C", W_up="C F", W_down="F C")
def gelu_mlp_forward(x, W_up, W_down) -> tuple[Array, GeluMlpCache]:
    """The plain feed-forward layer with GELU, that of the ViT baseline.     [eq:gelu-mlp, standard]

        y = gelu(x W_up) W_down

    returns y : (..., C), and a GeluMlpCache
    """
    a, up = linear_forward(x, W_up)
    h, gelu = gelu_forward(a)
    y, down = linear_forward(h, W_down)
    return y, GeluMlpCache(up, gelu, down)


@undoes(GeluMlpCache, "down")
def gelu_mlp_backward(dy, cache) -> tuple[Array, Array, Array]:
    """dx (..., C), dW_up (C, F), dW_down (F, C)."""
    up, gelu, down = cache
    # y, down = linear_forward(h, W_down)
    dh, dW_down = linear_backward(dy, down)
    # h, gelu = gelu_forward(a)
    da = gelu_backward(dh, gelu)
    # a, up = linear_forward(x, W_up)
    dx, dW_up = linear_backward(da, up)
    return dx, dW_up, dW_down
