"""Exercise 01: items and known mistakes."""

import numpy as np
from grading.items import Item, float32, same_dtype

from dgsa_np.ops import softmax_forward


def items(course):
    """course : the constants of the course, {"TEMPERATURE": 2.0}"""
    t = course["TEMPERATURE"]

    def softmax(scores, mask=None):
        return softmax_forward(scores / t, mask)[0]

    def make(rng):
        return (rng.standard_normal((2, 3, 5)),)

    def make_masked(rng):
        mask = rng.random((2, 1, 4, 6)) < 0.6
        mask[..., 0] |= ~mask.any(axis=-1)
        return rng.standard_normal((2, 3, 4, 6)), mask

    def make_hidden(rng):
        scores, mask = make_masked(rng)
        mask[0, 0, 1] = False
        return scores, mask

    def make_large(rng):
        return (3000 * rng.standard_normal((3, 4)),)

    def plain(scores, mask=None):
        e = np.exp(scores / t) if mask is None else np.exp(scores / t) * mask
        return e / e.sum(axis=-1, keepdims=True)

    def guarded(scores, mask=None):
        e = np.exp(scores / t)
        total = e.sum(axis=-1, keepdims=True)
        return e / np.where(total == 0, 1, total)

    def over(axis):
        def unshifted(scores, mask=None):
            e = np.exp(scores / t)
            return e / e.sum(axis=axis, keepdims=True)

        def shifted(scores, mask=None):
            return unshifted(scores - scores.max(axis=-1, keepdims=True))

        return unshifted, shifted

    axes = {
        "the sum runs over the wrong axis: one query's weights must sum to 1 over its keys, the last axis": over(-2),
        "the sum runs over everything: each row has a sum of its own": over(None),
    }
    hot = {"the scores are not divided by TEMPERATURE": lambda s, m=None: softmax_forward(s, m)[0]} if t != 1 else {}
    swapped = {"the mask is the wrong way round: True means may attend": lambda s, m: softmax_forward(s / t, ~m)[0]}
    late = {
        "the mask comes after the division: what is left of a row does not sum to 1": lambda s, m: softmax(s) * m,
        "masked scores are set to 0, which still is a score: exp(0) = 1": lambda s, m: softmax(np.where(m, s, 0)),
        "the mask is not used": lambda s, m: softmax(s),
    }
    return [
        Item("a softmax over the last axis", 3, "softmax", make, softmax, axes | hot),
        Item("scores of any size", 2, "softmax", make_large, softmax, {
            "exp overflows: subtract the largest score of each row first": (plain, guarded)}),
        Item("a mask", 3, "softmax", make_masked, softmax, swapped | late),
        Item("a row without allowed keys is zero", 1, "softmax", make_hidden, softmax, {
            "a row without allowed keys becomes nan: 0 / 0": plain}),
        Item("the dtype stays", 1, "softmax", lambda rng: float32(*make(rng)), check=same_dtype),
    ]  # fmt: skip
