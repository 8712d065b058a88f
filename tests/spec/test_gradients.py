"""Every gradient of the project against numeric ones, and the check itself against planted mistakes."""

import numpy as np
import pytest

from dgsa_np import attention, losses, model, ops
from dgsa_np.attention import differential, differential_v2, gated, multihead, output_gate, softmax, tiled, twicing
from dgsa_np.gradcheck import (
    SAFETY,
    GradientError,
    _upstream,
    central_difference,
    check_pair,
    complex_step,
    diagnose,
    same_bits,
)
from dgsa_np.gradcheck_pair import Pair
from dgsa_np.lab import cases


def test_complex_step_over_every_element(case):
    options = {"sizes": case.sizes, "without": case.without, "n_directions": case.n_directions}
    assert {r.method for r in check_pair(case.forward, case.backward, case.args, **options)} == {"complex"}


def test_central_differences_agree_within_their_own_error(case):
    options = {"without": case.without, "n_directions": 1, "method": "central"}
    for r in check_pair(case.forward, case.backward, case.args, **options):
        assert r.method == "central" and r.error <= SAFETY * r.doubt, f"{r}"


def test_a_second_call_gives_the_same_bits(case):
    """check_pair lets other people's libraries round anew; ours do not."""
    pair = Pair(case.forward, case.backward, case.args, case.without)
    out, cache = pair.run()
    dout, _ = _upstream(pair, out, 0)
    first, second = (pair.gradients(dout, cache) for _ in range(2))
    assert same_bits(pair.run()[0], out) and all(same_bits(first[path], second[path]) for path in first)


def test_the_catalogue_holds_every_public_pair():
    heads = (softmax, differential, gated, differential_v2, output_gate, twicing, tiled)
    modules = (ops, losses, model, *heads, multihead, attention)
    public = {n for m in modules for n in vars(m) if n.endswith("_forward") and not n.startswith("_")}
    checked = {c.forward.__name__ for c in cases.all_cases()}
    inside_attention = {
        "lambda_forward",
        "gate_logits_forward",
        "gate_lambda_forward",
        "token_gate_forward",
    }  # arguments of a mechanism, checked through it
    assert public - inside_attention == checked


def test_derivatives_of_a_known_function():
    x = np.array([[0.3, -1.2, 2.0]])
    assert abs(complex_step(lambda x: (np.sin(x) * x).sum(), x) - (np.cos(x) * x + np.sin(x))).max() < 1e-15
    assert abs(central_difference(lambda x: (x**3).sum(), x) - 3 * x**2).max() < 1e-9
    along = complex_step(lambda x: (x**2).sum(), x, directions=[np.ones_like(x)])
    assert along == pytest.approx([2 * x.sum()], rel=1e-15)


# ------------------------------------------------------------------ planted mistakes, each named by diagnose


def head_arguments(d=5):
    rng = np.random.default_rng(1)
    return tuple(rng.standard_normal(shape) for shape in ((2, 3, 4, d), (2, 3, 6, d), (2, 3, 6, 7)))


def planted(change):
    """softmax_head_backward with one gradient spoilt."""

    def spoilt_backward(do, cache):
        return change(*attention.softmax_head_backward(do, cache))

    return spoilt_backward


MISTAKES = {
    "sign": (lambda dq, dk, dv: (-dq, dk, dv), "q (2, 3, 4, 5)", "the sign is wrong"),
    "cut path": (lambda dq, dk, dv: (dq, 0 * dk, dv), "k (2, 3, 6, 5)", "path is cut"),
    "scale missing": (lambda dq, dk, dv: (dq * 5**0.5, dk, dv), "q (2, 3, 4, 5)", "1/sqrt(d) is missing"),
    "scale twice": (lambda dq, dk, dv: (dq / 5**0.5, dk, dv), "q (2, 3, 4, 5)", "1/sqrt(d) is applied twice"),
    "counted twice": (lambda dq, dk, dv: (dq, dk, 2 * dv), "v (2, 3, 6, 7)", "counted twice"),
    "mean for sum": (lambda dq, dk, dv: (dq, dk, dv / 4), "v (2, 3, 6, 7)", "a mean over T where a sum belongs"),
    "sign and factor": (
        lambda dq, dk, dv: (dq, dk, -2 * dv),
        "v (2, 3, 6, 7)",
        "the sign is wrong, and the gradient is 2",
    ),
    "one element": (
        lambda dq, dk, dv: (dq, dk, dv + (np.arange(dv.size) == 9).reshape(dv.shape)),
        "v (2, 3, 6, 7)",
        "index (0, 0, 1, 2)",
    ),
    "hardly wrong": (lambda dq, dk, dv: (dq, dk, dv * (1 + 1e-11)), "v (2, 3, 6, 7)", "its precision is at fault"),
    "nan": (lambda dq, dk, dv: (dq, dk * np.nan, dv), "k (2, 3, 6, 5)", "nan or inf"),
    "argument changed order": (lambda dq, dk, dv: (dk, dq, dv), "the gradient of q", "expected float64 (2, 3, 4, 5)"),
    "too few": (lambda dq, dk, dv: (dq, dk), "returns 2 gradients", "expected 3, for q, k, v"),
    "single precision": (
        lambda dq, dk, dv: (dq, dk, dv.astype("float32")),
        "gradient of v is float32",
        "expected float64",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_planted_mistake_is_caught_and_named(name):
    change, argument, message = MISTAKES[name]
    with pytest.raises(GradientError) as caught:
        check_pair(attention.softmax_head_forward, planted(change), head_arguments(), sizes={"d": 5, "T": 4})
    assert argument in str(caught.value)
    assert message in str(caught.value)


def test_a_transposed_gradient_is_named():
    rng = np.random.default_rng(0)
    g = rng.standard_normal((3, 4, 4))
    assert diagnose(g, g.swapaxes(-1, -2)).kind == "transposed"
    assert diagnose(g, g).kind == "close"
    assert diagnose(g, rng.standard_normal(g.shape)).kind == "angle"
    assert diagnose(0 * g, g).kind == "not zero"
    assert diagnose(0 * g, 0 * g).kind == "vacuous"
    assert diagnose(g, g[0]).kind == "shape"


def test_softmax_backward_without_its_sum_passes_ones_but_not_a_random_upstream():
    """Why the upstream is random: rows of A sum to 1, so an upstream of ones has zero gradient, right or wrong."""
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
