"""The same code on CuPy arrays: run with `pytest -m gpu` where a GPU is; skipped, with the reason, where none is."""

import numpy as np
import pytest

from dgsa_np.attention import KINDS
from dgsa_np.backend import DeviceError, array_module, resolve_device, to_device, to_numpy
from dgsa_np.data import load
from dgsa_np.gradcheck import relative_error, same_bits
from dgsa_np.model import ModelConfig
from dgsa_np.params import flatten
from dgsa_np.train import TrainConfig, evaluate, train


def why_not():
    try:
        resolve_device("cuda")
    except DeviceError as error:
        return str(error)


pytestmark = [pytest.mark.gpu, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]


def gradients(case, args):
    """Output and gradients for a fixed upstream gradient, all on the host."""
    out, cache = case.forward(*args)
    dout = array_module(out).asarray(np.random.default_rng(0).standard_normal(out.shape))
    grads = case.backward(cache) if out.shape == () else case.backward(dout, cache)
    return flatten({"out": to_numpy(out), "grads": to_numpy(grads)})


def test_a_pair_agrees_with_numpy_and_repeats_bit_for_bit(case):
    args = [to_device(a, "cuda") if isinstance(a, (np.ndarray, dict, list)) else a for a in case.args]
    here, there = gradients(case, case.args), gradients(case, args)
    assert here.keys() == there.keys()
    for name in here:
        assert there[name].dtype == here[name].dtype
        assert relative_error(there[name], here[name]) <= 1e-12, name
    again = gradients(case, args)
    assert all(same_bits(again[name], there[name]) for name in there)


@pytest.mark.parametrize("kind", KINDS)
def test_training_runs_and_starts_from_the_same_numbers(kind, digits):
    model = ModelConfig(kind=kind, width=32, depth=2)
    here, there = (train(model, TrainConfig(epochs=2, device=d), digits) for d in ("cpu", "cuda"))
    assert there.steps[0]["loss"] == pytest.approx(here.steps[0]["loss"], rel=1e-5)
    assert evaluate(there.params, digits.valid, model)["accuracy"] > 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_a_language_model_starts_from_the_same_numbers_and_keeps_its_tokens_on_the_host(kind):
    data = load("pydoc", length=16)
    data = data._replace(train=data.train._replace(inputs=data.train.inputs[:64], targets=data.train.targets[:64]))
    model = ModelConfig(kind=kind, task="lm", vocab_size=data.meta["vocab_size"], max_len=16, width=16, depth=1)
    here, there = (train(model, TrainConfig(epochs=1, batch_size=16, device=d), data) for d in ("cpu", "cuda"))
    assert there.steps[0]["loss"] == pytest.approx(here.steps[0]["loss"], rel=1e-5)
    assert there.steps[-1]["loss"] == pytest.approx(here.steps[-1]["loss"], rel=1e-3)
