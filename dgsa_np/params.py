"""Parameters are nested dicts and lists of arrays.

A tree is a dict, list or tuple of trees, or a leaf. None is an empty leaf and stays None. The name
of a leaf is the path to it, such as blocks.0.attention.W_q.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Spec:
    """How to draw a parameter: its axes in the letters of the formulas, and N(value, std^2)."""

    axes: str  # "C H*d"
    std: float = 0.0  # 0: all entries are value
    value: float = 0.0


def tree_map(f, tree, *others) -> Any:
    """Apply f to each leaf of a tree; of several trees, to the leaves with the same path.

    Further trees must have the names of the first. A plain tuple comes back as a list.
    """
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
    """{path: leaf}, where a path is a tuple of keys: ("blocks", 0, "W_q").

    Fields of a NamedTuple go by their names.
    """
    if _is_namedtuple(tree):
        tree = tree._asdict()
    if isinstance(tree, (list, tuple)):
        tree = dict(enumerate(tree))
    if not isinstance(tree, dict):
        return {} if tree is None else {path: tree}
    return {deeper: leaf for key, branch in tree.items() for deeper, leaf in leaves(branch, (*path, key)).items()}


def flatten(tree) -> dict[str, Any]:
    """{dotted name: leaf}, such as {"blocks.0.attention.W_q": array}."""
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
    return tree_map(np.zeros_like, tree)  # for arrays of CuPy, NumPy calls CuPy's zeros_like


def check_rng(function: str, rng):
    """Check for a numpy.random.Generator.

    It draws on the host (the CPU), so that runs on CPU and GPU start equal.
    """
    if not isinstance(rng, np.random.Generator):
        what = type(rng).__name__
        raise TypeError(f"{function}: rng is {what}, expected numpy.random.Generator: np.random.default_rng(seed)")


def draw(specs, sizes: dict, rng, dtype: str | type = "float32") -> Any:
    """Random arrays for a tree of Specs.

    They are drawn in order, on the host (the CPU), so that all devices start equal.

    sizes : the length of each axis by its letter, {"C": 64, "H*d": 32}
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
