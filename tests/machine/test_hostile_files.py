"""Damaged files by the ten thousand, headers that lie, pickles and bombs: read right, or refused,
and nothing runs.

Each test prints its figures. Short versions stand in test_checkpoint.py and test_fuzzed_data.py.
"""

import io
import os
import pickle
import struct
import sys
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
from support.checkpoints import ONES, Bomb, W, lies, manifest, same_state
from support.commands import output
from support.damage import Tally, rewrite, spoil
from support.data_files import FUZZ, IMAGES, idx, write_idx
from support.zips import AT, FAKE_END, FAR, LISTED, NO_PLACE, SIZE, by_hand, large, one

from dgsa_np.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from dgsa_np.data import DataError
from dgsa_np.lab import runs
from dgsa_np.lab.settings import settle

pytestmark = [pytest.mark.torture, pytest.mark.skipif(os.name != "posix", reason="kills and limits are POSIX")]
STATES = [
    {"n": 1, "W": np.arange(5.0), "b": [np.ones((2, 1), "float32"), None]},
    {"n": 2, "W": np.arange(40_000.0).reshape(200, 200), "words": ["a", "é"], "empty": np.zeros((0, 3), "int64")},
    {"n": 3} | {f"array {i}": np.random.default_rng(i).random((7, 11)) for i in range(30)},
]


# ------------------------------------------------------------------------------ nothing is executed


class Watch:
    """Hears of code from texts, of unpickling and of what a bomb could do, while it listens."""

    suspect = ("pickle.find_class", "os.mkdir", "os.system", "os.exec", "os.fork", "os.posix_spawn", "subprocess.Popen")

    def __init__(self):
        self.listens, self.heard = False, []
        sys.addaudithook(self.hear)

    def hear(self, event, args):
        if self.listens and (event in self.suspect or (event == "exec" and args[0].co_filename == "<string>")):
            self.heard.append(event)

    def __enter__(self):
        self.listens, self.heard = True, []
        return self.heard

    def __exit__(self, *error):
        self.listens = False


@pytest.fixture(scope="module")
def watch(tmp_path_factory):
    """A watch that is awake: it hears a bomb go off."""
    made = Watch()
    with made as heard:
        pickle.loads(pickle.dumps(Bomb(tmp_path_factory.mktemp("bombs") / "was run")))
        eval("1 + 1")
    assert {"pickle.find_class", "os.mkdir", "exec"} <= set(heard)
    return made


# ------------------------------------------------------------------------------------ damaged files


def saved_whole(tmp_path):
    """Pairs of a state and the file that holds it, that of a run among them."""
    runs.begin(tmp_path / "run", *settle({"width": 8, "n_heads": 2, "depth": 1, "device": "cpu"}))
    files = [tmp_path / f"{i}.npz" for i in range(len(STATES))]
    for path, state in zip(files, STATES, strict=True):
        save_checkpoint(path, state)
    files.append(tmp_path / "run/checkpoint.npz")
    return [(load_checkpoint(path), path.read_bytes()) for path in files]


def check_checkpoint(path, *states):
    held = load_checkpoint(path)
    assert any(same_state(state, held) for state in states), "silently wrong"


@pytest.mark.filterwarnings("ignore")  # numpy warns of some headers; a warning must not stand for a refusal
def test_damaged_checkpoints(tmp_path, tell, watch):
    whole, rng, path = saved_whole(tmp_path), np.random.default_rng(0), tmp_path / "x.npz"
    tally = Tally(CheckpointError)
    for state, content in whole:
        rewrite(path, content)
        check_checkpoint(path, state)
    with watch as heard:
        for i in range(14_000):
            (state, content), (another, other) = (whole[n] for n in rng.choice(4, 2, p=[0.4, 0.2, 0.3, 0.1]))
            spoilt, kinds = spoil(content, rng, other)
            rewrite(path, spoilt)
            right = (state, another) if "join" in kinds else (state,)
            tally.count(i, lambda right=right: check_checkpoint(path, *right))
        for i in range(14_000, 20_000):
            state, content = whole[rng.choice([0, 2])]
            rewrite(path, repacked(content, rng))
            tally.count(i, lambda state=state: check_arrays(path, state))
    assert heard == []
    tell(f"damaged checkpoints: {tally}, 0 executed")


def repacked(content, rng):
    """One member spoilt, and all sums of the zip right again: the manifest alone can tell."""
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        members = {name: file.read(name) for name in file.namelist()}
    names = list(members)
    name = names[0] if rng.random() < 0.3 else names[rng.integers(1, len(names))]
    members[name], _ = spoil(members[name], rng, members[names[rng.integers(len(names))]])
    return by_hand([(n, c, {}) for n, c in members.items()])


def check_arrays(path, state):
    """Words and numbers of a manifest that was written anew are what it says;
    no array is another than it was.
    """
    known = list(arrays(state))
    assert all(any(same_state(a, b) for b in known) for a in arrays(load_checkpoint(path))), "silently wrong"


def arrays(tree):
    """The arrays of a tree."""
    if isinstance(tree, np.ndarray):
        yield tree
    elif isinstance(tree, (dict, list)):
        for branch in tree.values() if isinstance(tree, dict) else tree:
            yield from arrays(branch)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FUZZ)
def test_damaged_data(name, tmp_path, tell, watch):
    """A changed pixel of an idx file that is not packed looks like any other:
    there shapes are compared.
    """
    write, check = FUZZ[name]
    write(tmp_path)
    check(tmp_path)
    paths, rng, tally = sorted(tmp_path.iterdir()), np.random.default_rng(2), Tally(DataError)
    whole = {path: path.read_bytes() for path in paths}
    with watch as heard:
        for i in range(2000):
            path, other = (paths[n] for n in rng.integers(len(paths), size=2))
            rewrite(path, spoil(whole[path], rng, whole[other])[0])
            tally.count(i, lambda: check(tmp_path))
            rewrite(path, whole[path])
    assert heard == []
    tell(f"damaged data, {name}: {tally}")


# ------------------------------------------------------------------------------------ hostile files


def nested():
    """V.npy lies whole in what W.npy has after its numbers."""
    listed = manifest({**ONES, "__array__": "V"}).encode()
    inner = by_hand([("V.npy", W[1], {})])[: 30 + len("V.npy") + SIZE]
    place = 30 + len(LISTED[0]) + len(listed) + 30 + len(W[0]) + SIZE
    lie = {"crc": zlib.crc32(W[1]), "packed": SIZE, "size": SIZE, "offset": place}
    return by_hand([("manifest.json", listed, {}), ("W.npy", W[1] + inner, {}), ("V.npy", b"", lie)])


CRAFTED = {  # what must come of it: the state is right, the file is refused, or None: either
    "the truth": (one(), "right"),
    "the truth, as of a large file": (one(zip64={}), "right"),
    "the truth, in extra fields": (one(large(SIZE, AT)), "right"),
    "before it junk": (one(before=bytes(100_000)), "right"),
    "a huge comment": (one(comment=b"x" * 65535), "right"),
    "a comment with an end in it": (one(comment=FAKE_END * 100), None),
    "a comment that is a checkpoint": (one(comment=one()), None),
    "encrypted": (one({"flags": 1}), "refused"),
    "encrypted strongly": (one({"flags": 0x41}), "refused"),
    "a patch": (one({"flags": 0x20}), "refused"),
    "an unknown method": (one({"method": 99}), "refused"),
    "deflated": (one({"method": 8}), "refused"),
    "another sum": (one({"crc": 0}), "refused"),
    "smaller": (one({"packed": SIZE - 8, "size": SIZE - 8}), "refused"),
    "larger": (one({"packed": SIZE + 8, "size": SIZE + 8}), "refused"),
    "much larger": (one({"packed": 2**31, "size": 2**31}), "refused"),
    "larger unpacked": (one({"size": 2**31}), "refused"),
    "of no size": (one({"packed": 0, "size": 0}), "refused"),
    "beyond the file": (one({"offset": 10**9}), "refused"),
    "at the manifest": (one({"offset": 0}), "refused"),
    "at no header": (one({"offset": 7}), "refused"),
    "no place": (one(NO_PLACE), "refused"),
    "large beyond all": (one(large(FAR, AT)), "refused"),
    "beyond all": (one(large(SIZE, FAR)), "refused"),
    "an extra field cut off": (one(NO_PLACE | {"extra": b"\1\0\x18\0" + bytes(8)}), "refused"),
    "an extra field that lies about its size": (one({"extra": b"\1\0\xff\xff" + bytes(8)}), "refused"),
    "a record of 2**63 entries": (one(zip64={"here": FAR, "all": FAR}), None),
    "a directory of 2**63 bytes": (one(zip64={"size": FAR}), "refused"),
    "a directory beyond all": (one(zip64={"offset": FAR}), "refused"),
    "a record beyond the file": (one(zip64={"at": 10**12}), None),
    "two disks": (one(zip64={"disks": 2}), "refused"),
    "no entries by the end": (one(all=0), None),
    "a directory of no bytes": (one(size=0), "refused"),
    "a directory of 4 GB": (one(size=2**32 - 1), "refused"),
    "a directory beyond the file": (one(offset=2**31), "refused"),
    "another name in the directory": (one({"name": b"V.npy"}), "refused"),
    "a name cut by a zero": (by_hand([(*LISTED, {}), (*W, {}), ("W.npy\0", W[1], {})]), "refused"),
    "a folder beside it": (by_hand([(*LISTED, {}), (*W, {}), ("folder/", b"", {})]), "refused"),
    "a path out of the folder": (by_hand([(*LISTED, {}), (*W, {}), ("../../out.npy", W[1], {})]), "refused"),
    "an array twice": (by_hand([(*LISTED, {}), (*W, {}), (*W, {})]), "refused"),
    "a manifest twice": (by_hand([(*LISTED, {}), (*LISTED, {}), (*W, {})]), "refused"),
    "an array twice under two ends": (by_hand([(*LISTED, {}), ("W.abc", b"junk", {}), (*W, {})]), None),
    "one place for two names": (by_hand([(*LISTED, {}), (*W, {}), ("V.npy", W[1], {"offset": AT})]), "refused"),
    "one place for 1,000 names": (
        by_hand([(*LISTED, {}), (*W, {}), *((f"{i}.npy", b"", large(SIZE, AT)) for i in range(1000))]),
        "refused",
    ),
    "a member in a member": (nested(), None),
}


@pytest.mark.filterwarnings("ignore")
def test_headers_that_lie(tmp_path, tell, watch):
    path, tally, rng, wrong = tmp_path / "x.npz", Tally(CheckpointError), np.random.default_rng(3), {}
    state, whole = saved_whole(tmp_path)[2]
    single = list(lies(whole))
    with watch as heard:
        for name, (content, expected) in CRAFTED.items():
            before = tally.right
            rewrite(path, content)
            tally.count(name, lambda: check_checkpoint(path, [np.ones(2)], 2 * [np.ones(2)]))
            if expected not in (None, "right" if tally.right > before else "refused"):
                wrong[name] = expected
        for i in range(8000):
            content = whole
            for place, size, value in [single[n] for n in rng.integers(len(single), size=rng.integers(1, 5))]:
                content = content[:place] + value.to_bytes(size, "little") + content[place + size :]
            rewrite(path, content)
            tally.count(i, lambda: check_checkpoint(path, state))
    assert wrong == {} and heard == []
    assert {p.name for p in tmp_path.iterdir()} == {"x.npz", "run", *(f"{i}.npz" for i in range(len(STATES)))}
    tell(f"headers that lie: {len(CRAFTED)} by hand, 8,000 at random of {len(single)} lies; {tally}, 0 executed")


def pickles(bomb):
    """Contents of W.npy that would run code if they were unpickled or evaluated."""
    objects = [np.array([bomb], object), np.array(bomb, object), np.array([(bomb, 1.0)], [("a", object), ("b", "f8")])]
    for i, a in enumerate(objects):
        for version in ((1, 0), (2, 0), (3, 0)):
            file = io.BytesIO()
            np.lib.format.write_array(file, a, version=version, allow_pickle=True)
            yield f"objects {i} {version}", file.getvalue()
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        yield f"pickle {protocol}", pickle.dumps(bomb, protocol)
    truth, call = b"'descr': '<f8'", f"__import__('os').mkdir({str(bomb.path)!r})".encode()
    calls = {"value": b"'descr': " + call, "key": call + b": 1, " + truth, "dict": b"**" + call + b", " + truth}
    for name, text in calls.items():
        head = W[1][10 : 10 + W[1][8]].replace(truth, text).strip() + b"\n"
        yield f"a call for {name}", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + W[1][-16:]
    savez = io.BytesIO()
    np.savez(savez, W=objects[0])
    yield "an archive", savez.getvalue()


@pytest.mark.filterwarnings("ignore")
def test_pickles_and_objects(tmp_path, tell, watch):
    bomb, path, rng = Bomb(tmp_path / "was run"), tmp_path / "x.npz", np.random.default_rng(4)
    listed = [manifest(dtype=dtype, shape=shape).encode() for dtype, shape in (("|O", [1]), ("|O", []), ("<f8", [2]))]
    contents, intact, spoilt = dict(pickles(bomb)), Tally(CheckpointError), Tally(CheckpointError)
    with watch as heard:
        for name, content in contents.items():
            for variant in range(200):
                tally, inner = (intact, content) if variant < 3 else (spoilt, spoil(content, rng, W[1])[0])
                for whole in (by_hand([("manifest.json", listed[variant % 3], {}), ("W.npy", inner, {})]), inner):
                    rewrite(path, whole)
                    tally.count(f"{name}, {variant}", lambda: check_checkpoint(path, [np.ones(2)]))
    assert heard == [] and not bomb.path.exists() and intact.right == 0
    tell(f"pickles, objects, calls: {len(contents)} kinds, {intact}; and damaged, {spoilt}, 0 executed")


BOMBS = """
import resource, sys
from pathlib import Path
from dgsa_np.checkpoint import CheckpointError, load_checkpoint
from dgsa_np.data import DataError, load

def peak():
    status = Path("/proc/self/status")
    if status.exists():  # Linux, where ru_maxrss begins with what the parent had
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)

before = peak()
for path in sys.argv[1:]:
    try:
        load_checkpoint(path) if path.endswith(".npz") else load("imdb" if ".tar" in path else "mnist", path)
    except (CheckpointError, DataError):
        pass
    else:
        sys.exit(f"{path} was opened")
print(peak() - before)
"""
GIGA = 2**30


def test_bombs(tmp_path, tell):
    """Small files that would fill the memory."""
    zeros = deflated(b"", GIGA)
    size = {"packed": len(zeros), "size": len(zeros)}
    bombs = {
        "deflated": one({"method": 8, "size": GIGA}, zeros),
        "deflated, said to be stored": one(size, zeros),
        "deflated, sizes that agree": one({"method": 8} | size, zeros),
        "stored, a gigabyte": one({"packed": GIGA, "size": GIGA}, zeros),
        "stored, a gigabyte in an extra field": one(large(GIGA, AT), zeros),
        "one place for 1,000 names": by_hand(
            [(*LISTED, {}), ("W.npy", zeros, {}), *((f"{i}.npy", b"", size | {"offset": AT}) for i in range(1000))]
        ),
    }
    for shape in ("(1073741824,)", "(99999999999,)", f"({2**62},)"):
        bombs[f"an array {shape}"] = one(content=W[1].replace(b"(2,)", shape.encode()))
    for i, content in enumerate(bombs.values()):
        rewrite(tmp_path / f"{i}.npz", content)
    images, promise = idx(IMAGES["train"]), bytes([0, 0, 8, 3]) + struct.pack(">3I", 36, 5000, 5000)
    packed = {"a gigabyte more": gz(images, GIGA), "a gigabyte promised": gz(promise, 5)}
    plain = {"a gigabyte promised, not packed": promise + bytes(5)}
    for name, content in (packed | plain).items():
        end = ".gz" if name in packed else ""
        root = write_idx(tmp_path / name, packed=name in packed)
        rewrite(root / f"train-images-idx3-ubyte{end}", content)
    for what, (kind, size) in {"text": (b"0", GIGA), "name": (b"L", GIGA), "end": (b"5", 0)}.items():
        rewrite(tmp_path / f"a gigabyte of {what}.tar.gz", deflated(head(kind, size), GIGA, wbits=31))
    rewrite(tmp_path / "many folders.tar.gz", deflated(head(b"5", 0) * 300_000, 2**20, wbits=31))
    files = [*tmp_path.glob("*.npz"), *(tmp_path / name for name in packed | plain), *tmp_path.glob("*.tar.gz")]
    grown = float(output(sys.executable, "-c", BOMBS, *files))
    assert grown < 64
    largest = max(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    tell(f"bombs: {len(files)} refused, the largest file {largest / 2**20:.1f} MiB, memory grew by {grown:.0f} MiB")


def deflated(head, n, wbits=-15):
    """A head and n zeros, packed as in a zip."""
    packer = zlib.compressobj(9, wbits=wbits)
    parts = [packer.compress(head), *(packer.compress(bytes(2**20)) for _ in range(n // 2**20)), packer.flush()]
    return b"".join(parts)


def head(kind, size):
    """The head of a member of an archive: a review or, of kind 5, a folder."""
    member = tarfile.TarInfo("aclImdb" if kind == b"5" else "aclImdb/train/pos/0_9.txt")
    member.type, member.size = kind, size
    return member.tobuf()


def gz(head, n):
    return deflated(head + bytes(n % 2**20), n, wbits=31)  # 31: with a head and a sum
