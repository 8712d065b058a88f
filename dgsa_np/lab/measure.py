"""How long something takes, how much memory it needs at once, and where that was measured."""

import platform
import time
import tracemalloc

import numpy as np

from .. import __version__


def versions() -> dict:
    """Of what computes, as a record to keep beside figures."""
    return {"dgsa_np": __version__, "numpy": np.__version__, "python": platform.python_version()}


def system() -> str:
    return f"{platform.system()} {platform.machine()}"


def race(contest, rounds=15, enough=10.0) -> dict:
    """{name: (lower quartile, median, upper quartile)} in ms.

    All take turns, so that what disturbs the machine disturbs all of them.

    contest : {name: a function that runs once and returns its seconds}
    rounds  : turns of each; one more warms up and is not counted
    enough  : seconds after which the race ends, once each has had three turns
    """
    times, started = {name: [] for name in contest}, time.perf_counter()
    for turn in range(rounds + 1):
        if turn < 4 or time.perf_counter() - started < enough:
            for name, contestant in contest.items():
                times[name].append(1e3 * contestant())
    return {name: np.quantile(ts[1:], (0.25, 0.5, 0.75)).round(3).tolist() for name, ts in times.items()}


def seconds(run, fill=0.0) -> float:
    """Of one run, or the median of as many runs as fill so many seconds."""
    times: list[float] = []
    while not times or sum(times) < fill:
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return float(np.median(times))


def peak(run) -> float:
    """MiB that a run has allocated at its most, as NumPy tells tracemalloc."""
    tracemalloc.start()
    run()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most / 2**20
