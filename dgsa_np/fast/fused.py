"""Chains of elementwise operations, written once, in NumPy's words, and one kernel on a GPU.

A GPU spends more time on starting an operation, and on fetching its numbers from memory, than on
the operation itself. So a chain of ten operations is made one kernel. The chain is run once on
symbols, and what it does to them is written down in C:

    >>> print(kernel_source(lambda g, A_exc, A_inh: g * A_exc - (1 - g) * A_inh, ("T",) * 3)[2])
    const T t0 = x0 * x1;
    const T t1 = T(1) - x0;
    const T t2 = t1 * x2;
    const T t3 = t0 - t2;
    y0 = t3;
"""

import math
import re
from functools import lru_cache, wraps
from pathlib import Path

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from ..backend import owner_of

# T is the one dtype of all floating arrays of a call.
C_TYPES = {"T": "T", "float64": "double", "bool": "bool"}
IN_C = {"add": "{} + {}", "subtract": "{} - {}", "multiply": "{} * {}", "divide": "{} / {}", "negative": "-{}"}
IN_C |= {"less": "{} < {}", "equal": "{} == {}", "exp": "exp({})", "sqrt": "sqrt({})", "fmin": "fmin({}, {})"}
IN_C |= {"maximum": "maximum({}, {})", "where": "where({}, {}, {})"}
IN_C_TOO = """
template <typename T> __device__ T maximum(T a, T b) { return a > b || a != a ? a : b; }  // nan, if one is
template <typename T> __device__ T where(bool c, T a, T b) { return c ? a : b; }
"""


def fused(chain):
    """A decorator: the chain itself on NumPy arrays, one kernel for all of it on CuPy arrays.

    chain : a function of arrays, the first argument, and of arrays, masks and Python's numbers.
            It is made of the operators and functions of IN_C, of .real and .astype(dtype of an
            argument), without branches. It returns an array or a tuple of arrays; all have the
            shape to which the arguments broadcast.

    The results are equal bit for bit. The chain runs step by step for complex arrays (of a complex
    step), arrays of two dtypes, and arguments by name.
    """

    @wraps(chain)
    def call(*args, **named):
        kinds = _kinds(args) if args and not named else None
        return _make_kernel(owner_of(args[0]), chain, kinds)(*args) if kinds else chain(*args, **named)

    return call


@lru_cache
def _make_kernel(cupy, chain, kinds):
    """The kernel of a chain, made once.

    CuPy compiles it at the first call, and anew for each dtype and layout.
    """
    inputs, outputs, operation = kernel_source(chain, kinds)
    exact = ("--fmad=false",)  # no a * b + c in one rounding, which NumPy lacks
    return cupy.ElementwiseKernel(inputs, outputs, operation, _name(chain), preamble=IN_C_TOO, options=exact)


def _kinds(args):
    """What each argument is in C, a key of C_TYPES; None where no kernel can be had."""
    if owner_of(args[0]) in (np, None):
        return None
    dtypes = {a.dtype for a in args if hasattr(a, "dtype")} - {np.dtype(bool)}
    if len(dtypes) != 1 or dtypes.pop().kind != "f" or any(isinstance(a, (np.ndarray, np.generic)) for a in args):
        return None
    return tuple(("bool" if a.dtype == bool else "T") if hasattr(a, "dtype") else "float64" for a in args)


def _name(chain):
    """What a profiler calls the kernel: the chain's name, or for a lambda line_214_of_ops."""
    named, code = chain.__name__.isidentifier(), chain.__code__
    where = f"line_{code.co_firstlineno}_of_{Path(code.co_filename).stem}"
    return chain.__name__ if named else re.sub(r"\W", "_", where)


def kernel_source(chain, kinds):
    """The parameters, results and operation of a chain's kernel, for cupy.ElementwiseKernel.

    kinds  : for each argument a key of C_TYPES: "T" an array, "bool" a mask, "float64" a number
    raises : TypeError for what has no counterpart in IN_C
    """
    lines = []
    results = chain(*(_Symbol(f"x{i}", kind, lines) for i, kind in enumerate(kinds)))
    results = results if isinstance(results, tuple) else (results,)
    lines += [f"y{i} = {symbol};" for i, symbol in enumerate(results)]
    inputs = ", ".join(f"{kind} x{i}" for i, kind in enumerate(kinds))
    return inputs, ", ".join(f"T y{i}" for i in range(len(results))), "\n".join(lines)


class _Symbol(NDArrayOperatorsMixin):
    """A value of the kernel: it writes in C each operation that NumPy applies to it."""

    dtype = "T"

    def __init__(self, name, kind, lines):
        self.name, self.kind, self.lines = name, kind, lines

    def __str__(self):
        return self.name

    def __bool__(self):
        raise TypeError("fused: a branch on a value, which a kernel does not have; use numpy.where")

    # out is ignored: the kernel has memory of its own.
    def __array_ufunc__(self, ufunc, method, *operands, out=None):
        return self._write(ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}", operands)

    def __array_function__(self, function, types, operands, _):
        return self._write(function.__name__, operands)

    @property
    def real(self):
        return self

    def astype(self, dtype):
        return self._assign("T", f"T({self})")

    def _write(self, name, operands):
        """One operation in C, with the dtype that NumPy would give it.

        Beside an array, numbers and masks take its dtype; among themselves they are float64.
        """
        if name not in IN_C:
            raise TypeError(f"fused: {name} has no counterpart in C, expected one of {', '.join(IN_C)}")
        if any(not isinstance(x, _Symbol) and (type(x) not in (int, float) or not math.isfinite(x)) for x in operands):
            given = ", ".join(map(str, operands))
            raise TypeError(f"fused: {name} of {given}, expected values of the kernel and finite numbers")
        kind = "T" if any(getattr(x, "kind", None) == "T" for x in operands) else "float64"
        first = operands[:1] if name == "where" else ()  # a mask stays one
        cast = [str(x) if getattr(x, "kind", None) == kind else f"{C_TYPES[kind]}({x})" for x in operands[len(first) :]]
        return self._assign("bool" if name in ("less", "equal") else kind, IN_C[name].format(*first, *cast))

    def _assign(self, kind, expression):
        name = f"t{len(self.lines)}"
        self.lines.append(f"const {C_TYPES[kind]} {name} = {expression};")
        return _Symbol(name, kind, self.lines)


SUMS = {"square_sum": ("T x", "float64 z", "double(x) * double(x)")}


def sum_kernel(name, *arrays):
    """The kernel of a sum, called with axis and keepdims; None where the arrays have no kernel."""
    return _make_sum(owner_of(arrays[0]), name) if _kinds(arrays) else None


@lru_cache
def _make_sum(cupy, name):
    inputs, outputs, term = SUMS[name]
    return cupy.ReductionKernel(inputs, outputs, term, "a + b", "z = a", "0", name)
