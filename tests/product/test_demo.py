"""The demo in small, and findings that follow the numbers."""

import json

import numpy as np
import pytest

from dgsa_np.lab import demo as demo_module
from dgsa_np.lab.experiments import run_baselines
from dgsa_np.train import TrainConfig


@pytest.mark.slow
def test_the_demo_in_small(tmp_path, digits, monkeypatch):
    monkeypatch.setattr(demo_module, "MODEL", demo_module.MODEL | {"width": 16, "depth": 1, "n_heads": 2})
    text = demo_module.demo(tmp_path, seeds=(0, 1), train=TrainConfig(epochs=1, device="cpu"), jobs=1)
    results = json.loads((tmp_path / "results.json").read_text())
    assert list(results["accuracy"]) == ["softmax", "diff_v1", "dgsa", "logistic regression", "nearest neighbour"]
    assert np.shape(results["accuracy"]["dgsa"]["blur"]) == (2, 6)
    assert "a trivial baseline beats every transformer here" in text  # after one epoch it must
    pixels = digits.train.inputs.astype("float64")
    for model in results["models"].values():
        m, s = model["pixel_mean"], model["pixel_deviation"]
        assert model["standardise"] == "data" and np.allclose((m, s), (pixels.mean(), pixels.std()), rtol=0, atol=1e-6)
    for run in run_baselines(digits, prepare=lambda x: (x - m) / s):  # as the transformers see them
        assert results["accuracy"][run.name] == {corruption: [levels] for corruption, levels in run.accuracy.items()}
    assert {p.name for p in tmp_path.iterdir()} == {
        "accuracy.png",
        "maps.png",
        "training.png",
        "findings.md",
        "results.json",
    }


def test_findings_follow_the_numbers():
    def score(clean, corrupted):
        scores = {c: np.asarray(corrupted, float) for c in (*demo_module.CORRUPTIONS["vision"], "all corruptions")}
        return {"clean": np.asarray(clean, float)} | scores

    scores = {
        "softmax": score([0.90, 0.91, 0.90], [0.5, 0.5, 0.5]),
        "diff_v1": score([0.99, 0.90, 0.95], [0.6, 0.5, 0.5]),
        "dgsa": score([0.80, 0.81, 0.80], [0.6, 0.6, 0.6]),
        "nearest neighbour": score([0.98], [0.4]),
    }
    said = demo_module.findings(scores)
    assert "On clean digits dgsa is 10.0 points below softmax" in said and "more than chance" in said
    assert "which chance between seeds can explain" in said
    assert "the best of all is dgsa with 60.0 %." in said
