"""A submission runs here, alone: python -I -S child.py FOLDER-OF-NUMPY, its task on standard input.

Its answers go to standard output, and what it prints to standard error. It meets neither keys nor
right answers, and behind a wall it cannot reach them: see docs/teaching.md.
"""

import io
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType

HERE = str(Path(__file__).resolve().parents[1])
sys.path += [sys.argv[1], HERE]
import numpy as np

from grading import answers, confine, pack, twice

sys.path.remove(HERE)


def main():
    task, pipe = pack.load(io.BytesIO(sys.stdin.buffer.read())), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    np.linalg.solve(np.eye(2), np.eye(2) @ np.eye(2))  # some BLAS load their parts late, when they could not
    confine.limit(task["memory"], task["seconds"])
    if task["wall"]:
        confine.shut_in(**task["wall"])
    sys.modules["dgsa_np"] = None  # without a wall, a hint to the honest: it cannot be imported
    answers.send(pipe, "walled")
    try:
        space = run(task["submission"].tobytes())
    except Exception as error:
        answers.send(pipe, "ended", error=f"the file cannot be run: {said(error)}")
        os._exit(1)
    answers.send(pipe, "loaded")
    for name, found in twice.answers(space, task["calls"], task["arguments"], task["free"]):
        try:
            if isinstance(found, Exception):
                raise found
            answers.send(pipe, name, found)
        except Exception as error:  # the submission's, or it returned too much
            answers.send(pipe, name, error=said(error))
    os._exit(0)  # nothing of the submission runs after its last answer


def run(source) -> dict:
    """What the file defines, imported as Python does it: from bytes, and into sys.modules."""
    module = sys.modules["submission"] = ModuleType("submission")
    module.__file__ = "submission.py"
    exec(compile(source, "submission.py", "exec", dont_inherit=True), vars(module))
    return vars(module)


def said(error) -> str:
    """Type, text and the student's line."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == "submission.py"]
    where = f", line {lines[-1]} of your file" if lines else ""
    return f"{type(error).__name__[:100]}: {str(error)[:500]}{where}"


if __name__ == "__main__":
    main()
