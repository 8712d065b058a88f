"""Exercise 06, the gated head, forward: what is right, known mistakes, and the table of items."""

from functools import partial

import numpy as np
from grading.course import for_course
from grading.items import Item, the_dtype_stays
from grading.slips import MASKED_BY_NUMBER, NO_KEY_LEFT, row_sum
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


def scores_of(q, k):
    """Those of the queries and keys with these names."""
    return lambda n: n.scale * vars(n)[q] @ swap(vars(n)[k])


def map_of(q, k):
    return lambda n: softmax_forward(scores_of(q, k)(n), n.mask)[0]


STEPS = {
    "scale": lambda n: n.q_exc.shape[-1] ** -0.5,
    "A_exc": map_of("q_exc", "k_exc"),
    "A_inh": map_of("q_inh", "k_inh"),
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


def make(course, rng, B=2, H=3, T=4, S=7, d=5, e=6):
    q_exc, q_inh = 2 * rng.standard_normal((2, B, H, T, d))
    k_exc, k_inh = 2 * rng.standard_normal((2, B, H, S, d))
    z_gate = rng.uniform(-3, 3, (B, H, T if on_queries(course) else S))
    return q_exc, k_exc, q_inh, k_inh, rng.standard_normal((B, H, S, e)), z_gate


def make_masked(course, rng, B=3, H=2, T=7, S=5, d=3, e=4):
    """Half of the keys are allowed; in each entry of the batch a query has none."""
    mask = rng.permuted(np.tile(np.arange(S) < S // 2, (B, 1, T, 1)), axis=-1)
    mask[np.arange(B), 0, rng.permutation(T)[:B]] = False
    return *make(course, rng, B, H, T, S, d, e), mask


def make_equal(course, rng):
    """All sizes are equal, so that what is turned fits."""
    return make(course, rng, 3, 3, 3, 3, 3, 3)


def make_extreme(course, rng):
    """Half of the gates are open, half closed."""
    *others, z_gate = make(course, rng, T=6, S=4, d=8, e=5)
    signs = rng.permutation(np.resize([1, -1], z_gate.size)).reshape(z_gate.shape)
    return *others, 1000 * signs * rng.uniform(0.8, 1.2, z_gate.shape)


def make_nearly_open(course, rng):
    """In the second entry of the batch only the map that 1 - g weighs is seen.

    There 1 - g is about 1e-18, and what g weighs finds the value 0.
    """
    q_exc, k_exc, q_inh, k_inh, v, z_gate = make(course, rng, T=4, S=6, d=3, e=5)
    q, k = (q_exc, k_exc) if g_weighs_exc(course) else (q_inh, k_inh)
    q[1], k[1] = 0, 0
    q[1, ..., 0], k[1, :, 0, 0] = 100, 100  # all queries see key 0 alone, whose value is 0
    v[1] *= 1e18
    v[1, :, 0], z_gate[1] = 0, rng.uniform(40, 42, z_gate[1].shape)
    return q_exc, k_exc, q_inh, k_inh, v, z_gate


def make_logits(rng):
    far = rng.uniform(800, 1200, (2, 3, 4))
    return (np.concatenate([rng.uniform(-5, 5, (2, 3, 4)), far, -far], axis=-1),)


def make_single(course, rng):
    return make_masked(course, rng, B=2, H=3, T=4, S=6, d=8, e=5)


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
    tuple(map(sigmoid_clipped_at, (6, 8, 10, 15, 20))): CLIPPED,
}

# ---------------------------------------------------------------- mistakes in scales and mixtures


def but(**slips):
    return partial(steps, **slips)


SCALES = {
    but(scale=lambda n: 1): "the scores are not divided by sqrt(d)",
    but(scale=lambda n: 1 / n.q_exc.shape[-1]): "the scores are divided by d, not by its root",
    but(scale=lambda n: n.q_exc.shape[-1] ** 0.5): "the scores are multiplied by sqrt(d): it divides",
    but(scale=lambda n: n.v.shape[-1] ** -0.5): "the scale takes the width e of v: it is sqrt(d), of q and k",
    but(scale=lambda n: n.k_exc.shape[-2] ** -0.5): "the scale takes the number of keys: it is sqrt(d)",
}


def scores_mixed(n):
    return n.w_exc * scores_of("q_exc", "k_exc")(n) - n.w_inh * scores_of("q_inh", "k_inh")(n)


inhibition_added = but(A=lambda n: n.w_exc * n.A_exc + n.w_inh * n.A_inh)
map_of_other_sign = but(A=lambda n: n.w_inh * n.A_inh - n.w_exc * n.A_exc)
weights_exchanged = but(A=lambda n: n.w_inh * n.A_exc - n.w_exc * n.A_inh)
both_weighed_by_g = but(weights=lambda n: (n.g, n.g))
other_not_weighed = but(weights=lambda n: (n.g, 1))
gated_not_weighed = but(weights=lambda n: (1, n.rest))
none_weighed = but(weights=lambda n: (1, 1))
logit_as_gate = but(g=lambda n: np.expand_dims(n.z, n.axis), rest=lambda n: np.expand_dims(1 - n.z, n.axis))
one_softmax = but(A=lambda n: softmax_forward(scores_mixed(n), n.mask)[0])
negative_cut_off = but(A=lambda n: np.maximum(STEPS["A"](n), 0))
rows_normalised = but(A=lambda n: STEPS["A"](n) / row_sum(STEPS["A"](n)))


def mixing(course):
    gated, other = ("excitatory", "inhibitory") if g_weighs_exc(course) else ("inhibitory", "excitatory")
    return {
        inhibition_added: "the inhibitory map is added: it is subtracted",
        map_of_other_sign: "the whole map has the wrong sign: excitatory minus inhibitory",
        weights_exchanged: f"the roles of g and 1 - g are exchanged: g weighs the {gated} map",
        both_weighed_by_g: "both maps are weighed by g: one of them gets 1 - g",
        other_not_weighed: f"the {other} map is not weighed: it gets 1 - g",
        gated_not_weighed: f"the {gated} map is not weighed: it gets g",
        none_weighed: "the gate is not used",
        logit_as_gate: "z_gate itself is used as the gate: g = sigmoid(z_gate)",
        one_softmax: "the scores are mixed and one softmax is taken: mix two softmax maps",
        negative_cut_off: "negative weights are cut off: the fused map may be negative",
        rows_normalised: "the fused map is divided by the sum of its rows, normalised again: they need not sum to 1",
    }


def mixing_of_one_sign(course):
    """Where a gate is open or closed, adding and normalising look alike."""
    hints = mixing(course)
    del hints[inhibition_added], hints[rows_normalised]
    together = "the inhibitory map is added, or the map normalised: it is subtracted, and that is all"
    return hints | {inhibition_added: together}


# ------------------------------------------------------ mistakes in branches, axes and the mask

BRANCHES = {
    but(A_inh=map_of("q_inh", "k_exc")): "the inhibitory branch takes k_exc: it has keys of its own",
    but(A_inh=map_of("q_exc", "k_inh")): "the inhibitory branch takes q_exc: it has queries of its own",
    but(A_inh=map_of("q_exc", "k_exc")): "both maps are the excitatory one",
    but(A_exc=map_of("q_inh", "k_inh")): "both maps are the inhibitory one",
    but(A_exc=map_of("q_exc", "k_inh"), A_inh=map_of("q_inh", "k_exc")):
        "queries and keys of the branches are crossed: q_exc goes with k_exc",
    but(A_exc=map_of("q_inh", "k_inh"), A_inh=map_of("q_exc", "k_exc")): "the branches are exchanged",
}  # fmt: skip


def key_not_turned(q, k):
    return lambda n: softmax_forward(n.scale * vars(n)[q] @ vars(n)[k], n.mask)[0]


def over_queries(q, k):
    return lambda n: swap(softmax_forward(swap(scores_of(q, k)(n)))[0])


def in_both(kind):
    """The same slip in both maps."""
    return but(A_exc=kind("q_exc", "k_exc"), A_inh=kind("q_inh", "k_inh"))


map_turned = but(A_exc=map_of("k_exc", "q_exc"), A_inh=map_of("k_inh", "q_inh"))
gate_along_other_axis = but(axis=lambda n: -2 if n.on_queries else -1)
gate_without_axis = but(axis=lambda n: 0)


def turned(course):
    """Mistakes that have a result where sizes are equal only."""
    here, there = ("query", "key") if on_queries(course) else ("key", "query")
    return {
        map_turned: "the map is transposed: rows are queries, columns are keys",
        in_both(key_not_turned): "k lacks the transpose: S_ij is the product of query i and key j",
        gate_along_other_axis:
            f"the gate runs along the wrong axis: there is one number per {here}, not per {there}",
        gate_without_axis: "the gate has no axis of length 1 where the map has more: it must not meet it as it is",
    }  # fmt: skip


def mask_ignored(course, *arguments):
    *others, _ = arguments
    return head(course, *others)


def mask_inverted(course, *arguments):
    *others, mask = arguments
    return head(course, *others, ~mask)


def unmasked(q, k):
    return lambda n: softmax_forward(scores_of(q, k)(n))[0]


def masked_afterwards(q, k):
    return lambda n: unmasked(q, k)(n) * n.mask


def masked_by(number):
    return lambda q, k: lambda n: softmax_forward(number(scores_of(q, k)(n), n.mask))[0]


MASKS = {
    mask_ignored: "the mask is not used",
    but(A_inh=unmasked("q_inh", "k_inh")): "the mask is used in the excitatory branch alone: it holds for both",
    but(A_exc=unmasked("q_exc", "k_exc")): "the mask is used in the inhibitory branch alone: it holds for both",
    in_both(masked_afterwards): "the mask comes after the softmax: what is left of a row does not sum to 1",
    mask_inverted: "the mask is the wrong way round: True means may attend",
    tuple(in_both(masked_by(number)) for number in MASKED_BY_NUMBER): NO_KEY_LEFT,
}

# ------------------------------------------------------------- mistakes where 1 - g is almost 0


def cancelled(n):
    """1 - g by subtraction."""
    return np.expand_dims(1 - sigmoid(n.z), n.axis)


def clipped_at(limit):
    return but(z=lambda n: np.clip(n.z_gate, -limit, limit))


NEARLY_OPEN = {
    but(rest=cancelled):
        "1 - g is 0: g was rounded to 1, and nothing brings back what is lost; take sigmoid(-z_gate)",
    tuple(map(clipped_at, (6, 8, 10, 15, 20, 25, 30, 35))): CLIPPED,
}  # fmt: skip


def items(course):
    """course : the constants of the course, {"GATE_ON": "queries", "GATED": "exc"}"""
    call, mix, queries = "head_output", mixing(course), {in_both(over_queries): "the softmax runs over the queries"}
    one_sign = mixing_of_one_sign(course)
    return for_course(course, [
        Item("sigmoid never overflows", 1, "watched_sigmoid", make_logits, sigmoid, WRONG_SIGMOIDS),
        Item("more keys than queries", 3, call, make, head, SCALES | mix | BRANCHES | queries),
        Item("a mask, and more queries than keys", 2, call, make_masked, head, MASKS | SCALES | mix | BRANCHES),
        Item("all sizes equal", 1, call, make_equal, head, turned(course) | mix | BRANCHES),
        Item("a gate that is open or closed", 1, call, make_extreme, head, SCALES | one_sign | BRANCHES),
        Item("1 - g without cancellation", 1, call, make_nearly_open, head, NEARLY_OPEN | SCALES),
        the_dtype_stays(1, call, make_single, head),
    ])  # fmt: skip
