"""Exercise 04: attention and its backward, in named steps.

[eq:softmax-head, eq:softmax-head-backward]
"""

import numpy as np

POWER = 0.5  # course choice: 1.0, 0.25, 0.75


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
    ### BEGIN SOLUTION
    scale = q.shape[-1] ** -POWER
    S = scale * (q @ swap(k))
    A = softmax(S)
    o = A @ v
    return o, (q, k, v, A, scale)
    ### END SOLUTION


def attention_backward(do, cache):
    """attention_forward read upwards, every step with its name.

    do    : (B, H, T, e)
    cache : what attention_forward returned with o
    returns dA, dS : (B, H, T, S), dq : (B, H, T, d), dk : (B, H, S, d), dv : (B, H, S, e),
                     all of the dtype of do

    S are the scaled scores, as they go into softmax, and dS is the derivative with respect to them.
    """
    ### BEGIN SOLUTION
    q, k, v, A, scale = cache
    # o = A @ v
    dA = do @ swap(v)
    dv = swap(A) @ do
    # A = softmax(S)
    dS = A * (dA - (A * dA).sum(axis=-1, keepdims=True))
    # S = scale * (q @ swap(k))
    dq = scale * (dS @ k)
    dk = scale * (swap(dS) @ q)
    return dA, dS, dq, dk, dv
    ### END SOLUTION


def output_of_attention(q, k, v):
    """Given. o alone, without the cache, which is yours."""
    o, cache = attention_forward(q, k, v)
    return o
