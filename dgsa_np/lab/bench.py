"""Speed and memory, side by side in one run.

Heads plain and on tiles, whole steps, and PyTorch if it is installed. The contestants take turns,
so that a noisy machine disturbs all of them. PyTorch has a process of its own, as its users have
it: in ours, parallel.keep_freed_memory would speed up PyTorch too.
"""

import cProfile
import json
import pstats
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import lru_cache, partial
from importlib import metadata
from importlib.util import find_spec
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from ..attention import AttentionConfig, attention_forward, causal_mask, init_attention
from ..attention.mechanisms import MECHANISMS
from ..attention.multihead import TILED_KINDS, at_depth
from ..fast import parallel
from ..files import write_whole
from ..model import ModelConfig, init_model, loss_and_grads
from ..params import flatten
from . import viz
from .experiments import equal_models, markdown_table
from .measure import peak, processor, race, seconds, system, versions

STEP, HEAD = "B {}, T {}, C {}, H {}, depth {}", "B {}, H {}, T {}, d {}"
STEPS = (64, 17, 64, 4, 4), (32, 64, 128, 4, 4), (16, 128, 128, 4, 4), (8, 256, 256, 4, 4)
HEADS = (64, 4, 17, 8), (32, 4, 64, 16), (16, 4, 128, 16), (8, 4, 256, 32), (8, 4, 512, 16), (4, 4, 1024, 16)
LENGTHS = 128, 256, 512, 1024, 2048, 4096, 8192
RATIOS = ("ours", "torch eager"), ("ours", "torch fused"), ("ours", "its products"), ("dgsa", "softmax")
TURN = 0.2  # s; the first ms of a turn still share the cores with the threads of the one before


def bench(out: Path, rounds=15, longest=LENGTHS[-1]):
    """Measure and print tables; write bench.json, scaling.png and profile.png to the folder out."""
    parallel.keep_freed_memory()
    forms = ("eager", "fused") if find_spec("torch") else ()
    if not forms:
        print("PyTorch is not installed; to compare with it: pip install 'dgsa-np[peers]'")
    found = {
        "machine": {
            "system": f"{system()}, {processor()}",
            "cores": parallel.cores(),
            "versions": versions() | ({"torch": metadata.version("torch")} if forms else {}),
        }
    }
    with threadpool_limits(1), ProcessPoolExecutor(1, get_context("spawn")) as process:
        for title, contests in _contests(forms, process).items():
            found[title] = {label: race(contest, rounds) for label, contest in contests.items()}
            print(f"\n{title}\n\n{_table(found[title])}", flush=True)
        found["scaling"] = scaling([T for T in LENGTHS if longest >= T], rounds)
        found["profile"] = profile(*STEPS[-1])
    viz.save(scaling_figure(found["scaling"]), out / "scaling.png")
    viz.save(profile_figure(found["profile"]), out / "profile.png")
    write_whole(out / "bench.json", json.dumps(found, indent=1) + "\n")


def _contests(forms, process) -> dict:
    """{title: {sizes: {contestant: a function that runs once and returns its seconds}}}

    forms, process : those of PyTorch that take part, and where they run
    """

    def torch(task, size):
        return {f"torch {f}": lambda f=f: process.submit(turn, in_torch, task, f, *size).result() for f in forms}

    impls = {"ours": "auto", "plain": "plain", "tiled": "tiled"}
    return {
        "The gated head, forward and backward, causal, one thread": {
            HEAD.format(*size): {name: partial(turn, head, "dgsa", impl, *size) for name, impl in impls.items()}
            | torch("head", size)
            for size in HEADS
        },
        "The step of a language model, forward and backward, all cores": {
            STEP.format(*size): {"ours": partial(turn, step, "dgsa", *size)}
            | {"its products": partial(turn, products, *size)}
            | torch("step", size)
            for size in STEPS
        },
        "The same step at equal numbers of parameters": {
            STEP.format(*size): {kind: partial(turn, step, kind, *size) for kind in ("softmax", "diff_v1", "dgsa")}
            for size in STEPS
        },
        "Every head, forward and backward, causal, one thread": {
            HEAD.format(*size): {
                f"{kind} {impl}": partial(turn, head, kind, impl, *size)
                for kind, impl in product(TILED_KINDS, ("plain", "tiled"))
            }
            for size in HEADS
        },
    }


def turn(task, *args) -> float:
    """Seconds of one run of a task: the median of as many runs as fill TURN.

    The task is made in the first turn and kept. It runs many times in a row, as in training.
    """
    return seconds(made(task, *args), TURN)


@lru_cache(maxsize=16)
def made(task, *args):
    return task(*args)


def _table(races) -> str:
    """Medians in ms, between them and each quartile at most so much, and ratios of medians."""
    rows = []
    for label, found in races.items():
        cells = {f"{name}, ms": f"{m:.2f} ± {max(high - m, m - low):.2f}" for name, (low, m, high) in found.items()}
        cells |= {f"{a} / {b}": f"{found[a][1] / found[b][1]:.2f}" for a, b in RATIOS if {a, b} <= found.keys()}
        rows.append([label, *cells.values()])
    return markdown_table([["", *cells], *rows])


# ---------------------------------------------------------------------------------------- the tasks


def head(kind, impl, B, H, T, d):
    """Forward and backward of one head with keys of width d; its arguments come from a layer."""
    cfg = AttentionConfig(kind=kind, width=2 * H * d, n_heads=2 * H // MECHANISMS[kind].split, impl=impl)
    rng, mask = np.random.default_rng(0), causal_mask(T)
    x = rng.standard_normal((B, T, cfg.width), "float32")
    p = init_attention(cfg, rng)
    heads = attention_forward(x, p, cfg, mask)[1].heads.values()
    mix = cfg.mechanism.control.forward(x, p, at_depth(cfg, 0))[:1] if cfg.mechanism.control else ()
    forward, backward = cfg.head_pair(np, T, T)

    def run():
        o, cache = forward(*heads, *mix, mask=mask)
        backward(o, cache)

    return run


def language_model(kind, B, T, C, H, depth):
    """(params, tokens, targets, cfg), with as many parameters as a dgsa of these sizes.

    They are evened out by ffn_width, so they differ by less than one unit of it.
    """
    dgsa = ModelConfig(kind="dgsa", task="lm", vocab_size=65, max_len=T, width=C, n_heads=H, depth=depth)
    cfg = equal_models(dgsa, [kind])[kind]
    rng = np.random.default_rng(0)
    return init_model(cfg, rng), *rng.integers(0, 65, (2, B, T)), cfg


def step(kind, *size):
    """The loss and its gradients, as a training step computes them."""
    return partial(parallel.loss_and_grads_threaded, *language_model(kind, *size))


def products(B, T, C, H, depth):
    """The matrix products of a step alone, on as many threads as the step.

    Each product of the forward costs two more in the backward. Maps are whole, not on tiles.
    """
    params, tokens, _, cfg = language_model("dgsa", B, T, C, H, depth)
    threads = parallel.choose_threads("cpu", B, cfg)
    rows, d, draw = B // threads * T, cfg.sizes["d"], partial(np.random.default_rng(0).standard_normal, dtype="float32")
    weights = [W for name, W in flatten(params).items() if W.ndim == 2 and "embed" not in name]
    pairs = [(draw((rows, len(W))), draw(W.shape)) for W in weights]
    maps = [(B // threads, H, T, d), (B // threads, H, T, d), (B // threads, H, T, 2 * d)] * depth  # q k^T twice, A v
    pairs += [(draw(shape), draw(shape).mT) for shape in maps]
    triples = [(x, W, x @ W) for x, W in pairs]

    def run(_=None):
        for x, W, y in triples:
            x @ W, y @ W.mT, x.mT @ y

    pool = ThreadPoolExecutor(threads)
    return lambda: list(pool.map(run, range(threads)))


def in_torch(task, *args):
    """A task of bench_torch.py; PyTorch is imported by the process that runs it."""
    from . import bench_torch

    return {"head": bench_torch.head, "step": bench_torch.step}[task](*args)


# ------------------------------------------------------------------------------ scaling and profile


def scaling(lengths, rounds=5) -> dict:
    """{impl: {"ms": one number per length, "MiB": ..}} of one gated head, and the lengths."""
    found = {"T": lengths} | {impl: {"ms": [], "MiB": []} for impl in ("plain", "tiled")}
    for T in tqdm(lengths, desc="scaling in T", disable=None):
        contest = {impl: partial(turn, head, "dgsa", impl, 1, 1, T, 32) for impl in ("plain", "tiled")}
        for impl, (_, median, _) in race(contest, rounds).items():
            found[impl]["ms"].append(median)
            found[impl]["MiB"].append(round(peak(made(head, "dgsa", impl, 1, 1, T, 32)), 3))
    return found


def profile(*size, shown=14) -> dict:
    """{function: ms of its own in one step on one thread}, the largest first.

    The time of NumPy's functions counts for the function that calls them.
    """
    model, steps = language_model("dgsa", *size), 5
    loss_and_grads(*model)
    with cProfile.Profile(builtins=False) as profiler:
        for _ in range(steps):
            loss_and_grads(*model)
    rows = pstats.Stats(profiler).stats.items()
    own = {f"{Path(file).stem}.{name}": 1e3 * row[2] / steps for (file, _, name), row in rows}
    ranked = sorted(own.items(), key=lambda item: item[1], reverse=True)
    others = sum(ms for _, ms in ranked[shown:])
    return {name: round(ms, 2) for name, ms in [*ranked[:shown], ("all others", others)]}


# ----------------------------------------------------------------------------------------- pictures


@viz.in_style()
def scaling_figure(found):
    """Time and memory of a head against the length T, plain and on tiles.

    Grey guides show linear and quadratic growth.

    found : {"T": lengths, impl: {"ms": [..], "MiB": [..]}}
    """
    figure, (axes,) = viz.subplots(1, 2, 9, 3.8)
    lengths = np.array(found["T"])
    curves = ("plain", 1, 2, "quadratic", "--"), ("tiled", 2, 1, "linear", ":")
    for ax, unit, title in zip(axes, ("ms", "MiB"), ("time", "most memory in use"), strict=True):
        for impl, look, power, name, style in curves:
            ax.loglog(lengths, found[impl][unit], label=impl, **viz.PALETTE[look])
            guide = found[impl][unit][-1] * (lengths / lengths[-1]) ** power
            ax.loglog(lengths, guide, style, color="0.6", label=name, zorder=0)
        viz.label(ax, title, "T, queries and keys", f"{title} ({unit})")
        ax.set_xticks(lengths, lengths)
        ax.yaxis.set_major_formatter("{x:g}")
        ax.minorticks_off()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure


def profile_figure(shares):
    """Where the time of one step goes: {function: ms of its own}, the largest on top."""
    title = f"ms of its own, without the pairs it calls; one step on one thread: {sum(shares.values()):.0f} ms"
    return viz.bars_figure({title: {name: (ms, np.nan) for name, ms in shares.items()}})
