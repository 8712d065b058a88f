"""Batches and models for the fast step, and what the plain step makes of them."""

from typing import NamedTuple

import numpy as np

from dgsa_np.attention.multihead import TILED_KINDS
from dgsa_np.backend import to_device
from dgsa_np.fast import make_step
from dgsa_np.lab.cases import random_params
from dgsa_np.model import ModelConfig, init_model, loss_and_grads
from dgsa_np.optim import adamw_init, adamw_step, clip_by_norm
from dgsa_np.params import flatten, tree_map
from dgsa_np.train import TrainConfig, first_state
from support.compare import bits
from support.training import three_splits

KINDS = TILED_KINDS  # those that have a fast step
TASKS = ("vision", "text", "lm")
MASKS = ("none", "right", "left", "holes", "one empty")
PLACES = [(kind, task, mask) for kind in KINDS for task in TASKS for mask in MASKS]
SWITCHES = [
    {"ffn": "gelu", "rotary": True, "width": 24},
    {"gate": "head", "head_norm": False},
    {"gate_on": "inhibition", "T": 67},
    {"impl": "tiled", "T": 70, "rotary": True},
    {"T": 1, "B": 1, "depth": 1},
]
THREADS = (1, 2, 3, 9)  # the last are more than a batch has rows, and than a model has layers

# No size can stand for another: B 5, T 6 or 9, H 3, d 2 or 4, C 12, F 7, V 11, n_out 4.
SIZES = {"width": 12, "n_heads": 3, "depth": 2, "ffn_width": 7}


class Problem(NamedTuple):
    cfg: ModelConfig
    params: dict  # none of them at 0 or 1
    inputs: np.ndarray
    targets: np.ndarray
    keep: np.ndarray | None

    @property
    def batch(self):
        return self.inputs, self.targets, self.keep

    def rows(self, rows):
        return self._replace(**{name: a[rows] for name, a in self._asdict().items() if isinstance(a, np.ndarray)})

    def in_dtype(self, dtype):
        """With parameters that are rounded to it, and images."""
        inputs = self.inputs.astype(dtype) if self.cfg.task == "vision" else self.inputs
        return self._replace(params=tree_map(lambda a: a.astype(dtype), self.params), inputs=inputs)

    def on_device(self):
        """With its parameters there."""
        return self._replace(params=to_device(self.params, "cuda"))


def problem(kind="dgsa", task="lm", mask="none", seed=3, B=5, T=6, **switches) -> Problem:
    """A model and a batch in float64. Images have 3 x 3 patches, unless a switch says otherwise."""
    rng = np.random.default_rng([seed, 77])
    if task == "vision":
        usual = {"image_size": 6, "patch_size": 2, "n_out": 4}
    else:
        usual = {"vocab_size": 11, "max_len": T + 2} | ({"n_out": 4} if task == "text" else {})
    cfg = ModelConfig(kind=kind, task=task, **SIZES | usual | switches)
    params = random_params(init_model(cfg, rng, "float64"), rng)
    if task == "vision":
        T, colours = cfg.n_tokens, (cfg.channels,) * (cfg.channels > 1)
        inputs = rng.random((B, cfg.image_size, cfg.image_size, *colours))
    else:
        inputs = rng.integers(0, cfg.vocab_size - 2, (B, T))  # two tokens never come
    targets = rng.integers(0, cfg.n_out, (B, T) if task == "lm" else B)
    return Problem(cfg, params, inputs, targets, keep_for(mask, B, T, rng))


def keep_for(mask, B, T, rng):
    """Which tokens are kept, (B, T), or None."""
    if mask == "none":
        return None
    places = np.arange(T)
    keep = {
        "right": places < rng.integers(1, T + 1, (B, 1)),
        "left": places >= rng.integers(0, T, (B, 1)),
        "holes": rng.random((B, T)) < 0.6,
        "one empty": (rng.random((B, T)) < 0.6) & (np.arange(B) != 1)[:, None],  # the second sequence has nothing
    }[mask]
    keep[0, -1] = True  # one token at the least
    return keep


def batches_of(given, n):
    """So many batches, each of the rows of a problem in another order and with other targets."""
    rng = np.random.default_rng(11)
    for _ in range(n):
        inputs, targets, keep = given.rows(rng.permutation(len(given.inputs))).batch
        yield inputs, rng.permutation(targets), keep


def changed_in(given, part, change):
    """The problem with each block's parameters of a part of it changed: change(name, array)."""

    def block(p):
        return p | {part: {name: change(name, a) for name, a in p[part].items()}}

    return given._replace(params=given.params | {"blocks": [block(p) for p in given.params["blocks"]]})


def louder(given, factor):
    """Scores are that many times as large."""
    return changed_in(given, "attention", lambda name, a: a * factor if name.startswith("W_q") else a)


# ------------------------------------------------------------------------------------ the two steps


def step_for(given, threads=1, device="cpu", **options):
    """A fast step that holds the parameters of a problem."""
    length = None if given.cfg.task == "vision" else given.inputs.shape[1]
    dtype = given.params["head"]["W"].dtype
    step = make_step(given.cfg, len(given.inputs), length, given.keep is not None, threads, dtype, device, **options)
    step.set(given.params)
    return step


def plain_gradients(given):
    """{name: gradient}, and the loss under "loss"."""
    loss, grads = loss_and_grads(given.params, given.inputs, given.targets, given.cfg, given.keep)
    return flatten(grads) | {"loss": loss}


def fast_gradients(given, threads=1, step=None):
    step = step or step_for(given, threads)
    loss = step.gradients(*given.batch)
    return flatten(step.grads()) | {"loss": loss}


def plain_steps(given, batches, lr, clip=1.0, weight_decay=0.01, start=None):
    """Yields after each step: [parameters, m, v], how many steps were taken, loss and norm."""
    params, optimizer = given.params, start or adamw_init(given.params)
    for inputs, targets, keep in batches:
        loss, grads = loss_and_grads(params, inputs, targets, given.cfg, keep)
        grads, norm = clip_by_norm(grads, clip)
        params, optimizer = adamw_step(params, grads, optimizer, lr, weight_decay=weight_decay)
        yield held(params, optimizer), optimizer["step"], (loss, norm)


def held(params, optimizer):
    return [params, optimizer["m"], optimizer["v"]]


def bits_of(step):
    """Of all that a step holds."""
    return bits([*held(*step.state()), step.grads()])


CFG = TrainConfig(epochs=2, batch_size=5, lr=1e-4, device="cpu", threads=2, clip=0.7, weight_decay=0.1, seed=4)


def training(kind, task, cfg=CFG):
    """What train_steps needs: a model, settings, data of 17 rows, a first state in float64."""
    given = problem(kind, task)
    return given.cfg, cfg, three_splits(given.cfg, n=17), first_state(given.cfg, cfg, given.params)


# ---------------------------------------------------------------------------------- how far apart


def apart(got, want):
    """The largest difference of two trees, over the largest number in the second; nan stays nan."""
    got, want = flatten(got), flatten(want)
    assert list(got) == list(want)
    assert all((a.shape, a.dtype) == (want[name].shape, want[name].dtype) for name, a in got.items())
    scale = max(abs(a).max() for a in want.values())
    assert scale > 1e-8  # else it shows nothing
    return np.max([abs(got[name] - a).max() for name, a in want.items()]) / scale


def assert_gradients(given, threads=1, bar=1e-12, step=None):
    """Loss and gradients are those of the plain step, to rounding."""
    got, want = fast_gradients(given, threads, step), plain_gradients(given)
    loss = want.pop("loss")
    assert abs(got.pop("loss") - loss) <= bar * max(1, abs(loss))
    assert apart(got, want) <= bar


def assert_steps(given, threads=1, n=3, lr=1e-3, start=None, **options):
    """After each step, parameters, moments, loss and norm are those of the plain step."""
    step, batches = step_for(given, threads, **options), list(batches_of(given, n))
    step.set(given.params, start)
    plain = plain_steps(given, batches, lr, start=start, **options)
    for batch, (want, taken, (loss, norm)) in zip(batches, plain, strict=True):
        said = step.train(*batch, lr=lr)
        params, optimizer = step.state()
        assert optimizer["step"] == taken
        assert all(apart(a, b) <= 1e-12 for a, b in zip(held(params, optimizer), want, strict=True))
        assert np.allclose(said, (loss, norm), rtol=1e-12, atol=0)
