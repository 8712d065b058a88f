"""Exercise 10, the block, mirrored: what is right, known mistakes, and the table of items."""

from functools import partial

import numpy as np
from grading.course import for_course
from grading.items import Item, the_dtype_stays
from grading.steps import follow

from dgsa_np import ops

# ----------------------------------------------------------- the sub-layers, as pairs over a cache


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


# ------------------------------------- the block: n.norm1 is (output, cache), n.d_norm1 (dx, grads)

FORWARD = {
    "pre": {
        "norm1": lambda n: norm_forward(n.x, n.p["norm1"]),
        "attention": lambda n: attention_forward(n.norm1[0], n.p["attention"]),
        "first": lambda n: n.x + n.attention[0],
        "norm2": lambda n: norm_forward(n.first, n.p["norm2"]),
        "mlp": lambda n: mlp_forward(n.norm2[0], n.p["mlp"]),
        "second": lambda n: n.first + n.mlp[0],
        "y": lambda n: n.second,
    },
    "post": {
        "attention": lambda n: attention_forward(n.x, n.p["attention"]),
        "first": lambda n: n.x + n.attention[0],
        "norm1": lambda n: norm_forward(n.first, n.p["norm1"]),
        "mlp": lambda n: mlp_forward(n.norm1[0], n.p["mlp"]),
        "second": lambda n: n.norm1[0] + n.mlp[0],
        "norm2": lambda n: norm_forward(n.second, n.p["norm2"]),
        "y": lambda n: n.norm2[0],
    },
}
BACKWARD = {
    "pre": {
        "d_mlp": lambda n: mlp_backward(n.dy, n.mlp[1]),
        "d_norm2": lambda n: norm_backward(n.d_mlp[0], n.norm2[1]),
        "d_middle": lambda n: n.dy + n.d_norm2[0],
        "d_attention": lambda n: attention_backward(n.d_middle, n.attention[1]),
        "d_norm1": lambda n: norm_backward(n.d_attention[0], n.norm1[1]),
        "dx": lambda n: n.d_middle + n.d_norm1[0],
    },
    "post": {
        "d_norm2": lambda n: norm_backward(n.dy, n.norm2[1]),
        "d_mlp": lambda n: mlp_backward(n.d_norm2[0], n.mlp[1]),
        "d_middle": lambda n: n.d_norm2[0] + n.d_mlp[0],
        "d_norm1": lambda n: norm_backward(n.d_middle, n.norm1[1]),
        "d_attention": lambda n: attention_backward(n.d_norm1[0], n.attention[1]),
        "dx": lambda n: n.d_norm1[0] + n.d_attention[0],
    },
}
RIGHT = {"pre": {}, "post": {}}  # no slips: a mistake is {norm: {step: another formula}}, for one norm or both


def forward(norm, x, p, wrong=RIGHT):
    return follow(FORWARD[norm], wrong[norm], x=x, p=p)


def backward(norm, x, p, dy, wrong=RIGHT):
    return follow(FORWARD[norm] | BACKWARD[norm], wrong[norm], x=x, p=p, dy=dy)


def output(course, x, p, wrong=RIGHT):
    return forward(course["NORM"], x, p, wrong).y


def dx(course, x, p, dy, wrong=RIGHT):
    return backward(course["NORM"], x, p, dy, wrong).dx


def in_order(n):
    """The gradients of the parameters."""
    return (*n.d_norm1[1], *n.d_attention[1], *n.d_norm2[1], *n.d_mlp[1])


def gradients(course, x, p, dy, wrong=RIGHT):
    return in_order(backward(course["NORM"], x, p, dy, wrong))


# ------------------------------------------------------------------------------------- arguments


def parameters(rng, T, C, F):
    return {
        "norm1": {"w": rng.uniform(0.5, 1.5, C)},
        "attention": {"A": rng.standard_normal((T, T)), "W": rng.standard_normal((C, C)) / np.sqrt(C)},
        "norm2": {"w": rng.uniform(0.5, 1.5, C)},
        "mlp": {"W_up": rng.standard_normal((C, F)) / np.sqrt(C), "W_down": rng.standard_normal((F, C))},
    }


def make(rng, B=2, T=4, C=5, F=6):
    return rng.standard_normal((B, T, C)), parameters(rng, T, C, F)


def make_longer(rng):
    return make(rng, B=3, T=7, C=4, F=2)


def make_backward(rng, *sizes):
    x, p = make(rng, *sizes)
    return x, p, rng.standard_normal(x.shape)


def make_large(rng):
    """So many numbers that a numeric derivative takes minutes."""
    return make_backward(rng, 12, 40, 48, 36)


def make_empty(rng):
    """With an attention that returns zeros."""
    x, p, dy = make_backward(rng, 3, 6, 4, 5)
    p["attention"]["W"][:] = 0
    return x, p, dy


# ----------------------------------------------------------------------- mistakes in the forward


def of_other_norm(course):
    return {"pre": "post", "post": "pre"}[course["NORM"]]


def for_both(**slips):
    return {"pre": slips, "post": slips}


no_residual = for_both(first=lambda n: n.attention[0], second=lambda n: n.mlp[0])
no_first_residual = for_both(first=lambda n: n.attention[0])
no_second_residual = for_both(second=lambda n: n.mlp[0])
normed_x_added = {
    "pre": {
        "first": lambda n: n.norm1[0] + n.attention[0],
        "second": lambda n: n.norm2[0] + n.mlp[0],
    },
    "post": {
        "first": lambda n: norm_forward(n.x, n.p["norm1"])[0] + n.attention[0],
        "second": lambda n: norm_forward(n.norm1[0], n.p["norm2"])[0] + n.mlp[0],
    },
}
both_read_x = {
    "pre": {"norm2": lambda n: norm_forward(n.x, n.p["norm2"])},
    "post": {"mlp": lambda n: mlp_forward(n.x, n.p["mlp"])},
}
one_gain_twice = {
    "pre": {"norm2": lambda n: norm_forward(n.first, n.p["norm1"])},
    "post": {"norm2": lambda n: norm_forward(n.second, n.p["norm1"])},
}
no_second_norm = {
    "pre": {"mlp": lambda n: mlp_forward(n.first, n.p["mlp"])},
    "post": {"y": lambda n: n.second},
}
first_step_alone = for_both(y=lambda n: n.first)


def output_of_other_norm(course, x, p):
    return forward(of_other_norm(course), x, p).y


def but(wrong):
    return partial(output, wrong=wrong)


def wrong_outputs(course):
    other_norm = f'the norms stand where "{of_other_norm(course)}" has them, NORM is "{course["NORM"]}"'
    return {
        but(no_residual): "the residual is missing: x + attention(...), x + mlp(...)",
        but(no_first_residual): "the residual of the first step is missing: x + attention(...)",
        but(no_second_residual): "the residual of the second step is missing: x + mlp(...)",
        but(normed_x_added): "the normed x is added: the residual is x itself",
        output_of_other_norm: other_norm,
        but(both_read_x): "both sub-layers read the block's x: the second one reads what the first step made",
        but(one_gain_twice): "norm1's gain is used twice: each norm has its own",
        but(no_second_norm): "the second norm is missing",
        but(first_step_alone): "that is the first step alone",
    }


# ---------------------------------------------------------------------- mistakes in the backward


def norm_skipped(dy, cache):
    """The gradient goes by the norm; that of the gain is there."""
    return dy, norm_backward(dy, cache)[1]


residual_gradient_missing = {
    "pre": {"d_middle": lambda n: n.d_norm2[0], "dx": lambda n: n.d_norm1[0]},
    "post": {"d_middle": lambda n: n.d_mlp[0], "dx": lambda n: n.d_attention[0]},
}
residual_gradient_missing_at_attention = {
    "pre": {"dx": lambda n: n.d_norm1[0]},
    "post": {"dx": lambda n: n.d_attention[0]},
}
residual_gradient_missing_at_mlp = {
    "pre": {"d_middle": lambda n: n.d_norm2[0]},
    "post": {"d_middle": lambda n: n.d_mlp[0]},
}
mlp_gradient_alone_goes_on = {
    "pre": {"d_attention": lambda n: attention_backward(n.d_norm2[0], n.attention[1])},
}
upstream_too_old = {
    "pre": {"d_attention": lambda n: attention_backward(n.dy, n.attention[1])},
    "post": {
        "d_mlp": lambda n: mlp_backward(n.dy, n.mlp[1]),
        "d_attention": lambda n: attention_backward(n.d_middle, n.attention[1]),
    },
}
residual_twice = {
    "pre": {
        "d_middle": lambda n: n.dy + n.d_norm2[0] + n.dy,
        "dx": lambda n: n.d_middle + n.d_norm1[0] + n.d_middle,
    },
    "post": {
        "d_middle": lambda n: n.d_norm2[0] + n.d_mlp[0] + n.d_norm2[0],
        "dx": lambda n: n.d_norm1[0] + n.d_attention[0] + n.d_norm1[0],
    },
}
norms_not_undone = {
    "pre": {
        "d_norm2": lambda n: norm_skipped(n.d_mlp[0], n.norm2[1]),
        "d_norm1": lambda n: norm_skipped(n.d_attention[0], n.norm1[1]),
    },
    "post": {
        "d_norm2": lambda n: norm_skipped(n.dy, n.norm2[1]),
        "d_norm1": lambda n: norm_skipped(n.d_middle, n.norm1[1]),
    },
}
caches_swapped = {
    "pre": {
        "d_norm2": lambda n: norm_backward(n.d_mlp[0], n.norm1[1]),
        "d_norm1": lambda n: norm_backward(n.d_attention[0], n.norm2[1]),
    },
    "post": {
        "d_norm2": lambda n: norm_backward(n.dy, n.norm1[1]),
        "d_norm1": lambda n: norm_backward(n.d_middle, n.norm2[1]),
    },
}
residual_skips_norm = {
    "post": {"d_middle": lambda n: n.dy + n.d_mlp[0], "dx": lambda n: n.d_middle + n.d_attention[0]},
}

RESIDUAL = [  # what only dx shows, or shows more of
    (residual_gradient_missing,
        "the gradient of the residual is missing: x goes two ways, so two gradients are added"),
    (residual_gradient_missing_at_attention, "the gradient of the residual is missing in the attention step"),
    (mlp_gradient_alone_goes_on,
        "only the gradient that came through the mlp goes on: the residual's is part of it"),
]  # fmt: skip
ORDER = [
    (upstream_too_old, "an upstream is too old: each backward gets the gradient of what its forward returned"),
    (caches_swapped, "the caches of the two norms are swapped"),
    (residual_skips_norm,
        "the residual skips a norm: it stands after the sum, so its backward comes first, for both"),
]  # fmt: skip
SUMS = [
    (residual_gradient_missing_at_mlp, "the gradient of the residual is missing in the mlp step"),
    (residual_twice, "the residual is added twice"),
    (norms_not_undone, "the norms are not undone: each needs its backward"),
]


def dx_of_other_norm(course, x, p, dy):
    return backward(of_other_norm(course), x, p, dy).dx


def gradients_of_other_norm(course, x, p, dy):
    return in_order(backward(of_other_norm(course), x, p, dy))


def wrong_backward(course, mistakes, result, of_other):
    """The mistakes of the course's norm, in a result, which is dx or gradients."""
    other_norm = f'that is the backward pass for "{of_other_norm(course)}", NORM is "{course["NORM"]}"'
    known = {partial(result, wrong=slips): hint for slips, hint in mistakes if course["NORM"] in slips}
    return known | {of_other: other_norm}


def norms_swapped(course, x, p, dy):
    dw1, dA, dW, dw2, dW_up, dW_down = gradients(course, x, p, dy)
    return dw2, dA, dW, dw1, dW_up, dW_down


def mlp_weights_swapped(course, x, p, dy):
    *others, dW_up, dW_down = gradients(course, x, p, dy)
    return *others, dW_down, dW_up


WRONG_ORDER = {
    norms_swapped: "the gradients of norm1 and norm2 are swapped",
    mlp_weights_swapped: "the gradients of W_up and W_down are swapped",
}

DX, GRADIENTS = "block_forward block_dx", "block_forward block_gradients"


def items(course):
    """course : the constants of the course, {"NORM": "pre"}"""
    outputs, wrong_dx = wrong_outputs(course), wrong_backward(course, RESIDUAL + SUMS + ORDER, dx, dx_of_other_norm)
    wrong_gradients = wrong_backward(course, SUMS + ORDER, gradients, gradients_of_other_norm) | WRONG_ORDER
    no_attention = wrong_backward(course, RESIDUAL[1:2] + SUMS, dx, dx_of_other_norm)
    return for_course(course, [
        Item("forward", 2, "block", make, output, outputs),
        Item("forward, longer than wide", 1, "block", make_longer, output, outputs),
        Item("backward of a large block: the parameters", 2, GRADIENTS, make_large, gradients, wrong_gradients),
        Item("backward of a large block: dx", 1, DX, make_large, dx, wrong_dx),
        Item("backward: dx", 1, DX, make_backward, dx, wrong_dx),
        Item("backward: the parameters", 2, GRADIENTS, make_backward, gradients, wrong_gradients),
        Item("backward where the attention returns zeros", 1, DX, make_empty, dx, no_attention),
        the_dtype_stays(1, GRADIENTS, make_backward, gradients),
    ])  # fmt: skip
