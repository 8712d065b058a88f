"""The model: sizes, paths, starting loss, and what only a whole model can get wrong."""

import math

import numpy as np
import pytest
from support.planting import assert_caught

from dgsa_np.attention import KINDS, attention_map
from dgsa_np.attention.softmax import softmax_map_forward
from dgsa_np.layers import patches
from dgsa_np.losses import cross_entropy_forward
from dgsa_np.model import ModelConfig, init_model, loss_and_grads, model_forward
from dgsa_np.params import count, flatten


def parameters_of_attention(kind, C, H):
    d, square = C // (2 * H if kind in ("dgsa", "diff_v1") else H), 4 * C * C
    formulas = {
        "softmax": square,
        "dgsa": square + C * H + H + 2 * d,
        "diff_v1": square + 4 * d + 2 * d,
        "diff_v2": 5 * C * C + C * H,
        "output_gate": square + C * H,
        "twicing": square,
    }
    where = "parameters_of_attention of tests/spec/test_model.py"
    assert kind in formulas, f"write the number of parameters of {kind!r}, by its formula, into {where}"
    return formulas[kind]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("C", "H", "depth"), [(64, 4, 4), (48, 3, 2), (32, 8, 1)])
def test_parameter_counts_follow_the_closed_formulas(kind, C, H, depth):
    cfg = ModelConfig(kind=kind, width=C, n_heads=H, depth=depth, patch_size=2)
    params = init_model(cfg, np.random.default_rng(0))
    assert count(params["blocks"][0]["attention"]) == parameters_of_attention(kind, C, H)
    F = 8 * C // 3 // 8 * 8
    block = parameters_of_attention(kind, C, H) + 3 * C * F + 2 * C
    assert count(params) == (4 * C + C + 16 * C) + depth * block + C + (10 * C + 10)


STARTS = [ModelConfig(), *(ModelConfig(kind=kind, patch_size=2) for kind in KINDS)]


@pytest.mark.parametrize("cfg", STARTS, ids=lambda c: f"{c.kind}, patches of {c.patch_size}")
def test_loss_at_the_start_is_that_of_guessing(cfg, digits):
    for seed in range(3):
        params = init_model(cfg, np.random.default_rng(seed))
        logits, _ = model_forward(digits.train.inputs[:256], params, cfg)
        loss, _ = cross_entropy_forward(logits, digits.train.targets[:256])
        assert loss == pytest.approx(math.log(10), rel=0.01)


def test_maps_are_reached_by_the_documented_path():
    cfg = ModelConfig(patch_size=2)
    images = np.random.default_rng(0).random((3, 8, 8), dtype="float32")
    _, cache = model_forward(images, init_model(cfg, np.random.default_rng(0)), cfg)
    head = cache.blocks[2].attention.head
    assert head.A_exc.shape == head.A_inh.shape == attention_map(head).shape == (3, 4, 16, 16)
    assert head.gate.shape == (3, 4, 16)
    assert abs(attention_map(cache.blocks[2].attention).sum(axis=-1) - (2 * head.gate - 1)).max() < 1e-5
    assert head.gate == pytest.approx(1 / (1 + math.exp(-1)))  # W_gate starts at 0, b_gate at 1


def test_dtype_follows_the_parameters_and_gradients_have_their_shapes():
    for dtype in ("float32", "float64"):
        cfg = ModelConfig(depth=1, channels=3, patch_size=4)
        params = init_model(cfg, np.random.default_rng(0), dtype)
        images = np.random.default_rng(1).random((2, 8, 8, 3)).astype(dtype)
        loss, grads = loss_and_grads(params, images, np.array([1, 2]), cfg)
        assert loss.dtype == dtype
        assert {n: (a.shape, a.dtype) for n, a in flatten(grads).items()} == {
            n: (a.shape, a.dtype) for n, a in flatten(params).items()
        }
        assert list(flatten(grads)) == list(flatten(params))


def test_patches_are_taken_row_by_row():
    cfg = ModelConfig(image_size=4, patch_size=2)
    image = np.arange(16.0).reshape(1, 4, 4)
    assert patches(image, cfg)[0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


def test_the_ffn_width_follows_its_rule():
    assert (ModelConfig().F, ModelConfig(ffn="gelu").F, ModelConfig(width=32).F) == (168, 256, 80)
    assert ModelConfig(ffn_width=7).F == 7


# ------------------------------------------------------------------------------------- planted bugs

BUGS = {  # what is wrong: (the test that catches it, the change)
    "a NumPy number in a formula": (
        test_dtype_follows_the_parameters_and_gradients_have_their_shapes,
        (
            softmax_map_forward,
            "1 / math.sqrt(q.shape[-1])",
            "(q.real.max() * 0 + 1).astype('float64') / math.sqrt(q.shape[-1])",
        ),
    ),
}


@pytest.mark.parametrize("name", BUGS)
def test_planted_bugs_are_caught(name):
    assert_caught(*BUGS[name])
