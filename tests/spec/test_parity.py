"""The package against PyTorch: every output and every gradient, to 1e-12 of its largest entry.

A gradient check cannot see a wrong forward whose backward agrees with it. This can: torch_peer.py was written
from the equations alone, and autograd differentiates it. What it said is in golden/, so that torch is not
needed; where torch is there, it is asked again, live, with other numbers.
"""

from functools import cache

import numpy as np
import pytest
from support.make_golden import GOLDEN, TOLERANCE, cases, evaluate, load, main, nest

from dgsa_np import attention, losses, model, ops
from dgsa_np.params import flatten

NAMES = [case.name for case in cases()]
drawn = cache(lambda seed: {case.name: case for case in cases(seed)})
SEEDS = (1, 2, 3)
VACUOUS = 1e-6  # a reference below this would agree with almost anything
CONFIGS = {"attention": attention.AttentionConfig, "model": model.ModelConfig, "loss": model.ModelConfig}
HOMES = {"attention": attention, "cross_entropy": losses, "model": model}


# ---------------------------------------------------------------------------------- our side of it


def run(case):
    """{"out": ..., "grad.x": ..., "grad.p.W_q": ...} by the package, named as in make_golden.evaluate."""
    if case.spec["function"] == "loss":
        out, grads = model.loss_and_grads(**arguments(case))
        return {"out": out} | flatten({"grad": {"params": grads}})
    forward, backward = pair(case.spec["function"])
    out, cache = forward(**arguments(case))
    grads = backward(cache) if case.upstream is None else backward(case.upstream, cache)
    return {"out": out} | flatten({"grad": name_gradients(case, grads)})


def pair(function):
    home = HOMES.get(function, attention if function.endswith("_head") else ops)
    return getattr(home, f"{function}_forward"), getattr(home, f"{function}_backward")


def arguments(case):
    keywords = nest(case.inputs) | case.spec.get("options", {})
    if case.spec["function"] in CONFIGS:
        keywords["cfg"] = CONFIGS[case.spec["function"]](**case.spec["config"])
    return keywords


def name_gradients(case, grads):
    """An op returns gradients in argument order, a layer (dx, grads), a model grads."""
    if case.spec["function"] == "attention":
        return dict(zip(("x", "p"), grads, strict=True))
    if case.spec["function"] == "model":
        return {"params": grads}
    names = [name for name, a in case.inputs.items() if a.dtype.kind == "f"]
    return dict(zip(names, grads if isinstance(grads, tuple) else (grads,), strict=True))


# ------------------------------------------------------------------------------------ the comparison


def compare(got, want, zero=()):
    """The same names, and under each shape, dtype and numbers; zero lists what vanishes by construction."""
    assert got.keys() == want.keys()
    for name in want:
        compare_arrays(name, got[name], want[name], name in zero)


def compare_arrays(name, got, want, zero=False):
    assert got.shape == want.shape, f"{name}: shape {got.shape}, expected {want.shape}"
    assert got.dtype == want.dtype, f"{name}: dtype {got.dtype}, expected {want.dtype}"
    size = np.abs(want).max()
    if zero:
        assert size == 0, f"{name}: the reference should vanish, but holds {size}"
        assert not got.any(), f"{name}: should vanish, but holds {np.abs(got).max()}"
        return
    assert size > VACUOUS, f"{name}: the reference is all but zero, {size}: nothing is tested"
    error = np.abs(got - want).max() / size
    if not (error <= TOLERANCE):  # written so that nan fails, too
        pytest.fail(f"{name}: off by {error:.1e} of the largest entry")


# ----------------------------------------------------------------------------------------- the tests


@pytest.mark.parametrize("name", NAMES)
def test_golden(name):
    case, want = load(name)
    compare(run(case), want, case.spec.get("zero", ()))


def test_golden_files_and_cases_are_the_same():
    assert {file.stem for file in GOLDEN.glob("*.npz")} == set(NAMES)
    assert len(NAMES) == len(set(NAMES))
    for case in cases():
        stored, _ = load(case.name)
        assert stored.spec == case.spec
        assert {n: a.shape for n, a in stored.inputs.items()} == {n: a.shape for n, a in case.inputs.items()}


def need_torch():
    reason = "torch is not installed: pip install 'dgsa-np[peers]'"
    pytest.importorskip("torch", reason=reason, exc_type=ImportError)


@pytest.mark.peers
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", NAMES)
def test_live(name, seed):
    need_torch()
    case = drawn(seed)[name]
    compare(run(case), evaluate(case), case.spec.get("zero", ()))


@pytest.mark.peers
def test_golden_files_are_what_torch_computes_now():
    need_torch()
    assert main(["--check"]) == 0


@pytest.mark.parametrize(
    "got, want",
    [
        (np.ones(3) + 1e-11, np.ones(3)),  # a difference
        (np.array([1.0, np.nan]), np.ones(2)),
        (np.ones(2), np.array([1.0, np.nan])),
        (np.ones((1, 3)), np.ones(3)),  # would broadcast
        (np.ones(3, "float32"), np.ones(3)),
        (np.zeros(3), np.full(3, 1e-9)),  # vacuous
        (np.zeros(3), np.zeros(3)),  # vacuous, and not announced
    ],
)
def test_the_comparison_fails(got, want):
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        compare_arrays("x", got, want)


@pytest.mark.parametrize("got, want", [(1e-300, 0.0), (np.nan, 0.0), (0.0, 1e-300)])
def test_the_comparison_fails_where_zero_is_announced(got, want):
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        compare_arrays("x", np.full(3, got), np.full(3, want), zero=True)


def test_the_comparison_fails_on_names():
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        compare({"out": np.ones(3)}, {"out": np.ones(3), "grad.x": np.ones(3)})
