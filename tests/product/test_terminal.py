"""The command line on other people's terminals, consoles and machines."""

import os
import re
import subprocess
import sys
import threading

import pytest
from support.commands import SMALL, say
from support.runs import flags
from support.tiers import most_later
from support.training import TINY

from dgsa_np.lab import viz
from dgsa_np.lab.cli import COMMANDS
from dgsa_np.lab.runs import begin, follow
from dgsa_np.lab.settings import RECIPES, settle

COMMAND = [sys.executable, "-m", "dgsa_np"]


def run(*argv, python=(), **environment):
    """Status, output and errors as bytes, of a process with these variables set. The time is for
    one that hangs: a whole gradient check takes more than a minute, beside other tests two or more.
    """
    command = [sys.executable, *python, "-m", "dgsa_np", *map(str, argv)]
    done = subprocess.run(command, capture_output=True, env=os.environ | environment, timeout=600)
    return done.returncode, done.stdout, done.stderr


# ------------------------------------------------------------------------------------ what is given


@pytest.mark.parametrize("number", ["-1e-3", "-2E-1", "-1.", "-.5", "-3", "-1E+0"])
def test_a_negative_number_is_a_value(number, capsys):
    assert say(["info", "--gate-bias", number], capsys)[0] == 0


@pytest.mark.slow
def test_several_negative_numbers_are_values(capsys, tmp_path):
    argv = ["compare", *flags(TINY), "--gate-bias", "-1e-3", "-2E-1", "--seeds", "1", "--jobs", "1"]
    status, said, _ = say([*argv, "--out", tmp_path / "grid"], capsys)
    assert status == 0 and "digits, -0.001: dgsa" in said and "digits, -0.2: dgsa" in said


@pytest.mark.parametrize("prompt", ["-x", "-", "-5", "a -b", "--"])
def test_a_prompt_may_begin_with_a_dash(prompt, capsys):
    status, _, said = say(["sample", "nowhere", f"--prompt={prompt}"], capsys)
    assert status == 2 and "there is no such file or folder" in said  # and not: expected one argument
    if prompt in ("-x", "-5"):
        assert say(["sample", "nowhere", "--prompt", prompt], capsys)[2] == said


@pytest.mark.parametrize("argv", [["train", "--epoch", "3"], ["info", "--wid", "8"], ["demo", "--see", "1"], ["--ver"]])
def test_a_flag_that_is_cut_short_is_refused(argv, capsys):
    status, _, said = say(argv, capsys)
    assert status == 2 and said.count("\n") == 1 and "usage" not in said


def test_wrong_use_does_not_print_the_usage(capsys):
    status, out, said = say(["train", "--epochs", "many"], capsys)
    expected = "dgsa-np train: argument --epochs: invalid int value: 'many'; see dgsa-np train --help\n"
    assert (status, out, said) == (2, "", expected)


@pytest.mark.parametrize("command", ["evaluate", "sample"])
def test_a_run_that_is_not_there_says_what_was_expected(command, tmp_path, capsys):
    said = say([command, tmp_path / "nowhere"], capsys)[2]
    assert said.endswith("nowhere: there is no such file or folder, expected the folder of a run or a checkpoint\n")
    assert "checkpoint.npz: there is no such file" in say([command, tmp_path], capsys)[2]


@pytest.mark.parametrize(
    "argv",
    [
        ["train", "--resume", ""], ["train", "--out", ""], ["train", "--config", ""], ["evaluate", ""],
        ["sample", ""], ["report", ""], ["report", "x", "--out", ""], ["compare", "--out", ""], ["demo", "--out", ""],
    ],
)  # fmt: skip
def test_an_empty_path_is_refused(argv, capsys):
    """As from --resume "$RUN" where RUN is not set: nothing begins."""
    status, _, said = say(argv, capsys)
    assert status == 2 and "'', expected a path: is a variable of the shell not set?" in said


def test_a_path_with_a_line_break_is_told_in_one_line(capsys):
    status, _, said = say(["evaluate", "no\nsuch"], capsys)
    assert status == 2 and said.count("\n") == 1


# ------------------------------------------------------------------------------------- what is said


def test_help_says_what_it_is_for_and_what_to_try(capsys):
    status, said, _ = say(["--help"], capsys)
    commands = re.findall(r"^  dgsa-np (\w+)", said, re.MULTILINE)
    assert status == 0 and "Differential Gated Self-Attention" in said and "three commands to try:" in said
    assert commands == ["demo", "train", "gradcheck"] and set(commands) <= set(COMMANDS)


@pytest.mark.parametrize("command", ["train", "compare"])
def test_help_shows_what_each_data_set_changes(command, capsys):
    said = say([command, "--help"], capsys)[1]
    for data, recipe in RECIPES.items():
        line = next(line for line in said.splitlines() if line.startswith(f"  {data} "))
        assert line.split(maxsplit=1)[1] == ", ".join(f"{name} {value:g}" for name, value in recipe.items())


def test_a_run_prints_the_recipe_that_it_follows(tmp_path, capsys):
    argv = ["train", "--data", "needle", "--width", "8", "--epochs", "1", "--clip", "0.5", "--out", tmp_path / "run"]
    said = say(argv, capsys)[1]
    recipe = next(line for line in said.splitlines() if line.startswith("recipe"))
    expected = "epochs 1, batch_size 64, lr 0.01, warmup 0.1, weight_decay 0.1, clip 0.5, seed 0"
    assert recipe.split(maxsplit=1)[1] == expected


def test_without_a_terminal_there_is_a_line_per_epoch(tmp_path, capsys):
    argv = ["train", *SMALL, "--batch-size", "256", "--epochs", "3", "--out", tmp_path / "run"]
    lines = say(argv, capsys)[2].splitlines()
    assert [line.split(": loss")[0] for line in lines] == [f"train dgsa: epoch {n} of 3" for n in (1, 2, 3)]
    assert all("valid_accuracy" in line for line in lines)


@pytest.mark.slow
def test_without_a_terminal_there_is_a_line_per_run(tmp_path, capsys):
    argv = ["compare", *flags(TINY), "--kind", "dgsa", "softmax", "--seeds", "1", "--jobs", "1"]
    lines = say([*argv, "--out", tmp_path / "grid"], capsys)[2].splitlines()
    assert [line.split(",")[0] for line in lines] == [
        "compare: run 1 of 3: digits dgsa 0",
        "compare: run 2 of 3: digits softmax 0",
        "compare: run 3 of 3: digits",
    ]
    lines = say([*argv[:-4], "--seeds", "2", "--jobs", "1", "--out", tmp_path / "grid"], capsys)[2].splitlines()
    assert lines[0].startswith("compare: run 4 of 5: digits dgsa 1")


# --------------------------------------------------------------------------------- where it is said


BACKENDS = ["module://not_installed.here", "TkAgg", "nonsense"]


@pytest.mark.parametrize("backend", most_later(BACKENDS, now=[], torture=BACKENDS[1:]))
def test_pictures_are_drawn_whatever_the_backend_is_said_to_be(backend, tmp_path):
    """That of a notebook is inherited by its !commands, where it may not be installed."""
    status, _, said = run("train", *SMALL, "--batch-size", "256", "--out", tmp_path / "run", MPLBACKEND=backend)
    assert status == 0, said
    assert (tmp_path / "run/training.png").stat().st_size > 10_000


@pytest.mark.parametrize("encoding", most_later(["cp1252", "ascii", "utf-8", "utf-16"], [], ["ascii", "utf-8"]))
def test_text_survives_a_console_of_another_encoding(encoding, tmp_path):
    (tmp_path / "text.txt").write_text("café 中文 “x” 🙂. " * 400, encoding="utf-8")
    data = ["--data", "text", "--root", tmp_path / "text.txt", "--length", "16"]
    assert run("train", *data, *SMALL, "--out", tmp_path / "run", PYTHONIOENCODING=encoding)[0] == 0
    status, out, said = run("sample", tmp_path / "run", "--prompt", "caf", "--length", "80", PYTHONIOENCODING=encoding)
    assert status == 0 and said == b"" and len(out.decode(encoding)) > 80
    assert ("?" in out.decode(encoding)) == (encoding in ("cp1252", "ascii"))


@pytest.mark.skipif(os.name != "posix", reason="streams that are closed or full as POSIX has them")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("streams", "status", "words"),
    [(">&-", 0, ""), ("2>&-", 0, ""), ("<&-", 0, ""), ("| true", 0, ""), (">/dev/full", 2, "dgsa-np: output: [Errno")],
)
def test_streams_that_are_closed_or_full_are_no_traceback(streams, status, words):
    command, buffered = f"{sys.executable} -m dgsa_np train --help {streams}", os.environ | {"PYTHONUNBUFFERED": ""}
    done = subprocess.run(command, shell=True, capture_output=True, text=True, env=buffered)
    assert done.returncode == status and done.stderr.startswith(words) and done.stderr.count("\n") == bool(words)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ["info"],
        pytest.param(["gradcheck"], marks=pytest.mark.torture),  # minutes
        ["train", *SMALL, "--batch-size", "256"],
        ["--help"],
    ],
)
def test_python_without_docstrings_runs_it(command, tmp_path):
    out = ["--out", tmp_path / "run"] if command[0] == "train" else []
    status, _, said = run(*command, *out, python=["-OO"])
    assert status == 0, said


def test_a_run_can_be_trained_in_a_thread(tmp_path):
    """Of a web application, or of a notebook: signals are heard in the main thread alone."""
    made, said = settle({"width": 8, "n_heads": 1, "depth": 1, "epochs": 1, "batch_size": 256, "device": "cpu"}), []

    def work():
        held = follow(tmp_path / "run", *made[1:], begin(tmp_path / "run", *made))
        said.append(held["state"]["epoch"])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert said == [1]


@pytest.mark.parametrize("name", most_later([r"$\foo$ earned", "$", "a$b$c", "x^2_3", "\\"], now=[r"$\foo$ earned"]))
def test_a_name_is_drawn_as_it_is(name, tmp_path):
    import numpy as np

    figures = [
        viz.token_strip_figure({name: (["a", "$b$"], np.array([0.2, 0.7]))}),
        viz.bars_figure({name: {name: (1.0, 0.5)}}),
        viz.gate_histogram_figure({name: np.ones((1, 4))}),
    ]
    for i, figure in enumerate(figures):
        viz.save(figure, tmp_path / f"{i}.png")
        assert (tmp_path / f"{i}.png").stat().st_size > 1000
