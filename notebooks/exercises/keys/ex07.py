"""Exercise 07, the gated head, backward: what is right, known mistakes, and the table of items."""

from functools import partial

import numpy as np
from grading.course import for_course
from grading.items import Item, float32, same_dtype
from grading.steps import follow

from dgsa_np.attention import gated_head_backward, gated_head_forward, softmax_head_backward, softmax_head_forward
from dgsa_np.ops import sigmoid, softmax_forward, swap

DV, DZ_GATE = 4, 5  # places in the six gradients
PLACES = {"exc": slice(0, 2), "inh": slice(2, 4)}


def on_queries(course):
    return course["GATE_ON"] == "queries"


def g_weighs_exc(course):
    return course["GATED"] == "exc"


def row_sum(x):
    return x.sum(axis=-1, keepdims=True)


def sign(course):
    """Of z_gate in the library, whose g weighs the excitatory map."""
    return 1 if g_weighs_exc(course) else -1


def gradients(course, q_exc, k_exc, q_inh, k_inh, v, z_gate, *mask_do):
    """(dq_exc, dk_exc, dq_inh, dk_inh, dv, dz_gate)"""
    if not on_queries(course):
        return gradients_of_gate_on_keys(course, q_exc, k_exc, q_inh, k_inh, v, z_gate, *mask_do)
    *mask, do = mask_do
    _, cache = gated_head_forward(q_exc, k_exc, q_inh, k_inh, v, sign(course) * z_gate, *mask)
    *others, dz = gated_head_backward(do, cache)
    return *others, sign(course) * dz


def gradients_of_gate_on_keys(course, q_exc, k_exc, q_inh, k_inh, v, z_gate, *mask_do):
    """A gate on keys scales the values: two softmax heads with values of their own."""
    *mask, do = mask_do
    a, b = sigmoid(sign(course) * z_gate)[..., None], sigmoid(-sign(course) * z_gate)[..., None]
    _, exc = softmax_head_forward(q_exc, k_exc, a * v, *mask)
    _, inh = softmax_head_forward(q_inh, k_inh, -b * v, *mask)
    (dq_exc, dk_exc, dav), (dq_inh, dk_inh, dbv) = softmax_head_backward(do, exc), softmax_head_backward(do, inh)
    dz_gate = sign(course) * (a * b * v * (dav + dbv)).sum(axis=-1)
    return dq_exc, dk_exc, dq_inh, dk_inh, a * dav - b * dbv, dz_gate


def d_values(course, *arguments):
    return gradients(course, *arguments)[DV]


def d_gate(course, *arguments):
    return gradients(course, *arguments)[DZ_GATE]


def d_excitatory(course, *arguments):
    return gradients(course, *arguments)[PLACES["exc"]]


def d_inhibitory(course, *arguments):
    return gradients(course, *arguments)[PLACES["inh"]]


# ------------------------------------------------------------------------------------- arguments


def make(course, rng, T=5, S=5, masked=False):
    q_exc, q_inh = 1.5 * rng.standard_normal((2, 2, 3, T, 4))
    k_exc, k_inh = 1.5 * rng.standard_normal((2, 2, 3, S, 4))
    v, z_gate = rng.standard_normal((2, 3, S, 6)), 1.5 * rng.standard_normal((2, 3, T if on_queries(course) else S))
    mask = rng.random((2, 1, T, S)) < 0.6
    mask[..., 0] |= ~mask.any(axis=-1)
    return q_exc, k_exc, q_inh, k_inh, v, z_gate, *([mask] if masked else []), rng.standard_normal((2, 3, T, 6))


def make_masked(course, rng):
    return make(course, rng, 4, 7, True)


def make_far(course, rng):
    """With gates that are almost open: g (1 - g) is about 1e-18."""
    *others, z_gate, do = make(course, rng, 4, 7)
    return *others, rng.uniform(40, 42, z_gate.shape), 1e18 * do


def make_single(course, rng):
    return float32(*make(course, rng, 4, 7))


# ----------------------------------------------------------- the steps that a mistake may change

FORWARD = {
    "scale": lambda n: n.q_exc.shape[-1] ** -0.5,
    "A_exc": lambda n: softmax_forward(n.scale * n.q_exc @ swap(n.k_exc), *n.mask)[0],
    "A_inh": lambda n: softmax_forward(n.scale * n.q_inh @ swap(n.k_inh), *n.mask)[0],
    "axis": lambda n: -1 if n.on_queries else -2,  # along which a gate is shared
    "g": lambda n: sigmoid(n.z_gate),
    "rest": lambda n: sigmoid(-n.z_gate),  # 1 - g
    "w_exc": lambda n: np.expand_dims(n.g if n.g_weighs_exc else n.rest, n.axis),
    "w_inh": lambda n: np.expand_dims(n.rest if n.g_weighs_exc else n.g, n.axis),
    "A": lambda n: n.w_exc * n.A_exc - n.w_inh * n.A_inh,
    "dA": lambda n: n.do @ swap(n.v),
}
VALUES = {"dv": lambda n: swap(n.A) @ n.do}
GATE = {
    "dg_each": lambda n: n.dA * (n.A_exc + n.A_inh),
    "dg": lambda n: n.dg_each.sum(axis=n.axis),
    "slope": lambda n: n.g * n.rest,
    "dz_gate": lambda n: n.sign * n.slope * n.dg,
}
BRANCH = {  # of both branches: M is its map, weight what A has before it
    "dM": lambda b: b.weight * b.dA,
    "dS": lambda b: b.M * (b.dM - row_sum(b.dM * b.M)),
    "dq": lambda b: b.scale * b.dS @ b.k,
    "dk": lambda b: b.scale * swap(b.dS) @ b.q,
}


def taken(course, q_exc, k_exc, q_inh, k_inh, v, z_gate, *mask_do):
    """All that a backward may reach for."""
    *mask, do = mask_do
    switches = {"on_queries": on_queries(course), "g_weighs_exc": g_weighs_exc(course), "sign": sign(course)}
    heads = {"q_exc": q_exc, "k_exc": k_exc, "q_inh": q_inh, "k_inh": k_inh, "v": v}
    return follow(FORWARD, {}, **switches, **heads, z_gate=z_gate, mask=mask, do=do)


def values(course, *arguments, **slips):
    return follow(VALUES, slips, **vars(taken(course, *arguments))).dv


def gate(course, *arguments, **slips):
    return follow(GATE, slips, **vars(taken(course, *arguments))).dz_gate


def branch(course, *arguments, name, **slips):
    """dq and dk of the branch "exc" or "inh"."""
    n = taken(course, *arguments)
    if name == "exc":
        own = {"M": n.A_exc, "q": n.q_exc, "k": n.k_exc, "sign": 1, "weight": n.w_exc}
        other = {"other_map": n.A_inh, "other_weight": n.w_inh}
    else:
        own = {"M": n.A_inh, "q": n.q_inh, "k": n.k_inh, "sign": -1, "weight": -n.w_inh}
        other = {"other_map": n.A_exc, "other_weight": -n.w_exc}
    b = follow(BRANCH, slips, A=n.A, dA=n.dA, scale=n.scale, **own, **other)
    return b.dq, b.dk


# ---------------------------------------------------------------------------- mistakes in dv


def values_but(formula):
    return partial(values, dv=formula)


dv_of_excitatory_map = values_but(lambda n: swap(n.A_exc) @ n.do)
dv_of_inhibitory_map = values_but(lambda n: swap(n.A_inh) @ n.do)
dv_without_gate = values_but(lambda n: swap(n.A_exc - n.A_inh) @ n.do)
dv_of_sum_of_maps = values_but(lambda n: swap(n.A_exc + n.A_inh) @ n.do)
dv_of_weighed_sum = values_but(lambda n: swap(n.w_exc * n.A_exc + n.w_inh * n.A_inh) @ n.do)
dv_of_other_sign = values_but(lambda n: -swap(n.A) @ n.do)
dv_not_turned = values_but(lambda n: n.A @ n.do)

WRONG_VALUES = {
    dv_of_excitatory_map: "dv takes the excitatory map alone: o = A v with the fused A",
    dv_of_inhibitory_map: "dv takes the inhibitory map alone: o = A v with the fused A",
    dv_without_gate: "dv takes A_exc - A_inh, without the gate",
    dv_of_sum_of_maps: "dv takes A_exc + A_inh: that is for the gate; o = A v",
    dv_of_weighed_sum: "dv takes the sum of the weighed maps: A is their difference",
    dv_of_other_sign: "dv has the wrong sign",
}
VALUES_TURNED = {dv_not_turned: "dv lacks the transpose: dv = A^T do"}

# ----------------------------------------------------------------------- mistakes in dz_gate


def gate_but(**slips):
    return partial(gate, **slips)


dg_of_difference = gate_but(dg_each=lambda n: n.dA * (n.A_exc - n.A_inh))
dg_without_inhibition = gate_but(dg_each=lambda n: n.dA * n.A_exc)
dg_without_excitation = gate_but(dg_each=lambda n: n.dA * n.A_inh)
dg_without_excitation_negative = gate_but(dg_each=lambda n: -n.dA * n.A_inh)
dg_of_fused_map = gate_but(dg_each=lambda n: n.dA * n.A)
dg_of_fused_map_negative = gate_but(dg_each=lambda n: -n.dA * n.A)
dz_of_other_sign = gate_but(dg_each=lambda n: -n.dA * (n.A_exc + n.A_inh))
no_slope = gate_but(slope=lambda n: 1.0)
slope_is_g = gate_but(slope=lambda n: n.g)
slope_is_rest = gate_but(slope=lambda n: n.rest)
slope_is_g_squared = gate_but(slope=lambda n: n.g * n.g)
slope_of_tanh = gate_but(slope=lambda n: 1 - n.g * n.g)
slope_of_logit = gate_but(slope=lambda n: n.z_gate * (1 - n.z_gate))
slope_squared = gate_but(slope=lambda n: (n.g * n.rest) ** 2)
dg_is_mean = gate_but(dg=lambda n: n.dg_each.mean(axis=n.axis))
dg_without_maps = gate_but(dg_each=lambda n: n.dA)
dg_over_other_axis = gate_but(dg=lambda n: n.dg_each.sum(axis=-2 if n.on_queries else -1))

CLEAR_IN_GATE = {  # also where 1 - g is almost 0
    dg_of_difference:
        "dg has the difference of the maps: g stands before one and -(1 - g) before the other, so their sum",
    dz_of_other_sign: "dz_gate has the wrong sign",
    dg_is_mean: "dg is a mean: what is broadcast in the forward is summed in the backward",
}  # fmt: skip
WRONG_GATES = {
    dg_of_difference: CLEAR_IN_GATE[dg_of_difference],
    dg_without_inhibition: "dg lacks the inhibitory map: 1 - g hangs on z_gate, too",
    (dg_without_excitation, dg_without_excitation_negative):
        "dg lacks the excitatory map: both weights hang on z_gate",
    (dg_of_fused_map, dg_of_fused_map_negative):
        "dg has the fused map: the derivative of A by g is A_exc + A_inh, or minus that",
    dz_of_other_sign: CLEAR_IN_GATE[dz_of_other_sign],
    no_slope: "the slope of the sigmoid is missing: dz = g (1 - g) dg",
    slope_is_g: "the slope of the sigmoid is g (1 - g), not g",
    slope_is_rest: "the slope of the sigmoid is g (1 - g), not 1 - g",
    slope_is_g_squared: "the slope of the sigmoid is g (1 - g), not g^2",
    slope_of_tanh: "the slope is that of tanh, 1 - g^2",
    slope_of_logit: "the slope is made of z_gate, z (1 - z): it is g (1 - g)",
    slope_squared: "the slope comes twice",
    dg_is_mean: CLEAR_IN_GATE[dg_is_mean],
    dg_without_maps: "dg is a sum of dA alone: dA A_exc + dA A_inh",
}  # fmt: skip


def gate_turned(course):
    over, axis = ("keys", "last") if on_queries(course) else ("queries", "last but one")
    return {dg_over_other_axis: f"dg is summed over the wrong axis: a gate is shared by all {over}, the {axis} axis"}


def lost(course, *arguments):
    return 0 * d_gate(course, *arguments)


LOST = {lost: "g (1 - g) is 0: 1 - g by subtraction has no digits left; the cache has sigmoid(-z)"}

# --------------------------------------------- mistakes in a branch; the hints have gaps to fill


def branch_but(**slips):
    return partial(branch, **slips)


weight_missing = branch_but(dM=lambda b: b.sign * b.dA)
weight_and_sign_missing = branch_but(dM=lambda b: b.dA)
weight_of_other_branch = branch_but(dM=lambda b: b.other_weight * b.dA)
weight_of_other_branch_negative = branch_but(dM=lambda b: -b.other_weight * b.dA)
branch_of_other_sign = branch_but(dM=lambda b: -b.weight * b.dA)
no_row_sum = branch_but(dS=lambda b: b.M * b.dM)
sum_over_queries = branch_but(dS=lambda b: b.M * (b.dM - (b.dM * b.M).sum(axis=-2, keepdims=True)))
row_sum_is_mean = branch_but(dS=lambda b: b.M * (b.dM - (b.dM * b.M).mean(axis=-1, keepdims=True)))
row_sum_added = branch_but(dS=lambda b: b.M * (b.dM + row_sum(b.dM * b.M)))
no_map_in_front = branch_but(dS=lambda b: b.dM - row_sum(b.dM * b.M))
row_sum_without_map = branch_but(dS=lambda b: b.M * (b.dM - row_sum(b.dM)))
softmax_as_sigmoid = branch_but(dS=lambda b: b.dM * b.M * (1 - b.M))
fused_map_in_softmax = branch_but(dS=lambda b: b.A * (b.dM - row_sum(b.dM * b.A)))
other_map_in_softmax = branch_but(dS=lambda b: b.other_map * (b.dM - row_sum(b.dM * b.other_map)))
softmax_skipped = branch_but(dS=lambda b: b.dM)
not_scaled = branch_but(dq=lambda b: b.dS @ b.k, dk=lambda b: swap(b.dS) @ b.q)
dq_not_scaled = branch_but(dq=lambda b: b.dS @ b.k)
dk_not_scaled = branch_but(dk=lambda b: swap(b.dS) @ b.q)
scaled_twice = branch_but(
    dq=lambda b: b.scale * b.scale * b.dS @ b.k, dk=lambda b: b.scale * b.scale * swap(b.dS) @ b.q)  # fmt: skip
dk_not_turned = branch_but(dk=lambda b: b.scale * b.dS @ b.q)
dq_dk_exchanged = branch_but(dq=lambda b: b.scale * swap(b.dS) @ b.q, dk=lambda b: b.scale * b.dS @ b.k)
q_k_exchanged = branch_but(dq=lambda b: b.scale * b.dS @ b.q, dk=lambda b: b.scale * swap(b.dS) @ b.k)

WRONG_BRANCHES = {
    (weight_missing, weight_and_sign_missing):
        "dA_{name} is not weighed: the forward line has {weight} before A_{name}",
    (weight_of_other_branch, weight_of_other_branch_negative):
        "dA_{name} has the weight of the other branch: it is {sign}({weight}) dA",
    branch_of_other_sign: "the sign of the {word} branch is wrong: A_exc is added, A_inh subtracted",
    no_row_sum: "the row sum is missing: dS = A (dA - rowsum(dA A)), of A_{name}",
    sum_over_queries: "the row sum runs over the wrong axis: over the keys, the last axis",
    row_sum_is_mean: "the row sum is a mean",
    row_sum_added: "the row sum is added: it is subtracted",
    no_map_in_front: "the factor A before the bracket is missing: dS = A (dA - rowsum(dA A))",
    row_sum_without_map: "the row sum lacks the factor A: rowsum(dA A)",
    softmax_as_sigmoid: "the softmax is taken as a sigmoid, A (1 - A): its rows hang together",
    fused_map_in_softmax: "the fused map A stands where A_{name} belongs: each softmax has its own",
    other_map_in_softmax: "the map of the other branch stands where A_{name} belongs",
    softmax_skipped: "the softmax is skipped: dA is taken for dS",
    not_scaled: "the scale is forgotten: the scores have the factor 1 / sqrt(d)",
    dq_not_scaled: "the scale is forgotten in dq",
    dk_not_scaled: "the scale is forgotten in dk",
    scaled_twice: "the scale comes twice",
}  # fmt: skip
BRANCHES_TURNED = {
    dk_not_turned: "dk lacks the transpose: dk = scale dS^T q",
    dq_dk_exchanged: "dq and dk are exchanged: dq has the k of the forward, dk the q",
    q_k_exchanged: "dq is made of q and dk of k: in q k^T the factor of q is k",
}
WORDS = {"exc": "excitatory", "inh": "inhibitory"}


def of_branch(course, name, mistakes):
    """The mistakes for one branch, "exc" or "inh", with the gaps of their hints filled."""
    weight = "g" if g_weighs_exc(course) == (name == "exc") else "1 - g"
    gaps = {"name": name, "word": WORDS[name], "weight": weight, "sign": "" if name == "exc" else "-"}
    return {each(mistake, partial, name=name): hint.format(**gaps) for mistake, hint in mistakes.items()}


def each(mistake, made, **options):
    """made(mistake, **options), for a mistake or each of a tuple of them."""
    return tuple(made(m, **options) for m in mistake) if isinstance(mistake, tuple) else made(mistake, **options)


# -------------------------------------------------------------- all six, with a mistake in one part


def six_but(course, *arguments, place, mistake):
    six = list(gradients(course, *arguments))
    six[place] = mistake(course, *arguments)
    return tuple(six)


def six_with(mistake, place):
    return partial(six_but, place=place, mistake=mistake)


def among_six(place, mistakes):
    return {each(mistake, six_with, place=place): hint for mistake, hint in mistakes.items()}


def all_six(course):
    known = among_six(DV, WRONG_VALUES) | among_six(DZ_GATE, WRONG_GATES)
    for name, word in WORDS.items():
        mistakes = of_branch(course, name, WRONG_BRANCHES)
        known |= {m: f"{word} branch: {hint}" for m, hint in among_six(PLACES[name], mistakes).items()}
    return known


PAIR = "gated_head_forward "
SIX = PAIR + "gated_head_backward"


def items(course):
    """course : the constants of the course, {"GATE_ON": "queries", "GATED": "exc"}"""
    exc, inh = (of_branch(course, name, WRONG_BRANCHES | BRANCHES_TURNED) for name in ("exc", "inh"))
    return for_course(course, [
        Item("dv", 1, PAIR + "d_values", make, d_values, WRONG_VALUES | VALUES_TURNED),
        Item("dq_exc and dk_exc", 2, PAIR + "d_excitatory", make, d_excitatory, exc),
        Item("dq_inh and dk_inh", 2, PAIR + "d_inhibitory", make, d_inhibitory, inh),
        Item("dz_gate", 2, PAIR + "d_gate", make, d_gate, WRONG_GATES | gate_turned(course)),
        Item("dz_gate of a gate that is almost open", 1, PAIR + "d_gate", make_far, d_gate, LOST | CLEAR_IN_GATE),
        Item("all six, under a mask", 1, SIX, make_masked, gradients, all_six(course)),
        Item("the dtype stays", 1, SIX, make_single, check=same_dtype),
    ])  # fmt: skip
