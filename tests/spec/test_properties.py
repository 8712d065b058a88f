"""The derived facts that the documents state, and what any attention must do, over several seeds in float64.

Where a test says "the same bits" it compares bytes; elsewhere the tolerance stands in the test.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
from support.tiers import most_later

from dgsa_np.attention import (
    KINDS,
    AttentionConfig,
    attention_backward,
    attention_forward,
    attention_gate,
    attention_map,
    causal_mask,
    differential_head_backward,
    differential_head_forward,
    differential_v2_head_backward,
    differential_v2_head_forward,
    gated_head_backward,
    gated_head_forward,
    init_attention,
    mechanisms,
    output_gate_head_backward,
    output_gate_head_forward,
    padding_mask,
    softmax_head_backward,
    softmax_head_forward,
    twicing_head_backward,
    twicing_head_forward,
)
from dgsa_np.attention.mechanisms import MECHANISMS
from dgsa_np.attention.multihead import head_norm_forward
from dgsa_np.check import ShapeError
from dgsa_np.gradcheck import relative_error
from dgsa_np.lab.cases import random_params
from dgsa_np.model import ModelConfig, init_model, loss_and_grads, model_backward, model_forward
from dgsa_np.ops import merge_heads, rmsnorm_forward, rotary_backward, rotary_forward, sigmoid
from dgsa_np.params import Spec, count, flatten, tree_map

B, H, T, S, D, E, C = 2, 3, 4, 6, 5, 7, 12
seeds = pytest.mark.parametrize("seed", most_later(range(20), now=[0, 1]))
kinds = pytest.mark.parametrize("kind", KINDS)


def head_arguments(seed, T=T, S=S):
    """q_exc, k_exc, q_inh, k_inh, v, z_gate."""
    normal = np.random.default_rng(seed).standard_normal
    return [normal((B, H, n, D)) for n in (T, S, T, S)] + [normal((B, H, S, E)), 2 * normal((B, H, T))]


def layer(kind, seed, T=T, **switches):
    """x, p with no parameter left at 0 or 1, cfg, and an upstream gradient."""
    rng = np.random.default_rng(seed)
    cfg = AttentionConfig(kind=kind, width=C, n_heads=H, **switches)
    p = random_params(init_attention(cfg, rng, "float64"), rng)
    return rng.standard_normal((B, T, C)), p, cfg, rng.standard_normal((B, T, C))


def run(x, p, cfg, dy, mask=None):
    """y and every gradient under dotted names."""
    y, cache = attention_forward(x, p, cfg, mask)
    dx, grads = attention_backward(dy, cache)
    return {"y": y, "dx": dx} | flatten(grads)


def rel(a, b):
    """max |a - b| over max |b|; b must not be all but zero."""
    scale = abs(b).max()
    assert a.shape == b.shape and scale > 1e-8
    return abs(a - b).max() / scale


def bits(tree):
    return {name: a.tobytes() for name, a in flatten(tree).items()}


def inner(a, b):
    return float((a * b).sum())


# ------------------------------------------------------------------------------------------ derived facts


@seeds
@pytest.mark.parametrize("mask", [None, causal_mask(T, S)], ids=["none", "causal"])
def test_fact_1_rows_sum_to_2g_minus_1_and_entries_are_bounded(seed, mask):
    _, cache = gated_head_forward(*head_arguments(seed), mask)
    A, g = attention_map(cache), cache.gate
    assert abs(A.sum(axis=-1) - (2 * g - 1)).max() < 1e-14
    assert abs(A).sum(axis=-1).max() <= 1 + 1e-14
    assert (g[..., None] - A).min() >= 0 and (A + (1 - g)[..., None]).min() >= -1e-15
    assert (A < 0).any() and (A > 0).any()


@seeds
def test_fact_2_an_open_gate_is_softmax_attention_and_a_shut_one_minus_the_inhibition(seed):
    q_exc, k_exc, q_inh, k_inh, v, z = head_arguments(seed)
    for level, q, k, sign in ((800.0, q_exc, k_exc, 1), (-800.0, q_inh, k_inh, -1)):
        o, cache = gated_head_forward(q_exc, k_exc, q_inh, k_inh, v, np.full_like(z, level))
        expected, softmax = softmax_head_forward(q, k, v)
        assert np.array_equal(cache.A, sign * softmax.A)
        assert rel(o, sign * expected) < 1e-15


@seeds
def test_fact_2_swapping_the_branches_and_negating_the_logit_flips_the_sign(seed):
    q_exc, k_exc, q_inh, k_inh, v, z = head_arguments(seed)
    o, cache = gated_head_forward(q_exc, k_exc, q_inh, k_inh, v, z)
    flipped, flipped_cache = gated_head_forward(q_inh, k_inh, q_exc, k_exc, v, -z)
    assert np.array_equal(flipped_cache.A, -cache.A) and np.array_equal(flipped, -o)


@seeds
def test_fact_3_without_eps_a_gate_is_a_lambda_of_exp_minus_z(seed):
    *both, v, z = head_arguments(seed)
    w = np.random.default_rng(seed).standard_normal(E)
    o_gated, cache = gated_head_forward(*both, v, z)
    o_diff, _ = differential_head_forward(*both, v, np.exp(-z))
    h_gated, h_diff = (head_norm_forward(o, w, 0.8, eps=0)[0] for o in (o_gated, o_diff))
    assert rel(h_gated, h_diff) < 1e-12
    gated, _ = rmsnorm_forward(o_gated, w, 1e-3)
    assert rel(rmsnorm_forward(o_diff, w, 1e-3)[0], gated) > 1e-4
    eps = 1e-3 / cache.gate[..., None] ** 2
    assert rel(o_diff / np.sqrt((o_diff**2).mean(axis=-1, keepdims=True) + eps) * w, gated) < 1e-12


@seeds
def test_fact_3_holds_for_a_whole_layer(seed):
    """One number per layer: b_gate = z for every head against a diff_v1 whose lambda is exp(-z)."""
    x, p, cfg, dy = layer("dgsa", seed, gate="head", eps=0.0)
    p = p | {"b_gate": np.full(H, 0.3)}
    diff = replace(cfg, kind="diff_v1", lambda_init=np.exp(-0.3))
    vectors = {f"lambda_{n}": np.zeros(C // (2 * H)) for n in ("q_exc", "k_exc", "q_inh", "k_inh")}
    shared = {name: a for name, a in p.items() if name != "b_gate"}
    ours, theirs = run(x, p, cfg, dy), run(x, shared | vectors, diff, dy)
    factor = (1 - 0.8) / (1 - diff.lambda_init)
    assert rel(ours["y"], factor * theirs["y"]) < 1e-12
    assert rel(ours["dx"], factor * theirs["dx"]) < 1e-10


@pytest.mark.parametrize(("g", "crossing"), [(0.5, 3.14), (0.6, 3.68), (0.8, 4.73)])
def test_fact_6_a_difference_of_gaussians_is_a_special_case(g, crossing):
    n, centre = 81, 40
    i = np.arange(n, dtype="float64")
    q = np.stack([np.sqrt(2) * i, np.full(n, np.sqrt(2))], axis=-1)[None, None]

    def keys(s):
        return np.stack([i / s**2, -(i**2) / (2 * s**2)], axis=-1)[None, None]

    def gaussian(s):
        G = np.exp(-((i - centre) ** 2) / (2 * s**2))
        return G / G.sum()

    z = np.full((1, 1, n), np.log(g / (1 - g)))
    _, cache = gated_head_forward(q, keys(2), q, keys(6), np.ones((1, 1, n, 1)), z)
    row = attention_map(cache)[0, 0, centre]
    assert abs(row - (g * gaussian(2) - (1 - g) * gaussian(6))).max() < 1e-13
    assert abs(row.sum() - (2 * g - 1)) < 1e-14
    x0 = np.sqrt(2 * np.log(g * 6 / ((1 - g) * 2)) / (2**-2 - 6**-2))
    assert abs(x0 - crossing) < 0.005
    assert (row[abs(i - centre) < x0] > 0).all() and (row[abs(i - centre) > x0] < 0).all()


@seeds
def test_fact_7_what_is_common_to_all_values_comes_out_2g_minus_1_fold(seed):
    *both, v, z = head_arguments(seed)
    c = np.random.default_rng(seed + 100).standard_normal((B, H, 1, E))
    o, cache = gated_head_forward(*both, v, z)
    shifted, _ = gated_head_forward(*both, v + c, z)
    assert rel(shifted - o, (2 * cache.gate - 1)[..., None] * c) < 1e-13
    balanced, _ = gated_head_forward(*both, v, 0 * z)
    assert rel(gated_head_forward(*both, v + 100 * c, 0 * z)[0], balanced) < 1e-12


@seeds
@kinds
def test_fact_8_euler_identities(kind, seed):
    x, p, cfg, dy = layer(kind, seed, head_norm=False)
    r = run(x, p, cfg, dy)
    total = inner(dy, r["y"])
    assert inner(r["W_o"], p["W_o"]) == pytest.approx(total, rel=1e-11)
    assert inner(r["W_v"], p["W_v"]) == pytest.approx(total, rel=1e-11)
    for key in (name for name in p if name.startswith("W_k")):
        dk = inner(r[key], p[key])
        dq = sum(inner(r[name], p[name]) for name in p if name.startswith(key.replace("W_k", "W_q")))
        assert abs(dk) > 1e-6 and dq == pytest.approx(dk, rel=1e-10)


@seeds
@pytest.mark.parametrize("kind", ["dgsa", "diff_v1"])
def test_facts_8_and_12_with_the_norm_w_o_keeps_its_identity_and_w_v_has_none(kind, seed):
    x, p, cfg, dy = layer(kind, seed, eps=0.0)
    r = run(x, p, cfg, dy)
    assert inner(r["W_o"], p["W_o"]) == pytest.approx(inner(dy, r["y"]), rel=1e-11)
    assert abs(inner(r["W_v"], p["W_v"])) < 1e-11 * np.linalg.norm(r["W_v"]) * np.linalg.norm(p["W_v"])


@seeds
@kinds
def test_fact_8_queries_times_4_and_keys_over_4_give_the_same_bits(kind, seed):
    x, p, cfg, _ = layer(kind, seed)
    scales = {"W_q": 4.0, "W_k": 0.25}
    scaled = {name: a * scales.get(name[:3], 1.0) for name, a in p.items()}
    assert bits(scaled) != bits(p)
    assert attention_forward(x, scaled, cfg)[0].tobytes() == attention_forward(x, p, cfg)[0].tobytes()


@seeds
def test_fact_10_a_single_token_has_the_map_2g_minus_1_and_moves_no_query(seed):
    *both, v, z = head_arguments(seed, T=1, S=1)
    o, cache = gated_head_forward(*both, v, z)
    assert abs(cache.A[..., 0] - (2 * sigmoid(z) - 1)).max() < 1e-15
    dq_exc, dk_exc, dq_inh, dk_inh, dv, dz = gated_head_backward(np.ones_like(o), cache)
    assert not any(a.any() for a in (dq_exc, dk_exc, dq_inh, dk_inh)) and dv.all() and dz.all()


@seeds
@kinds
def test_fact_10_a_row_without_keys_is_zero_and_passes_no_gradient(kind, seed):
    x, p, cfg, dy = layer(kind, seed)
    mask = np.ones((B, 1, T, T), bool)
    mask[1] = False
    r = run(x, p, cfg, dy, mask)
    assert not r["y"][1].any() and not r["dx"][1].any() and r["y"][0].all() and r["dx"][0].all()
    alone = run(x[:1], p, cfg, dy[:1])
    assert max(rel(r[name], alone[name]) for name in p) < 1e-13


@pytest.mark.parametrize(("kind", "switches", "formula"), [
    ("softmax", {}, lambda C, H, d: 4 * C**2),
    ("dgsa", {}, lambda C, H, d: 4 * C**2 + (C * H + H) + 2 * d),
    ("dgsa", {"head_norm": False}, lambda C, H, d: 4 * C**2 + C * H + H),
    ("dgsa", {"gate": "head"}, lambda C, H, d: 4 * C**2 + H + 2 * d),
    ("diff_v1", {}, lambda C, H, d: 4 * C**2 + 4 * d + 2 * d),
    ("diff_v1", {"head_norm": False}, lambda C, H, d: 4 * C**2 + 4 * d),
    ("diff_v2", {}, lambda C, H, d: 5 * C**2 + C * H),
    ("output_gate", {}, lambda C, H, d: 4 * C**2 + C * H),
    ("twicing", {}, lambda C, H, d: 4 * C**2),
])  # fmt: skip
@pytest.mark.parametrize(("C", "H"), [(12, 3), (64, 4), (40, 5)])
def test_fact_11_the_number_of_parameters(kind, switches, formula, C, H):
    cfg = AttentionConfig(kind=kind, width=C, n_heads=H, **switches)
    d = C // (2 * H) if kind in ("dgsa", "diff_v1") else C // H
    assert cfg.sizes["d"] == d
    assert count(init_attention(cfg, np.random.default_rng(0))) == formula(C, H, d)


@pytest.mark.parametrize(("g", "sign"), [(0.45, -1), (0.55, 1)])
def test_fact_12_where_the_branches_coincide_the_normalised_output_is_a_step_in_g(g, sign):
    *both, v, z = head_arguments(0, T=S)
    o, cache = gated_head_forward(*both, v, np.full_like(z, np.log(g / (1 - g))), causal_mask(S))
    first = rmsnorm_forward(o, np.ones(E))[0][:, :, 0]
    expected = sign * rmsnorm_forward(v, np.ones(E), eps=0)[0][:, :, 0]
    assert abs(cache.A[:, :, 0, 0] - (2 * g - 1)).max() < 1e-14
    assert 0 < rel(first, expected) < 5e-3


# --------------------------------------------------------------------------- what any attention must do


@seeds
@kinds
def test_permuting_the_tokens_permutes_the_output_and_its_gradient(kind, seed):
    x, p, cfg, dy = layer(kind, seed)
    order = np.random.default_rng(seed).permutation(T)[::-1]
    r, permuted = run(x, p, cfg, dy), run(x[:, order], p, cfg, dy[:, order])
    assert rel(permuted["y"], r["y"][:, order]) < 1e-13 and rel(permuted["dx"], r["dx"][:, order]) < 1e-12
    assert max(rel(permuted[name], r[name]) for name in p) < 1e-12


@seeds
@kinds
@pytest.mark.parametrize("t", [1, 3])
def test_under_a_causal_mask_later_inputs_change_nothing(kind, seed, t):
    x, p, cfg, dy = layer(kind, seed, T=5)
    changed = x.copy()
    changed[:, t:] = 1e3 * np.random.default_rng(seed).standard_normal(changed[:, t:].shape)
    y, other = (attention_forward(inputs, p, cfg, causal_mask(5))[0] for inputs in (x, changed))
    assert y[:, :t].tobytes() == other[:, :t].tobytes() and (y[:, t:] != other[:, t:]).all()
    dy[:, t:] = 0
    dx = run(x, p, cfg, dy, causal_mask(5))["dx"]
    assert not dx[:, t:].any() and dx[:, :t].all()


@seeds
@kinds
def test_a_batch_is_its_entries_one_by_one(kind, seed):
    x, p, cfg, dy = layer(kind, seed)
    whole, parts = run(x, p, cfg, dy), [run(x[i : i + 1], p, cfg, dy[i : i + 1]) for i in range(B)]
    for name in ("y", "dx"):
        assert rel(np.concatenate([part[name] for part in parts]), whole[name]) < 1e-13
    assert max(rel(sum(part[name] for part in parts), whole[name]) for name in p) < 1e-13


@kinds
def test_calls_that_interleave_give_the_same_bits_as_calls_in_turn(kind):
    a, b = layer(kind, 0), layer(kind, 1)
    expected = bits(run(*a)), bits(run(*b))
    (ya, cache_a), (yb, cache_b) = attention_forward(*a[:3]), attention_forward(*b[:3])
    for _ in range(2):  # and backward twice
        (dxa, ga), (dxb, gb) = attention_backward(a[3], cache_a), attention_backward(b[3], cache_b)
        assert bits({"y": ya, "dx": dxa} | ga) == expected[0]
        assert bits({"y": yb, "dx": dxb} | gb) == expected[1]


def read_only(a):
    a = a.copy()
    a.setflags(write=False)
    return a


def strided(a):
    wide = np.full((*a.shape[:-1], 2 * a.shape[-1]), np.nan)
    wide[..., ::2] = a
    return wide[..., ::2]


LAYOUTS = {
    "read-only": read_only,
    "strided": strided,
    "Fortran-ordered": np.asfortranarray,
    "negative strides": lambda a: np.flip(np.flip(a).copy()),
}


@kinds
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_of_the_inputs_does_not_matter(kind, layout):
    x, p, cfg, dy = layer(kind, 0)
    mask = np.random.default_rng(0).random((B, H, T, T)) < 0.8
    change = LAYOUTS[layout]
    other_mask = np.asfortranarray(mask)
    inputs = [change(x), tree_map(change, p), cfg, change(dy), other_mask]
    before = bits({"x": inputs[0], "p": inputs[1], "dy": inputs[3]})
    expected, found = run(x, p, cfg, dy, mask), run(*inputs)
    assert max(rel(found[name], a) for name, a in expected.items()) < 1e-13
    assert bits({"x": inputs[0], "p": inputs[1], "dy": inputs[3]}) == before


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_of_images_and_parameters_does_not_matter_to_a_model(layout):
    cfg = ModelConfig(width=8, n_heads=2, depth=1, n_out=3)
    rng, change = np.random.default_rng(0), LAYOUTS[layout]
    params, images = init_model(cfg, rng, "float64"), rng.random((3, 8, 8))
    labels, other_labels = np.array([0, 2, 1]), np.array([1, 2, 0])[::-1]
    loss, grads = loss_and_grads(params, images, labels, cfg)
    other_loss, other_grads = loss_and_grads(tree_map(change, params), change(images), other_labels, cfg)
    other_grads = flatten(other_grads)
    assert float(other_loss) == pytest.approx(float(loss), rel=1e-14)
    assert max(rel(other_grads[name], a) for name, a in flatten(grads).items()) < 1e-12


@kinds
@pytest.mark.parametrize("switches", [{}, {"head_norm": False}, {"gate": "head"}, {"rotary": True}], ids=str)
def test_outputs_and_gradients_share_no_memory_with_inputs(kind, switches):
    x, p, cfg, dy = layer(kind, 0, **switches)
    owned = [x, dy, *p.values()]
    results = run(x, p, cfg, dy)
    for name, a in results.items():
        assert not any(np.shares_memory(a, own) for own in owned), name
        assert a.flags.writeable, name
    arrays = list(results.values())
    assert not any(np.shares_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i])


@seeds
@kinds
def test_backward_is_linear_in_the_upstream_gradient(kind, seed):
    x, p, cfg, dy = layer(kind, seed)
    other = np.random.default_rng(seed + 50).standard_normal(dy.shape)
    a, b, both = run(x, p, cfg, dy), run(x, p, cfg, other), run(x, p, cfg, 2 * dy - 3 * other)
    for name in ("dx", *p):
        assert rel(both[name], 2 * a[name] - 3 * b[name]) < 1e-12, name
    assert not any(g.any() for name, g in run(x, p, cfg, 0 * dy).items() if name != "y")


@kinds
def test_tokens_that_are_not_kept_change_nothing_in_a_model(kind):
    cfg, rng = ModelConfig(kind=kind, width=8, n_heads=2, depth=2, n_out=3, patch_size=2), np.random.default_rng(0)
    params, images = random_params(init_model(cfg, rng, "float64"), rng), rng.random((2, 8, 8))
    keep = np.ones((2, 16), bool)
    keep[0, 0] = keep[1, -1] = False  # the patches in two corners
    changed = images.copy()
    changed[0, :2, :2] += 5
    changed[1, -2:, -2:] -= 5
    logits, other = (model_forward(inputs, params, cfg, keep)[0] for inputs in (images, changed))
    assert logits.tobytes() == other.tobytes()
    assert rel(model_forward(changed, params, cfg)[0], logits) > 1e-3


# ------------------------------------------------------------------------- the gate on inhibition alone


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
    *both, v, z = head_arguments(seed)
    w = np.random.default_rng(seed).standard_normal(E)
    o_both, _ = gated_head_forward(*both, v, -np.log(sigmoid(z)))
    o_inhibition, _ = differential_head_forward(*both, v, sigmoid(z))
    h_both, h_inhibition = (head_norm_forward(o, w, 0.8, eps=0)[0] for o in (o_both, o_inhibition))
    assert rel(h_both, h_inhibition) < 1e-12


@seeds
def test_that_holds_for_a_whole_layer_and_its_gradients(seed):
    x, p, cfg, dy = on_inhibition(seed, gate="head", eps=0.0)
    other = p | {"b_gate": -np.log(sigmoid(p["b_gate"]))}
    ours, theirs = run(x, p, cfg, dy), run(x, other, replace(cfg, gate_on="both"), dy)
    theirs["b_gate"] = -sigmoid(-p["b_gate"]) * theirs["b_gate"]  # dz / dz'
    assert rel(ours.pop("y"), theirs["y"]) < 1e-12
    assert max(rel(a, theirs[name]) for name, a in ours.items()) < 1e-10


@seeds
def test_with_shared_keys_and_no_bias_it_is_diff_v2(seed):
    """Its d is half as wide: the other half of each head's columns is 0, and sqrt(2) makes up for the scale."""
    x, p, cfg, dy = on_inhibition(seed, head_norm=False)
    p = p | {"W_k_inh": p["W_k_exc"], "b_gate": np.zeros(H)}

    def widened(W):
        columns = W.reshape(C, H, -1)
        return np.concatenate([columns, 0 * columns], axis=-1).reshape(C, C)

    v2 = {name: np.sqrt(2) * widened(p[name]) for name in ("W_q_exc", "W_q_inh")}
    v2 |= {"W_k": widened(p["W_k_exc"]), "W_v": p["W_v"], "W_o": p["W_o"], "W_lambda": p["W_gate"]}
    ours, theirs = run(x, p, cfg, dy), run(x, v2, AttentionConfig(kind="diff_v2", width=C, n_heads=H), dy)
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
    same = bits(run(x, p, cfg, dy)) == bits(run(x, p, other, dy))
    assert same == (kind != "dgsa") == (cfg.mechanism == other.mechanism)
    p, other = (init_attention(c, np.random.default_rng(0)) for c in (cfg, other))
    assert list(p) == list(other) and bits(p) == bits(other)


@kinds
def test_a_gate_is_found_where_there_is_one(kind):
    x, p, cfg, _ = layer(kind, 0)
    for impl in ("plain", "tiled") if cfg.mechanism.decodes and kind != "output_gate" else ("plain",):
        _, cache = attention_forward(x, p, replace(cfg, impl=impl))
        if "W_gate" in p or "W_lambda" in p:
            gate = attention_gate(cache)
            assert gate.shape == (B, H, T) and gate.min() > 0 and gate.max() < 1
        else:
            with pytest.raises(TypeError, match="attention_gate: cache is AttentionCache, expected that of"):
                attention_gate(cache)


# ---------------------------------------------------------------- twicing, diff_v2, output_gate, rotary


def mask_for(name, T, S, seed=0):
    """A mask for (B, H, T, S); in "rows masked" the second query of one batch entry sees nothing."""
    rows = np.random.default_rng(seed).random((B, H, T, S)) < 0.7
    rows[..., 0] = True
    rows[1, :, 1] = False
    return {"none": None, "causal": causal_mask(T, S), "rows masked": rows}[name]


def normals(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape) for shape in shapes]


over_masks = pytest.mark.parametrize("mask", ["none", "causal", "rows masked"])


@seeds
@kinds
@over_masks
@pytest.mark.parametrize("rotary", [False, True])
def test_the_map_of_every_kind_is_what_was_applied_to_v(kind, seed, mask, rotary):
    x, p, cfg, _ = layer(kind, seed, head_norm=False, rotary=rotary)
    y, cache = attention_forward(x, p, cfg, mask_for(mask, T, T, seed))
    A = attention_map(cache)
    assert A.shape == (B, H, T, T)
    assert rel(y, merge_heads(A @ cache.heads["v"]) @ p["W_o"]) < 1e-13
    assert np.array_equal(A, attention_map(cache.head))


@seeds
@pytest.mark.parametrize("mask", ["none", "causal"])
def test_rows_of_the_twicing_map_sum_to_1_and_may_be_negative(seed, mask):
    q, k, v = normals(seed, (B, H, T, D), (B, H, T, D), (B, H, T, E))
    o, cache = twicing_head_forward(3 * q, k, v, mask_for(mask, T, T))
    A = cache.A_softmax
    assert abs(attention_map(cache).sum(axis=-1) - 1).max() < 1e-14
    assert np.array_equal(attention_map(cache), 2 * A - A @ A)
    assert rel(o, (2 * A - A @ A) @ v) < 1e-14 and np.array_equal(cache.missed, v - A @ v)
    assert mask == "causal" or (cache.A < 0).any()


@seeds
def test_twicing_returns_what_all_tokens_share_and_what_only_one_may_see(seed):
    q, k, c = normals(seed, (B, H, T, D), (B, H, T, D), (B, H, 1, E))
    o, _ = twicing_head_forward(q, k, np.broadcast_to(c, (B, H, T, E)).copy())
    assert rel(o, np.broadcast_to(c, o.shape)) < 1e-14
    (v,) = normals(seed + 1, (B, H, T, E))
    o, cache = twicing_head_forward(q, k, v, np.eye(T, dtype=bool)[None, None])
    assert np.array_equal(o, v) and not cache.missed.any()


@seeds
def test_twicing_keeps_to_masks_that_are_closed_under_two_steps_alone(seed):
    """A^2 goes from a query over a key to a key of that key. Causal and padding masks hold for both steps."""
    q, k, v = normals(seed, (B, H, T, D), (B, H, T, D), (B, H, T, E))
    keep = np.ones((B, T), bool)
    keep[0, 1] = keep[1, -2:] = False
    near = (abs(np.subtract.outer(range(T), range(T))) <= 1)[None, None]
    for mask in (causal_mask(T), padding_mask(keep), causal_mask(T) & padding_mask(keep)):
        A = twicing_head_forward(q, k, v, mask)[1].A
        assert not A[~np.broadcast_to(mask, A.shape)].any()
    A = twicing_head_forward(q, k, v, near)[1].A
    assert (A[..., 0, 2] < 0).all() and not A[..., 0, 3].any()


@seeds
def test_a_query_of_twicing_that_sees_nothing_has_no_output(seed):
    q, k, v, do = normals(seed, (B, H, T, D), (B, H, T, D), (B, H, T, E), (B, H, T, E))
    o, cache = twicing_head_forward(q, k, v, mask_for("rows masked", T, T, seed))
    dq, _, _ = twicing_head_backward(do, cache)
    assert not o[1, :, 1].any() and not cache.A[1, :, 1].any() and not dq[1, :, 1].any()
    assert o[0].all() and dq[0].any()


@pytest.mark.parametrize("S", [T - 1, T + 1])
def test_twicing_refuses_more_or_fewer_keys_than_queries(S):
    q, k, v = normals(0, (B, H, T, D), (B, H, S, D), (B, H, S, E))
    with pytest.raises(ShapeError, match=r"twicing_head_forward: k is .* expected T = 4 keys"):
        twicing_head_forward(q, k, v)


@seeds
@over_masks
def test_diff_v2_is_differential_attention_with_shared_keys(seed, mask):
    mask = mask_for(mask, T, S, seed)
    q_exc, q_inh, k, v, z, do = normals(
        seed, (B, H, T, D), (B, H, T, D), (B, H, S, D), (B, H, S, E), (B, H, T), (B, H, T, E)
    )
    lam = sigmoid(z)
    o, cache = differential_v2_head_forward(q_exc, q_inh, k, v, lam, mask)
    expected, shared = differential_head_forward(q_exc, k, q_inh, k.copy(), v, lam, mask)
    assert o.tobytes() == expected.tobytes() and cache.A.tobytes() == shared.A.tobytes()
    kept = 1 if mask is None else np.broadcast_to(mask, cache.A.shape).any(axis=-1)
    assert abs(cache.A.sum(axis=-1) - kept * (1 - lam)).max() < 1e-14
    dq_exc, dq_inh, dk, dv, dlam = differential_v2_head_backward(do, cache)
    twq_exc, twk_exc, twq_inh, twk_inh, twv, twlam = differential_head_backward(do, shared)
    assert dk.tobytes() == (twk_exc + twk_inh).tobytes() and rel(dk, twk_exc) > 1e-3
    for ours, theirs in ((dq_exc, twq_exc), (dq_inh, twq_inh), (dv, twv), (dlam, twlam)):
        assert ours.tobytes() == theirs.tobytes()


@seeds
@over_masks
def test_diff_v2_with_lambda_0_is_softmax_attention(seed, mask):
    mask = mask_for(mask, T, S, seed)
    q_exc, q_inh, k, v, do = normals(seed, (B, H, T, D), (B, H, T, D), (B, H, S, D), (B, H, S, E), (B, H, T, E))
    o, cache = differential_v2_head_forward(q_exc, q_inh, k, v, np.zeros((B, H, T)), mask)
    expected, softmax = softmax_head_forward(q_exc, k, v, mask)
    assert np.array_equal(o, expected) and np.array_equal(attention_map(cache), softmax.A)
    dq_exc, dq_inh, dk, dv, dlam = differential_v2_head_backward(do, cache)
    for ours, theirs in zip((dq_exc, dk, dv), softmax_head_backward(do, softmax), strict=True):
        assert np.array_equal(ours, theirs)
    assert not dq_inh.any() and dlam.any()


@seeds
@over_masks
def test_an_open_output_gate_is_softmax_attention_and_a_shut_one_is_nothing(seed, mask):
    mask = mask_for(mask, T, S, seed)
    q, k, v, do = normals(seed, (B, H, T, D), (B, H, S, D), (B, H, S, E), (B, H, T, E))
    expected, softmax = softmax_head_forward(q, k, v, mask)
    o, cache = output_gate_head_forward(q, k, v, np.ones((B, H, T)), mask)
    assert np.array_equal(o, expected) and np.array_equal(attention_map(cache), softmax.A)
    *grads, dgate = output_gate_head_backward(do, cache)
    for ours, theirs in zip(grads, softmax_head_backward(do, softmax), strict=True):
        assert np.array_equal(ours, theirs)
    assert rel(dgate, (do * expected).sum(axis=-1)) < 1e-15
    o, cache = output_gate_head_forward(q, k, v, np.zeros((B, H, T)), mask)
    *grads, dgate = output_gate_head_backward(do, cache)
    assert not o.any() and not any(g.any() for g in grads) and dgate.any()


@seeds
def test_a_huge_w_gate_opens_every_gate_of_a_layer(seed):
    x, p, cfg, dy = layer("output_gate", seed)
    x[..., 0] = 1
    p = p | {"W_gate": np.zeros((C, H))}
    p["W_gate"][0] = 1e3
    softmax = {name: a for name, a in p.items() if name != "W_gate"}
    ours, theirs = run(x, p, cfg, dy), run(x, softmax, replace(cfg, kind="softmax"), dy)
    assert not ours.pop("W_gate").any()
    assert all(np.array_equal(a, theirs[name]) for name, a in ours.items())


@seeds
def test_w_gate_of_zero_halves_softmax_attention(seed):
    """Where both kinds with a token gate start: every gate 1/2."""
    x, p, cfg, dy = layer("output_gate", seed)
    p = p | {"W_gate": np.zeros((C, H))}
    softmax = {name: a for name, a in p.items() if name != "W_gate"}
    y, expected = run(x, p, cfg, dy)["y"], run(x, softmax, replace(cfg, kind="softmax"), dy)["y"]
    assert rel(y, 0.5 * expected) < 1e-15
    for kind, name in (("output_gate", "W_gate"), ("diff_v2", "W_lambda")):
        assert not init_attention(replace(cfg, kind=kind), np.random.default_rng(seed))[name].any()


@seeds
@pytest.mark.parametrize("shift", [1, 37, 1000])
def test_rotary_products_depend_on_the_distance_alone(seed, shift):
    q, k = normals(seed, (B, H, T, 6), (B, H, S, 6))

    def scores(first):
        turned_q, _ = rotary_forward(q, np.arange(T) + first)
        turned_k, _ = rotary_forward(k, np.arange(S) + first)
        return turned_q @ turned_k.swapaxes(-1, -2)

    assert rel(scores(shift), scores(0)) < 1e-12
    assert rel(q @ k.swapaxes(-1, -2), scores(0)) > 1e-3
    one_q, one_k = (np.broadcast_to(a[:, :, :1], (B, H, S, 6)) for a in (q, k))
    table = rotary_forward(one_q, range(S))[0] @ rotary_forward(one_k, range(S))[0].swapaxes(-1, -2)
    assert rel(table[..., 1:, 1:], table[..., :-1, :-1]) < 1e-13  # the same number along each diagonal


@seeds
def test_rotary_turns_pairs_and_backward_turns_them_back(seed):
    x, dy = normals(seed, (B, H, T, 6), (B, H, T, 6))
    y, cache = rotary_forward(x, np.array([0, 2, 5, 90]))
    assert y[:, :, 0].tobytes() == x[:, :, 0].tobytes()  # position 0
    for before, after in ((x, y), (dy, rotary_backward(dy, cache))):
        pairs, turned = (a.reshape(B, H, T, 3, 2) for a in (before, after))
        assert rel((turned**2).sum(axis=-1), (pairs**2).sum(axis=-1)) < 1e-14
        assert rel(turned[:, :, 1:], pairs[:, :, 1:]) > 1e-2
    assert rel(rotary_backward(y, cache), x) < 1e-15
    assert np.array_equal(rotary_backward(dy, cache), rotary_forward(dy, -np.array([0, 2, 5, 90]))[0])


@seeds
@kinds
def test_with_rotary_the_order_of_the_tokens_matters(kind, seed):
    x, p, cfg, _ = layer(kind, seed, rotary=True)
    order = np.arange(T)[::-1]
    y, _ = attention_forward(x, p, cfg)
    assert rel(attention_forward(x[:, order], p, cfg)[0], y[:, order]) > 1e-4


# -------------------------------------------------------------------------------------- text and language


def token_model(kind, task, seed=0, T=6, **switches):
    """params, cfg and tokens (B, T) below 6 of a vocabulary of 11."""
    rng = np.random.default_rng(seed)
    sizes = {"width": 8, "n_heads": 2, "depth": 2, "ffn_width": 5, "vocab_size": 11, "max_len": 12}
    cfg = ModelConfig(kind=kind, task=task, n_out=None if task == "lm" else 3, **sizes, **switches)
    return random_params(init_model(cfg, rng, "float64"), rng), cfg, rng.integers(0, 6, (B, T))


rotary_or_not = pytest.mark.parametrize("rotary", [False, True])


@kinds
@rotary_or_not
@pytest.mark.parametrize("t", [1, 4])
def test_later_tokens_do_not_reach_earlier_logits(kind, rotary, t):
    params, cfg, tokens = token_model(kind, "lm", rotary=rotary)
    changed = tokens.copy()
    changed[:, t:] += 5
    logits, other = (model_forward(inputs, params, cfg)[0] for inputs in (tokens, changed))
    assert logits[:, :t].tobytes() == other[:, :t].tobytes()
    assert (logits[:, t:] != other[:, t:]).any(axis=-1).all()


@kinds
@rotary_or_not
@pytest.mark.parametrize("t", [1, 4])
def test_earlier_losses_pass_no_gradient_to_later_tokens(kind, rotary, t):
    params, cfg, tokens = token_model(kind, "lm", rotary=rotary)
    tokens[:, t:] = np.arange(6, 6 + tokens.shape[1] - t)  # of which no earlier token is one
    logits, cache = model_forward(tokens, params, cfg)
    dlogits = np.random.default_rng(1).standard_normal(logits.shape)
    whole = model_backward(dlogits, cache)["embed"]
    dlogits[:, t:] = 0
    early = model_backward(dlogits, cache)["embed"]
    assert not early["tokens"][6:].any() and not early["positions"][t:].any()
    assert early["tokens"][np.unique(tokens[:, :t])].all() and early["positions"][:t].all()
    assert whole["tokens"][np.unique(tokens[:, t:])].all() and whole["positions"][t:6].all()
    assert not whole["positions"][6:].any()


DECODING = [kind for kind in KINDS if MECHANISMS[kind].decodes]


def decode(tokens, params, cfg, chunks):
    """The logits of consecutive chunks, each with the cache of those before; and the last cache."""
    past, start, logits = None, 0, []
    for n in chunks:
        some, past = model_forward(tokens[:, start : start + n], params, cfg, past=past)
        logits.append(some)
        start += n
    return np.concatenate(logits, axis=1), past


@pytest.mark.parametrize("kind", DECODING)
@rotary_or_not
@pytest.mark.parametrize("chunks", [(5, 1), (1,) * 6, (2, 3, 1)], ids=str)
def test_decoding_in_chunks_is_one_forward_over_all(kind, rotary, chunks):
    for seed in range(2):
        params, cfg, tokens = token_model(kind, "lm", seed, rotary=rotary)
        whole, cache = model_forward(tokens, params, cfg)
        logits, last = decode(tokens, params, cfg, chunks)
        assert rel(logits, whole) < 1e-12
        for block, expected in zip(last.blocks, cache.blocks, strict=True):
            seen, all_seen = block.attention.heads, expected.attention.heads
            assert max(rel(seen[name], all_seen[name]) for name in seen if name[0] in "kv") < 1e-12


def test_twicing_alone_does_not_decode():
    assert set(KINDS) - set(DECODING) == {"twicing"}
    params, cfg, tokens = token_model("twicing", "lm")
    with pytest.raises(ValueError, match=r"past with x .* and kind 'twicing', expected None: its maps are square"):
        decode(tokens, params, cfg, (5, 1))


@pytest.mark.parametrize("kind", DECODING)
def test_a_backward_refuses_a_cache_with_a_past(kind):
    params, cfg, tokens = token_model(kind, "lm")
    logits, last = decode(tokens, params, cfg, (4, 2))
    with pytest.raises(ValueError, match="attention_backward: forward was given a past"):
        model_backward(np.ones_like(logits[:, -2:]), last)
    x, p, cfg, dy = layer(kind, 0)
    _, past = attention_forward(x, p, cfg)
    _, cache = attention_forward(x, p, cfg, past=past)
    with pytest.raises(ValueError, match="attention_backward: forward was given a past"):
        attention_backward(dy, cache)


@pytest.mark.parametrize("kind", DECODING)
@rotary_or_not
def test_a_layer_that_decodes_sees_its_past_and_a_causal_mask_of_both(kind, rotary):
    x, p, cfg, _ = layer(kind, 0, rotary=rotary)
    whole, _ = attention_forward(x, p, cfg, causal_mask(T))
    first, past = attention_forward(x[:, :1], p, cfg)
    rest, _ = attention_forward(x[:, 1:], p, cfg, causal_mask(T - 1, T), past=past)
    assert rel(np.concatenate([first, rest], axis=1), whole) < 1e-12


def test_a_past_is_for_language_models_and_fits_what_follows():
    params, cfg, tokens = token_model("dgsa", "text")
    _, cache = model_forward(tokens, params, cfg)
    with pytest.raises(ValueError, match="past is given with task 'text'"):
        model_forward(tokens, params, cfg, past=cache)
    params, cfg, tokens = token_model("dgsa", "lm")
    _, cache = model_forward(tokens[:, :4], params, cfg)
    with pytest.raises(ValueError, match="expected the AttentionCache of the tokens before x, by the same cfg"):
        model_forward(tokens[:1, 4:], params, cfg, past=cache)
    with pytest.raises(ValueError, match=r"keep is \(2, 2\), expected \(2, 6\)"):
        model_forward(tokens[:, 4:], params, cfg, np.ones((B, 2), bool), past=cache)


@rotary_or_not
def test_decoding_remembers_dropped_tokens_by_the_whole_keep(rotary):
    params, cfg, tokens = token_model("dgsa", "lm", rotary=rotary)
    keep = np.ones((B, 6), bool)
    keep[0, 1] = keep[1, 4] = False
    whole, _ = model_forward(tokens, params, cfg, keep)
    _, past = model_forward(tokens[:, :4], params, cfg, keep[:, :4])
    rest, _ = model_forward(tokens[:, 4:], params, cfg, keep, past)
    assert abs(rest - whole[:, 4:]).max() <= 1e-12 * abs(whole).max()


@kinds
@rotary_or_not
def test_dropped_tokens_of_a_text_change_nothing(kind, rotary):
    params, cfg, tokens = token_model(kind, "text", rotary=rotary)
    keep, targets = np.ones((B, 6), bool), np.array([2, 0])
    keep[0, 4:] = keep[1, 1] = False
    changed = np.where(keep, tokens, tokens + 5)
    assert (
        model_forward(tokens, params, cfg, keep)[0].tobytes() == model_forward(changed, params, cfg, keep)[0].tobytes()
    )
    assert rel(model_forward(changed, params, cfg)[0], model_forward(tokens, params, cfg)[0]) > 1e-4
    changed[~keep] = 9  # nowhere else
    loss, grads = loss_and_grads(params, changed, targets, cfg, keep)
    assert loss == loss_and_grads(params, tokens, targets, cfg, keep)[0]
    assert not grads["embed"]["tokens"][9].any()


@kinds
@rotary_or_not
def test_padding_a_text_changes_nothing_but_rounding(kind, rotary):
    params, cfg, tokens = token_model(kind, "text", rotary=rotary)
    targets = np.array([2, 0])
    padded = np.concatenate([tokens, np.full((B, 5), 9)], axis=1)
    keep = np.arange(11) < np.array([[6], [6]])
    assert rel(model_forward(padded, params, cfg, keep)[0], model_forward(tokens, params, cfg)[0]) < 1e-12
    _, expected = loss_and_grads(params, tokens, targets, cfg)
    _, grads = loss_and_grads(params, padded, targets, cfg, keep)
    for name, g in flatten(expected).items():
        assert rel(flatten(grads)[name], g) < 1e-11, name


@kinds
@rotary_or_not
def test_the_loss_of_a_language_model_leaves_dropped_targets_out(kind, rotary):
    params, cfg, tokens = token_model(kind, "lm", rotary=rotary)
    keep, targets = np.ones((B, 6), bool), np.random.default_rng(1).integers(0, 11, (B, 6))
    keep[0, 3:] = False
    loss, grads = loss_and_grads(params, tokens, targets, cfg, keep)
    other, other_grads = loss_and_grads(params, tokens, np.where(keep, targets, (targets + 1) % 11), cfg, keep)
    assert loss == other and bits(grads) == bits(other_grads)
    logits, _ = model_forward(tokens, params, cfg, keep)
    terms = [
        math.log(sum(math.exp(z) for z in logits[b, t].tolist())) - float(logits[b, t, targets[b, t]])
        for b, t in np.argwhere(keep)
    ]
    assert float(loss) == pytest.approx(sum(terms) / 9, rel=1e-13)
    assert float(loss_and_grads(params, tokens, targets, cfg)[0]) != pytest.approx(float(loss), rel=1e-3)


def test_a_control_with_one_matrix_goes_by_the_name_that_it_is_given():
    control, rng = mechanisms.token_gate("W_other"), np.random.default_rng(0)
    assert control.specs(None) == {"W_other": Spec("C H")}
    x, W, dgate = rng.standard_normal((2, 3, 5)), rng.standard_normal((5, 4)), rng.standard_normal((2, 4, 3))
    gate, cache = control.forward(x, {"W_other": W}, None, None)
    assert relative_error(gate, 1 / (1 + np.exp(-(x @ W).swapaxes(1, 2)))) < 1e-14
    dx, grads = control.backward(dgate, cache)
    dz = (dgate * gate * (1 - gate)).swapaxes(1, 2)
    assert relative_error(dx, dz @ W.T) < 1e-14 and list(grads) == ["W_other"]
    assert relative_error(grads["W_other"], np.einsum("btc,bth->ch", x, dz)) < 1e-14
