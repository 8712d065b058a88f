"""Exercise 03: a bug that an upstream of ones cannot see.   [eq:softmax-backward, derived]"""

import numpy as np

BUG = 1  # course choice: 1, 2, 3
TEMPERATURE = 2.0  # course choice: 2.0, 0.5, 4.0


def softmax_forward(scores):
    """A = softmax(scores / TEMPERATURE). It is given, and right.

    scores : (..., T, S)
    returns A : (..., T, S), rows sum to 1
    """
    e = np.exp((scores - scores.max(axis=-1, keepdims=True)) / TEMPERATURE)
    return e / e.sum(axis=-1, keepdims=True)


def given_backward(dA, A):
    """Its backward, as somebody wrote it.

    Where dA is ones, it returns 0, as it should; yet it is wrong.

    dA, A : (..., T, S)
    returns dscores : (..., T, S)
    """
    if BUG == 1:
        return A * (dA - dA.mean(axis=-1, keepdims=True)) / TEMPERATURE
    if BUG == 2:
        return (dA - (A * dA).sum(axis=-1, keepdims=True)) / TEMPERATURE
    return A * (dA - (A * dA).sum(axis=-1, keepdims=True).mean(axis=-2, keepdims=True)) / TEMPERATURE


def witness(A):
    """An upstream that tells given_backward from the right one.

    They differ by more than 1 / 1000 of the larger.

    A : (..., T, S), what softmax_forward returned, with T and S at least 2
    returns dA : (..., T, S), finite numbers of your own: not A itself
    """
    ### BEGIN SOLUTION
    dA = np.zeros_like(A)
    dA[..., 0] = 1  # the loss is the weight of the first key
    return dA
    ### END SOLUTION


def softmax_backward(dA, A):
    """The right backward of softmax_forward.

    dA, A   : (..., T, S); a row of A sums to 1, or is 0 where a mask left no key
    returns dscores : (..., T, S), dtype of A
    """
    ### BEGIN SOLUTION
    return A * (dA - (A * dA).sum(axis=-1, keepdims=True)) / TEMPERATURE
    ### END SOLUTION
