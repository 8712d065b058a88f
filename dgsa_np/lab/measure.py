"""How long something takes, how much memory it needs at once, and where that was measured."""

import os
import platform
import time
import tracemalloc
from contextlib import suppress
from importlib import metadata

import numpy as np
from threadpoolctl import threadpool_info

from .. import __version__


def versions() -> dict:
    """Of what computes, as a record to keep beside figures."""
    libraries = {name: metadata.version(name) for name in ("numpy", "scipy", "scikit-learn")}
    return {"dgsa_np": __version__, "python": platform.python_version()} | libraries


def host() -> dict:
    """What the bits of a result may depend on: versions, processor, kernels chosen for it."""
    import scipy.linalg  # noqa: F401 - its BLAS is listed once it is loaded

    blas = [x for x in threadpool_info() if x["user_api"] == "blas"]
    kernels = sorted({f"{x['internal_api']} {x['version']} {x.get('architecture', '')}".strip() for x in blas})
    machine = {"processor": processor(), "system": system(), "cores": os.cpu_count()}
    vectors = np.show_config(mode="dicts").get("SIMD Extensions", {}).get("found", [])
    return versions() | machine | {"blas": "; ".join(kernels), "vectors": " ".join(vectors)}


def processor() -> str:
    """The processor's name; where Python does not know it, Linux does."""
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def system() -> str:
    return f"{platform.system()} {platform.machine()}"


def race(contest, rounds=15, enough=10.0) -> dict:
    """{name: (lower quartile, median, upper quartile)} in ms; see turns."""
    return {name: quartiles(ms) for name, ms in turns(contest, rounds, enough).items()}


def turns(contest, rounds=15, enough=10.0) -> dict:
    """{name: [ms, ..]}, as many of each name.

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
    return {name: ms[1:] for name, ms in times.items()}


def quartiles(numbers) -> list:
    return np.quantile(numbers, (0.25, 0.5, 0.75)).round(3).tolist()


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
