"""The heads on tiles against the plain ones:
equal under every mask, with memory that grows with T.
"""

import tracemalloc

import numpy as np
import pytest
from support.tiers import most_later

from dgsa_np import attention, model
from dgsa_np.attention import (
    AttentionConfig,
    attention_gate,
    attention_map,
    causal_mask,
    masks,
    multihead,
    padding_mask,
    tiled,
)
from dgsa_np.attention.mechanisms import MECHANISMS
from dgsa_np.gradcheck import check_pair
from dgsa_np.lab.cases import FORMS, ON_INHIBITION, random_params

B, H, T, S, D, E = 2, 3, 13, 19, 4, 5
TILED = {kind: MECHANISMS[kind].tiled for kind in multihead.TILED_KINDS}
HEADS = list(TILED)
SHAPES = {"q": (B, H, T, D), "k": (B, H, S, D), "v": (B, H, S, E)}
TILES = [(64, 256, 2**17), (4, 6, 1), (5, 3, 100), (1, 1, 1), (13, 2, 2**17)]  # queries, keys, numbers in a slab


def head_arguments(kind, rng, dtype="float64"):
    mechanism = MECHANISMS[kind]
    arrays = [rng.standard_normal(SHAPES[name[0]]) for name in mechanism.projections]
    arrays += [rng.standard_normal((B, H, T))] if mechanism.control else []
    return [a.astype(dtype) for a in arrays]


def all_masks(rng):
    keep = rng.random((B, S)) < 0.6
    keep[1] = False  # one entry of the batch has no key at all
    holes = rng.random((B, H, T, S)) < 0.5
    holes[0, 1, 3] = holes[1, :, :, 6:12] = False
    return {
        "none": None,
        "causal": causal_mask(T, S),
        "causal, from the first key": causal_mask(S)[..., :T, :],
        "padding": padding_mask(keep),
        "causal and padding": causal_mask(T, S) & padding_mask(keep),
        "holes": holes,
        "per head": rng.random((1, H, T, S)) < 0.3,
        "per row": rng.random((B, 1, T, 1)) < 0.5,
        "a window": abs(np.arange(T)[:, None] - np.arange(S)) [None, None] < 3,
        "nothing": np.zeros((1, 1, 1, 1), bool),
        "everything": np.ones((1, 1, 1, 1), bool),
    }  # fmt: skip


def largest_error(got, want):
    """Over the outputs of two pairs, relative to each array's largest entry;
    exact where that is 0.
    """
    return max(abs(a - b).max() / (abs(b).max() or 1e-300) for a, b in zip(got, want, strict=True))


def run(pair, args, mask, rng):
    o, cache = pair[0](*args, mask)
    do = rng.standard_normal(o.shape).astype(o.dtype)
    return (o, *pair[1](do, cache), cache.A)


@pytest.mark.parametrize("tiles", TILES)
@pytest.mark.parametrize("kind", most_later(HEADS, now=["dgsa", "diff_v1"]))
def test_tiled_is_plain_under_every_mask(kind, tiles, monkeypatch):
    monkeypatch.setattr(tiled, "CPU_TILES", tiles)
    for name, mask in all_masks(np.random.default_rng(1)).items():
        args = head_arguments(kind, np.random.default_rng(2))
        want = run(MECHANISMS[kind].head, args, mask, np.random.default_rng(3))
        got = run(TILED[kind], args, mask, np.random.default_rng(3))
        assert largest_error(got, want) < 1e-12, name


@pytest.mark.parametrize("kind", HEADS)
def test_the_difference_in_float32_is_that_of_rounding(kind, monkeypatch):
    monkeypatch.setattr(tiled, "CPU_TILES", (4, 6, 100))
    mask = causal_mask(T, S)
    args = head_arguments(kind, np.random.default_rng(0), "float32")
    wide = [a.astype("float64") for a in args]
    exact = run(MECHANISMS[kind].head, wide, mask, np.random.default_rng(1))
    plain = run(MECHANISMS[kind].head, args, mask, np.random.default_rng(1))
    got = run(TILED[kind], args, mask, np.random.default_rng(1))
    assert all(a.dtype == "float32" for a in got)
    assert largest_error(got, exact) < 4 * max(largest_error(plain, exact), np.finfo("float32").eps)


@pytest.mark.parametrize("kind", most_later(HEADS, now=["dgsa"]))
def test_gradients_over_several_tiles_by_complex_step(kind, monkeypatch):
    monkeypatch.setattr(tiled, "CPU_TILES", (4, 6, 100))
    pair, masks_ = TILED[kind], all_masks(np.random.default_rng(1))
    for name in ("causal and padding", "holes"):
        check_pair(*pair, (*head_arguments(kind, np.random.default_rng(4)), masks_[name]), n_directions=3)


def test_scores_far_apart_neither_overflow_nor_vanish(monkeypatch):
    """The first tile holds the small scores, the last the large ones, and the other way round."""
    monkeypatch.setattr(tiled, "CPU_TILES", (4, 6, 100))
    rng = np.random.default_rng(0)
    q, k, v = head_arguments("softmax", rng, "float32")
    for sign in (1, -1):
        slope = sign * np.linspace(-300, 300, S, dtype="float32")[:, None]
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            plain = run(MECHANISMS["softmax"].head, (q + 9, k + slope, v), None, np.random.default_rng(1))
            got = run(TILED["softmax"], (q + 9, k + slope, v), None, np.random.default_rng(1))
        assert largest_error(got[:1], plain[:1]) < 1e-5 and np.isfinite(got[1]).all()


def test_what_the_mask_forbids_may_be_infinite_or_nan_in_the_keys(monkeypatch):
    monkeypatch.setattr(tiled, "CPU_TILES", (4, 6, 100))
    q, k, v = head_arguments("softmax", np.random.default_rng(0))
    keep = np.ones((B, S), bool)
    keep[:, 7] = keep[:, -1] = False
    mask, bad = padding_mask(keep), k.copy()
    bad[:, :, 7], bad[:, :, -1] = 1e300, np.nan
    o, _ = tiled.tiled_softmax_head_forward(q, bad, v, mask)
    assert largest_error([o], [tiled.tiled_softmax_head_forward(q, k, v, mask)[0]]) == 0


def test_a_number_for_lam():
    *arrays, _ = head_arguments("diff_v1", np.random.default_rng(0))
    o, cache = tiled.tiled_differential_head_forward(*arrays, 0.3)
    assert largest_error([o], [attention.differential_head_forward(*arrays, 0.3)[0]]) < 1e-12
    assert tiled.tiled_differential_head_backward(o, cache)[-1].shape == ()


# ----------------------------------------------------------------------------------- inside a layer


ALL_FORMS = {form: settings for form, settings in (FORMS | ON_INHIBITION).items() if settings["kind"] in HEADS}


@pytest.mark.parametrize("form", ALL_FORMS)
@pytest.mark.parametrize("rotary", [False, True])
@pytest.mark.parametrize("mask", ["none", "causal", "padding", "rows"])
def test_a_layer_on_tiles_is_the_plain_layer(form, rotary, mask, monkeypatch):
    monkeypatch.setattr(tiled, "CPU_TILES", (4, 6, 100))
    rows = np.random.default_rng(1).random((2, 2, 11, 11)) < 0.5
    rows[1, 0, 3] = False
    kinds = {"none": None, "causal": causal_mask(11), "padding": padding_mask(rows[:, 0, 0]), "rows": rows}
    results = []
    for impl in ("plain", "tiled"):
        rng = np.random.default_rng(0)
        cfg = AttentionConfig(**ALL_FORMS[form], width=16, n_heads=2, rotary=rotary, impl=impl)
        p = random_params(multihead.init_attention(cfg, rng, "float64"), rng)
        x, dy = rng.standard_normal((2, 2, 11, 16))
        y, cache = multihead.attention_forward(x, p, cfg, kinds[mask], layer=1)
        assert isinstance(cache.head, tiled.TiledHeadCache) == (impl == "tiled")
        dx, grads = multihead.attention_backward(dy, cache)
        results.append([y, dx, *grads.values(), attention_map(cache)])
        if cfg.kind == "dgsa":
            results[-1] += [attention_gate(cache), cache.head.A_exc, cache.head.A_inh]
    assert largest_error(*results) < 1e-12


def test_a_kind_without_tiles_says_which_have_them():
    with pytest.raises(ValueError, match=r"with impl='tiled', kind is 'twicing', expected one of 'softmax', 'diff_v1'"):
        AttentionConfig(kind="twicing", width=12, n_heads=3, impl="tiled")
    assert "twicing" in AttentionConfig(kind="twicing", width=12, n_heads=3).head_pair(np, 4096, 4096).forward.__name__


@pytest.mark.parametrize("kind", HEADS)
def test_auto_takes_tiles_from_the_measured_size_on(kind):
    cfg = AttentionConfig(kind=kind, width=16, n_heads=2)
    on_tiles = [cfg.head_pair(np, n, n) == TILED[kind] for n in (17, 128, 256, 4096)]
    assert on_tiles == [False, False, True, True]
    assert cfg.head_pair(np, 1, 4096) == MECHANISMS[kind].head  # decoding


def test_decoding_on_tiles_gives_the_logits_of_the_whole():
    sizes = {"width": 16, "n_heads": 2, "depth": 2, "vocab_size": 7, "max_len": 12}
    cfg = model.ModelConfig(task="lm", kind="dgsa", impl="tiled", **sizes)
    rng = np.random.default_rng(0)
    params, tokens = model.init_model(cfg, rng, "float64"), rng.integers(0, 7, (2, 12))
    whole, _ = model.model_forward(tokens, params, cfg)
    _, past = model.model_forward(tokens[:, :8], params, cfg)
    rest, _ = model.model_forward(tokens[:, 8:], params, cfg, past=past)
    assert largest_error([rest], [whole[:, 8:]]) < 1e-12


# ------------------------------------------------------------------------------------------- memory


def peak(kind, T, tiles=True):
    """Bytes that forward and backward of one head need at their most, beyond their arguments."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((1, 1, T, 8)).astype("float32") for _ in MECHANISMS[kind].projections]
    arrays += [rng.standard_normal((1, 1, T)).astype("float32")] if MECHANISMS[kind].control else []
    mask, pair = causal_mask(T), TILED[kind] if tiles else MECHANISMS[kind].head
    tracemalloc.start()
    o, cache = pair[0](*arrays, mask)
    pair[1](o, cache)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


@pytest.mark.parametrize("kind", most_later(HEADS, now=["dgsa"]))
def test_memory_grows_with_the_length_and_not_with_its_square(kind):
    assert peak(kind, 4096) < 4.5 * peak(kind, 1024) < 4096 * 1024 * 4
    assert peak(kind, 1024, tiles=False) > 12 * peak(kind, 256, tiles=False)  # so the measure sees a square


def test_a_causal_mask_needs_memory_for_the_length_alone():
    assert causal_mask(4096).base is not None
    tracemalloc.start()
    masks.causal_mask(4096)
    assert tracemalloc.get_traced_memory()[1] < 4096 * 32
    tracemalloc.stop()


def test_keys_that_no_row_of_a_tile_sees_are_not_computed(monkeypatch):
    monkeypatch.setattr(tiled, "CPU_TILES", (4, 4, 1))
    seen, scores = [], tiled._scores
    monkeypatch.setattr(tiled, "_scores", lambda Q, K, keys, limit: seen.append(keys) or scores(Q, K, keys, limit))
    q = np.random.default_rng(0).standard_normal((1, 1, 16, 2))
    tiled.tiled_softmax_head_forward(q, q, q, causal_mask(16))
    assert len(seen) == 4 + 3 + 2 + 1
