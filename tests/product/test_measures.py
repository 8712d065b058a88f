"""What is measured on maps and gates, on maps whose answers are known."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from support.problems import weighs
from support.training import TINY, planned

from dgsa_np.attention import KINDS
from dgsa_np.attention.mechanisms import MECHANISMS
from dgsa_np.data import load
from dgsa_np.lab.evidence import grid, measures
from dgsa_np.model import ModelConfig


def maps(A):
    return SimpleNamespace(A=np.array(A, float)[None, None])


def test_rejection_and_sign_of_maps_that_are_known():
    uniform = measures.layer(maps(np.full((4, 4), 1 / 4)))
    assert np.isclose(uniform["rejection"], -20 * np.log10(2)) and uniform["negative"] == 0
    assert np.allclose(uniform["row_sum"], [1, 0])
    one_key = measures.layer(maps(np.eye(4)))
    assert np.isclose(one_key["rejection"], 0)  # softmax at its sharpest
    tilted = measures.layer(maps([[1.0, -0.5], [-0.5, 1.0]]))
    assert np.isclose(tilted["negative"], 1 / 3) and np.isclose(tilted["row_sum"][0], 0.5)
    assert np.isclose(tilted["rejection"], 20 * np.log10(np.sqrt(1.25) / 0.5))
    assert measures.layer(maps([[1.0, -1.0], [-1.0, 1.0]]))["rejection"] > 200  # balanced: all that is common goes


def test_padding_plays_no_part_in_a_layers_figures():
    A, keep = [[0.5, 0.5, 0], [0.25, 0.75, 0], [9, -9, -9]], np.array([[True, True, False]])
    padded, plain = measures.layer(maps(A), keep), measures.layer(maps([[0.5, 0.5], [0.25, 0.75]]))
    assert padded == plain


def test_a_gate_that_falls_with_noise_is_seen_to_fall():
    rng = np.random.default_rng(0)
    hit, kept = rng.random((20, 10)) < 0.5, np.ones((20, 10), bool)
    clean = rng.uniform(0.6, 0.9, (20, 10, 3))
    mixed = clean.copy()
    mixed[hit, 0] -= 0.5  # head 0: corrupted tokens have the lower gate; head 1: the higher one; head 2 is blind
    mixed[hit, 1] += 0.5
    told = measures._gates(clean, mixed, kept, hit)
    assert told["auc"][0] == 0 and told["auc"][1] == 1 and abs(told["auc"][2] - 0.5) < 0.15
    assert np.allclose(told["mean"], clean.mean(axis=(0, 1))) and (told["saturated"] == 0).all()
    assert all(np.isclose(h.sum(), 1) for h in told["histogram"][:1])


def test_half_of_the_patches_are_corrupted_and_no_other():
    model, data = ModelConfig(patch_size=2), load("digits")
    inputs, hit = measures.half_corrupted(data.test, model)
    changed = (inputs != data.test.inputs).reshape(-1, 4, 2, 4, 2).any(axis=(2, 4)).reshape(-1, 16)
    assert (changed == hit).all() and (hit.sum(axis=1) == 8).all()


def test_the_gate_of_a_lambda_has_the_same_ratio():
    lam = np.array(0.25)
    gate = measures.gate_of(SimpleNamespace(A=np.zeros((2, 3, 4, 4)), lam=lam))
    assert gate.shape == (2, 3, 4) and np.allclose((1 - gate) / gate, lam)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_measured(kind):
    (settings,) = planned([TINY | {"kind": kind}], reference=TINY)
    record, params = grid.run(settings)
    assert len(record["layers"]) == 1 and len(record["accuracy"]) == 6 and params is not None
    assert (record["gates"] is not None) == weighs(MECHANISMS[kind])
    assert record["accuracy"]["gaussian"][0] == pytest.approx(record["clean"]["accuracy"])
    assert json.loads(json.dumps(record)) == record
    if kind == "softmax":
        assert np.allclose(record["layers"][0]["row_sum"], [1, 0], atol=1e-5) and record["layers"][0]["negative"] == 0
        shared = record["brightness"]["after"][0]
        assert 0 < shared["common"] <= 1 and shared["to_common_mode"] > 0


@pytest.mark.slow
def test_weights_of_the_needle_are_those_of_its_query():
    (settings,) = planned([{"data": "needle", "kind": "softmax", "epochs": 4}])
    record, _ = grid.run(settings)
    on_needle, on_spurious, on_others = record["needle"]["weights"]["A"]
    assert on_needle > 0.5 > on_others  # it has learned to look there
    query_itself = 1 - on_needle - on_spurious - on_others
    assert 0 <= query_itself < 0.5 and record["needle"]["accuracy"]["1"] > 0.9
