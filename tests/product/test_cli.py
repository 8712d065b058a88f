"""The command line as scripts and newcomers use it."""

import json
from dataclasses import replace

import numpy as np
import pytest

from dgsa_np.lab import demo as demo_module
from dgsa_np.lab.cli import main
from dgsa_np.train import TrainConfig

QUICK = ["--epochs", "1", "--width", "16", "--depth", "1", "--device", "cpu"]


def refuse(argv, capsys):
    """The exit status and the last line of a call that argparse or a command refuses."""
    try:
        status = main(argv)
    except SystemExit as stop:
        status = stop.code
    return status, capsys.readouterr().err.strip().splitlines()[-1]


def test_train_writes_a_whole_run_folder(tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["train", *QUICK, "--kind", "diff_v1", "--out", str(out)]) == 0
    config = json.loads((out / "config.json").read_text())
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    settings = config["settings"]
    assert (settings["data"], settings["kind"], settings["epochs"], settings["seed"]) == ("digits", "diff_v1", 1, 0)
    assert len(config["data_sha256"]) == 64 and config["versions"]["numpy"] == np.__version__
    assert len(lines) == 1257 // 64 + 1 + 1
    assert 0 <= lines[-1]["result"]["test, last (0)"]["accuracy"] <= 1
    assert (out / "training.png").stat().st_size > 10_000
    said = capsys.readouterr().out
    assert "cpu (NumPy" in said and "parameters" in said and "test, best (0)" in said


def test_an_existing_folder_is_never_overwritten(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("precious")
    status, line = refuse(["train", *QUICK, "--out", str(tmp_path)], capsys)
    assert status == 2 and "exists already, expected a new folder" in line
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["train", "--wdith", "3"], "unknown argument --wdith; did you mean '--width'?"),
        (
            ["train", "--kind", "dgsaa"],
            "kind is 'dgsaa', expected one of 'softmax', 'diff_v1', 'dgsa', 'diff_v2', 'output_gate', 'twicing'; did"
            " you mean 'dgsa'?",
        ),
        (["train", "--width", "30"], "width is 30, expected a multiple of 2 n_heads = 8"),
        (["train", "--epochs", "many"], "invalid int value: 'many'"),
        (["train", "--patch-size", "3"], "image_size is 8, expected a multiple of patch_size = 3"),
        (["train", "--device", "tpu"], "device is 'tpu', expected one of 'auto', 'cpu', 'cuda'"),
        (["train", "--head-norm", "perhaps"], "'perhaps', expected true or false"),
        (["demo", "--seeds", "0"], "expected a whole number of at least 1"),
        (["dmeo"], "invalid choice: 'dmeo'"),
        ([], "required: COMMAND"),
    ],
)
def test_wrong_use_is_told_in_one_line(argv, words, capsys):
    status, line = refuse(argv, capsys)
    assert status == 2 and words in line


def test_info_tells_versions_devices_and_parameters(capsys):
    assert main(["info", "--kind", "softmax"]) == 0
    said = capsys.readouterr().out
    assert f"NumPy {np.__version__}" in said and "197,130 parameters" in said


def test_gradcheck_fails_loudly_on_a_wrong_gradient(monkeypatch, capsys):
    from dgsa_np import ops
    from dgsa_np.lab import cases

    wrong = cases.Case(
        "silu", "", ops.silu_forward, lambda dy, cache: -ops.silu_backward(dy, cache), (np.ones((2, 3)),), {}
    )
    monkeypatch.setattr(cases, "all_cases", lambda seed: [wrong, wrong._replace(backward=ops.silu_backward)])
    assert main(["gradcheck"]) == 1
    said = capsys.readouterr().out
    assert "the sign is wrong" in said and "Wrong: 1 pairs." in said
    monkeypatch.setattr(cases, "all_cases", lambda seed: [wrong._replace(backward=ops.silu_backward)])
    assert main(["gradcheck"]) == 0


@pytest.mark.slow
def test_the_demo_in_small(tmp_path, digits, monkeypatch):
    monkeypatch.setattr(demo_module, "MODEL", replace(demo_module.MODEL, width=16, depth=1, n_heads=2))
    text = demo_module.demo(tmp_path, seeds=(0, 1), train=TrainConfig(epochs=1, device="cpu"), jobs=1)
    results = json.loads((tmp_path / "results.json").read_text())
    assert list(results["accuracy"]) == ["softmax", "diff_v1", "dgsa", "logistic regression", "nearest neighbour"]
    assert np.shape(results["accuracy"]["dgsa"]["blur"]) == (2, 6)
    assert "a trivial baseline beats every transformer here" in text  # after one epoch it must
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
