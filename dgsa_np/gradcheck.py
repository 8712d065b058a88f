"""Is a handwritten gradient right?

First come two numeric derivatives, as they are taught. Then the check of a pair x_forward,
x_backward, from the top down: backward is given a random gradient of the result, and what it
returns is compared with a numeric derivative of forward. (With a gradient of ones the check would
be blind wherever the results have a constant sum, as in softmax.)

The complex step is the judge, since it is exact to rounding. It cannot follow abs, var,
linalg.norm, a buffer of real numbers or another library; there central differences judge, as far
as they can be trusted. How far that is, the last part of the file measures.

This file knows arrays and functions only, a reader's as well as the project's. gradcheck_pair.py
calls the functions, and diagnosis.py says what kind of mistake a wrong gradient shows.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple
from zlib import crc32

import numpy as np

from . import check, shapes
from .backend import array_module, owner_of, to_numpy
from .diagnosis import UNCHECKED, diagnose
from .gradcheck_pair import CheckedPair, GradientError, check_finite, described, name_of, same_bits
from .params import leaves

__all__ = [
    "TOLERANCE",
    "GradientError",
    "Result",
    "central_difference",
    "check_pair",
    "compare_pair",
    "complex_step",
    "diagnose",
    "relative_error",
    "same_bits",
]

TOLERANCE = {"complex": 1e-12, "central": 1e-7}  # an error, as a part of the largest number of the gradient
SAFETY = 10  # an error may be so many times as large as its estimate
ROUGH = 0.1  # a numeric gradient that is only known to this part of itself judges nothing

# ------------------------------------------------------------------------------ numeric derivatives


def central_difference(f: Callable, x, h=1e-5, directions=None) -> np.ndarray:
    """The gradient of a number f(x), as it is taught.      [eq:central-difference, standard]

        df/dx_i = (f(x + h e_i) - f(x - h e_i)) / (2 h) + O(h^2)

    x          : any shape, float64; h in the units of x
    directions : (n, *x.shape), to get n slopes along these instead of all of the gradient
    returns the gradient, shaped like x, or (n,) slopes
    """
    _check_derivative("central_difference", f, x, h)
    return _slopes(lambda e: (float(f(x + h * e)) - float(f(x - h * e))) / (2 * h), x, directions)


def complex_step(f: Callable, x, h=1e-30, directions=None) -> np.ndarray:
    """The gradient of a number f(x), exact to rounding.      [eq:complex-step, standard]

        df/dx_i = Im f(x + i h e_i) / h

    f must be analytic: no abs, no conj, and comparisons on the real part alone. Arguments as above.
    """
    _check_derivative("complex_step", f, x, h)
    return _slopes(lambda e: float(f(x + 1j * h * e).imag) / h, x, directions)


def _check_derivative(function, f, x, h):
    shapes.instance(function, Callable, f=f)
    shapes.arrays(function, {"x": "..."}, x)
    shapes.number(function, low=1e-300, h=h)


def _slopes(slope, x, directions):
    """slope(e) for every element of x, e being 1 there and 0 elsewhere; or for the directions."""
    if directions is not None:
        return np.array([slope(e) for e in directions])
    places = array_module(x).arange(x.size).reshape(x.shape)
    found = np.array([slope(1.0 * (places == i)) for i in range(x.size)])
    return found.reshape((*x.shape, *found.shape[1:]))


# ---------------------------------------------------------------------------------- checking a pair


class Result(NamedTuple):
    """What the check says of one array."""

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
    def ok(self) -> bool:
        return self.error <= self.tolerance

    @property
    def checked(self) -> bool:
        """Or was there nothing to compare with? Then it is not ok, and not wrong either."""
        return UNCHECKED not in self.message


def check_pair(forward: Callable, backward: Callable, args: Sequence, **options) -> list[Result]:
    """The Results of compare_pair; raises GradientError if one is wrong.

    check_pair(forward, backward, (q, k, v), sizes={"d": 4})

    args    : a tuple of what forward takes
    options : those of compare_pair, among them sizes={"d": 4}, by which a factor is recognised as
              sqrt(d), and without=("mask",), names of arguments that have no gradient
    """
    results = compare_pair(forward, backward, args, **options)
    if wrong := [r for r in results if not r.ok]:
        verdict = "is wrong" if any(r.checked for r in wrong) else "cannot be checked"
        said = [f"\n  {r.argument} {r.shape}: error {r.error:.1e} > {r.tolerance:.0e}: {r.message}" for r in wrong]
        raise GradientError(
            f"{name_of(backward)} {verdict} in {len(wrong)} of {len(results)} gradients:{''.join(said)}"
        )
    return results


def compare_pair(
    forward: Callable, backward: Callable, args: Sequence,
    method="auto", tolerance=None, n_directions=None, seed=0, sizes=None, without=(),
) -> list[Result]:
    """The gradients of one pair beside numeric ones, for a random upstream gradient.

    forward      : any callable; gives out and a cache, or out alone
    backward     : any callable; takes the gradient of out and the cache. Without a cache it takes
                   that gradient and, if it wants them, the arguments. For a loss it may take the
                   cache, or the arguments, alone
    args         : what forward takes: arrays, nested dicts of arrays, masks, options; the real
                   arrays are differentiated and must be float64
    method       : "auto" takes the complex step (tolerance 1e-12) and, with a warning, central
                   differences where the forward is not analytic; "central" takes those (tolerance
                   1e-7, and 10 times the error that they estimate of themselves), and lets a
                   complex step decide where they disagree; "complex" raises where the forward is
                   not analytic. What rounding is seen to do to gradients close by is added to each
    tolerance    : a number in place of these
    n_directions : None differentiates along every element; a number, along that many directions
    seed         : of the upstream gradient and the directions; they depend on the arguments, too
    sizes        : {"d": 4}, so that a factor can be recognised as sqrt(d)
    without      : names of arguments that are data and have no gradient, or of parameters, "p.b_k"
    returns a Result for each array
    raises  GradientError if a shape or dtype differs, a number is not finite, an argument is
            changed, or a second call gives another result; TypeError for what cannot be checked
    """
    shapes.instance("check_pair", Callable, forward=forward, backward=backward)
    shapes.instance("check_pair", (tuple, list), args=args, without=without)
    check.one_of("check_pair", "method", method, ("auto", *TOLERANCE))
    shapes.whole("check_pair", 0, seed=seed, **({} if n_directions is None else {"n_directions": n_directions}))
    shapes.number("check_pair", 0, **({} if tolerance is None else {"tolerance": tolerance}))
    pair = CheckedPair(forward, backward, args, without)
    run, rng = _first_run(pair, seed)
    analytic, noise, noise_of = _measure_rounding(run, rng)
    if not analytic and method == "complex":
        raise GradientError(f"{_not_analytic(pair)}; take method='central'")
    directions = {name: _random_directions(x, n_directions, rng) for name, x in pair.leaves.items()}
    judges = ["central"] if method == "central" or not analytic else []
    judges += ["complex"] if analytic else []
    for judge in judges:  # where central differences say wrong, the complex step has the last word
        results = _judge(run, judge, noise, noise_of, directions, tolerance, sizes)
        if all(r.ok for r in results):
            break
    if not analytic and method == "auto":
        sharp = max(r.tolerance for r in results)
        warnings.warn(f"{_not_analytic(pair)}; central differences judge, to {sharp:.0e} of a gradient", stacklevel=3)
    return results


def _not_analytic(pair):
    return (
        f"check_pair: {name_of(pair.forward)} is not analytic, a complex step cannot follow it (abs, var, linalg.norm, "
        "a buffer of real numbers, single precision, or another library such as PyTorch?)"
    )


# --------------------------------------------------------- one run, and the rules of the convention


class _Run(NamedTuple):
    pair: CheckedPair
    out: np.ndarray  # what forward gives
    cache: tuple  # the cache, or nothing
    dout: np.ndarray  # a random gradient of out
    grads: dict  # {name: gradient}, what backward gives

    def loss(self, exchanged):
        """sum(dout * out), whose gradient backward gives; some arrays may be exchanged."""
        return (self.dout * self.pair.run(exchanged)[0]).sum()


def _first_run(pair, seed):
    """What is to be judged, and a generator for what else is random; raises if a rule is broken."""
    before = {name: to_numpy(a).copy() for name, a in pair.arrays.items()}
    out, cache = pair.run()
    check_finite(f"{name_of(pair.forward)}: its result", out, "no slope can be had")
    dout, rng = _upstream(pair, out, seed)
    grads = {name: g.copy() if owner_of(g) else g for name, g in pair.gradients(dout, cache).items()}
    run = _Run(pair, out, cache, dout, grads)
    _check_rules(run, before)
    return run, rng


def _upstream(pair, out, seed):
    """A random gradient of out, and the generator that it came from.

    The seed holds a checksum of the arguments, so that none of them is made of the same random
    numbers: a backward that takes such an argument for the upstream gradient would pass.
    """
    rng = np.random.default_rng([seed, crc32(b"".join(to_numpy(a).tobytes() for a in pair.arrays.values()))])
    return _random_like(out, rng), rng


def _check_rules(run, before):
    """A gradient is like its argument, no argument is changed, a second call gives the same."""
    pair, forward, backward = run.pair, name_of(run.pair.forward), name_of(run.pair.backward)
    for name, x in pair.leaves.items():
        g = run.grads[name]
        if getattr(g, "shape", None) != x.shape or g.dtype != x.dtype:
            raise GradientError(
                f"{backward}: the gradient of {name} is {described(g)}, expected {x.dtype} {x.shape}, as {name} itself"
            )
    if changed := [name for name, x in pair.arrays.items() if not same_bits(x, before[name])]:
        raise GradientError(f"{forward} or {backward} changed its argument {changed[0]}; work on a copy")
    if not _same_to_rounding(pair.run()[0], run.out):
        raise GradientError(f"{forward}: a second call gives another result; does it keep state?")
    again = _gradients_again(run)
    if not all(_same_to_rounding(again[name], g) for name, g in run.grads.items()):
        raise GradientError(f"{backward}: a second call gives another result; does it change the cache?")


def _gradients_again(run):
    """From the same cache, or from a new one where it serves only once, as PyTorch's does."""
    try:
        return run.pair.gradients(run.dout, run.cache)
    except GradientError:
        raise
    except Exception:
        return run.pair.gradients(run.dout, run.pair.run()[1])


def _same_to_rounding(a, b):
    """Bits may differ where a library adds in an order of its own."""
    return same_bits(a, b) or relative_error(a, b) <= 100 * float(np.finfo(b.dtype).eps)


def relative_error(a, b, floor=0.0) -> float:
    """max|a - b| / max|b|; infinite where the reference b is all but zero, and checks nothing."""
    a, b = np.asarray(to_numpy(a)), np.asarray(to_numpy(b))
    largest = abs(b).max(initial=0.0)
    if a.shape != b.shape or not largest > floor:
        return math.inf
    error = float(abs(a - b).max() / largest)
    return error if math.isfinite(error) else math.inf


def _random_like(x, rng):
    return array_module(x).asarray(rng.standard_normal(x.shape))


def _random_directions(x, n, rng):
    """n directions of length 1, so that a step h is as long along each as along an element."""
    directions = [_random_like(x, rng) for _ in range(n or 0)]
    return [e / float((e * e).sum()) ** 0.5 for e in directions] or None


# -------------------------------------------------------------------------------------- the verdict


def _judge(run, method, noise, noise_of, directions, tolerance, sizes):
    """A Result for each array, by one of the two numeric derivatives."""
    numeric = {name: _numeric(run, name, method, noise, directions[name]) for name in run.grads}
    others = {name: gradient for name, (gradient, _) in numeric.items() if directions[name] is None}
    varying = float(abs(run.dout * (run.out - (run.out.mean() if run.out.size > 1 else 0))).sum())
    results = []
    for name, (slopes, doubt) in numeric.items():
        x, given, rounding = run.pair.leaves[name], to_numpy(run.grads[name]), SAFETY * noise_of[name]
        if directions[name] is not None:
            given = np.array([(given * to_numpy(e)).sum() for e in directions[name]])
            rounding *= math.sqrt(x.size)
        scale = _scale(slopes)
        allowances = TOLERANCE[method] + (rounding + SAFETY * doubt) / scale if tolerance is None else tolerance
        error, allowed = _worst(abs(given - slopes) / scale, allowances)
        nothing = max(rounding, 1e-15 * varying / _scale(x))  # what rounding leaves of a slope that is 0
        if abs(slopes).max() <= nothing:
            error = math.inf
        close = max(1e-6, min(allowed, ROUGH))
        message = "" if error <= allowed else diagnose(slopes, given, sizes, nothing, close, name, others).message
        if not message and tolerance is None and np.max(allowances) > ROUGH:
            error, message = math.inf, f"numeric slopes know it to {np.max(allowances):.0e} only, {UNCHECKED}"
        results.append(Result(name, x.shape, error, allowed, message, method, float(doubt.max()) / scale))
    return results


def _numeric(run, name, method, noise, directions):
    """The numeric gradient of one array, or slopes along directions; and their estimated errors."""

    def loss(x):
        return run.loss({name: x})

    x = run.pair.leaves[name]
    if method == "complex":
        return complex_step(loss, x, directions=directions), np.array(0.0)
    return _adaptive_difference(loss, x, noise, directions)


def _worst(errors, allowances):
    """Error and allowance of the element that is furthest from what it is allowed."""
    errors = np.where(np.isnan(errors), math.inf, errors)
    allowances = np.broadcast_to(allowances, errors.shape)
    place = np.unravel_index((errors - allowances).argmax(), errors.shape)
    return float(errors[place]), float(allowances[place])


# ------------------------------------------------------------------- how far numbers can be trusted


def _measure_rounding(run, rng):
    """What rounding does to the loss and its gradients, on a random line through the arguments.

    returns analytic (can a complex step follow?), the noise of the loss, {name: of its gradient}
    """
    line = {name: _scale(x) * _random_like(x, rng) for name, x in run.pair.leaves.items()}

    def at(t):
        return {name: x + t * line[name] for name, x in run.pair.leaves.items()}

    def loss(t):
        return run.loss(at(t))

    noise = _noise(loss, least=float(abs(run.dout * run.out).sum()) * float(np.finfo(run.out.dtype).eps))
    analytic = run.out.dtype == "float64" and _is_analytic(loss, noise)
    near = [run.pair.gradients(run.dout, run.pair.run(at(1e-6 * k))[1]) for k in range(-3, 4)]
    near = {name: [to_numpy(grads[name]) for grads in near] for name in line}
    arrays = [a for a in leaves((run.out, run.cache, run.pair.args)).values() if owner_of(a)]
    scales = [_scale(a) for a in arrays if a.dtype.kind == "f" and a.size]
    most = 1e-14 * _scale(run.dout) * max(filter(math.isfinite, scales))  # double precision does no more, single does
    return analytic, noise, {name: min(most, _noise_in(g, 1e-3 * _scale(g[3]))) for name, g in near.items()}


def _is_analytic(loss, noise):
    """Is the slope of the complex step that of central differences? Not, if they cannot tell."""
    start = np.array(0.0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that an imaginary part is thrown away is what is looked for
            seen = float(complex_step(loss, start))
    except Exception:  # whatever stands in the way of complex numbers
        return False
    slope, error = _adaptive_difference(loss, start, noise)
    sure = SAFETY * error <= ROUGH * abs(seen) or seen == slope
    return bool(sure and abs(seen - slope) <= SAFETY * error + 1e-9 * abs(slope))


def _adaptive_difference(f, x, noise, directions=None):
    """Central differences, each with a step of its own, and an estimate of the error of each.

    A large step loses little to rounding, but may step over a kink. So the step grows from very
    small, tenfold each time, for as long as the slopes agree within rounding.

    noise : the rounding error of f, in its units; x, directions and the slopes as above
    """

    def slope(e):
        def difference(h):
            there, back = x + h * e, x - h * e
            step = float(((there - back) * e).sum() / (e * e).sum())  # as it is after rounding
            return (_number(f, there) - _number(f, back)) / step

        return _from_steps_that_agree(difference, _scale(x) / float(abs(e).max()), noise)

    return np.moveaxis(_slopes(slope, x, directions), -1, 0)


def _from_steps_that_agree(difference, reach, noise):
    """The slope by the largest step that agrees with the smaller ones, and its estimated error."""
    steps = reach * 10.0 ** np.arange(-12, 0)
    slope, error = difference(steps[0]), noise / steps[0]
    for smaller, h in pairwise(steps):
        larger, rounding = difference(h), noise / smaller
        if not abs(larger - slope) <= SAFETY * rounding or error <= 1e-9 * abs(slope):
            break
        slope, error = larger, max(abs(larger - slope), rounding)
    return slope, error if math.isfinite(slope) else math.inf


def _noise(f, least):
    """What rounding does to the numbers f(t) around t = 0; no less than least.

    What is computed in single precision stays the same over tiny steps; they grow until it changes.
    """
    for delta in 10.0 ** np.arange(-14, -6):
        if len({_number(f, k * delta) for k in range(-3, 4)}) > 3:
            break
    with np.errstate(invalid="ignore"):
        return max(least, _noise_in([_number(f, 100 * k * delta) for k in range(-3, 4)], math.inf))


def _noise_in(values, below):
    """What rounding does to seven values, a tiny step apart; a jump, at a kink, is not below.

    Third differences of a smooth function are next to 0; those of independent errors are sqrt(20)
    times as large as the errors.
    """
    third = abs(np.diff(np.stack(values), 3, axis=0)) / math.sqrt(20)
    return float(third.max(where=third < below, initial=0.0))


def _number(f, x):
    """f(x), or nan outside of its domain: a step may make the argument of a logarithm negative."""
    try:
        with np.errstate(all="ignore"):
            return float(f(x))
    except (ArithmeticError, ValueError):  # numpy's LinAlgError is one
        return math.nan


def _scale(x):
    """The largest number of x, to measure steps and slopes by; 1 where all of it is 0."""
    return float(abs(x).max()) or 1.0
