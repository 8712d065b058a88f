"""Small heads and models of every kind, with random numbers in them."""

from typing import get_args, get_type_hints

import numpy as np
import pytest

from dgsa_np.attention import (
    KINDS,
    AttentionConfig,
    attention_backward,
    attention_forward,
    causal_mask,
    init_attention,
    multihead,
)
from dgsa_np.attention.mechanisms import MECHANISMS
from dgsa_np.lab.cases import random_params
from dgsa_np.model import ModelConfig, init_model
from dgsa_np.params import flatten
from support.tiers import most_later

B, H, T, S, D, E, C = 2, 3, 4, 6, 5, 7, 12
SIZES = {"width": 8, "n_heads": 2, "depth": 2, "ffn_width": 5, "n_out": 3}
TOKENS = SIZES | {"vocab_size": 11, "max_len": 9}
ODD = [np.nan, np.inf, -np.inf]
LOUD = dict.fromkeys(("over", "divide", "invalid"), "raise")  # for np.errstate

TILED = {kind: MECHANISMS[kind].tiled for kind in multihead.TILED_KINDS}
HEADS = [*((kind, MECHANISMS[kind].head) for kind in KINDS), *((f"tiled {kind}", pair) for kind, pair in TILED.items())]

# A test that bears one of these runs on all of them.
kinds = pytest.mark.parametrize("kind", KINDS)
heads = pytest.mark.parametrize(("kind", "pair"), HEADS, ids=[name for name, _ in HEADS])
seeds = pytest.mark.parametrize("seed", most_later(range(20), now=[0, 1]))
over_masks = pytest.mark.parametrize("mask", ["none", "causal", "rows masked"])
rotary_or_not = pytest.mark.parametrize("rotary", [False, True])


def head_arguments(kind, seed=0, T=4, dtype="float64"):
    """Queries, keys, values, and what weighs the maps; as many keys as queries."""
    rng, mechanism = np.random.default_rng(seed), MECHANISMS[kind.removeprefix("tiled ")]
    shapes = [(2, 3, T, 5 if name == "v" else 4) for name in mechanism.projections]
    shapes += [(2, 3, T)] if mechanism.control else []
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes], [*mechanism.projections]


def weighs(mechanism):
    """Does the cache of its head hold a gate or a lambda?"""
    _, cache = get_args(get_type_hints(mechanism.head.forward)["return"])
    return not {"gate", "lam"}.isdisjoint(cache._fields)


def powers_of_two(a):
    """Near a, of its signs, and 1 at most: what is multiplied by them is not rounded."""
    return np.copysign(np.exp2(-np.floor(abs(a))), a)


def run_head(pair, args, mask=None):
    """[o, gradients ...]"""
    o, cache = pair[0](*args, mask=mask)
    do = np.random.default_rng(1).standard_normal(o.shape).astype(o.dtype)
    return [o, *pair[1](do, cache)]


def whole_model(kind, task, seed=0, T=6, **switches):
    """cfg, parameters in float64 with none at 0 or 1, inputs of two, targets."""
    rng = np.random.default_rng(seed)
    if task == "vision":
        cfg = ModelConfig(kind=kind, image_size=6, patch_size=2, **SIZES, **switches)
        inputs, targets = rng.random((2, 6, 6)), rng.integers(0, 3, 2)
    else:
        cfg = ModelConfig(kind=kind, task=task, **TOKENS, **switches)
        inputs, targets = rng.integers(0, 8, (2, T)), rng.integers(0, 3, (2, T) if task == "lm" else 2)
    return cfg, random_params(init_model(cfg, rng, "float64"), rng), inputs, targets


def gated_arguments(seed, T=T, S=S):
    """q_exc, k_exc, q_inh, k_inh, v, z_gate."""
    normal = np.random.default_rng(seed).standard_normal
    return [normal((B, H, n, D)) for n in (T, S, T, S)] + [normal((B, H, S, E)), 2 * normal((B, H, T))]


def layer(kind, seed, T=T, **switches):
    """x, p with no parameter left at 0 or 1, cfg, and an upstream gradient."""
    rng = np.random.default_rng(seed)
    cfg = AttentionConfig(kind=kind, width=C, n_heads=H, **switches)
    p = random_params(init_attention(cfg, rng, "float64"), rng)
    return rng.standard_normal((B, T, C)), p, cfg, rng.standard_normal((B, T, C))


def run_layer(x, p, cfg, dy, mask=None):
    """y and every gradient under dotted names."""
    y, cache = attention_forward(x, p, cfg, mask)
    dx, grads = attention_backward(dy, cache)
    return {"y": y, "dx": dx} | flatten(grads)


def inner(a, b):
    """The sum of the products, as the identities of Euler need it."""
    return float((a * b).sum())


def mask_for(name, T, S, seed=0):
    """In "rows masked" the second query of one batch entry sees nothing."""
    rows = np.random.default_rng(seed).random((B, H, T, S)) < 0.7
    rows[..., 0] = True
    rows[1, :, 1] = False
    return {"none": None, "causal": causal_mask(T, S), "rows masked": rows}[name]


def normals(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape) for shape in shapes]


def token_model(kind, task, seed=0, T=6, **switches):
    """params, cfg and tokens (B, T) below 6 of a vocabulary of 11."""
    rng = np.random.default_rng(seed)
    sizes = {"width": 8, "n_heads": 2, "depth": 2, "ffn_width": 5, "vocab_size": 11, "max_len": 12}
    cfg = ModelConfig(kind=kind, task=task, n_out=None if task == "lm" else 3, **sizes, **switches)
    return random_params(init_model(cfg, rng, "float64"), rng), cfg, rng.integers(0, 6, (B, T))
