"""Training that gets Ctrl-C at any moment, and goes on to the same bits. Each test prints its
figures.

Short versions stand in test_resumed_runs.py.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import product

import numpy as np
import pytest
from support.runs import assert_same, break_at, flags, run_whole
from support.terminal import hear_ctrl_c, open_terminal, read_terminal

from dgsa_np.attention import KINDS
from dgsa_np.lab import runs
from dgsa_np.lab.settings import settle

pytestmark = [pytest.mark.torture, pytest.mark.skipif(os.name != "posix", reason="kills and limits are POSIX")]
TASKS = {
    "vision": {"data": "digits", "batch_size": 128},
    "text": {"data": "rt-polarity", "length": 10, "min_count": 1, "batch_size": 16},
    "lm": {"data": "text", "length": 16, "batch_size": 16, "threads": 2},
}


def tiny(task, sources, **changes):
    """Settings of a tiny run."""
    root = {"vision": {}, "text": {"root": str(sources)}, "lm": {"root": str(sources / "text.txt")}}[task]
    return {"width": 16, "n_heads": 2, "depth": 1, "device": "cpu", "seed": 3, **TASKS[task], **root, **changes}


def start(stderr, *args):
    """A training process; what it prints can be read line by line."""
    command = [sys.executable, "-m", "dgsa_np", "train", "--save-every", "0.1", *args]
    env = os.environ | {"PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, env=env, text=True, preexec_fn=hear_ctrl_c)


def ctrl_c(args, moment, terminal, begun=True):
    """Exit status, and what a process said that gets Ctrl-C a moment after it began.

    terminal : its errors, and its bar, go to a terminal
    begun    : it began with its first line, which it prints when all is loaded;
               False: with the process
    """
    here, there = open_terminal() if terminal else (None, subprocess.PIPE)
    process = start(there, *args)
    if terminal:
        os.close(there)
    if begun:
        process.stdout.readline()
    time.sleep(moment)
    process.send_signal(signal.SIGINT)
    shown = read_terminal(here) if terminal else ""
    _, said = process.communicate(timeout=120)
    return process.returncode, said or shown


def go_on(folder, given):
    """Arguments that begin a run or go on with it."""
    return ["--resume", str(folder)] if (folder / "checkpoint.npz").exists() else ["--out", str(folder), *flags(given)]


def check_whole(folder):
    """No file of a run is torn; returns how many steps its record holds, and its state."""
    held = runs.open_run(folder)
    if (folder / "best.npz").exists():
        assert runs.open_run(folder, "best")["best"] == held["best"]
    json.loads((folder / "config.json").read_text())
    record = folder / "metrics.jsonl"
    steps = sum("step" in json.loads(line) for line in record.read_text().splitlines()) if record.exists() else 0
    assert not list(folder.glob(".*.npz.*"))
    return steps, held["state"]["optimizer"]["step"]


def finish(folder, given):
    """The run, to its end."""
    process = start(subprocess.PIPE, *go_on(folder, given))
    said = process.communicate()
    assert process.returncode == 0, said


EPOCHS = {"vision": 100, "text": 200, "lm": 60}  # some seconds of training


def test_ctrl_c_while_it_trains(sources, tmp_path, tell):
    """40 times, every other time with the bar on a terminal.
    In the end the run equals one that was left alone.
    """
    moments, seen, rounds = np.random.default_rng(5), Counter(), 0
    for task, times in (("vision", 14), ("text", 13), ("lm", 13)):
        given, whole, n = tiny(task, sources, epochs=EPOCHS[task]), tmp_path / f"{task}, left alone", 0
        finish(whole, given)
        while n < times:
            rounds, folder, done = rounds + 1, tmp_path / f"{task}, {rounds}", False
            while n < times and not done:
                terminal = n % 2 == 1
                status, said = ctrl_c(go_on(folder, given), moments.uniform(0, 0.4), terminal)
                recorded, held = check_whole(folder)
                done = runs.open_run(folder)["state"]["epoch"] == EPOCHS[task]
                if not done:
                    assert recorded == held and status == 130 and "Traceback" not in said, (status, said)
                    assert ("Stopping after this step" in said) == (f"--resume {folder}" in said)
                    assert ("Stopping after this step" in said) != ("dgsa-np: stopped" in said)
                    n += 1
                    seen.update({"in a step": "Stopping" in said, "before the first": "dgsa-np: stopped" in said})
                    seen.update({"with a bar": terminal and "step/s" in said})
            finish(folder, given)
            assert_same(whole, folder)
    assert seen["in a step"] >= 30 and seen["with a bar"] >= 10
    words = ", ".join(f"{number} {what}" for what, number in seen.items())
    tell(
        f"Ctrl-C while it trains: 40 of 40 with status 130 ({words}); 0 torn, {rounds} runs of 3 tasks end bit for bit"
    )


def test_ctrl_c_at_any_moment(sources, tmp_path, tell):
    """20 times while it loads, trains or draws: nothing is torn;
    the run goes on, or begins anew, to the same end.
    """
    moments, seen, n, rounds, loud = np.random.default_rng(6), Counter(), 0, 0, 0
    given, whole = tiny("lm", sources, epochs=12), tmp_path / "left alone"
    begun = time.monotonic()
    finish(whole, given)
    life = time.monotonic() - begun
    while n < 20:
        rounds, folder, status = rounds + 1, tmp_path / f"run {rounds}", None
        while n < 20 and status != 0:
            status, said = ctrl_c(go_on(folder, given), moments.uniform(0, life), terminal=False, begun=False)
            if (folder / "checkpoint.npz").exists():
                check_whole(folder)
            else:
                shutil.rmtree(folder, ignore_errors=True)
            if status != 0:
                n, loud = n + 1, loud + ("Traceback" in said)
                seen[status] += 1
        finish(folder, given)
        assert_same(whole, folder)
    words = ", ".join(f"{number} with status {status}" for status, number in seen.most_common())
    tell(f"Ctrl-C at any moment: {words}; {loud} with a traceback; 0 torn, {rounds} runs end bit for bit")


def sixty(task, sources, kind):
    """Settings of a run of 60 steps, whose 25th ends no epoch."""
    epochs = {"vision": 6, "text": 10, "lm": 5}[task]
    n = len(settle(tiny(task, sources))[-1].train.targets)
    batch = next(size for size in range(1, n) if n // size == 60 // epochs)
    return tiny(task, sources, epochs=epochs, batch_size=batch, kind=kind)


def test_25_and_35_steps_are_60(sources, tmp_path, tell, monkeypatch):
    for task, kind in product(TASKS, KINDS):
        given, whole, cut = sixty(task, sources, kind), tmp_path / f"{task} {kind} 60", tmp_path / f"{task} {kind} 25"
        assert run_whole(whole, given)["state"]["optimizer"]["step"] == 60
        made = settle(given)
        held = runs.begin(cut, *made)
        with monkeypatch.context() as patch:
            break_at(patch, 25)
            with pytest.raises(SystemExit):
                runs.follow(cut, *made[1:], held, every=0.0)
        held, *made = runs.reopen(cut, {})
        assert held["state"]["optimizer"]["step"] == 25 and held["state"]["batch"] > 0
        runs.follow(cut, *made[1:], held)
        assert_same(whole, cut)
    tell(f"resume: 25 + 35 steps are 60 bit for bit, {len(TASKS)} tasks by {len(KINDS)} kinds of attention")


def test_two_writers(sources, tmp_path, tell):
    """Again and again a second process wants to go on with a run that another is at,
    which is then killed.
    Whoever comes next has the folder to itself, and the end is that of one alone.
    """
    given, whole, folder = tiny("vision", sources, epochs=200), tmp_path / "left alone", tmp_path / "run"
    finish(whole, given)
    moments, refused, killed = np.random.default_rng(3), 0, 0
    while not (folder / "checkpoint.npz").exists() or not runs.finished(runs.open_run(folder), settle(given)[2]):
        first = start(subprocess.PIPE, *go_on(folder, given))
        first.stdout.readline()
        time.sleep(0.3)
        second = start(subprocess.PIPE, "--resume", str(folder))
        _, said = second.communicate(timeout=120)
        if first.poll() is None:
            assert second.returncode == 2 and "something else is writing to this folder" in said, said
            refused += 1
            time.sleep(moments.uniform(0, 0.5))
            killed += first.poll() is None
            first.kill()
        first.communicate()
        runs.open_run(folder)  # whole
    finish(folder, given)
    assert_same(whole, folder)
    assert [p.name for p in folder.iterdir() if p.name.startswith(".")] == []
    assert refused >= 2 and killed >= 2
    tell(f"two writers: {refused} of {refused} refused, {killed} of the others killed; the run ends bit for bit")
