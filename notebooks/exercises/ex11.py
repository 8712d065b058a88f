"""Exercise 11: write a property test.   [eq:softmax, standard; eq:softmax-backward, derived]"""

import numpy as np

TEMPERATURE = 1.0


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
    raise NotImplementedError("ex11: check_softmax_pair")


def verdicts(*functions):
    """Given: 1 or 0, what check_softmax_pair says of each pair.

    functions : forward_1, backward_1, forward_2, backward_2, ...
    """
    return np.array([int(check_softmax_pair(*pair)) for pair in zip(functions[::2], functions[1::2], strict=True)])
