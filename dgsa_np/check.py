"""What a public function says when its input is wrong: argument, what it is, what was expected, and why.

Shapes are written in the letters of the docstrings, "B H T d". The first array that shows a letter binds
it, and an error names that array as the origin. A check that has passed once for the same shapes and
dtypes costs one look-up.
"""

import math
import os
import sys
from dataclasses import field, fields

import numpy as np

from .backend import array_module, owner_of, plainly, to_numpy
from .params import Spec, flatten

PATH = (str, os.PathLike)
FLOATS = [np.dtype(name) for name in ("float32", "float64", "complex64", "complex128")]
PASSED = set()  # calls that arrays() has found right, by types, shapes and dtypes


class ShapeError(ValueError):
    """An array does not have the shape that the formula needs."""


def arrays(function: str, axes: dict, *arrays, sizes: tuple = (), optional: tuple = ()):
    """Floating arrays, on one device, whose shapes agree letter by letter.

    axes     : {"q": "B H T d", "k": "B H S d"}, in the order of the arrays; "... C" leaves leading axes free
    sizes    : letters that are known already, as (letter, value, where it comes from)
    optional : names that may be None
    """
    seen = [(type(a), getattr(a, "shape", None), getattr(a, "dtype", None)) for a in arrays]
    given = function, *axes.items(), sizes, *seen
    if given in PASSED:
        return
    named = [(name, letters, a) for (name, letters), a in zip(axes.items(), arrays, strict=True)]
    named = [row for row in named if row[2] is not None or row[0] not in optional]
    for name, _, a in named:
        is_array(function, name, a)
    array_module(*arrays)
    bound = {letter: (value, origin) for letter, value, origin in sizes}
    for name, letters, a in named:
        shape = a.shape
        floating(function, name, a.dtype)
        names = letters.removeprefix("...").split()
        tail = shape[len(shape) - len(names) :] if letters.startswith("...") else shape
        if len(tail) != len(names) or any(bound.get(n, (s,))[0] != s for n, s in zip(names, tail, strict=True)):
            raise ShapeError(_explain(function, name, shape, letters.split(), bound))
        if 0 in shape:
            raise ShapeError(f"{function}: {name} is {shape}, an empty array; expected at least one element per axis")
        bound |= {n: (s, f"{name} {shape}") for n, s in zip(names, tail, strict=True) if n not in bound}
    if len(PASSED) >= 4096:
        PASSED.clear()
    PASSED.add(given)


def floating(function: str, name: str, dtype):
    """float32 or float64; complex for the complex step."""
    if dtype not in FLOATS:
        hint = "float16 loses the gradients" if dtype == "float16" else "convert with .astype('float32')"
        raise TypeError(f"{function}: {name} has dtype {dtype}, expected float32 or float64; {hint}")


def _explain(function, name, shape, letters, bound):
    pattern = ", ".join(letters) + ("," if len(letters) == 1 else "")
    wanted = ", ".join(str(bound[n][0]) if n in bound else n for n in letters) + ("," if len(letters) == 1 else "")
    origins = "; ".join(f"{n} comes from {bound[n][1]}" for n in dict.fromkeys(letters) if n in bound)
    return f"{function}: {name} is {shape}, expected ({pattern}) = ({wanted})" + (f"; {origins}" if origins else "")


def mask(function: str, mask, shape: tuple):
    """A boolean mask with as many axes as the scores, broadcastable to their shape."""
    if mask is None:
        return
    is_array(function, "mask", mask)
    if mask.dtype.name != "bool":
        raise TypeError(f"{function}: mask has dtype {mask.dtype}, expected bool, True = may attend")
    if mask.ndim != len(shape):
        hint = "; write mask[None, None] for one that every batch entry and head shares" if mask.ndim == 2 else ""
        wanted = f"{len(shape)} axes, broadcastable to {shape}"
        raise ShapeError(f"{function}: mask is {mask.shape}, expected {wanted}{hint}")
    if any(m not in (1, n) for m, n in zip(mask.shape, shape, strict=True)):
        raise ShapeError(f"{function}: mask is {mask.shape}, expected a shape that broadcasts to the scores {shape}")


def cache(function: str, cache, kind, *upstream):
    """The cache that the pair's own forward returned, on the device of the gradient; handed back, to be unpacked."""
    if type(cache).__name__ != kind.__name__:  # the name, since a notebook may have read a class again
        raise TypeError(f"{function}: cache is {type(cache).__name__}, expected the {kind.__name__} of its forward")
    if len({type(a) for a in (*upstream, *cache) if owner_of(a)}) > 1:  # two devices? indices may stay on the host
        array_module(*(a for a in (*upstream, *cache) if owner_of(a) and a.dtype.kind in "fc"))
    return cache


def upstream(function: str, dout, shape: tuple):
    """The upstream gradient is floating and has the shape of what forward returned."""
    given = type(dout).__name__ if owner_of(dout) is None else dout.shape
    if given != tuple(shape):
        why = "the shape of what forward returned"
        raise ShapeError(f"{function}: the upstream gradient is {given}, expected an array {tuple(shape)}, {why}")
    floating(function, "the upstream gradient", dout.dtype)


def indices(function: str, name: str, indices, size: int, origin: str, shape: tuple | None = None):
    """Integer indices in [0, size), looked at on the host (a GPU would wrap them round in silence).

    indices : on the host, the place to keep them; from a GPU the check costs one read
    shape   : what is expected, where origin fixes it
    """
    is_array(function, name, indices)
    if shape is not None and indices.shape != shape:
        raise ShapeError(f"{function}: {name} is {indices.shape}, expected {shape}; it comes from {origin}")
    if indices.dtype.kind not in "iu":
        raise TypeError(f"{function}: {name} has dtype {indices.dtype}, expected integers; .astype('int64') makes them")
    if indices.size == 0:
        raise ShapeError(f"{function}: {name} is {indices.shape}, an empty array; expected at least one element")
    host = to_numpy(indices)
    worst = int(host.min() if host.min() < 0 else host.max())
    if not 0 <= worst < size:
        raise IndexError(f"{function}: {name} holds {worst}, expected 0 <= {name} < {size}; {size} comes from {origin}")


def keep(function: str, keep, shape: tuple, origin: str):
    """A boolean keep, True = counts, with the shape of the targets or tokens; None keeps all."""
    if keep is None:
        return
    is_array(function, "keep", keep)
    if keep.dtype.name != "bool":
        raise TypeError(f"{function}: keep has dtype {keep.dtype}, expected bool, True = counts")
    if keep.shape != shape:
        raise ShapeError(f"{function}: keep is {keep.shape}, expected {shape}; it comes from {origin}")


def params(function: str, p, specs, sizes: tuple, whose: str):
    """Nested parameters: exactly the names of their specs, each with its shape."""
    _check_names(function, p, specs, whose)
    flat, axes = flatten(p), {name: spec.axes for name, spec in flatten(specs).items()}
    arrays(function, axes, *map(flat.get, axes), sizes=sizes)


def _check_names(function, p, specs, whose):
    if isinstance(specs, dict):
        if not isinstance(p, dict):
            raise TypeError(f"{function}: {whose} is {type(p).__name__}, expected a dict with {', '.join(specs)}")
        if p.keys() != specs.keys():
            raise ValueError(f"{function}: {whose} {differing_names(p, specs)}")
    elif not isinstance(p, (list, tuple)) or len(p) != len(specs):
        given = f"{len(p)} blocks" if isinstance(p, (list, tuple)) else type(p).__name__
        raise ShapeError(f"{function}: {whose} is {given}, expected a list of cfg.depth = {len(specs)}")
    for key in specs if isinstance(specs, dict) else range(len(specs)):
        if isinstance(specs[key], Spec):
            is_array(function, key, p[key])
        else:
            _check_names(function, p[key], specs[key], f"{whose}[{key!r}]")


def differing_names(given, expected) -> str:
    """A phrase: which names are missing and which are too many."""
    missing = ", ".join(str(k) for k in expected if k not in given)
    unknown = ", ".join(str(k) for k in given if k not in expected)
    said = [f"lack {missing}"] if missing else []
    said += [f"have {unknown} too many"] if unknown else []
    return f"{' and '.join(said)}; expected {', '.join(map(str, expected))}"


def instance(function: str, kind, **values):
    """Instances of a class, of one that extends it, or of one of several."""
    for name, value in values.items():
        if not isinstance(value, kind):
            names = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
            what = "the class itself" if isinstance(value, type) else type(value).__name__
            raise TypeError(f"{function}: {name} is {what}, expected an instance of {names}")


def is_array(function: str, name: str, a):
    """An array of NumPy or CuPy itself, none of a subclass."""
    if owner_of(a) is None:
        raise TypeError(f"{function}: {name} is {type(a).__name__}, expected an array; {plainly(a)}")


def nearest(name, known) -> str:
    """A question for the end of an error, where something known looks like the name."""
    import difflib

    near = difflib.get_close_matches(str(name), [str(k) for k in known], n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def one_of(function: str, name: str, value, choices):
    """One of a few names, with the nearest one suggested."""
    if not any(isinstance(value, type(c)) and value == c for c in choices):  # 1 is not True
        known = ", ".join(map(repr, choices))
        raise ValueError(f"{function}: {name} is {value!r}, expected one of {known}{nearest(value, choices)}")


def setting(default, meaning, choices=()):
    """A field of a configuration: what it means, and the few values that it takes, if they are few."""
    return field(default=default, metadata={"meaning": meaning, "choices": choices})


def choices(config):
    """Every field of a configuration that takes a few values holds one of them."""
    for f in fields(config):
        if f.metadata.get("choices"):
            one_of(type(config).__name__, f.name, getattr(config, f.name), f.metadata["choices"])


def whole(function: str, least: int = 1, **values):
    """Whole numbers, none below the least."""
    for name, value in values.items():
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least:
            raise ValueError(f"{function}: {name} is {value!r}, expected a whole number of at least {least}")


def set_numbers(config, *names: str, low=-math.inf, high=math.inf):
    """Numbers of a frozen configuration, checked and made Python's: a NumPy number turns float32 into float64."""
    for name in names:
        number(type(config).__name__, low, high, **{name: getattr(config, name)})
        object.__setattr__(config, name, float(getattr(config, name)))


def number(function: str, low=-math.inf, high=math.inf, **values):
    """Finite numbers between two bounds."""
    for name, value in values.items():
        number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
        if not (number and abs(value) <= sys.float_info.max and low <= value <= high):  # nan is not
            within = f", {low} <= {name} <= {high}" if (low, high) != (-math.inf, math.inf) else ""
            raise ValueError(f"{function}: {name} is {value!r}, expected a finite number{within}")
