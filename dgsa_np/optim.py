"""Optimisers as functions of nested dicts: parameters and gradients in, new parameters out."""

import math
from typing import Any

import numpy as np

from .backend import array_module
from .check import differing_names
from .params import flatten, tree_map, zeros_like
from .shapes import Array, ShapeError, arrays, number, takes, whole


@takes(lr="number")
def sgd_step(params, grads, lr) -> dict[str, Any]:
    """One step of gradient descent: params - lr grads."""
    _check_like("sgd_step", params, grads=grads)
    return tree_map(lambda p, g: p - lr * _as_precise(g, p), params, grads)


def adamw_init(params) -> dict[str, Any]:
    """The state of adamw_step.

    It is m and v, the running means of the gradient and of its square, and the number of steps
    taken.
    """
    _flat("adamw_init", "params", params)
    return {"m": zeros_like(params), "v": zeros_like(params), "step": 0}


@takes(state=dict, lr="number >= 0", betas=(tuple, list), eps="number >= 0", weight_decay="number >= 0")
def adamw_step(
    params, grads, state, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01
) -> tuple[dict[str, Any], dict[str, Any]]:
    """One step of AdamW.                                                      [eq:adamw, published]

        m = b1 m + (1 - b1) g,   v = b2 v + (1 - b2) g^2
        p <- p - lr (m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + weight_decay p)

    The decay acts on matrices only (two axes or more): gains, biases and lambda vectors are left
    alone.

    returns new params and a new state, in the dtypes of the parameters; nothing is mutated
    """
    whole("adamw_step", 0, **{"state['step']": state["step"]})
    _check_like("adamw_step", params, grads=grads, m=state["m"], v=state["v"])
    number("adamw_step", low=0, high=0.999999, **{f"betas[{i}]": b for i, b in enumerate(betas)})
    b1, b2 = map(float, betas)  # NumPy's numbers would turn float32 into float64
    t = int(state["step"]) + 1

    def update(p, *others):
        g, m, v = (_as_precise(a, p) for a in others)
        return _adamw(p, g, m, v, b1, b2, 1 - b1**t, 1 - b2**t, lr, eps, weight_decay if p.ndim >= 2 else 0.0)

    done = tree_map(update, params, grads, state["m"], state["v"])
    params, m, v = (tree_map(lambda _, new, i=i: new[i], params, done) for i in range(3))
    return params, {"m": m, "v": v, "step": t}


def _adamw(p, g, m, v, b1, b2, m_share, v_share, lr, eps, weight_decay):
    """The formulas of adamw_step for one parameter: the new p, m and v."""
    m = b1 * m + (1 - b1) * g
    v = b2 * v + (1 - b2) * (g * g)
    return p - lr * (m / m_share / (np.sqrt(v / v_share) + eps) + weight_decay * p), m, v


def square_sum(x) -> Array:
    """The sum of all squares, an array without axes, in float64 at least."""
    return np.square(x, dtype=np.promote_types(x.dtype, "float64")).sum()


def global_norm(grads) -> Array:
    """The length of all gradients as one vector, an array without axes; summed in float64."""
    return sum(map(square_sum, _flat("global_norm", "grads", grads).values())) ** 0.5


@takes(max_norm="number >= 0")
def clip_by_norm(grads, max_norm) -> tuple[dict[str, Any], Array]:
    """All gradients scaled by one factor, to a norm of at most max_norm.       [eq:clip, published]

    returns the gradients, and the norm before; both stay on the device, so that nothing waits

    The norm is the length of all gradients as one vector. Where it is not finite, all gradients
    become nan: no step can be taken.
    """
    norm, xp = global_norm(grads), array_module(*flatten(grads).values())
    factor = xp.where(xp.isfinite(norm), xp.minimum(1, max_norm / (norm + 1e-12)), xp.nan)
    factors = {dtype: factor.astype(dtype) for dtype in {g.dtype for g in flatten(grads).values()}}
    return tree_map(lambda g: g * factors[g.dtype], grads), norm


@takes(step="number", total="number", peak="number", warmup="number",
       final="number")  # fmt: skip
def warmup_cosine(step, total, peak, warmup, final=0.0) -> float:
    """The learning rate at a step: linear up, then half a cosine.     [eq:warmup-cosine, published]

        lr = peak (step + 1) / warmup          for step < warmup, else
        lr = final + (peak - final) (1 + cos(pi (step - warmup) / (total - warmup))) / 2

    step : from 0 to total - 1
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(1, total - warmup)
    return final + (peak - final) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def _as_precise(a, p):
    """a in the dtype of its parameter p, since float64 gradients would make it float64.

    Complex gradients stay complex, for derivatives by a complex step.
    """
    return a if a.dtype.kind == "c" else a.astype(p.dtype, copy=False)


def _flat(function, name, tree):
    """The leaves of a tree of arrays by their dotted names, checked to be arrays of one device."""
    flat = flatten(tree)
    arrays(function, {f"{name} {leaf}".strip(): "..." for leaf in flat}, *flat.values())
    return flat


def _check_like(function, params, **trees):
    """Check that other trees have the names and shapes of the parameters."""
    params = _flat(function, "params", params)
    for whose, tree in trees.items():
        tree = _flat(function, whose, tree)
        if params.keys() != tree.keys():
            raise ValueError(f"{function}: {whose} {differing_names(tree, params)}")
        for name, g in tree.items():
            if g.shape != params[name].shape:
                shape = f"{params[name].shape}, as the parameter"
                raise ShapeError(f"{function}: {whose} {name} is {g.shape}, expected {shape}")
