"""float32 against PyTorch's float32: every output and every gradient, of every case, and the known
hard spots.

The inputs are rounded to float32; what float64 makes of these same numbers is the truth. The error
of a tensor is max|a - b| / max|b|. The bar: the median of our errors over the seeds 0 .. 19 is at
most twice the median of torch's. Both medians count as at least 2^-24 / 4, a quarter of the
rounding of one number, so that a result that is exact in torch is not divided by. The medians of
torch are in golden/single_precision.json (make_golden.py --single), with the versions; where torch
is there, it is asked again, live.

The last bits depend on the processor, by way of the BLAS and the vector units, and the median of
twenty errors of a single number (a loss, the scale of all lambda gradients) swings by a factor of 2
with them. On the kernels of the JSON the bar holds. On others a tensor that is over it is measured
again, over 200 seeds.
"""

import json
from functools import cache, lru_cache, partial

import numpy as np
import pytest
from support.make_golden import (
    FEW,
    MANY,
    SINGLE,
    evaluate,
    kernels,
    medians,
    relative_error,
    rounded,
    single_cases,
    single_errors,
    torch_kernels,
)
from support.parity import arguments, need_torch, pair, run
from support.tiers import most_later

from dgsa_np.attention import AttentionConfig
from dgsa_np.attention.gated import gate_lambda_backward, gate_lambda_forward, gated_head_backward, gated_head_forward
from dgsa_np.attention.output_gate import token_gate_backward, token_gate_forward
from dgsa_np.losses import cross_entropy_backward, cross_entropy_forward
from dgsa_np.ops import (
    layernorm_backward,
    layernorm_forward,
    linear_backward,
    linear_forward,
    rmsnorm_backward,
    rmsnorm_forward,
    sigmoid,
    softmax_backward,
    softmax_forward,
)

EPS = 2.0**-23
BAR = 2
FLOOR = 2.0**-24 / 4
STORED = json.loads(SINGLE.read_text(encoding="utf-8"))
NAMES = list(STORED["medians"])
# ---------------------------------------------------------------------------- the bar, case by case


@lru_cache(FEW)
def drawn(seed):
    return {case.name: case for case in single_cases(seed)}


@cache
def measured(function, name, n):
    """{tensor: median of the errors over the seeds 0 .. n - 1}"""
    return medians([single_errors(function, drawn(seed)[name]) for seed in range(n)])


def ratios(got, peer):
    """{tensor: our median over torch's}, floored both."""
    assert got.keys() == peer.keys()
    return {name: np.maximum(got[name], FLOOR) / np.maximum(peer[name], FLOOR) for name in peer}


def stored(name, n):
    column = STORED["meta"]["seeds"].index(n)
    return {tensor: numbers[column] for tensor, numbers in STORED["medians"][name].items()}


def over(ratio_of):
    """The tensors that miss the bar, with their ratios; nan misses it."""
    return {name: ratio for name, ratio in ratio_of.items() if not ratio <= BAR}


# Lambda is one number per layer, and its gradient a sum in which much cancels. In this model the
# medians of 20 seeds put it at 2.2 times torch's error, those of 200 below 1.2: the many judge.
SWINGS = {"model_diff_v1_gelu"}


def judge(name, peer, here):
    """peer(name, n) are torch's medians over n seeds; here says what kernels the two ran on."""
    misses = over(ratios(measured(run, name, FEW), peer(name, FEW)))
    if here.items() <= STORED["meta"].items() and name not in SWINGS:
        assert not misses
    elif misses:
        assert not over(ratios(measured(run, name, MANY), peer(name, MANY))), f"{misses} over {FEW} seeds"


@pytest.mark.parametrize("name", most_later(NAMES, now=[n for n in NAMES if n.split("_")[0] not in ("model", "loss")]))
def test_no_tensor_is_more_than_twice_as_far_off_as_in_torch(name):
    judge(name, stored, kernels())


@pytest.mark.peers
@pytest.mark.parametrize("name", NAMES)
def test_live(name):
    need_torch()
    judge(name, partial(measured, evaluate), kernels() | torch_kernels())


@pytest.mark.peers
@pytest.mark.parametrize("name", NAMES)
def test_the_stored_medians_are_of_the_size_of_those_that_torch_gives_now(name):
    """Other processors shift them by up to a factor of 2.3."""
    need_torch()
    drift = ratios(stored(name, FEW), measured(evaluate, name, FEW))
    assert all(1 / 4 < factor < 4 for factor in drift.values()), drift


def test_every_case_has_its_medians():
    assert [case.name for case in single_cases(0)] == NAMES, "run tests/support/make_golden.py --single"
    assert STORED["meta"]["seeds"] == [FEW, MANY] and {"torch", "numpy"} <= STORED["meta"].keys()


@pytest.mark.parametrize("value", [2.01 * 3e-7, np.nan, np.inf])
def test_the_bar_is_missed(value):
    assert over(ratios({"out": value}, {"out": 3e-7})) and over(ratios({"out": value}, {"out": 0.0}))


def test_a_rounding_of_a_single_number_does_not_miss_the_bar_where_torch_is_exact():
    assert not over(ratios({"out": FLOOR, "grad.x": 2 * FLOOR}, {"out": 0.0, "grad.x": 0.0}))


# ---------------------------------------------------------------------------------------- the dtype


def floating(tree):
    """Every array and NumPy number with a point in a cache."""
    if isinstance(tree, (np.ndarray, np.generic)):
        return [tree] if tree.dtype.kind in "fc" else []
    branches = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, (list, tuple)) else ()
    return [leaf for branch in branches for leaf in floating(branch)]


def test_no_output_no_gradient_and_no_cache_is_float64():
    for case in single_cases(0):
        case = rounded(case, "float32")
        leaves = list(run(case).values())
        if case.spec["function"] != "loss":
            forward, _ = pair(case.spec["function"])
            leaves += floating(forward(**arguments(case)))
        assert {leaf.dtype.name for leaf in leaves} == {"float32"}, case.name


# ----------------------------------------------------------------------------------- the hard spots


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def silent():
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        yield


def both(forward, backward, *args, upstream=None, **options):
    """[out, *gradients] in float32 and in float64; every array is float32 to begin with."""

    def compute(dtype):
        out, cache = forward(*(a.astype(dtype) if a.dtype.kind == "f" else a for a in args), **options)
        grads = backward(cache) if upstream is None else backward(upstream.astype(dtype), cache)
        return [out, *(grads if isinstance(grads, tuple) else (grads,))]

    return list(zip(compute("float32"), compute("float64"), strict=True))


ROWS = {
    "linear": (linear_forward, linear_backward, ((4, 4), (4,))),
    "rmsnorm": (rmsnorm_forward, rmsnorm_backward, ((4,),)),
    "layernorm": (layernorm_forward, layernorm_backward, ((4,), (4,))),
}


@pytest.mark.parametrize("function", most_later(ROWS, now=list(ROWS)[:1]))
def test_over_a_million_rows_the_gradients_of_biases_and_gains_keep_their_digits(function, rng):
    forward, backward, shapes = ROWS[function]
    x, dy, *p = (rng.random(shape, "float32") for shape in ((1_000_000, 4), (1_000_000, 4), *shapes))
    _, _, *grads = both(forward, backward, x, *p, upstream=dy)
    for got, want in grads[1:] if function == "linear" else grads:  # W is no bias
        assert got.dtype == "float32" and relative_error(got, want) <= 1e-6
    narrow = dy.sum(axis=0)  # what the bias would be in float32
    assert relative_error(narrow, dy.sum(axis=0, dtype="float64")) > 1e-6


@pytest.mark.parametrize("spread", [1e3, 1.0])  # far apart, and close together at 1e3
@pytest.mark.parametrize("kept", [False, True])
def test_cross_entropy_of_logits_of_size_a_thousand(spread, kept, rng, silent):
    level = 0 if spread == 1e3 else 1e3
    logits = (level + spread * rng.standard_normal((64, 10))).astype("float32")
    keep = rng.random(64) < 0.6 if kept else None
    options = {"targets": rng.integers(0, 10, 64), "keep": keep}
    for got, want in both(cross_entropy_forward, cross_entropy_backward, logits, **options):
        assert got.dtype == "float32" and relative_error(got, want) <= 2 * EPS


@pytest.mark.parametrize("masked", [False, True])
def test_softmax_of_scores_of_size_ten_thousand_is_finite_and_silent(masked, rng, silent):
    shape = (2, 3, 8, 50)
    scores = (1e4 * rng.choice([-1, 1], shape) + rng.standard_normal(shape)).astype("float32")
    mask = rng.random(shape) < 0.5 if masked else None
    dA = rng.standard_normal(shape).astype("float32")
    for got, want in both(softmax_forward, softmax_backward, scores, mask=mask, upstream=dA):
        assert np.isfinite(got).all() and got.any() and relative_error(got, want) <= 4 * EPS


def test_sigmoid_of_minus_z_keeps_its_digits_where_one_minus_sigmoid_has_none():
    z = np.linspace(0, 80, 321, dtype="float32")
    want = 1 / (1 + np.exp(z.astype("float64")))
    assert np.all(abs(sigmoid(-z) - want) <= 2 * EPS * want)
    assert 1 - sigmoid(np.float32(30)) == 0 and sigmoid(np.float32(-30)) > 0


def test_a_gate_whose_logit_is_30_keeps_its_gradient(rng):
    heads = [rng.standard_normal((2, 3, 7, 4)).astype("float32") for _ in range(5)]
    z_gate, do = np.full((2, 3, 7), 30, "float32"), rng.standard_normal((2, 3, 7, 4)).astype("float32")
    *_, (got, want) = both(gated_head_forward, gated_head_backward, *heads, z_gate, upstream=do)
    assert 0 < abs(want).max() < 1e-11 and relative_error(got, want) <= 4 * EPS


@pytest.mark.parametrize("logit", [30, -30])
def test_a_gate_on_inhibition_whose_logit_is_30_keeps_its_gradient(logit, rng):
    dlam, p, cfg = (
        rng.random((2, 3, 7), "float32"),
        {"b_gate": np.full(3, logit, "float32")},
        AttentionConfig(width=12, n_heads=3, gate="head"),
    )

    def gradient(dtype):
        _, cache = gate_lambda_forward(
            np.zeros((2, 7, 12), dtype), {n: a.astype(dtype) for n, a in p.items()}, cfg
        )
        return gate_lambda_backward(dlam.astype(dtype), cache)[1]["b_gate"]

    got, want = gradient("float32"), gradient("float64")
    assert got.dtype == "float32" and 0 < want.max() < 1e-11 and relative_error(got, want) <= 4 * EPS


def test_a_gate_without_bias_keeps_its_gradient_too(rng):
    x, W, dgate = np.full((2, 7, 1), 30, "float32"), np.ones((1, 1), "float32"), rng.random((2, 1, 7), "float32")

    def gradient(dtype):
        _, cache = token_gate_forward(x.astype(dtype), {"W_gate": W.astype(dtype)}, None)
        return token_gate_backward(dgate.astype(dtype), cache)[0]

    got, want = gradient("float32"), gradient("float64")
    assert 0 < want.max() < 1e-12 and relative_error(got, want) <= 4 * EPS


@pytest.mark.parametrize("name", [name for name in NAMES if "_long" in name])
def test_attention_over_256_tokens_keeps_five_digits(name):
    """The medians of the long cases that the bar compares with torch, here by themselves."""
    assert max(measured(run, name, FEW).values()) <= 2e-6
