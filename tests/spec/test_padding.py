"""What is dropped or masked away may hold anything, and positions count what is kept."""

import math
from functools import partial

import numpy as np
import pytest
from support.compare import bits, error, rel, same
from support.planting import assert_caught
from support.problems import (
    LOUD,
    ODD,
    B,
    head_arguments,
    heads,
    kinds,
    rotary_or_not,
    run_head,
    token_model,
    whole_model,
)

from dgsa_np import layers, model
from dgsa_np.attention import gated, masks, padding_mask, softmax
from dgsa_np.data import Split
from dgsa_np.gradcheck import same_bits
from dgsa_np.lab.cases import random_params
from dgsa_np.layers import mean_pool_forward
from dgsa_np.model import ModelConfig, init_model, loss_and_grads, model_backward, model_forward
from dgsa_np.params import flatten
from dgsa_np.train import evaluate


def test_a_pooled_mean_does_not_look_at_dropped_tokens():
    x, keep = np.random.default_rng(0).standard_normal((2, 3, 4)), np.array([[True, False, True], [True, True, False]])
    expected, _ = mean_pool_forward(x, keep)
    x[~keep] = np.nan
    assert same_bits(mean_pool_forward(x, keep)[0], expected)


@heads
@pytest.mark.parametrize("odd", ODD)
def test_a_key_that_no_query_sees_reaches_nothing(kind, pair, odd):
    """Neither a key or value nobody sees, nor a query that sees nobody:
    outputs and gradients keep their bits.
    """
    args, names = head_arguments(kind)
    keep = np.array([[True, True, False, True], [False] * 4])  # nobody sees anything in the second entry
    spoilt = [a.copy() for a in args]
    for a, name in zip(spoilt, names, strict=False):
        a[1] = odd
        if name[0] in "kv":
            a[0, :, 2] = odd
    with np.errstate(**LOUD):
        got = run_head(pair, spoilt, padding_mask(keep))
    assert same(got, run_head(pair, args, padding_mask(keep))) and got[0][0].any() and not got[0][1].any()


@kinds
@pytest.mark.parametrize("task", ["vision", "text", "lm"])
@pytest.mark.parametrize("odd", ODD)
def test_a_dropped_token_may_hold_anything(kind, task, odd):
    """A patch, a row of the table, a position:
    loss and gradients have the bits that any number would give.
    """
    cfg, params, inputs, targets = whole_model(kind, task)
    keep = np.random.default_rng(1).random((2, 9 if task == "vision" else 6)) < 0.6
    keep[:, 1], keep[:, -1] = True, False
    if task == "vision":
        x = np.where(keep.reshape(2, 3, 3).repeat(2, 1).repeat(2, 2), inputs, odd)
        others = x, params
    else:
        inputs = np.where(keep, inputs, 9)
        embed = {name: a.copy() for name, a in params["embed"].items()}
        embed["tokens"][9] = odd
        embed["positions"][6:] = odd
        others = inputs, params | {"embed": embed}
    with np.errstate(**LOUD):
        loss, grads = loss_and_grads(others[1], others[0], targets, cfg, keep)
    right, expected = loss_and_grads(params, inputs, targets, cfg, keep)
    assert np.isfinite(loss) and same([loss, *flatten(grads).values()], [right, *flatten(expected).values()])


def test_a_batch_that_is_evaluated_counts_its_kept_targets_alone(monkeypatch):
    cfg, params, tokens, targets = whole_model("dgsa", "lm")
    tokens, targets = tokens.repeat(3, axis=0), targets.repeat(3, axis=0)
    keep = np.arange(6) < np.array([6, 3, 0, 0, 1, 2])[:, None]
    whole = evaluate(params, Split(tokens, targets, keep), cfg)
    monkeypatch.setattr("dgsa_np.train.EVALUATION", 2 * cfg.max_len)  # two rows at a time: the second pair has none
    parts = evaluate(params, Split(tokens, targets, keep), cfg)
    assert parts == pytest.approx(whole, rel=1e-12)
    with pytest.raises(ValueError, match="keep of the split is all False"):
        evaluate(params, Split(tokens, targets, keep & False), cfg)


# ---------------------------------------------------------------------------- positions follow keep

PADDINGS = {
    "on the left": [[0, 0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1, 1]],
    "holes": [[1, 0, 1, 0, 0, 1, 1], [0, 1, 1, 1, 0, 1, 1]],
    "on the right": [[1, 1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 0, 0]],
}


@kinds
@pytest.mark.parametrize("task", ["text", "lm"])
@pytest.mark.parametrize("rotary", [False, True])
@pytest.mark.parametrize("padding", PADDINGS)
def test_a_text_with_padding_is_the_text_alone(kind, task, rotary, padding):
    cfg, params, tokens, _ = whole_model(kind, task, T=7, rotary=rotary)
    keep = np.array(PADDINGS[padding], bool)
    logits, cache = model_forward(tokens, params, cfg, keep)
    dlogits = np.random.default_rng(1).standard_normal(logits.shape)
    if task == "lm":
        dlogits[~keep] = 0
    grads, alone = flatten(model_backward(dlogits, cache)), []
    for b, kept in enumerate(keep):
        own, own_cache = model_forward(tokens[b : b + 1, kept], params, cfg)
        rows = kept if task == "lm" else ...
        assert error(logits[b][rows], own[0]) < 1e-12
        alone.append(flatten(model_backward(dlogits[b][rows][None], own_cache)))
    for name, g in grads.items():
        assert error(g, alone[0][name] + alone[1][name]) < 1e-11, name
    assert (cache.embed.placed is None) == (padding == "on the right")  # a slice of the positions will do


@pytest.mark.parametrize("rotary", [False, True])
def test_decoding_goes_on_from_the_kept_tokens_of_the_past(rotary):
    cfg, params, tokens, _ = whole_model("dgsa", "lm", T=7, rotary=rotary)
    for padding in PADDINGS.values():
        keep, past, logits = np.array(padding, bool), None, []
        keep[:, -2:] = True
        for start, stop in ((0, 4), (4, 5), (5, 7)):
            some, past = model_forward(tokens[:, start:stop], params, cfg, keep[:, :stop], past)
            logits.append(some)
        for b, kept in enumerate(keep):
            alone, _ = model_forward(tokens[b : b + 1, kept], params, cfg)
            assert error(np.concatenate(logits, axis=1)[b, kept], alone[0]) < 1e-12
    with pytest.raises(ValueError, match="keep is None, expected that of the past and of what follows"):
        model_forward(tokens[:, :1], params, cfg, None, past)
    other = np.ones((len(tokens), past.keep.shape[1] + 1), bool)
    with pytest.raises(ValueError, match=r"keep is another one for the first \d+ tokens"):
        model_forward(tokens[:, :1], params, cfg, other, past)


@pytest.mark.parametrize("task", ["text", "vision"])
def test_dropped_tokens_leave_the_gradients_finite_without_eps_too(task):
    cfg, params, inputs, targets = whole_model("dgsa", task, eps=0.0)
    keep = np.arange(cfg.n_tokens if task == "vision" else 6) < np.array([[3], [5]])
    loss, grads = loss_and_grads(params, inputs, targets, cfg, keep)
    assert np.isfinite(loss) and all(np.isfinite(g).all() for g in flatten(grads).values())


@pytest.mark.parametrize("rotary", [False, True])
def test_a_dropped_patch_does_not_move_the_others(rotary):
    cfg, params, images, _ = whole_model("dgsa", "vision", rotary=rotary)
    keep = np.ones((2, 9), bool)
    keep[:, 2] = False
    logits, cache = model_forward(images, params, cfg, keep)
    _, whole = model_forward(images, params, cfg)
    assert same_bits(cache.blocks[0].norm1.n[:, 3:], whole.blocks[0].norm1.n[:, 3:])
    turned = [made.rotary for made in cache.blocks[0].attention.projections.values() if made.rotary]
    assert all(r.cos.shape[0] == 1 for r in turned) and bool(turned) == rotary


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


def test_dropped_tokens_change_nothing():
    """A dropped patch is seen neither by attention nor by the mean:
    its pixels do not matter, bit for bit.
    """
    cfg = ModelConfig(depth=2, patch_size=2)
    rng = np.random.default_rng(0)
    params, images = init_model(cfg, rng, "float64"), rng.random((2, 8, 8))
    keep = np.ones((2, 16), bool)
    keep[:, 0] = False
    other = images.copy()
    other[:, :2, :2] = rng.random((2, 2, 2))
    assert np.array_equal(model_forward(images, params, cfg, keep)[0], model_forward(other, params, cfg, keep)[0])
    assert not np.array_equal(model_forward(images, params, cfg)[0], model_forward(other, params, cfg)[0])


# ------------------------------------------------------------------------------------- planted bugs

HOLDS_ANYTHING = partial(test_a_dropped_token_may_hold_anything, "dgsa", odd=np.nan)
GATED, PLAIN = (
    (gated.gated_head_forward, gated.gated_head_backward),
    (softmax.softmax_head_forward, softmax.softmax_head_backward),
)
BUGS = {  # what is wrong: (the test that catches it, the change)
    "dropped tokens times 0": (
        test_a_pooled_mean_does_not_look_at_dropped_tokens,
        (layers.mean_pool_forward, "kept_only(keep, x)", "x"),
    ),
    "dropped patches times 0": (
        partial(HOLDS_ANYTHING, task="vision"),
        (
            layers.kept_patches,
            "kept_only(keep, standardised(kept_only(keep, patches(images, cfg)), cfg, keep))",
            "patches(images, cfg)",
        ),
    ),
    "rows of dropped tokens times 0": (
        partial(HOLDS_ANYTHING, task="text"),
        (layers.token_embed_forward, "np.where(keep, to_numpy(tokens), 0)", "tokens"),
    ),
    "unseen values times 0": (
        partial(test_a_key_that_no_query_sees_reaches_nothing, "dgsa", GATED, np.nan),
        (masks.seen_only, "select(seen, k) for k", "k for k"),
    ),
    "blind queries times 0": (
        partial(test_a_key_that_no_query_sees_reaches_nothing, "softmax", PLAIN, np.nan),
        (masks.seen_only, "select(sees, q) for q", "q for q"),
    ),
    "positions that count padding": (
        partial(test_a_text_with_padding_is_the_text_alone, "dgsa", "lm", True, "on the left"),
        (model._places, "keep.cumsum(axis=1) - keep", "(keep | True).cumsum(axis=1) - 1"),
    ),
}


@pytest.mark.parametrize("name", BUGS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_planted_bugs_are_caught(name):
    assert_caught(*BUGS[name])
