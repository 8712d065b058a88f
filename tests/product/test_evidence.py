"""Grids that survive, statistics that are right, measures with known answers, a report that says what was measured."""

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
from scipy import stats
from threadpoolctl import threadpool_info

from dgsa_np import backend, check
from dgsa_np.attention import KINDS
from dgsa_np.data import load
from dgsa_np.data.needle import KEYS, PAIR, QUERY, SPURIOUS, VALUES
from dgsa_np.lab import workers
from dgsa_np.lab.cli import main
from dgsa_np.lab.evidence import compare, costs, grid, measures, statistics, studies
from dgsa_np.lab.evidence.report import report
from dgsa_np.lab.experiments import count_parameters
from dgsa_np.lab.settings import DataConfig, SettingsError
from dgsa_np.model import ModelConfig, init_model, model_forward
from dgsa_np.params import tree_map

TINY = {"data": "digits", "width": 8, "n_heads": 1, "depth": 1, "patch_size": 4, "epochs": 1, "batch_size": 256}
TINY |= {"train_size": 512, "test_size": 40}


def planned(cells, seeds=(0,), reference=None):
    """The settings of the runs of some cells, one after the other."""
    return [s for runs in grid.plan(dict(enumerate(cells)), seeds, reference).values() for s in runs]


# --------------------------------------------------------------------------------------------- needle


@pytest.mark.parametrize("spurious", [0, 1, 4, 10])
def test_a_needle_sentence_has_one_needle_and_its_spurious_keys(spurious):
    data = load("needle", spurious=spurious)
    for split in data[:3]:
        tokens, query = split.inputs, split.inputs[:, :1] - QUERY
        assert tokens.shape[1] == 12 and query.min() == 0 and query.max() == KEYS - 1
        keys, plain = (tokens - PAIR) % (KEYS * VALUES) // VALUES, (tokens >= PAIR) & (tokens < SPURIOUS)
        marked = (tokens >= SPURIOUS) & (tokens < QUERY)
        needle = plain & (keys == query)
        assert (needle.sum(axis=1) == 1).all() and ((tokens[needle] - PAIR) % VALUES == split.targets).all()
        assert (marked.sum(axis=1) == spurious).all() and (keys == query)[marked].all()
        assert abs(np.bincount(split.targets, minlength=VALUES) / len(tokens) - 1 / VALUES).max() < 0.05
    again = load("needle", spurious=spurious)
    assert again.meta["sha256"] == data.meta["sha256"] and (again.train.inputs == data.train.inputs).all()


@pytest.mark.parametrize("wrong", [{"spurious": 11}, {"spurious": -1}, {"length": 2}, {"root": "here"}])
def test_a_needle_that_cannot_be_made_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        load("needle", **wrong)


def test_a_part_of_a_split_is_drawn_once_and_the_rest_left_alone():
    whole, some = DataConfig().load(), DataConfig(train_size=100, test_size=50).load()
    assert some.train.inputs.shape == (100, 8, 8) and len(some.test.targets) == 50
    assert (some.valid.inputs == whole.valid.inputs).all() and some.meta == whole.meta
    rows = {a.tobytes() for a in whole.train.inputs}
    assert all(a.tobytes() in rows for a in some.train.inputs)
    assert (DataConfig(train_size=100).load().train.inputs == some.train.inputs).all()
    assert len(DataConfig(train_size=10**6).load().train.targets) == len(whole.train.targets)


# ----------------------------------------------------------------------------------------- statistics


def test_holm_is_the_step_down_that_is_in_the_books():
    assert np.allclose(statistics.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    assert np.allclose(statistics.holm([0.5, 0.9, 0.6]), [1, 1, 1]) and statistics.holm([]).size == 0


def test_holm_keeps_the_chance_of_any_false_alarm():
    rng = np.random.default_rng(0)
    alarms = [(statistics.holm(rng.random(8)) < 0.05).any() for _ in range(4000)]
    assert abs(np.mean(alarms) - 0.05) < 0.012


def test_a_paired_test_is_that_of_scipy():
    a, b = np.random.default_rng(0).standard_normal((2, 10))
    a = a + 0.5
    told, theirs = statistics.paired(a - b), stats.ttest_rel(a, b)
    low, high = theirs.confidence_interval()
    assert np.isclose(told["p"], theirs.pvalue, rtol=1e-12)
    assert np.allclose([told["mean"] - told["half"], told["mean"] + told["half"]], [low, high], rtol=1e-12)
    assert np.isclose(told["effect"], theirs.statistic / np.sqrt(10), rtol=1e-12)


def test_without_spread_nothing_is_significant():
    assert statistics.paired([0.0, 0.0, 0.0])["p"] == 1
    assert np.isnan(statistics.paired([1.0, 1.0])["p"]) and np.isnan(statistics.paired([1.0])["p"])


def fake(accuracy, **more):
    return {"x": accuracy} | more


METRIC = studies.Metric("x", "%", lambda record: record["x"])


def test_the_primary_comparison_is_not_corrected_and_all_others_are():
    rng = np.random.default_rng(0)
    cells = {name: [fake(x) for x in rng.standard_normal(10)] for name in ("a", "b", "c")}
    made = statistics.comparisons({"d1": cells, "d2": cells}, (METRIC,), (METRIC, "a", "b"))
    assert [(c.data, c.label, c.other, c.primary) for c in made] == [
        ("d1", "a", "b", True), ("d1", "a", "c", False), ("d2", "a", "b", False), ("d2", "a", "c", False)]  # fmt: skip
    assert np.isnan(made[0].holm) and np.allclose([c.holm for c in made[1:]], statistics.holm([c.p for c in made[1:]]))
    assert np.isclose(made[0].mean, np.mean([a["x"] - b["x"] for a, b in zip(cells["a"], cells["b"], strict=True)]))


def test_seeds_that_broke_down_are_left_out_in_pairs():
    cells = {"a": [fake(1.0), fake(5.0, failed="!"), fake(4.0)], "b": [fake(0.0), fake(0.0), fake(1.0)]}
    (only,) = statistics.comparisons({"d": cells}, (METRIC,), (METRIC, "a", "b"))
    assert only.n == 2 and only.mean == 2


def test_seeds_stay_in_pairs_where_runs_are_missing_from_the_middle():
    gone = {"failed": "missing"}
    cells = {"a": [fake(1.0), gone, fake(5.0), fake(8.0)], "b": [fake(0.0), fake(0.0), gone, fake(6.0)]}
    (only,) = statistics.comparisons({"d": cells}, (METRIC,), (METRIC, "a", "b"))
    assert (only.n, only.mean) == (2, 1.5)


def test_what_cannot_be_tested_is_not_counted_by_holm():
    corrected = statistics.holm([np.nan, 0.04, 0.5])
    assert np.isnan(corrected[0]) and np.allclose(corrected[1:], [0.08, 0.5])


def test_an_endpoint_without_another_is_tested_against_zero():
    cells = {"a": [fake(1.0), fake(2.0)], "b": [fake(0.0), fake(1.0)]}
    made = statistics.comparisons({"d": cells}, (METRIC,), (METRIC, "a", None))
    assert [(c.label, c.other, c.mean, c.primary) for c in made] == [("a", None, 1.5, True), ("b", None, 0.5, False)]


# ------------------------------------------------------------------------------------------- measures


def maps(A):
    return SimpleNamespace(A=np.array(A, float)[None, None])


def test_rejection_and_sign_of_maps_that_are_known():
    uniform = measures.layer(maps(np.full((4, 4), 1 / 4)))
    assert np.isclose(uniform["rejection"], -20 * np.log10(2)) and uniform["negative"] == 0
    assert np.allclose(uniform["row_sum"], [1, 0])
    one_key = measures.layer(maps(np.eye(4)))
    assert np.isclose(one_key["rejection"], 0)  # softmax at its sharpest
    tilted = measures.layer(maps([[1.0, -0.5], [-0.5, 1.0]]))
    assert np.isclose(tilted["negative"], 1 / 3) and np.isclose(tilted["row_sum"][0], 0.5)
    assert np.isclose(tilted["rejection"], 20 * np.log10(np.sqrt(1.25) / 0.5))
    assert measures.layer(maps([[1.0, -1.0], [-1.0, 1.0]]))["rejection"] > 200  # balanced: all that is common goes


def test_padding_plays_no_part_in_a_layers_figures():
    A, keep = [[0.5, 0.5, 0], [0.25, 0.75, 0], [9, -9, -9]], np.array([[True, True, False]])
    padded, plain = measures.layer(maps(A), keep), measures.layer(maps([[0.5, 0.5], [0.25, 0.75]]))
    assert padded == plain


def test_a_gate_that_falls_with_noise_is_seen_to_fall():
    rng = np.random.default_rng(0)
    hit, kept = rng.random((20, 10)) < 0.5, np.ones((20, 10), bool)
    clean = rng.uniform(0.6, 0.9, (20, 10, 3))
    mixed = clean.copy()
    mixed[hit, 0] -= 0.5  # head 0: corrupted tokens have the lower gate; head 1: the higher one; head 2 is blind
    mixed[hit, 1] += 0.5
    told = measures._gates(clean, mixed, kept, hit)
    assert told["auc"][0] == 0 and told["auc"][1] == 1 and abs(told["auc"][2] - 0.5) < 0.15
    assert np.allclose(told["mean"], clean.mean(axis=(0, 1))) and (told["saturated"] == 0).all()
    assert all(np.isclose(h.sum(), 1) for h in told["histogram"][:1])


def test_half_of_the_patches_are_corrupted_and_no_other():
    model, data = ModelConfig(patch_size=2), load("digits")
    inputs, hit = measures.half_corrupted(data.test, model)
    changed = (inputs != data.test.inputs).reshape(-1, 4, 2, 4, 2).any(axis=(2, 4)).reshape(-1, 16)
    assert (changed == hit).all() and (hit.sum(axis=1) == 8).all()


def test_the_gate_of_a_lambda_has_the_same_ratio():
    lam = np.array(0.25)
    gate = measures.gate_of(SimpleNamespace(A=np.zeros((2, 3, 4, 4)), lam=lam))
    assert gate.shape == (2, 3, 4) and np.allclose((1 - gate) / gate, lam)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_measured(kind):
    (settings,) = planned([TINY | {"kind": kind}], reference=TINY)
    record, params = grid.run(settings)
    assert len(record["layers"]) == 1 and len(record["accuracy"]) == 6 and params is not None
    assert (record["gates"] is None) == (kind in ("softmax", "twicing"))
    assert record["accuracy"]["gaussian"][0] == pytest.approx(record["clean"]["accuracy"])
    assert json.loads(json.dumps(record)) == record
    if kind == "softmax":
        assert np.allclose(record["layers"][0]["row_sum"], [1, 0], atol=1e-5) and record["layers"][0]["negative"] == 0
        shared = record["brightness"]["after"][0]
        assert 0 < shared["common"] <= 1 and shared["to_common_mode"] > 0


@pytest.mark.slow
def test_weights_of_the_needle_are_those_of_its_query():
    (settings,) = planned([{"data": "needle", "kind": "softmax", "epochs": 4}])
    record, _ = grid.run(settings)
    on_needle, on_spurious, on_others = record["needle"]["weights"]["A"]
    assert on_needle > 0.5 > on_others  # it has learned to look there
    query_itself = 1 - on_needle - on_spurious - on_others
    assert 0 <= query_itself < 0.5 and record["needle"]["accuracy"]["1"] > 0.9


# ----------------------------------------------------------------------------------------------- plans


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


# ------------------------------------------------------------------------------------------------ runs


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


# ------------------------------------------------------------------------------------- command and page


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


# ----------------------------------------------------------------------------------------------- costs


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

    for module in (backend, check):  # which refuse subclasses
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
