"""A grid of runs: each is trained once, measured, and kept as one line of runs.jsonl.

A grid that was stopped goes on when it is asked for again.
"""

import hashlib
import json
import os
import subprocess
import time
from dataclasses import asdict, replace
from datetime import datetime, timezone
from functools import lru_cache, partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from ...backend import to_device
from ...checkpoint import save_checkpoint
from ...fast import choose_step
from ...files import append
from ...layers import standardised
from ...model import ModelConfig
from ...train import NonFiniteError, train
from ..experiments import corruptions_of, count_parameters, evened, run_baselines
from ..measure import host
from ..records import COUNT, DICT, HASH, LABEL, NAME, NONE, NUMBER, SHARE, TEXT, checked, read_lines, told_as
from ..runs import EPOCH
from ..settings import FIELDS, DataConfig, SettingsError, make, settings_of, settle, typed
from ..workers import results, told
from .measures import MEASURED, check_items, measure

UNEVEN = 0.02  # parameter counts of one grid may differ by so much
FIXED_BY_DATA = ("task", "n_out", "image_size", "channels", "vocab_size", "max_len")
ELSEWHERE = {"root", "device", "threads", "step", "capture"}  # settings that say where a run is computed, not what
NEWER = {  # what the first kept runs did and do not name
    **{"gate_on": "both", "step": "plain", "capture": False},
    **{"standardise": "none", "pixel_mean": 0.0, "pixel_deviation": 1.0},
}
PIXELS = "standardise", "pixel_mean", "pixel_deviation"
NEEDED = [name for name, field in FIELDS.items() if field.default is not None and name not in NEWER]
load_once = lru_cache(maxsize=2)(DataConfig.load)
# A line of runs.jsonl: a run that was trained, or broke down, or trivial baselines.
RUN = {"key": HASH, "settings": DICT, "data_sha256": HASH, "host": {NAME: (LABEL, COUNT)}}
RUN |= {"time?": LABEL, "commit?": (NONE, LABEL)}
TRAINED = {"parameters": COUNT, "steps": COUNT, "seconds": NUMBER, "epochs": [EPOCH], **MEASURED}
FORMS = {"failed": RUN | {"failed": TEXT}, "baselines": RUN | {"baselines": {LABEL: {NAME: [SHARE]}}}}


class Planned(NamedTuple):
    """A run that is asked for: its settings, and the hash of the data that they mean now."""

    settings: dict
    data_sha256: str

    @property
    def key(self) -> str:
        """The name of the run: a hash of all that its result depends on."""
        what = {k: v for k, v in self.settings.items() if k not in ELSEWHERE and NEWER.get(k) != v}
        said = json.dumps([what, self.data_sha256], sort_keys=True, default=lambda number: number.item())  # NumPy's
        return hashlib.sha256(said.encode()).hexdigest()[:16]

    @property
    def baselines(self) -> "Planned":
        """The run of the trivial baselines on the same data."""
        prepared = {name: self.settings[name] for name in PIXELS if self.settings.get(name, NEWER[name]) != NEWER[name]}
        return Planned(settings_of(DataConfig, self.settings) | prepared, self.data_sha256)


# ----------------------------------------------------------------------------------------- the plan


def cells(settings: dict) -> list:
    """Every combination of settings of which each has one value or a list of them."""
    lists = (value if isinstance(value, list) else [value] for value in settings.values())
    return [dict(zip(settings, choice, strict=True)) for choice in product(*lists)]


def plan(grid, seeds, reference=None, uneven=False) -> dict:
    """{label: [a Planned per seed]}, with the parameter counts of all cells evened out.

    grid      : {label: settings of a cell}
    reference : settings of a model; None: the first cell with most maps. All get its key width and,
                by ffn_width, nearly its parameter count; those cells are left alone that differ
                from it in n_heads or ffn_width
    raises    : SettingsError where counts still differ by more than 2 %, unless uneven, and where
                two cells are the same runs
    """
    here = {"threads": 1, "device": "cpu"}
    settled = {label: settle(here | given, load_once) for label, given in grid.items()}
    base = reference or grid[max(settled, key=lambda label: settled[label][1].mechanism.split)]
    runs, (_, reference, *_) = {}, settle(here | base, load_once)
    for label, (data_config, model, cfg, data) in settled.items():
        given = grid[label]
        same = replace(reference, **{name: getattr(model, name) for name in FIXED_BY_DATA})
        chosen = any(given.get(name) != base.get(name) for name in ("n_heads", "ffn_width"))
        with told_as(SettingsError, f"{given}: cannot be made as large as {reference.kind}: ", ValueError):
            model = model if chosen else evened(model, same)
        ours, theirs = count_parameters(model), count_parameters(same)
        if abs(ours / theirs - 1) > UNEVEN and not uneven:
            raise SettingsError(
                f"{given}: {ours:,} parameters, the reference ({reference.kind}) {theirs:,}: more than {UNEVEN:.0%} "
                "apart; leave ffn_width to be chosen, or allow it with --uneven"
            )
        settings = asdict(data_config) | asdict(model) | asdict(cfg)
        settings = {k: v for k, v in settings.items() if v is not None}
        runs[label] = [Planned(settings | {"seed": seed}, data.meta["sha256"]) for seed in seeds]
    check_all_differ(runs)
    return runs


def check_all_differ(runs):
    """No two cells are the same runs, as those are that differ in the place of equal data alone."""
    keys = [planned[0].key for planned in runs.values()]
    if same := [repr(label) for label, key in zip(runs, keys, strict=True) if keys.count(key) > 1]:
        where = ", ".join(sorted(ELSEWHERE))
        raise SettingsError(f"cells {', '.join(same)} are the same runs: they differ at most in {where}")


# ------------------------------------------------------------------------------------------ one run


def run(planned: Planned) -> tuple:
    """Train and measure once. Returns the record, and the trained parameters."""
    record, start = new_record(planned), time.perf_counter()
    data_config, model, cfg, data = settle(planned.settings, load_once)
    try:
        params, steps, epochs = train(model, cfg, data, step=choose_step(model, cfg))
        trained = {
            "parameters": count_parameters(model),
            "steps": len(steps),
            "seconds": round(time.perf_counter() - start, 3),
            "epochs": epochs,
        }
        measured = measure(model, cfg, to_device(params, cfg.device), data, data_config)
        return checked(record | trained | measured, RUN | TRAINED, "what was measured", NonFiniteError), params
    except NonFiniteError as error:
        return record | {"failed": str(error)}, None


def run_trivial(planned: Planned) -> tuple:
    """The trivial classifiers of a data set, as the record of a run; a language has none."""
    record, data = new_record(planned), load_once(make(DataConfig, planned.settings))
    model = make(ModelConfig, planned.settings)
    prepare = partial(standardised, cfg=model) if model.standardise != "none" else None
    what = planned.settings | {"task": data.meta["task"]}
    runs = [] if data.meta["task"] == "lm" else run_baselines(data, corruptions_of(what), prepare)
    return record | {"baselines": {run.name: run.accuracy for run in runs}}, None


def new_record(planned) -> dict:
    """What is run, and where; raises SettingsError where the data are not those of the plan."""
    data = load_once(make(DataConfig, planned.settings))
    if data.meta["sha256"] != planned.data_sha256:
        name, root = planned.settings["data"], planned.settings.get("root")
        raise SettingsError(f"{name}, root {root}: other data than when the run was planned: was the file changed?")
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"key": planned.key, **planned._asdict(), "host": host(), "time": now, "commit": commit()}


@lru_cache
def commit() -> str | None:
    """Of the checkout that this code is in, with a + where it was changed.

    Without git: what GIT_COMMIT says, as it does on many servers; else None.
    """
    git = "git", "-C", str(Path(__file__).parent)
    try:
        said = subprocess.run([*git, "describe", "--always", "--dirty=+"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return os.environ.get("GIT_COMMIT")
    return said.stdout.strip() or os.environ.get("GIT_COMMIT")


# ----------------------------------------------------------------------------------------- all runs


def run_grid(folder, runs, jobs=2, dask=None, models=()) -> list:
    """Run what is missing in folder/runs.jsonl, in processes here or by the workers of a scheduler.

    runs    : a Planned for each; nobody else may be writing to the folder
    jobs    : the number of processes
    dask    : the address of a Dask scheduler; None: processes here
    models  : keys of runs whose parameters are kept, in folder/models
    returns : the records of all runs that were asked for, and of the baselines of their data
    """
    folder, log = Path(folder), Path(folder) / "runs.jsonl"
    (folder / "models").mkdir(parents=True, exist_ok=True)
    tasks = {r.key: partial(run, r) for r in runs} | {r.baselines.key: partial(run_trivial, r.baselines) for r in runs}
    done = {record["key"] for record in read_runs(log, repair=True)}
    missing = [task for name, task in tasks.items() if name not in done]
    n, before = len(tasks), len(tasks) - len(missing)
    finished = told(results(missing, jobs, dask), n, "compare", in_a_line, before)
    for record, params in tqdm(finished, disable=None, total=n, initial=before, unit="run", desc="compare"):
        if params is not None and record["key"] in models:
            save_checkpoint(folder / "models" / f"{record['key']}.npz", params)
        with append(log) as file:
            print(json.dumps(record), file=file, flush=True)
            os.fsync(file.fileno())
    records = {record["key"]: record for record in read_runs(log)}
    return [records[name] for name in tasks]


def in_a_line(result) -> str:
    """What was run, and how it ended."""
    record, _ = result
    what = " ".join(f"{record['settings'][k]}" for k in ("data", "kind", "seed") if k in record["settings"])
    if "failed" in record:
        return f"{what} broke down: {record['failed']}"
    return f"{what}, {record['seconds']:.0f} s" if "seconds" in record else f"{what}, baselines"


def read_runs(path, repair=False) -> list:
    """The records of a runs.jsonl; none where there is no file, or of a last line that was cut off.

    repair : take such a line out of the file
    raises : SettingsError naming a damaged line
    """
    path, records = Path(path), []
    if repair and path.exists():
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
    for number, record in enumerate(read_lines(path, DICT, SettingsError), 1):
        where, how = f"{path}: line {number}", next((how for how in FORMS if how in record), "trained")
        checked(record, FORMS.get(how, RUN | TRAINED), f"{where} is not the record of a run: it", SettingsError)
        settings = typed(where, record["settings"])
        needed = ["data"] if how == "baselines" else [*NEEDED, "n_out"]
        if lacking := [name for name in needed if name not in settings]:
            raise SettingsError(f"{where}: its settings lack {', '.join(lacking)}")
        task = make(ModelConfig, settings).task
        corruptions = corruptions_of(settings | {"task": task}) if how == "trained" else {}
        levels = {kind: len(corruption.levels) for kind, corruption in corruptions.items()}
        if {kind: len(reached) for kind, reached in record.get("accuracy", {}).items()} != levels:
            raise SettingsError(f"{where}: its accuracy does not have the corruptions {levels}, with so many levels")
        if "items" in record:
            with told_as(SettingsError, f"{where}: its test items: ", ValueError):
                check_items(record)
        records.append(record | {"settings": settings, "key": Planned(settings, record["data_sha256"]).key})
    return records
