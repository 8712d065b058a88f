"""The package's side of the comparison with PyTorch, and the comparison itself.

The cases, and what PyTorch said of them, are those of make_golden.py.
"""

import numpy as np
import pytest

from dgsa_np import attention, losses, model, ops
from dgsa_np.attention.mechanisms import MECHANISMS
from dgsa_np.params import flatten
from support.make_golden import TOLERANCE, load, nest

VACUOUS = 1e-6  # a reference below this would agree with almost anything
CONFIGS = {"attention": attention.AttentionConfig, "model": model.ModelConfig, "loss": model.ModelConfig}
HOMES = {"attention": attention, "cross_entropy": losses, "model": model}
HEADS = {row.head.forward.__name__: row.head for row in MECHANISMS.values()}


def run(case):
    """{"out": ..., "grad.x": ..., "grad.p.W_q":
    ...} by the package, named as in make_golden.evaluate.
    """
    if case.spec["function"] == "loss":
        out, grads = model.loss_and_grads(**arguments(case))
        return {"out": out} | flatten({"grad": {"params": grads}})
    forward, backward = pair(case.spec["function"])
    out, cache = forward(**arguments(case))
    grads = backward(cache) if case.upstream is None else backward(case.upstream, cache)
    return {"out": out} | flatten({"grad": name_gradients(case, grads)})


def pair(function):
    if f"{function}_forward" in HEADS:
        return HEADS[f"{function}_forward"]
    home = HOMES.get(function, ops)
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


def compare(got, want, zero=()):
    """The same names, and under each shape, dtype and numbers;
    zero lists what vanishes by construction.
    """
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


def need_torch():
    reason = "torch is not installed: pip install 'dgsa-np[peers]'"
    pytest.importorskip("torch", reason=reason, exc_type=ImportError)


def assert_golden(name):
    """What the package computes for a case is what PyTorch said of it."""
    case, want = load(name)
    compare(run(case), want, case.spec.get("zero", ()))
