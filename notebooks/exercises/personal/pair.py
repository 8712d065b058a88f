"""The gated differential head, forward and backward, in plain NumPy.

    two maps    A_exc, A_inh = softmax(q k^T / (TEMPERATURE sqrt(d))), each with its own q and k
    gate        g = sigmoid(z_gate)
    fused map   A = g A_exc - (1 - g) A_inh
    output      o = A v

B texts, H heads, T tokens; queries and keys have d numbers, values have e.
A row of A_exc or A_inh sums to 1, or is 0 where the mask leaves no key. A key that is forbidden
has the weight 0.
Each line of the backward stands below the line of the forward that it undoes.
"""

import math

import numpy as np

STUDENT = ""
SEED = 0
TEMPERATURE = 1.25
B, H, T, d, e = 2, 2, 4, 3, 6


def swap(x):
    return x.swapaxes(-1, -2)


def row_sum(x):
    return x.sum(axis=-1, keepdims=True)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def softmax(S, mask=None):
    """Along the last axis. mask : bool, True = may attend, broadcastable to S."""
    masked = S if mask is None else np.where(mask, S, -np.inf)
    top = masked.max(axis=-1, keepdims=True)
    E = np.exp(masked - np.where(np.isfinite(top), top, 0))
    total = row_sum(E)
    return E / np.where(total == 0, 1, total)


def gated_head_forward(q_exc, k_exc, q_inh, k_inh, v, z_gate, mask=None):
    """q_exc, k_exc, q_inh, k_inh : (B, H, T, d), v : (B, H, T, e), z_gate : (B, H, T).

    returns o : (B, H, T, e), and a cache
    """
    scale = 1 / (TEMPERATURE * math.sqrt(q_exc.shape[-1]))
    S_exc = scale * q_exc @ swap(k_exc)
    S_inh = scale * q_inh @ swap(k_inh)
    A_exc = softmax(S_exc, mask)
    A_inh = softmax(S_inh, mask)
    g = sigmoid(z_gate)
    one_minus_g = sigmoid(-z_gate)
    A = g[..., None] * A_exc - one_minus_g[..., None] * A_inh
    o = A @ v
    cache = q_exc, k_exc, q_inh, k_inh, v, A, A_exc, A_inh, g, one_minus_g, scale
    return o, cache


def gated_head_backward(do, cache):
    """The gradients of q_exc, k_exc, q_inh, k_inh, v and z_gate, shaped like these."""
    q_exc, k_exc, q_inh, k_inh, v, A, A_exc, A_inh, g, one_minus_g, scale = cache
    # o = A @ v
    dA = do @ swap(v)
    dv = swap(A) @ do
    # A = g[..., None] * A_exc - one_minus_g[..., None] * A_inh
    dA_exc = g[..., None] * dA
    dA_inh = -one_minus_g[..., None] * dA
    dg = row_sum(dA * (A_exc + A_inh))[..., 0]
    # g = sigmoid(z_gate)
    dz_gate = g * one_minus_g * dg
    # A_inh = softmax(S_inh, mask)
    dS_inh = A_inh * (dA_inh - row_sum(dA_inh * A_inh))
    # A_exc = softmax(S_exc, mask)
    dS_exc = A_exc * (dA_exc - row_sum(dA_exc * A_exc))
    # S_inh = scale * q_inh @ swap(k_inh)
    dq_inh = scale * dS_inh @ k_inh
    dk_inh = scale * swap(dS_inh) @ q_inh
    # S_exc = scale * q_exc @ swap(k_exc)
    dq_exc = scale * dS_exc @ k_exc
    dk_exc = scale * swap(dS_exc) @ q_exc
    grads = dq_exc, dk_exc, dq_inh, dk_inh, dv, dz_gate
    return grads


# ------------------------------------------------------------ what it is tried on; here is no bug


def arguments():
    """q_exc, k_exc, q_inh, k_inh, v, z_gate and a mask, drawn by SEED.

    A token sees itself and those before it. The first token of the first text is padding, which
    nobody sees: its own row of the maps is 0.
    """
    rng = np.random.default_rng(SEED)
    queries_and_keys, v = rng.standard_normal((4, B, H, T, d)), rng.standard_normal((B, H, T, e))
    mask = np.tile(np.tri(T, dtype=bool), (B, 1, 1, 1))
    mask[0, ..., 0] = False
    return *queries_and_keys, v, rng.standard_normal((B, H, T)), mask


def number():
    """One number made of all that the pair returns, the backward called twice."""
    rng = np.random.default_rng(SEED + 1)
    o, cache = gated_head_forward(*arguments())
    do = rng.standard_normal(o.shape)
    results = o, *gated_head_backward(do, cache), *gated_head_backward(do, cache)
    return sum(float((rng.standard_normal(x.shape) * x).sum()) for x in results)


if __name__ == "__main__":
    print(f"{number():.12g}")
