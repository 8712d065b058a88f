"""Small arguments for every pair of the project: what `gradcheck` prints and the tests assert.

All sizes differ, so that no transposed axis goes unnoticed.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from . import losses, model, ops
from .attention import KINDS, AttentionConfig, causal_mask, differential, gated, multihead, padding_mask, softmax
from .params import tree_map


class Case(NamedTuple):
    name: str
    variant: str  # the mask, the switches
    forward: Callable
    backward: Callable
    args: tuple
    sizes: dict  # the sizes that a wrong factor may come from
    without: tuple = ()  # arguments that are data and have no gradient
    n_directions: int | None = None  # None checks every element, a number as many random directions

    def __str__(self):
        return f"{self.name} [{self.variant}]" if self.variant else self.name


B, H, T, S, D, E = 2, 3, 4, 6, 5, 7


def all_cases(seed=0) -> Iterator[Case]:
    """Every pair: ops, loss, heads and attention under each mask, blocks, and whole models."""
    rng = np.random.default_rng(seed)
    yield from op_cases(rng)
    yield from head_cases(rng)
    yield from attention_cases(rng)
    yield from part_cases(rng)
    yield from model_cases(rng)


def masks(rng, T, S) -> dict:
    """Every kind of mask for scores (B, H, T, S). In "all masked" the second query of batch entry 1 sees nothing."""
    keep = np.ones((B, S), bool)
    keep[0, -2:] = keep[1, 0] = False
    none_left = rng.random((B, H, T, S)) < 0.7
    none_left[1, :, 1] = False
    return {"none": None, "causal": causal_mask(T, S), "padding": padding_mask(keep), "all masked": none_left}


def op_cases(rng):
    normal, sizes = rng.standard_normal, {"n": 5, "m": 7}
    x, dims = normal((2, 3, 5)), {"n": 5}
    yield Case("linear", "", ops.linear_forward, ops.linear_backward, (x, normal((5, 7)), normal(7)), sizes)
    yield Case("linear", "no bias", ops.linear_forward, ops.linear_backward, (x, normal((5, 7))), sizes)
    tokens = rng.integers(0, 5, (3, 4))
    yield Case("embedding", "", ops.embedding_forward, ops.embedding_backward, (tokens, normal((6, 2))), {"V": 6})
    for name, mask in masks(rng, T, S).items():
        scores = normal((B, H, T, S))
        yield Case("softmax", name, ops.softmax_forward, ops.softmax_backward, (scores, mask), {"S": S})
    yield Case("silu", "", ops.silu_forward, ops.silu_backward, (x,), dims)
    yield Case("gelu", "", ops.gelu_forward, ops.gelu_backward, (x,), dims)
    yield Case("rmsnorm", "", ops.rmsnorm_forward, ops.rmsnorm_backward, (x, normal(5)), dims)
    yield Case("layernorm", "", ops.layernorm_forward, ops.layernorm_backward, (x, normal(5), normal(5)), dims)
    weights = (normal((5, 7)), normal((5, 7)), normal((7, 5)))
    yield Case("swiglu", "", ops.swiglu_forward, ops.swiglu_backward, (x, *weights), {"C": 5, "F": 7})
    targets, keep = rng.integers(0, 5, (2, 3)), np.array([[True, False, True], [True, True, False]])
    pair = losses.cross_entropy_forward, losses.cross_entropy_backward
    yield Case("cross_entropy", "", *pair, (x, targets), {"N": 6})
    yield Case("cross_entropy", "some dropped", *pair, (x, targets, keep), {"kept": 4})


def head_cases(rng):
    normal = rng.standard_normal

    def dual():
        return [normal((B, H, n, D)) for n in (T, S, T, S)] + [normal((B, H, S, E))]

    for name, mask in masks(rng, T, S).items():
        pair = softmax.softmax_map_forward, softmax.softmax_map_backward
        q, k, v = normal((B, H, T, D)), normal((B, H, S, D)), normal((B, H, S, E))
        yield Case("softmax_map", name, *pair, (q, k, mask), {"d": D})
        pair = softmax.softmax_head_forward, softmax.softmax_head_backward
        yield Case("softmax_head", name, *pair, (q, k, v, mask), {"d": D})
        pair = differential.differential_head_forward, differential.differential_head_backward
        yield Case("differential_head", name, *pair, (*dual(), normal((H, 1)), mask), {"d": D})
        pair = gated.gated_head_forward, gated.gated_head_backward
        yield Case("gated_head", name, *pair, (*dual(), normal((B, H, T)), mask), {"d": D})


SWITCHES = {
    "": {},
    "no head norm": {"head_norm": False},
    "lambda_init 0.5": {"lambda_init": 0.5},
    "gate per head": {"gate": "head"},
}


def attention_cases(rng):
    forward, backward = multihead.attention_forward, multihead.attention_backward
    x = rng.standard_normal((B, T, 12))
    for kind in KINDS:
        cfg = AttentionConfig(kind=kind, width=12, n_heads=3)
        for name, mask in masks(rng, T, T).items():
            p = random_params(multihead.init_attention(cfg, rng, "float64"), rng)
            yield Case(f"attention {kind}", name, forward, backward, (x, p, cfg, mask, 1), cfg.sizes)
        for name, switch in SWITCHES.items():
            if name and switched(cfg, switch):
                switched_cfg = replace(cfg, **switch)
                p = random_params(multihead.init_attention(switched_cfg, rng, "float64"), rng)
                yield Case(f"attention {kind}", name, forward, backward, (x, p, switched_cfg, None, 1), cfg.sizes)


def switched(cfg, switch):
    """Does this kind have the switch?"""
    return cfg.kind == "dgsa" or ("gate" not in switch and cfg.has_head_norm)


def part_cases(rng):
    normal = rng.standard_normal
    yield Case(
        "head_norm",
        "",
        multihead.head_norm_forward,
        multihead.head_norm_backward,
        (normal((B, H, T, E)), normal(E), 0.8),
        {"e": E},
    )
    weights = normal((5, 7)), normal((7, 5))
    yield Case("gelu_mlp", "", model.gelu_mlp_forward, model.gelu_mlp_backward, (normal((2, 3, 5)), *weights), {})
    keep = np.array([[True, True, False, True], [True, False, False, False]])
    yield Case("mean_pool", "", model.mean_pool_forward, model.mean_pool_backward, (normal((B, T, 5)),), {"T": T})
    yield Case(
        "mean_pool",
        "some dropped",
        model.mean_pool_forward,
        model.mean_pool_backward,
        (normal((B, T, 5)), keep),
        {"T": T},
    )
    cfg = model.ModelConfig(width=8, n_heads=2, depth=1, ffn_width=5, image_size=6, patch_size=3, channels=5)
    p = random_params(model.init_model(cfg, rng, "float64"), rng)["embed"]
    args = (rng.random((B, 6, 6, 5)), p, cfg)
    yield Case("patch_embed", "", model.patch_embed_forward, model.patch_embed_backward, args, cfg.sizes, ("images",))
    p = random_params(model.init_model(cfg, rng, "float64"), rng)["blocks"][0]
    yield Case("block", "dgsa", model.block_forward, model.block_backward, (normal((B, 3, 8)), p, cfg), cfg.sizes)


def model_cases(rng):
    """Whole models, over all of their parameters."""
    images = rng.random((B, 6, 6))
    keep = np.array([[True, True, False, True], [True, False, False, True]])
    for kind in KINDS:
        for ffn, kept in (("swiglu", None), ("gelu", keep)):
            cfg = model.ModelConfig(
                kind=kind, ffn=ffn, width=8, n_heads=2, depth=2, ffn_width=5, n_out=3, image_size=6, patch_size=3
            )
            params = random_params(model.init_model(cfg, rng, "float64"), rng)
            variant = f"{ffn}, " + ("none" if kept is None else "padding")
            args = (images, params, cfg, kept)
            yield Case(
                f"model {kind}",
                variant,
                model.model_forward,
                model.model_backward,
                args,
                cfg.sizes,
                ("inputs",),
                None if ffn == "swiglu" else 8,
            )


def random_params(p, rng):
    """No parameter left at 0 or 1: a gate that starts at 0 would hide half of its gradient."""
    return tree_map(lambda a: a + 0.3 * rng.standard_normal(a.shape), p)
