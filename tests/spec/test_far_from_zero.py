"""Scores and logits far from zero:
neither the level that all share nor a gate that is all but shut loses digits.
"""

from functools import partial

import numpy as np
import pytest
from support.compare import error
from support.planting import assert_caught
from support.problems import TILED, head_arguments, heads, powers_of_two, run_head

from dgsa_np import attention, ops
from dgsa_np.attention import AttentionConfig, causal_mask, differential_v2, gated, padding_mask, tiled
from dgsa_np.attention.mechanisms import MECHANISMS

LOWEST = float(np.finfo("float32").min)


def far_scores(kind, level, dtype):
    """Arguments of a head whose scores are level + 0 .. 3 steps, without rounding;
    what is expected of it.
    """
    args, names = head_arguments(kind, T=6, dtype=dtype)
    step = 1 if level > -1e30 else 2.0**110
    offsets = np.array([1, 3, 0, 2, 0, 1], dtype)
    for a, name in zip(args, names, strict=False):
        if name[0] == "q":
            a[:] = [2, 0, 0, 0]  # / sqrt(d) is 1
        if name[0] == "k":
            a[..., 0] = level + step * offsets
    for a in args[len(names) :]:
        a[:] = powers_of_two(a)
    near = [a.copy() for a in args]
    for a, name in zip(near, names, strict=False):
        if name[0] == "k":
            a[..., 0] = step * offsets
    return args, near


@heads
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("level", [-1e4, 1e4, LOWEST / 16 * 15])
def test_a_level_that_all_scores_share_changes_no_output(kind, pair, dtype, level, monkeypatch):
    """However low:
    no start of a running maximum, and no stand-in for what is masked, may be above the scores.
    """
    monkeypatch.setattr(tiled, "CPU_TILES", (2, 2, 1))
    far, near = far_scores(kind, level, dtype)
    for mask in (None, causal_mask(6), padding_mask(np.arange(6) < [[5], [3]])):
        with np.errstate(over="ignore"):  # steps of 1e33 from the lowest number
            (o, _), (expected, _) = (pair[0](*args, mask=mask) for args in (far, near))
        assert error(o, expected) < 1e-6 and o.any()


@pytest.mark.parametrize("kind", TILED)
@pytest.mark.parametrize("level", [-1e4, 1e4])
def test_gradients_on_tiles_are_the_plain_ones_at_scores_far_from_zero(kind, level, monkeypatch):
    monkeypatch.setattr(tiled, "CPU_TILES", (2, 2, 1))
    args, _ = far_scores(kind, level, "float64")
    plain, got = (run_head(pair, args, causal_mask(6)) for pair in (MECHANISMS[kind].head, TILED[kind]))
    assert max(error(a, b) for a, b in zip(got, plain, strict=True)) < 1e-10


GATED = [("dgsa", "plain"), ("dgsa", "tiled"), ("diff_v2", "plain"), ("diff_v2", "tiled"), ("output_gate", "plain")]


def slope_of_gates(kind, impl, z, dtype):
    """The gradients of the parameters from which a layer makes gates,
    all of them at the logit z.
    """
    cfg = AttentionConfig(kind=kind, width=8, n_heads=2, impl=impl, head_norm=False)
    draw = np.random.default_rng(0)
    p, x = attention.init_attention(cfg, draw), draw.standard_normal((2, 5, 8)).astype("float32")
    x[..., 0] = 1
    gates = [*cfg.mechanism.control.specs(cfg)]
    if "b_gate" in gates:
        p["b_gate"][:] = z
    else:  # the first feature, which is 1, brings it
        p[gates[0]][0] = z
    p = {name: a.astype(dtype) for name, a in p.items()}
    dy = draw.standard_normal(x.shape).astype("float32").astype(dtype)
    _, cache = attention.attention_forward(x.astype(dtype), p, cfg)
    _, grads = attention.attention_backward(dy, cache)
    return [grads[name] for name in gates]


@pytest.mark.parametrize(("kind", "impl"), GATED)
@pytest.mark.parametrize("z", [30.0, -30.0])
def test_the_slope_of_a_gate_keeps_its_digits_where_1_minus_g_has_none(kind, impl, z):
    for got, want in zip(*(slope_of_gates(kind, impl, z, dtype) for dtype in ("float32", "float64")), strict=True):
        assert got.dtype == "float32" and 0 < abs(want).max() < 1e-10 and error(got, want) < 1e-5


# ------------------------------------------------------------------------------------- planted bugs

MIDDLE, START = LOWEST / 16 * 15, "xp.finfo(Q.dtype).min"
GATED_HEAD = "dgsa", (gated.gated_head_forward, gated.gated_head_backward)
MAXIMA = {  # what is wrong: (a head, a level that shows it, the change)
    "tiles whose maximum starts at 0": (("softmax", TILED["softmax"]), -1e4, (tiled._stream, START, "0.0")),
    "tiles whose maximum starts at -1000": (("softmax", TILED["softmax"]), -1e4, (tiled._stream, START, "-1e3")),
    "tiles whose maximum starts in the middle of the range": (
        ("softmax", TILED["softmax"]),
        MIDDLE,
        (tiled._stream, START, START + " / 2"),
    ),
    "a softmax that takes half the lowest number for none": (
        GATED_HEAD,
        MIDDLE,
        (ops.softmax_forward, "keepdims=True), lowest)", "keepdims=True), lowest / 2)"),
    ),
}


@pytest.mark.parametrize("name", MAXIMA)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_planted_bugs_in_the_start_of_a_maximum_are_caught(name, monkeypatch):
    head, level, change = MAXIMA[name]
    test = test_a_level_that_all_scores_share_changes_no_output
    assert_caught(partial(test, *head, "float32", level, monkeypatch), change)


SLOPES = {  # what is wrong: (the mechanism, its form and its logit that show it, the change)
    "the slope of a gate by 1 - g": (
        ("dgsa", "plain", 30.0),
        (gated.gated_head_backward, "gate * one_minus_gate * dgate", "gate * (1 - gate) * dgate"),
    ),
    "the slope of a gate on tiles by 1 - g": (
        ("dgsa", "tiled", 30.0),
        (tiled.tiled_gated_head_backward, "-cache.w[0] * cache.w[1] *", "cache.w[0] * (1 - cache.w[0]) *"),
    ),
    "the slope of a token gate by 1 - g": (
        ("diff_v2", "plain", 30.0),
        (differential_v2.token_lambda_backward, "lam * one_minus_lam", "lam * (1 - lam)"),
    ),
    "the same, of a gate that is shut": (
        ("dgsa", "plain", -30.0),
        (
            gated.gated_head_backward,
            "gate * one_minus_gate * dgate",
            "(1 - one_minus_gate) * one_minus_gate * dgate",
        ),
    ),
}


@pytest.mark.parametrize("name", SLOPES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_planted_bugs_in_the_slope_of_a_gate_are_caught(name):
    arguments, change = SLOPES[name]
    assert_caught(partial(test_the_slope_of_a_gate_keeps_its_digits_where_1_minus_g_has_none, *arguments), change)
