"""A needle among spurious keys: sentences made in memory, in which one key must be suppressed."""

import numpy as np

from .. import shapes
from .corruptions import PAD
from .splits import Dataset, Split, sha256

KEYS, VALUES = 8, 4
# The first token of each sort.
PAIR, SPURIOUS, QUERY = 1, 1 + KEYS * VALUES, 1 + 2 * KEYS * VALUES


def load_needle(name, root=None, length=12, spurious=1):
    """A query, then pairs of a key and a value, one token each: which value has the query's key?

    One pair is the needle, right in key and value. Spurious pairs have its key too, but a mark and
    any value, so that a look for the key finds them as well. The other pairs have other keys. There
    are 4 classes, and chance is 1/4. As words: the query is "3?", the needle "3=1", a spurious pair
    "3!0", another pair "5=2".

    length   : tokens per sentence
    spurious : spurious pairs in each sentence, 0 to length - 2
    """
    shapes.whole("load", least=3, length=length)
    shapes.number("load", low=0, high=length - 2, spurious=spurious)
    splits = [_sentences(np.random.default_rng(i), n, length, int(spurious)) for i, n in enumerate((8000, 1000, 2000))]
    pairs = [(key, value) for key in range(KEYS) for value in range(VALUES)]
    symbols = ["", *(f"{k}={v}" for k, v in pairs), *(f"{k}!{v}" for k, v in pairs), *(f"{k}?" for k in range(KEYS))]
    size = {"task": "text", "n_out": VALUES, "vocab_size": len(symbols), "max_len": length}
    meta = {"name": name, **size, "unit": "words", "symbols": symbols}
    return Dataset(*splits, meta | {"sha256": sha256(*(a for s in splits for a in s[:2]))})


def _sentences(rng, n, length, spurious):
    rest = length - 2 - spurious
    key, value = rng.integers(KEYS, size=(n, 1)), rng.integers(VALUES, size=(n, 1))
    others = _pair((key + rng.integers(1, KEYS, (n, rest))) % KEYS, rng.integers(VALUES, size=(n, rest)))
    decoys = SPURIOUS + key * VALUES + rng.integers(VALUES, size=(n, spurious))
    pairs = rng.permuted(np.concatenate([_pair(key, value), decoys, others], axis=1), axis=1)
    tokens = np.concatenate([QUERY + key, pairs], axis=1)
    return Split(tokens, value[:, 0], tokens != PAD)


def _pair(key, value):
    return PAIR + key * VALUES + value
