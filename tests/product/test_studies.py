"""The plans of the studies: all combinations, equal models, and a key for what is computed."""

import json
from pathlib import Path

import pytest
from support.training import TINY, planned

from dgsa_np.lab.evidence import compare, grid, studies
from dgsa_np.lab.experiments import count_parameters
from dgsa_np.lab.settings import SettingsError
from dgsa_np.model import ModelConfig


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
