"""Files of data, spoilt at random: read right, or refused with the file's name.

And what is no file, or too large to be one, is refused before it is opened.
"""

import builtins
import os
from pathlib import Path

import pytest
from support.data_files import (
    FUZZ,
    own_images,
    posts,
    reviews,
    text_file,
    write_archive,
    write_cifar,
    write_folder,
    write_idx,
    write_images,
    write_listed_texts,
    write_news,
    write_sentences,
)
from support.tiers import most_later

from dgsa_np.data import DataError, load


@pytest.mark.parametrize("n", most_later([400, 2000], now=[], torture=[2000]))
@pytest.mark.parametrize("name", FUZZ)
def test_fuzzed_files_are_read_right_or_refused(name, n, tmp_path, fuzzed):
    """Whatever else a loader raised would end this test."""
    write, check = FUZZ[name]
    write(tmp_path)
    check(tmp_path)
    refused = 0
    for _ in fuzzed(sorted(tmp_path.iterdir()), n):
        try:
            check(tmp_path)
        except DataError as error:
            refused += 1
            assert str(tmp_path) in str(error) or name == "text"
    assert n / 10 < refused < n


PUBLISHED = {
    "cifar10": lambda root: write_cifar(root, "cifar10", 3) and root,
    "imdb": lambda root: write_archive(root / "a.tar", reviews(12), "utf-8"),
    "20newsgroups": lambda root: write_archive(root / "a.tar.gz", posts(), "latin-1"),
    "ag-news": lambda root: write_news(root, n=10),
    "texts": write_listed_texts,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_fuzzed_files_are_read_or_refused(name, tmp_path, fuzzed):
    """Whatever else a loader raised would end this test;
    of a packed archive nothing but what was packed is read.
    """
    root, refused = PUBLISHED[name](tmp_path), 0
    whole = load(name, root)
    for _ in fuzzed(sorted(path for path in tmp_path.rglob("*") if path.is_file()), 300):
        try:
            data = load(name, root)
            same = [s.inputs.shape for s in data[:3]] == [s.inputs.shape for s in whole[:3]]
            assert same or name in ("ag-news", "texts")
            assert name != "20newsgroups" or data.meta == whole.meta
        except DataError as error:
            refused += 1
            assert str(tmp_path) in str(error)
    assert 30 < refused <= 300


FILES = {  # what writes the files of a data set, and one of them
    "mnist": (write_idx, "t10k-labels-idx1-ubyte.gz"),
    "cifar10": (lambda root: write_cifar(root, "cifar10", 3), "cifar-10-batches-bin/data_batch_1.bin"),
    "cifar100": (lambda root: write_cifar(root, "cifar100", 3), "cifar-100-binary/test.bin"),
    "text": (text_file, "text.txt"),
    "rt-polarity": (write_sentences, "rt-polarity.pos"),
    "ag-news": (write_news, "test.csv"),
    "imdb": (lambda root: write_folder(root, reviews(), "utf-8"), "aclImdb/train/pos/0_9.txt"),
    "20newsgroups": (lambda root: write_archive(root / "a.tar.gz", posts(), "latin-1"), "a.tar.gz"),
    "images": (lambda root: write_images(root, own_images(parts=("train", "test"))), "train/cat/07.png"),
    "texts": (write_listed_texts, "labels.csv"),
}
NO_FILES = {  # what may lie there instead, and what is said of it
    "a folder": (Path.mkdir, "is a folder, expected a file"),
    "a pipe": (lambda path: os.mkfifo(path), "is a pipe or a device, expected a file"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "is a pipe or a device, expected a file"),
    "a hole": (lambda path: path.touch() or os.truncate(path, 2**31 + 1), "2,147,483,649 bytes, expected at most "),
    "a broken link": (lambda path: path.symlink_to("nowhere"), "cannot be read: No such file"),
}


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices are POSIX")
@pytest.mark.parametrize("kind", NO_FILES)
@pytest.mark.parametrize("name", FILES)
def test_what_is_no_file_or_too_large_is_not_opened(name, kind, tmp_path, monkeypatch):
    (write, file), (make, words) = FILES[name], NO_FILES[kind]
    write(tmp_path)
    path = tmp_path / file
    path.unlink()
    make(path)

    def watched(opened, *args):
        assert opened != path, f"{path} was opened"
        return builtins.open(opened, *args)

    if (name, kind) == ("20newsgroups", "a folder"):
        words = "there is no 20news-bydate-train/sci.space/59848"  # a folder is as good as an archive
    monkeypatch.setattr("dgsa_np.data.files.open", watched, raising=False)
    with pytest.raises(DataError, match=f"{path}: {words}"):
        load(name, path if name in ("text", "20newsgroups") else tmp_path)
