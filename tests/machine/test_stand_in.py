"""The stand-in for CuPy itself:
it refuses what a GPU would, counts what crosses, and has CuPy's names.
"""

import ast
import copy
import importlib.util
import operator
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import strict_cupy
from support.devices import on_device

import dgsa_np
from dgsa_np.backend import resolve_device, to_device, to_numpy

VERSION = strict_cupy.FROZEN["version"]["cupy"]
needs_cupy = pytest.mark.skipif(
    strict_cupy.CUPY is None,
    reason=f"CuPy {VERSION} is not installed; pip install 'dgsa-np[cupy]' brings it; no GPU is needed",
)
HOST, INTEGERS = np.ones((2, 3)), np.array([0, 1])
HABITS = {  # what fails on a GPU, and with what
    "np.asarray of an array": (TypeError, lambda xp, x: np.asarray(x)),
    "np.array of a list of arrays": (TypeError, lambda xp, x: np.array([x, x])),
    "an operator with a host array": (TypeError, lambda xp, x: x + HOST),
    "a host array on the left": (TypeError, lambda xp, x: HOST * x),
    "a host array without axes": (TypeError, lambda xp, x: x * np.array(2.0)),
    "a comparison with a host array": (TypeError, lambda xp, x: x == HOST),
    "a product with a host array": (TypeError, lambda xp, x: x @ HOST.T),
    "a host array on the left of a product": (TypeError, lambda xp, x: HOST.T @ x),
    "a host array in a function": (TypeError, lambda xp, x: xp.exp(HOST)),
    "a host array in a reduction": (TypeError, lambda xp, x: xp.sum(HOST)),
    "a host array in a list": (TypeError, lambda xp, x: xp.concatenate([x, HOST])),
    "a host mask": (TypeError, lambda xp, x: xp.where(HOST > 0, x, 0.0)),
    "host indices in take_along_axis": (TypeError, lambda xp, x: xp.take_along_axis(x, np.zeros((2, 1), int), 1)),
    "host rows in an assignment": (ValueError, lambda xp, x: operator.setitem(x, slice(0, 1), HOST[:1])),
    "a list in an assignment": (TypeError, lambda xp, x: operator.setitem(x, 0, [1, 2, 3])),
    "in place, from the host": (TypeError, lambda xp, x: operator.iadd(x, HOST)),
    "in place, into the host": (TypeError, lambda xp, x: operator.iadd(HOST, x)),
    "in place, to a lesser kind": (TypeError, lambda xp, x: operator.iadd(xp.arange(3), 0.5)),
    "an index of the device into a host array": (TypeError, lambda xp, x: HOST[xp.arange(2)]),
    "an operator with a list": (TypeError, lambda xp, x: operator.add(x, [1, 2, 3])),
    "an operator with None": (TypeError, lambda xp, x: x == None),  # noqa: E711
    "where in a reduction": (TypeError, lambda xp, x: x.sum(where=x > 0)),
    "initial in a reduction": (TypeError, lambda xp, x: x.max(initial=0.0)),
    "where in a ufunc": (TypeError, lambda xp, x: xp.exp(x, where=x > 0)),
    "where in a function of NumPy": (TypeError, lambda xp, x: np.sum(x, where=x > 0)),
    "errstate": (AttributeError, lambda xp, x: xp.errstate(all="ignore")),
    "add.at": (strict_cupy.NotReproducible, lambda xp, x: xp.add.at(x, xp.arange(2), 1.0)),
    "scatter_add": (strict_cupy.NotReproducible, lambda xp, x: x.scatter_add(xp.arange(2), 1.0)),
    "two values for one place": (
        strict_cupy.NotReproducible,
        lambda xp, x: operator.setitem(x, xp.asarray([1, 1]), xp.ones((2, 3))),
    ),
    "ufunc methods of NumPy": (TypeError, lambda xp, x: np.add.reduce(x)),
    "a normal law of the generator": (AttributeError, lambda xp, x: xp.random.default_rng(0).normal()),
    "a permutation of the generator": (AttributeError, lambda xp, x: xp.random.default_rng(0).permutation(3)),
    "a name that NumPy has alone": (AttributeError, lambda xp, x: xp.setbufsize(8)),
    "a method that NumPy has alone": (AttributeError, lambda xp, x: x.setflags(write=False)),
    "an argument that NumPy has alone": (TypeError, lambda xp, x: x.item(0)),
    "an object": (ValueError, lambda xp, x: xp.asarray(["text"])),
    "an array as a whole number": (TypeError, lambda xp, x: range(xp.arange(2)[1])),
    "an array as an axis": (TypeError, lambda xp, x: xp.sum(x, axis=xp.asarray(0))),
    "an array as a key": (TypeError, lambda xp, x: {x: 1}),
    "the truth of several numbers": (ValueError, lambda xp, x: bool(x)),
    "booleans subtracted": (TypeError, lambda xp, x: (x > 0) - (x > 1)),
    "complex numbers in a loop that has none": (TypeError, lambda xp, x: xp.floor(x * 1j)),
    "a casting in astype": (TypeError, lambda xp, x: x.astype("float32", casting="safe")),
}


@pytest.mark.parametrize("habit", HABITS)
def test_the_stand_in_refuses(habit, cupy):
    error, try_it = HABITS[habit]
    with pytest.raises(error):
        try_it(cupy, cupy.ones((2, 3)))


READS = {
    "get": lambda xp, x: x.get(),
    "asnumpy": lambda xp, x: xp.asnumpy(x),
    "float": lambda xp, x: float(x[0]),
    "int": lambda xp, x: int(x[0]),
    "complex": lambda xp, x: complex(x[0]),
    "bool": lambda xp, x: bool(x[0]),
    "if": lambda xp, x: 1 if x[0] else 2,
    "comparison in a branch": lambda xp, x: max(x[0], x[1]),
    "item": lambda xp, x: x[0].item(),
    "tolist": lambda xp, x: x.tolist(),
    "tobytes": lambda xp, x: x.tobytes(),
    "iteration": lambda xp, x: list(x),
    "print": lambda xp, x: f"{x}",
    "repr": repr,
    "copy.copy of a pickle": lambda xp, x: x.__reduce__(),
    "a mask as an index": lambda xp, x: x[x > 0],
    "a mask in an assignment": lambda xp, x: operator.setitem(x, x > 0, 0.0),
    "nonzero": lambda xp, x: x.nonzero(),
    "where with one argument": lambda xp, x: xp.where(x > 0),
    "unique": lambda xp, x: xp.unique(x),
    "nonzero of the module": lambda xp, x: xp.nonzero(x),
    "flatnonzero": lambda xp, x: xp.flatnonzero(x),
}


@pytest.mark.parametrize("what", READS)
def test_the_stand_in_counts_a_read(what, cupy, traffic):
    x = cupy.ones(3)
    assert traffic.reads == []
    READS[what](*([cupy, x] if what != "repr" else [x]))
    assert len(traffic.reads) == 1


def test_the_stand_in_counts_uploads(cupy, traffic):
    x = cupy.asarray([1.0, 2.0])
    cupy.asarray(range(3), "float64")
    cupy.asarray(HOST)
    x[np.array([1])], x[[0]]
    x[cupy.arange(2)] = INTEGERS
    assert traffic.uploads == ["asarray"] * 3 + ["index"] * 2 + ["setitem"]
    cupy.asarray(x), cupy.asarray(2.0), x + np.float64(1), cupy.full(3, 2.0)
    assert len(traffic.uploads) == 6 and traffic.reads == []


def test_what_cupys_sliding_window_view_costs_is_counted(cupy, traffic):
    """One read would do to make a step wait: it uploads its window, and asks whether it is < 0."""
    windows = cupy.lib.stride_tricks.sliding_window_view(cupy.arange(5), 2)
    assert traffic.reads == ["iteration", "bool()"] and traffic.uploads == ["asarray"]
    assert windows.tolist() == [[0, 1], [1, 2], [2, 3], [3, 4]]


def test_a_view_by_strides_costs_nothing_and_shares_memory(cupy, traffic):
    x = cupy.arange(4)
    traffic.clear()
    rows = cupy.lib.stride_tricks.as_strided(x[1:], (2, 3), (-8, 8))
    assert traffic.reads == traffic.uploads == traffic.launches == []
    x[0] = 9
    assert rows.tolist() == [[1, 2, 3], [9, 1, 2]]


def test_more_than_eight_arrays_in_one_are_told_to_the_device(cupy, traffic):
    x = cupy.ones((1, 2))
    cupy.concatenate([x] * 8), cupy.stack([x] * 8)
    assert traffic.uploads == []
    cupy.concatenate([x] * 9), cupy.stack([x] * 9)
    assert traffic.uploads == ["concatenate"] * 2


@pytest.mark.parametrize("name", strict_cupy.EXAMPLES)
def test_a_function_does_what_cupys_own_code_was_seen_to_do(name, cupy):
    """Where CuPy is installed, its own code does it once more."""
    assert strict_cupy.traffic_of(cupy, name)[1] == strict_cupy.FROZEN["own"][name]


@pytest.mark.parametrize("own_code", [True, False])
def test_copyto_copies_memory_as_a_whole_or_number_by_number(own_code, traffic):
    """From one order of axes into the other too. What does not fit is refused."""
    cupy = strict_cupy.make_module(strict_cupy.FROZEN, own_code=own_code and strict_cupy.CUPY is not None)
    x, y = cupy.asarray(np.arange(6.0).reshape(2, 3)), cupy.zeros((2, 6))
    for target, source in ((y[:, :3], x), (y[:, ::2], x), (y[:, 3:], x[:1]), (y, 5.0), (y[:, :3].T, x.T)):
        traffic.clear()
        cupy.copyto(target, source)
        assert traffic.launches == ["copyto"] and traffic.uploads == traffic.reads == []
        assert target.tolist() == np.broadcast_to(to_numpy([source])[0], target.shape).tolist()
    cupy.copyto(y[:, :3], -x, where=x > 2)
    assert y[:, :3].tolist() == [[0, 1, 2], [-3, -4, -5]]
    for wrong, error in ((HOST, TypeError), (x[:, :2], ValueError), (x * 1j, TypeError)):
        with pytest.raises(error):
            cupy.copyto(y[:, :3], wrong)
    with pytest.raises(TypeError):
        cupy.copyto(y[:, :3], x, where=cupy.ones((2, 3)))


@needs_cupy
def test_numpy_in_place_of_the_code_of_the_real_cupy_changes_nothing(cupy):
    """What is returned, read, uploaded and started, by every function that CuPy has in Python."""
    numpys = strict_cupy.make_module(strict_cupy.FROZEN, own_code=False)
    for name in strict_cupy.EXAMPLES:
        (own, did), (made, counted) = (strict_cupy.traffic_of(module, name) for module in (cupy, numpys))
        assert counted == did, name
        assert plain(made) == plain(own), name


def plain(made):
    """Something that is equal where results are: arrays by kind, dtype, shape and numbers."""
    if type(made) in (list, tuple):
        return [plain(part) for part in made]
    if not hasattr(made, "dtype"):
        return made
    return type(made), made.dtype, made.shape, np.array2string(to_numpy(made))


@needs_cupy
def test_the_code_of_the_real_cupy_runs_on_the_stand_in(cupy):
    """Its own, and not of an imported CuPy: the module it sees as cupy is the stand-in."""
    cupy.stack([cupy.ones(2)])
    stack = strict_cupy.find_function("stack")
    assert stack.__globals__["cupy"] is cupy and stack.__code__.co_filename == "cupy._manipulation.join"


def in_the_real_cupy(code):
    """What the code prints, in a process of its own, which this one's warnings spare."""
    paths = os.pathsep.join([str(Path(strict_cupy.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=True)
    return done.stdout


A_VIEW = """
import cupy, numpy, types
from dgsa_np.attention import causal_mask
class Line:
    def __init__(self, *args):
        self.numbers = numpy.arange(*args)
    def __le__(self, last):
        self.kept = self.numbers <= last
        memory = cupy.cuda.UnownedMemory(self.kept.ctypes.data, self.kept.nbytes, self.kept, 0)
        return cupy.ndarray(self.kept.shape, bool, cupy.cuda.MemoryPointer(memory, 0))
for T, S in ((4, 4), (3, 5), (5, 3)):
    line = Line(1 - T, S)
    xp = types.SimpleNamespace(arange=lambda *args: line, lib=cupy.lib, broadcast_to=cupy.broadcast_to)
    mask = causal_mask(T, S, xp)
    print(type(mask).__name__, mask.shape, mask.strides, mask.data.ptr - line.kept.ctypes.data)
"""


@needs_cupy
def test_the_real_cupy_makes_the_causal_mask_of_one_line_of_memory():
    """Of the host, which serves as that of a GPU as long as nothing is computed."""
    expected = [f"ndarray {(1, 1, T, S)} (0, 0, -1, 1) {T - 1}" for T, S in ((4, 4), (3, 5), (5, 3))]
    assert in_the_real_cupy(A_VIEW).splitlines() == expected


@needs_cupy
def test_lack_of_memory_reads_in_the_real_cupy_as_the_package_expects():
    module = "from cupy_backends.cuda.api.runtime import CUDARuntimeError as E; from dgsa_np.gpu import out_of_memory"
    said = in_the_real_cupy(f"import cupy; {module}; print(*(out_of_memory(E(n)) for n in (2, 700, 712)))")
    assert said.split() == ["True", "False", "False"]


def names_of_cupy(source):
    """What a source asks an array module for, as xp.name, array_module(...).name or cupy.name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value)
            if owner in ("xp", "cupy", "xp.lib.stride_tricks") or re.fullmatch(r"array_module\(.*\)", owner):
                yield node.attr


def test_all_that_the_package_names_is_a_kernel_or_runs_cupys_own_code():
    """Or it is a type or a number. Else nobody would know what it reads and uploads."""
    facts = strict_cupy.FROZEN
    known = facts["ufunc"].keys() | facts["type"].keys() | facts["constant"].keys() | strict_cupy.EXAMPLES.keys()
    known |= {"cuda", "lib", "get_default_memory_pool", "__version__"}
    sources = [path.read_text(encoding="utf-8") for path in Path(dgsa_np.__file__).parent.rglob("*.py")]
    named = {name for source in sources for name in names_of_cupy(source)}
    assert named >= {"as_strided", "take_along_axis", "stack", "exp", "zeros", "finfo"}
    assert named - known - {"stride_tricks"} == set()


def test_memory_is_the_devices_own(cupy):
    host = np.ones(3)
    x = cupy.asarray(host)
    host[0] = 5
    x.get()[1] = 5
    assert x.tolist() == [1, 1, 1]
    assert cupy.asarray(x) is x and copy.deepcopy(x) is not x
    row = x[0]  # a view, where NumPy has a number
    row += 1
    x[1:] *= 3
    assert x.tolist() == [2, 3, 3]
    assert np.isnan(cupy.empty(2).get()).all()


def test_numbers_come_back_as_arrays_without_axes(cupy):
    x = cupy.ones((2, 3), "float32")
    made = [x.sum(), x[0, 0], x.max(), cupy.sum(x), np.sum(x), x.sum() ** 0.5, -x.sum(), cupy.exp(0.0), x.any()]
    made += [cupy.array_equal(x, x), cupy.allclose(x, x)]
    assert all(on_device(a) and a.shape == () for a in made)
    assert x.size == 6 and type(x.size) is int and type(len(x)) is int and x.shape == (2, 3)


def test_indices_out_of_range_wrap_round(cupy):
    x = cupy.arange(6).reshape(2, 3)
    assert x[cupy.asarray([2, -1])].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert x[..., cupy.asarray([3, 4])].tolist() == [[0, 1], [3, 4]]
    assert x[cupy.asarray([2, 3]), cupy.asarray([5, -4])].tolist() == [2, 5]
    assert cupy.take_along_axis(x, cupy.asarray([[3], [4]]), 1).tolist() == [[0], [4]]
    assert x.take(cupy.asarray([6, 7])).tolist() == cupy.take(x, cupy.asarray([0, 1])).tolist() == [0, 1]
    x[cupy.asarray([2])] = -1
    assert x.tolist() == [[-1, -1, -1], [3, 4, 5]]
    with pytest.raises(IndexError):
        x[2]  # a single number is checked


def test_dtypes_promote_as_in_numpy_2(cupy):
    x, n = cupy.ones(2, "float32"), cupy.arange(2)
    for made, dtype in (
        (x * 2.0, "float32"),
        (x * np.float64(2), "float64"),
        (np.float64(2) * x, "float64"),
        (x * cupy.asarray(2.0), "float64"),
        (x + n, "float64"),
        (n / 2, "float64"),
        (n * 2.0, "float64"),
        (x * 1j, "complex64"),
        (x + (x == 0), "float32"),
        (cupy.where(x > 0, x, 0.0), "float32"),
        (cupy.where(x > 0, x, np.float64(0)), "float64"),
        (cupy.minimum(1, x), "float32"),
        ((x > 0).sum(), "int64"),
        (cupy.exp(n), "float64"),
    ):
        assert made.dtype == dtype


def test_functions_of_numpy_on_an_array_are_those_of_cupy(cupy):
    x = cupy.ones(3)
    assert all(map(on_device, (np.exp(x), np.concatenate([x, x]), np.multiply(x, 2.0), np.sum(x))))
    with pytest.raises(NotImplementedError, match=r"CuPy has cupy.linalg.norm, but the stand-in"):
        np.linalg.norm(x)


def test_the_stand_in_has_the_names_of_cupy_and_no_other(cupy):
    facts = strict_cupy.FROZEN
    names = {name for kind in ("type", "constant", "ufunc", "function", "other") for name in facts[kind]}
    assert set(strict_cupy.public(cupy)) == names
    assert set(strict_cupy.public(cupy.ndarray)) == facts["method"].keys() | facts["attribute"].keys()

    class Any: ...  # what Python itself gives a class, more of it with each version

    own = {name for name in vars(cupy.ndarray) if name.startswith("__")} - {*vars(Any)}
    assert own <= facts["special"].keys()
    assert {"errstate", "setbufsize"}.isdisjoint(names) and not {"__index__", "__contains__"} & facts["special"].keys()


def test_the_frozen_names_are_those_of_the_real_cupy():
    """Of its own version all; a later one may have more."""
    if importlib.util.find_spec("cupy") is None:
        pytest.skip("CuPy is not installed; pip install 'dgsa-np[cupy]' brings it; no GPU is needed")
    code = "import cupy; from support import strict_cupy as s; print(*s.collect(cupy), *s.observe(), sep='\\n')"
    real, frozen = strict_cupy.parse(in_the_real_cupy(code)), strict_cupy.FROZEN
    if real["version"] == frozen["version"]:
        assert real == frozen
    missing = [
        (kind, name)
        for kind in frozen.keys() - {"version", "own"}
        for name, said in frozen[kind].items()
        if not set(said.split()) <= set(real[kind].get(name, "?").split())
    ]
    assert missing == []


def test_all_is_as_it_was_when_the_stand_in_leaves():
    resolve_device("auto")  # which imports a CuPy that is installed
    before = sys.modules.get("cupy"), resolve_device("auto")
    with strict_cupy.installed():
        assert sys.modules["cupy"] is strict_cupy.MODULE and resolve_device("auto") == "cuda"
        x = to_device(np.ones(2), "cuda")
    assert (sys.modules.get("cupy"), resolve_device("auto")) == before
    with pytest.raises(TypeError, match="expected a NumPy or CuPy array"):
        to_numpy({"x": x})
