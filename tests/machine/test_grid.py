"""Grids that survive: stopped, damaged, with workers killed, here and on a scheduler."""

import json
import math
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
from support.runs import flags
from support.training import TINY, planned
from threadpoolctl import threadpool_info

from dgsa_np.lab import workers
from dgsa_np.lab.cli import main
from dgsa_np.lab.evidence import grid
from dgsa_np.lab.settings import SettingsError


@pytest.mark.slow
def test_a_stopped_grid_goes_on_with_the_same_records(tmp_path):
    runs = planned([TINY, TINY | {"kind": "softmax"}], [0, 1])
    whole = grid.run_grid(tmp_path / "a", runs)
    assert len(whole) == 5  # and the baselines
    grid.run_grid(tmp_path / "b", runs[:2], models=[runs[0].key])
    with open(tmp_path / "b" / "runs.jsonl", "a", encoding="utf-8") as file:
        file.write('{"key": "cut of')
    rest = grid.run_grid(tmp_path / "b", runs)
    timeless = [{r["key"]: r.get("accuracy") or r["baselines"] for r in records} for records in (whole, rest)]
    assert timeless[0] == timeless[1]
    assert [p.stem for p in (tmp_path / "b" / "models").iterdir()] == [runs[0].key]
    before = (tmp_path / "b" / "runs.jsonl").read_bytes()
    grid.run_grid(tmp_path / "b", runs)
    assert (tmp_path / "b" / "runs.jsonl").read_bytes() == before


def baselines(name):
    """The line of a record."""
    record = {"key": "a", "settings": {"data": "text", "root": name}, "data_sha256": "ff", "host": {}, "baselines": {}}
    return json.dumps(record, ensure_ascii=False).encode()


def test_a_damaged_record_is_named_by_its_line(tmp_path):
    (tmp_path / "runs.jsonl").write_bytes(baselines("a") + b'\n{"key": "b"}\n')
    with pytest.raises(SettingsError, match="line 2 is not the record of a run: it lacks settings"):
        grid.read_runs(tmp_path / "runs.jsonl")


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_only_a_line_that_was_cut_off_is_taken_out(tmp_path, end):
    lines = [baselines("ä"), baselines("b"), b'{"key": "\xc3']
    (tmp_path / "runs.jsonl").write_bytes(end.join(lines))
    assert [r["settings"]["root"] for r in grid.read_runs(tmp_path / "runs.jsonl", repair=True)] == ["ä", "b"]
    assert (tmp_path / "runs.jsonl").read_bytes() == end.join(lines[:2]) + end


def test_records_are_not_taken_over_from_other_data(tmp_path):
    """A file that changed means other runs; one that changes after they were planned is told."""
    text = tmp_path / "text.txt"
    text.write_text("one two three " * 200, encoding="utf-8")
    tiny = {"data": "text", "root": str(text), "width": 8, "n_heads": 1, "depth": 1, "length": 16, "epochs": 1}
    before = planned([tiny])
    text.write_text("four five six " * 200, encoding="utf-8")
    grid.load_once.cache_clear()
    with pytest.raises(SettingsError, match="other data than when the run was planned"):
        grid.run_grid(tmp_path / "runs", before, jobs=1)
    assert {r.key for r in before}.isdisjoint(r.key for r in planned([tiny]))


def test_training_that_breaks_down_is_a_record_and_not_the_end():
    (run,) = planned([TINY | {"lr": 1e9, "warmup": 0.0, "epochs": 8, "clip": 1e9}])
    with np.errstate(all="ignore"):
        record, params = grid.run(run)
    assert "step" in record["failed"] and params is None and record["settings"]["lr"] == 1e9


def test_figures_that_are_no_numbers_are_a_record_too(monkeypatch):
    """JSON has no nan: such a record could not be read again."""
    (run,) = planned([TINY])
    figures = {"loss": math.nan, "accuracy": 0.5}
    monkeypatch.setattr(grid, "measure", lambda *args: {"valid": figures, "clean": figures})
    record, params = grid.run(run)
    assert record["failed"] == "what was measured.valid.loss is nan, expected a finite number" and params is None


def ends_its_worker_once(by, marker, value):
    if not os.path.exists(marker):
        open(marker, "w").close()
        os.kill(os.getpid(), by)
        time.sleep(10)
    return value


@pytest.mark.slow
@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_worker_loses_its_run_and_nothing_else(by, tmp_path):
    markers = [tmp_path / "marker" if n == 3 else tmp_path for n in range(8)]
    tasks = [partial(ends_its_worker_once, by, marker, n) for n, marker in enumerate(markers)]
    assert sorted(workers.results(tasks)) == list(range(8))


def test_workers_that_always_die_are_given_up(monkeypatch):
    pools = []

    @contextmanager
    def dying(jobs, dask, steps):
        pools.append(ThreadPoolExecutor(1))
        with pools[-1] as pool:
            yield lambda *task: pool.submit(killed)

    monkeypatch.setattr(workers, "workers", dying)
    with pytest.raises(workers.WorkersError, match="2 worker processes died again and again, with 1 of 1 tasks left"):
        list(workers.results([None]))
    assert len(pools) == 3


def test_a_pool_that_breaks_while_it_is_filled_is_replaced(monkeypatch):
    pools = []

    @contextmanager
    def breaking_once(jobs, dask, steps):
        pools.append(ThreadPoolExecutor(1))
        with pools[-1] as pool:
            yield killed if len(pools) == 1 else pool.submit

    monkeypatch.setattr(workers, "workers", breaking_once)
    assert list(workers.results([lambda: 7])) == [7] and len(pools) == 2


def killed(*task):
    raise BrokenProcessPool("killed")


def blas_threads():
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


@pytest.mark.slow
def test_each_task_has_one_thread_of_blas():
    for threads in workers.results([blas_threads] * 2):
        assert threads and set(threads) == {1}


def test_what_a_task_raises_comes_out():
    with pytest.raises(ZeroDivisionError):
        list(workers.results([partial(divmod, 1, 0)], jobs=1))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # those of Dask are its own
def test_dask_workers_run_a_grid_and_one_of_them_may_be_killed(tmp_path):
    distributed = pytest.importorskip("distributed", reason="the extra cluster is not installed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        victim = next(iter(client.run(os.getpid).values()))
        killer = threading.Timer(1.5, os.kill, (victim, signal.SIGKILL))
        killer.start()
        runs = planned([TINY | {"epochs": 6}, TINY | {"epochs": 6, "kind": "softmax"}], range(6))
        records = grid.run_grid(tmp_path / "dask", runs, dask=cluster.scheduler_address)
        killer.join()
        deadline = time.monotonic() + 20
        while victim in client.run(os.getpid).values() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert victim not in client.run(os.getpid).values()
    here = grid.run_grid(tmp_path / "here", runs)
    strip = [{r["key"]: r.get("valid") for r in some} for some in (records, here)]
    assert len(records) == 13 and strip[0] == strip[1]


@pytest.mark.slow
def test_a_scheduler_that_is_not_there_is_said(tmp_path, monkeypatch, capsys):
    distributed = pytest.importorskip("distributed", reason="the extra cluster is not installed")
    real = distributed.Client
    monkeypatch.setattr(distributed, "Client", lambda address, timeout: real(address, timeout="2s"))
    assert main(["compare", "--dask", "nowhere:1", "--out", str(tmp_path / "x"), "--seeds", "1", *flags(TINY)]) == 2
    assert "--dask nowhere:1: no scheduler answers there" in capsys.readouterr().err
