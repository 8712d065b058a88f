"""The parts of a page; what a study may show beside its first table."""

from typing import NamedTuple

import numpy as np

from ...attention import KINDS
from .. import viz
from ..experiments import corruptions_of, interval, with_interval
from .measures import NOISE
from .statistics import INTERVAL, pairs


class Figure(NamedTuple):
    name: str  # of its file
    png: bytes
    caption: str


class Part(NamedTuple):
    """A part of a page. It is printed in this order."""

    title: str
    said: tuple = ()  # sentences
    tables: tuple = ()  # rows of cells, the first of them the head
    figures: tuple = ()
    parts: tuple = ()


class Results(NamedTuple):
    """What a study found on one data set."""

    study: str
    data: str
    cells: dict  # {label: records of the runs that came to an end}
    baselines: dict  # {name: as much of a record as trivial classifiers have}
    contrast: tuple  # the two cells that are compared first; (None, None) where none are
    margin: float | None
    is_first: bool  # of the study's data sets

    def figure(self, what, figure, caption) -> Figure:
        return drawn(f"{self.study}-{self.data}-{what}", figure, caption)


def drawn(name, figure, caption) -> Figure:
    return Figure(name, viz.png(figure, dpi=80), caption)  # the page holds them all


def corruptions(found: Results) -> Part:
    """Accuracy under each corruption, and where the difference between two cells comes from."""
    settings = next(iter(found.cells.values()))[0]["settings"]
    kinds = corruptions_of(settings)
    by = {
        label: {kind: np.array([r["accuracy"][kind] for r in runs]) for kind in kinds}
        for label, runs in (found.cells | {name: [record] for name, record in found.baselines.items()}).items()
    }
    rows = (
        [label, *(mean_and_half(100 * a[:, 1:].mean(axis=1)) for a in accuracies.values())]
        for label, accuracies in by.items()
    )
    errors = (corruption_errors(by),) if settings.get("corruptions") else ()
    return Part(
        f"{found.study}: {found.data}, each corruption",
        (),
        ([["corrupted accuracy, %, mean over levels", *kinds], *rows], *errors),
        contrasts(found, kinds),
    )


def contrasts(found: Results, kinds) -> tuple:
    """The contrast of the study under each corruption alone."""
    label, other = found.contrast
    both = pairs(found.cells.get(label, ()), found.cells.get(other, ()))
    if not both:
        return ()

    def of(record, kind):
        return 100 * np.mean(record["accuracy"][kind][1:])

    rows = [(kind, *interval([of(a, kind) - of(b, kind) for a, b in both]), np.nan) for kind in kinds]
    caption = f"{label} minus {other} on {found.data} under each corruption, mean over levels, {len(both)} seeds."
    return (found.figure("each", viz.forest_figure(rows, found.margin, "points"), caption),)


def corruption_errors(by) -> list:
    """mCE and relative mCE, of Hendrycks and Dietterich, with the first cell in AlexNet's place.

    CE is the error under a corruption, summed over severities, over that of the first cell; for the
    relative one the error on clean inputs is subtracted from each.
    """
    errors = {label: {kind: 1 - a.mean(axis=0) for kind, a in by_kind.items()} for label, by_kind in by.items()}
    first = next(iter(errors))
    rows = [[f"per cent of {first}", "mCE", "relative mCE"]]
    for label, mine in errors.items():
        pairs = [(mine[kind], errors[first][kind]) for kind in mine]
        with np.errstate(invalid="ignore", divide="ignore"):  # where the first cell makes no error
            ce = np.mean([a[1:].sum() / b[1:].sum() for a, b in pairs])
            relative = np.mean([(a[1:] - a[0]).sum() / (b[1:] - b[0]).sum() for a, b in pairs])
        rows.append([label, *(f"{100 * x:.1f}" if np.isfinite(x) else "-" for x in (ce, relative))])
    return rows


def gates(found: Results) -> Part:
    """A row per cell and layer; on the first data set, what the first cell does with noise."""
    title = f"{found.study}: {found.data}, gates"
    gated = {label: runs for label, runs in found.cells.items() if runs[0]["gates"]}
    if not gated:
        return Part(title, ("No mechanism here has gates.",))
    columns = {
        "mean": lambda layer: np.mean(layer["mean"]),
        "std over tokens": lambda layer: np.mean(layer["std"]),
        "saturated, %": lambda layer: 100 * np.mean(layer["saturated"]),
        "AUC of corrupted tokens": lambda layer: np.mean(layer["auc"]),
        "by head": lambda layer: sorted(layer["auc"]),
    }
    rows = [
        [label, f"{i}", *(over_seeds(column(run["gates"][i]) for run in runs) for column in columns.values())]
        for label, runs in gated.items()
        for i in range(len(runs[0]["gates"]))
    ]
    label, runs = next(iter(gated.items()))
    histograms = np.mean([[layer["histogram"] for layer in run["gates"]] for run in runs], axis=0)  # layers, 2, bins
    figure = viz.gate_histogram_figure({"clean inputs": histograms[:, 0], "corrupted tokens": histograms[:, 1]})
    kind, level = NOISE[runs[0]["settings"]["task"]]
    return Part(
        title,
        (
            f"The gate is g, or 1 / (1 + lambda). AUC: the chance that a corrupted token ({kind} {level}, some of each "
            "input) has a higher gate than a clean one; 0.5 is blind. Heads are sorted within each seed.",
        ),
        ([["gate of", "layer", *columns], *rows],),
        (found.figure("gates", figure, f"Gates of {label} on {found.data}, mean over seeds."),) * found.is_first,
    )


def similarity(found: Results) -> Part:
    """How alike tokens are, against depth."""
    of = {
        label: {f"{when} training": np.array([run["similarity"][when] for run in runs]) for when in ("before", "after")}
        for label, runs in found.cells.items()
    }
    depth = range(len(next(iter(of.values()))["after training"][0]))
    rows = ([label, *map(over_seeds, by["after training"].T)] for label, by in of.items())
    figure = viz.depth_figure(of, KINDS, INTERVAL)
    return Part(
        f"{found.study}: {found.data}, similarity of tokens",
        ("Mean cosine between two tokens of an input, before each block and behind the last (clean test inputs).",),
        ([["after training, block", *(f"{i}" for i in depth)], *rows],),
        (found.figure("similarity", figure, f"Similarity of tokens on {found.data}."),),
    )


def mean_and_half(values) -> str:
    return with_interval(values, 2 if abs(np.mean(values)) >= 1 else 3)


def over_seeds(values) -> str:
    """The mean with its interval, to about three digits; of lists, the mean of each place alone."""
    values = np.array(list(values))
    if values.ndim > 1:
        return " ".join(f"{mean:.2f}" for mean in values.mean(axis=0))
    if len(values) == 1:
        return f"{values[0]:.3g}"
    return with_interval(values, 1 if abs(np.mean(values)) >= 10 else 2)


SECTIONS = {"corruptions": corruptions, "gates": gates, "similarity": similarity}
