"""Runs that survive: killed, interrupted, resumed, refused."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from support.runs import assert_same, break_at, flags, run_whole
from support.tiers import most_later

from dgsa_np.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from dgsa_np.fast import choose_step
from dgsa_np.gradcheck import same_bits
from dgsa_np.lab import runs
from dgsa_np.lab.cli import main
from dgsa_np.lab.settings import SettingsError, settle
from dgsa_np.params import flatten, zeros_like
from dgsa_np.train import NonFiniteError, first_state, train_steps


@pytest.fixture(params=most_later(["vision", "text", "lm"], now=["vision"]))
def given(request, sources):
    """Settings of a tiny run, one per task."""
    small = {"width": 16, "n_heads": 2, "depth": 1, "device": "cpu", "seed": 3, "epochs": 2, "batch_size": 16}
    return (
        small
        | {
            "vision": {"data": "digits", "batch_size": 128},
            "text": {"data": "rt-polarity", "root": str(sources), "length": 10, "min_count": 1},
            "lm": {"data": "text", "root": str(sources / "text.txt"), "length": 16, "threads": 2},
        }[request.param]
    )


def test_a_run_that_broke_off_and_goes_on_equals_one_that_did_not(given, tmp_path, monkeypatch):
    run_whole(tmp_path / "whole", given)
    n = len((tmp_path / "whole/metrics.jsonl").read_text().splitlines()) - given["epochs"]
    made = settle(given)
    held = runs.begin(tmp_path / "cut", *made)
    for every, at in ((0.0, n // 3), (0.0, n // 3), (1e9, 1)):  # saving after every step, or never
        with monkeypatch.context() as patch:
            break_at(patch, at)
            with pytest.raises(SystemExit):
                runs.follow(tmp_path / "cut", *made[1:], held, every)
        held, *made = runs.reopen(tmp_path / "cut", {})
    assert 0 < held["state"]["optimizer"]["step"] < n
    runs.follow(tmp_path / "cut", *made[1:], held)
    assert_same(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.parametrize("step", most_later(["auto", "plain"], now=["auto"]))
def test_every_part_of_the_state_matters(step, given):
    """The test above would fail if one of them were not saved."""
    made = settle(given | {"step": step})
    steps = taken(made, first_state(*made[1:3]))
    state = [next(steps)[0] for _ in range(2)][-1]
    expected = json.dumps([(step, epoch) for _, step, epoch in steps])
    assert run_on(made, state) == expected
    spoilt = {
        "m": {"optimizer": state.optimizer | {"m": zeros_like(state.optimizer["m"])}},
        "v": {"optimizer": state.optimizer | {"v": zeros_like(state.optimizer["v"])}},
        "step": {"optimizer": state.optimizer | {"step": 0}},
        "rng": {"rng": np.random.default_rng(99).bit_generator.state},
        "batch": {"batch": 0},
        "loss_sum": {"loss_sum": 0},
    }
    for part, changed in spoilt.items():
        assert run_on(made, state._replace(**changed)) != expected, part


def taken(made, state):
    return train_steps(*made[1:], state, choose_step(*made[1:3]))


def run_on(made, state):
    """The records of the steps that follow, as text."""
    return json.dumps([(step, epoch) for _, step, epoch in taken(made, state)])


@pytest.mark.slow
def test_kill_9_at_a_random_moment(given, tmp_path):
    run_whole(tmp_path / "whole", given)
    command = [sys.executable, "-m", "dgsa_np", "train", "--out", str(tmp_path / "cut"), "--save-every", "0"]
    process = subprocess.Popen(command + flags(given), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (tmp_path / "cut/metrics.jsonl").exists() or (tmp_path / "cut/metrics.jsonl").stat().st_size < 200:
        time.sleep(0.01)
        assert process.poll() is None or (tmp_path / "cut/metrics.jsonl").exists()
    process.kill()
    process.wait()
    held, *made = runs.reopen(tmp_path / "cut", {})
    runs.follow(tmp_path / "cut", *made[1:], held)
    assert_same(tmp_path / "whole", tmp_path / "cut")
    assert [p.name for p in (tmp_path / "cut").iterdir() if p.name.startswith(".")] == []


@pytest.mark.slow
def test_ctrl_c_ends_the_step_saves_and_exits_130(given, tmp_path, capsys):
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "dgsa_np", "train", "--out", str(folder), *flags(given | {"epochs": 500})]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (folder / "metrics.jsonl").exists() or not (folder / "checkpoint.npz").exists():
        time.sleep(0.02)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Stopping after this step" in said and f"--resume {folder}" in said and "Traceback" not in said
    held = runs.open_run(folder)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert sum("step" in line for line in lines) == held["state"]["optimizer"]["step"]
    assert {p.name for p in folder.iterdir()} <= {"config.json", "metrics.jsonl", "checkpoint.npz", "best.npz"}


def test_a_second_ctrl_c_aborts_and_leaves_the_handler_as_it_was():
    before = signal.getsignal(signal.SIGINT)  # ignored, where the tests run in the background
    with pytest.raises(KeyboardInterrupt), runs.Stop() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.asked
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_broken_number_leaves_the_last_good_checkpoint(tmp_path, capsys):
    out = tmp_path / "run"
    settings = ["--width", "16", "--depth", "1", "--epochs", "3", "--device", "cpu", "--save-every", "0"]
    assert main(["train", "--out", str(out), *settings, "--lr", "1e30", "--clip", "1e30", "--warmup", "0.9"]) == 1
    assert "try a smaller lr" in capsys.readouterr().err
    params = runs.open_run(out)["state"]["params"]
    assert all(np.isfinite(a).all() for a in flatten(params).values())


def test_resume_refuses_another_configuration_and_names_the_key(tmp_path, sources, capsys):
    given = {"data": "text", "root": str(sources / "text.txt"), "length": 16, "width": 16, "depth": 1, "epochs": 1}
    out = tmp_path / "run"
    assert main(["train", "--out", str(out), *flags(given)]) == 0
    assert main(["train", "--resume", str(out), "--epochs", "2", "--kind", "softmax"]) == 2
    said = capsys.readouterr().err
    assert "kind is 'softmax', not 'dgsa'" in said and "epochs is 2, not 1" in said
    config = json.loads((out / "config.json").read_text())
    config["settings"]["lr"] = 0.5
    (out / "config.json").write_text(json.dumps(config))
    assert main(["train", "--resume", str(out)]) == 2
    assert "in config.json: lr is 0.5, not 0.003" in capsys.readouterr().err


def test_a_run_with_its_gate_on_inhibition_goes_on_and_is_evaluated(given, tmp_path, capsys):
    out = str(tmp_path)
    run_whole(tmp_path, given | {"gate_on": "inhibition"})
    assert main(["train", "--resume", out, "--gate-on", "inhibition"]) == 0
    result = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])["result"]
    capsys.readouterr()
    assert main(["evaluate", out, "--corruption", "none"]) == 0
    assert f"loss {result['test, last (1)']['loss']:.4f} nats" in capsys.readouterr().out
    assert main(["train", "--resume", out, "--gate-on", "both"]) == 2
    assert "gate_on is 'both', not 'inhibition'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_from_before_a_setting_came_goes_on_as_it_was(given, tmp_path, monkeypatch):
    run_whole(tmp_path / "whole", given)
    with monkeypatch.context() as stopped, pytest.raises(SystemExit):
        break_at(stopped, 2)
        run_whole(tmp_path / "old", given)
    held = load_checkpoint(tmp_path / "old/checkpoint.npz")
    config = json.loads((tmp_path / "old/config.json").read_text())
    for name, value in {"gate_on": "both", "step": "auto", "capture": False}.items():
        assert held["settings"].pop(name) == config["settings"].pop(name) == value
    save_checkpoint(tmp_path / "old/checkpoint.npz", held)
    (tmp_path / "old/config.json").write_text(json.dumps(config))
    held, _, *made = runs.reopen(tmp_path / "old", {})
    held = runs.follow(tmp_path / "old", *made, held)
    whole = load_checkpoint(tmp_path / "whole/checkpoint.npz")
    here, there = flatten(held["state"]["params"]), flatten(whole["state"]["params"])
    assert all(same_bits(a, there[name]) for name, a in here.items())
    assert main(["evaluate", str(tmp_path / "old"), "--corruption", "none"]) == 0


@pytest.mark.slow
def test_a_run_may_go_on_by_the_other_step(given, tmp_path, monkeypatch, capsys):
    """It computes the same, up to rounding."""
    run_whole(tmp_path / "whole", given)
    with monkeypatch.context() as stopped, pytest.raises(SystemExit):
        break_at(stopped, 2)
        run_whole(tmp_path / "cut", given)
    assert main(["train", "--resume", str(tmp_path / "cut"), "--step", "plain"]) == 0
    assert "\nstep       plain\n" in capsys.readouterr().out
    found, expected = (
        flatten(load_checkpoint(tmp_path / name / "checkpoint.npz")["state"]["params"]) for name in ("cut", "whole")
    )
    for name, a in expected.items():
        np.testing.assert_allclose(found[name], a, atol=1e-4, err_msg=name)


def test_resume_refuses_data_that_changed(tmp_path, sources):
    text = tmp_path / "text.txt"
    text.write_text((sources / "text.txt").read_text())
    given = {"data": "text", "root": str(text), "length": 16, "width": 16, "depth": 1, "epochs": 1, "device": "cpu"}
    run_whole(tmp_path / "run", given)
    text.write_text(text.read_text() + " one more")
    with pytest.raises(SettingsError, match="the data differ from those of the run: sha256"):
        runs.reopen(tmp_path / "run", {})


@pytest.mark.slow
def test_a_finished_run_is_only_evaluated_again(tmp_path, capsys):
    out, settings = tmp_path / "run", ["--width", "16", "--depth", "1", "--epochs", "1", "--device", "cpu"]
    assert main(["train", "--out", str(out), *settings]) == 0
    metrics = (out / "metrics.jsonl").read_text()
    assert main(["train", "--resume", str(out)]) == 0
    assert (out / "metrics.jsonl").read_text() == metrics


def test_a_checkpoint_of_another_kind_is_refused(tmp_path):
    save_checkpoint(tmp_path / "checkpoint.npz", {"weights": np.ones(3)})
    words = "a checkpoint of another kind: it lacks settings, dataset, state, best and has weights too many"
    with pytest.raises(CheckpointError, match=words):
        runs.open_run(tmp_path)
    with pytest.raises(CheckpointError, match="there is no such file"):
        runs.open_run(tmp_path / "nowhere")


def test_the_state_before_the_first_step_is_saved(tmp_path):
    made = settle({"width": 16, "depth": 1, "device": "cpu"})
    held = runs.begin(tmp_path / "run", *made)
    assert held["state"]["optimizer"]["step"] == 0
    assert runs.open_run(tmp_path / "run")["settings"] == held["settings"]


def test_a_non_finite_loss_is_told_by_its_step_on_resume_too(given):
    made = settle(given)
    state, _, _ = next(taken(made, first_state(*made[1:3])))
    for a in flatten(state.params).values():
        a[...] = np.nan
    with pytest.raises(NonFiniteError, match="step 1: loss nan"):
        next(taken(made, state))
