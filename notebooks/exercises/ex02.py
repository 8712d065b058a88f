"""Exercise 02: softmax backward, by the graph and in one line.   [eq:softmax-backward, derived]"""

import math

import numpy as np

BASE = 2.0


def softmax_forward(scores):
    """A_ij = BASE^S_ij / sum_k BASE^S_ik, one operation per line. It is given.

    scores : (..., S)
    returns A : (..., S), and the cache (E, total), of shapes (..., S) and (..., 1)
    """
    z = scores - scores.max(axis=-1, keepdims=True)
    E = BASE**z
    total = np.sum(E, axis=-1, keepdims=True)
    A = E / total
    return A, (E, total)


def softmax_backward_by_steps(dA, cache):
    """softmax_forward read upwards, line by line.

    dA    : (..., S)
    cache : what softmax_forward returned with A
    returns dtotal : (..., 1), dE : (..., S), dscores : (..., S), all of the dtype of dA

    dE is the whole derivative: E has an effect through A = E / total, and one through total.
    The maximum counts as a constant, because A does not depend on what is subtracted.
    """
    raise NotImplementedError("ex02: softmax_backward_by_steps")


def softmax_backward(dA, A):
    """The same dscores, from A alone.

    dA, A   : (..., S); rows of A sum to 1, or are 0 where a mask left no key
    returns dscores : (..., S), dtype of A
    """
    raise NotImplementedError("ex02: softmax_backward")
