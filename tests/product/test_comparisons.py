"""Models are compared at equal size, under equal damage, with the interval of the textbooks."""

from functools import partial

import numpy as np
import pytest

from dgsa_np.data import Split
from dgsa_np.lab.baselines import classifiers
from dgsa_np.lab.cifar_c import CIFAR_C
from dgsa_np.lab.experiments import (
    accuracy_under_corruption,
    collect,
    count_parameters,
    equal_models,
    interval,
    per_seed_scores,
    right_under_corruption,
    run_baselines,
)
from dgsa_np.layers import standardised
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
    assert all(np.array_equal(a, b) for a, b in zip(seen[:31], seen[31:], strict=True))  # clean, 6 x 5


def test_level_0_of_cifar_10_c_leaves_images_as_they_are(digits):
    """The others are bytes, and all classifiers see the same."""
    seen, few = [], Split(*digits.test.take(slice(20)))

    def classify(split):
        seen.append(split.inputs)
        return few.targets

    for _ in range(2):
        right = right_under_corruption(classify, few, CIFAR_C)
    assert right.keys() == CIFAR_C.keys() and all(r.shape == (6, 20) and r.all() for r in right.values())
    once, again = seen[:51], seen[51:]  # clean, 10 x 5
    assert all(np.array_equal(a, b) and a.dtype == "float32" for a, b in zip(once, again, strict=True))
    assert once[0] is few.inputs and not any(np.array_equal(x, few.inputs) for x in once[1::5])


def test_trivial_models_see_images_that_were_prepared(digits):
    """Each image standardised by itself has the same neighbours, however bright."""
    few = digits._replace(train=Split(*digits.train.take(slice(200))), test=Split(*digits.test.take(slice(60))))
    bright = few.test._replace(inputs=0.4 + 0.3 * few.test.inputs)
    prepare = partial(standardised, cfg=ModelConfig(standardise="image"))
    prepared, plain = (classifiers(few, how) for how in (prepare, None))
    for name in ("nearest neighbour", "logistic regression"):
        assert np.array_equal(prepared[name](bright), prepared[name](few.test))
        assert not np.array_equal(plain[name](bright), plain[name](few.test))
    run, _ = run_baselines(few, {"contrast": CIFAR_C["contrast"]}, prepare)
    assert run.accuracy.keys() == {"contrast"} and len(run.accuracy["contrast"]) == 6


def test_the_interval_is_students():
    mean, half = interval([1.0, 2.0, 3.0])
    assert (mean, half) == (2.0, pytest.approx(4.302653 / 3**0.5, rel=1e-6))
    assert np.isnan(interval([1.0])[1])
