"""RMSNorm and LayerNorm of rows that are far from zero, all equal, or without size."""

from functools import partial

import numpy as np
import pytest
from support.compare import error
from support.planting import assert_caught

from dgsa_np import ops

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


# ------------------------------------------------------------------------------------- planted bugs

BUGS = {  # what is wrong: (the test that catches it, the change)
    "a row centred once": (
        partial(test_norms_of_rows_far_from_zero_keep_the_digits_of_float32, "layernorm", 1e6, 1e-5),
        (ops.layernorm_forward, "    centred = centred - row_mean(centred)\n", ""),
    ),
}


@pytest.mark.parametrize("name", BUGS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_planted_bugs_are_caught(name):
    assert_caught(*BUGS[name])
