"""A grid of runs: each is trained once, measured, and kept as one line of runs.jsonl.

A grid that was stopped goes on when it is asked for again.
"""

import hashlib
import json
import os
import time
from dataclasses import asdict, replace
from functools import lru_cache, partial
from itertools import product
from pathlib import Path

from tqdm import tqdm

from ...checkpoint import save_checkpoint
from ...train import NonFiniteError, train
from ..experiments import count_parameters, evened, run_baselines
from ..measure import system, versions
from ..settings import DataConfig, SettingsError, make, settings_of, settle
from ..workers import results
from .measures import measure

UNEVEN = 0.02  # parameter counts of one grid may differ by so much
FIXED_BY_DATA = ("task", "n_out", "image_size", "channels", "vocab_size", "max_len")
ELSEWHERE = {"root", "device", "threads"}  # settings that say where a run is computed, not what
NEWER = {"gate_on": "both"}  # settings that the first kept runs do not name, and what they did
load_once = lru_cache(maxsize=2)(DataConfig.load)


# ----------------------------------------------------------------------------------------- the plan


def cells(settings: dict) -> list:
    """Every combination of settings of which each has one value or a list of them."""
    lists = (value if isinstance(value, list) else [value] for value in settings.values())
    return [dict(zip(settings, choice, strict=True)) for choice in product(*lists)]


def plan(grid, seeds, reference=None, uneven=False) -> dict:
    """{label: [settings of a run per seed]}, with the parameter counts of all cells evened out.

    grid      : {label: settings of a cell}
    reference : settings of a model; None: the first cell with most maps. All get its key width and,
                by ffn_width, nearly its parameter count; those cells are left alone that differ
                from it in n_heads or ffn_width
    raises    : SettingsError where counts still differ by more than 2 %, unless uneven
    """
    here = {"threads": 1, "device": "cpu"}
    settled = {label: settle(here | given, load_once)[:3] for label, given in grid.items()}
    base = reference or grid[max(settled, key=lambda label: settled[label][1].mechanism.split)]
    runs, (_, reference, *_) = {}, settle(here | base, load_once)
    for label, (data_config, model, cfg) in settled.items():
        given = grid[label]
        same = replace(reference, **{name: getattr(model, name) for name in FIXED_BY_DATA})
        try:
            chosen = any(given.get(name) != base.get(name) for name in ("n_heads", "ffn_width"))
            model = model if chosen else evened(model, same)
        except ValueError as error:
            raise SettingsError(f"{given}: cannot be made as large as {reference.kind}: {error}") from error
        ours, theirs = count_parameters(model), count_parameters(same)
        if abs(ours / theirs - 1) > UNEVEN and not uneven:
            raise SettingsError(
                f"{given}: {ours:,} parameters, the reference ({reference.kind}) {theirs:,}: more than {UNEVEN:.0%} "
                "apart; leave ffn_width to be chosen, or allow it with --uneven"
            )
        settings = asdict(data_config) | asdict(model) | asdict(cfg)
        runs[label] = [{k: v for k, v in settings.items() if v is not None} | {"seed": seed} for seed in seeds]
    return runs


def key(settings) -> str:
    """The name of a run: a hash of all that its result depends on."""
    what = {name: value for name, value in settings.items() if name not in ELSEWHERE and NEWER.get(name) != value}
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


# ------------------------------------------------------------------------------------------ one run


def run(settings) -> tuple:
    """Train and measure once. Returns the record, and the trained parameters."""
    data_config, model, cfg, data = settle(settings, load_once)
    record, start = new_record(settings, data), time.perf_counter()
    try:
        params, steps, epochs = train(model, cfg, data)
    except NonFiniteError as error:
        return record | {"failed": str(error)}, None
    record |= {
        "parameters": count_parameters(model),
        "steps": len(steps),
        "seconds": round(time.perf_counter() - start, 3),
        "epochs": epochs,
    }
    return record | measure(model, cfg, params, data, data_config), params


def run_trivial(settings) -> tuple:
    """The trivial classifiers of a data set, as the record of a run; a language has none."""
    data = load_once(make(DataConfig, settings))
    runs = [] if data.meta["task"] == "lm" else run_baselines(data)
    return new_record(settings, data) | {"baselines": {run.name: run.accuracy for run in runs}}, None


def new_record(settings, data) -> dict:
    """What is run, on which data, and where."""
    host = versions() | {"machine": f"{system()}, {os.cpu_count()} cores"}
    return {"key": key(settings), "settings": settings, "data_sha256": data.meta["sha256"], "host": host}


# ----------------------------------------------------------------------------------------- all runs


def run_grid(folder, runs, jobs=2, dask=None, models=()) -> list:
    """Run what is missing in folder/runs.jsonl, in processes here or by the workers of a scheduler.

    jobs    : the number of processes
    dask    : the address of a Dask scheduler; None: processes here
    models  : keys of runs whose parameters are kept, in folder/models
    returns : the records of all runs that were asked for, and of the baselines of their data
    """
    folder, log = Path(folder), Path(folder) / "runs.jsonl"
    (folder / "models").mkdir(parents=True, exist_ok=True)
    tasks = {key(s): partial(run, s) for s in runs}
    tasks |= {key(s): partial(run_trivial, s) for s in (settings_of(DataConfig, settings) for settings in runs)}
    done = {record["key"]: record for record in read_runs(log, repair=True)}
    check_data_of(folder, done, runs)
    missing = [task for name, task in tasks.items() if name not in done]
    shown = {"total": len(tasks), "initial": len(tasks) - len(missing), "unit": "run", "desc": "compare"}
    with open(log, "a", encoding="utf-8") as file:
        for record, params in tqdm(results(missing, jobs, dask), disable=None, **shown):
            if params is not None and record["key"] in models:
                save_checkpoint(folder / "models" / f"{record['key']}.npz", params)
            print(json.dumps(record), file=file, flush=True)
            os.fsync(file.fileno())
    done = {record["key"]: record for record in read_runs(log)}
    return [done[name] for name in tasks]


def check_data_of(folder, done, runs):
    """Records that are taken over saw the data that are there now."""
    for settings in (s for s in runs if key(s) in done):
        if done[key(settings)]["data_sha256"] != load_once(make(DataConfig, settings)).meta["sha256"]:
            raise SettingsError(
                f"{folder}: its runs on {settings['data']} saw other data than are there now: was the file changed? "
                "Begin a new folder"
            )


def read_runs(path, repair=False) -> list:
    """The records of a runs.jsonl; none where there is no file, or of a last line that was cut off.

    repair : take such a line out of the file
    raises : SettingsError naming a damaged line
    """
    path = Path(path)
    content = path.read_bytes() if path.exists() else b""
    whole = content[: content.rfind(b"\n") + 1]
    if repair and whole != content:
        os.truncate(path, len(whole))
    records = []
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            records.append(json.loads(line))
            records[-1]["key"], records[-1]["settings"]
        except (ValueError, KeyError, TypeError) as error:
            raise SettingsError(f"{path}: line {number} is not the record of a run: {error}") from error
    return records
