"""Small arguments for every pair of the project: what `gradcheck` prints and the tests assert.

All sizes differ, so that no transposed axis goes unnoticed. The cases of a mechanism follow from
its row in the table of mechanisms: its head, attention with it, and whole models.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from .. import layers, losses, model, ops
from ..attention import KINDS, AttentionConfig, causal_mask, gated, mechanisms, multihead, padding_mask, softmax, tiled
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
FORMS = {kind: {"kind": kind} for kind in KINDS}
ON_INHIBITION = {f"{kind}, inhibition": {"kind": kind, "gate_on": "inhibition"} for kind in mechanisms.ON_INHIBITION}


def all_cases(seed=0) -> Iterator[Case]:
    """Every pair: ops, loss, heads and attention under each mask, blocks, and whole models."""
    rng = np.random.default_rng(seed)
    for cases in (op_cases, head_cases, attention_cases, part_cases, model_cases, tiled_cases):
        yield from cases(rng)
    for cases in (model_cases, attention_cases):
        yield from cases(rng, ON_INHIBITION)
    yield from project_cases(rng)


def masks(rng, T, S) -> dict:
    """Every kind of mask for scores (B, H, T, S).

    Under "all masked" the second query of batch entry 1 sees nothing.
    """
    keep = np.ones((B, S), bool)
    keep[0, -2:] = keep[1, 0] = False
    none_left = rng.random((B, H, T, S)) < 0.7
    none_left[1, :, 1] = False
    return {"none": None, "causal": causal_mask(T, S), "padding": padding_mask(keep), "all masked": none_left}


def _case(forward, backward, variant, args, sizes, without=()):
    return Case(forward.__name__.removesuffix("_forward"), variant, forward, backward, args, sizes, without)


def op_cases(rng):
    normal, x, n = rng.standard_normal, rng.standard_normal((2, 3, 5)), {"n": 5}
    positions, swiglu = np.array([0, 3, 4, 9]), ((5, 7), (5, 7), (7, 5))
    cases = [
        _case(ops.linear_forward, ops.linear_backward, "", (x, normal((5, 7)), normal(7)), {"n": 5, "m": 7}),
        _case(ops.linear_forward, ops.linear_backward, "no bias", (x, normal((5, 7))), {"n": 5, "m": 7}),
        _case(
            ops.embedding_forward, ops.embedding_backward, "", (rng.integers(0, 5, (3, 4)), normal((6, 2))), {"V": 6}
        ),
        *(
            _case(ops.softmax_forward, ops.softmax_backward, name, (normal((B, H, T, S)), mask), {"S": S})
            for name, mask in masks(rng, T, S).items()
        ),
        _case(ops.silu_forward, ops.silu_backward, "", (x,), n),
        _case(ops.gelu_forward, ops.gelu_backward, "", (x,), n),
        _case(ops.rmsnorm_forward, ops.rmsnorm_backward, "", (x, normal(5)), n),
        _case(ops.layernorm_forward, ops.layernorm_backward, "", (x, normal(5), normal(5)), n),
        _case(ops.rotary_forward, ops.rotary_backward, "", (normal((2, 3, 4, 6)), positions), {"d": 6}, ("positions",)),
        _case(ops.swiglu_forward, ops.swiglu_backward, "", (x, *map(normal, swiglu)), {"C": 5, "F": 7}),
    ]
    cross_entropy = losses.cross_entropy_forward, losses.cross_entropy_backward
    targets, keep = rng.integers(0, 5, (2, 3)), np.array([[True, False, True], [True, True, False]])
    return [
        *cases,
        _case(*cross_entropy, "", (x, targets), {"N": 6}),
        _case(*cross_entropy, "some dropped", (x, targets, keep), {"kept": 4}),
    ]


IN_ORDER = ("q", "k", "v", "B H T", "q_inh", "k_inh", "")  # the arguments of today's heads, as they are drawn


def head_cases(rng):
    """The head of each mechanism under each mask. Heads share the arguments that they both take."""
    for decodes, keys in ((True, S), (False, T)):  # what cannot decode has as many keys as queries
        rows = [row for row in mechanisms.MECHANISMS.values() if row.decodes == decodes]
        heads = [(row.head, head_arguments(row)) for row in rows]
        used = {argument for _, arguments in heads for argument in arguments}
        order = [argument for argument in dict.fromkeys([*IN_ORDER, *sorted(used)]) if argument in used]
        shapes = {argument: _shape_of(argument, keys) for argument in order}
        for name, mask in masks(rng, T, keys).items():
            drawn = {argument: rng.standard_normal(shape) for argument, shape in shapes.items()}
            if decodes:
                args = drawn["q"], drawn["k"], mask
                yield _case(softmax.softmax_map_forward, softmax.softmax_map_backward, name, args, {"d": D})
            for head, arguments in heads:
                yield _case(*head, name, (*map(drawn.get, arguments), mask), {"d": D})


def head_arguments(row) -> list:
    """Names of what a head takes; q_exc is q, and what its control makes goes by its axes."""
    made = [] if row.control is None else [row.control.axes]
    return [*(name.removesuffix("_exc") for name in row.projections), *made]


def _shape_of(argument, keys):
    """One number for all is drawn per head, since a head may be given that too."""
    known = {"q": (B, H, T, D), "k": (B, H, keys, D), "v": (B, H, keys, E), "": (H, 1)}
    sizes = {"B": B, "H": H, "T": T}
    return known.get(argument[:1]) or tuple(sizes[letter] for letter in argument.split())


def tiled_cases(rng):
    """The heads on tiles, with arguments like those of the plain ones."""
    on_tiles = {row.head.forward: row.tiled for row in mechanisms.MECHANISMS.values() if row.tiled}
    for case in head_cases(rng):
        if case.forward in on_tiles:
            yield _case(*on_tiles[case.forward], case.variant, case.args, case.sizes)
        if case.forward is gated.gated_head_forward:
            q_exc, k_exc, q_inh, k_inh, v, z, mask = case.args
            args = [q_exc, q_inh], [k_exc, k_inh], v, [z, 2 - z], mask
            yield _case(tiled.streamed_forward, tiled.streamed_backward, case.variant, args, case.sizes)


SWITCHES = {
    "no head norm": {"head_norm": False},
    "lambda_init 0.5": {"lambda_init": 0.5},
    "gate per head": {"gate": "head"},
    "rotary": {"rotary": True},
}


def attention_cases(rng, forms=FORMS):
    x = rng.standard_normal((B, T, 12))
    for form, settings in forms.items():
        plain = AttentionConfig(**settings, width=12, n_heads=3)
        variants = [(name, plain, mask) for name, mask in masks(rng, T, T).items()]
        variants += [(name, replace(plain, **SWITCHES[name]), None) for name in switches_of(plain)]
        for name, cfg, mask in variants:
            p = random_params(multihead.init_attention(cfg, rng, "float64"), rng)
            pair = multihead.attention_forward, multihead.attention_backward
            yield Case(f"attention {form}", name, *pair, (x, p, cfg, mask, 1), cfg.sizes)


def switches_of(cfg) -> list:
    """Names of the switches that change something for its kind."""
    specs = multihead.attention_specs
    has_gate = specs(cfg) != specs(replace(cfg, gate="head"))
    changes = {"no head norm": cfg.has_head_norm, "lambda_init 0.5": cfg.has_head_norm, "gate per head": has_gate}
    return [name for name in SWITCHES if changes.get(name, True)]


SMALL: dict = {"width": 8, "n_heads": 2, "depth": 2, "ffn_width": 5, "n_out": 3}
VISION = SMALL | {"image_size": 6, "patch_size": 3}
TOKENS = SMALL | {"vocab_size": 7, "max_len": 6}


def part_cases(rng):
    """What stands around attention in a model."""
    normal, mlp = rng.standard_normal, ((2, 3, 5), (5, 7), (7, 5))
    keep = np.array([[True, True, False, True], [True, False, False, False]])
    o, w_norm = normal((B, H, T, E)), normal(E)
    parts = [
        _case(multihead.head_norm_forward, multihead.head_norm_backward, "", (o, w_norm, 0.8), {"e": E}),
        _case(ops.gelu_mlp_forward, ops.gelu_mlp_backward, "", tuple(map(normal, mlp)), {}),
        _case(layers.mean_pool_forward, layers.mean_pool_backward, "", (normal((B, T, 5)),), {"T": T}),
        _case(layers.mean_pool_forward, layers.mean_pool_backward, "some dropped", (normal((B, T, 5)), keep), {"T": T}),
    ]
    vision, lm = model.ModelConfig(**VISION, channels=5), model.ModelConfig(task="lm", **TOKENS)
    p = random_params(model.init_model(vision, rng, "float64"), rng)
    images, x = (rng.random((B, 6, 6, 5)), p["embed"], vision), (normal((B, 3, 8)), p["blocks"][0], vision)
    p = random_params(model.init_model(lm, rng, "float64"), rng)
    tokens = rng.integers(0, 5, (B, 4)), p["embed"], lm, 1
    return [
        *parts,
        _case(layers.patch_embed_forward, layers.patch_embed_backward, "", images, vision.sizes, ("images",)),
        _case(model.block_forward, model.block_backward, vision.kind, x, vision.sizes),
        _case(layers.token_embed_forward, layers.token_embed_backward, "", tokens, lm.sizes),
    ]


def project_cases(rng):
    """Queries, keys or values of all heads."""
    pair, normal = (multihead.project_forward, multihead.project_backward), rng.standard_normal
    x, W, positions, past = normal((B, T, 5)), normal((5, 12)), np.array([0, 3, 4, 9]), normal((B, 3, 2, 4))
    return [
        _case(*pair, "", (x, W, 3), {"C": 5}),
        _case(*pair, "turned", (x, W, 3, positions), {"C": 5}, ("positions",)),
        _case(*pair, "after a past", (x, W, 3, positions, past), {"C": 5}, ("positions", "past")),
    ]


def model_cases(rng, forms=FORMS):
    """Whole models, over all of their parameters."""
    images, tokens = rng.random((B, 6, 6)), rng.integers(0, 6, (B, 4))
    keep = np.array([[True, True, False, True], [True, False, False, True]])
    pair = model.model_forward, model.model_backward
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
            yield Case(f"model {form}", variant, *pair, args, cfg.sizes, ("inputs",), n_directions)


def random_params(p, rng):
    """No parameter left at 0 or 1: a gate that starts at 0 would hide half of its gradient."""
    return tree_map(lambda a: a + 0.3 * rng.standard_normal(a.shape), p)
