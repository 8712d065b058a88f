"""What a function takes, declared once, above it, in the letters of the formulas.

    @takes(q="B H T d", k="B H S d", v="B H S e", mask="mask B H T S")
    def softmax_head_forward(q, k, v, mask=None): ...

    @undoes(SoftmaxHeadCache, "B H T e")
    def softmax_head_backward(do, cache): ...

A letter is the length of an axis. The first array that shows a letter fixes its value; where a
later one disagrees, the error names the first as the origin.

    "B H T d"         a floating array; "m or None": it may be left out
    "... n"           leading axes are free, and the same wherever "..." stands
    "mask B H T S"    boolean, True = may attend, broadcastable to these axes; or None
    "keep B T"        boolean, True = counts, of exactly this shape; or None
    "number >= 0"     a finite number, made Python's: NumPy's would turn float32 into float64
    "whole >= 1"      a whole number; "whole >= 1 or None" too
    a class           an instance of it; a configuration fixes the letters whose sizes it knows
    a function        called with (function, name, given); checks an argument and returns it

help() shows the declaration below the docstring. Arguments that have passed once are remembered, so
that the same shapes cost one look-up from then on.
"""

import inspect
import math
import sys
from collections.abc import Callable
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, get_type_hints

import numpy as np

from .backend import array_module, owner_of, plainly

if TYPE_CHECKING:  # NumPy's, or CuPy's with the same methods
    Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
else:
    Array = np.ndarray
Function = TypeVar("Function", bound=Callable[..., Any])

FLOATS = [np.dtype(name) for name in ("float32", "float64", "complex64", "complex128")]
PASSED: set = set()  # the types, shapes and dtypes that arrays() has found right
OUTPUT: dict = {}  # {class of a cache: a function from such a cache to the output's shape}


class ShapeError(ValueError):
    """An array does not have the shape that the formula needs."""


# --------------------------------------------------------------------------------- above a function


def takes(**declared) -> Callable[[Function], Function]:
    """A decorator that says what the arguments are; others are refused before the body runs."""
    texts = {name: what for name, what in declared.items() if isinstance(what, str)}
    floating = {n: t.removesuffix(" or None") for n, t in texts.items() if t.split()[0] not in SORTS}
    optional = tuple(n for n, t in texts.items() if t.endswith(" or None") or t.startswith(("mask", "keep")))
    classes = {name: what for name, what in declared.items() if isinstance(what, (type, tuple))}
    others = {name: what for name, what in declared.items() if name not in {*floating, *classes}}
    where = _find_letters(floating)

    def look_at(function, given):
        sizes = ()
        for name in classes:
            if name in given:
                instance(function, classes[name], **{name: given[name]})
                sizes += getattr(given[name], "known_sizes", ())
        arrays(function, floating, *map(given.get, floating), sizes=sizes, optional=optional)
        for name, what in others.items():
            if name not in given or (name in optional and given[name] is None):
                continue
            if name in texts:
                sort, *words = what.split()
                SORTS[sort](function, name, given[name], words, partial(_sizes, where, given.get))
                given[name] = float(given[name]) if sort == "number" else given[name]
            else:
                given[name] = what(function, name, given)

    alike = {text: ", ".join(n for n in texts if texts[n] == text) for text in texts.values()}
    said = "".join(f"\n    {names} : {_in_words(text)}" for text, names in alike.items())
    return partial(_behind, look_at, said and f"\n\nArguments, checked at each call:{said}\n")


def _in_words(text) -> str:
    """A declaration as help() shows it: B H T d becomes (B, H, T, d)."""
    sort, *words = text.removesuffix(" or None").split()
    shape = _tuple(words if sort in SORTS else [sort, *words])
    said = {
        "mask": f"bool, True = may attend, broadcastable to {shape}, or None",
        "keep": f"bool {shape}, True = counts, or None",
        "number": f"a finite {text}".removesuffix(" >= -inf"),
        "whole": f"a whole number {text.removeprefix('whole ')}",
    }
    return said.get(sort, shape + " or None" * text.endswith(" or None"))


def undoes(kind, output=None) -> Callable[[Function], Function]:
    """A decorator for a backward: whose cache it takes, and the axes of the gradient it is given.

    kind   : the cache's class, a NamedTuple whose fields carry their axes, as in
             A: Annotated[Array, "B H T S"]
    output : the axes of what forward returned, in letters of these fields; or the field that
             holds the shape itself, or the cache of the pair that made the output; None where the
             fields do not tell: then the gradient is not checked
    """
    shape_of = OUTPUT[kind] = _find_output(kind, output)

    def look_at(function, given):
        *dout, cache = given.values()
        # By name: in a notebook, a class may have been defined a second time.
        if type(cache).__name__ != kind.__name__:
            raise TypeError(f"{function}: cache is {type(cache).__name__}, expected the {kind.__name__} of its forward")
        # Arrays of two devices are an error, apart from integers, which may stay on the host.
        if len({type(a) for a in (*dout, *cache) if owner_of(a)}) > 1:
            array_module(*(a for a in (*dout, *cache) if owner_of(a) and a.dtype.kind in "fc"))
        if output:
            upstream(function, *dout, shape_of(cache))

    return partial(_behind, look_at, "")


def _behind(look_at, said, function) -> Any:
    """The function with its arguments looked at before each call; its docstring ends with said."""
    parameters = inspect.signature(function).parameters
    needed = {name for name, p in parameters.items() if p.default is p.empty}

    @wraps(function)
    def checked(*args, **keywords):
        given = dict(zip(parameters, args, strict=False))
        if keywords:
            given = {n: keywords.get(n, given.get(n)) for n in parameters if n in keywords or n in given}
        if len(given) < len(args) + len(keywords) or not needed <= given.keys():
            return function(*args, **keywords)  # Python says what is wrong with this call
        look_at(function.__name__, given)
        return function(**given)

    checked.__doc__ = function.__doc__ and inspect.cleandoc(function.__doc__) + said
    return checked


def _find_letters(axes):
    """{letter: (the first array that has it, where in its shape)}; "..." counts as a letter."""
    where = {}
    for name, text in axes.items():
        letters = text.split()
        n = len(letters) if letters[0] == "..." else 0  # then places are counted from the end
        for i, letter in enumerate(letters):
            start, stop = (0, 1 - n) if letter == "..." else (i - n, i - n + 1)
            where.setdefault(letter, (name, slice(start, stop or None)))
    return where


def _sizes(where, get, letters) -> tuple:
    """The shape that letters stand for, and where it comes from."""
    shape = tuple(n for letter in letters for n in get(where[letter][0]).shape[where[letter][1]])
    name, _ = where[letters[0]]
    return shape, f"{name} {get(name).shape}"


def _output_shape(made) -> tuple:
    """The shape that a cache says its output has; a shape itself as it is."""
    return OUTPUT[type(made)](made) if type(made) in OUTPUT else tuple(made)


def _find_output(kind, output):
    """A function from a cache to the shape of what its forward returned."""
    if output is None or output in kind._fields:
        return lambda cache: _output_shape(getattr(cache, output))
    hints = get_type_hints(kind, include_extras=True)
    where = _find_letters({name: h.__metadata__[0] for name, h in hints.items() if hasattr(h, "__metadata__")})
    return lambda cache: _sizes(where, partial(getattr, cache), output.split())[0]


# --------------------------------------------------------------------------------- what is checked


def arrays(function: str, axes: dict, *arrays, sizes: tuple = (), optional: tuple = ()):
    """Check that arrays are floating, on one device, and that their shapes agree letter by letter.

    axes     : {"q": "B H T d", "k": "B H S d"}, in the order of the arrays
    sizes    : letters that are known already, as (letter, value, where it comes from)
    optional : names that may be None
    """
    seen = [(type(a), getattr(a, "shape", None), getattr(a, "dtype", None)) for a in arrays]
    given = function, *axes.items(), sizes, optional, *seen
    if given in PASSED:
        return
    named = [(name, letters, a) for (name, letters), a in zip(axes.items(), arrays, strict=True)]
    named = [row for row in named if row[2] is not None or row[0] not in optional]
    for name, _, a in named:
        is_array(function, name, a)
    array_module(*arrays)
    bound = {letter: (value, origin) for letter, value, origin in sizes}
    for name, letters, a in named:
        floating(function, name, a.dtype)
        bound |= _bind(function, name, a.shape, letters.split(), bound)
    if len(PASSED) >= 4096:
        PASSED.clear()
    PASSED.add(given)


def _bind(function, name, shape, letters, bound):
    """{letter: (size, origin)} for the letters that one array shows first."""
    names = letters[1:] if letters[0] == "..." else letters
    tail = shape[len(shape) - len(names) :] if letters[0] == "..." else shape
    if len(tail) != len(names) or any(bound.get(n, (s,))[0] != s for n, s in zip(names, tail, strict=True)):
        raise ShapeError(_disagreement(function, name, shape, letters, bound))
    if 0 in shape:
        raise ShapeError(f"{function}: {name} is {shape}, an empty array; expected at least one element per axis")
    return {n: (s, f"{name} {shape}") for n, s in zip(names, tail, strict=True) if n not in bound}


def _disagreement(function, name, shape, letters, bound):
    wanted = _tuple([str(bound[n][0]) if n in bound else n for n in letters])
    origins = "; ".join(f"{n} comes from {bound[n][1]}" for n in dict.fromkeys(letters) if n in bound)
    return f"{function}: {name} is {shape}, expected {_tuple(letters)}" + (f" = {wanted}; {origins}" if origins else "")


def _tuple(words):
    return f"({', '.join(words)}{',' * (len(words) == 1)})"


def floating(function: str, name: str, dtype):
    """Check for float32 or float64, or complex numbers, as derivatives by a complex step need."""
    if dtype not in FLOATS:
        hint = "float16 loses the gradients" if dtype == "float16" else "convert with .astype('float32')"
        raise TypeError(f"{function}: {name} has dtype {dtype}, expected float32 or float64; {hint}")


def is_array(function: str, name: str, a):
    """Check for an array of NumPy or CuPy itself, not of a subclass."""
    if owner_of(a) is None:
        raise TypeError(f"{function}: {name} is {type(a).__name__}, expected an array; {plainly(a)}")


def mask(function: str, name: str, mask, shape: tuple):
    """Check for a boolean mask with as many axes as the scores, broadcastable to their shape."""
    is_array(function, name, mask)
    if mask.dtype.name != "bool":
        raise TypeError(f"{function}: {name} has dtype {mask.dtype}, expected bool, True = may attend")
    if mask.ndim != len(shape):
        hint = "; write mask[None, None] for one that every batch entry and head shares" if mask.ndim == 2 else ""
        raise ShapeError(
            f"{function}: {name} is {mask.shape}, expected {len(shape)} axes, broadcastable to {shape}{hint}"
        )
    if any(m not in (1, n) for m, n in zip(mask.shape, shape, strict=True)):
        raise ShapeError(f"{function}: {name} is {mask.shape}, expected a shape that broadcasts to the scores {shape}")


def keep(function: str, keep, shape: tuple, origin: str):
    """Check for a boolean keep, True = counts, with the shape of the targets or tokens."""
    is_array(function, "keep", keep)
    if keep.dtype.name != "bool":
        raise TypeError(f"{function}: keep has dtype {keep.dtype}, expected bool, True = counts")
    if keep.shape != shape:
        raise ShapeError(f"{function}: keep is {keep.shape}, expected {shape}; it comes from {origin}")


def upstream(function: str, dout, shape: tuple):
    """Check that the upstream gradient is floating and has the shape of what forward returned."""
    given = type(dout).__name__ if owner_of(dout) is None else dout.shape
    if given != shape:
        raise ShapeError(
            f"{function}: the upstream gradient is {given}, "
            f"expected an array {shape}, the shape of what forward returned"
        )
    floating(function, "the upstream gradient", dout.dtype)


def instance(function: str, kind, **values):
    """Check for instances of a class, of one that extends it, or of one of several."""
    for name, value in values.items():
        if not isinstance(value, kind):
            names = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
            what = "the class itself" if isinstance(value, type) else type(value).__name__
            raise TypeError(f"{function}: {name} is {what}, expected an instance of {names}")


def number(function: str, low=-math.inf, high=math.inf, **values):
    """Check for finite numbers between two bounds."""
    plain = {name: x.item() if isinstance(x, np.generic) else x for name, x in values.items()}  # float32 would overflow
    for name, value in plain.items():
        number = isinstance(value, (int, float, np.floating)) and not isinstance(value, bool)
        if not (number and abs(value) <= sys.float_info.max and low <= value <= high):  # nan is not
            within = f", {low:g} <= {name} <= {high:g}" if (low, high) != (-math.inf, math.inf) else ""
            raise ValueError(f"{function}: {name} is {value!r}, expected a finite number{within}")


def whole(function: str, least: int = 1, **values):
    """Check for whole numbers, none below the least or beyond what 64 bits hold."""
    for name, value in values.items():
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or not least <= value < 2**63:
            raise ValueError(
                f"{function}: {name} is {value!r}, expected a whole number of at least {least}, below 2**63"
            )


SORTS = {  # the first word of a declaration, and what looks at the argument
    "mask": lambda function, name, a, letters, sizes: mask(function, name, a, sizes(letters)[0]),
    "keep": lambda function, name, a, letters, sizes: keep(function, a, *sizes(letters)),
    "number": lambda function, name, a, words, sizes: number(function, *map(float, words[1:]), **{name: a}),
    "whole": lambda function, name, a, words, sizes: whole(function, int(words[1]), **{name: a}),
}
