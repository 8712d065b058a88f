"""What is true of twicing, of diff_v2 and of the output gate, each alone."""

from dataclasses import replace

import numpy as np
import pytest
from support.compare import rel
from support.problems import B, C, D, E, H, S, T, layer, mask_for, normals, over_masks, run_layer, seeds

from dgsa_np.attention import (
    attention_map,
    causal_mask,
    differential_head_backward,
    differential_head_forward,
    differential_v2_head_backward,
    differential_v2_head_forward,
    init_attention,
    output_gate_head_backward,
    output_gate_head_forward,
    padding_mask,
    softmax_head_backward,
    softmax_head_forward,
    twicing_head_backward,
    twicing_head_forward,
)
from dgsa_np.ops import sigmoid
from dgsa_np.shapes import ShapeError


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
    """A^2 goes from a query over a key to a key of that key.
    Causal and padding masks hold for both steps.
    """
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
    with pytest.raises(ShapeError, match=r"twicing_head_forward: k is .* T comes from q"):
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
    ours, theirs = run_layer(x, p, cfg, dy), run_layer(x, softmax, replace(cfg, kind="softmax"), dy)
    assert not ours.pop("W_gate").any()
    assert all(np.array_equal(a, theirs[name]) for name, a in ours.items())


@seeds
def test_w_gate_of_zero_halves_softmax_attention(seed):
    """Where both kinds with a token gate start: every gate 1/2."""
    x, p, cfg, dy = layer("output_gate", seed)
    p = p | {"W_gate": np.zeros((C, H))}
    softmax = {name: a for name, a in p.items() if name != "W_gate"}
    y, expected = run_layer(x, p, cfg, dy)["y"], run_layer(x, softmax, replace(cfg, kind="softmax"), dy)["y"]
    assert rel(y, 0.5 * expected) < 1e-15
    for kind, name in (("output_gate", "W_gate"), ("diff_v2", "W_lambda")):
        assert not init_attention(replace(cfg, kind=kind), np.random.default_rng(seed))[name].any()
