"""notebooks/dgsa_in_one_file.py says what the library says, and on a GPU with one line changed."""

import ast
import importlib.util
import io
import tokenize
import types
from pathlib import Path

import numpy as np
import pytest
from support import strict_cupy

from dgsa_np.attention import gated_head_backward, gated_head_forward
from dgsa_np.backend import to_device, to_numpy
from dgsa_np.gradcheck import relative_error
from dgsa_np.model import ModelConfig, init_model, loss_and_grads
from dgsa_np.optim import adamw_init, adamw_step
from dgsa_np.params import flatten, tree_map

PATH = Path(__file__).parents[2] / "notebooks" / "dgsa_in_one_file.py"
CFG = ModelConfig(width=24, n_heads=3, depth=2, ffn_width=20, patch_size=2)
TOLERANCE = 1e-12


@pytest.fixture(scope="module")
def one_file():
    spec = importlib.util.spec_from_file_location("dgsa_in_one_file", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def on_a_gpu():
    """The file with one import changed, on the stand-in for CuPy, and the traffic to and fro."""
    source, line = PATH.read_text(encoding="utf-8"), "\nimport numpy as np\n"
    assert source.count(line) == 1
    module = types.ModuleType("dgsa_in_one_file")
    with strict_cupy.installed() as traffic:
        exec(compile(source.replace(line, "\nimport cupy as np\n"), PATH, "exec"), vars(module))
        yield module, traffic


@pytest.fixture(params=range(3))
def problem(request):
    rng = np.random.default_rng(request.param)
    params = init_model(CFG, rng, "float64")
    params = tree_map(lambda a: a + 0.1 * rng.standard_normal(a.shape), params)
    return params, rng.random((5, 8, 8)), rng.integers(0, 10, 5)


def assert_trees_agree(ours, theirs):
    ours, theirs = flatten(ours), flatten(theirs)
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert relative_error(theirs[name], ours[name]) <= TOLERANCE, name


def test_the_head_agrees(one_file):
    rng = np.random.default_rng(0)
    args = [rng.standard_normal((2, 3, n, 4)) for n in (5, 5, 5, 5)] + [
        rng.standard_normal((2, 3, 5, 7)),
        rng.standard_normal((2, 3, 5)),
    ]
    (o, cache), (theirs, their_cache) = gated_head_forward(*args), one_file.head_forward(*args)
    do = rng.standard_normal(o.shape)
    assert relative_error(theirs, o) <= TOLERANCE
    for ours, other in zip(gated_head_backward(do, cache), one_file.head_backward(do, their_cache), strict=True):
        assert relative_error(other, ours) <= TOLERANCE


def test_loss_gradients_and_three_steps_of_adamw_agree(one_file, problem):
    params, images, targets = problem
    theirs, state = params, adamw_init(params)
    m, v = state["m"], state["v"]
    for t in (1, 2, 3):
        loss, grads = loss_and_grads(params, images, targets, CFG)
        their_loss, their_grads = one_file.loss_and_grads(theirs, images, targets)
        assert abs(their_loss - loss) <= TOLERANCE * abs(loss)
        assert_trees_agree(grads, their_grads)
        params, state = adamw_step(params, grads, state, 1e-2, weight_decay=0.05)
        theirs, m, v = one_file.adamw(theirs, their_grads, m, v, t, 1e-2, weight_decay=0.05)
    # AdamW divides by sqrt(v): where a gradient is all but zero, rounding decides the step
    assert (
        max(relative_error(b, a) for a, b in zip(flatten(params).values(), flatten(theirs).values(), strict=True))
        <= 1e-9
    )


def test_its_own_gradient_check_is_exact(one_file):
    assert one_file.gradient_error(np.random.default_rng(0)) <= TOLERANCE


def test_it_starts_from_the_same_laws(one_file):
    model = ModelConfig(width=32, depth=2, patch_size=2)
    theirs, ours = (
        flatten(one_file.init(np.random.default_rng(0))),
        flatten(init_model(model, np.random.default_rng(1))),
    )
    assert {n: (a.shape, a.dtype) for n, a in ours.items()} == {n: (a.shape, a.dtype) for n, a in theirs.items()}
    for name, a in ours.items():
        assert theirs[name].std() == pytest.approx(a.std(), rel=0.25), name


def test_it_trains(one_file, capsys):
    one_file.train(epochs=2)
    assert float(capsys.readouterr().out.split()[-1]) > 0.5


def test_on_a_gpu_loss_gradients_and_a_step_of_adamw_are_the_same(one_file, on_a_gpu, problem):
    there, traffic = on_a_gpu
    params, images, targets = problem
    loss, grads = one_file.loss_and_grads(params, images, targets)
    m = tree_map(np.zeros_like, params)
    moved, placed_images, placed_targets, placed_m = to_device([params, images, targets, m], "cuda")
    traffic.clear()
    their_loss, their_grads = there.loss_and_grads(moved, placed_images, placed_targets)
    stepped = there.adamw(moved, their_grads, placed_m, placed_m, 1, 1e-2)
    assert traffic.reads == traffic.uploads == []  # all of a step is done on the device
    assert abs(float(their_loss) - loss) <= TOLERANCE * abs(loss)
    assert_trees_agree(grads, to_numpy(their_grads))
    for ours, theirs in zip(one_file.adamw(params, grads, m, m, 1, 1e-2), stepped, strict=True):
        assert_trees_agree(ours, to_numpy(theirs))


@pytest.mark.slow
def test_on_a_gpu_it_checks_its_gradient_and_trains_to_the_same_numbers(one_file, on_a_gpu, capsys):
    there, _ = on_a_gpu
    assert there.gradient_error(np.random.default_rng(0)) <= TOLERANCE
    params = one_file.train(epochs=1)
    here = capsys.readouterr().out
    moved = there.train(epochs=1)
    assert capsys.readouterr().out == here and here.startswith("epoch  1")
    for name, a in flatten(to_numpy(moved)).items():
        assert relative_error(a, flatten(params)[name]) <= 1e-5, name


def test_it_needs_numpy_alone():
    text = PATH.read_text(encoding="utf-8")
    imports = {
        line.split()[1].split(".")[0] for line in text.splitlines() if line.strip().startswith(("import ", "from "))
    }
    assert imports == {"numpy", "sklearn"}


def test_it_fits_in_200_lines_of_code():
    """Comments and empty lines apart, and as many statements: packing them would win nothing."""
    text = PATH.read_text(encoding="utf-8")
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    tokens = [t for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type not in silent]
    lines = {line for t in tokens for line in range(t.start[0], t.end[0] + 1)}
    statements = sum(isinstance(node, ast.stmt) for node in ast.walk(ast.parse(text)))
    assert len(lines) <= 200 and statements <= 200
