"""Small heads and models of every kind, with random numbers in them."""

import numpy as np
import pytest

from dgsa_np.attention import KINDS, multihead, tiled
from dgsa_np.attention.mechanisms import MECHANISMS
from dgsa_np.lab.cases import random_params
from dgsa_np.model import ModelConfig, init_model

kinds = pytest.mark.parametrize("kind", KINDS)
TILED = {kind: tiled.TILED[MECHANISMS[kind].head_forward] for kind in multihead.TILED_KINDS}
HEADS = [*((kind, MECHANISMS[kind][:2]) for kind in KINDS), *((f"tiled {kind}", pair) for kind, pair in TILED.items())]
heads = pytest.mark.parametrize(("kind", "pair"), HEADS, ids=[name for name, _ in HEADS])
SIZES = {"width": 8, "n_heads": 2, "depth": 2, "ffn_width": 5, "n_out": 3}
TOKENS = SIZES | {"vocab_size": 11, "max_len": 9}
LOUD = dict.fromkeys(("over", "divide", "invalid"), "raise")


def head_arguments(kind, seed=0, T=4, dtype="float64"):
    """Queries, keys, values, and what weighs the maps; as many keys as queries."""
    rng, mechanism = np.random.default_rng(seed), MECHANISMS[kind.removeprefix("tiled ")]
    shapes = [(2, 3, T, 5 if name == "v" else 4) for name in mechanism.projections]
    shapes += [(2, 3, T)] if mechanism.control else []
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes], [*mechanism.projections]


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


ODD = [np.nan, np.inf, -np.inf]
