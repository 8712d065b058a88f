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
        xs = corruption.levels
        for name, by_corruption in accuracies.items():
            ys = np.asarray(by_corruption[kind])
            ax.plot(xs, ys.mean(axis=0), label=name, **LOOKS[name])
            ax.fill_between(xs, ys.min(axis=0), ys.max(axis=0), color=LOOKS[name]["color"], alpha=0.15, lw=0)
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
def training_figure(epochs):
    """Training loss and validation accuracy by epoch, mean and range over seeds.

    epochs : {name: [per seed, a list of a dict per epoch]}
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4))
    curves = (("train_loss", "training loss (nats)"), ("valid_accuracy", "validation accuracy"))
    for ax, (key, label) in zip(axes, curves, strict=True):
        for name, runs in epochs.items():
            ys = np.array([[e[key] for e in run] for run in runs])
            xs = np.arange(1, ys.shape[1] + 1)
            look = {k: v for k, v in LOOKS[name].items() if k != "marker"}
            ax.plot(xs, ys.mean(axis=0), label=name, **look)
            ax.fill_between(xs, ys.min(axis=0), ys.max(axis=0), color=look["color"], alpha=0.15, lw=0)
        ax.set(xlabel="epoch", ylabel=label)
    axes[0].set_yscale("log")
    axes[0].legend()
    return figure


@in_style
def run_figure(steps, epochs):
    """One run: the loss of every step and, at the end of each epoch, of the validation split; the learning rate.

    steps, epochs : the records of train
    """
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogFormatter

    figure, (ax, rates) = plt.subplots(2, 1, figsize=(7, 5), sharex=True, height_ratios=(3, 1))
    xs = [s["step"] + 1 for s in steps]
    ends = np.linspace(0, len(steps), len(epochs) + 1)[1:]
    ax.plot(xs, [s["loss"] for s in steps], color="#0072B2", lw=0.8, alpha=0.5, label="training, each step")
    ax.plot(ends, [e["valid_loss"] for e in epochs], "s-", color="#D55E00", label="validation, each epoch")
    ax.set(ylabel="loss (nats)", yscale="log")
    ax.yaxis.set_major_formatter(LogFormatter())
    ax.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.5, 0.5)))
    ax.legend()
    rates.plot(xs, [s["lr"] for s in steps], color="0.4")
    rates.set(xlabel="step", ylabel="learning rate")
    return figure


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
    figure, axes = plt.subplots(
        len(views), 5, figsize=(13.5, 2.9 * len(views)), squeeze=False, width_ratios=(1, 1, 1, 1, 1.25)
    )
    for row, (title, (image, head)) in zip(axes, views.items(), strict=True):
        _draw_image(row[0], image, title)
        maps = {
            "excitatory A_exc": head.A_exc,
            "inhibitory A_inh": head.A_inh,
            "fused A = g A_exc - (1-g) A_inh": head.A,
        }
        for ax, (name, A) in zip(row[1:4], maps.items(), strict=True):
            drawn = ax.imshow(A[0, shown], cmap="RdBu_r", vmin=-limit, vmax=limit)
            _label(ax, name, "key patch", "query patch")
        figure.colorbar(drawn, ax=row[1:4].tolist(), label="attention weight", shrink=0.85, pad=0.04)
        gates = row[4].imshow(head.gate[0], cmap="PuOr_r", vmin=0, vmax=1, aspect="auto")
        _label(row[4], "gate g of each patch and head", "query patch", "head")
        row[4].set_yticks(range(head.gate.shape[1]))
        figure.colorbar(gates, ax=row[4], label="g: 0 inhibits, 1 excites", shrink=0.85)
    figure.suptitle(f"layer {layer}; maps of head {shown}, the one that changes most; patches are numbered row by row")
    return figure


def _draw_image(ax, image, title):
    ax.imshow(image, cmap="gray_r", vmin=0, vmax=1)
    ax.set(title=title)
    ax.axis("off")


def _label(ax, title, x, y):
    ax.set(title=title, xlabel=x, ylabel=y)
    ax.grid(False)
