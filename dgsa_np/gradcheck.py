"""Is a handwritten gradient right, and if not, what kind of mistake is it?

This file knows only arrays and functions. A pair x_forward, x_backward is checked along a random upstream
gradient: an upstream of ones is blind wherever the outputs have a constant sum, softmax among them.
"""

import inspect
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from . import check
from .backend import array_module, to_numpy
from .params import flatten, tree_map

TOLERANCE = {"complex": 1e-12, "central": 1e-7}


class GradientError(AssertionError):
    """A pair breaks the convention, or its gradient is wrong."""


class Result(NamedTuple):
    argument: str
    shape: tuple
    error: float  # max|analytic - numeric| / max|numeric|
    tolerance: float
    message: str  # what diagnose says; empty where the gradient is right

    @property
    def ok(self):
        return self.error <= self.tolerance


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


def _check_slopes(function, f, x, h):
    check.instance(function, Callable, f=f)
    check.arrays(function, {"x": "..."}, x)
    check.number(function, low=1e-300, h=h)


def _slopes(slope, x, directions):
    if directions is not None:
        return np.array([slope(e) for e in directions])
    places = array_module(x).arange(x.size).reshape(x.shape)
    return np.array([slope(1.0 * (places == i)) for i in range(x.size)]).reshape(x.shape)


METHODS = {"complex": complex_step, "central": central_difference}


# ---------------------------------------------------------------------------------------- checking a pair


def check_pair(forward, backward, args, **options):
    """Check a pair as compare_pair does; returns its list of Results, or raises GradientError with what is wrong."""
    results = compare_pair(forward, backward, args, **options)
    wrong = [r for r in results if not r.ok]
    if wrong:
        said = [f"\n  {r.argument} {r.shape}: error {r.error:.1e} > {r.tolerance:.0e}: {r.message}" for r in wrong]
        raise GradientError(f"{backward.__name__} is wrong in {len(wrong)} of {len(results)} gradients:{''.join(said)}")
    return results


def compare_pair(
    forward, backward, args, method="complex", tolerance=None, n_directions=None, seed=0, sizes=None, without=()
):
    """The gradients of one pair against numeric ones, along a random upstream gradient.

    args         : what forward takes: arrays, nested dicts of arrays, masks, options; the real arrays are
                   differentiated and must be float64
    method       : "complex" (complex step, tolerance 1e-12) or "central" (central difference, 1e-7)
    n_directions : None differentiates along every element; a number, along so many random directions
    sizes        : {"d": 4}, so that a factor can be told to be sqrt(d)
    without      : names of arguments that are data and have no gradient
    returns a list of Results, one per array
    raises  GradientError if a shape or dtype differs, an argument is changed, or a second call gives other bits
    """
    check.instance("check_pair", Callable, forward=forward, backward=backward)
    check.instance("check_pair", (tuple, list), args=args)
    check.one_of("check_pair", "method", method, tuple(METHODS))
    check.whole("check_pair", 0, seed=seed, **({} if n_directions is None else {"n_directions": n_directions}))
    check.number("check_pair", 0, **({} if tolerance is None else {"tolerance": tolerance}))
    args, rng = tuple(args), np.random.default_rng(seed)
    arrays = _named_arrays(forward, args)
    before = {name: to_numpy(a).copy() for name, a in arrays.items()}
    leaves = {name: a for name, a in arrays.items() if a.dtype.kind == "f" and name.split(".")[0] not in without}
    if any(a.dtype != "float64" for a in leaves.values()):
        raise TypeError("check_pair: an argument is float32, expected float64: single precision hides small mistakes")
    out, cache = forward(*args)
    dout = _random_like(out, rng)
    grads = _call_backward(backward, dout, cache, args, leaves)
    _check_shapes(backward, grads, leaves)
    _check_purity(forward, backward, args, (out, cache, dout, grads), leaves, before)
    numeric, analytic = {}, {}
    for name, x in leaves.items():
        directions = _random_directions(x, n_directions, rng)

        def loss(value, name=name):
            return (dout * forward(*_replace(forward, args, name, value))[0]).sum()

        numeric[name], analytic[name] = METHODS[method](loss, x, directions=directions), to_numpy(grads[name])
        if directions is not None:
            analytic[name] = np.array([(analytic[name] * to_numpy(e)).sum() for e in directions])
    allowed = TOLERANCE[method] if tolerance is None else tolerance
    floor = 1e-15 * max((float(abs(g).max()) for g in numeric.values()), default=0.0)

    def result(name, right, given):
        error = relative_error(given, right, floor)
        others = {} if n_directions else {other: g for other, g in numeric.items() if other != name}
        said = "" if error <= allowed else diagnose(right, given, sizes, floor, name=name, others=others).message
        return Result(name, leaves[name].shape, error, allowed, said)

    return [result(name, numeric[name], analytic[name]) for name in leaves]


def relative_error(a, b, floor=0.0) -> float:
    """max|a - b| / max|b|; infinite where the reference b is all but zero, since then nothing is checked."""
    a, b = np.asarray(to_numpy(a)), np.asarray(to_numpy(b))
    largest = abs(b).max(initial=0.0)
    if a.shape != b.shape or not largest > floor:
        return math.inf
    error = float(abs(a - b).max() / largest)
    return error if math.isfinite(error) else math.inf


def _named_arrays(forward, args):
    """{"p.W_q": array} for every array among the arguments, in order."""
    return {name: a for name, a in flatten(_by_name(forward, args)).items() if hasattr(a, "dtype")}


def _replace(forward, args, name, value):
    """The arguments with one leaf exchanged."""
    return tuple(_with_leaf(_by_name(forward, args), name.split("."), value).values())


def _by_name(forward, args):
    names = list(inspect.signature(forward).parameters)[: len(args)]
    return dict(zip(names, args, strict=True))


def _with_leaf(tree, path, value):
    if not path:
        return value
    if isinstance(tree, (list, tuple)):
        return [_with_leaf(t, path[1:], value) if str(i) == path[0] else t for i, t in enumerate(tree)]
    return {k: _with_leaf(t, path[1:], value) if k == path[0] else t for k, t in tree.items()}


def _call_backward(backward, dout, cache, args, leaves):
    """The gradients under the names of their leaves. A loss has no upstream: its backward takes the cache alone."""
    who, upstream = backward.__name__, dout.copy()
    alone = len(inspect.signature(backward).parameters) == 1
    grads = tree_map(lambda g: g * dout, backward(cache)) if alone else backward(upstream, cache)
    if not same_bits(upstream, dout):
        raise GradientError(f"{who} changed the upstream gradient; work on a copy")
    grads = grads if isinstance(grads, tuple) else (grads,)
    heads = list(dict.fromkeys(name.split(".")[0] for name in leaves))
    if len(grads) != len(heads):
        raise GradientError(f"{who} returns {len(grads)} gradients, expected {len(heads)}, for {', '.join(heads)}")
    flat = flatten(dict(zip(heads, grads, strict=True)))
    if list(flat) != list(leaves):
        expected = f"{sorted(leaves)}, in the order of the arguments"
        raise GradientError(f"{who} returns gradients {sorted(flat)}, expected {expected}")
    return flat


def _check_shapes(backward, grads, leaves):
    for name, x in leaves.items():
        g = grads[name]
        if getattr(g, "shape", None) != x.shape or g.dtype != x.dtype:
            what = f"{getattr(g, 'dtype', type(g).__name__)} {getattr(g, 'shape', '')}, expected {x.dtype} {x.shape}"
            raise GradientError(f"{backward.__name__}: the gradient of {name} is {what}, as {name} itself")


def _check_purity(forward, backward, args, first, leaves, before):
    """Nothing that the caller owns is changed, and a second call gives the same bits as the first."""
    out, cache, dout, grads = first
    for name, x in _named_arrays(forward, args).items():
        if not same_bits(x, before[name]):
            who = f"{forward.__name__} or {backward.__name__}"
            raise GradientError(f"{who} changed its argument {name}; work on a copy")
    if not same_bits(forward(*args)[0], out):
        raise GradientError(f"{forward.__name__}: a second call gives other bits; does it keep state?")
    again = _call_backward(backward, dout, cache, args, leaves)
    if not all(same_bits(again[name], grads[name]) for name in leaves):
        raise GradientError(f"{backward.__name__}: a second call gives other bits; does it change the cache?")


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


# ------------------------------------------------------------------------------------------- diagnosing


class Diagnosis(NamedTuple):
    kind: str  # close, shape, not finite, vacuous, zero, sign, factor, transposed, branch, rows, angle
    message: str


def diagnose(numeric, analytic, sizes=None, vacuous=0.0, tolerance=1e-6, name="", others=None) -> Diagnosis:
    """What kind of mistake turns the numeric gradient into the analytic one.

    sizes   : {"d": 4, "T": 5}, the sizes that a forgotten factor may come from
    vacuous : a numeric gradient no larger than this checks nothing
    name    : of the argument; others : {name: numeric gradient} of the other arguments, to find one in its place
    """
    check.instance("diagnose", (dict, type(None)), sizes=sizes, others=others)
    check.number("diagnose", low=0, vacuous=vacuous, tolerance=tolerance)
    check.arrays("diagnose", {"numeric": "...", "analytic": "..."}, numeric, analytic)
    numeric, analytic = to_numpy(numeric).real, to_numpy(analytic).real
    if numeric.shape != analytic.shape:
        return Diagnosis("shape", f"the gradient is {analytic.shape}, expected {numeric.shape}, as the argument")
    if not np.isfinite(analytic).all():
        bad, why = int((~np.isfinite(analytic)).sum()), "a division by 0, or exp of something large"
        return Diagnosis("not finite", f"{bad} of {analytic.size} elements are nan or inf: {why}")
    if not abs(numeric).max(initial=0) > vacuous:
        return Diagnosis("vacuous", "the numeric gradient is all but zero, so nothing is checked; choose other inputs")
    if not analytic.any():
        why = "is a term missing from the sum, or its result not returned?"
        return Diagnosis("zero", f"the gradient is zero: this path is cut; {why}")
    if _close(analytic, numeric, tolerance):
        return Diagnosis("close", f"it is right to {tolerance:.0e}: not the formula but its precision is at fault")
    factor = float((analytic * numeric).sum() / (numeric * numeric).sum())
    if _close(analytic, factor * numeric, tolerance):
        return _explain_factor(factor, sizes or {}, tolerance, name)
    for kind, guess, message in _guesses(numeric, others or {}):
        if guess.shape == analytic.shape and _close(analytic, guess, tolerance):
            return Diagnosis(kind, message)
    return _explain_rows(numeric, analytic, tolerance) or _explain_angle(numeric, analytic, tolerance)


def _close(a, b, tolerance):
    return abs(a - b).max() <= tolerance * abs(b).max()


def _guesses(numeric, others):
    """What may stand in the place of the right gradient."""
    if numeric.ndim >= 2:
        why = "the factors of a matrix product are swapped"
        yield "transposed", numeric.swapaxes(-1, -2), f"the gradient is transposed in its last two axes: {why}"
    for other, gradient in others.items():
        for sign, words in ((1, ""), (-1, ", with the wrong sign")):
            yield "branch", sign * to_numpy(gradient), f"this is the gradient of {other}{words}: they are mixed up"


def _explain_factor(factor, sizes, tolerance, name):
    if factor < 0 and _near(factor, 1, tolerance):
        inhibitory = "the inhibitory branch enters with a minus, which its gradient keeps"
        cause = inhibitory if "_inh" in name else "is it subtracted in the forward?"
        return Diagnosis("sign", f"the sign is wrong: {cause}")
    causes = [(2, "it is counted twice"), (0.5, "half of it is missing, or a factor 2 is")]
    for letter, n in sizes.items():
        if n != 1:
            causes += [
                (n**0.5, f"1/sqrt({letter}) is missing"),
                (n**-0.5, f"1/sqrt({letter}) is applied twice"),
                (n, f"a sum over {letter} where a mean belongs"),
                (1 / n, f"a mean over {letter} where a sum belongs"),
            ]
    likely = [cause for value, cause in causes if _near(factor, value, tolerance)]
    why = " or ".join(likely) or "look for a constant that the derivative brings down"
    also = "the sign is wrong, and " if factor < 0 else ""
    return Diagnosis("factor", f"{also}the gradient is {abs(factor):.6g} times what it should be everywhere: {why}")


def _explain_rows(numeric, analytic, tolerance):
    """Right but for a factor of its own in each row: a weight per query, forgotten or used twice."""
    if numeric.ndim < 2 or numeric.shape[-1] == 1:
        return None
    square = (numeric * numeric).sum(axis=-1, keepdims=True)
    factors = (analytic * numeric).sum(axis=-1, keepdims=True) / (square + (square == 0))
    if not _close(analytic, factors * numeric, tolerance):
        return None
    low, high = float(factors[square > 0].min()), float(factors[square > 0].max())
    lost = "lost" if min(abs(low), abs(high)) >= 1 else "there twice, or another one's"
    each = f"each row is off by a factor of its own, {low:.3g} to {high:.3g}"
    return Diagnosis("rows", f"{each}: is a gate or lambda {lost}?")


def _near(factor, value, tolerance):
    return abs(abs(factor) - value) <= tolerance * value


def _explain_angle(numeric, analytic, tolerance):
    cosine = float((numeric * analytic).sum() / math.sqrt((numeric**2).sum() * (analytic**2).sum()))
    degrees = math.degrees(math.acos(max(-1.0, min(1.0, cosine))))
    off = abs(analytic - numeric)
    worst = tuple(map(int, np.unravel_index(off.argmax(), numeric.shape)))
    wrong = int((off > tolerance * abs(numeric).max()).sum())
    apart = f"it points {degrees:.3g} degrees away from the right gradient"
    most = f"most at index {worst}: {analytic[worst]:.6g}, expected {numeric[worst]:.6g}"
    return Diagnosis("angle", f"{apart}; {wrong} of {numeric.size} elements differ, {most}")
