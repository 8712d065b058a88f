"""Elementwise chains as kernels:
the C that is written for them computes what NumPy does, and compiles for a GPU.
"""

import ctypes
import importlib
import importlib.util
import inspect
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from support import strict_cupy
from support.chains import CHAINS, arguments, everywhere, kinds_of, precisions, results, same

from dgsa_np.backend import to_device, to_numpy
from dgsa_np.fast import fused
from dgsa_np.gradcheck import same_bits
from dgsa_np.model import ModelConfig, init_model, loss_and_grads
from dgsa_np.optim import adamw_init, adamw_step, clip_by_norm, square_sum


@pytest.fixture(autouse=True)
def in_silence():
    """Arguments are strange on purpose."""
    with np.errstate(all="ignore"):
        yield


# ---------------------------------------------------------------------------------- on the stand-in


def on_the_device(traffic, chain, args):
    """What the chain returns there, on the host again;
    the calls for it are in traffic, the arguments unchanged.
    """
    there = [to_device(a, "cuda") if isinstance(a, np.ndarray) else a for a in args]
    traffic.clear()
    found = chain(*there)
    calls = list(traffic.launches)
    assert traffic.reads == traffic.uploads == []
    return to_numpy(list(results(found))), calls, to_numpy([a for a in there if hasattr(a, "dtype")])


@everywhere
@precisions
def test_a_chain_is_one_kernel_that_gives_numpys_bits(name, dtype):
    expected = results(CHAINS[name](*arguments(name, dtype)))
    with strict_cupy.installed() as traffic:
        found, calls, left = on_the_device(traffic, CHAINS[name], arguments(name, dtype))
    assert len(calls) == 1 and {a.dtype for a in found} == {np.dtype(dtype)}
    assert all(same(a, b) for a, b in zip(found, expected, strict=True))
    given = [a for a in arguments(name, dtype) if isinstance(a, np.ndarray)]
    assert all(same(a, b) for a, b in zip(left, given, strict=True))


SEVERAL = [name for name in CHAINS if list(kinds_of(name).values()).count("T") > 1]  # a lone array has one dtype


@pytest.mark.parametrize(("change", "name"), [*product(["complex numbers"], CHAINS), *product(["two dtypes"], SEVERAL)])
def test_what_no_kernel_is_for_takes_the_chain_step_by_step(change, name):
    def changed():
        args = arguments(name, "float64")
        floating = [i for i, kind in enumerate(kinds_of(name).values()) if kind == "T"]
        for i in floating if change == "complex numbers" else floating[1:]:
            args[i] = args[i] * (1 + 0.1j) if change == "complex numbers" else args[i].astype("float32")
        return args

    expected = results(CHAINS[name](*changed()))
    with strict_cupy.installed() as traffic:
        found, calls, _ = on_the_device(traffic, CHAINS[name], changed())
    assert len(calls) > 1
    assert all(same(a, b) for a, b in zip(found, expected, strict=True))


@everywhere
def test_the_arrays_of_the_caller_stay_as_they_are(name):
    """On NumPy too; but divided is told to overwrite its first argument."""
    args = arguments(name, "float64")
    CHAINS[name](*args)
    pairs = list(zip(args, arguments(name, "float64"), strict=True))[name == "divided" :]
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)


def test_a_host_array_beside_one_of_the_device_is_refused():
    with strict_cupy.installed():
        x = to_device(np.ones((2, 3)), "cuda")
        with pytest.raises(TypeError):
            CHAINS["mix"](x, np.ones((2, 3)), x, x)


def test_arguments_by_name_are_as_good():
    z = np.linspace(-3, 3, 7)
    sigmoid = CHAINS["sigmoid"]
    assert same_bits(sigmoid(z=z), sigmoid(z))


@precisions
def test_a_sum_of_squares_is_one_kernel(dtype):
    x = np.random.default_rng(0).standard_normal((3, 4, 17)).astype(dtype)
    with strict_cupy.installed() as traffic:
        there = to_device(x, "cuda")
        traffic.clear()
        norm = square_sum(there)
        assert traffic.launches == ["square_sum"] and norm.shape == () and norm.dtype == "float64"
        assert float(norm) == pytest.approx(float(square_sum(x)), rel=1e-14)


def test_a_sum_of_complex_squares_is_numpys():
    z = np.random.default_rng(0).standard_normal(5) * 1j
    with strict_cupy.installed():
        assert same(to_numpy(square_sum(to_device(z, "cuda"))), square_sum(z))


def test_a_step_starts_what_the_documentation_says():
    """Of four blocks. What a GPU must be told is what a small step costs."""
    page = (Path(fused.__file__).parents[2] / "docs" / "performance.md").read_text(encoding="utf-8")
    said = {name: int(n) for name, n in re.findall(r"^\| ([\w ]+) \| [\d,]+ \| (\d+) \|$", page, re.MULTILINE)}
    model = ModelConfig(kind="dgsa", image_size=8, patch_size=2, width=16, n_heads=2, depth=4)
    rng, started = np.random.default_rng(0), []
    with strict_cupy.installed() as traffic:
        params = to_device(init_model(model, rng), "cuda")
        images, state = to_device(rng.random((2, 8, 8), dtype="float32"), "cuda"), adamw_init(params)
        traffic.clear()
        _, grads = loss_and_grads(params, images, rng.integers(0, 10, 2), model)
        started.append(len(traffic.launches))
        clipped, _ = clip_by_norm(grads, 1.0)
        started.append(len(traffic.launches))
        adamw_step(params, clipped, state, 0.01)
        started.append(len(traffic.launches))
        assert traffic.reads == []
    counts = np.diff([0, *started]).tolist()
    assert said == dict(zip(("forward and backward", "clipping", "AdamW", "all"), [*counts, sum(counts)], strict=True))


# --------------------------------------------------------------------------------------- the source


def test_the_source_is_what_the_documentation_shows():
    shown = re.search(r">>> print\((.+)\)\n((?:    .+\n)+)", fused.__doc__)
    assert eval(shown[1], vars(fused)) == inspect.cleandoc(shown[2])


def test_numbers_among_themselves_are_in_double_precision():
    """1 - b2 of a b2 in float32 would be wrong by 1e-5."""
    source = fused.kernel_source(CHAINS["_adamw"].__wrapped__, tuple(kinds_of("_adamw").values()))[2]
    assert "const double t1 = double(1) - x4;" in source and "T(1) - x4" not in source


NO_KERNEL = {
    "arctan has no counterpart in C": np.arctan,
    "matmul has no counterpart in C": lambda x: x @ x,
    "sum has no counterpart in C": lambda x: np.sum(x),
    "multiply.outer has no counterpart in C": lambda x: np.multiply.outer(x, x),
    "a branch on a value": lambda x: -x if x < 0 else x,
    "add of x0, inf, expected values of the kernel and finite numbers": lambda x: x + np.inf,
    "multiply of x0, True, expected": lambda x: x * True,
    "multiply of x0, 0.5, expected": lambda x: x * np.float32(0.5),
}


@pytest.mark.parametrize("said", NO_KERNEL)
def test_what_no_kernel_can_do_is_named(said):
    with pytest.raises(TypeError, match=f"fused: {re.escape(said)}"):
        fused.kernel_source(NO_KERNEL[said], ("T",))


def test_a_kernel_is_named_for_a_profiler():
    assert fused._name(CHAINS["sigmoid"].__wrapped__) == "sigmoid"
    assert re.fullmatch(r"line_\d+_of_chains", fused._name(CHAINS["mix"].__wrapped__))
    in_a_notebook = eval(compile("lambda x: x + 1", "/tmp/2033 (copy).py", "eval"))
    assert fused._name(in_a_notebook) == "line_1_of_2033__copy_"


def whole_source(name, dtype, head):
    """A kernel or a loop around the operation of a chain, as CuPy puts one around it."""
    kinds = kinds_of(name)
    _, outputs, operation = fused.kernel_source(CHAINS[name].__wrapped__, tuple(kinds.values()))
    inputs = [(fused.C_TYPES[kind], f"x{i}") for i, kind in enumerate(kinds.values())]
    given = [f"{c} {x}" if c == "double" else f"const {c}* p{x}" for c, x in inputs]
    load = "".join(f"const {c} {x} = p{x}[i]; " for c, x in inputs if c != "double")
    outputs = [out.split()[1] for out in outputs.split(", ")]
    store = "".join(f"p{y}[i] = {y}; " for y in outputs)
    given = ", ".join(["int n", *given, *(f"T* p{y}" for y in outputs)])
    c_type = {"float32": "float", "float64": "double"}[dtype]
    before, around = head
    body = f"{load} T {', '.join(outputs)}; {operation} {store}"
    return f'{before}\ntypedef {c_type} T;\n{fused.IN_C_TOO}\nextern "C" {around % (given, body)}'


IN_CPP = (
    "#include <cmath>\n#define __device__\nusing std::exp; using std::sqrt; using std::fmin;",
    "void chain(%s) { for (int i = 0; i < n; i++) { %s } }",
)
IN_CUDA = "", "__global__ void chain(%s) { int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) { %s } }"


@cache
def compiled(dtype, folder):
    """All chains, compiled for this processor: a library of functions chain_NAME."""
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler is installed")
    first, *others = (whole_source(n, dtype, IN_CPP).replace("void chain(", f"void chain_{n}(") for n in CHAINS)
    source, library = folder / f"{dtype}.cpp", folder / f"{dtype}.so"
    source.write_text("\n".join([first, *(s.replace(fused.IN_C_TOO, "") for s in others)]), encoding="utf-8")
    subprocess.run([compiler, "-O1", "-ffp-contract=off", "-shared", "-fPIC", "-o", library, source], check=True)
    return ctypes.CDLL(str(library))


@everywhere
@precisions
def test_the_c_of_a_chain_computes_what_numpy_does(name, dtype, tmp_path_factory):
    """Compiled for this processor and run: the same text that a GPU gets."""
    library = compiled(dtype, tmp_path_factory.getbasetemp())
    expected, args = results(CHAINS[name](*arguments(name, dtype))), arguments(name, dtype)
    full = [np.ascontiguousarray(np.broadcast_to(a, (2, 3, 5))) if isinstance(a, np.ndarray) else a for a in args]
    found = [np.empty((2, 3, 5), dtype) for _ in expected]
    pointers = [a.ctypes.data_as(ctypes.c_void_p) if hasattr(a, "ctypes") else ctypes.c_double(a) for a in full + found]
    library[f"chain_{name}"](30, *pointers)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, np.broadcast_to(b, a.shape), rtol=8 * np.finfo(dtype).eps)


TRY_REAL_CUPY = """
import cupy, numpy
from support import chains
from dgsa_np.fast import fused

TYPES = {"float64": None, "bool": numpy.bool_}  # of a number, which has none, and of a mask
for name, chain in chains.CHAINS.items():
    chain, kinds = chain.__wrapped__, tuple(chains.kinds_of(name).values())
    kernel = fused._make_kernel(cupy, chain, kinds)
    for T in (numpy.float32, numpy.float64):
        _, made, _ = kernel._decide_params_type(tuple(TYPES.get(kind, T) for kind in kinds), ())
        assert set(made) == {T}, (name, made)
for name in fused.SUMS:
    assert fused._make_sum(cupy, name).nin == 1
"""


def test_the_real_cupy_takes_every_kernel():
    """Its parameters, types and options, as far as it looks at them without a GPU.
    In a process of its own.
    """
    if importlib.util.find_spec("cupy") is None:
        pytest.skip("CuPy is not installed; pip install 'dgsa-np[kernels]' brings it; no GPU is needed")
    here = Path(__file__).parent
    paths = os.pathsep.join(map(str, filter(None, [here, here.parent, os.environ.get("PYTHONPATH")])))
    command = [sys.executable, "-W", "ignore", "-c", TRY_REAL_CUPY]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def nvrtc():
    """NVIDIA's compiler as a library,
    from the wheel nvidia-cuda-nvrtc or with a CUDA that is installed; or None.
    """
    wheels = importlib.util.find_spec("nvidia")
    places = wheels.submodule_search_locations if wheels else []
    names = [str(path) for place in places for path in Path(place).rglob("libnvrtc.so.1?")]
    for name in (*names, "libnvrtc.so"):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


@everywhere
@precisions
def test_the_kernel_of_a_chain_compiles_for_a_gpu(name, dtype):
    library = nvrtc()
    if library is None:
        pytest.skip("NVRTC is not installed; pip install 'dgsa-np[kernels]' brings it; no GPU is needed")
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    source = whole_source(name, dtype, IN_CUDA).encode()
    assert library.nvrtcCreateProgram(ctypes.byref(program), source, b"chain.cu", 0, None, None) == 0
    options = [b"--gpu-architecture=compute_90", b"--fmad=false"]
    status = library.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * 2)(*options))
    library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    library.nvrtcGetProgramLog(program, log)
    assert status == 0, log.value.decode()
    library.nvrtcGetPTXSize(program, ctypes.byref(size))
    ptx = ctypes.create_string_buffer(size.value)
    library.nvrtcGetPTX(program, ptx)
    library.nvrtcDestroyProgram(ctypes.byref(program))
    assert b".entry chain" in ptx.value
    if dtype == "float32" and "float64" not in kinds_of(name).values():
        assert b"f64" not in ptx.value  # nothing is computed in double precision unasked
