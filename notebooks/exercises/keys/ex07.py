"""Exercise 07: items and known mistakes."""

from types import SimpleNamespace

import numpy as np
from grading.items import Item, float32, same_dtype

from dgsa_np.attention import gated_head_backward, gated_head_forward, softmax_head_backward, softmax_head_forward
from dgsa_np.ops import sigmoid, softmax_forward, swap


def items(course):
    on_queries, g_weighs_exc = course["GATE_ON"] == "queries", course["GATED"] == "exc"
    sign = 1 if g_weighs_exc else -1  # sigmoid(sign z) weighs the excitatory map

    def gradients(q_exc, k_exc, q_inh, k_inh, v, z_gate, *mask_do):
        *mask, do = mask_do
        if on_queries:
            _, cache = gated_head_forward(q_exc, k_exc, q_inh, k_inh, v, sign * z_gate, *mask)
            *others, dz = gated_head_backward(do, cache)
            return *others, sign * dz
        a, b = sigmoid(sign * z_gate)[..., None], sigmoid(-sign * z_gate)[..., None]  # a gate on keys scales the values
        _, exc = softmax_head_forward(q_exc, k_exc, a * v, *mask)
        _, inh = softmax_head_forward(q_inh, k_inh, -b * v, *mask)
        (dq_exc, dk_exc, dav), (dq_inh, dk_inh, dbv) = softmax_head_backward(do, exc), softmax_head_backward(do, inh)
        dz_gate = sign * (a * b * v * (dav + dbv)).sum(axis=-1)
        return dq_exc, dk_exc, dq_inh, dk_inh, a * dav - b * dbv, dz_gate

    parts = {"dv": 4, "dz_gate": 5, "exc": slice(0, 2), "inh": slice(2, 4)}

    def part(name):
        return lambda *args: gradients(*args)[parts[name]]

    # ------------------------------------------------------------------------------- arguments
    def make(rng, T=5, S=5, masked=False):
        q_exc, q_inh = 1.5 * rng.standard_normal((2, 2, 3, T, 4))
        k_exc, k_inh = 1.5 * rng.standard_normal((2, 2, 3, S, 4))
        v, z_gate = rng.standard_normal((2, 3, S, 6)), 1.5 * rng.standard_normal((2, 3, T if on_queries else S))
        mask = rng.random((2, 1, T, S)) < 0.6
        mask[..., 0] |= ~mask.any(axis=-1)
        return q_exc, k_exc, q_inh, k_inh, v, z_gate, *([mask] if masked else []), rng.standard_normal((2, 3, T, 6))

    def make_far(rng):
        *others, z_gate, do = make(rng, 4, 7)
        return *others, rng.uniform(40, 42, z_gate.shape), 1e18 * do  # g (1 - g) is about 1e-18

    # -------------------------------------------------------------------------------- mistakes
    def taken(q_exc, k_exc, q_inh, k_inh, v, z_gate, *mask_do):
        """All that a backward may reach for."""
        *mask, do = mask_do
        c, z = q_exc.shape[-1] ** -0.5, z_gate[..., None] if on_queries else z_gate[..., None, :]
        X, _ = softmax_forward(c * q_exc @ swap(k_exc), *mask)
        I, _ = softmax_forward(c * q_inh @ swap(k_inh), *mask)
        g, n = sigmoid(z), sigmoid(-z)
        a, b = (g, n) if g_weighs_exc else (n, g)
        A, dA, along = a * X - b * I, do @ swap(v), -1 if on_queries else -2
        return SimpleNamespace(**locals())

    def of(formula):
        return lambda *args: formula(taken(*args))

    def gate(formula=lambda t: t.dA * (t.X + t.I), slope=lambda t: t.g * t.n, axis=None, mean=False):
        def gives(*args):
            t = taken(*args)
            dg = formula(t).mean(axis=t.along) if mean else formula(t).sum(axis=axis or t.along)
            return sign * np.broadcast_to(slope(t), t.g.shape).reshape(dg.shape) * dg

        return gives

    def branch(name, weight=lambda t, own, other: own * t.dA, jacobian=None, products=None):
        """dq and dk of a branch, with something changed."""
        jacobian = jacobian or (lambda M, dM, t: M * (dM - (dM * M).sum(axis=-1, keepdims=True)))
        products = products or (lambda dS, q, k, c: (c * dS @ k, c * swap(dS) @ q))

        def gives(*args):
            t = taken(*args)
            M, q, k, own, other = (
                (t.X, t.q_exc, t.k_exc, t.a, t.b) if name == "exc" else (t.I, t.q_inh, t.k_inh, -t.b, -t.a)
            )
            return products(jacobian(M, weight(t, own, other), t), q, k, t.c)

        return gives

    g_name = {"exc": "g" if g_weighs_exc else "1 - g", "inh": "1 - g" if g_weighs_exc else "g"}

    def branch_mistakes(name, square=True):
        word, of_it, w = {"exc": "excitatory", "inh": "inhibitory"}[name], f"A_{name}", g_name[name]
        factor = f"({w})" if name == "exc" else f"-({w})"
        found = {
            f"dA_{name} is not weighed: the forward line has {w} before {of_it}": (
                branch(name, lambda t, own, other: t.dA * (1 if name == "exc" else -1)),
                branch(name, lambda t, own, other: t.dA)),
            f"dA_{name} has the weight of the other branch: it is {factor} dA": (
                branch(name, lambda t, own, other: other * t.dA), branch(name, lambda t, own, other: -other * t.dA)),
            f"the sign of the {word} branch is wrong: A_exc is added, A_inh subtracted": branch(
                name, lambda t, own, other: -own * t.dA),
            f"the row sum is missing: dS = A (dA - rowsum(dA A)), of {of_it}": branch(
                name, jacobian=lambda M, dM, t: M * dM),
            "the row sum runs over the wrong axis: over the keys, the last axis": branch(
                name, jacobian=lambda M, dM, t: M * (dM - (dM * M).sum(axis=-2, keepdims=True))),
            "the row sum is a mean": branch(
                name, jacobian=lambda M, dM, t: M * (dM - (dM * M).mean(axis=-1, keepdims=True))),
            "the row sum is added: it is subtracted": branch(
                name, jacobian=lambda M, dM, t: M * (dM + (dM * M).sum(axis=-1, keepdims=True))),
            "the factor A before the bracket is missing: dS = A (dA - rowsum(dA A))": branch(
                name, jacobian=lambda M, dM, t: dM - (dM * M).sum(axis=-1, keepdims=True)),
            "the row sum lacks the factor A: rowsum(dA A)": branch(
                name, jacobian=lambda M, dM, t: M * (dM - dM.sum(axis=-1, keepdims=True))),
            "the softmax is taken as a sigmoid, A (1 - A): its rows hang together": branch(
                name, jacobian=lambda M, dM, t: dM * M * (1 - M)),
            f"the fused map A stands where {of_it} belongs: each softmax has its own": branch(
                name, jacobian=lambda M, dM, t: t.A * (dM - (dM * t.A).sum(axis=-1, keepdims=True))),
            f"the map of the other branch stands where {of_it} belongs": branch(
                name, jacobian=lambda M, dM, t: (o := t.I if name == "exc" else t.X)
                * (dM - (dM * o).sum(axis=-1, keepdims=True))),
            "the softmax is skipped: dA is taken for dS": branch(name, jacobian=lambda M, dM, t: dM),
            "the scale is forgotten: the scores have the factor 1 / sqrt(d)": branch(
                name, products=lambda dS, q, k, c: (dS @ k, swap(dS) @ q)),
            "the scale is forgotten in dq": branch(name, products=lambda dS, q, k, c: (dS @ k, c * swap(dS) @ q)),
            "the scale is forgotten in dk": branch(name, products=lambda dS, q, k, c: (c * dS @ k, swap(dS) @ q)),
            "the scale comes twice": branch(
                name, products=lambda dS, q, k, c: (c * c * dS @ k, c * c * swap(dS) @ q)),
        }  # fmt: skip
        for_square = {
            "dk lacks the transpose: dk = scale dS^T q": branch(
                name, products=lambda dS, q, k, c: (c * dS @ k, c * dS @ q)),
            "dq and dk are exchanged: dq has the k of the forward, dk the q": branch(
                name, products=lambda dS, q, k, c: (c * swap(dS) @ q, c * dS @ k)),
            "dq is made of q and dk of k: in q k^T the factor of q is k": branch(
                name, products=lambda dS, q, k, c: (c * dS @ q, c * swap(dS) @ k)),
        }  # fmt: skip
        return found | for_square if square else found

    def value_mistakes(square=True):
        found = {
            "dv takes the excitatory map alone: o = A v with the fused A": of(lambda t: swap(t.X) @ t.do),
            "dv takes the inhibitory map alone: o = A v with the fused A": of(lambda t: swap(t.I) @ t.do),
            "dv takes A_exc - A_inh, without the gate": of(lambda t: swap(t.X - t.I) @ t.do),
            "dv takes A_exc + A_inh: that is for the gate; o = A v": of(lambda t: swap(t.X + t.I) @ t.do),
            "dv takes the sum of the weighed maps: A is their difference": of(
                lambda t: swap(t.a * t.X + t.b * t.I) @ t.do),
            "dv has the wrong sign": of(lambda t: -swap(t.A) @ t.do),
        }
        return found | ({"dv lacks the transpose: dv = A^T do": of(lambda t: t.A @ t.do)} if square else {})

    def gate_mistakes(square=True):
        over = ("keys", "last", -2) if on_queries else ("queries", "last but one", -1)
        found = {
            "dg has the difference of the maps: g stands before one and -(1 - g) before the other, so their sum": gate(
                lambda t: t.dA * (t.X - t.I)),
            "dg lacks the inhibitory map: 1 - g hangs on z_gate, too": gate(lambda t: t.dA * t.X),
            "dg lacks the excitatory map: both weights hang on z_gate": (
                gate(lambda t: t.dA * t.I), gate(lambda t: -t.dA * t.I)),
            "dg has the fused map: the derivative of A by g is A_exc + A_inh, or minus that": (
                gate(lambda t: t.dA * t.A), gate(lambda t: -t.dA * t.A)),
            "dz_gate has the wrong sign": gate(lambda t: -t.dA * (t.X + t.I)),
            "the slope of the sigmoid is missing: dz = g (1 - g) dg": gate(slope=lambda t: 1.0),
            "the slope of the sigmoid is g (1 - g), not g": gate(slope=lambda t: t.g),
            "the slope of the sigmoid is g (1 - g), not 1 - g": gate(slope=lambda t: t.n),
            "the slope of the sigmoid is g (1 - g), not g^2": gate(slope=lambda t: t.g * t.g),
            "the slope is that of tanh, 1 - g^2": gate(slope=lambda t: 1 - t.g * t.g),
            "the slope is made of z_gate, z (1 - z): it is g (1 - g)": gate(slope=lambda t: t.z * (1 - t.z)),
            "the slope comes twice": gate(slope=lambda t: (t.g * t.n) ** 2),
            "dg is a mean: what is broadcast in the forward is summed in the backward": gate(mean=True),
            "dg is a sum of dA alone: dA A_exc + dA A_inh": gate(lambda t: t.dA),
        }  # fmt: skip
        axis = f"dg is summed over the wrong axis: a gate is shared by all {over[0]}, the {over[1]} axis"
        return found | ({axis: gate(axis=over[2])} if square else {})

    def lifted(name, mistakes):
        """The six gradients with that mistake in one part."""

        def within(f):
            def gives(*args):
                six = list(gradients(*args))
                six[parts[name]] = f(*args)
                return tuple(six)

            return gives

        return {s: tuple(within(f) for f in (fs if isinstance(fs, tuple) else (fs,))) for s, fs in mistakes.items()}

    together = lifted("dv", value_mistakes(False)) | lifted("dz_gate", gate_mistakes(False))
    for name, word in {"exc": "excitatory", "inh": "inhibitory"}.items():
        told = {f"{word} branch: {text}": f for text, f in branch_mistakes(name, False).items()}
        together |= lifted(name, told)
    lost = "g (1 - g) is 0: 1 - g by subtraction has no digits left; the cache has sigmoid(-z)"
    clear = ("difference", "wrong sign", "is a mean")  # others look alike where 1 - g is almost 0
    plain = {text: f for text, f in gate_mistakes(False).items() if any(word in text for word in clear)}
    pair = "gated_head_forward "
    six = pair + "gated_head_backward"
    return [
        Item("dv", 1, pair + "d_values", make, part("dv"), value_mistakes()),
        Item("dq_exc and dk_exc", 2, pair + "d_excitatory", make, part("exc"), branch_mistakes("exc")),
        Item("dq_inh and dk_inh", 2, pair + "d_inhibitory", make, part("inh"), branch_mistakes("inh")),
        Item("dz_gate", 2, pair + "d_gate", make, part("dz_gate"), gate_mistakes()),
        Item("dz_gate of a gate that is almost open", 1, pair + "d_gate", make_far, part("dz_gate"),
            {lost: lambda *args: 0 * gradients(*args)[5]} | plain),
        Item("all six, under a mask", 1, six, lambda rng: make(rng, 4, 7, True), gradients, together),
        Item("the dtype stays", 1, six, lambda rng: float32(*make(rng, 4, 7)), check=same_dtype),
    ]  # fmt: skip
