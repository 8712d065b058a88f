"""Exercise 07, the gated head, backward: what is right, known mistakes, and the table of items."""

from functools import partial

import numpy as np
from grading import slips
from grading.course import for_course
from grading.items import Item, the_dtype_stays
from grading.slips import row_sum
from grading.steps import follow, seen

from dgsa_np.attention import gated_head_backward, gated_head_forward, softmax_head_backward, softmax_head_forward
from dgsa_np.ops import SoftmaxCache, sigmoid, softmax_backward, softmax_forward, swap

EXC, INH, DV, DZ_GATE = (0, 1), (2, 3), (4,), (5,)  # places in the six gradients


def on_queries(course):
    return course["GATE_ON"] == "queries"


def g_weighs_exc(course):
    return course["GATED"] == "exc"


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


def at(*places):
    """The gradients at these places: one alone, or a tuple."""

    def picked(course, *arguments):
        six = gradients(course, *arguments)
        return tuple(six[i] for i in places) if len(places) > 1 else six[places[0]]

    return picked


# ------------------------------------------------------------------------------------- arguments


def make(course, rng, B=2, H=3, T=4, S=7, d=5, e=6):
    q_exc, q_inh = 1.5 * rng.standard_normal((2, B, H, T, d))
    k_exc, k_inh = 1.5 * rng.standard_normal((2, B, H, S, d))
    v, z_gate = rng.standard_normal((B, H, S, e)), 1.5 * rng.standard_normal((B, H, T if on_queries(course) else S))
    return q_exc, k_exc, q_inh, k_inh, v, z_gate, rng.standard_normal((B, H, T, e))


def make_more_queries(course, rng):
    return make(course, rng, B=3, H=2, T=7, S=5, d=3, e=4)


def make_many_queries(course, rng):
    """So many numbers, of all that queries have, that a numeric derivative takes minutes."""
    return make(course, rng, T=800, S=8, d=7, e=9)


def make_many_keys(course, rng, T=8, S=800):
    """The same of keys. Half of them are allowed; in each entry of the batch a query has none."""
    mask = rng.permuted(np.tile(np.arange(S) < S // 2, (2, 1, T, 1)), axis=-1)
    mask[np.arange(2), 0, rng.permutation(T)[:2]] = False
    *others, do = make(course, rng, T=T, S=S, d=6, e=5)
    return *others, mask, do


def make_equal(course, rng):
    """All sizes are equal, so that what is turned fits."""
    return make(course, rng, 3, 3, 3, 3, 3, 3)


def make_far(course, rng):
    """In the second entry of the batch the gates are almost open: g (1 - g) is about 1e-18."""
    *others, z_gate, do = make(course, rng, T=6, S=4, d=3, e=5)
    z_gate[1], do[1] = rng.uniform(40, 42, z_gate[1].shape), 1e18 * do[1]
    return *others, z_gate, do


def make_single(course, rng):
    return make(course, rng, B=3, H=2, T=4, S=6, d=8, e=5)


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
    "dS": lambda b: softmax_backward(b.dM, SoftmaxCache(b.M)),
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
        other = {"other_map": n.A_inh, "other_weight": n.w_inh, "other_q": n.q_inh, "other_k": n.k_inh}
    else:
        own = {"M": n.A_inh, "q": n.q_inh, "k": n.k_inh, "sign": -1, "weight": -n.w_inh}
        other = {"other_map": n.A_exc, "other_weight": -n.w_exc, "other_q": n.q_exc, "other_k": n.k_exc}
    b = follow(BRANCH, slips, A=n.A, dA=n.dA, scale=n.scale, **own, **other)
    return b.dq, b.dk


# ---------------------------------------------------------------------------- mistakes in dv


def values_but(formula):
    return partial(values, dv=formula)


WRONG_VALUES = {
    values_but(lambda n: swap(n.A_exc) @ n.do): "dv takes the excitatory map alone: o = A v with the fused A",
    values_but(lambda n: swap(n.A_inh) @ n.do): "dv takes the inhibitory map alone: o = A v with the fused A",
    values_but(lambda n: swap(n.A_exc - n.A_inh) @ n.do): "dv takes A_exc - A_inh, without the gate",
    values_but(lambda n: swap(n.A_exc + n.A_inh) @ n.do):
        "dv takes A_exc + A_inh: that is for the gate; o = A v",
    values_but(lambda n: swap(n.w_exc * n.A_exc + n.w_inh * n.A_inh) @ n.do):
        "dv takes the sum of the weighed maps: A is their difference",
    values_but(lambda n: -swap(n.A) @ n.do): "dv has the wrong sign",
}  # fmt: skip
VALUES_TURNED = {values_but(lambda n: n.A @ n.do): "dv lacks the transpose: dv = A^T do"}

# ----------------------------------------------------------------------- mistakes in dz_gate


def gate_but(**slips):
    return partial(gate, **slips)


def with_both_signs(formula):
    return gate_but(dg_each=formula), gate_but(dg_each=lambda n: -formula(n))


def other_axis(n):
    return -2 if n.on_queries else -1


WRONG_SUMS = {
    gate_but(dg_each=lambda n: n.dA * (n.A_exc - n.A_inh)):
        "dg has the difference of the maps: g stands before one and -(1 - g) before the other, so their sum",
    with_both_signs(lambda n: n.dA * n.A_exc): "dg lacks the inhibitory map: both weights hang on z_gate",
    with_both_signs(lambda n: n.dA * n.A_inh): "dg lacks the excitatory map: both weights hang on z_gate",
    with_both_signs(lambda n: 2 * n.dA * n.A_exc): "dg has the excitatory map twice: A_exc + A_inh",
    with_both_signs(lambda n: 2 * n.dA * n.A_inh): "dg has the inhibitory map twice: A_exc + A_inh",
    with_both_signs(lambda n: n.dA * n.A):
        "dg has the fused map, it is a sum of the fused rows: the derivative of A by g is A_exc + A_inh, or minus that",
    with_both_signs(lambda n: n.dA): "dg is a sum of dA alone: dA A_exc + dA A_inh",
    gate_but(dg_each=lambda n: -n.dA * (n.A_exc + n.A_inh)): "dz_gate has the wrong sign",
    gate_but(dg=lambda n: n.dg_each.mean(axis=n.axis)):
        "dg is a mean: what is broadcast in the forward is summed in the backward",
}  # fmt: skip
WRONG_SLOPES = {
    gate_but(slope=lambda n: 1.0): "the slope of the sigmoid is missing: dz = g (1 - g) dg",
    gate_but(slope=lambda n: n.g): "the slope of the sigmoid is g (1 - g), not g",
    gate_but(slope=lambda n: n.rest): "the slope of the sigmoid is g (1 - g), not 1 - g",
    gate_but(slope=lambda n: n.g * n.g): "the slope of the sigmoid is g (1 - g), not g^2",
    gate_but(slope=lambda n: 1 - n.g * n.g): "the slope is that of tanh, 1 - g^2",
    gate_but(slope=lambda n: n.z_gate * (1 - n.z_gate)): "the slope is made of z_gate, z (1 - z): it is g (1 - g)",
    gate_but(slope=lambda n: (n.g * n.rest) ** 2): "the slope comes twice",
}
LOST = {
    gate_but(slope=lambda n: n.g * (1 - n.g)):
        "g (1 - g) is 0: 1 - g by subtraction has no digits left; the cache has sigmoid(-z)",
}  # fmt: skip


def gate_turned(course):
    """Summed over the other axis: before the slope, which needs equal sizes, or after it."""
    over, axis = ("keys", "last") if on_queries(course) else ("queries", "last but one")
    before = gate_but(dg=lambda n: n.dg_each.sum(axis=other_axis(n)))
    after = gate_but(
        dz_gate=lambda n: n.sign * (np.expand_dims(n.slope, n.axis) * n.dg_each).sum(axis=other_axis(n)))  # fmt: skip
    return {(before, after): f"dg is summed over the wrong axis: a gate is shared by all {over}, the {axis} axis"}


# --------------------------------------------- mistakes in a branch; the hints have gaps to fill


def branch_but(**slips):
    return partial(branch, **slips)


def dS_but(slip):
    return branch_but(dS=lambda b: slip(b.dM, b.M))


sum_of_fused_rows = (
    branch_but(dS=lambda b: b.M * (b.dM - row_sum(b.dM * b.A))),
    branch_but(dS=lambda b: b.M * (b.dM - row_sum(b.dA * b.A))),
    branch_but(dS=lambda b: b.M * b.weight * (b.dA - row_sum(b.dA * b.A))),
)
not_scaled = branch_but(dq=lambda b: b.dS @ b.k, dk=lambda b: swap(b.dS) @ b.q)
dq_not_scaled = branch_but(dq=lambda b: b.dS @ b.k)
dk_not_scaled = branch_but(dk=lambda b: swap(b.dS) @ b.q)
scaled_twice = branch_but(
    dq=lambda b: b.scale * b.scale * b.dS @ b.k, dk=lambda b: b.scale * b.scale * swap(b.dS) @ b.q)  # fmt: skip

WRONG_BRANCHES = {
    (branch_but(dM=lambda b: b.sign * b.dA), branch_but(dM=lambda b: b.dA), branch_but(dM=lambda b: -b.sign * b.dA)):
        "dA_{name} is not weighed: the forward line has {weight} before A_{name}",
    (branch_but(dM=lambda b: b.other_weight * b.dA), branch_but(dM=lambda b: -b.other_weight * b.dA)):
        "dA_{name} has the weight of the other branch: it is {sign}({weight}) dA",
    branch_but(dM=lambda b: -b.weight * b.dA):
        "the sign of the {word} branch is wrong: A_exc is added, A_inh subtracted",
    **seen(dS_but, {slip: hint for slip, hint in slips.SOFTMAX_BACKWARD.items() if slip is not slips.of_other_sign}),
    sum_of_fused_rows: "the row sum is that of the fused rows, rowsum(dA A): each branch has its own, of A_{name}",
    branch_but(dS=lambda b: softmax_backward(b.dM, SoftmaxCache(b.A))):
        "the fused map A stands where A_{name} belongs: each softmax has its own",
    branch_but(dS=lambda b: softmax_backward(b.dM, SoftmaxCache(b.other_map))):
        "the map of the other branch stands where A_{name} belongs",
    branch_but(dq=lambda b: b.scale * b.dS @ b.other_k): "dq_{name} has the keys of the other branch",
    branch_but(dk=lambda b: b.scale * swap(b.dS) @ b.other_q): "dk_{name} has the queries of the other branch",
    not_scaled: "the scale is forgotten: the scores have the factor 1 / sqrt(d)",
    dq_not_scaled: "the scale is forgotten in dq",
    dk_not_scaled: "the scale is forgotten in dk",
    scaled_twice: "the scale comes twice",
}  # fmt: skip

dq_with_q = branch_but(dq=lambda b: b.scale * b.dS @ b.q, dk=lambda b: b.scale * swap(b.dS) @ b.k)
dS_turned = branch_but(dq=lambda b: b.scale * swap(b.dS) @ b.k, dk=lambda b: b.scale * b.dS @ b.q)

BRANCHES_TURNED = {
    branch_but(dk=lambda b: b.scale * b.dS @ b.q): "dk lacks the transpose: dk = scale dS^T q",
    branch_but(dq=lambda b: b.scale * swap(b.dS) @ b.k): "dq has a transpose too much: dq = scale dS k",
    dS_turned: "the transposes of dq and dk are exchanged: dq = scale dS k, dk = scale dS^T q",
    dq_with_q: "dq is made of q and dk of k: in q k^T the factor of q is k",
    **seen(dS_but, slips.ON_EQUAL_SIZES),
}
WORDS = {"exc": "excitatory", "inh": "inhibitory"}


def of_branch(course, name, mistakes):
    """The mistakes for one branch, "exc" or "inh", with the gaps of their hints filled."""
    weight = "g" if g_weighs_exc(course) == (name == "exc") else "1 - g"
    gaps = {"name": name, "word": WORDS[name], "weight": weight, "sign": "" if name == "exc" else "-"}
    return seen(lambda mistake: partial(mistake, name=name), filled(mistakes, gaps))


def filled(mistakes, gaps):
    return {mistake: hint.format(**gaps) for mistake, hint in mistakes.items()}


# --------------------------------------------------------- results at the places of others


def moved(places, others):
    """What a part is where the six stand in another order."""
    told = "the order of the six is dq_exc, dk_exc, dq_inh, dk_inh, dv, dz_gate: what stands here is another one"
    return {tuple(at(*other) for other in others if other != places): told}


PAIRS = (EXC, INH, (0, 2), (1, 3), (1, 0), (3, 2), (1, 2), (4, 0), (5, 0), (2, 0), (3, 1))
ALONE = tuple((i,) for i in range(6))

# -------------------------------------------------------------- all six, with a mistake in one part


def six_but(course, *arguments, wrong):
    """wrong : {places: the mistake that gives what stands there}"""
    six = list(gradients(course, *arguments))
    for places, mistake in wrong.items():
        found = mistake(course, *arguments)
        six[places[0] : places[-1] + 1] = found if len(places) > 1 else (found,)
    return tuple(six)


def among_six(places, mistakes, words="{}"):
    return seen(lambda mistake: partial(six_but, wrong={places: mistake}), mistakes, words)


def in_both(mistakes):
    """The same mistake in both branches."""

    def twice(mistake):
        return partial(six_but, wrong={EXC: partial(mistake, name="exc"), INH: partial(mistake, name="inh")})

    gaps = {"name": "exc, A_inh", "word": "excitatory and the inhibitory", "weight": "g or 1 - g", "sign": "+- "}
    return seen(twice, filled(mistakes, gaps), "both branches: {}")


def all_six(course, values, gates, branches):
    known = among_six(DV, values) | among_six(DZ_GATE, gates) | in_both(branches)
    for (name, word), places in zip(WORDS.items(), (EXC, INH), strict=True):
        known |= among_six(places, of_branch(course, name, branches), f"{word} branch: {{}}")
    return known


PAIR = "gated_head_forward "
SIX = PAIR + "gated_head_backward"


def items(course):
    """course : the constants of the course, {"GATE_ON": "queries", "GATED": "exc"}"""
    exc, inh = (of_branch(course, name, WRONG_BRANCHES) for name in ("exc", "inh"))
    gates = WRONG_SUMS | WRONG_SLOPES | gate_turned(course)
    six = all_six(course, WRONG_VALUES, gates, WRONG_BRANCHES)
    turned = all_six(course, WRONG_VALUES | VALUES_TURNED, gates, WRONG_BRANCHES | BRANCHES_TURNED)
    long = [
        Item("all six, many queries", 1, SIX, make_many_queries, gradients, six),
        Item("all six, many keys under a mask", 2, SIX, make_many_keys, gradients, six),
    ]
    return for_course(course, [
        *(long if on_queries(course) else reversed(long)),  # the one with many gates first
        Item("dv", 1, PAIR + "d_values", make, at(*DV), WRONG_VALUES | moved(DV, ALONE)),
        Item("dq_exc and dk_exc", 1, PAIR + "d_excitatory", make_more_queries, at(*EXC), exc | moved(EXC, PAIRS)),
        Item("dq_inh and dk_inh", 1, PAIR + "d_inhibitory", make, at(*INH), inh | moved(INH, PAIRS)),
        Item("dz_gate", 1, PAIR + "d_gate", make_more_queries, at(*DZ_GATE), gates | moved(DZ_GATE, ALONE)),
        Item("dz_gate of a gate that is almost open", 1, PAIR + "d_gate", make_far, at(*DZ_GATE), LOST | WRONG_SUMS),
        Item("all six, all sizes equal", 1, SIX, make_equal, gradients, turned),
        the_dtype_stays(1, SIX, make_single, gradients),
    ])  # fmt: skip
