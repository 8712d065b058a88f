"""The command line over data sets, mechanisms and runs."""

import json
import re

import numpy as np
import pytest

from dgsa_np import baselines
from dgsa_np.attention import KINDS
from dgsa_np.cli import main
from dgsa_np.data import load

SMALL = ["--width", "16", "--n-heads", "2", "--depth", "1", "--epochs", "1", "--device", "cpu"]


def flags(name, sources):
    return (
        SMALL
        + {
            "digits": ["--batch-size", "256"],
            "text": ["--data", "text", "--root", str(sources / "text.txt"), "--length", "16"],
            "rt-polarity": ["--data", "rt-polarity", "--root", str(sources), "--length", "10"],
        }[name]
    )


@pytest.fixture(scope="module")
def trained(sources, tmp_path_factory):
    """{data set: a run folder}"""
    root = tmp_path_factory.mktemp("runs")
    for name in ("digits", "text", "rt-polarity"):
        assert main(["train", *flags(name, sources), "--out", str(root / name)]) == 0
    return root


def say(argv, capsys):
    """Exit status, what was said, and what was said on the error stream."""
    capsys.readouterr()
    try:
        status = main([str(a) for a in argv])
    except SystemExit as stop:
        status = stop.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


# ------------------------------------------------------------------------------------------------ train


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["text", "rt-polarity"])
def test_every_kind_trains_on_every_kind_of_text(name, kind, sources, tmp_path, capsys):
    status, said, _ = say(["train", *flags(name, sources), "--kind", kind, "--out", tmp_path / "run"], capsys)
    assert status == 0
    total = int(re.search(r"([\d,]+) parameters", said)[1].replace(",", ""))
    parts = [int(n.replace(",", "")) for n in re.findall(r"^ {11}[\w ]+? {2,}([\d,]+)  ", said, re.MULTILINE)]
    assert len(parts) == 7 and sum(parts) == total
    assert f"{kind}, " in said and "sha256" in said and "test, best" in said
    assert json.loads((tmp_path / "run/config.json").read_text())["settings"]["kind"] == kind


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


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"widht": 3}', "unknown key 'widht'; did you mean 'width'?"),
        ('{"width": "3"}', "width is '3', expected int"),
        ('{"width": true}', "width is True, expected int"),
        ('{"rotary": 1}', "rotary is 1, expected bool"),
        ('{"lambda_init": "x"}', "lambda_init is 'x', expected float or null"),
        ('{"lr": NaN}', "lr is nan"),
        ("[1]", "holds a list"),
        ("{", "not JSON"),
    ],
)
def test_a_wrong_file_of_settings_is_told(content, words, tmp_path, capsys):
    (tmp_path / "config.json").write_text(content)
    status, _, said = say(["train", "--config", tmp_path / "config.json", "--out", tmp_path / "run"], capsys)
    assert status == 2 and words in said and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["train", "--config", "nowhere.json"], "nowhere.json: cannot be read"),
        (["train", "--resume", "nowhere"], "nowhere: there is no such file"),
        (["train", "--resume", "a", "--out", "b"], "a run goes on in its own folder"),
        (["train", "--task", "lm"], "task is 'lm', expected 'vision': it comes from the data digits"),
        (["train", "--data", "pydoc", "--vocab-size", "7"], "vocab_size is 7"),
        (["train", "--data", "mnist"], "root is None"),
        (["train", "--data", "pydocs"], "did you mean 'pydoc'?"),
        (["train", "--length", "5"], "length given, expected no options with digits"),
        (["train", "--rotary", "true", "--width", "8", "--n-heads", "4"], "an even whole number"),
        (["evaluate"], "required: RUN"),
        (["evaluate", "nowhere"], "there is no such file"),
        (["sample", "nowhere"], "there is no such file"),
        (["sample", "x", "--temperature", "-1"], "expected a number of at least 0"),
        (["sample", "x", "--top-k", "0"], "expected a whole number of at least 1"),
        (["baselines", "--corruption", "blurr"], "did you mean 'blur'?"),
        (["baselines", "--width", "3"], "unknown argument --width"),
    ],
)
def test_wrong_use_is_told(argv, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, said = say(argv, capsys)
    assert status == 2 and words in said and "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_help_gives_meaning_choices_and_defaults(capsys):
    status, said, _ = say(["train", "--help"], capsys)
    assert status == 0
    for words in ("softmax, diff_v1, dgsa", "at the top of the schedule", "(default: 0.02)", "--resume RUN"):
        assert words in " ".join(said.split())


# --------------------------------------------------------------------------------------------- evaluate


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


def test_evaluate_finds_data_that_moved_and_refuses_others(trained, sources, tmp_path, capsys):
    text = tmp_path / "moved.txt"
    text.write_text((sources / "text.txt").read_text())
    assert say(["evaluate", trained / "text", "--root", text], capsys)[0] == 0
    text.write_text(text.read_text()[::-1])
    status, _, said = say(["evaluate", trained / "text", "--root", text], capsys)
    assert status == 2 and "the data differ from those of the run: sha256" in said


# ----------------------------------------------------------------------------------------------- sample


def test_sample_repeats_itself_for_a_seed(trained, capsys):
    argv = ["sample", trained / "text", "--prompt", "a q", "--length", "30"]
    one, two, other = (say([*argv, "--seed", seed], capsys) for seed in (1, 1, 2))
    assert one == two != other
    assert one[0] == 0 and one[1].startswith("a q") and len(one[1]) == 3 + 30 + 1


@pytest.mark.parametrize(
    ("name", "prompt", "words"),
    [
        ("text", "Qé", "lacks ['Q', 'é']"),
        ("text", "", "there is nothing to go on from"),
        ("digits", "a", "its model has task 'vision'"),
        ("rt-polarity", "a", "its model has task 'text'"),
    ],
)
def test_sample_refuses(name, prompt, words, trained, capsys):
    status, _, said = say(["sample", trained / name, "--prompt", prompt], capsys)
    assert status == 2 and words in said


def test_sample_in_bytes(sources, tmp_path, capsys):
    argv = ["train", *flags("text", sources), "--unit", "bytes", "--out", tmp_path / "run"]
    assert say(argv, capsys)[0] == 0
    status, said, _ = say(["sample", tmp_path / "run", "--prompt", "é", "--length", "9", "--top-k", "3"], capsys)
    assert status == 0 and said.startswith("é")


# -------------------------------------------------------------------------------------------- baselines


def test_baselines_of_each_task(sources, capsys):
    status, said, _ = say(["baselines", "--corruption", "none"], capsys)
    assert status == 0 and re.search(r"nearest neighbour +\| 97.8", said) and "gaussian" not in said
    argv = ["baselines", "--data", "rt-polarity", "--root", sources, "--corruption", "deletion"]
    status, said, _ = say(argv, capsys)
    assert status == 0 and re.search(r"naive Bayes +\| 100.0", said) and "deletion" in said
    status, said, _ = say(["baselines", "--data", "text", "--root", sources / "text.txt", "--length", "16"], capsys)
    assert status == 0 and "| 5-gram" in said


def test_an_ngram_is_a_probability_and_more_context_helps():
    data = load("pydoc")
    tokens = baselines.stream(data.train, data.meta["stride"])
    assert np.array_equal(tokens[:129], np.append(data.train.inputs[0], data.train.targets[0, -1]))
    model = baselines.NGram(tokens[:20000], 4, data.meta["vocab_size"])
    for history in ("", chr(5), "".join(map(chr, tokens[100:103])), chr(1) * 3):
        p = [model.probability(chr(c), history) for c in range(data.meta["vocab_size"])]
        assert sum(p) == pytest.approx(1, abs=1e-12) and min(p) > 0
    two, five = (baselines.NGram(tokens[:100000], n, 104).loss(tokens[100000:103000]) for n in (2, 5))
    assert five < two - 0.3


def test_a_stream_is_the_text_that_was_cut(sources):
    for overlap in (1, 3, 4):
        data = load("text", sources / "text.txt", length=16, overlap=overlap)
        text = (sources / "text.txt").read_text()
        tokens = baselines.stream(data.train, data.meta["stride"])
        decoded = "".join(data.meta["symbols"][t] for t in tokens)
        assert text.startswith(decoded) and len(decoded) > 0.85 * len(text)


def test_info_tells_a_language_model(capsys):
    status, said, _ = say(["info", "--task", "lm", "--vocab-size", "50", "--kind", "diff_v2"], capsys)
    assert status == 0 and "tokens 50x64" in said and "W_lambda 64x4" in said
