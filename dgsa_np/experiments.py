"""Runs of several mechanisms over seeds and corruptions, beside trivial baselines."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from .attention import KINDS
from .data import CORRUPTIONS, corrupt
from .model import ModelConfig, init_model
from .params import count
from .train import TrainConfig, predict, train


class Run(NamedTuple):
    name: str
    seed: int
    params: dict
    epochs: list
    accuracy: dict  # {corruption: [accuracy at each level]}


def equal_models(reference: ModelConfig, kinds=KINDS) -> dict:
    """{kind: ModelConfig} with the key width and, by ffn_width, nearly the parameter count of the reference.

    A kind with one softmax map has twice the heads of one with two, so that d is equal.
    """
    target = count_parameters(reference)
    maps = reference.mechanism.maps
    models = {}
    for kind in kinds:
        one_head = replace(reference, kind=kind, n_heads=1)
        model = replace(one_head, n_heads=reference.n_heads * maps // one_head.mechanism.maps, ffn_width=reference.F)
        per_unit = count_parameters(replace(model, ffn_width=model.F + 1)) - count_parameters(model)
        models[kind] = replace(model, ffn_width=model.F + round((target - count_parameters(model)) / per_unit))
    return models


def count_parameters(model: ModelConfig) -> int:
    return count(init_model(model, np.random.default_rng(0)))


def run_one(model: ModelConfig, cfg: TrainConfig, data) -> Run:
    """Train once, then evaluate on the test split, clean and under every corruption."""
    result = train(model, cfg, data)

    def classify(images):
        return predict(result.params, images, model).argmax(axis=-1)

    return Run(model.kind, cfg.seed, result.params, result.epochs, accuracy_under_corruption(classify, data.test))


def run_grid(models: dict, cfg: TrainConfig, seeds, data, jobs=2):
    """Every model with every seed, in processes of one thread each; yields each Run as it is done."""
    from joblib import Parallel, delayed

    grid = [(model, replace(cfg, seed=seed)) for seed in seeds for model in models.values()]
    parallel = Parallel(n_jobs=jobs, return_as="generator_unordered", inner_max_num_threads=1, backend="loky")
    return parallel(delayed(run_one)(model, c, data) for model, c in grid)


def run_baselines(data) -> list:
    """Logistic regression and nearest neighbour on the pixels, under the same corruptions."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    estimators = {
        "logistic regression": LogisticRegression(max_iter=2000),
        "nearest neighbour": KNeighborsClassifier(1),
    }
    runs = []
    for name, estimator in estimators.items():
        estimator.fit(_pixels(data.train.inputs), data.train.targets)

        def classify(images, estimator=estimator):
            return estimator.predict(_pixels(images))

        runs.append(Run(name, 0, {}, [], accuracy_under_corruption(classify, data.test)))
    return runs


def accuracy_under_corruption(classify, split) -> dict:
    """{corruption: [accuracy at each level of CORRUPTIONS]}; every classifier sees the same damaged images."""
    accuracy = {}
    for number, (kind, levels) in enumerate(CORRUPTIONS.items()):
        images = [
            corrupt(split.inputs, kind, level, np.random.default_rng([number, i])) for i, level in enumerate(levels)
        ]
        predicted = classify(np.concatenate(images)).reshape(len(levels), -1)
        accuracy[kind] = (predicted == split.targets).mean(axis=1).tolist()
    return accuracy


def collect(runs) -> dict:
    """{name: {corruption: array (seeds, levels)}}, seeds in order, mechanisms before baselines."""
    order = {name: i for i, name in enumerate(KINDS)}
    runs = sorted(runs, key=lambda r: (order.get(r.name, len(order)), r.name, r.seed))
    names = dict.fromkeys(r.name for r in runs)
    return {n: {c: np.array([r.accuracy[c] for r in runs if r.name == n]) for c in CORRUPTIONS} for n in names}


def per_seed_scores(by_corruption) -> dict:
    """Accuracy per seed: "clean", each corruption (mean over its levels above 0), and "all corruptions"."""
    scores = {"clean": by_corruption["gaussian"][:, 0]}
    scores |= {corruption: a[:, 1:].mean(axis=1) for corruption, a in by_corruption.items()}
    return scores | {"all corruptions": np.mean([scores[c] for c in by_corruption], axis=0)}


def interval(values) -> tuple:
    """Mean, and half the width of its 95 % confidence interval (Student's t); nan for a single value."""
    from scipy import stats

    values = np.asarray(values)
    if len(values) < 2:
        return float(values.mean()), float("nan")
    return float(values.mean()), float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))


def _pixels(images):
    return images.reshape(len(images), -1)
