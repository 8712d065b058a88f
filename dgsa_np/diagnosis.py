"""What kind of mistake turns a right gradient into a wrong one? Guessed from the two arrays alone.

diagnose goes through mistakes that are often made. Of each it knows what the gradient would be; the
first that gives what was returned is named.
"""

import math
from itertools import combinations
from typing import NamedTuple

import numpy as np

from . import shapes
from .backend import to_numpy

UNCHECKED = "so nothing is checked; choose other inputs"

FACTORS = {"it is counted twice": 2, "half of it is missing, or a factor 2 is": 0.5}
POWERS = {  # what makes a gradient wrong by a factor n ** power, n being a size
    "1/sqrt({}) is missing": 0.5,
    "1/sqrt({}) is applied twice": -0.5,
    "a sum over {} where a mean belongs": 1.0,
    "a mean over {} where a sum belongs": -1.0,
}


class Diagnosis(NamedTuple):
    kind: str  # a word: "sign", "factor", "transposed", "branch", "order", "rows", "angle", "zero", "close" and so on
    message: str


def diagnose(numeric, analytic, sizes=None, vacuous=0.0, tolerance=1e-6, name="", others=None) -> Diagnosis:
    """What kind of mistake turns the numeric gradient into the analytic one.

    sizes   : {"d": 4, "T": 5}, the sizes that a forgotten factor may come from
    vacuous : a numeric gradient no larger than this checks nothing
    name    : of the argument
    others  : {name: numeric gradient} of the other arguments, to find one in the place of this
    """
    shapes.instance("diagnose", (dict, type(None)), sizes=sizes, others=others)
    shapes.number("diagnose", low=0, vacuous=vacuous, tolerance=tolerance)
    shapes.arrays("diagnose", {"numeric": "...", "analytic": "..."}, numeric, analytic)
    right, given = to_numpy(numeric).real, to_numpy(analytic).real
    if right.shape != given.shape:
        return Diagnosis("shape", f"the gradient is {given.shape}, expected {right.shape}, as the argument")
    if not np.isfinite(right).all():
        where = _places(~np.isfinite(right), "without a finite slope of the forward")
        return Diagnosis("no slope", f"{where}; choose other inputs")
    if not np.isfinite(given).all():
        where = _places(~np.isfinite(given), "are nan or inf")
        return Diagnosis("not finite", f"{where}: a division by 0, or exp of something large")
    if abs(right).max() <= vacuous and abs(given).max() > 1e6 * vacuous:
        return Diagnosis("not zero", "the gradient should be zero: for such inputs the output does not depend on it")
    if abs(right).max() <= vacuous:
        return Diagnosis("vacuous", f"the numeric gradient is all but zero, {UNCHECKED}")
    for kind, gradient, message in _mistakes(right, given, sizes or {}, tolerance, name, others or {}):
        if _equal(given, gradient, tolerance):
            return Diagnosis(kind, message)
    return _explain_angle(right, given, tolerance)


def _equal(a, b, tolerance):
    return a.shape == b.shape and abs(a - b).max() <= tolerance * abs(b).max()


def _places(bad, what):
    """How many elements, what of them, and where the first is."""
    first = tuple(map(int, np.argwhere(bad)[0]))
    return f"{int(bad.sum())} of {bad.size} elements {what}, first at index {first}"


def _explain_angle(right, given, tolerance):
    """No mistake that is known: how far it is away, and where most."""
    cosine = float((right * given).sum() / math.sqrt((right**2).sum() * (given**2).sum()))
    degrees = math.degrees(math.acos(max(-1.0, min(1.0, cosine))))
    off = abs(given - right)
    wrong = int((off > tolerance * abs(right).max()).sum())
    worst = tuple(map(int, np.unravel_index(off.argmax(), right.shape)))
    return Diagnosis(
        "angle",
        f"it points {degrees:.3g} degrees away from the right gradient; {wrong} of {right.size} elements differ, "
        f"most at index {worst}: {given[worst]:.6g}, expected {right[worst]:.6g}",
    )


# -------------------------------------------------------------------------- mistakes that are known


def _mistakes(right, given, sizes, tolerance, name, others):
    """(kind, the gradient that this mistake gives, message), the plainest first."""
    yield "zero", 0 * right, (
        "the gradient is zero: this path is cut; is a term missing from the sum, or its result not returned?"
    )
    yield "close", right, (
        f"it is right to {tolerance:.0e}: its precision is at fault, or a small term is missing, such as an eps"
    )
    inhibitory = "the inhibitory branch enters with a minus, which its gradient keeps"
    cause = inhibitory if "_inh" in str(name) else "is it subtracted in the forward?"
    yield "sign", -right, f"the sign is wrong: {cause}"
    factor = float((given * right).sum() / (right * right).sum())
    if _equal(given, factor * right, tolerance):
        yield "factor", factor * right, _name_factor(factor, sizes, tolerance)
    for i, j in combinations(range(right.ndim), 2):
        axes = "its last two axes" if i == right.ndim - 2 else f"axes {i} and {j}"
        yield "transposed", right.swapaxes(i, j), (
            f"the gradient is transposed in {axes}: "
            "the factors of a matrix product are swapped, or its result reshaped the other way"
        )
    for other, gradient in others.items():
        for sign, words in ((1, ""), (-1, ", with the wrong sign")):
            yield "branch", sign * to_numpy(gradient), f"this is the gradient of {other}{words}: they are mixed up"
    for axis in range(right.ndim):
        if order := _order(right, given, axis, tolerance):
            yield "order", right.take(order, axis), (
                f"right but in another order along axis {axis}: {_name_order(order)}"
            )
    if right.ndim > 1:
        yield from _rows(right, given, tolerance)


def _name_factor(factor, sizes, tolerance):
    causes = dict(FACTORS)
    for letter, n in sizes.items():
        causes |= {cause.format(letter): n**power for cause, power in POWERS.items() if n != 1}
    likely = [cause for cause, value in causes.items() if abs(abs(factor) - value) <= tolerance * value]
    unknown = "look for a constant that the derivative brings down"
    more = "" if sizes else "; sizes={'d': ..} names more"
    sign = "the sign is wrong, and " if factor < 0 else ""
    times = f"{abs(factor):.6g}" if abs(abs(factor) - 1) > 1e-4 else f"{abs(factor):.12g}"
    return f"{sign}the gradient is {times} times what it should be everywhere: {' or '.join(likely) or unknown}{more}"


def _order(right, given, axis, tolerance):
    """Which row of right, along an axis, stands where in given; nothing if one has no place."""
    n, limit, order = right.shape[axis], tolerance * abs(right).max(), []
    right, given = (np.moveaxis(a, axis, 0).reshape(n, -1) for a in (right, given))
    if n * right.size > 1e7:  # it would take too long
        return []
    for i, row in enumerate(given):
        fits = np.flatnonzero(abs(right - row).max(axis=1) <= limit).tolist()
        free = [j for j in fits if j not in order]
        if not free:
            return []
        order.append(i if i in free else free[0])
    return order


def _name_order(order):
    """Heads, branches or pairs of columns in each other's place."""
    n, straight = len(order), np.arange(len(order))
    known = {}
    for a in (a for a in range(2, n) if n % a == 0):
        words = f"its {n} entries stand as ({n // a}, {a}) where ({a}, {n // a}) belongs: interleaved, or not?"
        known[words] = straight.reshape(a, n // a).T.ravel()
    known["neighbours have changed places: pairs of columns, heads or branches"] = straight ^ 1
    known["its halves have changed places: two branches?"] = (straight + n // 2) % n
    known["from the last to the first"] = straight[::-1]
    fitting = [words for words, likely in known.items() if np.array_equal(order, likely)]
    return fitting[0] if fitting else _name_blocks(np.array(order), straight)


def _name_blocks(order, straight):
    """Which of the largest blocks that have moved as a whole stands where."""
    n = len(order)
    sizes = (b for b in range(n // 2, 0, -1) if n % b == 0)
    b = next(b for b in sizes if np.array_equal(order, straight.reshape(-1, b)[order[::b] // b].ravel()))
    moved = [f"{j} stands at {i}" for i, j in enumerate(order[::b] // b) if i != j]
    what = f"of its {n // b} blocks of {b} " if b > 1 else ""
    return f"{what}{', '.join(moved[:3])}{' ...' if len(moved) > 3 else ''}: heads, branches or columns mixed up?"


def _rows(right, given, tolerance):
    """A factor of its own in each row: a weight per query, forgotten or used twice."""
    telling = (right != 0).sum(axis=-1) >= 2  # two numbers of a row tell a factor from chance
    if telling.sum() < 3:
        return
    dots, squares = (given * right).sum(axis=-1), (right * right).sum(axis=-1)
    factors = np.divide(dots, squares, where=telling, out=np.ones(telling.shape))
    wrong = abs(factors - 1) > tolerance
    low, high = factors[telling].min(), factors[telling].max()
    lost = "lost" if min(abs(low), abs(high)) >= 1 else "there twice, or another one's"
    words = f"each row is off by a factor of its own, {low:.3g} to {high:.3g}: is a gate or lambda {lost}?"
    if wrong.any() and 2 * wrong.sum() <= telling.sum():
        place = tuple(map(int, np.argwhere(wrong)[0]))
        words = (
            f"only {int(wrong.sum())} of {wrong.size} rows are wrong, the first at {place}, "
            f"{factors[place]:.3g} times what it should be: is a loop one short?"
        )
    yield "rows", factors[..., None] * right, words
