"""Exercise 04, attention backward: what is right, known mistakes, and the table of items."""

import math
from functools import partial

from grading.course import for_course
from grading.items import Item, float32, same_dtype
from grading.steps import follow

from dgsa_np.attention import softmax_head_backward, softmax_head_forward
from dgsa_np.ops import SoftmaxCache, softmax_backward, softmax_forward, swap


def row_sum(x):
    return x.sum(axis=-1, keepdims=True)


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


def make(rng, B=1, H=3, T=4, S=5, d=2, e=6):
    q, k, v = (rng.standard_normal((B, H, *shape)) for shape in ((T, d), (S, d), (S, e)))
    return q, k, v, rng.standard_normal((B, H, T, e))


def make_forward(rng):
    return make(rng)[:3]


def make_equal(rng):
    """All sizes are equal, so that what is turned fits."""
    return make(rng, H=2, S=4, d=4, e=4)


def make_single(rng):
    return float32(*make(rng))


# ----------------------------------------------------------------------- mistakes in the forward


def forward_but(**slips):
    return partial(output_by_steps, **slips)


not_scaled = forward_but(scale=lambda n: 1)
scaled_by_keys = forward_but(scale=lambda n: n.k.shape[-2] ** -n.power)
scaled_by_queries = forward_but(scale=lambda n: n.q.shape[-2] ** -n.power)
scaled_by_heads = forward_but(scale=lambda n: n.q.shape[1] ** -n.power)
scaled_by_value_width = forward_but(scale=lambda n: n.v.shape[-1] ** -n.power)
multiplied_by_scale = forward_but(scale=lambda n: n.q.shape[-1] ** n.power)
scale_after_softmax = forward_but(A=lambda n: n.scale * softmax_forward(n.q @ swap(n.k))[0])
without_softmax = forward_but(A=lambda n: n.S)
softmax_over_queries = forward_but(A=lambda n: swap(softmax_forward(n.scale * n.k @ swap(n.q))[0]))

INSTEAD_OF_D = "the scores are scaled with {} in the place of the key width d"
WRONG_OUTPUTS = {
    not_scaled: "the scores are not scaled",
    scaled_by_keys: INSTEAD_OF_D.format("the number of keys"),
    scaled_by_queries: INSTEAD_OF_D.format("the number of queries"),
    scaled_by_heads: INSTEAD_OF_D.format("the number of heads"),
    scaled_by_value_width: INSTEAD_OF_D.format("the value width e"),
    multiplied_by_scale: "the scores are multiplied by d^POWER instead of divided",
    scale_after_softmax: "the scale comes after the softmax: the scores are scaled, not the weights",
    without_softmax: "the softmax is missing",
    softmax_over_queries:
        "the softmax runs over the queries: each query has weights that sum to 1 over its keys, the last axis",
}  # fmt: skip

# ---------------------------------------------------------------------- mistakes in the backward


def but(**slips):
    return partial(steps, **slips)


dq_dk_not_scaled = but(dq=lambda n: n.dS @ n.k, dk=lambda n: swap(n.dS) @ n.q)
dq_not_scaled = but(dq=lambda n: n.dS @ n.k)
dk_not_scaled = but(dk=lambda n: swap(n.dS) @ n.q)
dk_scaled_twice = but(dk=lambda n: n.scale**2 * swap(n.dS) @ n.q)
dq_scaled_twice = but(dq=lambda n: n.scale**2 * n.dS @ n.k)
dS_scaled_too = but(dS=lambda n: n.scale * BACKWARD["dS"](n))
dS_scaled_alone = but(
    dS=lambda n: n.scale * BACKWARD["dS"](n), dq=lambda n: n.dS @ n.k, dk=lambda n: swap(n.dS) @ n.q)  # fmt: skip
dS_without_row_sum = but(dS=lambda n: n.A * n.dA)
dS_is_dA = but(dS=lambda n: n.dA)
dS_by_diagonal_alone = but(dS=lambda n: n.A * (1 - n.A) * n.dA)
row_sum_without_A = but(dS=lambda n: n.A * (n.dA - row_sum(n.dA)))
mean_of_A_dA = but(dS=lambda n: n.A * (n.dA - (n.A * n.dA).mean(-1, keepdims=True)))
mean_of_dA = but(dS=lambda n: n.A * (n.dA - n.dA.mean(-1, keepdims=True)))
sum_over_queries = but(dS=lambda n: n.A * (n.dA - (n.A * n.dA).sum(-2, keepdims=True)))
row_sum_added = but(dS=lambda n: n.A * (n.dA + row_sum(n.A * n.dA)))
row_sum_not_weighted = but(dS=lambda n: n.A * n.dA - row_sum(n.A * n.dA))
no_A_in_front = but(dS=lambda n: n.dA - row_sum(n.A * n.dA))
dA_overwritten = but(results=lambda n: (n.dS, n.dS, n.dq, n.dk, n.dv))
dv_with_scores = but(dv=lambda n: swap(n.S) @ n.do)

WRONG_GRADIENTS = {
    dq_dk_not_scaled: "dq and dk are not scaled: S has the factor 1 / d^POWER",
    dq_not_scaled: "dq is not scaled: S has the factor 1 / d^POWER",
    dk_not_scaled: "dk is not scaled: S has the factor 1 / d^POWER",
    dk_scaled_twice: "dk is scaled twice: its q has the scale already",
    dq_scaled_twice: "dq is scaled twice: its k has the scale already",
    dS_scaled_too: "the scale is in dS, and again in dq and dk: S are the scaled scores",
    dS_scaled_alone: "the scale is in dS: S are the scaled scores, the factor belongs to dq and dk",
    dS_without_row_sum: "the row sum is missing in dS: each score moves the weights of its whole row",
    dS_is_dA: "dS is dA: the backward of softmax is missing",
    dS_by_diagonal_alone:
        "only the diagonal of softmax's Jacobian, A (1 - A): each score moves the other weights, too",
    row_sum_without_A: "in dS, the row sum lacks A: it is the sum of A dA",
    (mean_of_A_dA, mean_of_dA): "in dS, a mean in the place of the row sum",
    sum_over_queries: "in dS, the sum runs over the queries: a row is the last axis",
    row_sum_added: "in dS, the row sum is added: its sign is minus",
    row_sum_not_weighted: "in dS, the row sum is not multiplied by A",
    no_A_in_front: "in dS, the A in front is missing",
    dA_overwritten: "dA is dS: an operation in place has overwritten it",
    dv_with_scores: "dv has the scores in the place of A",
}  # fmt: skip

v_not_turned = but(dA=lambda n: n.do @ n.v)
A_not_turned = but(dv=lambda n: n.A @ n.do)
dS_not_turned = but(dk=lambda n: n.scale * n.dS @ n.q)
dS_turned = but(dq=lambda n: n.scale * swap(n.dS) @ n.k)
dq_with_q = but(dq=lambda n: n.scale * n.dS @ n.q)
dk_with_k = but(dk=lambda n: n.scale * swap(n.dS) @ n.k)
sum_without_keepdims = but(dS=lambda n: n.A * (n.dA - (n.A * n.dA).sum(-1)[..., None, :]))
dq_dk_exchanged = but(results=lambda n: (n.dA, n.dS, n.dk, n.dq, n.dv))

TURNED = {
    v_not_turned: "dA has v without a transpose: dA_ij is the product of row i of do and row j of v",
    A_not_turned: "dv has A without a transpose: value j collects from all queries i, with the weights A_ij",
    dS_not_turned: "dk has dS without a transpose: key j collects from all queries i, with dS_ij",
    dS_turned: "dq has dS with a transpose: query i collects from all keys j, with dS_ij",
    dq_with_q: "dq has q in the place of k",
    dk_with_k: "dk has k in the place of q",
    sum_without_keepdims: "in dS, keepdims is missing: the sum of row i is taken from column i",
    dq_dk_exchanged: "dq and dk are the wrong way round",
}
PAIR = "attention_forward attention_backward"


def items(course):
    """course : the constants of the course, {"POWER": 0.5}"""
    return for_course(course, [
        Item("the forward", 3, "output_of_attention", make_forward, output, WRONG_OUTPUTS),
        Item("the backward", 5, PAIR, make, gradients, WRONG_GRADIENTS),
        Item("all sizes equal", 2, PAIR, make_equal, gradients, TURNED | WRONG_GRADIENTS),
        Item("the dtype stays", 1, PAIR, make_single, check=same_dtype),
    ])  # fmt: skip
