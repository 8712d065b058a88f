"""Data sets by name."""

import inspect

from .. import check, shapes
from .images import load_cifar, load_digits, load_idx, load_images
from .labelled import load_ag_news, load_imdb, load_newsgroups, load_rt_polarity, load_texts
from .needle import load_needle
from .splits import Dataset
from .text import load_pydoc, load_text

LOADERS = {
    "digits": load_digits,
    "mnist": load_idx,
    "fashion-mnist": load_idx,
    "cifar10": load_cifar,
    "cifar100": load_cifar,
    "images": load_images,
    "pydoc": load_pydoc,
    "text": load_text,
    "rt-polarity": load_rt_polarity,
    "imdb": load_imdb,
    "ag-news": load_ag_news,
    "20newsgroups": load_newsgroups,
    "texts": load_texts,
    "needle": load_needle,
}
WITHOUT_ROOT = {"digits": "comes with scikit-learn", "pydoc": "comes with Python", "needle": "is made in memory"}
COUNTS = ("length", "overlap", "min_count", "max_words", "size")  # options that are whole numbers


def load(name: str = "digits", root=None, **options) -> Dataset:
    """A data set by its name, with fixed train, validation and test splits.

    name    : digits, mnist, fashion-mnist, cifar10, cifar100, images (your own) are images; pydoc,
              text are languages; rt-polarity, imdb, ag-news, 20newsgroups, texts (your own) are
              labelled texts; needle is made in memory
    root    : the folder, archive or file that it is read from; None for digits (which come with
              scikit-learn), pydoc (with Python) and needle; "download" fetches mnist,
              fashion-mnist, cifar10 or 20newsgroups
    options : size of images; length, unit, overlap of a language, see data/text.py; length,
              min_count, max_words of labelled texts, see data/labelled.py; encoding of rt-polarity;
              spurious of the needle
    raises  : ValueError for a name or an option that does not exist; DataError for files, with path
              and offset
    """
    check.one_of("load", "name", name, tuple(LOADERS))
    shapes.instance("load", (*check.PATH, type(None)), root=root)
    known = [p for p in inspect.signature(LOADERS[name]).parameters if p not in ("name", "root")]
    for option in options.keys() - set(known):
        expected = ", ".join(known) or "no options"
        raise ValueError(f"load: {option} given, expected {expected} with {name}{check.nearest(option, known)}")
    if root is not None and name in WITHOUT_ROOT:
        raise ValueError(f"load: root is {root!r}, expected None: {name} {WITHOUT_ROOT[name]}")
    shapes.whole("load", **{option: value for option, value in options.items() if option in COUNTS})
    return LOADERS[name](name, root, **options)
