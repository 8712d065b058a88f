"""The command line: demo, train, gradcheck, info. Every field of a configuration is a flag."""

import argparse
import difflib
import json
import platform
import sys
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np

from . import __version__
from .backend import DeviceError, describe_device, resolve_device
from .model import ModelConfig, init_model
from .params import count
from .train import NonFiniteError, TrainConfig, evaluate, train

HELP = {
    "demo": "three mechanisms on noisy handwritten digits, with pictures, in two minutes",
    "train": "train one model",
    "gradcheck": "check every handwritten gradient and print the errors as a table",
    "info": "versions, devices, and the parameters of a model",
}


class UsageError(Exception):
    """What was asked for cannot be done as it was said."""


def main(argv=None) -> int:
    """Run a command. Exit status: 0 done, 1 a check failed or training broke down, 2 wrong use."""
    args = _parse(argv)
    try:
        return COMMANDS[args.command](args) or 0
    except NonFiniteError as error:
        print(f"dgsa-np: {error}", file=sys.stderr)
        return 1
    except (UsageError, DeviceError, OSError) as error:
        print(f"dgsa-np: {error}", file=sys.stderr)
        return 2


def demo_command(args):
    from .demo import demo

    print(demo(_new_folder(args.out), seeds=range(args.seeds), jobs=args.jobs))


def train_command(args):
    from .data import load

    model, cfg = _config(ModelConfig, args), _config(TrainConfig, args)
    device = resolve_device(cfg.device)
    out = None if args.out is None else _new_folder(args.out)
    data = load("digits")
    print(f"device: {describe_device(device)}")
    print(_summary(model))
    if out is not None:
        _write_config(out, model, cfg, data, device)
    result = train(model, cfg, data, progress=True)
    test = evaluate(result.params, data.test, model)
    print(f"validation accuracy {result.epochs[-1]['valid_accuracy']:.4f}")
    print(f"test accuracy {test['accuracy']:.4f}, loss {test['loss']:.4f} nats")
    if out is not None:
        _write_result(out, model, result, test)


def gradcheck_command(args):
    from .cases import all_cases
    from .gradcheck import TOLERANCE

    print("Largest error over all arguments, max|ours - numeric| / max|numeric|, for a random upstream gradient.")
    print("complex: complex step, over every element (whole models with gelu: along 8 random directions), allowed")
    print(f"{TOLERANCE['complex']:.0e}; central: central difference, along 4, allowed {TOLERANCE['central']:.0e}.\n")
    print(f"{'pair':20s} {'variant':16s} {'complex':>9s} {'central':>9s}")
    wrong = sum(not _print_check(case) for case in all_cases(args.seed))
    print(f"\n{'All gradients are right.' if not wrong else f'{wrong} pairs are wrong.'}")
    return 1 if wrong else 0


def _print_check(case) -> bool:
    """One row of the table, and below it what is wrong."""
    from .gradcheck import GradientError, compare_pair

    checks, options = {"complex": case.n_directions, "central": 4}, {"sizes": case.sizes, "without": case.without}
    try:
        results = [compare_pair(*case[2:5], method=m, n_directions=n, **options) for m, n in checks.items()]
    except GradientError as error:
        print(f"{case.name:20s} {case.variant:16s} {'-':>9s} {'-':>9s}  WRONG\n    {error}")
        return False
    errors = " ".join(f"{max(r.error for r in rs):9.1e}" for rs in results)
    bad = [r for rs in results for r in rs if not r.ok]
    print(f"{case.name:20s} {case.variant:16s} {errors}  {'WRONG' if bad else 'right'}", flush=True)
    for r in bad:
        print(f"    {r.argument} {r.shape}: {r.message}")
    return not bad


def info_command(args):
    print(f"dgsa_np {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}")
    print(f"device: {describe_device('cpu')}")
    try:
        print(f"device: {describe_device(resolve_device('cuda'))}")
    except DeviceError as error:
        print(error)
    print(_summary(_config(ModelConfig, args)))


COMMANDS = {"demo": demo_command, "train": train_command, "gradcheck": gradcheck_command, "info": info_command}


# ------------------------------------------------------------------------------------------- arguments


def _parse(argv):
    parser = argparse.ArgumentParser(prog="dgsa-np", description=__doc__.split(":")[0])
    parser.add_argument("--version", action="version", version=f"dgsa-np {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    parsers = {name: commands.add_parser(name, help=text, description=text) for name, text in HELP.items()}
    for p in parsers.values():
        p.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    parsers["demo"].add_argument("--out", default="demo", help="folder to write to; must not exist")
    parsers["demo"].add_argument("--seeds", type=_positive, default=3, help="seeds per mechanism")
    parsers["demo"].add_argument("--jobs", type=_positive, default=2, help="processes")
    parsers["train"].add_argument("--out", help="folder for config.json, metrics.jsonl and a figure; must not exist")
    _add_fields(parsers["train"], TrainConfig)
    for name in ("train", "info"):
        _add_fields(parsers[name], ModelConfig)
    parsers["gradcheck"].add_argument("--seed", type=int, default=0, help="of the random arguments")
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        _refuse(unknown[0], parsers[args.command])
    return args


def _refuse(flag, parser):
    known = [option for action in parser._actions for option in action.option_strings]
    near = difflib.get_close_matches(flag.split("=")[0], known, n=1)
    parser.error(f"unknown argument {flag}" + (f"; did you mean {near[0]}?" if near else ""))


def _add_fields(parser, config):
    group = parser.add_argument_group(config.__name__)
    for f in fields(config):
        group.add_argument(
            f"--{f.name.replace('_', '-')}",
            type=_reader(f.type),
            default=f.default,
            help=getattr(f.type, "__name__", str(f.type)),
        )


def _reader(annotation):
    """The function that reads a flag of an annotated type: bool, int, float, str, or one of them or None."""
    name = getattr(annotation, "__name__", str(annotation)).removesuffix(" | None")
    return {"bool": _boolean, "int": int, "float": float, "str": str}[name.split(" ")[0]]


def _boolean(text):
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r}, expected true or false")
    return text.lower() == "true"


def _positive(text):
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}, expected a whole number of at least 1")
    return int(text)


def _config(config, args):
    try:
        return config(**{f.name: getattr(args, f.name) for f in fields(config)})
    except ValueError as error:
        raise UsageError(error) from error


# ---------------------------------------------------------------------------------------------- output


def _new_folder(path) -> Path:
    path = Path(path)
    if path.exists():
        raise UsageError(f"--out {path} exists already, expected a new folder: nothing is overwritten")
    path.mkdir(parents=True)
    return path


def _summary(model):
    params = init_model(model, np.random.default_rng(0))
    block = params["blocks"][0]
    parts = {
        "embed": params["embed"],
        f"{model.depth} x attention": block["attention"],
        f"{model.depth} x mlp": block["mlp"],
        "head": params["head"],
    }
    listed = ", ".join(f"{name} {count(p):,}" for name, p in parts.items())
    size = f"width {model.width}, depth {model.depth}, {model.n_heads} heads, {count(params):,} parameters"
    return f"model: {model.kind}, {size} ({listed})"


def _write_config(out, model, cfg, data, device):
    """config.json says all that is needed to run it again."""
    config = {
        "model": asdict(model),
        "train": asdict(cfg),
        "data": data.meta,
        "device": describe_device(device),
        "versions": {"dgsa_np": __version__, "numpy": np.__version__, "python": platform.python_version()},
    }
    (out / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")


def _write_result(out, model, result, test):
    """metrics.jsonl holds a line per step, a line per epoch, and the test split last."""
    from .viz import training_figure

    lines = [*result.steps, *result.epochs, {"test": test}]
    (out / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    training_figure({model.kind: [result.epochs]}).savefig(out / "training.png")
    print(f"written to {out}/")
