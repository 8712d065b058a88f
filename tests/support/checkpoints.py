"""Checkpoints written by hand, and what may be wrong with them."""

import hashlib
import io
import json
import os
import re

import numpy as np

from dgsa_np.checkpoint import FORMAT
from dgsa_np.gradcheck import same_bits


def same_state(a, b):
    if isinstance(a, np.ndarray):
        return same_bits(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same_state(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return isinstance(b, list) and len(a) == len(b) and all(map(same_state, a, b))
    return type(a) is type(b) and repr(a) == repr(b)  # -0.0 and nan too


def member(a, **options):
    file = io.BytesIO()
    np.save(file, a, **options)
    return file.getvalue()


ONES = {"__array__": "W", "shape": [2], "dtype": "<f8", "sha256": hashlib.sha256(np.ones(2).tobytes()).hexdigest()}


def manifest(*more, **changes):
    """That of a file with an array W of two ones, and more beside it."""
    return json.dumps({"format": FORMAT, "state": [ONES | changes, *more]})


class Bomb:
    """Unpickled, it would leave a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


W = ("W.npy", member(np.ones(2)))
HEADERS = {  # of a zip: where their fields stand, and how long they are
    b"PK\3\4": [(6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2)],  # flags, method, sum, sizes, lengths
    b"PK\1\2": [(8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2), (34, 2), (42, 4)],  # and place
    b"PK\5\6": [(4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)],  # disks, counts, size, place, comment
}


def lies(whole):
    """Place,
    length and value of everything that a field of a header may say instead of the truth.
    """
    for mark, fields in HEADERS.items():
        for start in (match.start() for match in re.finditer(re.escape(mark), whole)):
            for place, size in ((start + at, size) for at, size in fields):
                true = int.from_bytes(whole[place : place + size], "little")
                said = {0, 1, true ^ 1, true + 1, 2 * true, true ^ 64, len(whole), 2 ** (8 * size - 1), -1}
                for value in sorted({n % 2 ** (8 * size) for n in said} - {true}):
                    yield place, size, value
