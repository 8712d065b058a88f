"""A run in a folder: config.json, metrics.jsonl, checkpoint.npz, best.npz.

It can be stopped at any moment, and goes on from its last checkpoint.
"""

import json
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from ..attention import KINDS
from ..backend import resolve_device
from ..checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from ..gpu import describe_device
from ..train import TrainState, evaluate, first_state, train_steps, with_bar
from . import viz
from .measure import versions
from .settings import SettingsError, read_settings, settle

KEYS = {"settings", "dataset", "state", "best"}


def begin(folder, data_config, model, cfg, data) -> dict:
    """A new folder with what is needed to run it again, and the state before the first step.

    returns : what the run holds, as open_run does
    """
    folder, settings = Path(folder), asdict(data_config) | asdict(model) | asdict(cfg)
    config = {
        "settings": settings,
        "data_sha256": data.meta["sha256"],
        "device": describe_device(resolve_device(cfg.device)),
        "versions": versions(),
    }
    write_whole(folder / "config.json", json.dumps(config, indent=1))
    held = {"settings": settings, "dataset": data.meta, "state": first_state(model, cfg)._asdict(), "best": None}
    save_checkpoint(folder / "checkpoint.npz", held)
    return held


def open_run(path, which="checkpoint") -> dict:
    """What a run folder, or a checkpoint file, holds: settings, dataset (its meta), state, best.

    raises : CheckpointError where there is none, or one of another kind
    """
    path = Path(path) / f"{which}.npz" if Path(path).is_dir() else Path(path)
    held = load_checkpoint(path)
    if not isinstance(held, dict) or held.keys() != KEYS:
        found = ", ".join(held) if isinstance(held, dict) else type(held).__name__
        raise CheckpointError(f"{path}: a checkpoint of another kind: it holds {found}, expected that of a run")
    return held


def reopen(folder, given: dict):
    """What a run holds, and its configurations and data again, exactly as they were.

    given  : settings that were asked for now; they must be those of the run, but the data may have
             moved
    raises : SettingsError naming what differs
    """
    held = open_run(folder)
    settings, moved = held["settings"], {k: v for k, v in given.items() if k == "root"}
    for where, other in (
        ("asked for", given | {"root": settings["root"]}),
        ("in config.json", read_settings(Path(folder) / "config.json")),
    ):
        changed = [f"{k} is {v!r}, not {settings.get(k)!r}" for k, v in other.items() if settings.get(k) != v]
        if changed:
            raise SettingsError(f"{folder}: {where}: {'; '.join(changed)}, as the run was started; begin a new run")
    made = settle(settings | moved)
    check_data(folder, held, made[-1])
    return held, *made


def check_data(name, held, data):
    """The data are those that the model was trained on: what its tokens mean is fixed by them."""
    then, now = held["dataset"], data.meta
    for key in ("name", "sha256", "symbols"):
        if then.get(key) != now.get(key):
            what = f"{key} {then[key]}, now {now.get(key)}" if key != "symbols" else "another vocabulary"
            raise SettingsError(f"{name}: the data differ from those of the run: {what}; pydoc changes with Python")


def follow(folder, model, cfg, data, held, every=30.0) -> dict:
    """Train on from what is held, until the last epoch or Ctrl-C.

    every   : seconds between checkpoints
    returns : what is held then, as it is on the disk
    raises  : NonFiniteError, OutOfMemoryError: the last checkpoint stays as it was;
              KeyboardInterrupt at a second Ctrl-C
    """
    folder, state, best = Path(folder), TrainState(**held["state"]), None
    for unfinished in folder.glob(".*.npz.*"):  # by a process that was killed while it saved
        unfinished.unlink()
    _cut(folder / "metrics.jsonl", state)
    steps = with_bar(train_steps(model, cfg, data, state), model, cfg, data, start=state.optimizer["step"])
    with Stop() as stop, open(folder / "metrics.jsonl", "a", encoding="utf-8") as log:
        saved = time.monotonic()
        for now, step, epoch in steps:
            held = held | {"state": now._asdict()}
            log.write("".join(json.dumps(line) + "\n" for line in (step, epoch) if line))
            if epoch and (held["best"] is None or epoch["valid_loss"] < held["best"]["valid_loss"]):
                best = held = held | {"best": epoch}
            if stop.asked or time.monotonic() - saved > every:
                best, saved = _save(folder, held, best, log), time.monotonic()
            if stop.asked:
                break
        _save(folder, held, best, log)
    return held


def conclude(folder, model, data) -> dict:
    """Loss and accuracy of the last state and of the best; also recorded, and the run is drawn."""
    folder, figures = Path(folder), {}
    for name, which in (("last", "checkpoint"), ("best", "best")):
        held = open_run(folder, which)
        for split in ("valid", "test"):
            title = f"{split}, {name} ({held['state']['epoch'] - 1})"
            figures[title] = evaluate(held["state"]["params"], getattr(data, split), model)
    records = _cut(folder / "metrics.jsonl", TrainState(**open_run(folder)["state"]), {"result": figures})
    run = tuple([r for r in records if key in r] for key in ("step", "epoch"))
    viz.save(viz.training_figure({held["settings"]["kind"]: [run]}, KINDS), folder / "training.png")
    return figures


def finished(held, cfg) -> bool:
    return held["state"]["epoch"] >= cfg.epochs


class Stop:
    """Ctrl-C: the first asks to stop after this step, the second aborts."""

    asked = False

    def __enter__(self):
        self.before = signal.signal(signal.SIGINT, self.ask)
        return self

    def __exit__(self, *error):
        signal.signal(signal.SIGINT, self.before)

    def ask(self, *_):
        self.asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        print("\nStopping after this step; once more to abort.", file=sys.stderr)


def _save(folder, held, best, log):
    """The record, then the best state if it is new, then the state: each refers to those before."""
    log.flush()
    if best is not None:
        save_checkpoint(folder / "best.npz", best)
    save_checkpoint(folder / "checkpoint.npz", held)


def _cut(path, state, *more) -> list:
    """Leaves in the file the records of steps and epochs that are in the state, and adds more.

    The others will be written again. Returns what is in the file then.
    """
    records, done = [], {"step": state.optimizer["step"], "epoch": state.epoch}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        with suppress(ValueError):  # a last line that was cut off
            records.append(json.loads(line))
    known = [r for r in records if "result" not in r and all(r.get(key, -1) < n for key, n in done.items())]
    write_whole(path, "".join(json.dumps(record) + "\n" for record in [*known, *more]))
    return [*known, *more]


def write_whole(path, text):
    """Whole or not at all; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(text, encoding="utf-8")
    os.replace(aside, path)
