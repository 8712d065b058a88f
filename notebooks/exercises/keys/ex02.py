"""Exercise 02, softmax backward: what is right, known mistakes, and the table of items."""

import math
from functools import partial

import numpy as np
from grading import slips
from grading.course import for_course
from grading.items import Item, the_dtype_stays
from grading.slips import row_mean, row_sum
from grading.steps import follow, seen

from dgsa_np.ops import SoftmaxCache, softmax_backward, softmax_forward


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


def make(rng, *shape):
    return rng.standard_normal(shape), rng.standard_normal(shape)


def make_map(rng, *shape):
    return rng.standard_normal(shape), softmax_forward(rng.standard_normal(shape))[0]


def make_masked(rng):
    """Rows with no key, one key, and some keys."""
    mask = rng.permuted(np.tile(np.arange(7) < 4, (2, 5, 1)), axis=-1)
    mask[0, 1], mask[:, 2] = False, np.arange(7) == 2
    return rng.standard_normal((2, 5, 7)), softmax_forward(rng.standard_normal((2, 5, 7)), mask)[0]


# ------------------------------------------------------------------------- mistakes, by the graph


def but(**slips):
    return partial(steps, **slips)


without_log = but(dscores=lambda n: n.dE * n.E)
log_of_base_2 = but(dscores=lambda n: math.log(n.base, 2) * n.dE * n.E)
log_of_base_10 = but(dscores=lambda n: math.log(n.base, 10) * n.dE * n.E)
divided_by_log = but(dscores=lambda n: n.dE * n.E / n.log)
dtotal_of_other_sign = but(dtotal=lambda n: row_sum(n.dA * n.E) / n.total**2)
dtotal_by_total = but(dtotal=lambda n: -row_sum(n.dA * n.E) / n.total)
dtotal_not_divided = but(dtotal=lambda n: -row_sum(n.dA * n.E))
dtotal_without_E = but(dtotal=lambda n: -row_sum(n.dA) / n.total**2)
dtotal_is_mean = but(dtotal=lambda n: -row_mean(n.dA * n.E) / n.total**2)
dtotal_over_queries = but(dtotal=lambda n: -(n.dA * n.E).sum(axis=-2, keepdims=True) / n.total**2)
dE_without_total = but(dE=lambda n: n.dA / n.total)
dE_without_A = but(dE=lambda n: np.broadcast_to(n.dtotal, n.E.shape))
dE_not_divided = but(dE=lambda n: n.dA + n.dtotal)
dE_with_E_twice = but(dE=lambda n: n.dA / n.total + n.dtotal * n.E)
dscores_without_E = but(dscores=lambda n: n.log * n.dE)
dscores_with_A = but(dscores=lambda n: n.log * n.dE * (n.E / n.total))

LOG = (
    "the factor log(BASE) is missing, or it is not the natural logarithm: "
    "the derivative of BASE**z is log(BASE) BASE**z"
)
DIVIDED = "divided by log(BASE) instead of multiplied"
WRONG_STEPS = {
    (without_log, log_of_base_2, log_of_base_10): LOG,
    divided_by_log: DIVIDED,
    dtotal_of_other_sign: "the sign of dtotal: 1 / total has the derivative -1 / total**2",
    (dtotal_by_total, dtotal_not_divided):
        "dtotal is divided by total or by nothing, not by total**2: 1 / total has the derivative -1 / total**2",
    dtotal_without_E: "dtotal lacks E, the factor of 1 / total in A = E / total",
    dtotal_is_mean: "dtotal is a mean: one total served the whole row, so its derivatives are summed",
    dtotal_over_queries: "dtotal is summed over the wrong axis: a row is the last axis",
    dE_without_total: "dE has only the path through A; E goes into total, too",
    dE_without_A: "dE has only the path through total; E goes into A directly, too",
    dE_not_divided: "in dE, dA is not divided by total: A = E / total",
    dE_with_E_twice: "in dE, dtotal is multiplied by E: total is a sum, whose derivative by E is 1",
    dscores_without_E: "dscores lacks E: the derivative of BASE**z is log(BASE) BASE**z",
    dscores_with_A: "dscores has A in the place of E: the derivative of BASE**z is log(BASE) E",
}  # fmt: skip

# -------------------------------------------------------------------------- mistakes, in one line


def line(course, dA, A, *, slip, factor=log):
    return factor(course) * slip(dA, A)


def no_log(course):
    return 1.0


def log_2(course):
    return math.log2(course["BASE"])


def log_10(course):
    return math.log10(course["BASE"])


def one_by_log(course):
    return 1 / log(course)


def right_line(dA, A):
    return softmax_backward(dA, SoftmaxCache(A))


def with_log_and_without(slip):
    return partial(line, slip=slip), partial(line, slip=slip, factor=no_log)


FACTORS = {
    tuple(partial(line, slip=right_line, factor=factor) for factor in (no_log, log_2, log_10)): LOG,
    partial(line, slip=right_line, factor=one_by_log): DIVIDED,
}
WRONG_LINES = FACTORS | seen(with_log_and_without, slips.SOFTMAX_BACKWARD)
PAIR, LINE = "softmax_forward softmax_backward_by_steps", "softmax_backward"


def items(course):
    """course : the constants of the course, {"BASE": 2.0}"""
    equal = WRONG_LINES | seen(with_log_and_without, slips.ON_EQUAL_SIZES)
    zeros = seen(with_log_and_without, slips.WHERE_A_IS_ZERO) | WRONG_LINES
    return for_course(course, [
        Item("by the graph, long rows", 2, PAIR, lambda rng: make(rng, 3, 40, 350), by_steps, WRONG_STEPS),
        Item("by the graph", 2, PAIR, lambda rng: make(rng, 2, 3, 7, 5), by_steps, WRONG_STEPS),
        the_dtype_stays(1, PAIR, lambda rng: make(rng, 2, 3, 6), by_steps, "the dtype stays, by the graph"),
        Item("in one line, many rows", 3, LINE, lambda rng: make_map(rng, 2, 3, 300, 24), one_line, WRONG_LINES),
        Item("in one line, all sizes equal", 1, LINE, lambda rng: make_map(rng, 4, 4, 4), one_line, equal),
        Item("in one line, where A has zeros", 1, LINE, make_masked, one_line, zeros),
        the_dtype_stays(1, LINE, lambda rng: make_map(rng, 2, 3, 5), one_line),
    ])  # fmt: skip
