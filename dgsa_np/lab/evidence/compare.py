"""Comparisons in a folder: comparisons.json says which runs are compared, runs.jsonl holds them."""

import json
from pathlib import Path

from ..runs import write_whole
from ..settings import SettingsError
from .costs import costs
from .grid import cells, key, plan, run_grid
from .studies import BASE, CLEAN, CORRUPTED, LOSS, STUDIES, Study, grid_of

EVERYWHERE = ("digits", "needle")  # data sets that need no files


def compare_study(folder, name, seeds, roots, given, **how) -> list:
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
            planned[data] = plan(grid, seeds, {"data": data} | BASE[data] | here)
        else:
            print(f"{name}: {data} is left out, since --roots {data}=PATH was not given")
    return carry_out(folder, name, study, planned, **how)


def compare_grid(folder, settings, seeds, uneven, **how) -> list:
    """The runs of any grid. settings : one value of each, or a list; what varies names a cell"""
    varied, grids = [name for name, value in settings.items() if isinstance(value, list)], {}
    for cell in cells(settings):
        label = ", ".join(f"{cell[name]}" for name in varied if name != "data") or "all"
        grids.setdefault(cell.get("data", "digits"), {})[label] = cell
    planned = {data: plan(grid, list(dict.fromkeys(seeds)), uneven=uneven) for data, grid in grids.items()}
    first, *others = dict.fromkeys(label for by in planned.values() for label in by)
    tasks = {settings["task"] for by in planned.values() for runs in by.values() for settings in runs}
    metrics = (LOSS,) if "lm" in tasks else (CORRUPTED, CLEAN)
    primary = (metrics[0], first, others[0]) if others else None
    study = Study(f"A grid over {', '.join(varied) or 'seeds'}", {}, primary, tuple(planned), metrics)
    return carry_out(folder, "-".join(["grid", *varied]), study, planned, **how)


def carry_out(folder, name, study, planned, **how) -> list:
    """Write down what will be compared and how, before the first run; then run what is missing."""
    folder = Path(folder)
    comparison = {
        "question": study.question,
        "primary": [study.primary[0].name, *study.primary[1:]] if study.primary else None,
        "metrics": [m.name for m in study.metrics],
        "inside": study.inside,
        "runs": {data: {label: [key(s) for s in runs] for label, runs in by.items()} for data, by in planned.items()},
    }
    before = read_comparisons(folder)
    if before.get(name, {}).get("runs") == comparison["runs"]:
        comparison = before[name] | comparison  # with the costs that were measured
    write_whole(folder / "comparisons.json", json.dumps(before | {name: comparison}, indent=1))
    firsts = {data: {label: runs[0] for label, runs in by.items()} for data, by in planned.items()}
    runs = [s for by in planned.values() for settings in by.values() for s in settings]
    kept = {key(first) for by in firsts.values() for first in by.values()}
    records = run_grid(folder, runs, models=kept, **how)
    if "cost" in study.inside:
        comparison["cost"] = {data: costs(by) for data, by in firsts.items()}
        write_whole(folder / "comparisons.json", json.dumps(read_comparisons(folder) | {name: comparison}, indent=1))
    return records


def read_comparisons(folder) -> dict:
    """{name: what is compared}; raises SettingsError for a damaged file."""
    path = Path(folder) / "comparisons.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}
    except (ValueError, TypeError) as error:
        raise SettingsError(f"{path}: not a JSON object: {error}") from error
