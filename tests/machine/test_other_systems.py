"""Windows and macOS, as far as Linux can tell: processes from which is taken what only POSIX has.

What is taken is taken from every process below as well: `sitecustomize.py` does it before anything
else is imported.
"""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WITHOUT = """\
import fcntl, os, signal, subprocess, sys, types  # subprocess first: it would take msvcrt for Windows

for name in ("fcntl", "resource", "pwd", "grp", "termios", "syslog"):
    sys.modules[name] = None
for name in ("fork", "forkpty", "getuid", "geteuid", "getgid", "getpgid", "setsid", "killpg", "chown", "nice", "mkfifo",
             "sched_getaffinity", "sched_setaffinity", "getloadavg"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGKILL", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGCHLD", "alarm", "pthread_sigmask", "setitimer"):
    delattr(signal, name)


def locking(handle, mode, size):
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise PermissionError(13, "Permission denied") from None  # as Windows says it


sys.modules["msvcrt"] = types.SimpleNamespace(locking=locking, LK_NBLCK=2)
"""
IMPORT_ALL = """\
import importlib, os, pkgutil, sys
assert sys.modules["fcntl"] is None and not hasattr(os, "fork")
import dgsa_np
for module in pkgutil.walk_packages(dgsa_np.__path__, "dgsa_np."):
    importlib.import_module(module.name)
"""
SMALL = ["--width", "16", "--n-heads", "2", "--depth", "1", "--epochs", "1", "--device", "cpu", "--batch-size", "256"]


@pytest.fixture
def run(tmp_path):
    """Python without what is POSIX's alone; what it printed."""
    pytest.importorskip("fcntl", reason="this is another system, and the other tests run on it")
    (tmp_path / "sitecustomize.py").write_text(WITHOUT, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}

    def run(*command, status=0):
        command = [sys.executable, *map(str, command)]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, encoding="utf-8")
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr

    return run


def test_every_module_can_be_imported(run):
    run("-c", IMPORT_ALL)


@pytest.mark.slow
def test_train_go_on_evaluate(run, tmp_path):
    run("-m", "dgsa_np", "train", "--out", "run", *SMALL)
    lines = (tmp_path / "run" / "metrics.jsonl").read_bytes().splitlines()
    assert "result" in json.loads(lines[-1]) or len(lines) > 3
    run("-m", "dgsa_np", "train", "--resume", "run")
    assert "| dgsa " in run("-m", "dgsa_np", "evaluate", "run")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["info", "baselines"])
def test_other_commands(command, run):
    run("-m", "dgsa_np", command)


@pytest.mark.slow
def test_a_grid_runs_in_processes(run, tmp_path):
    grid = ["--kind", "softmax", "dgsa", "--seeds", "2", "--jobs", "2", "--out", "grid", *SMALL]
    run("-m", "dgsa_np", "compare", *grid)
    run("-m", "dgsa_np", "compare", *grid)  # goes on, where nothing is left
    assert len((tmp_path / "grid" / "runs.jsonl").read_text("utf-8").splitlines()) >= 4


def test_a_second_writer_is_refused(run):
    code = """\
import subprocess, sys
from dgsa_np.files import FolderInUseError, sole_writer
with sole_writer("taken"):
    if sys.argv[1:] == ["second"]:
        raise SystemExit("it was not refused")
    done = subprocess.run([sys.executable, __file__, "second"], capture_output=True, text=True)
    assert "FolderInUseError" in done.stderr, done.stderr
"""
    run("-c", "import pathlib, sys; pathlib.Path('two.py').write_text(sys.argv[1])", code)
    run("two.py")


def test_the_grader_says_that_nothing_shuts_a_submission_in(run):
    here = ROOT / "notebooks" / "exercises"
    pretend = f"import runpy, shutil, sys, tempfile; sys.argv[0] = {str(here / 'grade.py')!r}; sys.platform = 'win32'; "
    said = run("-c", pretend + "runpy.run_path(sys.argv[0], run_name='__main__')", "ex01", here / "ex01.py", status=2)
    assert "--trust" in said and "Traceback" not in said


# ------------------------------------------------------------------------------------- what is read

SOURCES = [
    path
    for folder in ("dgsa_np", "notebooks", "docs")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "_build" not in path.parts and path.name != "confine.py"  # which reads what Linux's kernel says
]


def without_encoding(source):
    """The lines that open a text, or write one, in whatever encoding the machine has."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        named = {word.arg for word in node.keywords}
        attribute = node.func.attr if isinstance(node.func, ast.Attribute) else None
        name = node.func.id if isinstance(node.func, ast.Name) else None
        mode = node.args[1].value if len(node.args) > 1 and isinstance(node.args[1], ast.Constant) else ""
        opens = name == "open" and "b" not in str(mode)
        reads = attribute == "read_text" and not node.args
        writes = attribute == "write_text"
        if (opens or reads or writes) and "encoding" not in named:
            yield node.lineno


@pytest.mark.slow
def test_every_text_has_its_encoding():
    found = {str(path.relative_to(ROOT)): list(without_encoding(path.read_text("utf-8"))) for path in SOURCES}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_a_text_without_its_encoding_is_seen():
    lines = ["open(p)", 'open(p, "rb")', 'open(p, "w", encoding="utf-8")']
    lines += ["q.read_text()", 'q.read_text("utf-8")', "q.write_text(t)"]
    assert list(without_encoding("\n".join(lines))) == [1, 4, 6]


def test_no_name_of_a_file_is_one_that_windows_refuses():
    reserved = {"con", "prn", "aux", "nul", *(f"{port}{i}" for port in ("com", "lpt") for i in range(10))}
    for folder in ("dgsa_np", "notebooks", "docs", "tests"):
        for path in (ROOT / folder).rglob("*"):
            assert not set('<>:"|?*\\') & set(path.name) and path.stem.lower() not in reserved, path
            assert not path.name.endswith((" ", ".")) and len(str(path.relative_to(ROOT))) < 150
