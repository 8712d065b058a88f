"""The needle: sentences with one key to be found, made up here; and parts of a split."""

import numpy as np
import pytest

from dgsa_np.data import load
from dgsa_np.data.needle import KEYS, PAIR, QUERY, SPURIOUS, VALUES
from dgsa_np.lab.settings import DataConfig


@pytest.mark.parametrize("spurious", [0, 1, 4, 10])
def test_a_needle_sentence_has_one_needle_and_its_spurious_keys(spurious):
    data = load("needle", spurious=spurious)
    for split in data[:3]:
        tokens, query = split.inputs, split.inputs[:, :1] - QUERY
        assert tokens.shape[1] == 12 and query.min() == 0 and query.max() == KEYS - 1
        keys, plain = (tokens - PAIR) % (KEYS * VALUES) // VALUES, (tokens >= PAIR) & (tokens < SPURIOUS)
        marked = (tokens >= SPURIOUS) & (tokens < QUERY)
        needle = plain & (keys == query)
        assert (needle.sum(axis=1) == 1).all() and ((tokens[needle] - PAIR) % VALUES == split.targets).all()
        assert (marked.sum(axis=1) == spurious).all() and (keys == query)[marked].all()
        assert abs(np.bincount(split.targets, minlength=VALUES) / len(tokens) - 1 / VALUES).max() < 0.05
    again = load("needle", spurious=spurious)
    assert again.meta["sha256"] == data.meta["sha256"] and (again.train.inputs == data.train.inputs).all()


@pytest.mark.parametrize("wrong", [{"spurious": 11}, {"spurious": -1}, {"length": 2}, {"root": "here"}])
def test_a_needle_that_cannot_be_made_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        load("needle", **wrong)


def test_a_part_of_a_split_is_drawn_once_and_the_rest_left_alone():
    whole, some = DataConfig().load(), DataConfig(train_size=100, test_size=50).load()
    assert some.train.inputs.shape == (100, 8, 8) and len(some.test.targets) == 50
    assert (some.valid.inputs == whole.valid.inputs).all() and some.meta == whole.meta
    rows = {a.tobytes() for a in whole.train.inputs}
    assert all(a.tobytes() in rows for a in some.train.inputs)
    assert (DataConfig(train_size=100).load().train.inputs == some.train.inputs).all()
    assert len(DataConfig(train_size=10**6).load().train.targets) == len(whole.train.targets)
