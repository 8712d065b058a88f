"""The options of `load`: wrong ones are refused, and a model is configured from what comes."""

import pytest
from support.data_files import (
    own_images,
    own_texts,
    posts,
    reviews,
    write_cifar,
    write_folder,
    write_images,
    write_news,
)

from dgsa_np.data import load
from dgsa_np.lab.settings import RECIPES, settle


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: load("pydoc", lenght=4),
            "lenght given, expected length, .* with pydoc; did you mean 'length'",
        ),
        (lambda: load("mnits"), "name is 'mnits', expected one of 'digits', .*; did you mean 'mnist'"),
        (lambda: load("digits", length=4), "length given, expected no options with digits"),
        (lambda: load("rt-polarity", "x", unit="bytes"), "unit given, expected length, min_count, encoding"),
        (lambda: load("rt-polarity", "x", min_count=0), "min_count is 0, expected a whole number of at least 1"),
        (lambda: load("digits", root="x"), "root is 'x', expected None"),
        (lambda: load("pydoc", root="x"), "root is 'x', expected None"),
        (lambda: load("pydoc", unit="words"), "unit is 'words', expected one of 'characters', 'bytes'"),
        (lambda: load("pydoc", length=0), "length is 0"),
        (lambda: load("pydoc", overlap=1.5), "overlap is 1.5"),
        (lambda: load("images", "x", size=0), "size is 0, expected a whole number of at least 1"),
        (lambda: load("images", "x", length=9), "length given, expected size with images"),
        (lambda: load("texts", "x", size=9), "size given, expected length, min_count, max_words with texts"),
    ],
)
def test_wrong_options_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


WRITERS = {
    "cifar10": lambda root: write_cifar(root, "cifar10", 3),
    "cifar100": lambda root: write_cifar(root, "cifar100", 3),
    "imdb": lambda root: write_folder(root, reviews(), "utf-8"),
    "ag-news": write_news,
    "20newsgroups": lambda root: write_folder(root, posts(), "latin-1"),
    "images": lambda root: write_images(root, own_images()),
    "texts": lambda root: write_folder(root, own_texts(), "utf-8"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_model_is_configured_from_the_data(name, tmp_path):
    WRITERS[name](tmp_path)
    _, cfg, train, data = settle({"data": name, "root": str(tmp_path), "device": "cpu", "threads": 1})
    assert cfg.n_out == data.meta["n_out"] and cfg.task == data.meta["task"]
    assert RECIPES[name].items() <= (vars(cfg) | vars(train)).items()
    assert data.meta == load(name, tmp_path).meta


@pytest.mark.parametrize("options", [{"max_words": 0}, {"max_words": 1.5}, {"length": 0}, {"min_count": True}])
def test_counts_that_are_none(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} is .*, expected a whole number of at least 1"):
        load("imdb", "x", **options)
