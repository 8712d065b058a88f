"""float32 stays float32, whatever the data, the options and the numbers in a formula are."""

import numpy as np
import pytest
from support.compare import same
from support.planting import assert_caught
from support.problems import TILED, whole_model
from support.training import ONE_EPOCH, SMALL, small_data

from dgsa_np import attention, model, ops, optim
from dgsa_np.attention import differential_head_backward, differential_head_forward
from dgsa_np.attention.mechanisms import MECHANISMS
from dgsa_np.data import Split, corrupt
from dgsa_np.gradcheck import same_bits
from dgsa_np.model import init_model, loss_and_grads, model_forward
from dgsa_np.ops import rotary_backward, rotary_forward
from dgsa_np.params import flatten
from dgsa_np.train import train


def test_single_precision_stays_single():
    """An angle, a lambda that is a number: made inside, in the dtype of the arguments."""
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((2, 3, 4, n)).astype("float32") for n in (6, 6, 5))
    y, cache = rotary_forward(q, np.arange(4))
    assert y.dtype == cache.cos.dtype == cache.sin.dtype == rotary_backward(q, cache).dtype == "float32"
    o, cache = differential_head_forward(q, k, q, k, v, 0.5)
    grads = differential_head_backward(o, cache)
    assert o.dtype == cache.lam.dtype == "float32" and {g.dtype.name for g in grads} == {"float32"}


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
    made += [
        attention.multihead.head_norm_forward(x, w, half, half)[0],
        corrupt(x[0], "gaussian", half, np.random.default_rng(0)),
    ]
    made += [optim.clip_by_norm({"w": w}, half)[0]["w"]]
    for lam in (half, np.float32(0.5), np.array(0.5)):
        for forward, backward in (MECHANISMS["diff_v1"].head, TILED["diff_v1"]):
            o, cache = forward(x, x, x, x, x, lam)
            made += [o, *backward(o, cache)]
    assert {a.dtype.name for a in made} == {"float32"}


def test_images_of_float64_train_the_same_float32_parameters():
    wide, narrow = Split(*small_data().train), small_data().train
    wide = wide._replace(inputs=wide.inputs.astype("float64"))
    results = [train(SMALL, ONE_EPOCH, small_data(train=split, valid=split)) for split in (wide, narrow)]
    assert same(*(flatten(result.params).values() for result in results))


# ------------------------------------------------------------------------------------- planted bugs

BUGS = {  # what is wrong: (the test that catches it, the change)
    "moments that widen": (
        test_float32_parameters_stay_float32_whatever_comes,
        (optim._as_precise, "a.astype(p.dtype, copy=False)", "a"),
    ),
    "images that widen": (
        test_float32_parameters_stay_float32_whatever_comes,
        (model.patch_embed_forward, 'if images.dtype.kind == "c"', "if True"),
    ),
}


@pytest.mark.parametrize("name", BUGS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_planted_bugs_are_caught(name):
    assert_caught(*BUGS[name])
