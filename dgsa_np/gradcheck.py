"""Is a handwritten gradient right, and if not, what kind of mistake is it?

This file knows only arrays and functions, its reader's as well as the project's. A pair x_forward, x_backward
is checked along a random upstream gradient: an upstream of ones is blind wherever the outputs have a constant
sum, softmax among them.

The verdict is a complex step's, exact to rounding. Where it cannot see the slope (abs, var, linalg.norm, a
buffer of real numbers, another library), central differences judge, by what they tell of their own error.
"""

import inspect
import math
import warnings
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from . import check, shapes
from .backend import array_module, owner_of, to_numpy
from .diagnosis import UNCHECKED, diagnose
from .params import leaves, replace_leaf

TOLERANCE = {"complex": 1e-12, "central": 1e-7}
SURE = 10  # an estimate of an error is trusted to so many times its size
ROUGH = 0.1  # of the gradient: where a central difference is trusted to no better than this, it judges nothing


class GradientError(AssertionError):
    """A pair breaks the convention, or its gradient is wrong."""


class Result(NamedTuple):
    argument: str
    shape: tuple
    error: float  # |analytic - numeric| / max|numeric|, of the element that is furthest from what it is allowed
    tolerance: float  # what that element is allowed
    message: str  # what diagnose says; empty where the gradient is right
    method: str  # "complex", or "central" where that was asked for or the forward is not analytic
    doubt: float  # what central differences estimate their own error to be, in the same units as error

    def __repr__(self):
        verdict = f"right to {self.error:.1e}" if self.ok else f"error {self.error:.1e}, {self.message}"
        return f"{self.argument} {self.shape}: {verdict} ({self.method}, allowed {self.tolerance:.0e})"

    @property
    def ok(self):
        return self.error <= self.tolerance

    @property
    def checked(self):
        """Or was there nothing to compare with? Then it is not ok, and not wrong either."""
        return UNCHECKED not in self.message


# ----------------------------------------------------------------------------------- numeric derivatives


def central_difference(f, x, h=1e-5, directions=None):
    """The gradient of a number f(x), as it is taught.                        [eq:central-difference, standard]

        df/dx_i = (f(x + h e_i) - f(x - h e_i)) / (2 h) + O(h^2)

    x          : any shape, float64; h in the units of x
    directions : (n, *x.shape), to get n slopes along these instead of all of the gradient
    returns the gradient, shaped like x, or (n,) slopes
    """
    _check_slopes("central_difference", f, x, h)
    return _slopes(lambda e: (float(f(x + h * e)) - float(f(x - h * e))) / (2 * h), x, directions)


def complex_step(f, x, h=1e-30, directions=None):
    """The gradient of a number f(x) without cancellation, exact to rounding.   [eq:complex-step, standard]

        df/dx_i = Im f(x + i h e_i) / h

    f must be analytic: no abs, no conj, and comparisons on the real part alone. Arguments as above.
    """
    _check_slopes("complex_step", f, x, h)
    return _slopes(lambda e: float(f(x + 1j * h * e).imag) / h, x, directions)


def _adaptive_difference(f, x, directions=None, noise=None):
    """Central differences with a step for each slope, and the error that they see in themselves.

    From the smallest step up, each ten times the last, for as long as they agree within rounding: so neither a kink
    nor an x far from 0 is stepped over, and what larger steps gain in precision is used.

    x          : any shape
    directions : as above
    noise      : the rounding error of f, in its units; None looks for it
    returns the gradient, shaped like x, or (n,) slopes, and an estimate of the error of each
    """
    if noise is None:
        noise = _noise(lambda t: f(x + t * _size(x)), float(abs(f(x))) * np.finfo("float64").eps)

    def slope(e):
        def difference(h):
            there, back = x + h * e, x - h * e
            step = float(((there - back) * e).sum() / (e * e).sum())  # as it is after rounding
            return (_number(f, there) - _number(f, back)) / step

        return _agreed(difference, _size(x) / float(abs(e).max()), noise)

    both = _slopes(slope, x, directions)
    return both[..., 0], both[..., 1]


def _check_slopes(function, f, x, h):
    shapes.instance(function, Callable, f=f)
    shapes.arrays(function, {"x": "..."}, x)
    shapes.number(function, low=1e-300, h=h)


def _slopes(slope, x, directions):
    """The slope along every element, or along the directions."""
    if directions is not None:
        return np.array([slope(e) for e in directions])
    places = array_module(x).arange(x.size).reshape(x.shape)
    found = np.array([slope(1.0 * (places == i)) for i in range(x.size)])
    return found.reshape((*x.shape, *found.shape[1:]))


def _agreed(difference, reach, noise):
    """The slope from the largest step that agrees with the smaller ones, and its error."""
    steps = reach * 10.0 ** np.arange(-12, 0)
    slope, error = difference(steps[0]), noise / steps[0]
    for smaller, h in pairwise(steps):
        larger, rounding = difference(h), noise / smaller
        if not abs(larger - slope) <= SURE * rounding or error <= 1e-9 * abs(slope):
            break
        slope, error = larger, max(abs(larger - slope), rounding)
    return slope, error if math.isfinite(slope) else math.inf


def _number(f, x):
    """f(x), or nan where x has left its domain: a step may make the argument of a logarithm negative."""
    try:
        with np.errstate(all="ignore"):
            return float(f(x))
    except (ArithmeticError, ValueError):  # numpy's LinAlgError is one
        return math.nan


def _noise(f, least):
    """What rounding does to the numbers f(t) around t = 0: the third differences of seven of them, a tiny step apart.

    What is computed in single precision stands still under too small steps; the step grows until the numbers differ.
    """
    for delta in 10.0 ** np.arange(-14, -6):
        if len({_number(f, k * delta) for k in range(-3, 4)}) > 3:
            break
    with np.errstate(invalid="ignore"):
        third = abs(np.diff([_number(f, 100 * k * delta) for k in range(-3, 4)], 3))
    return max(least, float(third.max(where=np.isfinite(third), initial=0.0)) / math.sqrt(20))


def _size(x):
    """The largest number of x, to measure steps and slopes by; 1 where all of it is 0."""
    return float(abs(x).max()) or 1.0


# ------------------------------------------------------------------------------- a pair and its arguments


class _Pair(NamedTuple):
    """A forward, a backward and arguments, whoever wrote them.

    forward gives out and a cache, or out alone; backward takes the gradient of out and the cache. Without a cache it
    takes that gradient and, if it wants them, the arguments. A loss may have a backward that takes no gradient.
    """

    forward: Callable
    backward: Callable
    args: tuple
    names: tuple  # of the arguments
    arrays: dict  # {path: array}, all of them; the first key of a path is the number of the argument
    leaves: dict  # {path: array}, those that have a gradient

    def label(self, path):
        """p.W_q, p[0], p['attn.W']."""
        keys = (f".{k}" if str(k).isidentifier() else f"[{k!r}]" for k in path[1:])
        return self.names[path[0]] + "".join(keys)

    def run(self, exchanged=None):
        """out, and the tuple of the cache, if there is one; with some leaves exchanged, {path: array}."""
        args = self.args
        for path, leaf in (exchanged or {}).items():
            args = replace_leaf(args, path, leaf)
        result = self.forward(*args)
        out, *cache = result if isinstance(result, tuple) else (result,)
        out = np.asarray(out) if isinstance(out, (int, float, complex)) else out
        kinds = "fc" if exchanged else "f"
        if len(cache) > 1 or owner_of(out) is None or out.dtype.kind not in kinds:
            what = f"{len(cache) + 1} results" if len(cache) > 1 else _described(out)
            wanted = "a real floating array, or (array, cache)"
            given = [f"; {self.label(path)} is complex" for path, a in self.arrays.items() if a.dtype.kind == "c"]
            who = f"check_pair: {_name_of(self.forward)}"
            raise TypeError(f"{who} returned {what}, expected {wanted}{''.join(given)}")
        return out, tuple(cache)

    def gradients(self, dout, cache):
        """{path: gradient}, one for each leaf."""
        who, upstream = _name_of(self.backward), dout.copy()
        given, times = self._what_backward_takes(upstream, cache)
        grads = self.backward(*given)
        if not same_bits(upstream, dout):
            raise GradientError(f"{who} changed the upstream gradient; work on a copy")
        heads = list(dict.fromkeys(path[0] for path in self.leaves))
        flat = leaves(dict(zip(heads, self._one_for_each(heads, grads), strict=True)))
        flat = {path: g for path, g in flat.items() if path in self.leaves or path not in self.arrays}
        if flat.keys() != self.leaves.keys():
            given, expected = (sorted(map(self.label, paths)) for paths in (flat, self.leaves))
            raise GradientError(f"{who} returns gradients of {given}, expected {expected}")
        return {path: flat[path] if times is None else flat[path] * times for path in self.leaves}

    def _what_backward_takes(self, dout, cache):
        """Its arguments, and what to multiply its result with, if it does not know of the gradient of out."""
        wanted = _n_parameters(self.backward)
        loss = dout.ndim == 0
        if cache:
            return (cache, dout) if loss and wanted == 1 else ((dout, *cache), None)
        if _takes(self.backward, dout, *self.args):
            return (dout, *self.args), None
        return (self.args, dout) if loss and _takes(self.backward, *self.args) else ((dout,), None)

    def _one_for_each(self, heads, grads):
        """The gradients as a tuple; of those that came for data and for what is left out nothing is asked."""
        several = type(grads) is tuple or (isinstance(grads, (tuple, list)) and len(heads) > 1)
        grads = grads if several else (grads,)
        floats = dict.fromkeys(path[0] for path, a in self.arrays.items() if a.dtype.kind == "f")
        for places in (heads, floats, range(len(self.args))):
            if len(grads) == len(places):
                return [g for i, g in zip(places, grads, strict=True) if i in heads]
        names, who = ", ".join(self.names[i] for i in heads), _name_of(self.backward)
        data = {path[0]: a.dtype for path, a in self.arrays.items() if len(path) == 1 and a.dtype.kind != "f"}
        none = "".join(f"; {self.names[i]} is {dtype} and gets none" for i, dtype in data.items())
        more = "; name what is data in without" if len(grads) < len(heads) else ""
        raise GradientError(f"{who} returns {len(grads)} gradients, expected {len(heads)}, for {names}{none}{more}")


def _make_pair(forward, backward, args, without=()) -> _Pair:
    """Any callables and any nesting of arguments; raises TypeError for what cannot be checked."""
    args = tuple(args)
    pair = _Pair(forward, backward, args, _argument_names(forward, args), {}, {})
    for path, a in leaves(args).items():
        _check_no_hidden_arrays(pair.label(path), a, without)
        if hasattr(a, "dtype") and not isinstance(a, np.generic):  # a number of NumPy's is an option
            if owner_of(a) is None and hasattr(a, "numpy"):
                how = "forward is given NumPy's, for torch.from_numpy, and returns y.detach().numpy()"
                raise TypeError(f"check_pair: {pair.label(path)} is {type(a).__name__}, expected an array: {how}")
            shapes.is_array("check_pair", pair.label(path), a)
            pair.arrays[path] = a
    known = {*pair.names, *map(pair.label, pair.arrays)}
    if unknown := [name for name in without if name not in known]:
        raise ValueError(f"check_pair: without holds {unknown[0]!r}, expected names among {', '.join(sorted(known))}")
    left_out = {path for path in pair.arrays if {pair.names[path[0]], pair.label(path)} & set(without)}
    pair.leaves.update({p: a for p, a in pair.arrays.items() if a.dtype.kind == "f" and p not in left_out})
    for path, a in pair.leaves.items():
        if a.dtype != "float64" or not a.size:
            expected = "an array that is not empty" if not a.size else "float64: single precision hides small mistakes"
            raise TypeError(f"check_pair: {pair.label(path)} is {_described(a)}, expected {expected}")
        _check_finite(f"check_pair: {pair.label(path)}", a, "nothing can be compared there")
    if not pair.leaves:
        given = f"{', '.join(pair.names) or 'no argument'} without a float64 array"
        raise TypeError(f"check_pair: args hold {given}, expected one to differentiate")
    return pair


def _check_no_hidden_arrays(label, a, without):
    """Of an object's attributes nothing would be checked."""
    held = [name for name, x in getattr(a, "__dict__", {}).items() if owner_of(x) and x.dtype.kind == "f"]
    if held and label not in without:
        what = f"{label} is {type(a).__name__}, and {held[0]} in it would not be checked"
        raise TypeError(f"check_pair: {what}, expected a dict or NamedTuple, or its name in without")


def _name_of(f) -> str:
    """Of a function, a method, a partial or an object that can be called."""
    return getattr(f, "__name__", None) or getattr(getattr(f, "func", None), "__name__", type(f).__name__)


def _argument_names(forward, args):
    """As forward calls them; by number where it does not say."""
    try:
        signature = inspect.signature(forward)
    except (TypeError, ValueError):  # written in C
        return tuple(f"argument {i}" for i in range(len(args)))
    try:
        signature.bind(*args)
    except TypeError as error:
        raise TypeError(f"check_pair: {_name_of(forward)} does not take the {len(args)} args given: {error}") from None
    names = []
    for p in signature.parameters.values():
        if p.kind is p.VAR_POSITIONAL:
            names += [f"{p.name}[{i}]" for i in range(len(args) - len(names))]
        elif p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD):
            names.append(p.name)
    return tuple(names[: len(args)])


def _n_parameters(f):
    """How many arguments a function must be given."""
    try:
        parameters = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):
        return 2
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty for p in parameters)


def _takes(f, *args):
    """Can it be called so?"""
    try:
        inspect.signature(f).bind(*args)
    except (TypeError, ValueError):
        return False
    return True


def _described(x):
    return f"{x.dtype} {x.shape}" if owner_of(x) else type(x).__name__


# ---------------------------------------------------------------------------------------- checking a pair


def check_pair(forward, backward, args, **options):
    """Check a pair as compare_pair does; returns its list of Results, or raises GradientError with what is wrong."""
    results = compare_pair(forward, backward, args, **options)
    wrong = [r for r in results if not r.ok]
    if wrong:
        said = [f"\n  {r.argument} {r.shape}: error {r.error:.1e} > {r.tolerance:.0e}: {r.message}" for r in wrong]
        verdict = "is wrong" if any(r.checked for r in wrong) else "cannot be checked"
        what = f"{verdict} in {len(wrong)} of {len(results)} gradients"
        raise GradientError(f"{_name_of(backward)} {what}:{''.join(said)}")
    return results


def compare_pair(
    forward, backward, args, method="auto", tolerance=None, n_directions=None, seed=0, sizes=None, without=()
):
    """The gradients of one pair against numeric ones, along a random upstream gradient.

    forward, backward : any callables. forward gives out and a cache, or out alone; backward takes the gradient of
                   out and the cache. Without a cache it takes that gradient and, if it wants them, the arguments; of a
                   loss it may take the cache, or the arguments, alone
    args         : what forward takes: arrays, nested dicts of arrays, masks, options; the real arrays are
                   differentiated and must be float64
    method       : "auto" takes the complex step (tolerance 1e-12) and, with a warning, central differences where the
                   forward is not analytic; "central" takes those (tolerance 1e-7, and 10 times the error that they
                   estimate of themselves), and lets a complex step decide where they disagree; "complex" raises where
                   the forward is not analytic. To each comes what rounding is seen to do to the gradients close by
    tolerance    : another one than that
    n_directions : None differentiates along every element; a number, along so many random directions
    seed         : of the upstream gradient and the directions, in a stream of their own
    sizes        : {"d": 4}, so that a factor can be told to be sqrt(d)
    without      : names of arguments that are data and have no gradient, or of parameters, "p.b_k"
    returns a list of Results, one per array
    raises  GradientError if a shape or dtype differs, a number is not finite, an argument is changed, or a second call
            gives another result; TypeError for arguments that cannot be checked
    """
    shapes.instance("check_pair", Callable, forward=forward, backward=backward)
    shapes.instance("check_pair", (tuple, list), args=args, without=without)
    check.one_of("check_pair", "method", method, ("auto", *TOLERANCE))
    shapes.whole("check_pair", 0, seed=seed, **({} if n_directions is None else {"n_directions": n_directions}))
    shapes.number("check_pair", 0, **({} if tolerance is None else {"tolerance": tolerance}))
    pair = _make_pair(forward, backward, args, without)
    before = {path: to_numpy(a).copy() for path, a in pair.arrays.items()}
    out, cache = pair.run()
    _check_finite(f"{_name_of(forward)}: its result", out, "no slope can be had")
    dout, rng = _upstream(pair, out, seed)
    grads = {path: g.copy() if owner_of(g) else g for path, g in pair.gradients(dout, cache).items()}
    _check_shapes(pair, grads)
    _check_purity(pair, (out, cache, dout, grads), before)
    look = _look_around(pair, out, cache, dout, rng)
    if not look.analytic and method == "complex":
        raise GradientError(f"{_not_analytic(pair)}; take method='central'")
    directions = {path: _random_directions(x, n_directions, rng) for path, x in pair.leaves.items()}
    judges = ["complex"] if method != "central" else ["central", "complex"]
    judges = judges if look.analytic else ["central"]
    for judge in judges:  # where central differences disagree with a gradient, the complex step has the last word
        results = _judge(pair, dout, out, grads, judge, look, directions, tolerance, sizes)
        if all(r.ok for r in results):
            break
    if not look.analytic and method == "auto":
        sharp = max(r.tolerance for r in results)
        warnings.warn(f"{_not_analytic(pair)}; central differences judge, to {sharp:.0e} of a gradient", stacklevel=3)
    return results


def _upstream(pair, out, seed):
    """A random gradient of out, and the generator that it came from, which is nobody else's.

    Arguments come from default_rng(0) more often than not. Would the gradient too, they would be equal, and a backward
    that takes one for the other would pass.
    """
    rng = np.random.default_rng([seed, *b"upstream"])
    while True:
        dout = _random_like(out, rng)
        if not any(_parallel(to_numpy(dout), to_numpy(a)) for a in (out, *pair.arrays.values())):
            return dout, rng


def _parallel(a, b):
    if a.size != b.size or b.dtype.kind not in "fc" or not np.isfinite(b).all():
        return False
    a, b = a.ravel(), b.ravel()
    cosine = abs(np.vdot(a, b)) / (np.linalg.norm(a) * np.linalg.norm(b) or 1.0)
    return bool(a[0] == b[0]) if a.size == 1 else bool(cosine > 0.999999)


def _loss(pair, dout, exchanged):
    """The number whose gradient backward gives."""
    return (dout * pair.run(exchanged)[0]).sum()


class Surroundings(NamedTuple):
    """How far numbers can be trusted near the arguments."""

    analytic: bool  # does a complex step see the whole slope?
    noise: float  # what rounding does to the loss
    noise_of: dict  # {path: what it does to the gradients of backward}


def _look_around(pair, out, cache, dout, rng):
    """Along a random line of all leaves together."""
    step = {path: _size(x) * _random_like(x, rng) for path, x in pair.leaves.items()}

    def moved(t):
        return {path: x + t * step[path] for path, x in pair.leaves.items()}

    def loss(t):
        return _loss(pair, dout, moved(t))

    least = float(abs(dout * out).sum()) * float(np.finfo(out.dtype).eps)
    noise = _noise(loss, least)
    analytic = out.dtype == "float64" and _sees_all(loss, noise)
    near = [pair.gradients(dout, pair.run(moved(1e-6 * k))[1]) for k in range(-3, 4)]
    held = [a for a in leaves((out, cache, pair.args)).values() if owner_of(a) and a.dtype.kind == "f" and a.size]
    sizes = [size for size in map(_size, held) if math.isfinite(size)]
    most = 1e-14 * _size(dout) * max(sizes)  # double precision does no more, single does
    noise_of = {path: min(most, _scatter([to_numpy(g[path]) for g in near])) for path in pair.leaves}
    return Surroundings(analytic, noise, noise_of)


def _scatter(arrays):
    """What rounding does to arrays that follow each other closely. A jump, at a kink, is not rounding."""
    third = abs(np.diff(np.stack(arrays), 3, axis=0)) / math.sqrt(20)
    small = third <= 1e-3 * _size(arrays[3])  # nan is not
    return float(third.max(where=small, initial=0.0))


def _sees_all(loss, noise):
    """Is the slope of the complex step that of central differences? nan is not, and doubt does not count as yes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that an imaginary part is thrown away is what is looked for
            seen = float(loss(1e-30j).imag) / 1e-30
    except Exception:  # whatever stands in the way of complex numbers
        return False
    slope, error = _agreed(lambda h: (_number(loss, h) - _number(loss, -h)) / (2 * h), 1.0, noise)
    sure = SURE * error <= ROUGH * abs(seen) or seen == slope
    return bool(sure and abs(seen - slope) <= SURE * error + 1e-9 * abs(slope))


def _not_analytic(pair):
    likely = "abs, var, linalg.norm, a buffer of real numbers, single precision, or another library such as PyTorch"
    return f"check_pair: {_name_of(pair.forward)} is not analytic, a complex step cannot follow it ({likely}?)"


def _judge(pair, dout, out, grads, method, look, directions, tolerance, sizes):
    """A Result for each leaf, by one of the numeric derivatives."""
    compared = {p: _compare(pair, dout, p, grads[p], method, look, directions[p]) for p in pair.leaves}
    varying = float(abs(dout * (out - (out.mean() if out.size > 1 else 0))).sum())
    results = []
    for path, x in pair.leaves.items():
        others = {pair.label(p): c.numeric for p, c in compared.items() if p != path and directions[p] is None}
        floor = max(compared[path].noise, 1e-15 * varying / _size(x))  # what rounding leaves of a slope that is 0
        explain = partial(diagnose, sizes=sizes, vacuous=floor, name=pair.label(path), others=others)
        error, allowed, message = _verdict(compared[path], TOLERANCE[method], tolerance, floor, explain)
        doubt = float(compared[path].doubt.max()) / _size(compared[path].numeric)
        results.append(Result(pair.label(path), x.shape, error, allowed, message, method, doubt))
    return results


class Compared(NamedTuple):
    numeric: object  # the gradient, or slopes along directions
    analytic: object  # the same of what backward gave
    doubt: object  # the error that central differences see in themselves, of each number
    noise: float  # what rounding may do to what backward gave


def _compare(pair, dout, path, grad, method, look, directions):
    def loss(x):
        return _loss(pair, dout, {path: x})

    x, analytic, noise = pair.leaves[path], to_numpy(grad), SURE * look.noise_of[path]
    if method == "complex":
        numeric, doubt = complex_step(loss, x, directions=directions), np.zeros(())
    else:
        numeric, doubt = _adaptive_difference(loss, x, directions, look.noise)
    if directions is not None:
        analytic = np.array([(analytic * to_numpy(e)).sum() for e in directions])
        noise *= math.sqrt(x.size)
    return Compared(numeric, analytic, doubt, noise)


def _verdict(c, usual, tolerance, floor, explain):
    """Error and allowance of the element that is worst beside what it is allowed, and what is to be said."""
    size = _size(c.numeric)
    allowed = usual + (c.noise + SURE * c.doubt) / size if tolerance is None else tolerance
    allowed = np.broadcast_to(allowed, c.numeric.shape)
    errors = abs(c.analytic - c.numeric) / size
    errors = np.where(np.isnan(errors), math.inf, errors)
    worst = np.unravel_index((errors - allowed).argmax(), errors.shape)
    error, may, rough = float(errors[worst]), float(allowed[worst]), float(allowed.max())
    if not c.numeric.any() or size <= floor:
        return math.inf, may, explain(c.numeric, c.analytic).message
    if error <= may and rough > ROUGH and tolerance is None:
        return math.inf, may, f"numeric slopes know it to {rough:.0e} only, {UNCHECKED}"
    close = max(1e-6, min(may, ROUGH))
    return error, may, "" if error <= may else explain(c.numeric, c.analytic, tolerance=close).message


def relative_error(a, b, floor=0.0) -> float:
    """max|a - b| / max|b|; infinite where the reference b is all but zero, since then nothing is checked."""
    a, b = np.asarray(to_numpy(a)), np.asarray(to_numpy(b))
    largest = abs(b).max(initial=0.0)
    if a.shape != b.shape or not largest > floor:
        return math.inf
    error = float(abs(a - b).max() / largest)
    return error if math.isfinite(error) else math.inf


def _check_finite(what, a, so):
    host = to_numpy(a)
    if not np.isfinite(host).all():
        place = tuple(map(int, np.argwhere(~np.isfinite(host))[0]))
        raise GradientError(f"{what} is {host[place]} at index {place}: {so}; choose other inputs")


def _check_shapes(pair, grads):
    for path, x in pair.leaves.items():
        g, name = grads[path], pair.label(path)
        if getattr(g, "shape", None) != x.shape or g.dtype != x.dtype:
            what = f"{_described(g)}, expected {x.dtype} {x.shape}"
            raise GradientError(f"{_name_of(pair.backward)}: the gradient of {name} is {what}, as {name} itself")


def _check_purity(pair, first, before):
    """Nothing that the caller owns is changed, and a second call gives the same as the first, but for rounding."""
    out, cache, dout, grads = first
    forward, backward = _name_of(pair.forward), _name_of(pair.backward)
    for path, x in pair.arrays.items():
        if not same_bits(x, before[path]):
            raise GradientError(f"{forward} or {backward} changed its argument {pair.label(path)}; work on a copy")
    if not _same_to_rounding(pair.run()[0], out):
        raise GradientError(f"{forward}: a second call gives another result; does it keep state?")
    again = _gradients_again(pair, dout, cache)
    if not all(_same_to_rounding(again[path], g) for path, g in grads.items()):
        raise GradientError(f"{backward}: a second call gives another result; does it change the cache?")


def _gradients_again(pair, dout, cache):
    """From the same cache, or where that serves once only (PyTorch frees its graph) from a new one."""
    try:
        return pair.gradients(dout, cache)
    except GradientError:
        raise
    except Exception:
        return pair.gradients(dout, pair.run()[1])


def _same_to_rounding(a, b):
    """Bits may differ where a library adds in an order of its own."""
    return same_bits(a, b) or relative_error(a, b) <= 100 * float(np.finfo(b.dtype).eps)


def same_bits(a, b) -> bool:
    """Equal shapes, dtypes and bytes."""
    a, b = to_numpy(a), to_numpy(b)
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def _random_like(x, rng):
    return array_module(x).asarray(rng.standard_normal(x.shape))


def _random_directions(x, n, rng):
    """n directions of length 1, so that h means the same step along a direction as along an element."""
    directions = [_random_like(x, rng) for _ in range(n or 0)]
    return [e / float((e * e).sum()) ** 0.5 for e in directions] or None
