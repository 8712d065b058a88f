"""The same code on CuPy arrays: run with `make gpu` where a GPU is;
skipped, with the reason, where none is.
"""

import numpy as np
import pytest
from support.devices import assert_a_pair_agrees_and_repeats

from dgsa_np.attention import KINDS
from dgsa_np.backend import DeviceError, resolve_device
from dgsa_np.data import load
from dgsa_np.fast import choose_step
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


def trained(model, data, device, **settings):
    """By the step that the laboratory would choose."""
    cfg = TrainConfig(device=device, **settings)
    return train(model, cfg, data, step=choose_step(model, cfg))


steps = pytest.mark.parametrize("step", ["auto", "plain"])


@steps
@pytest.mark.parametrize("kind", KINDS)
def test_training_runs_and_starts_from_the_same_numbers(kind, step, digits):
    model = ModelConfig(kind=kind, width=32, depth=2)
    here, there = (trained(model, digits, device, epochs=2, step=step) for device in ("cpu", "cuda"))
    assert there.steps[0]["loss"] == pytest.approx(here.steps[0]["loss"], rel=1e-5)
    assert evaluate(there.params, digits.valid, model)["accuracy"] > 0.5


@steps
@pytest.mark.parametrize("kind", KINDS)
def test_a_language_model_starts_from_the_same_numbers_and_keeps_its_tokens_on_the_host(kind, step):
    data = load("pydoc", length=16)
    data = data._replace(train=data.train._replace(inputs=data.train.inputs[:64], targets=data.train.targets[:64]))
    model = ModelConfig(kind=kind, task="lm", vocab_size=data.meta["vocab_size"], max_len=16, width=16, depth=1)
    here, there = (trained(model, data, device, epochs=1, batch_size=16, step=step) for device in ("cpu", "cuda"))
    assert there.steps[0]["loss"] == pytest.approx(here.steps[0]["loss"], rel=1e-5)
    assert there.steps[-1]["loss"] == pytest.approx(here.steps[-1]["loss"], rel=1e-3)
