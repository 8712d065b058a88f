"""The corruptions of CIFAR-10-C: images stay bytes, and each kind of damage is what its definition
says, as loops and closed forms have it.
"""

import colorsys
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from support.planting import assert_caught

from dgsa_np.data import load
from dgsa_np.lab import cifar_c
from dgsa_np.lab.cifar_c import CIFAR_C

GREY, COLOUR = (5, 8, 8), (5, 8, 8, 3)
DRAWN = ["gaussian noise", "shot noise", "impulse noise", "speckle noise"]
SEVERITIES = range(1, 6)


def each_severity(name, published):
    """A test that is given each severity and the number that was published for it."""
    return pytest.mark.parametrize(("severity", name), [*enumerate(published, 1)])


def pictures(shape, dtype="float64"):
    """Of bytes, as files have them."""
    return (np.random.default_rng(1).integers(0, 256, shape) / 255).astype(dtype)


def damaged(x, kind, severity, seed=0):
    return CIFAR_C[kind].damage(x, severity, np.random.default_rng(seed))


def byte(x):
    """What a byte keeps of a number."""
    return int(min(max(255 * x + 1e-6, 0), 255)) / 255


@pytest.mark.parametrize("kind", CIFAR_C)
@pytest.mark.parametrize("shape", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_damaged_images_are_new_bytes_repeatable_and_leave_their_argument_alone(kind, shape, dtype):
    x = pictures(shape, dtype)
    before = x.tobytes()
    for severity in SEVERITIES:
        out = damaged(x, kind, severity)
        assert out.shape == shape and out.dtype == dtype and not np.shares_memory(out, x)
        assert out.min() >= 0 and out.max() <= 1 and (out == (np.round(255 * out) / 255).astype(dtype)).all()
        assert x.tobytes() == before and out.tobytes() == damaged(x, kind, severity).tobytes()
    assert (out != x).any(axis=tuple(range(1, x.ndim))).all()


@pytest.mark.parametrize("kind", CIFAR_C)
def test_chance_plays_a_part_in_noise_alone(kind):
    one, other = (damaged(pictures(GREY), kind, 3, seed) for seed in (0, 1))
    assert np.array_equal(one, other) == (kind not in DRAWN)


@pytest.mark.parametrize("kind", CIFAR_C)
def test_a_grey_image_is_an_image_with_one_channel(kind):
    x = pictures(GREY, "float32")
    for severity in SEVERITIES:
        assert np.array_equal(damaged(x, kind, severity), damaged(x[..., None], kind, severity)[..., 0])


def coloured_picture():
    """(1, 32, 32, 3), as rough as photographs: the amplitude of a wave falls with its frequency."""
    rough, f = np.random.default_rng(0).standard_normal((32, 32, 3)), np.fft.fftfreq(32)
    falls = 1 / np.maximum(np.hypot(f[:, None], f), 1 / 32)[..., None]
    smooth = np.fft.ifft2(np.fft.fft2(rough, axes=(0, 1)) * falls, axes=(0, 1)).real
    return np.floor(255 * (0.5 + 0.15 * smooth / smooth.std()).clip(0, 1))[None] / 255


@pytest.mark.parametrize("kind", CIFAR_C)
def test_damage_grows_with_severity(kind):
    """A digit of 8 x 8 pixels is left 7, 7, 6, 6 and 5 of them, and 5 lie better than 6."""
    for x in (load("digits").test.inputs[:100], coloured_picture()):
        far = [((damaged(x, kind, severity) - x) ** 2).mean() for severity in SEVERITIES]
        far = far[1::2] if kind == "pixelate" and len(x) > 1 else far
        assert far[0] > 0 and all(a < b for a, b in pairwise([far[0] / 2, *far]) if kind != "pixelate"), far
        assert far[-1] > 1.4 * far[0]


def test_there_are_five_severities_after_none():
    assert {c.levels for c in CIFAR_C.values()} == {(0, 1, 2, 3, 4, 5)} and len(CIFAR_C) == 10


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_not_hit_keeps_its_byte(dtype):
    """Of all 256 there are, in both precisions, whether NumPy or Pillow does the damage."""
    x = np.broadcast_to((np.arange(256) / 255).astype(dtype).reshape(1, 16, 16), (200, 16, 16))
    changed = damaged(x, "impulse noise", 1) != x
    assert changed.mean() == pytest.approx(0.01 * 255 / 256, abs=0.002)
    whole = cifar_c.each_image(x[:1, ..., None].astype("float64"), lambda image: image)[..., 0]
    assert np.array_equal(whole.astype(dtype), x[:1])


# -------------------------------------------------------------------------------------------- noise

HALF = np.full((60, 20, 20), 0.5)


def noise(kind, severity, x=HALF):
    """What was added, without the half byte that rounding down takes on average."""
    return damaged(x, kind, severity) + 0.5 / 255 - x


@pytest.mark.parametrize("severity", SEVERITIES)
def test_noise_has_the_mean_and_the_spread_of_its_law(severity):
    """Gaussian: c. Speckle: c x. Shot: a Poisson number of photons, of the variance x / c."""
    gaussian, speckle, shot = (noise(kind, severity) for kind in ("gaussian noise", "speckle noise", "shot noise"))
    wanted = (
        (gaussian, (0.04, 0.06, 0.08, 0.09, 0.10)[severity - 1]),
        (speckle, 0.5 * (0.06, 0.1, 0.12, 0.16, 0.2)[severity - 1]),
        (shot, np.sqrt(0.5 / (500, 250, 100, 75, 50)[severity - 1])),
    )
    for added, spread in wanted:
        assert added.mean() == pytest.approx(0, abs=0.002) and added.std() == pytest.approx(spread, rel=0.02)


def test_speckle_and_shot_noise_follow_the_brightness_of_a_pixel():
    """Without light nothing is added; with a quarter of it, shot noise has half the spread."""
    dark, dim = np.zeros((60, 20, 20)), np.full((60, 20, 20), 0.2)
    assert not damaged(dark, "speckle noise", 5).any() and not damaged(dark, "shot noise", 5).any()
    assert damaged(dark, "gaussian noise", 5).any()
    for kind, power in (("speckle noise", 1), ("shot noise", 0.5)):
        ratio = noise(kind, 1, dim).std() / noise(kind, 1, 4 * dim).std()
        assert ratio == pytest.approx(0.25**power, rel=0.03)


@each_severity("part", (0.01, 0.02, 0.03, 0.05, 0.07))
def test_impulses_are_salt_and_pepper_in_each_channel_by_itself(severity, part):
    out = damaged(np.full((60, 20, 20, 3), 102 / 255), "impulse noise", severity)
    hit = out != 102 / 255
    assert hit.mean() == pytest.approx(part, rel=0.1)
    assert set(out[hit]) == {0, 1} and out[hit].mean() == pytest.approx(0.5, abs=0.05)
    both = (hit[..., 0] & hit[..., 1]).mean()
    assert both == pytest.approx(part**2, abs=0.0015)


# --------------------------------------------------------------------------------- blur, by hand


def filtered(image, kernel, border):
    """An image (h, w) under a kernel of odd sides, as loops."""
    r = len(kernel) // 2
    wide = np.pad(image, r, mode=border)
    return [
        [sum(kernel[a][b] * wide[i + a, j + b] for a, b in np.ndindex(*kernel.shape)) for j in range(image.shape[1])]
        for i in range(len(image))
    ]


def kernel_of_a_disk(radius, alias):
    disk = {(a, b): 1.0 for a in range(-3, 4) for b in range(-3, 4) if a * a + b * b <= radius * radius}
    tap = {a: np.exp(-(a * a) / (2 * alias**2)) for a in (-1, 0, 1)}
    kernel = np.zeros((7, 7))
    for a, b in disk:
        for da, db in np.ndindex(3, 3):
            kernel[3 + a + da - 1, 3 + b + db - 1] += tap[da - 1] * tap[db - 1]
    return kernel / (len(disk) * sum(tap.values()) ** 2)


@each_severity("disk", ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)))
def test_defocus_is_a_disk_that_is_blurred_a_little(severity, disk):
    x, kernel = pictures((1, 7, 8)), kernel_of_a_disk(*disk)
    by_hand = np.vectorize(byte)(filtered(x[0], kernel, "reflect"))
    assert kernel.sum() == pytest.approx(1) and abs(damaged(x, "defocus blur", severity)[0] - by_hand).max() < 1e-12


def test_defocus_keeps_the_light_and_is_hardly_seen_at_first():
    point = np.zeros((1, 17, 17, 1))
    point[0, 8, 8] = 1
    for severity, c in enumerate(cifar_c.NUMBERS[cifar_c.defocus_blur], 1):
        spread = cifar_c.defocus_blur(point, c, None)
        assert spread.sum() == pytest.approx(1) and (spread >= 0).all()
        assert np.allclose(spread, spread.swapaxes(1, 2)) and np.allclose(spread, spread[:, ::-1])
        assert spread[0, 8, 8, 0] > 0.8 or severity > 1
    assert (spread > 0.1).sum() == 9


@each_severity("sigma", (0.4, 0.6, 0.7, 0.8, 1.0))
def test_a_gaussian_blur_by_hand(severity, sigma):
    r = int(4 * sigma + 0.5)
    tap = np.exp(-(np.arange(-r, r + 1) ** 2) / (2 * sigma**2))
    kernel, x = np.outer(tap, tap) / tap.sum() ** 2, pictures((2, 8, 7, 3))
    out = damaged(x, "gaussian blur", severity)
    for n, channel in ((0, 0), (1, 2)):
        by_hand = np.vectorize(byte)(filtered(x[n, :, :, channel], kernel, "edge"))
        assert abs(out[n, :, :, channel] - by_hand).max() < 1e-12


# --------------------------------------------------------------------------- light and contrast


@each_severity("more", (0.05, 0.1, 0.15, 0.2, 0.3))
def test_brightness_adds_to_the_value_and_keeps_hue_and_saturation(severity, more):
    x = pictures(COLOUR)
    x[0, 0, 0], x[0, 0, 1], x[0, 0, 2] = 0, (0, 102 / 255, 0), (1, 51 / 255, 0)
    out = damaged(x, "brightness", severity)
    for at in np.ndindex(5, 8, 8):
        hue, saturation, value = colorsys.rgb_to_hsv(*x[at])
        by_hand = colorsys.hsv_to_rgb(hue, saturation, min(value + more, 1))
        assert abs(out[at] - [byte(c) for c in by_hand]).max() <= 1 / 255 + 1e-9
    assert out[0, 0, 0] == pytest.approx([byte(more)] * 3) and out[0, 0, 2] == pytest.approx([1, 0.2, 0])
    brighter = cifar_c.brightness(x, more, None)
    ratios = [a / a.max(axis=-1, keepdims=True) for a in (brighter[1:], x[1:])]
    assert np.allclose(*ratios, rtol=1e-12) and np.allclose(brighter.max(axis=-1), (x.max(axis=-1) + more).clip(0, 1))


@each_severity("left", (0.75, 0.5, 0.4, 0.3, 0.15))
def test_contrast_is_lost_about_the_mean_of_each_channel(severity, left):
    x = pictures(COLOUR)
    out = damaged(x, "contrast", severity)
    for n, channel in np.ndindex(5, 3):
        mean = sum(x[n, i, j, channel] for i, j in np.ndindex(8, 8)) / 64
        by_hand = [[byte(mean + left * (x[n, i, j, channel] - mean)) for j in range(8)] for i in range(8)]
        assert abs(out[n, :, :, channel] - by_hand).max() < 1e-12


# --------------------------------------------------------------------------------- pixels, JPEG


def whole(x):
    return np.floor(x + 0.5)


@pytest.mark.parametrize("shape", [GREY, COLOUR], ids=["grey", "colour"])
def test_pixelated_blocks_are_the_means_of_what_was_there(shape):
    """Where sizes divide. A mean is rounded to a byte, in rows first and then in columns."""
    x = pictures(shape).reshape(*shape[:3], -1)
    for c, n in ((0.5, 4), (0.25, 2)):
        out = cifar_c.pixelate(x, c, None).reshape(5, n, 8 // n, n, 8 // n, -1)
        blocks = np.round(255 * x).reshape(out.shape)
        means = whole(whole(blocks.mean(axis=4, keepdims=True)).mean(axis=2, keepdims=True))
        assert np.allclose(255 * out, np.broadcast_to(means, out.shape), rtol=0, atol=1e-9)


@each_severity("side", (38, 36, 34, 30, 26))
def test_a_pixelated_image_has_as_many_rows_as_its_severity_leaves(severity, side):
    """Of 40. Where one of these ends inside a pixel, that pixel gets the one its middle is in."""
    ramp = np.broadcast_to(np.arange(40)[None, :, None] * 5 / 255, (1, 40, 40))
    assert len(np.unique(damaged(ramp, "pixelate", severity)[0, :, 0])) == side


# The table for brightness in Annex K of the JPEG standard, which quality 50 takes as it is.
TABLE = """16 11 10 16 24 40 51 61  12 12 14 19 26 58 60 55  14 13 16 24 40 57 69 56  14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77  24 35 55 64 81 104 113 92  49 64 78 87 103 121 120 101  72 92 95 98 112 100 103 99"""


@each_severity("quality", (80, 65, 58, 50, 40))
def test_jpeg_rounds_the_cosine_transform_by_its_table(severity, quality):
    """Each frequency is left the multiple of its number in the table that is nearest."""
    x = np.round(255 * (0.3 + 0.4 * pictures((3, 8, 8)))) / 255  # so that nothing is cut
    table = (np.array(TABLE.split(), int).reshape(8, 8) * (200 - 2 * quality if quality >= 50 else 125) + 50) // 100
    k, n = np.mgrid[:8, :8]
    C = np.cos(np.pi * (2 * n + 1) * k / 16) * np.where(k == 0, np.sqrt(1 / 8), 1 / 2)
    before, after = (C @ (255 * images - 128) @ C.T for images in (x, damaged(x, "jpeg", severity)))
    assert abs(after - table * np.round(after / table)).max() < 1.5  # pixels are rounded to bytes again
    assert (abs(after - before) < table / 2 + 1.5).all() and (abs(after - before) > table / 4).any()


# ------------------------------------------------------------------------------------- planted bugs

of_noise = partial(test_noise_has_the_mean_and_the_spread_of_its_law, 3)
of_impulses = partial(test_impulses_are_salt_and_pepper_in_each_channel_by_itself, 5, 0.07)
of_disks = partial(test_defocus_is_a_disk_that_is_blurred_a_little, 4, (1, 0.2))
of_light = partial(test_brightness_adds_to_the_value_and_keeps_hue_and_saturation, 5, 0.3)
of_contrast = partial(test_contrast_is_lost_about_the_mean_of_each_channel, 5, 0.15)
of_bytes = partial(
    test_damaged_images_are_new_bytes_repeatable_and_leave_their_argument_alone, "gaussian noise", GREY, "float64"
)
of_blur = partial(test_a_gaussian_blur_by_hand, 5, 1.0)
of_blocks = partial(test_pixelated_blocks_are_the_means_of_what_was_there, COLOUR)

BUGS = {  # what is wrong: (what catches it, function, old, new)
    "shot noise of so many photons in all": (of_noise, cifar_c.shot_noise, "x * c) / c", "x * c) / c**1.1"),
    "speckle that does not follow the light": (of_noise, cifar_c.speckle_noise, "x + x *", "x +"),
    "impulses of salt alone": (of_impulses, cifar_c.impulse_noise, "rng.integers(0, 2, x.shape)", "1.0"),
    "all channels of a pixel are hit together": (
        of_impulses, cifar_c.impulse_noise, "rng.random(x.shape)", "rng.random((*x.shape[:3], 1))"),
    "channels are blurred together": (of_blur, cifar_c.gaussian_blur, "axes=(1, 2)", "axes=(1, 2, 3)"),
    "zeros beyond the border of a blur": (of_blur, cifar_c.gaussian_blur, '"nearest"', '"constant"'),
    "the border repeats its pixel in a defocus": (of_disks, cifar_c.defocus_blur, '"mirror"', '"reflect"'),
    "a square for a disk": (of_disks, cifar_c.defocus_blur, "at[:, None] ** 2 + at**2", "at[:, None] * at"),
    "a disk without its edge": (of_disks, cifar_c.defocus_blur, "<=", "<"),
    "brightness added to each channel": (
        of_light, cifar_c.brightness, "x * brighter / np.where(value > 0, value, 1), brighter", "x + c, brighter"),
    "black stays black": (of_light, cifar_c.brightness, ", brighter)", ", 0)"),
    "contrast about the mean of all channels": (of_contrast, cifar_c.contrast, "axis=(1, 2)", "axis=(1, 2, 3)"),
    "contrast about zero": (of_contrast, cifar_c.contrast, "(x - mean) * c + mean", "x * c"),
    "rounded to the nearest byte": (of_contrast, cifar_c.damaged, "+ 1e-6", "+ 0.5"),
    "no bytes": (of_bytes, cifar_c.damaged, "np.floor(255 * out + 1e-6) / 255", "out"),
    "not cut to [0, 1]": (of_bytes, cifar_c.damaged, ".clip(0, 1)", ""),
    "one severity too low": (of_noise, cifar_c.damaged, "int(severity) - 1", "max(int(severity) - 2, 0)"),
    "blocks of the nearest pixel": (of_blocks, cifar_c.pixelate, "* c),) * 2, Image.BOX", "* c),) * 2, Image.NEAREST"),
    "blocks that are smoothed": (of_blocks, cifar_c.pixelate, "side), Image.BOX", "side), Image.BILINEAR"),
    "another quality": (
        partial(test_jpeg_rounds_the_cosine_transform_by_its_table, 1, 80), cifar_c.jpeg, "quality=c", "quality=95"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", BUGS)
def test_planted_bugs_are_caught(name):
    test, *change = BUGS[name]
    assert_caught(test, change)
