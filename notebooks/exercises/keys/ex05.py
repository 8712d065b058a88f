"""Exercise 05, lambda and the difference: what is right, known mistakes, and the table of items."""

from functools import partial
from types import SimpleNamespace

import numpy as np
from grading.course import for_course
from grading.items import Item, float32, same_dtype
from grading.steps import follow

from dgsa_np.attention import differential_head_backward, differential_head_forward
from dgsa_np.ops import SoftmaxCache, softmax_backward, softmax_forward, swap


def on_exc(course):
    """Whether lambda weighs the excitatory map: lam A_exc - A_inh, else A_exc - lam A_inh.

    The first is -(A_inh - lam A_exc): the library with exchanged roles.
    """
    return course["LAMBDA_ON"] == "exc"


def output(course, q_exc, k_exc, q_inh, k_inh, v, lam):
    if on_exc(course):
        return -differential_head_forward(q_inh, k_inh, q_exc, k_exc, v, lam)[0]
    return differential_head_forward(q_exc, k_exc, q_inh, k_inh, v, lam)[0]


def gradients(course, q_exc, k_exc, q_inh, k_inh, v, lam, do):
    if on_exc(course):
        _, cache = differential_head_forward(q_inh, k_inh, q_exc, k_exc, v, lam)
        dq_inh, dk_inh, dq_exc, dk_exc, dv, dlam = differential_head_backward(-do, cache)
        return dq_exc, dk_exc, dq_inh, dk_inh, dv, dlam
    _, cache = differential_head_forward(q_exc, k_exc, q_inh, k_inh, v, lam)
    return differential_head_backward(do, cache)


FORWARD = {
    "scale": lambda n: n.q_exc.shape[-1] ** -0.5,
    "A_exc": lambda n: softmax_forward(n.scale * n.q_exc @ swap(n.k_exc))[0],
    "A_inh": lambda n: softmax_forward(n.scale * n.q_inh @ swap(n.k_inh))[0],
    "weights": lambda n: (n.lam, 1) if n.on_exc else (1, n.lam),
    "A": lambda n: n.weights[0] * n.A_exc - n.weights[1] * n.A_inh,
    "o": lambda n: n.A @ n.v,
}
BACKWARD = {
    "dA": lambda n: n.do @ swap(n.v),
    "dv": lambda n: swap(n.A) @ n.do,
    "dA_exc": lambda n: n.weights[0] * n.dA,
    "dA_inh": lambda n: -n.weights[1] * n.dA,
    "dlam": lambda n: (n.dA * n.A_exc).sum() if n.on_exc else -(n.dA * n.A_inh).sum(),
    "dS_exc": lambda n: softmax_backward(n.dA_exc, SoftmaxCache(n.A_exc)),
    "dS_inh": lambda n: softmax_backward(n.dA_inh, SoftmaxCache(n.A_inh)),
    "dq_exc": lambda n: n.scale * (n.dS_exc @ n.k_exc),
    "dk_exc": lambda n: n.scale * (swap(n.dS_exc) @ n.q_exc),
    "dq_inh": lambda n: n.scale * (n.dS_inh @ n.k_inh),
    "dk_inh": lambda n: n.scale * (swap(n.dS_inh) @ n.q_inh),
    "results": lambda n: (n.dq_exc, n.dk_exc, n.dq_inh, n.dk_inh, n.dv, n.dlam),
}
ARGUMENTS = ("q_exc", "k_exc", "q_inh", "k_inh", "v", "lam", "do")


def output_by_steps(course, *arguments, **slips):
    """The forward, with other formulas for some of its steps."""
    known = dict(zip(ARGUMENTS, arguments, strict=False))  # without do
    return follow(FORWARD, slips, on_exc=on_exc(course), **known).o


def steps(course, *arguments, **slips):
    """Forward and backward, with other formulas for some of the steps."""
    known = dict(zip(ARGUMENTS, arguments, strict=True))
    return follow(FORWARD | BACKWARD, slips, on_exc=on_exc(course), **known).results


# ------------------------------------------------------------------------------------- arguments


def make(rng, B=2, H=3, T=4, S=5, d=7, e=6, lam=None):
    shapes = (T, d), (S, d), (T, d), (S, d), (S, e), (T, e)
    *heads, do = (rng.standard_normal((B, H, *shape)) for shape in shapes)
    return *heads, np.array(rng.uniform(0.3, 0.7) if lam is None else lam), do


def make_forward(rng):
    return make(rng)[:-1]


def make_equal(rng):
    """All sizes are equal, so that what is turned fits."""
    return make(rng, 1, 2, 4, 4, 4, 4)


def make_closed(rng):
    return make(rng, 1, 2, 3, 4, 2, 5, lam=0.0)


def make_single(rng):
    return float32(*make(rng))


# ----------------------------------------------------------------------- mistakes in the forward


def forward_but(**slips):
    return partial(output_by_steps, **slips)


other_map_weighed = forward_but(weights=lambda n: FORWARD["weights"](n)[::-1])
lambda_not_used = forward_but(weights=lambda n: (1, 1))
both_maps_weighed = forward_but(weights=lambda n: (n.lam, n.lam))
inhibition_added = forward_but(A=lambda n: n.weights[0] * n.A_exc + n.weights[1] * n.A_inh)
map_of_other_sign = forward_but(A=lambda n: -FORWARD["A"](n))
lambda_and_the_rest = forward_but(weights=lambda n: (n.lam, 1 - n.lam))
the_rest_and_lambda = forward_but(weights=lambda n: (1 - n.lam, n.lam))

MIXING = {
    other_map_weighed: "lambda weighs the other map: LAMBDA_ON names the one it belongs to",
    lambda_not_used: "lambda is not used",
    both_maps_weighed: "lambda weighs both maps: LAMBDA_ON names the only one",
    inhibition_added: "the inhibitory map is added: it is subtracted",
    map_of_other_sign: "the sign of the map: excitation is positive, inhibition is subtracted",
    (lambda_and_the_rest, the_rest_and_lambda):
        "the weights are lambda and 1 - lambda: the formula has lambda and 1",
}  # fmt: skip


def difference_of_scores(n):
    w_exc, w_inh = n.weights
    return w_exc * n.scale * n.q_exc @ swap(n.k_exc) - w_inh * n.scale * n.q_inh @ swap(n.k_inh)


not_scaled = forward_but(scale=lambda n: 1)
divided_by_d = forward_but(scale=lambda n: 1 / n.q_exc.shape[-1])
scaled_by_value_width = forward_but(scale=lambda n: n.v.shape[-1] ** -0.5)
scaled_by_both_widths = forward_but(scale=lambda n: (2 * n.q_exc.shape[-1]) ** -0.5)
one_softmax = forward_but(A=lambda n: softmax_forward(difference_of_scores(n))[0])
inhibitory_map_of_q_exc = forward_but(A_inh=lambda n: softmax_forward(n.scale * n.q_exc @ swap(n.k_inh))[0])
inhibitory_map_of_k_exc = forward_but(A_inh=lambda n: softmax_forward(n.scale * n.q_inh @ swap(n.k_exc))[0])
rows_normalised = forward_but(A=lambda n: FORWARD["A"](n) / FORWARD["A"](n).sum(-1, keepdims=True))
negative_cut_off = forward_but(A=lambda n: np.maximum(FORWARD["A"](n), 0))

MAPS = {
    not_scaled: "the scores are not scaled: they are divided by sqrt(d)",
    divided_by_d: "the scores are divided by d: the scale is 1 / sqrt(d)",
    scaled_by_value_width: "the scale is made from the value width e: d is the width of q and k",
    scaled_by_both_widths:
        "the scale is made from the width of both branches, 2 d: each branch has a softmax of its own, of width d",
    one_softmax: "one softmax of the difference of the scores: each branch has a softmax of its own",
    inhibitory_map_of_q_exc: "the inhibitory map has the queries of the excitatory one",
    inhibitory_map_of_k_exc: "the inhibitory map has the keys of the excitatory one",
    rows_normalised: "the rows are divided by their sum: rows of a difference need not sum to 1",
    negative_cut_off: "negative weights are set to 0: the difference keeps them",
}  # fmt: skip

# ------------------------------------------------------------------------------ mistakes in dlam


def but(**slips):
    return partial(steps, **slips)


def dlam_but(formula):
    """A wrong dlam, with both signs."""
    return but(dlam=formula), but(dlam=lambda n: -formula(n))


dlam_of_other_sign = but(dlam=lambda n: -BACKWARD["dlam"](n))
dlam_of_other_map = dlam_but(lambda n: (n.dA * (n.A_inh if n.on_exc else n.A_exc)).sum())
dlam_of_fused_map = dlam_but(lambda n: (n.dA * n.A).sum())
dlam_without_map = dlam_but(lambda n: n.dA.sum())
dlam_times_lambda = but(dlam=lambda n: n.lam * BACKWARD["dlam"](n))
dlam_is_mean = but(dlam=lambda n: BACKWARD["dlam"](n) / n.dA.size)
dlam_is_mean_over_batch = but(dlam=lambda n: BACKWARD["dlam"](n) / len(n.dA))
dlam_is_mean_over_rows = but(dlam=lambda n: BACKWARD["dlam"](n) / n.dA[..., 0].size)
dlam_is_zero = but(dlam=lambda n: np.zeros(()))
divided_by_lambda = but(dlam=lambda n: BACKWARD["dlam"](n) * n.lam / n.lam)


def of_lambda(course):
    weighed, other = ("A_exc", "A_inh") if on_exc(course) else ("A_inh", "A_exc")
    return {
        dlam_of_other_sign: "the sign of dlam: look at the sign that lambda has in A",
        dlam_of_other_map: f"dlam has the wrong map: lambda is a factor of {weighed}, not of {other}",
        dlam_of_fused_map: "dlam has the fused map A in it: lambda is a factor of one branch's map",
        dlam_without_map: "dlam lacks the map: it is a sum of dA times what lambda multiplies",
        dlam_times_lambda: "dlam has a factor lambda too much",
        (dlam_is_mean, dlam_is_mean_over_batch, dlam_is_mean_over_rows):
            "dlam is a mean: one number served all, so its derivatives are summed",
        dlam_is_zero: "dlam is 0",
    }  # fmt: skip


ZERO_LAMBDA = {divided_by_lambda: "divided by lambda, which may be 0"}

# ---------------------------------------------------------------------- mistakes in the branches


def of_branch(n, branch):
    """What is known, with the names of a branch without their suffix."""
    return SimpleNamespace(**{name.removesuffix(branch): value for name, value in vars(n).items()})


def both(name, formula):
    """The same slip in both branches: formula(b), where b.q is q_exc and q_inh."""
    return {name + branch: lambda n, branch=branch: formula(of_branch(n, branch)) for branch in ("_exc", "_inh")}


DQ_NOT_SCALED = both("dq", lambda b: b.dS @ b.k)
DK_NOT_SCALED = both("dk", lambda b: swap(b.dS) @ b.q)

inhibition_without_minus = but(dA_inh=lambda n: n.weights[1] * n.dA)
dA_inh_is_dA = but(dA_inh=lambda n: n.dA)
lambda_missing = but(dA_exc=lambda n: n.dA, dA_inh=lambda n: -n.dA)
lambda_in_both = but(dA_exc=lambda n: n.lam * n.dA, dA_inh=lambda n: -n.lam * n.dA)
lambda_in_other_branch = but(dA_exc=lambda n: n.weights[1] * n.dA, dA_inh=lambda n: -n.weights[0] * n.dA)
minus_in_both = but(dA_exc=lambda n: -n.weights[0] * n.dA)
dv_of_excitatory_map = but(dv=lambda n: swap(n.A_exc) @ n.do)
dv_of_weighed_excitatory_map = but(dv=lambda n: swap(n.weights[0] * n.A_exc) @ n.do)
dv_of_sum_of_maps = but(dv=lambda n: swap(n.weights[0] * n.A_exc + n.weights[1] * n.A_inh) @ n.do)
dv_without_lambda = but(dv=lambda n: swap(n.A_exc - n.A_inh) @ n.do)
softmax_backward_of_fused_map = but(
    dS_exc=lambda n: softmax_backward(n.dA_exc, SoftmaxCache(n.A)),
    dS_inh=lambda n: softmax_backward(n.dA_inh, SoftmaxCache(n.A)),
)
inhibitory_softmax_of_A_exc = but(dS_inh=lambda n: softmax_backward(n.dA_inh, SoftmaxCache(n.A_exc)))
no_softmax_backward = but(**both("dS", lambda b: b.dA))
no_softmax_backward_in_inhibition = but(dS_inh=lambda n: n.dA_inh)
dq_dk_not_scaled = but(**DQ_NOT_SCALED, **DK_NOT_SCALED)
dq_not_scaled = but(**DQ_NOT_SCALED)
dk_not_scaled = but(**DK_NOT_SCALED)
dk_scaled_twice = but(**both("dk", lambda b: b.scale**2 * swap(b.dS) @ b.q))
dq_inh_with_k_exc = but(dq_inh=lambda n: n.scale * n.dS_inh @ n.k_exc)
dk_inh_with_q_exc = but(dk_inh=lambda n: n.scale * swap(n.dS_inh) @ n.q_exc)
branches_exchanged = but(results=lambda n: (n.dq_inh, n.dk_inh, n.dq_exc, n.dk_exc, n.dv, n.dlam))

BRANCHES = {
    inhibition_without_minus: "the inhibitory gradients lack the minus: A_inh is subtracted",
    dA_inh_is_dA: "dA_inh is dA: its weight, with the minus, is missing",
    lambda_missing: "lambda is missing in the branch that it weighs",
    lambda_in_both: "lambda is in the gradient of the other branch, too",
    lambda_in_other_branch: "lambda is in the gradient of the wrong branch",
    minus_in_both: "the minus is in both branches: only A_inh is subtracted",
    (dv_of_excitatory_map, dv_of_weighed_excitatory_map):
        "dv has the excitatory map alone: v is read through the difference A",
    dv_of_sum_of_maps: "dv has the sum of the maps: v is read through their difference A",
    dv_without_lambda: "dv lacks lambda: v is read through A",
    softmax_backward_of_fused_map: "the softmax backward has the fused map A: each branch has its own",
    inhibitory_softmax_of_A_exc: "the inhibitory softmax backward has the map A_exc",
    no_softmax_backward: "the backward of softmax is missing",
    no_softmax_backward_in_inhibition: "the backward of softmax is missing in the inhibitory branch",
    dq_dk_not_scaled: "dq and dk are not scaled: S has the factor 1 / sqrt(d)",
    dq_not_scaled: "dq is not scaled: S has the factor 1 / sqrt(d)",
    dk_not_scaled: "dk is not scaled: S has the factor 1 / sqrt(d)",
    dk_scaled_twice: "dk is scaled twice: its q has the scale already",
    dq_inh_with_k_exc: "the inhibitory branch has the keys of the excitatory one",
    dk_inh_with_q_exc: "the inhibitory branch has the queries of the excitatory one",
    branches_exchanged: "excitatory and inhibitory gradients are exchanged",
}  # fmt: skip

dS_not_turned = but(**both("dk", lambda b: b.scale * b.dS @ b.q))
A_not_turned = but(dv=lambda n: n.A @ n.do)
v_not_turned = but(dA=lambda n: n.do @ n.v)
results_in_other_order = but(results=lambda n: (n.dq_exc, n.dq_inh, n.dk_exc, n.dk_inh, n.dv, n.dlam))

TURNED = {
    dS_not_turned: "dk has dS without a transpose: key j collects from all queries i, with dS_ij",
    A_not_turned: "dv has A without a transpose: value j collects from all queries i, with A_ij",
    v_not_turned: "dA has v without a transpose: dA_ij is the product of row i of do and row j of v",
    results_in_other_order: "the order of the results is not that of the arguments",
}
PAIR = "differential_forward differential_backward"


def items(course):
    """course : the constants of the course, {"LAMBDA_ON": "inh"}"""
    wrong = of_lambda(course) | BRANCHES
    return for_course(course, [
        Item("the forward", 3, "output_of_differential", make_forward, output, MIXING | MAPS),
        Item("the backward", 5, PAIR, make, gradients, wrong),
        Item("all sizes equal", 2, PAIR, make_equal, gradients, TURNED | wrong),
        Item("lambda is 0", 1, PAIR, make_closed, gradients, ZERO_LAMBDA | of_lambda(course)),
        Item("the dtype stays", 1, PAIR, make_single, check=same_dtype),
    ])  # fmt: skip
