"""Pictures. Matplotlib is imported when one is drawn; every function returns a Figure."""

from functools import wraps
from pathlib import Path

import numpy as np

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
SEED_RANGE = "their range", lambda ys: (ys.min(axis=0), ys.max(axis=0))


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
def robustness_figure(corruptions, accuracies, chance, band=SEED_RANGE):
    """Test accuracy against the level of each corruption, mean over seeds and a band.

    corruptions : {kind: Corruption}
    accuracies  : {name: {kind: (seeds, levels)}}
    band        : its name, and a function of (seeds, levels) that returns its lower and upper edge
    """
    import matplotlib.pyplot as plt

    columns = min(3, len(corruptions))
    rows = -(-len(corruptions) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(3.7 * columns, 3.1 * rows), sharey=True, squeeze=False)
    for ax in axes.flat[len(corruptions) :]:
        ax.remove()
    for ax, (kind, corruption) in zip(axes.flat, corruptions.items(), strict=False):
        for i, (name, by_corruption) in enumerate(accuracies.items()):
            _draw_band(ax, corruption.levels, by_corruption[kind], name, band, **look(name, i))
        ax.axhline(chance, color="0.7", lw=1)
        ax.set(title=kind, xlabel=corruption.unit, ylim=(0, 1.02))
    axes.flat[0].text(0, chance + 0.02, "chance", color="0.5")
    for ax in axes[:, 0]:
        ax.set_ylabel("test accuracy")
    if any(len(ys) > 1 for by_corruption in accuracies.values() for ys in by_corruption.values()):
        figure.supxlabel(f"mean of the seeds; bands are {band[0]}", fontsize=9, color="0.4")
    columns = min(len(accuracies), 2 * columns)
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside upper center", ncols=columns)
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


def _draw_band(ax, xs, ys, label, band=SEED_RANGE, **look):
    """Mean over seeds, and a band around it."""
    ys = np.asarray(ys)
    ax.plot(xs, ys.mean(axis=0), label=label, **look)
    ax.fill_between(xs, *band[1](ys), color=look["color"], alpha=0.15, lw=0)


def look(name, i):
    """The look of a mechanism or baseline, or the i-th of them for another name."""
    return LOOKS.get(name) or list(LOOKS.values())[i % len(LOOKS)]


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
