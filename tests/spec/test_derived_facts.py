"""The derived facts that the documents state of gated attention, over several seeds in float64."""

from dataclasses import replace

import numpy as np
import pytest
from support.compare import bits, rel
from support.problems import B, C, E, H, S, T, gated_arguments, inner, kinds, layer, run_layer, seeds

from dgsa_np.attention import (
    KINDS,
    AttentionConfig,
    attention_forward,
    attention_map,
    causal_mask,
    differential_head_forward,
    gated_head_backward,
    gated_head_forward,
    init_attention,
    softmax_head_forward,
)
from dgsa_np.attention.mechanisms import MECHANISMS
from dgsa_np.attention.multihead import head_norm_forward
from dgsa_np.ops import rmsnorm_forward, sigmoid
from dgsa_np.params import count


@seeds
@pytest.mark.parametrize("mask", [None, causal_mask(T, S)], ids=["none", "causal"])
def test_fact_1_rows_sum_to_2g_minus_1_and_entries_are_bounded(seed, mask):
    _, cache = gated_head_forward(*gated_arguments(seed), mask)
    A, g = attention_map(cache), cache.gate
    assert abs(A.sum(axis=-1) - (2 * g - 1)).max() < 1e-14
    assert abs(A).sum(axis=-1).max() <= 1 + 1e-14
    assert (g[..., None] - A).min() >= 0 and (A + (1 - g)[..., None]).min() >= -1e-15
    assert (A < 0).any() and (A > 0).any()


@seeds
def test_fact_2_an_open_gate_is_softmax_attention_and_a_shut_one_minus_the_inhibition(seed):
    q_exc, k_exc, q_inh, k_inh, v, z = gated_arguments(seed)
    for level, q, k, sign in ((800.0, q_exc, k_exc, 1), (-800.0, q_inh, k_inh, -1)):
        o, cache = gated_head_forward(q_exc, k_exc, q_inh, k_inh, v, np.full_like(z, level))
        expected, softmax = softmax_head_forward(q, k, v)
        assert np.array_equal(cache.A, sign * softmax.A)
        assert rel(o, sign * expected) < 1e-15


@seeds
def test_fact_2_swapping_the_branches_and_negating_the_logit_flips_the_sign(seed):
    q_exc, k_exc, q_inh, k_inh, v, z = gated_arguments(seed)
    o, cache = gated_head_forward(q_exc, k_exc, q_inh, k_inh, v, z)
    flipped, flipped_cache = gated_head_forward(q_inh, k_inh, q_exc, k_exc, v, -z)
    assert np.array_equal(flipped_cache.A, -cache.A) and np.array_equal(flipped, -o)


@seeds
def test_fact_3_without_eps_a_gate_is_a_lambda_of_exp_minus_z(seed):
    *both, v, z = gated_arguments(seed)
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
    ours, theirs = run_layer(x, p, cfg, dy), run_layer(x, shared | vectors, diff, dy)
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
    *both, v, z = gated_arguments(seed)
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
    r = run_layer(x, p, cfg, dy)
    total = inner(dy, r["y"])
    assert inner(r["W_o"], p["W_o"]) == pytest.approx(total, rel=1e-11)
    assert inner(r["W_v"], p["W_v"]) == pytest.approx(total, rel=1e-11)
    for key in (name for name in p if name.startswith("W_k")):
        dk = inner(r[key], p[key])
        dq = sum(inner(r[name], p[name]) for name in p if name.startswith(key.replace("W_k", "W_q")))
        assert abs(dk) > 1e-6 and dq == pytest.approx(dk, rel=1e-10)


@seeds
@pytest.mark.parametrize("kind", [kind for kind in KINDS if MECHANISMS[kind].lambda_init])
def test_facts_8_and_12_with_the_norm_w_o_keeps_its_identity_and_w_v_has_none(kind, seed):
    x, p, cfg, dy = layer(kind, seed, eps=0.0)
    r = run_layer(x, p, cfg, dy)
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
    *both, v, z = gated_arguments(seed, T=1, S=1)
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
    r = run_layer(x, p, cfg, dy, mask)
    assert not r["y"][1].any() and not r["dx"][1].any() and r["y"][0].all() and r["dx"][0].all()
    alone = run_layer(x[:1], p, cfg, dy[:1])
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
    *both, v, z = gated_arguments(0, T=S)
    o, cache = gated_head_forward(*both, v, np.full_like(z, np.log(g / (1 - g))), causal_mask(S))
    first = rmsnorm_forward(o, np.ones(E))[0][:, :, 0]
    expected = sign * rmsnorm_forward(v, np.ones(E), eps=0)[0][:, :, 0]
    assert abs(cache.A[:, :, 0, 0] - (2 * g - 1)).max() < 1e-14
    assert 0 < rel(first, expected) < 5e-3
