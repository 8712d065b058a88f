"""The command line over data sets, mechanisms and runs."""

import json
import re

import numpy as np
import pytest
from support.tiers import most_later

from dgsa_np.attention import KINDS
from dgsa_np.backend import DeviceError, resolve_device
from dgsa_np.data import load
from dgsa_np.lab import baselines
from dgsa_np.lab.cli import main

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


@pytest.mark.parametrize("kind", most_later(KINDS, now=["dgsa"]))
@pytest.mark.parametrize("name", ["text", "rt-polarity"])
def test_every_kind_trains_on_every_kind_of_text(name, kind, sources, tmp_path, capsys):
    status, said, _ = say(["train", *flags(name, sources), "--kind", kind, "--out", tmp_path / "run"], capsys)
    assert status == 0
    assert_parts_add_up(said)
    assert f"{kind}, " in said and "sha256" in said and "test, best" in said
    assert json.loads((tmp_path / "run/config.json").read_text())["settings"]["kind"] == kind


def assert_parts_add_up(said):
    """The parameters of the parts are those of the model."""
    total = int(re.search(r"([\d,]+) parameters", said)[1].replace(",", ""))
    parts = [int(n.replace(",", "")) for n in re.findall(r"^ {11}[\w ]+? {2,}([\d,]+)  ", said, re.MULTILINE)]
    assert len(parts) == 7 and sum(parts) == total


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
        (["sample", "x", "--length", "0"], "expected a whole number of at least 1"),
        (["sample", "x", "--seed", "-1"], "'-1', expected a whole number of at least 0"),
        (["sample", "x", "--temperature", "warm"], "'warm', expected a number of at least 0"),
        (["train", "--data", "text", "--root", "nowhere.txt"], "nowhere.txt: cannot be read: No such file"),
        (["train", "--data", "rt-polarity", "--root", "nowhere"], "rt-polarity.neg: cannot be read: No such file"),
        (["train", "--data", "mnist", "--root", "nowhere"], "train-images-idx3-ubyte: there is no such file"),
        (["train", "--seed", "-1"], "seed is -1"),
        (["train", "--threads", "0"], "threads is 0"),
        (["train", "--gate-on", "inhibit"], "gate_on is 'inhibit', expected one of 'both', 'inhibition'; did you mean"),
        (["train", "--save-every", "-1"], "expected a number of at least 0"),
        (["evaluate", "x", "--checkpoint", "bets"], "invalid choice: 'bets'"),
        (["info", "--task", "lm", "--max-len", "0"], "max_len is 0"),
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
    for words in ("softmax, diff_v1, dgsa", "at the top of the schedule", "(default: dgsa)", "--resume RUN"):
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


@pytest.mark.parametrize("command", ["evaluate", "sample"])
def test_a_damaged_run_is_told(command, trained, tmp_path, capsys):
    content = (trained / "text/checkpoint.npz").read_bytes()
    (tmp_path / "checkpoint.npz").write_bytes(content[:-100])
    status, _, said = say([command, tmp_path], capsys)
    assert status == 2 and "checkpoint.npz: damaged, or no checkpoint" in said
    status, _, said = say([command, tmp_path, "--checkpoint", "best"], capsys)
    assert status == 2 and "best.npz: there is no such file" in said


def test_cuda_without_a_gpu_is_told_by_every_command(trained, capsys):
    try:
        resolve_device("cuda")
        pytest.skip("a GPU is here")
    except DeviceError:
        pass
    for command in (["evaluate", trained / "text"], ["sample", trained / "text"], ["train", "--width", "16"]):
        status, _, said = say([*command, "--device", "cuda"], capsys)
        assert status == 2 and said.startswith("dgsa-np: device 'cuda' cannot be used: ")


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


# ----------------------------------------------------------------------------------------------- sample


def test_sample_repeats_itself_for_a_seed(trained, capsys):
    argv = ["sample", trained / "text", "--prompt", "a q", "--length", "30"]
    one, two, other = (say([*argv, "--seed", seed], capsys) for seed in (1, 1, 2))
    assert one == two != other
    assert one[0] == 0 and one[1].startswith("a q") and len(one[1]) == 3 + 30 + 1


def test_sample_without_chance_does_not_ask_the_seed(trained, capsys):
    argv = ["sample", trained / "text", "--prompt", "a q", "--length", "30"]
    options = (["--temperature", "0"], ["--temperature", "0", "--seed", "5"], ["--top-k", "1", "--seed", "6"])
    one, two, three = (say([*argv, *o], capsys) for o in options)
    assert one[0] == 0 and one == two == three
    assert say([*argv, *options[0], "--checkpoint", "best"], capsys) == one  # of one epoch, the last is the best
    assert say(["sample", trained / "text/best.npz", *argv[2:], *options[0]], capsys) == one


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
    losses = {int(n): float(loss) for n, loss in re.findall(r"\| (\d)-gram +\| ([\d.]+)", said)}
    assert status == 0 and list(losses) == [2, 3, 4, 5, 6] and losses[5] < losses[2] < np.log(20)


@pytest.fixture(scope="module")
def manual():
    """The training part of Python's manual, as tokens, and how many symbols there are."""
    data = load("pydoc")
    tokens = baselines.stream(data.train, data.meta["stride"])
    assert np.array_equal(tokens[:129], np.append(data.train.inputs[0], data.train.targets[0, -1]))
    return tokens, data.meta["vocab_size"]


@pytest.mark.parametrize("n", [1, 2, 4, 6])
def test_the_probabilities_of_an_ngram_add_up_to_one(n, manual):
    tokens, size = manual
    model = baselines.NGram(tokens[:20000], n, size)
    seen = "".join(map(chr, tokens[100 : 100 + n - 1]))
    for history in ("", chr(5)[: n - 1], seen, chr(1) * (n - 1)):
        p = [model.probability(chr(c), history) for c in range(size)]
        assert sum(p) == pytest.approx(1, abs=1e-12) and min(p) > 0


def test_an_ngram_is_the_formula_of_witten_and_bell():
    model = baselines.NGram(np.array([0, 1, 0, 1, 0, 2]), 2, 4)
    uniform = 1 / 4
    after_nothing = [(count + 3 * uniform) / (6 + 3) for count in (3, 2, 1, 0)]
    after_0 = [(count + 2 * p) / (3 + 2) for count, p in zip((0, 2, 1, 0), after_nothing, strict=True)]
    assert [model.probability(chr(c), "") for c in range(4)] == pytest.approx(after_nothing)
    assert [model.probability(chr(c), chr(0)) for c in range(4)] == pytest.approx(after_0)
    assert model.probability(chr(3), chr(3)) == pytest.approx(after_nothing[3])  # nothing is known of 3
    assert model.loss(np.array([0, 1])) == pytest.approx(-np.log([after_nothing[0], after_0[1]]).mean())


def test_ngrams_are_counted_on_the_training_split_and_judged_on_the_test_split(sources):
    data = load("text", sources / "text.txt", length=16)
    train, test = (baselines.stream(s, n) for s, n in ((data.train, data.meta["stride"]), (data.test, 16)))
    expected = {f"{n}-gram": baselines.NGram(train, n, data.meta["vocab_size"]).loss(test) for n in (2, 3)}
    assert baselines.ngram_losses(data, (2, 3)) == expected


def test_more_context_helps_on_the_manual(manual):
    tokens, size = manual
    two, five = (baselines.NGram(tokens[:100000], n, size).loss(tokens[100000:103000]) for n in (2, 5))
    assert five < two - 0.3 and two < np.log(size) - 1


def test_a_stream_is_the_text_that_was_cut(sources):
    for overlap in (1, 3, 4):
        data = load("text", sources / "text.txt", length=16, overlap=overlap)
        text = (sources / "text.txt").read_text()
        tokens = baselines.stream(data.train, data.meta["stride"])
        decoded = "".join(data.meta["symbols"][t] for t in tokens)
        assert text.startswith(decoded) and len(decoded) > 0.85 * len(text)


@pytest.mark.parametrize("task", ["vision", "text", "lm"])
@pytest.mark.parametrize("kind", ["dgsa", "diff_v2"])
def test_info_tells_the_parts_of_a_model(kind, task, capsys):
    argv = ["info", "--task", task, "--kind", kind, "--vocab-size", "50"]
    status, said, _ = say(argv, capsys)
    assert status == 0 and f"{kind}, {task}: width 64" in said
    assert_parts_add_up(said)
    assert ("tokens 50x64" in said) == (task != "vision") and ("W 64x50, b 50" in said) == (task == "lm")
    assert ("W_lambda 64x4" in said) == (kind == "diff_v2")
