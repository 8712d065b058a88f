"""The fast step without a GPU, on a stand-in that refuses what a GPU would: nothing is read, made
or uploaded on the way, and the step can be recorded as a CUDA graph.
"""

from dataclasses import replace
from functools import partial
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from support import strict_cupy
from support.compare import bits
from support.devices import on_device
from support.fast_step import (
    CFG,
    KINDS,
    PLACES,
    SWITCHES,
    TASKS,
    apart,
    batches_of,
    changed_in,
    held,
    louder,
    problem,
    step_for,
    training,
)
from support.tiers import most_later

from dgsa_np.backend import to_numpy
from dgsa_np.fast import graph
from dgsa_np.fast.step import FastStep
from dgsa_np.params import tree_map
from dgsa_np.train import plain_step, train_steps


@pytest.fixture
def made(monkeypatch):
    """The shapes of arrays that come into being on the stand-in, once .counts is true."""
    known, wrap = {}, strict_cupy.wrap
    watch = SimpleNamespace(counts=False, shapes=[])

    def watched(result):
        out = wrap(result)
        if isinstance(out, strict_cupy.ndarray):
            memory = out._host
            while memory.base is not None:
                memory = memory.base
            watch.shapes += [out.shape] * (watch.counts and id(memory) not in known)
            known[id(memory)] = memory  # so it stays, and no other gets its number
        return out

    monkeypatch.setattr(strict_cupy, "wrap", watched)
    return watch


def test_what_is_made_on_the_stand_in_is_counted(cupy, made):
    """A result without a buffer for it, a copy, a cast; no view, and nothing in a buffer."""
    x, out = cupy.asarray(np.ones((2, 3))), cupy.asarray(np.zeros((2, 3)))
    made.counts = True
    views = x[0], x.T, x.reshape(3, 2), cupy.exp(x, out=out)
    x += 1
    assert len(views) == 4 and made.shapes == []
    copies = cupy.exp(x), x.copy(), x.astype("float32"), x + 1, x.sum(axis=0)
    assert made.shapes == [a.shape for a in copies]


def numbers(said):
    return [float(a) for a in said]


def assert_same_as_numpy(given, traffic, made, n=2):
    """In every number, to rounding; nothing is read, made, or uploaded but the batch."""
    here, there = step_for(given), step_for(given.on_device(), device="cuda")
    there.train(*given.batch)
    there.set(given.params)
    for batch in batches_of(given, n):
        traffic.clear()
        said = there.train(*batch, lr=1e-4)
        assert traffic.reads == [] and all(map(on_device, said)) and {a.shape for a in said} == {()}
        assert np.allclose(numbers(said), here.train(*batch, lr=1e-4), rtol=1e-12)
    for a, b in zip([*held(*there.state()), there.grads()], [*held(*here.state()), here.grads()], strict=True):
        assert apart(to_numpy(a), b) <= 1e-12
    traffic.clear()
    made.counts = True
    there.take()
    assert traffic.reads == traffic.uploads == made.shapes == []


@pytest.mark.parametrize(("kind", "task", "mask"), most_later(PLACES, PLACES[3::19]))
def test_a_step_on_a_device_gives_what_numpy_gives_and_asks_nothing(kind, task, mask, traffic, made):
    assert_same_as_numpy(problem(kind, task, mask), traffic, made)


SWITCHED = [(kind, task, s) for kind, task, s in product(KINDS, TASKS, SWITCHES) if "T" not in s or task != "vision"]


@pytest.mark.parametrize(("kind", "task", "switches"), most_later(SWITCHED, SWITCHED[8::24]))
def test_and_with_every_switch(kind, task, switches, traffic, made):
    for mask in ("none", "left"):
        made.counts = False
        assert_same_as_numpy(problem(kind, task, mask, **switches), traffic, made)


@pytest.mark.parametrize("task", TASKS)
def test_a_batch_is_uploaded_when_it_is_loaded_and_then_only_what_the_update_needs(task, traffic):
    given = problem("dgsa", task, "right")
    step = step_for(given.on_device(), device="cuda")
    traffic.clear()
    step.load(*given.batch)
    assert traffic.reads == []
    loaded = list(traffic.uploads)
    traffic.clear()
    step.train(*given.batch)
    assert len(traffic.uploads) == len(loaded) + 1  # lr, and what depends on the number of the step


@pytest.mark.parametrize("task", TASKS)
def test_what_a_step_starts_does_not_depend_on_the_batch(task, traffic):
    """So what was recorded is right for any: with equal tokens, other masks, large scores."""
    given, started = problem("dgsa", task, "holes"), []
    step = step_for(given.on_device(), device="cuda")
    everything = given._replace(keep=np.ones_like(given.keep))
    equal = everything._replace(inputs=given.inputs * 0)
    for batch, params in product((given, everything, equal), (given.params, louder(given, 1e4).params)):
        step.set(params)
        step.load(*batch.batch)
        traffic.clear()
        step.take()
        started.append(list(traffic.launches))
    assert started[0] and started == started[:1] * 6


def test_loss_and_norm_are_not_changed_by_later_steps(traffic):
    given = problem("dgsa", "text")
    here, there = step_for(given), step_for(given.on_device(), device="cuda")
    wanted, said = ([step.train(*batch, lr=0.1) for batch in batches_of(given, 3)] for step in (here, there))
    loss = there.gradients(*given.batch)
    there.gradients(*next(batches_of(given, 1)))
    assert np.allclose([numbers(pair) for pair in said], wanted, rtol=1e-12)
    assert np.allclose(float(loss), here.gradients(*given.batch), rtol=1e-12)


@pytest.mark.parametrize("how", ["nan", "inf", "overflow"])
def test_what_is_not_finite_leaves_all_as_it_is(how, traffic):
    given = problem("dgsa", "lm")
    change = {"nan": lambda a: a * np.nan, "inf": lambda a: a + np.inf, "overflow": lambda a: a * 1e308}[how]
    given = changed_in(given, "norm2" if how == "inf" else "mlp", lambda name, a: change(a))
    moments = tree_map(abs, problem("dgsa", "lm").params)
    step = step_for(given.on_device(), device="cuda")
    step.set(given.params, {"m": moments, "v": moments, "step": 3})
    traffic.clear()
    step.train(*given.batch)
    assert traffic.reads == []
    assert bits(to_numpy(held(*step.state()))) == bits([given.params, moments, moments])


@pytest.mark.parametrize(("kind", "task"), most_later([*product(KINDS, TASKS)], [("dgsa", "text")]))
def test_training_reads_once_per_step_and_equals_the_cpu(kind, task, traffic):
    model, cfg, data, state = training(kind, task, replace(CFG, threads=1))
    wanted, reads = list(train_steps(model, cfg, data, state, plain_step)), []
    taken = train_steps(model, replace(cfg, device="cuda"), data, state, FastStep())
    for (found, step, epoch), (right, right_step, right_epoch) in zip(taken, wanted, strict=True):
        reads.append(len(traffic.reads))
        assert apart(to_numpy(held(found.params, found.optimizer)), held(right.params, right.optimizer)) <= 1e-12
        assert step == pytest.approx(right_step, rel=1e-11) and (epoch is None) == (right_epoch is None)
        traffic.clear()
    assert reads == [1, 1, 2] * 2  # the last step of an epoch comes with an evaluation, of one batch


def test_both_devices_share_one_fast_step(traffic):
    model, cfg, data, state = training("dgsa", "text", replace(CFG, threads=1))
    fast, batch = FastStep(), data.train.take(np.arange(5))
    here = fast(state, batch, 0.1, model, cfg)
    there = fast(state._replace(params=problem("dgsa", "text").on_device().params), batch, 0.1, model, cfg)
    assert on_device(there[0]["head"]["W"]) and apart(to_numpy(there[0]), here[0]) <= 1e-12


# ------------------------------------------------------------------------------------- CUDA graphs


class Within:
    """A context in which an attribute of its owner has another value."""

    def __init__(self, owner, name, value):
        self._within = owner, name, value

    def __enter__(self):
        owner, name, value = self._within
        self._outside = getattr(owner, name)
        setattr(owner, name, value)
        return self

    def __exit__(self, *error):
        owner, name, _ = self._within
        setattr(owner, name, self._outside)


class Cuda:
    """What graph.py asks of cupy.cuda.

    What is asked, and where, is in said; refuses is what cannot be recorded says.
    """

    def __init__(self, cuda):
        vars(self).update({name: part for name, part in vars(cuda).items() if not hasattr(Cuda, name)})
        self.said, self.allocator, self.stream, self.refuses = [], "any", "default", None
        self.begins = self.ends = self.launches = lambda: None

    def MemoryPool(self):
        return SimpleNamespace(malloc="the pool's")

    def using_allocator(self, malloc):
        return Within(self, "allocator", malloc)

    def get_current_stream(self):
        wait = partial(self.said.append, f"wait for the {self.stream} stream")
        return SimpleNamespace(ptr={"default": 0, "own": 1}[self.stream], synchronize=wait)

    def Stream(self, non_blocking=False):
        assert non_blocking  # what is recorded on another would wait for the default stream
        return Stream(self, "stream", "own")

    def work(self):
        self.said.append(f"work on the {self.stream} stream, in {self.allocator} memory")
        if self.refuses and self.stream == "own":
            raise self.refuses


class Stream(Within):
    def begin_capture(self):
        cuda = self._within[0]
        assert cuda.stream == "own"
        cuda.said.append("begin")
        cuda.begins()

    def end_capture(self):
        cuda = self._within[0]
        cuda.said.append("end")
        cuda.ends()
        return SimpleNamespace(launch=self.launch)

    def launch(self):
        cuda = self._within[0]
        cuda.said.append(f"launch on the {cuda.stream} stream")
        cuda.launches()


@pytest.fixture
def cuda(traffic, monkeypatch):
    monkeypatch.setattr(strict_cupy.MODULE, "cuda", Cuda(strict_cupy.MODULE.cuda))
    return strict_cupy.MODULE.cuda


EAGER, RECORDED = (f"work on the {stream} stream, in the pool's memory" for stream in ("default", "own"))
WAIT, LAUNCH = "wait for the default stream", "launch on the default stream"


def test_the_first_time_runs_the_second_is_recorded_and_launched_as_are_all_that_follow(cuda, capsys):
    captured = graph.Captured()
    for _ in range(4):
        captured.run(cuda.work)
    assert cuda.said == [EAGER, WAIT, "begin", RECORDED, "end", LAUNCH, LAUNCH, LAUNCH]
    assert capsys.readouterr().err == ""


def test_what_cannot_be_recorded_runs_as_it_is_and_says_why(cuda, capsys):
    """The recording is ended too: else nobody could wait for the device any more."""
    cuda.refuses = NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
    captured = graph.Captured()
    for _ in range(4):
        captured.run(cuda.work)
    assert cuda.said == [EAGER, WAIT, "begin", RECORDED, "end", EAGER, EAGER, EAGER]
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "without a CUDA graph" in said and str(cuda.refuses) in said


@pytest.mark.parametrize("impl", ["plain", "tiled"])
def test_a_recorded_step_equals_one_that_is_not(impl, cuda, capsys):
    """What the stand-in computes while it records is taken back: CUDA does not compute it then."""
    given = problem("dgsa", "lm", "right", impl=impl)
    plain, step = (step_for(given.on_device(), device="cuda", capture=capture) for capture in (False, True))
    kept = []
    cuda.begins = lambda: kept.append(step.held.copy())
    cuda.ends = lambda: step.held.__setitem__(..., kept[0])
    cuda.launches = step.take
    for batch in batches_of(given, 4):
        assert numbers(plain.train(*batch, lr=0.1)) == numbers(step.train(*batch, lr=0.1))
    assert bits(to_numpy(plain.held)) == bits(to_numpy(step.held))
    assert len(kept) == 1 and cuda.said.count(LAUNCH) == 3 and capsys.readouterr().err == ""


def test_a_recorded_step_has_one_thread(cuda):
    """Streams and allocators belong to a thread: what another one starts is recorded by nobody."""
    given = problem("dgsa", "text")
    try:
        step = step_for(given.on_device(), threads=2, device="cuda", capture=True)
    except ValueError as error:
        assert "threads" in str(error)
    else:
        assert len(step.shards) == 1
