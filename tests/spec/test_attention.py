"""What any attention must do: permutations, causality, batches, layouts, linearity, over several
seeds in float64.

Where a test says "the same bits" it compares bytes; elsewhere the tolerance stands in the test.
"""

from functools import partial

import numpy as np
import pytest
from support.compare import bits, rel
from support.planting import assert_caught
from support.problems import B, H, T, kinds, layer, mask_for, over_masks, run_layer, seeds

from dgsa_np.attention import attention_backward, attention_forward, attention_map, causal_mask, masks
from dgsa_np.model import ModelConfig, init_model, loss_and_grads
from dgsa_np.ops import merge_heads
from dgsa_np.params import flatten, tree_map


@seeds
@kinds
def test_permuting_the_tokens_permutes_the_output_and_its_gradient(kind, seed):
    x, p, cfg, dy = layer(kind, seed)
    order = np.random.default_rng(seed).permutation(T)[::-1]
    r, permuted = run_layer(x, p, cfg, dy), run_layer(x[:, order], p, cfg, dy[:, order])
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
    dx = run_layer(x, p, cfg, dy, causal_mask(5))["dx"]
    assert not dx[:, t:].any() and dx[:, :t].all()


@seeds
@kinds
def test_a_batch_is_its_entries_one_by_one(kind, seed):
    x, p, cfg, dy = layer(kind, seed)
    whole, parts = run_layer(x, p, cfg, dy), [run_layer(x[i : i + 1], p, cfg, dy[i : i + 1]) for i in range(B)]
    for name in ("y", "dx"):
        assert rel(np.concatenate([part[name] for part in parts]), whole[name]) < 1e-13
    assert max(rel(sum(part[name] for part in parts), whole[name]) for name in p) < 1e-13


@kinds
def test_calls_that_interleave_give_the_same_bits_as_calls_in_turn(kind):
    a, b = layer(kind, 0), layer(kind, 1)
    expected = bits(run_layer(*a)), bits(run_layer(*b))
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
    expected, found = run_layer(x, p, cfg, dy, mask), run_layer(*inputs)
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
    results = run_layer(x, p, cfg, dy)
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
    a, b, both = run_layer(x, p, cfg, dy), run_layer(x, p, cfg, other), run_layer(x, p, cfg, 2 * dy - 3 * other)
    for name in ("dx", *p):
        assert rel(both[name], 2 * a[name] - 3 * b[name]) < 1e-12, name
    assert not any(g.any() for name, g in run_layer(x, p, cfg, 0 * dy).items() if name != "y")


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


# ------------------------------------------------------------------------------------- planted bugs

BUGS = {  # what is wrong: (the test that catches it, the change)
    "a later token is seen": (
        partial(test_under_a_causal_mask_later_inputs_change_nothing, "dgsa", 0, 2),
        (masks.causal_mask, "<= S - T", "<= S - T + 1"),
    ),
}


@pytest.mark.parametrize("name", BUGS)
def test_planted_bugs_are_caught(name):
    assert_caught(*BUGS[name])
