"""The one training loop."""

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from . import check, shapes
from .attention.multihead import TILED_KINDS
from .backend import array_module, resolve_device, to_device, to_numpy
from .check import parameters, setting
from .data import DataError, Dataset, Split
from .gpu import out_of_memory
from .losses import cross_entropy_forward
from .model import ModelConfig, init_model, loss_and_grads, model_forward, model_specs
from .optim import adamw_init, adamw_step, clip_by_norm, warmup_cosine
from .params import count, flatten
from .shapes import Array, takes

right_parameters = parameters(model_specs)
EVALUATION = 8192  # tokens of a batch that is evaluated: its maps are all in memory at once


class NonFiniteError(FloatingPointError):
    """A loss, a gradient or the logits are no numbers any more.

    Where training broke down, the parameters before that step are in .params.
    """

    params: dict[str, Any]


class OutOfMemoryError(MemoryError):
    """A step needs more memory than the device has. The state before that step is whole."""


@dataclass(frozen=True)
class TrainConfig:
    """How to train. Two runs with equal configurations, on one machine, are equal bit for bit."""

    epochs: int = 80
    batch_size: int = 64
    lr: float = setting(0.02, "at the top of the schedule", least=1e-12)
    warmup: float = setting(0.1, "part of all steps", least=0, most=0.999)
    weight_decay: float = setting(0.5, least=0)
    clip: float = setting(1.0, "the largest global norm of a gradient", least=1e-12)
    seed: int = setting(0, "of the initial parameters and of the order of the data", least=0)
    device: str = setting("auto", "", ("auto", "cpu", "cuda"))
    step: str = setting("auto", "auto: the fast one where there is one", ("auto", "plain"))
    threads: int | None = setting(None, "that share a fast step; None: one per core, one for small ones and on a GPU")
    capture: bool = setting(False, "on a GPU, replay the fast step as a CUDA graph", (False, True))

    def __post_init__(self):
        check.settings(self)


class TrainState(NamedTuple):
    """All that the next step depends on: a tree of arrays and numbers, as a checkpoint holds it."""

    params: dict[str, Any]
    optimizer: dict[str, Any]
    rng: Mapping[str, Any]  # of the generator that draws the order of this epoch
    epoch: int = 0
    batch: int = 0  # steps done in this epoch
    loss_sum: float = 0.0  # over these steps


class TrainResult(NamedTuple):
    params: dict[str, Any]  # on the host
    steps: list[dict[str, Any]]  # a dict per step: step, loss (nats), norm of the gradient, lr
    epochs: list[dict[str, Any]]  # a dict per epoch: epoch, train_loss, valid_loss (nats), valid_accuracy


def plain_step(state, batch, lr, model, cfg) -> tuple[dict, dict, Array, Array]:
    """One step as formulas: loss and gradients, clipped, and AdamW.

    batch : inputs, targets and keep, on the host
    returns new params, a new state of the optimizer, the loss, and the norm of the gradient before
            it was clipped
    """
    loss, grads = _loss_and_grads(state.params, batch, model)
    clipped, norm = clip_by_norm(grads, cfg.clip)
    params, optimizer = adamw_step(state.params, clipped, state.optimizer, lr, weight_decay=cfg.weight_decay)
    return params, optimizer, loss, norm


def _loss_and_grads(params, batch, model):
    inputs, targets, keep = batch
    if model.task == "vision":  # tokens and targets stay on the host, where they are checked
        inputs = array_module(params["head"]["W"]).asarray(inputs)
    return loss_and_grads(params, inputs, targets, model, keep)


def train(
    model: ModelConfig, cfg: TrainConfig, data: Dataset, params=None, progress=False, step=plain_step
) -> TrainResult:
    """Train a model on data.train and watch it on data.valid; data.test is never touched.

    data     : a Dataset, on the host
    params   : where to start; None draws them from cfg.seed
    progress : show a bar, or a line per epoch where there is no terminal; or a function that is
               called after each step
    step     : how a step is taken, as plain_step does; dgsa_np.fast.choose_step gives a faster one
    raises   : DataError where the data hold nan or inf; NonFiniteError with step, loss and the
               first bad tensor, or with the epoch whose validation broke down; OutOfMemoryError
               with shapes and bytes
    """
    state, steps, epochs = first_state(model, cfg, params), [], []
    taken = train_steps(model, cfg, data, state, step)
    bar = bool(progress) and not callable(progress)
    for done, record, epoch in with_bar(taken, model, cfg, data, progress=bar):
        state = done
        steps.append(record)
        epochs += [epoch] if epoch else []
        if callable(progress):
            progress()
    return TrainResult(to_numpy(state.params), steps, epochs)


@takes(model=ModelConfig, cfg=TrainConfig)
def first_state(model: ModelConfig, cfg: TrainConfig, params=None) -> TrainState:
    """Before the first step, on the host."""
    params = init_model(model, np.random.default_rng(cfg.seed)) if params is None else params
    right_parameters("first_state", "params", {"params": params, "model": model})
    order = np.random.default_rng([cfg.seed, 1])  # of its own: with equal seeds every model sees the same batches
    return TrainState(params, adamw_init(params), order.bit_generator.state)


@takes(model=ModelConfig, cfg=TrainConfig, data=Dataset, state=TrainState)
def check_state(model: ModelConfig, cfg: TrainConfig, data: Dataset, state: TrainState):
    """Check that training can go on from a state, as train_steps does.

    raises : ValueError or TypeError naming what is wrong in it
    """
    for name, tree in {"params": state.params, "m": state.optimizer["m"], "v": state.optimizer["v"]}.items():
        right_parameters("check_state", name, {name: tree, "model": model})
    per_epoch = _sizes(cfg, data)[1]
    shapes.whole("check_state", 0, epoch=state.epoch, batch=state.batch, step=state.optimizer["step"])
    shapes.number("check_state", 0, per_epoch - 1, batch=state.batch)
    shapes.number("check_state", loss_sum=state.loss_sum)
    _generator(state.rng)


def _generator(state):
    """The generator of NumPy that has this state."""
    rng = np.random.default_rng()
    try:
        rng.bit_generator.state = state
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise ValueError(f"check_state: rng is not the state of a PCG64 generator: {error!r}") from error
    return rng


@takes(model=ModelConfig, cfg=TrainConfig, data=Dataset, state=TrainState, step=Callable)
def train_steps(
    model: ModelConfig, cfg: TrainConfig, data: Dataset, state: TrainState, step=plain_step
) -> Iterator[tuple[TrainState, dict, dict | None]]:
    """Train on from a state, step by step.

    step : how a step is taken, as plain_step does
    yields after each step : the new state, the record of the step, that of the epoch or None

    States are never changed, so whoever keeps one can save it, or go on from it with the same bits.
    Inside, BLAS runs on one thread: matrices are small, and so the bits do not depend on the number
    of cores.
    """
    device = resolve_device(cfg.device)
    state = state._replace(params=to_device(state.params, device), optimizer=to_device(state.optimizer, device))
    batch, per_epoch = _sizes(cfg, data)
    _check_finite(data)
    check_state(model, cfg, data, state)
    with threadpool_limits(limits=1):
        while state.epoch < cfg.epochs:
            rng = _generator(state.rng)
            order = rng.permutation(len(data.train.targets))  # full batches; the rest gets its turn in another order
            for rows in order[: per_epoch * batch].reshape(per_epoch, batch)[state.batch :]:
                number = state.epoch * per_epoch + state.batch
                lr = warmup_cosine(number, cfg.epochs * per_epoch, cfg.lr, round(cfg.warmup * cfg.epochs * per_epoch))
                with _memory_explained(number, data.train.take(rows), state, model, device) as taken:
                    state, record = _take(step, state, taken, lr, model, cfg)
                epoch = None
                if state.batch == per_epoch:
                    valid = _validate(state, data.valid, model)
                    epoch = {"epoch": state.epoch, "train_loss": state.loss_sum / per_epoch, **valid}
                    state = TrainState(state.params, state.optimizer, rng.bit_generator.state, state.epoch + 1)
                yield state, {"step": number, **record}, epoch


@takes(model=ModelConfig, cfg=TrainConfig, data=Dataset)
def with_bar(steps, model, cfg, data, start=0, progress=True) -> Iterator[tuple[TrainState, dict, dict | None]]:
    """The steps, with a bar that shows loss, accuracy and time left; elsewhere a line per epoch."""
    total = cfg.epochs * _sizes(cfg, data)[1]
    name = f"train {model.kind}"
    with tqdm(total=total, initial=start, disable=None if progress else True, unit="step", desc=name) as bar:
        shown: dict[str, str] = {}
        for state, step, epoch in steps:
            watched = {k: f"{v:.3f}" for k, v in (epoch or {}).items() if k.startswith("valid")}
            shown |= {"loss": f"{step['loss']:.3f}", **watched}
            bar.set_postfix(shown, refresh=False)
            bar.update()
            if bar.disable and progress and epoch:
                figures = ", ".join(f"{k} {v}" for k, v in shown.items())
                print(f"{name}: epoch {state.epoch} of {cfg.epochs}: {figures}", file=sys.stderr, flush=True)
            yield state, step, epoch


def _take(step, state, batch, lr, model, cfg):
    """The state after a step, and its record."""
    params, optimizer, loss, norm = step(state, batch, lr, model, cfg)
    loss, norm = to_numpy(array_module(loss).stack([loss.astype("float64"), norm])).tolist()  # the one read of a step
    if not np.isfinite([loss, norm]).all():
        raise _non_finite(state, batch, loss, norm, model)
    done = state._replace(params=params, optimizer=optimizer, batch=state.batch + 1, loss_sum=state.loss_sum + loss)
    return done, {"loss": loss, "norm": norm, "lr": lr}


@contextmanager
def _memory_explained(step, batch, state, model, device):
    """Gives the batch; where memory runs out, the error says what is large."""
    try:
        yield batch
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        T = model.n_tokens if model.task == "vision" else batch[0].shape[1]
        shape, width = (len(batch[0]), model.n_heads, T, T), state.params["head"]["W"].itemsize
        sizes, advice = f"inputs {batch[0].shape}, {count(state.params):,} parameters", "try a smaller batch_size"
        if model.head_pair(array_module(state.params["head"]["W"]), T, T) is model.mechanism.head:  # not on tiles
            sizes += f", maps (B, H, T, T) = {shape} of {math.prod(shape) * width:,} bytes each, several per layer"
            advice += ", or impl='tiled'" if model.kind in TILED_KINDS else ""
        why = f"{str(error).rstrip('.')}; {sizes}; {advice}"
        raise OutOfMemoryError(f"train: step {step}: device {device!r} is out of memory: {why}") from error


@takes(params=right_parameters, split=Split, model=ModelConfig)
def predict(params, split: Split, model: ModelConfig) -> np.ndarray:
    """Logits (N, n_out) on the host, for a Split on the host and params on any device.

    raises : NonFiniteError where they are not finite
    """
    return np.concatenate([logits for logits, _ in _predictions(params, split, model)])


@takes(params=right_parameters, split=Split, model=ModelConfig)
def evaluate(params, split: Split, model: ModelConfig) -> dict[str, float]:
    """Mean loss in nats and accuracy over the targets of a Split.

    raises : NonFiniteError where the logits or the loss are not finite
    """
    loss = hits = n = 0
    for logits, (_, targets, keep) in _predictions(params, split, model):
        kept = keep if keep is not None and model.task == "lm" else np.ones(targets.shape, bool)
        if not kept.any():
            continue
        batch_loss, _ = cross_entropy_forward(logits, targets, kept)
        loss += float(batch_loss) * kept.sum()
        hits += (logits.argmax(axis=-1) == targets)[kept].sum()
        n += kept.sum()
    if not n:
        raise ValueError("evaluate: keep of the split is all False, expected at least one kept target")
    if not np.isfinite(loss):
        raise NonFiniteError(f"evaluate: loss {loss} over {n} targets: the logits are too large")
    return {"loss": float(loss / n), "accuracy": float(hits / n)}


def _predictions(params, split, model):
    """Logits on the host and the rows they belong to, batch by batch."""
    xp = array_module(params["head"]["W"])
    most = EVALUATION if xp is np else 8 * EVALUATION  # a GPU is slow to start, and has no cache to fit
    size = max(1, most // model.n_tokens)
    for start in range(0, split.length(), size):
        rows = split.take(slice(start, start + size))
        inputs = xp.asarray(rows[0]) if model.task == "vision" else rows[0]
        logits = to_numpy(model_forward(inputs, params, model, rows[2])[0])
        if not np.isfinite(logits).all():
            row = np.argwhere(~np.isfinite(logits))[0][0]
            finite = np.isfinite(rows[0][row]).all()
            inputs_are = "are finite: params overflow, or hold nan" if finite else "hold nan or inf too"
            where = f"first for row {start + row} of the split, whose inputs {inputs_are}"
            raise NonFiniteError(f"predict: logits that are not finite, {where}")
        yield logits, rows


def _validate(state, valid, model):
    """Loss and accuracy after an epoch, as its record names them."""
    try:
        return {f"valid_{name}": x for name, x in evaluate(state.params, valid, model).items()}
    except NonFiniteError as error:
        params = to_numpy(state.params)
        sizes = {name: float(abs(a).max()) for name, a in flatten(params).items()}
        name = max(sizes, key=lambda name: (math.isnan(sizes[name]), sizes[name]))  # nan, where there is one
        largest = f"the largest parameter is {sizes[name]:.3g}, in {name}"
        said = NonFiniteError(f"train: epoch {state.epoch}: on data.valid: {error}; {largest}; try a smaller lr")
        said.params = params
        raise said from error


def _check_finite(data):
    """Nothing in what is trained and watched is nan or inf."""
    for name in ("train", "valid"):
        getattr(data, name).length()  # all arrays, of equal length
        for part, a in getattr(data, name)._asdict().items():
            if a is None or a.dtype.kind != "f" or np.isfinite([a.min(), a.max()]).all():  # nan is both
                continue
            bad = np.argwhere(~np.isfinite(a))
            numbers = f"{len(bad)} number{'s' * (len(bad) > 1)} that {'are' if len(bad) > 1 else 'is'} not finite"
            first = f"first at {tuple(bad[0].tolist())}"
            raise DataError(f"train: data.{name}.{part} holds {numbers}, {first}; expected finite numbers")


def _sizes(cfg, data):
    """Rows of a batch, and batches of an epoch."""
    shapes.instance("train", Split, train=data.train, valid=data.valid)
    n = data.train.length()
    batch = min(cfg.batch_size, n)
    return batch, n // batch


def _non_finite(state, batch, loss, norm, model):
    _, grads = _loss_and_grads(state.params, batch, model)
    params = to_numpy(state.params)
    tensors = [("parameter", params), ("gradient", to_numpy(grads))]
    bad = [(kind, name, a) for kind, tree in tensors for name, a in flatten(tree).items() if not np.isfinite(a).all()]
    where = "all parameters and gradients are finite"
    if bad:
        kind, name, a = bad[0]
        count = int((~np.isfinite(a)).sum())
        where = f"the first bad tensor is the {kind} {name}, {count} of its {a.size} numbers are not finite"
    step = state.optimizer["step"]
    error = NonFiniteError(f"train: step {step}: loss {loss}, gradient norm {norm}; {where}; try a smaller lr")
    error.params = params
    return error
