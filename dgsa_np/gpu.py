"""What is asked of a GPU itself: its name, its memory, whether it is at work."""

import numpy as np


def describe_device(device: str) -> str:
    """A line for people: what "cpu" or "cuda" is on this machine."""
    if device == "cpu":
        return f"cpu (NumPy {np.__version__})"
    hardware, versions = describe_gpu()
    return f"cuda (CuPy {versions['cupy']}, {hardware['gpu']})"


def describe_gpu() -> tuple[dict, dict]:
    """What the GPU is, and the versions of what drives it."""
    import cupy

    runtime = cupy.cuda.runtime
    device = runtime.getDeviceProperties(runtime.getDevice())
    hardware = {
        "gpu": device["name"].decode(),
        "compute": f"{device['major']}.{device['minor']}",
        "GiB": round(runtime.memGetInfo()[1] / 2**30, 1),
    }
    return hardware, {
        "cupy": cupy.__version__,
        "cuda": runtime.runtimeGetVersion(),
        "driver": runtime.driverGetVersion(),
    }


def start_products(n, width):
    """Gives the GPU n products of square matrices to compute, and returns at once.

    returns : a function without arguments: are they done?
    """
    import cupy

    a, end = cupy.zeros((width, width), "float32"), cupy.cuda.Event()
    for _ in range(n):
        a @ a
    end.record()
    return lambda: end.done


def gpu_memory(release=False) -> int:
    """Bytes of the GPU that CuPy holds, in use or for later use.

    release : give back first what is not in use
    """
    import cupy

    pool = cupy.get_default_memory_pool()
    if release:
        pool.free_all_blocks()
    return pool.total_bytes()
