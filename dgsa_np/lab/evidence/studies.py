"""The questions, each a grid with a primary endpoint, fixed before its first run.

docs/evidence.md has the answers, docs/evidence/design.md what was fixed, docs/evidence/first what
was asked before.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ...attention import KINDS
from ...model import ModelConfig
from ..settings import RECIPES
from .measures import unpacked

SEEDS, FEW = 10, 5
PIXELS = {"standardise": "data", "corruptions": "cifar-c"}
STANDARD = {  # {data: what every cell has}; what a study changes is changed from here
    "images": PIXELS,  # one's own come first: they carry the primary endpoint where they are given
    "texts": {},
    "fashion-mnist": PIXELS | {"width": 48, "depth": 2, "epochs": 3},
    "cifar10": PIXELS | {"width": 48, "depth": 2, "epochs": 8},
    "digits": PIXELS | {"width": 32, "depth": 2, "patch_size": 2, "epochs": 24},
    "rt-polarity": {},
    "imdb": {},
}
DEEP = {"digits": {"standardise": "data", "width": 32, "depth": 8, "patch_size": 2, "epochs": 12, "lr": 0.01}}
# Of each mechanism, chosen on validation data (docs/evidence/tuning). CIFAR-10 has those of
# Fashion-MNIST. A mechanism that is not named has that of dgsa, and data that are not named have
# the one of their recipe for all.
RATES = {
    "fashion-mnist": {"softmax": 0.005, "diff_v1": 0.005, "dgsa": 0.005, "diff_v2": 0.005},
    "cifar10": {"softmax": 0.005, "diff_v1": 0.005, "dgsa": 0.005, "diff_v2": 0.005},
    "digits": {
        **{"softmax": 0.08, "diff_v1": 0.04, "dgsa": 0.01, "diff_v2": 0.04},
        **{"output_gate": 0.08, "twicing": 0.01},
    },
    "rt-polarity": {"softmax": 0.0005, "diff_v1": 0.0005, "dgsa": 0.004, "diff_v2": 0.0005},
    "imdb": {"softmax": 0.002, "diff_v1": 0.001, "dgsa": 0.001},
}


class Metric(NamedTuple):
    """A number of one run."""

    name: str
    unit: str
    of: Callable  # of a run's record
    above: str  # what is said of the one whose number is larger
    items: Callable | None = None  # the same for each test item, of a record that has them


def corrupted(record):
    """Accuracy, mean over corruptions of the mean over their levels above 0."""
    return np.mean([levels[1:] for levels in record["accuracy"].values()])


def corrupted_items(record):
    states = sum(len(levels) - 1 for levels in record["accuracy"].values())
    return 100 * unpacked(record["items"]["corrupted"]) / states


CLEAN = Metric(
    "clean accuracy",
    "%",
    lambda record: 100 * record["clean"]["accuracy"],
    "is more accurate",
    lambda record: 100 * unpacked(record["items"]["clean"]),
)
CORRUPTED = Metric(
    "corrupted accuracy", "%", lambda record: 100 * corrupted(record), "is more accurate", corrupted_items
)
SIMILAR = Metric("similarity of tokens", "", lambda record: record["similarity"]["after"][-1], "has tokens more alike")
VALID = Metric("validation accuracy", "%", lambda record: 100 * record["valid"]["accuracy"], "is more accurate")
LOSS = Metric("test loss", "nats", lambda record: record["clean"]["loss"], "is worse")
METRICS = {metric.name: metric for metric in (CLEAN, CORRUPTED, SIMILAR, LOSS, VALID)}


class Study(NamedTuple):
    """A named grid.

    cells   : {label: settings}, what each changes of base
    primary : (metric, label, other label): does the metric differ between the two, over seeds?
              None: the study tests nothing
    data    : the first of them for which there are runs carries the primary endpoint, the others
              repeat it
    """

    question: str
    cells: dict
    primary: tuple | None
    data: tuple = ("digits",)
    metrics: tuple = (CLEAN, CORRUPTED)
    inside: tuple = ()  # what else is drawn and tabled, of the SECTIONS in sections.py
    base: dict = STANDARD
    margin: float | None = 1.0  # points within which two accuracies count as equal
    few: tuple = ()  # labels of cells that have FEW seeds


PAPER = {"kind": "dgsa", "gate_bias": 0.223}  # where lambda = exp(-z) starts at the paper's 0.8
HEAD_GATE, FACTOR = PAPER | {"gate": "head"}, PAPER | {"lambda_init": 0.2}
SOFTMAX, V1 = {"kind": "softmax"}, {"kind": "diff_v1"}
CONSTANT = V1 | {"lambda_init": 0.8}  # in every layer
MAIN = {"softmax": SOFTMAX, "diff_v1": V1, "dgsa": PAPER}
OTHERS = {kind: {"kind": kind} for kind in KINDS if kind not in MAIN}  # in every study; a new mechanism too
BESIDE = {"softmax, H heads": SOFTMAX | {"n_heads": None}, "diff_v1, 0.8": CONSTANT, "dgsa, b = 1": {"kind": "dgsa"}}
FORMS = {**MAIN, "dgsa, head gate": HEAD_GATE, **BESIDE, **OTHERS}
SEEN = tuple(STANDARD)
STUDIES = {
    "clean": Study(
        "How accurate is each mechanism on clean inputs?",
        FORMS, (CLEAN, "dgsa", "softmax"), SEEN, (CLEAN,), few=(*BESIDE, *OTHERS),
    ),
    "corrupted": Study(
        "How accurate are the same models on corrupted inputs?",
        FORMS, (CORRUPTED, "dgsa", "softmax"), SEEN, (CORRUPTED,), ("corruptions",), few=(*BESIDE, *OTHERS),
    ),
    "token-gate": Study(
        "Does the gate have to depend on the token, or does one number per head, or V1's lambda, do as well?",
        {"token gate": PAPER, "head gate": HEAD_GATE, "V1's lambda": V1, **OTHERS},
        (CORRUPTED, "token gate", "head gate"), SEEN, (CORRUPTED,), ("gates",), few=tuple(OTHERS),
    ),
    "each-image": Study(
        "What is left where each image is standardised by itself?",
        {name: cell | {"standardise": "image"} for name, cell in (MAIN | OTHERS).items()},
        (CORRUPTED, "dgsa", "softmax"), ("images", "fashion-mnist", "digits"),
        inside=("corruptions",), few=tuple(OTHERS),
    ),
    "head-factor": Study(
        "Is it the factor 1 - lambda_init behind the head norm that tells V1's two forms apart?",
        {"dgsa": PAPER, "dgsa, factor 0.8": FACTOR, "diff_v1": V1, "diff_v1, 0.8": CONSTANT, **OTHERS},
        (CLEAN, "dgsa", "dgsa, factor 0.8"), ("images", "digits", "fashion-mnist"), few=tuple(OTHERS),
    ),
    "smoothing": Study(
        "Do tokens become alike with depth, and does a mechanism keep them apart?",
        {**MAIN, "dgsa, head gate": HEAD_GATE, "dgsa, factor 0.8": FACTOR, **OTHERS},
        (SIMILAR, "dgsa", "softmax"), metrics=(SIMILAR, CLEAN), inside=("similarity",), base=DEEP, margin=None,
    ),
}  # fmt: skip


def grid_of(study: Study, data: str) -> dict:
    """{label: settings} of one data set, each with the learning rate of its mechanism.

    A cell whose n_heads is None has as many heads as dgsa, though it splits them less.
    """
    base, rates = base_of(study, data), RATES.get(data, {})
    tuned = {kind: {"lr": rates.get(kind, rates["dgsa"])} if rates else {} for kind in KINDS}
    heads = {"n_heads": RECIPES.get(data, {}).get("n_heads", ModelConfig.n_heads)}
    return {
        label: tuned[cell["kind"]] | base | cell | (heads if cell.get("n_heads", 0) is None else {})
        for label, cell in study.cells.items()
    }


def base_of(study: Study, data: str) -> dict:
    return {"data": data} | study.base[data]
