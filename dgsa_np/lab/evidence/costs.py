"""What a training step of each cell costs in time, memory and operations: to be measured with nothing else running."""

import statistics
import time
import tracemalloc

import numpy as np
from threadpoolctl import threadpool_limits

from ...fast.parallel import loss_and_grads_threaded
from ...model import init_model
from ...params import flatten
from ..experiments import count_parameters
from ..settings import settle_by
from .grid import load_once

ROUNDS = 31


def costs(cells) -> dict:
    """{label: milliseconds (median), spread (quartiles), MiB at the peak, multiplications} of a step on one thread.

    cells : {label: settings}; they take turns, so that what disturbs the machine disturbs all
    """
    steps, models = {}, {}
    for label, settings in cells.items():
        _, models[label], cfg, data = settle_by(settings, load_once)
        steps[label] = one_step(models[label], data.train.take(slice(cfg.batch_size)))
    with threadpool_limits(1):
        times = {label: [seconds(step) for _ in range(2)] and [] for label, step in steps.items()}  # warm
        for _ in range(ROUNDS):
            for label, step in steps.items():
                times[label].append(1e3 * seconds(step))
        return {label: summary(times[label], peak(step), models[label]) for label, step in steps.items()}


def one_step(model, batch):
    """Forward and backward of a whole model on one batch."""
    params, (inputs, targets, keep) = init_model(model, np.random.default_rng(0)), batch
    return lambda: loss_and_grads_threaded(params, inputs, targets, model, keep, 1)


def summary(times, mebibytes, model):
    low, median, high = statistics.quantiles(times, n=4)
    rounded = {"ms": round(median, 3), "quartiles": [round(low, 3), round(high, 3)], "peak_MiB": round(mebibytes, 2)}
    return rounded | {"multiplications": multiplications(model), "parameters": count_parameters(model)}


def seconds(step):
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def peak(step):
    """MiB that a step has at once beyond what was there before, by NumPy's own book-keeping."""
    tracemalloc.start()
    step()
    most = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return most


def multiplications(model) -> int:
    """Of the matrix products of one sequence, forward and backward (twice the forward)."""
    params, T, C = init_model(model, np.random.default_rng(0)), model.n_tokens, model.width
    matrices = sum(W.size for block in params["blocks"] for W in flatten(block).values() if W.ndim == 2)
    maps = sum(name.startswith("q") for name in model.mechanism.projections)
    uses = 2 if model.kind == "twicing" else 1  # A v, and for twicing A (v - A v)
    embed = params["embed"].get("W", np.empty(0)).size
    attention = T * T * (maps * model.sizes["H*d"] + uses * C)
    logits = T if model.task == "lm" else 1
    return 3 * (T * (matrices + embed) + model.depth * attention + logits * params["head"]["W"].size)
