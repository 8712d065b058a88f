"""What cuBLAS is told, without a GPU: a stand-in for the library reads the same memory by columns,
as the real one does, and refuses what it refuses.
"""

import ctypes
from types import SimpleNamespace

import numpy as np
import pytest
from support.devices import laid_out, leaves
from support.fast_step import KINDS, TASKS, batches_of, problem, step_for
from support.tiers import most_later

from dgsa_np.backend import to_numpy
from dgsa_np.fast import cublas

INVALID = 7  # CUBLAS_STATUS_INVALID_VALUE


class Library:
    """As much of cuBLAS as is used."""

    def __init__(self):
        self.said, self.handle = [], 4711
        for letter, number in (("S", ctypes.c_float), ("D", ctypes.c_double)):
            setattr(self, f"cublas{letter}gemmStridedBatched", lambda *args, t=number: self.strided(t, *args))
            setattr(self, f"cublas{letter}gemmBatched", lambda *args, t=number: self.batched(t, *args))

    def cublasCreate_v2(self, handle):
        handle._obj.value = self.handle
        return 0

    def cublasSetStream_v2(self, handle, stream):
        self.said.append(("stream", stream.value or 0))
        return 0

    def cublasSetWorkspace_v2(self, handle, room, size):
        self.said.append(("workspace", size.value))
        return 0

    def strided(self, number, handle, *args):
        (*ways, n, m, k), alpha, a, lda, gap_a, b, ldb, gap_b, beta, c, ldc, gap_c, count = told(args)
        size = ctypes.sizeof(number)
        where = [[at + i * gap * size for i in range(count)] for at, gap in ((a, gap_a), (b, gap_b), (c, gap_c))]
        return self.multiply(number, handle, ways, (n, m, k), alpha, beta, where, (lda, ldb, ldc))

    def batched(self, number, handle, *args):
        (*ways, n, m, k), alpha, a, lda, b, ldb, beta, c, ldc, count = told(args)
        where = [(ctypes.c_uint64 * count).from_address(at) for at in (a, b, c)]
        return self.multiply(number, handle, ways, (n, m, k), alpha, beta, where, (lda, ldb, ldc))

    def multiply(self, number, handle, ways, sizes, alpha, beta, where, leads):
        """C (n, m) = op(A) (n, k) op(B) (k, m), all by columns."""
        self.said.append("product")
        (n, m, k), (way_a, way_b) = sizes, ways
        shapes = [(n, k) if way_a == 0 else (k, n), (k, m) if way_b == 0 else (m, k), (n, m)]
        too_short = [lead < max(1, rows) for lead, (rows, _) in zip(leads, shapes, strict=True)]
        if handle.value != self.handle or any(too_short):
            return INVALID
        for places in zip(*where, strict=True):
            a, b, c = (by_columns(number, *x) for x in zip(places, shapes, leads, strict=True))
            product = (a if way_a == 0 else a.T) @ (b if way_b == 0 else b.T)
            c[...] = alpha * product if beta == 0 else alpha * product + beta * c
        return 0


def told(args):
    """Values of ctypes: the first five of the call together, then one by one."""
    values = [arg._obj.value if hasattr(arg, "_obj") else arg.value for arg in args]
    return [values[:5], *values[5:]]


def by_columns(number, at, shape, lead):
    rows, columns = shape
    numbers = np.frombuffer((number * (lead * (columns - 1) + rows)).from_address(at), number)
    return np.lib.stride_tricks.as_strided(numbers, shape, (numbers.itemsize, lead * numbers.itemsize))


@pytest.fixture
def library(cupy, monkeypatch):
    made = Library()
    monkeypatch.setattr(cublas, "open_library", lambda xp: made)
    cublas.cublas.cache_clear()
    yield made
    cublas.cublas.cache_clear()


SIZES = (4, 5, 6), (1, 5, 6), (4, 1, 6), (4, 5, 1), (1, 1, 1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [(), (1,), (3,), (2, 3), (2, 1, 3)], ids=str)
def test_products_are_right_however_matrices_lie(batch, dtype, cupy, library):
    rng = np.random.default_rng(0)
    for m, k, n in SIZES:
        a, b = (rng.standard_normal((*batch, *size)).astype(dtype) for size in ((m, k), (k, n)))
        for ways in np.ndindex(3, 3, 3):
            A, B, out = (
                laid_out(cupy.asarray(x), way) for x, way in zip((a, b, np.full_like(a @ b, np.nan)), ways, strict=True)
            )
            cublas.cublas(cupy).product(A, B, out)()
            assert np.allclose(out.get(), a @ b, rtol=1e-5 if dtype == "float32" else 1e-13, atol=1e-6), (m, k, n, ways)


def test_heads_and_what_is_shared_by_a_batch(cupy, library):
    """Views of heads, whose matrices lie unevenly; one matrix for the whole batch."""
    B, T, H, d = 3, 5, 2, 4
    rng = np.random.default_rng(0)
    rows = cupy.asarray(rng.standard_normal((B, T, 3 * H * d)))
    q, k, o = (rows[..., i * H * d : (i + 1) * H * d].reshape(B, T, H, d).transpose(0, 2, 1, 3) for i in range(3))
    scores, wanted = cupy.asarray(np.zeros((B, H, T, T))), q.get() @ k.get().mT
    cublas.cublas(cupy).product(q, k.mT, scores)()
    assert np.allclose(scores.get(), wanted, rtol=1e-13)
    cublas.cublas(cupy).product(scores, q, o)()
    assert np.allclose(o.get(), wanted @ q.get(), rtol=1e-13)
    ones, sums = cupy.asarray(np.ones((1, T))), cupy.asarray(np.zeros((B, 1, 3 * H * d)))
    cublas.cublas(cupy).product(ones, rows, sums)()
    assert np.allclose(sums.get()[:, 0], rows.get().sum(axis=1), rtol=1e-13)


def test_a_matrix_that_has_neither_whole_rows_nor_whole_columns_is_refused(cupy, library):
    a = cupy.asarray(np.ones((4, 6)))[:, ::2]
    with pytest.raises(ValueError, match="expected whole rows or whole columns"):
        cublas.cublas(cupy).product(a, cupy.asarray(np.ones((3, 2))), cupy.asarray(np.ones((4, 2))))


def test_a_status_of_the_library_is_an_error(cupy, library, monkeypatch):
    product = cublas.cublas(cupy).product(*(cupy.asarray(np.ones((2, 2))) for _ in range(3)))
    monkeypatch.setattr(library, "multiply", lambda *args: INVALID)
    with pytest.raises(RuntimeError, match="cublasDgemmStridedBatched ended with status 7"):
        product()


def test_a_new_stream_comes_with_a_workspace_and_the_same_one_is_not_set_again(cupy, library, monkeypatch):
    """With each new stream cuBLAS forgets the workspace, and then takes memory by itself."""
    product = cublas.cublas(cupy).product(*(cupy.asarray(np.ones((2, 2))) for _ in range(3)))
    for stream in (0, 0, 5, 5, 0):
        monkeypatch.setattr(cupy.cuda, "get_current_stream", lambda ptr=stream: SimpleNamespace(ptr=ptr))
        product()
    default, own, room = ("stream", 0), ("stream", 5), ("workspace", cublas.WORKSPACE)
    first, then, last = ([default, room], [own, room], [default, room])
    assert library.said == [*first, "product", "product", *then, "product", "product", *last, "product"]


def test_without_the_library_cupy_multiplies(cupy, monkeypatch):
    """The stand-in has none: its CUDA is of version 0."""
    cublas.cublas.cache_clear()
    assert cublas.cublas(cupy) is None and cublas.cublas(np) is None
    with pytest.raises(OSError, match="cublas"):
        cublas.open_library(cupy)


PLACES = [(kind, task) for kind in KINDS for task in TASKS]


@pytest.mark.parametrize(("kind", "task"), most_later(PLACES, PLACES[5:6]))
def test_a_step_is_the_same_with_cublas(kind, task, library, cupy):
    for switches in ({}, {"impl": "tiled", "rotary": True, "width": 24}):
        given = problem(kind, task, "left", **switches)
        here, there = step_for(given), step_for(given.on_device(), device="cuda")
        for batch in batches_of(given, 2):
            assert np.allclose([float(x) for x in there.train(*batch)], here.train(*batch), rtol=1e-12)
        assert "product" in library.said
        for a, b in zip(leaves(to_numpy(there.grads())), leaves(here.grads()), strict=True):
            assert np.allclose(a, b, rtol=1e-10, atol=1e-13)
