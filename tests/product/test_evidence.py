"""Grids that survive, costs that are counted, and a report that says what was measured."""

import json
import os
import re
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support.training import TINY, planned
from threadpoolctl import threadpool_info

from dgsa_np import backend, shapes
from dgsa_np.attention import KINDS
from dgsa_np.lab import workers
from dgsa_np.lab.cli import main
from dgsa_np.lab.evidence import compare, costs, grid, studies
from dgsa_np.lab.evidence.report import report
from dgsa_np.lab.experiments import count_parameters
from dgsa_np.lab.settings import SettingsError
from dgsa_np.model import ModelConfig, init_model, model_forward
from dgsa_np.params import tree_map

# -------------------------------------------------------------------------------------------- plans


def test_a_grid_is_all_combinations():
    made = grid.cells({"data": "digits", "kind": ["softmax", "dgsa"], "lr": [0.1, 0.2]})
    assert made == [{"data": "digits", "kind": k, "lr": x} for k in ("softmax", "dgsa") for x in (0.1, 0.2)]


@pytest.mark.parametrize("name", studies.STUDIES)
def test_a_study_compares_models_of_equal_size_steps_and_data_order(name):
    study = studies.STUDIES[name]
    data = study.data[0]
    runs = planned(studies.grid_of(study, data).values(), [0, 1], {"data": data} | studies.BASE[data])
    assert len({r["lr"] for r in runs} | {r["epochs"] for r in runs} | {r["batch_size"] for r in runs}) == 3
    models = [ModelConfig(**{k: r[k] for k in r.keys() & ModelConfig.__dataclass_fields__}) for r in runs[::2]]
    counts = [count_parameters(model) for model in models]
    assert max(counts) / min(counts) < 1.02 and len({m.sizes["d"] for m in models}) == 1
    if study.primary is None:
        assert name == "cost"
        return
    metric, label, other = study.primary
    assert label in study.cells and (other is None or other in study.cells) and metric in study.metrics
    assert len({grid.key(r) for r in runs}) == len(runs)


def test_uneven_models_are_refused_unless_told():
    cells = {"a": TINY, "b": TINY | {"ffn_width": 64}}
    with pytest.raises(SettingsError, match="more than 2% apart"):
        grid.plan(cells, [0])
    assert len(grid.plan(cells, [0], uneven=True)) == 2


def test_a_free_grid_takes_a_seed_once(tmp_path, monkeypatch):
    monkeypatch.setattr(compare, "run_grid", lambda folder, runs, **how: runs)
    runs = compare.compare_grid(tmp_path, TINY | {"kind": ["dgsa", "softmax"]}, [1, 2, 2], False)
    assert [(s["kind"], s["seed"]) for s in runs] == [("dgsa", 1), ("dgsa", 2), ("softmax", 1), ("softmax", 2)]


def test_a_key_is_of_what_is_computed_and_not_of_where():
    (settings,) = planned([TINY])
    same = settings | {"root": "/elsewhere", "device": "cuda", "threads": 7}
    assert grid.key(same) == grid.key(settings) != grid.key(settings | {"lr": 0.5})


def test_a_run_that_was_kept_before_a_setting_came_is_not_run_again():
    path = Path(__file__).parents[2] / "docs/evidence/runs.jsonl"
    kept = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    kept = {r["key"]: r["settings"] for r in kept if "kind" in r["settings"] and "gate_on" not in r["settings"]}
    assert len(kept) > 300
    for key, settings in kept.items():
        assert grid.key(settings | {"gate_on": "both"}) == key != grid.key(settings | {"gate_on": "inhibition"})


# --------------------------------------------------------------------------------------------- runs


@pytest.mark.slow
def test_a_stopped_grid_goes_on_with_the_same_records(tmp_path):
    runs = planned([TINY, TINY | {"kind": "softmax"}], [0, 1])
    whole = grid.run_grid(tmp_path / "a", runs)
    assert len(whole) == 5  # and the baselines
    grid.run_grid(tmp_path / "b", runs[:2], models=[grid.key(runs[0])])
    with open(tmp_path / "b" / "runs.jsonl", "a", encoding="utf-8") as file:
        file.write('{"key": "cut of')
    rest = grid.run_grid(tmp_path / "b", runs)
    timeless = [{r["key"]: r.get("accuracy") or r["baselines"] for r in records} for records in (whole, rest)]
    assert timeless[0] == timeless[1]
    assert [p.stem for p in (tmp_path / "b" / "models").iterdir()] == [grid.key(runs[0])]
    before = (tmp_path / "b" / "runs.jsonl").read_bytes()
    grid.run_grid(tmp_path / "b", runs)
    assert (tmp_path / "b" / "runs.jsonl").read_bytes() == before


def test_a_damaged_record_is_named_by_its_line(tmp_path):
    (tmp_path / "runs.jsonl").write_text('{"key": "a", "settings": {}}\n{"key": "b"}\n', encoding="utf-8")
    with pytest.raises(SettingsError, match="line 2 is not the record of a run"):
        grid.read_runs(tmp_path / "runs.jsonl")


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_only_a_line_that_was_cut_off_is_taken_out(tmp_path, end):
    lines = [b'{"key": "a", "settings": {"x": "\xc3\xa4"}}', b'{"key": "b", "settings": {}}', b'{"key": "\xc3']
    (tmp_path / "runs.jsonl").write_bytes(end.join(lines))
    assert [r["key"] for r in grid.read_runs(tmp_path / "runs.jsonl", repair=True)] == ["a", "b"]
    assert (tmp_path / "runs.jsonl").read_bytes() == end.join(lines[:2]) + end


def test_records_are_not_taken_over_from_other_data(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("one two three " * 200, encoding="utf-8")
    tiny = {"data": "text", "root": str(text), "width": 8, "n_heads": 1, "depth": 1, "length": 16, "epochs": 1}
    runs = planned([tiny])
    grid.run_grid(tmp_path / "runs", runs, jobs=1)
    text.write_text("four five six " * 200, encoding="utf-8")
    grid.load_once.cache_clear()
    with pytest.raises(SettingsError, match="saw other data than are there now"):
        grid.run_grid(tmp_path / "runs", runs, jobs=1)


def test_training_that_breaks_down_is_a_record_and_not_the_end():
    (settings,) = planned([TINY | {"lr": 1e9, "warmup": 0.0, "epochs": 8, "clip": 1e9}])
    with np.errstate(all="ignore"):
        record, params = grid.run(settings)
    assert "step" in record["failed"] and params is None and record["settings"]["lr"] == 1e9


def ends_its_worker_once(by, marker, value):
    if not os.path.exists(marker):
        open(marker, "w").close()
        os.kill(os.getpid(), by)
        time.sleep(10)
    return value


@pytest.mark.slow
@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_worker_loses_its_run_and_nothing_else(by, tmp_path):
    markers = [tmp_path / "marker" if n == 3 else tmp_path for n in range(8)]
    tasks = [partial(ends_its_worker_once, by, marker, n) for n, marker in enumerate(markers)]
    assert sorted(workers.results(tasks)) == list(range(8))


def test_workers_that_always_die_are_given_up(monkeypatch):
    pools = []

    @contextmanager
    def dying(jobs, dask):
        pools.append(ThreadPoolExecutor(1))
        with pools[-1] as pool:
            yield SimpleNamespace(submit=lambda *task: pool.submit(killed))

    monkeypatch.setattr(workers, "workers", dying)
    with pytest.raises(BrokenProcessPool):
        list(workers.results([None]))
    assert len(pools) == 3


def test_a_pool_that_breaks_while_it_is_filled_is_replaced(monkeypatch):
    pools = []

    @contextmanager
    def breaking_once(jobs, dask):
        pools.append(ThreadPoolExecutor(1))
        with pools[-1] as pool:
            yield SimpleNamespace(submit=killed) if len(pools) == 1 else pool

    monkeypatch.setattr(workers, "workers", breaking_once)
    assert list(workers.results([lambda: 7])) == [7] and len(pools) == 2


def killed(*task):
    raise BrokenProcessPool("killed")


def blas_threads():
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


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
def test_a_scheduler_that_is_not_there_is_said(tmp_path, capsys):
    pytest.importorskip("distributed", reason="the extra cluster is not installed")
    assert main(["compare", "--dask", "nowhere:1", "--out", str(tmp_path / "x"), "--seeds", "1", *flags(TINY)]) == 2
    assert "--dask nowhere:1: no scheduler answers there" in capsys.readouterr().err


# --------------------------------------------------------------------------------- command and page


def flags(settings):
    return [part for name, value in settings.items() for part in (f"--{name.replace('_', '-')}", str(value))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two comparisons of tiny models: a study on its own data, and a free grid."""
    out = tmp_path_factory.mktemp("evidence") / "runs"
    small = ["--epochs", "1", "--train-size", "300", "--test-size", "60", "--out", str(out)]
    for name in ("gate", "signed", "common-mode", "cost"):
        assert main(["compare", "--study", name, "--seeds", "2", *small]) == 0
    assert main(["compare", *flags(TINY), "--kind", "softmax", "dgsa", "--seed", "5", "6", "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def reported(folder, tmp_path_factory):
    """The folder of the report on them."""
    return report(folder, tmp_path_factory.mktemp("report"))[0].parent


@pytest.mark.slow
def test_the_report_shows_what_the_records_hold(folder, reported):
    text, page = ((reported / f"report.{end}").read_text(encoding="utf-8") for end in ("md", "html"))
    records = {r["key"]: r for r in grid.read_runs(folder / "runs.jsonl")}
    named = json.loads((folder / "comparisons.json").read_text(encoding="utf-8"))
    assert named["cost"]["cost"]["digits"].keys() == named["cost"]["runs"]["digits"].keys()
    for comparison in (c for c in named.values() if c["metrics"]):
        for by in comparison["runs"].values():
            for label, keys in by.items():
                mean = np.mean([100 * records[k]["clean"]["accuracy"] for k in keys])
                assert any(label in line and f"{mean:.2f}" in line for line in text.splitlines())
    assert "Primary endpoint, on digits: corrupted accuracy of token gate minus that of head gate" in text
    pictures = re.findall(r"\(figures/(.*?\.png)\)", text)
    assert len(pictures) >= 5 and all((reported / "figures" / name).stat().st_size > 5000 for name in pictures)
    assert "digits-rollout-clean.png" in pictures and "gate-digits-noise-at-gates.png" in pictures
    assert page.count('src="data:image/png;base64,') == len(pictures)
    assert not re.search(r'(src|href)="(?!data:)', page)


@pytest.mark.slow
def test_a_trivial_baseline_that_wins_is_said(reported):
    text = (reported / "report.md").read_text(encoding="utf-8")
    said = "nearest neighbour is above the mean of every transformer here: clean accuracy"
    assert said in text  # one epoch is not enough


@pytest.mark.slow
def test_a_page_is_not_written_about_nothing_or_about_mixed_data(folder, tmp_path):
    assert main(["report", str(tmp_path / "nowhere")]) == 2
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    (mixed / "comparisons.json").write_text((folder / "comparisons.json").read_text())
    lines = (folder / "runs.jsonl").read_text().splitlines()
    other = json.loads(lines[0]) | {"data_sha256": "0" * 64}
    (mixed / "runs.jsonl").write_text("\n".join([json.dumps(other), *lines[1:]]) + "\n")
    with pytest.raises(SettingsError, match="saw different data"):
        report(mixed, tmp_path / "page")
    assert not (tmp_path / "page").exists()


def spoilt(folder, out, change):
    """A copy of a folder whose records went through a function."""
    out.mkdir()
    (out / "comparisons.json").write_text((folder / "comparisons.json").read_text())
    records = [change(r) for r in grid.read_runs(folder / "runs.jsonl")]
    (out / "runs.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records if r))
    return report(out, out / "page")[0].read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_cell_whose_runs_all_broke_down_leaves_the_others_on_the_page(folder, tmp_path):
    def change(record):
        if record["settings"].get("gate") == "head" or record["settings"].get("kind") == "diff_v1":
            return {k: record[k] for k in ("key", "settings", "data_sha256", "host")} | {"failed": "!"}
        return record

    text = spoilt(folder, tmp_path / "broken", change)
    assert "broke down" in text and "| token gate" in text and "| head gate" not in text
    assert "is above the mean of every transformer here" in text


@pytest.mark.slow
def test_baselines_belong_to_the_data_and_not_to_the_place_where_they_lie(folder, tmp_path):
    def moved(record):
        if "baselines" in record:
            return record | {"settings": record["settings"] | {"root": "/elsewhere"}}
        return record

    assert "*nearest neighbour*" in spoilt(folder, tmp_path / "moved", moved)


@pytest.mark.slow
def test_a_primary_endpoint_stays_on_its_data_set(folder, tmp_path):
    comparisons = json.loads((folder / "comparisons.json").read_text())
    runs = comparisons["gate"]["runs"]
    comparisons["gate"]["runs"] = {"elsewhere": {label: ["gone"] * 2 for label in runs["digits"]}} | runs
    out = tmp_path / "other"
    out.mkdir()
    (out / "comparisons.json").write_text(json.dumps(comparisons))
    (out / "runs.jsonl").write_text((folder / "runs.jsonl").read_text())
    text = report(out, out / "page")[0].read_text(encoding="utf-8")
    assert "corrupted accuracy of token gate minus" not in text and "Of 8 runs 8 are missing" in text


@pytest.mark.slow
def test_costs_outlive_a_second_call_that_is_stopped(folder, monkeypatch):
    before = compare.read_comparisons(folder)["cost"]
    monkeypatch.setattr(compare, "costs", lambda by: 1 / 0)
    given = {"epochs": 1, "train_size": 300, "test_size": 60}
    with pytest.raises(ZeroDivisionError):
        compare.compare_study(folder, "cost", range(2), {}, given, jobs=1, dask=None)
    assert compare.read_comparisons(folder)["cost"]["cost"] == before["cost"]


def test_a_language_is_compared_by_its_loss(tmp_path):
    (tmp_path / "text.txt").write_text("one two three " * 200, encoding="utf-8")
    out, root = tmp_path / "runs", tmp_path / "text.txt"
    tiny = {"data": "text", "root": root, "width": 8, "n-heads": 1, "depth": 1, "length": 16, "epochs": 1}
    assert main(["compare", *flags(tiny), "--kind", "softmax", "dgsa", "--seeds", "2", "--out", str(out)]) == 0
    text = report(out, out)[0].read_text(encoding="utf-8")
    assert "Primary endpoint, on text: test loss of softmax minus that of dgsa" in text


@pytest.mark.slow
def test_the_committed_page_says_what_the_committed_records_hold(tmp_path):
    docs = Path(__file__).parents[2] / "docs" / "evidence"
    page, again = ((at / "report.md").read_text(encoding="utf-8") for at in (docs, report(docs, tmp_path)[0].parent))
    assert again.strip() == page.split("## Pictures")[0].strip()
    assert not re.search(r"/(home|work|root|tmp)/", (docs / "runs.jsonl").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_missing_runs_are_counted(folder, tmp_path):
    part = tmp_path / "part"
    part.mkdir()
    (part / "comparisons.json").write_text((folder / "comparisons.json").read_text())
    (part / "runs.jsonl").write_text("".join((folder / "runs.jsonl").read_text().splitlines(True)[:3]))
    assert "are missing." in report(part, tmp_path / "page")[0].read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--study", "gate", "--kind", "softmax", "dgsa"], "its grid is fixed"),
        (["--study", "gate", "--data", "digits"], "its grid is fixed"),
        (["--study", "gate", "--kind", "softmax"], "its grid is fixed"),
        (["--study", "one-key", "--spurious", "4"], "its grid is fixed"),
        (["--study", "gate", "--seed", "7"], "its grid is fixed"),
        (["--study", "noise", "--roots", "nowhere=x"], "nowhere"),
        (["--kind", "softmax", "nonsense"], "nonsense"),
        (["--data", "fashion-mnist"], "root is None"),
    ],
)
def test_a_comparison_that_cannot_be_made_is_refused_before_it_begins(arguments, said, tmp_path, capsys):
    assert main(["compare", *arguments, "--out", str(tmp_path / "x")]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "x" / "runs.jsonl").exists()


def test_an_unknown_study_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["compare", "--study", "gates"])
    assert "gate" in capsys.readouterr().err


# -------------------------------------------------------------------------------------------- costs


def test_multiplications_are_those_of_the_matrix_products(monkeypatch):
    class Counted(np.ndarray):
        """Counts the multiplications of the products that it takes part in."""

        total = 0

        def __array_ufunc__(self, ufunc, method, *inputs, out=(), **options):
            plain = [a.view(np.ndarray) if isinstance(a, Counted) else a for a in inputs]
            if out:
                options["out"] = tuple(a.view(np.ndarray) for a in out)
            result = getattr(ufunc, method)(*plain, **options)
            if ufunc is np.matmul and not any(np.all(a == 1) for a in plain):
                Counted.total += result.size * plain[0].shape[-1]
            return result.view(Counted) if isinstance(result, np.ndarray) else result

    for module in (backend, shapes):  # which refuse subclasses
        monkeypatch.setattr(module, "owner_of", lambda a: np)
    for kind in KINDS:
        model = ModelConfig(kind=kind, width=16, n_heads=2, depth=2, patch_size=2)
        params = tree_map(lambda W: W.view(Counted), init_model(model, np.random.default_rng(0)))
        images = np.random.default_rng(1).random((1, 8, 8), "float32").view(Counted)
        Counted.total = 0
        model_forward(images, params, model)
        assert 3 * Counted.total == costs.multiplications(model), kind


def test_costs_are_measured_for_every_cell():
    told = costs.costs({kind: planned([TINY | {"kind": kind}], reference=TINY)[0] for kind in ("softmax", "dgsa")})
    for figures in told.values():
        low, high = figures["quartiles"]
        assert 0 < low <= figures["ms"] <= high and figures["peak_MiB"] > 0


def test_a_comparison_is_written_down_before_its_first_run(tmp_path, monkeypatch):
    monkeypatch.setattr(compare, "run_grid", lambda *args, **how: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        compare.compare_study(tmp_path, "gate", [0], {}, {}, jobs=1, dask=None)
    written = json.loads((tmp_path / "comparisons.json").read_text())["gate"]
    assert written["primary"] == ["corrupted accuracy", "token gate", "head gate"]
    assert list(written["runs"]) == ["digits"] and len(written["runs"]["digits"]["token gate"]) == 1
