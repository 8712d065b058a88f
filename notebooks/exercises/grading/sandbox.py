"""Run a submission in a process of its own, with limits of time, memory and file size."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import pack

SECONDS = 10  # for all items of a submission together
LARGEST = 64 * 2**20  # bytes of an answer
CHILD = Path(__file__).with_name("child.py")


class Ran(NamedTuple):
    answers: dict  # {item: {"answer": arrays} or {"error": text}}; none for what was not reached
    ended: str | None  # why the process ended before its last item
    printed: str  # the end of what it wrote


def run(submission, items, arguments, seconds=SECONDS) -> Ran:
    """Call a submission's functions with the arguments of the items.

    items     : {name: Item}      arguments : {name: tuple}
    """
    folder = Path(tempfile.mkdtemp(prefix="grade-"))
    try:
        shutil.copyfile(submission, folder / "submission.py")
        for name in items:
            pack.save(folder / f"{name}.arguments.npz", arguments[name])
        memory = min(item.memory for item in items.values())
        task = {"items": {name: item.call for name, item in items.items()}, "memory": memory}
        (folder / "task.json").write_text(json.dumps(task), encoding="utf-8")
        ended = wait(folder, seconds)
        printed = (folder / "printed.txt").read_bytes()[-2000:].decode(errors="replace")
        return Ran({name: answer(folder / f"{name}.answer.npz") for name in items}, ended, printed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def wait(folder, seconds) -> str:
    """Why the process ended; only of interest where answers are missing."""
    environment = {"OPENBLAS_NUM_THREADS": "1", "PATH": os.defpath, "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-I", str(CHILD), str(folder)]
    options = {"cwd": folder, "env": environment, "stdin": subprocess.DEVNULL, "stderr": subprocess.STDOUT}
    with open(folder / "printed.txt", "wb") as printed:
        process = subprocess.Popen(command, stdout=printed, start_new_session=True, **options)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            return f"it was stopped after {seconds} s: an endless loop, or far too slow"
        finally:
            if hasattr(os, "killpg"):
                _kill(process)
            process.kill()
            process.wait()
    if process.returncode == 0:
        return "the file ended the process itself"
    if process.returncode < 0:
        return f"the process died by {signal.Signals(-process.returncode).name}: endless recursion, or too much memory"
    last = (folder / "printed.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
    return f"the file cannot be run: {last[0] if last else f'exit status {process.returncode}'}"


def _kill(process):
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def answer(path):
    """What the process left: {"answer": arrays} or {"error": text}; None where there is nothing.

    The submission may have written the file itself, so nothing is believed of it.
    """
    if not path.is_file():
        return None
    try:
        with zipfile.ZipFile(path) as file:
            if sum(part.file_size for part in file.infolist()) > LARGEST:
                raise ValueError(f"it holds more than {LARGEST} bytes")
        content = pack.load(path)
        if "answer" in content:
            found = content["answer"]
            arrays = found if type(found) is tuple else (found,)
            if not all(isinstance(a, np.ndarray) and a.dtype.kind in "fiubc" for a in arrays):
                raise ValueError("it holds something else than numbers")
            return {"answer": found}
        return {"error": str(content["error"]) or "an error without a text"}
    except Exception as error:  # whatever a forged file may raise
        return {"error": f"its answer cannot be read: {error or type(error).__name__}"}
