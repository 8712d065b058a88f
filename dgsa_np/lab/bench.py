"""Speed and memory, side by side in one run.

Heads plain and on tiles, whole steps, and other libraries where they are installed. Each contestant
has a process of its own, as its users have it. They take turns, so that a noisy machine disturbs
all of them, and what counts is the median of ratios, each of two turns in one round.
"""

import cProfile
import json
import pstats
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from functools import lru_cache, partial
from importlib import import_module, metadata
from importlib.util import find_spec
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from ..attention import AttentionConfig, attention_forward, causal_mask, init_attention
from ..attention.mechanisms import MECHANISMS
from ..attention.multihead import TILED_KINDS, at_depth
from ..backend import array_module, to_device
from ..fast import make_step
from ..fast.threads import cores
from ..files import write_whole
from ..gpu import describe_gpu, gpu_memory, gpu_ms
from ..model import ModelConfig, init_model, loss_and_grads
from ..optim import adamw_init
from ..train import TrainConfig, plain_step
from . import viz
from .experiments import equal_models, markdown_table
from .measure import peak, processor, quartiles, race, seconds, system, turns, versions

STEP, HEAD = "B {}, T {}, C {}, H {}, depth {}", "B {}, H {}, T {}, d {}"
STEPS = (64, 17, 64, 4, 4), (32, 64, 128, 4, 4), (16, 128, 128, 4, 4), (8, 256, 256, 4, 4)
HEADS = (64, 4, 17, 8), (32, 4, 64, 16), (16, 4, 128, 16), (8, 4, 256, 32), (8, 4, 512, 16), (4, 4, 1024, 16)
GPU_STEPS = STEPS[0], STEPS[1], STEPS[3], (64, 256, 512, 8, 8)
LENGTHS = 128, 256, 512, 1024, 2048, 4096, 8192, 16384
PEERS = "torch", "jax", "autograd"  # the first word of a contestant that is not ours
REST, TURN = 0.1, 0.3  # s; for some ms after a turn its threads still spin, so the next one waits


def bench(out: Path, rounds=15, longest=8192, device="cpu"):
    """Measure and print tables; write bench.json, scaling.png and profile.png to the folder out."""
    missing = [name for name in PEERS if not find_spec(name)]
    if missing:
        print(f"Left out, since not installed: {', '.join(missing)}; to race them: pip install 'dgsa-np[peers]'")
    peers = {name: metadata.version(name) for name in PEERS if name not in missing}
    machine = {"system": f"{system()}, {processor()}", "cores": cores(), "versions": versions() | peers}
    found = {"machine": machine}
    if device == "cuda":
        hardware, drivers = describe_gpu()
        machine |= hardware | {"versions": machine["versions"] | drivers}
    for title, table in (gpu_tables() if device == "cuda" else tables()).items():
        present = {name: task for name, task in table.contestants.items() if name.split()[0] not in missing}
        found[title] = contest(table._replace(contestants=present), rounds)
        print(f"\n{title}\n\n{_shown(found[title])}", flush=True)
    with threadpool_limits(1):
        found["scaling"] = scaling([T for T in LENGTHS if longest >= T], rounds, device)
        found["profile"] = launches(*GPU_STEPS[-1]) if device == "cuda" else profile(*STEPS[-1])
    viz.save(scaling_figure(found["scaling"]), out / "scaling.png")
    viz.save(profile_figure(found["profile"], device), out / "profile.png")
    write_whole(out / "bench.json", json.dumps(found, indent=1) + "\n")


# ---------------------------------------------------------------------------------------- the races


class Table(NamedTuple):
    label: str  # of sizes
    sizes: tuple
    enough: float  # seconds after which a race ends
    contestants: dict  # {name: (a function that makes a task, its arguments but the sizes, which come last)}
    compared: int = 1  # so many of the first are compared with all that come later


def tables() -> dict:
    """{title: Table}; the first contestant of a table is compared with the others."""

    def heads(kind, *impls):
        return {impl: (head, kind, impl) for impl in impls}

    def peers(task, names, *threads):
        return {name: (peer, task, name, *threads) for name in names}

    n, libraries = cores(), ("torch eager", "torch compile", "torch fused", "jax", "autograd")
    gradients = {kind: (fast, "gradients", kind) for kind in ("dgsa", "softmax", "diff_v1")}
    return {
        "The gated head, forward and backward, causal, one thread": Table(
            HEAD, HEADS, 10, heads("dgsa", "auto", "plain", "tiled") | peers("head", ("torch eager", "torch fused"))
        ),
        "The step of a language model, forward and backward, all cores": Table(
            STEP,
            STEPS,
            30,
            {"fast": gradients["dgsa"]}
            | peers("step", libraries, n)
            | {"its products": (products,), "plain": (plain, n)},
        ),
        "The whole training step, with clipping and AdamW, all cores": Table(
            STEP, STEPS, 10, {"fast": (fast, "train", "dgsa")} | peers("train", libraries[:2], n)
        ),
        "The plain step, forward and backward, one thread": Table(
            STEP, STEPS, 10, {"plain": (plain, 1)} | peers("step", libraries[:1], 1)
        ),
        "The fast step at equal numbers of parameters, all cores": Table(STEP, STEPS, 10, gradients),
    } | {
        f"The head of {kind}, forward and backward, causal, one thread": Table(
            HEAD, HEADS, 2, heads(kind, "tiled", "plain")
        )
        for kind in TILED_KINDS
        if kind != "dgsa"
    }


def gpu_tables() -> dict:
    """The races on a GPU. A training step ends when its loss has been read."""
    ours = {"fast": (fast_on_gpu, False), "fast captured": (fast_on_gpu, True)}
    libraries = "torch eager", "torch compile", "torch fused", "torch graph"
    theirs = {name: (peer, "train", f"{name} cuda", 1) for name in libraries}
    title = "The whole training step on a GPU, with clipping and AdamW"
    return {title: Table(STEP, GPU_STEPS, 15, ours | theirs | {"plain": (plain_on_gpu,)}, compared=2)}


def contest(table, rounds) -> dict:
    """{sizes: figures} of the races of a table, in which each contestant has a process."""
    with ExitStack() as stack:
        start = partial(ProcessPoolExecutor, 1, get_context("spawn"))
        processes = {name: stack.enter_context(start()) for name in table.contestants}
        return {table.label.format(*size): _figures(table, size, processes, rounds) for size in table.sizes}


def _figures(table, size, processes, rounds) -> dict:
    """{"ms": {contestant: quartiles}, "ratios": {"first / other": quartiles}}

    A ratio is that of the turns of one round. All make their tasks at once; what fails then is left
    out if it is not ours: it may lack a compiler.
    """

    def start(name):
        return processes[name].submit(turn, *table.contestants[name], *size)

    errors = {name: made.exception() for name, made in {name: start(name) for name in processes}.items()}
    for name, error in errors.items():
        if error and name.split()[0] not in PEERS:
            raise error
        if error:
            print(f"{name} is left out: {error!r:.300}", flush=True)
    runs = {name: lambda name=name: start(name).result() for name, error in errors.items() if not error}
    times = turns(runs, rounds, table.enough)
    pairs = [(a, b) for i, a in enumerate(list(times)[: table.compared]) for b in list(times)[i + 1 :]]
    ratios = {f"{a} / {b}": quartiles(np.divide(times[a], times[b])) for a, b in pairs}
    return {"ms": {name: quartiles(ms) for name, ms in times.items()}, "ratios": ratios}


def _shown(races) -> str:
    """Medians, and between them and each quartile at most so much: a row for each contestant."""
    names = dict.fromkeys(name for race in races.values() for name in race["ms"])
    first = dict.fromkeys(pair.split(" / ")[0] for race in races.values() for pair in race["ratios"])

    def cell(race, name):
        found = [race["ms"].get(name), *(race["ratios"].get(f"{a} / {name}") for a in first)]
        return "; ".join(f"{m:.2f} ± {max(high - m, m - low):.2f}" for low, m, high in filter(None, found))

    rows = [[name, *(cell(race, name) for race in races.values())] for name in names]
    return markdown_table([["; ".join(["ms", *(f"{a} / it" for a in first)]), *races], *rows])


def turn(task, *args) -> float:
    """Seconds of one run of a task: the median of as many runs as fill TURN.

    The task is made in the first turn and kept. It runs many times in a row, as in training.
    """
    run = made(task, *args)
    time.sleep(REST)
    return seconds(lambda: read(run()), TURN)


def read(result):
    """Read the loss, the first that a run returns, as training does: till then a GPU is at work."""
    loss = result[0] if isinstance(result, tuple) else result
    return loss if loss is None else float(loss)


@lru_cache(maxsize=2)
def made(task, *args):
    run = task(*args)
    for _ in range(2):
        read(run())  # what is compiled or recorded is so now
    return run


# ---------------------------------------------------------------------------------------- the tasks


def head(kind, impl, B, H, T, d, device="cpu"):
    """Forward and backward of one head with keys of width d, on one thread.

    Its arguments come from a layer. It returns a number of a gradient.
    """
    threadpool_limits(1)
    cfg = AttentionConfig(kind=kind, width=2 * H * d, n_heads=2 * H // MECHANISMS[kind].split, impl=impl)
    rng = np.random.default_rng(0)
    x, p = to_device((rng.standard_normal((B, T, cfg.width), "float32"), init_attention(cfg, rng)), device)
    mask = causal_mask(T, xp=array_module(x))
    heads = attention_forward(x, p, cfg, mask)[1].heads.values()
    mix = cfg.mechanism.control.forward(x, p, at_depth(cfg, 0))[:1] if cfg.mechanism.control else ()
    forward, backward = cfg.head_pair(array_module(x), T, T)

    def run():
        o, cache = forward(*heads, *mix, mask=mask)
        return backward(o, cache)[0].reshape(-1)[0]

    return run


def language_model(kind, B, T, C, H, depth):
    """(params, tokens, targets, cfg), with as many parameters as a dgsa of these sizes.

    They are evened out by ffn_width, so they differ by less than one unit of it.
    """
    dgsa = ModelConfig(kind="dgsa", task="lm", vocab_size=65, max_len=T, width=C, n_heads=H, depth=depth)
    cfg = equal_models(dgsa, [kind])[kind]
    rng = np.random.default_rng(0)
    return init_model(cfg, rng), *rng.integers(0, 65, (2, B, T)), cfg


def plain(threads, *size):
    """The loss of dgsa and its gradients by the formulas, with so many threads in BLAS."""
    threadpool_limits(threads)
    return partial(loss_and_grads, *language_model("dgsa", *size))


def fast(method, kind, *size, **options):
    """The same by the fast step, for any kind; or, with method "train", a whole training step."""
    params, inputs, targets, cfg = language_model(kind, *size)
    step = make_step(cfg, batch=len(inputs), **options)
    step.set(params)
    return partial(getattr(step, method), inputs, targets)


def fast_on_gpu(capture, *size):
    """A whole training step of dgsa on a GPU by the fast step."""
    return fast("train", "dgsa", *size, device="cuda", capture=capture)


def plain_on_gpu(*size):
    """The same by the formulas."""
    params, inputs, targets, model = language_model("dgsa", *size)
    state, cfg = SimpleNamespace(params=to_device(params, "cuda")), TrainConfig()
    state.optimizer = adamw_init(state.params)

    def run():
        state.params, state.optimizer, *said = plain_step(state, (inputs, targets, None), 1e-3, model, cfg)
        return tuple(said)

    return run


def products(B, T, C, H, depth):
    """The matrix products of a step alone, on all cores, as a fast step can do them.

    Each core has a part of the batch. Results go to memory that is there, and what multiplies the
    same tokens is one matrix. Maps are whole, not on tiles.
    """
    threadpool_limits(1)
    cfg = language_model("dgsa", B, T, C, H, depth)[-1]
    shards = [_triples(len(rows), cfg) for rows in np.array_split(np.arange(B), min(cores(), B))]
    pool = ThreadPoolExecutor(len(shards))

    def run():
        list(pool.map(_multiply, shards))  # waits for all of them

    return run


def _triples(B, cfg) -> list:
    """x, W, x W and room for dx and dW, for each matrix product of a forward."""
    C, H, F, d, T = cfg.width, cfg.n_heads, cfg.F, cfg.sizes["d"], cfg.max_len
    draw, tokens = partial(np.random.default_rng(0).standard_normal, dtype="float32"), B * T
    block = [((tokens, n), (n, m)) for n, m in ((C, 3 * C + H), (C, C), (C, 2 * F), (F, C))]
    block += [((B, H, T, d), (B, H, d, T))] * 2 + [((B, H, T, T), (B, H, T, 2 * d))]  # q k^T twice, A v
    pairs = [(draw(x), draw(W)) for x, W in (*block * cfg.depth, ((tokens, C), (C, cfg.n_out)))]
    return [(x, W, x @ W, np.empty_like(x), np.empty_like(W)) for x, W in pairs]


def _multiply(triples):
    """Forward, and the two products in the backward of each."""
    for x, W, y, dx, dW in triples:
        np.matmul(x, W, out=y)
        np.matmul(y, W.mT, out=dx)
        np.matmul(x.mT, y, out=dW)


def peer(task, *args):
    """A task of bench_peers.py, which is imported by the process that runs it."""
    return getattr(import_module(".bench_peers", __package__), task)(*args)


# ------------------------------------------------------------------------------ scaling and profile


def scaling(lengths, rounds=5, device="cpu") -> dict:
    """{impl: {"ms": one number per length, "MiB": ..}} of one gated head, and the lengths."""
    found = {"T": lengths} | {impl: {"ms": [], "MiB": []} for impl in ("plain", "tiled")}
    for T in tqdm(lengths, desc="scaling in T", disable=None):
        contest = {impl: partial(turn, head, "dgsa", impl, 1, 1, T, 32, device) for impl in ("plain", "tiled")}
        for impl, (_, median, _) in race(contest, rounds).items():
            found[impl]["ms"].append(median)
            run = made(head, "dgsa", impl, 1, 1, T, 32, device)
            found[impl]["MiB"].append(round(gpu_peak(run) if device == "cuda" else peak(run), 3))
    return found


def gpu_peak(run) -> float:
    """MiB that CuPy takes from the GPU for a run, beside what is there before."""
    before = gpu_memory(release=True)
    read(run())
    return (gpu_memory() - before) / 2**20


def launches(*size, times=10) -> dict:
    """{function: ms that its calls take in a fast step on a GPU}, the largest first.

    Each call is made some times in a row. Where the host takes longer, the GPU waits for it.
    """
    train = fast_on_gpu(False, *size)
    read(train())
    step, found = train.func.__self__, Counter()
    phases = step.gradient_phases + step.update_phases
    for call in (call for program in chain(*phases) for call in program.calls):
        found[call.func.__name__.removeprefix("cupy_")] += gpu_ms(call, times)
    return {name: round(ms, 3) for name, ms in found.most_common()}


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


def profile_figure(shares, device="cpu"):
    """Where the time of one step goes: {function: ms of its own}, the largest on top."""
    what = {"cpu": "its own, without the pairs it calls; one step on one thread", "cuda": "its calls; one fast step"}
    title = f"ms of {what[device]}: {sum(shares.values()):.0f} ms"
    return viz.bars_figure({title: {name: (ms, np.nan) for name, ms in shares.items()}})
