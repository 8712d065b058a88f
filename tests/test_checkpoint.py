"""Checkpoints: what comes back is what was saved, bit for bit, or an error."""

import io
import json
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from dgsa_np.checkpoint import FORMAT, CheckpointError, load_checkpoint, save_checkpoint
from dgsa_np.gradcheck import same_bits

STATE = {
    "params": {"W": np.arange(12.0).reshape(3, 4), "b": [np.float32([1, np.nan, np.inf]), np.array(7)]},
    "kinds": [np.ones(2, t) for t in ("bool", "uint8", "int64", "float16", "complex128")],
    "shapes": {"none": np.zeros((0, 3)), "turned": np.asfortranarray(np.ones((2, 3))), "strided": np.arange(9)[::-2]},
    "numbers": [1, -(2**127), 0.1, True, None, float("inf")],
    "text": {"a word": 'é "quoted"\n', "empty": "", "list": [], "dict": {}},
}


def same(a, b):
    if isinstance(a, np.ndarray):
        return same_bits(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def test_what_is_saved_comes_back(tmp_path):
    save_checkpoint(tmp_path / "a.npz", STATE)
    assert same(STATE, load_checkpoint(tmp_path / "a.npz"))
    assert same([1, [2.5]], load_checkpoint(saved(tmp_path, (1, (2.5,)))))  # a tuple comes back as a list
    assert same(np.arange(3), load_checkpoint(saved(tmp_path, np.arange(3))))


def saved(tmp_path, state):
    save_checkpoint(tmp_path / "b.npz", state)
    return tmp_path / "b.npz"


def test_anyone_can_read_the_arrays(tmp_path):
    with np.load(saved(tmp_path, STATE)) as file:
        assert np.array_equal(file["params.W"], STATE["params"]["W"])


def test_nothing_but_the_checkpoint_is_left_in_the_folder(tmp_path):
    for _ in range(2):
        saved(tmp_path, STATE)
    assert [p.name for p in tmp_path.iterdir()] == ["b.npz"]


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"a": {"b": object()}}, r"state\.a\.b is object"),
        ({"a": [np.float32(1)]}, r"state\.a\.0 is float32"),
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


# --------------------------------------------------------------------------------------- damaged files


def test_fuzzed_files_are_read_right_or_refused(tmp_path):
    small = {"W": np.arange(5.0), "n": 3}
    path, fuzz, refused = saved(tmp_path, small), np.random.default_rng(0), 0
    whole = path.read_bytes()
    for _ in range(1500):
        path.write_bytes(mutate(whole, fuzz))
        try:
            assert same(small, load_checkpoint(path))
        except CheckpointError:
            refused += 1
    assert refused > 1000


def mutate(whole, fuzz):
    """Bytes changed, cut off, or put in."""
    content = bytearray(whole)
    for place in fuzz.integers(0, len(content), fuzz.integers(1, 4)):
        content[place] = fuzz.integers(256)
    if fuzz.random() < 0.2:
        content = content[: fuzz.integers(len(content))]
    if fuzz.random() < 0.1:
        place = fuzz.integers(len(content) + 1)
        content[place:place] = fuzz.bytes(3)
    return bytes(content)


def member(a, **options):
    file = io.BytesIO()
    np.save(file, a, **options)
    return file.getvalue()


def manifest(**changes):
    array = {"__array__": "W", "shape": [2], "dtype": "<f8", "sha256": "0" * 64} | changes
    return json.dumps({"format": FORMAT, "state": {"W": array}})


def archive(tmp_path, *members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(tmp_path / "c.npz", "w", compression) as file:
        for name, content in members:
            file.writestr(name, content)
    return tmp_path / "c.npz"


class Bomb:
    """Unpickled, it would leave a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_code_in_a_file_is_never_run(tmp_path):
    pickled = member(np.array([Bomb(tmp_path / "was run")], object), allow_pickle=True)
    with pytest.raises(CheckpointError):
        load_checkpoint(archive(tmp_path, ("manifest.json", manifest(dtype="|O", shape=[1])), ("W.npy", pickled)))
    assert not (tmp_path / "was run").exists()


W = ("W.npy", member(np.ones(2)))
HOSTILE = {
    "no manifest": [W],
    "no JSON": [("manifest.json", "{"), W],
    "a list": [("manifest.json", "[]"), W],
    "another format": [("manifest.json", json.dumps({"format": "x", "state": {}}))],
    "another sum": [("manifest.json", manifest()), W],
    "another shape": [("manifest.json", manifest(shape=[3])), W],
    "another dtype": [("manifest.json", manifest(dtype="<f4")), W],
    "an array that is not there": [("manifest.json", manifest(__array__="V")), W],
    "an array too many": [("manifest.json", json.dumps({"format": FORMAT, "state": {}})), W],
    "no array": [("manifest.json", manifest()), ("W.npy", b"junk")],
    "a huge shape": [("manifest.json", manifest()), ("W.npy", W[1].replace(b"(2,)", b"(99999999999,)"))],
    "deep nesting": [("manifest.json", '{"format": "' + FORMAT + '", "state": ' + "[" * 100000 + "]" * 100000 + "}")],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(name, tmp_path):
    with pytest.raises(CheckpointError, match=r"c\.npz"):
        load_checkpoint(archive(tmp_path, *HOSTILE[name]))


def test_nothing_is_unpacked(tmp_path):
    """A megabyte of zeros packs into a kilobyte: a file that small could fill the memory."""
    zeros = ("W.npy", member(np.zeros(2**17)))
    path = archive(tmp_path, ("manifest.json", manifest()), zeros, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="compressed"):
        load_checkpoint(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="every array once"):
        load_checkpoint(archive(tmp_path, ("manifest.json", manifest()), W, W))


def test_what_is_no_file_is_refused(tmp_path):
    (tmp_path / "empty.npz").touch()
    (tmp_path / "text.npz").write_text("hello")
    for name in ("nowhere.npz", "empty.npz", "text.npz", "."):
        with pytest.raises(CheckpointError):
            load_checkpoint(tmp_path / name)


# ------------------------------------------------------------------------------------- saving that fails


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
