"""A pair along directions: its Hessian, and what its gradient leaves over."""

import numpy as np

from dgsa_np.gradcheck_pair import CheckedPair

STEP = 1e-30


def start(case):
    """The pair with its arguments, and an upstream gradient that nobody else draws."""
    pair = CheckedPair(case.forward, case.backward, case.args, case.without)
    rng = np.random.default_rng([0, *b"upstream"])
    return pair, np.asarray(rng.standard_normal(pair.run()[0].shape))


def moved(pair, direction, h):
    """The leaves, all of them a step along a direction."""
    return {path: x + h * direction[path] for path, x in pair.leaves.items()}


def directions(leaves, n):
    rng = np.random.default_rng(7)
    drawn = [{name: rng.standard_normal(x.shape) for name, x in leaves.items()} for _ in range(n)]
    lengths = [sum((e * e).sum() for e in direction.values()) ** 0.5 for direction in drawn]
    return [{k: e / n for k, e in direction.items()} for direction, n in zip(drawn, lengths, strict=True)]


def gradient(pair, dout, exchanged=None):
    return pair.gradients(dout, pair.run(exchanged)[1])


def dot(a, b):
    return sum((a[name] * b[name]).sum() for name in a)


def assert_the_hessian_is_symmetric(case):
    """Complex step through the backward: <w, H u> = <u, H w>.
    A backward that drops a term is no slope of anything.
    """
    pair, dout = start(case)
    u, w = directions(pair.leaves, 2)
    Hu, Hw = ({n: g.imag / STEP for n, g in gradient(pair, dout, moved(pair, e, 1j * STEP)).items()} for e in (u, w))
    size = max(dot(Hu, Hu), dot(Hw, Hw)) ** 0.5
    assert not size > 0 or abs(dot(w, Hu) - dot(u, Hw)) <= 1e-11 * size


def assert_the_rest_shrinks_with_the_square_of_the_step(case):
    """f(x + h u) - f(x) - h <g, u> is of order h^2: a tenth of the step leaves a hundredth."""
    pair, dout = start(case)
    (u,) = directions(pair.leaves, 1)
    out, _ = pair.run()
    slope = dot(gradient(pair, dout), u)

    def left(h):
        return abs((dout * (pair.run(moved(pair, u, h))[0] - out)).sum() - h * slope)

    size = abs(dout * out).sum()
    far, near = left(1e-2), left(1e-3)
    if far > 1e-10 * size:  # else f is linear, and rounding is all that is left
        assert 1.85 < np.log10(far / near) < 2.15
