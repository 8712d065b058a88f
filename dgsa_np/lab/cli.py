"""The command line: train, compare, gradcheck and the like. Every setting is a flag."""

import argparse
import json
import math
import re
import runpy
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, fields
from datetime import datetime
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .. import __version__, check
from ..attention import KINDS, AttentionConfig
from ..backend import DeviceError, resolve_device, to_device
from ..checkpoint import CheckpointError
from ..data import CORRUPTIONS, LOADERS, DataError, Vocabulary
from ..fast import is_fast
from ..files import FolderInUseError, write_whole
from ..gpu import describe_device
from ..gradcheck import TOLERANCE, GradientError, compare_pair
from ..model import ModelConfig, init_model
from ..params import count, flatten
from ..peers import LAYOUTS, LayoutError, conform
from ..train import NonFiniteError, OutOfMemoryError, evaluate
from . import cases, demo, runs, viz
from .baselines import classifiers, ngram_losses
from .evidence.compare import compare_grid, compare_study
from .evidence.report import report
from .evidence.studies import SEEDS, STUDIES
from .experiments import accuracy_under_corruption, classifier, markdown_table
from .measure import processor, system, versions
from .records import told_as
from .sample import sample
from .selfcheck import describe_machine, self_check
from .settings import CONFIGS, FIELDS, RECIPES, DataConfig, SettingsError, make, read_settings, settle
from .workers import WorkersError

STOPPED = 130  # by Ctrl-C, as shells count it
ABOUT = """\
Differential Gated Self-Attention with every gradient written by hand: train tiny transformers, damage
their inputs, compare kinds of attention over seeds, and check the gradients."""
TRY = """\
three commands to try:
  dgsa-np demo                          three kinds of attention on noisy digits, with pictures: a minute
  dgsa-np train --data pydoc --out run  a language model on Python's manual; then: dgsa-np sample run
  dgsa-np gradcheck                     every gradient against numeric ones"""
WHAT_IS_CHECKED = f"""\
Largest error over all arguments, max|ours - numeric| / max|numeric|, for a random upstream gradient.
complex: a complex step, exact to rounding; it gives the verdict, allowed {TOLERANCE["complex"]:.0e}, over
every element (some whole models: along 3 random directions). central: central differences along one
direction, as they are taught, +- what they estimate their own error to be.
"""


def main(argv=None) -> int:
    """Run one of the commands of the table at the end of this file, and return its exit status.

    0 done, 1 a check failed, training broke down or workers died, 2 wrong use, 130 Ctrl-C
    """
    try:
        args = _parse(argv)
        return COMMANDS[args.command].run(args) or 0
    except KeyboardInterrupt:
        status, said = STOPPED, "stopped"
    except BrokenPipeError:
        raise
    except (NonFiniteError, OutOfMemoryError, WorkersError) as error:
        status, said = 1, error
    except MemoryError as error:
        status, said = 1, f"out of memory: {error}"
    except (SettingsError, DeviceError, DataError, CheckpointError, FolderInUseError, LayoutError, OSError) as error:
        status, said = 2, error
    print("dgsa-np:", " ".join(str(said).splitlines()), file=sys.stderr)
    return status


def demo_command(args):
    print(demo.demo(_new_folder(args.out), seeds=range(args.seeds), jobs=args.jobs))


def train_command(args):
    given = _given(args)
    if args.resume and args.out:
        raise SettingsError(f"--out {args.out} with --resume {args.resume}: a run goes on in its own folder")
    if args.resume:
        folder, (held, *made) = Path(args.resume), runs.reopen(args.resume, given)
    else:
        made = settle(given)
        folder = _new_folder(args.out or f"runs/{made[0].data}-{made[1].kind}-{datetime.now():%Y%m%d-%H%M%S}")
        held = runs.begin(folder, *made)
    _, model, cfg, data = made
    print(f"{'device':10s} {describe_device(cfg.device)}\n{'step':10s} {describe_step(model, cfg)}")
    if held["settings"]["device"] != cfg.device:
        print(f"{'':10s} begun on {held['settings']['device']}: from here on numbers are rounded otherwise")
    print(f"{describe_recipe(cfg)}\n{describe_data(data)}\n{describe_model(model)}", flush=True)
    if not runs.finished(held, cfg):
        held = runs.follow(folder, model, cfg, data, held, args.save_every)
    if not runs.finished(held, cfg):
        done = held["state"]["optimizer"]["step"]
        print(f"stopped after {done} steps; go on with: python -m dgsa_np train --resume {folder}", file=sys.stderr)
        return STOPPED
    for name, figures in runs.conclude(folder, model, data).items():
        print(f"{name:16s} accuracy {figures['accuracy']:.4f}, loss {figures['loss']:.4f} nats")
    print(f"written to {folder}/")


def evaluate_command(args):
    held, device = runs.open_run(args.run, args.checkpoint), resolve_device(args.device)
    moved = {"device": device} | ({"root": args.root} if args.root else {})
    _, model, _, data = settle(held["settings"] | moved)
    runs.check_data(args.run, held, data)
    kinds, params = _kinds(args, model.task), to_device(held["state"]["params"], device)
    clean = evaluate(params, data.test, model)
    print(describe_data(data))
    print(f"{'test':10s} accuracy {clean['accuracy']:.4f}, loss {clean['loss']:.4f} nats", flush=True)
    trivial = classifiers(data) if args.baselines and kinds else {}
    accuracy = _print_levels({model.kind: classifier(params, model)} | trivial, data, kinds)
    if args.out:
        _write_evaluation(_new_folder(args.out), clean, accuracy, kinds, data)


def sample_command(args):
    held, device = runs.open_run(args.run, args.checkpoint), resolve_device(args.device)
    model, dataset = make(ModelConfig, held["settings"]), held["dataset"]
    if model.task != "lm":
        raise SettingsError(
            f"{args.run}: its model has task {model.task!r}; only a language model (lm) has a next token"
        )
    vocabulary = Vocabulary(dataset["unit"], dataset["symbols"])
    unknown = sorted(set(vocabulary.split(args.prompt)) - set(vocabulary.symbols))
    if unknown or not args.prompt:
        why = f"the vocabulary of the run lacks {unknown}" if unknown else "there is nothing to go on from"
        raise SettingsError(f"--prompt {args.prompt!r}: {why}")
    rng, params = np.random.default_rng(args.seed), to_device(held["state"]["params"], device)
    tokens = sample(params, model, vocabulary.encode(args.prompt), args.length, rng, args.temperature, args.top_k)
    print(args.prompt, end="", flush=True)
    # a character may be many bytes, so bytes are printed when all are there
    for some in [list(tokens)] if vocabulary.unit == "bytes" else ([token] for token in tokens):
        print(vocabulary.decode(some), end="", flush=True)
    print()


def baselines_command(args):
    data = make(DataConfig, _given(args)).load()
    print(describe_data(data), flush=True)
    if data.meta["task"] == "lm":
        losses = ngram_losses(data).items()
        print(markdown_table([["test split", "nats per token"], *([name, f"{loss:.3f}"] for name, loss in losses)]))
        return
    fitted, kinds = classifiers(data), _kinds(args, data.meta["task"])
    clean = {name: (classify(data.test) == data.test.targets).mean() for name, classify in fitted.items()}
    print(markdown_table([["test split, clean", "accuracy, %"], *([n, f"{100 * a:.1f}"] for n, a in clean.items())]))
    _print_levels(fitted, data, kinds)


def gradcheck_command(args):
    print(WHAT_IS_CHECKED)
    print(f"{'pair':26s} {'variant':16s} {'complex':>8s} {'central':>8s} {'+-':>8s}")
    wrong = sum(not _print_check(case, args.seed) for case in cases.all_cases(args.seed))
    print(f"\n{'All gradients are right.' if not wrong else f'Wrong: {wrong} pairs.'}")
    return 1 if wrong else 0


def _print_check(case, seed) -> bool:
    """One row of the table, and below it what is wrong."""
    options = {"sizes": case.sizes, "without": case.without, "seed": seed}
    row = f"{case.name:26s} {case.variant:16s}"
    try:
        verdict, taught = (
            compare_pair(case.forward, case.backward, case.args, method=method, n_directions=n, **options)
            for method, n in (("complex", case.n_directions), ("central", 1))
        )
    except GradientError as error:
        print(f"{row} {'-':>8s} {'-':>8s} {'-':>8s}  WRONG\n    {error}")
        return False
    bad = [r for r in verdict if not r.ok]
    errors = max(r.error for r in verdict), max(r.error for r in taught), max(r.doubt for r in taught)
    print(f"{row} {' '.join(f'{e:8.1e}' for e in errors)}  {'WRONG' if bad else 'right'}", flush=True)
    for r in bad:
        print(f"    {r.argument} {r.shape}: {r.message}")
    return not bad


@told_as(SettingsError, "", TypeError)
def conform_command(args):
    yours, *weights = _named(args.yours)
    given = _given(args) | {name: getattr(args, name) for name in ("like", "layer", "precision", "seed")}
    if "width" in given:
        raise SettingsError("--width: the weights tell it")
    found = conform(yours, weights=weights[0] if weights else None, **given)
    print(found)
    return 0 if found.ok else 1


@told_as(SettingsError, "", ImportError, LookupError, ValueError)
def _named(text) -> tuple:
    """What FILE.py:NAME or MODULE:NAME makes: (module,), or (function, weights)."""
    where, _, name = text.rpartition(":")
    if not where:
        raise SettingsError(f"{text!r}, expected FILE.py:NAME or MODULE:NAME")
    sys.path.insert(0, ".")  # where the installed command would not look
    known = runpy.run_path(where) if where.endswith(".py") else vars(import_module(where))
    if name not in known:
        raise SettingsError(f"{where!r} has no {name!r}{check.nearest(name, known)}")
    made = known[name] if hasattr(known[name], "parameters") and not isinstance(known[name], type) else known[name]()
    return made if isinstance(made, tuple) else (made,)


def bench_command(args):
    from .bench import bench

    device = resolve_device(args.device)
    out = _new_folder(args.out)
    bench(out, args.rounds, args.longest, device)
    print(f"\nPictures and numbers are in {out}/.")


def compare_command(args):
    given = {name: values[0] if len(values) == 1 else values for name, values in _given(args).items()}
    how = {"jobs": args.jobs, "dask": args.dask}
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    if args.study and (args.select or args.contrast):
        raise SettingsError(f"--study {args.study} with --select or --contrast: what a study compares is fixed")
    if args.study:
        several = [name for name, value in given.items() if isinstance(value, list)]
        if several:
            raise SettingsError(f"--study {args.study} with several {', '.join(several)}: its grid is fixed")
        for name in STUDIES if args.study == "all" else [args.study]:
            compare_study(args.out, name, seeds, _roots(args.roots), given, args.uneven, **how)
    else:
        seeds = np.atleast_1d(given.pop("seed", seeds)).tolist()
        compare_grid(args.out, given, seeds, args.uneven, args.select, args.contrast, **how)
    print(f"written to {args.out}/; read it with: python -m dgsa_np report {args.out}")


def report_command(args):
    print("\n".join(f"written to {path}" for path in report(args.run, args.out or args.run)))


def info_command(args):
    print(", ".join(f"{name} {value}" for name, value in versions().items()), f"on {system()}, {processor()}")
    print(f"{'device':10s} {describe_device('cpu')}")
    try:
        print(f"{'device':10s} {describe_device(resolve_device('cuda'))}")
    except DeviceError as error:
        print(error)
    print(describe_model(make(ModelConfig, _given(args))))
    return _check_gpu() if args.check else 0


def _check_gpu():
    """A row for each check, and a verdict."""
    print(f"\n{', '.join(f'{name} {value}' for name, value in describe_machine().items())}\n", flush=True)
    wrong = []
    for what, found, allowed, ok in self_check():
        print(f"{'right' if ok else 'WRONG'}  {what:30s} {found}{f' (allowed: {allowed})' * bool(allowed)}", flush=True)
        wrong += [] if ok else [what]
    print(f"\n{'Wrong: ' + ', '.join(wrong) if wrong else 'This GPU computes what the CPU does.'}")
    return 1 if wrong else 0


# ------------------------------------------------------------------------------------------- output


def _new_folder(path) -> Path:
    if Path(path).exists():
        raise SettingsError(f"--out {path} exists already, expected a new folder: nothing is overwritten")
    Path(path).mkdir(parents=True)
    return Path(path)


def describe_data(data) -> str:
    """Counts, shapes and hash of a data set."""
    counts = ", ".join(f"{len(getattr(data, name).targets):,} {name}" for name in ("train", "valid", "test"))
    meta, shape = data.meta, data.train.inputs.shape[1:]
    outputs = "" if meta["task"] == "lm" else f", {meta['n_out']} classes"
    symbols = f", {meta['vocab_size']:,} {meta['unit']}" if "unit" in meta else ""
    labels = f"\n{'':10s} labels {str(meta['labels'])[:100]}" if "labels" in meta else ""
    told = f"{'data':10s} {meta['name']}: {counts}; inputs {shape}{outputs}{symbols}{labels}"
    return f"{told}\n{'':10s} sha256 {meta['sha256']}"


def describe_step(model, cfg) -> str:
    if cfg.step == "auto" and is_fast(model):
        return f"fast, {cfg.threads} thread{'s' * (cfg.threads > 1)}"
    return "plain" + ("" if cfg.step == "plain" else f", since kind {model.kind!r} has no fast one")


def describe_recipe(cfg) -> str:
    """How it is trained, whichever of flag, file, recipe or default has said so."""
    elsewhere = "device", "step", "threads", "capture"
    said = ", ".join(f"{name} {value:g}" for name, value in asdict(cfg).items() if name not in elsewhere)
    return f"{'recipe':10s} {said}"


def describe_model(model) -> str:
    """Sizes, and the parameters of each part with their shapes."""
    params, n = init_model(model, np.random.default_rng(0)), model.depth
    blocks = {f"{n} x {name}": part for name, part in params["blocks"][0].items()}
    sizes = f"width {model.width}, depth {n}, {model.n_heads} heads (d {model.sizes['d']}), {model.ffn} F {model.F}"
    lines = [f"{'model':10s} {model.kind}, {model.task}: {sizes}; {count(params):,} parameters"]
    for name, part in {"embed": params["embed"], **blocks, "norm": params["norm"], "head": params["head"]}.items():
        shapes = ", ".join(f"{k} {'x'.join(map(str, a.shape))}" for k, a in flatten(part).items())
        lines.append(f"{'':10s} {name:15s} {count(part) * (n if name in blocks else 1):>10,}  {shapes}")
    return "\n".join(lines)


def _print_levels(fitted, data, kinds) -> dict:
    """A table per corruption, in per cent.

    returns : {classifier: {corruption: [accuracy at each level]}}
    """
    task = data.meta["task"]
    accuracy = {name: accuracy_under_corruption(c, data.test, task, kinds) for name, c in fitted.items()}
    print()
    for kind in kinds:
        head = [f"{kind}, accuracy %", *(f"{level:g}" for level in CORRUPTIONS[task][kind].levels)]
        rows = ([name, *(f"{100 * a:.1f}" for a in by[kind])] for name, by in accuracy.items())
        print(f"\n{markdown_table([head, *rows])}")
    return accuracy


def _write_evaluation(out, clean, accuracy, kinds, data):
    """results.json, and a picture where there are corruptions."""
    levels = {kind: CORRUPTIONS[data.meta["task"]][kind] for kind in kinds}
    results = {"clean": clean, "levels": {k: c.levels for k, c in levels.items()}, "accuracy": accuracy}
    write_whole(out / "results.json", json.dumps(results, indent=1))
    if kinds:
        rows = {name: {kind: [by[kind]] for kind in kinds} for name, by in accuracy.items()}
        viz.save(viz.robustness_figure(levels, rows, 1 / data.meta["n_out"], KINDS), out / "accuracy.png")
    print(f"\nwritten to {out}/")


def _given(args) -> dict:
    """The settings that were asked for: those of --config, then those of flags."""
    file = read_settings(args.config) if getattr(args, "config", None) else {}
    return file | {name: getattr(args, name) for name in FIELDS if hasattr(args, name)}


def _roots(pairs) -> dict:
    """{data: path} from data=path ..."""
    for pair in pairs:
        data, _, path = pair.partition("=")
        if data not in LOADERS or not path:
            raise SettingsError(f"--roots {pair}, expected DATA=PATH, where DATA is one of {', '.join(LOADERS)}")
    return dict(pair.split("=", 1) for pair in pairs)


@told_as(SettingsError, "", ValueError)
def _kinds(args, task):
    """The corruptions that were asked for."""
    kinds = {"all": list(CORRUPTIONS[task]), "none": []} | {kind: [kind] for kind in CORRUPTIONS[task]}
    check.one_of(args.command, "--corruption", args.corruption, kinds)
    return kinds[args.corruption]


# ---------------------------------------------------------------------------------------- arguments


class Command(NamedTuple):
    run: Callable  # takes the arguments; returns the exit status, or None for 0
    text: str
    flags: tuple  # each made by flag
    configs: tuple = ()  # configurations, whose settings are flags too
    several: bool = False  # may a setting have more than one value?


def flag(name, text, default=None, **options):
    """Name and options of an argument of argparse; the help tells its default."""
    return name, {"help": text if default is None else f"{text} (default: {default})", "default": default, **options}


def number(kind, least, text):
    """A whole number (int) or any (float), of at least so much, from its text."""
    with suppress(ValueError):
        if least <= (number := kind(text)) < math.inf:
            return number
    what = "whole number" if kind is int else "number"
    raise argparse.ArgumentTypeError(f"{text!r}, expected a {what} of at least {least}")


def path(text):
    if not text:
        raise argparse.ArgumentTypeError("'', expected a path: is a variable of the shell not set?")
    return text


def boolean(text):
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r}, expected true or false")
    return text.lower() == "true"


RUN = (
    flag("run", "folder of a run, or a checkpoint file", metavar="RUN", type=path),
    flag(
        "--checkpoint",
        "the last state of the run, or the best on the validation split",
        "checkpoint",
        choices=("checkpoint", "best"),
    ),
    flag("--device", "auto, cpu or cuda", "auto", choices=("auto", "cpu", "cuda")),
)
CORRUPTION = flag("--corruption", "all, none, or the name of one", "all")

COMMANDS = {
    "demo": Command(
        demo_command,
        "three mechanisms on noisy handwritten digits, with pictures, in about a minute",
        (
            flag("--out", "folder to write to; must not exist", "demo", type=path),
            flag("--seeds", "seeds per mechanism", 3, type=partial(number, int, 1)),
            flag("--jobs", "processes", 2, type=partial(number, int, 1)),
        ),
    ),
    "train": Command(
        train_command,
        "train one model, or go on with a run that was stopped",
        (
            flag("--out", "folder of the run; must not exist (default: runs/DATA-KIND-TIME)", type=path),
            flag("--resume", "go on with the run in this folder", metavar="RUN", type=path),
            flag("--config", "settings from JSON, or from the config.json of a run; flags come after it", type=path),
            flag("--save-every", "seconds between checkpoints", 30.0, type=partial(number, float, 0)),
        ),
        CONFIGS,
    ),
    "evaluate": Command(
        evaluate_command,
        "the model of a run on the test split, clean and corrupted",
        (
            flag("--root", "where the data are now, if elsewhere than for training", type=path),
            flag("--baselines", "show trivial baselines beside it", action="store_true"),
            flag("--out", "folder for results.json and a picture; must not exist", type=path),
            *RUN,
            CORRUPTION,
        ),
    ),
    "sample": Command(
        sample_command,
        "text from the language model of a run",
        (
            flag("--prompt", "text to go on from", "The "),
            flag("--length", "tokens to draw", 400, type=partial(number, int, 1)),
            flag(
                "--temperature", "below 1 safer, above 1 wilder, 0 the likeliest", 0.8, type=partial(number, float, 0)
            ),
            flag("--top-k", "draw among so many likeliest tokens only", type=partial(number, int, 1)),
            flag("--seed", "of the draws", 0, type=partial(number, int, 0)),
            *RUN,
        ),
    ),
    "baselines": Command(
        baselines_command,
        "what trivial models reach on a data set",
        (CORRUPTION,),
        (DataConfig,),
    ),
    "gradcheck": Command(
        gradcheck_command,
        "check every gradient of the project, and print the errors as a table (yours: dgsa_np.gradcheck.check_pair)",
        (flag("--seed", "of the random arguments", 0, type=partial(number, int, 0)),),
    ),
    "conform": Command(
        conform_command,
        "compare an attention layer of yours with ours: outputs, gradients, and what kind of mistake is seen",
        (
            flag(
                "yours",
                "FILE.py:NAME or MODULE:NAME of a torch.nn.Module, or of a function without arguments that makes one, "
                "or makes (function, weights)",
                metavar="NAME",
            ),
            flag("--like", "layout of its weights", "linear", choices=tuple(LAYOUTS)),
            flag("--layer", "depth, from 0 (default: lambda_init as the module has it)", type=partial(number, int, 0)),
            flag("--precision", "in which it is judged (default: as it computes)", choices=("float32", "float64")),
            flag("--seed", "of the random weights and tokens", 0, type=partial(number, int, 0)),
        ),
        (AttentionConfig,),
    ),
    "bench": Command(
        bench_command,
        "time and memory of heads and steps, beside PyTorch, JAX and autograd if installed; a quarter of an hour",
        (
            flag("--out", "folder to write to; must not exist", "bench", type=path),
            flag("--rounds", "turns that each contestant takes", 15, type=partial(number, int, 3)),
            flag("--longest", "longest sequence; plain heads need 2 GiB at 8192", 8192, type=partial(number, int, 128)),
            flag("--device", "cpu, or cuda: training steps on a GPU", "cpu", choices=("cpu", "cuda")),
        ),
    ),
    "compare": Command(
        compare_command,
        "run a study or any grid of settings over seeds; what is there already is not run again",
        (
            flag(
                "--study",
                f"{', '.join(STUDIES)} or all; without it, a grid of all settings given",
                choices=(*STUDIES, "all"),
                metavar="NAME",
            ),
            flag("--out", "folder of the runs; what is there goes on", "evidence", type=path),
            flag("--seeds", "so many, from --first-seed on", SEEDS, type=partial(number, int, 1)),
            flag("--first-seed", "the others follow it", 0, type=partial(number, int, 0)),
            flag("--roots", "where the data of a study are", [], nargs="+", metavar="DATA=PATH"),
            flag("--jobs", "processes", 2, type=partial(number, int, 1)),
            flag("--dask", "address of a Dask scheduler whose workers run instead", metavar="ADDRESS"),
            flag("--contrast", "two cells of a grid: the first minus the second", nargs=2, metavar="CELL"),
            flag("--select", "a sweep: show and choose by validation data alone", choices=("valid",)),
            flag("--uneven", "allow parameter counts that differ by more than 2 %%", action="store_true"),
        ),
        CONFIGS,
        several=True,
    ),
    "report": Command(
        report_command,
        "one page about the runs of compare, as HTML and as Markdown",
        (
            flag("run", "folder of compare", metavar="FOLDER", type=path),
            flag("--out", "folder to write to (default: the same)", type=path),
        ),
    ),
    "info": Command(
        info_command,
        "versions, devices, and the parameters of a model; with --check, whether the GPU computes what the CPU does",
        (flag("--check", "compare the GPU with the CPU, in a minute or two", action="store_true"),),
        (ModelConfig,),
    ),
}


class Parser(argparse.ArgumentParser):
    """Flags are written out, and what is wrong is told in one line, without the usage."""

    def __init__(self, **options):
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options)
        self._negative_number_matcher = re.compile(r"-\.?\d")  # before Python 3.14 it took -1e-3 for a flag

    def error(self, message):
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def _parse(argv):
    parser = Parser(prog="dgsa-np", description=ABOUT, epilog=TRY)
    parser.add_argument("--version", action="version", version=f"dgsa-np {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    parsers = {
        name: commands.add_parser(name, help=c.text, description=c.text, epilog=_recipes() * (c.configs == CONFIGS))
        for name, c in COMMANDS.items()
    }
    known = {name: _add_arguments(parsers[name], command) for name, command in COMMANDS.items()}
    args, unknown = parser.parse_known_args(_joined(sys.argv[1:] if argv is None else argv))
    if unknown:
        near = check.nearest(unknown[0].split("=")[0], known[args.command])
        parsers[args.command].error(f"unknown argument {unknown[0]}{near}")
    return args


def _joined(argv) -> list:
    """The arguments with `--prompt -x` as `--prompt=-x`: argparse would take -x for a flag."""
    said: list[str] = []
    for word in argv:
        value = re.match(r"-[^-.\d]", word) and word != "-h" and said and re.fullmatch("--[^=]+", said[-1])
        said.append(f"{said.pop()}={word}" if value else word)
    return said


def _recipes() -> str:
    """What each data set changes of the defaults, for the end of the help."""
    said = (f"  {data:14s} {', '.join(f'{k} {v:g}' for k, v in recipe.items())}" for data, recipe in RECIPES.items())
    return "\n".join(["data sets with defaults of their own:", *said])


def _add_arguments(parser, command) -> list:
    """Adds flags, and settings in a group per configuration. Returns the names of all."""
    added = [parser.add_argument(name, **options) for name, options in command.flags]
    for config in command.configs:
        group = parser.add_argument_group(config.__name__)
        added += [_add_setting(group, field, command.several) for field in fields(config)]
    return ["--help", *(name for argument in added for name in argument.option_strings)]


def _add_setting(group, field, several):
    """The flag of a setting. One that is not given is left out: a file or a recipe may have it."""
    choices = ", ".join(c for c in field.metadata.get("choices", ()) if isinstance(c, str))
    text = "; ".join(filter(None, (choices, field.metadata.get("meaning")))) + f" (default: {field.default})"
    kind = check.types_of(field)[0]  # of int | None, int
    return group.add_argument(
        f"--{field.name.replace('_', '-')}",
        help=text.replace("%", "%%"),
        default=argparse.SUPPRESS,
        type=boolean if kind is bool else kind,
        metavar=kind.__name__.upper(),
        nargs="+" if several else None,
    )
