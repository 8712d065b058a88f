"""The same code on CuPy arrays: run with `make gpu` where a GPU is;
skipped, with the reason, where none is.
"""

from functools import partial

import numpy as np
import pytest
from support.compare import bits
from support.devices import assert_a_pair_agrees_and_repeats, laid_out
from support.fast_step import KINDS as FAST_KINDS
from support.fast_step import PLACES, SWITCHES, TASKS, apart, batches_of, held, problem, step_for

from dgsa_np.attention import KINDS
from dgsa_np.backend import DeviceError, resolve_device, to_numpy
from dgsa_np.data import load
from dgsa_np.fast import choose_step
from dgsa_np.fast.cublas import cublas
from dgsa_np.lab.selfcheck import self_check
from dgsa_np.model import ModelConfig
from dgsa_np.train import OutOfMemoryError, TrainConfig, evaluate, plain_step, train


def why_not():
    try:
        resolve_device("cuda")
    except DeviceError as error:
        return str(error)


pytestmark = [pytest.mark.gpu, pytest.mark.skipif(why_not() is not None, reason=f"needs a GPU: {why_not()}")]


def test_the_self_check_finds_nothing_wrong():
    assert [finding for finding in self_check() if not finding.ok] == []


def test_a_device_without_memory_says_what_is_large(digits):
    """Half a TiB of embedded patches, all of them of the same digit."""
    many = digits.train.take(np.zeros(2**21, int))
    data = digits._replace(train=digits.train._replace(inputs=many[0], targets=many[1]))
    model = ModelConfig(width=1024, n_heads=8, patch_size=1, depth=1)
    cfg = TrainConfig(epochs=1, batch_size=2**21, device="cuda")
    for step in (plain_step, choose_step(model, cfg)):
        with pytest.raises(OutOfMemoryError, match=r"step 0: device 'cuda' is out of memory: .*\(B, H, T, T\) ="):
            train(model, cfg, data, step=step)


def test_a_pair_agrees_with_numpy_and_repeats_bit_for_bit(case):
    assert_a_pair_agrees_and_repeats(case)


# ------------------------------------------------------------------------------- the fast step


def assert_as_numpy_and_the_same_when_recorded(given, capsys):
    """Four steps: the first runs, the second is recorded, all later ones are what was recorded.
    AdamW blows up a gradient that is 0 but for rounding, by lr / 1e-8.
    """
    on_gpu = partial(step_for, given.on_device(), device="cuda")
    here, there, recorded = step_for(given), on_gpu(), on_gpu(capture=True)
    for batch in batches_of(given, 4):
        wanted, said, same = (to_numpy(list(step.train(*batch, lr=1e-5))) for step in (here, there, recorded))
        assert np.allclose(said, wanted, rtol=1e-12) and bits(said) == bits(same)
    assert recorded.graph.graph and capsys.readouterr().err == ""
    assert bits(to_numpy(there.held)) == bits(to_numpy(recorded.held))
    for a, b in zip([*held(*there.state()), there.grads()], [*held(*here.state()), here.grads()], strict=True):
        assert apart(to_numpy(a), b) <= 1e-11


@pytest.mark.parametrize(("kind", "task", "mask"), PLACES)
def test_a_fast_step_gives_what_numpy_gives_and_the_same_as_a_graph(kind, task, mask, capsys):
    assert_as_numpy_and_the_same_when_recorded(problem(kind, task, mask), capsys)




@pytest.mark.parametrize("switches", SWITCHES, ids=str)
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("kind", FAST_KINDS)
def test_and_with_every_switch(kind, task, switches, capsys):
    if task == "vision" and "T" in switches:
        switches = {**switches, "image_size": 12}
        del switches["T"]
    assert_as_numpy_and_the_same_when_recorded(problem(kind, task, "left", **switches), capsys)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [(), (1,), (3,), (2, 3), (2, 1, 3)])
def test_products_by_cublas_are_those_of_cupy_however_matrices_lie(batch, dtype):
    import cupy as xp

    rng, tolerance = np.random.default_rng(0), {"float32": 1e-5, "float64": 1e-13}[dtype]
    for m, k, n in ((4, 5, 6), (1, 5, 6), (4, 1, 6), (4, 5, 1), (1, 1, 1), (1, 700, 1)):
        a, b = (xp.asarray(rng.standard_normal((*batch, *size)).astype(dtype)) for size in ((m, k), (k, n)))
        for ways in np.ndindex(3, 3, 3):
            A, B, out = (laid_out(x, way) for x, way in zip((a, b, xp.full_like(a @ b, np.nan)), ways, strict=True))
            cublas(xp).product(A, B, out)()
            assert abs(out - a @ b).max() <= tolerance * (abs(a) @ abs(b)).max(), (m, k, n, ways)


# ------------------------------------------------------------------------------------ training


def trained(model, data, device, **settings):
    """By the step that the laboratory would choose."""
    cfg = TrainConfig(device=device, **settings)
    return train(model, cfg, data, step=choose_step(model, cfg))


STEPS = {"fast": {}, "captured": {"capture": True}, "plain": {"step": "plain"}}
steps = pytest.mark.parametrize("step", STEPS)


@steps
@pytest.mark.parametrize("kind", KINDS)
def test_training_runs_and_starts_from_the_same_numbers(kind, step, digits):
    model = ModelConfig(kind=kind, width=32, depth=2)
    here, there = (trained(model, digits, device, epochs=2, **STEPS[step]) for device in ("cpu", "cuda"))
    assert there.steps[0]["loss"] == pytest.approx(here.steps[0]["loss"], rel=1e-5)
    assert evaluate(there.params, digits.valid, model)["accuracy"] > 0.5


@steps
@pytest.mark.parametrize("kind", KINDS)
def test_a_language_model_starts_from_the_same_numbers_and_keeps_its_tokens_on_the_host(kind, step):
    data = load("pydoc", length=16)
    data = data._replace(train=data.train._replace(inputs=data.train.inputs[:64], targets=data.train.targets[:64]))
    model = ModelConfig(kind=kind, task="lm", vocab_size=data.meta["vocab_size"], max_len=16, width=16, depth=1)
    here, there = (trained(model, data, device, epochs=1, batch_size=16, **STEPS[step]) for device in ("cpu", "cuda"))
    assert there.steps[0]["loss"] == pytest.approx(here.steps[0]["loss"], rel=1e-5)
    assert there.steps[-1]["loss"] == pytest.approx(here.steps[-1]["loss"], rel=1e-3)
