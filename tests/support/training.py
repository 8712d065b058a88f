"""A data set and a model so small that training takes no time."""

import numpy as np

from dgsa_np.data import Dataset, Split
from dgsa_np.lab.evidence import grid
from dgsa_np.model import ModelConfig
from dgsa_np.train import TrainConfig


def small_data(n=40, **changed):
    images, labels = np.random.default_rng(0).random((n, 4, 4), "float32"), np.random.default_rng(0).integers(0, 3, n)
    meta = {"name": "small", "task": "vision", "n_out": 3, "image_size": 4, "channels": 1, "sha256": ""}
    return Dataset(*(Split(images.copy(), labels),) * 3, meta)._replace(**changed)


SMALL = ModelConfig(image_size=4, patch_size=2, n_out=3, width=8, n_heads=2, depth=1)
ONE_EPOCH = TrainConfig(epochs=1, batch_size=10, device="cpu")

# Settings of a run of a grid.
TINY = {"data": "digits", "width": 8, "n_heads": 1, "depth": 1, "patch_size": 4, "epochs": 1, "batch_size": 256}
TINY |= {"train_size": 512, "test_size": 40}


def planned(cells, seeds=(0,), reference=None):
    """The settings of the runs of some cells, one after the other."""
    return [s for runs in grid.plan(dict(enumerate(cells)), seeds, reference).values() for s in runs]


def three_splits(model, n=47):
    """Random images, or sentences with padding, for a model: splits of different sizes and rows."""
    rng = np.random.default_rng(7)

    def split(n):
        if model.task == "vision":
            images = rng.random((n, model.image_size, model.image_size), "float32")
            return Split(images, rng.integers(model.n_out, size=n))
        keep = np.arange(model.max_len) < rng.integers(2, model.max_len + 1, (n, 1))
        targets = rng.integers(model.n_out, size=keep.shape if model.task == "lm" else n)
        return Split(rng.integers(1, model.vocab_size, keep.shape) * keep, targets, keep)

    return Dataset(split(n), split(n // 2), split(n // 3), {"name": "random", "task": model.task, "sha256": ""})
