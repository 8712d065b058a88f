"""The benchmark: that it measures what it says, on sizes that take no time.
Nothing here asserts a duration.
"""

import json
import os
from concurrent.futures import Future, ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from shutil import which
from sysconfig import get_path

import numpy as np
import pytest

from dgsa_np.attention.multihead import TILED_KINDS
from dgsa_np.lab import bench, cli, measure
from dgsa_np.lab.experiments import count_parameters
from dgsa_np.model import loss_and_grads
from dgsa_np.params import flatten

TINY_STEP, TINY_HEAD = (4, 9, 16, 2, 1), (2, 2, 9, 4)


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(bench, "STEPS", (TINY_STEP,))
    monkeypatch.setattr(bench, "HEADS", (TINY_HEAD,))
    monkeypatch.setattr(bench, "LENGTHS", (8, 16, 32))
    for name, seconds in SHORT.items():
        monkeypatch.setattr(bench, name, seconds)
    monkeypatch.setattr(bench, "turn", short_turn)


SHORT = {"REST": 0, "TURN": 0.01}  # s


def short_turn(*task, turn=bench.turn):
    """A turn, in the process of a contestant too, that is not long enough to measure well."""
    vars(bench).update(SHORT)
    return turn(*task)


@pytest.mark.slow
def test_it_prints_tables_and_writes_numbers_and_pictures(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench, "find_spec", lambda name: None)
    out = tmp_path / "bench"
    assert cli.main(["bench", "--out", str(out), "--rounds", "3"]) == 0
    assert {p.name for p in out.iterdir()} == {"bench.json", "scaling.png", "profile.png"}
    found = json.loads((out / "bench.json").read_text(encoding="utf-8"))
    said = capsys.readouterr().out
    assert "torch, jax, autograd; to race them: pip install 'dgsa-np[peers]'" in said and "| ms; fast / it" in said
    races = {title: races for title, races in found.items() if title not in ("machine", "scaling", "profile")}
    assert races.keys() == bench.tables().keys() and all(len(by_size) == 1 for by_size in races.values())
    for by_size in races.values():
        (race,) = by_size.values()
        first, *others = race["ms"]
        assert list(race["ratios"]) == [f"{first} / {other}" for other in others]
        for low, median, high in (*race["ms"].values(), *race["ratios"].values()):
            assert 0 < low <= median <= high
    step, *_ = races["The step of a language model, forward and backward, all cores"].values()
    assert list(step["ms"]) == ["fast", "its products", "plain"]
    assert found["scaling"]["T"] == [8, 16, 32] and len(found["scaling"]["tiled"]["MiB"]) == 3
    assert sum(found["profile"].values()) > 0 and list(found["profile"])[-1] == "all others"
    assert found["machine"]["versions"]["numpy"] == np.__version__


class Process:
    """Stands in for an executor. Its turns take the seconds that are given, or fail."""

    def __init__(self, *turns):
        self.turns = iter(turns)

    def submit(self, *_):
        turned, taken = Future(), next(self.turns)
        (turned.set_exception if isinstance(taken, Exception) else turned.set_result)(taken)
        return turned


def figures(**processes):
    table = bench.Table("{}", ((1,),), 45, dict.fromkeys(processes, ()))
    return bench._figures(table, (1,), processes, 3)


def test_a_ratio_is_that_of_turns_in_one_round():
    """The first turn makes the task, the second warms up. The ratio of medians would be 1/2."""
    found = figures(fast=Process(9, 9, 1, 2, 6), torch=Process(9, 9, 4, 2, 8))
    assert found == {
        "ms": {"fast": [1500.0, 2000.0, 4000.0], "torch": [3000.0, 4000.0, 6000.0]},
        "ratios": {"fast / torch": [0.5, 0.75, 0.875]},
    }


def test_the_table_tells_medians_and_their_spread():
    found = {"ms": {"fast": [1.5, 2.0, 4.0], "torch": [3.0, 4.0, 6.0]}, "ratios": {"fast / torch": [0.5, 0.75, 0.875]}}
    other = {"ms": {"fast": [1.0, 1.0, 1.0]}, "ratios": {}}
    assert bench._shown({"T 17": found, "T 64": other}).splitlines() == [
        "| ms; fast / it | T 17                     | T 64        |",
        "|---------------|--------------------------|-------------|",
        "| fast          | 2.00 ± 2.00              | 1.00 ± 0.00 |",
        "| torch         | 4.00 ± 2.00; 0.75 ± 0.25 |             |",
    ]


def test_a_library_that_fails_is_left_out_and_says_why(capsys):
    found = figures(**{"fast": Process(1, 1, 1, 1, 1), "torch compile": Process(RuntimeError("no compiler"))})
    assert list(found["ms"]) == ["fast"] and found["ratios"] == {}
    assert capsys.readouterr().out == "torch compile is left out: RuntimeError('no compiler')\n"


def test_nothing_of_ours_is_left_out():
    with pytest.raises(ZeroDivisionError):
        figures(fast=Process(ZeroDivisionError()), torch=Process(1))


@pytest.mark.parametrize("wrong", [["--rounds", "2"], ["--longest", "0"], ["--out", "."], ["--fast"]])
def test_wrong_arguments_are_refused(wrong, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        status = cli.main(["bench", *wrong])
    except SystemExit as refused:
        status = refused.code
    assert status == 2 and list(tmp_path.iterdir()) == []


def test_a_race_takes_turns_and_drops_the_first():
    order, clock = [], {"a": iter([9.0, 1.0, 2.0, 3.0]), "b": iter([9.0, 4.0, 4.0, 4.0])}

    def contestant(name):
        order.append(name)
        return next(clock[name])

    found = measure.race({name: lambda name=name: contestant(name) for name in "ab"}, rounds=3)
    assert found == {"a": [1500.0, 2000.0, 2500.0], "b": [4000.0] * 3} and order == list("abababab")


def test_a_slow_race_ends_after_some_turns():
    turns = []
    measure.race({"slow": lambda: turns.append(0) or 1.0}, rounds=100, enough=0.0)
    assert len(turns) == 4


def test_seconds_are_those_of_the_median_run_of_as_many_as_fill_a_time(monkeypatch):
    ticks = iter([0.0, 1.0, 10.0, 14.0, 20.0, 22.0, 30.0, 39.0])
    monkeypatch.setattr(measure.time, "perf_counter", lambda: next(ticks))
    runs = []
    assert measure.seconds(lambda: runs.append(0), fill=7.0) == 2.0 and len(runs) == 3
    assert measure.seconds(lambda: runs.append(0)) == 9.0 and len(runs) == 4


@pytest.mark.parametrize("kind", ["softmax", "diff_v1", "dgsa"])
def test_models_of_one_race_have_equal_parameters_and_key_width(kind):
    cfg, dgsa = (bench.language_model(k, *bench.STEPS[0])[-1] for k in (kind, "dgsa"))
    assert abs(count_parameters(cfg) / count_parameters(dgsa) - 1) < 0.005
    assert cfg.sizes["d"] == dgsa.sizes["d"] and dgsa.F == bench.ModelConfig(width=64, n_heads=4).F


@pytest.mark.parametrize("kind", TILED_KINDS)
def test_the_head_that_is_timed_has_the_sizes_that_are_said(kind):
    B, H, T, d = TINY_HEAD
    run = bench.head(kind, "tiled", *TINY_HEAD)
    heads = dict(zip(run.__code__.co_freevars, run.__closure__, strict=True))["heads"].cell_contents
    shapes = [a.shape for a in heads]
    keys = H if kind in ("dgsa", "diff_v1") else 2 * H
    assert shapes[0] == (B, keys, T, d)
    run()


@pytest.mark.parametrize("cores", [1, 3])
def test_the_products_are_those_of_the_step(cores, monkeypatch):
    """Counted in multiplications against a formula of the model's sizes."""
    B, T, C, H, depth = TINY_STEP
    shards = []
    monkeypatch.setattr(bench, "cores", lambda: cores)
    monkeypatch.setattr(bench, "_multiply", shards.append)
    bench.products(*TINY_STEP)()
    found = sum(x.size * W.shape[-1] for triples in shards for x, W, *_ in triples)
    params, *_ = bench.language_model("dgsa", *TINY_STEP)
    weights = sum(W.size for name, W in flatten(params).items() if W.ndim == 2 and "embed" not in name)
    d = C // (2 * H)
    assert len(shards) == cores and found == B * T * weights + depth * B * H * T * T * (d + d + 2 * d)


def test_each_product_is_followed_by_those_of_its_backward():
    x, W = (np.random.default_rng(i).standard_normal((5, 5)) for i in range(2))
    y, dx, dW = (np.empty((5, 5)) for _ in range(3))
    bench._multiply([(x, W, y, dx, dW)])
    assert (y == x @ W).all() and (dx == y @ W.T).all() and (dW == x.T @ y).all()


def test_memory_is_that_of_the_arrays():
    assert measure.peak(lambda: np.ones(2**20)) == pytest.approx(8, rel=0.01)


def in_process(function, *args):
    """In a process of its own: what libraries start and set stays there."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(function, *args).result()


def computed(peer):
    """Loss and gradients of the tiny step, in NumPy, by dotted names."""
    loss, grads = bench.peer("step", peer, 1, *TINY_STEP)()
    return np.asarray(loss), {name: np.asarray(g) for name, g in grads.items()}


def trained(peer):
    """The losses of two training steps."""
    run = bench.peer("train", peer, 1, *TINY_STEP)
    return run().item(), run().item()


def need(library):
    if not find_spec(library):
        pytest.skip(f"{library} is not installed: pip install 'dgsa-np[peers]'")


def differs(a, b):
    """The largest difference, in parts of the largest entry; small gradients count as 1e-3."""
    return abs(a - b).max() / max(abs(b).max(), 1e-3)


COMPILER = which(os.environ.get("CXX", "g++")) and Path(get_path("include"), "Python.h").exists()
no_compiler = pytest.mark.skipif(not COMPILER, reason="torch compile needs g++ and the headers of Python")
COMPILED = pytest.param("torch compile", marks=[pytest.mark.torture, no_compiler])  # a minute and more


@pytest.mark.peers
@pytest.mark.parametrize("peer", ["torch eager", "torch fused", COMPILED, "jax", "autograd"])
def test_a_lean_model_computes_the_same_loss_and_gradients(peer):
    need(peer.split()[0])
    params, tokens, targets, cfg = bench.language_model("dgsa", *TINY_STEP)
    loss, grads = loss_and_grads(params, tokens, targets, cfg)
    their_loss, theirs = in_process(computed, peer)
    assert differs(their_loss, loss) < 1e-6 and theirs.keys() == flatten(grads).keys()
    for name, g in flatten(grads).items():
        assert theirs[name].dtype == g.dtype and differs(theirs[name], g) < 1e-5, name


@pytest.mark.peers
def test_a_training_step_of_pytorch_goes_as_far_as_ours():
    """But for the decay, which moves gains and biases too, by 1e-5."""
    need("torch")
    run = bench.fast("train", "dgsa", *TINY_STEP)
    first, second = (run()[0].item() for _ in range(2))
    assert in_process(trained, "torch eager") == pytest.approx((first, second), rel=1e-6)
    assert first - second > 1e-3


def test_the_fast_step_that_races_computes_the_same_loss():
    params, tokens, targets, cfg = bench.language_model("dgsa", *TINY_STEP)
    loss, _ = loss_and_grads(params, tokens, targets, cfg)
    assert bench.fast("gradients", "dgsa", *TINY_STEP)() == pytest.approx(loss, rel=1e-6)
