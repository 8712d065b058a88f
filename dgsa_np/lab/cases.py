"""Small arguments for every pair of the project: what `gradcheck` prints and the tests assert.

All sizes differ, so that no transposed axis goes unnoticed.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from .. import attention, losses, model, ops
from ..attention import KINDS, AttentionConfig, causal_mask, multihead, padding_mask
from ..attention.mechanisms import pair
from ..params import tree_map


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
    for cases in (op_cases, head_cases, attention_cases, part_cases, model_cases, tiled_cases):
        yield from cases(rng)
    for cases in (model_cases, attention_cases):
        yield from cases(rng, ON_INHIBITION)


def masks(rng, T, S) -> dict:
    """Every kind of mask for scores (B, H, T, S). In "all masked" the second query of batch entry 1 sees nothing."""
    keep = np.ones((B, S), bool)
    keep[0, -2:] = keep[1, 0] = False
    none_left = rng.random((B, H, T, S)) < 0.7
    none_left[1, :, 1] = False
    return {"none": None, "causal": causal_mask(T, S), "padding": padding_mask(keep), "all masked": none_left}


def _case(module, name, variant, args, sizes, without=()):
    return Case(name, variant, *pair(module, name), args, sizes, without)


def op_cases(rng):
    normal, x, n = rng.standard_normal, rng.standard_normal((2, 3, 5)), {"n": 5}
    yield _case(ops, "linear", "", (x, normal((5, 7)), normal(7)), {"n": 5, "m": 7})
    yield _case(ops, "linear", "no bias", (x, normal((5, 7))), {"n": 5, "m": 7})
    yield _case(ops, "embedding", "", (rng.integers(0, 5, (3, 4)), normal((6, 2))), {"V": 6})
    for name, mask in masks(rng, T, S).items():
        yield _case(ops, "softmax", name, (normal((B, H, T, S)), mask), {"S": S})
    yield _case(ops, "silu", "", (x,), n)
    yield _case(ops, "gelu", "", (x,), n)
    yield _case(ops, "rmsnorm", "", (x, normal(5)), n)
    yield _case(ops, "layernorm", "", (x, normal(5), normal(5)), n)
    yield _case(ops, "rotary", "", (normal((2, 3, 4, 6)), np.array([0, 3, 4, 9])), {"d": 6}, ("positions",))
    yield _case(ops, "swiglu", "", (x, normal((5, 7)), normal((5, 7)), normal((7, 5))), {"C": 5, "F": 7})
    targets, keep = rng.integers(0, 5, (2, 3)), np.array([[True, False, True], [True, True, False]])
    yield _case(losses, "cross_entropy", "", (x, targets), {"N": 6})
    yield _case(losses, "cross_entropy", "some dropped", (x, targets, keep), {"kept": 4})


def head_cases(rng):
    normal, d = rng.standard_normal, {"d": D}
    for name, mask in masks(rng, T, S).items():
        q, k, v, z = normal((B, H, T, D)), normal((B, H, S, D)), normal((B, H, S, E)), normal((B, H, T))
        q_inh, k_inh, lam = normal((B, H, T, D)), normal((B, H, S, D)), normal((H, 1))
        yield _case(attention.softmax, "softmax_map", name, (q, k, mask), d)
        yield _case(attention.softmax, "softmax_head", name, (q, k, v, mask), d)
        yield _case(attention.differential, "differential_head", name, (q, k, q_inh, k_inh, v, lam, mask), d)
        yield _case(attention.gated, "gated_head", name, (q, k, q_inh, k_inh, v, z, mask), d)
        yield _case(attention.differential_v2, "differential_v2_head", name, (q, q_inh, k, v, z, mask), d)
        yield _case(attention.output_gate, "output_gate_head", name, (q, k, v, z, mask), d)
    for name, mask in masks(rng, T, T).items():
        args = (normal((B, H, T, D)), normal((B, H, T, D)), normal((B, H, T, E)), mask)
        yield _case(attention.twicing, "twicing_head", name, args, d)


def tiled_cases(rng):
    """The heads on tiles, with arguments like those of the plain ones."""
    for case in head_cases(rng):
        if hasattr(attention.tiled, f"tiled_{case.name}_forward"):
            yield _case(attention.tiled, f"tiled_{case.name}", case.variant, case.args, case.sizes)
        if case.name == "gated_head":
            q_exc, k_exc, q_inh, k_inh, v, z, mask = case.args
            args = [q_exc, q_inh], [k_exc, k_inh], v, [z, 2 - z], mask
            yield _case(attention.tiled, "streamed", case.variant, args, case.sizes)


SWITCHES = {
    "no head norm": {"head_norm": False},
    "lambda_init 0.5": {"lambda_init": 0.5},
    "gate per head": {"gate": "head"},
    "rotary": {"rotary": True},
}


FORMS = {kind: {"kind": kind} for kind in KINDS}
ON_INHIBITION = {"dgsa, inhibition": {"kind": "dgsa", "gate_on": "inhibition"}}


def attention_cases(rng, forms=FORMS):
    x = rng.standard_normal((B, T, 12))
    for form, settings in forms.items():
        kind = settings["kind"]
        plain = AttentionConfig(**settings, width=12, n_heads=3)
        variants = [(name, plain, mask) for name, mask in masks(rng, T, T).items()]
        known = [n for n in SWITCHES if kind == "dgsa" or n == "rotary" or (plain.has_head_norm and "gate" not in n)]
        variants += [(name, replace(plain, **SWITCHES[name]), None) for name in known]
        for name, cfg, mask in variants:
            p = random_params(multihead.init_attention(cfg, rng, "float64"), rng)
            yield Case(f"attention {form}", name, *pair(multihead, "attention"), (x, p, cfg, mask, 1), cfg.sizes)


SMALL = {"width": 8, "n_heads": 2, "depth": 2, "ffn_width": 5, "n_out": 3}
VISION = SMALL | {"image_size": 6, "patch_size": 3}
TOKENS = SMALL | {"vocab_size": 7, "max_len": 6}


def part_cases(rng):
    normal = rng.standard_normal
    yield _case(multihead, "head_norm", "", (normal((B, H, T, E)), normal(E), 0.8), {"e": E})
    yield _case(model, "gelu_mlp", "", (normal((2, 3, 5)), normal((5, 7)), normal((7, 5))), {})
    keep = np.array([[True, True, False, True], [True, False, False, False]])
    yield _case(model, "mean_pool", "", (normal((B, T, 5)),), {"T": T})
    yield _case(model, "mean_pool", "some dropped", (normal((B, T, 5)), keep), {"T": T})
    cfg = model.ModelConfig(**VISION, channels=5)
    p = random_params(model.init_model(cfg, rng, "float64"), rng)
    yield _case(model, "patch_embed", "", (rng.random((B, 6, 6, 5)), p["embed"], cfg), cfg.sizes, ("images",))
    yield _case(model, "block", "dgsa", (normal((B, 3, 8)), p["blocks"][0], cfg), cfg.sizes)
    cfg = model.ModelConfig(task="lm", **TOKENS)
    p = random_params(model.init_model(cfg, rng, "float64"), rng)["embed"]
    yield _case(model, "token_embed", "", (rng.integers(0, 5, (B, 4)), p, cfg, 1), cfg.sizes)


def model_cases(rng, forms=FORMS):
    """Whole models, over all of their parameters."""
    images, tokens = rng.random((B, 6, 6)), rng.integers(0, 6, (B, 4))
    keep = np.array([[True, True, False, True], [True, False, False, True]])
    for form, chosen in forms.items():
        for variant, settings, inputs, kept in (
            ("swiglu, none", VISION, images, None),
            ("gelu, padding", VISION | {"ffn": "gelu"}, images, keep),
            ("text, padding", TOKENS | {"task": "text"}, tokens, keep),
            ("lm, none", TOKENS | {"task": "lm"}, tokens, None),
            ("lm, padding", TOKENS | {"task": "lm", "rotary": True}, tokens, keep),
        ):
            cfg = model.ModelConfig(**chosen, **settings)
            params = random_params(model.init_model(cfg, rng, "float64"), rng)
            args, n_directions = (inputs, params, cfg, kept), None if variant == "swiglu, none" else 3
            yield Case(f"model {form}", variant, *pair(model, "model"), args, cfg.sizes, ("inputs",), n_directions)


def random_params(p, rng):
    """No parameter left at 0 or 1: a gate that starts at 0 would hide half of its gradient."""
    return tree_map(lambda a: a + 0.3 * rng.standard_normal(a.shape), p)
