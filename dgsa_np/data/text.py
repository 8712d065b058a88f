"""Text as a language: any file, and Python's own documentation."""

from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np

from .. import check, indices, shapes
from .files import home, read_text
from .splits import DataError, Dataset, Split, sha256

UNKNOWN = "\ufffd"  # the symbol for what the vocabulary lacks


@dataclass(frozen=True)
class Vocabulary:
    """The symbols that tokens stand for: token i is symbols[i]."""

    unit: str  # "characters", "bytes" or "words"
    symbols: list

    @cached_property
    def index(self) -> dict:
        return {symbol: i for i, symbol in enumerate(self.symbols)}

    def split(self, text) -> list:
        """The symbols of a text."""
        shapes.instance("Vocabulary", str, text=text)
        ways = {"characters": list, "bytes": lambda t: list(t.encode(errors="surrogateescape")), "words": str.split}
        return ways[self.unit](text)

    def encode(self, text) -> np.ndarray:
        """(n,) tokens; what the vocabulary lacks becomes the token of UNKNOWN."""
        unknown = self.index.get(UNKNOWN)
        return np.array([self.index.get(s, unknown) for s in self.split(text)], "int64")

    def decode(self, tokens) -> str:
        if np.size(tokens):
            indices.indices("Vocabulary", "tokens", np.asarray(tokens), len(self.symbols), "the vocabulary")
        symbols = [self.symbols[t] for t in tokens]
        if self.unit == "bytes":
            return bytes(symbols).decode(errors="replace")
        return (" " if self.unit == "words" else "").join(symbols)


def load_pydoc(name, root=None, length=128, unit="characters", overlap=4):
    """The reference manual that comes with every CPython, topic after topic.

    It changes with Python's version.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise DataError(f"{name}: this Python came without its pydoc_data: {error}") from error
    return _language("\n".join(topics[key] for key in sorted(topics)), name, length, unit, overlap)


def load_text(name, root=None, length=128, unit="characters", overlap=4):
    """Any text file in UTF-8, as a language. A byte-order mark is no part of it."""
    return _language(read_text(home(name, root, "the path of a text file")), name, length, unit, overlap)


def _language(text, name, length, unit, overlap):
    """Windows of a text, cut 90 / 5 / 5 % into splits, in the order of the text.

    length  : tokens per window
    unit    : "characters", with a vocabulary of those in the training part, or "bytes"
    overlap : training windows start every length / overlap tokens, the others every length
    """
    check.one_of("load", "unit", unit, ("characters", "bytes"))
    n = len(text)
    parts = text[: n * 18 // 20], text[n * 18 // 20 : n * 19 // 20], text[n * 19 // 20 :]
    symbols = [UNKNOWN, *sorted(set(parts[0]) - {UNKNOWN})] if unit == "characters" else list(range(256))
    vocabulary = Vocabulary(unit, symbols)
    strides = max(1, length // overlap), length, length
    splits = [_windows(vocabulary.encode(p), length, stride, name) for p, stride in zip(parts, strides, strict=True)]
    size = {"task": "lm", "n_out": len(symbols), "vocab_size": len(symbols), "max_len": length}
    meta = {"name": name, **size, **asdict(vocabulary), "stride": strides[0], "sha256": sha256(text.encode())}
    return Dataset(*splits, meta)


def _windows(tokens, length, stride, name):
    """Windows as views of the tokens, without copies; the target of each token is the next one."""
    if len(tokens) <= length:
        raise DataError(f"{name}: a part of the text has {len(tokens)} tokens, expected more than length = {length}")
    rows = np.lib.stride_tricks.sliding_window_view(tokens, length + 1)[::stride]
    return Split(rows[:, :-1], rows[:, 1:])
