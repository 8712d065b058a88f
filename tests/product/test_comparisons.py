"""Models are compared at equal size, under equal damage, with the interval of the textbooks."""

import numpy as np
import pytest

from dgsa_np.lab.experiments import (
    accuracy_under_corruption,
    collect,
    count_parameters,
    equal_models,
    interval,
    per_seed_scores,
    run_baselines,
)
from dgsa_np.model import ModelConfig

SMALL = ModelConfig(width=32, depth=2, patch_size=2)


def test_models_are_compared_at_equal_size_and_key_width():
    models = equal_models(SMALL)
    counts = [count_parameters(m) for m in models.values()]
    assert max(counts) / min(counts) < 1.01
    assert len({m.sizes["d"] for m in models.values()}) == 1
    assert models["softmax"].n_heads == 2 * models["dgsa"].n_heads


def test_the_baselines_reach_their_yardsticks(digits):
    runs = {r.name: r for r in run_baselines(digits)}
    scores = {n: per_seed_scores(a)["clean"][0] for n, a in collect(runs.values()).items()}
    assert scores["logistic regression"] > 0.95
    assert scores["nearest neighbour"] > 0.97


def test_every_classifier_sees_the_same_damage(digits):
    seen = []

    def classify(split):
        seen.append(split.inputs)
        return np.zeros(len(split.inputs), int)

    once, again = (accuracy_under_corruption(classify, digits.test, "vision") for _ in range(2))
    assert once == again
    assert all(np.array_equal(a, b) for a, b in zip(seen[:36], seen[36:], strict=True))


def test_the_interval_is_students():
    mean, half = interval([1.0, 2.0, 3.0])
    assert (mean, half) == (2.0, pytest.approx(4.302653 / 3**0.5, rel=1e-6))
    assert np.isnan(interval([1.0])[1])
