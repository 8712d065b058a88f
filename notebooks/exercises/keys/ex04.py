"""Exercise 04: items and known mistakes."""

import math
from types import SimpleNamespace

from grading.items import Item, float32, same_dtype

from dgsa_np.attention.softmax import softmax_head_backward, softmax_head_forward
from dgsa_np.ops import SoftmaxCache, row_dot, softmax_backward, softmax_forward, swap


def items(course):
    """course : the constants of the course, {"POWER": 0.5}"""
    power = course["POWER"]

    def as_library(q):
        """The library divides by sqrt(d); what else is asked goes into q."""
        return math.sqrt(q.shape[-1]) * q.shape[-1] ** -power

    def forward(q, k, v):
        return softmax_head_forward(as_library(q) * q, k, v)[0]

    def backward(q, k, v, do):
        dA, dS, *_ = steps(q, k, v, do)
        dq, dk, dv = softmax_head_backward(do, softmax_head_forward(as_library(q) * q, k, v)[1])
        return dA, dS, as_library(q) * dq, dk, dv

    right = {
        "dA": lambda n: n.do @ swap(n.v),
        "dv": lambda n: swap(n.A) @ n.do,
        "dS": lambda n: softmax_backward(n.dA, SoftmaxCache(n.A)),
        "dq": lambda n: n.scale * (n.dS @ n.k),
        "dk": lambda n: n.scale * (swap(n.dS) @ n.q),
    }

    def steps(q, k, v, do, **slips):
        """The backward with other formulas for some of its steps; later steps go on with what these give."""
        n = SimpleNamespace(q=q, k=k, v=v, do=do, scale=q.shape[-1] ** -power)
        n.S = n.scale * q @ swap(k)
        n.A = softmax_forward(n.S)[0]
        for name in right:
            setattr(n, name, (right | slips)[name](n))
        if "after" in slips:
            slips["after"](n)
        return n.dA, n.dS, n.dq, n.dk, n.dv

    def but(**slips):
        return lambda q, k, v, do: steps(q, k, v, do, **slips)

    def swapped_results(n):
        n.dq, n.dk = n.dk, n.dq

    def overwritten(n):
        n.dA = n.dS

    def make(B, H, T, S, d, e):
        def arrays(rng):
            q, k, v = (rng.standard_normal((B, H, *shape)) for shape in ((T, d), (S, d), (S, e)))
            return q, k, v, rng.standard_normal((B, H, T, e))

        return arrays

    general, equal = make(1, 3, 4, 5, 2, 6), make(1, 2, 4, 4, 4, 4)

    def with_scale(of):
        return lambda q, k, v: softmax_forward(of(q, k, v) * q @ swap(k))[0] @ v

    unscaled = {"the scores are not scaled": with_scale(lambda q, k, v: 1)} | {
        f"the scores are scaled with {n} in the place of the key width d": with_scale(of) for n, of in {
            "the number of keys": lambda q, k, v: k.shape[-2] ** -power,
            "the number of queries": lambda q, k, v: q.shape[-2] ** -power,
            "the number of heads": lambda q, k, v: q.shape[1] ** -power,
            "the value width e": lambda q, k, v: v.shape[-1] ** -power}.items()
    } | {
        "the scores are multiplied by d^POWER instead of divided": with_scale(lambda q, k, v: q.shape[-1] ** power),
        "the scale comes after the softmax: the scores are scaled, not the weights":
            lambda q, k, v: q.shape[-1] ** -power * softmax_forward(q @ swap(k))[0] @ v,
        "the softmax is missing": lambda q, k, v: q.shape[-1] ** -power * q @ swap(k) @ v,
        "the softmax runs over the queries: each query has weights that sum to 1 over its keys, the last axis":
            lambda q, k, v: swap(softmax_forward(q.shape[-1] ** -power * k @ swap(q))[0]) @ v,
    }  # fmt: skip
    row = "the row sum is missing in dS: each score moves the weights of its whole row"
    mistakes = {
        "dq and dk are not scaled: S has the factor 1 / d^POWER":
            but(dq=lambda n: n.dS @ n.k, dk=lambda n: swap(n.dS) @ n.q),
        "dq is not scaled: S has the factor 1 / d^POWER": but(dq=lambda n: n.dS @ n.k),
        "dk is not scaled: S has the factor 1 / d^POWER": but(dk=lambda n: swap(n.dS) @ n.q),
        "dk is scaled twice: its q has the scale already": but(dk=lambda n: n.scale**2 * swap(n.dS) @ n.q),
        "dq is scaled twice: its k has the scale already": but(dq=lambda n: n.scale**2 * n.dS @ n.k),
        "the scale is in dS, and again in dq and dk: S are the scaled scores":
            but(dS=lambda n: n.scale * right["dS"](n)),
        "the scale is in dS: S are the scaled scores, the factor belongs to dq and dk":
            but(dS=lambda n: n.scale * right["dS"](n), dq=lambda n: n.dS @ n.k, dk=lambda n: swap(n.dS) @ n.q),
        row: but(dS=lambda n: n.A * n.dA),
        "dS is dA: the backward of softmax is missing": but(dS=lambda n: n.dA),
        "only the diagonal of softmax's Jacobian, A (1 - A): each score moves the other weights, too":
            but(dS=lambda n: n.A * (1 - n.A) * n.dA),
        "in dS, the row sum lacks A: it is the sum of A dA":
            but(dS=lambda n: n.A * (n.dA - n.dA.sum(-1, keepdims=True))),
        "in dS, a mean in the place of the row sum": (
            but(dS=lambda n: n.A * (n.dA - (n.A * n.dA).mean(-1, keepdims=True))),
            but(dS=lambda n: n.A * (n.dA - n.dA.mean(-1, keepdims=True)))),
        "in dS, the sum runs over the queries: a row is the last axis":
            but(dS=lambda n: n.A * (n.dA - (n.A * n.dA).sum(-2, keepdims=True))),
        "in dS, the row sum is added: its sign is minus": but(dS=lambda n: n.A * (n.dA + row_dot(n.A, n.dA))),
        "in dS, the row sum is not multiplied by A": but(dS=lambda n: n.A * n.dA - row_dot(n.A, n.dA)),
        "in dS, the A in front is missing": but(dS=lambda n: n.dA - row_dot(n.A, n.dA)),
        "dA is dS: an operation in place has overwritten it": but(after=overwritten),
        "dv has the scores in the place of A": but(dv=lambda n: swap(n.S) @ n.do),
    }  # fmt: skip
    turned = {
        "dA has v without a transpose: dA_ij is the product of row i of do and row j of v":
            but(dA=lambda n: n.do @ n.v),
        "dv has A without a transpose: value j collects from all queries i, with the weights A_ij":
            but(dv=lambda n: n.A @ n.do),
        "dk has dS without a transpose: key j collects from all queries i, with dS_ij":
            but(dk=lambda n: n.scale * n.dS @ n.q),
        "dq has dS with a transpose: query i collects from all keys j, with dS_ij":
            but(dq=lambda n: n.scale * swap(n.dS) @ n.k),
        "dq has q in the place of k": but(dq=lambda n: n.scale * n.dS @ n.q),
        "dk has k in the place of q": but(dk=lambda n: n.scale * swap(n.dS) @ n.k),
        "in dS, keepdims is missing: the sum of row i is taken from column i":
            but(dS=lambda n: n.A * (n.dA - (n.A * n.dA).sum(-1)[..., None, :])),
        "dq and dk are the wrong way round": but(after=swapped_results),
    }  # fmt: skip
    pair = "attention_forward attention_backward"
    return [
        Item("the forward", 3, "output_of_attention", lambda rng: general(rng)[:3], forward, unscaled),
        Item("the backward", 5, pair, general, backward, mistakes),
        Item("all sizes equal", 2, pair, equal, backward, turned | mistakes),
        Item("the dtype stays", 1, pair, lambda rng: float32(*general(rng)), check=same_dtype),
    ]  # fmt: skip
