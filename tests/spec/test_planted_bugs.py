"""The tests tested: each bug planted here is caught by the check that is named for it, and right
variants pass them all.

A bug is planted by exchanging a function's code in place, so every module that holds the function
runs the bug. Where forward and backward are wrong together the gradient check must stay silent:
that is why the other checks exist. Bugs that one test alone catches stand at the end of that test's
file, under "planted bugs".
"""
# ruff: noqa: E501 - a table reads best with a row to a line

from functools import partial

import pytest
from support.parity import assert_golden
from support.planting import FAILURES, assert_caught, planted
from support.second_order import assert_the_hessian_is_symmetric, assert_the_rest_shrinks_with_the_square_of_the_step
from support.tiers import most_later

from dgsa_np import layers, losses, model, ops
from dgsa_np.attention import (
    differential,
    differential_v2,
    gated,
    masks,
    multihead,
    output_gate,
    softmax,
    twicing,
)
from dgsa_np.gradcheck import check_pair
from dgsa_np.lab.cases import all_cases
from dgsa_np.ops import rotary

CASES = {str(case): case for case in all_cases()}


# ---------------------------------------------------------------------------------------- the rungs


def complex_step(name):
    case = CASES[name]
    check_pair(case.forward, case.backward, case.args, without=case.without, n_directions=case.n_directions)


def central_difference(name):
    case = CASES[name]
    check_pair(case.forward, case.backward, case.args, without=case.without, method="central", n_directions=4)


def second_order(name):
    assert_the_hessian_is_symmetric(CASES[name])


def taylor(name):
    assert_the_rest_shrinks_with_the_square_of_the_step(CASES[name])


# ---------------------------------------------------------------------------------- wrong backwards

BACKWARD = {  # what is wrong: (case, function, old, new)
    "softmax without its row sum": ("softmax [none]", ops.softmax_backward, "(dA - row_sum(dA * A))", "dA"),
    "dq without 1/sqrt(d)": ("softmax_head [none]", softmax.softmax_map_backward, "scale * (dS @ k)", "dS @ k"),
    "dk without 1/sqrt(d)": ("softmax_head [causal]", softmax.softmax_map_backward, "@ (scale * q)", "@ q"),
    "dv by A instead of A^T": ("attention softmax [none]", softmax.softmax_head_backward, "swap(A) @ do", "A @ do"),
    "inhibitory sign": ("gated_head [none]", gated.gated_head_backward, "-one_minus_gate[..., None] * dA", "one_minus_gate[..., None] * dA"),
    "gate lost in dA_exc": ("gated_head [padding]", gated.gated_head_backward, "gate[..., None] * dA, -", "dA, -"),
    "dgate by the difference": ("gated_head [none]", gated.gated_head_backward, "A_exc + A_inh", "A_exc - A_inh"),
    "dz_gate without the sigmoid": ("gated_head [none]", gated.gated_head_backward, "gate * one_minus_gate * dgate", "dgate"),
    "branches exchanged": ("gated_head [none]", gated.gated_head_backward, "softmax_map_backward(dA_inh, inh)", "softmax_map_backward(dA_exc, exc)"),
    "dlam with a plus": ("differential_head [none]", differential.differential_head_backward, "-sum_to_shape(dA * A_inh", "sum_to_shape(dA * A_inh"),
    "lam lost in dA_inh": ("differential_head [causal]", differential.differential_head_backward, "-lam[..., None] * dA", "-dA"),
    "lambda vectors exchanged": ("attention diff_v1 [none]", differential.lambda_backward, 'dexc * p["lambda_k_exc"]', 'dexc * p["lambda_q_exc"]'),
    "one of two paths to shared keys": ("differential_v2_head [none]", differential_v2.differential_v2_head_backward, "dk_exc + dk_inh", "dk_exc"),
    "token lambda without the sigmoid": ("attention diff_v2 [none]", differential_v2.token_lambda_backward, "lam * one_minus_lam * dlam", "dlam"),
    "gate on inhibition without the sigmoid": ("attention dgsa, inhibition [none]", gated.gate_lambda_backward, "gate * one_minus_gate * dlam", "dlam"),
    "gate on inhibition without 1 - g": ("attention dgsa, inhibition [gate per head]", gated.gate_lambda_backward, "gate * one_minus_gate * dlam", "gate * dlam"),
    "gate on inhibition with the sign of the other": ("attention dgsa, inhibition [causal]", gated.gate_lambda_backward, "* dlam", "* -dlam"),
    "output gate lost": ("output_gate_head [none]", output_gate.output_gate_head_backward, "gate[..., None] * do,", "do,"),
    "twicing forgets the fork of v": ("twicing_head [none]", twicing.twicing_head_backward, "dmissed + swap(A) @ dfirst", "swap(A) @ dfirst"),
    "twicing with a plus": ("twicing_head [causal]", twicing.twicing_head_backward, "do - dmissed", "do + dmissed"),
    "head norm without its factor": ("head_norm", multihead.head_norm_backward, "(1 - lambda_init) * dh", "dh"),
    "rmsnorm without its mean": ("rmsnorm", ops.rmsnorm_backward, "(dn - n * row_mean(dn * n))", "dn"),
    "gain without n": ("rmsnorm", ops.rmsnorm_backward, "sum_rows(dy * n)", "sum_rows(dy)"),
    "layernorm not centred": ("layernorm", ops.layernorm_backward, "dcentred - row_mean(dcentred)", "dcentred"),
    "a mean over rows for a sum": ("linear", ops.linear_backward, ".T @ rows", ".T @ rows / len(rows)"),
    "bias gradient of one row": ("linear", ops.linear_backward, "sum_rows(dy)", "dy.reshape(-1, dy.shape[-1])[0]"),
    "silu as sigmoid": ("silu", ops.silu_backward, " + y * (1 - sigma)", ""),
    "gelu without the density": ("gelu", ops.gelu_backward, "Phi + x * density", "Phi"),
    "swiglu by one path": ("swiglu", ops.swiglu_backward, "dx_up + dx_gate", "dx_up"),
    "rotary turned on instead of back": ("rotary", ops.rotary_backward, "-sin", "sin"),
    "equal tokens overwrite each other": ("embedding", ops.embedding_backward, "+= rows", "= rows"),
    "dropped targets count": ("cross_entropy [some dropped]", losses.cross_entropy_backward, "/ len(P)", "/ math.prod(shape[:-1])"),
    "gradients of the kept come first": ("cross_entropy [some dropped]", losses.cross_entropy_backward, "dlogits[rows]", "dlogits[: len(dz)]"),
    "the residual path is lost": ("block [dgsa]", model.block_backward, "dx = dx + dx_mlp", "dx = dx_mlp"),
    "blocks in reverse order": ("model softmax [swiglu, none]", model.model_backward, "dblocks.insert(0, dblock)", "dblocks.append(dblock)"),
    "positions from the start": ("token_embed", layers.token_embed_backward, "dpositions[start : start + dx.shape[1]]", "dpositions[: dx.shape[1]]"),
    "the mean of all tokens": ("mean_pool [some dropped]", layers.mean_pool_backward, "weights[:, :, None] * dy", "(0 * weights + 0.25)[:, :, None] * dy"),
}  # fmt: skip


@pytest.mark.parametrize("name", most_later(BACKWARD, now=list(BACKWARD)[4::8]))
def test_a_wrong_backward_is_caught_by_both_numeric_derivatives(name):
    case, *change = BACKWARD[name]
    complex_step(case)
    with planted(change):
        for rung in (complex_step, central_difference):
            with pytest.raises(FAILURES):
                rung(case)
    complex_step(case)


SECOND = (
    "dgate by the difference",
    "lam lost in dA_inh",
    "twicing with a plus",
    "rmsnorm without its mean",
    "gate lost in dA_exc",
)


@pytest.mark.parametrize("name", SECOND)
def test_some_wrong_backwards_are_no_slope_of_anything(name):
    case, *change = BACKWARD[name]
    with planted(change):
        with pytest.raises(AssertionError):
            second_order(case)
        with pytest.raises(AssertionError):
            taylor(case)


# ------------------------------------------------------- wrong forwards with a backward that agrees

MIX = "gate[..., None] * A_exc - one_minus_gate[..., None] * A_inh"
DMIX = "gate[..., None] * dA, -one_minus_gate[..., None] * dA"
TOGETHER = {  # what is wrong: (case of the gradient check, golden case, changes)
    "1/d for 1/sqrt(d)": ("softmax_head [none]", "softmax_head_none", [
        (f, "1 / math.sqrt(q.shape[-1])", "1 / q.shape[-1]") for f in (softmax.softmax_map_forward, softmax.softmax_map_backward)]),
    "the gate weighs inhibition": ("gated_head [none]", "gated_head_none", [
        (gated.gated_head_forward, MIX, "one_minus_gate[..., None] * A_exc - gate[..., None] * A_inh"),
        (gated.gated_head_backward, DMIX, "one_minus_gate[..., None] * dA, -gate[..., None] * dA"),
        (gated.gated_head_backward, "row_sum(dA * (A_exc + A_inh))", "-row_sum(dA * (A_exc + A_inh))")]),
    "the gate spares inhibition": ("attention dgsa, inhibition [none]", "attention_dgsa_on_inhibition", [
        (gated.gate_lambda_forward, "gate, one_minus_gate = sigmoid(z_gate)", "one_minus_gate, gate = sigmoid(z_gate)"),
        (gated.gate_lambda_backward, "* dlam", "* -dlam")]),
    "the logit for the gate": ("attention dgsa, inhibition [gate per head]", "attention_dgsa_on_inhibition_gate_head", [
        (gated.gate_lambda_forward, "one_minus_gate = sigmoid(z_gate)", "one_minus_gate = z_gate"),
        (gated.gate_lambda_backward, "gate * one_minus_gate * dlam", "dlam")]),
    "excitation plus inhibition": ("gated_head [none]", "gated_head_causal", [
        (gated.gated_head_forward, MIX, MIX.replace(" - ", " + ")),
        (gated.gated_head_backward, DMIX, DMIX.replace("-one", "one")),
        (gated.gated_head_backward, "A_exc + A_inh", "A_exc - A_inh")]),
    "head norm without its factor": ("head_norm", "attention_dgsa_plain", [
        (multihead.head_norm_forward, "(1 - lambda_init) * n", "1 * n"),
        (multihead.head_norm_backward, "(1 - lambda_init) * dh", "1 * dh")]),
    "rmsnorm by the sum": ("rmsnorm", "rmsnorm", [
        (ops.rmsnorm_forward, "row_mean(x * x)", "row_mean(x * x) * x.shape[-1]"),
        (ops.rmsnorm_backward, "row_mean(dn * n)", "row_mean(dn * n) * n.shape[-1]")]),
    "eps twice": ("rmsnorm", "rmsnorm_eps", [(ops.rmsnorm_forward, "+ eps)", "+ 2 * eps)")]),
    "rotary by halves": ("rotary", "rotary", [
        (rotary._rotate, "x[..., 0::2], x[..., 1::2]", "x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]"),
        (rotary._rotate, "turned.reshape(x.shape)", "turned.swapaxes(-1, -2).reshape(x.shape)")]),
    "the mean over all targets": ("cross_entropy [some dropped]", "cross_entropy_keep", [
        (losses.cross_entropy_forward, "log_p.mean()", "log_p.sum() / math.prod(logits.shape[:-1])"),
        (losses.cross_entropy_backward, "/ len(P)", "/ math.prod(shape[:-1])")]),
    "depth counted from 1": ("attention diff_v1 [none]", "attention_diff_v1_first_layer", [
        (differential.depth_schedule, "-0.3 * layer", "-0.3 * (layer + 1)")]),
    "the mean over dropped tokens": ("mean_pool [some dropped]", "model_dgsa_swiglu_keep", [
        (layers.mean_pool_forward, "kept.sum(axis=1, keepdims=True)", "kept.shape[1]")]),
    "a query sees the next token": ("model dgsa [lm, none]", "model_lm_dgsa_gelu", [
        (masks.causal_mask, "<= S - T", "<= S - T + 1")]),
    "padding seen, tokens hidden": ("model dgsa [gelu, padding]", "model_dgsa_swiglu_keep", [
        (masks.padding_mask, "return keep[", "return ~keep[")]),
    "lambda is not a sigmoid": ("attention diff_v2 [none]", "attention_diff_v2_plain", [
        (differential_v2.token_lambda_forward, "one_minus_lam = sigmoid(swap(z))", "one_minus_lam = swap(z)"),
        (differential_v2.token_lambda_backward, "lam * one_minus_lam * dlam", "dlam")]),
    "twicing once": ("twicing_head [none]", "twicing_head_none", [
        (twicing.twicing_head_forward, "first + A @ missed", "first + 0 * (A @ missed)"),
        (twicing.twicing_head_backward, "do @ swap(missed), swap(A) @ do", "0 * (do @ swap(missed)), 0 * (swap(A) @ do)")]),
}  # fmt: skip


@pytest.mark.parametrize("name", TOGETHER)
def test_a_wrong_forward_passes_the_gradient_check_and_not_the_golden_values(name):
    case, stored, changes = TOGETHER[name]
    assert_golden(stored)
    with planted(*changes):
        complex_step(case)  # blind to it
        with pytest.raises(FAILURES):
            assert_golden(stored)
    assert_golden(stored)


# ----------------------------------------------------------------------- state, mutation, and masks

MORE = {  # what is wrong: (the rung that catches it, its case, the change)
    "linear counts its calls": (complex_step, "linear", (
        ops.linear_forward, "y = x @ W\n", "linear_forward.n = getattr(linear_forward, 'n', 0) + 1\n    y = x @ W * linear_forward.n\n")),
    "rmsnorm changes the upstream gradient": (complex_step, "rmsnorm", (ops.rmsnorm_backward, "    dn, dw =", "    dy *= 1.5\n    dn, dw =")),
    "silu changes its argument": (complex_step, "silu", (ops.silu_forward, "    sigma = sigmoid(x)", "    x *= 1.5\n    sigma = sigmoid(x)")),
    "softmax backward spoils its cache": (complex_step, "softmax [none]", (ops.softmax_backward, "    (A,) = cache", "    (A,) = cache\n    A *= 1.1")),
    "a row without keys looks everywhere": (assert_golden, "softmax_rows", (ops.softmax_forward, "-math.inf", "-1e30")),
    "a dropped token is seen": (assert_golden, "model_dgsa_swiglu_keep", (model._mask, "padding_mask(keep)", "padding_mask(keep | True)")),
}  # fmt: skip


@pytest.mark.parametrize("name", MORE)
def test_other_bugs_are_caught_by_the_rung_that_is_named_for_them(name):
    rung, case, change = MORE[name]
    assert_caught(partial(rung, case), change)


# ----------------------------------------------------------------------------------- right variants

VARIANTS = {  # the same, written in another way: (function, old, new, cases, golden)
    "softmax backward multiplied out": (ops.softmax_backward, "A * (dA - row_sum(dA * A))", "A * dA - A * row_sum(A * dA)", "softmax [none]", "softmax"),
    "scaled after the product": (softmax.softmax_map_forward, "(scale * q) @ swap(k)", "scale * (q @ swap(k))", "softmax_head [causal]", "softmax_head_causal"),
    "the maps in the other order": (gated.gated_head_forward, MIX, "-one_minus_gate[..., None] * A_inh + gate[..., None] * A_exc", "gated_head [none]", "gated_head_none"),
    "dgate from the outputs": (gated.gated_head_backward, "row_sum(dA * (A_exc + A_inh))[..., 0]", "row_sum(do * ((A_exc + A_inh) @ v))[..., 0]", "gated_head [padding]", "gated_head_padding"),
    "one over a root": (ops.rmsnorm_forward, "1 / array_module(x).sqrt(row_mean(x * x) + eps)", "(row_mean(x * x) + eps) ** -0.5", "rmsnorm", "rmsnorm"),
    "a matrix product by hand": (ops.linear_forward, "y = x @ W", "y = (x[..., None] * W).sum(axis=-2)", "linear", "linear"),
    "twicing by its square": (twicing.twicing_head_forward, "first + A @ missed", "(2 * A - A @ A) @ v", "twicing_head [none]", "twicing_head_none"),
    "silu multiplied out": (ops.silu_backward, "dy * (sigma + y * (1 - sigma))", "dy * sigma + dy * y - dy * y * sigma", "silu", "silu"),
    "cross-entropy multiplied out": (losses.cross_entropy_backward, "(P - one_hot) / len(P)", "P / len(P) - one_hot / len(P)", "cross_entropy", "cross_entropy"),
    "keys shared by stacking": (differential_v2.differential_v2_head_backward, "dk_exc + dk_inh", "sum([dk_exc, dk_inh])", "differential_v2_head [none]", "differential_v2_head_none"),
}  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
def test_a_right_variant_passes_every_rung(name):
    function, old, new, case, stored = VARIANTS[name]
    with planted((function, old, new)):
        for rung in (complex_step, central_difference, second_order, taylor):
            rung(case)
        assert_golden(stored)


def test_forty_bugs_and_eight_variants_are_there():
    assert len(BACKWARD) + len(TOGETHER) + len(MORE) >= 40 and len(VARIANTS) >= 8
