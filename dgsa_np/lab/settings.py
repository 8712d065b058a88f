"""What a run is made of: three configurations, from the recipe of its data and what was asked."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace

import numpy as np

from .. import check, shapes
from ..backend import resolve_device
from ..check import setting
from ..data import LOADERS, Split, load
from ..data.files import read_text
from ..fast.threads import choose_threads
from ..model import ModelConfig
from ..train import TrainConfig
from .records import DICT, checked, read_json, told_as

REVIEWS = {"width": 32, "n_heads": 2, "depth": 1, "epochs": 3, "lr": 0.003, "weight_decay": 5.0}
RECIPES = {  # what each data set changes of the defaults, which are those of the digits; chosen on validation splits,
    # those of CIFAR, imdb, ag-news, 20newsgroups, images and texts excepted: they are first guesses
    "mnist": {"epochs": 2, "lr": 0.005, "weight_decay": 0.1},
    "fashion-mnist": {"epochs": 2, "lr": 0.005, "weight_decay": 0.1},
    "cifar10": {"width": 64, "epochs": 5, "lr": 0.003, "weight_decay": 0.1},
    "cifar100": {"width": 64, "epochs": 5, "lr": 0.003, "weight_decay": 0.1},
    "images": {"epochs": 20, "lr": 0.005, "weight_decay": 0.1},
    "pydoc": {"width": 128, "epochs": 2, "batch_size": 16, "lr": 0.003, "weight_decay": 0.1},
    "text": {"width": 128, "epochs": 2, "batch_size": 16, "lr": 0.003, "weight_decay": 0.1},
    "rt-polarity": REVIEWS,
    "imdb": REVIEWS | {"batch_size": 32},
    "ag-news": REVIEWS | {"batch_size": 32},
    "20newsgroups": REVIEWS | {"batch_size": 32},
    "texts": REVIEWS | {"batch_size": 32},
    "needle": {"width": 16, "n_heads": 1, "depth": 1, "epochs": 6, "lr": 0.01, "weight_decay": 0.1},
}


class SettingsError(ValueError):
    """What was asked for is unknown, does not fit, differs from a run, or cannot be done."""


@dataclass(frozen=True)
class DataConfig:
    """Which data. None leaves an option to the loader; one that the data set lacks is an error."""

    data: str = setting("digits", "", tuple(LOADERS))
    root: str | None = setting(None, "folder or file")
    size: int | None = setting(None, "of images of your own: resized and cropped to so many pixels each way")
    length: int | None = setting(None, "tokens per window or sentence")
    unit: str | None = setting(None, "of a language", (None, "characters", "bytes"))
    overlap: int | None = setting(None, "training windows start every length / overlap tokens")
    min_count: int | None = setting(None, "rarer words become one unknown word")
    max_words: int | None = setting(None, "all but the most frequent become it too")
    encoding: str | None = setting(None, "of files of sentences")
    spurious: int | None = setting(None, "keys that mislead, in each sentence of the needle", least=0)
    train_size: int | None = setting(None, "so many rows of the training split, drawn once; None: all")
    test_size: int | None = setting(None, "the same for the test split")
    corruptions: str | None = setting(None, "of images: those of CIFAR-10-C; None: simpler ones", (None, "cifar-c"))

    def __post_init__(self):
        shapes.instance("DataConfig", (*check.PATH, type(None)), root=self.root, encoding=self.encoding)
        check.settings(self)

    @told_as(SettingsError, "", ValueError)
    def load(self):
        options = {
            name: value
            for name, value in asdict(self).items()
            if value is not None and name not in NOT_OF_THE_LOADER
        }
        data = load(self.data, **options)
        return data._replace(train=_some(data.train, self.train_size), test=_some(data.test, self.test_size))


def _some(split, size):
    """So many rows of a split, drawn with seed 0; all where it has no more."""
    if size is None or size >= len(split.targets):
        return split
    return Split(*split.take(np.random.default_rng(0).permutation(len(split.targets))[:size]))


NOT_OF_THE_LOADER = "data", "train_size", "test_size", "corruptions"
CONFIGS = (DataConfig, ModelConfig, TrainConfig)
FIELDS = {f.name: f for config in CONFIGS for f in fields(config)}


@shapes.takes(given=dict, load=Callable)
def settle(given: dict, load=DataConfig.load):
    """DataConfig, ModelConfig, TrainConfig and the Dataset, from what was asked for.

    Every setting is resolved: n_out and threads are numbers, device is where it will run.

    What is given wins over the data set's recipe, and that over the defaults. What the data fix,
    as n_out, image_size and vocab_size, may be given too, but not differently.

    load : of a DataConfig, its data; many runs on the same data may hand one that keeps them
    """
    data_config = make(DataConfig, known("settle: given", given))
    data = load(data_config)
    fixed = settings_of(ModelConfig, data.meta)
    how = given.get("standardise", "none")
    if how != "none" and data.meta["task"] != "vision":
        raise SettingsError(f"standardise is {how!r}, expected 'none': {data_config.data} has no pixels")
    if how == "data":
        mean, deviation = (round(float(f(data.train.inputs, dtype="float64")), 6) for f in (np.mean, np.std))
        fixed |= {"pixel_mean": mean, "pixel_deviation": deviation}
    for name, value in fixed.items():
        if given.get(name, value) != value:
            raise SettingsError(
                f"{name} is {given[name]!r}, expected {value!r}: it comes from the data {data_config.data}"
            )
    settings = RECIPES.get(data_config.data, {}) | given | fixed
    model, cfg = make(ModelConfig, settings), make(TrainConfig, settings)
    device = resolve_device(cfg.device)
    threads = cfg.threads or choose_threads(device, min(cfg.batch_size, len(data.train.targets)), model)
    return data_config, model, replace(cfg, device=device, threads=threads), data


@shapes.takes(path=check.PATH)
def read_settings(path) -> dict:
    """Settings from a JSON file: {"width": 32, "data": "pydoc"}, or the config.json of a run."""
    content = read_json(read_text(path), DICT, f"{path}", SettingsError)
    return typed(path, checked(content.get("settings", content), DICT, f"{path}: settings", SettingsError))


def known(where, settings) -> dict:
    """The settings as they are; raises SettingsError where there is none of this name."""
    for name in settings:
        if name not in FIELDS:
            raise SettingsError(f"{where}: unknown key {name!r}, expected a setting{check.nearest(name, FIELDS)}")
    return settings


def typed(where, settings) -> dict:
    """The settings that a file holds, each of the type that its field has."""
    return {name: _value(where, name, value) for name, value in known(where, settings).items()}


def _value(where, name, value):
    allowed = check.types_of(FIELDS[name])
    if float in allowed and type(value) is int and abs(value) < 1e300:
        value = float(value)
    if type(value) not in allowed:
        expected = " or ".join("null" if kind is type(None) else kind.__name__ for kind in allowed)
        raise SettingsError(f"{where}: {name} is {value!r}, expected {expected}")
    return value


def settings_of(config, settings) -> dict:
    """Those of the settings that a configuration has."""
    return {f.name: settings[f.name] for f in fields(config) if f.name in settings}


@told_as(SettingsError, "", ValueError)
def make(config, settings):
    """One configuration from those of the settings that are its own; raises SettingsError."""
    return config(**settings_of(config, settings))
