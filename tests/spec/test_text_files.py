"""Texts for language models: windows, vocabularies, and what is said of damage."""

import gzip
import hashlib

import numpy as np
import pytest
from support.data_files import TEXT, text_file

from dgsa_np.data import DataError, Vocabulary, load


def windows(split, vocabulary):
    """The inputs and the targets of a language, as text."""
    return [[vocabulary.decode(row) for row in rows] for rows in split[:2]]


@pytest.mark.parametrize("overlap", [1, 2, 3, 99])
@pytest.mark.parametrize("unit", ["characters", "bytes"])
def test_a_text_is_cut_into_windows_in_its_order(overlap, unit, tmp_path):
    data = load("text", text_file(tmp_path), length=16, overlap=overlap, unit=unit)
    vocabulary, stride = Vocabulary(data.meta["unit"], data.meta["symbols"]), max(1, 16 // overlap)
    parts = TEXT[:1800], TEXT[1800:1900], TEXT[1900:]  # no window reaches into another part
    for split, part, step in zip(data[:3], parts, (stride, 16, 16), strict=True):
        starts = range(0, len(part) - 16, step)
        expected = [[part[i + shift : i + shift + 16] for i in starts] for shift in (0, 1)]
        assert windows(split, vocabulary) == expected
    assert data.meta["sha256"] == hashlib.sha256(TEXT.encode()).hexdigest()
    size = {"characters": len(set(TEXT)) + 1, "bytes": 256}[unit]
    assert data.meta["vocab_size"] == data.meta["n_out"] == size and data.meta["max_len"] == 16


def test_what_is_encoded_is_decoded(tmp_path):
    for unit in ("characters", "bytes"):
        data = load("text", text_file(tmp_path), length=16, unit=unit)
        vocabulary = Vocabulary(data.meta["unit"], data.meta["symbols"])
        assert vocabulary.decode(vocabulary.encode(TEXT)) == TEXT
        assert vocabulary.encode("").shape == (0,) and vocabulary.decode([]) == ""


def test_lines_may_end_as_on_windows(tmp_path):
    unix = load("text", text_file(tmp_path), length=16).meta
    assert load("text", text_file(tmp_path, TEXT.replace("\n", "\r\n")), length=16).meta == unix


def test_a_byte_order_mark_is_no_part_of_a_text(tmp_path):
    usual = load("text", text_file(tmp_path), length=16).meta
    assert load("text", text_file(tmp_path, TEXT.encode("utf-8-sig")), length=16).meta == usual


def test_the_vocabulary_knows_the_training_part_alone(tmp_path):
    data = load("text", text_file(tmp_path, TEXT + 20 * "z"), length=16)
    vocabulary = Vocabulary(data.meta["unit"], data.meta["symbols"])
    assert "z" not in vocabulary.symbols and len(set(vocabulary.symbols)) == len(vocabulary.symbols)
    assert vocabulary.decode(vocabulary.encode("azb")) == "a\ufffdb"
    assert [(vocabulary.index["\ufffd"] == split.targets).any() for split in data[:3]] == [False, False, True]


def test_bytes_are_read_and_written(tmp_path):
    data = load("text", text_file(tmp_path, TEXT + "é"), length=16, unit="bytes")
    vocabulary = Vocabulary(data.meta["unit"], data.meta["symbols"])
    assert data.meta["vocab_size"] == 256
    assert vocabulary.decode(vocabulary.encode("naïve €")) == "naïve €"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "holds no text"),
        (b" \n ", "holds no text"),
        ("\ufeff \n".encode(), "holds no text"),
        (b"abc\xff" * 99, "offset 3: not utf-8: invalid start byte$"),
        (TEXT.encode("utf-16"), "offset 0: not utf-8: invalid start byte; it begins as UTF-16 does"),
        ("\ufeffabc".encode("utf-16-be"), "offset 0: not utf-8: invalid start byte; it begins as UTF-16 does"),
        (gzip.compress(TEXT.encode()), "offset 1: not utf-8: invalid start byte; it begins as gzip does"),
        (b"short", "a part of the text has 4 tokens, expected more than length = 128"),
        (b"enough for a part of it " * 20, "a part of the text has 24 tokens, expected more than length = 128"),
    ],
)
def test_damage_to_a_text_is_told(content, words, tmp_path):
    with pytest.raises(DataError, match=words):
        load("text", text_file(tmp_path, content))


def test_a_text_that_is_not_there(tmp_path):
    for root, words in ((None, "root is None"), (tmp_path / "none", "cannot be read: No such file")):
        with pytest.raises(DataError, match=words):
            load("text", root)


def test_pydoc_is_the_manual_of_this_python():
    from pydoc_data.topics import topics

    data = load("pydoc")
    whole = "\n".join(topics[key] for key in sorted(topics))
    assert data.meta["sha256"] == hashlib.sha256(whole.encode()).hexdigest()
    assert data.train.inputs.shape[1:] == (128,) and data.meta["task"] == "lm"
    assert data.meta["n_out"] == data.meta["vocab_size"] == len(data.meta["symbols"]) and data.meta["stride"] == 32
    assert all((s.inputs[:, 1:] == s.targets[:, :-1]).all() for s in data[:3])
    assert not np.shares_memory(data.train.inputs, data.test.inputs)
