"""A run keeps the state of its best epoch: of the least validation loss, the first of equals."""

import json
import signal
import tempfile
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pytest
from support.planting import assert_caught
from support.runs import break_at
from support.tiers import most_later

from dgsa_np import train as train_module
from dgsa_np.checkpoint import load_checkpoint
from dgsa_np.fast import choose_step
from dgsa_np.lab import runs
from dgsa_np.lab.settings import settle
from dgsa_np.params import flatten
from dgsa_np.train import evaluate, first_state, train_steps

TINY = {"data": "digits", "train_size": 128, "test_size": 40, "width": 8, "n_heads": 1, "depth": 1, "patch_size": 4}
TINY |= {"epochs": 4, "batch_size": 64, "device": "cpu", "seed": 3}  # 2 steps an epoch

LOSSES = {  # of the validations: the best epoch
    (3.0, 1.0, 2.0, 2.5): 1,
    (3.0, 1.0, 2.0, 1.0): 1,
    (1.0, 1.0, 1.0, 1.0): 0,
    (1.0, 2.0, 3.0, 4.0): 0,
    (4.0, 3.0, 2.0, 1.0): 3,
    (2.0, 3.0, 1.0, 4.0): 2,
}


def interrupt_at(monkeypatch, n):
    """Ctrl-C at the n-th step."""

    def steps(*args):
        for i, result in enumerate(train_steps(*args), 1):
            if i == n:
                signal.raise_signal(signal.SIGINT)
            yield result

    monkeypatch.setattr(runs, "train_steps", steps)


DOWN_AND_UP, TWICE_THE_LEAST, *_ = LOSSES
WAYS = {  # (seconds between saves, what happens again and again, after how many steps)
    "in one go": (1e9, None, 0),
    "saved at every step": (0.0, None, 0),
    "stopped by Ctrl-C in each epoch": (1e9, interrupt_at, 3),
    "stopped by Ctrl-C after each epoch": (1e9, interrupt_at, 2),
    "dies in each epoch": (0.0, break_at, 3),
    "dies after each epoch": (0.0, break_at, 2),
    "dies after each step": (0.0, break_at, 1),
}


@lru_cache
def trained():
    """What the runs are made of, and the states after their epochs."""
    made = settle(TINY)
    steps = train_steps(*made[1:], first_state(*made[1:3]), choose_step(*made[1:3]))
    states = [state for state, _, epoch in steps if epoch]
    return made, states


def bits(tree):
    return tuple((name, np.asarray(leaf).tobytes()) for name, leaf in flatten(tree).items())


def run(folder, losses, way="in one go"):
    """A run to its end, whose validations have these losses."""
    made, states = trained()
    told = {bits(state.params): {"loss": x, "accuracy": x / 9} for state, x in zip(states, losses, strict=True)}
    held, (every, happens, after) = runs.begin(folder, *made), WAYS[way]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_module, "evaluate", lambda params, split, model: told[bits(params)])
        if not happens:
            runs.follow(folder, *made[1:], held, every)
            return
        happens(patch, after)
        while held["state"]["epoch"] < len(states):
            with suppress(SystemExit):
                runs.follow(folder, *made[1:], held, every)
            held = runs.open_run(folder)


def assert_same_state(held, expected, epoch):
    assert (held["state"]["epoch"], held["state"]["batch"]) == (epoch + 1, 0)
    assert bits(held["state"]["params"]) == bits(expected.params)
    assert bits(held["state"]["optimizer"]) == bits(expected.optimizer)


def assert_the_best_is_kept(losses, way):
    _, states = trained()
    best = LOSSES[losses]
    with tempfile.TemporaryDirectory() as folder:
        run(folder, losses, way)
        kept, last = (load_checkpoint(Path(folder) / f"{name}.npz") for name in ("best", "checkpoint"))
    assert_same_state(kept, states[best], best)
    assert_same_state(last, states[-1], len(states) - 1)
    for held in (kept, last):
        assert (held["best"]["epoch"], held["best"]["valid_loss"]) == (best, losses[best])


ALL = [(losses, way) for losses in LOSSES for way in WAYS]


@pytest.mark.parametrize(("losses", "way"), most_later(ALL, now=ALL[:: len(WAYS) + 1]))
def test_the_best_epoch_is_that_of_the_least_validation_loss(losses, way):
    assert_the_best_is_kept(losses, way)


def test_the_figures_at_the_end_are_those_of_the_last_state_and_of_the_best():
    (_, model, _, data), states = trained()
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs.viz, "training_figure", lambda *_: None)
        patch.setattr(runs.viz, "save", lambda *_: None)
        run(folder, DOWN_AND_UP)
        figures = runs.conclude(folder, model, data)
        lines = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert figures == {
        f"{split}, {which} ({epoch})": evaluate(states[epoch].params, getattr(data, split), model)
        for which, epoch in (("last", 3), ("best", 1))
        for split in ("valid", "test")
    }
    assert len({figure["loss"] for figure in figures.values()}) == 4
    assert lines[-1] == {"result": figures} and len(lines) == 8 + 4 + 1


# ------------------------------------------------------------------------------------- planted bugs

down_and_up, twice_the_least = (
    partial(assert_the_best_is_kept, x, "in one go") for x in (DOWN_AND_UP, TWICE_THE_LEAST)
)
died = partial(assert_the_best_is_kept, DOWN_AND_UP, "dies after each epoch")
stopped = partial(assert_the_best_is_kept, DOWN_AND_UP, "stopped by Ctrl-C after each epoch")
at_the_end = test_the_figures_at_the_end_are_those_of_the_last_state_and_of_the_best
LESS = 'epoch["valid_loss"] < held["best"]["valid_loss"]'

BUGS = {  # what is wrong: (what catches it, function, old, new)
    "best.npz is the worst": (down_and_up, runs.follow, LESS, LESS.replace("<", ">")),
    "best.npz is the last": (down_and_up, runs.follow, LESS, "True"),
    "best.npz is the first": (down_and_up, runs.follow, LESS, "False"),
    "best.npz is the last of equals": (twice_the_least, runs.follow, LESS, LESS.replace("<", "<=")),
    "the best by training loss": (down_and_up, runs.follow, LESS, LESS.replace("valid", "train")),
    "the best by accuracy": (down_and_up, runs.follow, LESS, LESS.replace("loss", "accuracy").replace("<", ">")),
    "a run that goes on forgets its best": (died, runs.follow, 'held["best"] is None', "best is None"),
    "best.npz holds the state at which it was saved": (down_and_up, runs._save, '"best.npz", best', '"best.npz", held'),
    "best.npz is saved at the end alone": (
        stopped, runs._save, "if best is not None", 'if best and best["state"]["epoch"] == 4'),
    "checkpoint.npz holds the best state": (
        down_and_up, runs._save, '"checkpoint.npz", held', '"checkpoint.npz", best or held'),
    "the best is reported from the last state": (at_the_end, runs.conclude, '"best", "best"', '"best", "checkpoint"'),
    "the last is reported from the best state": (at_the_end, runs.conclude, '"last", "checkpoint"', '"last", "best"'),
    "the test is made on validation data": (at_the_end, runs.conclude, "getattr(data, split)", "data.valid"),
    "the validation is made on test data": (at_the_end, runs.conclude, "getattr(data, split)", "data.test"),
    "the epoch after the one that is reported": (at_the_end, runs.conclude, "['epoch'] - 1", "['epoch']"),
}  # fmt: skip


SEEN = ("best.npz is the worst", "best.npz is the last")


@pytest.mark.parametrize("name", most_later(BUGS, now=[*SEEN, *list(BUGS)[::6]]))
def test_planted_bugs_are_caught(name):
    test, *change = BUGS[name]
    assert_caught(test, change)
