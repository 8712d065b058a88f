"""Exercise 06, the gated head, forward: what is right, known mistakes, and the table of items."""

from functools import partial

import numpy as np
from grading.course import for_course
from grading.items import Item, float32, same_dtype
from grading.steps import follow

from dgsa_np.attention import gated_head_forward, softmax_head_forward
from dgsa_np.ops import sigmoid, softmax_forward, swap


def on_queries(course):
    return course["GATE_ON"] == "queries"


def g_weighs_exc(course):
    return course["GATED"] == "exc"


def head(course, q_exc, k_exc, q_inh, k_inh, v, z_gate, mask=None):
    """The library's g weighs the excitatory map of a query; a gate on keys scales the values."""
    z = z_gate if g_weighs_exc(course) else -z_gate
    if on_queries(course):
        return gated_head_forward(q_exc, k_exc, q_inh, k_inh, v, z, mask)[0]
    v_exc, v_inh = sigmoid(z)[..., None] * v, sigmoid(-z)[..., None] * v
    return softmax_head_forward(q_exc, k_exc, v_exc, mask)[0] - softmax_head_forward(q_inh, k_inh, v_inh, mask)[0]


STEPS = {
    "scale": lambda n: n.q_exc.shape[-1] ** -0.5,
    "A_exc": lambda n: softmax_forward(n.scale * n.q_exc @ swap(n.k_exc), n.mask)[0],
    "A_inh": lambda n: softmax_forward(n.scale * n.q_inh @ swap(n.k_inh), n.mask)[0],
    "axis": lambda n: -1 if n.on_queries else -2,
    "z": lambda n: n.z_gate,
    "g": lambda n: np.expand_dims(sigmoid(n.z), n.axis),
    "rest": lambda n: np.expand_dims(sigmoid(-n.z), n.axis),  # 1 - g
    "weights": lambda n: (n.g, n.rest),  # of the map that g weighs, and of the other
    "w_exc": lambda n: n.weights[0] if n.g_weighs_exc else n.weights[1],
    "w_inh": lambda n: n.weights[1] if n.g_weighs_exc else n.weights[0],
    "A": lambda n: n.w_exc * n.A_exc - n.w_inh * n.A_inh,
    "o": lambda n: n.A @ n.v,
}


def steps(course, q_exc, k_exc, q_inh, k_inh, v, z_gate, mask=None, **slips):
    """The head, with other formulas for some of its steps."""
    switches = {"on_queries": on_queries(course), "g_weighs_exc": g_weighs_exc(course)}
    heads = {"q_exc": q_exc, "k_exc": k_exc, "q_inh": q_inh, "k_inh": k_inh, "v": v}
    return follow(STEPS, slips, **switches, **heads, z_gate=z_gate, mask=mask).o


# ------------------------------------------------------------------------------------- arguments


def make(course, rng, T=5, S=5, masked=False):
    q_exc, q_inh = 2 * rng.standard_normal((2, 2, 3, T, 4))
    k_exc, k_inh = 2 * rng.standard_normal((2, 2, 3, S, 4))
    v, z_gate = rng.standard_normal((2, 3, S, 6)), 2 * rng.standard_normal((2, 3, T if on_queries(course) else S))
    mask = rng.random((2, 1, T, S)) < 0.6
    mask[..., 0] |= ~mask.any(axis=-1)
    mask[..., 0, 1:] = False  # of one key at least, so that no mistake hides
    mask[..., 0, 0] = True
    return (q_exc, k_exc, q_inh, k_inh, v, z_gate, *([mask] if masked else []))


def make_masked(course, rng):
    return make(course, rng, 4, 7, masked=True)


def make_extreme(course, rng):
    *others, z_gate = make(course, rng, 3, 6)
    return *others, 1000 * np.sign(z_gate) * rng.uniform(0.8, 1.2, z_gate.shape)


def make_nearly_open(course, rng):
    """What g weighs finds the value 0; what 1 - g weighs is all that is seen."""
    q_exc, k_exc, q_inh, k_inh, v, z_gate = make(course, rng, 4, 6)
    q, k = (q_exc, k_exc) if g_weighs_exc(course) else (q_inh, k_inh)
    q[:], k[:] = 0, 0
    q[..., 0], k[..., 0, 0] = 100, 100  # all queries see key 0 alone, whose value is 0
    v[..., 0, :] = 0
    v *= 1e18  # 1 - g is about 1e-18
    return q_exc, k_exc, q_inh, k_inh, v, rng.uniform(40, 42, z_gate.shape)


def make_logits(rng):
    return (np.concatenate([rng.standard_normal(6), rng.uniform(800, 1200, 3), -rng.uniform(800, 1200, 3)]),)


def make_single(course, rng):
    return float32(*make(course, rng, 4, 7))


# -------------------------------------------------------------------------- mistakes of a sigmoid

CLIPPED = "the logits are clipped: sigmoid goes on falling, sigmoid(-40) is 4e-18"


def sigmoid_of_other_sign(z):
    return sigmoid(-z)


def tanh(z):
    return np.tanh(z)


def sigmoid_clipped_at(limit):
    return lambda z: sigmoid(np.clip(z, -limit, limit))


WRONG_SIGMOIDS = {
    sigmoid_of_other_sign: "sigmoid has the wrong sign: it grows with z",
    tanh: "this is tanh: sigmoid lies between 0 and 1",
    tuple(map(sigmoid_clipped_at, (10, 15, 20))): CLIPPED,
}

# ---------------------------------------------------------------- mistakes in scales and mixtures


def but(**slips):
    return partial(steps, **slips)


not_scaled = but(scale=lambda n: 1)
divided_by_d = but(scale=lambda n: 1 / n.q_exc.shape[-1])
multiplied_by_root = but(scale=lambda n: n.q_exc.shape[-1] ** 0.5)
scaled_by_value_width = but(scale=lambda n: n.v.shape[-1] ** -0.5)

SCALES = {
    not_scaled: "the scores are not divided by sqrt(d)",
    divided_by_d: "the scores are divided by d, not by its root",
    multiplied_by_root: "the scores are multiplied by sqrt(d): it divides",
    scaled_by_value_width: "the scale takes the width e of v: it is sqrt(d), of q and k",
}


def scores_mixed(n):
    return n.scale * (n.w_exc * (n.q_exc @ swap(n.k_exc)) - n.w_inh * (n.q_inh @ swap(n.k_inh)))


inhibition_added = but(A=lambda n: n.w_exc * n.A_exc + n.w_inh * n.A_inh)
map_of_other_sign = but(A=lambda n: n.w_inh * n.A_inh - n.w_exc * n.A_exc)
weights_exchanged = but(A=lambda n: n.w_inh * n.A_exc - n.w_exc * n.A_inh)
both_weighed_by_g = but(weights=lambda n: (n.g, n.g))
other_not_weighed = but(weights=lambda n: (n.g, 1))
gated_not_weighed = but(weights=lambda n: (1, n.rest))
logit_as_gate = but(g=lambda n: np.expand_dims(n.z, n.axis), rest=lambda n: np.expand_dims(1 - n.z, n.axis))
one_softmax = but(A=lambda n: softmax_forward(scores_mixed(n), n.mask)[0])
negative_cut_off = but(A=lambda n: np.maximum(STEPS["A"](n), 0))
rows_normalised = but(A=lambda n: STEPS["A"](n) / STEPS["A"](n).sum(axis=-1, keepdims=True))


def mixing(course):
    gated, other = ("excitatory", "inhibitory") if g_weighs_exc(course) else ("inhibitory", "excitatory")
    return {
        inhibition_added: "the inhibitory map is added: it is subtracted",
        map_of_other_sign: "the whole map has the wrong sign: excitatory minus inhibitory",
        weights_exchanged: f"the roles of g and 1 - g are exchanged: g weighs the {gated} map",
        both_weighed_by_g: "both maps are weighed by g: one of them gets 1 - g",
        other_not_weighed: f"the {other} map is not weighed: it gets 1 - g",
        gated_not_weighed: f"the {gated} map is not weighed: it gets g",
        logit_as_gate: "z_gate itself is used as the gate: g = sigmoid(z_gate)",
        one_softmax: "the scores are mixed and one softmax is taken: mix two softmax maps",
        negative_cut_off: "negative weights are cut off: the fused map may be negative",
        rows_normalised: "the fused map is normalised again: its rows need not sum to 1",
    }


def mixing_of_one_sign(course):
    """Where a gate is open or closed, adding and normalising look alike."""
    hints = mixing(course)
    del hints[inhibition_added], hints[rows_normalised]
    together = "the inhibitory map is added, or the map normalised: it is subtracted, and that is all"
    return hints | {inhibition_added: together}


# ------------------------------------------------------ mistakes in branches, axes and the mask


def inhibition_takes_k_exc(course, q_exc, k_exc, q_inh, k_inh, *others):
    return head(course, q_exc, k_exc, q_inh, k_exc, *others)


def inhibition_takes_q_exc(course, q_exc, k_exc, q_inh, k_inh, *others):
    return head(course, q_exc, k_exc, q_exc, k_inh, *others)


def both_excitatory(course, q_exc, k_exc, q_inh, k_inh, *others):
    return head(course, q_exc, k_exc, q_exc, k_exc, *others)


def branches_crossed(course, q_exc, k_exc, q_inh, k_inh, *others):
    return head(course, q_exc, k_inh, q_inh, k_exc, *others)


def branches_exchanged(course, q_exc, k_exc, q_inh, k_inh, *others):
    return head(course, q_inh, k_inh, q_exc, k_exc, *others)


BRANCHES = {
    inhibition_takes_k_exc: "the inhibitory branch takes k_exc: it has keys of its own",
    inhibition_takes_q_exc: "the inhibitory branch takes q_exc: it has queries of its own",
    both_excitatory: "both maps are the excitatory one",
    branches_crossed: "queries and keys of the branches are crossed: q_exc goes with k_exc",
    branches_exchanged: "the branches are exchanged",
}


def map_turned(course, q_exc, k_exc, q_inh, k_inh, *others):
    return head(course, k_exc, q_exc, k_inh, q_inh, *others)


gate_along_other_axis = but(axis=lambda n: -2 if n.on_queries else -1)


def turned(course):
    """Mistakes that have a result where T = S only."""
    here, there = ("query", "key") if on_queries(course) else ("key", "query")
    return {
        map_turned: "the map is transposed: rows are queries, columns are keys",
        gate_along_other_axis:
            f"the gate runs along the wrong axis: there is one number per {here}, not per {there}",
    }  # fmt: skip


def mask_ignored(course, *arguments):
    *others, _ = arguments
    return head(course, *others)


def mask_inverted(course, *arguments):
    *others, mask = arguments
    return head(course, *others, ~mask)


def excitation_unmasked(n):
    return softmax_forward(n.scale * n.q_exc @ swap(n.k_exc))[0]


def inhibition_unmasked(n):
    return softmax_forward(n.scale * n.q_inh @ swap(n.k_inh))[0]


mask_in_excitation_alone = but(A_inh=inhibition_unmasked)
mask_in_inhibition_alone = but(A_exc=excitation_unmasked)
mask_after_softmax = but(
    A_exc=excitation_unmasked, A_inh=inhibition_unmasked, A=lambda n: STEPS["A"](n) * n.mask)  # fmt: skip

MASKS = {
    mask_ignored: "the mask is not used",
    mask_in_excitation_alone: "the mask is used in the excitatory branch alone: it holds for both",
    mask_in_inhibition_alone: "the mask is used in the inhibitory branch alone: it holds for both",
    mask_after_softmax: "the mask comes after the softmax: what is left of a row does not sum to 1",
    mask_inverted: "the mask is the wrong way round: True means may attend",
}

# ------------------------------------------------------------- mistakes where 1 - g is almost 0


def cancelled(course, *arguments):
    return 0 * head(course, *arguments)


def clipped_at(limit):
    return but(z=lambda n: np.clip(n.z_gate, -limit, limit))


NEARLY_OPEN = {
    cancelled: "1 - g is 0: g was rounded to 1, and nothing brings back what is lost; take sigmoid(-z_gate)",
    tuple(map(clipped_at, (10, 15, 20, 25, 30, 35))): CLIPPED,
}


def items(course):
    """course : the constants of the course, {"GATE_ON": "queries", "GATED": "exc"}"""
    call, mix, one_sign = "head_output", mixing(course), mixing_of_one_sign(course)
    return for_course(course, [
        Item("sigmoid never overflows", 1, "watched_sigmoid", make_logits, sigmoid, WRONG_SIGMOIDS),
        Item("as many keys as queries", 4, call, make, head, SCALES | mix | BRANCHES | turned(course)),
        Item("a mask, and more keys than queries", 2, call, make_masked, head, MASKS | SCALES | mix | BRANCHES),
        Item("a gate that is open or closed", 1, call, make_extreme, head, SCALES | one_sign | BRANCHES),
        Item("1 - g without cancellation", 1, call, make_nearly_open, head, NEARLY_OPEN | SCALES),
        Item("the dtype stays", 1, call, make_single, check=same_dtype),
    ])  # fmt: skip
