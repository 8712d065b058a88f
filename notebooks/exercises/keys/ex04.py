"""Exercise 04, attention backward: what is right, known mistakes, and the table of items."""

import math
from functools import partial

from grading import slips
from grading.course import for_course
from grading.items import Item, the_dtype_stays
from grading.steps import follow, seen

from dgsa_np.attention import softmax_head_backward, softmax_head_forward
from dgsa_np.ops import SoftmaxCache, softmax_backward, softmax_forward, swap


def as_library(course, q):
    """The library divides by sqrt(d); what else is asked goes into q."""
    return math.sqrt(q.shape[-1]) * q.shape[-1] ** -course["POWER"]


def output(course, q, k, v):
    return softmax_head_forward(as_library(course, q) * q, k, v)[0]


def gradients(course, q, k, v, do):
    dA, dS, *_ = steps(course, q, k, v, do)
    dq, dk, dv = softmax_head_backward(do, softmax_head_forward(as_library(course, q) * q, k, v)[1])
    return dA, dS, as_library(course, q) * dq, dk, dv


FORWARD = {
    "scale": lambda n: n.q.shape[-1] ** -n.power,
    "S": lambda n: n.scale * n.q @ swap(n.k),
    "A": lambda n: softmax_forward(n.S)[0],
    "o": lambda n: n.A @ n.v,
}
BACKWARD = {
    "dA": lambda n: n.do @ swap(n.v),
    "dv": lambda n: swap(n.A) @ n.do,
    "dS": lambda n: softmax_backward(n.dA, SoftmaxCache(n.A)),
    "dq": lambda n: n.scale * (n.dS @ n.k),
    "dk": lambda n: n.scale * (swap(n.dS) @ n.q),
    "results": lambda n: (n.dA, n.dS, n.dq, n.dk, n.dv),
}


def output_by_steps(course, q, k, v, **slips):
    """The forward, with other formulas for some of its steps."""
    return follow(FORWARD, slips, q=q, k=k, v=v, power=course["POWER"]).o


def steps(course, q, k, v, do, **slips):
    """Forward and backward, with other formulas for some of the steps."""
    return follow(FORWARD | BACKWARD, slips, q=q, k=k, v=v, do=do, power=course["POWER"]).results


# ------------------------------------------------------------------------------------- arguments


def make(rng, B=2, H=3, T=4, S=7, d=5, e=6):
    q, k, v = (rng.standard_normal((B, H, *shape)) for shape in ((T, d), (S, d), (S, e)))
    return q, k, v, rng.standard_normal((B, H, T, e))


def make_forward(rng):
    return make(rng)[:3]


def make_more_queries(rng):
    return make(rng, B=3, H=2, T=7, S=5, d=3, e=4)[:3]


def make_long(rng):
    """So many numbers that a numeric derivative takes minutes."""
    return make(rng, T=200, S=40, d=16, e=18)


def make_equal(rng):
    """All sizes are equal, so that what is turned fits."""
    return make(rng, 3, 3, 3, 3, 3, 3)


def make_single(rng):
    return make(rng, B=3, H=2, T=6, S=4, d=8, e=5)


# ----------------------------------------------------------------------- mistakes in the forward


def forward_but(**slips):
    return partial(output_by_steps, **slips)


def scaled_twice(n):
    return n.q.shape[-1] ** (-2 * n.power)


def by_root(n):
    return n.q.shape[-1] ** -0.5


INSTEAD_OF_D = "the scores are scaled with {} in the place of the key width d"
SCALES = {
    lambda n: 1: "the scores are not scaled",
    lambda n: n.k.shape[-2] ** -n.power: INSTEAD_OF_D.format("the number of keys"),
    lambda n: n.q.shape[-2] ** -n.power: INSTEAD_OF_D.format("the number of queries"),
    lambda n: n.q.shape[1] ** -n.power: INSTEAD_OF_D.format("the number of heads"),
    lambda n: n.v.shape[-1] ** -n.power: INSTEAD_OF_D.format("the value width e"),
    scaled_twice: "the scores are scaled twice",
    lambda n: n.q.shape[-1] ** n.power: "the scores are multiplied by d^POWER instead of divided",
}


def over_everything(S):
    return softmax_forward(S.reshape(*S.shape[:2], -1))[0].reshape(S.shape)


scale_after_softmax = forward_but(A=lambda n: n.scale * softmax_forward(n.q @ swap(n.k))[0])
without_softmax = forward_but(A=lambda n: n.S)
softmax_over_everything = forward_but(A=lambda n: over_everything(n.S))
softmax_over_queries = forward_but(A=lambda n: swap(softmax_forward(n.scale * n.k @ swap(n.q))[0]))

WRONG_OUTPUTS = {
    scale_after_softmax: "the scale comes after the softmax: the scores are scaled, not the weights",
    without_softmax: "the softmax is missing",
    softmax_over_everything: "one softmax over the whole map: each query has weights that sum to 1",
    softmax_over_queries:
        "the softmax runs over the queries: each query has weights that sum to 1 over its keys, the last axis",
}  # fmt: skip


def wrong_outputs(course):
    power, scales = course["POWER"], SCALES
    if power == 0.25:  # twice that is the root
        scales = {slip: hint for slip, hint in SCALES.items() if slip is not scaled_twice}
    hint = f"the scores are divided by sqrt(d){', or scaled twice' if power == 0.25 else ''}: here POWER = {power}"
    return seen(lambda slip: forward_but(scale=slip), {by_root: hint} | scales) | WRONG_OUTPUTS


# ---------------------------------------------------------------------- mistakes in the backward


def but(**slips):
    return partial(steps, **slips)


def dS_but(slip):
    return but(dS=lambda n: slip(n.dA, n.A))


dq_dk_not_scaled = but(dq=lambda n: n.dS @ n.k, dk=lambda n: swap(n.dS) @ n.q)
dq_not_scaled = but(dq=lambda n: n.dS @ n.k)
dk_not_scaled = but(dk=lambda n: swap(n.dS) @ n.q)
dk_scaled_twice = but(dk=lambda n: n.scale**2 * swap(n.dS) @ n.q)
dq_scaled_twice = but(dq=lambda n: n.scale**2 * n.dS @ n.k)
dS_scaled_too = but(dS=lambda n: n.scale * BACKWARD["dS"](n))
dS_scaled_alone = but(
    dS=lambda n: n.scale * BACKWARD["dS"](n), dq=lambda n: n.dS @ n.k, dk=lambda n: swap(n.dS) @ n.q)  # fmt: skip
dA_overwritten = but(results=lambda n: (n.dS, n.dS, n.dq, n.dk, n.dv))
dv_with_scores = but(dv=lambda n: swap(n.S) @ n.do)
dv_with_dA = but(dv=lambda n: swap(n.dA) @ n.do)
dq_with_dA = but(dq=lambda n: n.scale * n.dA @ n.k)
dk_with_dA = but(dk=lambda n: n.scale * swap(n.dA) @ n.q)

WRONG_GRADIENTS = {
    dq_dk_not_scaled: "dq and dk are not scaled: S has the factor 1 / d^POWER",
    dq_not_scaled: "dq is not scaled: S has the factor 1 / d^POWER",
    dk_not_scaled: "dk is not scaled: S has the factor 1 / d^POWER",
    dk_scaled_twice: "dk is scaled twice: its q has the scale already",
    dq_scaled_twice: "dq is scaled twice: its k has the scale already",
    dS_scaled_too: "the scale is in dS, and again in dq and dk: S are the scaled scores",
    dS_scaled_alone: "the scale is in dS: S are the scaled scores, the factor belongs to dq and dk",
    **seen(dS_but, slips.SOFTMAX_BACKWARD, "in dS, {}"),
    dA_overwritten: "dA is dS: an operation in place has overwritten it",
    dv_with_scores: "dv has the scores in the place of A",
    dv_with_dA: "dv has dA in the place of A",
    dq_with_dA: "dq has dA in the place of dS",
    dk_with_dA: "dk has dA in the place of dS",
    tuple(but(scale=slip) for slip in (*SCALES, by_root)):
        "it follows from the forward, which is wrong: mend that first",
}

v_not_turned = but(dA=lambda n: n.do @ n.v)
A_not_turned = but(dv=lambda n: n.A @ n.do)
dS_not_turned = but(dk=lambda n: n.scale * n.dS @ n.q)
dS_turned = but(dq=lambda n: n.scale * swap(n.dS) @ n.k)
dq_with_q = but(dq=lambda n: n.scale * n.dS @ n.q)
dk_with_k = but(dk=lambda n: n.scale * swap(n.dS) @ n.k)

TURNED = {
    v_not_turned: "dA has v without a transpose: dA_ij is the product of row i of do and row j of v",
    A_not_turned: "dv has A without a transpose: value j collects from all queries i, with the weights A_ij",
    dS_not_turned: "dk has dS without a transpose: key j collects from all queries i, with dS_ij",
    dS_turned: "dq has dS with a transpose: query i collects from all keys j, with dS_ij",
    dq_with_q: "dq has q in the place of k",
    dk_with_k: "dk has k in the place of q",
    **seen(dS_but, slips.ON_EQUAL_SIZES, "in dS, {}"),
}
PAIR = "attention_forward attention_backward"


def items(course):
    """course : the constants of the course, {"POWER": 0.5}"""
    call, wrong = "output_of_attention", wrong_outputs(course)
    return for_course(course, [
        Item("the forward", 2, call, make_forward, output, wrong),
        Item("the forward, more queries than keys", 1, call, make_more_queries, output, wrong),
        Item("the backward of long inputs", 4, PAIR, make_long, gradients, WRONG_GRADIENTS),
        Item("the backward", 2, PAIR, make, gradients, WRONG_GRADIENTS),
        Item("all sizes equal", 1, PAIR, make_equal, gradients, TURNED | WRONG_GRADIENTS),
        the_dtype_stays(1, PAIR, make_single, gradients),
    ])  # fmt: skip
