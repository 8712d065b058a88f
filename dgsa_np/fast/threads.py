"""Threads that share a step: NumPy computes outside Python's lock."""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
from threadpoolctl import ThreadpoolController

BUFFER = 2048  # numbers that NumPy copies at once, where it has to; usual are 8192
LARGE_STEP = 2**15  # B T C, below which handing work to threads costs more than it saves


def choose_threads(device, batch_size, cfg) -> int:
    """How many threads: one per core for large steps on a CPU, one in all for others."""
    large = batch_size * cfg.n_tokens * cfg.width >= LARGE_STEP
    return min(cores(), batch_size) if large and device == "cpu" else 1


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(functions):
    """Call functions without arguments, each in a thread; a single one in this thread."""

    def call(function):
        with np.errstate(all="ignore"):  # what is not finite is seen in the end
            np.setbufsize(BUFFER)  # until the end of the with
            function()

    if len(functions) == 1:
        call(functions[0])
    else:
        list(_pool(len(functions)).map(call, functions))


@lru_cache
def _pool(threads):
    return ThreadPoolExecutor(threads)


if hasattr(os, "register_at_fork"):  # a child process has the pool, but not its threads
    os.register_at_fork(after_in_child=_pool.cache_clear)


@lru_cache
def _blas():
    return ThreadpoolController()


def blas_on_one():
    """A context in which products of matrices stay on the thread that asks for them."""
    return _blas().limit(limits=1)
