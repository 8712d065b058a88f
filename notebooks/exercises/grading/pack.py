"""Arguments and answers as files: trees of arrays, numbers and strings in an npz, never pickled."""

import json

import numpy as np

from .items import Source


def save(path, tree):
    """To an npz: the arrays, and their places as JSON."""
    arrays = {}
    places = _place(tree, arrays)
    np.savez_compressed(path, places=json.dumps(places), **arrays)


def load(path):
    """The tree of an npz; raises ValueError for one that holds objects."""
    with np.load(path, allow_pickle=False) as file:
        return _fill(json.loads(str(file["places"])), file)


def _place(tree, arrays):
    if isinstance(tree, Source):
        return {"source": list(tree)}
    if isinstance(tree, dict):
        return {"dict": {name: _place(value, arrays) for name, value in tree.items()}}
    if isinstance(tree, (list, tuple)):
        return {type(tree).__name__ if type(tree) is list else "tuple": [_place(value, arrays) for value in tree]}
    if isinstance(tree, (np.ndarray, np.generic)):
        name = f"a{len(arrays)}"
        arrays[name] = tree
        return {"array": name}
    return {"value": tree}


def _fill(place, file):
    ((sort, content),) = place.items()
    if sort == "source":
        return Source(*content)
    if sort == "dict":
        return {name: _fill(value, file) for name, value in content.items()}
    if sort in ("list", "tuple"):
        return {"list": list, "tuple": tuple}[sort](_fill(value, file) for value in content)
    return file[content] if sort == "array" else content
