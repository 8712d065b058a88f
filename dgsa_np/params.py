"""Parameters are nested dicts and lists of arrays; a path through them reads blocks.0.attention.W_q.

A tree is a dict, list or tuple of trees, or a leaf. None is an empty leaf and stays None.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Spec:
    """What a parameter is before it is drawn: its axes in the symbols of the formulas, and its law."""

    axes: str  # "C H*d"
    std: float = 0.0  # N(value, std^2)
    value: float = 0.0


def tree_map(f, tree, *others) -> Any:
    """f applied leaf by leaf; further trees must have the names of the first. A plain tuple comes back as a list."""
    if isinstance(tree, dict):
        for t in others:
            if t.keys() != tree.keys():
                raise ValueError(f"tree_map: a tree has {sorted(t)}, expected {sorted(tree)} as in the first")
        return {key: tree_map(f, tree[key], *(t[key] for t in others)) for key in tree}
    if isinstance(tree, (list, tuple)):
        mapped = [tree_map(f, *branches) for branches in zip(tree, *others, strict=True)]
        return type(tree)(*mapped) if _is_namedtuple(tree) else mapped
    return None if tree is None else f(tree, *others)


def _is_namedtuple(tree):
    return isinstance(tree, tuple) and hasattr(tree, "_fields")


def leaves(tree, path=()) -> dict:
    """{path: leaf}, a path being a tuple of keys, ("blocks", 0, "W_q"). Fields of a NamedTuple go by name."""
    if _is_namedtuple(tree):
        tree = tree._asdict()
    if isinstance(tree, (list, tuple)):
        tree = dict(enumerate(tree))
    if not isinstance(tree, dict):
        return {} if tree is None else {path: tree}
    return {deeper: leaf for key, branch in tree.items() for deeper, leaf in leaves(branch, (*path, key)).items()}


def flatten(tree) -> dict[str, Any]:
    """A flat dict of leaves under dotted names: {"blocks.0.attention.W_q": array}."""
    found = leaves(tree)
    flat = {".".join(map(str, path)): leaf for path, leaf in found.items()}
    if len(flat) < len(found):
        raise ValueError("flatten: two leaves have the same dotted name, expected keys that differ without their dots")
    return flat


def count(tree) -> int:
    """How many numbers the tree holds."""
    return sum(leaf.size for leaf in flatten(tree).values())


def zeros_like(tree) -> Any:
    """A tree of zeros with the same shapes, dtypes and device."""
    return tree_map(np.zeros_like, tree)  # CuPy's own for its arrays


def check_rng(function: str, rng):
    """Randomness comes from a host generator, so that CPU and GPU runs start equal."""
    if not isinstance(rng, np.random.Generator):
        what = type(rng).__name__
        raise TypeError(f"{function}: rng is {what}, expected numpy.random.Generator: np.random.default_rng(seed)")


def draw(specs, sizes: dict, rng, dtype: str | type = "float32") -> Any:
    """Arrays for a tree of Specs, drawn in order on the host, so that every device starts equal.

    sizes : the value of each axis symbol, {"C": 64, "H*d": 32}
    rng   : a numpy.random.Generator
    """
    check_rng("draw", rng)
    if str(dtype) not in ("float32", "float64") and dtype not in (np.float32, np.float64):
        raise TypeError(f"draw: dtype is {dtype}, expected float32 or float64")

    def draw_one(spec):
        shape = tuple(sizes[axis] for axis in spec.axes.split())
        noise = rng.standard_normal(shape) * spec.std if spec.std else np.zeros(shape)
        return (spec.value + noise).astype(dtype)

    return tree_map(draw_one, specs)
