"""Comparisons in a folder: comparisons.json says which runs are compared, runs.jsonl holds them."""

import json
from itertools import chain, count, zip_longest
from pathlib import Path

from ...data import LOADERS
from ...data.files import read
from ...files import sole_writer, write_whole
from ..records import HASH, LABEL, NAME, NONE, NUMBER, checked, one_of, read_json
from ..settings import SettingsError
from .grid import cells, plan, run_grid
from .sections import SECTIONS
from .studies import CLEAN, CORRUPTED, FEW, LOSS, METRICS, STUDIES, VALID, Study, base_of, grid_of

RECIPE = "width", "depth", "n_heads", "ffn_width", "epochs", "batch_size", "lr", "warmup", "weight_decay", "clip"
EVERYWHERE = ("digits",)  # data sets that need no files
DATA, METRIC = one_of(LOADERS), one_of(METRICS)
COMPARISON = {  # an entry of comparisons.json
    **{"question": LABEL, "primary": (NONE, [METRIC, LABEL, LABEL]), "metrics": [METRIC]},
    **{"inside": [one_of(SECTIONS)], "runs": {DATA: {LABEL: [HASH]}}},
    "margin?": NUMBER,
}


def compare_study(folder, name, seeds, roots, given, uneven=False, **how) -> list:
    """The runs of a study, on those of its data sets that are there.

    roots : {data: path}, for data that are read from files
    given : settings for every cell, beside those that the study fixes
    """
    study, planned = STUDIES[name], {}
    own = {"seed", "spurious", "length", "data"}.union(*study.cells.values()) & given.keys()
    if own:
        raise SettingsError(f"--study {name} with {', '.join(sorted(own))}: its grid is fixed; leave --study away")
    for data in study.data:
        if data in (*roots, *EVERYWHERE):
            here = given | ({"root": roots[data]} if data in roots else {})
            grid = {label: cell | here for label, cell in grid_of(study, data).items()}
            runs = plan(grid, seeds, base_of(study, data) | here, uneven)
            planned[data] = {label: rs[:FEW] if label in study.few else rs for label, rs in runs.items()}
        else:
            print(f"{name}: {data} is left out: no --roots {data}=PATH")
    return carry_out(folder, name, study, planned, **how)


def compare_grid(folder, settings, seeds, uneven, select=None, contrast=None, **how) -> list:
    """The runs of any grid.

    settings : one value of each, or a list; what varies names a cell
    select   : "valid" for a sweep, which looks at validation data alone and tests nothing
    contrast : the labels of the two cells that are compared first; None: the first and the second
    """
    varied, grids = [name for name, value in settings.items() if isinstance(value, list)], {}
    for cell in cells(settings):
        label = ", ".join(f"{cell[name]}" for name in varied if name != "data") or "all"
        grids.setdefault(cell.get("data", "digits"), {})[label] = cell
    labels = list(dict.fromkeys(label for grid in grids.values() for label in grid))
    contrast = contrast or labels[:2]
    if len(set(contrast) & set(labels)) < min(2, len(labels)):
        raise SettingsError(f"--contrast {contrast}, expected two of the cells: {', '.join(map(repr, labels))}")
    planned = {data: plan(grid, list(dict.fromkeys(seeds)), uneven=uneven) for data, grid in grids.items()}
    tasks = {run.settings["task"] for by in planned.values() for runs in by.values() for run in runs}
    metrics = (VALID,) if select else (LOSS,) if "lm" in tasks else (CORRUPTED, CLEAN)
    primary = (metrics[0], *contrast) if labels[1:] and not select else None
    inside = ("corruptions",) if CORRUPTED in metrics else ()
    study = Study(f"A grid over {', '.join(varied) or 'seeds'}", {}, primary, tuple(planned), metrics, inside)
    return carry_out(folder, "-".join(["grid", *varied]), study._replace(margin=None), planned, **how)


def carry_out(folder, name, study, planned, **how) -> list:
    """Write down what will be compared and how, before the first run; then run what is missing."""
    folder, each = Path(folder), [(data, *cell) for data, by in planned.items() for cell in by.items()]
    comparison = {
        "question": study.question,
        "primary": [study.primary[0].name, *study.primary[1:]] if study.primary else None,
        "metrics": [m.name for m in study.metrics],
        "inside": list(study.inside),
        **({"margin": study.margin} if study.margin else {}),
        "runs": {data: {label: [r.key for r in runs] for label, runs in by.items()} for data, by in planned.items()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    with sole_writer(folder / "runs.jsonl", ("comparisons.json", "models/*")):  # what report writes is not ours
        before = read_comparisons(folder)
        name = name_beside(before, name, comparison)
        checked({name: comparison}, {NAME: COMPARISON}, "comparison", SettingsError)  # so that it can be read again
        write_whole(folder / "comparisons.json", json.dumps(before | {name: comparison}, indent=1))
        for data, label, (first, *_) in each:
            recipe = ", ".join(f"{k} {first.settings[k]:g}" for k in RECIPE if k in first.settings)
            print(f"{data}, {label}: {first.settings['kind']}, {recipe}", flush=True)
        by_seed = zip_longest(*(runs for *_, runs in each))  # what is stopped has the same seeds of each cell
        runs = [run for of_a_seed in by_seed for run in of_a_seed if run]
        models = {runs[0].key for *_, runs in each}
        if study.primary:
            metric, label, other = study.primary
            print(f"tested first: {metric.name} of {label} minus that of {other}; above 0, {label} {metric.above}")
        return run_grid(folder, runs, models=models, **how)


def name_beside(before, name, comparison) -> str:
    """The name, with a number where one of that name is another comparison, which would be lost.

    One that asks the same, and whose runs are all here again, in the same cells, is continued.
    """
    names = chain([name], (f"{name}-{number}" for number in count(2)))
    return next(name for name in names if name not in before or _continues(comparison, before[name]))


def _continues(comparison, before) -> bool:
    here, there = (
        {(data, label, key) for data, by in c["runs"].items() for label, keys in by.items() for key in keys}
        for c in (comparison, before)
    )
    return there <= here and all(before[what] == comparison[what] for what in ("primary", "metrics", "inside"))


def read_comparisons(folder) -> dict:
    """{name: what is compared}; raises SettingsError for a damaged file."""
    path = Path(folder) / "comparisons.json"
    content = read(path) if path.exists() else "{}"
    return read_json(content, {NAME: COMPARISON}, f"{path}", SettingsError)
