"""Exercise 08: items and known mistakes."""

import numpy as np
from grading.items import Item, float32, same_dtype

from dgsa_np.attention.multihead import head_norm_backward, head_norm_forward
from dgsa_np.ops import layernorm_backward, layernorm_forward

EPS = 1e-5


def mean(x, axis=-1):
    return x.mean(axis=axis, keepdims=True)


def items(course):
    rms, has_factor = course["NORM"] == "rms", course["FACTOR"]

    def factor(lambda_init):
        return 1 - lambda_init if has_factor else 1

    def forward(o, w, lambda_init):
        if rms:
            return head_norm_forward(o, w, 1 - factor(lambda_init), EPS)
        y, cache = layernorm_forward(o, w, 0 * w, EPS)
        return factor(lambda_init) * y, cache

    def output(o, w, lambda_init):
        return forward(o, w, lambda_init)[0]

    def gradients(o, w, lambda_init, dh):
        _, cache = forward(o, w, lambda_init)
        return head_norm_backward(dh, cache) if rms else layernorm_backward(factor(lambda_init) * dh, cache)[:2]

    def d_output(*args):
        return gradients(*args)[0]

    def d_gain(*args):
        return gradients(*args)[1]

    # ------------------------------------------------------------------------------- arguments
    def make(rng):
        o = rng.uniform(0.5, 2, (2, 3, 5, 1)) * (rng.standard_normal((2, 3, 5, 6)) + 0.5)
        return o, 1 + 0.5 * rng.standard_normal(6), float(rng.uniform(0.6, 0.9))

    def make_small(rng):
        o, *others = make(rng)
        return 3e-3 * o, *others  # mean squares near EPS

    def with_upstream(make):
        def made(rng):
            o, *others = make(rng)
            return o, *others, rng.standard_normal(o.shape)

        return made

    # -------------------------------------------------------------------------------- mistakes
    def centred(o, axis=-1):
        return o if rms else o - mean(o, axis)

    def root(x, axis=-1):
        return 1 / np.sqrt(mean(x * x, axis) + EPS)

    def normed(n=lambda o: centred(o) * root(centred(o)), gain=lambda w: w, scale=factor):
        return lambda o, w, lambda_init: scale(lambda_init) * gain(w) * n(o)

    def r_of(r):
        """With another r, made of the numbers that are normalised."""
        return normed(lambda o: centred(o) * r(centred(o)))

    if has_factor:
        factors = {
            "the factor 1 - lambda_init is missing": lambda f: 1,
            "the factor is 1 - lambda_init, not lambda_init": lambda f: f,
            "it is multiplied by 1 - lambda_init, not divided": lambda f: 1 / (1 - f),
            "the factor 1 - lambda_init comes twice": lambda f: (1 - f) ** 2,
            "the factor is 1 - lambda_init, not 1 + lambda_init": lambda f: 1 + f,
        }
    else:
        factors = {"FACTOR is False: lambda_init plays no part": lambda f: 1 - f}
    sizes = {  # r in the place of 1 / sqrt(mean(x^2) + EPS)
        "a sum stands where the mean of the squares belongs": lambda x: 1 / np.sqrt(x.shape[-1] * mean(x * x) + EPS),
        "the root is missing: the mean square is the square of the size": lambda x: 1 / (mean(x * x) + EPS),
        "EPS is not added to the mean square, under the root": lambda x: 1 / np.sqrt(mean(x * x)),
        "EPS stands outside the root: sqrt(mean + EPS)": lambda x: 1 / (np.sqrt(mean(x * x)) + EPS),
        "the mean of the absolute values stands where the root of the mean square belongs": lambda x: 1 / (
            mean(abs(x)) + EPS),
        "it is multiplied by the size: divide by it": lambda x: 1 / root(x),
        "the variance is divided by e - 1: it is a mean, over e": lambda x: 1 / np.sqrt(
            mean(x * x) * x.shape[-1] / (x.shape[-1] - 1) + EPS),
    }  # fmt: skip
    forward_mistakes = {text: normed(scale=scale) for text, scale in factors.items()} | {
        "the gain w is missing": normed(gain=lambda w: 1 + 0 * w),
        "the gain is w, not 1 + w": normed(gain=lambda w: 1 + w),
        "the mean runs over the wrong axis: each query of each head has its own, over e, the last axis": tuple(
            normed(lambda o, a=a, b=b: centred(o, b) * root(centred(o, b), a))
            for a in (-2, 1, 0, (1, 3), (2, 3), (1, 2, 3), None) for b in {a, -1}),
    }  # fmt: skip
    forward_mistakes |= {text: r_of(size) for text, size in sizes.items()}
    small = {
        "EPS is squared: mean + EPS": r_of(lambda x: 1 / np.sqrt(mean(x * x) + EPS**2)),
        "EPS is taken as a lower limit: it is added": r_of(lambda x: 1 / np.sqrt(np.maximum(mean(x * x), EPS))),
    }
    if rms:
        forward_mistakes |= {
            "the mean is subtracted: that is LayerNorm, this is RMSNorm": normed(
                lambda o: (o - mean(o)) * root(o - mean(o))),
            "the size is that of o - mean(o): RMSNorm takes the mean of o^2": normed(lambda o: o * root(o - mean(o))),
        }  # fmt: skip
    else:
        forward_mistakes |= {
            "the mean is not subtracted: that is RMSNorm, this is LayerNorm": normed(lambda o: o * root(o)),
            "the size is that of o: LayerNorm takes the one of c = o - mean(o)": normed(
                lambda o: (o - mean(o)) * root(o)),
            "o stands where c = o - mean(o) belongs": normed(lambda o: o * root(o - mean(o))),
        }  # fmt: skip

    def back(formula, scale=factor, r=root, end=lambda dc: centred(dc), gain=lambda w: w):
        """do of a formula for dc."""

        def gives(o, w, lambda_init, dh):
            c = centred(o)
            return end(formula(scale(lambda_init) * gain(w) * dh, c * r(c), r(c), c))

        return gives

    def right(dn, n, r, c):
        return r * (dn - n * mean(dn * n))

    def gain_mistake(formula, scale=factor):
        def gives(o, w, lambda_init, dh):
            c = centred(o)
            return scale(lambda_init) * formula(dh, c * root(c), w, c)

        return gives

    def total(x):
        return x.sum(axis=(0, 1, 2))

    follows = "h is wrong, and this follows from it: mend the forward first"
    do_mistakes = {text: back(right, scale=scale) for text, scale in factors.items()} | {
        "the second term is added: it is subtracted": back(lambda dn, n, r, c: r * (dn + n * mean(dn * n))),
        "a sum over e stands where the mean belongs": back(
            lambda dn, n, r, c: r * (dn - n * (dn * n).sum(axis=-1, keepdims=True))),
        "the mean runs over the wrong axis: over e, the last one": tuple(
            back(lambda dn, n, r, c, a=a: r * (dn - n * mean(dn * n, a))) for a in (-2, 1, 0, None)),
        "the gain w is missing: dn = w dh": back(right, gain=lambda w: 1),
        "the gain w is missing under the mean: dn = w dh in both terms": (
            lambda o, w, f, dh: centred(factor(f) * root(centred(o)) * (
                w * dh - (n := centred(o) * root(centred(o))) * mean(dh * n)))),
        "the factor r before the bracket is missing": back(lambda dn, n, r, c: dn - n * mean(dn * n)),
        "n is missing under the mean: mean(dn n)": back(lambda dn, n, r, c: r * (dn - n * mean(dn))),
        "o stands where n belongs, or a power of r is wrong: n = o r": tuple(
            back(lambda dn, n, r, c, k=k: r * dn - c * mean(dn * c) * r**k) for k in (0, 1, 2, 4)),
        "the 1/2 of the root and the 2 of the square cancel: the second term is r n mean(dn n)": tuple(
            back(lambda dn, n, r, c, k=k: r * (dn - k * n * mean(dn * n))) for k in (0.5, 2)),
        follows: tuple(back(right, r=size) for size in sizes.values()),
    }  # fmt: skip
    if rms:
        do_mistakes |= {
            "r is treated as a constant: it is made of o, too": back(lambda dn, n, r, c: r * dn),
            "the factor n is missing in the second term": back(lambda dn, n, r, c: r * (dn - mean(dn * n))),
            "n is missing twice: the second term is n mean(dn n)": back(lambda dn, n, r, c: r * (dn - mean(dn))),
            "a mean is subtracted: there is none in RMSNorm": back(right, end=lambda dc: dc - mean(dc)),
        }
    else:
        do_mistakes |= {
            "r is treated as a constant, or the factor n is missing: the second term is n mean(dn n)": back(
                lambda dn, n, r, c: r * dn),
            "the backward of c = o - mean(o) is missing: the mean of dc goes off": back(right, end=lambda dc: dc),
            "the mean of dc is added: it is subtracted": back(right, end=lambda dc: dc + mean(dc)),
        }  # fmt: skip
    def after(mistake):
        """The right dw of a wrong h, which is linear in w."""
        return lambda o, w, lambda_init, dh: total(dh * mistake(o, np.ones_like(w), lambda_init))

    dw_factors = {text: gain_mistake(lambda dh, n, w, c: total(dh * n), scale) for text, scale in factors.items()}
    dw_mistakes = dw_factors | {
        "dw is a mean over the rows: what is broadcast in the forward is summed in the backward": tuple(
            gain_mistake(lambda dh, n, w, c, k=k: total(dh * n) / np.prod(n.shape[:k])) for k in (1, 2, 3)),
        "w stands in dw: h is w times n, and dw is dh times n": gain_mistake(lambda dh, n, w, c: total(w * dh * n)),
        "o stands where n belongs: w multiplies the normalised numbers": gain_mistake(
            lambda dh, n, w, c: total(dh * c)),
        "n is missing in dw": gain_mistake(lambda dh, n, w, c: total(dh)),
        "dw has the wrong sign": gain_mistake(lambda dh, n, w, c: -total(dh * n)),
        "dw takes one batch entry, head or query: all of them share w": tuple(
            gain_mistake(lambda dh, n, w, c, i=i: total((dh * n)[i]))
            for i in (np.s_[:1], np.s_[-1:], np.s_[:, :1], np.s_[:, -1:], np.s_[:, :, :1], np.s_[:, :, -1:])),
        follows: tuple(after(m) for ms in forward_mistakes.values() for m in (ms if isinstance(ms, tuple) else (ms,))),
    }  # fmt: skip
    pair = "head_norm_forward "
    return [
        Item("h", 2, "norm_output", make, output, forward_mistakes),
        Item("h of small numbers", 1, "norm_output", make_small, output, small | forward_mistakes),
        Item("dw", 2, pair + "d_gain", with_upstream(make), d_gain, dw_mistakes),
        Item("do", 3, pair + "d_output", with_upstream(make), d_output, do_mistakes),
        Item("do of small numbers", 1, pair + "d_output", with_upstream(make_small), d_output, do_mistakes),
        Item("the dtype stays", 1, pair + "head_norm_backward", lambda rng: float32(*with_upstream(make)(rng)),
            check=same_dtype),
    ]  # fmt: skip
