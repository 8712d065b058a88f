"""The fast step in the training loop: from any state, after any error, beside the plain step; and
what it refuses.
"""
# ruff: noqa: E501 - a table reads best with a row to a line

import re
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from support.compare import bits
from support.fast_step import CFG, KINDS, TASKS, apart, bits_of, held, problem, step_for, training
from support.runs import break_at, run_whole
from support.tiers import most_later

from dgsa_np.attention import KINDS as ALL_KINDS
from dgsa_np.checkpoint import load_checkpoint
from dgsa_np.fast import choose_step, is_fast, make_step
from dgsa_np.fast.step import FastStep, Step
from dgsa_np.lab import runs
from dgsa_np.lab.settings import settle
from dgsa_np.model import ModelConfig
from dgsa_np.optim import adamw_init
from dgsa_np.params import tree_map
from dgsa_np.shapes import ShapeError
from dgsa_np.train import NonFiniteError, TrainConfig, first_state, plain_step, train, train_steps

# --------------------------------------------------------------------------- one step and the other


def assert_same_training(got, want):
    """(state, step, epoch) after each step are equal to rounding."""
    assert len(got) == len(want) > 3
    for (mine, step, epoch), (theirs, wanted, wanted_epoch) in zip(got, want, strict=True):
        assert apart(held(mine.params, mine.optimizer), held(theirs.params, theirs.optimizer)) <= 1e-12
        assert mine.optimizer["step"] == theirs.optimizer["step"] and mine.rng == theirs.rng
        assert step == pytest.approx(wanted, rel=1e-11) and (epoch or {}) == pytest.approx(wanted_epoch or {}, rel=1e-11)


ORDERS = {  # of the steps of two epochs
    "the plain one, then the fast one": "pppfff",
    "the fast one, then the plain one": "fffppp",
    "the fast one alone": "ffffff",
    "in turns": "fpfpfp",
}
CHANGES = [*product(KINDS, TASKS, ORDERS)]


@pytest.mark.parametrize(("kind", "task", "order"), most_later(CHANGES, CHANGES[::13]))
def test_a_state_of_one_step_goes_on_in_the_other(kind, task, order):
    model, cfg, data, state = training(kind, task)
    fast, which = FastStep(), iter(ORDERS[order])
    got = train_steps(model, cfg, data, state, lambda *args: {"p": plain_step, "f": fast}[next(which)](*args))
    assert_same_training(list(got), list(train_steps(model, cfg, data, state, plain_step)))


def test_which_step_is_chosen():
    for kind, step in product(ALL_KINDS, ("auto", "plain")):
        chosen = choose_step(ModelConfig(kind=kind), TrainConfig(step=step))
        fast = kind in KINDS and step == "auto"
        assert isinstance(chosen, FastStep) == fast and (fast or chosen is plain_step)
        assert is_fast(ModelConfig(kind=kind)) == (kind in KINDS)


RUNS = [{"data": "digits", "batch_size": 128}, {"data": "text", "length": 16, "batch_size": 16}]


@pytest.mark.slow
@pytest.mark.parametrize(("first", "then"), [("plain", "auto"), ("auto", "plain")])
@pytest.mark.parametrize("settings", RUNS, ids=str)
def test_a_run_that_was_stopped_goes_on_with_the_other_step(settings, first, then, sources, tmp_path, monkeypatch):
    given = {"width": 16, "n_heads": 2, "depth": 1, "device": "cpu", "seed": 3, "epochs": 2, "step": first} | settings
    given |= {"root": str(sources / "text.txt")} if given["data"] == "text" else {}
    run_whole(tmp_path / "whole", given)
    made = settle(given)
    with monkeypatch.context() as patch:
        break_at(patch, 7)
        with pytest.raises(SystemExit):
            runs.follow(tmp_path / "cut", *made[1:], runs.begin(tmp_path / "cut", *made), every=0.0)
    saved, *made = runs.reopen(tmp_path / "cut", {"step": then})
    assert made[2].step == then and saved["state"]["optimizer"]["step"] == 7
    runs.follow(tmp_path / "cut", *made[1:], saved)
    cut, whole = (load_checkpoint(tmp_path / folder / "checkpoint.npz")["state"] for folder in ("cut", "whole"))
    assert cut["optimizer"]["step"] == whole["optimizer"]["step"] > 7
    assert apart(cut["params"], whole["params"]) < 1e-4  # float32


# -------------------------------------------------------------------------------- from which state


class Course:
    """A fast step, or another, on the same data: from a state and a batch to the next state."""

    def __init__(self, kind="dgsa", task="lm", step=None):
        self.model, self.cfg, self.data, self.start = training(kind, task)
        self.step = step or FastStep()

    def rows(self, start, stop):
        return self.data.train.take(np.arange(start, stop))

    def go(self, state, batch):
        params, optimizer, *_ = self.step(state, batch, 0.1, self.model, self.cfg)
        return state._replace(params=params, optimizer=optimizer)


def same(one, two):
    return bits(held(one.params, one.optimizer)) == bits(held(two.params, two.optimizer))


def test_a_state_that_is_not_the_last_one_is_where_it_starts():
    course, alone = Course(), Course()
    batch, other = course.rows(0, 5), course.rows(5, 10)
    first = course.go(course.start, batch)
    second = course.go(first, other)
    assert same(course.go(course.start, batch), first)  # back to the start
    assert same(course.go(first, other), second)  # and to the first again
    equal_but_for_a_number = first._replace(params=tree_map(np.copy, first.params))
    equal_but_for_a_number.params["head"]["b"][0] += 1
    later = first._replace(optimizer=first.optimizer | {"step": 50})
    for changed in (equal_but_for_a_number, later):
        third = course.go(changed, other)
        assert same(third, alone.go(changed, other)) and not same(third, second)


def test_a_state_that_was_given_stays_what_it_was():
    course = Course("softmax", "text")
    states = [course.start]
    for rows in ((0, 5), (5, 10), (0, 5)):
        states.append(course.go(states[-1], course.rows(*rows)))
    before = [bits(held(s.params, s.optimizer)) for s in states]
    course.go(states[-1], course.rows(5, 10))
    assert [bits(held(s.params, s.optimizer)) for s in states] == before


def interrupted(method):
    """A batch, during whose step Ctrl-C is pressed in a method of Step."""

    def prepare(patch, batch):
        def stop(*args):
            raise KeyboardInterrupt

        patch.setattr(Step, method, stop)
        return batch

    return prepare


ERRORS = {  # how a step ends too early: the error, and what makes it
    "a batch that is refused": (IndexError, lambda patch, batch: (batch[0], batch[1] + 100, batch[2])),
    "Ctrl-C before the update": (KeyboardInterrupt, interrupted("take")),
    "Ctrl-C after it": (KeyboardInterrupt, interrupted("state")),
}


@pytest.mark.parametrize("start", ["the last state", "another"])
@pytest.mark.parametrize("way", ERRORS)
def test_after_an_error_it_goes_on_from_the_state_that_it_is_given(way, start, monkeypatch):
    """Not from what is in its memory by then."""
    course, alone = Course("dgsa", "text"), Course("dgsa", "text")
    state = course.go(course.start, course.rows(0, 5))
    error, prepare = ERRORS[way]
    with monkeypatch.context() as patch, pytest.raises(error):
        course.go(state if start == "the last state" else course.start, prepare(patch, course.rows(5, 10)))
    assert same(course.go(state, course.rows(0, 5)), alone.go(state, course.rows(0, 5)))


def test_several_models_and_sizes_share_one_fast_step():
    """In turns; and the last batch of each is smaller."""
    fast, several = FastStep(), [("dgsa", "lm"), ("dgsa", "text"), ("diff_v1", "vision")]
    courses = [(Course(*which, fast), Course(*which, plain_step)) for which in several]
    states = [[course.start for course in pair] for pair in courses]
    for rows in ((0, 5), (5, 10), (10, 12), (12, 13), (0, 5)):
        for i, pair in enumerate(courses):
            states[i] = [course.go(state, course.rows(*rows)) for course, state in zip(pair, states[i], strict=True)]
    for mine, theirs in states:
        assert apart(mine.params, theirs.params) <= 1e-11  # at a large learning rate


def test_both_precisions_share_one_fast_step():
    course, alone = Course(), Course()
    for dtype in ("float64", "float32", "float64"):
        params = tree_map(lambda a, dtype=dtype: a.astype(dtype), course.start.params)
        state = first_state(course.model, course.cfg, params)
        alone.step = FastStep()
        done, wanted = (c.go(state, c.rows(0, 5)) for c in (course, alone))
        assert done.params["head"]["W"].dtype == dtype and same(done, wanted)


# ------------------------------------------------------------------------------- what is not finite


def broken(how):
    params = tree_map(np.copy, problem("dgsa", "text").params)
    if how == "nan":
        params["blocks"][1]["mlp"]["W_down"][2, 3] = np.nan
    elif how == "inf":
        params["norm"]["w"][1] = np.inf
    else:
        params["head"]["W"] *= 1e308
    return params


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the plain step
@pytest.mark.parametrize("how", ["nan", "inf", "overflow"])
def test_training_stops_with_the_words_of_the_plain_step(how):
    model, cfg, data, _ = training("dgsa", "text")
    params, said = broken(how), []
    for step in (FastStep(), plain_step):
        with pytest.raises(NonFiniteError) as told:
            train(model, cfg, data, params, step=step)
        said.append(re.sub(r"(loss|norm) [\d.einfa+-]+", r"\1", str(told.value)))  # rounding may make nan of inf
        assert bits(told.value.params) == bits(params)
    assert said[0] == said[1] and said[0].startswith("train: step 0: loss, gradient norm; ")


def test_no_warning_comes_from_masked_scores_or_from_what_is_not_finite():
    """Warnings are errors in tests."""
    for task, threads in product(TASKS, (1, 2)):
        given = problem("dgsa", task, "one empty")
        step_for(given, threads).train(*given.batch)
    model, cfg, data, _ = training("dgsa", "text")
    for how in ("nan", "inf", "overflow"):
        FastStep()(first_state(model, cfg, broken(how)), data.train.take(np.arange(5)), 0.1, model, cfg)


# --------------------------------------------------------------------------------------- refusals

WRONG = {  # what is wrong: (task, mask, the batch, the error, its words)
    "more rows": ("lm", "none", lambda x, t, k: (x[[0, *range(5)]], t[[0, *range(5)]], k), ShapeError, r"inputs are \(6, 6\).*batch of 5"),
    "fewer rows": ("vision", "none", lambda x, t, k: (x[1:], t[1:], k), ShapeError, r"inputs are \(4, 6, 6\).*batch of 5"),
    "another length": ("text", "none", lambda x, t, k: (x[:, 1:], t, k), ShapeError, r"inputs are \(5, 5\).*6 tokens each"),
    "too long": ("lm", "none", lambda x, t, k: (x[:, [0] * 9], t[:, [0] * 9], k), ShapeError, r"tokens are \(5, 9\).*max_len = 8"),
    "images of another size": ("vision", "none", lambda x, t, k: (x[:, 1:], t, k), ShapeError, r"images.*\(5, 5, 6\)"),
    "one axis": ("text", "none", lambda x, t, k: (x[0], t, k), ShapeError, r"tokens are \(6,\)"),
    "a list": ("text", "none", lambda x, t, k: (x.tolist(), t, k), TypeError, "tokens is list"),
    "tokens of floats": ("lm", "none", lambda x, t, k: (x * 1.0, t, k), TypeError, "tokens has dtype float64"),
    "a token too large": ("text", "holes", lambda x, t, k: (x + 11, t, k), IndexError, "tokens holds .*cfg.vocab_size"),
    "a negative token": ("lm", "none", lambda x, t, k: (x - 11, t, k), IndexError, "tokens holds -"),
    "a target too large": ("vision", "none", lambda x, t, k: (x, t + 4, k), IndexError, "targets holds "),
    "a negative target": ("lm", "right", lambda x, t, k: (x, t - 11, k), IndexError, "targets holds -"),
    "targets of floats": ("text", "none", lambda x, t, k: (x, t * 1.0, k), TypeError, "targets has dtype float64"),
    "targets of bools": ("text", "none", lambda x, t, k: (x, t > 1, k), TypeError, "targets has dtype bool"),
    "too few targets": ("vision", "none", lambda x, t, k: (x, t[1:], k), ShapeError, r"targets is \(4,\).*expected \(5,\)"),
    "a target per token": ("text", "none", lambda x, t, k: (x, x, k), ShapeError, r"targets is \(5, 6\).*expected \(5,\)"),
    "a target per text": ("lm", "none", lambda x, t, k: (x, t[:, 0], k), ShapeError, r"targets is \(5,\).*expected \(5, 6\)"),
    "no targets": ("text", "none", lambda x, t, k: (x, None, k), TypeError, "targets"),
    "keep of whole numbers": ("text", "right", lambda x, t, k: (x, t, k * 1), TypeError, "keep has dtype int64"),
    "keep of another shape": ("lm", "right", lambda x, t, k: (x, t, k[:, 1:]), ShapeError, r"keep is \(5, 5\)"),
    "nothing is kept": ("lm", "right", lambda x, t, k: (x, t, k & False), ValueError, "keep is all False"),
    "keep for a step without": ("lm", "none", lambda x, t, k: (x, t, x > -1), ValueError, "keep is an array, expected None"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_batch_is_refused_by_name_and_changes_nothing(what):
    task, mask, change, error, words = WRONG[what]
    given = problem("dgsa", task, mask, depth=1)
    step = step_for(given)
    step.train(*given.batch)
    before = bits_of(step)
    for call in (step.train, step.gradients):
        with pytest.raises(error, match=words):
            call(*change(*given.batch))
    assert bits_of(step) == before and step.state()[1]["step"] == 1


# A FastStep makes a step for the batch that comes, and so has no size that it expects.
WRONG_FOR_ANY = [what for what in WRONG if what not in ("more rows", "fewer rows", "another length", "keep for a step without")]


@pytest.mark.parametrize("what", WRONG_FOR_ANY)
def test_and_in_training_as_by_the_plain_step(what):
    task, mask, change, error, words = WRONG[what]
    given = problem("dgsa", task, mask, depth=1)
    state = first_state(given.cfg, CFG, given.params)
    for step in (FastStep(), plain_step):
        with pytest.raises(error, match=words.split(".*")[0].split(r"\(")[0].strip()):
            step(state, change(*given.batch), 0.1, given.cfg, CFG)


MAKING = {  # an argument of make_step: wrong values
    "cfg": [None, {"kind": "dgsa"}],
    "batch": [0, -1, 2.5, "4", None, True],
    "threads": [0, -1, 1.5, "two"],
    "length": [0, -1, 2.5, 9],
    "dtype": ["float16", "int64", "complex128", None],
    "device": ["tpu", 1],
    "clip": [0.0, -1.0, np.nan, "1"],
    "weight_decay": [-0.1, np.nan, "1"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in MAKING.items() for value in values])
def test_a_wrong_argument_of_make_step_is_refused_by_name(name, value):
    right = {"cfg": problem("dgsa", "lm").cfg, "batch": 4}  # of 8 tokens at most
    with pytest.raises((TypeError, ValueError), match=rf"make_step: .*\b{name}\b|resolve_device: {name}\b"):
        make_step(**right | {name: value})


@pytest.mark.parametrize("kind", sorted(set(ALL_KINDS) - set(KINDS)))
def test_kinds_without_a_fast_step_are_refused_with_those_that_have_one(kind):
    with pytest.raises(ValueError, match=f"kind is '{kind}', expected .*dgsa"):
        make_step(ModelConfig(kind=kind), 4)


OF_ANOTHER_MODEL = {  # what is wrong with parameters that are set: (the change, what is named)
    "a name is missing": (lambda p: {k: v for k, v in p.items() if k != "norm"}, "norm"),
    "a block too few": (lambda p: p | {"blocks": p["blocks"][1:]}, "blocks"),
    "a matrix of another shape": (lambda p: p | {"head": p["head"] | {"W": p["head"]["W"][:5]}}, "W"),
    "a vector that would spread": (lambda p: p | {"head": p["head"] | {"b": p["head"]["b"][:1]}}, "b"),
}


@pytest.mark.parametrize("what", OF_ANOTHER_MODEL)
def test_parameters_of_another_model_are_refused_by_name(what):
    change, name = OF_ANOTHER_MODEL[what]
    given = problem("dgsa", "lm")
    step = step_for(given)
    for arguments in ([change(given.params)], [given.params, adamw_init(given.params) | {"v": change(given.params)}]):
        with pytest.raises(ValueError, match=rf"\b{name}\b"):
            step.set(*arguments)


def test_capture_on_a_cpu_says_in_one_line_that_it_is_not_on_a_gpu(capsys):
    model, cfg, data, state = training("dgsa", "text", replace(CFG, capture=True))
    assert len(list(train_steps(model, cfg, data, state, choose_step(model, cfg)))) == 6
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "capture: the step runs without a CUDA graph: it is not on a GPU" in said
