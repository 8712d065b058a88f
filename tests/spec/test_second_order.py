"""Derivatives of derivatives, and the order of what a gradient leaves over."""

from support.second_order import (
    STEP,
    assert_the_hessian_is_symmetric,
    assert_the_rest_shrinks_with_the_square_of_the_step,
    directions,
    gradient,
    moved,
    start,
)


def test_the_hessian_is_symmetric(case):
    assert_the_hessian_is_symmetric(case)


def test_the_backward_is_the_slope_of_itself_in_complex_numbers(case):
    """The real part of the gradient at x + i h u is the gradient at x:
    the backward is as analytic as the forward.
    """
    pair, dout = start(case)
    (u,) = directions(pair.leaves, 1)
    here = gradient(pair, dout)
    there = gradient(pair, dout, moved(pair, u, 1j * STEP))
    assert all(abs(there[n].real - here[n]).max() <= 1e-13 * max(abs(here[n]).max(), 1e-3) for n in here)


def test_what_the_gradient_leaves_over_shrinks_with_the_square_of_the_step(case):
    assert_the_rest_shrinks_with_the_square_of_the_step(case)
