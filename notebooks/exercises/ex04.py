"""Exercise 04: attention and its backward, in named steps.

[eq:softmax-head, eq:softmax-head-backward]
"""

import numpy as np

POWER = 0.5


def swap(x):
    """Transpose the last two axes."""
    return x.swapaxes(-1, -2)


def softmax(S):
    """Over the last axis."""
    E = np.exp(S - S.max(axis=-1, keepdims=True))
    return E / E.sum(axis=-1, keepdims=True)


def attention_forward(q, k, v):
    """o = A v,   A = softmax(S),   S = q k^T / d^POWER

    q : (B, H, T, d)      k : (B, H, S, d)      v : (B, H, S, e)
    returns o : (B, H, T, e), and a cache of your choice, a tuple
    """
    raise NotImplementedError("ex04: attention_forward")


def attention_backward(do, cache):
    """attention_forward read upwards, every step with its name.

    do    : (B, H, T, e)
    cache : what attention_forward returned with o
    returns dA, dS : (B, H, T, S), dq : (B, H, T, d), dk : (B, H, S, d), dv : (B, H, S, e),
                     all of the dtype of do

    S are the scaled scores, as they go into softmax, and dS is the derivative with respect to them.
    """
    raise NotImplementedError("ex04: attention_backward")


def output_of_attention(q, k, v):
    """Given. o alone, without the cache, which is yours."""
    o, cache = attention_forward(q, k, v)
    return o
