"""`dgsa-np train`: the run folder that it writes, its settings and its help."""

import json

import numpy as np
import pytest
from support.commands import assert_parts_add_up, flags, say
from support.tiers import most_later

from dgsa_np.attention import KINDS
from dgsa_np.lab.cli import main

QUICK = ["--epochs", "1", "--width", "16", "--depth", "1", "--device", "cpu"]


def test_train_writes_a_whole_run_folder(tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["train", *QUICK, "--kind", "diff_v1", "--out", str(out)]) == 0
    config = json.loads((out / "config.json").read_text())
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    settings = config["settings"]
    assert (settings["data"], settings["kind"], settings["epochs"], settings["seed"]) == ("digits", "diff_v1", 1, 0)
    assert len(config["data_sha256"]) == 64 and config["host"]["numpy"] == np.__version__
    assert len(lines) == 1257 // 64 + 1 + 1
    assert 0 <= lines[-1]["result"]["test, last (0)"]["accuracy"] <= 1
    assert (out / "training.png").stat().st_size > 10_000
    said = capsys.readouterr().out
    assert "cpu (NumPy" in said and "parameters" in said and "test, best (0)" in said


def test_an_existing_folder_is_never_overwritten(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("precious")
    status, _, said = say(["train", *QUICK, "--out", str(tmp_path)], capsys)
    assert status == 2 and "exists already, expected a new folder" in said.splitlines()[-1]
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("kind", most_later(KINDS, now=["dgsa"]))
@pytest.mark.parametrize("name", ["text", "rt-polarity"])
def test_every_kind_trains_on_every_kind_of_text(name, kind, sources, tmp_path, capsys):
    status, said, _ = say(["train", *flags(name, sources), "--kind", kind, "--out", tmp_path / "run"], capsys)
    assert status == 0
    assert_parts_add_up(said)
    assert f"{kind}, " in said and "sha256" in said and "test, best" in said
    assert json.loads((tmp_path / "run/config.json").read_text())["settings"]["kind"] == kind


@pytest.mark.slow
def test_settings_come_from_a_file_and_flags_after_it(sources, tmp_path, capsys):
    config = {"data": "text", "root": str(sources / "text.txt"), "length": 16, "width": 16, "depth": 1, "epochs": 1}
    (tmp_path / "config.json").write_text(json.dumps(config | {"lr": 1, "lambda_init": None, "rotary": True}))
    argv = ["train", "--config", tmp_path / "config.json", "--lr", "0.002", "--out", tmp_path / "one"]
    assert say(argv, capsys)[0] == 0
    settings = json.loads((tmp_path / "one/config.json").read_text())["settings"]
    assert (settings["lr"], settings["width"], settings["rotary"], settings["epochs"]) == (0.002, 16, True, 1)
    again = ["train", "--config", tmp_path / "one/config.json", "--out", tmp_path / "two"]
    assert say(again, capsys)[0] == 0
    one, two = ((tmp_path / run / "metrics.jsonl").read_text() for run in ("one", "two"))
    assert one == two


def test_help_gives_meaning_choices_and_defaults(capsys):
    status, said, _ = say(["train", "--help"], capsys)
    assert status == 0
    for words in (", ".join(KINDS), "at the top of the schedule", "(default: dgsa)", "--resume RUN"):
        assert words in " ".join(said.split())
