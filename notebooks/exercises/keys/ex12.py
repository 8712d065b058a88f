"""Exercise 12: items and known mistakes."""

import math

import numpy as np
from grading.items import Item, float32, same_dtype

from dgsa_np.attention import softmax_head_forward

MEMORY = 100  # MiB; one array of 4096 x 4096 float64 has 128


def items(course):
    power = np.exp if course["BASE"] == "e" else np.exp2
    scales = {"1/sqrt(d)": lambda d: d**-0.5, "1/d": lambda d: 1 / d}
    scale = scales[course["SCALE"]]

    def plain(q, k, v, width):
        """The library's head, which divides by sqrt(d) and has base e; 256 queries at a time."""
        q = q * scale(q.shape[-1]) * math.sqrt(q.shape[-1]) * math.log(power(1.0))
        blocks = [q[i : i + 256] for i in range(0, len(q), 256)]
        return np.concatenate([softmax_head_forward(*(x[None, None] for x in (b, k, v)))[0][0, 0] for b in blocks])

    def gated(q_exc, k_exc, q_inh, k_inh, v, g, width):
        return g[:, None] * plain(q_exc, k_exc, v, width) - (1 - g)[:, None] * plain(q_inh, k_inh, v, width)

    # ------------------------------------------------------------------------------- arguments
    def make(T=5, S=12, width=3, size=1.5, d=4, e=6):
        def made(rng):
            q, k = size * rng.standard_normal((T, d)), size * rng.standard_normal((S, d))
            return q, k, rng.standard_normal((S, e)), width

        return made

    def make_huge(rng):
        """The scores of the first query rise from key to key, those of the last one fall."""
        q, k, v, width = make(6, 12, 4)(rng)
        q[-1] = -q[0]
        return 40 * q, 40 * k[np.argsort(k @ q[0])], v, width

    def make_low(rng):
        """All scores are far below 0, those of some queries further than those of others."""
        q, k, v, width = make(6, 12, 4)(rng)
        q, k = 1 + abs(q), -1 - abs(k)
        return 1500 * np.arange(1, 7)[:, None] * q, k[np.argsort(k @ q[0])], v, width

    def make_gated(rng, T=6, S=11, width=4):
        q_exc, q_inh = 1.5 * rng.standard_normal((2, T, 4))
        k_exc, k_inh = 1.5 * rng.standard_normal((2, S, 4))
        return q_exc, k_exc, q_inh, k_inh, rng.standard_normal((S, 6)), rng.uniform(0.1, 0.9, T), width

    # -------------------------------------------------------------------------------- mistakes
    def streamed(fade_total=None, fade_o=None, highest=None, begin=-np.inf, base=power, c=scale, tiles=None, ends=None):
        """The tiles, with something changed. fade(m_old, m), highest(m, S), tiles(S, width), ends(o, total, last)"""
        fade_total, fade_o = (f or (lambda old, new: base(old - new)) for f in (fade_total, fade_o))
        highest = highest or (lambda m, S: np.maximum(m, S.max(axis=-1, keepdims=True)))
        tiles = tiles or (lambda S, width: range(0, S, width))
        ends = ends or (lambda o, total, last: o / total)

        def gives(q, k, v, width):
            q = q * c(q.shape[-1])
            m = np.full((len(q), 1), begin)
            total, o, last = np.zeros_like(m), np.zeros((len(q), v.shape[-1])), np.zeros_like(m)
            for i in tiles(len(k), width):
                S = q @ k[i : i + width].T
                m_old, m = m, highest(m, S)
                E = base(S - m)
                last = E.sum(axis=-1, keepdims=True)
                total = fade_total(m_old, m) * total + last
                o = fade_o(m_old, m) * o + E @ v[i : i + width]
            return ends(o, total, last)

        return gives

    def each_tile(mean):
        """Every tile a softmax of its own."""

        def gives(q, k, v, width):
            parts = [plain(q, k[i : i + width], v[i : i + width], width) for i in range(0, len(k), width)]
            return sum(parts) / (len(parts) if mean else 1)

        return gives

    def one(old, new):
        return 1.0

    def rising(old, new):
        return power(new - old)

    def never(m, S):
        return np.zeros_like(m)

    def of_all(m, S):
        return np.maximum(m, S.max())

    def of_tile(m, S):
        return S.max(axis=-1, keepdims=True)

    other = next(name for name in scales if name != course["SCALE"])
    fading = {
        "the sum does not fade: where the maximum rises, all that was summed is too large": streamed(fade_total=one),
        "o does not fade: where the maximum rises, all that was summed is too large": streamed(fade_o=one),
        "neither the sum nor o fades where the maximum rises": streamed(one, one),
        "it fades the wrong way round: exp(m_old - m) is at most 1": (
            streamed(rising, rising), streamed(rising, rising, begin=-1e30),
            streamed(*[lambda old, new: np.where(np.isfinite(old), rising(old, new), 0)] * 2)),
        "each tile is divided by its own sum, and the outputs are added": each_tile(False),
        "the mean of the tiles' outputs is taken: tiles do not weigh the same": each_tile(True),
        "o is divided by the sum of the last tile alone": streamed(ends=lambda o, total, last: o / last),
        "the division by the sum is missing": streamed(ends=lambda o, total, last: o),
        "each tile measures from its own maximum: all must have one": (
            streamed(one, one, highest=of_tile), streamed(one, one, highest=of_tile, begin=0.0)),
        "one sum serves all queries: each row has its own": streamed(ends=lambda o, total, last: o / total.sum()),
    }  # fmt: skip
    form = {
        f"the scale is {other}: your course has SCALE = {course['SCALE']}": streamed(c=scales[other]),
        "the scores are not scaled": streamed(c=lambda d: 1.0),
        "the scores are divided by the scale: multiply": streamed(c=lambda d: 1 / scale(d)),
        f"the base is wrong: your course has BASE = {course['BASE']}": streamed(
            base=np.exp2 if course["BASE"] == "e" else np.exp),
    }  # fmt: skip
    left_out = {
        "the keys after the last full tile are left out": streamed(
            tiles=lambda S, width: range(0, S - width + 1, width)),
        "the last tile is left out": streamed(tiles=lambda S, width: range(0, S - width, width)),
        "the first tile is left out": streamed(tiles=lambda S, width: range(width, S, width)),
        "only the first tile is seen": streamed(tiles=lambda S, width: range(0, 1)),
    }
    either = {
        "one maximum serves all queries: rows far below it have the sum 0": streamed(highest=of_all),
        "the running maximum may fall: then what was summed grows, and exp overflows": streamed(highest=of_tile),
    }
    high = either | {
        "exp overflows: subtract the largest score so far": (
            streamed(highest=never, begin=0.0), streamed(one, one, highest=never, begin=0.0)),
    }  # fmt: skip
    low = either | {
        "no maximum is subtracted, or it begins at 0: where all scores are far below, the sum is 0": (
            streamed(begin=0.0), streamed(highest=never, begin=0.0)),
    }  # fmt: skip

    def mixed(rule=lambda X, I, g: g * X - (1 - g) * I, column=True):
        def gives(q_exc, k_exc, q_inh, k_inh, v, g, width):
            X, I = plain(q_exc, k_exc, v, width), plain(q_inh, k_inh, v, width)
            return rule(X, I, g[:, None] if column else g)

        return gives

    def from_tiles(mistake):
        def gives(q_exc, k_exc, q_inh, k_inh, v, g, width):
            X, I = mistake(q_exc, k_exc, v, width), mistake(q_inh, k_inh, v, width)
            return g[:, None] * X - (1 - g)[:, None] * I

        return gives

    def argument(change):
        return lambda q_exc, k_exc, q_inh, k_inh, *others: gated(*change(q_exc, k_exc, q_inh, k_inh), *others)

    alone = (f for fs in (fading | form | left_out).values() for f in (fs if isinstance(fs, tuple) else (fs,)))
    gate = {
        "the inhibitory output is added: it is subtracted": mixed(lambda X, I, g: g * X + (1 - g) * I),
        "g and 1 - g are exchanged": mixed(lambda X, I, g: (1 - g) * X - g * I),
        "both outputs are weighed by g: the inhibitory one gets 1 - g": mixed(lambda X, I, g: g * (X - I)),
        "the inhibitory output is not weighed: it gets 1 - g": mixed(lambda X, I, g: g * X - I),
        "the excitatory output is not weighed: it gets g": mixed(lambda X, I, g: X - (1 - g) * I),
        "the gate is not used": mixed(lambda X, I, g: X - I),
        "the sign is wrong: excitatory minus inhibitory": mixed(lambda X, I, g: (1 - g) * I - g * X),
        "g runs along the columns of o: there is one gate per query, a row": mixed(column=False),
        "g is used as a logit: it is the gate itself": mixed(
            lambda X, I, g: X / (1 + np.exp(-g)) - I / (1 + np.exp(g))),
        "the inhibitory branch takes k_exc": argument(lambda q, k, q2, k2: (q, k, q2, k)),
        "the inhibitory branch takes q_exc": argument(lambda q, k, q2, k2: (q, k, q, k2)),
        "both outputs are the excitatory one": argument(lambda q, k, q2, k2: (q, k, q, k)),
        "it follows from streamed_attention, which is wrong: mend that first": tuple(map(from_tiles, alone)),
    }  # fmt: skip
    call = "streamed_attention"
    return [
        Item("tiles of equal width", 3, call, make(), plain, fading | form | left_out),
        Item("a last tile with fewer keys", 1, call, make(6, 11, 4), plain, left_out | fading | form),
        Item("one tile with room to spare", 1, call, make(6, 5, 8), plain, form | left_out),
        Item("tiles of one key", 1, call, make(5, 7, 1), plain, fading | form | left_out),
        Item("scores far above 0", 1, call, make_huge, plain, high | fading),
        Item("scores far below 0", 1, call, make_low, plain, low | fading),
        Item("the gated head", 2, "gated_streamed", make_gated, gated, gate),
        Item("linear memory", 1, call, make(4096, 4096, 128, d=2, e=2), plain, memory=MEMORY),
        Item("the dtype stays", 1, "gated_streamed", lambda rng: float32(*make_gated(rng)), check=same_dtype),
    ]  # fmt: skip
