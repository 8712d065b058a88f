"""Does the GPU compute what the CPU does? The rows that `python -m dgsa_np info --check` prints."""

import os
import time
from typing import NamedTuple

import numpy as np

from ..attention import KINDS
from ..backend import resolve_device, to_device, to_numpy
from ..data import Dataset, Split, load
from ..fast import choose_step
from ..gpu import describe_gpu, gpu_memory, start_products
from ..gradcheck import relative_error, same_bits
from ..model import ModelConfig, init_model, loss_and_grads
from ..optim import adamw_init, adamw_step, clip_by_norm
from ..params import count, flatten, tree_map
from ..train import TrainConfig, train
from . import cases
from .measure import versions

PARITY, RATIO, FLOOR = 1e-12, 2.0, 2.0**-23  # of float64; of float32; an error in float32 counts as this at least
REPEATS, EPOCHS, SEEDS, BUSY = 50, 3, 20, (200, 4096)
DEVICES = "cpu", "cuda"
# Texts that count from 0 to 9 and round again, and the digit after each.
COUNTED = Split(*((np.arange(16) + np.arange(640)[:, None] + ahead) % 10 for ahead in (0, 1)))
TASKS = {"task": "vision"}, {"task": "lm", "vocab_size": 10, "max_len": 16}


class Finding(NamedTuple):
    what: str
    found: str
    allowed: str
    ok: bool


def self_check(seeds=SEEDS, busy=BUSY):
    """Yields a Finding for each check, of the GPU beside the CPU. One that breaks down is not ok.

    seeds  : how many; an error in float32 is the median over them
    busy   : (how many products of matrices, their width) that keep the GPU at work
    raises : DeviceError without a usable GPU
    """
    resolve_device("cuda")
    checks = {
        "every pair, float64": check_pairs,
        "every pair, float32": lambda: check_single_precision(seeds),
        "a step of every kind, float64": check_steps,
        "the same bits again": check_repeats,
        "reads within a step": lambda: check_waiting(*busy),
        "memory": check_memory,
        "training": check_training,
    }
    for what, check in checks.items():
        try:
            yield Finding(what, *check())
        except Exception as error:  # a kernel that does not compile, a missing library: the rest run
            yield Finding(what, f"{type(error).__name__}: {error}", "", False)


def describe_machine() -> dict:
    """Hardware and versions, as a record to keep beside figures."""
    resolve_device("cuda")
    hardware, drivers = describe_gpu()
    return hardware | {"tf32": os.environ.get("CUPY_TF32", "0")} | versions() | drivers


def check_pairs():
    return _parity((str(case), *(outcome(case, d, "float64") for d in DEVICES)) for case in cases.all_cases())


def check_single_precision(seeds):
    """The error of CuPy in float32 over that of NumPy in float32; NumPy in float64 is the truth.

    Each error is a median over seeds and variants.
    """
    errors = {}
    for seed in range(seeds):
        for case in cases.all_cases(seed):
            exact = outcome(case, "cpu", "float64")
            for device in DEVICES:
                for name, a in outcome(case, device, "float32").items():
                    errors.setdefault((case.name, name), {}).setdefault(device, []).append(_error(a, exact[name]))
    medians = {key: {d: max(np.median(e), FLOOR) for d, e in both.items()} for key, both in errors.items()}
    ratios = {key: both["cuda"] / both["cpu"] for key, both in medians.items()}
    worst = max(ratios, key=ratios.get)
    rough = ", by CUPY_TF32" if os.environ.get("CUPY_TF32", "0") != "0" else ""
    return (
        f"{ratios[worst]:.2f} times NumPy's error at most{rough}: {' '.join(worst)}",
        f"{RATIO:g}",
        ratios[worst] <= RATIO,
    )


def outcome(case, device, dtype) -> dict:
    """{name: array on the host} that a pair makes, on a device, of arguments rounded to float32."""

    def move(a):
        a = a.astype("float32").astype(dtype) if hasattr(a, "dtype") and a.dtype.kind == "f" else a
        return a if hasattr(a, "dtype") and a.dtype.kind in "iub" and a.ndim < 4 else to_device(a, device)

    out, cache = case.forward(*(tree_map(move, a) if isinstance(a, (dict, list, np.ndarray)) else a for a in case.args))
    dout = np.random.default_rng(0).standard_normal(out.shape, "float32").astype(dtype)
    grads = case.backward(cache) if out.shape == () else case.backward(to_device(dout, device), cache)
    return flatten(to_numpy({"out": out, "grads": grads}))


def _error(a, b):
    return 0.0 if same_bits(a, b) else relative_error(a, b)


def _task(device, dtype="float32", **settings):
    """(params, inputs, targets, model): a batch and a model; tokens, targets stay on the host."""
    model, rng = ModelConfig(**{"width": 32, "depth": 1} | settings), np.random.default_rng(0)
    params = tree_map(lambda a: a.astype(dtype), cases.random_params(init_model(model, rng), rng))
    images = to_device(rng.random((16, 8, 8)).astype(dtype), device), rng.integers(0, 10, 16)
    return to_device(params, device), *(COUNTED.take(slice(16))[:2] if model.task == "lm" else images), model


def _step(params, inputs, targets, model):
    """Loss, gradients, and parameters after clipping and AdamW: a step without its one read."""
    loss, grads = loss_and_grads(params, inputs, targets, model)
    clipped, norm = clip_by_norm(grads, 1.0)
    # a smaller eps would blow up what is 0 but for rounding
    params, _ = adamw_step(params, clipped, adamw_init(params), 0.01, eps=1e-3)
    return {"loss": loss, "grads": grads, "norm": norm, "params": params}


def _stepped(task) -> dict:
    """What a step on a task made, on the host: {name: array}."""
    return flatten(to_numpy(_step(*task)))


def check_steps():
    return _parity((kind, *(_stepped(_task(d, "float64", kind=kind, depth=2)) for d in DEVICES)) for kind in KINDS)


def _parity(outcomes):
    """The largest error of all arrays.

    outcomes : (name, {name: array here}, {name: the same there}) of each
    """
    errors = {f"{what} {name}": _error(there[name], here[name]) for what, here, there in outcomes for name in here}
    worst = max(errors, key=errors.get)
    return f"{errors[worst]:.1e} at most, of {len(errors)} arrays: {worst}", f"{PARITY:.0e}", errors[worst] <= PARITY


def check_repeats():
    different = 0
    for kind in KINDS:
        task = _task("cuda", kind=kind)
        first, *others = (_stepped(task) for _ in range(REPEATS))
        different += sum(not all(same_bits(a[name], first[name]) for name in first) for a in others)
    return f"{different} of {REPEATS} steps of each kind differ", "0", different == 0


def check_waiting(products, width):
    """A step of a classifier, then one of a language model, is given to a busy GPU.

    It returns while the GPU is still busy, if nothing in it reads from the GPU.
    """
    slow = [task["task"] for task in TASKS if _waits(_task("cuda", **task), products, width)]
    return (
        f"some, or a host that is slower than much work of the GPU, task {' and '.join(slow)}"
        if slow
        else "none before that of the loss",
        "none",
        not slow,
    )


def _waits(task, products, width) -> bool:
    for n in (1, products, 5 * products):  # 1 to warm up; the last for a host that is slow
        are_done = start_products(n, width)
        loss = _step(*task)["loss"]
        waited = are_done()
        to_numpy(loss)
        if not waited and n > 1:
            return False
    return True


def check_memory():
    """What the GPU's memory holds after some steps is all that further steps need."""
    before, held = gpu_memory(release=True), []
    task = _task(device="cuda", width=64, depth=4)
    for _ in range(40):
        _step(*task)
        held.append(gpu_memory())
    taken, more = held[-1] - before, held[-1] - held[-11]
    return (
        f"{taken / 2**20:.1f} MiB for {count(task[0]):,} parameters, {more} more bytes in 10 steps",
        "some, and 0 more",
        more == 0 < taken,
    )


def check_training():
    """Of a classifier of digits, and of a language model that learns to count."""
    found, right = [], True
    for task, data in zip(TASKS, (load("digits"), Dataset(COUNTED, COUNTED, COUNTED, {})), strict=True):
        (loss, accuracy, seconds), (expected, here, slower) = (_trained(task, data, d) for d in ("cuda", "cpu"))
        found.append(
            f"{task['task']}: accuracy {accuracy:.3f} in {seconds:.2f} s an epoch; "
            f"on the CPU {here:.3f} in {slower:.2f} s"
        )
        right &= abs(loss - expected) <= 1e-5 * expected and accuracy > 0.5
    return "; ".join(found), "the same first loss, accuracy > .5", right


def _trained(task, data, device):
    """The first loss, the last accuracy, and the seconds that an epoch took."""
    started = time.perf_counter()
    model, cfg = ModelConfig(width=32, depth=2, **task), TrainConfig(epochs=EPOCHS, device=device)
    done = train(model, cfg, data, step=choose_step(model, cfg))
    return done.steps[0]["loss"], done.epochs[-1]["valid_accuracy"], (time.perf_counter() - started) / EPOCHS
