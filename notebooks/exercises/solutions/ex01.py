"""Exercise 01: softmax forward, stable and masked.   [eq:softmax, standard]"""

import numpy as np

TEMPERATURE = 1.0  # course choice: 2.0, 0.5, 4.0


def softmax(scores, mask=None):
    """A_ij = exp(S_ij / TEMPERATURE) / sum_k exp(S_ik / TEMPERATURE)

    over the keys that the mask allows.

    scores : (..., S), any finite numbers, also 1000 or -1000
    mask   : bool, broadcastable to scores, True = may attend; None: all
    returns A : (..., S), dtype of scores; 0 where the mask forbids, and a row of zeros where it
                forbids every key
    """
    ### BEGIN SOLUTION
    z = scores / TEMPERATURE
    if mask is not None:
        z = np.where(mask, z, -np.inf)
    top = z.max(axis=-1, keepdims=True)
    e = np.exp(z - np.where(np.isfinite(top), top, 0))
    total = e.sum(axis=-1, keepdims=True)
    return e / np.where(total == 0, 1, total)
    ### END SOLUTION
