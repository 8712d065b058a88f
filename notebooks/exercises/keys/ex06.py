"""Exercise 06: items and known mistakes."""

import numpy as np
from grading.items import Item, float32, same_dtype

from dgsa_np.attention import gated_head_forward, softmax_head_forward
from dgsa_np.ops import sigmoid, softmax_forward, swap


def items(course):
    on_queries, g_weighs_exc = course["GATE_ON"] == "queries", course["GATED"] == "exc"
    sign = 1 if g_weighs_exc else -1  # sigmoid(sign z) weighs the excitatory map

    def head(q_exc, k_exc, q_inh, k_inh, v, z_gate, mask=None):
        z = sign * z_gate
        if on_queries:
            return gated_head_forward(q_exc, k_exc, q_inh, k_inh, v, z, mask)[0]
        v_exc, v_inh = sigmoid(z)[..., None] * v, sigmoid(-z)[..., None] * v  # a gate on keys scales the values
        return softmax_head_forward(q_exc, k_exc, v_exc, mask)[0] - softmax_head_forward(q_inh, k_inh, v_inh, mask)[0]

    # ------------------------------------------------------------------------------- arguments
    def make(rng, T=5, S=5, masked=False):
        q_exc, q_inh = 2 * rng.standard_normal((2, 2, 3, T, 4))
        k_exc, k_inh = 2 * rng.standard_normal((2, 2, 3, S, 4))
        v, z_gate = rng.standard_normal((2, 3, S, 6)), 2 * rng.standard_normal((2, 3, T if on_queries else S))
        mask = rng.random((2, 1, T, S)) < 0.6
        mask[..., 0] |= ~mask.any(axis=-1)
        mask[..., 0, 1:] = False  # of one key at least, so that no mistake hides
        mask[..., 0, 0] = True
        return (q_exc, k_exc, q_inh, k_inh, v, z_gate, *([mask] if masked else []))

    def make_extreme(rng):
        *others, z_gate = make(rng, 3, 6)
        return *others, 1000 * np.sign(z_gate) * rng.uniform(0.8, 1.2, z_gate.shape)

    def make_nearly_open(rng):
        """What g weighs finds the value 0; what 1 - g weighs is all that is seen."""
        q_exc, k_exc, q_inh, k_inh, v, z_gate = make(rng, 4, 6)
        q, k = (q_exc, k_exc) if g_weighs_exc else (q_inh, k_inh)
        q[:], k[:] = 0, 0
        q[..., 0], k[..., 0, 0] = 100, 100  # all queries see key 0 alone, whose value is 0
        v[..., 0, :] = 0
        v *= 1e18  # 1 - g is about 1e-18
        return q_exc, k_exc, q_inh, k_inh, v, rng.uniform(40, 42, z_gate.shape)

    def make_logits(rng):
        return (np.concatenate([rng.standard_normal(6), rng.uniform(800, 1200, 3), -rng.uniform(800, 1200, 3)]),)

    # -------------------------------------------------------------------------------- mistakes
    def along(gate, queries=on_queries):
        return gate[..., None] if queries else gate[..., None, :]

    def fused(X, I, a, b):
        return a * X - b * I

    def mixed(rule=fused, scale=lambda d, e: d**-0.5, queries=on_queries, sigma=sigmoid):
        """What a rule for the maps X and I and their weights a and b gives."""

        def gives(q_exc, k_exc, q_inh, k_inh, v, z_gate, mask=None):
            c = scale(q_exc.shape[-1], v.shape[-1])
            X, _ = softmax_forward(c * q_exc @ swap(k_exc), mask)
            I, _ = softmax_forward(c * q_inh @ swap(k_inh), mask)
            return rule(X, I, along(sigma(sign * z_gate), queries), along(sigma(-sign * z_gate), queries)) @ v

        return gives

    def weighed(weights):
        """The weights of what g weighs and of the other, made of g and 1 - g."""

        def rule(X, I, a, b):
            w, u = weights(a, b) if g_weighs_exc else weights(b, a)
            return w * X - u * I if g_weighs_exc else u * X - w * I

        return mixed(rule)

    def argument(change):
        """The right head of changed arguments."""
        return lambda q_exc, k_exc, q_inh, k_inh, v, z_gate, mask=None: head(
            *change(q_exc, k_exc, q_inh, k_inh), v, z_gate, mask)  # fmt: skip

    def logit_as_gate(q_exc, k_exc, q_inh, k_inh, v, z_gate, mask=None):
        g, n = along(z_gate), along(1 - z_gate)
        a, b = (g, n) if g_weighs_exc else (n, g)
        return mixed(lambda X, I, *_: a * X - b * I)(q_exc, k_exc, q_inh, k_inh, v, z_gate, mask)

    def one_softmax(q_exc, k_exc, q_inh, k_inh, v, z_gate, mask=None):
        a, b, c = along(sigmoid(sign * z_gate)), along(sigmoid(-sign * z_gate)), q_exc.shape[-1] ** -0.5
        return softmax_forward(c * (a * (q_exc @ swap(k_exc)) - b * (q_inh @ swap(k_inh))), mask)[0] @ v

    def turned(q_exc, k_exc, q_inh, k_inh, v, z_gate, mask=None):
        return head(k_exc, q_exc, k_inh, q_inh, v, z_gate, mask)

    def mask_late(q_exc, k_exc, q_inh, k_inh, v, z_gate, mask):
        return mixed(lambda X, I, a, b: (a * X - b * I) * mask)(q_exc, k_exc, q_inh, k_inh, v, z_gate)

    def mask_one(which):
        def gives(q_exc, k_exc, q_inh, k_inh, v, z_gate, mask):
            c = q_exc.shape[-1] ** -0.5
            X = softmax_forward(c * q_exc @ swap(k_exc), mask if which == "exc" else None)[0]
            I = softmax_forward(c * q_inh @ swap(k_inh), mask if which == "inh" else None)[0]
            return (along(sigmoid(sign * z_gate)) * X - along(sigmoid(-sign * z_gate)) * I) @ v

        return gives

    here, there = ("query", "key") if on_queries else ("key", "query")
    g_branch, other = ("excitatory", "inhibitory") if g_weighs_exc else ("inhibitory", "excitatory")
    scales = {
        "the scores are not divided by sqrt(d)": mixed(scale=lambda d, e: 1),
        "the scores are divided by d, not by its root": mixed(scale=lambda d, e: 1 / d),
        "the scores are multiplied by sqrt(d): it divides": mixed(scale=lambda d, e: d**0.5),
        "the scale takes the width e of v: it is sqrt(d), of q and k": mixed(scale=lambda d, e: e**-0.5),
    }
    mixing = {
        "the inhibitory map is added: it is subtracted": mixed(lambda X, I, a, b: a * X + b * I),
        "the whole map has the wrong sign: excitatory minus inhibitory": mixed(lambda X, I, a, b: b * I - a * X),
        f"the roles of g and 1 - g are exchanged: g weighs the {g_branch} map": mixed(lambda X, I, a, b: b * X - a * I),
        "both maps are weighed by g: one of them gets 1 - g": weighed(lambda g, n: (g, g)),
        f"the {other} map is not weighed: it gets 1 - g": weighed(lambda g, n: (g, 1)),
        f"the {g_branch} map is not weighed: it gets g": weighed(lambda g, n: (1, n)),
        "z_gate itself is used as the gate: g = sigmoid(z_gate)": logit_as_gate,
        "the scores are mixed and one softmax is taken: mix two softmax maps": one_softmax,
        "negative weights are cut off: the fused map may be negative": mixed(lambda *maps: np.maximum(fused(*maps), 0)),
        "the fused map is normalised again: its rows need not sum to 1": mixed(
            lambda *maps: fused(*maps) / fused(*maps).sum(axis=-1, keepdims=True)),
    }  # fmt: skip
    branches = {
        "the inhibitory branch takes k_exc: it has keys of its own": argument(lambda q, k, q2, k2: (q, k, q2, k)),
        "the inhibitory branch takes q_exc: it has queries of its own": argument(lambda q, k, q2, k2: (q, k, q, k2)),
        "both maps are the excitatory one": argument(lambda q, k, q2, k2: (q, k, q, k)),
        "queries and keys of the branches are crossed: q_exc goes with k_exc": argument(
            lambda q, k, q2, k2: (q, k2, q2, k)),
        "the branches are exchanged": argument(lambda q, k, q2, k2: (q2, k2, q, k)),
    }
    masks = {
        "the mask is not used": lambda *a: head(*a[:-1]),
        "the mask is used in the excitatory branch alone: it holds for both": mask_one("exc"),
        "the mask is used in the inhibitory branch alone: it holds for both": mask_one("inh"),
        "the mask comes after the softmax: what is left of a row does not sum to 1": mask_late,
        "the mask is the wrong way round: True means may attend": lambda *a: head(*a[:-1], ~a[-1]),
    }
    along_the_other = mixed(queries=not on_queries)
    square = {  # with T = S only: otherwise they have no result
        "the map is transposed: rows are queries, columns are keys": turned,
        f"the gate runs along the wrong axis: there is one number per {here}, not per {there}": along_the_other,
    }
    one_sign = {text: f for text, f in mixing.items() if "added" not in text and "normalised" not in text}
    added = mixed(lambda X, I, a, b: a * X + b * I)
    one_sign["the inhibitory map is added, or the map normalised: it is subtracted, and that is all"] = added
    cancelled = "1 - g is 0: g was rounded to 1, and nothing brings back what is lost; take sigmoid(-z_gate)"
    clipped = "the logits are clipped: sigmoid goes on falling, sigmoid(-40) is 4e-18"
    clipping = [lambda z, c=c: sigmoid(np.clip(z, -c, c)) for c in (10, 15, 20, 25, 30, 35)]
    return [
        Item("sigmoid never overflows", 1, "watched_sigmoid", make_logits, sigmoid, {
            "sigmoid has the wrong sign: it grows with z": lambda z: sigmoid(-z),
            "this is tanh: sigmoid lies between 0 and 1": np.tanh,
            clipped: tuple(lambda z, sigma=sigma: sigma(z) for sigma in clipping[:3])}),
        Item("as many keys as queries", 4, "head_output", make, head, scales | mixing | branches | square),
        Item("a mask, and more keys than queries", 2, "head_output", lambda rng: make(rng, 4, 7, masked=True), head,
            masks | scales | mixing | branches),
        Item("a gate that is open or closed", 1, "head_output", make_extreme, head, scales | one_sign | branches),
        Item("1 - g without cancellation", 1, "head_output", make_nearly_open, head, {
            cancelled: lambda *a: 0 * head(*a), clipped: tuple(mixed(sigma=sigma) for sigma in clipping)} | scales),
        Item("the dtype stays", 1, "head_output", lambda rng: float32(*make(rng, 4, 7)), check=same_dtype),
    ]  # fmt: skip
