"""Pictures. Matplotlib is imported when one is drawn; every function returns a Figure."""

import math
from functools import wraps
from itertools import cycle
from pathlib import Path

import numpy as np

from . import check
from .rollout import attention_rollout

STYLE = Path(__file__).with_name("viz.mplstyle")
LOOKS = {  # colours that colour-blind readers can tell apart; trivial baselines are grey
    "softmax": {"color": "#0072B2", "marker": "o"},
    "diff_v1": {"color": "#D55E00", "marker": "s"},
    "dgsa": {"color": "#009E73", "marker": "^"},
    "diff_v2": {"color": "#E69F00", "marker": "v"},
    "output_gate": {"color": "#CC79A7", "marker": "D"},
    "twicing": {"color": "#56B4E9", "marker": "P"},
    "logistic regression": {"color": "0.35", "linestyle": "--"},
    "nearest neighbour": {"color": "0.55", "linestyle": ":"},
    "naive Bayes": {"color": "0.35", "linestyle": "--"},
}
LINES = ("-", "--", ":", "-.")
LINE = 96  # characters across a strip of words


def in_style(draw):
    """The figure drawn in the project's one style."""

    @wraps(draw)
    def styled(*args, **kwargs):
        import matplotlib.style

        with matplotlib.style.context(STYLE):
            return draw(*args, **kwargs)

    return styled


def save(figure, path):
    """To a PNG, and out of pyplot's memory."""
    import matplotlib.pyplot as plt

    figure.savefig(path)
    plt.close(figure)


@in_style
def robustness_figure(corruptions, accuracies, chance):
    """Test accuracy against the level of each corruption, mean and range over seeds.

    corruptions : {kind: Corruption}
    accuracies  : {name: {kind: (seeds, levels)}}
    """
    import matplotlib.pyplot as plt

    columns = min(3, len(corruptions))
    rows = -(-len(corruptions) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(3.7 * columns, 3.1 * rows), sharey=True, squeeze=False)
    for ax in axes.flat[len(corruptions) :]:
        ax.remove()
    for ax, (kind, corruption) in zip(axes.flat, corruptions.items(), strict=False):
        for name, by_corruption in accuracies.items():
            _draw_band(ax, corruption.levels, by_corruption[kind], name, **LOOKS[name])
        ax.axhline(chance, color="0.7", lw=1)
        ax.set(title=kind, xlabel=corruption.unit, ylim=(0, 1.02))
    axes.flat[0].text(0, chance + 0.02, "chance", color="0.5")
    for ax in axes[:, 0]:
        ax.set_ylabel("test accuracy")
    if any(len(ys) > 1 for by_corruption in accuracies.values() for ys in by_corruption.values()):
        figure.supxlabel("mean of the seeds; bands are their range", fontsize=9, color="0.4")
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(accuracies))
    return figure


@in_style
def training_figure(runs):
    """Loss and validation accuracy against the step, mean and range over seeds.

    runs : {name: [per seed, (steps, epochs)]}, the records of train
    """
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogFormatter

    figure, (losses, accuracies) = plt.subplots(1, 2, figsize=(10, 3.6))
    for name, seeds in runs.items():
        bins = [b for b in np.array_split(np.arange(len(seeds[0][0])), 60) if len(b)]
        xs = [b.mean() + 1 for b in bins]
        ends = np.linspace(0, len(seeds[0][0]), len(seeds[0][1]) + 1)[1:]
        train = [[np.mean([steps[i]["loss"] for i in b]) for b in bins] for steps, _ in seeds]
        _draw_band(losses, xs, train, f"{name}, training", color=LOOKS[name]["color"])
        for ax, key in ((losses, "valid_loss"), (accuracies, "valid_accuracy")):
            ys = [[epoch[key] for epoch in epochs] for _, epochs in seeds]
            _draw_band(ax, ends, ys, f"{name}, validation", markersize=3, linestyle="--", **LOOKS[name])
    losses.set(xlabel="step", ylabel="loss (nats)", yscale="log")
    losses.yaxis.set_major_formatter("{x:g}")
    losses.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.5, 0.5)))
    losses.legend()
    accuracies.set(xlabel="step", ylabel="validation accuracy")
    return figure


def _draw_band(ax, xs, ys, label, **look):
    """Mean over seeds, and their range."""
    ys = np.asarray(ys)
    ax.plot(xs, ys.mean(axis=0), label=label, **look)
    ax.fill_between(xs, ys.min(axis=0), ys.max(axis=0), color=look["color"], alpha=0.15, lw=0)


@in_style
def attention_figure(views, layer):
    """Images, and what one head of gated attention does with them: excitation, inhibition, the fused map, the gates.

    views : {title: (image (h, w), head cache of a batch of one)}; all maps share one signed scale with white at zero,
            and show the head whose fused map differs most between the first view and the last
    """
    import matplotlib.pyplot as plt

    heads = [head for _, head in views.values()]
    shown = int(abs(heads[0].A - heads[-1].A)[0].sum(axis=(1, 2)).argmax())
    limit = max(abs(m[0, shown]).max() for head in heads for m in (head.A_exc, head.A_inh, head.A))
    layout = {"figsize": (13.5, 2.9 * len(views)), "squeeze": False, "width_ratios": (1, 1, 1, 1, 1.25)}
    figure, axes = plt.subplots(len(views), 5, **layout)
    for row, (title, (image, head)) in zip(axes, views.items(), strict=True):
        row[0].imshow(image, cmap="gray_r", vmin=0, vmax=1)
        row[0].set(title=title)
        row[0].axis("off")
        maps = {
            "excitatory A_exc": head.A_exc,
            "inhibitory A_inh": head.A_inh,
            "fused A = g A_exc - (1-g) A_inh": head.A,
        }
        for ax, (name, A) in zip(row[1:4], maps.items(), strict=True):
            drawn = ax.imshow(A[0, shown], cmap="RdBu_r", vmin=-limit, vmax=limit)
            label(ax, name, "key patch", "query patch")
        figure.colorbar(drawn, ax=row[1:4].tolist(), label="attention weight", shrink=0.85, pad=0.04)
        gates = row[4].imshow(head.gate[0], cmap="PuOr_r", vmin=0, vmax=1, aspect="auto")
        label(row[4], "gate g of each patch and head", "query patch", "head")
        row[4].set_yticks(range(head.gate.shape[1]))
        figure.colorbar(gates, ax=row[4], label="g: 0 inhibits, 1 excites", shrink=0.85)
    figure.suptitle(f"layer {layer}; maps of head {shown}, the one that changes most; patches are numbered row by row")
    return figure


def label(ax, title, x, y):
    ax.set(title=title, xlabel=x, ylabel=y)
    ax.grid(False)


# ---------------------------------------------------------------------------------- what the gate does


@in_style
def rollout_figure(image, maps_by_treatment):
    """An image, and what attention gathers from each of its patches, by rollout, treatment by treatment.

    image             : (h, w); its outline, at grey level 0.5, is drawn over the heat
    maps_by_treatment : {treatment: the maps of attention_rollout, of a batch of one}
    """
    import matplotlib.pyplot as plt

    rollouts = {name: attention_rollout(maps, name)[0] for name, maps in maps_by_treatment.items()}
    _agree("rollout_figure", "maps_by_treatment", "T T", rollouts)
    grids = {name: _on_patches("rollout_figure", image, R.mean(axis=0)) for name, R in rollouts.items()}
    n, top = 1 + len(grids), max(grid.max() for grid in grids.values())
    figure, axes = plt.subplots(1, n, figsize=(min(10, 2.3 * n + 0.8), 2.8))
    _draw_image(axes[0], "image", image)
    for ax, (name, grid) in zip(axes[1:], grids.items(), strict=True):
        drawn = ax.imshow(grid, cmap="YlOrBr", vmin=0, vmax=top)
        down, across = grid.shape
        ax.contour(image, [0.5], colors="k", origin="upper", extent=(-0.5, across - 0.5, down - 0.5, -0.5))
        label(ax, name, "patch column", "patch row")
        ax.label_outer()
    text = f"share of a patch, mean of all queries\n(even shares: {1 / grid.size:.3g})"
    figure.colorbar(drawn, ax=axes[1:].tolist(), label=text, shrink=0.75)
    return figure


@in_style
def gate_map_figure(views):
    """Images, and the gates of the last layer where their patches lie; of two views, also what changes.

    views : {title: (image (h, w), gates (layers, H, n_patches))}
    """
    import matplotlib.pyplot as plt

    _agree("gate_map_figure", "views", "layers H n_patches", {title: gates for title, (_, gates) in views.items()})
    rows = [(t, image, _on_patches("gate_map_figure", image, gates[-1])) for t, (image, gates) in views.items()]
    looks = [({"cmap": "PuOr_r", "vmin": 0, "vmax": 1}, "g: 0 inhibits, 1 excites")] * len(rows)
    if len(rows) == 2:
        (first, image, gates), (second, other, others) = rows
        rows.append((f"{second}\nminus {first}", other - image, others - gates))
        limit = abs(others - gates).max() or 1
        looks.append(({"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}, "change of g"))
    n = 1 + len(rows[0][2])
    figure, axes = plt.subplots(len(rows), n, figsize=(min(10, 1.8 * n + 1), 2.2 * len(rows)), squeeze=False)
    for row, (title, image, gates), (look, text) in zip(axes, rows, looks, strict=True):
        _draw_image(row[0], title, image, signed=look["vmin"] < 0)
        for h, ax in enumerate(row[1:]):
            drawn = ax.imshow(gates[h], **look)
            label(ax, f"head {h}", "patch column", "patch row")
            ax.label_outer()
        figure.colorbar(drawn, ax=row[1:].tolist(), label=text)
    return figure


@in_style
def gate_histogram_figure(counts):
    """How the gates spread between 0 and 1, layer by layer.

    counts : {title: (layers, bins)}, fractions of the gates of a layer, in bins of equal width
    """
    import matplotlib.pyplot as plt

    _agree("gate_histogram_figure", "counts", "layers bins", counts)
    layers, bins = next(iter(counts.values())).shape
    columns = min(3, layers)
    rows = -(-layers // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(3.3 * columns, 2.9 * rows), sharey=True, squeeze=False)
    for ax in axes.flat[layers:]:
        ax.remove()
    for layer, ax in enumerate(axes.flat[:layers]):
        for (title, fractions), look, line in zip(counts.items(), cycle(LOOKS.values()), cycle(LINES)):
            ax.stairs(fractions[layer], np.linspace(0, 1, bins + 1), label=title, color=look["color"], ls=line, lw=1.8)
        ax.axvline(0.5, color="0.7", lw=1)
        ax.set(title=f"layer {layer}", xlabel="gate g", ylabel="fraction of the gates" if layer % columns == 0 else "")
    figure.supxlabel("g = 0.5: excitation and inhibition weigh the same", fontsize=9, color="0.4")
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(counts))
    return figure


@in_style
def head_maps_figure(head, heads):
    """Excitation, inhibition and the fused map of chosen heads, a row each, on one signed scale with white at zero.

    head  : the head cache of a batch of one, with A_exc, A_inh and A (1, H, T, S)
    heads : which of the H
    """
    import matplotlib.pyplot as plt

    if not all(hasattr(head, name) for name in ("A_exc", "A_inh", "A")):
        wanted = "a cache with A_exc, A_inh and A, like cache.blocks[0].attention.head of kind dgsa"
        raise TypeError(f"head_maps_figure: head is {type(head).__name__}, expected {wanted}")
    heads = np.asarray(heads)
    check.indices("head_maps_figure", "heads", heads, head.A.shape[1], f"head.A {head.A.shape}")
    maps = {"excitatory A_exc": head.A_exc, "inhibitory A_inh": head.A_inh, "fused A": head.A}
    limit = max(abs(A[0, heads]).max() for A in maps.values())
    figure, axes = plt.subplots(len(heads), 3, figsize=(9, 2.7 * len(heads)), squeeze=False)
    for row, h in zip(axes, heads, strict=True):
        for ax, (name, A) in zip(row, maps.items(), strict=True):
            drawn = ax.imshow(A[0, h], cmap="RdBu_r", vmin=-limit, vmax=limit)
            label(ax, f"head {h}: {name}", "key", "query")
            ax.label_outer()
    figure.colorbar(drawn, ax=axes, label="attention weight")
    return figure


@in_style
def token_strip_figure(strips):
    """Words in boxes, coloured by their gates and wrapped to lines; words longer than a line end in dots.

    strips : {title: (words, gates (n_words,))}
    """
    import matplotlib.pyplot as plt

    check.whole("token_strip_figure", **{"len(strips)": len(strips)})
    for title, (words, gates) in strips.items():
        known = (("n_words", len(words), f"the words of {title!r}"),)
        check.arrays("token_strip_figure", {f"gates of {title!r}": "n_words"}, gates, sizes=known)
    lines = {title: _wrap(words) for title, (words, _) in strips.items()}
    heights = [1 + places[-1][0] for places in lines.values()]
    layout = {"figsize": (10, 0.9 + 0.6 * len(strips) + 0.27 * sum(heights)), "height_ratios": heights}
    figure, axes = plt.subplots(len(strips), 1, squeeze=False, **layout)
    colours = plt.cm.ScalarMappable(plt.Normalize(0, 1), "PuOr_r")
    for ax, height, (title, (_, gates)) in zip(axes[:, 0], heights, strips.items(), strict=True):
        for (line, start, word), colour in zip(lines[title], colours.to_rgba(gates), strict=True):
            ax.barh(line, len(word) + 0.8, left=start, height=0.84, color=colour, edgecolor="0.6", linewidth=0.5)
            ink = "k" if colour[:3] @ (0.299, 0.587, 0.114) > 0.5 else "w"
            middle = {"ha": "center", "va": "center_baseline", "family": "monospace", "parse_math": False}
            ax.text(start + (len(word) + 0.8) / 2, line, word, color=ink, **middle)
        ax.set_title(title, loc="left")
        ax.set(xlim=(0, LINE), ylim=(height - 0.5, -0.5))
        ax.axis("off")
    text = "gate g of a word: 0 inhibits, 1 excites"
    figure.colorbar(colours, ax=axes, location="bottom", label=text, shrink=0.4, aspect=40)
    return figure


def _wrap(words):
    """[(line, column, word)], lines filled from the left."""
    places, line, column = [], 0, 0
    for word in words:
        word = word if len(word) < LINE else f"{word[: LINE - 2]}…"
        if column + len(word) + 1 > LINE:
            line, column = line + 1, 0
        places.append((line, column, word))
        column += len(word) + 1
    return places


def _agree(function, name, letters, given):
    """One array or more, by title, with the same axes."""
    check.whole(function, **{f"len({name})": len(given)})
    check.arrays(function, {f"{name}[{title!r}]": letters for title in given}, *given.values())


def _on_patches(function, image, values):
    """(..., n) numbers of the n square patches of an image (h, w), row by row, as (..., rows, columns)."""
    check.arrays(function, {"image": "h w"}, image)
    n = values.shape[-1]
    side = max(1, math.isqrt(image.size // n))
    rows, columns = (length // side for length in image.shape)
    if (rows * side, columns * side, rows * columns) != (*image.shape, n):
        raise check.ShapeError(f"{function}: image is {image.shape}, expected (h, w) that {n} square patches fill")
    return values.reshape(*values.shape[:-1], rows, columns)


def _draw_image(ax, title, image, signed=False):
    ax.imshow(image, cmap="RdBu_r" if signed else "gray_r", vmin=-signed, vmax=1)
    ax.set(title=title)
    ax.axis("off")
