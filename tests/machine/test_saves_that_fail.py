"""Saving that fails: killed, on a full disk, past a limit. What was there stays.
Each test prints its figures.
"""

import hashlib
import json
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from support.checkpoints import same_state
from support.commands import output

from dgsa_np.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from dgsa_np.files import UNFINISHED

pytestmark = [pytest.mark.torture, pytest.mark.skipif(os.name != "posix", reason="kills and limits are POSIX")]
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
        assert same_state(state, whole_state(n)) and n >= reported
        left = [p for p in tmp_path.iterdir() if p != path]
        assert [p.name.partition("-")[0] for p in left] in ([], [f".a.npz.{process.pid}"])
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
        (tmp_path / f".a.npz.{os.getpid()}-{threading.get_ident()}{UNFINISHED}").symlink_to("/dev/full")
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
