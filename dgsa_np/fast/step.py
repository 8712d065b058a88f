"""One training step on memory that stands still: forward, backward, clipping, AdamW.

    step = make_step(cfg, batch=64)                          # its memory is made here, once
    step.set(params)                                         # copied in
    loss, norm = step.train(inputs, targets, lr=1e-3)
    params, optimizer = step.state()                         # copies

What is computed is what the plain step computes, up to rounding. On a CPU, each thread has a shard
of the batch. On a GPU, a batch is uploaded, and then nothing more is uploaded, read or asked.
"""

from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from .. import shapes
from ..attention.multihead import TILED_KINDS
from ..backend import array_module, to_device, to_numpy
from ..indices import indices
from ..layers import kept_patches
from ..model import ModelConfig, check_inputs, loss_and_grads
from ..params import leaves, tree_map
from ..shapes import Array, ShapeError
from ..train import TrainConfig, plain_step, right_parameters
from .graph import captured
from .program import Program, put
from .shard import Batch, Shard
from .threads import blas_on_one, choose_threads, in_threads
from .weights import AdamW, fold_block, fold_rows, size_of, views

MAPS = 2**18  # T T from which maps are made on tiles, where cfg.impl leaves it open


class Step:
    """Batches of one size, and a model's parameters, gradients and moments.

    A step has phases: fold the matrices, go forward and backward, add up the shards and unfold, add
    up squares, find the norm, update. A phase has a program per thread, and ends with all of them.
    """

    def __init__(self, cfg, batch, length, keep, threads, dtype, device, clip, weight_decay, capture):
        self.xp = xp = array_module(to_device(np.zeros(1), device))
        self.cfg, self.keep, self.shape = cfg, keep, (batch, cfg.n_tokens if length is None else length)
        tiled = cfg.impl == "tiled" or (cfg.impl == "auto" and self.shape[1] ** 2 >= MAPS)
        n = size_of(cfg)
        self.graph = captured(xp) if capture else None
        self.held, self.g, self.t, self.loss = xp.zeros((3, n), dtype), xp.zeros(n, dtype), 0, xp.zeros((1, 1), dtype)
        self.cuts = [slice(*ends) for ends in pairwise(np.linspace(0, batch, threads + 1).astype(int).tolist())]
        self.shards = [Shard(xp, cfg, cut.stop - cut.start, self.shape[1], keep, dtype, tiled) for cut in self.cuts]
        folding, unfolding, squares, updates = ([Program(xp) for _ in self.cuts] for _ in range(4))
        self.write(folding, unfolding)
        decay = xp.zeros(n, dtype)
        for a in leaves(views(cfg, decay)).values():
            a.fill(weight_decay if a.ndim > 1 else 0)
        self.adamw, norm = AdamW(xp, self.held[0], self.g, self.held[1], self.held[2], decay, clip), Program(xp)
        self.adamw.find_norm(norm, self.loss)
        for i in range(threads):
            own = range(i, len(self.adamw.parts), threads)
            self.adamw.add_squares(squares[i], own)
            self.adamw.update(updates[i], own)
        self.gradient_phases = [folding, [shard.program for shard in self.shards], unfolding]
        self.update_phases = [squares, [norm], updates]

    def write(self, folding, unfolding):
        """Write down the way from parameters to gradients. The threads share the layers."""
        cfg, n, p, g = self.cfg, len(self.cuts), views(self.cfg, self.held[0]), views(self.cfg, self.g)
        adding = [Program(self.xp) for _ in self.cuts]
        head, dhead = ({"W": self.xp.zeros_like(tree["head"]["W"]), "b": tree["head"]["b"]} for tree in (p, g))
        scaled = [(..., p["head"]["W"], g["head"]["W"])]
        fold_rows(folding[-1], unfolding[-1], head["W"], dhead["W"], p["norm"]["w"], g["norm"]["w"], scaled)
        pairs = enumerate(zip(p["blocks"], g["blocks"], strict=True))
        blocks = [fold_block(folding[i % n], unfolding[i % n], cfg, i, *pair) for i, pair in pairs]
        grads = {"embed": g["embed"], "blocks": [dW for _, dW in blocks], "head": dhead, "loss": self.loss}
        trees = [grads, *(tree_map(self.xp.zeros_like, grads) for _ in self.cuts[1:])]
        for shard, tree in zip(self.shards, trees, strict=True):
            shard.write(p["embed"], [W for W, _ in blocks], head, tree)
        for i in range(cfg.depth):
            add_up(adding[i % n], [tree["blocks"][i] for tree in trees])
        for name in ("embed", "head", "loss"):
            add_up(adding[-1], [tree[name] for tree in trees])
        for first, then in zip(adding, unfolding, strict=True):
            then.calls[:0] = first.calls

    # ---------------------------------------------------------------------------------- in and out

    def set(self, params, optimizer=None):
        """Copy parameters in, and the state of adamw_step, as adamw_init makes it if None."""
        trees, t = {"params": params}, 0
        if optimizer is not None:
            shapes.instance("step", dict, optimizer=optimizer)
            trees, t = trees | {name: optimizer[name] for name in "mv"}, optimizer["step"]
            shapes.whole("step", 0, **{"optimizer['step']": t})
        for name, tree in trees.items():
            right_parameters("step", name, {name: tree, "model": self.cfg})
            if any(a.dtype.kind != "f" for a in leaves(tree).values()):
                raise TypeError(f"step: {name} holds complex numbers, expected float32 or float64")
        self.t = t
        self.held[1:].fill(0)
        for i, tree in enumerate(trees.values()):
            tree_map(put, views(self.cfg, self.held[i]), tree)

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Copies of the parameters and of the optimizer's state."""
        held = self.held.copy()
        params, m, v = (views(self.cfg, held[i]) for i in range(3))
        return params, {"m": m, "v": v, "step": self.t}

    def grads(self) -> dict[str, Any]:
        """A copy of the gradients, shaped like the parameters and not clipped."""
        return views(self.cfg, self.g.copy())

    def load(self, inputs, targets, keep=None):
        """Copy a batch in, checked as loss_and_grads checks it."""
        self.check(inputs, targets, keep)
        cfg, (inputs, targets, keep) = self.cfg, (to_numpy(a) for a in (inputs, targets, keep))
        keep = np.ones(self.shape, bool) if keep is None else keep
        counted = keep if cfg.task == "lm" else np.ones(len(keep), bool)
        if not counted.any():
            raise ValueError("step: keep is all False, expected at least one kept target")
        tiles = cfg.task == "vision"
        inputs = kept_patches(inputs, cfg, keep) if tiles else np.where(keep, inputs, 0)
        inputs = inputs if tiles else inputs.astype("int32")
        batch = Batch(inputs, targets, keep, np.divide(counted, counted.sum(), dtype=self.loss.dtype))
        shards = zip(self.shards, self.cuts, strict=True)
        in_threads([partial(shard.load, Batch(*(a[rows] for a in batch))) for shard, rows in shards])

    def check(self, inputs, targets, keep):
        """The batch has the size that the step was made for, and integers in their range."""
        length = check_inputs(inputs, self.cfg)
        size = len(inputs), length
        if size != self.shape:
            wanted = f"a batch of {self.shape[0]}, of {self.shape[1]} tokens each, as the step was made for"
            raise ShapeError(f"step: inputs are {inputs.shape}, expected {wanted}; make_step makes another")
        if keep is not None:
            shapes.keep("step", keep, self.shape, f"inputs {inputs.shape}")
        if keep is not None and not self.keep:
            raise ValueError("step: keep is an array, expected None, as the step was made: make_step(.., keep=True)")
        shape = self.shape if self.cfg.task == "lm" else self.shape[:1]
        indices("step", "targets", targets, self.cfg.n_out, f"cfg.n_out and inputs {inputs.shape}", shape)

    # ------------------------------------------------------------------------------- what is done

    def gradients(self, inputs, targets, keep=None) -> Array:
        """The loss, an array without axes; grads() has the gradients then."""
        self.load(inputs, targets, keep)
        self.run(self.gradient_phases)
        return self.loss.reshape(()).copy()

    def train(self, inputs, targets, keep=None, lr=1e-3) -> tuple[Array, Array]:
        """A whole step: the loss and the norm of the gradient before it, arrays without axes.

        Where one of them is not finite, parameters and moments stay as they are, though the step
        counts: nobody waits to see it.
        """
        shapes.number("step", 0, lr=lr)
        self.load(inputs, targets, keep)
        put(self.adamw.knobs, self.adamw.knobs_at(lr, self.t + 1))
        if self.graph is None:
            self.take()
        else:
            self.graph.run(self.take)
        self.t += 1
        return self.loss.reshape(()).copy(), self.adamw.norm.reshape(()).copy()

    def take(self):
        """The step of the batch that is loaded."""
        self.run(self.gradient_phases + self.update_phases)

    def run(self, phases):
        with blas_on_one():
            for programs in phases:
                in_threads(programs)


def add_up(program, trees):
    """Write down: the first tree holds the sum of all."""
    for first, *others in zip(*(leaves(tree).values() for tree in trees), strict=True):
        for other in others:
            program.into(first).add(first, other)


# -------------------------------------------------------------------------------------- the doors


@shapes.takes(cfg=ModelConfig)
def is_fast(cfg) -> bool:
    """Whether there is a fast step: for kinds whose heads are weighted sums of softmax maps."""
    return cfg.kind in TILED_KINDS


@shapes.takes(cfg=ModelConfig, batch="whole >= 1", length="whole >= 1 or None", threads="whole >= 1 or None",
              clip="number >= 1e-12", weight_decay="number >= 0", keep=bool, capture=bool)  # fmt: skip
def make_step(
    cfg: ModelConfig,
    batch: int,
    length=None,
    keep=False,
    threads=None,
    dtype="float32",
    device="cpu",
    clip=1.0,
    weight_decay=0.01,
    capture=False,
) -> Step:
    """A step for batches of one size.

    length  : T; None: cfg.n_tokens
    keep    : whether batches come with a keep
    threads : None chooses, see choose_threads; on a GPU it is one
    capture : on a GPU, replay the step as a CUDA graph from the second time on
    raises  : ValueError for a kind that has no fast step, or a wrong length; TypeError; DeviceError
    """
    if not is_fast(cfg):
        raise ValueError(f"make_step: kind is {cfg.kind!r}, expected one of {', '.join(TILED_KINDS)}")
    if dtype not in ("float32", "float64"):
        raise TypeError(f"make_step: dtype is {dtype}, expected float32 or float64")
    if length is not None and (length > cfg.n_tokens or (cfg.task == "vision" and length != cfg.n_tokens)):
        most = "the patches of an image" if cfg.task == "vision" else "no more than cfg.max_len"
        raise ValueError(f"make_step: length is {length}, expected {most} = {cfg.n_tokens}")
    if threads is None or device != "cpu":
        threads = choose_threads(device, batch, cfg)
    threads = min(threads, batch)
    return Step(cfg, batch, length, keep, threads, dtype, device, clip, weight_decay, capture)


@shapes.takes(cfg=ModelConfig, params=right_parameters, threads="whole >= 1 or None")
def loss_and_grads_threaded(
    params, inputs, targets, cfg: ModelConfig, keep=None, threads=None
) -> tuple[Array, dict[str, Any]]:
    """loss_and_grads by a step that is made for this one call, which takes longer than the call.

    Equal up to rounding; the same number of threads gives the same bits. Kinds without a fast step,
    complex numbers and parameters of several dtypes take the plain one.
    """
    dtypes = {a.dtype for a in leaves(params).values()}
    if not is_fast(cfg) or len(dtypes) > 1 or any(dtype.kind == "c" for dtype in dtypes):
        return loss_and_grads(params, inputs, targets, cfg, keep)
    device = "cpu" if array_module(params["head"]["W"]) is np else "cuda"
    length = check_inputs(inputs, cfg)
    step = make_step(cfg, len(inputs), length, keep is not None, threads, *dtypes, device)
    step.set(params)
    return step.gradients(inputs, targets, keep), step.grads()


class FastStep:
    """Takes a step as train.plain_step does. Memory is made for each size of batch that comes."""

    def __init__(self):
        self.steps, self.left = {}, (None, None, None)  # the last step, and how it left the model

    def __call__(self, state, batch, lr, model, cfg):
        inputs, targets, keep = batch
        W = state.params["head"]["W"]
        device = "cpu" if array_module(W) is np else "cuda"
        length = check_inputs(inputs, model)
        key = model, len(inputs), length, keep is not None, cfg.threads, W.dtype, device, cfg.clip, cfg.weight_decay
        if key not in self.steps:
            self.steps[key] = make_step(*key, cfg.capture)
        step, left = self.steps[key], self.left
        self.left = None, None, None  # until this step has ended
        if not all(a is b for a, b in zip(left, (step, state.params, state.optimizer), strict=True)):
            step.set(state.params, state.optimizer)
        loss, norm = step.train(inputs, targets, keep, lr)
        self.left = step, *step.state()
        return *self.left[1:], loss, norm


@shapes.takes(model=ModelConfig, cfg=TrainConfig)
def choose_step(model, cfg):
    """How train shall take a step: a FastStep, or plain_step if asked for or the only one."""
    return FastStep() if cfg.step == "auto" and is_fast(model) else plain_step
