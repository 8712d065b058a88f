"""Derivatives of derivatives, and the order of what a gradient leaves over."""

import numpy as np

from dgsa_np.gradcheck import _call_backward, _named_arrays, _replace

STEP = 1e-30


def differentiable(case):
    """{name: array} of the arguments that have a gradient."""
    arrays = _named_arrays(case.forward, case.args)
    return {n: a for n, a in arrays.items() if a.dtype.kind == "f" and n.split(".")[0] not in case.without}


def moved(case, leaves, direction, h):
    """The arguments, all of them a step along a direction."""
    args = case.args
    for name, x in leaves.items():
        args = _replace(case.forward, args, name, x + h * direction[name])
    return args


def directions(leaves, n):
    rng = np.random.default_rng(7)
    drawn = [{name: rng.standard_normal(x.shape) for name, x in leaves.items()} for _ in range(n)]
    lengths = [sum((e * e).sum() for e in direction.values()) ** 0.5 for direction in drawn]
    return [{k: e / n for k, e in direction.items()} for direction, n in zip(drawn, lengths, strict=True)]


def upstream(out):
    """Of a seed that no argument has."""
    return np.random.default_rng(8).standard_normal(out.shape)


def gradient(case, leaves, dout, args):
    _, cache = case.forward(*args)
    return _call_backward(case.backward, dout, cache, args, leaves)


def dot(a, b):
    return sum((a[name] * b[name]).sum() for name in a)


def test_the_hessian_is_symmetric(case):
    """Complex step through the backward: <w, H u> = <u, H w>. A backward that drops a term is no slope of anything."""
    leaves = differentiable(case)
    u, w = directions(leaves, 2)
    dout = upstream(case.forward(*case.args)[0])
    Hu, Hw = (
        {n: g.imag / STEP for n, g in gradient(case, leaves, dout, moved(case, leaves, e, 1j * STEP)).items()}
        for e in (u, w)
    )
    size = max(dot(Hu, Hu), dot(Hw, Hw)) ** 0.5
    assert not size > 0 or abs(dot(w, Hu) - dot(u, Hw)) <= 1e-11 * size


def test_the_backward_is_the_slope_of_itself_in_complex_numbers(case):
    """The real part of the gradient at x + i h u is the gradient at x: the backward is as analytic as the forward."""
    leaves = differentiable(case)
    (u,) = directions(leaves, 1)
    dout = upstream(case.forward(*case.args)[0])
    here = gradient(case, leaves, dout, case.args)
    there = gradient(case, leaves, dout, moved(case, leaves, u, 1j * STEP))
    assert all(abs(there[n].real - here[n]).max() <= 1e-13 * max(abs(here[n]).max(), 1e-3) for n in here)


def test_what_the_gradient_leaves_over_shrinks_with_the_square_of_the_step(case):
    """f(x + h u) - f(x) - h <g, u> is of order h^2: a tenth of the step leaves a hundredth."""
    leaves = differentiable(case)
    (u,) = directions(leaves, 1)
    out, _ = case.forward(*case.args)
    dout = upstream(out)
    slope = dot(gradient(case, leaves, dout, case.args), u)

    def left(h):
        return abs((dout * (case.forward(*moved(case, leaves, u, h))[0] - out)).sum() - h * slope)

    size = abs(dout * out).sum()
    far, near = left(1e-2), left(1e-3)
    if far > 1e-10 * size:  # else f is linear, and rounding is all that is left
        assert 1.85 < np.log10(far / near) < 2.15
