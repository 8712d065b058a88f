"""The digits that come with the package's requirements: split once and for all."""

import numpy as np

from dgsa_np.data import load


def test_digits_are_split_once_and_for_all(digits):
    assert [len(split.targets) for split in digits[:3]] == [1257, 180, 360]
    assert digits.meta["sha256"] == load("digits").meta["sha256"]
    assert digits.meta["sha256"] == "211e908cf345a4595642f062469839bf9bda4a229b132cb69ed43ba8e7ad1cbb"
    for split in digits[:3]:
        assert split.inputs.shape[1:] == (8, 8) and split.inputs.dtype == np.float32
        assert split.inputs.min() == 0 and split.inputs.max() == 1 and split.targets.dtype.kind == "i"


def test_no_digit_stands_in_two_splits_and_none_is_lost(digits):
    images = [image.tobytes() for split in digits[:3] for image in split.inputs]
    assert len(images) == len(set(images)) == 1797


def test_every_split_has_its_share_of_every_digit(digits):
    whole = np.bincount(np.concatenate([split.targets for split in digits[:3]]))
    for split in digits[:3]:
        share = np.bincount(split.targets, minlength=digits.meta["n_out"])
        assert abs(share - whole * len(split.targets) / whole.sum()).max() < 1.5
