"""Exercise 08: a norm for each head, forward and backward.   [eq:head-norm, reading]"""

import numpy as np

EPS = 1e-5
NORM = "rms"  # course choice: "rms", "layer"
FACTOR = True  # course choice: True, False


def head_norm_forward(o, w, lambda_init):
    """Each head's output gets a size that does not depend on the input's; heads share the gain.

        h = (1 - lambda_init) w o / sqrt(mean(o^2) + EPS)                     where NORM is "rms"
        h = (1 - lambda_init) w c / sqrt(mean(c^2) + EPS),  c = o - mean(o)   where NORM is "layer"

    Means are over the last axis. Where FACTOR is False, there is no factor: it is 1, whatever
    lambda_init is.

    o : (B, H, T, e)      w : (e,)      lambda_init : number
    returns h : (B, H, T, e), dtype of o, and a cache, a tuple of what your backward needs
    """
    ### BEGIN SOLUTION
    factor = 1 - lambda_init if FACTOR else 1
    c = o - o.mean(axis=-1, keepdims=True) if NORM == "layer" else o
    r = 1 / np.sqrt((c * c).mean(axis=-1, keepdims=True) + EPS)  # (B, H, T, 1)
    n = c * r
    h = factor * w * n
    return h, (n, r, w, factor)
    ### END SOLUTION


def head_norm_backward(dh, cache):
    """What the loss gains per unit of o and of w; lambda_init is not learned.

    dh    : (B, H, T, e), the derivative of the loss with respect to h
    cache : what head_norm_forward returned
    returns do : (B, H, T, e), dw : (e,)
    """
    ### BEGIN SOLUTION
    n, r, w, factor = cache
    # h = factor * w * n
    dn, dw = factor * w * dh, factor * (dh * n).sum(axis=(0, 1, 2))
    # n = c * r
    # r = 1 / np.sqrt((c * c).mean(axis=-1, keepdims=True) + EPS)
    dc = r * (dn - n * (dn * n).mean(axis=-1, keepdims=True))
    # c = o - o.mean(axis=-1, keepdims=True) if NORM == "layer" else o
    do = dc - dc.mean(axis=-1, keepdims=True) if NORM == "layer" else dc
    return do, dw
    ### END SOLUTION


# The parts, so that each is judged alone: return None for what you have not written yet.
def norm_output(*arguments):
    return head_norm_forward(*arguments)[0]


def d_output(dh, cache):
    return head_norm_backward(dh, cache)[0]


def d_gain(dh, cache):
    return head_norm_backward(dh, cache)[1]
