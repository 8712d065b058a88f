"""Gated attention: softmax attention whose output is multiplied by a gate per token and head."""

from typing import Annotated, NamedTuple

from ..ops.axes import row_sum, swap
from ..ops.linear import LinearCache, linear_backward, linear_forward
from ..ops.softmax import sigmoid
from ..params import Spec
from ..shapes import Array, takes, undoes
from .softmax import SoftmaxHeadCache, softmax_head_backward, softmax_head_forward


class OutputGateHeadCache(NamedTuple):
    gate: Annotated[Array, "B H T"]
    o_softmax: Annotated[Array, "B H T e"]
    softmax: SoftmaxHeadCache

    @property
    def A(self):
        """The map that is applied to the values: the gate times the softmax map."""
        return self.gate[..., None] * self.softmax.A


@takes(q="B H T d", k="B H S d", v="B H S e", gate="B H T", mask="mask B H T S")
def output_gate_head_forward(q, k, v, gate, mask=None) -> tuple[Array, OutputGateHeadCache]:
    """Softmax attention times a gate.                              [eq:output-gate-head, published]

        o = g softmax(q k^T / sqrt(d)) v

    returns o : (B, H, T, e), and an OutputGateHeadCache

    Rows of the map that is applied to v, cache.A, sum to g.
    """
    o_softmax, softmax = softmax_head_forward(q, k, v, mask)
    o = gate[..., None] * o_softmax
    return o, OutputGateHeadCache(gate, o_softmax, softmax)


@undoes(OutputGateHeadCache, "B H T e")
def output_gate_head_backward(do, cache) -> tuple[Array, Array, Array, Array]:
    """The gradients dq, dk, dv and dgate, each shaped like its argument.       [derived]"""
    gate, o_softmax, softmax = cache
    # o = gate[..., None] * o_softmax
    do_softmax, dgate = gate[..., None] * do, row_sum(do * o_softmax)[..., 0]
    # o_softmax, softmax = softmax_head_forward(q, k, v, mask)
    dq, dk, dv = softmax_head_backward(do_softmax, softmax)
    return dq, dk, dv, dgate


# ------------------------------------------------------------------------- the gate, from the token


def token_gate_specs(cfg) -> dict[str, Spec]:
    """W_gate (C, H). It starts at 0, so that every gate starts at 1/2."""
    return {"W_gate": Spec("C H")}


class TokenGateCache(NamedTuple):
    gate: Annotated[Array, "B H T"]
    one_minus_gate: Array
    linear: LinearCache


@takes(x="B T C")
def token_gate_forward(x, p, cfg) -> tuple[Array, TokenGateCache]:
    """A gate without bias: one number in (0, 1) per token and head.      [eq:token-gate, published]

        g = sigmoid(x W_gate)

    p : W_gate (C, H)
    returns gate : (B, H, T), and a TokenGateCache
    """
    z, linear = linear_forward(x, p["W_gate"])
    gate, one_minus_gate = sigmoid(swap(z)), sigmoid(-swap(z))
    return gate, TokenGateCache(gate, one_minus_gate, linear)


@undoes(TokenGateCache, "B H T")
def token_gate_backward(dgate, cache) -> tuple[Array, dict]:
    """dx (B, T, C), and the gradient of W_gate."""
    gate, one_minus_gate, linear = cache
    # gate, one_minus_gate = sigmoid(swap(z)), sigmoid(-swap(z))
    dz = swap(gate * one_minus_gate * dgate)
    # z, linear = linear_forward(x, p["W_gate"])
    dx, dW_gate = linear_backward(dz, linear)
    return dx, {"W_gate": dW_gate}
