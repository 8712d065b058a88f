"""The floors below attention: backend, parameters, optimisers, losses, ops, data, corruptions."""

import math
import sys
import types

import numpy as np
import pytest

from dgsa_np import train as training
from dgsa_np.attention import (
    AttentionConfig,
    causal_mask,
    differential_head_backward,
    differential_head_forward,
    init_attention,
    mechanisms,
)
from dgsa_np.backend import DeviceError, array_module, resolve_device, to_device, to_numpy
from dgsa_np.data import CORRUPTIONS, corrupt, load
from dgsa_np.gradcheck import relative_error
from dgsa_np.losses import cross_entropy_backward, cross_entropy_forward
from dgsa_np.model import ModelConfig
from dgsa_np.ops import (
    embedding_backward,
    embedding_forward,
    layernorm_backward,
    layernorm_forward,
    linear_backward,
    linear_forward,
    rotary_backward,
    rotary_forward,
    sigmoid,
    softmax_backward,
    softmax_forward,
    sum_rows,
    sum_to_shape,
)
from dgsa_np.optim import adamw_init, adamw_step, clip_by_norm, global_norm, sgd_step, warmup_cosine
from dgsa_np.params import Spec, count, draw, flatten, tree_map, zeros_like


def rel(a, b):
    return abs(np.asarray(a, "float64") - b).max() / abs(b).max()


# ----------------------------------------------------------------------------------------------- backend


class FakeCupyArray:
    def __init__(self, host):
        self.host, self.shape, self.dtype = host, host.shape, host.dtype

    def get(self):
        return self.host


def test_array_module_is_the_owner_of_the_arrays(monkeypatch):
    fake = types.SimpleNamespace(ndarray=FakeCupyArray)
    monkeypatch.setitem(sys.modules, "cupy", fake)
    assert array_module() is array_module(None, 1, 2.0, 3j) is np
    assert array_module(None, np.ones(2), np.float32(1)) is np
    assert array_module(1.0, FakeCupyArray(np.ones(2)), None) is fake


def test_to_numpy_fetches_every_leaf_and_keeps_the_tree(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", types.SimpleNamespace(ndarray=FakeCupyArray))
    a, b = np.ones(2), np.arange(3)
    tree = to_numpy({"a": [FakeCupyArray(a), None], "b": {"c": b}})
    assert tree["a"][0] is a and tree["a"][1] is None and tree["b"]["c"] is b
    assert to_device({"a": a}, "cpu")["a"] is a


def test_auto_takes_what_can_be_used():
    assert resolve_device("cpu") == "cpu"
    try:
        expected = resolve_device("cuda")
    except DeviceError:
        expected = "cpu"
    assert resolve_device() == resolve_device("auto") == expected


# ------------------------------------------------------------------------------------------------ params


def test_flatten_gives_dotted_names_and_count_sums_the_sizes():
    blocks = [{"attention": {"W_q": np.ones((2, 3))}}, {"b": np.ones(4)}]
    tree = {"blocks": blocks, "none": None, "head": np.ones(())}
    assert list(flatten(tree)) == ["blocks.0.attention.W_q", "blocks.1.b", "head"]
    assert flatten(tree)["blocks.1.b"] is tree["blocks"][1]["b"]
    assert count(tree) == 2 * 3 + 4 + 1


def test_a_tuple_is_a_tree_for_flatten_as_for_tree_map():
    tree = {"a": (np.ones(2), np.ones(3))}
    assert count(tree) == count(tree_map(np.zeros_like, tree)) == 5


def test_tree_map_goes_leaf_by_leaf_through_several_trees():
    tree = {"a": [1, None], "b": {"c": 2}}
    other = {"a": [10, None], "b": {"c": 20}}
    assert tree_map(lambda x, y: x + y, tree, other) == {"a": [11, None], "b": {"c": 22}}
    with pytest.raises(ValueError, match="zip"):
        tree_map(lambda x, y: x, [1, 2], [1])


def test_zeros_like_keeps_shape_and_dtype_and_leaves_its_argument():
    tree = {"a": np.full((2, 3), np.nan, "float32"), "b": [np.ones(4, complex)]}
    zeros = zeros_like(tree)
    assert not zeros["a"].any() and not zeros["b"][0].any()
    described, expected = ({n: (a.shape, a.dtype) for n, a in flatten(t).items()} for t in (zeros, tree))
    assert described == expected
    assert np.isnan(tree["a"]).all() and tree["b"][0].all()


@pytest.mark.parametrize("kind", ["softmax", "diff_v1", "dgsa"])
def test_float32_parameters_are_the_float64_ones_rounded(kind):
    cfg = AttentionConfig(kind=kind, width=12, n_heads=3)
    wide = flatten(init_attention(cfg, np.random.default_rng(7), "float64"))
    narrow = flatten(init_attention(cfg, np.random.default_rng(7)))
    assert wide.keys() == narrow.keys()
    for name, a in narrow.items():
        assert a.dtype == np.float32 and np.array_equal(a, wide[name].astype("float32")), name


def test_draw_follows_the_law_of_each_spec():
    specs = {"W": Spec("n m", std=0.5, value=3.0), "b": Spec("m"), "gain": Spec("m", value=2.0)}
    drawn = draw(specs, {"n": 400, "m": 300}, np.random.default_rng(0), "float64")
    assert drawn["W"].shape == (400, 300) and drawn["b"].shape == drawn["gain"].shape == (300,)
    assert abs(drawn["W"].mean() - 3) < 0.01 and abs(drawn["W"].std() - 0.5) < 0.01
    assert (drawn["b"] == 0).all() and (drawn["gain"] == 2).all()


# ------------------------------------------------------------------------------------------------- optim


def test_adamw_is_the_formula_computed_by_hand():
    p, m, v, lr, decay = 0.7, 0.0, 0.0, 0.1, 0.05
    params, state = {"W": np.array([[p]])}, adamw_init({"W": np.array([[p]])})
    for t, g in enumerate((0.3, -2.0, 1e-3), start=1):
        m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g * g
        p -= lr * (m / (1 - 0.8**t) / (math.sqrt(v / (1 - 0.95**t)) + 1e-8) + decay * p)
        grads = {"W": np.array([[g]])}
        params, state = adamw_step(params, grads, state, lr, (0.8, 0.95), weight_decay=decay)
        numbers = [tree["W"].item() for tree in (params, state["m"], state["v"])]
        assert state["step"] == t and numbers == pytest.approx([p, m, v], rel=1e-14, abs=0)


def test_decay_acts_on_matrices_only():
    params = {"W": np.ones((2, 2)), "table": np.ones((2, 2, 2)), "gain": np.ones(2), "lam": np.ones(())}
    after, _ = adamw_step(params, zeros_like(params), adamw_init(params), lr=0.5, weight_decay=0.1)
    left = {name: float(a.flat[0]) for name, a in after.items()}
    assert left == {"W": 0.95, "table": 0.95, "gain": 1, "lam": 1}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_step_changes_none_of_its_arguments_and_keeps_the_dtype(dtype):
    rng = np.random.default_rng(0)
    params, grads = ({"W": rng.standard_normal((2, 3)).astype(dtype), "b": [np.ones(3, dtype)]} for _ in range(2))
    _, state = adamw_step(params, grads, adamw_init(params), 0.1)
    trees = {"params": params, "grads": grads, "state": {"m": state["m"], "v": state["v"]}}
    before = {name: a.tobytes() for name, a in flatten(trees).items()}
    results = [*adamw_step(params, grads, state, 0.1), sgd_step(params, grads, 0.1)]
    results += [clip_by_norm(grads, 0.1)[0]]
    assert state["step"] == 1 and results[1].pop("step") == 2
    assert {name: a.tobytes() for name, a in flatten(trees).items()} == before
    for tree in results:
        for name, a in flatten(tree).items():
            assert a.dtype == dtype, name
            assert not any(np.shares_memory(a, own) for own in flatten(trees).values()), name


def test_sgd_steps_against_the_gradient():
    after = sgd_step({"W": np.array([1.0, 2.0])}, {"W": np.array([4.0, -8.0])}, 0.25)
    assert after["W"].tolist() == [0.0, 4.0]


def test_clipping_scales_all_gradients_by_one_factor():
    grads = {"a": np.array([3.0, 0.0]), "b": [np.array([[4.0]], "float32")]}
    assert global_norm(grads) == 5
    clipped, norm = clip_by_norm(grads, 1.0)
    assert norm == 5 and global_norm(clipped) == pytest.approx(1, rel=1e-7)
    assert clipped["a"][0] / clipped["b"][0].item() == pytest.approx(0.75, rel=1e-7)
    same, _ = clip_by_norm(grads, 6.0)
    assert np.array_equal(same["a"], grads["a"]) and np.array_equal(same["b"][0], grads["b"][0])


@pytest.mark.parametrize("size", [1e30, 1e-30])  # the square is outside float32
def test_the_norm_of_a_float32_gradient_neither_overflows_nor_vanishes(size):
    assert float(global_norm({"a": np.full(4, size, "float32")})) == pytest.approx(2 * size, rel=1e-6, abs=0)


def test_the_tensor_that_is_named_is_the_one_that_is_not_finite(digits, monkeypatch):
    def spoilt(*args, **options):
        loss, grads = model_loss_and_grads(*args, **options)
        return loss, grads | {"head": {"W": grads["head"]["W"], "b": grads["head"]["b"] * np.nan}}

    model_loss_and_grads = training.loss_and_grads_threaded
    monkeypatch.setattr(training, "loss_and_grads_threaded", spoilt)
    model, cfg = ModelConfig(width=8, n_heads=2, depth=1), training.TrainConfig(epochs=1, device="cpu")
    with pytest.raises(training.NonFiniteError, match=r"head\.b"):
        training.train(model, cfg, digits)


def test_the_schedule_climbs_to_its_peak_and_falls_to_its_end():
    rates = [warmup_cosine(step, 20, 2.0, 5, final=0.5) for step in range(21)]
    assert rates[0] == pytest.approx(2 / 5) and rates[4] == rates[5] == 2.0 and rates[20] == 0.5
    assert np.diff(rates[:5]) == pytest.approx(0.4) and (np.diff(rates[5:]) < 0).all()
    assert warmup_cosine(0, 20, 2.0, 0) == 2.0 and warmup_cosine(25, 20, 2.0, 5, final=0.5) == 0.5
    assert warmup_cosine(10, 20, 2.0, 0) == pytest.approx(1.0)  # half way: half of the peak


# ------------------------------------------------------------------------------------------------ losses


@pytest.mark.parametrize("V", [2, 10, 1000])
@pytest.mark.parametrize("level", [0.0, 1e4, -1e4])
def test_equal_logits_cost_the_logarithm_of_the_classes(V, level):
    loss, cache = cross_entropy_forward(np.full((3, V), level), np.array([0, 1, V - 1]))
    assert loss.shape == () and float(loss) == pytest.approx(math.log(V), rel=1e-14)
    assert rel(cross_entropy_backward(cache), (1 / V - np.eye(V)[[0, 1, V - 1]]) / 3) < 1e-14


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_huge_logits_give_a_finite_loss_in_silence(dtype):
    logits = np.array([[1e4, -1e4, 0], [-1e4, 1e4, 0]], dtype)
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        loss, cache = cross_entropy_forward(logits, np.array([0, 0]))
        dlogits = cross_entropy_backward(cache)
    assert loss == 1e4 and loss.dtype == dlogits.dtype == dtype  # 0 for the first, 2e4 for the second
    assert np.array_equal(dlogits, [[0, 0, 0], [-0.5, 0.5, 0]])


def test_dropped_targets_count_for_nothing():
    rng = np.random.default_rng(0)
    logits, targets = rng.standard_normal((3, 4, 5)), rng.integers(0, 5, (3, 4))
    keep = rng.random((3, 4)) < 0.5
    loss, cache = cross_entropy_forward(logits, targets, keep)
    dlogits = cross_entropy_backward(cache)
    alone, alone_cache = cross_entropy_forward(logits[keep], targets[keep])
    assert 0 < keep.sum() < keep.size and float(loss) == pytest.approx(float(alone), rel=1e-14)
    assert rel(dlogits[keep], cross_entropy_backward(alone_cache)) < 1e-14 and not dlogits[~keep].any()
    assert abs(dlogits.sum(axis=-1)).max() < 1e-15
    changed = np.where(keep[..., None], logits, 1e3)
    assert cross_entropy_forward(changed, (targets + ~keep) % 5, keep)[0] == loss


# --------------------------------------------------------------------------------------------------- ops


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scale", [1, 1e4])
def test_softmax_rows_sum_to_one_for_huge_logits_too_in_silence(dtype, scale):
    rng = np.random.default_rng(0)
    scores = (scale * rng.choice([-1, -0.5, 0, 1], (2, 3, 4, 50))).astype(dtype)
    mask = rng.random(scores.shape) < 0.5
    mask[..., 0] = True
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        for m in (None, mask):
            A, cache = softmax_forward(scores, m)
            dscores = softmax_backward(np.full_like(A, 3.0), cache)
            assert A.dtype == dscores.dtype == dtype and np.isfinite(dscores).all()
            assert (A >= 0).all() and abs(A.sum(axis=-1) - 1).max() < 8 * np.finfo(dtype).eps
            assert abs(dscores).max() < 8 * np.finfo(dtype).eps  # a constant upstream moves no probability
    assert not A[~mask].any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_row_that_may_see_nothing_is_zero_and_so_is_its_gradient(dtype):
    rng = np.random.default_rng(0)
    scores, mask = rng.standard_normal((2, 3, 5)).astype(dtype), np.ones((2, 3, 5), bool)
    mask[1, 2], scores[1, 2, 3], scores[1, 2, 4] = False, np.inf, np.nan
    A, cache = softmax_forward(scores, mask)
    dscores = softmax_backward(rng.standard_normal(A.shape).astype(dtype), cache)
    assert not A[1, 2].any() and not dscores[1, 2].any()
    assert np.array_equal(A[0], softmax_forward(scores[0])[0]) and dscores[0].all()


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 1e30])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_forbidden_may_hold_anything(value, dtype):
    scores, mask = np.random.default_rng(0).standard_normal((4, 6)).astype(dtype), causal_mask(4, 6)[0, 0]
    spoilt = np.where(mask, scores, np.array(value, dtype))
    assert np.array_equal(softmax_forward(spoilt, mask)[0], softmax_forward(scores, mask)[0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sigmoid_and_its_complement_sum_to_one_without_overflow(dtype):
    z = np.concatenate([np.linspace(-40, 40, 801), [-1e4, 1e4, 0]]).astype(dtype)
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        g, one_minus_g = sigmoid(z), sigmoid(-z)
    assert g.dtype == dtype and abs(g + one_minus_g - 1).max() <= np.finfo(dtype).eps
    assert g[-3:].tolist() == [0, 1, 0.5] and one_minus_g[-3:].tolist() == [1, 0, 0.5]
    far = np.array([30.0, 80.0], dtype)  # 1 - g would be 0
    exact = 1 / (1 + np.exp(far.astype("float64")))
    assert abs(sigmoid(-far) / exact - 1).max() < 4 * np.finfo(dtype).eps


@pytest.mark.parametrize("zero", [0.0, -0.0])
@pytest.mark.parametrize("h", [1e-20, -1e-20])
def test_the_complex_step_of_sigmoid_is_right_where_its_two_forms_meet(zero, h):
    step = sigmoid(np.array([complex(zero, h)]))
    assert step.real == 0.5 and abs(step.imag / h - 0.25) < 1e-15


def test_sums_over_a_million_rows_keep_the_accuracy_of_float32():
    rng = np.random.default_rng(0)
    x, W, b = (rng.random(shape, "float32") for shape in ((1_000_000, 2), (2, 2), 2))
    exact = x.sum(axis=0, dtype="float64")
    assert rel(x.sum(axis=0), exact) > 1e-6, "NumPy's own sum is exact enough: this test shows nothing"
    assert sum_rows(x).dtype == np.float32 and rel(sum_rows(x), exact) <= 1e-6
    other = 1 - x  # the gradient of a bias sums the upstream, not the argument
    assert rel(linear_backward(x, linear_forward(other, W, b)[1])[2], exact) <= 1e-6
    assert rel(layernorm_backward(x, layernorm_forward(other, b, b)[1])[2], exact) <= 1e-6


def test_the_gradient_of_a_broadcast_keeps_the_accuracy_of_float32():
    dz = np.random.default_rng(0).random((1_000_000, 3, 1), "float32")  # (B, H, T), as for b_gate
    assert rel(sum_to_shape(dz, (3, 1)), dz.sum(axis=0, dtype="float64")) <= 1e-6


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_gradient_of_an_embedding_is_a_scattered_sum_and_repeats_bit_for_bit(dtype):
    rng = np.random.default_rng(0)
    tokens, table = rng.integers(0, 40, (9, 17)), rng.standard_normal((50, 3)).astype(dtype)
    dx = rng.standard_normal((9, 17, 3)).astype(dtype)
    x, cache = embedding_forward(tokens, table)
    expected = np.zeros((50, 3))
    np.add.at(expected, tokens, dx)
    dtable = embedding_backward(dx, cache)
    assert np.array_equal(x, table[tokens]) and dtable.dtype == dtype
    assert rel(dtable, expected) < 4 * np.finfo(dtype).eps * (10 if dtype == "float64" else 1)
    assert not dtable[40:].any() and dtable[:40].all(axis=1).any()
    for _ in range(5):
        assert embedding_backward(dx, cache).tobytes() == dtable.tobytes()


@pytest.mark.parametrize("value", [1e17, np.inf])
def test_a_huge_gradient_of_one_token_leaves_the_other_rows_alone(value):
    dx = np.ones((1, 4, 2))
    dx[0, 0] = value
    with np.errstate(invalid="ignore"):
        dtable = embedding_backward(dx, embedding_forward(np.array([[0, 2, 2, 4]]), np.zeros((5, 2)))[1])
    assert dtable[1:, 0].tolist() == [0, 2, 0, 1]


# -------------------------------------------------------------------------------------------------- data


def test_digits_are_split_once_and_for_all(digits):
    assert [len(split.targets) for split in digits[:3]] == [1257, 180, 360]
    assert digits.meta["sha256"] == load("digits").meta["sha256"]
    assert digits.meta["sha256"] == "211e908cf345a4595642f062469839bf9bda4a229b132cb69ed43ba8e7ad1cbb"
    for split in digits[:3]:
        assert split.inputs.shape[1:] == (8, 8) and split.inputs.dtype == np.float32
        assert split.inputs.min() == 0 and split.inputs.max() == 1 and split.targets.dtype.kind == "i"


def test_no_digit_stands_in_two_splits_and_none_is_lost(digits):
    images = [image.tobytes() for split in digits[:3] for image in split.inputs]
    assert len(images) == len(set(images)) == 1797


def test_every_split_has_its_share_of_every_digit(digits):
    whole = np.bincount(np.concatenate([split.targets for split in digits[:3]]))
    for split in digits[:3]:
        share = np.bincount(split.targets, minlength=digits.meta["n_out"])
        assert abs(share - whole * len(split.targets) / whole.sum()).max() < 1.5


# ------------------------------------------------------------------------------------------- corruptions

GREY, COLOUR = (5, 8, 6), (5, 8, 6, 3)


def pictures(shape, dtype="float32"):
    return np.random.default_rng(1).random(shape).astype(dtype)


@pytest.mark.parametrize("kind", CORRUPTIONS["vision"])
@pytest.mark.parametrize("shape", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_corruption_is_new_repeatable_and_leaves_its_argument_alone(kind, shape, dtype):
    x, level = pictures(shape, dtype), CORRUPTIONS["vision"][kind].levels[-1]
    before = x.tobytes()
    same = corrupt(x, kind, 0.0, np.random.default_rng(0))
    assert same.tobytes() == before and not np.shares_memory(same, x)
    damaged = corrupt(x, kind, level, np.random.default_rng(0))
    assert damaged.shape == shape and damaged.dtype == dtype and not np.shares_memory(damaged, x)
    assert (damaged != x).any(axis=tuple(range(1, x.ndim))).all(), "an image came through untouched"
    assert damaged.tobytes() == corrupt(x, kind, level, np.random.default_rng(0)).tobytes()
    assert x.tobytes() == before


@pytest.mark.parametrize("kind", ["gaussian", "salt-and-pepper", "occlusion"])
def test_another_seed_gives_other_damage(kind):
    a, b = (corrupt(pictures(GREY), kind, 0.4, np.random.default_rng(seed)) for seed in (0, 1))
    assert (a != b).any()


def test_brightness_adds_exactly_and_nothing_is_clipped_unless_asked():
    x = pictures(GREY, "float64")
    brighter = corrupt(x, "brightness", 0.5, np.random.default_rng(0))
    assert np.array_equal(brighter, x + 0.5) and brighter.max() > 1
    clipped = corrupt(x, "brightness", 0.5, np.random.default_rng(0), clip=True)
    assert np.array_equal(clipped, np.minimum(x + 0.5, 1))
    noisy = corrupt(x, "gaussian", 0.5, np.random.default_rng(0))
    assert noisy.min() < 0 and noisy.max() > 1
    assert corrupt(x, "gaussian", 0.5, np.random.default_rng(0), clip=True).min() == 0


def test_gaussian_noise_has_the_spread_that_its_level_says():
    noise = corrupt(np.zeros((100, 20, 20)), "gaussian", 0.3, np.random.default_rng(0))
    assert abs(noise.std() - 0.3) < 0.005 and abs(noise.mean()) < 0.005


def test_salt_and_pepper_hits_all_channels_of_a_pixel_alike():
    x = 0.25 + 0.5 * pictures((100, 20, 20, 3))
    damaged = corrupt(x, "salt-and-pepper", 0.3, np.random.default_rng(0))
    hit = (damaged != x).all(axis=-1)
    assert np.array_equal(hit, (damaged != x).any(axis=-1)) and abs(hit.mean() - 0.3) < 0.01
    assert set(np.unique(damaged[hit])) == {0, 1} and abs(damaged[hit].mean() - 0.5) < 0.02
    assert (damaged[hit] == damaged[hit][:, :1]).all()


@pytest.mark.parametrize("shape", [GREY, COLOUR], ids=["grey", "colour"])
def test_no_contrast_leaves_the_mean_and_some_keeps_it(shape):
    x = pictures(shape, "float64")
    axes = tuple(range(1, x.ndim))
    flat, half = (corrupt(x, "contrast", level, np.random.default_rng(0)) for level in (1.0, 0.5))
    assert np.array_equal(flat, np.broadcast_to(x.mean(axis=axes, keepdims=True), shape))
    assert half.mean(axis=axes) == pytest.approx(x.mean(axis=axes), rel=1e-14)
    assert half.std(axis=axes) == pytest.approx(0.5 * x.std(axis=axes), rel=1e-13)


def test_an_occlusion_is_one_black_square_of_the_side_that_its_level_says():
    damaged = corrupt(np.ones((200, 8, 8)), "occlusion", 0.375, np.random.default_rng(0))
    assert (np.sum(damaged == 0, axis=(1, 2)) == 9).all() and set(np.unique(damaged)) == {0, 1}
    rows, columns = (damaged == 0).any(axis=2), (damaged == 0).any(axis=1)
    assert (rows.sum(axis=1) == 3).all() and (columns.sum(axis=1) == 3).all()
    assert rows.any(axis=0).all() and columns.any(axis=0).all(), "some places are never hit"


def test_a_blur_keeps_a_constant_image_and_mixes_no_channels_and_no_images():
    colours = np.random.default_rng(0).random((4, 1, 1, 3))
    constant = np.broadcast_to(colours, (4, 8, 8, 3))
    assert abs(corrupt(constant, "blur", 1.2, np.random.default_rng(0)) - constant).max() < 1e-15
    x = pictures(GREY, "float64")
    blurred = corrupt(x, "blur", 1.0, np.random.default_rng(0))
    assert (blurred.std(axis=(1, 2)) < 0.7 * x.std(axis=(1, 2))).all()


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


def test_lambda_vectors_start_small_and_projections_at_one_over_the_fan_in():
    p = init_attention(AttentionConfig(kind="diff_v1", width=2048, n_heads=1), np.random.default_rng(0))
    for name, std in {"lambda_q_exc": 0.1, "lambda_k_inh": 0.1, "W_q_exc": 2048**-0.5, "W_o": 2048**-0.5}.items():
        assert abs(p[name].std() / std - 1) < 0.06 and abs(p[name].mean()) < 0.1 * std, name


def test_gates_start_where_they_are_told():
    p = init_attention(AttentionConfig(width=16, n_heads=2, gate_bias=-0.3), np.random.default_rng(0), "float64")
    assert (p["W_gate"] == 0).all() and (p["b_gate"] == -0.3).all() and (p["w_norm"] == 1).all()


def test_single_precision_stays_single():
    """An angle, a lambda that is a number: made inside, in the dtype of the arguments."""
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((2, 3, 4, n)).astype("float32") for n in (6, 6, 5))
    y, cache = rotary_forward(q, np.arange(4))
    assert y.dtype == cache.cos.dtype == cache.sin.dtype == rotary_backward(q, cache).dtype == "float32"
    o, cache = differential_head_forward(q, k, q, k, v, 0.5)
    grads = differential_head_backward(o, cache)
    assert o.dtype == cache.lam.dtype == "float32" and {g.dtype.name for g in grads} == {"float32"}
