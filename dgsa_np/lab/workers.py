"""Many tasks at once: in processes here, or by the workers of a Dask scheduler.

A worker may be killed: its task begins again elsewhere, and the others go on.
"""

import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context

from threadpoolctl import threadpool_limits

from ..fast.parallel import keep_freed_memory
from .settings import SettingsError

PATIENCE = 3  # so many pools in a row may break before any task ends


def results(tasks, jobs=2, dask=None):
    """What the tasks return, in the order in which they end.

    tasks  : functions without arguments that can be pickled; each has one thread
    jobs   : the number of processes, which import the main script: it must start nothing when it is
             imported, that is, it needs `if __name__ == "__main__":`
    dask   : the address of a scheduler whose workers run the tasks instead
    raises : BrokenProcessPool where three pools in a row broke before any task ended
    """
    left, broken = dict(enumerate(tasks)), 0
    while left:
        with workers(jobs, dask) as executor:
            futures = {}
            try:
                futures |= {executor.submit(on_one_thread, task): number for number, task in left.items()}
                for future in as_completed(futures):
                    result = future.result()
                    del left[futures[future]]
                    broken = 0
                    yield result
            except BrokenProcessPool:
                broken += 1
                if broken == PATIENCE:
                    raise
            finally:
                for future in futures:
                    future.cancel()


@contextmanager
def workers(jobs, dask):
    """An executor: processes of this machine, or those of a Dask scheduler."""
    if dask is None:
        with ProcessPoolExecutor(jobs, get_context("spawn")) as executor:
            yield executor
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise SettingsError(f"--dask {dask} needs Dask: pip install 'dgsa_np[cluster]'") from error
    try:
        client = Client(dask, timeout="20s")
    except (OSError, ValueError) as error:
        raise SettingsError(f"--dask {dask}: no scheduler answers there: {error}") from error
    with client:
        yield client.get_executor(pure=False)


def on_one_thread(task):
    """Run a task with one thread for BLAS. Ctrl-C ends the worker.

    The workers share the cores, and so the bits of a result do not depend on their number.
    """
    keep_freed_memory()
    try:
        with threadpool_limits(1):
            return task()
    except KeyboardInterrupt:  # which its pool would take for a result, and hand it the next task
        os._exit(1)
