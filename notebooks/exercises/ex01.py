"""Exercise 01: softmax forward, stable and masked.   [eq:softmax, standard]"""

import numpy as np

TEMPERATURE = 1.0


def softmax(scores, mask=None):
    """A_ij = exp(S_ij / TEMPERATURE) / sum_k exp(S_ik / TEMPERATURE)

    over the keys that the mask allows.

    scores : (..., S), any finite numbers, also 1000 or -1000
    mask   : bool, broadcastable to scores, True = may attend; None: all
    returns A : (..., S), dtype of scores; 0 where the mask forbids, and a row of zeros where it
                forbids every key
    """
    raise NotImplementedError("ex01: softmax")
