"""A run knows what it computed and on what, and a folder of runs forgets none of them."""

import json
import os
import re
import shutil
import subprocess
import sys
from datetime import datetime, timezone
from functools import partial

import pytest
from support.commands import say
from support.runs import flags
from support.training import TINY, planned

from dgsa_np.lab import records
from dgsa_np.lab.evidence import compare, grid
from dgsa_np.lab.evidence.report import report

TEXT = {"data": "text", "length": 16, "width": 8, "n_heads": 1, "depth": 1, "epochs": 1, "batch_size": 64}


def test_a_record_says_when_and_by_which_code_it_was_made():
    (run,) = planned([TINY])
    record = grid.new_record(run)
    made = datetime.fromisoformat(record["time"])
    assert made.tzinfo and abs((datetime.now(timezone.utc) - made).total_seconds()) < 60
    assert record["commit"] == grid.commit() and re.fullmatch(r"[\w.-]+\+?", record["commit"] or "none")
    for lacks in ({}, {"time"}, {"commit"}):
        form = {k: v for k, v in (record | {"failed": "!"}).items() if k not in lacks}
        assert records.checked(form, grid.FORMS["failed"], "it", ValueError) == form  # as the first kept ones have none


@pytest.fixture
def no_commit(monkeypatch):
    """Nothing remembered of the commit, and none said by the server."""
    monkeypatch.delenv("GIT_COMMIT", raising=False)
    grid.commit.cache_clear()
    yield monkeypatch
    grid.commit.cache_clear()


@pytest.mark.parametrize("error", [FileNotFoundError("git"), subprocess.TimeoutExpired("git", 10), None])
def test_without_git_the_commit_is_none(error, no_commit):
    def answer(*args, **how):
        if error:
            raise error
        return subprocess.CompletedProcess(args, 128, "", "fatal: not a git repository")

    no_commit.setattr(grid.subprocess, "run", answer)
    assert grid.commit() is None


def test_a_changed_checkout_is_marked(no_commit, tmp_path):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    if not shutil.which("git"):
        pytest.skip("git is not here")
    (tmp_path / "grid.py").write_text("1")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *command], check=True)
    no_commit.setattr(grid, "__file__", str(tmp_path / "grid.py"))
    clean = grid.commit()
    (tmp_path / "grid.py").write_text("2")
    grid.commit.cache_clear()
    assert re.fullmatch("[0-9a-f]{7,}", clean) and grid.commit() == clean + "+"


@pytest.fixture
def comparing(tmp_path, monkeypatch):
    """compare without its runs: a function of settings and seeds, and the names of what is kept."""
    monkeypatch.setattr(compare, "run_grid", lambda *args, **how: [])
    call = partial(compare.compare_grid, tmp_path, **{"uneven": False})
    return call, lambda: list(compare.read_comparisons(tmp_path))


@pytest.mark.slow
def test_two_files_are_two_runs_and_the_page_shows_both(tmp_path, capsys):
    """One is a repetition and is learnt; the other, of the same letters, is not."""
    (tmp_path / "a.txt").write_text("abcdefgh " * 400)
    (tmp_path / "b.txt").write_text("ahbgcfde " * 200 + "hgfedcba " * 200)
    roots = [str(tmp_path / name) for name in ("a.txt", "b.txt")]
    argv = ["compare", *flags(TEXT), "--root", *roots, "--seeds", "1", "--jobs", "1", "--out", tmp_path / "grid"]
    assert say(argv, capsys)[0] == 0
    runs = json.loads((tmp_path / "grid/comparisons.json").read_text())["grid-root"]["runs"]["text"]
    records = {r["key"]: r for r in grid.read_runs(tmp_path / "grid/runs.jsonl")}
    assert runs[roots[0]] != runs[roots[1]] and len({r["data_sha256"] for r in records.values()}) == 2
    losses = [records[runs[root][0]]["clean"]["loss"] for root in roots]
    text = report(tmp_path / "grid", tmp_path / "grid")[0].read_text()
    assert losses[0] != losses[1] and all(f"{loss:.2f}" in text or f"{loss:.3f}" in text for loss in losses)


def test_two_files_of_equal_content_are_refused_as_two_cells(tmp_path, capsys):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("abcdefgh " * 400)
    roots = [str(tmp_path / name) for name in ("a.txt", "b.txt")]
    status, _, said = say(["compare", *flags(TEXT), "--root", *roots, "--out", tmp_path / "grid"], capsys)
    assert status == 2 and "are the same runs" in said and not (tmp_path / "grid").exists()


def test_a_second_grid_never_erases_the_first(comparing):
    call, names = comparing
    call(TINY | {"lr": [0.1, 0.2]}, seeds=[0, 1])
    call(TINY | {"lr": [0.3, 0.4]}, seeds=[0, 1])
    call(TINY | {"lr": [0.1, 0.2], "epochs": 2}, seeds=[0, 1])
    assert names() == ["grid-lr", "grid-lr-2", "grid-lr-3"]


def test_a_grid_is_continued_by_more_seeds_and_by_itself(comparing):
    call, names = comparing
    call(TINY | {"lr": [0.1, 0.2]}, seeds=[0])
    call(TINY | {"lr": [0.3, 0.4]}, seeds=[0])
    for seeds in ([0], [0, 1, 2]):
        call(TINY | {"lr": [0.1, 0.2]}, seeds=seeds)
        call(TINY | {"lr": [0.3, 0.4]}, seeds=seeds)
    assert names() == ["grid-lr", "grid-lr-2"]
    call(TINY | {"lr": [0.1, 0.2]}, seeds=[0])  # fewer than are kept: beside them, not in their place
    assert names() == ["grid-lr", "grid-lr-2", "grid-lr-3"]


def test_what_is_asked_of_a_grid_is_never_changed_by_a_later_one(comparing):
    """Its primary endpoint is that of its first two cells: another order is another comparison."""
    call, names = comparing
    call(TINY | {"kind": ["softmax", "dgsa"]}, seeds=[0], uneven=True)
    call(TINY | {"kind": ["dgsa", "softmax"]}, seeds=[0], uneven=True)
    call(TINY | {"kind": ["diff_v1", "dgsa", "softmax"]}, seeds=[0], uneven=True)
    call(TINY | {"kind": ["softmax", "dgsa", "diff_v1"]}, seeds=[0], uneven=True)  # one more at the end
    assert names() == ["grid-kind", "grid-kind-2", "grid-kind-3"]


HOST = "import json; from dgsa_np.lab.measure import host; print(json.dumps(host()))"


def host(**environment):
    done = subprocess.run([sys.executable, "-c", HOST], capture_output=True, env=os.environ | environment, check=True)
    return json.loads(done.stdout)


@pytest.mark.slow
def test_the_record_of_a_host_names_all_that_computes():
    found = host()
    assert {"dgsa_np", "python", "numpy", "scipy", "scikit-learn", "processor", "system", "cores"} <= found.keys()
    assert all(str(value).strip() for value in found.values())
    assert found == host()


@pytest.mark.slow
def test_machines_that_round_otherwise_have_other_records():
    """Another kernel of BLAS, or other vector instructions for NumPy's own loops."""
    here = host(OPENBLAS_CORETYPE="Haswell")
    if "openblas" not in here["blas"]:
        pytest.skip(f"NumPy computes with {here['blas']}, which cannot be told to be another")
    assert "Haswell" in here["blas"] and here != host(OPENBLAS_CORETYPE="Prescott")
    last = here["vectors"].split()[-1]
    assert last not in host(NPY_DISABLE_CPU_FEATURES=last)["vectors"]
