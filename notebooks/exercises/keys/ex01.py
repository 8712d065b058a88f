"""Exercise 01, softmax forward: what is right, known mistakes, and the table of items."""

from functools import partial

import numpy as np
from grading.course import for_course
from grading.items import Item, the_dtype_stays
from grading.slips import MASKED_BY_NUMBER, NO_KEY_LEFT

from dgsa_np.ops import softmax_forward


def softmax(course, scores, mask=None):
    return softmax_forward(scores / course["TEMPERATURE"], mask)[0]


# ------------------------------------------------------------------------------------- arguments


def make(rng):
    return (rng.standard_normal((2, 3, 7, 4)),)


def make_masked(rng):
    """Every row has keys that are allowed and keys that are not."""
    allowed = rng.permuted(np.tile(np.arange(6) < 3, (2, 1, 4, 1)), axis=-1)
    return rng.standard_normal((2, 3, 4, 6)), allowed


def make_hidden(rng):
    """With a row in each entry of the batch that has no allowed key."""
    scores, mask = make_masked(rng)
    mask[0, 0, 1] = mask[1, 0, 3] = False
    return scores, mask


def make_far_hidden(rng):
    """What is forbidden is far above what is allowed; in half of the rows both are far below 0."""
    allowed = rng.permuted(np.tile(np.arange(6) < 3, (1, 1, 4, 1)), axis=-1)
    level = rng.permuted(np.tile([0, -1], (2, 3, 2)), axis=-1)[..., None] * rng.uniform(4000, 6000, (2, 3, 4, 1))
    return rng.standard_normal((2, 3, 4, 6)) + level + np.where(allowed, 0, 5000), allowed


def make_large(rng):
    """Rows far above 0, rows far below, and rows whose scores are far apart."""
    scores, level = rng.standard_normal((3, 6, 5)), rng.uniform(4000, 6000, (3, 6, 1))
    apart = rng.permuted(np.tile([1, -1, 0, 0.5, -0.5], (3, 2, 1)), axis=-1)
    far = np.concatenate([np.ones((3, 2, 5)), -np.ones((3, 2, 5)), apart], axis=1)
    return (scores + level * far,)


# -------------------------------------------------------------------------------------- mistakes


def exponentials(course, scores):
    return np.exp(scores / course["TEMPERATURE"])


def divided(e, total):
    return e / total


def guarded(e, total):
    return e / np.where(total == 0, 1, total)


def over(axis, course, scores, divide=divided):
    """The sum over other axes."""
    e = exponentials(course, scores - scores.max(axis=-1, keepdims=True))
    return divide(e, e.sum(axis=axis, keepdims=True))


def over_queries(course, scores):
    return over(-2, course, scores)


def over_queries_without_largest(course, scores):
    e = exponentials(course, scores)
    return e / e.sum(axis=-2, keepdims=True)


def over_everything(course, scores):
    return over(None, course, scores)


def over_everything_without_largest(course, scores):
    e = exponentials(course, scores)
    return e / e.sum()


def over_columns(course, scores):
    """Softmax over the queries, the largest subtracted over them too."""
    return softmax(course, scores.swapaxes(-1, -2)).swapaxes(-1, -2)


def without_temperature(scores):
    return softmax_forward(scores)[0]


def temperature_multiplied(course, scores):
    return softmax_forward(scores * course["TEMPERATURE"])[0]


def minus(what, divide, course, scores):
    e = exponentials(course, scores - what(scores))
    return divide(e, e.sum(axis=-1, keepdims=True))


def subtracting(what):
    """Something else than a row's largest, with and without a guard against 0 / 0."""

    def plain(course, scores):
        return minus(what, divided, course, scores)

    def with_guard(course, scores):
        return minus(what, guarded, course, scores)

    return plain, with_guard


def clipped(limit):
    def at(course, scores):
        return softmax_forward(np.clip(scores / course["TEMPERATURE"], -limit, limit))[0]

    return at


def mask_inverted(course, scores, mask):
    return softmax(course, scores, ~mask)


def mask_after_division(course, scores, mask):
    return softmax(course, scores) * mask


def masked_score_is_zero(course, scores, mask):
    return softmax(course, np.where(mask, scores, 0))


def mask_ignored(course, scores, mask):
    return softmax(course, scores)


def zero_by_zero(course, scores, mask):
    e = exponentials(course, scores) * mask
    return e / e.sum(axis=-1, keepdims=True)


def mask_after_exp(divide, forbidden=None):
    """The largest score is one of all; forbidden : what stands in the place of forbidden ones."""

    def A(course, scores, mask):
        z = scores / course["TEMPERATURE"]
        z = z if forbidden is None else np.where(mask, z, forbidden)
        e = np.exp(z - z.max(axis=-1, keepdims=True)) * mask
        return divide(e, e.sum(axis=-1, keepdims=True))

    return A


def masked_by_number(course, scores, mask, *, masked):
    return softmax_forward(masked(scores / course["TEMPERATURE"], mask))[0]


def masked_by_number_first(course, scores, mask, *, masked):
    return softmax(course, masked(scores, mask))


WRONG_SUMS = {
    (over_queries, over_queries_without_largest, over_columns):
        "the sum runs over the wrong axis: one query's weights must sum to 1 over its keys, the last axis",
    (over_everything, over_everything_without_largest):
        "the sum runs over everything: each row has a sum of its own",
    without_temperature: "the scores are not divided by TEMPERATURE",
    temperature_multiplied: "the scores are multiplied by TEMPERATURE, which divides them",
}  # fmt: skip
OVERFLOW = {
    subtracting(lambda scores: 0): "exp overflows: subtract the largest score of each row first",
    subtracting(lambda scores: scores.mean(axis=-1, keepdims=True)):
        "exp overflows: the mean of a row may be far below its largest score",
    subtracting(lambda scores: scores.min(axis=-1, keepdims=True)):
        "exp overflows: the largest score of a row is to be subtracted, not the smallest",
    subtracting(lambda scores: scores.max()):
        "one largest score serves all rows: those far below it have the sum 0; each row has its own",
    subtracting(lambda scores: scores.max(axis=-2, keepdims=True)):
        "the largest score runs over the queries: each row has its own",
    tuple(map(clipped, (50, 100, 300, 500, 700))): "the scores are clipped: far above 0 they still differ",
}  # fmt: skip
WRONG_MASKS = {
    mask_inverted: "the mask is the wrong way round: True means may attend",
    mask_after_division: "the mask comes after the division: what is left of a row does not sum to 1",
    masked_score_is_zero: "masked scores are set to 0, which still is a score: exp(0) = 1",
    mask_ignored: "the mask is not used",
}
NO_KEY = {
    zero_by_zero: "a row without allowed keys becomes nan: 0 / 0",
    tuple(partial(f, masked=m) for m in MASKED_BY_NUMBER for f in (masked_by_number, masked_by_number_first)):
        NO_KEY_LEFT,
}  # fmt: skip


FAR_HIDDEN = {
    (mask_after_exp(divided), mask_after_exp(guarded)):
        "the largest score is taken among the forbidden ones too: far above the allowed, it leaves nothing of them",
    tuple(mask_after_exp(divide, number) for number in (0, -100, -1000) for divide in (divided, guarded)):
        "forbidden scores are replaced by a number, which may lie far above the allowed ones: -inf cannot",
}  # fmt: skip


def items(course):
    """course : the constants of the course, {"TEMPERATURE": 2.0}"""
    return for_course(course, [
        Item("a softmax over the last axis", 3, "softmax", make, softmax, WRONG_SUMS),
        Item("scores of any size", 2, "softmax", make_large, softmax, OVERFLOW),
        Item("a mask", 2, "softmax", make_masked, softmax, WRONG_MASKS),
        Item("one mask for all, forbidden scores far above", 1, "softmax", make_far_hidden, softmax, FAR_HIDDEN),
        Item("a row without allowed keys is zero", 1, "softmax", make_hidden, softmax, NO_KEY | WRONG_MASKS),
        the_dtype_stays(1, "softmax", make_masked, softmax),
    ])  # fmt: skip
