"""Data sets by name."""

import inspect

from .. import check
from .images import load_digits, load_idx
from .needle import load_needle
from .splits import Dataset
from .text import load_pydoc, load_rt_polarity, load_text

LOADERS = {
    "digits": load_digits,
    "mnist": load_idx,
    "fashion-mnist": load_idx,
    "pydoc": load_pydoc,
    "text": load_text,
    "rt-polarity": load_rt_polarity,
    "needle": load_needle,
}


def load(name: str = "digits", root=None, **options) -> Dataset:
    """A data set by its name, with fixed train, validation and test splits.

    name    : digits, mnist, fashion-mnist; pydoc, text (language); rt-polarity, needle (labelled sentences)
    root    : the folder or file that it is read from; None for digits, pydoc and needle, which are everywhere
    options : length, unit, overlap of a language; length, min_count, encoding of sentences; see data/text.py
    raises  : ValueError for a name or an option that does not exist; DataError for files, with path and offset
    """
    check.one_of("load", "name", name, tuple(LOADERS))
    check.instance("load", (*check.PATH, type(None)), root=root)
    known = [p for p in inspect.signature(LOADERS[name]).parameters if p not in ("name", "root")]
    for option in options.keys() - set(known):
        expected = ", ".join(known) or "no options"
        raise ValueError(f"load: {option} given, expected {expected} with {name}{check.nearest(option, known)}")
    return LOADERS[name](name, root, **options)
