"""Exercise 08, a norm for each head: what is right, known mistakes, and the table of items."""

from functools import partial

import numpy as np
from grading.course import for_course
from grading.items import Item, the_dtype_stays
from grading.steps import follow, seen

from dgsa_np.ops import layernorm_backward, layernorm_forward, rmsnorm_backward, rmsnorm_forward

EPS = 1e-5


def is_rms(course):
    return course["NORM"] == "rms"


def factor(course, lambda_init):
    return 1 - lambda_init if course["FACTOR"] else 1


def output(course, o, w, lambda_init):
    y, _ = rmsnorm_forward(o, w, EPS) if is_rms(course) else layernorm_forward(o, w, 0 * w, EPS)
    return factor(course, lambda_init) * y


def gradients(course, o, w, lambda_init, dh):
    dy = factor(course, lambda_init) * dh
    if is_rms(course):
        return rmsnorm_backward(dy, rmsnorm_forward(o, w, EPS)[1])
    return layernorm_backward(dy, layernorm_forward(o, w, 0 * w, EPS)[1])[:2]


def d_output(course, *arguments):
    return gradients(course, *arguments)[0]


def d_gain(course, *arguments):
    return gradients(course, *arguments)[1]


def both(course, *arguments, do=d_output, dw=d_gain):
    return do(course, *arguments), dw(course, *arguments)


# ------------------------------------------------------------------------------------- arguments


def make(rng, B=2, H=3, T=5, e=7):
    o = rng.uniform(0.5, 2, (B, H, T, 1)) * (rng.standard_normal((B, H, T, e)) + 0.5)
    return o, 1 + 0.5 * rng.standard_normal(e), float(rng.uniform(0.6, 0.9))


def make_small(rng, B=3, H=2, T=4, e=6):
    """With mean squares near EPS."""
    o, *others = make(rng, B, H, T, e)
    return 3e-3 * o, *others


def make_backward(rng, B=2, H=3, T=4, e=5, made=make):
    o, *others = made(rng, B, H, T, e)
    return o, *others, rng.standard_normal(o.shape)


def make_large_backward(rng):
    """Beside which EPS is lost in single precision."""
    o, *others = make_backward(rng)
    return 10 * o, *others


def make_small_backward(rng):
    return make_backward(rng, made=make_small)


def make_many_rows(rng):
    """So many numbers that a numeric derivative takes minutes."""
    return make_backward(rng, B=4, H=5, T=100, e=20)


# ----------------------------------------------------------- the steps that a mistake may change


def mean(x, axis=-1):
    return x.mean(axis=axis, keepdims=True)


def total(x):
    return x.sum(axis=(0, 1, 2))


def centred(n, x, axis=-1):
    """What LayerNorm does first, and in the backward last; RMSNorm does not."""
    return x if n.is_rms else x - mean(x, axis)


def inverse_size(x, axis=-1):
    return 1 / np.sqrt(mean(x * x, axis) + EPS)


FORWARD = {
    "factor": lambda n: 1 - n.lambda_init if n.has_factor else 1,
    "gain": lambda n: n.w,
    "c": lambda n: centred(n, n.o),
    "r": lambda n: inverse_size(n.c),
    "n": lambda n: n.c * n.r,
    "h": lambda n: n.factor * n.gain * n.n,
}
BACKWARD = {
    "dn": lambda n: n.factor * n.gain * n.dh,
    "dc": lambda n: n.r * (n.dn - n.n * mean(n.dn * n.n)),
    "do": lambda n: centred(n, n.dc),
    "dw": lambda n: n.factor * total(n.dh * n.n),
}


def forward(course, o, w, lambda_init, **slips):
    switches = {"is_rms": is_rms(course), "has_factor": course["FACTOR"]}
    return follow(FORWARD, slips, **switches, o=o, w=w, lambda_init=lambda_init).h


def backward(course, o, w, lambda_init, dh, *, result, **slips):
    """result : "do" or "dw" """
    switches = {"is_rms": is_rms(course), "has_factor": course["FACTOR"]}
    known = follow(FORWARD | BACKWARD, slips, **switches, o=o, w=w, lambda_init=lambda_init, dh=dh)
    return vars(known)[result]


def h_but(**slips):
    return partial(forward, **slips)


def do_but(**slips):
    return partial(backward, result="do", **slips)


def dw_but(**slips):
    return partial(backward, result="dw", **slips)


# ------------------------------- slips of one step, which have their mark in h, and in do or dw too


def no_factor(n):
    return 1


def factor_is_lambda(n):
    return n.lambda_init


def factor_divides(n):
    return 1 / (1 - n.lambda_init)


def factor_twice(n):
    return (1 - n.lambda_init) ** 2


def factor_is_one_plus_lambda(n):
    return 1 + n.lambda_init


def factor_not_asked_for(n):
    return 1 - n.lambda_init


FACTORS = {
    no_factor: "the factor 1 - lambda_init is missing",
    factor_is_lambda: "the factor is 1 - lambda_init, not lambda_init",
    factor_divides: "it is multiplied by 1 - lambda_init, not divided",
    factor_twice: "the factor 1 - lambda_init comes twice",
    factor_is_one_plus_lambda: "the factor is 1 - lambda_init, not 1 + lambda_init",
}
NO_FACTORS = {factor_not_asked_for: "FACTOR is False: lambda_init plays no part"}


def factors(course):
    return FACTORS if course["FACTOR"] else NO_FACTORS


def r_of_sum(n):
    return 1 / np.sqrt(n.c.shape[-1] * mean(n.c * n.c) + EPS)


def r_without_root(n):
    return 1 / (mean(n.c * n.c) + EPS)


def r_without_eps(n):
    return 1 / np.sqrt(mean(n.c * n.c))


def r_with_eps_outside(n):
    return 1 / (np.sqrt(mean(n.c * n.c)) + EPS)


def r_of_absolute_values(n):
    return 1 / (mean(abs(n.c)) + EPS)


def r_inverted(n):
    return 1 / inverse_size(n.c)


def r_of_unbiased_variance(n):
    width = n.c.shape[-1]
    return 1 / np.sqrt(mean(n.c * n.c) * width / (width - 1) + EPS)


SIZES = {
    r_of_sum: "a sum stands where the mean of the squares belongs",
    r_without_root: "the root is missing: the mean square is the square of the size",
    r_without_eps: "EPS is not added to the mean square, under the root",
    r_with_eps_outside: "EPS stands outside the root: sqrt(mean + EPS)",
    r_of_absolute_values: "the mean of the absolute values stands where the root of the mean square belongs",
    r_inverted: "it is multiplied by the size: divide by it",
    r_of_unbiased_variance: "the variance is divided by e - 1: it is a mean, over e",
}

# ----------------------------------------------------------------------------- mistakes in h


def mean_over_axis(axis, centre_axis):
    return h_but(c=lambda n: centred(n, n.o, centre_axis), r=lambda n: inverse_size(n.c, axis))


no_gain = h_but(gain=lambda n: 1 + 0 * n.w)
gain_is_one_plus_w = h_but(gain=lambda n: 1 + n.w)
means_over_wrong_axis = tuple(
    mean_over_axis(axis, centre)
    for axis in (-2, 1, 0, (1, 3), (2, 3), (1, 2, 3), None)
    for centre in (axis, -1)
)  # fmt: skip
eps_squared = h_but(r=lambda n: 1 / np.sqrt(mean(n.c * n.c) + EPS**2))
eps_as_limit = h_but(r=lambda n: 1 / np.sqrt(np.maximum(mean(n.c * n.c), EPS)))

SMALL = {
    eps_squared: "EPS is squared: mean + EPS",
    eps_as_limit: "EPS is taken as a lower limit: it is added",
}

mean_subtracted = h_but(c=lambda n: n.o - mean(n.o))
size_without_mean = h_but(r=lambda n: inverse_size(n.o - mean(n.o)))
mean_not_subtracted = h_but(c=lambda n: n.o)
size_with_mean = h_but(r=lambda n: inverse_size(n.o))
o_in_place_of_c = h_but(n=lambda n: n.o * n.r)

OTHER_NORM = {
    "rms": {
        mean_subtracted: "the mean is subtracted: that is LayerNorm, this is RMSNorm",
        size_without_mean: "the size is that of o - mean(o): RMSNorm takes the mean of o^2",
    },
    "layer": {
        mean_not_subtracted: "the mean is not subtracted: that is RMSNorm, this is LayerNorm",
        size_with_mean: "the size is that of o: LayerNorm takes the one of c = o - mean(o)",
        o_in_place_of_c: "o stands where c = o - mean(o) belongs",
    },
}


def wrong_sizes(course):
    """What is wrong with n."""
    axis = "the mean runs over the wrong axis: each query of each head has its own, over e, the last axis"
    return seen(lambda slip: h_but(r=slip), SIZES) | {means_over_wrong_axis: axis} | OTHER_NORM[course["NORM"]]


def wrong_h(course):
    of_factor = seen(lambda slip: h_but(factor=slip), factors(course))
    of_gain = {no_gain: "the gain w is missing", gain_is_one_plus_w: "the gain is w, not 1 + w"}
    return of_factor | of_gain | wrong_sizes(course)


# ----------------------------------------------------------------------------- mistakes in do

FOLLOWS = "h is wrong, and this follows from it: mend the forward first"


def mean_of_dn_n_over(axis):
    return do_but(dc=lambda n: n.r * (n.dn - n.n * mean(n.dn * n.n, axis)))


def power_of_r(k):
    return do_but(dc=lambda n: n.r * n.dn - n.c * mean(n.dn * n.c) * n.r**k)


def second_term_times(k):
    return do_but(dc=lambda n: n.r * (n.dn - k * n.n * mean(n.dn * n.n)))


second_term_added = do_but(dc=lambda n: n.r * (n.dn + n.n * mean(n.dn * n.n)))
sum_for_mean = do_but(dc=lambda n: n.r * (n.dn - n.n * (n.dn * n.n).sum(axis=-1, keepdims=True)))
no_gain_in_dn = do_but(gain=lambda n: 1)
no_gain_under_mean = do_but(dc=lambda n: n.factor * n.r * (n.w * n.dh - n.n * mean(n.dh * n.n)))
no_r_in_front = do_but(dc=lambda n: n.dn - n.n * mean(n.dn * n.n))
no_n_under_mean = do_but(dc=lambda n: n.r * (n.dn - n.n * mean(n.dn)))
r_is_constant = do_but(dc=lambda n: n.r * n.dn)
no_n_before_mean = do_but(dc=lambda n: n.r * (n.dn - mean(n.dn * n.n)))
n_missing_twice = do_but(dc=lambda n: n.r * (n.dn - mean(n.dn)))
mean_of_dc_subtracted = do_but(do=lambda n: n.dc - mean(n.dc))
mean_of_dc_not_subtracted = do_but(do=lambda n: n.dc)
mean_of_dc_added = do_but(do=lambda n: n.dc + mean(n.dc))

DO_OF_EITHER_NORM = {
    second_term_added: "the second term is added: it is subtracted",
    sum_for_mean: "a sum over e stands where the mean belongs",
    tuple(map(mean_of_dn_n_over, (-2, 1, 0, None))): "the mean runs over the wrong axis: over e, the last one",
    no_gain_in_dn: "the gain w is missing: dn = w dh",
    no_gain_under_mean: "the gain w is missing under the mean: dn = w dh in both terms",
    no_r_in_front: "the factor r before the bracket is missing",
    no_n_under_mean: "n is missing under the mean: mean(dn n)",
    tuple(map(power_of_r, (0, 1, 2, 4))): "o stands where n belongs, or a power of r is wrong: n = o r",
    tuple(map(second_term_times, (0.5, 2))):
        "the 1/2 of the root and the 2 of the square cancel: the second term is r n mean(dn n)",
    tuple(do_but(r=slip) for slip in SIZES): FOLLOWS,
}  # fmt: skip
DO_OF_NORM = {
    "rms": {
        r_is_constant: "r is treated as a constant: it is made of o, too",
        no_n_before_mean: "the factor n is missing in the second term",
        n_missing_twice: "n is missing twice: the second term is n mean(dn n)",
        mean_of_dc_subtracted: "a mean is subtracted: there is none in RMSNorm",
    },
    "layer": {
        r_is_constant:
            "r is treated as a constant, or the factor n is missing: the second term is n mean(dn n)",
        mean_of_dc_not_subtracted: "the backward of c = o - mean(o) is missing: the mean of dc goes off",
        mean_of_dc_added: "the mean of dc is added: it is subtracted",
    },
}  # fmt: skip


def wrong_do(course):
    of_factor = seen(lambda slip: do_but(factor=slip), factors(course))
    return of_factor | DO_OF_EITHER_NORM | DO_OF_NORM[course["NORM"]]


# ----------------------------------------------------------------------------- mistakes in dw


def mean_over_first_axes(k):
    return dw_but(dw=lambda n: n.factor * (total(n.dh * n.n) / np.prod(n.n.shape[:k])))


def one_part_alone(part):
    return dw_but(dw=lambda n: n.factor * total((n.dh * n.n)[part]))


def after_wrong_h(course, o, w, lambda_init, dh, *, mistake):
    """The right dw of a wrong h, which is linear in w."""
    return total(dh * mistake(course, o, np.ones_like(w), lambda_init))


w_in_dw = dw_but(dw=lambda n: n.factor * total(n.w * n.dh * n.n))
o_in_place_of_n = dw_but(dw=lambda n: n.factor * total(n.dh * n.c))
no_n_in_dw = dw_but(dw=lambda n: n.factor * total(n.dh))
dw_of_other_sign = dw_but(dw=lambda n: n.factor * -total(n.dh * n.n))
PARTS = (np.s_[:1], np.s_[-1:], np.s_[:, :1], np.s_[:, -1:], np.s_[:, :, :1], np.s_[:, :, -1:])

WRONG_GAINS = {
    tuple(map(mean_over_first_axes, (1, 2, 3))):
        "dw is a mean over the rows: what is broadcast in the forward is summed in the backward",
    w_in_dw: "w stands in dw: h is w times n, and dw is dh times n",
    o_in_place_of_n: "o stands where n belongs: w multiplies the normalised numbers",
    no_n_in_dw: "n is missing in dw",
    dw_of_other_sign: "dw has the wrong sign",
    tuple(map(one_part_alone, PARTS)): "dw takes one batch entry, head or query: all of them share w",
}  # fmt: skip


def wrong_dw(course):
    of_factor = seen(lambda slip: dw_but(factor=slip), factors(course))
    from_h = dict.fromkeys(wrong_sizes(course), FOLLOWS)
    return of_factor | WRONG_GAINS | seen(lambda mistake: partial(after_wrong_h, mistake=mistake), from_h)


# --------------------------------------------------------------------- mistakes in both of them


def wrong_pairs(course):
    """A mistake in one of them, or a slip of the forward that both have."""
    of_do = seen(lambda mistake: partial(both, do=mistake), wrong_do(course))
    of_dw = seen(lambda mistake: partial(both, dw=mistake), wrong_dw(course))
    of_factor = seen(lambda slip: both_but(factor=slip), factors(course))
    return of_do | of_dw | of_factor | seen(lambda slip: both_but(r=slip), dict.fromkeys(SIZES, FOLLOWS))


def both_but(**slips):
    return partial(both, do=do_but(**slips), dw=dw_but(**slips))


ORDER = "the results are do, dw: what stands here is the other one"
PAIR = "head_norm_forward "
BOTH = PAIR + "head_norm_backward"


def items(course):
    """course : the constants of the course, {"NORM": "rms", "FACTOR": True}"""
    h, do, dw = wrong_h(course), wrong_do(course), wrong_dw(course)
    return for_course(course, [
        Item("h", 2, "norm_output", make, output, h),
        Item("h of small numbers", 1, "norm_output", make_small, output, SMALL | h),
        Item("do and dw, many rows", 2, BOTH, make_many_rows, both, wrong_pairs(course)),
        Item("do", 2, PAIR + "d_output", make_backward, d_output, do | {d_gain: ORDER}),
        Item("dw", 1, PAIR + "d_gain", make_backward, d_gain, dw | {d_output: ORDER}),
        Item("do of small numbers", 1, PAIR + "d_output", make_small_backward, d_output, do),
        the_dtype_stays(1, BOTH, make_large_backward, both),
    ])  # fmt: skip
