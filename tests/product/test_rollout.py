"""Attention rollout: by hand, on maps with and without signs, and on a device."""

import numpy as np
import pytest
from support import strict_cupy

from dgsa_np.attention.gated import gated_head_forward
from dgsa_np.backend import to_device
from dgsa_np.lab.rollout import TREATMENTS, attention_rollout
from dgsa_np.ops import softmax_forward
from dgsa_np.shapes import ShapeError


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def softmax_maps(rng, layers=3):
    return [softmax_forward(rng.standard_normal((2, 4, 5, 5)))[0] for _ in range(layers)]


def gated_maps(rng, layers=3):
    """Fused maps, excitatory maps and gates of some layers."""
    caches = []
    for _ in range(layers):
        arrays = rng.standard_normal((5, 2, 4, 5, 3))
        caches.append(gated_head_forward(*arrays, rng.standard_normal((2, 4, 5)))[1])
    return [c.A for c in caches], [c.A_exc for c in caches], [c.gate for c in caches]


def untreated(maps):
    R = np.eye(maps[0].shape[-1])
    for A in maps:
        R = (A.mean(axis=1) + np.eye(A.shape[-1])) / 2 @ R
    return R


BY_HAND = {  # of a layer [[3, -1], [-2, 0]] / 4, then a layer that swaps the tokens
    "absolute": ([[7 / 8, 1 / 8], [1 / 2, 1 / 2]], [[11 / 16, 5 / 16], [11 / 16, 5 / 16]]),
    "clipped": ([[1, 0], [0, 1]], [[1 / 2, 1 / 2], [1 / 2, 1 / 2]]),
}


@pytest.mark.parametrize("treatment", BY_HAND)
def test_rollout_by_hand(treatment):
    first, swap = np.array([[[[0.75, -0.25], [-0.5, 0.0]]]]), np.array([[[[0.0, 1.0], [1.0, 0.0]]]])
    one, two = BY_HAND[treatment]
    np.testing.assert_allclose(attention_rollout([first], treatment), [one], atol=1e-15)
    np.testing.assert_allclose(attention_rollout([first, swap], treatment), [two], atol=1e-15)


def test_the_first_layer_is_the_rightmost_factor(rng):
    maps = softmax_maps(rng, layers=2)
    one, two = (attention_rollout([A], "absolute") for A in maps)
    np.testing.assert_allclose(attention_rollout(maps, "absolute"), two @ one, atol=1e-15)
    assert abs(two @ one - one @ two).max() > 1e-3


@pytest.mark.parametrize("treatment", TREATMENTS)
def test_softmax_maps_stay_as_published(treatment, rng):
    maps = softmax_maps(rng)
    np.testing.assert_allclose(attention_rollout(maps, treatment), untreated(maps), atol=1e-15)


@pytest.mark.parametrize("treatment", TREATMENTS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_are_distributions(treatment, dtype, rng):
    fused, excitatory, _ = gated_maps(rng)
    maps = [A.astype(dtype) for A in (excitatory if treatment == "excitatory" else fused)]
    R = attention_rollout(maps, treatment)
    assert R.shape == (2, 5, 5) and R.dtype == dtype and (R >= 0).all()
    np.testing.assert_allclose(R.sum(axis=-1), 1, atol=1e-6)


def test_untreated_rows_of_gated_maps_sum_to_the_gate_and_may_be_negative(rng):
    (A,), _, (gate,) = gated_maps(rng, layers=1)
    rows = (A + np.eye(5)) / 2
    np.testing.assert_allclose(rows.sum(axis=-1), gate, atol=1e-15)
    assert rows.min() < 0


def test_heads_of_opposite_signs_do_not_cancel():
    A = np.array([[[[0.5, 0.5], [0.0, 1.0]], [[-0.5, -0.5], [0.0, -1.0]]]])
    np.testing.assert_allclose(attention_rollout([A], "absolute"), [[[0.75, 0.25], [0, 1]]])


@pytest.mark.parametrize("treatment", TREATMENTS)
def test_a_token_that_attends_to_nothing_keeps_itself(treatment):
    A = np.zeros((1, 2, 3, 3))
    A[..., 0, :] = 1 / 3
    np.testing.assert_array_equal(attention_rollout([A], treatment)[0, 1:], np.eye(3)[1:])


def test_rollout_changes_no_map(rng):
    maps = softmax_maps(rng)
    kept = [A.copy() for A in maps]
    for treatment in TREATMENTS:
        attention_rollout(maps, treatment)
    assert all((a == b).all() for a, b in zip(maps, kept, strict=True))


@pytest.mark.parametrize("treatment", TREATMENTS)
def test_rollout_on_a_device(treatment, rng):
    maps = softmax_maps(rng)
    with strict_cupy.installed():
        R = attention_rollout(to_device(maps, "cuda"), treatment)
        assert type(R) is strict_cupy.ndarray
        np.testing.assert_allclose(R.get(), attention_rollout(maps, treatment), atol=1e-15)


WRONG_MAPS = {
    "one array": (np.ones((1, 1, 2, 2)), "absolute", TypeError, "maps is ndarray"),
    "none": ([], "absolute", ValueError, r"len\(maps\) is 0"),
    "a list in the list": ([[[1.0]]], "absolute", TypeError, r"maps\[0\] is list"),
    "three axes": ([np.ones((1, 2, 2))], "absolute", ShapeError, r"maps\[0\] is \(1, 2, 2\)"),
    "not square": ([np.ones((1, 1, 2, 3))], "absolute", ShapeError, r"maps\[0\] is \(1, 1, 2, 3\)"),
    "layers differ": ([np.ones((1, 1, 2, 2)), np.ones((1, 1, 3, 3))], "absolute", ShapeError, r"maps\[1\]"),
    "integers": ([np.ones((1, 1, 2, 2), int)], "absolute", TypeError, r"maps\[0\] has dtype int64"),
    "complex": ([np.ones((1, 1, 2, 2), complex)], "clipped", TypeError, r"maps\[0\] has dtype complex128"),
    "treatment": ([np.ones((1, 1, 2, 2))], "exitatory", ValueError, "treatment .* did you mean 'excitatory'"),
    "fused for excitatory": ([np.eye(2)[None, None] * 0.4], "excitatory", ValueError, r"maps\[0\] .* give head.A_exc"),
    "not a number": ([np.full((1, 1, 2, 2), np.nan)], "excitatory", ValueError, r"maps\[0\] has row sums from nan"),
}


@pytest.mark.parametrize("mistake", WRONG_MAPS)
def test_rollout_names_what_is_wrong(mistake):
    maps, treatment, error, words = WRONG_MAPS[mistake]
    with pytest.raises(error, match=f"attention_rollout: {words}"):
        attention_rollout(maps, treatment)
