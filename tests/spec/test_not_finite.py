"""Data, losses and parameters that are not finite are told, with their place,
before they spread.
"""

from dataclasses import replace

import numpy as np
import pytest
from support.problems import ODD
from support.training import ONE_EPOCH, SMALL, small_data

from dgsa_np import train as training
from dgsa_np.data import DataError
from dgsa_np.data.datasets import LOADERS
from dgsa_np.fast import choose_step
from dgsa_np.gradcheck import same_bits
from dgsa_np.lab.cli import main
from dgsa_np.model import ModelConfig, init_model
from dgsa_np.params import flatten
from dgsa_np.train import NonFiniteError, evaluate, predict, train


def test_the_tensor_that_is_named_is_the_one_that_is_not_finite(digits, monkeypatch):
    def spoilt(*args, **options):
        loss, grads = model_loss_and_grads(*args, **options)
        return loss, grads | {"head": {"W": grads["head"]["W"], "b": grads["head"]["b"] * np.nan}}

    model_loss_and_grads = training.loss_and_grads
    monkeypatch.setattr(training, "loss_and_grads", spoilt)
    model, cfg = ModelConfig(width=8, n_heads=2, depth=1), training.TrainConfig(epochs=1, device="cpu")
    with pytest.raises(training.NonFiniteError, match=r"head\.b"):
        training.train(model, cfg, digits)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("threads", [1, 2])
def test_a_fast_step_names_the_tensor_too_and_leaves_the_parameters(threads, digits):
    """It does not say which; then the plain step looks. What came before stays as it was."""
    model, cfg = ModelConfig(width=8, n_heads=2, depth=1), training.TrainConfig(epochs=1, device="cpu", threads=threads)
    params = init_model(model, np.random.default_rng(0))
    params["blocks"][0]["mlp"]["W_down"][0, 0] = np.inf
    with pytest.raises(
        NonFiniteError, match=r"step 0: loss nan, .* the parameter blocks\.0\.mlp\.W_down, 1 of its"
    ) as told:
        train(model, cfg, digits, params, step=choose_step(model, cfg))
    assert all(same_bits(a, flatten(params)[name]) for name, a in flatten(told.value.params).items())


@pytest.mark.parametrize("split", ["train", "valid"])
@pytest.mark.parametrize("odd", ODD)
def test_data_that_are_not_finite_are_told_before_the_first_step(split, odd):
    data = small_data()
    images = data.train.inputs.copy()
    images[3, 0, 2] = images[7, 1, 1] = odd
    said = rf"data\.{split}\.inputs holds 2 numbers that are not finite, first at \(3, 0, 2\)"
    with pytest.raises(DataError, match=said) as told:
        train(SMALL, ONE_EPOCH, data._replace(**{split: data.train._replace(inputs=images)}))
    assert "lr" not in str(told.value)
    train(SMALL, ONE_EPOCH, data._replace(test=data.test._replace(inputs=images)))  # never looked at


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_parameters_that_overflow_in_validation_are_told_with_the_epoch():
    data, params = small_data(), init_model(SMALL, np.random.default_rng(0))
    one_step = replace(ONE_EPOCH, batch_size=len(data.train.targets), lr=1e38, warmup=0.0, weight_decay=0.0)
    with pytest.raises(NonFiniteError, match=r"epoch 0: on data\.valid: .* first for row 0 .* params overflow") as told:
        train(SMALL, one_step, data)
    assert flatten(told.value.params).keys() == flatten(params).keys()
    params["head"]["W"][:] = 3e38
    for call in (evaluate, predict):
        with pytest.raises(NonFiniteError, match="logits that are not finite"):
            call(params, data.valid, SMALL)
    params["head"]["W"][:], params["head"]["b"][:2] = 0, (3e38, -3e38)  # finite logits, whose difference is not
    with pytest.raises(NonFiniteError, match="evaluate: loss inf"):
        evaluate(params, data.valid._replace(targets=np.ones(40, int)), SMALL)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("pixel", "lr", "status", "said"), [(np.nan, 0.1, 2, "data.valid"), (0.5, 1e38, 1, "epoch 0")])
def test_the_command_line_tells_both_in_one_line(pixel, lr, status, said, tmp_path, capsys, monkeypatch):
    data = small_data()
    spoilt = data.valid._replace(inputs=np.full_like(data.valid.inputs, pixel))
    monkeypatch.setitem(LOADERS, "digits", lambda name, root=None: data._replace(valid=spoilt))
    arguments = ["--width", "8", "--n-heads", "2", "--depth", "1", "--epochs", "1", "--patch-size", "2"]
    arguments += ["--lr", str(lr), "--warmup", "0", "--weight-decay", "0", "--batch-size", str(len(data.train.targets))]
    assert main(["train", *arguments, "--device", "cpu", "--out", str(tmp_path / "run")]) == status
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("dgsa-np: ")]
    assert len(lines) == 1 and said in lines[0]
