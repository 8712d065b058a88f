"""Exercise 10: items and known mistakes."""

import numpy as np
from grading.items import Item, same_dtype

from dgsa_np import ops

# ------------------------------------------------------------------------ the sub-layers, as pairs over a cache


def norm_forward(x, p):
    return ops.rmsnorm_forward(x, p["w"])


def norm_backward(dy, cache):
    dx, dw = ops.rmsnorm_backward(dy, cache)
    return dx, (dw,)


def attention_forward(x, p):
    y, linear = ops.linear_forward(p["A"] @ x, p["W"])
    return y, (x, p["A"], linear)


def attention_backward(dy, cache):
    x, A, linear = cache
    dmixed, dW = ops.linear_backward(dy, linear)
    return ops.swap(A) @ dmixed, ((dmixed @ ops.swap(x)).sum(axis=0), dW)


def mlp_forward(x, p):
    u, up = ops.linear_forward(x, p["W_up"])
    h = np.tanh(u)
    y, down = ops.linear_forward(h, p["W_down"])
    return y, (up, h, down)


def mlp_backward(dy, cache):
    up, h, down = cache
    dh, dW_down = ops.linear_backward(dy, down)
    dx, dW_up = ops.linear_backward((1 - h * h) * dh, up)
    return dx, (dW_up, dW_down)


# ---------------------------------------------------------------------- the block, and what goes wrong with it


def forward(norm, x, p, wrong=None):
    """The output, what a backward pass needs, and the sum after the first step.

    wrong : "no residual", or at one step: ("no residual", 1); "norm": n is added in the place of x; "parallel": both
    sub-layers read the block's x; "one gain": norm1's for both; "no second norm"
    """

    def added(x, n, y, step):
        if wrong in ("no residual", ("no residual", step)):
            return y
        return n + y if wrong == "norm" else x + y

    second = p["norm1"] if wrong == "one gain" else p["norm2"]
    start = x
    if norm == "pre":
        n1, norm1 = norm_forward(x, p["norm1"])
        a, attention = attention_forward(n1, p["attention"])
        x = first = added(x, n1, a, 1)
        n2, norm2 = norm_forward(start if wrong == "parallel" else x, second)
        m, mlp = mlp_forward(x if wrong == "no second norm" else n2, p["mlp"])
        x = added(x, n2, m, 2)
    else:
        a, attention = attention_forward(x, p["attention"])
        first = added(x, norm_forward(x, p["norm1"])[0], a, 1)
        x, norm1 = norm_forward(first, p["norm1"])
        m, mlp = mlp_forward(start if wrong == "parallel" else x, p["mlp"])
        second_sum = added(x, norm_forward(x, p["norm2"])[0], m, 2)
        x, norm2 = (second_sum, None) if wrong == "no second norm" else norm_forward(second_sum, second)
    return x, (norm1, attention, norm2, mlp), first


def backward(norm, dx, cache, wrong=None):
    """dx, and the gradients in their fixed order.

    wrong : "no residual", or at one step: ("no residual", 1); "branch only": the first step gets the second's branch;
    "old upstream": dx as it was before the last line; "twice": dx is added once more; "no norms": their backward is not
    called; "swapped caches" of the norms; "old residual": it skips the norm that follows the sum (post)
    """
    norm1, attention, norm2, mlp = cache
    start = dx
    if wrong == "swapped caches":
        norm1, norm2 = norm2, norm1

    def through(pair_backward, dy, cache):
        d, grads = pair_backward(dy, cache)
        return (dy if wrong == "no norms" and pair_backward is norm_backward else d), grads

    def joined(dx, branch, step):
        if wrong in ("no residual", ("no residual", step)):
            return branch
        return dx + branch + (dx if wrong == "twice" else 0)

    if norm == "pre":
        dn2, dmlp = through(mlp_backward, dx, mlp)
        branch, dnorm2 = through(norm_backward, dn2, norm2)
        dx = joined(dx, branch, 2)
        upstream = {"branch only": branch, "old upstream": start}.get(wrong, dx)
        dn1, dattention = through(attention_backward, upstream, attention)
        branch, dnorm1 = through(norm_backward, dn1, norm1)
        dx = joined(dx, branch, 1)
    else:
        dsum, dnorm2 = through(norm_backward, dx, norm2)
        branch, dmlp = through(mlp_backward, start if wrong == "old upstream" else dsum, mlp)
        dx = joined(start if wrong == "old residual" else dsum, branch, 2)
        dsum, dnorm1 = through(norm_backward, branch if wrong == "branch only" else dx, norm1)
        branch, dattention = through(attention_backward, dx if wrong == "old upstream" else dsum, attention)
        dx = joined(dx if wrong == "old residual" else dsum, branch, 1)
    return dx, (*dnorm1, *dattention, *dnorm2, *dmlp)


def items(course):
    """course : the constants of the course, {"NORM": "pre"}"""
    norm = course["NORM"]
    other = {"pre": "post", "post": "pre"}[norm]

    def parameters(rng, T=4, C=5, F=6, empty=False):
        p = {
            "norm1": {"w": rng.uniform(0.5, 1.5, C)},
            "attention": {"A": rng.standard_normal((T, T)), "W": rng.standard_normal((C, C))},
            "norm2": {"w": rng.uniform(0.5, 1.5, C)},
            "mlp": {"W_up": rng.standard_normal((C, F)), "W_down": rng.standard_normal((F, C))},
        }
        if empty:
            p["attention"]["W"][:] = 0
            p["mlp"]["W_down"][:] = 0
        return p

    def make(rng):
        return rng.standard_normal((2, 4, 5)), parameters(rng)

    def make_backward(rng):
        return *make(rng), rng.standard_normal((2, 4, 5))

    def make_empty(rng):
        return rng.standard_normal((2, 4, 5)), parameters(rng, empty=True), rng.standard_normal((2, 4, 5))

    def single(rng):
        x, p, dx = make_backward(rng)
        cast = {part: {name: w.astype(np.float32) for name, w in weights.items()} for part, weights in p.items()}
        return x.astype(np.float32), cast, dx.astype(np.float32)

    def output(wrong=None, norm=norm):
        return lambda x, p: forward(norm, x, p, wrong)[0]

    def dx_of(wrong=None, norm=norm):
        return lambda x, p, dx: backward(norm, dx, forward(norm, x, p)[1], wrong)[0]

    def gradients(wrong=None, norm=norm):
        return lambda x, p, dx: backward(norm, dx, forward(norm, x, p)[1], wrong)[1]

    def reordered(*order):
        return lambda x, p, dx: tuple(gradients()(x, p, dx)[i] for i in order)

    def first_step(x, p):
        return forward(norm, x, p)[2]

    def after_mlp(x, p, dx):
        _, (_, _, norm2, mlp), _ = forward(norm, x, p)
        return dx + norm_backward(mlp_backward(dx, mlp)[0], norm2)[0]

    wrong_forward = {
        "the residual is missing: x + attention(...), x + mlp(...)": output("no residual"),
        "the residual of the first step is missing: x + attention(...)": output(("no residual", 1)),
        "the residual of the second step is missing: x + mlp(...)": output(("no residual", 2)),
        "the normed x is added: the residual is x itself": output("norm"),
        f'the norms stand where "{other}" has them, NORM is "{norm}"': output(norm=other),
        "both sub-layers read the block's x: the second one reads what the first step made": output("parallel"),
        "norm1's gain is used twice: each norm has its own": output("one gain"),
        "the second norm is missing": output("no second norm"),
        "that is the first step alone": first_step,
    }
    wrong_backward = {
        "the gradient of the residual is missing: x goes two ways, so two gradients are added": "no residual",
        "the gradient of the residual is missing in the attention step": ("no residual", 1),
        "the gradient of the residual is missing in the mlp step": ("no residual", 2),
        "only the gradient that came through the mlp goes on: the residual's is part of it": "branch only",
        "an upstream is too old: each backward gets the gradient of what its forward returned": "old upstream",
        "the residual is added twice": "twice",
        "the norms are not undone: each needs its backward": "no norms",
        "the caches of the two norms are swapped": "swapped caches",
        "the residual skips a norm: it stands after the sum, so its backward comes first, for both": "old residual",
    }

    def told(of):
        return {sentence: of(wrong) for sentence, wrong in wrong_backward.items()} | {
            f'that is the backward pass for "{other}", NORM is "{norm}"': of(norm=other)
        }

    wrong_names = {
        "the gradients of norm1 and norm2 are swapped": reordered(3, 1, 2, 0, 4, 5),
        "the gradients of W_up and W_down are swapped": reordered(0, 1, 2, 3, 5, 4),
    }
    in_place = {
        "x is changed: x += ... writes into the caller's array, x = x + ... makes a new one": (
            lambda x, p, dx: (output()(x, p), dx),
            lambda x, p, dx: (first_step(x, p), dx),
        ),
        "dx is changed: dx += ... writes into the caller's array, dx = dx + ... makes a new one": (
            lambda x, p, dx: (x, dx_of()(x, p, dx)),
            lambda x, p, dx: (x, after_mlp(x, p, dx)),
        ),
    }

    return [
        Item("forward", 3, "block", make, output(), wrong_forward),
        Item("backward: dx", 2, "block_forward block_dx", make_backward, dx_of(), told(dx_of)),
        Item("backward: the parameters", 3, "block_forward block_gradients", make_backward, gradients(),
            told(gradients) | wrong_names),
        Item("backward where the sub-layers return zeros", 1, "block_forward block_dx", make_empty, dx_of(),
            told(dx_of)),
        Item("the arguments stay as they were", 1, "arguments_afterwards", make_backward,
            lambda x, p, dx: (x, dx), in_place),
        Item("the dtype stays", 1, "block_forward block_gradients", single, check=same_dtype),
    ]  # fmt: skip
