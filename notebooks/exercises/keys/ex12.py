"""Exercise 12, the same head on tiles: what is right, known mistakes, and the table of items."""

import math
from functools import partial

import numpy as np
from grading.course import for_course
from grading.items import Item, the_dtype_stays
from grading.steps import seen

from dgsa_np.attention import softmax_head_forward

MEMORY = 40  # MiB; an array of 3200 x 5600 float64 has 137, and who unmaps BLAS gains 83
POWERS = {"e": np.exp, "2": np.exp2}
SCALES = {"1/sqrt(d)": lambda d: d**-0.5, "1/d": lambda d: 1 / d}


def power_of(course):
    return POWERS[course["BASE"]]


def scale_of(course):
    return SCALES[course["SCALE"]]


def attention(course, q, k, v, width):
    """The library's head, which divides by sqrt(d) and has base e; 256 queries at a time."""
    q = q * scale_of(course)(q.shape[-1]) * math.sqrt(q.shape[-1]) * math.log(power_of(course)(1.0))
    blocks = [q[i : i + 256] for i in range(0, len(q), 256)]
    return np.concatenate([softmax_head_forward(*(x[None, None] for x in (b, k, v)))[0][0, 0] for b in blocks])


def gated(course, q_exc, k_exc, q_inh, k_inh, v, g, width):
    exc, inh = attention(course, q_exc, k_exc, v, width), attention(course, q_inh, k_inh, v, width)
    return g[:, None] * exc - (1 - g)[:, None] * inh


# ------------------------------------------------------------------------------------- arguments


def queries_and_keys(rng, T, S, d):
    """Scores of the first query rise from key to key, those of the last one fall."""
    q, k = 1.5 * rng.standard_normal((T, d)), 1.5 * rng.standard_normal((S, d))
    q[-1] = -q[0]
    return q, k[np.argsort(k @ q[0])]


def make(rng, T=5, S=12, width=3, d=4, e=6):
    return *queries_and_keys(rng, T, S, d), rng.standard_normal((S, e)), width


def make_ragged(rng):
    return make(rng, T=7, S=6, width=4, d=3, e=5)


def make_far(rng):
    """Scores far above 0 and far below, which rise from key to key or fall, by row.

    The largest stands twice, and all others are far below it: two keys share each row.
    """
    level, slope = np.array([1, 3, -3, -1] * 2), np.array([1, -1, 1, -1] * 2)
    q = 20000 * rng.uniform(0.9, 1.1, (8, 1)) * np.stack([level, slope], axis=1)
    steps = 1 + (np.arange(12) + rng.uniform(0.3, 0.7, 12)) / 12
    k = np.stack([np.ones(14), steps[[0, *range(12), 11]]], axis=1)
    return q, k, rng.standard_normal((14, 3)), 4


def make_many_keys(rng):
    return make(rng, T=3200, S=5600, width=104, d=3, e=2)


def make_many_queries(rng):
    return make(rng, T=5600, S=3200, width=96, d=2, e=3)


def make_gated(rng, T=6, S=7, width=3, d=5, e=6):
    heads = *queries_and_keys(rng, T, S, d), *queries_and_keys(rng, T, S, d)
    return *heads, rng.standard_normal((S, e)), rng.uniform(0.1, 0.9, T), width


def make_single(rng):
    """One tile with room to spare."""
    return make_gated(rng, T=5, S=9, width=16, d=4, e=3)


# ------------------------------------------- the tiles, with parts that a mistake may exchange


def fading(power, m_old, m):
    return power(m_old - m)


def running_maximum(m, S):
    return np.maximum(m, S.max(axis=-1, keepdims=True))


def all_tiles(n_keys, width):
    return range(0, n_keys, width)


def divided(o, total, last):
    """last : the sum of the last tile"""
    return o / total


def streamed(course, q, k, v, width, *, power=power_of, scale=scale_of, begin=-np.inf, highest=running_maximum,
        fade_total=fading, fade_o=fading, tiles=all_tiles, end=divided):  # fmt: skip
    """Attention tile by tile. begin, highest : where the maximum begins, and what becomes of it"""
    power, q = power(course), q * scale(course)(q.shape[-1])
    m = np.full((len(q), 1), begin)
    total, o, last = np.zeros_like(m), np.zeros((len(q), v.shape[-1])), np.zeros_like(m)
    for i in tiles(len(k), width):
        S = q @ k[i : i + width].T
        m_old, m = m, highest(m, S)
        E = power(S - m)
        last = E.sum(axis=-1, keepdims=True)
        total = fade_total(power, m_old, m) * total + last
        o = fade_o(power, m_old, m) * o + E @ v[i : i + width]
    return end(o, total, last)


def but(**parts):
    return partial(streamed, **parts)


# ------------------------------------------------------------------- mistakes in what fades


def no_fading(power, m_old, m):
    return 1.0


def rising(power, m_old, m):
    return power(m - m_old)


def rising_guarded(power, m_old, m):
    return np.where(np.isfinite(m_old), power(m - m_old), 0)


def maximum_of_tile(m, S):
    return S.max(axis=-1, keepdims=True)


def softmax_of_each_tile(course, q, k, v, width):
    starts = range(0, len(k), width)
    return [attention(course, q, k[i : i + width], v[i : i + width], width) for i in starts]


def tiles_added(course, *arguments):
    return sum(softmax_of_each_tile(course, *arguments))


def mean_of_tiles(course, *arguments):
    outputs = softmax_of_each_tile(course, *arguments)
    return sum(outputs) / len(outputs)


def divided_by_last(o, total, last):
    return o / last


def not_divided(o, total, last):
    return o


def divided_by_sum_of_all(o, total, last):
    return o / total.sum()


total_does_not_fade = but(fade_total=no_fading)
o_does_not_fade = but(fade_o=no_fading)
nothing_fades = but(fade_total=no_fading, fade_o=no_fading)
all_rises = but(fade_total=rising, fade_o=rising)
all_rises_from_low = but(fade_total=rising, fade_o=rising, begin=-1e30)
all_rises_guarded = but(fade_total=rising_guarded, fade_o=rising_guarded)
own_maximum = but(fade_total=no_fading, fade_o=no_fading, highest=maximum_of_tile)
own_maximum_from_zero = but(fade_total=no_fading, fade_o=no_fading, highest=maximum_of_tile, begin=0.0)

WRONG_FADING = {
    total_does_not_fade: "the sum does not fade: where the maximum rises, all that was summed is too large",
    o_does_not_fade: "o does not fade: where the maximum rises, all that was summed is too large",
    nothing_fades: "neither the sum nor o fades where the maximum rises",
    (all_rises, all_rises_from_low, all_rises_guarded):
        "it fades the wrong way round: exp(m_old - m) is at most 1",
    tiles_added: "each tile is divided by its own sum, and the outputs are added",
    mean_of_tiles: "the mean of the tiles' outputs is taken: tiles do not weigh the same",
    but(end=divided_by_last): "o is divided by the sum of the last tile alone",
    but(end=not_divided): "the division by the sum is missing",
    (own_maximum, own_maximum_from_zero): "each tile measures from its own maximum: all must have one",
    but(end=divided_by_sum_of_all): "one sum serves all queries: each row has its own",
}  # fmt: skip

# ------------------------------------------------- mistakes in scale, base, tiles and maximum


def other_scale(course):
    return SCALES["1/d" if course["SCALE"] == "1/sqrt(d)" else "1/sqrt(d)"]


def no_scale(course):
    return lambda d: 1.0


def scale_divides(course):
    return lambda d: 1 / scale_of(course)(d)


def other_power(course):
    return POWERS["2" if course["BASE"] == "e" else "e"]


def wrong_form(course):
    other = next(name for name in SCALES if name != course["SCALE"])
    return {
        but(scale=other_scale): f"the scale is {other}: your course has SCALE = {course['SCALE']}",
        but(scale=no_scale): "the scores are not scaled",
        but(scale=scale_divides): "the scores are divided by the scale: multiply",
        but(power=other_power): f"the base is wrong: your course has BASE = {course['BASE']}",
    }


def full_tiles(n_keys, width):
    return range(0, n_keys - width + 1, width)


def without_last_tile(n_keys, width):
    return range(0, n_keys - width, width)


def without_first_tile(n_keys, width):
    return range(width, n_keys, width)


def first_tile(n_keys, width):
    return range(0, 1)


LEFT_OUT = {
    but(tiles=without_last_tile): "the last tile is left out",
    but(tiles=without_first_tile): "the first tile is left out",
    but(tiles=first_tile): "only the first tile is seen",
}
LEFT_OVER = {but(tiles=full_tiles): "the keys after the last full tile are left out"}


def maximum_of_all(m, S):
    return np.maximum(m, S.max())


def always_zero(m, S):
    return np.zeros_like(m)


maximum_is_zero = but(highest=always_zero, begin=0.0)
no_maximum = but(fade_total=no_fading, fade_o=no_fading, highest=always_zero, begin=0.0)
maximum_begins_at_zero = but(begin=0.0)

WRONG_MAXIMUM = {
    but(highest=maximum_of_all): "one maximum serves all queries: rows far below it have the sum 0",
    but(highest=maximum_of_tile):
        "the running maximum may fall: then what was summed grows, and exp overflows",
    (maximum_is_zero, no_maximum): "exp overflows: subtract the largest score so far",
    maximum_begins_at_zero: "the maximum begins at 0: where all scores are far below, the sum is 0",
}  # fmt: skip

# ----------------------------------------------------------------- mistakes in the gated head


def mixed(course, q_exc, k_exc, q_inh, k_inh, v, g, width, *, rule):
    exc, inh = attention(course, q_exc, k_exc, v, width), attention(course, q_inh, k_inh, v, width)
    return rule(exc, inh, g[:, None])


def rule(formula):
    return partial(mixed, rule=formula)


inhibition_added = rule(lambda exc, inh, g: g * exc + (1 - g) * inh)
g_exchanged = rule(lambda exc, inh, g: (1 - g) * exc - g * inh)
both_weighed_by_g = rule(lambda exc, inh, g: g * (exc - inh))
inhibition_not_weighed = rule(lambda exc, inh, g: g * exc - inh)
excitation_not_weighed = rule(lambda exc, inh, g: exc - (1 - g) * inh)
gate_not_used = rule(lambda exc, inh, g: exc - inh)
of_other_sign = rule(lambda exc, inh, g: (1 - g) * inh - g * exc)
g_along_columns = rule(lambda exc, inh, g: g[:, 0] * exc - (1 - g[:, 0]) * inh)
g_as_logit = rule(lambda exc, inh, g: exc / (1 + np.exp(-g)) - inh / (1 + np.exp(g)))


def inhibition_takes_k_exc(course, q_exc, k_exc, q_inh, k_inh, *others):
    return gated(course, q_exc, k_exc, q_inh, k_exc, *others)


def inhibition_takes_q_exc(course, q_exc, k_exc, q_inh, k_inh, *others):
    return gated(course, q_exc, k_exc, q_exc, k_inh, *others)


def both_excitatory(course, q_exc, k_exc, q_inh, k_inh, *others):
    return gated(course, q_exc, k_exc, q_exc, k_exc, *others)


def both_inhibitory(course, q_exc, k_exc, q_inh, k_inh, *others):
    return gated(course, q_inh, k_inh, q_inh, k_inh, *others)


def gated_from(course, q_exc, k_exc, q_inh, k_inh, v, g, width, *, mistake):
    """The right gated head, made of wrong outputs of the tiles."""
    exc, inh = mistake(course, q_exc, k_exc, v, width), mistake(course, q_inh, k_inh, v, width)
    return g[:, None] * exc - (1 - g)[:, None] * inh


def follows(mistakes):
    """Each mistake in the tiles, as it is seen in the gated head."""
    told = "it follows from streamed_attention, which is wrong: mend that first"
    return seen(lambda mistake: partial(gated_from, mistake=mistake), dict.fromkeys(mistakes, told))


WRONG_GATE = {
    inhibition_added: "the inhibitory output is added: it is subtracted",
    g_exchanged: "g and 1 - g are exchanged",
    both_weighed_by_g: "both outputs are weighed by g: the inhibitory one gets 1 - g",
    inhibition_not_weighed: "the inhibitory output is not weighed: it gets 1 - g",
    excitation_not_weighed: "the excitatory output is not weighed: it gets g",
    gate_not_used: "the gate is not used",
    of_other_sign: "the sign is wrong: excitatory minus inhibitory",
    g_along_columns: "g runs along the columns of o: there is one gate per query, a row",
    g_as_logit: "g is used as a logit: it is the gate itself",
    inhibition_takes_k_exc: "the inhibitory branch takes k_exc",
    inhibition_takes_q_exc: "the inhibitory branch takes q_exc",
    both_excitatory: "both outputs are the excitatory one",
    both_inhibitory: "both outputs are the inhibitory one",
}


def items(course):
    """course : the constants of the course, {"BASE": "e", "SCALE": "1/d"}"""
    call, form = "streamed_attention", wrong_form(course)
    wrong = WRONG_FADING | form
    gate = WRONG_GATE | follows(wrong | LEFT_OUT | LEFT_OVER)
    return for_course(course, [
        Item("tiles of equal width", 1, call, make, attention, LEFT_OUT | wrong),
        Item("a last tile with fewer keys", 1, call, make_ragged, attention, LEFT_OVER | wrong),
        Item("scores far above 0 and far below", 1, call, make_far, attention, WRONG_MAXIMUM),
        Item("the gated head", 1, "gated_streamed", make_gated, gated, gate),
        Item("memory that grows with T + S, many keys", 4, call, make_many_keys, attention, memory=MEMORY),
        Item("memory that grows with T + S, many queries", 3, call, make_many_queries, attention, memory=MEMORY),
        the_dtype_stays(1, "gated_streamed", make_single, gated),
    ])  # fmt: skip
