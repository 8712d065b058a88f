"""Files that are written whole or not at all, links and foreign files left alone, and folders with
one writer at a time.
"""

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from support.runs import break_at, run_whole
from support.tiers import most_later

from dgsa_np import files
from dgsa_np.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from dgsa_np.files import FolderInUseError, append, sole_writer, write_whole
from dgsa_np.lab import runs, viz
from dgsa_np.lab.cli import main
from dgsa_np.lab.settings import settle

posix = pytest.mark.skipif(os.name != "posix", reason="links, locks and full devices as POSIX has them")
GIVEN = {"width": 8, "n_heads": 1, "depth": 1, "epochs": 1, "batch_size": 256, "device": "cpu"}


@posix
@pytest.mark.parametrize("there", [True, False])
def test_a_checkpoint_that_is_a_link_stays_one(there, tmp_path):
    (tmp_path / "store").mkdir()
    if there:
        save_checkpoint(tmp_path / "store/real.npz", {"n": 1})
    (tmp_path / "link.npz").symlink_to("store/real.npz")
    save_checkpoint(tmp_path / "link.npz", {"n": 2})
    assert (tmp_path / "link.npz").is_symlink() and load_checkpoint(tmp_path / "store/real.npz") == {"n": 2}
    assert [p.name for p in (tmp_path / "store").iterdir()] == ["real.npz"]


def fails_for_folders(number):
    """os.fsync of a file system that has it for files alone."""
    fsync = os.fsync

    def call(handle):
        if os.path.isdir(f"/proc/self/fd/{handle}") or os.path.isdir(f"/dev/fd/{handle}"):
            raise OSError(number, os.strerror(number))
        fsync(handle)

    return call


@posix
def test_a_file_system_that_cannot_sync_a_folder_can_be_saved_to(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", fails_for_folders(errno.EINVAL))
    save_checkpoint(tmp_path / "a.npz", {"n": 1})
    assert load_checkpoint(tmp_path / "a.npz") == {"n": 1}


@posix
def test_a_folder_that_could_not_be_synced_is_told_truly(tmp_path, monkeypatch):
    save_checkpoint(tmp_path / "a.npz", {"n": 1})
    monkeypatch.setattr(os, "fsync", fails_for_folders(errno.EIO))
    with pytest.raises(CheckpointError, match=r"a\.npz: written, but the disk may lose it: Input/output error"):
        save_checkpoint(tmp_path / "a.npz", {"n": 2})
    assert load_checkpoint(tmp_path / "a.npz") == {"n": 2}


def full(*args):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


WRITES = {
    "a text": lambda path: write_whole(path, "new"),
    "a picture": lambda path: viz.save(viz.bars_figure({"a": {"b": (1.0, 0.5)}}), path),
    "a checkpoint": lambda path: save_checkpoint(path, {"W": np.ones(3)}),
}


@pytest.mark.parametrize("what", WRITES)
def test_a_full_disk_is_told_with_the_path_and_what_was_there_stays(what, tmp_path, monkeypatch):
    path = tmp_path / "there"
    path.write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises((OSError, CheckpointError)) as caught:
        WRITES[what](path)
    assert str(caught.value) == f"{path}: cannot be written: No space left on device; what was there is untouched"
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_full_disk_is_told_with_the_path_where_lines_are_added():
    with pytest.raises(OSError, match="/dev/full: cannot be written: No space left"), append("/dev/full") as file:
        file.write("a line\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
@pytest.mark.parametrize("command", most_later(["train", "compare"], now=["train"]))
def test_a_disk_that_is_full_in_the_middle_of_a_run_is_told_in_one_line(command, tmp_path, monkeypatch, capsys):
    added = files.append
    monkeypatch.setattr("dgsa_np.lab.runs.append", lambda path: added("/dev/full"))
    monkeypatch.setattr("dgsa_np.lab.evidence.grid.append", lambda path: added("/dev/full"))
    size = ["--width", "8", "--n-heads", "1", "--depth", "1", "--epochs", "1", "--batch-size", "256", "--device", "cpu"]
    one = ["--seeds", "1", "--jobs", "1", "--train-size", "300", "--test-size", "20"] if command == "compare" else []
    assert main([command, "--out", str(tmp_path / "run"), *size, *one]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == "dgsa-np: /dev/full: cannot be written: No space left on device"


# ---------------------------------------------------------------------- what others have left there


def test_only_our_own_unfinished_files_are_deleted(tmp_path, monkeypatch):
    """Names that Syncthing, an editor and a careful user gave to theirs."""
    made = settle(GIVEN)
    held = runs.begin(tmp_path, *made)
    foreign = [".syncthing.checkpoint.npz.tmp", ".checkpoint.npz.bak", ".checkpoint.npz.1", ".best.npz.swp", ".notes"]
    ours = [f".checkpoint.npz.1-2{files.UNFINISHED}", f".metrics.jsonl.77-140{files.UNFINISHED}"]
    for name in foreign + ours:
        (tmp_path / name).write_text("mine")
    runs.follow(tmp_path, *made[1:], held)
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == sorted(foreign)


# --------------------------------------------------------------------------------------- one writer


def test_one_writer_at_a_time(tmp_path):
    with sole_writer(tmp_path / "a"):
        with pytest.raises(FolderInUseError, match="something else is writing to this folder"):
            sole_writer(tmp_path / "a").__enter__()
        with sole_writer(tmp_path / "b"):
            pass
    with sole_writer(tmp_path / "a"):
        pass


HOLDING = """
import sys, time
from dgsa_np.files import sole_writer
with sole_writer(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


@posix
def test_the_lock_of_a_process_that_was_killed_is_none(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLDING, str(tmp_path / "a")], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(FolderInUseError):
        sole_writer(tmp_path / "a").__enter__()
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    with sole_writer(tmp_path / "a"):
        pass


def test_a_grid_leaves_the_unfinished_files_of_a_report_alone(tmp_path):
    """A report may be written while a grid is running."""
    (tmp_path / "models").mkdir()
    ours = [tmp_path / f".comparisons.json.1-2{files.UNFINISHED}", tmp_path / f"models/.ab.npz.1-2{files.UNFINISHED}"]
    others = [tmp_path / f".report.html.1-2{files.UNFINISHED}"]
    (tmp_path / f".comparisons.json.3-4{files.UNFINISHED}").mkdir()  # a folder is nobody's unfinished file
    for path in ours + others:
        path.write_text("half")
    with sole_writer(tmp_path / "runs.jsonl", ("comparisons.json", "models/*")):
        assert [p.exists() for p in ours + others] == [False, False, True]


@posix
def test_a_lock_that_fails_otherwise_is_told(tmp_path, monkeypatch):
    import fcntl

    def fails(*args):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", fails)
    with pytest.raises(OSError, match="Input/output error"):
        sole_writer(tmp_path / "a").__enter__()


def test_what_is_synced_is_the_whole_content_and_no_handle_is_left(tmp_path, monkeypatch):
    sizes, fsync, handles = [], os.fsync, "/proc/self/fd"
    monkeypatch.setattr(os, "fsync", lambda handle: (sizes.append(os.fstat(handle).st_size), fsync(handle)))
    before = len(os.listdir(handles)) if os.path.isdir(handles) else 0
    write_whole(tmp_path / "a/b/c.txt", "é" * 100)
    write_whole(tmp_path / "a/b/c.txt", b"bytes")
    assert 200 in sizes and 5 in sizes and (tmp_path / "a/b/c.txt").read_bytes() == b"bytes"
    assert before == (len(os.listdir(handles)) if os.path.isdir(handles) else 0)


@posix
def test_where_the_file_system_has_no_locks_there_is_none(tmp_path, monkeypatch):
    import fcntl

    def lacks(*args):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", lacks)
    with sole_writer(tmp_path / "a"), sole_writer(tmp_path / "a"):
        pass


def test_a_second_process_is_kept_out_of_a_run_and_of_a_grid(tmp_path, capsys):
    """It is told before anything is written."""
    run_whole(tmp_path / "run", GIVEN)
    (tmp_path / "grid").mkdir()
    with sole_writer(tmp_path / "run/config.json"), sole_writer(tmp_path / "grid/runs.jsonl"):
        before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
        for argv in (["train", "--resume", tmp_path / "run"], ["compare", "--out", tmp_path / "grid", "--seeds", "1"]):
            assert main([str(a) for a in argv]) == 2
            assert "something else is writing to this folder" in capsys.readouterr().err
        assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_two_threads_cannot_go_on_with_one_run(tmp_path, monkeypatch):
    made = settle(GIVEN)
    held, said = runs.begin(tmp_path, *made), []
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        break_at(patch, 1)
        runs.follow(tmp_path, *made[1:], held)

    def work():
        try:
            runs.follow(tmp_path, *made[1:], held)
        except FolderInUseError as error:
            said.append(str(error))

    with sole_writer(Path(tmp_path) / "config.json"):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert len(said) == 1 and str(tmp_path) in said[0]
    runs.follow(tmp_path, *made[1:], held)
