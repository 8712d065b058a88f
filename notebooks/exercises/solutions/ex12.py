"""Exercise 12: the same head on tiles, with memory that grows with T and not with T S.

[eq:streamed, standard]
"""

import numpy as np

BASE = "e"  # course choice: "e", "2"
SCALE = "1/sqrt(d)"  # course choice: "1/sqrt(d)", "1/d"


def streamed_attention(q, k, v, width):
    """Softmax attention of one head, `width` keys at a time. No array has the shape (T, S).

        o_i = sum_j BASE^(S_ij) v_j / sum_j BASE^(S_ij),   S = SCALE q k^T

    q : (T, d)      k : (S, d)      v : (S, e)      scores of any size, also 3000 or -3000
    width : how many keys there are in a tile; the last tile may have fewer
    returns o : (T, e), dtype of q
    """
    ### BEGIN SOLUTION
    power = np.exp if BASE == "e" else np.exp2
    q = q * q.shape[-1] ** (-0.5 if SCALE == "1/sqrt(d)" else -1)
    m = np.full((len(q), 1), -np.inf, q.dtype)  # the largest score so far
    total, o = np.zeros_like(m), np.zeros((len(q), v.shape[-1]), q.dtype)
    for start in range(0, len(k), width):
        tile = slice(start, start + width)
        S = q @ k[tile].T  # (T, width)
        m_old, m = m, np.maximum(m, S.max(axis=-1, keepdims=True))
        E, fade = power(S - m), power(m_old - m)
        total = fade * total + E.sum(axis=-1, keepdims=True)
        o = fade * o + E @ v[tile]
    return o / total
    ### END SOLUTION


def gated_streamed(q_exc, k_exc, q_inh, k_inh, v, g, width):
    """The gated head on tiles.

        o = g o_exc - (1 - g) o_inh,   o_exc and o_inh by streamed_attention

    q_exc, q_inh : (T, d)      k_exc, k_inh : (S, d)      v : (S, e)
    g : (T,), the gate, in (0, 1)
    returns o : (T, e), dtype of q_exc
    """
    ### BEGIN SOLUTION
    o_exc, o_inh = streamed_attention(q_exc, k_exc, v, width), streamed_attention(q_inh, k_inh, v, width)
    return g[:, None] * o_exc - (1 - g)[:, None] * o_inh
    ### END SOLUTION
