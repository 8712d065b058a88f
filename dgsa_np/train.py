"""The one training loop."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from .backend import array_module, resolve_device, to_device, to_numpy
from .checks import check_choice, check_whole, set_numbers
from .losses import cross_entropy_forward
from .model import ModelConfig, init_model, loss_and_grads, model_forward
from .optim import adamw_init, adamw_step, clip_by_norm, warmup_cosine
from .params import flatten


class NonFiniteError(FloatingPointError):
    """The loss or the gradient stopped being a number. The parameters before that step are in .params."""


@dataclass(frozen=True)
class TrainConfig:
    """How to train. Two runs with equal configurations, on one machine, are equal bit for bit."""

    epochs: int = 80
    batch_size: int = 64
    lr: float = 0.02  # at the top of the schedule
    warmup: float = 0.1  # part of all steps
    weight_decay: float = 0.5
    clip: float = 1.0  # the largest global norm of a gradient
    seed: int = 0  # of the initial parameters and of the order of the data
    device: str = "auto"

    def __post_init__(self):
        check_choice("TrainConfig", "device", self.device, ("auto", "cpu", "cuda"))
        check_whole("TrainConfig", epochs=self.epochs, batch_size=self.batch_size)
        check_whole("TrainConfig", least=0, seed=self.seed)
        set_numbers(self, "lr", "clip", low=1e-12)
        set_numbers(self, "weight_decay", low=0)
        set_numbers(self, "warmup", low=0, high=0.999)


class TrainResult(NamedTuple):
    params: dict  # on the host
    steps: list  # a dict per step: step, loss (nats), norm of the gradient, lr
    epochs: list  # a dict per epoch: epoch, train_loss, valid_loss (nats), valid_accuracy


@threadpool_limits.wrap(limits=1)
def train(model: ModelConfig, cfg: TrainConfig, data, params=None, progress=False) -> TrainResult:
    """Train a model on data.train and watch it on data.valid; data.test is never touched.

    Matrices are small, so BLAS runs on one thread: as fast, and the same bits on any number of cores.

    data     : a Dataset, on the host
    params   : where to start; None draws them from cfg.seed
    progress : show a bar, where the terminal can
    raises   : NonFiniteError with step, loss and the first bad tensor
    """
    rng = np.random.default_rng(cfg.seed)
    device = resolve_device(cfg.device)
    params = to_device(init_model(model, rng) if params is None else params, device)
    state = adamw_init(params)
    n = len(data.train.targets)
    batch = min(cfg.batch_size, n)
    total = cfg.epochs * (n // batch)
    steps, epochs = [], []
    bar = tqdm(total=total, disable=None if progress else True, unit="step", desc=f"train {model.kind}")
    for epoch in range(cfg.epochs):
        for rows in _batches(n, batch, rng):
            step = len(steps)
            lr = warmup_cosine(step, total, cfg.lr, warmup=round(cfg.warmup * total))
            inputs, targets, keep = data.train.take(rows)
            loss, grads = loss_and_grads(params, to_device(inputs, device), targets, model, keep)
            clipped, norm = clip_by_norm(grads, cfg.clip)
            loss, norm = _read(loss, norm)
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise _non_finite(step, loss, norm, params, grads)
            params, state = adamw_step(params, clipped, state, lr, weight_decay=cfg.weight_decay)
            steps.append({"step": step, "loss": loss, "norm": norm, "lr": lr})
            bar.update()
        epochs.append(_watch(epoch, steps[-(n // batch) :], params, data, model))
        bar.set_postfix({k: f"{v:.3f}" for k, v in epochs[-1].items() if k != "epoch"})
    bar.close()
    return TrainResult(to_numpy(params), steps, epochs)


def predict(params, inputs, model: ModelConfig, keep=None, batch_size=512):
    """Logits (N, n_out) on the host, for inputs on the host and params on any device."""
    xp = array_module(params["head"]["W"])
    logits = []
    for start in range(0, len(inputs), batch_size):
        rows = slice(start, start + batch_size)
        batch, _ = model_forward(xp.asarray(inputs[rows]), params, model, None if keep is None else keep[rows])
        logits.append(to_numpy(batch))
    return np.concatenate(logits)


def evaluate(params, split, model: ModelConfig) -> dict:
    """Mean loss in nats and accuracy over a split."""
    logits = predict(params, split.inputs, model, split.keep)
    loss, _ = cross_entropy_forward(logits, split.targets)
    return {"loss": float(loss), "accuracy": float((logits.argmax(axis=-1) == split.targets).mean())}


def _batches(n, size, rng):
    """A fresh order of all rows, in full batches; what is left over gets its turn in another epoch's order."""
    order = rng.permutation(n)
    return order[: n - n % size].reshape(-1, size)


def _read(loss, norm):
    """The step's one read from the device."""
    return to_numpy(array_module(loss).stack([loss.astype("float64"), norm])).tolist()


def _watch(epoch, steps, params, data, model):
    valid = evaluate(params, data.valid, model)
    train_loss = sum(s["loss"] for s in steps) / len(steps)
    return {"epoch": epoch, "train_loss": train_loss, "valid_loss": valid["loss"], "valid_accuracy": valid["accuracy"]}


def _non_finite(step, loss, norm, params, grads):
    params = to_numpy(params)
    tensors = [("parameter", params), ("gradient", to_numpy(grads))]
    bad = [(kind, name, a) for kind, tree in tensors for name, a in flatten(tree).items() if not np.isfinite(a).all()]
    where = "all parameters and gradients are finite"
    if bad:
        kind, name, a = bad[0]
        count = int((~np.isfinite(a)).sum())
        where = f"the first bad tensor is the {kind} {name}, {count} of its {a.size} numbers are not finite"
    error = NonFiniteError(f"train: step {step}: loss {loss}, gradient norm {norm}; {where}; try a smaller lr")
    error.params = params
    return error
