"""Exercise 02: items and known mistakes."""

import math

import numpy as np
from grading.items import Item, float32, same_dtype

from dgsa_np.ops import SoftmaxCache, row_dot, softmax_backward, softmax_forward


def items(course):
    """course : the constants of the course, {"BASE": 2.0}"""
    base = course["BASE"]
    log = math.log(base)

    def steps(scores, dA, reduce=np.sum, sign=-1, power=2, weigh=True, direct=1, through=1, last=None):
        E = base ** (scores - scores.max(axis=-1, keepdims=True))
        total = E.sum(axis=-1, keepdims=True)
        dtotal = sign * reduce(dA * E if weigh else dA, axis=-1, keepdims=True) / total**power
        dE = direct * dA / total + through * dtotal
        return dtotal, dE, log * dE * E if last is None else last(dE, E, E / total)

    def but(**slip):
        return lambda scores, dA: steps(scores, dA, **slip)

    def by_steps(scores, dA):
        dtotal, dE, _ = steps(scores, dA)
        return dtotal, dE, one_line(dA, softmax_forward(log * scores)[0])

    def one_line(dA, A):
        return log * softmax_backward(dA, SoftmaxCache(A))

    def make(rng):
        return rng.standard_normal((2, 4, 4)), rng.standard_normal((2, 4, 4))

    def make_row(rng):
        return rng.standard_normal(7), rng.standard_normal(7)

    def make_map(rng):
        return rng.standard_normal((4, 4)), softmax_forward(rng.standard_normal((4, 4)))[0]

    def make_masked(rng):
        mask = rng.random((3, 6)) < 0.5
        mask[0], mask[1], mask[2, 0] = False, np.arange(6) == 2, True  # no key, one key, some keys
        return rng.standard_normal((3, 6)), softmax_forward(rng.standard_normal((3, 6)), mask)[0]

    no_log = "the factor log(BASE) is missing: the derivative of BASE**z is log(BASE) BASE**z"
    other_log = "log(BASE) must be the natural logarithm, here it has another base"
    graph = {
        no_log: but(last=lambda dE, E, A: dE * E),
        other_log: tuple(but(last=lambda dE, E, A, n=n: math.log(base, n) * dE * E) for n in (2, 10)),
        "the sign of dtotal: 1 / total has the derivative -1 / total**2": but(sign=1),
        "dtotal is divided by total, not by total**2: 1 / total has the derivative -1 / total**2": but(power=1),
        "dtotal lacks E, the factor of 1 / total in A = E / total": but(weigh=False),
        "dtotal is a mean: one total served the whole row, so its derivatives are summed": but(reduce=np.mean),
        "dE has only the path through A; E goes into total, too": but(through=0),
        "dE has only the path through total; E goes into A directly, too": but(direct=0),
        "dscores lacks E: the derivative of BASE**z is log(BASE) BASE**z": but(last=lambda dE, E, A: log * dE),
        "dscores has A in the place of E: the derivative of BASE**z is log(BASE) E":
            but(last=lambda dE, E, A: log * dE * A),
    }  # fmt: skip
    line = {
        no_log: lambda dA, A: one_line(dA, A) / log,
        other_log: tuple(lambda dA, A, n=n: one_line(dA, A) / math.log(n) for n in (2, 10)),
        "divided by log(BASE) instead of multiplied": lambda dA, A: one_line(dA, A) / log**2,
        "the row sum is missing: each score moves the weights of its whole row": (
            lambda dA, A: log * A * dA, lambda dA, A: A * dA),
        "only the diagonal of the Jacobian, A (1 - A): each score moves the other weights, too": (
            lambda dA, A: log * A * (1 - A) * dA, lambda dA, A: A * (1 - A) * dA),
        "the row sum lacks A: it is the sum of A dA": lambda dA, A: log * A * (dA - dA.sum(-1, keepdims=True)),
        "the mean of dA in the place of the sum of A dA": lambda dA, A: log * A * (dA - dA.mean(-1, keepdims=True)),
        "the mean of A dA in the place of its sum": lambda dA, A: log * A * (dA - row_dot(A, dA) / A.shape[-1]),
        "the sum runs over the wrong axis: a row is the last axis":
            lambda dA, A: log * A * (dA - (A * dA).sum(-2, keepdims=True)),
        "keepdims is missing: the sum of row i is taken from column i": lambda dA, A: log * A * (dA - (A * dA).sum(-1)),
        "one sum over all rows: each row has a sum of its own": lambda dA, A: log * A * (dA - (A * dA).sum()),
        "the row sum is added: its sign is minus": lambda dA, A: log * A * (dA + row_dot(A, dA)),
        "the row sum is not multiplied by A": lambda dA, A: log * (A * dA - row_dot(A, dA)),
        "the A in front is missing": lambda dA, A: log * (dA - row_dot(A, dA)),
    }  # fmt: skip
    pair = "softmax_forward softmax_backward_by_steps"
    return [
        Item("by the graph", 4, pair, make, by_steps, graph),
        Item("by the graph, a single row", 1, pair, make_row, by_steps, graph),
        Item("in one line", 3, "softmax_backward", make_map, one_line, line),
        Item("in one line, where A has zeros", 1, "softmax_backward", make_masked, one_line, {
            "divided by A, which may be 0": lambda dA, A: log * A * (dA - (A**2 * dA / A).sum(-1, keepdims=True))}),
        Item("the dtype stays", 1, "softmax_backward", lambda rng: float32(*make_map(rng)), check=same_dtype),
        Item("the dtype stays, by the graph", 1, pair, lambda rng: float32(*make(rng)), check=same_dtype),
    ]  # fmt: skip
