"""Cross-entropy: known values, huge logits, and targets that are dropped."""

import math

import numpy as np
import pytest
from support.compare import rel, same
from support.problems import ODD

from dgsa_np import losses
from dgsa_np.losses import cross_entropy_backward, cross_entropy_forward


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


@pytest.mark.parametrize("odd", ODD)
def test_the_logits_of_a_dropped_target_are_not_looked_at(odd):
    rng = np.random.default_rng(0)
    logits, targets, keep = rng.standard_normal((2, 3, 5)), rng.integers(0, 5, (2, 3)), rng.random((2, 3)) < 0.5
    spoilt = np.where(keep[..., None], logits, odd)
    (loss, cache), (right, alone) = (losses.cross_entropy_forward(z, targets, keep) for z in (spoilt, logits))
    dlogits = losses.cross_entropy_backward(cache)
    assert same([loss, dlogits], [right, losses.cross_entropy_backward(alone)]) and not dlogits[~keep].any()
    assert len(cache.P) == len(cache.targets) == keep.sum() and 0 < keep.sum() < 6
