"""Exercise 11: write a property test.   [eq:softmax, standard; eq:softmax-backward, derived]"""

import numpy as np

TEMPERATURE = 1.0  # course choice: 2.0, 0.5


def check_softmax_pair(forward, backward):
    """True if the pair is right, False if it is not, whatever is wrong with it.

    forward(scores)      : (..., S) -> A (..., S) and a cache;
                           A = softmax(scores / TEMPERATURE) over the last axis
    backward(dA, cache)  : (..., S) -> dscores (..., S), for any upstream dA

    A right pair takes one axis or more, and scores up to 10^4 in size. It leaves its arguments as
    they are, and a cache stays good when forward is called again. What the cache is, is its own
    affair. The pair may calculate in float32: for scores and upstreams of about 1 and rows of up to
    8, errors up to 10^-6 are rounding. A bug makes errors above 10^-3 where it shows; not every bug
    shows everywhere.
    """
    ### BEGIN SOLUTION
    rng = np.random.default_rng(0)
    cases = [(size * rng.standard_normal((2, 4, 4)), rng.standard_normal((2, 4, 4))) for size in (1, 1, 3000)]
    try:
        given = [scores.copy() for scores, _ in cases]
        answers = [forward(scores) for scores in given]  # all of them before the first backward
        for (scores, dA), given_scores, (A, cache) in zip(cases, given, answers, strict=True):
            given_dA = dA.copy()
            dscores = backward(given_dA, cache)
            right_A = softmax(scores)
            right_dscores = right_A * (dA - (right_A * dA).sum(axis=-1, keepdims=True)) / TEMPERATURE
            right = close(A, right_A) and close(dscores, right_dscores)
            if not (right and np.array_equal(given_scores, scores) and np.array_equal(given_dA, dA)):
                return False
    except Exception:
        return False
    return True


def softmax(scores):
    z = (scores - scores.max(axis=-1, keepdims=True)) / TEMPERATURE
    return np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True)


def close(a, b):
    return a.shape == b.shape and bool((abs(a - b) < 1e-4).all())  # false for nan
    ### END SOLUTION


def verdicts(*functions):
    """Given: 1 or 0, what check_softmax_pair says of each pair.

    functions : forward_1, backward_1, forward_2, backward_2, ...
    """
    return np.array([int(check_softmax_pair(*pair)) for pair in zip(functions[::2], functions[1::2], strict=True)])
