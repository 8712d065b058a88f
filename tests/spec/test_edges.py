"""No wrong number in silence: what lies at the edge of the formulas, one test for each kind of it."""

import re
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from dgsa_np import attention, losses, ops, optim
from dgsa_np.attention import KINDS, AttentionConfig, causal_mask, multihead, padding_mask, tiled
from dgsa_np.attention.mechanisms import MECHANISMS
from dgsa_np.backend import array_module
from dgsa_np.checkpoint import load_checkpoint, save_checkpoint
from dgsa_np.data import DataError, Dataset, Split, corrupt, load
from dgsa_np.data.datasets import LOADERS
from dgsa_np.fast.parallel import loss_and_grads_threaded
from dgsa_np.gradcheck import same_bits
from dgsa_np.lab.cases import random_params
from dgsa_np.lab.cli import main
from dgsa_np.lab.sample import sample
from dgsa_np.model import ModelConfig, init_model, loss_and_grads, mean_pool_forward, model_backward, model_forward
from dgsa_np.params import flatten
from dgsa_np.train import NonFiniteError, TrainConfig, evaluate, predict, train

kinds = pytest.mark.parametrize("kind", KINDS)
TILED = {kind: tiled.TILED[MECHANISMS[kind].head_forward] for kind in multihead.TILED_KINDS}
HEADS = [*((kind, MECHANISMS[kind][:2]) for kind in KINDS), *((f"tiled {kind}", pair) for kind, pair in TILED.items())]
heads = pytest.mark.parametrize(("kind", "pair"), HEADS, ids=[name for name, _ in HEADS])
SIZES = {"width": 8, "n_heads": 2, "depth": 2, "ffn_width": 5, "n_out": 3}
TOKENS = SIZES | {"vocab_size": 11, "max_len": 9}
LOUD = dict.fromkeys(("over", "divide", "invalid"), "raise")


def error(got, want):
    """max|got - want| / max|want|; 0 where both vanish."""
    off, size = abs(got - want).max(), abs(want).max()
    return off / size if size else (np.inf if off else 0.0)


def head_arguments(kind, seed=0, T=4, dtype="float64"):
    """Queries, keys, values, and what weighs the maps; as many keys as queries."""
    rng, mechanism = np.random.default_rng(seed), MECHANISMS[kind.removeprefix("tiled ")]
    shapes = [(2, 3, T, 5 if name == "v" else 4) for name in mechanism.projections]
    shapes += [(2, 3, T)] if mechanism.control else []
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes], [*mechanism.projections]


def run(pair, args, mask=None):
    """[o, gradients ...]"""
    o, cache = pair[0](*args, mask=mask)
    do = np.random.default_rng(1).standard_normal(o.shape).astype(o.dtype)
    return [o, *pair[1](do, cache)]


def same(got, want):
    return all(same_bits(a, b) for a, b in zip(got, want, strict=True))


def whole_model(kind, task, seed=0, T=6, **switches):
    """cfg, parameters in float64 with none at 0 or 1, inputs of two, targets."""
    rng = np.random.default_rng(seed)
    if task == "vision":
        cfg = ModelConfig(kind=kind, image_size=6, patch_size=2, **SIZES, **switches)
        inputs, targets = rng.random((2, 6, 6)), rng.integers(0, 3, 2)
    else:
        cfg = ModelConfig(kind=kind, task=task, **TOKENS, **switches)
        inputs, targets = rng.integers(0, 8, (2, T)), rng.integers(0, 3, (2, T) if task == "lm" else 2)
    return cfg, random_params(init_model(cfg, rng, "float64"), rng), inputs, targets


# ----------------------------------------------------------------------------------- arrays that are none


def on_disk(a, folder):
    held = np.lib.format.open_memmap(folder / f"{a.dtype}.npy", "w+", a.dtype, a.shape)
    held[:] = a
    return held


SUBCLASSES = {"matrix": lambda a, _: np.matrix(a), "MaskedArray": lambda a, _: np.ma.array(a), "memmap": on_disk}


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
@pytest.mark.parametrize("name", SUBCLASSES)
def test_a_subclass_of_arrays_is_refused_by_name(name, tmp_path):
    """To numpy.matrix * is a product of matrices; a masked array leaves numbers out; neither says so."""
    good = np.eye(4) + 1
    bad, integers, true = (SUBCLASSES[name](good.astype(dtype), tmp_path) for dtype in ("f8", "i8", "?"))
    row, tokens, p = np.ones(4), np.zeros((4, 4), int), dict.fromkeys(("W_q", "W_k", "W_v", "W_o"), bad)
    vision, cfg = whole_model("dgsa", "vision")[1::-1], ModelConfig(task="lm", **TOKENS | {"n_out": 11})
    language = init_model(cfg, np.random.default_rng(0)), cfg
    calls = {
        "x": partial(ops.rmsnorm_forward, bad, row),
        "W": partial(ops.linear_forward, good, bad),
        "scores": partial(ops.softmax_forward, bad),
        "mask": partial(ops.softmax_forward, good, true),
        "logits": partial(losses.cross_entropy_forward, bad, np.arange(4)),
        "targets": partial(losses.cross_entropy_forward, np.ones((4, 4, 2)), integers),
        "keep": partial(losses.cross_entropy_forward, np.ones((4, 4, 2)), tokens, true),
        "upstream gradient": partial(ops.silu_backward, bad, ops.silu_forward(good)[1]),
        "positions": partial(ops.rotary_forward, np.ones((4, 1, 4, 2)), bad),
        "W_q": partial(attention.attention_forward, good[None], p, AttentionConfig(kind="softmax", width=4)),
        "grads": partial(optim.sgd_step, {"W": good}, {"W": bad}, 0.1),
        "images": partial(model_forward, bad, *vision),
        "tokens": partial(model_forward, integers, *language),
        "prompt": lambda: next(sample(*language, integers, 1, np.random.default_rng(0))),
        "inputs": Split(bad, np.arange(4)).length,
        "state.W": partial(save_checkpoint, tmp_path / "c.npz", {"W": bad}),
        "corrupt: x": partial(corrupt, bad, "blur", 0.5, np.random.default_rng(0)),
        "array_module": partial(array_module, bad),
    }
    for argument, call in calls.items():
        with pytest.raises((TypeError, ValueError), match=rf"{argument}\b.* {name}, expected"):
            call()
    advice = r"\.filled\(value\)" if name == "MaskedArray" else "numpy.asarray"
    with pytest.raises(TypeError, match=rf"x is {name}, expected an array; .*{advice}"):
        ops.silu_forward(bad)


def test_loaders_and_checkpoints_hand_out_arrays_themselves(digits, sources, tmp_path):
    save_checkpoint(tmp_path / "c.npz", {"W": np.eye(3), "b": [np.ones(2)]})
    trees = [load_checkpoint(tmp_path / "c.npz"), *digits[:3], *load("rt-polarity", sources)[:3]]
    trees += load("text", sources / "text.txt", length=8)[:3]
    assert {type(a) for tree in trees for a in flatten(tree).values()} == {np.ndarray}


# ------------------------------------------------------------------------------------------------- norms


NORMS = {
    "rmsnorm": (ops.rmsnorm_forward, ops.rmsnorm_backward, ["w"]),
    "layernorm": (ops.layernorm_forward, ops.layernorm_backward, ["w", "b"]),
}


def norm_in(dtype, name, x, eps):
    forward, backward, gains = NORMS[name]
    rng, x = np.random.default_rng(2), x.astype(dtype)
    y, cache = forward(x, *(rng.random(x.shape[-1]).astype("f4").astype(dtype) for _ in gains), eps=eps)
    return [y, *backward(rng.standard_normal(y.shape).astype("f4").astype(dtype), cache)]


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("mean", [0, 1, 1e2, 1e4, 1e6])
@pytest.mark.parametrize("eps", [0, 1e-5])
def test_norms_of_rows_far_from_zero_keep_the_digits_of_float32(name, mean, eps):
    x = (mean + np.random.default_rng(0).standard_normal((50, 33))).astype("float32")
    for got, want in zip(norm_in("float32", name, x, eps), norm_in("float64", name, x, eps), strict=True):
        assert got.dtype == "float32" and error(got, want) < 2e-6


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("value", [0, 0.1, 1 / 3, -1e4 / 3, 1e6 / 3])
def test_layernorm_of_a_row_of_equal_numbers_is_its_bias_to_the_last_bit(value, dtype):
    x, w, b = np.full((2, 33), value, dtype), np.ones(33, dtype), np.full(33, 0.7, dtype)
    y, cache = ops.layernorm_forward(x, w, b)
    dx, *_ = ops.layernorm_backward(np.random.default_rng(0).standard_normal(x.shape).astype(dtype), cache)
    assert np.array_equal(y, np.broadcast_to(b, y.shape)) and np.isfinite(dx).all()


def test_a_row_without_size_and_without_eps_is_nan_and_numpy_warns():
    """0 / 0: the formula has no value, and nobody makes one up."""
    with pytest.warns(RuntimeWarning):
        y, _ = ops.rmsnorm_forward(np.zeros((1, 3)), np.ones(3), 0.0)
    assert np.isnan(y).all()


# ------------------------------------------------------------------------- what is dropped, or masked away


ODD = [np.nan, np.inf, -np.inf]


@pytest.mark.parametrize("odd", ODD)
def test_the_logits_of_a_dropped_target_are_not_looked_at(odd):
    rng = np.random.default_rng(0)
    logits, targets, keep = rng.standard_normal((2, 3, 5)), rng.integers(0, 5, (2, 3)), rng.random((2, 3)) < 0.5
    spoilt = np.where(keep[..., None], logits, odd)
    (loss, cache), (right, alone) = (losses.cross_entropy_forward(z, targets, keep) for z in (spoilt, logits))
    dlogits = losses.cross_entropy_backward(cache)
    assert same([loss, dlogits], [right, losses.cross_entropy_backward(alone)]) and not dlogits[~keep].any()
    assert len(cache.P) == len(cache.targets) == keep.sum() and 0 < keep.sum() < 6


def test_a_pooled_mean_does_not_look_at_dropped_tokens():
    x, keep = rng().standard_normal((2, 3, 4)), np.array([[True, False, True], [True, True, False]])
    expected, _ = mean_pool_forward(x, keep)
    x[~keep] = np.nan
    assert same_bits(mean_pool_forward(x, keep)[0], expected)


@heads
@pytest.mark.parametrize("odd", ODD)
def test_a_key_that_no_query_sees_reaches_nothing(kind, pair, odd):
    """Neither a key or value nobody sees, nor a query that sees nobody: outputs and gradients keep their bits."""
    args, names = head_arguments(kind)
    keep = np.array([[True, True, False, True], [False] * 4])  # nobody sees anything in the second entry
    spoilt = [a.copy() for a in args]
    for a, name in zip(spoilt, names, strict=False):
        a[1] = odd
        if name[0] in "kv":
            a[0, :, 2] = odd
    with np.errstate(**LOUD):
        got = run(pair, spoilt, padding_mask(keep))
    assert same(got, run(pair, args, padding_mask(keep))) and got[0][0].any() and not got[0][1].any()


@kinds
@pytest.mark.parametrize("task", ["vision", "text", "lm"])
@pytest.mark.parametrize("odd", ODD)
def test_a_dropped_token_may_hold_anything(kind, task, odd):
    """A patch, a row of the table, a position: loss and gradients have the bits that any number would give."""
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


@pytest.mark.parametrize("odd", ODD)
def test_a_gradient_that_is_not_finite_spoils_all_rather_than_vanish(odd):
    clipped, norm = optim.clip_by_norm({"a": np.array([1.0, odd]), "b": np.ones(2, "float32")}, 1.0)
    assert not np.isfinite(norm) and all(np.isnan(g).all() for g in clipped.values())
    assert clipped["b"].dtype == "float32"


# ----------------------------------------------------------------------------------- float32 stays float32


def dtypes(tree):
    return {a.dtype.name for a in flatten(tree).values()}


def test_float32_parameters_stay_float32_whatever_comes():
    cfg, wide, images, targets = whole_model("dgsa", "vision")
    params = init_model(cfg, np.random.default_rng(0))
    loss, grads = loss_and_grads(params, images, targets, cfg)  # images in float64
    assert loss.dtype == "float32" and dtypes(grads) == {"float32"}
    rounded, _ = loss_and_grads(params, images.astype("float32"), targets, cfg)
    assert same_bits(loss, rounded)
    assert dtypes(loss_and_grads(wide, images.astype("float32"), targets, cfg)[1]) == {"float64"}
    step, logits = params | {"norm": {"w": params["norm"]["w"] + 1e-30j}}, model_forward(images, params, cfg)[0]
    assert model_forward(images, step, cfg)[0].dtype.kind == "c" and logits.dtype == "float32"
    assert model_forward(images + 1e-30j, wide, cfg)[0].imag.any()  # a complex step by the pixels goes through
    state = optim.adamw_init(params)
    for moments in (state, {"m": wide, "v": optim.adamw_init(wide)["v"], "step": 1}):
        new, after = optim.adamw_step(params, wide, moments, np.float64(0.1), eps=np.float64(1e-8))
        assert dtypes([new, after["m"], after["v"], optim.sgd_step(params, wide, np.float64(0.1))]) == {"float32"}


def test_a_float64_number_in_a_formula_does_not_widen_it():
    x, w, half = np.ones((2, 3, 4, 4), "float32"), np.ones(4, "float32"), np.float64(0.5)
    o, _ = attention.differential_head_forward(x, x, x, x, x, half)
    made = [o, ops.rmsnorm_forward(x, w, half)[0], ops.layernorm_forward(x, w, w, half)[0]]
    made += [attention.multihead.head_norm_forward(x, w, half, half)[0], corrupt(x[0], "gaussian", half, rng())]
    made += [optim.clip_by_norm({"w": w}, half)[0]["w"]]
    for lam in (half, np.float32(0.5), np.array(0.5)):
        for forward, backward in (MECHANISMS["diff_v1"][:2], TILED["diff_v1"]):
            o, cache = forward(x, x, x, x, x, lam)
            made += [o, *backward(o, cache)]
    assert {a.dtype.name for a in made} == {"float32"}


def rng():
    return np.random.default_rng(0)


def small_data(n=40, **changed):
    images, labels = rng().random((n, 4, 4), "float32"), rng().integers(0, 3, n)
    meta = {"name": "small", "task": "vision", "n_out": 3, "image_size": 4, "channels": 1, "sha256": ""}
    return Dataset(*(Split(images.copy(), labels),) * 3, meta)._replace(**changed)


SMALL = ModelConfig(image_size=4, patch_size=2, n_out=3, width=8, n_heads=2, depth=1)
ONE_EPOCH = TrainConfig(epochs=1, batch_size=10, device="cpu")


def test_images_of_float64_train_the_same_float32_parameters():
    wide, narrow = Split(*small_data().train), small_data().train
    wide = wide._replace(inputs=wide.inputs.astype("float64"))
    results = [train(SMALL, ONE_EPOCH, small_data(train=split, valid=split)) for split in (wide, narrow)]
    assert same(*(flatten(result.params).values() for result in results))


# ------------------------------------------------------------------------------------------------- top-k


def test_top_k_draws_among_exactly_k_of_equals_the_first():
    cfg = ModelConfig(task="lm", **TOKENS | {"n_out": 11})
    params = init_model(cfg, rng(), "float64")
    params["head"]["W"][:] = 0

    def drawn(bias, k, temperature=1.0):
        params["head"]["b"] = np.array(bias, float)
        return set(sample(params, cfg, [1], 120, rng(), temperature, k))

    assert [drawn([0] * 11, k) for k in (1, 3)] == [{0}, {0, 1, 2}]
    assert drawn([0, 5, 0, 5, 5, 0, 9, 0, 0, 0, 0], 3) == {6, 1, 3} and drawn([0] * 11, 1, 0.01) == {0}
    assert drawn([0] * 11, 11) == drawn([0] * 11, 12) == drawn([0] * 11, 10**6) == drawn([0] * 11, None) == {*range(11)}
    for odd in ODD:
        for k in (None, 2):
            with pytest.raises(ValueError, match="logits that are not finite"):
                drawn([0] * 10 + [odd], k)


# -------------------------------------------------------------------------------- positions follow keep


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
    turned = cache.blocks[0].attention.rotations
    assert all(cos.shape[0] == 1 for cos, _, _ in turned.values()) and bool(turned) == rotary


# --------------------------------------------------------------------------------- data that are not numbers


@pytest.mark.parametrize("split", ["train", "valid"])
@pytest.mark.parametrize("odd", ODD)
def test_data_that_are_not_finite_are_told_before_the_first_step(split, odd):
    data = small_data()
    images = data.train.inputs.copy()
    images[3, 0, 2] = images[7, 1, 1] = odd
    said = rf"data\.{split}\.inputs holds 2 numbers that are not finite, first at \(3, 0, 2\)"
    with pytest.raises(DataError, match=said) as told:
        train(SMALL, ONE_EPOCH, data._replace(**{split: data.train._replace(inputs=images)}))
    assert "lr" not in str(told.value)
    train(SMALL, ONE_EPOCH, data._replace(test=data.test._replace(inputs=images)))  # never looked at


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_parameters_that_overflow_in_validation_are_told_with_the_epoch():
    data, params = small_data(), init_model(SMALL, rng())
    one_step = replace(ONE_EPOCH, batch_size=len(data.train.targets), lr=1e38, warmup=0.0, weight_decay=0.0)
    with pytest.raises(NonFiniteError, match=r"epoch 0: on data\.valid: .* first for row 0 .* params overflow") as told:
        train(SMALL, one_step, data)
    assert flatten(told.value.params).keys() == flatten(params).keys()
    params["head"]["W"][:] = 3e38
    for call in (evaluate, predict):
        with pytest.raises(NonFiniteError, match="logits that are not finite"):
            call(params, data.valid, SMALL)
    params["head"]["W"][:], params["head"]["b"][:2] = 0, (3e38, -3e38)  # finite logits, whose difference is not
    with pytest.raises(NonFiniteError, match="evaluate: loss inf"):
        evaluate(params, data.valid._replace(targets=np.ones(40, int)), SMALL)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("pixel", "lr", "status", "said"), [(np.nan, 0.1, 2, "data.valid"), (0.5, 1e38, 1, "epoch 0")])
def test_the_command_line_tells_both_in_one_line(pixel, lr, status, said, tmp_path, capsys, monkeypatch):
    data = small_data()
    spoilt = data.valid._replace(inputs=np.full_like(data.valid.inputs, pixel))
    monkeypatch.setitem(LOADERS, "digits", lambda name, root=None: data._replace(valid=spoilt))
    arguments = ["--width", "8", "--n-heads", "2", "--depth", "1", "--epochs", "1", "--patch-size", "2"]
    arguments += ["--lr", str(lr), "--warmup", "0", "--weight-decay", "0", "--batch-size", str(len(data.train.targets))]
    assert main(["train", *arguments, "--device", "cpu", "--out", str(tmp_path / "run")]) == status
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("dgsa-np: ")]
    assert len(lines) == 1 and said in lines[0]


# ---------------------------------------------------------------------- scores and logits far from zero


LOWEST = float(np.finfo("float32").min)


def far_scores(kind, level, dtype):
    """Arguments of a head whose scores are level + 0 .. 3 steps, without rounding; what is expected of it."""
    args, names = head_arguments(kind, T=6, dtype=dtype)
    step = 1 if level > -1e30 else 2.0**110
    offsets = np.array([1, 3, 0, 2, 0, 1], dtype)
    for a, name in zip(args, names, strict=False):
        if name[0] == "q":
            a[:] = [2, 0, 0, 0]  # / sqrt(d) is 1
        if name[0] == "k":
            a[..., 0] = level + step * offsets
    near = [a.copy() for a in args]
    for a, name in zip(near, names, strict=False):
        if name[0] == "k":
            a[..., 0] = step * offsets
    return args, near


@heads
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("level", [-1e4, 1e4, LOWEST / 16 * 15])
def test_a_level_that_all_scores_share_changes_no_output(kind, pair, dtype, level, monkeypatch):
    """However low: no start of a running maximum, and no stand-in for what is masked, may be above the scores."""
    monkeypatch.setattr(tiled, "CPU_TILES", (2, 2, 1))
    far, near = far_scores(kind, level, dtype)
    for mask in (None, causal_mask(6), padding_mask(np.arange(6) < [[5], [3]])):
        with np.errstate(over="ignore"):  # steps of 1e33 from the lowest number
            (o, _), (expected, _) = (pair[0](*args, mask=mask) for args in (far, near))
        assert error(o, expected) < 1e-6 and o.any()


@pytest.mark.parametrize("kind", TILED)
@pytest.mark.parametrize("level", [-1e4, 1e4])
def test_gradients_on_tiles_are_the_plain_ones_at_scores_far_from_zero(kind, level, monkeypatch):
    monkeypatch.setattr(tiled, "CPU_TILES", (2, 2, 1))
    args, _ = far_scores(kind, level, "float64")
    plain, got = (run(pair, args, causal_mask(6)) for pair in (MECHANISMS[kind][:2], TILED[kind]))
    assert max(error(a, b) for a, b in zip(got, plain, strict=True)) < 1e-10


GATED = [("dgsa", "plain"), ("dgsa", "tiled"), ("diff_v2", "plain"), ("diff_v2", "tiled"), ("output_gate", "plain")]


def slope_of_gates(kind, impl, z, dtype):
    """The gradients of the parameters from which a layer makes gates, all of them at the logit z."""
    cfg = AttentionConfig(kind=kind, width=8, n_heads=2, impl=impl, head_norm=False)
    draw = np.random.default_rng(0)
    p, x = attention.init_attention(cfg, draw), draw.standard_normal((2, 5, 8)).astype("float32")
    x[..., 0] = 1
    gates = [*cfg.mechanism.control.specs(cfg)]
    if "b_gate" in gates:
        p["b_gate"][:] = z
    else:  # the first feature, which is 1, brings it
        p[gates[0]][0] = z
    p = {name: a.astype(dtype) for name, a in p.items()}
    dy = draw.standard_normal(x.shape).astype("float32").astype(dtype)
    _, cache = attention.attention_forward(x.astype(dtype), p, cfg)
    _, grads = attention.attention_backward(dy, cache)
    return [grads[name] for name in gates]


@pytest.mark.parametrize(("kind", "impl"), GATED)
@pytest.mark.parametrize("z", [30.0, -30.0])
def test_the_slope_of_a_gate_keeps_its_digits_where_1_minus_g_has_none(kind, impl, z):
    for got, want in zip(*(slope_of_gates(kind, impl, z, dtype) for dtype in ("float32", "float64")), strict=True):
        assert got.dtype == "float32" and 0 < abs(want).max() < 1e-10 and error(got, want) < 1e-5


# ------------------------------------------------------------------------------ what passed already, and stays


def test_other_masks_and_other_floats_are_refused_by_name():
    scores = rng().standard_normal((2, 3, 4))
    wrong = {
        "mask is (2, 4, 3), expected a shape that broadcasts": (scores, np.ones((2, 4, 3), bool)),
        "mask has dtype float64, expected bool": (scores, np.where(np.ones((2, 3, 4)), 0.0, -np.inf)),
        "mask has dtype int64, expected bool": (scores, np.ones((2, 3, 4), int)),
        "scores has dtype float16, expected float32": (scores.astype("float16"), None),
        "scores has dtype >f8, expected float32": (scores.astype(">f8"), None),
    }
    for said, args in wrong.items():
        with pytest.raises((TypeError, ValueError), match=re.escape(f"softmax_forward: {said}")):
            ops.softmax_forward(*args)


def test_shards_with_different_numbers_of_kept_targets_are_the_step_at_once():
    cfg, params, tokens, targets = whole_model("dgsa", "lm", T=8)
    tokens, targets = tokens.repeat(3, axis=0)[:5], targets.repeat(3, axis=0)[:5]
    keep = np.arange(8) < np.array([8, 1, 5, 0, 2])[:, None]
    whole, split = (f(params, tokens, targets, cfg, keep) for f in (loss_and_grads, partial(in_shards, 3)))
    assert error(split[0], whole[0]) < 1e-12
    for name, g in flatten(whole[1]).items():
        assert error(flatten(split[1])[name], g) < 1e-11, name


def in_shards(n, *args):
    return loss_and_grads_threaded(*args, threads=n)
