"""The gradient check on other people's code:
right code is never called wrong, wrong code never right.
"""

import math
import os
import subprocess
import sys
import warnings
from functools import partial
from itertools import product
from typing import NamedTuple

import numpy as np
import pytest
from support.tiers import most_later

from dgsa_np import ops
from dgsa_np.gradcheck import (
    GradientError,
    _adaptive_difference,
    _noise,
    _upstream,
    central_difference,
    check_pair,
    compare_pair,
    complex_step,
    diagnose,
)
from dgsa_np.gradcheck_pair import CheckedPair
from dgsa_np.lab.cases import all_cases
from dgsa_np.params import leaves


def draw(*shape, seed=0):
    """As users draw: from the seed that everybody takes."""
    return np.random.default_rng(seed).standard_normal(shape)


# --------------------------------------------------------------------------- an upstream of its own


CASES = list(all_cases())
SMALL = [case for case in CASES if case.name.split()[0] not in ("attention", "model")]


MODELS = [case for case in CASES if case.name.split()[0] == "model"]


@pytest.mark.parametrize("planted", most_later(CASES, now=SMALL, torture=MODELS), ids=map(str, CASES))
def test_every_pair_catches_a_backward_that_takes_something_else_for_its_upstream(planted):
    """An argument, what the cache holds, or what anybody's generator gives."""
    case, (out, cache) = planted, planted.forward(*planted.args)
    if out.ndim == 0:
        return  # a loss has no upstream
    held = [a for a in leaves((case.args, cache)).values() if getattr(a, "shape", None) == out.shape]
    taken = [a for a in held if a.dtype == "float64"] + [draw(*out.shape, seed=seed) for seed in range(3)]
    for a in taken:
        with pytest.raises(GradientError):
            wrong = lambda dout, cache, a=a: case.backward(np.array(a), cache)  # noqa: E731
            check_pair(case.forward, wrong, case.args, n_directions=1, without=case.without)


def test_an_argument_that_is_the_upstream_itself_gets_another():
    x = draw(3, 8)
    for seed in range(5):
        dout, _ = _upstream(CheckedPair(lambda x: x + 0, None, (x,)), x, seed)
        for factor in (1, -2):
            again, _ = _upstream(CheckedPair(lambda x: x + 0, None, (factor * dout,)), x, seed)
            assert abs(again - dout).max() > 0.1
    with pytest.raises(GradientError):
        check_pair(lambda x: (x * x / 2, x), lambda dy, x: x * x, (dout,), seed=4)


# -------------------------------------------------- forwards that a complex step cannot see through


def layernorm_by_var(x):
    r = 1 / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    n = (x - x.mean(-1, keepdims=True)) * r
    return n, (n, r)


def layernorm_backward(dy, cache):
    n, r = cache
    return r * (dy - dy.mean(-1, keepdims=True) - n * (dy * n).mean(-1, keepdims=True))


def unit_forward(x):
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    return x / length, (x, length)


def unit_backward(dy, cache):
    x, length = cache
    return dy / length - x * (dy * x).sum(-1, keepdims=True) / length**3


def buffer_forward(x):
    out = np.empty(x.shape)
    for i in range(len(x)):
        out[i] = x[i] ** 3
    return out, x


def real_library_forward(x):
    """As a library that knows real numbers alone."""
    if np.iscomplexobj(x):
        raise RuntimeError("expected scalar type Double but found ComplexDouble")
    return np.tanh(x), x


def single_forward(x):
    return np.tanh(x.astype("float32") if x.dtype == "float64" else x), x


def single_inside_forward(x):
    return np.tanh(x.astype("float32")).astype("float64") if x.dtype == "float64" else x, x


def slope_of_tanh(dy, x):
    return dy / np.cosh(x) ** 2


NOT_ANALYTIC = {  # the forward, its right backward, one that the complex step or a loose bar would let pass
    "var": (layernorm_by_var, layernorm_backward, lambda dy, c: c[1] * (dy - dy.mean(-1, keepdims=True))),
    "norm": (unit_forward, unit_backward, lambda dy, c: dy / c[1]),
    "abs": (lambda x: (abs(x) * x, x), lambda dy, x: 2 * abs(x) * dy, lambda dy, x: abs(x) * dy),
    "a buffer of real numbers": (buffer_forward, lambda dy, x: 3 * x**2 * dy, lambda dy, x: 0 * dy),
    "another library": (real_library_forward, slope_of_tanh, lambda dy, x: 1.001 * slope_of_tanh(dy, x)),
    "single precision": (single_forward, slope_of_tanh, lambda dy, x: 1.5 * slope_of_tanh(dy, x)),
    "single precision inside": (single_inside_forward, slope_of_tanh, lambda dy, x: -slope_of_tanh(dy, x)),
    "conj": (lambda x: ((x * x.conj()).real, x), lambda dy, x: 2 * x * dy, lambda dy, x: 0 * dy),
    "a float for a loss": (lambda x: (float((x**2).sum()), x), lambda x: 2 * x, lambda x: x),
}


@pytest.mark.parametrize("name", most_later(NOT_ANALYTIC, now=[*NOT_ANALYTIC][::3]))
def test_a_forward_that_is_not_analytic_is_recognised_and_said_to_be(name):
    forward, backward, wrong = NOT_ANALYTIC[name]
    for seed in range(10):
        x = draw(3, 8, seed=seed)
        with pytest.warns(UserWarning, match="is not analytic.*central differences judge, to"):
            (result,) = check_pair(forward, backward, (x,), seed=seed)
        assert result.method == "central"
        with pytest.raises(GradientError, match="wrong in 1 of 1"), pytest.warns(UserWarning, match="not analytic"):
            check_pair(forward, wrong, (x,), seed=seed)
        with pytest.raises(GradientError, match="take method='central'"):
            check_pair(forward, backward, (x,), method="complex", seed=seed)
        check_pair(forward, backward, (x,), method="central", seed=seed)


def test_an_analytic_forward_is_judged_by_the_complex_step_and_in_silence(case):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = check_pair(case.forward, case.backward, case.args, without=case.without, n_directions=1)
    assert {r.method for r in results} == {"complex"} and not any(r.doubt for r in results)


@pytest.mark.peers
def test_a_module_of_pytorch_is_checked():
    torch = pytest.importorskip("torch")
    layer = torch.nn.LayerNorm(8, dtype=torch.float64)

    def forward(x):
        x = torch.from_numpy(x).requires_grad_()
        y = layer(x)
        return y.detach().numpy(), (x, y)

    def backward(dy, cache):
        return torch.autograd.grad(cache[1], cache[0], torch.from_numpy(dy), retain_graph=True)[0].numpy()

    with pytest.warns(UserWarning, match="not analytic"):
        (result,) = check_pair(forward, backward, (draw(3, 8),))
    assert result.error < 1e-7
    with pytest.raises(GradientError, match="sign"), pytest.warns(UserWarning, match="not analytic"):
        check_pair(forward, lambda dy, cache: -backward(dy, cache), (draw(3, 8),))


# ------------------------------------------------------------- central differences know their error


def differences(f, x):
    """With the rounding error of f as it is seen along a line."""
    noise = _noise(lambda t: f(x + t * abs(x).max()), least=float(abs(f(x))) * np.finfo("float64").eps)
    return _adaptive_difference(f, x, noise)


@pytest.mark.parametrize("size", [1e-9, 1e-3, 1.0, 1e6, 1e9])
def test_an_adaptive_difference_tells_its_own_error(size):
    for seed in range(20):
        x = size * (1 + np.random.default_rng(seed).random(5))
        for f, slope in ((np.log, 1 / x), (lambda x: x**3, 3 * x**2), (lambda x: np.sin(9 * x / size), 9 / size)):
            found, error = differences(lambda x, f=f: f(x).sum(), x)
            right = slope * np.cos(9 * x / size) if np.isscalar(slope) else slope
            assert (abs(found - right) <= 10 * error).all() and (error < 1e-6 * abs(right).max()).all()


def test_what_stands_still_under_small_steps_is_not_taken_for_flat():
    found, error = differences(lambda x: np.float32(3) * x.astype("float32").sum(), np.array([0.7, 0.1]))
    assert (abs(found - 3) <= 10 * error).all() and (error < 1e-2).all()


SEEDS = [range(3), range(3, 20), range(20, 100)]


@pytest.mark.parametrize("seeds", most_later(SEEDS, now=SEEDS[:1], torture=SEEDS[2:]), ids=str)
def test_central_differences_of_right_norms_of_few_columns_raise_no_alarm(seeds):
    for seed in seeds:
        rng = np.random.default_rng(seed)
        for n in (3, 4, 8):
            x, w, b = rng.standard_normal((3, n)), rng.standard_normal(n), rng.standard_normal(n)
            check_pair(ops.layernorm_forward, ops.layernorm_backward, (x, w, b), method="central")
            check_pair(ops.rmsnorm_forward, ops.rmsnorm_backward, (x, w), method="central")


def test_where_central_differences_know_nothing_nothing_is_said_to_be_right():
    def noisy_forward(x):
        return real_library_forward(x)[0] + 0.1 * np.sin(1e12 * x), x

    with pytest.raises(GradientError, match="cannot be checked in"), pytest.warns(UserWarning, match="not analytic"):
        check_pair(noisy_forward, slope_of_tanh, (draw(40),))


# ------------------------------------------------------------- kinks, far places, edges, saturation


def real_only(f):
    """As a library that knows real numbers alone, so that central differences judge."""

    def forward(x):
        return f(np.asarray(x, "float64") if np.isrealobj(x) else np.asarray(x.real)), x

    return forward


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:check_pair:UserWarning")
def test_kinks_are_not_stepped_over():
    forward = real_only(lambda x: abs(x) + np.maximum(x, 0))
    for seed, close in product(range(10), (1e-2, 1e-4, 1e-6)):
        x = draw(100, seed=seed)
        x[5] = close
        check_pair(forward, lambda dy, x: dy * (np.sign(x) + (x > 0)), (x,), seed=seed)
        with pytest.raises(GradientError, match="1 of 100 elements differ, most at index \\(5,\\)"):
            check_pair(forward, lambda dy, x: dy * (np.sign(x) * (x != x[5]) + (x > 0)), (x,), seed=seed)


@pytest.mark.filterwarnings("ignore:check_pair:UserWarning")
@pytest.mark.parametrize("far", most_later([0, 1e2, 1e4, 1e6], now=[1e4]))
def test_far_from_zero_right_stays_right_and_wrong_wrong(far):
    def softmax(x):
        e = np.exp(x - x.max())
        return e / e.sum(), e / e.sum()

    def softmax_backward(dy, p):
        return p * (dy - (dy * p).sum())

    for seed in range(10):
        x = far + draw(3, 8, seed=seed)
        check_pair(softmax, softmax_backward, (x,), seed=seed)
        check_pair(lambda x: (np.sin(x), x), lambda dy, x: dy * np.cos(x), (x,), seed=seed)
        check_pair(layernorm_by_var, layernorm_backward, (x,), seed=seed)
        with pytest.raises(GradientError, match="is wrong in"):  # what the complex step would let pass
            check_pair(layernorm_by_var, NOT_ANALYTIC["var"][2], (x,), seed=seed)


@pytest.mark.filterwarnings("ignore:check_pair:UserWarning")
def test_a_step_may_leave_the_domain():
    logarithm = real_only(lambda x: np.array([math.log(x_i) for x_i in x]))
    positive = real_only(lambda x: np.linalg.cholesky(x @ x.T - 0.1 * np.eye(4)).diagonal().sum() ** 2)
    for seed in range(10):
        check_pair(logarithm, lambda dy, x: dy / x, (np.random.default_rng(seed).random(50),), seed=seed)
        with pytest.raises(GradientError, match="is wrong in"):
            check_pair(positive, lambda dy, x: dy * x, (draw(4, 9, seed=seed),), seed=seed)


@pytest.mark.filterwarnings("ignore:check_pair:UserWarning")
@pytest.mark.parametrize("part", most_later([1.0, 1e-3, 1e-5], now=[1e-3]))
def test_a_small_part_that_the_complex_step_cannot_see_is_seen(part):
    forward = lambda x: ((x * x + part * abs(x)).sum(), x)  # noqa: E731
    for seed in range(10):
        x = draw(12, 4, seed=seed)
        check_pair(forward, lambda dy, x: dy * (2 * x + part * np.sign(x)), (x,), seed=seed)
        with pytest.raises(GradientError, match="is wrong in"):
            check_pair(forward, lambda dy, x: dy * 2 * x, (x,), seed=seed)


def test_what_cannot_be_told_is_not_called_right():
    with pytest.raises(GradientError, match="cannot be checked"), pytest.warns(UserWarning, match="not analytic"):
        check_pair(lambda x: (abs(x) * x + 1e13, x), lambda dy, x: dy * abs(x), (draw(12),))


@pytest.mark.filterwarnings("ignore:check_pair:UserWarning")
def test_complex_numbers_that_become_nan_are_no_mistake():
    """(-inf + 1e-30j) / 2 is nan in its imaginary part."""
    mask = np.where(np.tri(4, dtype=bool), 0.0, -np.inf)

    def forward(q, k, v, mask):
        scores = (q @ k.T + mask) / 2
        e = np.exp(scores - scores.max(-1, keepdims=True))
        p = e / e.sum(-1, keepdims=True)
        return p @ v, (q, k, v, p)

    def backward(do, cache):
        q, k, v, p = cache
        dp = do @ v.T
        ds = p * (dp - (dp * p).sum(-1, keepdims=True)) / 2
        return ds @ k, ds.T @ q, p.T @ do

    check_pair(forward, backward, (*(draw(4, 3, seed=s) for s in range(3)), mask), without=("mask",))


def test_a_loss_that_is_nearly_0_is_checked_to_what_rounding_leaves():
    def forward(z, targets):
        p = np.exp(z - z.real.max(-1, keepdims=True))
        p = p / p.sum(-1, keepdims=True)
        return -np.log(p[range(4), targets]).mean(), (p, targets)

    def backward(cache, spoil=1.0):
        p, targets = cache
        return spoil * (p - np.eye(6)[targets]) / 4

    for seed in range(20):
        targets = np.random.default_rng(seed).integers(0, 6, 4)
        z = draw(4, 6, seed=seed) + 20 * np.eye(6)[targets]
        check_pair(forward, backward, (z, targets), seed=seed)
        with pytest.raises(GradientError, match="is wrong in"):
            check_pair(forward, partial(backward, spoil=1.01), (z, targets), seed=seed)


ROUGH_BACKWARDS = {
    "single precision": lambda dy, x: (dy * np.cos(x)).astype("float32").astype("float64"),
    "rounded": lambda dy, x: np.round(dy * np.cos(x), 7),
    "a difference of its own": lambda dy, x: dy * (np.sin(x + 1e-8) - np.sin(x)) / 1e-8,
}


@pytest.mark.parametrize("name", ROUGH_BACKWARDS)
def test_a_backward_does_not_buy_leniency_by_being_rough(name):
    for seed in range(10):
        with pytest.raises(GradientError, match="is wrong in 1 of 1 gradients"):
            check_pair(lambda x: (np.sin(x), x), ROUGH_BACKWARDS[name], (draw(3, 4, seed=seed),), seed=seed)


@pytest.mark.parametrize("offset", [1e3, 1e6, 1e9])
def test_a_large_constant_loosens_nothing(offset):
    for seed in range(10):
        args = draw(12, seed=seed), 1e-6 * draw(12, seed=seed + 100)
        forward = lambda x, b: (x * x + b + offset, x)  # noqa: E731
        check_pair(forward, lambda dy, x: (2 * x * dy, dy), args, seed=seed)
        with pytest.raises(GradientError, match="is wrong in 1 of 2"):
            check_pair(forward, lambda dy, x: (2 * x * dy * (1 + 1e-7), dy), args, seed=seed)
        with pytest.raises(GradientError, match="is wrong in 1 of 2"):
            check_pair(forward, lambda dy, x: (2 * x * dy, dy * (1 + 1e-7)), args, seed=seed)


# --------------------------------------------------------------------------------- scales and zeros


SCALES = [(1e-9, 1e9), (1e9, 1e-9), (1e-9, 1e-9), (1e9, 1e9)]


@pytest.mark.parametrize("small, large", most_later(SCALES, now=SCALES[:1]))
def test_right_pairs_at_any_scale_raise_no_alarm(small, large):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x, W, b = small * rng.standard_normal((3, 4)), large * rng.standard_normal((4, 5)), rng.standard_normal(5)
        for method in ("auto", "central"):
            check_pair(ops.linear_forward, ops.linear_backward, (x, W, small * large * b), method=method)
            check_pair(ops.rmsnorm_forward, ops.rmsnorm_backward, (x, W[:, 0], 1e-5 * small**2), method=method)


def test_a_gradient_that_should_be_zero_and_is_not_is_told():
    forward = lambda x, y: (x + 0 * y, None)  # noqa: E731
    with pytest.raises(GradientError, match=r"y \(3,\).*should be zero"):
        check_pair(forward, lambda dy, cache: (dy, dy), (draw(3), draw(3, seed=1)))
    with pytest.raises(GradientError, match=r"cannot be checked in 1 of 2 gradients:\n.*is all but zero"):
        check_pair(forward, lambda dy, cache: (dy, 0 * dy), (draw(3), draw(3, seed=1)))


# ------------------------------------------------------------------------------------- any callable


class Doubled:
    def __call__(self, dy, cache):
        return 2 * dy

    def method(self, dy, cache):
        return 2 * dy


def outer_closure(factor):
    def inner(dy, cache):
        return factor * dy

    return inner


CALLABLES = {
    "a partial": (lambda x: (2 * x, None), partial(lambda k, dy, cache: k * dy, 2)),
    "an object": (lambda x: (2 * x, None), Doubled()),
    "a method": (lambda x: (2 * x, None), Doubled().method),
    "a closure": (lambda x: (2 * x, None), outer_closure(2)),
    "an option with a default": (lambda x, k=2: (k * x, k), lambda dy, k, training=False: k * dy),
    "no cache": (lambda x: 2 * x, lambda dy: 2 * dy),
    "no cache, from the arguments": (lambda x: x * x, lambda dy, x: 2 * x * dy),
    "written in C": (np.exp, lambda dy, x: np.exp(x) * dy),
    "*args": (lambda *args: (2 * args[0], args), lambda *args: 2 * args[0]),
    "no cache, and an option": (lambda x: np.tanh(x), lambda dy, x, axis=-1: dy / np.cosh(x) ** 2),
    "a loss and its cache": (lambda x: ((x * x).sum(), x), lambda x: (2 * x,)),
    "a loss, from the arguments": (lambda x: (x * x).sum(), lambda x: 2 * x),
    "a cache that serves once": (lambda x: (2 * x, [2]), lambda dy, cache: cache.pop() * dy),
}


@pytest.mark.parametrize("name", CALLABLES)
def test_any_callable_is_a_half_of_a_pair(name):
    forward, backward = CALLABLES[name]
    (result,) = check_pair(forward, backward, (draw(3, 4),))
    assert result.ok and result.method == "complex"


def test_arguments_go_by_their_names_and_data_may_have_None_for_a_gradient():
    x, y = draw(3, 4), draw(3, 4, seed=1)
    both = check_pair(lambda *a: (a[0] * a[1], a), lambda dy, a: [dy * a[1], dy * a[0]], (x, y))
    assert [r.argument for r in both] == ["a[0]", "a[1]"]
    masked = lambda x, mask, y: (np.where(mask, x * y, 0), (x, mask, y))  # noqa: E731
    with_none = lambda dy, c: (dy * c[1] * c[2], None, dy * c[1] * c[0])  # noqa: E731
    assert [r.argument for r in check_pair(masked, with_none, (x, x > 0, y))] == ["x", "y"]


class Bunch(dict):
    """A dict with attributes, as scikit-learn has one."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None  # copy.copy asks for a name that Python 3.10 lacks


def test_odd_arguments_are_taken_as_they_are():
    x, p = draw(3, 4), Bunch(W=draw(4, 5))
    linear = lambda x, p, scale=1.0: (x @ p.W, (x, p.W))  # noqa: E731
    linear_backward = lambda dy, c: (dy @ c[1].T, {"W": c[0].T @ dy})  # noqa: E731
    assert len(check_pair(linear, linear_backward, (x, p))) == 2
    assert len(check_pair(linear, linear_backward, (x, p, np.float64(1)))) == 2  # a number is an option
    assert [r.argument for r in check_pair(linear, linear_backward, (x, p), without=["p.W"])] == ["x"]
    assert check_pair(lambda x, p: (2 * x, None), lambda dy, c: (2 * dy, {}), (x, {}))[0].ok
    assert check_pair(lambda x: (x**2, x), lambda dy, x: 2 * x * dy, (np.array(3.0),))[0].ok


class Layer:
    def __init__(self):
        self.W = draw(4, 5)


def test_a_backward_that_keeps_adding_to_its_own_array_is_caught():
    total = np.zeros((3, 4))

    def backward(dy, cache):
        np.add(total, 2 * dy, out=total)
        return total

    with pytest.raises(GradientError, match="a second call gives another result"):
        check_pair(lambda x: (2 * x, None), backward, (draw(3, 4),))


def test_what_is_no_pair_is_told_in_our_words():
    x = draw(3, 4)
    for args, forward, told in (
        ((x, x), lambda x: 2 * x, "does not take the 2 args given"),
        ((x,), lambda x: "two", "returned str, expected a real floating array"),
        ((x,), lambda x: (x, x, x), "returned 3 results, expected a real floating array, or"),
        ((x.astype("int64"),), lambda x: 2.0 * x, "args hold x without a float64 array"),
        ((np.ma.masked_array(x),), lambda x: 2 * x, "check_pair: x is MaskedArray"),
        ((x,), lambda x: x + 1j * x, "returned complex128 (3, 4), expected a real floating array"),
        ((x, Layer()), lambda x, p: x @ p.W, "p is Layer, and W in it would not be checked"),
        ((x, x[:0]), lambda x, y: 2 * x, "y is float64 (0, 4), expected an array that is not empty"),
        ((x.astype("float32"),), lambda x: 2 * x, "x is float32 (3, 4), expected float64"),
    ):
        with pytest.raises(TypeError) as caught:
            check_pair(forward, lambda dy, cache=None: 2 * dy, args)
        assert str(caught.value).startswith("check_pair: ") and told in str(caught.value)


# ------------------------------------------------------------------------- leaves go by their paths


class Weights(NamedTuple):
    W: object
    b: object


TREES = {  # parameters of a linear layer, however they are kept: W and b of them, how to make them, the name of W
    "dots in names": (lambda p: (p["a.W"], p["a"]["b"]), lambda W, b: {"a.W": W, "a": {"b": b}}, "p['a.W']"),
    "numbers as keys": (lambda p: (p[0], p[1]), lambda W, b: {0: W, 1: b}, "p[0]"),
    "a list": (lambda p: (p[0], p[1]), lambda W, b: [W, b], "p[0]"),
    "a NamedTuple": (lambda p: (p.W, p.b), Weights, "p.W"),
    "in a block": (lambda p: (p[0].W, p[0].b), lambda W, b: [Weights(W, b)], "p[0].W"),
    "a key more, without a number": (lambda p: (p["W"], p["b"]), lambda W, b: {"W": W, "b": b, "eps": 1e-5}, "p.W"),
}  # fmt: skip


@pytest.mark.parametrize("name", TREES)
def test_parameters_may_be_kept_in_any_way(name):
    take, make, called = TREES[name]

    def forward(x, p):
        W, b = take(p)
        return x @ W + b, (x, W)

    def backward(dy, cache, factor=1):
        x, W = cache
        grads = make(factor * (x.T @ dy), dy.sum(axis=0))
        if isinstance(grads, dict):
            grads.pop("eps", None)
        return dy @ W.T, grads

    args = draw(3, 4), make(draw(4, 5, seed=1), draw(5, seed=2))
    assert called in [r.argument for r in check_pair(forward, backward, args)]
    with pytest.raises(GradientError, match="counted twice") as caught:
        check_pair(forward, partial(backward, factor=2), args)
    assert f"\n  {called} (4, 5)" in str(caught.value)


def test_a_name_that_is_not_there_cannot_be_left_out():
    with pytest.raises(ValueError, match="without holds 'mask', expected names among x"):
        check_pair(lambda x: (2 * x, None), lambda dy, cache: 2 * dy, (draw(3),), without=("mask",))


def test_gradients_under_other_names_are_told():
    forward = lambda x, p: (x @ p["W"], (x, p))  # noqa: E731
    backward = lambda dy, c: (dy @ c[1]["W"].T, {"V": c[0].T @ dy})  # noqa: E731
    with pytest.raises(GradientError, match=r"gradients of \['p.V', 'x'\], expected \['p.W', 'x'\]"):
        check_pair(forward, backward, (draw(3, 4), {"W": draw(4, 5)}))


# ---------------------------------------------------------------------------------------------- nan


def test_numbers_that_are_not_finite_are_located():
    x, holed = draw(3, 4), draw(3, 4)
    holed[1, 2] = np.nan
    zero_row = draw(3, 4)
    zero_row[1] = 0
    pair = lambda x: (2 * x, None), lambda dy, cache: 2 * dy
    logarithm = lambda x, y: (np.log(x) * y, None), lambda dy, cache: (dy, dy)
    with np.errstate(all="ignore"):
        with pytest.raises(GradientError, match=r"check_pair: x is nan at index \(1, 2\)"):
            check_pair(*pair, (holed,))
        with pytest.raises(GradientError, match=r"rmsnorm_forward: its result is nan at index \(1, 0\)"):
            check_pair(ops.rmsnorm_forward, ops.rmsnorm_backward, (zero_row, draw(4), 0.0))
        with pytest.raises(GradientError, match=r"<lambda>: its result is nan at index \(0, 1\)"):
            check_pair(*logarithm, (draw(3, 4), x), method="central")
        with pytest.raises(GradientError, match=r"1 of 12 elements are nan or inf, first at index \(1, 2\)"):
            check_pair(pair[0], lambda dy, cache: np.where(np.isnan(holed), np.nan, 2 * dy), (x,))
    assert "1 of 12 elements without a finite slope of the forward, first at index (1, 2)" in diagnose(holed, x).message


# --------------------------------------------------------------------------------- the command line


def gradcheck_on(kernel, seed):
    """The command as a user runs it, on the matrix products of another processor."""
    env = os.environ | {"OPENBLAS_CORETYPE": kernel, "OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "error"}
    command = [sys.executable, "-m", "dgsa_np", "gradcheck", "--seed", str(seed)]
    return subprocess.run(command, env=env, capture_output=True, text=True)


@pytest.mark.torture
@pytest.mark.parametrize("kernel", ["Haswell", "Prescott"])
@pytest.mark.parametrize("seed", range(20))
def test_the_command_calls_no_right_pair_wrong_on_any_processor(kernel, seed):
    done = gradcheck_on(kernel, seed)
    assert done.returncode == 0 and done.stdout.endswith("All gradients are right.\n"), done.stdout[-500:]
    assert done.stderr == ""


def test_compare_pair_says_by_which_derivative_and_how_sure():
    (by_complex,) = compare_pair(ops.silu_forward, ops.silu_backward, (draw(2, 3),))
    (by_central,) = compare_pair(ops.silu_forward, ops.silu_backward, (draw(2, 3),), method="central")
    assert (by_complex.method, by_central.method) == ("complex", "central")
    assert by_complex.error < 1e-14 and by_complex.doubt == 0
    assert by_central.error <= 10 * by_central.doubt < 1e-7


# ------------------------------------------------------------------------------- what it must catch


def test_derivatives_of_a_known_function():
    x = np.array([[0.3, -1.2, 2.0]])
    assert abs(complex_step(lambda x: (np.sin(x) * x).sum(), x) - (np.cos(x) * x + np.sin(x))).max() < 1e-15
    assert abs(central_difference(lambda x: (x**3).sum(), x) - 3 * x**2).max() < 1e-9
    along = complex_step(lambda x: (x**2).sum(), x, directions=[np.ones_like(x)])
    assert along == pytest.approx([2 * x.sum()], rel=1e-15)


def test_softmax_backward_without_its_sum_passes_ones_but_not_a_random_upstream():
    """Why the upstream is random:
    rows of A sum to 1, so an upstream of ones has zero gradient, right or wrong.
    """
    scores = np.random.default_rng(0).standard_normal((3, 5))
    ones = complex_step(lambda s: ops.softmax_forward(s)[0].sum(), scores)
    assert abs(ones).max() < 1e-15
    with pytest.raises(GradientError, match="degrees away"):
        check_pair(ops.softmax_forward, lambda dA, cache: cache.A * dA, (scores,))


def test_state_and_mutation_are_caught():
    x = np.random.default_rng(0).standard_normal((2, 3))
    calls = []

    def stateful_forward(x):
        calls.append(1)
        return x * len(calls), x

    def mutating_forward(x):
        x *= 2
        return x.copy(), x

    def mutating_backward(dout, cache):
        dout *= 2
        return dout

    with pytest.raises(GradientError, match="a second call gives another result"):
        check_pair(stateful_forward, lambda dout, x: dout, (x.copy(),))
    with pytest.raises(GradientError, match="changed its argument x"):
        check_pair(mutating_forward, lambda dout, x: 2 * dout, (x.copy(),))
    with pytest.raises(GradientError, match="changed the upstream gradient"):
        check_pair(lambda x: (2 * x, None), mutating_backward, (x.copy(),))


def test_a_changed_mask_is_caught_too():
    def forgetful_forward(x, mask):
        mask[0] = False
        return 2 * x, None

    with pytest.raises(GradientError, match="changed its argument mask"):
        check_pair(forgetful_forward, lambda dout, cache: 2 * dout, (np.ones(3), np.ones(3, bool)))


def test_a_vacuous_check_fails():
    with pytest.raises(GradientError, match="all but zero"):
        check_pair(lambda x, y: (0 * x + y, None), lambda dout, c: (0 * dout, dout), (np.ones(3), np.ones(3)))


def test_single_precision_is_refused():
    with pytest.raises(TypeError, match="expected float64"):
        check_pair(ops.silu_forward, ops.silu_backward, (np.ones((2, 2), "float32"),))
