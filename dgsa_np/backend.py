"""Which module and which device arrays belong to: NumPy and the CPU, or CuPy and a GPU.

Only this file and gpu.py import CuPy, and only when a GPU is asked for.
"""

import sys
import warnings
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np

from .params import tree_map


class DeviceError(RuntimeError):
    """The device that was asked for cannot be used here."""


def array_module(*arrays) -> Any:
    """The module, numpy or cupy, that owns the arrays; None and numbers belong to both.

    raises : TypeError if the arrays live on different devices, or if one of them is no array
    """
    module, owner = np, None
    for a in arrays:
        if a is None or isinstance(a, (int, float, complex, np.generic)):
            continue
        found = owner_of(a)
        if found is None:
            raise TypeError(f"array_module: got {type(a).__name__}, expected a NumPy or CuPy array; {plainly(a)}")
        if owner is not None and found is not module:
            both = " and ".join(f"{type(x).__module__.split('.')[0]} array {x.shape}" for x in (owner, a))
            raise TypeError(f"array_module: {both} live on different devices; move one with to_device or to_numpy")
        module, owner = found, a
    return module


def resolve_device(device: str = "auto") -> str:
    """The device to compute on, "cpu" or "cuda"; "auto" takes the GPU where one can be used.

    raises : ValueError for another name; DeviceError if "cuda" cannot be had, with the cause
    """
    if not isinstance(device, str) or device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"resolve_device: device is {device!r}, expected 'auto', 'cpu' or 'cuda'")
    cause = _why_no_gpu() if device != "cpu" else None
    if device == "cuda" and cause:
        raise DeviceError(f"device 'cuda' cannot be used: {cause}")
    return "cpu" if device == "cpu" or cause else "cuda"


def to_device(tree, device: str) -> Any:
    """The tree with its arrays on "cpu" or "cuda".

    Arrays that are there already, and Python's numbers, stay as they are.
    """
    if resolve_device(device) == "cpu":
        return to_numpy(tree)
    import cupy

    return tree_map(lambda a: cupy.asarray(a) if hasattr(a, "dtype") else a, tree)


def to_numpy(tree) -> Any:
    """The tree with every array on the host; numbers stay as they are.

    With arrays of a GPU, this waits until they are computed.
    """
    return tree_map(lambda a: a.get() if hasattr(a, "dtype") and array_module(a) is not np else a, tree)


def erf(x, out=None) -> Any:
    """The error function, from scipy, or from cupyx, which has it for real numbers alone."""
    on_host = array_module(x) is np
    if not on_host and x.dtype.kind == "c":
        raise TypeError("erf: CuPy has no complex erf, so GELU has no complex step on a GPU; check it on the CPU")
    return import_module("scipy.special" if on_host else "cupyx.scipy.special").erf(x, out=out)


def owner_of(a):
    """The module that an array belongs to, numpy or cupy; None for anything else.

    A CuPy array can exist only where cupy has been imported already. Subclasses count as anything
    else: numpy.matrix means something else by *, a masked array by sum.
    """
    if type(a) is np.ndarray or isinstance(a, np.generic):
        return np
    cupy = sys.modules.get("cupy")
    return cupy if cupy and type(a) is cupy.ndarray else None


def plainly(a) -> str:
    """How to make an array of something that is none, for the end of an error."""
    # numpy.asarray would uncover what is masked
    return "fill it with .filled(value)" if hasattr(a, "filled") else "wrap it with numpy.asarray"


@lru_cache
def _why_no_gpu():
    """None if a GPU can be used, else the cause and what to do.

    CuPy without a driver can be imported, and fails later; hence the trial product.
    """
    try:
        with warnings.catch_warnings():  # CuPy warns of a second CuPy and of a missing CUDA_PATH
            warnings.simplefilter("ignore")
            import cupy
    except ImportError as error:
        return f"CuPy is not installed ({error}); install it with: pip install 'dgsa-np[cuda13]' (or [cuda12])"
    if not cupy.is_available():
        return "CuPy is installed but finds no GPU or no driver; see whether nvidia-smi lists a device"
    try:
        (cupy.ones((2, 2)) @ cupy.ones((2, 2))).get()
    except Exception as error:  # whatever is missing, compiler or library, it is the cause
        return f"CuPy finds a GPU but cannot compute on it: {error}"
    return None
