"""Run a submission in a process of its own, with limits of its time and of what it may say."""

import io
import os
import signal
import socket
import subprocess
import tempfile
from contextlib import suppress
from threading import Thread
from typing import NamedTuple

import numpy as np

from . import answers, pack, wall

SECONDS = 10  # for all items of a submission together
ANSWERED, PRINTED = 64 * 2**20, 2000  # bytes that are taken: of answers the first, of what it prints the last
ENVIRONMENT = {"PATH": os.defpath, "LANG": "C.UTF-8"} | dict.fromkeys(
    ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)
INHERITED = ("LD_LIBRARY_PATH", "SYSTEMROOT")  # without which some Pythons do not start


class Ran(NamedTuple):
    answers: dict  # {item: {"answer": arrays} or {"error": text}}; none for what was not reached
    loaded: bool  # did the file itself run?
    ended: str  # why the process ended; only of interest where answers are missing
    printed: str  # the end of what it wrote


def run(submission, items, arguments, seconds=SECONDS, trust=False) -> Ran:
    """Call a submission's functions with the arguments of the items; raises NoWall.

    submission : bytes of a file      items : {name: Item}      arguments : {name: tuple}
    trust      : run it without a wall
    """
    chosen, task = wall.chosen(trust), io.BytesIO()
    content = {
        "submission": np.frombuffer(submission, np.uint8),
        "calls": {name: item.call for name, item in items.items()},
        "arguments": {name: arguments[name] for name in items},
        "free": [name for name, item in items.items() if item.check],  # many answers are right
        "memory": min(item.memory for item in items.values()),
        "seconds": SECONDS + 1,
        "wall": chosen.shut_in,
    }
    pack.save(task, content)
    status, answered, printed = talk(chosen.command, task.getvalue(), seconds)
    found, printed = answers.received(answered), printed.decode(errors="replace")
    if "walled" not in found and status is not None:  # nothing of the submission has run
        raise wall.NoWall(f"{last_line(printed)}: a submission cannot be shut in here; --trust runs it all the same")
    ended = found.get("ended", {}).get("error") or why(status, seconds, printed)
    return Ran({name: found[name] for name in items if name in found}, "loaded" in found, ended, printed)


def talk(command, task, seconds):
    """Start a process, give it the task, and take what it says.

    returns : its status, None where it took too long; its answers and the end of what it printed
    """
    environment = ENVIRONMENT | {name: os.environ[name] for name in INHERITED if name in os.environ}
    answered, printed, pipe = bytearray(), bytearray(), subprocess.PIPE
    said, theirs = channel()
    with tempfile.TemporaryDirectory(prefix="grade-", ignore_cleanup_errors=True) as folder:
        with theirs:
            process = subprocess.Popen(
                command, cwd=folder, env=environment, stdin=pipe, stdout=theirs, stderr=pipe, start_new_session=True
            )
        told = (give, process.stdin, task), (first_of, said, answered), (last_of, process.stderr, printed)
        threads = [Thread(target=function, args=args, daemon=True) for function, *args in told]
        try:
            for thread in threads:
                thread.start()
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            end(process)
        for thread in threads:
            thread.join(1)  # without a wall, something that it started may still hold a pipe
    return status, bytes(answered), bytes(printed)


def channel():
    """Two files: what is written to the second comes out of the first, and cannot be taken back.

    From a pipe it can: who writes may open it once more in /proc, and read.
    """
    ends = [end.detach() for end in socket.socketpair()] if hasattr(socket, "AF_UNIX") else os.pipe()
    return os.fdopen(ends[0], "rb"), os.fdopen(ends[1], "wb")


def give(pipe, content):
    with suppress(OSError), pipe:  # the process may have died
        pipe.write(content)


def first_of(pipe, taken):
    with pipe:
        while len(taken) < ANSWERED and (part := pipe.read1(2**16)):
            taken += part


def last_of(pipe, taken):
    with pipe:
        while part := pipe.read1(2**16):
            taken[:] = (taken + part)[-PRINTED:]


def end(process):
    """Kill it, and its group; behind a wall it has started nothing."""
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def why(status, seconds, printed) -> str:
    if status is None:
        return f"it was stopped after {seconds:.0f} s: an endless loop, or far too slow"
    if status == 0:
        return "the file ended the process itself"
    number = -status if status < 0 else status - 128  # bubblewrap adds 128
    if 0 < number < 65:
        return f"the process died, {signal.strsignal(number)}: endless recursion, or too much memory"
    return f"the process ended with status {status}: {last_line(printed)}"


def last_line(text) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1]
