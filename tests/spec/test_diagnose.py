"""What a student is told: each kind of mistake by its name, and right code never called wrong."""

import numpy as np
import pytest
from support.tiers import most_later

from dgsa_np import attention
from dgsa_np.attention import (
    differential_head_backward,
    differential_head_forward,
    gated_head_backward,
    gated_head_forward,
    output_gate_head_backward,
    output_gate_head_forward,
    softmax_head_backward,
    softmax_head_forward,
    twicing_head_backward,
    twicing_head_forward,
)
from dgsa_np.gradcheck import GradientError, check_pair, diagnose

B, H, T, S, D, E = 2, 3, 4, 6, 5, 7
SIZES = {"d": D, "T": T, "S": S}
NAMES = ("q_exc", "k_exc", "q_inh", "k_inh", "v", "z_gate")


def arguments(seed=0, T=T, S=S, D=D, E=E):
    normal = np.random.default_rng(seed).standard_normal
    dual = [normal((B, H, n, D)) for n in (T, S, T, S)]
    return *dual, normal((B, H, S, E)), normal((B, H, T))


def spoilt(change):
    """gated_head_backward with some of its gradients changed: change(gradients by name, cache)."""

    def gated_backward(do, cache):
        gradients = dict(zip(NAMES, gated_head_backward(do, cache), strict=True))
        return tuple((gradients | change(gradients, cache)).values())

    return gated_backward


MISTAKES = {  # what is done wrong: (argument, the change, words of the message)
    "cut path": ("k_inh", lambda g, c: {"k_inh": 0 * g["k_inh"]}, "the gradient is zero: this path is cut"),
    "sign": ("q_exc", lambda g, c: {"q_exc": -g["q_exc"]}, "the sign is wrong: is it subtracted in the forward?"),
    "inhibitory sign": ("q_inh", lambda g, c: {"q_inh": -g["q_inh"]}, "the inhibitory branch enters with a minus"),
    "1/sqrt(d) missing": ("q_exc", lambda g, c: {"q_exc": g["q_exc"] * D**0.5}, "1/sqrt(d) is missing"),
    "1/sqrt(d) twice": ("k_exc", lambda g, c: {"k_exc": g["k_exc"] / D**0.5}, "1/sqrt(d) is applied twice"),
    "mean for sum": ("v", lambda g, c: {"v": g["v"] / T}, "a mean over T where a sum belongs"),
    "sum for mean": ("v", lambda g, c: {"v": g["v"] * S}, "a sum over S where a mean belongs"),
    "counted twice": ("v", lambda g, c: {"v": 2 * g["v"]}, "it is counted twice"),
    "wrong branch": ("q_exc", lambda g, c: {"q_exc": g["q_inh"]}, "this is the gradient of q_inh: they are mixed up"),
    "wrong branch and sign": ("k_inh", lambda g, c: {"k_inh": -g["k_exc"]}, "of k_exc, with the wrong sign"),
    "lost gate": ("q_exc", lambda g, c: {"q_exc": g["q_exc"] / c.gate[..., None]}, "is a gate or lambda lost?"),
    "gate of the other branch": (
        "q_inh",
        lambda g, c: {"q_inh": g["q_inh"] * (c.gate / c.one_minus_gate)[..., None]},
        "each row is off by a factor of its own",
    ),
    "gate twice": ("q_exc", lambda g, c: {"q_exc": g["q_exc"] * c.gate[..., None]}, "there twice, or another one's"),
    "heads exchanged": ("v", lambda g, c: {"v": g["v"][:, [1, 0, 2]]}, "axis 1: 1 stands at 0, 0 stands at 1: heads"),
    "heads reversed": ("q_inh", lambda g, c: {"q_inh": g["q_inh"][:, ::-1].copy()}, "from the last to the first"),
    "columns rolled": ("k_exc", lambda g, c: {"k_exc": np.roll(g["k_exc"], 1, -1)}, "another order along axis 3"),
    "nothing known": ("k_exc", lambda g, c: {"k_exc": g["k_exc"] + g["k_exc"] ** 2}, "degrees away"),
    "overflow": ("v", lambda g, c: {"v": g["v"] * np.inf}, "elements are nan or inf"),
}


@pytest.mark.parametrize("name", most_later(MISTAKES, now=[*MISTAKES][::3]))
def test_a_mistake_is_named_with_its_argument(name):
    argument, change, words = MISTAKES[name]
    for seed in range(2):
        with pytest.raises(GradientError) as caught, np.errstate(invalid="ignore"):
            check_pair(gated_head_forward, spoilt(change), arguments(seed), sizes=SIZES)
        said = str(caught.value)
        assert f"wrong in 1 of 6 gradients:\n  {argument} (" in said and words in said, said


def test_a_transposed_matrix_is_named():
    """Where it is square and nothing else tells."""
    rng = np.random.default_rng(0)
    g = rng.standard_normal((5, 5))
    assert "transposed in its last two axes" in diagnose(g, g.T).message


ORDERS = {  # columns of (n, 8): which stands where, and what is said
    "pairs of columns": ([1, 0, 3, 2, 5, 4, 7, 6], "neighbours have changed places"),
    "branches": ([4, 5, 6, 7, 0, 1, 2, 3], "its halves have changed places"),
    "halves for neighbours": ([0, 4, 1, 5, 2, 6, 3, 7], "stand as (4, 2) where (2, 4) belongs"),
    "neighbours for halves": ([0, 2, 4, 6, 1, 3, 5, 7], "stand as (2, 4) where (4, 2) belongs"),
    "two of them": ([0, 1, 5, 3, 4, 2, 6, 7], "5 stands at 2, 2 stands at 5"),
    "heads of two columns": ([2, 3, 0, 1, 4, 5, 6, 7], "of its 4 blocks of 2 1 stands at 0, 0 stands at 1"),
}


@pytest.mark.parametrize("name", ORDERS)
def test_an_order_is_named_along_every_axis(name):
    order, words = ORDERS[name]
    for seed in range(20):
        g = np.random.default_rng(seed).standard_normal((3, 8, 5))
        for axis, moved in ((1, g), (2, g.swapaxes(1, 2)), (0, g.swapaxes(0, 1))):
            said = diagnose(moved, np.take(moved, order, axis=axis))
            assert said.kind == "order" and f"along axis {axis}" in said.message and words in said.message


def test_an_order_is_seen_among_rows_that_are_zero_or_equal():
    g = np.random.default_rng(0).standard_normal((6, 4))
    g[1] = g[4] = 0
    g[3] = g[0]
    assert "5 stands at 2, 2 stands at 5" in diagnose(g, g[[0, 1, 5, 3, 4, 2]]).message


def test_any_two_axes_may_be_transposed():
    g = np.random.default_rng(0).standard_normal((3, 4, 3))
    assert "transposed in axes 0 and 2" in diagnose(g, g.swapaxes(0, 2)).message


def test_rows_are_told_from_chance():
    """A gate changes most rows; one row is a loop too short;
    a rank of one, or one number per row, tells nothing.
    """
    g = np.random.default_rng(0).standard_normal((2, 3, 5))
    short = g.copy()
    short[-1, -1] = 0
    assert "only 1 of 6 rows are wrong, the first at (1, 2), 0 times what it should be" in diagnose(g, short).message
    gates = np.random.default_rng(1).random((2, 3, 1))
    assert "is a gate or lambda there twice" in diagnose(g, g * gates).message
    one_number = np.eye(5)
    assert diagnose(one_number, one_number * np.arange(1, 6)).kind == "angle"
    assert diagnose(g[0, :1], np.array([[1.0, 2, 3, 4, 5]])).kind == "angle"


def test_two_mistakes_are_told_both():
    def change(g, cache):
        return {"q_inh": -g["q_inh"], "v": 0 * g["v"]}

    with pytest.raises(GradientError, match="wrong in 2 of 6 gradients") as caught:
        check_pair(gated_head_forward, spoilt(change), arguments(), sizes=SIZES)
    assert "q_inh" in str(caught.value) and "this path is cut" in str(caught.value)


def test_a_random_gradient_is_an_angle_and_nothing_else():
    rng = np.random.default_rng(1)
    for _ in range(200):
        numeric, analytic = rng.standard_normal((2, 3, 4, 4))
        others = {"other": rng.standard_normal((3, 4, 4))}
        assert diagnose(numeric, analytic, sizes=SIZES, name="q_inh", others=others).kind == "angle"


def test_a_small_perturbation_is_told_by_its_place():
    numeric = np.random.default_rng(2).standard_normal((3, 4))
    analytic = numeric.copy()
    analytic[2, 1] += 1e-3
    assert "1 of 12 elements differ, most at index (2, 1)" in diagnose(numeric, analytic).message


PAIRS = (
    (gated_head_forward, gated_head_backward, lambda a: a),
    (differential_head_forward, differential_head_backward, lambda a: a),
    (softmax_head_forward, softmax_head_backward, lambda a: (a[0], a[1], a[4])),
    (output_gate_head_forward, output_gate_head_backward, lambda a: (a[0], a[1], a[4], a[5])),
    (twicing_head_forward, twicing_head_backward, lambda a: (a[0], a[0] + 1, a[4][:, :, : a[0].shape[2]])),
)


SEEDS = [range(20), range(20, 150), range(150, 1000)]


@pytest.mark.parametrize("seeds", most_later(SEEDS, now=SEEDS[:1], torture=SEEDS[2:]), ids=str)
def test_a_thousand_seeds_of_right_code_raise_no_alarm(seeds):
    for seed in seeds:
        forward, backward, choose = PAIRS[seed % len(PAIRS)]
        method = ("auto", "central")[seed // 7 % 2]
        args = choose(arguments(seed, T=3, S=5, D=2 + seed % 3, E=4))
        results = check_pair(forward, backward, args, method=method, n_directions=2, seed=seed, sizes=SIZES)
        assert all(r.message == "" for r in results)


# ------------------------------------------------------------------------------ on the softmax head


def softmax_arguments(d=5):
    rng = np.random.default_rng(1)
    return tuple(rng.standard_normal(shape) for shape in ((2, 3, 4, d), (2, 3, 6, d), (2, 3, 6, 7)))


def spoilt_softmax(change):
    """softmax_head_backward with one gradient spoilt."""

    def spoilt_backward(do, cache):
        return change(*attention.softmax_head_backward(do, cache))

    return spoilt_backward


SOFTMAX_MISTAKES = {
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


@pytest.mark.parametrize("name", SOFTMAX_MISTAKES)
def test_a_planted_mistake_is_caught_and_named(name):
    change, argument, message = SOFTMAX_MISTAKES[name]
    with pytest.raises(GradientError) as caught:
        check_pair(attention.softmax_head_forward, spoilt_softmax(change), softmax_arguments(), sizes={"d": 5, "T": 4})
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
