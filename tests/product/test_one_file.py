"""notebooks/dgsa_in_one_file.py says the same as the library."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from dgsa_np.attention import gated_head_backward, gated_head_forward
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
        theirs, m, v = one_file.adamw(theirs, their_grads, m, v, t, 1e-2, decay=0.05)
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


def test_it_needs_numpy_alone_and_fits_in_200_lines():
    text = PATH.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 200
    imports = {
        line.split()[1].split(".")[0] for line in text.splitlines() if line.strip().startswith(("import ", "from "))
    }
    assert imports == {"numpy", "sklearn"}
