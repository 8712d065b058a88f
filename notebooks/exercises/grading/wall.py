"""Where a submission runs: as another user with a root of its own, under bubblewrap, or trusted."""

import functools
import importlib.util
import itertools
import os
import secrets
import shutil
import site
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

HERE = Path(__file__).resolve().parents[1]
NUMPY = Path(np.__file__).resolve().parent
INSIDE = "__init__", "child", "call", "items", "answers", "pack", "confine", "twice"  # of the grader, what runs there
LEFT_OUT = {"__pycache__", "site-packages", "dist-packages", "test", "tests", "idlelib", "tkinter", "lib2to3",
            "ensurepip", "turtledemo", "pydoc_data"}  # fmt: skip


class NoWall(OSError):
    """A submission cannot be shut in here."""


class Wall(NamedTuple):
    command: list  # that starts the process
    shut_in: dict | None  # what the process does itself: the arguments of confine.shut_in


def chosen(trust=False) -> Wall:
    """What can be had here; raises NoWall where that is nothing, and there is no trust."""
    if trust:
        return Wall(python(), None)
    if sys.platform == "linux" and os.geteuid() == 0:
        return another_user()
    if sys.platform == "linux" and shutil.which("bwrap"):
        return bubblewrap()
    raise NoWall(
        "a submission could read the keys and your files here, since only root, or anyone with bubblewrap on Linux "
        "(apt-get install bubblewrap), can shut it in. With --trust it runs all the same: for files that you have read"
    )


def python() -> list:
    """Python without the environment's packages; NumPy's folder is told to it."""
    executable = Path(getattr(sys, "_base_executable", None) or sys.executable).resolve()
    options = ["-I", "-S", "-B", "-u", "-X", "utf8"]
    return [str(executable), *options, str(HERE / "grading" / "child.py"), str(NUMPY.parent)]


def hidden() -> list:
    """Folders that no submission may read: keys, solutions, and the library wherever it lies."""
    library = importlib.util.find_spec("dgsa_np")
    folders = [HERE / "keys", HERE / "solutions", HERE.parents[1] / "dgsa_np"]
    return [str(folder) for folder in [*folders, *(library.submodule_search_locations if library else ())]]


def library() -> list:
    """The folders of Python's own modules."""
    return [Path(os.__file__).parent, *(Path(p) for p in sys.path if Path(p).name == "lib-dynload")]


# ------------------------------------------------------------------------------------- another user


def another_user() -> Wall:
    """For root: a user that nobody has, another for each run."""
    user = 60_000 + secrets.randbelow(5_000)
    return Wall(python(), {"root": view().name, "user": user, "hidden": hidden()})


@functools.cache
def view() -> tempfile.TemporaryDirectory:
    """A root with what may be imported late: modules of Python and NumPy, at their own places."""
    folder = tempfile.TemporaryDirectory(prefix="grade-")
    mask = os.umask(0o022)
    try:
        for source in (*library(), NUMPY):
            copy_modules(source, Path(folder.name))
    finally:
        os.umask(mask)
    os.chmod(folder.name, 0o755)
    return folder


def copy_modules(source, root):
    for parent, folders, files in os.walk(source):
        folders[:] = set(folders) - LEFT_OUT
        target = root / Path(parent).relative_to("/")
        target.mkdir(parents=True, exist_ok=True)
        for name in files:
            if name.endswith((".py", ".so")):
                with suppress(FileNotFoundError):  # a link to nothing
                    shutil.copyfile(Path(parent) / name, target / name)


# --------------------------------------------------------------------------------------- bubblewrap

SYSTEM = ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/alternatives")  # shared libraries
ALONE = ["--unshare-all", "--die-with-parent", "--as-pid-1", "--cap-drop", "ALL", "--proc", "/proc", "--chdir", "/"]


def bubblewrap() -> Wall:
    """For other users: namespaces with Python, NumPy and the shared libraries, and nothing else."""
    shown = [*SYSTEM, f"{sys.base_prefix}/lib", python()[0], *map(str, library())]
    others = [*site.getsitepackages([sys.prefix, sys.base_prefix]), *hidden()]
    masked = [folder for folder in others if os.path.isdir(folder) and any(folder.startswith(f"{p}/") for p in shown)]
    parts = [NUMPY, NUMPY.with_name("numpy.libs"), *(HERE / "grading" / f"{name}.py" for name in INSIDE)]
    steps = [
        *map(bind, dict.fromkeys(shown)),
        *(["--tmpfs", folder] for folder in masked),
        *map(bind, map(str, parts)),
        *(["--remount-ro", folder] for folder in ["/", *masked]),
    ]
    command = [shutil.which("bwrap"), *ALONE, *itertools.chain(*steps), *python()]
    return Wall(command, {"root": None, "user": None, "hidden": hidden()})


def bind(path) -> list:
    return ["--symlink", os.readlink(path), path] if os.path.islink(path) else ["--ro-bind-try", path, path]
