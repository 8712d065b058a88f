"""`dgsa-np evaluate`: what it says of a run, what it writes, and the data that it finds."""

import json

import pytest
from support.commands import say


def test_evaluate_shows_levels_beside_baselines_and_writes_them(trained, tmp_path, capsys):
    argv = ["evaluate", trained / "rt-polarity", "--baselines", "--out", tmp_path / "e"]
    status, said, _ = say(argv, capsys)
    results = json.loads((tmp_path / "e/results.json").read_text())
    assert status == 0 and said.count("| naive Bayes") == 3 and said.count("| dgsa") == 3
    assert list(results["accuracy"]) == ["dgsa", "naive Bayes"]
    assert results["accuracy"]["dgsa"]["deletion"][0] == pytest.approx(results["clean"]["accuracy"])
    assert (tmp_path / "e/accuracy.png").stat().st_size > 10_000
    assert say(argv, capsys)[0] == 2  # the folder exists


def test_evaluate_takes_one_corruption_none_or_the_best_state(trained, capsys):
    status, said, _ = say(["evaluate", trained / "digits", "--corruption", "blur", "--checkpoint", "best"], capsys)
    assert status == 0 and said.count("accuracy %") == 1 and "| blur, accuracy %" in said
    status, said, _ = say(["evaluate", trained / "digits/best.npz", "--corruption", "none"], capsys)
    assert status == 0 and "|" not in said and "test       accuracy" in said
    status, _, said = say(["evaluate", trained / "digits", "--corruption", "deletion"], capsys)
    assert status == 2 and "--corruption is 'deletion', expected one of 'all', 'none', 'gaussian'" in said


def test_evaluate_of_a_language_writes_numbers_without_a_picture(trained, tmp_path, capsys):
    status, said, _ = say(["evaluate", trained / "text", "--out", tmp_path / "e"], capsys)
    results = json.loads((tmp_path / "e/results.json").read_text())
    assert status == 0 and [p.name for p in (tmp_path / "e").iterdir()] == ["results.json"]
    assert f"accuracy {results['clean']['accuracy']:.4f}, loss {results['clean']['loss']:.4f} nats" in said
    assert results["levels"] == {} and results["accuracy"] == {"dgsa": {}}


@pytest.mark.parametrize("name", ["digits", "text", "rt-polarity"])
def test_evaluate_says_what_training_said_last(name, trained, capsys):
    lines = (trained / name / "metrics.jsonl").read_text().splitlines()
    result = next(v for k, v in json.loads(lines[-1])["result"].items() if k.startswith("test, last"))
    _, said, _ = say(["evaluate", trained / name, "--corruption", "none"], capsys)
    assert f"test       accuracy {result['accuracy']:.4f}, loss {result['loss']:.4f} nats" in said


def test_evaluate_finds_data_that_moved_and_refuses_others(trained, sources, tmp_path, capsys):
    text = tmp_path / "moved.txt"
    text.write_text((sources / "text.txt").read_text())
    assert say(["evaluate", trained / "text", "--root", text], capsys)[0] == 0
    text.write_text(text.read_text()[::-1])
    status, _, said = say(["evaluate", trained / "text", "--root", text], capsys)
    assert status == 2 and "the data differ from those of the run: sha256" in said


def test_folders_of_data_may_move_and_a_missing_one_is_named(trained, sources, tmp_path, capsys):
    for side in ("neg", "pos"):
        name = f"rt-polarity.{side}"
        (tmp_path / name).write_bytes((sources / name).read_bytes())
    for argv in (["evaluate", trained / "rt-polarity"], ["train", "--resume", trained / "rt-polarity"]):
        assert say([*argv, "--root", tmp_path], capsys)[0] == 0
        status, _, said = say([*argv, "--root", tmp_path / "nowhere"], capsys)
        assert status == 2 and "nowhere/rt-polarity.neg: cannot be read: No such file or directory" in said
