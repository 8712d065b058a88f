"""Softmax, sigmoid, sums and embeddings where numbers are huge, many, forbidden or equal."""

from functools import partial

import numpy as np
import pytest
from support.compare import rel
from support.planting import assert_caught

from dgsa_np import ops
from dgsa_np.attention import causal_mask
from dgsa_np.ops import (
    embedding_backward,
    embedding_forward,
    layernorm_backward,
    layernorm_forward,
    linear_backward,
    linear_forward,
    sigmoid,
    softmax_backward,
    softmax_forward,
    sum_rows,
    sum_to_shape,
)


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


# ------------------------------------------------------------------------------------- planted bugs

BUGS = {  # what is wrong: (the test that catches it, the change)
    "sums in single precision": (
        test_sums_over_a_million_rows_keep_the_accuracy_of_float32,
        (ops.sum_to_shape, 'np.promote_types(x.dtype, "float64")', "x.dtype"),
    ),
    "a sigmoid that overflows": (
        partial(test_sigmoid_and_its_complement_sum_to_one_without_overflow, "float32"),
        (ops.sigmoid, "xp.minimum(z, 0)", "z"),
    ),
    "softmax without its maximum": (
        partial(test_softmax_rows_sum_to_one_for_huge_logits_too_in_silence, "float32", 1e4),
        (ops.softmax_forward, "scores - xp.maximum(scores.real.max(axis=-1, keepdims=True), lowest)", "scores"),
    ),
    "masked after exp": (
        partial(test_what_is_forbidden_may_hold_anything, np.inf, "float64"),
        (ops.softmax_forward, "xp.where(mask, scores, -math.inf)", "scores - 1e3 * (~mask)"),
    ),
}


@pytest.mark.parametrize("name", BUGS)
def test_planted_bugs_are_caught(name):
    assert_caught(*BUGS[name])
