"""What a training step of each cell costs in time, memory and operations.

The figures mean something only if nothing else runs on the machine.
"""

import math
from functools import partial

import numpy as np
from threadpoolctl import threadpool_limits

from ...model import init_model, loss_and_grads
from ...params import count, flatten
from ..measure import peak, race, seconds
from ..settings import settle
from .grid import load_once

ROUNDS = 31


def costs(cells) -> dict:
    """{label: figures} of a step on one thread: ms and their quartiles, MiB, operations.

    cells : {label: settings}
    """
    steps, sizes = {}, {}
    for label, settings in cells.items():
        _, model, cfg, data = settle(settings, load_once)
        inputs, targets, keep = data.train.take(slice(cfg.batch_size))
        params = init_model(model, np.random.default_rng(0))
        steps[label] = partial(loss_and_grads, params, inputs, targets, model, keep)
        sizes[label] = {"multiplications": multiplications(model), "parameters": count(params)}
    with threadpool_limits(1):
        times = race({label: partial(seconds, step) for label, step in steps.items()}, ROUNDS, math.inf)
        peaks = {label: round(peak(step), 2) for label, step in steps.items()}
    return {
        label: {"ms": median, "quartiles": [low, high], "peak_MiB": peaks[label]} | sizes[label]
        for label, (low, median, high) in times.items()
    }


def multiplications(model) -> int:
    """Of the matrix products of one sequence, forward and backward (twice the forward)."""
    params, T, C = init_model(model, np.random.default_rng(0)), model.n_tokens, model.width
    matrices = sum(W.size for block in params["blocks"] for W in flatten(block).values() if W.ndim == 2)
    maps, passes = model.mechanism.maps, model.mechanism.value_passes
    embed = params["embed"].get("W", np.empty(0)).size
    attention = T * T * (maps * model.sizes["H*d"] + passes * C)
    logits = T if model.task == "lm" else 1
    return 3 * (T * (matrices + embed) + model.depth * attention + logits * params["head"]["W"].size)
