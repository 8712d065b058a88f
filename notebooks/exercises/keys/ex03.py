"""Exercise 03, the bug that ones cannot see: what is right, known mistakes, the table of items."""

from functools import partial

import numpy as np
from grading import slips
from grading.course import for_course
from grading.items import Item, the_dtype_stays
from grading.slips import row_sum
from grading.steps import seen

from dgsa_np.ops import SoftmaxCache, softmax_backward, softmax_forward

DIFFER = 1e-3  # so far must the two backward passes be apart, relative to the larger
SMALLEST, LARGEST = 1e-9, 1e9  # of the largest number of an upstream: beyond, rounding could tell two apart
ROUNDING = 1e-9  # what is smaller than this, relative to the upstream, counts as 0


def right(course, dA, A):
    return softmax_backward(dA, SoftmaxCache(A)) / course["TEMPERATURE"]


def tells_apart(course, answer, args):
    """A check: under this upstream the given backward and the right one differ."""
    (A,) = args
    if isinstance(answer, tuple) or answer.shape != A.shape:
        return f"shape: the upstream has the shape of A, {A.shape}"
    if answer.dtype.kind not in "fiub" or not np.isfinite(answer).all():
        return "the upstream must be of finite real numbers"
    if np.array_equal(answer, A):
        return "that is A, as it was given: an upstream of your own is asked for"
    answer = answer.astype(float)
    if answer.any() and not SMALLEST < abs(answer).max() < LARGEST:
        return f"the upstream's largest number must lie between {SMALLEST:.0e} and {LARGEST:.0e}"
    a, b = right(course, answer, A), given(course, answer, A)
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
    mask = rng.permuted(np.tile(np.arange(5) < 3, (2, 7, 1)), axis=-1)
    mask[0, 1], mask[:, 2] = False, np.arange(5) == 2
    return rng.standard_normal((2, 7, 5)), softmax_forward(rng.standard_normal((2, 7, 5)), mask)[0]


# ------------------------------------------------- the three bugs, one of which a course is given


def one_mean_for_all_queries(dA, A):
    return A * (dA - row_sum(A * dA).mean(axis=-2, keepdims=True))


BUGS = {
    slips.mean_of_dA: "the mean of dA in the place of the sum of A dA: the weights of a row are not all 1 / S",
    slips.no_A_in_front: "the A in front is missing: a key of small weight moves little",
    one_mean_for_all_queries: "one sum for all queries, their mean: each row has a sum of its own",
}


def bug(course):
    return list(BUGS)[course["BUG"] - 1]


def given(course, dA, A):
    """The backward that the course's students get."""
    return bug(course)(dA, A) / course["TEMPERATURE"]


# ---------------------------------------------------------------------------------- the mistakes


def wrong(course, dA, A, *, slip):
    return slip(dA, A) / course["TEMPERATURE"]


def without_temperature(course, dA, A):
    return right(course, dA, A) * course["TEMPERATURE"]


def times_temperature(course, dA, A):
    return right(course, dA, A) * course["TEMPERATURE"] ** 2


def temperature_twice(course, dA, A):
    return right(course, dA, A) / course["TEMPERATURE"]


def root_of_temperature(course, dA, A):
    return right(course, dA, A) * course["TEMPERATURE"] ** 0.5


def temperature_in_row_sum_alone(course, dA, A):
    return A * (dA - row_sum(A * dA) / course["TEMPERATURE"])


def temperature_in_dA_alone(course, dA, A):
    return A * (dA / course["TEMPERATURE"] - row_sum(A * dA))


TEMPERATURES = {
    without_temperature: "not divided by TEMPERATURE: forward divides the scores",
    times_temperature: "multiplied by TEMPERATURE, which forward divides by",
    temperature_twice: "divided by TEMPERATURE twice",
    root_of_temperature: "divided by the root of TEMPERATURE: forward divides the scores by TEMPERATURE itself",
    temperature_in_row_sum_alone: "TEMPERATURE divides the row sum alone",
    temperature_in_dA_alone: "TEMPERATURE divides dA alone, not the row sum",
}


def with_temperature_and_without(slip):
    return partial(wrong, slip=slip), lambda dA, A: slip(dA, A)


def mistakes(course):
    """Of the three bugs, the hint says where it is the given one that it is still there."""
    bugs = BUGS | {bug(course): f"the bug is still there: {BUGS[bug(course)]}"}
    return TEMPERATURES | seen(with_temperature_and_without, slips.SOFTMAX_BACKWARD | bugs)


def items(course):
    """course : the constants of the course, {"BUG": 1, "TEMPERATURE": 2.0}"""
    known, call = mistakes(course), "softmax_backward"
    equal = known | seen(with_temperature_and_without, slips.ON_EQUAL_SIZES)
    zeros = seen(with_temperature_and_without, slips.WHERE_A_IS_ZERO) | known
    return for_course(course, [
        Item("a witness", 3, "witness", lambda rng: make_map(rng, 2, 3, 4, 7), check=tells_apart),
        Item("a witness for maps of another size", 2, "witness", lambda rng: make_map(rng, 3, 5, 2), check=tells_apart),
        Item("the right backward, many rows", 2, call, lambda rng: make(rng, 2, 3, 400, 30), right, known),
        Item("the right backward, all sizes equal", 1, call, lambda rng: make(rng, 3, 3, 3), right, equal),
        Item("the right backward", 1, call, lambda rng: make(rng, 2, 3, 5, 6), right, known),
        Item("where A has zeros", 1, call, make_masked, right, zeros),
        the_dtype_stays(1, call, lambda rng: make(rng, 2, 5, 3), right),
    ])  # fmt: skip
