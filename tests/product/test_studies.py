"""The plans of the studies: all combinations, equal models, and a key for what is computed."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.data_files import idx, write_cifar
from support.planting import assert_caught
from support.training import SMALL, TINY, planned, three_splits

from dgsa_np.attention import KINDS
from dgsa_np.fast import choose_step
from dgsa_np.gradcheck import same_bits
from dgsa_np.lab import experiments
from dgsa_np.lab.cli import main
from dgsa_np.lab.evidence import compare, grid, studies
from dgsa_np.lab.experiments import count_parameters, equal_models, run_grid, run_one
from dgsa_np.lab.settings import FIELDS, SettingsError, settings_of
from dgsa_np.model import ModelConfig
from dgsa_np.params import flatten
from dgsa_np.train import TrainConfig, predict, train


def test_a_grid_is_all_combinations():
    made = grid.cells({"data": "digits", "kind": ["softmax", "dgsa"], "lr": [0.1, 0.2]})
    assert made == [{"data": "digits", "kind": k, "lr": x} for k in ("softmax", "dgsa") for x in (0.1, 0.2)]


AS_MANY_HEADS = {"softmax, H heads"}  # as dgsa has pairs of heads, so its keys are wider; all others have one width


def plan_of(study, data, sources):
    """{label: runs with seeds 0 and 1} on data that are made up here."""
    here = sources.get(data, {})
    cells = {label: cell | here for label, cell in studies.grid_of(study, data).items()}
    return grid.plan(cells, [0, 1], studies.base_of(study, data) | here)


@pytest.fixture(scope="module")
def made_up(sources, tmp_path_factory):
    """{data set: where it lies}: images of 28 x 28 grey, of 32 x 32 coloured pixels; sentences."""
    root, draw = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for part in ("train", "t10k"):
        for what, a in (("images", draw.integers(0, 256, (20, 28, 28), "uint8")), ("labels", np.arange(20) % 10)):
            a = a.astype("uint8")
            (root / f"{part}-{what}-idx{a.ndim}-ubyte").write_bytes(idx(a))
    write_cifar(root, "cifar10", n=8)
    places = {"fashion-mnist": root, "cifar10": root, "rt-polarity": sources}
    return {name: {"root": str(place)} for name, place in places.items()}


@pytest.mark.parametrize("name", studies.STUDIES)
def test_a_study_compares_models_of_equal_size_steps_and_data_order(name, made_up):
    study = studies.STUDIES[name]
    data = next(data for data in study.data if data in ("digits", *made_up))
    by = plan_of(study, data, made_up)
    keys, runs = {r.key for rs in by.values() for r in rs}, [r.settings for rs in by.values() for r in rs]
    assert len({r["epochs"] for r in runs} | {r["batch_size"] for r in runs}) == 2
    rates = {r["kind"]: r["lr"] for r in runs}  # one for each mechanism, whatever else its cells have
    assert all(r["lr"] == rates[r["kind"]] for r in runs)
    firsts = {label: rs[0].settings for label, rs in by.items()}
    models = {label: ModelConfig(**settings_of(ModelConfig, settings)) for label, settings in firsts.items()}
    counts = [count_parameters(model) for model in models.values()]
    assert max(counts) / min(counts) < 1.02
    assert len({m.sizes["d"] for label, m in models.items() if label not in AS_MANY_HEADS}) == 1
    metric, label, other = study.primary
    assert {label, other} <= study.cells.keys() and metric in study.metrics
    assert len(keys) == len(runs)


def test_uneven_models_are_refused_unless_told():
    cells = {"a": TINY, "b": TINY | {"ffn_width": 64}}
    with pytest.raises(SettingsError, match="more than 2% apart"):
        grid.plan(cells, [0])
    assert len(grid.plan(cells, [0], uneven=True)) == 2


def test_a_free_grid_takes_a_seed_once(tmp_path, monkeypatch):
    monkeypatch.setattr(compare, "run_grid", lambda folder, runs, **how: runs)
    runs = compare.compare_grid(tmp_path, TINY | {"kind": ["dgsa", "softmax"]}, [1, 2, 2], False)
    found = [(r.settings["kind"], r.settings["seed"]) for r in runs]
    assert found == [("dgsa", 1), ("softmax", 1), ("dgsa", 2), ("softmax", 2)]


def test_a_key_is_of_what_is_computed_and_not_of_where():
    """Loops over every setting there is: one that is forgotten would make two runs one."""
    (run,) = planned([TINY])
    for name in FIELDS:
        other = run._replace(settings=run.settings | {name: "something else"})
        assert (other.key == run.key) == (name in ("root", "device", "step", "threads", "capture")), name
    assert run._replace(data_sha256="0" * 64).key != run.key
    assert run._replace(settings=run.settings | {"seed": np.int64(0)}).key == run.key


def test_cells_that_are_the_same_runs_are_refused():
    said = "cells 'a', 'b' are the same runs: they differ at most in capture, device, root, step, threads"
    with pytest.raises(SettingsError, match=said):
        grid.plan({"a": TINY, "b": TINY | {"threads": 2, "step": "plain"}}, [0])


KEPT = Path(__file__).parents[2] / "docs/evidence/first/runs.jsonl"


@pytest.mark.slow
def test_all_runs_that_were_kept_are_read_and_have_the_keys_that_they_had():
    keys = [json.loads(line)["key"] for line in KEPT.read_text(encoding="utf-8").splitlines()]
    assert [record["key"] for record in grid.read_runs(KEPT)] == keys


def test_a_run_that_was_kept_before_a_setting_came_is_not_run_again():
    kept = [json.loads(line) for line in KEPT.read_text(encoding="utf-8").splitlines()]
    kept = [r for r in kept if "kind" in r["settings"] and "gate_on" not in r["settings"]]
    assert len(kept) > 300
    for record in kept:
        both, one = (
            grid.Planned(record["settings"] | {"gate_on": on}, record["data_sha256"]).key
            for on in ("both", "inhibition")
        )
        assert both == record["key"] != one


@pytest.mark.slow
def test_a_run_that_was_kept_before_pixels_were_standardised_has_its_key():
    """With the new settings named, each as it was; what differs in one of them is another run."""
    kept = [json.loads(line) for line in KEPT.read_text(encoding="utf-8").splitlines()]
    usual = {"standardise": "none", "pixel_mean": 0.0, "pixel_deviation": 1.0}
    others = {"standardise": "image", "pixel_mean": 0.5, "pixel_deviation": 0.5, "corruptions": "cifar-c"}

    def key_of(record, **more):
        return grid.Planned(record["settings"] | more, record["data_sha256"]).key

    for record in kept:
        assert key_of(record) == key_of(record, **usual) == record["key"]
        assert all(key_of(record, **usual | {name: value}) != record["key"] for name, value in others.items())


def test_baselines_belong_to_pixels_and_corruptions_too():
    (plain,), (standard,) = (planned([TINY | more]) for more in ({}, studies.PIXELS))
    keys = {plain.baselines.key}
    assert plain.baselines.settings.keys() & {"standardise", "pixel_mean", "corruptions"} == set()
    for lacking in ((), ("corruptions",), ("standardise", "pixel_mean", "pixel_deviation")):
        run = standard._replace(settings={k: v for k, v in standard.settings.items() if k not in lacking})
        keys.add(run.baselines.key)
    assert len(keys) == 4


# ---------------------------------------------------------------------------- metrics of one record

RECORD = {
    "clean": {"accuracy": 0.9, "loss": 0.4},
    "valid": {"accuracy": 0.7, "loss": 0.6},
    "accuracy": {"noise": [0.9, 0.5, 0.3], "blur": [0.9, 0.8, 0.6]},
    "similarity": {"before": [0.1, 0.2], "after": [0.3, 0.6]},
}


def test_every_metric_by_hand():
    told = {name: float(metric.of(RECORD)) for name, metric in studies.METRICS.items()}
    assert told == pytest.approx({
        "clean accuracy": 90, "corrupted accuracy": 100 * (0.4 + 0.7) / 2, "test loss": 0.4,
        "validation accuracy": 70, "similarity of tokens": 0.6,
    })  # fmt: skip


def test_level_0_is_no_corruption():
    for clean in (0.0, 1.0):
        record = {"accuracy": {"noise": [clean, 0.5, 0.3], "blur": [clean, 0.8, 0.6]}}
        assert studies.corrupted(record) == pytest.approx(0.55)


def test_a_cell_has_the_rate_of_its_mechanism_and_the_last_word_on_it():
    """A mechanism without a rate has that of dgsa; a base that names one has it for all."""
    cells = {
        "a": {"kind": "dgsa", "epochs": 1},
        "b": {"kind": "softmax"},
        "c": {"kind": "dgsa", "lr": 0.5},
        "d": {"kind": "twicing"},
    }
    study = studies.Study("?", cells, None)
    base = {"data": "digits"} | studies.STANDARD["digits"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(studies.RATES, "digits", {"dgsa": 0.25, "softmax": 0.125})
        found = studies.grid_of(study, "digits")
        deep = studies.grid_of(study._replace(base=studies.DEEP), "digits")
    assert found == {
        "a": base | {"lr": 0.25, "kind": "dgsa", "epochs": 1},
        "b": base | {"lr": 0.125, "kind": "softmax"},
        "c": base | {"lr": 0.5, "kind": "dgsa"},
        "d": base | {"lr": 0.25, "kind": "twicing"},
    }
    assert studies.base_of(study, "digits") == base
    assert [cell["lr"] for cell in deep.values()] == [0.01, 0.01, 0.5, 0.01]


def test_softmax_with_as_many_heads_has_those_of_the_recipe(made_up):
    """So it is another cell than softmax with twice as many, on each data set."""
    for data, heads in (("digits", 4), ("rt-polarity", 2)):
        cells = studies.grid_of(studies.STUDIES["clean"], data)
        assert cells["softmax, H heads"]["n_heads"] == heads and "n_heads" not in cells["softmax"]
        by = plan_of(studies.STUDIES["clean"], data, made_up)
        assert by["softmax"][0].settings["n_heads"] == 2 * by["softmax, H heads"][0].settings["n_heads"]


def test_data_without_rates_have_the_one_of_their_recipe():
    study = studies.Study("?", {"a": {"kind": "dgsa"}}, None)
    assert studies.grid_of(study, "images") == {"a": {"data": "images", **studies.PIXELS, "kind": "dgsa"}}


def test_every_mechanism_beside_the_three_is_in_every_study():
    """Without a list of them: a new row of the table is enough."""
    assert {*studies.MAIN, *studies.OTHERS} == {*KINDS}
    for study in studies.STUDIES.values():
        assert {*studies.OTHERS} < {cell["kind"] for cell in study.cells.values()}


@pytest.mark.parametrize("name", [name for name, study in studies.STUDIES.items() if study.margin])
def test_standard_studies_have_standardised_pixels_the_corruptions_of_cifar_10_c_and_a_margin(name, made_up):
    study = studies.STUDIES[name]
    assert study.margin == 1 and set(study.few) <= study.cells.keys()
    assert not {*study.primary[1:]} & set(study.few)  # the primary comparison is on all seeds
    for data in (data for data in study.data if data in ("digits", *made_up)):
        for (run, _) in plan_of(study, data, made_up).values():
            asked, images = run.settings, data != "rt-polarity"
            how = "none" if not images else "image" if name == "each-image" else "data"
            assert asked["standardise"] == how and asked.get("corruptions") == ("cifar-c" if images else None)
            rates = studies.RATES[data]
            assert asked["lr"] == rates.get(asked["kind"], rates["dgsa"])
            assert (asked["pixel_mean"], asked["pixel_deviation"]) != (0, 1) or how != "data"


def test_cells_of_few_seeds_have_the_first_of_them_and_runs_go_seed_by_seed(tmp_path, monkeypatch):
    """What is stopped half-way has as many seeds of each cell; --first-seed counts from there."""
    cells = {"a": {"kind": "dgsa"}, "b": {"kind": "softmax"}}
    study = studies.Study("?", cells, (studies.CLEAN, "a", "b"), few=("b",), base={"digits": TINY}, margin=2.0)
    monkeypatch.setitem(studies.STUDIES, "clean", study)
    monkeypatch.setattr(compare, "run_grid", lambda folder, runs, **how: told.extend(runs))
    monkeypatch.setattr(compare, "FEW", 2)
    for more, first in (([], 0), (["--first-seed", "100"], 100)):
        told, out = [], tmp_path / f"{first}"
        assert main(["compare", "--study", "clean", "--seeds", "3", "--out", str(out), *more]) == 0
        ran = [(r.settings["kind"], r.settings["seed"] - first) for r in told]
        assert ran == [("dgsa", 0), ("softmax", 0), ("dgsa", 1), ("softmax", 1), ("dgsa", 2)]
        kept = compare.read_comparisons(out)["clean"]
        assert kept["runs"]["digits"] == {k: [r.key for r in told if r.settings["kind"] == kind]
            for k, kind in (("a", "dgsa"), ("b", "softmax"))}  # fmt: skip
        assert kept["margin"] == 2


# ------------------------------------------------------------------------------------ runs of seeds


def test_a_run_is_trained_with_its_seed_and_tested_on_the_test_split():
    cfg, data, seen = TrainConfig(epochs=1, batch_size=10, seed=4, device="cpu"), three_splits(SMALL), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiments, "accuracy_under_corruption", lambda *given: seen.append(given) or {"x": [0.5]})
        run, result = run_one(SMALL, cfg, data), train(SMALL, cfg, data, step=choose_step(SMALL, cfg))
    assert (run.name, run.seed, run.steps, run.epochs, run.accuracy) == ("dgsa", 4, *result[1:], {"x": [0.5]})
    assert all(same_bits(a, flatten(result.params)[name]) for name, a in flatten(run.params).items())
    ((classify, split, task),) = seen
    assert split is data.test and task == "vision"
    assert np.array_equal(classify(data.valid), predict(result.params, data.valid, SMALL).argmax(axis=-1))


def test_a_grid_runs_every_model_with_every_seed():
    cfg = TrainConfig(lr=0.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiments, "results", lambda tasks, *_, **more: [task.args[:2] for task in tasks])
        found = run_grid(equal_models(SMALL, ["softmax", "dgsa"]), cfg, [3, 4], None)
    expected = [(kind, replace(cfg, seed=seed)) for seed in (3, 4) for kind in ("softmax", "dgsa")]
    assert [(model.kind, seeded) for model, seeded in found] == expected


def test_a_model_is_evened_by_the_width_of_its_feed_forward():
    """To the nearest: a step of the width adds 3 x 8 numbers to a block of 8 channels."""
    models = equal_models(SMALL)
    wanted = count_parameters(models["dgsa"])
    assert models["dgsa"] == replace(SMALL, ffn_width=SMALL.F)
    assert all(abs(count_parameters(model) - wanted) <= 12 for model in models.values())


# ------------------------------------------------------------------------------------- planted bugs

by_hand, tuned = test_every_metric_by_hand, test_a_cell_has_the_rate_of_its_mechanism_and_the_last_word_on_it
untuned = test_data_without_rates_have_the_one_of_their_recipe
evened = test_a_model_is_evened_by_the_width_of_its_feed_forward
one_run = test_a_run_is_trained_with_its_seed_and_tested_on_the_test_split
all_runs = test_a_grid_runs_every_model_with_every_seed

BUGS = {  # what is wrong: (what catches it, function, old, new)
    "level 0 in a corrupted mean": (test_level_0_is_no_corruption, studies.corrupted, "levels[1:]", "levels"),
    "the last level is left out": (by_hand, studies.corrupted, "levels[1:]", "levels[:-1]"),
    "the mean over levels and corruptions is their sum": (by_hand, studies.corrupted, "np.mean", "np.sum"),
    "the base has the last word": (tuned, studies.grid_of, "| base | cell", "| cell | base | cell | base"),
    "the rate has the last word": (
        tuned, studies.grid_of, 'tuned[cell["kind"]] | base | cell', 'cell | base | tuned[cell["kind"]]'),
    "the base is forgotten": (tuned, studies.base_of, " | study.base[data]", ""),
    "one rate for all": (tuned, studies.grid_of, 'rates.get(kind, rates["dgsa"])', 'rates["dgsa"]'),
    "a rate for data that have none": (
        untuned, studies.grid_of, "RATES.get(data, {})", "RATES.get(data, RATES['digits'])"),
    "a run tested on validation data": (one_run, run_one, "data.test", "data.valid"),
    "a run with the weights of another seed": (
        one_run, run_one, "train(model, cfg,", "train(model, replace(cfg, seed=0),"),
    "one seed for all runs of a grid": (all_runs, run_grid, "replace(cfg, seed=seed)", "cfg"),
    "models that are not evened": (evened, experiments.evened, "round(missing / per_unit)", "0"),
    "models evened down": (evened, experiments.evened, "round(missing", "round(-missing"),
    "models evened without their heads": (evened, experiments.evened, "n_heads=heads, ", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", BUGS)
def test_planted_bugs_are_caught(name):
    test, *change = BUGS[name]
    assert_caught(test, change)
