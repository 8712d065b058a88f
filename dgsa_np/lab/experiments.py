"""Runs of several mechanisms over seeds and corruptions, beside trivial baselines."""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from ..attention import KINDS
from ..data import CORRUPTIONS
from ..data.corruptions import PAD
from ..fast import choose_step
from ..model import ModelConfig, init_model
from ..params import count
from ..train import TrainConfig, predict, train
from .baselines import classifiers
from .workers import advance, results


class Run(NamedTuple):
    name: str
    seed: int
    params: dict
    steps: list
    epochs: list
    accuracy: dict  # {corruption: [accuracy at each level]}


def equal_models(reference: ModelConfig, kinds=KINDS) -> dict:
    """{kind: ModelConfig}, different from the reference in kind and in what evens out the size."""
    return {kind: evened(replace(reference, kind=kind, n_heads=1), reference) for kind in kinds}


def evened(model: ModelConfig, reference: ModelConfig) -> ModelConfig:
    """The model with the key width and, by ffn_width, nearly the parameter count of the reference.

    A kind with one softmax map gets twice the heads of one with two, so that d is equal.
    """
    heads = reference.n_heads * reference.mechanism.split // model.mechanism.split
    model = replace(model, n_heads=heads, ffn_width=reference.F)
    missing = count_parameters(reference) - count_parameters(model)
    per_unit = count_parameters(replace(model, ffn_width=model.F + 1)) - count_parameters(model)
    return replace(model, ffn_width=model.F + round(missing / per_unit))


def count_parameters(model: ModelConfig) -> int:
    return count(init_model(model, np.random.default_rng(0)))


def run_one(model: ModelConfig, cfg: TrainConfig, data) -> Run:
    """Train once, then evaluate on the test split, clean and under every corruption."""
    result = train(model, cfg, data, progress=advance, step=choose_step(model, cfg))
    accuracy = accuracy_under_corruption(classifier(result.params, model), data.test, model.task)
    return Run(model.kind, cfg.seed, *result, accuracy)


def run_grid(models: dict, cfg: TrainConfig, seeds, data, jobs=2, count=None):
    """Every model with every seed, in so many processes; yields each Run as it is done.

    count : a function that is told, now and then, how many steps are done
    """
    grid = [(model, replace(cfg, seed=seed)) for seed in seeds for model in models.values()]
    return results([partial(run_one, model, seeded, data) for model, seeded in grid], jobs, count=count)


def run_baselines(data, corruptions=None, prepare=None) -> list:
    """The trivial classifiers of the data's task, under the same corruptions; see classifiers."""
    return [
        Run(name, 0, {}, [], [], accuracy_under_corruption(c, data.test, data.meta["task"], corruptions=corruptions))
        for name, c in classifiers(data, prepare).items()
    ]


def classifier(params, model: ModelConfig):
    """A trained model as a function of a Split that returns its classes."""
    return lambda split: predict(params, split, model).argmax(axis=-1)


def corruptions_of(settings) -> dict:
    """{name: Corruption} that a run of these settings is tested with."""
    from .cifar_c import CIFAR_C

    own = CORRUPTIONS[settings["task"]]
    return CIFAR_C if settings.get("corruptions") == "cifar-c" and settings["task"] == "vision" else own


def accuracy_under_corruption(classify, split, task, kinds=None, corruptions=None) -> dict:
    """{corruption: [accuracy at each of its levels]}; all classifiers see the same damaged inputs.

    classify    : a function of a Split that returns its classes
    kinds       : those to take; None takes all
    corruptions : {name: Corruption}; None: CORRUPTIONS[task]
    """
    right = right_under_corruption(classify, split, corruptions or CORRUPTIONS[task], kinds)
    return {kind: [float(at.mean()) for at in levels] for kind, levels in right.items()}


def right_under_corruption(classify, split, corruptions, kinds=None) -> dict:
    """{corruption: bool (levels, N)}, whether each test item is classified right.

    At level 0 nothing is damaged, whatever the corruption: that is classified once.
    """

    def hits(kind, level, seed):
        damaged = with_damage(split, corruptions[kind], level, np.random.default_rng(seed))
        return classify(damaged) == split.targets

    seeds = {kind: number for number, kind in enumerate(corruptions) if kinds is None or kind in kinds}
    clean = hits(next(iter(seeds)), 0, 0) if seeds else None
    return {
        kind: np.array([hits(kind, level, [number, i]) if level else clean for i, level in enumerate(levels)])
        for kind, number in seeds.items()
        for levels in [corruptions[kind].levels]
    }


def with_damage(split, corruption, level, rng):
    """The split with damaged inputs, and a keep that follows dropped and added tokens."""
    some = level and (split.keep is None or split.inputs.any())  # in padding alone there is nothing to damage
    inputs = corruption.damage(split.inputs, level, rng).astype(split.inputs.dtype) if some else split.inputs
    return split._replace(inputs=inputs, keep=None if split.keep is None else inputs != PAD)


def collect(runs) -> dict:
    """{name: {corruption: array (seeds, levels)}}, seeds in order, mechanisms before baselines."""
    order = [*KINDS, *sorted({r.name for r in runs} - {*KINDS})]
    runs = sorted(runs, key=lambda r: (order.index(r.name), r.seed))
    return {
        name: {c: np.array([r.accuracy[c] for r in runs if r.name == name]) for c in runs[0].accuracy}
        for name in dict.fromkeys(r.name for r in runs)
    }


def per_seed_scores(by_corruption) -> dict:
    """Accuracy per seed: "clean", each corruption, and "all corruptions".

    That of a corruption is the mean over its levels above 0.
    """
    scores = {"clean": next(iter(by_corruption.values()))[:, 0]}
    scores |= {corruption: a[:, 1:].mean(axis=1) for corruption, a in by_corruption.items()}
    return scores | {"all corruptions": np.mean([scores[c] for c in by_corruption], axis=0)}


def interval(values) -> tuple:
    """Mean, and half of its 95 % confidence interval (Student's t), nan for a single value."""
    from scipy import stats

    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values) if len(values) > 1 else np.nan
    return float(np.mean(values)), float(half)


def with_interval(values, digits) -> str:
    """The mean with so many digits, and half a 95 % interval where there are several values."""
    mean, half = interval(values)
    return f"{mean:.{digits}f}" if np.isnan(half) else f"{mean:.{digits}f} ± {half:.{digits}f}"


def markdown_table(rows) -> str:
    """Rows of cells, the first of them the head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]])
