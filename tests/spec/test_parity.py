"""The package against PyTorch: every output and every gradient, to 1e-12 of its largest entry.

A gradient check cannot see a wrong forward whose backward agrees with it. This can: torch_peer.py
was written from the equations alone, and autograd differentiates it. What it said is in golden/, so
that torch is not needed; where torch is there, it is asked again, live, with other numbers.
"""

import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from support.commands import output
from support.make_golden import GOLDEN, cases, evaluate, load
from support.parity import assert_golden, compare, compare_arrays, need_torch, run

from dgsa_np.attention import KINDS
from dgsa_np.attention.mechanisms import MECHANISMS

NAMES = [case.name for case in cases()]
drawn = cache(lambda seed: {case.name: case for case in cases(seed)})
ROOT = Path(__file__).parents[2]
SEEDS = (1, 2, 3)
WRITE = "tests/support/make_golden.py, which writes tests/support/golden"


@pytest.mark.parametrize("name", NAMES)
def test_golden(name):
    assert_golden(name)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_its_cases(kind):
    head = MECHANISMS[kind].head.forward.__name__.removesuffix("_forward")
    for start, place in ((f"{head}_", "HEADS"), (f"attention_{kind}_", "PROJECTIONS")):
        assert any(name.startswith(start) for name in NAMES), f"add {start}.. to {place} of {WRITE}"


def test_golden_files_and_cases_are_the_same():
    assert {file.stem for file in GOLDEN.glob("*.npz")} == set(NAMES), f"run {WRITE}"
    assert len(NAMES) == len(set(NAMES))
    for case in cases():
        stored, _ = load(case.name)
        assert stored.spec == case.spec
        assert {n: a.shape for n, a in stored.inputs.items()} == {n: a.shape for n, a in case.inputs.items()}


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
    output(sys.executable, ROOT / "tests/support/make_golden.py", "--check")


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
