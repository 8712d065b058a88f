"""Exercise 03: items and known mistakes."""

import numpy as np
from grading.items import Item, float32, same_dtype

from dgsa_np.ops import SoftmaxCache, row_dot, softmax_backward, softmax_forward

DIFFER = 1e-3  # so far must the two backward passes be apart, relative to the larger
ROUNDING = 1e-9  # what is smaller than this, relative to the upstream, counts as 0


def items(course):
    """course : the constants of the course, {"BUG": 1, "TEMPERATURE": 2.0}"""
    t = course["TEMPERATURE"]

    def right(dA, A):
        return softmax_backward(dA, SoftmaxCache(A)) / t

    def mean(dA, A):
        return A * (dA - dA.mean(axis=-1, keepdims=True)) / t

    def bare(dA, A):
        return (dA - row_dot(A, dA)) / t

    def one_for_all(dA, A):
        return A * (dA - row_dot(A, dA).mean(axis=-2, keepdims=True)) / t

    given = (mean, bare, one_for_all)[course["BUG"] - 1]

    def tells_apart(answer, args):
        """A check: under this upstream the given backward and the right one differ."""
        (A,) = args
        if isinstance(answer, tuple) or answer.shape != A.shape:
            return f"shape: the upstream has the shape of A, {A.shape}"
        if not np.isfinite(answer).all():
            return "the upstream must be finite"
        a, b = right(answer, A), given(answer, A)
        size = max(abs(a).max(), abs(b).max())
        if size <= ROUNDING * abs(answer).max():
            return "both give 0: this upstream is the same along each row, as ones are, and rows of A sum to 1"
        apart = abs(a - b).max() / size
        if apart <= DIFFER:
            return f"the two differ by only {apart:.0e} of the larger; {DIFFER:.0e} is asked"
        return None

    def make_map(*shape):
        return lambda rng: (softmax_forward(2 * rng.standard_normal(shape))[0],)

    def make(*shape):
        return lambda rng: (rng.standard_normal(shape), *make_map(*shape)(rng))

    def make_masked(rng):
        mask = rng.random((3, 6)) < 0.5
        mask[0], mask[1], mask[2, 0] = False, np.arange(6) == 2, True  # no key, one key, some keys
        return rng.standard_normal((3, 6)), softmax_forward(rng.standard_normal((3, 6)), mask)[0]

    planted = {
        "the mean of dA in the place of the sum of A dA: the weights of a row are not all 1 / S": mean,
        "the A in front is missing: a key of small weight moves little": bare,
        "one sum for all queries, their mean: each row has a sum of its own": one_for_all,
    }
    planted = {f"the bug is still there: {text}" if f is given else text: f for text, f in planted.items()}
    mistakes = planted | {
        "not divided by TEMPERATURE: forward divides the scores": lambda dA, A: right(dA, A) * t,
        "multiplied by TEMPERATURE, which forward divides by": lambda dA, A: right(dA, A) * t * t,
        "the row sum is missing: each score moves the weights of its whole row": (
            lambda dA, A: A * dA / t, lambda dA, A: A * dA),
        "only the diagonal of the Jacobian, A (1 - A): each score moves the other weights, too":
            lambda dA, A: A * (1 - A) * dA / t,
        "the row sum lacks A: it is the sum of A dA": lambda dA, A: A * (dA - dA.sum(-1, keepdims=True)) / t,
        "the mean of A dA in the place of its sum": lambda dA, A: A * (dA - row_dot(A, dA) / A.shape[-1]) / t,
        "the sum runs over the wrong axis: a row is the last axis":
            lambda dA, A: A * (dA - (A * dA).sum(-2, keepdims=True)) / t,
        "one sum over all rows: each row has a sum of its own": lambda dA, A: A * (dA - (A * dA).sum()) / t,
        "the row sum is added: its sign is minus": lambda dA, A: A * (dA + row_dot(A, dA)) / t,
        "the sign is the wrong way round": lambda dA, A: -right(dA, A),
        "the row sum is not multiplied by A": lambda dA, A: (A * dA - row_dot(A, dA)) / t,
        "TEMPERATURE divides the row sum alone": lambda dA, A: A * (dA - row_dot(A, dA) / t),
    }  # fmt: skip
    turned = {
        "keepdims is missing: the sum of row i is taken from column i": lambda dA, A: A * (dA - (A * dA).sum(-1)) / t
    }
    return [
        Item("a witness", 3, "witness", make_map(2, 3, 5), check=tells_apart),
        Item("a witness for one map of another size", 2, "witness", make_map(4, 2), check=tells_apart),
        Item("the right backward", 3, "softmax_backward", make(4, 4), right, mistakes | turned),
        Item("the right backward, batch and heads", 1, "softmax_backward", make(2, 3, 4, 5), right, mistakes),
        Item("where A has zeros", 1, "softmax_backward", make_masked, right, {
            "divided by A, which may be 0": lambda dA, A: A * (dA - (A**2 * dA / A).sum(-1, keepdims=True)) / t}),
        Item("the dtype stays", 1, "softmax_backward", lambda rng: float32(*make(4, 4)(rng)), check=same_dtype),
    ]  # fmt: skip
