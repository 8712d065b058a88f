"""Differential gated self-attention (M-DGSA).

Each head has two softmax maps, an excitatory and an inhibitory one, and subtracts the second from
the first. A gate per token and head says how much each of the two weighs.
"""

from typing import Annotated, NamedTuple

from ..backend import array_module
from ..ops.axes import row_sum, sum_to_shape, swap
from ..ops.linear import LinearCache, linear_backward, linear_forward
from ..ops.softmax import sigmoid
from ..params import Spec
from ..shapes import Array, takes, undoes
from .masks import seen_only
from .softmax import SoftmaxMapCache, softmax_map_backward, softmax_map_forward


class GatedHeadCache(NamedTuple):
    A: Annotated[Array, "B H T S"]
    A_exc: Array
    A_inh: Array
    gate: Array
    one_minus_gate: Array
    v: Annotated[Array, "B H S e"]
    exc: SoftmaxMapCache
    inh: SoftmaxMapCache


@takes(q_exc="B H T d", k_exc="B H S d", q_inh="B H T d", k_inh="B H S d", v="B H S e", z_gate="B H T",
       mask="mask B H T S")  # fmt: skip
def gated_head_forward(q_exc, k_exc, q_inh, k_inh, v, z_gate, mask=None) -> tuple[Array, GatedHeadCache]:
    """Excitatory minus inhibitory attention, mixed by a gate.       [eq:gated-head, machine review]

        A = g softmax(q_exc k_exc^T / sqrt(d)) - (1 - g) softmax(q_inh k_inh^T / sqrt(d))
        g = sigmoid(z_gate),   o = A v

    returns o : (B, H, T, e), and a GatedHeadCache

    Rows of A sum to 2 g - 1, and entries of A may be negative. A head norm divides o by its size,
    so that after it (up to eps) only the ratio (1 - g) / g of the two weights counts. It is
    exp(-z_gate), the lambda of differential attention, here anywhere in (0, inf). Other readings of
    the paper have it in (0, 1): docs/paper_questions.md.
    """
    q_exc, q_inh, k_exc, k_inh, v = seen_only(mask, [q_exc, q_inh], [k_exc, k_inh, v])
    A_exc, exc = softmax_map_forward(q_exc, k_exc, mask)
    A_inh, inh = softmax_map_forward(q_inh, k_inh, mask)
    gate, one_minus_gate = sigmoid(z_gate), sigmoid(-z_gate)
    A = gate[..., None] * A_exc - one_minus_gate[..., None] * A_inh
    o = A @ v
    return o, GatedHeadCache(A, A_exc, A_inh, gate, one_minus_gate, v, exc, inh)


@undoes(GatedHeadCache, "B H T e")
def gated_head_backward(do, cache) -> tuple[Array, Array, Array, Array, Array, Array]:
    """The six gradients, each shaped like its argument.           [eq:gated-head-backward, derived]

    returns dq_exc, dk_exc, dq_inh, dk_inh, dv, dz_gate
    """
    A, A_exc, A_inh, gate, one_minus_gate, v, exc, inh = cache
    # o = A @ v
    dA, dv = do @ swap(v), swap(A) @ do
    # A = gate[..., None] * A_exc - one_minus_gate[..., None] * A_inh
    dA_exc, dA_inh = gate[..., None] * dA, -one_minus_gate[..., None] * dA
    # more gate is more of A_exc, and less of A_inh is taken away: both count with a plus
    dgate = row_sum(dA * (A_exc + A_inh))[..., 0]
    # gate, one_minus_gate = sigmoid(z_gate), sigmoid(-z_gate)
    dz_gate = gate * one_minus_gate * dgate
    # A_inh, inh = softmax_map_forward(q_inh, k_inh, mask)
    dq_inh, dk_inh = softmax_map_backward(dA_inh, inh)
    # A_exc, exc = softmax_map_forward(q_exc, k_exc, mask)
    dq_exc, dk_exc = softmax_map_backward(dA_exc, exc)
    return dq_exc, dk_exc, dq_inh, dk_inh, dv, dz_gate


# -------------------------------------------------------------------------------- the gate's logits


def gate_specs(cfg) -> dict[str, Spec]:
    """The gate's parameters: W_gate (C, H), but not with gate="head", and b_gate (H,).

    W_gate starts at 0, so that every gate starts at sigmoid(b_gate), whatever its token.
    """
    b_gate = Spec("H", value=cfg.gate_bias)
    return {"W_gate": Spec("C H"), "b_gate": b_gate} if cfg.gate == "token" else {"b_gate": b_gate}


class GateLogitsCache(NamedTuple):
    linear: LinearCache | None  # None with gate="head", where the gate does not depend on the token


@takes(x="B T C")
def gate_logits_forward(x, p, cfg) -> tuple[Array, GateLogitsCache]:
    """The logit of the gate for each query and head.                      [eq:gate, machine review]

        z_gate = x W_gate + b_gate
        z_gate = b_gate                 with gate="head", one learned number per head

    p : W_gate (C, H), b_gate (H,); with gate="head", b_gate alone
    returns z_gate : (B, H, T), and a GateLogitsCache
    """
    if cfg.gate == "head":
        z_gate = array_module(x).broadcast_to(p["b_gate"][:, None], (x.shape[0], cfg.n_heads, x.shape[1]))
        return z_gate, GateLogitsCache(None)
    z, linear = linear_forward(x, p["W_gate"], p["b_gate"])
    z_gate = swap(z)
    return z_gate, GateLogitsCache(linear)


@undoes(GateLogitsCache)
def gate_logits_backward(dz_gate, cache) -> tuple[Array | int, dict]:
    """dx (B, T, C), or 0 where the gate ignores x, and the gradients of W_gate and b_gate."""
    (linear,) = cache
    if linear is None:
        return 0, {"b_gate": sum_to_shape(dz_gate, (dz_gate.shape[1], 1))[:, 0]}
    # z_gate = swap(z)
    # z, linear = linear_forward(x, p["W_gate"], p["b_gate"])
    dx, dW_gate, db_gate = linear_backward(swap(dz_gate), linear)
    return dx, {"W_gate": dW_gate, "b_gate": db_gate}


class GateLambdaCache(NamedTuple):
    gate: Annotated[Array, "B H T"]
    one_minus_gate: Array
    logits: GateLogitsCache


@takes(x="B T C")
def gate_lambda_forward(x, p, cfg) -> tuple[Array, GateLambdaCache]:
    """The gate as the lambda of differential attention.             [eq:gate-on-inhibition, choice]

        lam = g = sigmoid(z_gate),   A = A_exc - g A_inh

    p : W_gate (C, H), b_gate (H,); with gate="head", b_gate alone
    returns lam : (B, H, T), and a GateLambdaCache

    With gate_on="inhibition" the gate weighs the inhibitory map alone, and rows of A sum to 1 - g.
    A third reading, A_exc - (1 - g) A_inh, is this one with W_gate and b_gate negated.
    """
    z_gate, logits = gate_logits_forward(x, p, cfg)
    gate, one_minus_gate = sigmoid(z_gate), sigmoid(-z_gate)
    return gate, GateLambdaCache(gate, one_minus_gate, logits)


@undoes(GateLambdaCache, "B H T")
def gate_lambda_backward(dlam, cache) -> tuple[Array | int, dict]:
    """dx (B, T, C), or 0 where the gate ignores x, and the gradients of W_gate and b_gate."""
    gate, one_minus_gate, logits = cache
    # gate, one_minus_gate = sigmoid(z_gate), sigmoid(-z_gate)
    dz_gate = gate * one_minus_gate * dlam
    # z_gate, logits = gate_logits_forward(x, p, cfg)
    return gate_logits_backward(dz_gate, logits)
