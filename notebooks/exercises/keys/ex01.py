"""Exercise 01, softmax forward: what is right, known mistakes, and the table of items."""

import numpy as np
from grading.course import for_course
from grading.items import Item, float32, same_dtype

from dgsa_np.ops import softmax_forward


def softmax(course, scores, mask=None):
    return softmax_forward(scores / course["TEMPERATURE"], mask)[0]


# ------------------------------------------------------------------------------------- arguments


def make(rng):
    return (rng.standard_normal((2, 3, 5)),)


def make_masked(rng):
    mask = rng.random((2, 1, 4, 6)) < 0.6
    mask[..., 0] |= ~mask.any(axis=-1)
    return rng.standard_normal((2, 3, 4, 6)), mask


def make_hidden(rng):
    """With a row that has no allowed key."""
    scores, mask = make_masked(rng)
    mask[0, 0, 1] = False
    return scores, mask


def make_large(rng):
    return (3000 * rng.standard_normal((3, 4)),)


def make_single(rng):
    return float32(*make(rng))


# -------------------------------------------------------------------------------------- mistakes


def exponentials(course, scores):
    return np.exp(scores / course["TEMPERATURE"])


def minus_largest(scores):
    return scores - scores.max(axis=-1, keepdims=True)


def without_largest(course, scores, mask=None):
    e = exponentials(course, scores) if mask is None else exponentials(course, scores) * mask
    return e / e.sum(axis=-1, keepdims=True)


def without_largest_guarded(course, scores):
    e = exponentials(course, scores)
    total = e.sum(axis=-1, keepdims=True)
    return e / np.where(total == 0, 1, total)


def over_queries(course, scores):
    e = exponentials(course, scores)
    return e / e.sum(axis=-2, keepdims=True)


def over_queries_minus_largest(course, scores):
    return over_queries(course, minus_largest(scores))


def over_everything(course, scores):
    e = exponentials(course, scores)
    return e / e.sum()


def over_everything_minus_largest(course, scores):
    return over_everything(course, minus_largest(scores))


def without_temperature(scores):
    return softmax_forward(scores)[0]


def mask_inverted(course, scores, mask):
    return softmax(course, scores, ~mask)


def mask_after_division(course, scores, mask):
    return softmax(course, scores) * mask


def masked_score_is_zero(course, scores, mask):
    return softmax(course, np.where(mask, scores, 0))


def mask_ignored(course, scores, mask):
    return softmax(course, scores)


WRONG_SUMS = {
    (over_queries, over_queries_minus_largest):
        "the sum runs over the wrong axis: one query's weights must sum to 1 over its keys, the last axis",
    (over_everything, over_everything_minus_largest):
        "the sum runs over everything: each row has a sum of its own",
}  # fmt: skip
OVERFLOW = {
    (without_largest, without_largest_guarded): "exp overflows: subtract the largest score of each row first",
}
WRONG_MASKS = {
    mask_inverted: "the mask is the wrong way round: True means may attend",
    mask_after_division: "the mask comes after the division: what is left of a row does not sum to 1",
    masked_score_is_zero: "masked scores are set to 0, which still is a score: exp(0) = 1",
    mask_ignored: "the mask is not used",
}
NO_KEY = {without_largest: "a row without allowed keys becomes nan: 0 / 0"}
NO_TEMPERATURE = {without_temperature: "the scores are not divided by TEMPERATURE"}


def items(course):
    """course : the constants of the course, {"TEMPERATURE": 2.0}"""
    wrong = WRONG_SUMS if course["TEMPERATURE"] == 1 else WRONG_SUMS | NO_TEMPERATURE
    return for_course(course, [
        Item("a softmax over the last axis", 3, "softmax", make, softmax, wrong),
        Item("scores of any size", 2, "softmax", make_large, softmax, OVERFLOW),
        Item("a mask", 3, "softmax", make_masked, softmax, WRONG_MASKS),
        Item("a row without allowed keys is zero", 1, "softmax", make_hidden, softmax, NO_KEY),
        Item("the dtype stays", 1, "softmax", make_single, check=same_dtype),
    ])  # fmt: skip
