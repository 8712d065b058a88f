"""Checks of settings, and of the names of parameters. Arrays and their shapes are in shapes.py."""

import math
import os
from dataclasses import field, fields

from .params import Spec, flatten
from .shapes import ShapeError, arrays, is_array, number

PATH = (str, os.PathLike)


def nearest(name, known) -> str:
    """The question "did you mean ..." for the end of an error, where a known name is similar."""
    import difflib

    near = difflib.get_close_matches(str(name), [str(k) for k in known], n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def one_of(function: str, name: str, value, choices):
    """Check that a value is one of a few; the error suggests the nearest one."""
    if not any(isinstance(value, type(c)) and value == c for c in choices):  # 1 is not True
        known = ", ".join(map(repr, choices))
        raise ValueError(f"{function}: {name} is {value!r}, expected one of {known}{nearest(value, choices)}")


def setting(default, meaning, choices=()):
    """A field of a configuration: what it means, and which values it takes, if they are few."""
    return field(default=default, metadata={"meaning": meaning, "choices": choices})


def choices(config):
    """Check each field of a configuration that takes a few values only."""
    for f in fields(config):
        if f.metadata.get("choices"):
            one_of(type(config).__name__, f.name, getattr(config, f.name), f.metadata["choices"])


def set_numbers(config, *names: str, low=-math.inf, high=math.inf):
    """Check that fields of a frozen configuration are numbers, and make them Python's.

    A number of NumPy would turn float32 into float64.
    """
    for name in names:
        number(type(config).__name__, low, high, **{name: getattr(config, name)})
        object.__setattr__(config, name, float(getattr(config, name)))


def parameters(make_specs):
    """For @takes: check nested parameters against the names and shapes of their Specs.

    make_specs : returns the Specs for the configuration, which is the argument that has known_sizes
    """

    def look_at(function, name, given):
        p, (cfg,) = given[name], (a for a in given.values() if hasattr(a, "known_sizes"))
        specs = make_specs(cfg)
        _check_names(function, p, specs, f"the parameters of kind {cfg.kind!r}" if name == "p" else name)
        flat, axes = flatten(p), {name: spec.axes for name, spec in flatten(specs).items()}
        arrays(function, axes, *map(flat.get, axes), sizes=cfg.known_sizes)
        return p

    return look_at


def _check_names(function, p, specs, whose):
    """Check the names of a tree of parameters; whose is what errors call it."""
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
