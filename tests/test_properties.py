"""PAPER.md's derived facts, and what any attention must do, over several seeds in float64.

Where a test says "the same bits" it compares bytes; elsewhere the tolerance stands in the test.
"""

from dataclasses import replace

import numpy as np
import pytest

from dgsa_np.attention import (
    KINDS,
    AttentionConfig,
    attention_backward,
    attention_forward,
    attention_map,
    causal_mask,
    differential_head_forward,
    gated_head_backward,
    gated_head_forward,
    init_attention,
    softmax_head_forward,
)
from dgsa_np.attention.multihead import head_norm_forward
from dgsa_np.cases import random_params
from dgsa_np.model import ModelConfig, init_model, loss_and_grads, model_forward
from dgsa_np.ops import rmsnorm_forward, sigmoid
from dgsa_np.params import count, flatten, tree_map

B, H, T, S, D, E, C = 2, 3, 4, 6, 5, 7, 12
seeds = pytest.mark.parametrize("seed", range(4))
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
    assert rel(rmsnorm_forward(o_diff, w, 1e-3 / cache.gate[..., None] ** 2)[0], gated) < 1e-12


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
    for branch in ("",) if kind == "softmax" else ("_exc", "_inh"):
        dq, dk = (inner(r[f"W_{n}{branch}"], p[f"W_{n}{branch}"]) for n in "qk")
        assert abs(dq) > 1e-6 and dq == pytest.approx(dk, rel=1e-10)


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
])  # fmt: skip
@pytest.mark.parametrize(("C", "H"), [(12, 3), (64, 4), (40, 5)])
def test_fact_11_the_number_of_parameters(kind, switches, formula, C, H):
    cfg = AttentionConfig(kind=kind, width=C, n_heads=H, **switches)
    d = C // H if kind == "softmax" else C // (2 * H)
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
@pytest.mark.parametrize("switches", [{}, {"head_norm": False}, {"gate": "head"}], ids=str)
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
