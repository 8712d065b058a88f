"""The benchmark: that it measures what it says, on sizes that take no time.
Nothing here asserts a duration.
"""

import json

import numpy as np
import pytest

from dgsa_np.attention.multihead import TILED_KINDS
from dgsa_np.fast import parallel
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


@pytest.mark.slow
def test_it_prints_tables_and_writes_numbers_and_pictures(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench, "find_spec", lambda name: None)
    out = tmp_path / "bench"
    assert cli.main(["bench", "--out", str(out), "--rounds", "3"]) == 0
    assert {p.name for p in out.iterdir()} == {"bench.json", "scaling.png", "profile.png"}
    found = json.loads((out / "bench.json").read_text(encoding="utf-8"))
    said = capsys.readouterr().out
    assert "PyTorch is not installed" in said and "ours / its products" in said and "dgsa / softmax" in said
    races = {title: races for title, races in found.items() if title not in ("machine", "scaling", "profile")}
    assert len(races) == 4 and all(len(by_size) == 1 for by_size in races.values())
    for by_size in races.values():
        for low, median, high in next(iter(by_size.values())).values():
            assert 0 < low <= median <= high
    assert found["scaling"]["T"] == [8, 16, 32] and len(found["scaling"]["tiled"]["MiB"]) == 3
    assert sum(found["profile"].values()) > 0 and list(found["profile"])[-1] == "all others"
    assert found["machine"]["versions"]["numpy"] == np.__version__


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


def test_the_products_are_those_of_the_step(monkeypatch):
    """Counted in multiplications against a formula of the model's sizes."""
    B, T, C, H, depth = TINY_STEP
    monkeypatch.setattr(parallel, "cores", lambda: 1)
    run = bench.products(*TINY_STEP)
    work = dict(zip(run.__code__.co_freevars, run.__closure__, strict=True))["run"].cell_contents
    triples = dict(zip(work.__code__.co_freevars, work.__closure__, strict=True))["triples"].cell_contents
    found = sum(x.size * W.shape[-1] for x, W, _ in triples)
    params, *_ = bench.language_model("dgsa", *TINY_STEP)
    weights = sum(W.size for name, W in flatten(params).items() if W.ndim == 2 and "embed" not in name)
    d = C // (2 * H)
    assert found == B * T * weights + depth * B * H * T * T * (d + d + 2 * d)
    run()


def test_memory_is_that_of_the_arrays():
    assert measure.peak(lambda: np.ones(2**20)) == pytest.approx(8, rel=0.01)


@pytest.mark.peers
def test_lean_pytorch_computes_the_same_loss_and_gradients():
    reason = "torch is not installed: pip install 'dgsa-np[peers]'"
    bench_torch = pytest.importorskip("dgsa_np.lab.bench_torch", reason=reason)
    params, tokens, targets, cfg = bench.language_model("dgsa", *TINY_STEP)
    loss, grads = loss_and_grads(params, tokens, targets, cfg)
    for form in ("eager", "fused"):
        theirs = bench_torch.step(form, *TINY_STEP)()
        for (name, g), their in zip(flatten(grads).items(), theirs, strict=True):
            assert abs(g - their.numpy()).max() < 1e-5 * max(abs(g).max(), 1e-3), (form, name)
