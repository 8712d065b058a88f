"""Many tasks at once: in processes here, or by the workers of a Dask scheduler.

A worker may be killed: its task begins again elsewhere, and the others go on. Workers end with the
process that began them, however it ends.
"""

import os
import signal
import sys
import threading
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context

from threadpoolctl import threadpool_limits
from tqdm import tqdm

from .settings import SettingsError

PATIENCE = 3  # so many pools in a row may break before any task ends
SPAWN = get_context("spawn")
DIED = "BrokenProcessPool", "KilledWorker", "CancelledError", "CommClosedError"  # the last three are Dask's
STEPS, PLACE = {0: 0}, 0  # the steps done of each task, shared by all workers, and which task is this one's


class WorkersError(BrokenProcessPool):
    """Workers die as often as they are begun."""


def results(tasks, jobs=2, dask=None, count=None):
    """What the tasks return, in the order in which they end.

    tasks  : functions without arguments that can be pickled; each has one thread
    jobs   : the number of processes, which import the main script: it must start nothing when it is
             imported, that is, it needs `if __name__ == "__main__":`
    dask   : the address of a scheduler whose workers run the tasks instead
    count  : a function that is told, now and then, how often the tasks have called advance
    raises : WorkersError where three pools in a row broke before any task ended, or Dask gave up
    """
    left, broken, steps = dict(enumerate(tasks)), 0, SPAWN.RawArray("q", 1 + len(tasks))
    while left:
        try:
            with workers(jobs, dask, steps) as submit:
                futures = {submit(on_one_thread, task, number): number for number, task in left.items()}
                while futures:
                    done, _ = wait(futures, 0.2, FIRST_COMPLETED)
                    if count:
                        count(sum(steps))
                    for future in done:
                        result = future.result()
                        del left[futures.pop(future)]
                        broken = 0
                        yield result
        except Exception as error:
            if type(error).__name__ not in DIED:
                raise
            broken += PATIENCE if dask else 1
            if broken >= PATIENCE:
                who = f"the workers of {dask}" if dask else f"{jobs} worker processes"
                raise WorkersError(
                    f"{who} died again and again, with {len(left)} of {len(tasks)} tasks left: is there too little "
                    f"memory? What had ended is kept ({type(error).__name__}: {error})"
                ) from error


@contextmanager
def workers(jobs, dask, steps):
    """A function that gives a task to processes of this machine, or to those of a Dask scheduler.

    What they have not begun in the end they never do, and what they are at is broken off.
    """
    if dask is None:
        line, our_end = SPAWN.Pipe(duplex=False)
        with line, ProcessPoolExecutor(jobs, SPAWN, begin, (line, steps)) as executor, our_end:
            yield partial(_submit, executor)
            executor.shutdown()  # after an error, our end closes first, and the workers end, whatever they are at
        return
    try:
        from distributed import Client

        client = Client(dask, timeout="20s")
    except ImportError as error:
        raise SettingsError(f"--dask {dask} needs Dask: pip install 'dgsa_np[cluster]'") from error
    except (OSError, ValueError) as error:
        raise SettingsError(f"--dask {dask}: no scheduler answers there: {error}") from error
    with client, client.get_executor(pure=False) as executor:
        try:
            yield executor.submit
        finally:
            executor.shutdown(wait=False)  # which in Dask cancels them


def _submit(executor, *task):
    """Processes are begun deaf to Ctrl-C, which is for the one that began them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        return executor.submit(*task)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return executor.submit(*task)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def begin(line, steps):
    """In a new worker, which ends when the line does: its parent holds the other end."""
    global STEPS
    STEPS = steps
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tqdm.set_lock(threading.RLock())  # its own is a semaphore of the system, which would be left behind
    threading.Thread(target=lambda: line.poll(None) and os._exit(1), daemon=True).start()


def on_one_thread(task, place):
    """Run a task with one thread for BLAS.

    The workers share the cores, and so the bits of a result do not depend on their number.
    """
    global PLACE
    PLACE = place
    STEPS[PLACE] = 0
    with threadpool_limits(1):
        return task()


def advance():
    """One step more of the task that this worker is at."""
    STEPS[PLACE] += 1


def told(items, total, what, words, done=0):
    """The items as they come, with a line for each where there is no terminal to show a bar.

    words : of an item, what its line says
    """
    for number, item in enumerate(items, done + 1):
        if not sys.stderr.isatty():
            print(f"{what}: run {number} of {total}: {words(item)}", file=sys.stderr, flush=True)
        yield item
