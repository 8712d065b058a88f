"""Exercise 05, lambda and the difference: what is right, known mistakes, and the table of items."""

from functools import partial
from types import SimpleNamespace

import numpy as np
from grading.course import for_course
from grading.items import Item, the_dtype_stays
from grading.slips import row_sum
from grading.steps import follow, seen

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
    """v and do lie around 1, so that dlam is a sum of numbers that do not cancel."""
    shapes = (T, d), (S, d), (T, d), (S, d), (S, e), (T, e)
    *heads, v, do = (rng.standard_normal((B, H, *shape)) for shape in shapes)
    return *heads, 1 + v, np.array(rng.uniform(0.3, 0.7) if lam is None else lam), 1 + do


def make_forward(rng):
    return make(rng)[:-1]


def make_more_queries(rng):
    return make(rng, B=3, H=2, T=7, S=5, d=3, e=4)[:-1]


def make_long(rng):
    """So many numbers that a numeric derivative takes minutes."""
    return make(rng, T=150, S=40, d=12, e=14)


def make_equal(rng):
    """All sizes are equal, so that what is turned fits."""
    return make(rng, 3, 3, 3, 3, 3, 3)


def make_closed(rng):
    return make(rng, B=3, H=2, T=6, S=4, d=3, e=5, lam=0.0)


def make_single(rng):
    return make(rng, B=3, H=2, T=3, S=6, d=8, e=5)


# ----------------------------------------------------------------------- mistakes in the forward


def forward_but(**slips):
    return partial(output_by_steps, **slips)


def right_weights(n):
    return FORWARD["weights"](n)


WEIGHTS = {
    lambda n: right_weights(n)[::-1]: "lambda weighs the other map: LAMBDA_ON names the one it belongs to",
    lambda n: (1, 1): "lambda is not used",
    lambda n: (n.lam, n.lam): "lambda weighs both maps: LAMBDA_ON names the only one",
    lambda n: (right_weights(n)[0], -right_weights(n)[1]): "the inhibitory map is added: it is subtracted",
    lambda n: (-right_weights(n)[0], -right_weights(n)[1]):
        "the sign of the map: excitation is positive, inhibition is subtracted",
    lambda n: (n.lam, 1 - n.lam): "the weights are lambda and 1 - lambda: the formula has lambda and 1",
    lambda n: (1 - n.lam, n.lam): "the weights are 1 - lambda and lambda: the formula has lambda and 1",
}  # fmt: skip
SCALES = {
    lambda n: 1: "the scores are not scaled: they are divided by sqrt(d)",
    lambda n: 1 / n.q_exc.shape[-1]: "the scores are divided by d: the scale is 1 / sqrt(d)",
    lambda n: n.q_exc.shape[-1] ** 0.5: "the scores are multiplied by sqrt(d): it divides",
    lambda n: n.v.shape[-1] ** -0.5: "the scale is made from the value width e: d is the width of q and k",
    lambda n: n.k_exc.shape[-2] ** -0.5: "the scale is made from the number of keys: it is sqrt(d)",
    lambda n: (2 * n.q_exc.shape[-1]) ** -0.5:
        "the scale is made from the width of both branches, 2 d: each branch has a softmax of its own, of width d",
}  # fmt: skip


def map_of(q, k):
    """A map of the queries and keys with these names."""
    return lambda n: softmax_forward(n.scale * vars(n)[q] @ swap(vars(n)[k]))[0]


def difference_of_scores(n):
    w_exc, w_inh = n.weights
    return w_exc * n.scale * n.q_exc @ swap(n.k_exc) - w_inh * n.scale * n.q_inh @ swap(n.k_inh)


one_softmax = forward_but(A=lambda n: softmax_forward(difference_of_scores(n))[0])
softmax_over_queries = forward_but(
    A_exc=lambda n: swap(softmax_forward(n.scale * n.k_exc @ swap(n.q_exc))[0]),
    A_inh=lambda n: swap(softmax_forward(n.scale * n.k_inh @ swap(n.q_inh))[0]),
)
branches_crossed = forward_but(A_exc=map_of("q_exc", "k_inh"), A_inh=map_of("q_inh", "k_exc"))
branches_exchanged = forward_but(A_exc=map_of("q_inh", "k_inh"), A_inh=map_of("q_exc", "k_exc"))
rows_normalised = forward_but(A=lambda n: FORWARD["A"](n) / row_sum(FORWARD["A"](n)))
negative_cut_off = forward_but(A=lambda n: np.maximum(FORWARD["A"](n), 0))

WRONG_OUTPUTS = {
    **seen(lambda slip: forward_but(weights=slip), WEIGHTS),
    **seen(lambda slip: forward_but(scale=slip), SCALES),
    one_softmax: "one softmax of the difference of the scores: each branch has a softmax of its own",
    softmax_over_queries: "the softmax runs over the queries: a row is the last axis",
    forward_but(A_inh=map_of("q_exc", "k_inh")): "the inhibitory map has the queries of the excitatory one",
    forward_but(A_inh=map_of("q_inh", "k_exc")): "the inhibitory map has the keys of the excitatory one",
    forward_but(A_inh=map_of("q_exc", "k_exc")): "both maps are the excitatory one: each branch has its own",
    forward_but(A_exc=map_of("q_inh", "k_inh")): "both maps are the inhibitory one: each branch has its own",
    branches_crossed: "queries and keys of the branches are crossed: q_exc goes with k_exc",
    branches_exchanged: "the maps are exchanged: A_exc is made of q_exc and k_exc",
    rows_normalised: "the rows are divided by their sum: rows of a difference need not sum to 1",
    negative_cut_off: "negative weights are set to 0: the difference keeps them",
}

# ------------------------------------------------------------------------------ mistakes in dlam


def but(**slips):
    return partial(steps, **slips)


def dlam_but(formula):
    """A wrong dlam, with both signs."""
    return but(dlam=formula), but(dlam=lambda n: -formula(n))


def dlam_over(axes, keepdims=False):
    """Not summed over everything."""
    return dlam_but(lambda n: (n.dA * (n.A_exc if n.on_exc else n.A_inh)).sum(axis=axes, keepdims=keepdims))


dlam_of_other_sign = but(dlam=lambda n: -BACKWARD["dlam"](n))
dlam_of_other_map = dlam_but(lambda n: (n.dA * (n.A_inh if n.on_exc else n.A_exc)).sum())
dlam_of_fused_map = dlam_but(lambda n: (n.dA * n.A).sum())
dlam_without_map = dlam_but(lambda n: n.dA.sum())
dlam_times_lambda = but(dlam=lambda n: n.lam * BACKWARD["dlam"](n))
dlam_is_mean = but(dlam=lambda n: BACKWARD["dlam"](n) / n.dA.size)
dlam_is_mean_over_batch = but(dlam=lambda n: BACKWARD["dlam"](n) / len(n.dA))
dlam_is_mean_over_heads = but(dlam=lambda n: BACKWARD["dlam"](n) / n.dA.shape[1])
dlam_is_mean_over_rows = but(dlam=lambda n: BACKWARD["dlam"](n) / n.dA[..., 0].size)
dlam_of_first_entry = dlam_but(lambda n: (n.dA * (n.A_exc if n.on_exc else n.A_inh))[0].sum())
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
        (dlam_is_mean, dlam_is_mean_over_batch, dlam_is_mean_over_heads, dlam_is_mean_over_rows):
            "dlam is a mean: one number served all, so its derivatives are summed",
        dlam_of_first_entry: "dlam takes one entry of the batch: all of them share lambda",
        (*dlam_over(-1), *dlam_over((-2, -1)), *dlam_over((0, 2, 3)), *dlam_over((1, 2, 3)),
         *dlam_over(None, keepdims=True)): "dlam is not one number: lambda served all, so all is summed",
        dlam_is_zero: "dlam is 0",
    }  # fmt: skip


ZERO_LAMBDA = {
    divided_by_lambda: "divided by lambda, which may be 0",
    dlam_times_lambda: "dlam is 0 where lambda is 0: it has a factor lambda too much, or is not calculated",
}

# ---------------------------------------------------------------------- mistakes in the branches


def of_branch(n, name):
    """A branch, "exc" or "inh": M is its map, weight what A has before it; A and dA are fused."""
    weight = {"exc": n.weights[0], "inh": -n.weights[1]}[name]
    own = {letter: vars(n).get(f"{letter}_{name}") for letter in ("q", "k", "dS")}
    maps = {"M": vars(n)[f"A_{name}"], "dM": vars(n)[f"dA_{name}"], "A": n.A, "dA": n.dA}
    return SimpleNamespace(**own, **maps, scale=n.scale, weight=weight)


def both(step, formula):
    """The same slip in both branches: formula(b), where b.q is q_exc and q_inh."""
    return {f"{step}_{name}": lambda n, name=name: formula(of_branch(n, name)) for name in ("exc", "inh")}


def with_map(dA, A):
    return softmax_backward(dA, SoftmaxCache(A))


DQ_NOT_SCALED = both("dq", lambda b: b.dS @ b.k)
DK_NOT_SCALED = both("dk", lambda b: swap(b.dS) @ b.q)

inhibition_without_minus = but(dA_inh=lambda n: n.weights[1] * n.dA)
lambda_missing = but(dA_exc=lambda n: n.dA, dA_inh=lambda n: -n.dA)
both_are_dA = but(dA_exc=lambda n: n.dA, dA_inh=lambda n: n.dA)
lambda_in_both = but(dA_exc=lambda n: n.lam * n.dA, dA_inh=lambda n: -n.lam * n.dA)
lambda_in_other_branch = but(dA_exc=lambda n: n.weights[1] * n.dA, dA_inh=lambda n: -n.weights[0] * n.dA)
minus_in_both = but(dA_exc=lambda n: -n.weights[0] * n.dA)
dv_of_excitatory_map = but(dv=lambda n: swap(n.A_exc) @ n.do)
dv_of_weighed_excitatory_map = but(dv=lambda n: swap(n.weights[0] * n.A_exc) @ n.do)
dv_of_inhibitory_map = but(dv=lambda n: swap(n.A_inh) @ n.do)
dv_of_weighed_inhibitory_map = but(dv=lambda n: -swap(n.weights[1] * n.A_inh) @ n.do)
dv_of_sum_of_maps = but(dv=lambda n: swap(n.weights[0] * n.A_exc + n.weights[1] * n.A_inh) @ n.do)
dv_without_lambda = but(dv=lambda n: swap(n.A_exc - n.A_inh) @ n.do)
of_fused_map = but(**both("dS", lambda b: with_map(b.dM, b.A)))
sum_of_fused_rows = (
    but(**both("dS", lambda b: b.M * (b.dM - row_sum(b.dM * b.A)))),
    but(**both("dS", lambda b: b.M * (b.dM - row_sum(b.dA * b.A)))),
    but(**both("dS", lambda b: b.M * b.weight * (b.dA - row_sum(b.dA * b.A)))),
)
of_excitatory_map = but(dS_inh=lambda n: with_map(n.dA_inh, n.A_exc))
of_inhibitory_map = but(dS_exc=lambda n: with_map(n.dA_exc, n.A_inh))
no_softmax_backward = but(**both("dS", lambda b: b.dM))
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
    lambda_missing: "lambda is missing in the branch that it weighs",
    both_are_dA: "dA_exc and dA_inh are dA: the weights, one of them with a minus, are missing",
    lambda_in_both: "lambda is in the gradient of the other branch, too",
    lambda_in_other_branch: "lambda is in the gradient of the wrong branch",
    minus_in_both: "the minus is in both branches: only A_inh is subtracted",
    (dv_of_excitatory_map, dv_of_weighed_excitatory_map):
        "dv has the excitatory map alone: v is read through the difference A",
    (dv_of_inhibitory_map, dv_of_weighed_inhibitory_map):
        "dv has the inhibitory map alone: v is read through the difference A",
    dv_of_sum_of_maps: "dv has the sum of the maps: v is read through their difference A",
    dv_without_lambda: "dv lacks lambda: v is read through A",
    of_fused_map: "the softmax backward has the fused map A: each branch has its own",
    sum_of_fused_rows:
        "the row sum in the softmax backward is that of the fused rows, rowsum(dA A): each branch has its own",
    of_excitatory_map: "the inhibitory softmax backward has the map A_exc",
    of_inhibitory_map: "the excitatory softmax backward has the map A_inh",
    no_softmax_backward: "the backward of softmax is missing",
    no_softmax_backward_in_inhibition: "the backward of softmax is missing in the inhibitory branch",
    dq_dk_not_scaled: "dq and dk are not scaled: S has the factor 1 / sqrt(d)",
    dq_not_scaled: "dq is not scaled: S has the factor 1 / sqrt(d)",
    dk_not_scaled: "dk is not scaled: S has the factor 1 / sqrt(d)",
    dk_scaled_twice: "dk is scaled twice: its q has the scale already",
    dq_inh_with_k_exc: "the inhibitory branch has the keys of the excitatory one",
    dk_inh_with_q_exc: "the inhibitory branch has the queries of the excitatory one",
    branches_exchanged: "excitatory and inhibitory gradients are exchanged",
    (*(but(scale=slip) for slip in SCALES), *(but(weights=slip) for slip in WEIGHTS)):
        "it follows from the forward, which is wrong: mend that first",
}  # fmt: skip

dS_not_turned = but(**both("dk", lambda b: b.scale * b.dS @ b.q))
A_not_turned = but(dv=lambda n: n.A @ n.do)
v_not_turned = but(dA=lambda n: n.do @ n.v)

TURNED = {
    dS_not_turned: "dk has dS without a transpose: key j collects from all queries i, with dS_ij",
    A_not_turned: "dv has A without a transpose: value j collects from all queries i, with A_ij",
    v_not_turned: "dA has v without a transpose: dA_ij is the product of row i of do and row j of v",
}
FORWARD_ALONE, PAIR = "output_of_differential", "differential_forward differential_backward"


def items(course):
    """course : the constants of the course, {"LAMBDA_ON": "inh"}"""
    wrong = of_lambda(course) | BRANCHES
    return for_course(course, [
        Item("the forward", 2, FORWARD_ALONE, make_forward, output, WRONG_OUTPUTS),
        Item("the forward, more queries than keys", 1, FORWARD_ALONE, make_more_queries, output, WRONG_OUTPUTS),
        Item("the backward of long inputs", 4, PAIR, make_long, gradients, wrong),
        Item("the backward", 2, PAIR, make, gradients, wrong),
        Item("all sizes equal", 1, PAIR, make_equal, gradients, TURNED | wrong),
        Item("lambda is 0", 1, PAIR, make_closed, gradients, ZERO_LAMBDA),
        the_dtype_stays(1, PAIR, make_single, gradients),
    ])  # fmt: skip
