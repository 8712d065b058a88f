"""What every loader returns: a data set of three splits."""

import hashlib
from typing import Any, NamedTuple

import numpy as np

from .. import shapes
from .corruptions import PAD, corrupt

PARTS = "", "train", "valid", "test"  # the splits that an item may be given to; "": any


class DataError(Exception):
    """A data set that is missing, damaged or not what it says it is."""


class Split(NamedTuple):
    inputs: np.ndarray  # images (N, h, w[, channels]) float32 in [0, 1], or tokens (N, T) integers
    targets: np.ndarray  # (N,) integers; of a language model (N, T), the token after each
    keep: np.ndarray | None = None  # tokens of sentences: bool (N, T), True = a real token

    def length(self) -> int:
        """How many rows; raises ValueError where inputs, targets and keep disagree."""
        arrays: dict[str, Any] = {name: a for name, a in self._asdict().items() if a is not None or name != "keep"}
        for name, a in arrays.items():
            shapes.is_array("Split", name, a)
        if len({a.shape[:1] for a in arrays.values()}) != 1 or not self.inputs.shape[:1] > (0,):
            sizes = ", ".join(f"{name} {a.shape}" for name, a in arrays.items())
            raise shapes.ShapeError(f"Split: {sizes}, expected as many rows of each, and one at least")
        return len(self.inputs)

    def take(self, rows) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Inputs, targets and keep of some rows."""
        return self.inputs[rows], self.targets[rows], None if self.keep is None else self.keep[rows]

    def corrupted(self, kind: str, level: float, rng) -> "Split":
        """The split with damaged inputs, and a keep that follows dropped and added tokens."""
        inputs = corrupt(self.inputs, kind, level, rng)
        return self._replace(inputs=inputs, keep=None if self.keep is None else inputs != PAD)


class Dataset(NamedTuple):
    train: Split
    valid: Split
    test: Split
    # Name, SHA-256, what a ModelConfig has to know (task, n_out ...); of text, vocabulary and unit.
    meta: dict[str, Any]


def partition(where, parts, labels, shares=(0.2, 1 / 8)):
    """Rows of train, valid and test; the labels as numbers; the names of these in order.

    parts  : the split that each item is given to, or "" for all of them
    shares : where it is "", of all items for the test, and of the others for valid; else valid is
             the one given, or a tenth of train

    What is drawn has equal shares of each label.
    """
    from sklearn.model_selection import train_test_split

    given = any(parts)
    index = {label: i for i, label in enumerate(sorted(set(labels)))}
    there = set(zip(parts, labels, strict=True))
    odd = [label for label in index if given and not {("train", label), ("test", label)} <= there]
    if odd or len(index) < 2:
        said = [f"{label!r} only in {' and '.join(p for p in PARTS if (p, label) in there)}" for label in odd[:5]]
        found = ", ".join(said) or f"labels {[*index]}"
        raise DataError(f"{where}: {found}, expected two or more labels, the same in train and test")
    y = np.array([index[label] for label in labels])
    train, valid, test = (np.flatnonzero(np.isin(parts, part)) for part in (["", "train"], "valid", "test"))
    counts = np.bincount(y[train])
    if len(valid) == 0 and counts.min() < 10:
        found = f"{counts.min()} of label {[*index][counts.argmin()]!r}{' in train' * given}"
        raise DataError(f"{where}: {found}, expected 10 of each at least, since other splits are drawn from them")
    if not given:
        train, test = train_test_split(train, test_size=shares[0], stratify=y[train], random_state=0)
    if len(valid) == 0:
        share = 0.1 if given else shares[1]
        train, valid = train_test_split(train, test_size=share, stratify=y[train], random_state=0)
    return (train, valid, test), y, [*index]


def sha256(*parts) -> str:
    """The SHA-256 of bytes and arrays, one after the other, in hexadecimal digits."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(np.ascontiguousarray(part).data if isinstance(part, np.ndarray) else part)
    return digest.hexdigest()
