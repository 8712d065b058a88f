"""Exercise 02, softmax backward: what is right, known mistakes, and the table of items."""

import math
from functools import partial

import numpy as np
from grading.course import for_course
from grading.items import Item, float32, same_dtype
from grading.steps import follow

from dgsa_np.ops import SoftmaxCache, softmax_backward, softmax_forward


def row_sum(x):
    return x.sum(axis=-1, keepdims=True)


def log(course):
    return math.log(course["BASE"])


def one_line(course, dA, A):
    return log(course) * softmax_backward(dA, SoftmaxCache(A))


STEPS = {
    "E": lambda n: n.base ** (n.scores - n.scores.max(axis=-1, keepdims=True)),
    "total": lambda n: row_sum(n.E),
    "dtotal": lambda n: -row_sum(n.dA * n.E) / n.total**2,
    "dE": lambda n: n.dA / n.total + n.dtotal,
    "dscores": lambda n: n.log * n.dE * n.E,
}


def steps(course, scores, dA, **slips):
    """The backward by the graph, with other formulas for some of its steps."""
    n = follow(STEPS, slips, base=course["BASE"], log=log(course), scores=scores, dA=dA)
    return n.dtotal, n.dE, n.dscores


def by_steps(course, scores, dA):
    dtotal, dE, _ = steps(course, scores, dA)
    return dtotal, dE, one_line(course, dA, softmax_forward(log(course) * scores)[0])


# ------------------------------------------------------------------------------------- arguments


def make(rng):
    return rng.standard_normal((2, 4, 4)), rng.standard_normal((2, 4, 4))


def make_row(rng):
    return rng.standard_normal(7), rng.standard_normal(7)


def make_map(rng):
    return rng.standard_normal((4, 4)), softmax_forward(rng.standard_normal((4, 4)))[0]


def make_masked(rng):
    """Rows with no key, one key, and some keys."""
    mask = rng.random((3, 6)) < 0.5
    mask[0], mask[1], mask[2, 0] = False, np.arange(6) == 2, True
    return rng.standard_normal((3, 6)), softmax_forward(rng.standard_normal((3, 6)), mask)[0]


def make_single(rng):
    return float32(*make(rng))


def make_single_map(rng):
    return float32(*make_map(rng))


# ------------------------------------------------------------------------- mistakes, by the graph


def but(**slips):
    return partial(steps, **slips)


without_log = but(dscores=lambda n: n.dE * n.E)
log_of_base_2 = but(dscores=lambda n: math.log(n.base, 2) * n.dE * n.E)
log_of_base_10 = but(dscores=lambda n: math.log(n.base, 10) * n.dE * n.E)
dtotal_of_other_sign = but(dtotal=lambda n: row_sum(n.dA * n.E) / n.total**2)
dtotal_by_total = but(dtotal=lambda n: -row_sum(n.dA * n.E) / n.total)
dtotal_without_E = but(dtotal=lambda n: -row_sum(n.dA) / n.total**2)
dtotal_is_mean = but(dtotal=lambda n: -(n.dA * n.E).mean(axis=-1, keepdims=True) / n.total**2)
dE_without_total = but(dE=lambda n: n.dA / n.total)
dE_without_A = but(dE=lambda n: np.broadcast_to(n.dtotal, n.E.shape))
dscores_without_E = but(dscores=lambda n: n.log * n.dE)
dscores_with_A = but(dscores=lambda n: n.log * n.dE * (n.E / n.total))

NO_LOG = "the factor log(BASE) is missing: the derivative of BASE**z is log(BASE) BASE**z"
OTHER_LOG = "log(BASE) must be the natural logarithm, here it has another base"
WRONG_STEPS = {
    without_log: NO_LOG,
    (log_of_base_2, log_of_base_10): OTHER_LOG,
    dtotal_of_other_sign: "the sign of dtotal: 1 / total has the derivative -1 / total**2",
    dtotal_by_total: "dtotal is divided by total, not by total**2: 1 / total has the derivative -1 / total**2",
    dtotal_without_E: "dtotal lacks E, the factor of 1 / total in A = E / total",
    dtotal_is_mean: "dtotal is a mean: one total served the whole row, so its derivatives are summed",
    dE_without_total: "dE has only the path through A; E goes into total, too",
    dE_without_A: "dE has only the path through total; E goes into A directly, too",
    dscores_without_E: "dscores lacks E: the derivative of BASE**z is log(BASE) BASE**z",
    dscores_with_A: "dscores has A in the place of E: the derivative of BASE**z is log(BASE) E",
}

# -------------------------------------------------------------------------- mistakes, in one line


def line_without_log(course, dA, A):
    return one_line(course, dA, A) / log(course)


def line_with_log_of_base_2(course, dA, A):
    return one_line(course, dA, A) / math.log(2)


def line_with_log_of_base_10(course, dA, A):
    return one_line(course, dA, A) / math.log(10)


def divided_by_log(course, dA, A):
    return one_line(course, dA, A) / log(course) ** 2


def no_row_sum(course, dA, A):
    return log(course) * A * dA


def no_row_sum_and_no_log(dA, A):
    return A * dA


def diagonal_alone(course, dA, A):
    return log(course) * A * (1 - A) * dA


def diagonal_alone_and_no_log(dA, A):
    return A * (1 - A) * dA


def row_sum_without_A(course, dA, A):
    return log(course) * A * (dA - row_sum(dA))


def mean_of_dA(course, dA, A):
    return log(course) * A * (dA - dA.mean(axis=-1, keepdims=True))


def mean_of_A_dA(course, dA, A):
    return log(course) * A * (dA - row_sum(A * dA) / A.shape[-1])


def sum_over_queries(course, dA, A):
    return log(course) * A * (dA - (A * dA).sum(axis=-2, keepdims=True))


def sum_without_keepdims(course, dA, A):
    return log(course) * A * (dA - (A * dA).sum(axis=-1))


def one_sum_for_all(course, dA, A):
    return log(course) * A * (dA - (A * dA).sum())


def row_sum_added(course, dA, A):
    return log(course) * A * (dA + row_sum(A * dA))


def row_sum_not_weighted(course, dA, A):
    return log(course) * (A * dA - row_sum(A * dA))


def no_A_in_front(course, dA, A):
    return log(course) * (dA - row_sum(A * dA))


def divided_by_A(course, dA, A):
    return log(course) * A * (dA - row_sum(A**2 * dA / A))


WRONG_LINES = {
    line_without_log: NO_LOG,
    (line_with_log_of_base_2, line_with_log_of_base_10): OTHER_LOG,
    divided_by_log: "divided by log(BASE) instead of multiplied",
    (no_row_sum, no_row_sum_and_no_log): "the row sum is missing: each score moves the weights of its whole row",
    (diagonal_alone, diagonal_alone_and_no_log):
        "only the diagonal of the Jacobian, A (1 - A): each score moves the other weights, too",
    row_sum_without_A: "the row sum lacks A: it is the sum of A dA",
    mean_of_dA: "the mean of dA in the place of the sum of A dA",
    mean_of_A_dA: "the mean of A dA in the place of its sum",
    sum_over_queries: "the sum runs over the wrong axis: a row is the last axis",
    sum_without_keepdims: "keepdims is missing: the sum of row i is taken from column i",
    one_sum_for_all: "one sum over all rows: each row has a sum of its own",
    row_sum_added: "the row sum is added: its sign is minus",
    row_sum_not_weighted: "the row sum is not multiplied by A",
    no_A_in_front: "the A in front is missing",
}  # fmt: skip
ZEROS = {divided_by_A: "divided by A, which may be 0"}
PAIR, LINE = "softmax_forward softmax_backward_by_steps", "softmax_backward"


def items(course):
    """course : the constants of the course, {"BASE": 2.0}"""
    return for_course(course, [
        Item("by the graph", 4, PAIR, make, by_steps, WRONG_STEPS),
        Item("by the graph, a single row", 1, PAIR, make_row, by_steps, WRONG_STEPS),
        Item("in one line", 3, LINE, make_map, one_line, WRONG_LINES),
        Item("in one line, where A has zeros", 1, LINE, make_masked, one_line, ZEROS),
        Item("the dtype stays", 1, LINE, make_single_map, check=same_dtype),
        Item("the dtype stays, by the graph", 1, PAIR, make_single, check=same_dtype),
    ])  # fmt: skip
