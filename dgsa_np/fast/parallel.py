"""One step split over threads.

NumPy computes outside Python's lock, so that large arrays use all cores.
"""

import ctypes
import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
from threadpoolctl import ThreadpoolController

from .. import shapes
from ..backend import array_module
from ..model import ModelConfig, loss_and_grads
from ..params import tree_map

LARGE_STEP = 2**16  # B T C, below which handing work to threads costs more than it saves


def loss_and_grads_threaded(
    params, inputs, targets, cfg: ModelConfig, keep=None, threads: int | None = None
) -> tuple[np.ndarray, dict]:
    """loss_and_grads, equal up to rounding: the batch is cut into one shard per thread.

    Shards are weighted by their kept targets and added in a fixed order, so that the same number of
    threads gives the same bits.

    threads : None chooses, see choose_threads
    """
    shapes.instance("loss_and_grads_threaded", ModelConfig, cfg=cfg)
    lengths = {getattr(a, "shape", ())[:1] for a in (inputs, targets, targets if keep is None else keep)}
    if len(lengths) != 1 or lengths == {()}:  # loss_and_grads says what is wrong
        return loss_and_grads(params, inputs, targets, cfg, keep)
    if threads is None:
        threads = choose_threads("cpu" if array_module(params["head"]["W"]) is np else "cuda", len(targets), cfg)
    shapes.whole("loss_and_grads_threaded", threads=threads)
    counts = keep if keep is not None and cfg.task == "lm" else np.ones(targets.shape, bool)
    shards = [
        rows
        for rows in np.array_split(np.arange(len(targets)), min(threads, len(targets)))
        if counts[rows].any()
    ]
    if len(shards) < 2:
        return loss_and_grads(params, inputs, targets, cfg, keep)

    def work(rows):
        return loss_and_grads(params, inputs[rows], targets[rows], cfg, None if keep is None else keep[rows])

    with _blas().limit(limits=1):
        losses, grads = zip(*_pool(threads).map(work, shards), strict=True)
    weights = [float(counts[rows].sum() / counts.sum()) for rows in shards]

    def mean(*terms):
        return sum(w * t for w, t in zip(weights, terms, strict=True)).astype(terms[0].dtype)

    return mean(*losses), tree_map(mean, *grads)


def choose_threads(device, batch_size, cfg) -> int:
    """How many threads: one per core for large steps on a CPU, one in all for others."""
    large = batch_size * cfg.n_tokens * cfg.width >= LARGE_STEP
    return min(cores(), batch_size) if large and device == "cpu" else 1


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@lru_cache
def keep_freed_memory():
    """Have glibc keep freed memory for the next step.

    What is given back to the system is cleared and mapped anew, page by page. All threads share one
    arena, and large arrays come from it too. An allocator other than glibc's stays as it is.
    """
    trim_threshold, mmap_threshold, arena_max = -1, -3, -8  # of glibc's malloc.h
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(arena_max, 1)
        mallopt(trim_threshold, 2**31 - 1)
        # 2^25 is the most that an older glibc takes.
        mallopt(mmap_threshold, 2**30) or mallopt(mmap_threshold, 2**25)


@lru_cache
def _pool(threads):
    keep_freed_memory()  # before the threads choose their arena
    return ThreadPoolExecutor(threads)


if hasattr(os, "register_at_fork"):  # a child process has the pool, but not its threads
    os.register_at_fork(after_in_child=_pool.cache_clear)


@lru_cache
def _blas():
    return ThreadpoolController()
