"""The array module and the device are found from the arrays,
and trees move between devices whole.
"""

import sys
import types

import numpy as np
import pytest

from dgsa_np.backend import DeviceError, array_module, resolve_device, to_device, to_numpy
from dgsa_np.gpu import out_of_memory


class FakeCupyArray:
    def __init__(self, host):
        self.host, self.shape, self.dtype = host, host.shape, host.dtype

    def get(self):
        return self.host


def test_array_module_is_the_owner_of_the_arrays(monkeypatch):
    fake = types.SimpleNamespace(ndarray=FakeCupyArray)
    monkeypatch.setitem(sys.modules, "cupy", fake)
    assert array_module() is array_module(None, 1, 2.0, 3j) is np
    assert array_module(None, np.ones(2), np.float32(1)) is np
    assert array_module(1.0, FakeCupyArray(np.ones(2)), None) is fake


def test_to_numpy_fetches_every_leaf_and_keeps_the_tree(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", types.SimpleNamespace(ndarray=FakeCupyArray))
    a, b = np.ones(2), np.arange(3)
    tree = to_numpy({"a": [FakeCupyArray(a), None], "b": {"c": b}})
    assert tree["a"][0] is a and tree["a"][1] is None and tree["b"]["c"] is b
    assert to_device({"a": a}, "cpu")["a"] is a


def test_auto_takes_what_can_be_used():
    assert resolve_device("cpu") == "cpu"
    try:
        expected = resolve_device("cuda")
    except DeviceError:
        expected = "cpu"
    assert resolve_device() == resolve_device("auto") == expected


@pytest.mark.parametrize(
    ("error", "lacks"),
    [
        (MemoryError("Unable to allocate 7.28 TiB for an array"), True),
        (type("OutOfMemoryError", (MemoryError,), {})("Out of memory allocating 512 bytes"), True),
        (RuntimeError("cudaErrorMemoryAllocation: out of memory"), True),
        (RuntimeError("CUDA_ERROR_OUT_OF_MEMORY: out of memory"), True),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUBLAS_STATUS_EXECUTION_FAILED"), False),
        (RuntimeError("cudaErrorIllegalAddress: an illegal memory access was encountered"), False),
        (RuntimeError("the disk is out of memory"), False),
        (ValueError("cudaErrorMemoryAllocation: out of memory"), False),
    ],
)
def test_lack_of_memory_is_told_from_other_errors(error, lacks):
    assert out_of_memory(error) is lacks
