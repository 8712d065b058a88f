"""With its gate on inhibition alone,
gated attention is differential attention whose lambda is the gate.
"""

from dataclasses import replace

import numpy as np
import pytest
from support.compare import bits, rel
from support.problems import B, C, E, H, T, gated_arguments, kinds, layer, run_layer, seeds, weighs

from dgsa_np.attention import (
    AttentionConfig,
    attention_forward,
    attention_gate,
    attention_map,
    causal_mask,
    differential_head_forward,
    gated_head_forward,
    init_attention,
)
from dgsa_np.attention.multihead import TILED_KINDS, head_norm_forward
from dgsa_np.ops import merge_heads, sigmoid


def on_inhibition(seed, **switches):
    return layer("dgsa", seed, gate_on="inhibition", **switches)


def logits(x, p):
    """(B, H, T), by the letters of the formula."""
    z = np.einsum("btc,ch->bht", x, p["W_gate"]) if "W_gate" in p else np.zeros((B, H, T))
    return z + p["b_gate"][:, None]


@seeds
@pytest.mark.parametrize("gate", ["token", "head"])
@pytest.mark.parametrize("mask", [None, causal_mask(T)], ids=["none", "causal"])
def test_a_gate_on_inhibition_is_a_lambda_of_differential_attention(mask, gate, seed):
    x, p, cfg, _ = on_inhibition(seed, gate=gate, head_norm=False)
    y, cache = attention_forward(x, p, cfg, mask)
    g = sigmoid(logits(x, p))
    o, head = differential_head_forward(*cache.heads.values(), g, mask)
    assert rel(y, merge_heads(o) @ p["W_o"]) < 1e-13 and rel(attention_map(cache), head.A) < 1e-13
    assert rel(attention_gate(cache), g) < 1e-14 and np.array_equal(attention_gate(cache.head), attention_gate(cache))
    assert abs(attention_map(cache).sum(axis=-1) - (1 - g)).max() < 1e-14


@seeds
def test_with_the_logit_negated_it_is_the_third_reading(seed):
    x, p, cfg, _ = on_inhibition(seed)
    _, cache = attention_forward(x, p | {name: -p[name] for name in ("W_gate", "b_gate")}, cfg)
    g = sigmoid(logits(x, p))[..., None]
    assert rel(cache.head.A, cache.head.A_exc - (1 - g) * cache.head.A_inh) < 1e-13


@seeds
def test_without_eps_each_gate_on_inhibition_is_one_on_both(seed):
    """(1 - g) / g of the one is g' of the other: z = -log sigmoid(z')."""
    *both, v, z = gated_arguments(seed)
    w = np.random.default_rng(seed).standard_normal(E)
    o_both, _ = gated_head_forward(*both, v, -np.log(sigmoid(z)))
    o_inhibition, _ = differential_head_forward(*both, v, sigmoid(z))
    h_both, h_inhibition = (head_norm_forward(o, w, 0.8, eps=0)[0] for o in (o_both, o_inhibition))
    assert rel(h_both, h_inhibition) < 1e-12


@seeds
def test_that_holds_for_a_whole_layer_and_its_gradients(seed):
    x, p, cfg, dy = on_inhibition(seed, gate="head", eps=0.0)
    other = p | {"b_gate": -np.log(sigmoid(p["b_gate"]))}
    ours, theirs = run_layer(x, p, cfg, dy), run_layer(x, other, replace(cfg, gate_on="both"), dy)
    theirs["b_gate"] = -sigmoid(-p["b_gate"]) * theirs["b_gate"]  # dz / dz'
    assert rel(ours.pop("y"), theirs["y"]) < 1e-12
    assert max(rel(a, theirs[name]) for name, a in ours.items()) < 1e-10


@seeds
def test_with_shared_keys_and_no_bias_it_is_diff_v2(seed):
    """Its d is half as wide:
    the other half of each head's columns is 0, and sqrt(2) makes up for the scale.
    """
    x, p, cfg, dy = on_inhibition(seed, head_norm=False)
    p = p | {"W_k_inh": p["W_k_exc"], "b_gate": np.zeros(H)}

    def widened(W):
        columns = W.reshape(C, H, -1)
        return np.concatenate([columns, 0 * columns], axis=-1).reshape(C, C)

    v2 = {name: np.sqrt(2) * widened(p[name]) for name in ("W_q_exc", "W_q_inh")}
    v2 |= {"W_k": widened(p["W_k_exc"]), "W_v": p["W_v"], "W_o": p["W_o"], "W_lambda": p["W_gate"]}
    ours, theirs = run_layer(x, p, cfg, dy), run_layer(x, v2, AttentionConfig(kind="diff_v2", width=C, n_heads=H), dy)
    assert max(rel(ours[a], theirs[b]) for a, b in {"y": "y", "dx": "dx", "W_gate": "W_lambda"}.items()) < 1e-12


@pytest.mark.parametrize(("gate_on", "bias", "lam"), [
    ("both", 1.0, 0.368), ("both", 0.223, 0.8), ("inhibition", 1.0, 0.731), ("inhibition", -0.541, 0.368),
    ("inhibition", 1.386, 0.8),
])  # fmt: skip
def test_the_ratio_of_the_maps_starts_where_the_decisions_say(gate_on, bias, lam):
    cfg = AttentionConfig(width=C, n_heads=H, gate_on=gate_on, gate_bias=bias)
    x = np.random.default_rng(0).standard_normal((B, T, C))
    _, cache = attention_forward(x, init_attention(cfg, np.random.default_rng(0), "float64"), cfg, causal_mask(T))
    g = attention_gate(cache)
    assert abs(((1 - g) / g if gate_on == "both" else g) - lam).max() < 5e-4
    first = attention_map(cache)[:, :, 0, 0]  # of token 0, which sees itself alone
    assert abs(first - ((2 * g - 1) if gate_on == "both" else 1 - g)[:, :, 0]).max() < 1e-15


@kinds
def test_a_kind_without_that_gate_ignores_where_it_acts(kind):
    x, p, cfg, dy = layer(kind, 0)
    other = replace(cfg, gate_on="inhibition")
    same = bits(run_layer(x, p, cfg, dy)) == bits(run_layer(x, p, other, dy))
    assert same == (kind != "dgsa") == (cfg.mechanism == other.mechanism)
    p, other = (init_attention(c, np.random.default_rng(0)) for c in (cfg, other))
    assert list(p) == list(other) and bits(p) == bits(other)


@kinds
def test_a_gate_is_found_where_there_is_one(kind):
    x, p, cfg, _ = layer(kind, 0)
    for impl in ("plain", "tiled") if kind in TILED_KINDS else ("plain",):
        _, cache = attention_forward(x, p, replace(cfg, impl=impl))
        if weighs(cfg.mechanism) and cfg.mechanism.control.axes:  # one lambda for all is no gate
            gate = attention_gate(cache)
            assert gate.shape == (B, H, T) and gate.min() > 0 and gate.max() < 1
        else:
            with pytest.raises(TypeError, match="attention_gate: cache is AttentionCache, expected that of"):
                attention_gate(cache)
