"""A strict stand-in for CuPy on the CPU: NumPy computes, but what fails or is slow on a GPU fails
or is counted here.

It knows no name, no argument and no loop that CuPy lacks: strict_cupy.txt holds those of 14.0.0,
the oldest version that setup.cfg admits, read from the real one, without a GPU, by

    pip install cupy-cuda13x==14.0.0 && python tests/support/strict_cupy.py

Where that version is installed, the functions that CuPy has in Python run its own code, on the
arrays of the stand-in (EXAMPLES names them); elsewhere NumPy computes, and what that code was seen
to read and to upload is counted (the lines "own" of strict_cupy.txt). What CuPy has in Cython is
imitated here.

The rules of behaviour are from the files of CuPy 14 that the comments name. It is stricter than
CuPy in four places: functions take no host arrays or lists, even where CuPy would copy them; a
place that one assignment writes twice is an error (CuPy: undefined); so are sums by atomics (CuPy:
in any order); and an empty array holds nan. What CuPy has and the stand-in does not compute raises
NotImplementedError.
"""

import ast
import builtins
import contextlib
import importlib.util
import inspect
import math
import operator
import re
import sys
import threading
import types
from functools import cache, partial, reduce
from pathlib import Path

import numpy as np

FACTS = Path(__file__).with_suffix(".txt")
SUPPORTED = "?bhilqBHILQefdFD"  # dtypes, _core/core.pyx
IMPLICIT = "Implicit conversion to a NumPy array is not allowed. Please use `.get()`"
HOST_ONLY = """
    M N array_shape axes axis axis1 axis2 casting ddof decimals destination dimensions dtype indices_or_sections k
    keepdims kth mode n newshape num offset order pad_width repeats reps shape shift side source start step stop strides
    window_shape
"""
HOST_ONLY = frozenset(HOST_ONLY.split())  # arguments that CuPy reads on the host
VIEWS = """
    array_split as_strided atleast_1d atleast_2d atleast_3d broadcast_arrays broadcast_to diagonal empty empty_like
    expand_dims imag moveaxis ndim ravel real reshape result_type rollaxis shape size split squeeze swapaxes transpose
"""
VIEWS = frozenset(VIEWS.split())  # nothing is started on the device, but for the copy of a reshape


class NotReproducible(RuntimeError):
    """On a GPU the outcome depends on which thread comes first."""


class Traffic:
    """What crossed between the device and the host, and what was started on the device,
    by the name of the call.
    """

    def __init__(self):
        self.reads, self.uploads, self.launches = [], [], []

    def clear(self):
        for calls in vars(self).values():
            calls.clear()


TRAFFIC = Traffic()


def parse(text) -> dict:
    """{kind: {name: the rest of its line}}."""
    found = {}
    for line in text.splitlines():
        kind, name, *rest = line.split(" ", 2)
        found.setdefault(kind, {})[name] = rest[0] if rest else ""
    return found


def signature(text) -> inspect.Signature:
    """The signature that "a axis= * dtype= **kwargs" stands for;
    = is an argument that may be left out.
    """
    parameters, kind = [], inspect.Parameter.POSITIONAL_OR_KEYWORD
    for word in text.split():
        name, default = word.strip("*="), None if word.endswith("=") else inspect.Parameter.empty
        if word == "/":
            parameters = [p.replace(kind=inspect.Parameter.POSITIONAL_ONLY) for p in parameters]
        elif word == "*":
            kind = inspect.Parameter.KEYWORD_ONLY
        elif word.startswith("**"):
            parameters.append(inspect.Parameter(name, inspect.Parameter.VAR_KEYWORD))
        elif word.startswith("*"):
            parameters.append(inspect.Parameter(name, inspect.Parameter.VAR_POSITIONAL))
            kind = inspect.Parameter.KEYWORD_ONLY
        else:
            parameters.append(inspect.Parameter(name, kind, default=default))
    return inspect.Signature(parameters)


# ------------------------------------------------------------------------ in and out of the wrapper


def wrap(result):
    """Arrays and NumPy scalars become arrays of the device, also in lists; other results stay."""
    if isinstance(result, (np.ndarray, np.generic)):
        array = object.__new__(ndarray)
        array._host = check_supported(np.asarray(result))
        return array
    return type(result)(map(wrap, result)) if type(result) in (list, tuple) else result


def inside(value):
    """The NumPy arrays within, also in lists."""
    if isinstance(value, ndarray):
        return value._host
    return type(value)(map(inside, value)) if type(value) in (list, tuple) else value


def check_supported(a):
    if a.dtype.char not in SUPPORTED:
        raise ValueError(f"Unsupported dtype {a.dtype}")
    return a


def is_scalar(value):
    """What _core/_scalar.pyx takes for a number: exactly Python's types, and NumPy scalars;
    no array without axes.
    """
    return type(value) in (bool, int, float, complex) or isinstance(value, np.generic)


def operands(*values):
    """For a kernel: arrays of the device and numbers.
    _preprocess_arg in _core/_kernel.pyx refuses all else.
    """
    for value in values:
        if not (isinstance(value, ndarray) or is_scalar(value)):
            raise TypeError(f"Unsupported type {type(value)}")
    return tuple(map(inside, values))


def upload(value, why):
    """An array on the host, copied to the device;
    a number travels with the kernel and is not counted.
    """
    host = np.array(value)
    if host.ndim:
        TRAFFIC.uploads.append(why)
    return host.astype(host.dtype.newbyteorder("="), copy=False)


def quiet(function):
    """A GPU warns of no overflow, no division by zero and no nan."""

    def call(*args, **kwargs):
        with np.errstate(all="ignore"):
            return function(*args, **kwargs)

    return call


# ------------------------------------------------------------------------------------------- ufuncs


@cache
def find_loop(name, loops, dtypes, weak):
    """The first loop that all inputs can be cast to:
    _guess_routine_from_in_types in _core/_kernel.pyx.
    """
    scores = [{"b": 0, "i": 1, "u": 1, "f": 2, "c": 2}[d.kind] for d in dtypes]
    arrays = [s for s, w in zip(scores, weak, strict=True) if not w]
    scalars = [s for s, w in zip(scores, weak, strict=True) if w]
    if not (arrays and scalars and max(arrays) >= max(scalars)):
        weak = (None,) * len(dtypes)
    for loop in loops:
        wanted, result = loop.split("->")
        if all(map(fits, dtypes, weak, map(np.dtype, wanted))):
            return tuple(map(np.dtype, result))
    raise TypeError(f"Wrong type ({dtypes}) of arguments for cupy_{name}")


def fits(dtype, weak, wanted):
    return np.can_cast(dtype, wanted) or bool(weak and np.result_type(weak(0), wanted) == wanted)


class ufunc:
    """A NumPy ufunc with the loops, the arguments and the results of CuPy's."""

    def __init__(self, name, fact, compute=None):
        nin, nout, *loops = fact.split()
        self.name = self.__name__ = name
        self.nin, self.nout, self.nargs, self.types = int(nin), int(nout), int(nin) + int(nout), loops
        self._loops, self._compute = tuple(loops), compute or getattr(np, name, None)

    def __call__(self, *args, out=None, dtype=None, casting="same_kind"):
        args, out = args[: self.nin], args[self.nin] if len(args) > self.nin else out
        if len(args) < self.nin or not (out is None or isinstance(out, ndarray)):
            raise TypeError(f"{self.name}: expected {self.nin} inputs, and as output an array of the device")
        options = {} if out is None else {"out": out._host}
        options |= {} if dtype is None else {"dtype": dtype}
        result = self.run(self._compute, args, fixed=dtype, **options)
        return result if out is None else out

    @quiet
    def run(self, compute, args, fixed=None, **options):
        """compute(*args) on the host, in the dtypes of CuPy's loop."""
        TRAFFIC.launches.append(self.name)
        hosts = operands(*args)
        dtypes, weak = zip(*map(describe_operand, args, hosts), strict=True)
        loop = find_loop(self.name, self._loops, dtypes, weak)
        result = compute(*hosts, **options)
        if fixed is not None or options:
            return wrap(result)
        results = result if isinstance(result, tuple) else (result,)
        cast = tuple(wrap(np.asarray(r).astype(d, copy=False)) for r, d in zip(results, loop, strict=True))
        return cast if isinstance(result, tuple) else cast[0]

    def at(self, a, indices, b=None):
        raise NotReproducible(f"{self.name}.at adds by atomics, in any order: sum without it")

    def __getattr__(self, name):
        if name not in ("reduce", "accumulate", "outer", "reduceat"):
            raise AttributeError(f"'cupy.ufunc' object has no attribute {name!r}")
        not_done(f"{self.name}.{name}")


def describe_operand(value, host):
    """Its dtype, and Python's type where that is weak.
    A bool is not (numpy_dtype_from_pyscalar, _scalar.pyx).
    """
    if type(value) in (int, float, complex):
        return np.dtype(type(value)), type(value)
    return (host.dtype if hasattr(host, "dtype") else np.dtype(bool)), None


# ------------------------------------------------------------------------------------------- arrays


def read(why, of=lambda host: host.copy()):
    """A method that copies to the host."""

    def method(self, *args, **kwargs):
        TRAFFIC.reads.append(why)
        return of(self._host, *args, **kwargs)

    return method


class ndarray:
    """cupy.ndarray.
    Views share memory, numbers come back as arrays without axes, nothing goes to the host unasked.
    """

    __slots__ = ("_host",)
    __hash__ = None
    __array_priority__ = 100

    def __init__(self, shape, dtype=float, memptr=None, strides=None, order="C"):
        if strides is None:
            self._host = hollow(check_supported(np.empty(shape, dtype, order or "C")))
        else:
            self._host = np.lib.stride_tricks.as_strided(memptr.host.view(dtype), shape, strides)

    def __array__(self, dtype=None, copy=None):
        raise TypeError(IMPLICIT)

    def __array_ufunc__(self, function, method, *inputs, **kwargs):
        """numpy.exp(x) is cupy.exp(x); ndarray.__array_ufunc__ in _core/core.pyx."""
        mine = getattr(MODULE, function.__name__, None)
        if method != "__call__" or mine is None:
            return NotImplemented
        if "out" in kwargs:
            (kwargs["out"],) = kwargs["out"]
        return mine(*inputs, **kwargs)

    def __array_function__(self, function, types, args, kwargs):
        """numpy.sum(x) is cupy.sum(x); ndarray.__array_function__ in _core/core.pyx."""
        mine = MODULE
        for name in (*function.__module__.split(".")[1:], function.__name__):
            mine = getattr(mine, name, None)
        known = mine not in (None, function) and all(t in (ndarray, np.ndarray) for t in types)
        return mine(*args, **kwargs) if known else NotImplemented

    # to the host

    get = read("get", lambda host, stream=None, order="C", out=None, blocking=True: np.array(host, order=order))
    item = read("item", lambda host: host.item())
    tolist = read("tolist", lambda host: host.tolist())
    tobytes = read("tobytes", lambda host, order="C": host.tobytes(order))
    __int__ = read("int()", int)
    __float__ = read("float()", float)
    __complex__ = read("complex()", complex)
    __bytes__ = read("bytes()", bytes)
    __repr__ = read("repr()", repr)
    __str__ = read("str()", str)
    __format__ = read("format()", format)
    __reduce__ = read("pickle", lambda host: (asarray, (host,)))

    def __bool__(self):
        if self._host.size != 1:
            raise ValueError("The truth value of an array with more than one element is ambiguous")
        TRAFFIC.reads.append("bool()")
        return bool(self._host)

    def __iter__(self):
        """CuPy makes views and copies nothing, but a loop over rows is as slow: it counts."""
        if not self._host.ndim:
            raise TypeError("iteration over a 0-d array")
        TRAFFIC.reads.append("iteration")
        return (self[i] for i in range(len(self._host)))

    def __len__(self):
        return len(self._host)

    # indexing

    def __getitem__(self, key):
        key, advanced = host_key(self._host, key)
        TRAFFIC.launches += ["getitem"] * advanced
        return wrap(self._host[key])

    def __setitem__(self, key, value):
        """Arrays of the device, numbers;
        where integers or a mask choose, host arrays too (_routines_indexing.pyx).
        """
        key, advanced = host_key(self._host, key)
        TRAFFIC.launches.append("setitem")
        if not advanced:
            check_fill(value)
        elif not (isinstance(value, ndarray) or is_scalar(value)):
            value = upload(value, "setitem")
        value = np.asarray(inside(value))
        if advanced and value.size > 1:
            check_places(self._host.shape, key)
        quiet(self._host.__setitem__)(key, value)

    @property
    def data(self):
        return Pointer(self._host)

    @property
    def device(self):
        return DEVICE

    def fill(self, value):
        check_fill(value)
        TRAFFIC.launches.append("fill")
        if isinstance(value, ndarray):
            TRAFFIC.reads.append("fill")  # `if value == 0`
        self._host.fill(inside(value))

    def set(self, arr, stream=None):
        if not isinstance(arr, np.ndarray) or (arr.dtype, arr.shape) != (self.dtype, self.shape):
            raise TypeError("Only numpy.ndarray of the same dtype and shape can be set to cupy.ndarray")
        self._host[...] = upload(arr, "set")

    def astype(self, dtype, order="K", casting=None, subok=None, copy=True):
        if casting is not None or subok is not None:
            raise TypeError("casting and subok are not supported yet")
        same = not copy and self._host.dtype == np.dtype(dtype)
        TRAFFIC.launches += ["astype"] * (not same)
        return self if same else wrap(quiet(self._host.astype)(dtype, order=order))

    def scatter_add(self, slices, value):
        raise NotReproducible("scatter_add adds by atomics, in any order: sum without it")

    scatter_max = scatter_min = scatter_add

    def view(self, dtype=None, type=None):
        return wrap(self._host.view() if dtype is None else self._host.view(dtype))

    def __copy__(self):
        return wrap(self._host.copy())

    def __deepcopy__(self, memo):
        return wrap(self._host.copy())

    def __pos__(self):
        return self

    def __neg__(self):
        return MODULE.negative.run(operator.neg, (self,))

    def __abs__(self):
        return MODULE.absolute.run(abs, (self,))

    def __invert__(self):
        return MODULE.invert.run(operator.invert, (self,))

    def __matmul__(self, other):
        return MODULE.matmul(self, other)

    def __rmatmul__(self, other):
        return MODULE.matmul(other, self)


ndarray.__module__ = "cupy"


class Pointer:
    """cupy.cuda.MemoryPointer: where the numbers of an array are."""

    def __init__(self, host):
        self.host, self.ptr = host, host.ctypes.data

    def memset_async(self, value, size):
        TRAFFIC.launches.append("memset")
        self.host[...] = value

    def copy_from_async(self, mem, size, stream=None):
        TRAFFIC.launches.append("memcpy")
        self.host.ravel(order="K")[...] = mem.host.ravel(order="K")  # views: both are contiguous


BINARY = {"add": "add", "sub": "subtract", "mul": "multiply", "truediv": "true_divide", "floordiv": "floor_divide"}
BINARY |= {"mod": "remainder", "pow": "power", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor"}
BINARY |= {"lshift": "left_shift", "rshift": "right_shift"}
COMPARE = {"lt": "less", "le": "less_equal", "eq": "equal", "ne": "not_equal", "gt": "greater", "ge": "greater_equal"}
ATTRIBUTES = ("shape", "size", "ndim", "dtype", "itemsize", "nbytes", "strides", "flags")
METHODS = """
    all any argmax argmin argsort clip conj conjugate copy cumprod cumsum diagonal dot flatten max mean min nonzero prod
    ravel repeat reshape round sort squeeze std sum swapaxes take trace transpose var
"""


def add_operators():
    """The operators of NumPy, so that x ** 0.5 is its square root here as on the CPU."""
    for short, name in BINARY.items():
        compute = getattr(operator, f"__{short}__")
        setattr(ndarray, f"__{short}__", lambda x, y, c=compute, n=name: getattr(MODULE, n).run(c, (x, y)))
        setattr(ndarray, f"__r{short}__", lambda y, x, c=compute, n=name: getattr(MODULE, n).run(c, (x, y)))
        setattr(ndarray, f"__i{short}__", in_place(getattr(operator, f"__i{short}__")))
    for short, name in COMPARE.items():
        compute = getattr(operator, f"__{short}__")
        setattr(ndarray, f"__{short}__", lambda x, y, c=compute, n=name: getattr(MODULE, n).run(c, (x, y)))


def in_place(compute):
    """x += y writes to the memory of x, in its dtype."""

    def method(self, other):
        quiet(compute)(*operands(self, other))
        return self

    return method


def add_members(facts):
    """The members that CuPy has:
    NumPy's method under CuPy's signature, or what says that it is not done yet.
    """
    for name in ATTRIBUTES:
        setattr(ndarray, name, property(lambda self, n=name: getattr(self._host, n)))
    for name in ("T", "mT", "real"):
        setattr(ndarray, name, property(lambda self, n=name: wrap(getattr(self._host, n))))
    ndarray.imag = property(lambda self: wrap(self._host.imag if self._host.dtype.kind == "c" else self._host * 0))
    for name in METHODS.split():
        compute = counted(name) if name == "nonzero" else SPECIAL.get(name) or method_of_numpy(name)
        setattr(ndarray, name, checked(f"ndarray.{name}", f"self {facts['method'][name]}", compute))
    for name in (*facts["method"], *facts["attribute"]):
        if not hasattr(ndarray, name):
            setattr(ndarray, name, property(partial(not_done, f"ndarray.{name}")))


def method_of_numpy(name):
    def method(host, *args, **kwargs):
        given = {key: value for key, value in kwargs.items() if value is not None or key not in ("dtype", "out")}
        return getattr(host, name)(*args, **given)

    return method


def not_done(name, *_):
    raise NotImplementedError(f"CuPy has {name}, but the stand-in does not compute it; add it to strict_cupy.py")


def hollow(a):
    """Nothing has been written to it yet."""
    a.fill(np.nan if a.dtype.kind in "fc" else 1)
    return a


# ----------------------------------------------------------------------------------------- indexing


def host_key(a, key):
    """The key for NumPy, and whether it chooses by arrays. Integers wrap round:
    _core/_routines_indexing.pyx.
    """
    parts = [index_part(p) for p in (key if isinstance(key, tuple) else (key,))]
    used, axis, found = sum(map(axes_of, parts)), 0, []
    for part in parts:
        if isinstance(part, ndarray):
            found.append(array_part(part._host, a.shape[axis : axis + 1]))
        else:
            found.append(part)
        axis += a.ndim - used if part is Ellipsis else axes_of(part)
    advanced = any(isinstance(p, ndarray) for p in parts)
    if not advanced and Ellipsis not in parts:
        found.append(Ellipsis)  # CuPy gives a view without axes where NumPy gives a number
    return tuple(found), advanced


def index_part(part):
    """Host arrays and lists are copied to the device without a word (_prepare_slice_list)."""
    if part is None or part is Ellipsis or isinstance(part, (slice, ndarray)):
        return part
    if np.isscalar(part) and not isinstance(part, (bool, np.bool_)):
        return part
    empty_list = isinstance(part, (list, tuple)) and np.size(part) == 0
    return wrap(upload(np.array(part, int) if empty_list else part, "index"))


def axes_of(part):
    if part is None or part is Ellipsis:
        return 0
    return part.ndim if isinstance(part, ndarray) and part.dtype.kind == "b" else 1


def array_part(index, size):
    if index.dtype.kind == "b":
        TRAFFIC.reads.append("mask")  # how many are True is read (_prepare_mask_indexing_single)
        return index
    if index.dtype.kind not in "iu":
        raise IndexError(f"arrays used as indices must be of integer or boolean type. (actual: {index.dtype.type})")
    return index % size[0] if size and size[0] else index


def check_fill(value):
    """What may fill a slice: ndarray.fill in _core/core.pyx."""
    if isinstance(value, np.ndarray):
        if value.shape != ():
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
    else:
        operands(value)


def check_places(shape, key):
    """Which of two values for one place is kept is undefined (ndarray.__setitem__ in
    _core/core.pyx).
    """
    places = np.arange(int(np.prod(shape))).reshape(shape)[key]
    if np.unique(places).size < places.size:
        raise NotReproducible("setitem: one place gets several values, and which one it keeps is undefined")


# ---------------------------------------------------------------------------------------- functions


def checked(name, fact, compute, seen=None, own=False):
    """compute with the arguments that CuPy's function takes; host arrays are refused.

    seen : what the function does, as an "own" line says it
    own  : compute is CuPy's code and works on arrays of the device. All that it starts is one
           operation, as it is where NumPy computes
    """
    known = signature(fact)
    seen = "" if seen is None and name.removeprefix("ndarray.") in VIEWS else "launches" if seen is None else seen

    @quiet
    def call(*args, **kwargs):
        try:
            bound = known.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise TypeError(f"cupy.{name}() {error}") from None
        for parameter, value in bound.items():
            check_argument(name, parameter, value)
        if own:
            before, made = len(TRAFFIC.launches), compute(*args, **kwargs)
            TRAFFIC.launches[before:] = [name] * (len(TRAFFIC.launches) > before)
            return made
        for kind, _, why in (word.partition(":") for word in seen.split()):
            getattr(TRAFFIC, kind).append(why or name)
        return wrap(compute(*map(inside, args), **{k: inside(v) for k, v in kwargs.items()}))

    call.__name__ = call.__qualname__ = name
    return call


def check_argument(name, parameter, value):
    if parameter in HOST_ONLY:
        wrong = holds(value, ndarray)
    else:
        sequence = value if type(value) in (list, tuple) else ()
        wrong = holds(value, np.ndarray) or not all(isinstance(v, (ndarray, str)) for v in sequence)
    if wrong:
        raise TypeError(f"cupy.{name}(): {parameter} has incorrect type (got {type(value).__name__})")


def holds(value, kind):
    return isinstance(value, kind) or (type(value) in (list, tuple) and any(holds(v, kind) for v in value))


def needs_array(function):
    """Of numbers alone CuPy's function knows nothing: it calls a method of its argument."""

    def call(*args, **kwargs):
        if not any(holds(v, ndarray) for v in (*args, *kwargs.values())):
            raise TypeError(f"cupy.{function.__name__}(): expected an array of the device")
        return function(*args, **kwargs)

    return call


def core_array(a, dtype=None, copy=True, order="K", subok=False, ndmin=0, blocking=False):
    """The one way to the device. Arrays that are there stay, with their memory, but for a copy."""
    if isinstance(a, ndarray):
        return a.astype(a.dtype if dtype is None else dtype, copy=bool(copy))
    if type(a) in (list, tuple) and a and all(isinstance(v, ndarray) for v in a):
        return MODULE.stack(a) if dtype is None else MODULE.stack(a).astype(dtype)
    host = upload(a, "asarray")
    return wrap(check_supported(host if dtype is None else host.astype(dtype)))


def asarray(a, dtype=None, order=None, *, copy=None, blocking=False):
    return core_array(a, dtype, copy, order)


def array(obj, dtype=None, copy=True, order="K", subok=False, ndmin=0, *, blocking=False):
    return core_array(obj, dtype, copy, order, subok, ndmin)


def asnumpy(a):
    return a.get() if isinstance(a, ndarray) else np.asarray(a)


def get_array_module(*args):
    return MODULE if any(isinstance(a, ndarray) for a in args) else np


def take_along_axis(a, indices, axis):
    """Out of range wraps round, since it is indexing (_indexing/indexing.py)."""
    if indices.dtype.kind not in "iu":
        raise IndexError("`indices` must be an integer array")
    return np.take_along_axis(a, indices % a.shape[axis], axis)


def where(condition, x=None, y=None):
    """The ufunc behind it is private;
    `where` in strict_cupy.txt holds its loops (_sorting/search.py).
    """
    if x is None and y is None:
        return condition.nonzero()
    return WHERE(condition.astype("bool", copy=False), x, y)


def counted(name):
    """A function whose result has a length that must be read from the device."""

    def compute(*args, **kwargs):
        TRAFFIC.reads.append(name)
        return getattr(np, name)(*args, **kwargs)

    return compute


def as_array(name):
    """NumPy answers with a bool where CuPy has an array without axes."""
    return lambda *args, **kwargs: np.asarray(getattr(np, name)(*args, **kwargs))


def diagonal(a, *args, **kwargs):
    """A view that can be written to."""
    view = np.diagonal(a, *args, **kwargs)
    view.flags.writeable = a.flags.writeable
    return view


def joined(name):
    """With more than eight arrays, a kernel is told where they are (_routines_manipulation.pyx)."""

    def compute(tup, *args, **kwargs):
        TRAFFIC.uploads += ["concatenate"] * (len(tup) > 8)
        return getattr(np, name)(tup, *args, **kwargs)

    return compute


def copy_numbers(source, target, casting="same_kind", where=None):
    if where is not None and where.dtype != bool:
        raise TypeError(f"Cannot cast array data from {where.dtype!r} to dtype('bool') according to the rule 'safe'")
    np.copyto(target, source, casting, True if where is None else where)


def concatenate(tup, axis, out, dtype, casting):
    return joined("concatenate")(tup, axis, out, dtype=dtype, casting=casting)


SPECIAL = {name: counted(name) for name in ("argwhere", "unique")}
SPECIAL |= {name: joined(name) for name in ("column_stack", "concatenate", "hstack", "stack", "vstack")}
SPECIAL |= {name: as_array(name) for name in ("allclose", "array_equal")}
SPECIAL |= {
    "copyto": lambda dst, src, casting="same_kind", where=None: copy_numbers(src, dst, casting, where),
    "diagonal": diagonal,
    "argsort": lambda a, axis=-1, kind=None: np.argsort(a, axis, kind="stable"),
    "take": lambda a, indices, axis=None, out=None: np.take(a, indices, axis, out, mode="wrap"),  # _take wraps round
    "take_along_axis": take_along_axis,
}
CREATE = "arange eye full identity indices linspace logspace ones tri zeros"
COMPUTE = """
    all amax amin any argmax argmin array_split atleast_1d atleast_2d atleast_3d broadcast_arrays broadcast_to clip
    column_stack concatenate copy count_nonzero cumprod cumsum diag diagonal diff dot einsum expand_dims flatnonzero
    flip full_like hstack imag inner isclose isin kron matmul max mean median min moveaxis nan_to_num ndim nonzero
    ones_like outer pad prod ravel real repeat reshape result_type roll rollaxis round searchsorted shape size sort
    split squeeze stack std sum swapaxes tensordot tile trace transpose tril triu var vdot vstack zeros_like
"""
HOST = "broadcast_shapes can_cast isscalar issubdtype promote_types"  # of dtypes and shapes alone


def functions(facts, own_code):
    """{name: function} for what the stand-in computes."""
    known = facts["function"] | facts["stride_tricks"] | {"matmul": "x1 x2 / out= **kwargs"}
    found = {name: getattr(np, name) for name in HOST.split()}
    own = {f.__name__: f for f in (asarray, array, asnumpy, get_array_module, where)}
    own |= {"asanyarray": asarray, "is_available": lambda: True}
    for name in (*CREATE.split(), *COMPUTE.split(), *SPECIAL, *facts["stride_tricks"]):
        compute = SPECIAL.get(name) or getattr(np, name, None) or getattr(np.lib.stride_tricks, name)
        found[name] = checked(name, known[name], compute, facts["own"].get(name))
    found |= {name: checked(name, known[name], partial(empty, name)) for name in ("empty", "empty_like")}
    if own_code:
        found |= {name: checked(name, known[name], from_its_file(name), own=True) for name in EXAMPLES}
        own |= {name: from_its_file(name) for name in own.keys() & EXAMPLES.keys()}
    creates = (*CREATE.split(), *HOST.split(), "empty", "result_type")
    return {name: f if name in creates else needs_array(f) for name, f in found.items()} | own


def empty(name, *args, **kwargs):
    return hollow(getattr(np, name)(*args, **kwargs))


# ---------------------------------------------------------------------------------- CuPy's own code

# A call of each function that CuPy has in Python and whose own code runs here.
EXAMPLES = """
    all(keep, axis=1)
    allclose(x, x)
    amax(x, axis=0)
    amin(x, axis=0)
    any(keep, axis=0, keepdims=True)
    arange(-3, 4, 2)
    argmax(x, axis=1)
    argmin(x, axis=1)
    argsort(x)
    array([1, 2])
    array_equal(x, x)
    array_split(x, 2, axis=1)
    asanyarray(x)
    asarray(range(3), "float32")
    asnumpy(x)
    atleast_1d(x[0])
    atleast_2d(x[0])
    atleast_3d(x)
    broadcast_to(x, (2, 2, 3))
    can_cast("f", "d")
    clip(x, 1, 2)
    column_stack([x, x[:, 0]])
    concatenate([x, x], axis=1)
    copy(x)
    copyto(x, x[:1], where=keep)
    diag(x[0])
    diagonal(x)
    diff(x)
    dot(x, x.T)
    empty((2, 3))
    empty_like(x)
    expand_dims(x, (0, 2))
    eye(3, 4, k=1)
    flatnonzero(x)
    flip(x, 0)
    full((2, 3), 1.5)
    hstack([x, x])
    identity(3)
    indices((2, 3))
    is_available()
    isclose(x, x)
    isscalar(1.0)
    lib.stride_tricks.as_strided(x[0], (2, 2), (8, 8))
    lib.stride_tricks.sliding_window_view(x[0], 2)
    matmul(x, x.T, out=xp.empty((2, 2)))
    max(x, axis=0)
    mean(x, axis=0)
    min(x, axis=0)
    moveaxis(x, 0, 1)
    ndim(x)
    nonzero(x)
    ones((2, 3), "float32")
    ones_like(x)
    outer(x, x)
    pad(x, 1)
    prod(x, axis=0)
    ravel(x)
    real(x)
    repeat(x, 2, axis=0)
    reshape(x, (3, 2))
    result_type(x, "float32")
    roll(x, 1, axis=1)
    rollaxis(x, 1)
    round(x, 1)
    shape(x)
    sort(x)
    split(x, 3, axis=1)
    squeeze(x[:1], 0)
    stack([x, x], axis=1)
    std(x, axis=0)
    sum(x, axis=0, keepdims=True)
    swapaxes(x, 0, 1)
    take(x, rows, axis=0)
    take_along_axis(x, rows[:, None], axis=-1)
    tile(x, (2, 2))
    trace(x)
    transpose(x)
    var(x, axis=0)
    vstack([x, x])
    where(keep, x, 0.0)
    zeros((2, 3), int)
    zeros_like(x)
"""
EXAMPLES = {line.split("(")[0].split(".")[-1]: line for line in EXAMPLES.split("\n    ")[1:]}


def folder_of_cupy(version):
    """Of an installed CuPy of this version, which is not imported for it; else None."""
    spec = importlib.util.find_spec("cupy")
    folder = Path(spec.origin).parent if spec and spec.origin else None
    same = folder and f"'{version}'" in (folder / "_version.py").read_text(encoding="utf-8")
    return folder if same else None


class Part:
    """A part of CuPy: what CYTHON has of it, what its file defines, or what fails when called."""

    def __init__(self, name):
        self.__name__, self._file = name, (CUPY.parent / name.replace(".", "/")).with_suffix(".py")

    def __call__(self, *args, **kwargs):
        not_done(self.__name__)

    def __getitem__(self, key):  # of a type in an annotation
        return self

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        path = f"{self.__name__}.{name}"
        if path not in CYTHON and self._file.is_file():
            source, self._file = self._file.read_text(encoding="utf-8"), Path()
            run(source, vars(self))
        return vars(self).setdefault(name, CYTHON[path] if path in CYTHON else Part(path))


def run(source, scope):
    """CuPy's code, for which the stand-in is cupy."""
    scope["__builtins__"] = vars(builtins) | {"__import__": bring}
    exec(compile(source, scope.get("__name__", "cupy"), "exec"), scope)
    return scope


def bring(name, scope=None, local=None, wanted=(), level=0):
    """`import` in CuPy's own code."""
    if name.partition(".")[0] not in ("cupy", "cupyx", "cupy_backends"):
        return __import__(name, scope, local, wanted, level)
    return reduce(getattr, name.split(".")[1:], ROOT) if wanted and name != "cupy" else MODULE


def from_its_file(name):
    """CuPy's function, which is looked for at the first call."""

    def call(*args, **kwargs):
        with LOCK:
            function = find_function(name)
        return function(*args, **kwargs)

    return call


@cache
def find_function(name):
    """CuPy's function, from where cupy/__init__.py has it."""
    source = statements_of_cupy().get(name, f"from cupy.lib.stride_tricks import {name}")
    return run(source, {"_numpy": np, "ndarray": ndarray, "cuda": make_cuda()})[name]


@cache
def statements_of_cupy():
    """{name: the import or the definition of it} in cupy/__init__.py."""
    found = {}
    for node in ast.parse((CUPY / "__init__.py").read_text(encoding="utf-8")).body:
        named = node.names if isinstance(node, ast.ImportFrom) else [node] if isinstance(node, ast.FunctionDef) else []
        found |= {getattr(name, "asname", None) or name.name: ast.unparse(node) for name in named}
    return found


def make_ufunc(name, *_, **__):
    """cupy._core.create_ufunc: of what EXAMPLES need, the stand-in's."""
    made = {"cupy_where": lambda *args: WHERE(*args), "cupy_arange": fill_with_range}
    made["cupy_is_close"] = checked("isclose", "a b rtol atol equal_nan", np.isclose)
    return made.get(name) or Part(name)


def make_kernel(*_, **__):
    """cupy._core.ElementwiseKernel and its like: EXAMPLES start none of them."""
    return Part("a kernel of its own")


def fill_with_range(start, step, out, dtype):
    TRAFFIC.launches.append("arange")
    out._host[...] = start + np.arange(out.size) * step
    return out


def copy_elements(source, target, _where=None):
    copy_numbers(source, target, where=_where)


def strides_like(a, dtype, shape):
    return np.empty_like(a._host, dtype, shape=shape).strides


def order_like(c, f, order):
    """Of an array that is contiguous in C's or Fortran's order, or in none."""
    return ord({"A": "F" if f and not c else "C", "K": "C" if c else "F" if f else "K"}.get(chr(order), chr(order)))


def all_axes(axes, ndim):
    return tuple(range(ndim)) if axes is None else np.lib.array_utils.normalize_axis_tuple(axes, ndim)


def make_cython():
    """{what CuPy has in Cython: the same on the stand-in}, as far as EXAMPLES need it."""
    views = {
        "_core.array_split": ("ary indices_or_sections axis", np.array_split),
        "_core.broadcast_to": ("array shape", np.broadcast_to),
        "_core.moveaxis": ("a source destination", np.moveaxis),
        "_core.rollaxis": ("a axis start=", np.rollaxis),
        "_core._routines_manipulation._expand_dims": ("a axis", np.expand_dims),
        "_core._routines_manipulation._move_single_axis": ("a source destination", np.moveaxis),
    }
    known = {name: checked(name, fact, compute, "") for name, (fact, compute) in views.items()}
    known |= {
        "_core.array": core_array,
        "_core.concatenate_method": checked("concatenate", "tup axis out dtype casting", concatenate),
        "_core.ElementwiseKernel": make_kernel,
        "_core.ReductionKernel": make_kernel,
        "_core._kernel.ElementwiseKernel": make_kernel,
        "_core.create_reduction_func": make_kernel,
        "_core.create_ufunc": make_ufunc,
        "_core.elementwise_copy": checked("copy", "src dst * _where=", copy_elements, "launches"),
        "_core._fusion_thread_local.is_fusing": lambda: False,
        "_core.fusion._is_fusing": lambda: False,
        "_core.internal._get_strides_for_order_K": strides_like,
        "_core.internal._normalize_axis_index": np.lib.array_utils.normalize_axis_index,
        "_core.internal._normalize_axis_indices": all_axes,
        "_core.internal._update_order_char": order_like,
        "_core.internal.prod": math.prod,
        "_core.matmul": checked("matmul", "a b out=", np.matmul),
        "_core.ndarray": ndarray,
        "_util.bf16_loop": lambda *_, **__: (),
        "_util.check_array": lambda a, arg_name: operands(a),
        "_util.memoize": lambda **_: lambda function: function,
        "cuda.api.runtime": make_cuda().runtime,
    }
    return {f"cupy.{name}": value for name, value in known.items()}


def observe():
    """The lines "own" of strict_cupy.txt: what CuPy's own code does for EXAMPLES."""
    return [f"own {name} {traffic_of(MODULE, name)[1]}".rstrip() for name in EXAMPLES]


def traffic_of(module, name):
    """What an example returns, and what it starts, reads and uploads."""
    given = {"x": np.array([[0.0, 3.0, 1.0], [2.0, 2.0, 4.0]]), "rows": np.array([1, 0])}
    given = {key: wrap(value) for key, value in (given | {"keep": given["x"] > 1}).items()}
    TRAFFIC.clear()
    made = eval(f"xp.{EXAMPLES[name].strip()}", {"xp": module, **given})
    words = [f"{kind}:{why}" for kind in ("reads", "uploads") for why in getattr(TRAFFIC, kind)]
    return made, " ".join(["launches"] * len(TRAFFIC.launches) + words)


# ------------------------------------------------------------------------------------------ modules


class Missing:
    """What CuPy has and the stand-in does not."""

    def __init__(self, name):
        self.__name__ = name

    def __call__(self, *args, **kwargs):
        not_done(self.__name__)

    def __getattr__(self, name):
        not_done(f"{self.__name__}.{name}")

    def __getitem__(self, key):
        not_done(self.__name__)


def make_module(facts, own_code):
    """The module, with CuPy's public names and no other.

    own_code : whether functions run CuPy's own code
    """
    module = types.ModuleType("cupy", "A strict stand-in: tests/support/strict_cupy.py")
    module.__version__ = facts["version"]["cupy"]
    for kind in ("type", "constant", "ufunc", "function", "other"):
        vars(module).update({name: Missing(f"cupy.{name}") for name in facts[kind]})
    vars(module).update({name: getattr(np, same) for name, same in facts["type"].items() if same})
    vars(module).update({name: float(value) for name, value in facts["constant"].items()})
    made = {n: ufunc(n, fact) for n, fact in facts["ufunc"].items() if hasattr(np, n)}
    found = functions(facts, own_code)
    tricks = types.SimpleNamespace(**{name: found.pop(name) for name in facts["stride_tricks"]})
    module.lib = types.SimpleNamespace(stride_tricks=tricks)
    vars(module).update(made | found | {"ndarray": ndarray, "ufunc": ufunc, "newaxis": None})
    module.__getattr__ = private
    pool = Pool()
    module.get_default_memory_pool = lambda: pool
    module.cuda, module.random = make_cuda(), make_random(facts)
    module.linalg = types.SimpleNamespace(**{n: Missing(f"cupy.linalg.{n}") for n in facts["linalg"]})
    return module


def private(name):
    """cupy._core and its like, which CuPy's own code asks for."""
    if CUPY is None or not name.startswith("_") or name.startswith("__"):
        raise AttributeError(f"module 'cupy' has no attribute {name!r}")
    return getattr(ROOT, name)


class Pool:
    """The pool of memory: it holds a MiB once something was computed."""

    def free_all_blocks(self):
        self._before = len(TRAFFIC.launches)

    def total_bytes(self):
        return 2**20 * (len(TRAFFIC.launches) > self._before)


class Event:
    """The device is busy with what came before the event until the host reads:
    then it has waited for all of it.
    """

    def record(self, stream=None):
        self._reads = len(TRAFFIC.reads)

    @property
    def done(self):
        return len(TRAFFIC.reads) > self._reads


DEVICE = types.SimpleNamespace(id=0, synchronize=lambda: None)


def make_cuda():
    """As much as backend.py and selfcheck.py ask for."""
    properties = {"name": b"strict stand-in", "major": 0, "minor": 0}
    runtime = types.SimpleNamespace(
        getDevice=lambda: 0,
        setDevice=lambda device: None,
        getDeviceCount=lambda: 1,
        getDeviceProperties=lambda device: properties,
        deviceSynchronize=lambda: None,
        runtimeGetVersion=lambda: 0,
        driverGetVersion=lambda: 0,
        memGetInfo=lambda: (2**30, 2**30),
    )
    return types.SimpleNamespace(
        runtime=runtime,
        is_available=lambda: True,
        Event=Event,
        Device=lambda: DEVICE,
        get_current_stream=lambda: types.SimpleNamespace(ptr=0),
    )


def make_random(facts):
    """Names alone: its numbers are not NumPy's, so the project draws on the host.
    Its Generator knows few laws.
    """
    generator = types.SimpleNamespace(**{n: Missing(f"cupy.random.Generator.{n}") for n in facts["generator"]})
    names = {n: Missing(f"cupy.random.{n}") for n in facts["random"]}
    return types.SimpleNamespace(**names | {"default_rng": lambda seed=None: generator})


def make_special(facts):
    from scipy.special import erf

    special = types.ModuleType("cupyx.scipy.special")
    special.erf = ufunc("erf", facts["private"]["erf"], erf)
    return special


def make_all(facts):
    add_members(facts)
    return make_module(facts, CUPY is not None), ufunc("where", facts["private"]["where"], np.where)


@contextlib.contextmanager
def installed():
    """`import cupy` gives the stand-in, and the package finds a GPU;
    afterwards all is as it was.
    """
    from dgsa_np import backend

    names = ("cupy", "cupyx", "cupyx.scipy", "cupyx.scipy.special")
    before = {name: sys.modules.get(name) for name in names}
    cached = [f for f in vars(backend).values() if hasattr(f, "cache_clear")]
    made = (MODULE, types.ModuleType("cupyx"), types.ModuleType("cupyx.scipy"), make_special(FROZEN))
    try:
        sys.modules.update(zip(names, made, strict=True))
        clear(cached)
        backend.resolve_device("cuda")  # computes once and reads it
        TRAFFIC.clear()
        yield TRAFFIC
    finally:
        for name, module in before.items():
            sys.modules.update({name: module})
            if module is None:
                del sys.modules[name]
        clear(cached)


def clear(cached):
    for function in cached:
        function.cache_clear()


# -------------------------------------------------------------------- the facts, from the real CuPy


def collect(cupy):
    """The lines of strict_cupy.txt, from an imported CuPy."""
    from cupy._sorting.search import _where_ufunc
    from cupyx.scipy.special import erf

    lines = [f"version cupy {cupy.__version__}"]
    lines += [describe(name, getattr(cupy, name)) for name in public(cupy)]
    lines += [f"private where {loops(_where_ufunc)}", f"private erf {loops(erf)}"]
    for name in public(cupy.ndarray):
        member = getattr(cupy.ndarray, name)
        lines.append(f"method {name} {arguments(member, 1)}" if callable(member) else f"attribute {name}")
    lines += [f"special {name}" for name in dir(cupy.ndarray) if name.startswith("__")]
    for kind, owner in (("random", cupy.random), ("generator", cupy.random.Generator), ("linalg", cupy.linalg)):
        lines += [f"{kind} {name}" for name in public(owner)]
    tricks = cupy.lib.stride_tricks
    lines += [f"stride_tricks {f.__name__} {arguments(f)}" for f in (tricks.as_strided, tricks.sliding_window_view)]
    return [line.rstrip() for line in lines]


def public(owner):
    return [name for name in dir(owner) if not name.startswith("_")]


def describe(name, value):
    """The line of one name of the module."""
    if isinstance(value, float):
        return f"constant {name} {value!r}"
    if type(value).__name__ == "ufunc":
        return f"ufunc {name} {loops(value)}"
    if isinstance(value, type):
        same = getattr(np, value.__name__, None) is value
        return f"type {name} {value.__name__ if same else ''}"
    return f"function {name} {arguments(value)}" if inspect.isroutine(value) else f"other {name}"


def loops(function):
    loops = [loop for loop in function.types if "E" not in loop]  # bfloat16, known where ml_dtypes is installed
    return f"{function.nin} {function.nout} {' '.join(loops)}"


def arguments(function, skip=0):
    """A line for `signature`;
    what a function in Cython takes, the first line of its documentation tells.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        return words(function.__doc__.splitlines()[0], skip)
    empty = inspect.Parameter.empty
    bare = [p.replace(default=empty if p.default is empty else 0, annotation=empty) for p in parameters]
    return words(str(inspect.Signature(bare)), skip)


def words(line, skip):
    """From "size(_ndarray_base a, axis=None) -> Py_ssize_t" this is "a axis="."""
    parts = re.search(r"\((.*)\)", line).group(1).split(", ")[skip:]
    return " ".join(re.sub("=.*", "=", part).split(" ")[-1] for part in parts)


if __name__ == "__main__":
    import cupy

    LINES = collect(cupy)
else:
    LINES = FACTS.read_text(encoding="utf-8").splitlines()
FROZEN = {"own": {}, **parse("\n".join(LINES))}
CUPY, CYTHON, LOCK = folder_of_cupy(FROZEN["version"]["cupy"]), make_cython(), threading.RLock()
ROOT = Part("cupy") if CUPY else None
MODULE, WHERE = make_all(FROZEN)
add_operators()
if __name__ == "__main__":
    FACTS.write_text("\n".join(LINES + observe()) + "\n", encoding="utf-8")
