"""Checks of settings, and of the names of parameters. Arrays and their shapes are in shapes.py."""

import math
import os
from dataclasses import field, fields
from typing import Any, get_args

from .params import Spec, flatten
from .shapes import ShapeError, arrays, is_array, number, whole

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


def setting(default, meaning="", choices=(), **bounds) -> Any:
    """A field of a configuration: what it means, and which values it takes.

    choices : the values, if they are few
    bounds  : least and most of a number; where no least is given, that of a whole number is 1
    """
    return field(default=default, metadata={"meaning": meaning, "choices": choices, **bounds})


def settings(config):
    """Check each field of a configuration. None is right where the type of the field has it.

    Values are made of the field's type: a number of NumPy would turn float32 into float64, and JSON
    has neither it nor paths.
    """
    where = type(config).__name__
    for f in fields(config):
        value, types, may = getattr(config, f.name), types_of(f), f.metadata
        if may.get("choices"):
            one_of(where, f.name, value, may["choices"])
        elif value is not None or type(None) not in types:
            if int in types:
                whole(where, may.get("least", 1), **{f.name: value})
            elif float in types:
                number(where, may.get("least", -math.inf), may.get("most", math.inf), **{f.name: value})
            object.__setattr__(config, f.name, types[0](value))


def types_of(field) -> tuple:
    """The types that a setting may have: int | None has two."""
    return get_args(field.type) or (field.type,)


def parameters(make_specs):
    """For @takes: check nested parameters against the names and shapes of their Specs.

    make_specs : returns the Specs for the configuration, which is the argument that has known_sizes
    """

    def look_at(function, name, given):
        p, cfg = given[name], next(a for a in given.values() if hasattr(a, "known_sizes"))
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
