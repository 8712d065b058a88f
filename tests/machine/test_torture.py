"""What takes minutes: kills, full disks, damaged files by the ten thousand, Ctrl-C. `make torture` prints the figures.

Each test prints one line. Short versions of them stand in test_checkpoint.py, test_fuzzed_data.py and test_runs.py.
"""

import hashlib
import io
import json
import os
import pickle
import shutil
import signal
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from collections import Counter
from itertools import product

import numpy as np
import pytest
from support.data_files import FUZZ, IMAGES, idx, write_idx
from test_checkpoint import ONES, Bomb, W, lies, manifest, same
from test_runs import assert_same, break_at, flags, run_whole

from dgsa_np.attention import KINDS
from dgsa_np.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from dgsa_np.data import DataError
from dgsa_np.lab import runs
from dgsa_np.lab.settings import settle

pytestmark = [pytest.mark.torture, pytest.mark.skipif(os.name != "posix", reason="kills and limits are POSIX")]

LISTED = ("manifest.json", manifest().encode())
STATES = [
    {"n": 1, "W": np.arange(5.0), "b": [np.ones((2, 1), "float32"), None]},
    {"n": 2, "W": np.arange(40_000.0).reshape(200, 200), "words": ["a", "é"], "empty": np.zeros((0, 3), "int64")},
    {"n": 3} | {f"array {i}": np.random.default_rng(i).random((7, 11)) for i in range(30)},
]


@pytest.fixture
def tell():
    """Prints the figures of a test, with the time that it took."""
    start = time.monotonic()
    return lambda text: print(f"\n{text}; {time.monotonic() - start:.0f} s")


def output(*command):
    """What a command prints; it must end well."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


# --------------------------------------------------------------------------------------- saving that fails

SAVING = """
import hashlib, sys
import numpy as np
from dgsa_np.checkpoint import save_checkpoint
n = int(sys.argv[2])
while True:
    n += 1
    W = np.random.default_rng(n).random(100_000)
    save_checkpoint(sys.argv[1], {"n": n, "W": [W[:7], W[7:]], "sum": hashlib.sha256(W.tobytes()).hexdigest()})
    print(n, flush=True)
"""


def test_kill_9_while_saving(tmp_path, tell):
    path, moments, n, unfinished, ahead = tmp_path / "a.npz", np.random.default_rng(0), 0, 0, 0
    for _ in range(60):
        process = subprocess.Popen([sys.executable, "-c", SAVING, str(path), str(n)], stdout=subprocess.PIPE, text=True)
        first = process.stdout.readline()
        time.sleep(moments.uniform(0, 0.05))
        process.kill()
        reported = int((first + process.communicate()[0]).splitlines()[-1])
        state = load_checkpoint(path)
        n = state["n"]
        assert same(state, whole_state(n)) and n >= reported
        left = [p for p in tmp_path.iterdir() if p != path]
        assert [p.name for p in left] in ([], [f".a.npz.{process.pid}"])
        unfinished, ahead = unfinished + len(left), ahead + (n > reported)
        for p in left:
            p.unlink()
    assert unfinished
    tell(f"kill -9 while saving: 60 kills, {n} saves, {unfinished} cut off, {ahead} done but not told; 0 lost, 0 torn")


def whole_state(n):
    """What SAVING saves as number n."""
    a = np.random.default_rng(n).random(100_000)
    return {"n": n, "W": [a[:7], a[7:]], "sum": hashlib.sha256(a.tobytes()).hexdigest()}


FULL = """
import errno, json, sys
from pathlib import Path
import numpy as np
from dgsa_np.checkpoint import CheckpointError, load_checkpoint, save_checkpoint

folder = Path(sys.argv[1])
path, ballast, refused, saved = folder / "a.npz", folder / "ballast", 0, 0
old, new = ({"n": n, "W": np.arange(20_000.0) + n, "b": [np.full(k, 1.0 * n) for k in range(9)]} for n in (1, 2))


def fill(file):
    try:
        while True:
            file.write(bytes(4096))
    except OSError as error:
        assert error.errno == errno.ENOSPC


def attempt():
    try:
        save_checkpoint(path, new)
    except CheckpointError as error:
        assert "No space left on device; what was there is untouched" in str(error), error
        return False
    return True


for pages in range(100):  # that are left free
    save_checkpoint(path, old)
    with open(ballast, "wb", buffering=0) as file:
        fill(file)
        file.truncate(file.tell() - 4096 * pages)
    done = attempt()
    held = load_checkpoint(path)
    assert held["n"] == (2 if done else 1) and (held["W"] == np.arange(20_000.0) + held["n"]).all()
    assert {p.name for p in folder.iterdir()} == {"a.npz", "ballast"}
    refused, saved = refused + (not done), saved + done
    ballast.unlink()
save_checkpoint(path, old)
try:  # no file can be made
    for i in range(1000):
        (folder / f"empty {i}").touch()
except OSError as error:
    assert error.errno == errno.ENOSPC
assert not attempt() and load_checkpoint(path)["n"] == 1
print(json.dumps([refused, saved]))
"""


def test_a_full_disk(tmp_path, tell):
    """A file system of one megabyte, in a name space of its own: it ends with the process."""
    private = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    mount = 'mount -t tmpfs -o size=1m,nr_inodes=60 tmpfs "$0" && exec "$@"'
    try:
        subprocess.run([*private, mount, str(tmp_path), "true"], capture_output=True, check=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no small file system can be mounted: {getattr(error, 'stderr', error)}; /dev/full is tried below")
    refused, saved = json.loads(output(*private, mount, tmp_path, sys.executable, "-c", FULL, tmp_path))
    assert refused > 20 and saved > 20 and list(tmp_path.iterdir()) == []
    tell(f"full disk: {refused} saves refused at as many fillings, 1 for want of inodes, {saved} had room; 0 lost")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_device_that_is_always_full(tmp_path, tell):
    path, refused = tmp_path / "a.npz", 0
    save_checkpoint(path, {"n": 1})
    for size in (0, 1, 100, 10_000, 1_000_000):
        (tmp_path / f".a.npz.{os.getpid()}").symlink_to("/dev/full")
        with pytest.raises(CheckpointError, match="No space left on device; what was there is untouched"):
            save_checkpoint(path, {"n": 2, "W": np.zeros(size)})
        assert load_checkpoint(path) == {"n": 1} and list(tmp_path.iterdir()) == [path]
        refused += 1
    tell(f"/dev/full: {refused} of {refused} saves refused; 0 lost")


LIMITED = """
import resource, signal, sys
import numpy as np
from dgsa_np.checkpoint import CheckpointError, load_checkpoint, save_checkpoint

path, limits = sys.argv[1], [int(n) for n in sys.argv[2:]]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for limit in limits:
    save_checkpoint(path, {"n": 1})
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        save_checkpoint(path, {"n": 2, "W": np.ones(20_000), "b": [np.ones(k) for k in range(9)]})
        said = "saved"
    except CheckpointError as error:
        said = str(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert load_checkpoint(path)["n"] == (2 if said == "saved" else 1)
    print(said)
"""


def test_file_size_limits(tmp_path, tell):
    path = tmp_path / "a.npz"
    save_checkpoint(path, {"n": 2, "W": np.ones(20_000), "b": [np.ones(k) for k in range(9)]})
    size = path.stat().st_size
    limits = [*np.linspace(0, size - 1, 28).astype(int), size, 2 * size]
    said = output(sys.executable, "-c", LIMITED, path, *limits).splitlines()
    assert said[-2:] == ["saved", "saved"] and all("cannot be written: File too large" in s for s in said[:-2])
    assert len(said) == len(set(limits)) == 30 and list(tmp_path.iterdir()) == [path]
    tell(f"file-size limits: 30 from 0 to {2 * size:,} bytes, {len(said) - 2} refused, 2 had room; 0 lost")


# ---------------------------------------------------------------------------------------- nothing is executed


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


# --------------------------------------------------------------------------------------------- damaged files

DAMAGE = ("flip", "change", "cut", "insert", "drop", "copy", "zero", "ones", "swap", "join")


def spoil(whole, rng, other):
    """The content of a file with one to three kinds of damage, and their names."""
    content, kinds = whole, rng.choice(DAMAGE, rng.integers(1, 4))
    for kind in kinds:
        content = damage(kind, content, rng, other) if content else content
    return content, set(kinds)


def damage(kind, b, rng, other):
    i = rng.integers(len(b))
    j, k = i + rng.integers(1, 513), rng.integers(len(b) + 1)
    block = b[i:j]
    match kind:
        case "flip":
            return b[:i] + bytes([b[i] ^ 1 << rng.integers(8)]) + b[i + 1 :]
        case "change":
            return b[:i] + rng.bytes(min(len(block), 4)) + b[i + min(len(block), 4) :]
        case "cut":
            return b[:i]
        case "insert":
            return b[:i] + rng.bytes(j - i) + b[i:]
        case "drop":
            return b[:i] + b[j:]
        case "copy":
            return b[:k] + block + b[k:]
        case "zero" | "ones":
            return b[:i] + (b"\0" if kind == "zero" else b"\xff") * len(block) + b[j:]
        case "swap":
            p, q, r, s = sorted(rng.integers(0, len(b) + 1, 4))
            return b[:p] + b[r:s] + b[q:r] + b[p:q] + b[s:]
        case "join":
            return b + other if rng.random() < 0.5 else other + b


def rewrite(path, content):
    """As a new file, which does not go to the disk at once."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


class Tally:
    """Of files that were opened: read right, refused as they should be, read wrong, anything else."""

    def __init__(self, refusal):
        self.refusal, self.right, self.refused, self.bad = refusal, 0, 0, []

    def count(self, name, check):
        try:
            check()
            self.right += 1
        except self.refusal:
            self.refused += 1
        except Exception as error:
            self.bad.append(f"{name}: {type(error).__name__}: {error}")

    def __str__(self):
        assert self.bad == [], f"{len(self.bad)} of {self.right + self.refused + len(self.bad)}: {self.bad[:5]}"
        return f"{self.right + self.refused:,}: {self.refused:,} refused, {self.right:,} read right; 0 wrong, 0 foreign"


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
    assert any(same(state, held) for state in states), "silently wrong"


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
    """Words and numbers of a manifest that was written anew are what it says; no array is another than it was."""
    known = list(arrays(state))
    assert all(any(same(a, b) for b in known) for a in arrays(load_checkpoint(path))), "silently wrong"


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
    """A changed pixel of an idx file that is not packed looks like any other: there shapes are compared."""
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


# --------------------------------------------------------------------------------------------- hostile files


def header(said, central):
    """What a zip says of a member: beside it, or in the directory at its end."""
    numbers = [said[key] for key in ("flags", "method", "time", "date", "crc", "packed", "size")]
    numbers += [len(said["name"]), len(said["extra"])]
    if central:
        fixed = struct.pack("<4s6H3I5H2I", b"PK\1\2", 45, 45, *numbers, 0, 0, 0, 0, said["offset"])
    else:
        fixed = struct.pack("<4s5H3I2H", b"PK\3\4", 45, *numbers)
    return fixed + said["name"] + said["extra"]


def by_hand(members, before=b"", comment=b"", zip64=None, **end):
    """A zip that says what it is told to.

    members : name, content, and what the directory says of them instead of the truth
    zip64   : what the record of a large file says instead of the truth; None writes none
    end     : what the end says instead of the truth
    """
    body, directory = before, b""
    for name, content, lie in members:
        true = {"flags": 0, "method": 0, "time": 0, "date": 33, "crc": zlib.crc32(content), "packed": len(content)}
        true |= {"size": len(content), "name": name.encode(), "extra": b"", "offset": len(body)}
        body += header(true, central=False) + content
        directory += header(true | lie, central=True)
    place = {"disk": 0, "start": 0, "here": len(members), "all": len(members), "size": len(directory)}
    place["offset"] = len(body)
    records = b""
    if zip64 is not None:
        large = place | {"at": len(body) + len(directory), "disks": 1} | zip64
        records = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, *(large[key] for key in place))
        records += struct.pack("<4sIQI", b"PK\6\7", 0, large["at"], large["disks"])
        place |= {"here": 0xFFFF, "all": 0xFFFF, "size": 0xFFFFFFFF, "offset": 0xFFFFFFFF}
    last = struct.pack("<4s4H2IH", b"PK\5\6", *(place | end).values(), len(comment))
    return body + directory + records + last + comment


FAR, NO_PLACE = 2**63, {"packed": 0xFFFFFFFF, "size": 0xFFFFFFFF, "offset": 0xFFFFFFFF}
FAKE_END = b"PK\5\6" + bytes(18)


def large(size, offset):
    """Sizes and place of a member in the extra field for large files."""
    return NO_PLACE | {"extra": struct.pack("<2H3Q", 1, 24, size, size, offset)}


def one(lie=None, content=W[1], **options):
    """A checkpoint by hand with an array of two ones, the directory saying something of it."""
    return by_hand([(*LISTED, {}), ("W.npy", content, lie or {})], **options)


SIZE, AT = len(W[1]), 30 + len(LISTED[0]) + len(LISTED[1])


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
from dgsa_np.checkpoint import CheckpointError, load_checkpoint
from dgsa_np.data import DataError, load

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)

before = peak()
for path in sys.argv[1:]:
    try:
        load_checkpoint(path) if path.endswith(".npz") else load("mnist", path)
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
    files = [*tmp_path.glob("*.npz"), *(tmp_path / name for name in packed | plain)]
    grown = float(output(sys.executable, "-c", BOMBS, *files))
    assert grown < 64
    largest = max(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    tell(f"bombs: {len(files)} refused, the largest file {largest / 2**20:.1f} MiB, memory grew by {grown:.0f} MiB")


def deflated(head, n, wbits=-15):
    """A head and n zeros, packed as in a zip."""
    packer = zlib.compressobj(9, wbits=wbits)
    parts = [packer.compress(head), *(packer.compress(bytes(2**20)) for _ in range(n // 2**20)), packer.flush()]
    return b"".join(parts)


def gz(head, n):
    return deflated(head + bytes(n % 2**20), n, wbits=31)  # 31: with a head and a sum


# ---------------------------------------------------------------------------------------------------- runs

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
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, env=env, text=True)


def ctrl_c(args, moment, terminal, begun=True):
    """Exit status, and what a process said that gets Ctrl-C a moment after it began.

    terminal : its errors, and its bar, go to a terminal
    begun    : it began with its first line, which it prints when all is loaded; False: with the process
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


def open_terminal():
    """Both sides of a terminal. It has a size: else there is no room for the bar."""
    import fcntl
    import pty
    import termios

    here, there = pty.openpty()
    fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("4H", 24, 100, 0, 0))
    return here, there


def read_terminal(master):
    """All that comes until the other side is closed."""
    parts = []
    try:
        while part := os.read(master, 4096):
            parts.append(part)
    except OSError:  # how Linux says that it is closed
        pass
    os.close(master)
    return b"".join(parts).decode()


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
    """40 times, every other time with the bar on a terminal. In the end the run equals one that was left alone."""
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
    """20 times while it loads, trains or draws: nothing is torn; the run goes on, or begins anew, to the same end."""
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
