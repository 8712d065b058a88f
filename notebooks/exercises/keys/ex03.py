"""Exercise 03, the bug that ones cannot see: what is right, known mistakes, the table of items."""

import numpy as np
from grading.course import for_course
from grading.items import Item, float32, same_dtype

from dgsa_np.ops import SoftmaxCache, softmax_backward, softmax_forward

DIFFER = 1e-3  # so far must the two backward passes be apart, relative to the larger
ROUNDING = 1e-9  # what is smaller than this, relative to the upstream, counts as 0


def row_sum(x):
    return x.sum(axis=-1, keepdims=True)


def right(course, dA, A):
    return softmax_backward(dA, SoftmaxCache(A)) / course["TEMPERATURE"]


def tells_apart(course, answer, args):
    """A check: under this upstream the given backward and the right one differ."""
    (A,) = args
    if isinstance(answer, tuple) or answer.shape != A.shape:
        return f"shape: the upstream has the shape of A, {A.shape}"
    if not np.isfinite(answer).all():
        return "the upstream must be finite"
    a, b = right(course, answer, A), given(course)(course, answer, A)
    size = max(abs(a).max(), abs(b).max())
    if size <= ROUNDING * abs(answer).max():
        return "both give 0: this upstream is the same along each row, as ones are, and rows of A sum to 1"
    apart = abs(a - b).max() / size
    if apart <= DIFFER:
        return f"the two differ by only {apart:.0e} of the larger; {DIFFER:.0e} is asked"
    return None


# ------------------------------------------------------------------------------------- arguments


def make_map(rng, *shape):
    return (softmax_forward(2 * rng.standard_normal(shape))[0],)


def make(rng, *shape):
    return rng.standard_normal(shape), *make_map(rng, *shape)


def make_masked(rng):
    """Rows with no key, one key, and some keys."""
    mask = rng.random((3, 6)) < 0.5
    mask[0], mask[1], mask[2, 0] = False, np.arange(6) == 2, True
    return rng.standard_normal((3, 6)), softmax_forward(rng.standard_normal((3, 6)), mask)[0]


# ------------------------------------------------- the three bugs, one of which a course is given


def mean_of_dA(course, dA, A):
    return A * (dA - dA.mean(axis=-1, keepdims=True)) / course["TEMPERATURE"]


def no_A_in_front(course, dA, A):
    return (dA - row_sum(A * dA)) / course["TEMPERATURE"]


def one_mean_for_all_queries(course, dA, A):
    return A * (dA - row_sum(A * dA).mean(axis=-2, keepdims=True)) / course["TEMPERATURE"]


BUGS = {
    mean_of_dA: "the mean of dA in the place of the sum of A dA: the weights of a row are not all 1 / S",
    no_A_in_front: "the A in front is missing: a key of small weight moves little",
    one_mean_for_all_queries: "one sum for all queries, their mean: each row has a sum of its own",
}


def given(course):
    """The backward that the course's students get."""
    return list(BUGS)[course["BUG"] - 1]


# -------------------------------------------------------------------------------- other mistakes


def without_temperature(course, dA, A):
    return right(course, dA, A) * course["TEMPERATURE"]


def times_temperature(course, dA, A):
    return right(course, dA, A) * course["TEMPERATURE"] ** 2


def no_row_sum(course, dA, A):
    return A * dA / course["TEMPERATURE"]


def no_row_sum_and_no_temperature(dA, A):
    return A * dA


def diagonal_alone(course, dA, A):
    return A * (1 - A) * dA / course["TEMPERATURE"]


def row_sum_without_A(course, dA, A):
    return A * (dA - row_sum(dA)) / course["TEMPERATURE"]


def mean_of_A_dA(course, dA, A):
    return A * (dA - row_sum(A * dA) / A.shape[-1]) / course["TEMPERATURE"]


def sum_over_queries(course, dA, A):
    return A * (dA - (A * dA).sum(axis=-2, keepdims=True)) / course["TEMPERATURE"]


def one_sum_for_all(course, dA, A):
    return A * (dA - (A * dA).sum()) / course["TEMPERATURE"]


def row_sum_added(course, dA, A):
    return A * (dA + row_sum(A * dA)) / course["TEMPERATURE"]


def of_other_sign(course, dA, A):
    return -right(course, dA, A)


def row_sum_not_weighted(course, dA, A):
    return (A * dA - row_sum(A * dA)) / course["TEMPERATURE"]


def temperature_in_row_sum_alone(course, dA, A):
    return A * (dA - row_sum(A * dA) / course["TEMPERATURE"])


def sum_without_keepdims(course, dA, A):
    return A * (dA - (A * dA).sum(axis=-1)) / course["TEMPERATURE"]


def divided_by_A(course, dA, A):
    return A * (dA - row_sum(A**2 * dA / A)) / course["TEMPERATURE"]


WRONG = {
    without_temperature: "not divided by TEMPERATURE: forward divides the scores",
    times_temperature: "multiplied by TEMPERATURE, which forward divides by",
    (no_row_sum, no_row_sum_and_no_temperature):
        "the row sum is missing: each score moves the weights of its whole row",
    diagonal_alone: "only the diagonal of the Jacobian, A (1 - A): each score moves the other weights, too",
    row_sum_without_A: "the row sum lacks A: it is the sum of A dA",
    mean_of_A_dA: "the mean of A dA in the place of its sum",
    sum_over_queries: "the sum runs over the wrong axis: a row is the last axis",
    one_sum_for_all: "one sum over all rows: each row has a sum of its own",
    row_sum_added: "the row sum is added: its sign is minus",
    of_other_sign: "the sign is the wrong way round",
    row_sum_not_weighted: "the row sum is not multiplied by A",
    temperature_in_row_sum_alone: "TEMPERATURE divides the row sum alone",
}  # fmt: skip
ON_A_SQUARE = {sum_without_keepdims: "keepdims is missing: the sum of row i is taken from column i"}
ZEROS = {divided_by_A: "divided by A, which may be 0"}


def bugs(course):
    """The three bugs; where it is the given one, the hint says that it is still there."""
    still = "the bug is still there: "
    return {bug: still + hint if bug is given(course) else hint for bug, hint in BUGS.items()}


def items(course):
    """course : the constants of the course, {"BUG": 1, "TEMPERATURE": 2.0}"""
    wrong, call = bugs(course) | WRONG, "softmax_backward"
    return for_course(course, [
        Item("a witness", 3, "witness", lambda rng: make_map(rng, 2, 3, 5), check=tells_apart),
        Item("a witness for one map of another size", 2, "witness", lambda rng: make_map(rng, 4, 2),
            check=tells_apart),
        Item("the right backward", 3, call, lambda rng: make(rng, 4, 4), right, wrong | ON_A_SQUARE),
        Item("the right backward, batch and heads", 1, call, lambda rng: make(rng, 2, 3, 4, 5), right, wrong),
        Item("where A has zeros", 1, call, make_masked, right, ZEROS),
        Item("the dtype stays", 1, call, lambda rng: float32(*make(rng, 4, 4)), check=same_dtype),
    ])  # fmt: skip
