"""What kind of mistake turns a right gradient into a wrong one? Guessed from the two alone."""

import math
from itertools import combinations
from typing import NamedTuple

import numpy as np

from . import shapes
from .backend import to_numpy

UNCHECKED = "so nothing is checked; choose other inputs"


class Diagnosis(NamedTuple):
    kind: str  # a word: "sign", "factor", "transposed", "branch", "order", "rows", "angle", "zero", "close" and so on
    message: str


def diagnose(numeric, analytic, sizes=None, vacuous=0.0, tolerance=1e-6, name="", others=None) -> Diagnosis:
    """What kind of mistake turns the numeric gradient into the analytic one.

    sizes   : {"d": 4, "T": 5}, the sizes that a forgotten factor may come from
    vacuous : a numeric gradient no larger than this checks nothing
    name    : of the argument; others : {name: numeric gradient} of the other arguments, to find one in its place
    """
    shapes.instance("diagnose", (dict, type(None)), sizes=sizes, others=others)
    shapes.number("diagnose", low=0, vacuous=vacuous, tolerance=tolerance)
    shapes.arrays("diagnose", {"numeric": "...", "analytic": "..."}, numeric, analytic)
    numeric, analytic = to_numpy(numeric).real, to_numpy(analytic).real
    if numeric.shape != analytic.shape:
        return Diagnosis("shape", f"the gradient is {analytic.shape}, expected {numeric.shape}, as the argument")
    if not np.isfinite(numeric).all():
        where = _places(~np.isfinite(numeric), "without a finite slope of the forward")
        return Diagnosis("no slope", f"{where}; choose other inputs")
    if not np.isfinite(analytic).all():
        why = "a division by 0, or exp of something large"
        return Diagnosis("not finite", f"{_places(~np.isfinite(analytic), 'are nan or inf')}: {why}")
    if not abs(numeric).max(initial=0) > vacuous:
        return _explain_nothing(analytic, vacuous)
    if not analytic.any():
        why = "is a term missing from the sum, or its result not returned?"
        return Diagnosis("zero", f"the gradient is zero: this path is cut; {why}")
    if _close(analytic, numeric, tolerance):
        lost = "its precision is at fault, or a small term is missing, such as an eps"
        return Diagnosis("close", f"it is right to {tolerance:.0e}: {lost}")
    factor = float((analytic * numeric).sum() / (numeric * numeric).sum())
    if _close(analytic, factor * numeric, tolerance):
        return _explain_factor(factor, sizes or {}, tolerance, name)
    for kind, guess, message in _guesses(numeric, others or {}):
        if guess.shape == analytic.shape and _close(analytic, guess, tolerance):
            return Diagnosis(kind, message)
    for explain in (_explain_order, _explain_rows, _explain_angle):
        if said := explain(numeric, analytic, tolerance):
            return said


def _close(a, b, tolerance):
    return abs(a - b).max(initial=0) <= tolerance * abs(b).max(initial=0)


def _places(bad, what):
    """How many elements, what of them, and where the first is."""
    first = tuple(map(int, np.argwhere(bad)[0]))
    return f"{int(bad.sum())} of {bad.size} elements {what}, first at index {first}"


def _explain_nothing(analytic, vacuous):
    if abs(analytic).max(initial=0) > 1e6 * vacuous:
        return Diagnosis("not zero", "the gradient should be zero: for such inputs the output does not depend on it")
    return Diagnosis("vacuous", f"the numeric gradient is all but zero, {UNCHECKED}")


def _guesses(numeric, others):
    """What may stand in the place of the right gradient."""
    for i, j in combinations(range(numeric.ndim), 2):
        last = "its last two axes" if i == numeric.ndim - 2 else f"axes {i} and {j}"
        why = "the factors of a matrix product are swapped, or its result reshaped the other way"
        yield "transposed", numeric.swapaxes(i, j), f"the gradient is transposed in {last}: {why}"
    for other, gradient in others.items():
        for sign, words in ((1, ""), (-1, ", with the wrong sign")):
            yield "branch", sign * to_numpy(gradient), f"this is the gradient of {other}{words}: they are mixed up"


def _explain_order(numeric, analytic, tolerance):
    """Right but for the order along an axis: heads, branches or pairs of columns in each other's place."""
    for axis, n in enumerate(numeric.shape):
        order = _order(*(np.moveaxis(g, axis, 0).reshape(n, -1) for g in (numeric, analytic)), tolerance)
        if order is not None:
            return Diagnosis("order", f"right but in another order along axis {axis}: {_name_order(order)}")
    return None


def _order(right, given, tolerance):
    """Which row of right stands where in given; None unless each row has its place, another than its own."""
    n, limit, order = len(right), tolerance * abs(right).max(), []
    if n * right.size > 1e7:
        return None
    for i, row in enumerate(given):
        fits = np.flatnonzero(abs(right - row).max(axis=1) <= limit)
        free = [int(j) for j in fits if j not in order]
        if not free:
            return None
        order.append(i if i in free else free[0])
    return None if order == list(range(n)) else order


def _name_order(order):
    n = len(order)
    for a in range(2, n):
        if n % a == 0 and order == np.arange(n).reshape(a, n // a).T.ravel().tolist():
            return f"its {n} entries stand as ({n // a}, {a}) where ({a}, {n // a}) belongs: interleaved, or not?"
    if order == [i ^ 1 for i in range(n)]:
        return "neighbours have changed places: pairs of columns, heads or branches"
    if order == [(i + n // 2) % n for i in range(n)]:
        return "its halves have changed places: two branches?"
    if order == list(range(n))[::-1]:
        return "from the last to the first"
    b = next(b for b in range(n // 2, 0, -1) if n % b == 0 and _moves_as_blocks(order, b))
    moved = [f"{j // b} stands at {i // b}" for i, j in enumerate(order) if i != j and i % b == 0]
    what = f"of its {n // b} blocks of {b} " if b > 1 else ""
    return f"{what}{', '.join(moved[:3])}{' ...' if len(moved) > 3 else ''}: heads, branches or columns mixed up?"


def _moves_as_blocks(order, b):
    blocks = np.reshape(order, (-1, b))
    return bool((blocks[:, 0] % b == 0).all() and (blocks == blocks[:, :1] + np.arange(b)).all())


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
    unknown = "look for a constant that the derivative brings down" + ("" if sizes else "; sizes={'d': ..} names more")
    why = " or ".join(likely) or unknown
    also = "the sign is wrong, and " if factor < 0 else ""
    shown = f"{abs(factor):.6g}" if abs(abs(factor) - 1) > 1e-4 else f"{abs(factor):.12g}"
    return Diagnosis("factor", f"{also}the gradient is {shown} times what it should be everywhere: {why}")


def _explain_rows(numeric, analytic, tolerance):
    """Right but for a factor of its own in each row: a weight per query, forgotten or used twice."""
    width = numeric.shape[-1] if numeric.ndim >= 2 else 0
    right, given = (g.reshape(-1, width) for g in (numeric, analytic)) if width else (numeric, analytic)
    telling = (right != 0).sum(axis=-1) >= 2  # two numbers of a row tell a factor from chance
    if not width or telling.sum() < 3 or not _close(given[~telling], right[~telling], tolerance):
        return None
    factors = (given * right).sum(axis=-1)[telling] / (right * right).sum(axis=-1)[telling]
    if not _close(given[telling], factors[:, None] * right[telling], tolerance):
        return None
    wrong = abs(factors - 1) > tolerance
    if 2 * wrong.sum() <= len(wrong):
        row = int(np.flatnonzero(telling)[wrong.argmax()])
        place = tuple(map(int, np.unravel_index(row, numeric.shape[:-1])))
        how = f"only {int(wrong.sum())} of {len(right)} rows are wrong, the first at {place}"
        return Diagnosis("rows", f"{how}, {factors[wrong][0]:.3g} times what it should be: is a loop one short?")
    low, high = float(factors.min()), float(factors.max())
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
