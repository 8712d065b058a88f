"""Loaders. Each returns a Dataset with fixed train, validation and test splits."""

import hashlib
from typing import NamedTuple

import numpy as np

from ..checks import check_choice


class DataError(Exception):
    """A data set that is missing, damaged or not what it says it is."""


class Split(NamedTuple):
    inputs: np.ndarray  # images (N, h, w[, channels]) float32 in [0, 1]
    targets: np.ndarray  # (N,) integers
    keep: np.ndarray | None = None  # tokens: bool (N, T), True = a real token

    def take(self, rows):
        """Inputs, targets and keep of some rows."""
        return self.inputs[rows], self.targets[rows], None if self.keep is None else self.keep[rows]


class Dataset(NamedTuple):
    train: Split
    valid: Split
    test: Split
    meta: dict  # name, n_out, shape of one input, sha256 of everything in order


def load(name: str = "digits", root=None, **options) -> Dataset:
    """A data set by its name: "digits", scikit-learn's real 8 x 8 scans of handwritten digits, offline.

    raises : ValueError for a name or an option that does not exist
    """
    check_choice("load", "name", name, tuple(LOADERS))
    if root is not None or options:
        given = ", ".join(sorted(options) + ["root"] * (root is not None))
        raise ValueError(f"load: {given} given, expected nothing: {name} comes with scikit-learn and has no options")
    return LOADERS[name]()


def load_digits() -> Dataset:
    """1,797 scans, grey levels 0 to 16 divided by 16, split 70 / 10 / 20 % with equal shares of each digit."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    images, labels = (bunch.images / 16).astype("float32"), bunch.target.astype("int64")
    rows = np.arange(len(labels))
    rest, test = train_test_split(rows, test_size=0.2, stratify=labels, random_state=0)
    train, valid = train_test_split(rest, test_size=1 / 8, stratify=labels[rest], random_state=0)
    splits = [Split(images[r], labels[r]) for r in (train, valid, test)]
    return Dataset(*splits, {"name": "digits", "n_out": 10, "shape": (8, 8), "sha256": _sha256(splits)})


LOADERS = {"digits": load_digits}


def _sha256(splits):
    digest = hashlib.sha256()
    for split in splits:
        digest.update(split.inputs.tobytes() + split.targets.tobytes())
    return digest.hexdigest()
