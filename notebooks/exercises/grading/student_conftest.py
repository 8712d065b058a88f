"""What is printed: a line for each item that fails. With -v more of it; with --tb=short, all."""

import ctypes
import threading
import traceback
from pathlib import Path

import pytest

HERE = Path(__file__).parent
OURS = ("conftest.py", "test_exercises.py")
SECONDS = 20  # for one item


class NoEnd(BaseException):
    """Raised inside what takes too long; `except Exception` lets it through."""

    def __str__(self):
        return f"no answer after {SECONDS} seconds; -x stops at the first item that fails"


@pytest.fixture(autouse=True)
def time_limit():
    thread, error = ctypes.c_ulong(threading.get_ident()), ctypes.py_object(NoEnd)
    timer = threading.Timer(SECONDS, ctypes.pythonapi.PyThreadState_SetAsyncExc, (thread, error))
    timer.start()
    yield
    timer.cancel()


def pytest_exception_interact(call, report):
    """A report holds only the text of an error."""
    report.error = call.excinfo.value


def pytest_terminal_summary(terminalreporter):
    tell, more = terminalreporter, terminalreporter.verbosity > 0
    for report in tell.stats.get("failed", []) + tell.stats.get("error", []):
        first, *rest = said(report.error)
        tell.write_line(f"{item(report)}: {first}", red=True)
        for line in place(report.error) + rest * more:
            tell.write_line(f"    {line}")
    for report in tell.stats.get("skipped", []):
        tell.write_line(f"{item(report)}: {report.longrepr[2].removeprefix('Skipped: ')}", yellow=True)


def item(report) -> str:
    """The name in `test_exercises.py::test[ex01: a mask]`."""
    return report.nodeid.partition("[")[2].rstrip("]") or report.nodeid


def said(error) -> list:
    judged = isinstance(error, pytest.fail.Exception)
    return (str(error) if judged else f"{type(error).__name__}: {error}").splitlines()


def place(error) -> list:
    """The last line of a student's file that ran; none for a stub, whose error names it."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if of_a_student(Path(frame.filename))]
    if not frames or isinstance(error, NotImplementedError):
        return []
    return [f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}: {frames[-1].line}"]


def of_a_student(path) -> bool:
    return path.parent == HERE and path.name not in OURS
