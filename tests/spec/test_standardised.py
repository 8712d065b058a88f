"""Standardised pixels: (x - m) / s by hand, and a model on them is the model on images that were
standardised before.
"""

from dataclasses import asdict, replace
from functools import partial

import numpy as np
import pytest
from support.compare import error
from support.fast_step import KINDS as FAST_KINDS
from support.fast_step import apart, fast_gradients, plain_gradients, problem, step_for
from support.planting import assert_caught

from dgsa_np import layers
from dgsa_np.attention import KINDS
from dgsa_np.data import load
from dgsa_np.fast import make_step
from dgsa_np.lab import settings
from dgsa_np.lab.settings import SettingsError, settle
from dgsa_np.layers import kept_patches, patches, standardised
from dgsa_np.model import ModelConfig, init_model, loss_and_grads, model_forward
from dgsa_np.params import flatten

M, S = 0.286, 0.353
DATA = {"standardise": "data", "pixel_mean": M, "pixel_deviation": S}
IMAGE = {"standardise": "image"}
GREY, COLOUR = (3, 4, 4), (3, 4, 4, 3)
shapes = pytest.mark.parametrize("shape", [GREY, COLOUR], ids=["grey", "colour"])
dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


def by_hand(images, how):
    """Pixel by pixel; the mean and the deviation of an image are over all channels too."""
    out = np.empty(images.shape)
    for n, image in enumerate(images.astype("float64")):
        pixels = image.ravel().tolist()
        mean = sum(pixels) / len(pixels)
        spread = (sum((x - mean) ** 2 for x in pixels) / len(pixels)) ** 0.5
        m, s = (M, S) if how == "data" else (mean, max(spread, 1 / 255))
        out[n] = np.reshape([(x - m) / s for x in pixels], image.shape)
    return out


@shapes
@dtypes
@pytest.mark.parametrize("asked", [DATA, IMAGE], ids=["data", "image"])
def test_pixels_by_hand(asked, shape, dtype):
    """One image is blank, and one has hardly any contrast, which is not brought out."""
    images = np.random.default_rng(0).random(shape).astype(dtype)
    images[1], images[2] = 0.25, 0.5 + (images[2] - 0.5) / 1000
    before, out = images.copy(), standardised(images, ModelConfig(**asked))
    assert out.dtype == dtype and np.array_equal(images, before)
    assert np.allclose(out, by_hand(images, asked["standardise"]), rtol=0, atol=1e-4 if dtype == "float32" else 1e-12)
    if asked is IMAGE:
        assert abs(out[1]).max() < 1e-5 and 0 < abs(out[2]).max() < 0.2
        assert out[0].mean() == pytest.approx(0, abs=1e-6) and out[0].std() == pytest.approx(1, rel=1e-6)


@shapes
def test_none_leaves_images_as_they_are(shape):
    images = np.random.default_rng(0).random(shape)
    assert standardised(images, ModelConfig(pixel_mean=M, pixel_deviation=S)) is images


def test_each_image_by_itself_is_blind_to_brightness_and_contrast():
    images, cfg = np.random.default_rng(0).random(COLOUR), ModelConfig(**IMAGE)
    assert error(standardised(0.2 + 0.5 * images, cfg), standardised(images, cfg)) < 1e-13
    alone = [standardised(image[None], cfg)[0] for image in images]
    assert np.array_equal(standardised(images, cfg), alone)


def test_patches_are_cut_from_standardised_images():
    images, cfg = np.random.default_rng(0).random(COLOUR), ModelConfig(image_size=4, patch_size=2, channels=3)
    for asked in (DATA, IMAGE):
        there = replace(cfg, **asked)
        assert error(kept_patches(images, there), patches(standardised(images, there), cfg)) < 1e-13


def test_a_dropped_patch_counts_for_nothing_whatever_it_holds():
    """Neither for its image's mean and deviation, nor for what comes after."""
    cfg = ModelConfig(image_size=4, patch_size=2, channels=3, **IMAGE)
    images, keep = np.random.default_rng(0).random(COLOUR), np.array([True, False, True, True])
    keep = np.tile(keep, (len(images), 1))
    spoilt = images.copy()
    spoilt[:, :2, 2:] = np.nan
    tiles = kept_patches(spoilt, cfg, keep)
    rest = patches(images, cfg)[:, [0, 2, 3]]
    mean, deviation = (f(rest, axis=(1, 2), keepdims=True) for f in (np.mean, np.std))
    assert error(tiles[:, [0, 2, 3]], (rest - mean) / deviation) < 1e-13 and not tiles[:, 1].any()
    params = init_model(cfg, np.random.default_rng(0), "float64")
    step = make_step(cfg, len(images), keep=True, dtype="float64")
    step.set(params)
    targets = np.arange(len(images))
    wanted, _ = loss_and_grads(params, images, targets, cfg, keep)
    for given in (images, spoilt):
        assert loss_and_grads(params, given, targets, cfg, keep)[0] == pytest.approx(float(wanted), rel=1e-13)
        assert float(step.gradients(given, targets, keep)) == pytest.approx(float(wanted), rel=1e-12)


# ------------------------------------------------------------------------------------- whole models


def pair_of(kind, asked, dtype="float64", **switches):
    """A problem with raw images for a model that standardises, and one with images by hand."""
    given = problem(kind, "vision", **switches, **asked).in_dtype(dtype)
    images = by_hand(given.inputs, asked["standardise"]).astype(dtype)
    return given, given._replace(cfg=replace(given.cfg, standardise="none"), inputs=images)


BAR = {"float32": 2e-5, "float64": 1e-12}
asked_for = pytest.mark.parametrize("asked", [DATA, IMAGE], ids=["data", "image"])


@pytest.mark.parametrize("kind", KINDS)
@asked_for
def test_a_model_is_that_on_images_standardised_by_hand(kind, asked):
    raw, ready = pair_of(kind, asked)
    logits, wanted = (model_forward(p.inputs, p.params, p.cfg)[0] for p in (raw, ready))
    assert error(logits, wanted) < 1e-12
    assert error(logits, model_forward(raw.inputs, raw.params, ready.cfg)[0]) > 1e-3


@dtypes
@asked_for
@pytest.mark.parametrize("channels", [1, 3])
def test_gradients_are_those_on_images_standardised_by_hand(asked, dtype, channels):
    raw, ready = pair_of("dgsa", asked, dtype, channels=channels)
    got, want = plain_gradients(raw), plain_gradients(ready)
    assert apart(got, want) < BAR[dtype] and {a.dtype for a in got.values()} == {np.dtype(dtype)}


@dtypes
@asked_for
@pytest.mark.parametrize("kind", FAST_KINDS)
def test_the_fast_step_standardises_too(asked, dtype, kind):
    """As the plain one does; and a whole step with it, on two threads."""
    raw, ready = pair_of(kind, asked, dtype, channels=3)
    assert apart(fast_gradients(raw, threads=2), plain_gradients(ready)) < BAR[dtype]
    one, other = step_for(raw), step_for(ready)
    assert np.allclose(one.train(*raw.batch), other.train(*ready.batch), rtol=BAR[dtype])


def test_images_of_another_precision_than_the_parameters_are_converted_first():
    raw, _ = pair_of("dgsa", IMAGE, "float32")
    wide = raw._replace(inputs=raw.inputs.astype("float64"))
    same = [loss_and_grads(p.params, p.inputs, p.targets, p.cfg)[1] for p in (raw, wide)]
    assert all(np.array_equal(a, b) for a, b in zip(*(flatten(g).values() for g in same), strict=True))


# ------------------------------------------------------------------------------- mean and deviation


def settled(load=settings.DataConfig.load, **asked):
    return settle({"data": "digits", "device": "cpu", "threads": 1} | asked, load)[1]


def test_the_mean_and_the_deviation_are_those_of_the_training_split_alone():
    images = load("digits").train.inputs.astype("float64").ravel()
    mean = images.sum() / images.size
    spread = np.sqrt(((images - mean) ** 2).sum() / images.size)
    model = settled(standardise="data")
    assert (model.pixel_mean, model.pixel_deviation) == pytest.approx((mean, spread), abs=6e-7)

    def others_changed(config):
        data = config.load()
        valid, test = (split._replace(inputs=split.inputs * 0) for split in (data.valid, data.test))
        return data._replace(valid=valid, test=test)

    assert settled(others_changed, standardise="data") == model
    few = settled(standardise="data", train_size=7)
    assert few.pixel_mean != model.pixel_mean


def test_without_it_they_stay_as_they_are():
    for how in ("none", "image"):
        model = settled(standardise=how)
        assert (model.standardise, model.pixel_mean, model.pixel_deviation) == (how, 0, 1)


def test_settings_that_were_settled_can_be_settled_again_and_none_other():
    """As those of a run are, that goes on."""
    model = settled(standardise="data")
    assert settled(**{name: asdict(model)[name] for name in DATA}) == model
    for name in ("pixel_mean", "pixel_deviation"):
        with pytest.raises(SettingsError, match=f"{name} is 0.5, expected .*: it comes from the data digits"):
            settled(standardise="data", **{name: 0.5})


def test_a_deviation_is_never_0():
    with pytest.raises(ValueError, match=r"pixel_deviation is 0\.0"):
        ModelConfig(standardise="data", pixel_deviation=0.0)


# ------------------------------------------------------------------------------------- planted bugs

of_data, of_images = (partial(test_pixels_by_hand, asked, COLOUR, "float64") for asked in (DATA, IMAGE))
of_training = test_the_mean_and_the_deviation_are_those_of_the_training_split_alone

BUGS = {  # what is wrong: (what catches it, function, old, new)
    "the mean stays": (of_data, standardised, "(x - m) / s", "x / s"),
    "the deviation stays": (of_data, standardised, "(x - m) / s", "x - m"),
    "channels by themselves": (of_images, standardised, "range(1, x.ndim)", "range(1, 3)"),
    "all images together": (of_images, standardised, "range(1, x.ndim)", "range(x.ndim)"),
    "noise is brought out": (of_images, standardised, ".clip(1 / 255)", ".clip(1e-9)"),
    "patches by the data alone": (
        test_patches_are_cut_from_standardised_images, layers.kept_patches,
        "standardised(kept_only(keep, patches(images, cfg)), cfg, keep)", "patches(images, cfg)"),
    "dropped patches count": (
        test_a_dropped_patch_counts_for_nothing_whatever_it_holds, standardised, "/ part", "/ 1"),
    "dropped patches are standardised too": (
        test_a_dropped_patch_counts_for_nothing_whatever_it_holds, layers.kept_patches,
        "kept_only(keep, standardised", "(lambda keep, x: x)(keep, standardised"),
    "the mean of the test images": (of_training, settle, "data.train.inputs, dtype", "data.test.inputs, dtype"),
    "the variance for the deviation": (of_training, settle, "(np.mean, np.std)", "(np.mean, np.var)"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", BUGS)
def test_planted_bugs_are_caught(name):
    test, *change = BUGS[name]
    assert_caught(test, change)
