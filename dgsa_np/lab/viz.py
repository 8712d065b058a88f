"""Pictures of arrays: nothing here computes attention. Every function returns a Figure.

Matplotlib is imported when the first is drawn.
"""

import math
from contextlib import contextmanager
from io import BytesIO
from itertools import cycle
from pathlib import Path

import numpy as np

from .. import indices, shapes
from ..files import write_whole

STYLE = Path(__file__).with_name("viz.mplstyle")
PALETTE = (  # colours that colour-blind readers can tell apart
    {"color": "#0072B2", "marker": "o"},
    {"color": "#D55E00", "marker": "s"},
    {"color": "#009E73", "marker": "^"},
    {"color": "#E69F00", "marker": "v"},
    {"color": "#CC79A7", "marker": "D"},
    {"color": "#56B4E9", "marker": "P"},
    {"color": "#882255", "marker": "X"},
    {"color": "#000000", "marker": "*"},
)
BASELINES = {
    "logistic regression": {"color": "0.35", "linestyle": "--"},
    "nearest neighbour": {"color": "0.55", "linestyle": ":"},
    "naive Bayes": {"color": "0.35", "linestyle": "--"},
}
PLAIN_NAMES = {  # of mechanisms, for those who do not know their kinds by heart
    "softmax": "softmax attention",
    "diff_v1": "differential attention (V1)",
    "dgsa": "gated attention (M-DGSA)",
    "diff_v2": "differential attention (V2)",
    "output_gate": "output-gated attention",
    "twicing": "twicing attention",
}
SEED_RANGE = "their range", lambda ys: (ys.min(axis=0), ys.max(axis=0))
MAPS = {"A_exc": "excitatory A_exc", "A_inh": "inhibitory A_inh", "A": "fused A = g A_exc - (1-g) A_inh"}
GATE = {"cmap": "PuOr_r", "vmin": 0, "vmax": 1}
GATE_UNIT = "g: 0 inhibits, 1 excites"
LAMBDA_MAPS = MAPS | {"A": "fused A = A_exc - lambda A_inh"}
LAMBDA_UNIT = "lambda: 0 spares, 1 inhibits"
SCALES = (  # which maps have it, its colours, its low end over its high end, and its unit
    (slice(2), "Greys", 0, "attention weight"),
    (slice(2, 3), "RdBu_r", -1, "fused weight: red adds, blue subtracts"),
)
LINE = 96  # characters across a strip of words


@contextmanager
def in_style():
    """What is drawn in here, or by a function that this decorates, has the project's one style."""
    import matplotlib.style

    with matplotlib.style.context([STYLE, {"text.parse_math": False}]):  # a name may have a dollar
        yield


def save(figure, path, **options):
    """To a PNG file, and out of pyplot's memory."""
    write_whole(path, png(figure, **options))


@in_style()
def png(figure, **options) -> bytes:
    """A figure as PNG. What pyplot remembers of it is forgotten."""
    import matplotlib.pyplot as plt

    content = BytesIO()
    figure.savefig(content, format="png", **options)
    plt.close(figure)
    return content.getvalue()


def looks(names, kinds=()) -> dict:
    """{name: its colour, and marker or line}. Trivial baselines are grey.

    kinds : all mechanisms in the order of their table, which is the order of the palette, so that
            each looks the same in every figure. Other names take what is left of the palette
    """
    known = {kind: PALETTE[i % len(PALETTE)] for i, kind in enumerate(kinds)} | BASELINES
    taken = [known[name] for name in names if name in known]
    left = cycle([look for look in PALETTE if look not in taken] or PALETTE)
    return {name: known.get(name) or next(left) for name in names}


def plain(name) -> str:
    """A mechanism in plain words. Other names stay, and so does what follows a comma."""
    kind, comma, rest = name.partition(",")
    return PLAIN_NAMES.get(kind, kind) + comma + rest


def subplots(rows, columns, width, height, **layout):
    """A figure of so many inches, and its axes as an array of two axes."""
    import matplotlib.pyplot as plt

    return plt.subplots(rows, columns, figsize=(width, height), squeeze=False, **layout)


@in_style()
def robustness_figure(corruptions, accuracies, chance, kinds=(), band=SEED_RANGE):
    """Test accuracy in per cent against the level of each corruption, mean over seeds and a band.

    corruptions : {kind: Corruption}
    accuracies  : {name: {kind: (seeds, levels)}}, from 0 to 1, and so is chance
    kinds       : the names of all mechanisms, which give each its look
    band        : its name, and a function of (seeds, levels) that returns its lower and upper edge
    """
    figure, axes = _panels(len(corruptions), 3.2, 2.7)
    styles = looks(accuracies, kinds)
    for i, (ax, kind) in enumerate(zip(axes, corruptions, strict=True)):
        for name, by_corruption in accuracies.items():
            _draw_band(ax, corruptions[kind].levels, 100 * np.asarray(by_corruption[kind]), name, band, **styles[name])
        ax.axhline(100 * chance, color="0.7", lw=1)
        ax.set(title=kind, xlabel=corruptions[kind].unit, ylabel="" if i % 3 else "test accuracy (%)", ylim=(0, 102))
    axes[0].text(0, 100 * chance + 2, "chance", color="0.5")
    _explain(figure, axes[0], min(3, len(corruptions)), band)
    return figure


@in_style()
def depth_figure(similarities, kinds=(), band=SEED_RANGE):
    """How alike tokens are against depth, mean over seeds and a band.

    similarities : {name: {when: (seeds, depth + 1)}}, a panel for each when
    """
    names = list(next(iter(similarities.values())))
    figure, (axes,) = subplots(1, len(names), 9, 3.6, sharey=True)
    styles = looks(similarities, kinds)
    for ax, when in zip(axes, names, strict=True):
        for name, by in similarities.items():
            _draw_band(ax, range(by[when].shape[1]), by[when], name, band, **styles[name])
        label(ax, when, "blocks passed", "mean cosine of two tokens" if ax is axes[0] else "")
    _explain(figure, axes[0], 3, band)
    return figure


@in_style()
def training_figure(runs, kinds=()):
    """Loss and validation accuracy against the step, mean and range over seeds.

    runs  : {name: [per seed, (steps, epochs)]}, the records of train
    kinds : the names of all mechanisms, which give each its look
    """
    from matplotlib.ticker import LogFormatter

    figure, ((losses, accuracies),) = subplots(1, 2, 9.6, 3.9)
    styles = looks(runs, kinds)
    for name, seeds in runs.items():
        bins = [b for b in np.array_split(np.arange(len(seeds[0][0])), 60) if len(b)]
        ends = np.linspace(0, len(seeds[0][0]), len(seeds[0][1]) + 1)[1:]
        train = [[np.mean([steps[i]["loss"] for i in b]) for b in bins] for steps, _ in seeds]
        _draw_band(losses, [b.mean() + 1 for b in bins], train, f"{name}, training", color=styles[name]["color"])
        for ax, key, unit in ((losses, "valid_loss", 1), (accuracies, "valid_accuracy", 100)):
            valid = [[unit * epoch[key] for epoch in epochs] for _, epochs in seeds]
            _draw_band(ax, ends, valid, f"{name}, validation", markersize=3, linestyle="--", **styles[name])
    losses.set(xlabel="step", ylabel="loss (nats)", yscale="log")
    losses.yaxis.set_major_formatter("{x:g}")
    losses.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.5, 0.5)))
    accuracies.set(xlabel="step", ylabel="validation accuracy (%)")
    _explain(figure, losses, 3)
    return figure


def _panels(n, width, height):
    """n axes, three to a row, with one y axis; in inches."""
    columns, rows = min(3, n), -(-n // 3)
    figure, axes = subplots(rows, columns, width * columns, height * rows, sharey=True)
    for ax in axes.flat[n:]:
        ax.remove()
    return figure, axes.flat[:n]


def _draw_band(ax, xs, ys, name, band=SEED_RANGE, **look):
    """Mean over seeds, and a band around it where there are several."""
    ys = np.asarray(ys)
    ax.plot(xs, ys.mean(axis=0), label=plain(name), **look)
    if len(ys) > 1:
        ax.fill_between(xs, *band[1](ys), color=look["color"], alpha=0.15, lw=0)


def _explain(figure, ax, columns, band=SEED_RANGE):
    """Above the figure whose curves these are, below it what its bands are."""
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=columns, fontsize=9)
    if ax.collections:
        figure.supxlabel(f"mean of the seeds; bands are {band[0]}", fontsize=9, color="0.4")


@in_style()
def attention_figure(views, layer):
    """Images, and what one head does with them: excitation, inhibition, the fused map, the gates.

    views : {title: (image (h, w), maps, gates (H, T))}, where maps has the attributes A_exc, A_inh
            and A, each (1, H, T, T): the cache of the heads, for a batch of one. Where it has a
            lam too, that weighs the inhibitory map alone

    All maps are of the head whose fused map differs most between the first view and the last.
    """
    seen = [maps for _, maps, _ in views.values()]
    shown = int(abs(seen[0].A - seen[-1].A)[0].sum(axis=(1, 2)).argmax())
    ratios = (0.8, 1, 1, 1, 1)
    figure, axes = subplots(len(views), 5, 12, 2.6 * len(views), width_ratios=ratios, layout="compressed")
    _draw_maps(figure, axes[:, 1:4], [(maps, shown) for maps in seen], "key patch", "query patch")
    for row, (title, (image, _, gates)) in zip(axes, views.items(), strict=True):
        _draw_image(row[0], title, image)
        drawn = row[4].imshow(gates, aspect="auto", **GATE)
        _label_cells(row[4], "", "query patch", "head")
        row[4].set_yticks(range(len(gates)))
    axes[0, 4].set_title("gate g of patch and head")
    unit = LAMBDA_UNIT if _has_lambda(seen[0]) else GATE_UNIT
    figure.colorbar(drawn, ax=axes[:, 4].tolist(), label=unit, shrink=0.85, aspect=12 * len(views))
    figure.suptitle(f"layer {layer}; maps of head {shown}, the one that changes most; patches are numbered row by row")
    return figure


def _draw_image(ax, title, image, cmap="gray_r", low=0):
    ax.imshow(image, cmap=cmap, vmin=low, vmax=1)
    ax.set(title=title)
    ax.axis("off")


def _has_lambda(maps):
    """Does a number weigh the inhibitory map alone, and not both?"""
    return getattr(maps, "lam", None) is not None


def _draw_maps(figure, axes, shown, key, query):
    """A row for each (maps, head) shown.

    The two softmax maps share one scale from 0. The fused map, which may be much fainter, has a
    signed one of its own. On both, white is zero.

    key, query : names of the axes; {} in that of the query stands for the head
    """
    titles = list((LAMBDA_MAPS if _has_lambda(shown[0][0]) else MAPS).values())
    for (row, column), ax in np.ndenumerate(axes):
        title, side = "" if row else titles[column], "" if column else query.format(shown[row][1])
        _label_cells(ax, title, key, side)
    for columns, cmap, low, unit in SCALES:
        drawn = [getattr(maps, name)[0, h] for maps, h in shown for name in list(MAPS)[columns]]
        limit, panels = max(abs(A).max() for A in drawn) or 1, axes[:, columns].ravel().tolist()
        for ax, A in zip(panels, drawn, strict=True):
            scale = ax.imshow(A, cmap=cmap, vmin=low * limit, vmax=limit)
        figure.colorbar(scale, ax=panels, label=unit, shrink=0.85, aspect=12 * len(shown))


def label(ax, title, x, y):
    ax.set(title=title, xlabel=x, ylabel=y)
    ax.grid(False)


def _label_cells(ax, title, x, y):
    """Cells have whole numbers, which stand where an axis has a name."""
    label(ax, title, x, y)
    ax.locator_params(integer=True)
    ax.tick_params(labelbottom=bool(x), labelleft=bool(y))


@in_style()
def bars_figure(panels, one_scale=False):
    """Numbers with their intervals, side by side.

    panels    : {axis label: {name: (mean, half an interval, or nan)}}
    one_scale : the panels have one unit and share their scale
    """
    height = 0.8 + 0.27 * max(map(len, panels.values()))
    figure, axes = subplots(1, len(panels), 9, height, sharex=one_scale, sharey=True)
    for ax, (text, bars), look in zip(axes.flat, panels.items(), cycle(PALETTE)):
        means, halves = np.transpose(list(bars.values()))
        how = {"tick_label": list(bars), "color": look["color"], "ecolor": "0.2", "height": 0.6}
        ax.barh(range(len(bars)), means, xerr=np.nan_to_num(halves), **how)
        ax.set_xlabel(text)
        ax.grid(axis="y", visible=False)
    ax.invert_yaxis()
    return figure


@in_style()
def forest_figure(rows, margin, unit):
    """Differences with their 95 % intervals, one below the other, and a margin around 0.

    rows   : [(what, mean, half an interval over seeds, half of one over seeds and items or nan)]
    margin : grey; within it two methods count as equal. None: there is none
    """
    figure, ((ax,),) = subplots(1, 1, 8, 1.2 + 0.42 * len(rows))
    names, means, halves, wide = zip(*rows, strict=True)
    places, look = range(len(rows)), PALETTE[0]["color"]
    if margin is not None:
        ax.axvspan(-margin, margin, color="0.93", label=f"equivalent: within {margin:g} of 0")
    ax.axvline(0, color="0.6", lw=1)
    for half, width, what in ((wide, 1.2, "over seeds and test items"), (halves, 4, "over seeds")):
        if not np.isnan(half).all():
            ax.hlines(places, np.subtract(means, half), np.add(means, half), color=look, lw=width, label=f"95 % {what}")
    ax.plot(means, places, "o", color="k", ms=4)
    ax.set_yticks(places, names)
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    label(ax, "", f"difference ({unit})", "")
    if ax.get_legend_handles_labels()[0]:  # one seed has no interval
        figure.legend(loc="outside upper center", ncols=3, fontsize=8)
    return figure


# ------------------------------------------------------------------------------- what the gate does


@in_style()
def rollout_figure(image, rollouts):
    """An image, and what attention gathers from each of its patches, treatment by treatment.

    image    : (h, w); over the heat it is drawn in squares, the darker the larger
    rollouts : {treatment: (T, T)}, row = the token that comes out, column = the patch that goes in
    """
    _agree("rollout_figure", "rollouts", "T T", rollouts)
    grids = {name: _on_patches("rollout_figure", image, R.mean(axis=0)) for name, R in rollouts.items()}
    top = max(grid.max() for grid in grids.values())
    figure, axes = subplots(1, 1 + len(grids), 2.3 * len(grids) + 3.1, 2.8, layout="compressed")
    _draw_image(axes[0, 0], "image", image)
    for ax, (name, grid) in zip(axes[0, 1:], grids.items(), strict=True):
        drawn = ax.imshow(grid, cmap="YlOrBr", vmin=0, vmax=top)
        y, x = (np.indices(image.shape) + 0.5) * len(grid) / len(image) - 0.5  # the centres of the pixels
        ax.scatter(x, y, s=(70 / image.shape[1]) ** 2 * image.clip(0, 1), c="k", marker="s", lw=0)
        _label_cells(ax, name, "patch column", "patch row" if ax is axes[0, 1] else "")
    figure.colorbar(drawn, ax=axes[0, 1:].tolist(), label=f"share of a patch (even: {1 / grid.size:.3g})", shrink=0.9)
    return figure


@in_style()
def gate_map_figure(views):
    """Images, and the gates of the last layer where their patches lie.

    views : {title: (image (h, w), gates (layers, H, n_patches))}; of two, second minus first is
            drawn as well, that of the images from -1 to 1
    """
    _agree("gate_map_figure", "views", "layers H n_patches", {title: gates for title, (_, gates) in views.items()})
    rows = [
        (title, image, _on_patches("gate_map_figure", image, gates[-1]), "gray_r", 0, GATE, "gate g")
        for title, (image, gates) in views.items()
    ]
    if len(rows) == 2:
        image, gates = (second - first for first, second in zip(rows[0][1:3], rows[1][1:3], strict=True))
        limit = abs(gates).max() or 1
        signed = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}
        rows.append(("change (±1)", image, gates, "RdBu_r", -1, signed, "change of g"))
    n = 1 + len(rows[0][2])
    side = min(1.8, 9 / n)  # of a panel, in inches
    figure, axes = subplots(len(rows), n, side * n + 1, (side + 0.25) * len(rows) + 0.3, layout="compressed")
    for row, (title, image, gates, cmap, low, scale, text) in zip(axes, rows, strict=True):
        _draw_image(row[0], title, image, cmap, low)
        for h, gate in enumerate(gates):
            drawn = row[1 + h].imshow(gate, **scale)
            _label_cells(row[1 + h], f"head {h}", "column" if row[0] is axes[-1, 0] else "", "" if h else "row")
        figure.colorbar(drawn, ax=row[1:].tolist(), label=text)
    figure.supxlabel(f"{GATE_UNIT}; rows and columns count patches", fontsize=9, color="0.4")
    return figure


@in_style()
def gate_histogram_figure(counts, kinds=()):
    """How the gates spread between 0 and 1, layer by layer.

    counts : {title: (layers, bins)}, fractions of the gates of a layer, in bins of equal width
    kinds  : the names of all mechanisms, which give each its colour
    """
    _agree("gate_histogram_figure", "counts", "layers bins", counts)
    styles = looks(counts, kinds)
    layers, bins = next(iter(counts.values())).shape
    figure, axes = _panels(layers, 3.3, 2.9)
    for layer, ax in enumerate(axes):
        for i, (title, fractions) in enumerate(counts.items()):
            look = {"color": styles[title]["color"], "linestyle": ("-", "--", ":")[i % 3], "linewidth": 1.8}
            ax.stairs(fractions[layer], np.linspace(0, 1, bins + 1), label=plain(title), **look)
        ax.axvline(0.5, color="0.7", lw=1)
        ax.set(title=f"layer {layer}", xlabel="gate g", ylabel="" if layer % 3 else "fraction of the gates")
    figure.supxlabel("g = 0.5: excitation and inhibition weigh the same", fontsize=9, color="0.4")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(counts))
    return figure


@in_style()
def head_maps_figure(maps, heads):
    """Excitation, inhibition and the fused map of chosen heads, a row each.

    maps  : with the attributes A_exc, A_inh and A, as in attention_figure
    heads : which heads
    """
    if not all(hasattr(maps, name) for name in MAPS):
        raise TypeError(f"head_maps_figure: maps is {type(maps).__name__}, expected one with {', '.join(MAPS)}")
    heads = np.asarray(heads)
    indices.indices("head_maps_figure", "heads", heads, maps.A.shape[1], f"maps.A {maps.A.shape}", (heads.size,))
    figure, axes = subplots(len(heads), 3, 9.5, 2.8 * len(heads), layout="compressed")
    _draw_maps(figure, axes, [(maps, h) for h in heads], "key", "head {}: query")
    return figure


@in_style()
def token_strip_figure(strips):
    """Words in boxes, coloured by their gates; a word longer than a line ends in dots.

    strips : {title: (words, gates (n_words,))}
    """
    import matplotlib.pyplot as plt

    shapes.whole("token_strip_figure", **{"len(strips)": len(strips)})
    for title, (words, gates) in strips.items():
        n_words = ("n_words", len(words), f"the words of {title!r}")
        shapes.arrays("token_strip_figure", {f"gates of {title!r}": "n_words"}, gates, sizes=(n_words,))
    heights = [1 + _wrap(words)[-1][0] for words, _ in strips.values()]
    height = 0.9 + 0.35 * len(strips) + 0.28 * sum(heights)
    figure, axes = subplots(len(strips), 1, 10, height, height_ratios=heights)
    scale = plt.cm.ScalarMappable(plt.Normalize(0, 1), GATE["cmap"])
    for ax, height, (title, (words, gates)) in zip(axes[:, 0], heights, strips.items(), strict=True):
        for (line, start, word), colour in zip(_wrap(words), scale.to_rgba(gates), strict=True):
            luminance = colour[:3] ** 2.2 @ (0.2126, 0.7152, 0.0722)
            width, ink = len(word) + 0.8, "k" if luminance > 0.18 else "w"  # what contrasts more
            ax.barh(line, width, left=start, height=0.84, color=colour, edgecolor="0.6", linewidth=0.5)
            middle = {"ha": "center", "va": "center_baseline", "family": "monospace"}
            ax.text(start + width / 2, line, word, color=ink, **middle)
        ax.set_title(title, loc="left")
        ax.set(xlim=(0, LINE), ylim=(height - 0.5, -0.5))
        ax.axis("off")
    figure.colorbar(scale, ax=axes, location="bottom", label=f"gate {GATE_UNIT}", shrink=0.4, aspect=40)
    return figure


def _wrap(words):
    """[(line, column, word)], lines filled from the left."""
    places, line, column = [], 0, 0
    for word in words:
        word = word if len(word) < LINE else f"{word[: LINE - 2]}…"
        if column + len(word) >= LINE:
            line, column = line + 1, 0
        places.append((line, column, word))
        column += len(word) + 1
    return places


def _agree(function, name, letters, given):
    """One array or more, by title, with the same axes."""
    shapes.whole(function, **{f"len({name})": len(given)})
    shapes.arrays(function, {f"{name}[{title!r}]": letters for title in given}, *given.values())


def _on_patches(function, image, values):
    """Numbers (..., n) of the square patches of an image (h, w), as (..., rows, columns)."""
    shapes.arrays(function, {"image": "h w"}, image)
    n = values.shape[-1]
    side = math.isqrt(image.size // n)
    if n * side**2 != image.size or any(length % side for length in image.shape):
        raise shapes.ShapeError(f"{function}: image is {image.shape}, expected (h, w) that {n} square patches fill")
    return values.reshape(*values.shape[:-1], *(length // side for length in image.shape))
