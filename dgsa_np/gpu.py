"""What a GPU can be asked: its name, its memory, whether it is still computing, what it lacks."""

import numpy as np

# How the messages of CUDA's libraries begin where memory is lacking.
NO_MEMORY = "cudaErrorMemoryAllocation", "CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED"


def describe_device(device: str) -> str:
    """One line on what "cpu" or "cuda" is on this machine."""
    if device == "cpu":
        return f"cpu (NumPy {np.__version__})"
    hardware, versions = describe_gpu()
    return f"cuda (CuPy {versions['cupy']}, {hardware['gpu']})"


def describe_gpu() -> tuple[dict, dict]:
    """The GPU's name, generation and memory, and the versions of CuPy, CUDA and the driver."""
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


def out_of_memory(error) -> bool:
    """Whether an error says that memory is lacking, on the host or on a GPU.

    CuPy's own is a MemoryError. What it passes on from CUDA is a RuntimeError, of a class that only
    CuPy has.
    """
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and str(error).startswith(NO_MEMORY))


def start_products(n, width):
    """Give the GPU n products of square matrices to compute, and return at once.

    returns : a function without arguments that says whether they are done
    """
    import cupy

    a, end = cupy.zeros((width, width), "float32"), cupy.cuda.Event()
    for _ in range(n):
        a @ a
    end.record()
    return lambda: end.done


def gpu_ms(call, times) -> float:
    """Milliseconds that a call takes the GPU, if it is made so many times in a row."""
    import cupy

    began, ended = cupy.cuda.Event(), cupy.cuda.Event()
    began.record()
    for _ in range(times):
        call()
    ended.record()
    ended.synchronize()
    return cupy.cuda.get_elapsed_time(began, ended) / times


def gpu_memory(release=False) -> int:
    """Bytes of the GPU's memory that CuPy holds, in use or kept for later use.

    release : first give back what is not in use
    """
    import cupy

    pool = cupy.get_default_memory_pool()
    if release:
        pool.free_all_blocks()
    return pool.total_bytes()
