"""AdamW, SGD, clipping and the schedule are their formulas,
and touch nothing that they are given.
"""

import math
from functools import partial

import numpy as np
import pytest
from support.planting import assert_caught
from support.problems import ODD

from dgsa_np import optim
from dgsa_np.optim import adamw_init, adamw_step, clip_by_norm, global_norm, sgd_step, warmup_cosine
from dgsa_np.params import flatten, zeros_like


def test_adamw_is_the_formula_computed_by_hand():
    p, m, v, lr, decay = 0.7, 0.0, 0.0, 0.1, 0.05
    params, state = {"W": np.array([[p]])}, adamw_init({"W": np.array([[p]])})
    for t, g in enumerate((0.3, -2.0, 1e-3), start=1):
        m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g * g
        p -= lr * (m / (1 - 0.8**t) / (math.sqrt(v / (1 - 0.95**t)) + 1e-8) + decay * p)
        grads = {"W": np.array([[g]])}
        params, state = adamw_step(params, grads, state, lr, (0.8, 0.95), weight_decay=decay)
        numbers = [tree["W"].item() for tree in (params, state["m"], state["v"])]
        assert state["step"] == t and numbers == pytest.approx([p, m, v], rel=1e-14, abs=0)


def test_decay_acts_on_matrices_only():
    params = {"W": np.ones((2, 2)), "table": np.ones((2, 2, 2)), "gain": np.ones(2), "lam": np.ones(())}
    after, _ = adamw_step(params, zeros_like(params), adamw_init(params), lr=0.5, weight_decay=0.1)
    left = {name: float(a.flat[0]) for name, a in after.items()}
    assert left == {"W": 0.95, "table": 0.95, "gain": 1, "lam": 1}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_step_changes_none_of_its_arguments_and_keeps_the_dtype(dtype):
    rng = np.random.default_rng(0)
    params, grads = ({"W": rng.standard_normal((2, 3)).astype(dtype), "b": [np.ones(3, dtype)]} for _ in range(2))
    _, state = adamw_step(params, grads, adamw_init(params), 0.1)
    trees = {"params": params, "grads": grads, "state": {"m": state["m"], "v": state["v"]}}
    before = {name: a.tobytes() for name, a in flatten(trees).items()}
    results = [*adamw_step(params, grads, state, 0.1), sgd_step(params, grads, 0.1)]
    results += [clip_by_norm(grads, 0.1)[0]]
    assert state["step"] == 1 and results[1].pop("step") == 2
    assert {name: a.tobytes() for name, a in flatten(trees).items()} == before
    for tree in results:
        for name, a in flatten(tree).items():
            assert a.dtype == dtype, name
            assert not any(np.shares_memory(a, own) for own in flatten(trees).values()), name


def test_sgd_steps_against_the_gradient():
    after = sgd_step({"W": np.array([1.0, 2.0])}, {"W": np.array([4.0, -8.0])}, 0.25)
    assert after["W"].tolist() == [0.0, 4.0]


def test_clipping_scales_all_gradients_by_one_factor():
    grads = {"a": np.array([3.0, 0.0]), "b": [np.array([[4.0]], "float32")]}
    assert global_norm(grads) == 5
    clipped, norm = clip_by_norm(grads, 1.0)
    assert norm == 5 and global_norm(clipped) == pytest.approx(1, rel=1e-7)
    assert clipped["a"][0] / clipped["b"][0].item() == pytest.approx(0.75, rel=1e-7)
    same, _ = clip_by_norm(grads, 6.0)
    assert np.array_equal(same["a"], grads["a"]) and np.array_equal(same["b"][0], grads["b"][0])


@pytest.mark.parametrize("size", [1e30, 1e-30])  # the square is outside float32
def test_the_norm_of_a_float32_gradient_neither_overflows_nor_vanishes(size):
    assert float(global_norm({"a": np.full(4, size, "float32")})) == pytest.approx(2 * size, rel=1e-6, abs=0)


def test_the_schedule_climbs_to_its_peak_and_falls_to_its_end():
    rates = [warmup_cosine(step, 20, 2.0, 5, final=0.5) for step in range(21)]
    assert rates[0] == pytest.approx(2 / 5) and rates[4] == rates[5] == 2.0 and rates[20] == 0.5
    assert np.diff(rates[:5]) == pytest.approx(0.4) and (np.diff(rates[5:]) < 0).all()
    assert warmup_cosine(0, 20, 2.0, 0) == 2.0 and warmup_cosine(25, 20, 2.0, 5, final=0.5) == 0.5
    assert warmup_cosine(10, 20, 2.0, 0) == pytest.approx(1.0)  # half way: half of the peak


@pytest.mark.parametrize("odd", ODD)
def test_a_gradient_that_is_not_finite_spoils_all_rather_than_vanish(odd):
    clipped, norm = optim.clip_by_norm({"a": np.array([1.0, odd]), "b": np.ones(2, "float32")}, 1.0)
    assert not np.isfinite(norm) and all(np.isnan(g).all() for g in clipped.values())
    assert clipped["b"].dtype == "float32"


# ------------------------------------------------------------------------------------- planted bugs

BUGS = {  # what is wrong: (the test that catches it, the change)
    "AdamW moves the parameters it was given": (
        partial(test_a_step_changes_none_of_its_arguments_and_keeps_the_dtype, "float64"),
        (optim._adamw, "m = b1 * m", "p += 1e-3\n    m = b1 * m"),
    ),
    "AdamW decays gains": (test_decay_acts_on_matrices_only, (adamw_step, "if p.ndim >= 2 else 0.0", "")),
    "AdamW without bias correction": (
        test_adamw_is_the_formula_computed_by_hand,
        (optim._adamw, "m / m_share", "m"),
    ),
}


@pytest.mark.parametrize("name", BUGS)
def test_planted_bugs_are_caught(name):
    assert_caught(*BUGS[name])
