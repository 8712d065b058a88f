"""Exercise 05: lambda and the difference.

[eq:differential-head, published; its backward derived]
"""

import numpy as np

LAMBDA_ON = "inh"  # course choice: "inh", "exc"


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
    ### BEGIN SOLUTION
    scale = q_exc.shape[-1] ** -0.5
    A_exc = softmax(scale * (q_exc @ swap(k_exc)))
    A_inh = softmax(scale * (q_inh @ swap(k_inh)))
    w_exc, w_inh = (lam, 1) if LAMBDA_ON == "exc" else (1, lam)
    A = w_exc * A_exc - w_inh * A_inh
    o = A @ v
    return o, (q_exc, k_exc, q_inh, k_inh, v, A_exc, A_inh, A, w_exc, w_inh, scale)
    ### END SOLUTION


def differential_backward(do, cache):
    """differential_forward read upwards.

    do    : (B, H, T, e)
    cache : what differential_forward returned with o
    returns dq_exc, dk_exc, dq_inh, dk_inh, dv, dlam, each of the shape of its argument and of the
            dtype of do
    """
    ### BEGIN SOLUTION
    q_exc, k_exc, q_inh, k_inh, v, A_exc, A_inh, A, w_exc, w_inh, scale = cache
    # o = A @ v
    dA = do @ swap(v)
    dv = swap(A) @ do
    # A = w_exc * A_exc - w_inh * A_inh
    dA_exc = w_exc * dA
    dA_inh = -w_inh * dA
    dlam = (dA * A_exc).sum() if LAMBDA_ON == "exc" else -(dA * A_inh).sum()
    # A_inh = softmax(scale * (q_inh @ swap(k_inh)))
    dS_inh = softmax_backward(dA_inh, A_inh)
    dq_inh = scale * (dS_inh @ k_inh)
    dk_inh = scale * (swap(dS_inh) @ q_inh)
    # A_exc = softmax(scale * (q_exc @ swap(k_exc)))
    dS_exc = softmax_backward(dA_exc, A_exc)
    dq_exc = scale * (dS_exc @ k_exc)
    dk_exc = scale * (swap(dS_exc) @ q_exc)
    return dq_exc, dk_exc, dq_inh, dk_inh, dv, dlam
    ### END SOLUTION


def output_of_differential(q_exc, k_exc, q_inh, k_inh, v, lam):
    """Given. o alone, without the cache, which is yours."""
    o, cache = differential_forward(q_exc, k_exc, q_inh, k_inh, v, lam)
    return o
