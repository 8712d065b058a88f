"""Checkpoints: what comes back is what was saved, bit for bit, or an error."""

import json
import os
import pickle
import subprocess
import sys
import time
import zipfile
from functools import partial

import numpy as np
import pytest
from support.checkpoints import ONES, Bomb, W, lies, manifest, member, same_state
from support.planting import assert_caught

from dgsa_np import checkpoint, files
from dgsa_np.checkpoint import FORMAT, CheckpointError, load_checkpoint, save_checkpoint
from dgsa_np.gradcheck import same_bits

DTYPES = ["bool", "int8", "uint8", "int64", ">i4", "float16", "float32", ">f8", "longdouble", "complex64", "complex128"]
STATE = {
    "params": {"W": np.arange(12.0).reshape(3, 4), "b": [np.float32([1, np.nan, np.inf]), np.array(7)]},
    "kinds": [np.arange(3).astype(t) for t in DTYPES],
    "shapes": {"none": np.zeros((0, 3)), "turned": np.arange(6.0).reshape(2, 3).T, "strided": np.arange(9)[::-2]},
    "numbers": [1, 2**128 - 1, -(2**127), 0.1, -0.0, 5e-324, True, None, float("inf")],
    "text": {"a word": 'é "quoted" \\ \0\n\u2028🙂', "größe-1_b": "", "list": [], "dict": {}},
}


def test_what_is_saved_comes_back(tmp_path):
    save_checkpoint(tmp_path / "a.npz", STATE)
    assert same_state(STATE, load_checkpoint(tmp_path / "a.npz"))
    assert same_state([1, [2.5]], load_checkpoint(saved(tmp_path, (1, (2.5,)))))  # a tuple comes back as a list
    for state in (np.arange(3), float("nan"), None, "", {}, []):
        assert same_state(state, load_checkpoint(saved(tmp_path, state)))


def test_the_state_of_a_generator_comes_back(tmp_path):
    rng = np.random.default_rng(7)
    again = np.random.default_rng()
    again.bit_generator.state = load_checkpoint(saved(tmp_path, rng.bit_generator.state))
    assert np.array_equal(rng.random(9), again.random(9))


def saved(tmp_path, state):
    save_checkpoint(tmp_path / "b.npz", state)
    return tmp_path / "b.npz"


def test_anyone_can_read_the_arrays(tmp_path):
    with np.load(saved(tmp_path, STATE)) as file:
        assert np.array_equal(file["params.W"], STATE["params"]["W"])
        assert same_bits(file["params.b.1"], STATE["params"]["b"][1]) and "shapes.strided" in file.files


def test_nothing_but_the_checkpoint_is_left_in_the_folder(tmp_path):
    for _ in range(2):
        saved(tmp_path, STATE)
    assert [p.name for p in tmp_path.iterdir()] == ["b.npz"]


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"a": {"b": object()}}, r"state\.a\.b is object"),
        ({"a": [np.float32(1)]}, r"state\.a\.0 is float32"),
        ({"a": (1, np.float64(1))}, r"state\.a\.1 is float64"),
        ({"a": np.int64(1)}, r"state\.a is int64"),
        ({"a": b"x"}, r"state\.a is bytes"),
        ({"a": {1, 2}}, r"state\.a is set"),
        ({"a": 1j}, r"state\.a is complex"),
        ({"a": np.zeros(1, "M8[s]")}, r"state\.a is ndarray"),
        ({"a": np.zeros(1, [("x", "f8")])}, r"state\.a is ndarray"),
        ({"a": np.array([None])}, r"state\.a is ndarray"),
        ({"a": np.array(["x"])}, r"state\.a is ndarray"),
        ({1: 2}, "the key 1"),
        ({"a.b": 1}, "the key 'a.b'"),
        ({"a/b": 1}, "the key 'a/b'"),
        ({"__array__": 1}, "the key '__array__'"),
        ({"": 1}, "the key ''"),
    ],
)
def test_what_cannot_be_saved_is_named_and_nothing_is_written(state, words, tmp_path):
    with pytest.raises(TypeError, match=words):
        saved(tmp_path, state)
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------ damaged files


@pytest.mark.parametrize("n", [300, pytest.param(3000, marks=pytest.mark.slow)])
def test_fuzzed_files_are_read_right_or_refused(n, tmp_path, fuzzed):
    small = {"W": np.arange(5.0), "b": [np.ones((2, 1), "float32"), None], "n": 3}
    path, refused, start = saved(tmp_path, small), 0, time.monotonic()
    for _ in fuzzed([path], n):
        try:
            assert same_state(small, load_checkpoint(path))
        except CheckpointError:
            refused += 1
    assert 2 * n / 3 < refused < n and time.monotonic() - start < 30


def archive(tmp_path, *members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(tmp_path / "c.npz", "w", compression) as file:
        for name, content in members:
            file.writestr(name, content)
    return tmp_path / "c.npz"


def test_code_in_a_file_is_never_run(tmp_path):
    bomb = Bomb(tmp_path / "was run")
    listed = ("manifest.json", manifest(dtype="|O", shape=[1]))
    for content in (member(np.array([bomb], object), allow_pickle=True), pickle.dumps(bomb)):
        with pytest.raises(CheckpointError):
            load_checkpoint(archive(tmp_path, listed, ("W.npy", content)))
    (tmp_path / "pickled.npz").write_bytes(pickle.dumps(bomb))
    with pytest.raises(CheckpointError, match=r"pickled\.npz: damaged, or no checkpoint"):
        load_checkpoint(tmp_path / "pickled.npz")
    assert not (tmp_path / "was run").exists()
    with pytest.raises(ValueError, match="allow_pickle"):
        np.load(archive(tmp_path, ("W.npy", member(np.array([bomb], object), allow_pickle=True))))["W"]
    pickle.loads(pickle.dumps(bomb))
    assert (tmp_path / "was run").exists()  # the bomb is a live one


HOSTILE = {
    "no manifest": [W],
    "no JSON": [("manifest.json", "{"), W],
    "a list": [("manifest.json", "[]"), W],
    "no state": [("manifest.json", json.dumps({"format": FORMAT}))],
    "no UTF-8": [("manifest.json", b"\xff\xfe{"), W],
    "another format": [("manifest.json", json.dumps({"format": "x", "state": {}}))],
    "another sum": [("manifest.json", manifest(sha256="0" * 64)), W],
    "another shape": [("manifest.json", manifest(shape=[3])), W],
    "another dtype": [("manifest.json", manifest(dtype="<f4")), W],
    "an array that is not there": [("manifest.json", manifest(__array__="V")), W],
    "an array twice in the tree": [("manifest.json", manifest(ONES)), W],
    "a list for a name": [("manifest.json", manifest(__array__=["W"])), W],
    "no sum": [("manifest.json", json.dumps({"format": FORMAT, "state": {"__array__": "W"}})), W],
    "an array too many": [("manifest.json", json.dumps({"format": FORMAT, "state": {}})), W],
    "no array": [("manifest.json", manifest()), ("W.npy", b"junk")],
    "a huge shape": [("manifest.json", manifest()), ("W.npy", W[1].replace(b"(2,)", b"(99999999999,)"))],
    "a large shape": [("manifest.json", manifest()), ("W.npy", W[1].replace(b"(2,)", b"(1073741824,)"))],
    "a negative shape": [("manifest.json", manifest(shape=[-2])), ("W.npy", W[1].replace(b"(2,)", b"(-2,)"))],
    "deep nesting": [("manifest.json", '{"format": "' + FORMAT + '", "state": ' + "[" * 100000 + "]" * 100000 + "}")],
}


def test_what_the_hostile_files_spoil_is_read(tmp_path):
    assert same_state([np.ones(2)], load_checkpoint(archive(tmp_path, ("manifest.json", manifest()), W)))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(name, tmp_path):
    with pytest.raises(CheckpointError, match=r"c\.npz"):
        load_checkpoint(archive(tmp_path, *HOSTILE[name]))


def test_nothing_is_unpacked(tmp_path):
    """A megabyte of zeros packs into a kilobyte: a file that small could fill the memory."""
    zeros = ("W.npy", member(np.zeros(2**17)))
    for compression in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        path = archive(tmp_path, ("manifest.json", manifest()), zeros, compression=compression)
        with pytest.raises(CheckpointError, match="a member is compressed"):
            load_checkpoint(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice_is_refused(tmp_path):
    listed = ("manifest.json", manifest())
    for members in ((listed, W, W), (listed, listed, W)):
        with pytest.raises(CheckpointError, match="every array once"):
            load_checkpoint(archive(tmp_path, *members))


def test_a_header_that_lies_is_seen_through(tmp_path):
    """Encrypted, beyond the file, of another size, of no size: read right or refused."""
    path, refused = archive(tmp_path, ("manifest.json", manifest()), W), set()
    whole = path.read_bytes()
    for place, size, value in lies(whole):
        path.unlink()
        path.write_bytes(whole[:place] + value.to_bytes(size, "little") + whole[place + size :])
        try:
            assert same_state([np.ones(2)], load_checkpoint(path))
        except CheckpointError:
            refused.add(place)
    assert len(refused) > 20  # fields of the directory that matter; what stands beside the members hardly does


def test_what_is_no_file_is_refused(tmp_path):
    (tmp_path / "empty.npz").touch()
    (tmp_path / "text.npz").write_text("hello")
    np.savez(tmp_path / "arrays.npz", W=np.ones(2))
    (tmp_path / "folder").mkdir()
    said = {
        "nowhere.npz": "there is no such file",
        "empty.npz": "damaged, or no checkpoint",
        "text.npz": "damaged, or no checkpoint",
        "arrays.npz": "expected manifest.json and every array once",
        "folder": "damaged, or no checkpoint",
    }
    for name, words in said.items():
        with pytest.raises(CheckpointError, match=f"{name}: {words}"):
            load_checkpoint(tmp_path / name)


# -------------------------------------------------------------------------------- saving that fails


@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_a_save_that_fails_leaves_the_old_checkpoint(call, tmp_path, monkeypatch):
    path = saved(tmp_path, {"n": 1})

    def fail(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(CheckpointError, match="No space left on device; what was there is untouched"):
            saved(tmp_path, {"n": 2})
    assert load_checkpoint(path) == {"n": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["b.npz"]


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"nowhere.*cannot be written"):
        save_checkpoint(tmp_path / "nowhere/a.npz", {"n": 1})


LIMITED = """
import resource, signal, sys
import numpy as np
from dgsa_np.checkpoint import CheckpointError, save_checkpoint
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save_checkpoint(sys.argv[1], {"W": np.ones(100_000)})
except CheckpointError as error:
    print(error)
"""


@pytest.mark.skipif(os.name != "posix", reason="file-size limits are POSIX")
def test_a_file_size_limit_is_told_and_the_old_checkpoint_stays(tmp_path):
    path = saved(tmp_path, {"n": 1})
    done = subprocess.run([sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, check=True)
    assert "cannot be written: File too large" in done.stdout
    assert load_checkpoint(path) == {"n": 1} and [p.name for p in tmp_path.iterdir()] == ["b.npz"]


SAVING = """
import sys
import numpy as np
from dgsa_np.checkpoint import save_checkpoint
print("ready", flush=True)
for n in range(10**9):
    save_checkpoint(sys.argv[1], {"n": n, "W": np.full(200_000, n)})
"""


@pytest.mark.slow
def test_kill_9_while_saving_leaves_a_whole_checkpoint(tmp_path):
    path, moments, unfinished = saved(tmp_path, {"n": -1, "W": np.full(3, -1)}), np.random.default_rng(0), 0
    for _ in range(20):
        process = subprocess.Popen([sys.executable, "-c", SAVING, str(path)], stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(moments.uniform(0, 0.02))
        process.kill()
        process.communicate()
        state = load_checkpoint(path)
        assert (state["W"] == state["n"]).all()
        left = [p for p in tmp_path.iterdir() if p != path]
        unfinished += len(left)
        assert len(left) <= 1 and all(p.name.startswith(f".b.npz.{process.pid}-") for p in left)
        for p in left:
            p.unlink()
    assert unfinished  # some were killed while they wrote


# ------------------------------------------------------------------------------------- planted bugs

BUGS = {  # what is wrong: (the test that catches it, the change)
    "a checkpoint is not looked at": (
        lambda tmp_path, _: test_hostile_files_are_refused("another sum", tmp_path),
        (
            checkpoint._restore,
            '_sha256(a)] != [tree["shape"], tree["dtype"], tree["sha256"]]',
            '0] != [tree["shape"], tree["dtype"], 0]',
        ),
    ),
    "arrays are unpacked": (
        lambda tmp_path, _: test_nothing_is_unpacked(tmp_path),
        (
            checkpoint._check_members,
            "m.compress_type != zipfile.ZIP_STORED or m.file_size != m.compress_size",
            "False",
        ),
    ),
    "a checkpoint is written in place": (
        lambda *given: test_a_save_that_fails_leaves_the_old_checkpoint("replace", *given),
        (files.whole_file.__wrapped__, "aside = place.with_name", "aside = place or place.with_name"),
    ),
}


@pytest.mark.parametrize("name", BUGS)
def test_planted_bugs_are_caught(name, tmp_path, monkeypatch):
    test, change = BUGS[name]
    assert_caught(partial(test, tmp_path, monkeypatch), change)
