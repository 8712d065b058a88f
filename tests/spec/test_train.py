"""The training loop: it learns, repeats itself bit for bit, and stops when a number breaks."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from support.planting import assert_caught
from support.tiers import most_later

from dgsa_np import train as train_module
from dgsa_np.attention import KINDS
from dgsa_np.data import Split
from dgsa_np.gradcheck import same_bits
from dgsa_np.model import ModelConfig, init_model
from dgsa_np.params import flatten
from dgsa_np.train import NonFiniteError, TrainConfig, evaluate, first_state, predict, train, train_steps

SMALL = ModelConfig(width=32, depth=2, patch_size=2)


def first(data, n):
    train, valid = (
        Split(data.train.inputs[:n], data.train.targets[:n]),
        Split(data.valid.inputs[:20], data.valid.targets[:20]),
    )
    return data._replace(train=train, valid=valid)


@pytest.mark.parametrize("kind", most_later(KINDS, now=["dgsa"]))
def test_32_samples_are_learnt_by_heart(kind, digits):
    cfg = TrainConfig(epochs=120, batch_size=32, lr=1e-2, weight_decay=0, device="cpu")
    result = train(replace(SMALL, kind=kind), cfg, first(digits, 32))
    assert result.steps[-1]["loss"] < 1e-2


def test_two_runs_are_equal_bit_for_bit_and_another_seed_is_not(digits):
    cfg = TrainConfig(epochs=2, seed=3, device="cpu")
    one, two, other = (train(SMALL, c, first(digits, 200)) for c in (cfg, cfg, replace(cfg, seed=4)))
    assert one.steps == two.steps and one.epochs == two.epochs
    assert all(same_bits(a, b) for a, b in zip(flatten(one.params).values(), flatten(two.params).values(), strict=True))
    assert one.steps != other.steps


def test_equal_seeds_see_the_same_batches_whatever_the_model():
    """So that a comparison over seeds is paired; the weights come from another generator."""
    cfg = TrainConfig(seed=3)
    states = [first_state(ModelConfig(kind=kind), cfg) for kind in KINDS]
    assert all(state.rng == states[0].rng for state in states)
    assert states[0].rng != first_state(ModelConfig(), TrainConfig(seed=4)).rng


def test_the_test_split_is_never_touched(digits):
    train(SMALL, TrainConfig(epochs=1, device="cpu"), first(digits, 64)._replace(test=None))


def test_a_broken_number_stops_training_with_step_loss_and_tensor(digits):
    params = init_model(SMALL, np.random.default_rng(0))
    params["blocks"][1]["attention"]["W_v"][3, 5] = np.nan
    with pytest.raises(
        NonFiniteError, match=r"step 0: loss nan.*parameter blocks\.1\.attention\.W_v, 1 of its 1024"
    ) as caught:
        train(SMALL, TrainConfig(epochs=1, device="cpu"), first(digits, 64), params=params)
    assert flatten(caught.value.params).keys() == flatten(params).keys()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_learning_rate_that_explodes_names_a_tensor(digits):
    with pytest.raises(NonFiniteError, match="the first bad tensor is the"):
        train(SMALL, TrainConfig(epochs=40, batch_size=32, lr=1e18, clip=1e30, device="cpu"), first(digits, 64))
    with pytest.raises(NonFiniteError, match=r"epoch 0: on data\.valid: .*the largest parameter is .*e\+1., in "):
        train(SMALL, TrainConfig(epochs=40, lr=1e18, clip=1e30, device="cpu"), first(digits, 64))


def test_training_leaves_the_given_parameters_alone(digits):
    params = init_model(SMALL, np.random.default_rng(0))
    before = {n: a.copy() for n, a in flatten(params).items()}
    train(SMALL, TrainConfig(epochs=1, device="cpu"), first(digits, 64), params=params)
    assert all(same_bits(a, before[n]) for n, a in flatten(params).items())


def test_evaluation_does_not_depend_on_the_batch(digits, monkeypatch):
    params = init_model(SMALL, np.random.default_rng(0), "float64")
    split = digits.valid._replace(inputs=digits.valid.inputs.astype("float64"))
    all_at_once = predict(params, split, SMALL)
    monkeypatch.setattr(train_module, "EVALUATION", 7 * SMALL.n_tokens)
    assert abs(all_at_once - predict(params, split, SMALL)).max() < 1e-14
    assert 0 <= evaluate(params, split, SMALL)["accuracy"] <= 1


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"batch_size": -1}, {"lr": 0.0}, {"clip": -1.0}, {"warmup": 1.0}, {"lr": float("nan")}]
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=f"TrainConfig: {next(iter(wrong))} is"):
        TrainConfig(**wrong)


def test_numpy_numbers_as_settings_keep_single_precision(digits):
    model = replace(SMALL, eps=np.float64(1e-5), lambda_init=np.float64(0.5), gate_bias=np.float64(1))
    cfg = TrainConfig(epochs=1, lr=np.float64(0.01), weight_decay=np.float64(0.1), clip=np.float64(1), device="cpu")
    result = train(model, cfg, first(digits, 64))
    assert {a.dtype.name for a in flatten(result.params).values()} == {"float32"}


# ------------------------------------------------------------------------------------- planted bugs


def goes_on_like_one_that_did_not_stop(digits):
    """The learning rate and the loss of the steps after the third,
    in one go and from a state in between.
    """
    model_config, cfg = ModelConfig(width=8, n_heads=2, depth=1), TrainConfig(epochs=1, device="cpu")
    steps = list(train_steps(model_config, cfg, digits, first_state(model_config, cfg)))
    assert len({step["lr"] for _, step, _ in steps}) > 3
    again = list(train_steps(model_config, cfg, digits, steps[3][0]))
    assert [step for _, step, _ in again] == [step for _, step, _ in steps[4:]]


BUGS = {  # what is wrong: (what catches it, the change)
    "the order of the data is not that of the seed": (
        test_two_runs_are_equal_bit_for_bit_and_another_seed_is_not,
        (train_steps, "_generator(state.rng)", "np.random.default_rng()"),
    ),
    "training changes the parameters it was given": (
        test_training_leaves_the_given_parameters_alone,
        (first_state, "    order =", "    params['head']['b'] += 1\n    order ="),
    ),
    "a resumed epoch starts from its beginning": (
        goes_on_like_one_that_did_not_stop,
        (train_steps, "[state.batch :]", "[0:]"),
    ),
    "a resumed step forgets its number": (
        goes_on_like_one_that_did_not_stop,
        (train_steps, "number = state.epoch * per_epoch + state.batch", "number = 0"),
    ),
}


@pytest.mark.parametrize("name", BUGS)
def test_planted_bugs_are_caught(name, digits):
    test, change = BUGS[name]
    assert_caught(partial(test, digits), change)
