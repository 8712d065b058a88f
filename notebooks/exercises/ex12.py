"""Exercise 12: the same head on tiles, with memory that grows with T and not with T S.

[eq:streamed, standard]
"""

import numpy as np

BASE = 'e'
SCALE = '1/sqrt(d)'


def streamed_attention(q, k, v, width):
    """Softmax attention of one head, `width` keys at a time. No array has the shape (T, S).

        o_i = sum_j BASE^(S_ij) v_j / sum_j BASE^(S_ij),   S = SCALE q k^T

    q : (T, d)      k : (S, d)      v : (S, e)      scores of any size, also 3000 or -3000
    width : how many keys there are in a tile; the last tile may have fewer
    returns o : (T, e), dtype of q
    """
    raise NotImplementedError("ex12: streamed_attention")


def gated_streamed(q_exc, k_exc, q_inh, k_inh, v, g, width):
    """The gated head on tiles.

        o = g o_exc - (1 - g) o_inh,   o_exc and o_inh by streamed_attention

    q_exc, q_inh : (T, d)      k_exc, k_inh : (S, d)      v : (S, e)
    g : (T,), the gate, in (0, 1)
    returns o : (T, e), dtype of q_exc
    """
    raise NotImplementedError("ex12: gated_streamed")
