"""A submission runs here, alone: python -I child.py FOLDER.

The folder holds arguments, and raw answers are left there. The submission has no keys and no
references, cannot open them, nor import the library, start a process or reach a network. This stops
accidents and lazy cheating, not an attacker: see docs/teaching.md.
"""

import json
import os
import sys
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
FOLDER = Path(sys.argv[1]).resolve()
MEBIBYTE = 2**20
FORBIDDEN = (  # audit events, by their beginnings; numpy and the standard library have imported what they need
    "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.startfile", "pty.", "socket.",
    "ctypes.", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.chmod", "os.chown", "os.truncate",
    "os.kill", "os.putenv", "shutil.", "sqlite3.", "winreg.", "webbrowser.", "ftplib.", "urllib.", "http.",
    "sys.setprofile", "sys.settrace", "resource.setrlimit", "mmap.",
)  # fmt: skip


def main():
    import numpy as np  # before the gate closes, with what it loads late
    import numpy.fft
    import numpy.linalg
    import numpy.ma
    import numpy.polynomial
    import numpy.random

    sys.path.insert(0, str(HERE))
    from grading import call, pack  # neither of which imports the library

    task = json.loads((FOLDER / "task.json").read_text(encoding="utf-8"))
    arguments = {name: pack.load(FOLDER / f"{name}.arguments.npz") for name in task["items"]}
    text = (FOLDER / "submission.py").read_text(encoding="utf-8")
    if text.lstrip().startswith("{") and '"cells"' in text:
        raise ValueError("it is a notebook; hand in its Python: File, Save and Export, Executable Script")
    source = compile(text, "submission.py", "exec")
    sys.path.remove(str(HERE))
    limit_memory(task["memory"])
    close_the_gate()
    space = {"__name__": "submission", "__file__": "submission.py"}
    exec(source, space)
    for name, functions in task["items"].items():
        try:
            answer = call.answer_of(space, functions, arguments[name])
            content = {"answer": as_arrays(answer, np)}
        except Exception as error:
            content = {"error": said(error)}
        pack.save(FOLDER / f"{name}.answer.part.npz", content)
        os.replace(FOLDER / f"{name}.answer.part.npz", FOLDER / f"{name}.answer.npz")


def as_arrays(answer, np):
    """Plain arrays of numbers, whatever class the answer has."""
    if answer is None:
        raise TypeError("returned None: is a return missing?")
    several = isinstance(answer, (tuple, list))
    arrays = [np.array(a, subok=False) for a in (answer if several else [answer])]
    for a in arrays:
        if a.dtype.kind not in "fiubc":
            raise TypeError(f"returned {a.dtype}, expected numbers")
    return tuple(arrays) if several else arrays[0]


def said(error) -> str:
    """Type, text and the student's line."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == "submission.py"]
    where = f", line {lines[-1]} of your file" if lines else ""
    return f"{type(error).__name__}: {error}{where}"[:600]


def limit_memory(mebibytes):
    """So much more than is in use now."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    statm = Path("/proc/self/statm")
    used = int(statm.read_text().split()[0]) * resource.getpagesize() if statm.exists() else 2**30
    resource.setrlimit(resource.RLIMIT_AS, (used + mebibytes * MEBIBYTE,) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * MEBIBYTE,) * 2)


def close_the_gate():
    """From here on only the folder can be written.

    Beside it only Python's own files and NumPy's can be read. An audit hook cannot be taken away.
    """
    folder = str(FOLDER) + os.sep
    python = tuple(os.path.realpath(p) + os.sep for p in (sys.prefix, sys.base_prefix))

    def hook(event, args):
        if event == "open" and isinstance(args[0], (str, bytes)):
            path, mode, flags = os.path.realpath(os.fsdecode(args[0])), args[1] or "", args[2]
            writes = set(mode) & set("wax+") or flags & (os.O_WRONLY | os.O_RDWR)
            readable = path.startswith(python) and "dgsa_np" not in path[len(os.path.realpath(sys.prefix)) :]
            if not path.startswith(folder) and (writes or not readable):
                raise PermissionError(f"{event} {path}: a submission has its arguments and NumPy, nothing else")
        elif event == "import" and args[0].split(".")[0] in ("dgsa_np", "grading", "keys", "torch", "jax", "ctypes"):
            raise ImportError(f"{args[0]} cannot be imported by a submission")
        elif event.startswith(FORBIDDEN) and event != "os.rename":
            raise PermissionError(f"{event} is not allowed in a submission")

    sys.addaudithook(hook)


if __name__ == "__main__":
    main()
