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
from typing import NamedTuple

import numpy as np

from . import check
from .backend import array_module, owner_of, to_numpy
from .diagnosis import UNCHECKED, diagnose
from .params import leaves, replace_leaf, tree_map

TOLERANCE = {"complex": 1e-12, "central": 1e-7}
SURE = 10  # a central difference is trusted to so many times the error that it estimates of itself
ROUGH = 0.1  # of the gradient: where it is trusted to no better than this, it judges nothing


class GradientError(AssertionError):
    """A pair breaks the convention, or its gradient is wrong."""


class Result(NamedTuple):
    argument: str
    shape: tuple
    error: float  # max|analytic - numeric| / max|numeric|
    tolerance: float
    message: str  # what diagnose says; empty where the gradient is right
    method: str  # "complex", or "central" where that was asked for or the forward is not analytic
    doubt: float  # what central differences estimate their own error to be, in the same units as error

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
    return _slopes(lambda e: _difference(lambda t: f(x + t * e), h), x, directions)


def complex_step(f, x, h=1e-30, directions=None):
    """The gradient of a number f(x) without cancellation, exact to rounding.   [eq:complex-step, standard]

        df/dx_i = Im f(x + i h e_i) / h

    f must be analytic: no abs, no conj, and comparisons on the real part alone. Arguments as above.
    """
    _check_slopes("complex_step", f, x, h)
    return _slopes(lambda e: float(f(x + 1j * h * e).imag) / h, x, directions)


def extrapolated_difference(f, x, directions=None, noise=None):
    """Central differences at several steps, extrapolated to none, and what they leave open.   [eq:ridders, standard]

        D(h) = D + c_1 h^2 + c_2 h^4 + ..,   (100 D(h/10) - D(h)) / 99 = D + O(h^4),   and so on

    x          : any shape; the steps follow its size, from a tenth down
    directions : as above
    noise      : the rounding error of f, in its units; None takes that of one rounding of f(x)
    returns the gradient, shaped like x, or (n,) slopes, and an estimate of the error of each
    """
    _check_slopes("extrapolated_difference", f, x, 1.0)
    largest = _largest(x)
    noise = float(abs(f(x))) * np.finfo("float64").eps if noise is None else noise

    def slope(e):
        reach = max(float(abs(x * (e != 0)).max()), 0.1 * largest) / float(abs(e).max())
        return _ridders(lambda t: f(x + t * e), reach, noise)

    both = _slopes(slope, x, directions, parts=2)
    return both[..., 0], both[..., 1]


def _check_slopes(function, f, x, h):
    check.instance(function, Callable, f=f)
    check.arrays(function, {"x": "..."}, x)
    check.number(function, low=1e-300, h=h)


def _slopes(slope, x, directions, parts=1):
    """The slope along every element, or along the directions; parts numbers each."""
    places = array_module(x).arange(x.size).reshape(x.shape)
    along = (1.0 * (places == i) for i in range(x.size)) if directions is None else directions
    found = np.array([slope(e) for e in along])
    more = (parts,) if parts > 1 else ()
    return found.reshape((*x.shape, *more) if directions is None else (len(found), *more))


def _difference(f, h):
    return (float(f(h)) - float(f(-h))) / (2 * h)


def _ridders(f, reach, noise):
    """The slope of f at 0, and its error: of all extrapolations the one that agrees best with those it is made of.

    noise : what rounding is known to do to f at least; a difference over a tiny step shows if it does more.
    What contradicts a surer slope of larger steps is not believed: f in float32 stands still under small steps, and
    all differences agree that the slope is 0.
    """
    best, error, step, row = math.nan, math.inf, reach, []
    with np.errstate(all="ignore"):  # a step may leave the domain of a logarithm
        for h in reach * 10.0 ** -np.arange(1, 8):
            new = [_difference(f, h)]
            for j, before in enumerate(row):
                new.append(new[j] + (new[j] - before) / (100 ** (j + 1) - 1))
                spread = max(abs(new[-1] - new[-2]), abs(new[-1] - before)) + noise / h
                if spread < error and not abs(new[-1] - best) > SURE * error:
                    best, error, step = new[-1], spread, h
            row = new
            if error <= 1e-9 * abs(best):
                break
        tiny = 1e-5 * reach
        seen = abs(_difference(f, tiny) - best) * tiny
    return best, float(np.fmax(error, seen / step))


# ------------------------------------------------------------------------------- a pair and its arguments


class Pair(NamedTuple):
    """A forward, a backward and arguments, whoever wrote them.

    forward gives out and a cache, or out alone; backward takes the gradient of out and the cache. Without a cache it
    takes that gradient and, if it wants them, the arguments; a loss may have a backward of the cache alone.
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
        if len(cache) > 1 or owner_of(out) is None or out.dtype.kind not in "fc":
            what = f"{len(cache) + 1} results" if len(cache) > 1 else _described(out)
            wanted = "a floating array, or (array, cache)"
            raise TypeError(f"check_pair: {name_of(self.forward)} returned {what}, expected {wanted}")
        return out, tuple(cache)

    def gradients(self, dout, cache):
        """{path: gradient}, one for each leaf."""
        who, upstream, wanted = name_of(self.backward), dout.copy(), _n_parameters(self.backward)
        if cache and wanted == 1 and dout.ndim == 0:
            grads = tree_map(lambda g: g * dout, self.backward(*cache))
        elif cache or wanted != 1 + len(self.args):
            grads = self.backward(upstream, *cache)
        else:
            grads = self.backward(upstream, *self.args)
        if not same_bits(upstream, dout):
            raise GradientError(f"{who} changed the upstream gradient; work on a copy")
        heads = list(dict.fromkeys(path[0] for path in self.leaves))
        flat = leaves(dict(zip(heads, self._one_for_each(heads, grads), strict=True)))
        if flat.keys() != self.leaves.keys():
            given, expected = (sorted(map(self.label, paths)) for paths in (flat, self.leaves))
            raise GradientError(f"{who} returns gradients of {given}, expected {expected}")
        return {path: flat[path] for path in self.leaves}

    def _one_for_each(self, heads, grads):
        """The gradients as a tuple; where there is one for every argument, those of data must be None."""
        if type(grads) is not tuple and not (type(grads) is list and len(heads) > 1):
            grads = (grads,)
        if len(grads) == len(self.args) and all(g is None or i in heads for i, g in enumerate(grads)):
            grads = [grads[i] for i in heads]
        if len(grads) != len(heads):
            names = ", ".join(self.names[i] for i in heads)
            who = name_of(self.backward)
            raise GradientError(f"{who} returns {len(grads)} gradients, expected {len(heads)}, for {names}")
        return grads


def make_pair(forward, backward, args, without=()) -> Pair:
    """Any callables and any nesting of arguments; raises TypeError for what cannot be checked."""
    args = tuple(args)
    pair = Pair(forward, backward, args, _argument_names(forward, args), {}, {})
    for path, a in leaves(args).items():
        if hasattr(a, "dtype"):
            check.is_array("check_pair", pair.label(path), a)
            pair.arrays[path] = a
    differentiated = (p for p, a in pair.arrays.items() if a.dtype.kind == "f" and pair.names[p[0]] not in without)
    pair.leaves.update({path: pair.arrays[path] for path in differentiated})
    for path, a in pair.leaves.items():
        if a.dtype != "float64":
            expected = "expected float64: single precision hides small mistakes"
            raise TypeError(f"check_pair: {pair.label(path)} is {a.dtype}, {expected}")
        _check_finite(f"check_pair: {pair.label(path)}", a, "nothing can be compared there")
    if not pair.leaves:
        given = f"{', '.join(pair.names) or 'no argument'} without a float64 array"
        raise TypeError(f"check_pair: args hold {given}, expected one to differentiate")
    return pair


def name_of(f) -> str:
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
        raise TypeError(f"check_pair: {name_of(forward)} does not take the {len(args)} args given: {error}") from None
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
        raise GradientError(f"{name_of(backward)} {what}:{''.join(said)}")
    return results


def compare_pair(
    forward, backward, args, method="auto", tolerance=None, n_directions=None, seed=0, sizes=None, without=()
):
    """The gradients of one pair against numeric ones, along a random upstream gradient.

    forward, backward : any callables, see Pair
    args         : what forward takes: arrays, nested dicts of arrays, masks, options; the real arrays are
                   differentiated and must be float64
    method       : "auto" takes the complex step (tolerance 1e-12) and, with a warning, central differences where the
                   forward is not analytic; "central" takes those (tolerance 1e-7, or 10 times the error that they
                   estimate of themselves if that is more), and lets a complex step decide where they disagree;
                   "complex" raises where the forward is not analytic
    tolerance    : another one than that
    n_directions : None differentiates along every element; a number, along so many random directions
    seed         : of the upstream gradient and the directions, in a stream of their own
    sizes        : {"d": 4}, so that a factor can be told to be sqrt(d)
    without      : names of arguments that are data and have no gradient
    returns a list of Results, one per array
    raises  GradientError if a shape or dtype differs, a number is not finite, an argument is changed, or a second call
            gives another result; TypeError for arguments that cannot be checked
    """
    check.instance("check_pair", Callable, forward=forward, backward=backward)
    check.instance("check_pair", (tuple, list), args=args)
    check.one_of("check_pair", "method", method, ("auto", *TOLERANCE))
    check.whole("check_pair", 0, seed=seed, **({} if n_directions is None else {"n_directions": n_directions}))
    check.number("check_pair", 0, **({} if tolerance is None else {"tolerance": tolerance}))
    pair = make_pair(forward, backward, args, without)
    before = {path: to_numpy(a).copy() for path, a in pair.arrays.items()}
    out, cache = pair.run()
    _check_finite(f"{name_of(forward)}: its result", out, "no slope can be had")
    dout, rng = upstream(pair, out, seed)
    grads = pair.gradients(dout, cache)
    _check_shapes(pair, grads)
    _check_purity(pair, (out, cache, dout, grads), before)
    directions = {path: _random_directions(x, n_directions, rng) for path, x in pair.leaves.items()}
    analytic = _is_analytic(pair, dout, out, rng)
    if not analytic:
        _say_not_analytic(pair, method)
    judges = ["complex"] if analytic and method != "central" else ["central"] + ["complex"] * analytic
    for judge in judges:  # where central differences disagree with a gradient, the complex step has the last word
        results = _judge(pair, dout, out, grads, judge, directions, tolerance, sizes)
        if all(r.ok for r in results):
            break
    return results


def upstream(pair, out, seed):
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
    if a.size != b.size or b.dtype.kind not in "fc":
        return False
    a, b = a.ravel(), b.ravel()
    return bool(a[0] == b[0]) if a.size == 1 else bool(abs(a @ b) > 0.999999 * math.sqrt((a @ a) * (b @ b).real))


def _loss(pair, dout, exchanged):
    """The number whose gradient backward gives."""
    return (dout * pair.run(exchanged)[0]).sum()


def _noise(dout, out):
    """What rounding may do to the loss."""
    return float(abs(dout * out).sum()) * float(np.finfo(out.dtype).eps)


def _is_analytic(pair, dout, out, rng):
    """Does a complex step see the whole slope? Looked at once, along a random direction of all leaves together."""
    if out.dtype != "float64":  # computed in single precision
        return False
    step = {path: _largest(x) * _random_like(x, rng) for path, x in pair.leaves.items()}

    def loss(t):
        return _loss(pair, dout, {path: x + t * step[path] for path, x in pair.leaves.items()})

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that an imaginary part is thrown away is what is looked for
            seen = float(loss(1e-30j).imag) / 1e-30
    except Exception:  # whatever stands in the way of complex numbers
        return False
    slope, error = _ridders(loss, 1.0, _noise(dout, out))
    return not abs(seen - slope) > max(1e-6 * abs(slope), SURE**2 * error)


def _say_not_analytic(pair, method):
    who = f"{name_of(pair.forward)} is not analytic, or not in double precision"
    likely = "abs, var, linalg.norm, a buffer of real numbers or another library"
    if method == "complex":
        raise GradientError(f"{who}: a complex step does not see its slope ({likely}?); take method='central'")
    if method == "auto":
        why = "central differences judge, less sharply than a complex step"
        warnings.warn(f"check_pair: {who} ({likely}?): {why}", stacklevel=4)


def _judge(pair, dout, out, grads, method, directions, tolerance, sizes):
    """A Result for each leaf, by one of the numeric derivatives."""
    numeric, doubt, given = {}, {}, {}
    for path, x in pair.leaves.items():

        def loss(value, path=path):
            return _loss(pair, dout, {path: value})

        if method == "complex":
            numeric[path], errors = complex_step(loss, x, directions=directions[path]), np.zeros(1)
        else:
            numeric[path], errors = extrapolated_difference(loss, x, directions[path], _noise(dout, out))
        doubt[path], given[path] = float(errors.max()), to_numpy(grads[path])
        if directions[path] is not None:
            given[path] = np.array([(given[path] * to_numpy(e)).sum() for e in directions[path]])
    size, results = float(abs(dout * out).sum()), []
    for path, x in pair.leaves.items():
        floor = 1e-15 * size / _largest(x)  # what rounding leaves of a slope that is 0
        scale = float(abs(numeric[path]).max()) or 1.0
        error, unsure = relative_error(given[path], numeric[path], floor), SURE * doubt[path] / scale
        allowed = max(TOLERANCE[method], unsure) + floor / scale if tolerance is None else tolerance
        message, label = "", pair.label(path)
        if unsure > ROUGH and error <= unsure:
            message = f"central differences know it to {unsure:.0e} only, {UNCHECKED}"
            error = math.inf
        elif not error <= allowed:
            others = {pair.label(p): g for p, g in numeric.items() if p != path and not directions[p]}
            close = max(1e-6, min(unsure, ROUGH))
            message = diagnose(numeric[path], given[path], sizes, floor, close, label, others).message
        results.append(Result(label, x.shape, error, allowed, message, method, doubt[path] / scale))
    return results


def _largest(x):
    """The size of x, to measure steps and slopes by; 1 where all of it is 0."""
    return float(abs(x).max(initial=0)) or 1.0


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
            raise GradientError(f"{name_of(pair.backward)}: the gradient of {name} is {what}, as {name} itself")


def _check_purity(pair, first, before):
    """Nothing that the caller owns is changed, and a second call gives the same as the first, but for rounding."""
    out, cache, dout, grads = first
    forward, backward = name_of(pair.forward), name_of(pair.backward)
    for path, x in pair.arrays.items():
        if not same_bits(x, before[path]):
            raise GradientError(f"{forward} or {backward} changed its argument {pair.label(path)}; work on a copy")
    if not _same_to_rounding(pair.run()[0], out):
        raise GradientError(f"{forward}: a second call gives another result; does it keep state?")
    again = pair.gradients(dout, cache)
    if not all(_same_to_rounding(again[path], g) for path, g in grads.items()):
        raise GradientError(f"{backward}: a second call gives another result; does it change the cache?")


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
