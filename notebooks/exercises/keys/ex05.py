"""Exercise 05: items and known mistakes."""

from types import SimpleNamespace

import numpy as np
from grading.items import Item, float32, same_dtype

from dgsa_np.attention.differential import differential_head_backward, differential_head_forward
from dgsa_np.ops import SoftmaxCache, softmax_backward, softmax_forward, swap


def items(course):
    """course : the constants of the course, {"LAMBDA_ON": "inh"}"""
    on_exc = course["LAMBDA_ON"] == "exc"

    def forward(q_exc, k_exc, q_inh, k_inh, v, lam):
        if on_exc:  # lam A_exc - A_inh = -(A_inh - lam A_exc): the library with exchanged roles
            return -differential_head_forward(q_inh, k_inh, q_exc, k_exc, v, lam)[0]
        return differential_head_forward(q_exc, k_exc, q_inh, k_inh, v, lam)[0]

    def backward(q_exc, k_exc, q_inh, k_inh, v, lam, do):
        if on_exc:
            cache = differential_head_forward(q_inh, k_inh, q_exc, k_exc, v, lam)[1]
            dq_inh, dk_inh, dq_exc, dk_exc, dv, dlam = differential_head_backward(-do, cache)
            return dq_exc, dk_exc, dq_inh, dk_inh, dv, dlam
        return differential_head_backward(do, differential_head_forward(q_exc, k_exc, q_inh, k_inh, v, lam)[1])

    right = {
        "scale": lambda n: n.q_exc.shape[-1] ** -0.5,
        "A_exc": lambda n: softmax_forward(n.scale * n.q_exc @ swap(n.k_exc))[0],
        "A_inh": lambda n: softmax_forward(n.scale * n.q_inh @ swap(n.k_inh))[0],
        "weights": lambda n: (n.lam, 1) if on_exc else (1, n.lam),
        "A": lambda n: n.weights[0] * n.A_exc - n.weights[1] * n.A_inh,
        "o": lambda n: n.A @ n.v,
        "dA": lambda n: n.do @ swap(n.v),
        "dv": lambda n: swap(n.A) @ n.do,
        "dA_exc": lambda n: n.weights[0] * n.dA,
        "dA_inh": lambda n: -n.weights[1] * n.dA,
        "dlam": lambda n: (n.dA * n.A_exc).sum() if on_exc else -(n.dA * n.A_inh).sum(),
        "dS_exc": lambda n: softmax_backward(n.dA_exc, SoftmaxCache(n.A_exc)),
        "dS_inh": lambda n: softmax_backward(n.dA_inh, SoftmaxCache(n.A_inh)),
        "dq_exc": lambda n: n.scale * (n.dS_exc @ n.k_exc),
        "dk_exc": lambda n: n.scale * (swap(n.dS_exc) @ n.q_exc),
        "dq_inh": lambda n: n.scale * (n.dS_inh @ n.k_inh),
        "dk_inh": lambda n: n.scale * (swap(n.dS_inh) @ n.q_inh),
        "results": lambda n: (n.dq_exc, n.dk_exc, n.dq_inh, n.dk_inh, n.dv, n.dlam),
    }

    def but(**slips):
        """Some steps with other formulas; later steps go on with what these give. Without do, the forward alone."""

        def steps(q_exc, k_exc, q_inh, k_inh, v, lam, do=None):
            n = SimpleNamespace(q_exc=q_exc, k_exc=k_exc, q_inh=q_inh, k_inh=k_inh, v=v, lam=lam, do=do)
            for name, f in (right | slips).items():
                setattr(n, name, f(n))
                if name == "o" and do is None:
                    return n.o
            return n.results

        return steps

    def both(name, f):
        """The same slip in both branches; in f, the names have no suffix."""

        def of(branch):
            return lambda n: f(SimpleNamespace(**{key.removesuffix(branch): value for key, value in vars(n).items()}))

        return {name + branch: of(branch) for branch in ("_exc", "_inh")}

    def make(B, H, T, S, d, e, lam=None):
        def arrays(rng):
            shapes = (T, d), (S, d), (T, d), (S, d), (S, e), (T, e)
            *heads, do = (rng.standard_normal((B, H, *shape)) for shape in shapes)
            return *heads, np.array(rng.uniform(0.3, 0.7) if lam is None else lam), do

        return arrays

    general, equal, closed = make(2, 3, 4, 5, 7, 6), make(1, 2, 4, 4, 4, 4), make(1, 2, 3, 4, 2, 5, lam=0.0)

    def swapped_weights(n):
        return right["weights"](n)[::-1]

    weighed, other = ("A_exc", "A_inh") if on_exc else ("A_inh", "A_exc")
    mixing = {
        "lambda weighs the other map: LAMBDA_ON names the one it belongs to": but(weights=swapped_weights),
        "lambda is not used": but(weights=lambda n: (1, 1)),
        "lambda weighs both maps: LAMBDA_ON names the only one": but(weights=lambda n: (n.lam, n.lam)),
        "the inhibitory map is added: it is subtracted":
            but(A=lambda n: n.weights[0] * n.A_exc + n.weights[1] * n.A_inh),
        "the sign of the map: excitation is positive, inhibition is subtracted": but(A=lambda n: -right["A"](n)),
        "the weights are lambda and 1 - lambda: the formula has lambda and 1": (
            but(weights=lambda n: (n.lam, 1 - n.lam)), but(weights=lambda n: (1 - n.lam, n.lam))),
    }  # fmt: skip
    maps = {
        "the scores are not scaled: they are divided by sqrt(d)": but(scale=lambda n: 1),
        "the scores are divided by d: the scale is 1 / sqrt(d)": but(scale=lambda n: 1 / n.q_exc.shape[-1]),
        "the scale is made from the value width e: d is the width of q and k":
            but(scale=lambda n: n.v.shape[-1] ** -0.5),
        "the scale is made from the width of both branches, 2 d: each branch has a softmax of its own, of width d":
            but(scale=lambda n: (2 * n.q_exc.shape[-1]) ** -0.5),
        "one softmax of the difference of the scores: each branch has a softmax of its own": but(
            A=lambda n: softmax_forward(n.weights[0] * n.scale * n.q_exc @ swap(n.k_exc)
                - n.weights[1] * n.scale * n.q_inh @ swap(n.k_inh))[0]),
        "the inhibitory map has the queries of the excitatory one":
            but(A_inh=lambda n: softmax_forward(n.scale * n.q_exc @ swap(n.k_inh))[0]),
        "the inhibitory map has the keys of the excitatory one":
            but(A_inh=lambda n: softmax_forward(n.scale * n.q_inh @ swap(n.k_exc))[0]),
        "the rows are divided by their sum: rows of a difference need not sum to 1":
            but(A=lambda n: right["A"](n) / right["A"](n).sum(-1, keepdims=True)),
        "negative weights are set to 0: the difference keeps them": but(A=lambda n: np.maximum(right["A"](n), 0)),
    }  # fmt: skip
    of_lambda = {
        "the sign of dlam: look at the sign that lambda has in A": but(dlam=lambda n: -right["dlam"](n)),
        f"dlam has the wrong map: lambda is a factor of {weighed}, not of {other}":
            tuple(but(dlam=lambda n, s=s: s * (n.dA * getattr(n, other)).sum()) for s in (1, -1)),
        "dlam has the fused map A in it: lambda is a factor of one branch's map":
            tuple(but(dlam=lambda n, s=s: s * (n.dA * n.A).sum()) for s in (1, -1)),
        "dlam lacks the map: it is a sum of dA times what lambda multiplies":
            tuple(but(dlam=lambda n, s=s: s * n.dA.sum()) for s in (1, -1)),
        "dlam has a factor lambda too much": but(dlam=lambda n: n.lam * right["dlam"](n)),
        "dlam is a mean: one number served all, so its derivatives are summed": (
            but(dlam=lambda n: right["dlam"](n) / n.dA.size),
            but(dlam=lambda n: right["dlam"](n) / len(n.dA)),
            but(dlam=lambda n: right["dlam"](n) / n.dA[..., 0].size)),
        "dlam is 0": but(dlam=lambda n: np.zeros(())),
    }  # fmt: skip
    branches = {
        "the inhibitory gradients lack the minus: A_inh is subtracted": but(dA_inh=lambda n: n.weights[1] * n.dA),
        "dA_inh is dA: its weight, with the minus, is missing": but(dA_inh=lambda n: n.dA),
        "lambda is missing in the branch that it weighs":
            but(dA_exc=lambda n: n.dA, dA_inh=lambda n: -n.dA),
        "lambda is in the gradient of the other branch, too":
            but(dA_exc=lambda n: n.lam * n.dA, dA_inh=lambda n: -n.lam * n.dA),
        "lambda is in the gradient of the wrong branch":
            but(dA_exc=lambda n: n.weights[1] * n.dA, dA_inh=lambda n: -n.weights[0] * n.dA),
        "the minus is in both branches: only A_inh is subtracted": but(dA_exc=lambda n: -n.weights[0] * n.dA),
        "dv has the excitatory map alone: v is read through the difference A": (
            but(dv=lambda n: swap(n.A_exc) @ n.do), but(dv=lambda n: swap(n.weights[0] * n.A_exc) @ n.do)),
        "dv has the sum of the maps: v is read through their difference A":
            but(dv=lambda n: swap(n.weights[0] * n.A_exc + n.weights[1] * n.A_inh) @ n.do),
        "dv lacks lambda: v is read through A": but(dv=lambda n: swap(n.A_exc - n.A_inh) @ n.do),
        "the softmax backward has the fused map A: each branch has its own": but(
            dS_exc=lambda n: softmax_backward(n.dA_exc, SoftmaxCache(n.A)),
            dS_inh=lambda n: softmax_backward(n.dA_inh, SoftmaxCache(n.A))),
        "the inhibitory softmax backward has the map A_exc":
            but(dS_inh=lambda n: softmax_backward(n.dA_inh, SoftmaxCache(n.A_exc))),
        "the backward of softmax is missing": but(**both("dS", lambda b: b.dA)),
        "the backward of softmax is missing in the inhibitory branch": but(dS_inh=lambda n: n.dA_inh),
        "dq and dk are not scaled: S has the factor 1 / sqrt(d)":
            but(**both("dq", lambda b: b.dS @ b.k), **both("dk", lambda b: swap(b.dS) @ b.q)),
        "dq is not scaled: S has the factor 1 / sqrt(d)": but(**both("dq", lambda b: b.dS @ b.k)),
        "dk is not scaled: S has the factor 1 / sqrt(d)": but(**both("dk", lambda b: swap(b.dS) @ b.q)),
        "dk is scaled twice: its q has the scale already": but(**both("dk", lambda b: b.scale**2 * swap(b.dS) @ b.q)),
        "the inhibitory branch has the keys of the excitatory one": but(dq_inh=lambda n: n.scale * n.dS_inh @ n.k_exc),
        "the inhibitory branch has the queries of the excitatory one":
            but(dk_inh=lambda n: n.scale * swap(n.dS_inh) @ n.q_exc),
        "excitatory and inhibitory gradients are exchanged":
            but(results=lambda n: (n.dq_inh, n.dk_inh, n.dq_exc, n.dk_exc, n.dv, n.dlam)),
    }  # fmt: skip
    turned = {
        "dk has dS without a transpose: key j collects from all queries i, with dS_ij":
            but(**both("dk", lambda b: b.scale * b.dS @ b.q)),
        "dv has A without a transpose: value j collects from all queries i, with A_ij": but(dv=lambda n: n.A @ n.do),
        "dA has v without a transpose: dA_ij is the product of row i of do and row j of v":
            but(dA=lambda n: n.do @ n.v),
        "the order of the results is not that of the arguments":
            but(results=lambda n: (n.dq_exc, n.dq_inh, n.dk_exc, n.dk_inh, n.dv, n.dlam)),
    }  # fmt: skip
    divided = but(dlam=lambda n: right["dlam"](n) * n.lam / n.lam)
    pair = "differential_forward differential_backward"
    return [
        Item("the forward", 3, "output_of_differential", lambda rng: general(rng)[:-1], forward, mixing | maps),
        Item("the backward", 5, pair, general, backward, of_lambda | branches),
        Item("all sizes equal", 2, pair, equal, backward, turned | of_lambda | branches),
        Item("lambda is 0", 1, pair, closed, backward, {
            "divided by lambda, which may be 0": divided} | of_lambda),
        Item("the dtype stays", 1, pair, lambda rng: float32(*general(rng)), check=same_dtype),
    ]  # fmt: skip
