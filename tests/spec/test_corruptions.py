"""Damage to images and to sentences:
new arrays, repeatable by seed, as strong as the level says.
"""

import numpy as np
import pytest

from dgsa_np.data import CORRUPTIONS, Split, corrupt

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


# ------------------------------------------------------------------------- corruptions of sentences


def sentences(n=400, T=20):
    x, draw = np.zeros((n, T), "int64"), np.random.default_rng(2)
    for row in x:
        length = draw.integers(1, T + 1)
        row[:length] = draw.integers(3, 50, length)
    return x


@pytest.mark.parametrize("kind", CORRUPTIONS["text"])
def test_damaged_sentences_are_new_repeatable_and_well_formed(kind):
    x = sentences()
    before = x.copy()
    assert np.array_equal(corrupt(x, kind, 0.0, np.random.default_rng(0)), x)
    for level in (0.3, 1.0):
        damaged = corrupt(x, kind, level, np.random.default_rng(0))
        assert np.array_equal(x, before) and not np.shares_memory(damaged, x) and damaged.dtype == x.dtype
        assert np.array_equal(damaged, corrupt(x, kind, level, np.random.default_rng(0)))
        assert not np.array_equal(damaged, corrupt(x, kind, level, np.random.default_rng(1))) or kind == "deletion"
        keep = damaged != 0
        assert keep[:, 0].all() and (np.diff(keep.astype(int), axis=1) <= 0).all()  # never empty, padding at the end
        assert set(damaged[keep]) <= set(x[x != 0])


def test_levels_are_fractions():
    x = np.concatenate([sentences(2000, 20), np.zeros((2000, 40), "int64")], axis=1)  # room for what is inserted
    n = (x != 0).sum()
    dropped, longer = (corrupt(x, kind, 0.3, np.random.default_rng(0)) for kind in ("deletion", "insertion"))
    assert (dropped != 0).sum() / n == pytest.approx(0.7, abs=0.02)
    assert (longer != 0).sum() / n == pytest.approx(1.3, abs=0.02)
    changed = corrupt(x, "substitution", 0.3, np.random.default_rng(0))
    assert (changed != x).sum() / n == pytest.approx(0.3 * 46 / 47, abs=0.02)  # a drawn token may be the same


def test_what_is_left_of_a_sentence_keeps_its_order():
    x = np.arange(1, 21)[None]
    left = corrupt(x, "deletion", 0.4, np.random.default_rng(0))[0]
    assert (np.diff(left[left != 0]) > 0).all() and 0 < (left != 0).sum() < 20
    more = iter(corrupt(np.concatenate([x, 0 * x], axis=1), "insertion", 0.4, np.random.default_rng(0))[0])
    assert all(token in more for token in x[0])  # one after the other


def test_everything_may_be_dropped_but_one_and_what_is_pushed_over_the_end_is_lost():
    x = sentences()
    dropped, longer = (corrupt(x, kind, 1.0, np.random.default_rng(0)) for kind in ("deletion", "insertion"))
    assert np.array_equal(dropped[:, 0], x[:, 0]) and not dropped[:, 1:].any()
    assert np.array_equal((longer != 0).sum(axis=1), np.minimum(20, 2 * (x != 0).sum(axis=1)))
    assert np.array_equal(longer[:, 1::2], x[:, :10])  # a drawn token stands before each


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_tokens_keep_their_dtype(dtype):
    for kind in CORRUPTIONS["text"]:
        assert corrupt(sentences().astype(dtype), kind, 0.5, np.random.default_rng(0)).dtype == dtype


def test_a_damaged_split_keeps_what_is_kept():
    x = sentences()
    split = Split(x, np.zeros(len(x), int), x != 0).corrupted("deletion", 0.5, np.random.default_rng(0))
    assert np.array_equal(split.keep, split.inputs != 0)


@pytest.mark.parametrize(
    ("x", "kind", "words"),
    [
        (np.ones((2, 3)), "deletion", "expected a NumPy array of integer tokens"),
        (np.ones((2, 3, 4), int), "deletion", r"x is \(2, 3, 4\), expected tokens \(N, T\)"),
        (np.ones(3, int), "insertion", r"x is \(3,\), expected tokens \(N, T\)"),
        (np.ones((2, 8, 8), "float32"), "substitution", "x is float32, expected a NumPy array of integer tokens"),
        (np.ones((2, 3), bool), "deletion", "x is bool, expected a NumPy array of integer tokens"),
        ([[1, 2]], "insertion", "x is list, expected a NumPy array of integer tokens"),
        (np.ones((2, 3), int), "gaussian", "float32 or float64"),
    ],
)
def test_images_and_tokens_are_not_mistaken_for_each_other(x, kind, words):
    with pytest.raises((TypeError, ValueError), match=words):
        corrupt(x, kind, 0.5, np.random.default_rng(0))


@pytest.mark.parametrize("kind", CORRUPTIONS["text"])
def test_a_level_of_damage_to_tokens_is_at_most_one(kind):
    for level in (1.01, -0.1, float("nan")):
        with pytest.raises(ValueError, match=f"corrupt \\(kind '{kind}'\\): level is {level}, .*0 <= level <= 1"):
            corrupt(sentences(), kind, level, np.random.default_rng(0))
