"""Products of matrices by cuBLAS itself, for memory that stands still.

CuPy 14 lets none of its products be recorded in a CUDA graph (its issue 6290), and finds out anew
each time how matrices lie, or copies them. Where memory stands still, what cuBLAS is to be told is
found out once; then a product is one call of C.
"""

import ctypes
from functools import lru_cache

import numpy as np

WORKSPACE = 2**25  # bytes for cuBLAS to work in: what it takes by itself must not be recorded
LIBRARIES = "libcublas.so.{}", "cublas64_{}.dll"
NUMBERS = {"float32": ("S", ctypes.c_float), "float64": ("D", ctypes.c_double)}
BY_ROWS, BY_COLUMNS = 0, 1  # cuBLAS calls them N and T: it counts the other way


class CuBLAS:
    """cuBLAS on CuPy's current stream.

    raises : OSError where the library is not to be had
    """

    def __init__(self, xp):
        self.xp, self.lib, self.stream = xp, open_library(xp), None
        self.handle, self.room = ctypes.c_void_p(), xp.zeros(WORKSPACE, "uint8")
        self.ask("cublasCreate_v2", ctypes.byref(self.handle))

    def ask(self, name, *args):
        status = getattr(self.lib, name)(*args)
        if status:
            raise RuntimeError(f"cuBLAS: {name} ended with status {status}")

    def product(self, a, b, out):
        """What computes out = a b, with axes before the last two as matmul has them."""
        if layout(out)[0] == BY_COLUMNS:
            a, b, out = b.mT, a.mT, out.mT
        (m, k), n, (letter, number) = a.shape[-2:], out.shape[-1], NUMBERS[str(out.dtype)]
        # counted by columns, out is its transpose b^T a^T
        matrices = [self.xp.broadcast_to(x, out.shape[:-2] + x.shape[-2:]) for x in (b, a, out)]
        (way_b, _), (way_a, _), _ = map(layout, matrices)
        starts, one, zero = [addresses(x) for x in matrices], ctypes.byref(number(1)), ctypes.byref(number(0))
        steps = [np.diff(x) for x in starts]
        even = all((step == step[:1]).all() for step in steps)
        if not even:  # cuBLAS reads from the GPU where each matrix begins
            starts = [self.xp.asarray(x) for x in starts]
        told = []
        for x, start, step in zip(matrices, starts, steps, strict=True):
            at = int(start[0]) if even else start.data.ptr
            gap = [ctypes.c_longlong(int(step[0]) // x.dtype.itemsize if step.size else 0)] if even else []
            told += [[ctypes.c_void_p(at), ctypes.c_int(layout(x)[1]), *gap]]
        name = f"cublas{letter}gemm{'StridedBatched' if even else 'Batched'}"
        sizes = map(ctypes.c_int, (way_b, way_a, n, m, k))
        args = [self.handle, *sizes, one, *told[0], *told[1], zero, *told[2], ctypes.c_int(len(starts[0]))]

        def gemm(held=(a, b, out, starts)):  # so that their memory stays
            self.go_where_cupy_goes()
            self.ask(name, *args)

        return gemm

    def go_where_cupy_goes(self):
        stream = self.xp.cuda.get_current_stream().ptr
        if stream != self.stream:
            self.ask("cublasSetStream_v2", self.handle, ctypes.c_void_p(stream))
            room = ctypes.c_void_p(self.room.data.ptr), ctypes.c_size_t(WORKSPACE)
            self.ask("cublasSetWorkspace_v2", self.handle, *room)  # which a new stream takes away
            self.stream = stream


def layout(x) -> tuple[int, int]:
    """Whether matrices lie by rows or by columns, and how many numbers from one to the next."""
    (rows, columns), (down, along) = x.shape[-2:], (step // x.dtype.itemsize for step in x.strides[-2:])
    if along == 1 or columns == 1:
        return BY_ROWS, down if rows > 1 else columns
    if down == 1 or rows == 1:
        return BY_COLUMNS, along
    raise ValueError(f"product: matrices {x.shape} lie in steps {x.strides}, expected whole rows or whole columns")


def addresses(x) -> np.ndarray:
    """Where each matrix of x begins."""
    found = np.array([x.data.ptr])
    for n, step in zip(x.shape[:-2], x.strides[:-2], strict=True):
        found = (found[:, None] + step * np.arange(n)).reshape(-1)
    return found


def open_library(xp):
    """The library of the CUDA that CuPy uses, which has it open or next to it."""
    major, causes = xp.cuda.runtime.runtimeGetVersion() // 1000, []
    for name in LIBRARIES:
        try:
            return ctypes.CDLL(name.format(major))
        except OSError as error:
            causes.append(str(error))
    raise OSError("; ".join(causes))


@lru_cache
def cublas(xp):
    """A CuBLAS, or None where matmul has to do: on a CPU, or without the library."""
    try:
        return None if xp is np else CuBLAS(xp)
    except OSError:
        return None
