"""`info --check`: right on a device that computes rightly, and wrong on one that does not."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from support import strict_cupy

from dgsa_np import model
from dgsa_np.backend import DeviceError, resolve_device
from dgsa_np.lab import cli, selfcheck
from dgsa_np.lab.cli import main

ROWS = [
    "every pair, float64",
    "every pair, float32",
    "a step of every kind, float64",
    "the same bits again",
    "reads within a step",
    "memory",
    "training",
]
QUICK = {"seeds": 2, "busy": (1, 8)}


@pytest.fixture
def quick(monkeypatch):
    """Few repeats, one epoch, little to keep the device busy;
    two seeds, whose median swings by more than 2.
    """
    monkeypatch.setattr(selfcheck, "RATIO", 8.0)
    monkeypatch.setattr(selfcheck, "REPEATS", 3)
    monkeypatch.setattr(selfcheck, "EPOCHS", 1)
    monkeypatch.setattr(cli, "self_check", partial(selfcheck.self_check, **QUICK))
    with strict_cupy.installed():
        yield


@pytest.mark.slow
def test_the_stand_in_passes_and_it_is_said_what_that_is(quick, capsys):
    assert main(["info", "--check"]) == 0
    said = capsys.readouterr().out
    rows = [line for line in said.splitlines() if line.startswith(("right", "WRONG"))]
    assert len(rows) == len(ROWS)
    assert all(row.startswith(f"right  {name}") for row, name in zip(rows, ROWS, strict=True))
    assert "gpu strict stand-in, compute 0.0, GiB 1.0, tf32 0" in said
    assert f"cupy {strict_cupy.MODULE.__version__}" in said and "This GPU computes what the CPU does." in said


@pytest.mark.torture
def test_single_precision_is_judged_by_a_factor_that_rounding_does_not_reach():
    """Twenty seeds, as `info --check` takes them:
    what sums in another order do stays well below the bar.
    """
    with strict_cupy.installed():
        said, allowed, ok = selfcheck.check_single_precision(selfcheck.SEEDS)
    assert ok and allowed == "2" and 1 <= float(said.split()[0]) < 1.7


def test_a_mask_that_reads_makes_a_language_model_wait_alone(traffic, monkeypatch):
    assert selfcheck.check_waiting(*QUICK["busy"])[-1] is True
    a_mask_that_reads(monkeypatch)
    said, _, right = selfcheck.check_waiting(*QUICK["busy"])
    assert said.endswith(", task lm") and right is False


def test_without_a_gpu_the_cause_is_said(capsys):
    """Not a row, not a verdict: nothing was checked."""
    try:
        resolve_device("cuda")
    except DeviceError as error:
        assert main(["info", "--check"]) == 2
        out, err = capsys.readouterr()
        assert str(error) in err and "right" not in out
    else:
        pytest.skip("a GPU is here")


def change_results(monkeypatch, owner, name, change):
    """What a function of the stand-in returns is changed, in place."""
    exact = getattr(owner, name)

    def changed(*args, **options):
        result = exact(*args, **options)
        result._host[...] = change(result._host)
        return result

    monkeypatch.setattr(owner, name, changed)


def wrong_exp(monkeypatch):
    """A function that is right to nine digits."""
    change_results(monkeypatch, strict_cupy.MODULE, "exp", lambda a: a * (1 + 1e-9))


def rough_exp(monkeypatch):
    """As wrong in float32 as half precision would be."""
    change_results(monkeypatch, strict_cupy.MODULE, "exp", lambda a: a.astype("float16"))


def another_order(monkeypatch):
    """Sums that differ from one time to the next, as those by atomics do."""
    rng = np.random.default_rng(0)

    def shaken(a):
        return a * (1 + np.finfo(a.dtype).eps) if a.dtype.kind == "f" and rng.random() < 0.02 else a

    change_results(monkeypatch, strict_cupy.ndarray, "sum", shaken)


def a_read(monkeypatch):
    real = selfcheck.clip_by_norm

    def clip(grads, most):
        clipped, norm = real(grads, most)
        return clipped, norm * (float(norm) > 0)

    monkeypatch.setattr(selfcheck, "clip_by_norm", clip)


def a_mask_that_reads(monkeypatch):
    """As NumPy's way to make it does on CuPy, in language models alone."""

    def by_windows(T, S, xp):
        return xp.lib.stride_tricks.sliding_window_view(xp.arange(1 - T, S) <= S - T, S)[::-1][None, None]

    monkeypatch.setattr(model, "causal_mask", by_windows)


def a_leak(monkeypatch):
    sizes = iter(range(0, 10**6, 512))
    pool = strict_cupy.MODULE.get_default_memory_pool()
    monkeypatch.setattr(pool, "total_bytes", lambda: next(sizes))


def a_kernel_that_does_not_compile(monkeypatch):
    def fail(*args, **options):
        raise RuntimeError("nvrtc: error: invalid value for --gpu-architecture")

    monkeypatch.setattr(strict_cupy.ufunc, "run", fail)


def a_model_that_learns_nothing(monkeypatch):
    real = selfcheck.TrainConfig
    monkeypatch.setattr(selfcheck, "TrainConfig", lambda **settings: real(lr=1e-9, **settings))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "rows"),
    [
        (wrong_exp, {"every pair, float64", "a step of every kind, float64"}),
        (rough_exp, {"every pair, float32", "every pair, float64", "a step of every kind, float64"}),
        (another_order, {"the same bits again"}),
        (a_read, {"reads within a step"}),
        (a_mask_that_reads, {"reads within a step"}),
        (a_leak, {"memory"}),
        (a_model_that_learns_nothing, {"training"}),
        (a_kernel_that_does_not_compile, set(ROWS)),
    ],
)
def test_what_is_wrong_is_found(fault, rows, quick, monkeypatch, capsys):
    fault(monkeypatch)
    assert main(["info", "--check"]) == 1
    said = capsys.readouterr().out
    assert {name for name in ROWS if f"\nWRONG  {name}" in said} == rows
    assert f"\nWrong: {', '.join(name for name in ROWS if name in rows)}\n" in said


@pytest.mark.slow
@pytest.mark.parametrize("task", ["vision", "lm", "none"])
@pytest.mark.parametrize("fault", ["learns nothing", "has another first loss"])
def test_training_is_checked_of_each_task(task, fault, quick, monkeypatch):
    def train(model, cfg, data, step):
        if model.task == task and fault == "learns nothing":
            cfg = replace(cfg, lr=1e-9)
        elif model.task == task and cfg.device == "cuda":
            model = replace(model, eps=0.1)
        return real(model, cfg, data, step=step)

    real = selfcheck.train
    monkeypatch.setattr(selfcheck, "train", train)
    said, _, right = selfcheck.check_training()
    assert right is (task == "none") and "vision: accuracy" in said and "lm: accuracy" in said
