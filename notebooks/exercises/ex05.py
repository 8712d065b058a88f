"""Exercise 05: lambda and the difference.

[eq:differential-head, published; its backward derived]
"""

import numpy as np

LAMBDA_ON = 'inh'


def swap(x):
    """Transpose the last two axes."""
    return x.swapaxes(-1, -2)


def softmax(S):
    """Over the last axis."""
    E = np.exp(S - S.max(axis=-1, keepdims=True))
    return E / E.sum(axis=-1, keepdims=True)


def softmax_backward(dA, A):
    """dS, from A = softmax(S)."""
    return A * (dA - (A * dA).sum(axis=-1, keepdims=True))


def differential_forward(q_exc, k_exc, q_inh, k_inh, v, lam):
    """o = A v, where lambda weighs the map that LAMBDA_ON names:

        "inh": A = A_exc - lam A_inh        "exc": A = lam A_exc - A_inh
        A_exc = softmax(q_exc k_exc^T / sqrt(d))        A_inh = softmax(q_inh k_inh^T / sqrt(d))

    q_exc, q_inh : (B, H, T, d)      k_exc, k_inh : (B, H, S, d)      v : (B, H, S, e)
    lam : (), one number for all
    returns o : (B, H, T, e), and a cache of your choice, a tuple
    """
    raise NotImplementedError("ex05: differential_forward")


def differential_backward(do, cache):
    """differential_forward read upwards.

    do    : (B, H, T, e)
    cache : what differential_forward returned with o
    returns dq_exc, dk_exc, dq_inh, dk_inh, dv, dlam, each of the shape of its argument and of the
            dtype of do
    """
    raise NotImplementedError("ex05: differential_backward")


def output_of_differential(q_exc, k_exc, q_inh, k_inh, v, lam):
    """Given. o alone, without the cache, which is yours."""
    o, cache = differential_forward(q_exc, k_exc, q_inh, k_inh, v, lam)
    return o
