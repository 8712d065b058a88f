"""A run in a folder: config.json, metrics.jsonl, checkpoint.npz, best.npz.

It can be stopped at any moment, and goes on from its last checkpoint.
"""

import json
import signal
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ..attention import KINDS
from ..backend import resolve_device
from ..checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from ..fast import choose_step
from ..files import append, sole_writer, write_whole
from ..gpu import describe_device
from ..model import ModelConfig
from ..params import flatten
from ..train import TrainState, check_state, evaluate, first_state, right_parameters, train_steps, with_bar
from . import viz
from .measure import host
from .records import (
    COUNT,
    DICT,
    HASH,
    LABEL,
    NAME,
    NONE,
    NUMBER,
    SHARE,
    TEXT,
    Sort,
    checked,
    one_of,
    read_lines,
    told_as,
)  # fmt: skip
from .settings import SettingsError, make, read_settings, settle, typed

SIGNALS = signal.SIGINT, signal.SIGTERM
MAY_MOVE = "root", "device", "step", "capture"  # settings that say where and how a run goes on, not what it is
# What the checkpoint of a run holds; what is in params, optimizer and rng check_state looks at.
BYTE = Sort("text, or a number from 0 to 255", lambda n: type(n) is int and 0 <= n < 256)
UNIT = one_of(("characters", "bytes", "words"))
EPOCH = {"epoch": COUNT, "train_loss": NUMBER, "valid_loss": NUMBER, "valid_accuracy": SHARE}
META = {"name": NAME, "task": TEXT, "sha256": HASH, "n_out": COUNT, "labels?": [TEXT]}
META |= {"unit?": UNIT, "symbols?": [(TEXT, BYTE)]}
META |= dict.fromkeys(("image_size?", "channels?", "vocab_size?", "max_len?", "stride?"), COUNT)
STATE = {"params": DICT, "optimizer": {"m": DICT, "v": DICT, "step": COUNT}, "rng": DICT}
STATE |= {"epoch": COUNT, "batch": COUNT, "loss_sum": NUMBER}
HELD = {"settings": DICT, "dataset": META, "state": STATE, "best": (NONE, EPOCH)}
# And a line of metrics.jsonl.
STEP = {"step": COUNT, "loss": NUMBER, "norm": NUMBER, "lr": NUMBER}
LINE = STEP, EPOCH, {"result": {LABEL: {"loss": NUMBER, "accuracy": SHARE}}}


def begin(folder, data_config, model, cfg, data) -> dict:
    """A new folder with what is needed to run it again, and the state before the first step.

    returns : what the run holds, as open_run does
    """
    folder, settings = Path(folder), asdict(data_config) | asdict(model) | asdict(cfg)
    config = {
        "settings": settings,
        "data_sha256": data.meta["sha256"],
        "device": describe_device(resolve_device(cfg.device)),
        "host": host(),
    }
    write_whole(folder / "config.json", json.dumps(config, indent=1))
    held = {"settings": settings, "dataset": data.meta, "state": first_state(model, cfg)._asdict(), "best": None}
    save_checkpoint(folder / "checkpoint.npz", held)
    return held


def open_run(path, which="checkpoint") -> dict:
    """What a run folder, or a checkpoint file, holds: settings, dataset (its meta), state, best.

    raises : CheckpointError where there is none, one of another kind, or one whose parts do not
             belong together; SettingsError for a setting that is unknown
    """
    path = Path(path)
    if not path.exists():
        raise CheckpointError(f"{path}: there is no such file or folder, expected the folder of a run or a checkpoint")
    path = path / f"{which}.npz" if path.is_dir() else path
    held = checked(load_checkpoint(path), HELD, f"{path}: a checkpoint of another kind: it", CheckpointError)
    held["settings"] = typed(path, held["settings"])
    with belonging(path):
        model = make(ModelConfig, held["settings"])
        right_parameters("open_run", "params", {"params": held["state"]["params"], "model": model})
        _check_numbers("params", held["state"]["params"])
        _check_vocabulary(model, held["dataset"])
    if which == "best" and path.name == "best.npz":
        same = open_run(path.parent)
        if any(held[part] != same[part] for part in ("settings", "dataset")):
            raise CheckpointError(f"{path}: of another run than checkpoint.npz beside it")
    return held


def _check_numbers(name, tree):
    """They are such as training makes."""
    for leaf, a in flatten(tree).items():
        if a.dtype != "float32":
            raise ValueError(f"open_run: {name} {leaf} has dtype {a.dtype}, expected float32")
        if not np.isfinite(a).all():
            raise ValueError(f"open_run: {name} {leaf} has numbers that are not finite, expected finite ones")


def _check_vocabulary(model, meta):
    """What the tokens of a model mean, as sample prints them."""
    symbols, kind = meta.get("symbols", []), int if meta.get("unit") == "bytes" else str
    if meta["task"] != model.task or len(symbols) != len({s for s in symbols if type(s) is kind}):
        found = f"task {meta['task']!r} and symbols of {meta.get('unit')!r}"
        raise ValueError(f"open_run: a dataset with {found}, expected {model.task!r} and {kind.__name__} that differ")
    if model.task != "vision" and len(symbols) != model.vocab_size:
        raise ValueError(f"open_run: {len(symbols)} symbols, expected vocab_size = {model.vocab_size}")


def belonging(path):
    """What turns out to be wrong with a state is wrong with its checkpoint."""
    return told_as(CheckpointError, f"{path}: its parts do not belong together: ", ValueError, TypeError)


def reopen(folder, given: dict):
    """What a run holds, and its configurations and data again, exactly as they were.

    given  : settings that were asked for now; they must be those of the run, but the data may have
             moved, and so may the run, to another device
    raises : SettingsError naming what differs; CheckpointError for a state that cannot go on
    """
    held, asked = open_run(folder), {k: v for k, v in given.items() if k not in MAY_MOVE}
    settings, moved = held["settings"], {k: v for k, v in given.items() if k in MAY_MOVE}
    for where, other in (("asked for", asked), ("in config.json", read_settings(Path(folder) / "config.json"))):
        changed = [f"{k} is {v!r}, not {settings.get(k)!r}" for k, v in other.items() if settings.get(k) != v]
        if changed:
            raise SettingsError(f"{folder}: {where}: {'; '.join(changed)}, as the run was started; begin a new run")
    device = settings["device"].replace("cuda", "auto")  # where there is no GPU any more, the CPU
    made = settle(settings | {"device": device} | moved)
    check_data(folder, held, made[-1])
    with belonging(folder):
        _check_progress(*made[1:], TrainState(**held["state"]))
    return held, *made


def _check_progress(model, cfg, data, state):
    """The state is one that this training comes to."""
    check_state(model, cfg, data, state)
    _check_numbers("m", state.optimizer["m"])
    _check_numbers("v", state.optimizer["v"])
    n = len(data.train.targets)
    steps = state.epoch * (n // min(cfg.batch_size, n)) + state.batch
    if state.optimizer["step"] != steps or state.epoch > cfg.epochs:
        there = f"epoch {state.epoch} of {cfg.epochs}, batch {state.batch}"
        raise ValueError(f"reopen: step is {state.optimizer['step']}, expected {steps} at {there}")


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
              KeyboardInterrupt at a second Ctrl-C; FolderInUseError while another trains here
    """
    folder, state, best = Path(folder), TrainState(**held["state"]), None
    taken = train_steps(model, cfg, data, state, choose_step(model, cfg))
    steps = with_bar(taken, model, cfg, data, start=state.optimizer["step"])
    with sole_writer(folder / "config.json"), Stop() as stop, append(_cut(folder, state)) as log:
        saved = time.monotonic()
        for now, step, epoch in steps:
            held = held | {"state": now._asdict()}
            log.write("".join(json.dumps(line) + "\n" for line in (step, epoch) if line))
            if epoch and (held["best"] is None or epoch["valid_loss"] < held["best"]["valid_loss"]):
                best = held = held | {"best": epoch}
            if time.monotonic() - saved > every:
                _save(folder, held, best, log)
                best, saved = None, time.monotonic()
            if stop.asked:
                break
        _save(folder, held, best, log)
    return held


def conclude(folder, model, data) -> dict:
    """Loss and accuracy of the last state and of the best; also recorded, and the run is drawn."""
    folder = Path(folder)
    states = {name: open_run(folder, which)["state"] for name, which in (("last", "checkpoint"), ("best", "best"))}
    figures = {
        f"{split}, {name} ({state['epoch'] - 1})": evaluate(state["params"], getattr(data, split), model)
        for name, state in states.items()
        for split in ("valid", "test")
    }
    with sole_writer(folder / "config.json"):
        log = _cut(folder, TrainState(**states["last"]), {"result": figures})
        run = tuple([r for r in read_lines(log, LINE, CheckpointError) if key in r] for key in ("step", "epoch"))
        viz.save(viz.training_figure({model.kind: [run]}, KINDS), folder / "training.png")
    return figures


def finished(held, cfg) -> bool:
    return held["state"]["epoch"] >= cfg.epochs


class Stop:
    """Ctrl-C or SIGTERM: the first asks to stop after this step, the second aborts.

    Outside the main thread Python hears no signals, and the run goes on to its end.
    """

    asked = False

    def __enter__(self):
        heard = SIGNALS if threading.current_thread() is threading.main_thread() else ()
        self.before = {which: signal.signal(which, self.ask) for which in heard}
        return self

    def __exit__(self, *error):
        for which, before in self.before.items():
            signal.signal(which, before)

    def ask(self, *_):
        self.asked = True
        for which in SIGNALS:
            signal.signal(which, signal.default_int_handler)
        print("\nStopping after this step; once more to abort.", file=sys.stderr)


def _save(folder, held, best, log):
    """The record, then the best state if it is new, then the state: each refers to those before."""
    log.flush()
    if best is not None:
        save_checkpoint(folder / "best.npz", best)
    save_checkpoint(folder / "checkpoint.npz", held)


def _cut(folder, state, *more) -> Path:
    """Leaves in metrics.jsonl the records of steps and epochs that are in the state, and adds more.

    The others will be written again. Returns its path.
    """
    path, done = folder / "metrics.jsonl", {"step": state.optimizer["step"], "epoch": state.epoch}
    records = [r for r in read_lines(path, LINE, CheckpointError) if "result" not in r]
    known = [r for r in records if all(r.get(key, -1) < n for key, n in done.items())]
    write_whole(path, "".join(json.dumps(record) + "\n" for record in [*known, *more]))
    return path
