"""What studies show beside accuracy: gates, signed maps, rejection, the needle's weights, costs."""

from typing import NamedTuple

import numpy as np

from ...attention import KINDS
from ...data.corruptions import Corruption
from ...data.needle import VALUES
from .. import viz
from ..experiments import interval, with_interval
from .measures import NOISE, SPURIOUS_KEYS
from .pictures import figure_block
from .statistics import INTERVAL


class Results(NamedTuple):
    """What a study found on one data set."""

    study: str
    data: str
    cells: dict  # {label: records of the runs that came to an end}
    costs: dict  # {label: as costs.py measured it}, in the study of costs

    def figure(self, what, figure, caption):
        """A figure as a block of the page; what it shows is part of its file's name."""
        return figure_block(f"{self.study}-{self.data}-{what}", figure, caption)


def gates(found: Results) -> list:
    """A row per cell and layer, and a histogram per cell."""
    gated = {label: runs for label, runs in found.cells.items() if runs[0]["gates"]}
    if not gated:
        return []
    columns = {
        "mean": lambda run, i: np.mean(run["gates"][i]["mean"]),
        "std over tokens": lambda run, i: np.mean(run["gates"][i]["std"]),
        "saturated, %": lambda run, i: 100 * np.mean(run["gates"][i]["saturated"]),
        "AUC of corrupted tokens": lambda run, i: np.mean(run["gates"][i]["auc"]),
        "by head": lambda run, i: sorted(run["gates"][i]["auc"]),
    }
    histograms = {  # [clean inputs, corrupted tokens], each (layers, bins), mean over runs
        label: np.mean([[layer["histogram"] for layer in run["gates"]] for run in runs], axis=0).swapaxes(0, 1)
        for label, runs in gated.items()
    }
    on_clean = {label: clean for label, (clean, _) in histograms.items()}
    first, (clean, hit) = next(iter(histograms.items()))
    of_first = {"clean inputs": clean, "corrupted tokens": hit}
    kind, level = NOISE[gated[first][0]["settings"]["task"]]
    return [
        (
            "p",
            f"The gate is g, or 1 / (1 + lambda). AUC: the chance that a corrupted token ({kind} {level}, some of each "
            "input) has a higher gate than a clean one; 0.5 is blind. Heads are sorted within each seed.",
        ),
        ("table", table("gate of", gated, columns)),
        found.figure(
            "gates",
            viz.gate_histogram_figure(on_clean, KINDS),
            f"Gates on clean inputs of {found.data}, mean over seeds.",
        ),
        found.figure(
            "noise-at-gates",
            viz.gate_histogram_figure(of_first),
            f"Gates of {first} on {found.data}, mean over seeds.",
        ),
    ]


def signed(found: Results) -> list:
    """Negative weights and row sums, before training and after it."""
    columns = {
        "negative weight, %": lambda run, i: 100 * run["layers"][i]["negative"],
        "at the start, %": lambda run, i: 100 * run["at_start"][i]["negative"],
        "row sum": lambda run, i: run["layers"][i]["row_sum"][0],
        "at the start": lambda run, i: run["at_start"][i]["row_sum"][0],
        "its std over rows": lambda run, i: run["layers"][i]["row_sum"][1],
    }
    negative = {"negative weight after training (%)": bars(found.cells, columns["negative weight, %"])}
    return [
        ("p", "Part of the absolute weight that is negative, and sums of the rows of the fused maps."),
        ("table", table("maps of", found.cells, columns)),
        found.figure("negative", viz.bars_figure(negative), f"Negative weight on {found.data}."),
    ]


def rejection(found: Results) -> list:
    """How much less a row passes of what all values share, and whether brightness is that."""
    columns = {
        "rejection at the start, dB": lambda run, i: run["at_start"][i]["rejection"],
        "after training, dB": lambda run, i: run["layers"][i]["rejection"],
        "gained by row sums, dB": lambda run, i: of_sums(run["layers"][i]) - of_sums(run["at_start"][i]),
        "brightness: common part, %": lambda run, i: 100 * run["brightness"]["after"][i]["common"],
        "response to brightness, %": lambda run, i: 100 * run["brightness"]["after"][i]["response"],
        "to a true common mode, %": lambda run, i: 100 * run["brightness"]["after"][i]["to_common_mode"],
    }
    panels = {
        "rejection at the start (dB)": bars(found.cells, columns["rejection at the start, dB"]),
        "rejection after training (dB)": bars(found.cells, columns["after training, dB"]),
    }
    return [
        (
            "p",
            "Rejection: the gain of a row of A for a white signal over its gain for one that all values share. It "
            "grows by smaller row sums, which differences alone can have, and by sharper rows, which softmax can have "
            "as well; the part of the row sums is their change in dB. Then images are made brighter by 0.3: how much "
            "of what changes in the values is common to all tokens, and by how much A v changes, relative to A v; "
            "last, what a change of the values of that size would do if it were all common.",
        ),
        ("table", table("values of", found.cells, columns)),
        found.figure("rejection", viz.bars_figure(panels, one_scale=True), f"Rejection on {found.data}."),
    ]


def similarity(found: Results) -> list:
    """How alike tokens are, against depth."""
    of = {
        label: {f"{when} training": np.array([run["similarity"][when] for run in runs]) for when in ("before", "after")}
        for label, runs in found.cells.items()
    }
    depth = range(len(next(iter(of.values()))["after training"][0]))
    rows = ([label, *map(over_seeds, by["after training"].T)] for label, by in of.items())
    return [
        ("p", "Mean cosine between two tokens of an input, before each block and behind the last (clean test inputs)."),
        ("table", [["after training, block", *(f"{i}" for i in depth)], *rows]),
        found.figure("similarity", viz.depth_figure(of, KINDS, INTERVAL), f"Similarity of tokens on {found.data}."),
    ]


def of_sums(layer) -> float:
    """The part of the rejection that lies in the row sums: their rms, in dB below 1."""
    mean, std = layer["row_sum"]
    return -10 * np.log10(mean**2 + std**2)


def table(first, cells, columns) -> list:
    """A row per cell and layer; each cell of it is a mean over seeds.

    columns : {title: a function of a run's record and a layer}
    """
    return [[first, "layer", *columns]] + [
        [label, f"{i}", *(over_seeds(column(run, i) for run in runs) for column in columns.values())]
        for label, i, runs in each_layer(cells)
    ]


def bars(cells, column) -> dict:
    """The mean over seeds, and its interval, of one column for each cell and layer."""
    return {f"{label}, layer {i}": interval([column(run, i) for run in runs]) for label, i, runs in each_layer(cells)}


def each_layer(cells) -> list:
    return [(label, i, runs) for label, runs in cells.items() for i in range(len(runs[0]["layers"]))]


def needle(found: Results) -> list:
    """Accuracy against the number of spurious keys, and where the query's weight goes."""
    reached = {
        label: np.array([[run["needle"]["accuracy"][str(n)] for n in SPURIOUS_KEYS] for run in runs])
        for label, runs in found.cells.items()
    }
    weights = (
        [label, name, *map(over_seeds, np.transpose([run["needle"]["weights"][name] for run in runs]))]
        for label, runs in found.cells.items()
        for name in runs[0]["needle"]["weights"]
    )
    curves = {label: {"spurious keys": accuracy} for label, accuracy in reached.items()}
    levels = {"spurious keys": Corruption(None, "spurious keys (number; trained with 1)", SPURIOUS_KEYS)}
    figure = viz.robustness_figure(levels, curves, 1 / VALUES, KINDS, INTERVAL)
    return [
        (
            "table",
            [
                ["accuracy, %, trained with 1", *(f"{n} spurious" for n in SPURIOUS_KEYS)],
                *([label, *map(over_seeds, 100 * accuracy.T)] for label, accuracy in reached.items()),
            ],
        ),
        figure_block(f"{found.study}-needle", figure, "Accuracy against the number of spurious keys."),
        ("p", "Weights over the sum of their absolute values."),
        (
            "table",
            [
                ["weight of the query, last layer", "map", "on the needle", "on the spurious key", "on other pairs"],
                *weights,
            ],
        ),
    ]


def cost(found: Results) -> list:
    """Measured by compare after the runs."""
    if not found.costs:
        return [("p", "Costs were not measured.")]
    base = next(iter(found.costs.values()))
    rows = [
        ["step", "time, ms", "quartiles", "of the first", "peak, MiB", "multiplications, millions", "parameters"],
        *([label, f"{c['ms']:.2f}", "{:.2f}, {:.2f}".format(*c["quartiles"]), f"{c['ms'] / base['ms']:.2f}",
           f"{c['peak_MiB']:.2f}", f"{c['multiplications'] / 1e6:.2f}", f"{c['parameters']:,}"]
          for label, c in found.costs.items()),
    ]  # fmt: skip
    panels = {"time of a step (ms)": "ms", "memory at the peak (MiB)": "peak_MiB"}
    shown = {title: {label: (c[what], np.nan) for label, c in found.costs.items()} for title, what in panels.items()}
    return [
        ("p", "Forward and backward of one batch on one thread, median of 31 turns; multiplications per sequence."),
        ("table", rows),
        found.figure("cost", viz.bars_figure(shown), f"Cost of a training step on {found.data}."),
    ]


def over_seeds(values) -> str:
    """The mean with its interval, to about three digits; of lists, the mean of each place alone."""
    values = np.array(list(values))
    if values.ndim > 1:
        return " ".join(f"{mean:.2f}" for mean in values.mean(axis=0))
    if len(values) == 1:
        return f"{values[0]:.3g}"
    return with_interval(values, 1 if abs(np.mean(values)) >= 10 else 2)


SECTIONS = {
    **{"similarity": similarity, "gates": gates, "signed": signed},
    **{"rejection": rejection, "needle": needle, "cost": cost},
}
