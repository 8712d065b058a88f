"""Processes end with the one that began them, and signals end a command in one line."""

import os
import signal
import subprocess
import sys
import time
from functools import partial

import pytest
from support.runs import flags
from support.terminal import hear_ctrl_c, open_terminal, read_terminal

from dgsa_np.lab import runs, workers

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and process tables as POSIX has them")
COMMAND = [sys.executable, "-m", "dgsa_np"]
LONG = {"width": 16, "n_heads": 2, "depth": 1, "epochs": 3000, "device": "cpu"}


def descendants(pid):
    """The numbers of the processes that this one began, and that those began."""
    table = subprocess.run(["ps", "-eo", "pid=,ppid=,stat="], capture_output=True, text=True, check=True).stdout
    children = {}
    for line in table.splitlines():
        child, parent, state = line.split()
        if not state.startswith("Z"):
            children.setdefault(int(parent), []).append(int(child))
    found, ahead = [], [pid]
    while ahead:
        ahead += children.get(ahead[0], [])
        found.append(ahead.pop(0))
    return found[1:]


def alive(pids):
    table = subprocess.run(["ps", "-eo", "pid=,stat="], capture_output=True, text=True, check=True).stdout
    running = {int(line.split()[0]) for line in table.splitlines() if not line.split()[1].startswith("Z")}
    return [pid for pid in pids if pid in running]


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def begin(*argv, **options):
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    return subprocess.Popen([*COMMAND, *map(str, argv)], preexec_fn=hear_ctrl_c, **options)


@pytest.mark.slow
@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_workers_of_a_grid_end_with_it(by, tmp_path):
    """Two runs that would take minutes are at work when their parent is killed, or told to stop."""
    argv = ["compare", *flags(LONG), "--seeds", "2", "--jobs", "2", "--out", tmp_path / "grid"]
    process = begin(*argv)
    at_work = wait_for(lambda: len(found := descendants(process.pid)) >= 3 and found)  # and a tracker of resources
    time.sleep(2)
    assert at_work and process.poll() is None
    process.send_signal(by)
    _, said = process.communicate(timeout=60)
    assert process.returncode == (-9 if by == signal.SIGKILL else 130)
    assert by == signal.SIGKILL or said == "dgsa-np: stopped\n"
    assert wait_for(lambda: not alive(at_work), 10), "workers outlive their parent"


@pytest.mark.slow
def test_ctrl_c_at_a_terminal_reaches_all_and_is_one_line(tmp_path):
    """A terminal sends it to every process of its group, those that still import as well."""
    for moment in (0.3, 0.8, 1.5, 3.0):
        argv = ["compare", *flags(LONG), "--seeds", "2", "--jobs", "2", "--out", tmp_path / f"grid {moment}"]
        process = begin(*argv, process_group=0) if sys.version_info >= (3, 11) else begin(*argv, start_new_session=True)
        time.sleep(moment)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert (process.returncode, said) == (130, "dgsa-np: stopped\n") or python_itself(said), moment


def python_itself(said):
    """It was stopped before any line of ours."""
    return "Traceback" in said and "dgsa_np/lab" not in said


@pytest.mark.slow
def test_sigterm_ends_a_training_like_ctrl_c(tmp_path):
    process = begin("train", *flags(LONG), "--out", tmp_path / "run")
    assert wait_for((tmp_path / "run/metrics.jsonl").exists)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "Stopping after this step" in said and "--resume" in said
    assert runs.open_run(tmp_path / "run")["state"]["optimizer"]["step"] > 0


@pytest.mark.slow
def test_ctrl_c_while_it_imports_is_one_line():
    for moment in (0.1, 0.2, 0.4, 0.6):
        process = begin("info")
        time.sleep(moment)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert python_itself(said) or (process.returncode, said) in ((130, "dgsa-np: stopped\n"), (0, "")), moment


def test_ctrl_c_in_an_import_is_one_line(tmp_path):
    """A module that is imported first, and in it the signal."""
    interrupted = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(9)\n"
    (tmp_path / "tqdm.py").write_text(interrupted)
    process = begin("demo", "--out", tmp_path / "out", env=os.environ | {"PYTHONPATH": str(tmp_path)})
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "dgsa-np: stopped\n") and not (tmp_path / "out").exists()


def test_a_reader_that_goes_away_is_no_error():
    command = f"{sys.executable} -m dgsa_np gradcheck | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert (done.returncode, done.stdout.count("\n"), done.stderr) == (0, 1, "")


def test_ctrl_c_that_an_import_turns_into_another_error_is_one_line(tmp_path):
    """As modules written in C do: numpy, scipy."""
    turned = "try:\n    import os, signal, time\n    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(9)\n"
    turned += "except KeyboardInterrupt:\n    raise ImportError('initialization failed')\n"
    (tmp_path / "sklearn.py").write_text(turned)
    process = begin("baselines", env=os.environ | {"PYTHONPATH": str(tmp_path)})
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "dgsa-np: stopped\n")


# ------------------------------------------------------------------------------ what is seen of it


def steps(n, value):
    for _ in range(n):
        workers.advance()
    return value


@pytest.mark.slow
def test_steps_of_all_workers_are_counted():
    counted = []
    assert sorted(workers.results([partial(steps, n, n) for n in (3, 40, 500)], count=counted.append)) == [3, 40, 500]
    assert counted[-1] == 543 and counted == sorted(counted)


def test_a_step_counts_nothing_outside_a_worker():
    assert steps(3, "done") == "done"


@pytest.mark.slow
def test_the_demo_counts_steps_on_a_terminal(tmp_path):
    here, there = open_terminal()
    process = begin("demo", "--seeds", "1", "--out", tmp_path / "demo", stderr=there, stdout=subprocess.DEVNULL)
    os.close(there)
    shown = read_terminal(here)
    assert process.wait() == 0
    assert "step/s" in shown and "/1368 " in shown and "run 1 of 3" not in shown  # 3 kinds, 24 epochs of 19 steps
    assert "leaked" not in shown


