"""A demonstration: three mechanisms on noisy digits, with pictures, in about a minute."""

import json
import math
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

from tqdm import tqdm

from .. import attention
from ..data import CORRUPTIONS
from ..files import write_whole
from ..layers import standardised
from ..train import TrainConfig
from . import experiments, viz
from .evidence.measures import clean_and_corrupted
from .settings import settle
from .workers import told

MODEL = {"standardise": "data", "width": 32, "depth": 2, "patch_size": 2}  # 16 patches: maps worth looking at
TRAIN = TrainConfig(epochs=24, device="cpu")
KINDS = ("softmax", "diff_v1", "dgsa")


def demo(out: Path, seeds=(0, 1, 2), train: TrainConfig = TRAIN, jobs: int = 2) -> str:
    """Train, evaluate and draw; returns what was found.

    Writes results.json, findings.md and three pictures to the folder out.
    """
    started = time.perf_counter()
    _, reference, _, data = settle(MODEL)
    models = experiments.equal_models(reference, KINDS)
    print("digits: {} train, {} validation, {} test images of 8 x 8".format(*(len(s.targets) for s in data[:3])))
    for kind, model in models.items():
        sizes = f"{model.n_heads} heads, d = {model.sizes['d']}, feed-forward width {model.F}"
        print(f"  {kind:8s} {sizes}, {experiments.count_parameters(model):,} parameters")
    n_runs, per_run = len(models) * len(seeds), train.epochs * (len(data.train.targets) // train.batch_size)
    with tqdm(total=n_runs * per_run, disable=None, unit="step", desc="train and corrupt") as bar:
        grid = experiments.run_grid(models, train, seeds, data, jobs, count=lambda n: bar.update(n - bar.n))
        done = told(grid, n_runs, "demo", lambda run: f"{run.name}, seed {run.seed}")
        runs = sorted(done, key=lambda run: (run.seed, KINDS.index(run.name)))
    trivial = experiments.run_baselines(data, prepare=partial(standardised, cfg=reference))
    accuracies = experiments.collect(runs + trivial)
    scores = {name: experiments.per_seed_scores(a) for name, a in accuracies.items()}
    text = f"{table(scores)}\n\n{findings(scores)}\n"
    _draw(out, runs, accuracies, models, data)
    write_whole(out / "findings.md", text)
    write_whole(out / "results.json", json.dumps(_results(runs, accuracies, models, train), indent=1))
    return f"{text}\nPictures and numbers are in {out}/ ({time.perf_counter() - started:.0f} s)."


def table(scores) -> str:
    """Accuracy in per cent: mean, and half a 95 % interval over seeds where there are several."""
    rows = [
        [condition, *(experiments.with_interval(100 * by[condition], 1) for by in scores.values())]
        for condition in next(iter(scores.values()))
    ]
    return experiments.markdown_table([["test accuracy, %", *scores], *rows])


def findings(scores) -> str:
    """What was found, whatever it is, computed from the numbers."""
    reached = {name: 100 * by["all corruptions"].mean() for name, by in scores.items()}
    best = max(reached, key=reached.get)
    trivial = "" if best in KINDS else ": a trivial baseline beats every transformer here"
    gains = {c: 100 * (scores["dgsa"][c].mean() - scores["softmax"][c].mean()) for c in CORRUPTIONS["vision"]}
    most, least = max(gains, key=gains.get), min(gains, key=gains.get)
    sentences = [
        f"{len(scores['dgsa']['clean'])} seeds, tiny models, one learning rate for all, one split of one small data "
        "set, several comparisons without correction: a demonstration, not evidence.",
        *(_compare(scores, condition, other) for condition in ("clean", "all corruptions") for other in KINDS[:2]),
        f"Over all corruptions the best of all is {best} with {reached[best]:.1f} %{trivial}.",
        f"Against softmax, dgsa does best under {most} ({gains[most]:+.1f} points) "
        f"and worst under {least} ({gains[least]:+.1f}).",
    ]
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _compare(scores, condition, other):
    """One paired comparison of dgsa with another mechanism, seed by seed."""
    mean, half = experiments.interval(scores["dgsa"][condition] - scores[other][condition])
    where = "On clean digits" if condition == "clean" else "Over all corruptions"
    text = f"{where} dgsa is {abs(100 * mean):.1f} points {'above' if mean >= 0 else 'below'} {other}"
    if math.isnan(half):
        return f"{text}; one seed says nothing about chance."
    verdict = "more than chance between seeds would" if abs(mean) > half else "which chance between seeds can"
    return f"{text} (95 % interval {100 * (mean - half):+.1f} to {100 * (mean + half):+.1f}), {verdict} explain."


def _draw(out, runs, accuracies, models, data):
    records = {kind: [(r.steps, r.epochs) for r in runs if r.name == kind] for kind in models}
    gated = next(r for r in runs if r.name == "dgsa")
    views = {
        f"a {split.targets[0]}, {how}": (split.inputs[0], layers[-1], attention.attention_gate(layers[-1])[0])
        for how, (split, layers) in clean_and_corrupted(gated.params, models["dgsa"], data).items()
    }
    chance, kinds = 1 / data.meta["n_out"], attention.KINDS
    figures = {
        "accuracy": viz.robustness_figure(CORRUPTIONS["vision"], accuracies, chance, kinds),
        "maps": viz.attention_figure(views, layer=models["dgsa"].depth - 1),
        "training": viz.training_figure(records, kinds),
    }
    for name, figure in figures.items():
        viz.save(figure, out / f"{name}.png", dpi=100)


def _results(runs, accuracies, models, train) -> dict:
    """All numbers, as results.json keeps them."""
    return {
        "train": asdict(train),
        "models": {kind: asdict(m) | {"parameters": experiments.count_parameters(m)} for kind, m in models.items()},
        "levels": {kind: corruption.levels for kind, corruption in CORRUPTIONS["vision"].items()},
        "accuracy": {name: {c: a.tolist() for c, a in by.items()} for name, by in accuracies.items()},
        "epochs": [{"kind": r.name, "seed": r.seed, "epochs": r.epochs} for r in runs],
    }
