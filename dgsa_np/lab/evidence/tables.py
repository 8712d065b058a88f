"""What studies show beside accuracy: gates, signed maps, rejection, the needle's weights, costs."""

import numpy as np

from ...attention import KINDS
from ...data.corruptions import Corruption
from ...data.needle import VALUES
from .. import viz
from ..experiments import interval
from .measures import NOISE, SPURIOUS_KEYS
from .statistics import INTERVAL


def gates(name, data, cells, comparison) -> list:
    """A row per cell and layer, and a histogram per cell."""
    head = ["gate of", "layer", "mean", "std over tokens", "saturated, %", "AUC of corrupted tokens", "by head"]
    rows, gated = [], with_gates(cells)
    for label, runs in gated.items():
        for layer in range(len(runs[0]["gates"])):
            told = [r["gates"][layer] for r in runs]
            columns = [told_mean([np.mean(g[what]) for g in told]) for what in ("mean", "std")]
            saturated = told_mean([100 * np.mean(g["saturated"]) for g in told])
            by_head = [sorted(g["auc"]) for g in told]  # heads have no order: lowest to highest
            spread = " ".join(f"{x:.2f}" for x in np.mean(by_head, axis=0))
            rows.append([label, f"{layer}", *columns, saturated, told_mean([np.mean(g["auc"]) for g in told]), spread])
    if not rows:
        return []
    histograms = {label: histogram(runs) for label, runs in gated.items()}
    first, (clean, hit) = next(iter(histograms.items()))
    all_clean = viz.gate_histogram_figure({label: both[0] for label, both in histograms.items()}, KINDS)
    of_first = viz.gate_histogram_figure({"clean inputs": clean, "corrupted tokens": hit})
    figures = [
        ("figure", f"{name}-{data}-gates", all_clean, f"Gates on clean inputs of {data}, mean over seeds."),
        ("figure", f"{name}-{data}-noise-at-gates", of_first, f"Gates of {first} on {data}, mean over seeds."),
    ]
    kind, level = NOISE[next(iter(cells.values()))[0]["settings"]["task"]]
    said = (
        f"The gate is g, or 1 / (1 + lambda). AUC: the chance that a corrupted token ({kind} {level}, some of each "
        "input) has a higher gate than a clean one; 0.5 is blind. Heads are sorted within each seed."
    )
    return [("p", said), ("table", [head, *rows]), *figures]


def histogram(runs):
    """[clean inputs, corrupted tokens], each (layers, bins), mean over runs."""
    return np.mean([[layer["histogram"] for layer in r["gates"]] for r in runs], axis=0).swapaxes(0, 1)


def with_gates(cells):
    return {label: runs for label, runs in cells.items() if runs[0]["gates"]}


def signed(name, data, cells, comparison) -> list:
    """Negative weights and row sums, before training and after it."""
    head = ["maps of", "layer", "negative weight, %", "at the start, %", "row sum", "at the start", "its std over rows"]
    rows = [head]
    for label, layer, after, before in by_layer(cells):
        negative = [told_mean([100 * x["negative"] for x in when]) for when in (after, before)]
        sums = [told_mean([x["row_sum"][0] for x in when]) for when in (after, before)]
        rows.append([label, layer, *negative, *sums, told_mean([x["row_sum"][1] for x in after])])
    said = "Part of the absolute weight that is negative, and sums of the rows of the fused maps."
    bars = {
        f"{label}, layer {i}": interval([100 * x["negative"] for x in after]) for label, i, after, _ in by_layer(cells)
    }
    figure = viz.bars_figure({"negative weight after training (%)": bars})
    return [("p", said), ("table", rows), ("figure", f"{name}-{data}-negative", figure, f"Negative weight on {data}.")]


def rejection(name, data, cells, comparison) -> list:
    """How much less a row passes of what all values share, and whether brightness is that."""
    head = ["values of", "layer", "rejection at the start, dB", "after training, dB", "gained by row sums, dB",
            "brightness: common part, %",
            "response to brightness, %", "to a true common mode, %"]  # fmt: skip
    rows = [head]
    for label, layer, after, before in by_layer(cells):
        bright = [r["brightness"]["after"][int(layer)] for r in cells[label]]
        decibel = [told_mean([x["rejection"] for x in when]) for when in (before, after)]
        percent = [told_mean([100 * b[what] for b in bright]) for what in ("common", "response", "to_common_mode")]
        by_sums = told_mean([of_sums(x) - of_sums(y) for x, y in zip(after, before, strict=True)])
        rows.append([label, layer, *decibel, by_sums, *percent])
    said = (
        "Rejection: the gain of a row of A for a white signal over its gain for one that all values share. It grows by "
        "smaller row sums, which differences alone can have, and by sharper rows, which softmax can have as well; the "
        "part of the row sums is their change in dB. Then images "
        "are made brighter by 0.3: how much of what changes in the values is common to all tokens, and by how much A v "
        "changes, relative to A v; last, what a change of the values of that size would do if it were all common."
    )
    bars = {"at the start": {}, "after training": {}}
    for label, layer, after, before in by_layer(cells):
        for when, told in zip(bars, (before, after), strict=True):
            bars[when][f"{label}, layer {layer}"] = interval([x["rejection"] for x in told])
    figure = viz.bars_figure({f"rejection {when} (dB)": by for when, by in bars.items()}, one_scale=True)
    return [("p", said), ("table", rows), ("figure", f"{name}-{data}-rejection", figure, f"Rejection on {data}.")]


def of_sums(layer) -> float:
    """The part of the rejection that lies in the row sums: their rms, in dB below 1."""
    mean, std = layer["row_sum"]
    return -10 * np.log10(mean**2 + std**2)


def by_layer(cells):
    """Label, layer, and what was measured of it per seed, after training and before."""
    for label, runs in cells.items():
        for layer in range(len(runs[0]["layers"])):
            yield label, f"{layer}", [r["layers"][layer] for r in runs], [r["at_start"][layer] for r in runs]


def needle(study, data, cells, comparison) -> list:
    """Accuracy against the number of spurious keys, and where the query's weight goes."""
    ended = {label: [r["needle"] for r in runs] for label, runs in cells.items()}
    accuracy = [["accuracy, %, trained with 1", *(f"{n} spurious" for n in SPURIOUS_KEYS)]]
    weights = [["weight of the query, last layer", "map", "on the needle", "on the spurious key", "on other pairs"]]
    for label, told in ended.items():
        accuracy.append([label, *(told_mean([100 * t["accuracy"][str(n)] for t in told]) for n in SPURIOUS_KEYS)])
        for name in told[0]["weights"]:
            sorts = zip(*(t["weights"][name] for t in told), strict=True)
            weights.append([label, name, *(told_mean(sort) for sort in sorts)])
    levels = {"spurious keys": Corruption(None, "spurious keys (number; trained with 1)", SPURIOUS_KEYS)}
    curves = {
        label: {"spurious keys": np.array([[t["accuracy"][str(n)] for n in SPURIOUS_KEYS] for t in told])}
        for label, told in ended.items()
    }
    figure = viz.robustness_figure(levels, curves, 1 / VALUES, KINDS, INTERVAL)
    return [("table", accuracy), ("figure", f"{study}-needle", figure, "Accuracy against the number of spurious keys."),
            ("p", "Weights over the sum of their absolute values."), ("table", weights)]  # fmt: skip


def cost(name, data, cells, comparison) -> list:
    """Measured by compare after the runs."""
    measured = comparison.get("cost", {}).get(data)
    if not measured:
        return [("p", "Costs were not measured.")]
    base = next(iter(measured.values()))
    head = ["step", "time, ms", "quartiles", "of the first", "peak, MiB", "multiplications, millions", "parameters"]
    rows = [
        [label, f"{c['ms']:.2f}", "{:.2f}, {:.2f}".format(*c["quartiles"]), f"{c['ms'] / base['ms']:.2f}",
         f"{c['peak_MiB']:.2f}", f"{c['multiplications'] / 1e6:.2f}", f"{c['parameters']:,}"]
        for label, c in measured.items()
    ]  # fmt: skip
    said = "Forward and backward of one batch on one thread, median of 31 turns; multiplications per sequence."
    panels = {"time of a step (ms)": "ms", "memory at the peak (MiB)": "peak_MiB"}
    bars = {title: {label: (c[what], np.nan) for label, c in measured.items()} for title, what in panels.items()}
    figure = ("figure", f"{name}-{data}-cost", viz.bars_figure(bars), f"Cost of a training step on {data}.")
    return [("p", said), ("table", [head, *rows]), figure]


def told_mean(values) -> str:
    mean, half = interval(list(values))
    if np.isnan(half):
        return f"{mean:.3g}"
    return f"{mean:.1f} ± {half:.1f}" if abs(mean) >= 10 else f"{mean:.2f} ± {half:.2f}"


INSIDE = {"gates": gates, "signed": signed, "rejection": rejection, "needle": needle, "cost": cost}
