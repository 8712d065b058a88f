"""Exercise 06: the gated head, forward.   [eq:gated-head, machine review]"""

import numpy as np

GATE_ON = 'queries'
GATED = 'exc'


def softmax(scores, mask=None):
    """Given. Rows sum to 1, or are 0 where the mask (True = may attend) leaves no key."""
    z = scores if mask is None else np.where(mask, scores, -np.inf)
    top = z.max(axis=-1, keepdims=True)
    e = np.exp(z - np.where(np.isfinite(top), top, 0))
    total = e.sum(axis=-1, keepdims=True)
    return e / np.where(total == 0, 1, total)


def sigmoid(z):
    """1 / (1 + exp(-z)) for any finite z, also 1000 or -1000.

    No exp in it may overflow, even where it is not used.
    """
    raise NotImplementedError("ex06: sigmoid")


def gated_head_forward(q_exc, k_exc, q_inh, k_inh, v, z_gate, mask=None):
    """Excitatory minus inhibitory attention, mixed by a gate.

        A_exc = softmax(q_exc k_exc^T / sqrt(d))    A_inh = softmax(q_inh k_inh^T / sqrt(d))
        g     = sigmoid(z_gate)
        A     = g A_exc - (1 - g) A_inh     where GATED is "exc": g weighs the excitatory map
        A     = (1 - g) A_exc - g A_inh     where GATED is "inh": g weighs the inhibitory map
        o     = A v

    q_exc, q_inh : (B, H, T, d)      k_exc, k_inh : (B, H, S, d)      v : (B, H, S, e)
    z_gate : (B, H, T) where GATE_ON is "queries": row i of the maps has g_i
             (B, H, S) where GATE_ON is "keys": column j of the maps has g_j
    mask   : bool, broadcastable to (B, H, T, S), True = may attend; None: all
    returns o : (B, H, T, e), dtype of the arguments, and a cache, a tuple of what a backward will
                need

    1 - g loses its digits where g is close to 1: it is sigmoid(-z_gate).
    """
    raise NotImplementedError("ex06: gated_head_forward")


def head_output(*arguments):
    """Given. o alone, without the cache, which is yours."""
    o, cache = gated_head_forward(*arguments)
    return o


def watched_sigmoid(z):
    """Given. sigmoid, where an overflow is an error and not only a warning."""
    with np.errstate(over="raise", invalid="raise"):
        return sigmoid(z)
