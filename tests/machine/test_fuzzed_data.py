"""Files of data, spoilt at random: read right, or refused with the file's name."""

import pytest
from support.data_files import FUZZ, posts, reviews, write_archive, write_cifar, write_news

from dgsa_np.data import DataError, load


@pytest.mark.slow
@pytest.mark.parametrize("name", FUZZ)
def test_fuzzed_files_are_read_right_or_refused(name, tmp_path, fuzzed):
    """Whatever else a loader raised would end this test."""
    write, check = FUZZ[name]
    write(tmp_path)
    check(tmp_path)
    refused = 0
    for _ in fuzzed(sorted(tmp_path.iterdir()), 2000):
        try:
            check(tmp_path)
        except DataError as error:
            refused += 1
            assert str(tmp_path) in str(error) or name == "text"
    assert 200 < refused < 2000


PUBLISHED = {
    "cifar10": lambda root: write_cifar(root, "cifar10", 3) and root,
    "imdb": lambda root: write_archive(root / "a.tar", reviews(12), "utf-8"),
    "20newsgroups": lambda root: write_archive(root / "a.tar.gz", posts(), "latin-1"),
    "ag-news": lambda root: write_news(root, n=10),
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
            assert name == "ag-news" or [s.inputs.shape for s in data[:3]] == [s.inputs.shape for s in whole[:3]]
            assert name != "20newsgroups" or data.meta == whole.meta
        except DataError as error:
            refused += 1
            assert str(tmp_path) in str(error)
    assert 30 < refused <= 300
