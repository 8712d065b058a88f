"""Exercise 07: the gated head, backward.   [eq:gated-head-backward, derived]"""

import numpy as np

GATE_ON = 'queries'
GATED = 'exc'


def swap(x):
    """Given. The last two axes exchanged."""
    return x.swapaxes(-1, -2)


def softmax(scores, mask=None):
    """Given. Rows sum to 1, or are 0 where the mask (True = may attend) leaves no key."""
    z = scores if mask is None else np.where(mask, scores, -np.inf)
    top = z.max(axis=-1, keepdims=True)
    e = np.exp(z - np.where(np.isfinite(top), top, 0))
    total = e.sum(axis=-1, keepdims=True)
    return e / np.where(total == 0, 1, total)


def sigmoid(z):
    """Given. 1 / (1 + exp(-z)) without overflow."""
    e = np.exp(-abs(z))
    return np.where(z >= 0, 1, e) / (1 + e)


def gated_head_forward(q_exc, k_exc, q_inh, k_inh, v, z_gate, mask=None):
    """Given: the answer of exercise 06, line by line as you will undo it.

    q_exc, q_inh : (B, H, T, d)      k_exc, k_inh : (B, H, S, d)      v : (B, H, S, e)
    z_gate       : (B, H, T) where GATE_ON is "queries", (B, H, S) where it is "keys"
    returns o : (B, H, T, e), and a cache
    """
    scale = q_exc.shape[-1] ** -0.5
    A_exc = softmax(scale * q_exc @ swap(k_exc), mask)  # (B, H, T, S)
    A_inh = softmax(scale * q_inh @ swap(k_inh), mask)
    z = z_gate[..., None] if GATE_ON == "queries" else z_gate[..., None, :]
    g, one_minus_g = sigmoid(z), sigmoid(-z)  # (B, H, T, 1) or (B, H, 1, S)
    A = g * A_exc - one_minus_g * A_inh if GATED == "exc" else one_minus_g * A_exc - g * A_inh
    o = A @ v
    return o, (q_exc, k_exc, q_inh, k_inh, v, A, A_exc, A_inh, g, one_minus_g)


def gated_head_backward(do, cache):
    """What the loss gains per unit of each argument.

        dA = do v^T      dv = A^T do
        and on from there: dA_exc, dA_inh, dg, dz_gate, and two softmax maps backward

    do    : (B, H, T, e), the derivative of the loss with respect to o
    cache : what gated_head_forward returned
    returns dq_exc, dk_exc, dq_inh, dk_inh, dv, dz_gate, shaped like the arguments
    """
    raise NotImplementedError("ex07: gated_head_backward")


# The parts, so that each is judged alone: return None for those that you have not written yet.
def d_values(do, cache):
    return gated_head_backward(do, cache)[4]


def d_gate(do, cache):
    return gated_head_backward(do, cache)[5]


def d_excitatory(do, cache):
    return gated_head_backward(do, cache)[:2]


def d_inhibitory(do, cache):
    return gated_head_backward(do, cache)[2:4]
