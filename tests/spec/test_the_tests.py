"""The tests tested: each planted bug is caught by the rung that is named for it, and right variants pass them all.

A bug is planted by exchanging a function's code in place, so every module that holds the function runs the bug. Where
forward and backward are wrong together the gradient check must stay silent: that is why the other rungs exist.
"""
# ruff: noqa: E501 - a table reads best with a row to a line

import inspect
import textwrap
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest
import test_attention
import test_checkpoint
import test_dtypes
import test_far_from_zero
import test_model
import test_norms
import test_ops
import test_optim
import test_padding
import test_parity
import test_sample
import test_second_order
import test_train
from support.tiers import most_later

from dgsa_np import checkpoint, losses, model, ops, optim
from dgsa_np import train as training
from dgsa_np.attention import (
    differential,
    differential_v2,
    gated,
    masks,
    multihead,
    output_gate,
    softmax,
    tiled,
    twicing,
)
from dgsa_np.gradcheck import GradientError, check_pair
from dgsa_np.lab import sample as sampling
from dgsa_np.lab.cases import all_cases

CASES = {str(case): case for case in all_cases()}


@contextmanager
def planted(*changes):
    """Functions, fused ones too, with texts in their source exchanged: (function, old, new), one after the other."""
    sources = {}
    for function, old, new in changes:
        function = inspect.unwrap(function)
        source = sources.get(function) or textwrap.dedent(inspect.getsource(function))
        assert old in source, f"{function.__name__} does not say {old!r}"
        sources[function] = source.replace(old, new)
    with ExitStack() as stack:
        for function, source in sources.items():
            stack.callback(setattr, function, "__code__", function.__code__)
            scope = dict(function.__globals__)
            exec(compile(source, f"<{function.__name__}, changed>", "exec"), scope)
            name = source.split(" = ")[0] if function.__name__ == "<lambda>" else function.__name__
            function.__code__ = inspect.unwrap(scope[name]).__code__
        yield


# ---------------------------------------------------------------------------------------------- the rungs


def complex_step(name):
    case = CASES[name]
    check_pair(case.forward, case.backward, case.args, without=case.without, n_directions=case.n_directions)


def central_difference(name):
    case = CASES[name]
    check_pair(case.forward, case.backward, case.args, without=case.without, method="central", n_directions=4)


def golden(name):
    test_parity.test_golden(name)


def second_order(name):
    test_second_order.test_the_hessian_is_symmetric(CASES[name])


def taylor(name):
    test_second_order.test_what_the_gradient_leaves_over_shrinks_with_the_square_of_the_step(CASES[name])


def calls(test, *args):
    """A rung that is one test of the suite."""

    def rung(_):
        test(*args)

    rung.__name__ = test.__name__
    return rung


FAILURES = (
    AssertionError,
    GradientError,
    ValueError,
    TypeError,
    FloatingPointError,
    RuntimeWarning,
    pytest.fail.Exception,
)

# ----------------------------------------------------------------------------------- wrong backwards

BACKWARD = {  # what is wrong: (case, function, old, new)
    "softmax without its row sum": ("softmax [none]", ops.softmax_backward, "(dA - row_dot(dA, A))", "dA"),
    "dq without 1/sqrt(d)": ("softmax_head [none]", softmax.softmax_map_backward, "scale * (dS @ k)", "dS @ k"),
    "dk without 1/sqrt(d)": ("softmax_head [causal]", softmax.softmax_map_backward, "@ (scale * q)", "@ q"),
    "dv by A instead of A^T": ("attention softmax [none]", softmax.softmax_head_backward, "swap(A) @ do", "A @ do"),
    "inhibitory sign": ("gated_head [none]", gated.gated_head_backward, "-one_minus_gate[..., None] * dA", "one_minus_gate[..., None] * dA"),
    "gate lost in dA_exc": ("gated_head [padding]", gated.gated_head_backward, "gate[..., None] * dA, -", "dA, -"),
    "dgate by the difference": ("gated_head [none]", gated.gated_head_backward, "A_exc + A_inh", "A_exc - A_inh"),
    "dz_gate without the sigmoid": ("gated_head [none]", gated.gated_head_backward, "gate * one_minus_gate * dgate", "dgate"),
    "branches exchanged": ("gated_head [none]", gated.gated_head_backward, "softmax_map_backward(dA_inh, inh)", "softmax_map_backward(dA_exc, exc)"),
    "dlam with a plus": ("differential_head [none]", differential.differential_head_backward, "-row_dot(dA, A_inh)", "row_dot(dA, A_inh)"),
    "lam lost in dA_inh": ("differential_head [causal]", differential.differential_head_backward, "-lam[..., None] * dA", "-dA"),
    "lambda vectors exchanged": ("attention diff_v1 [none]", differential.lambda_backward, 'dexc * p["lambda_k_exc"]', 'dexc * p["lambda_q_exc"]'),
    "one of two paths to shared keys": ("differential_v2_head [none]", differential_v2.differential_v2_head_backward, "dk_exc + dk_inh", "dk_exc"),
    "token gate without the sigmoid": ("attention diff_v2 [none]", output_gate.token_gate_backward, " * sigmoid(z) * sigmoid(-z)", ""),
    "gate on inhibition without the sigmoid": ("attention dgsa, inhibition [none]", gated.gate_lambda_backward, " * sigmoid(z_gate) * sigmoid(-z_gate)", ""),
    "gate on inhibition without 1 - g": ("attention dgsa, inhibition [gate per head]", gated.gate_lambda_backward, " * sigmoid(-z_gate)", ""),
    "gate on inhibition with the sign of the other": ("attention dgsa, inhibition [causal]", gated.gate_lambda_backward, "dlam *", "-dlam *"),
    "output gate lost": ("output_gate_head [none]", output_gate.output_gate_head_backward, "gate[..., None] * do,", "do,"),
    "twicing forgets the fork of v": ("twicing_head [none]", twicing.twicing_head_backward, "dmissed + swap(A) @ dfirst", "swap(A) @ dfirst"),
    "twicing with a plus": ("twicing_head [causal]", twicing.twicing_head_backward, "do - dmissed", "do + dmissed"),
    "head norm without its factor": ("head_norm", multihead.head_norm_backward, "(1 - lambda_init) * dh", "dh"),
    "rmsnorm without its mean": ("rmsnorm", ops._dscale, "(dn - n * (dot / count))", "dn"),
    "gain without n": ("rmsnorm", ops.rmsnorm_backward, "sum_rows(dy * n)", "sum_rows(dy)"),
    "layernorm not centred": ("layernorm", ops.layernorm_backward, "dcentred - dcentred.mean(axis=-1, keepdims=True)", "dcentred"),
    "a mean over rows for a sum": ("linear", ops.linear_backward, ".T @ rows", ".T @ rows / len(rows)"),
    "bias gradient of one row": ("linear", ops.linear_backward, "sum_rows(dy)", "dy.reshape(-1, dy.shape[-1])[0]"),
    "silu as sigmoid": ("silu", ops._dsilu, " + y * (1 - sigma)", ""),
    "gelu without the density": ("gelu", ops.gelu_backward, "Phi + x * density", "Phi"),
    "swiglu by one path": ("swiglu", ops.swiglu_backward, "dx_up + dx_gate", "dx_up"),
    "rotary turned on instead of back": ("rotary", ops.rotary_backward, "-sin", "sin"),
    "equal tokens overwrite each other": ("embedding", ops.embedding_backward, "+= rows", "= rows"),
    "dropped targets count": ("cross_entropy [some dropped]", losses.cross_entropy_backward, "(1 / len(P))", "(1 / math.prod(shape[:-1]))"),
    "gradients of the kept come first": ("cross_entropy [some dropped]", losses.cross_entropy_backward, "dlogits[rows]", "dlogits[: len(dz)]"),
    "the residual path is lost": ("block [dgsa]", model.block_backward, "dx = dx + dx_mlp", "dx = dx_mlp"),
    "blocks in reverse order": ("model softmax [swiglu, none]", model.model_backward, "dblocks.insert(0, dblock)", "dblocks.append(dblock)"),
    "positions from the start": ("token_embed", model.token_embed_backward, "dpositions[start : start + dx.shape[1]]", "dpositions[: dx.shape[1]]"),
    "the mean of all tokens": ("mean_pool [some dropped]", model.mean_pool_backward, "weights[:, :, None] * dy", "(0 * weights + 0.25)[:, :, None] * dy"),
}  # fmt: skip


@pytest.mark.parametrize("name", most_later(BACKWARD, now=list(BACKWARD)[::8]))
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


# ----------------------------------------------------------- wrong forwards with a backward that agrees

MIX = "gate * A_exc - one_minus_gate * A_inh"
DMIX = "gate[..., None] * dA, -one_minus_gate[..., None] * dA"
TOGETHER = {  # what is wrong: (case of the gradient check, golden case, changes)
    "1/d for 1/sqrt(d)": ("softmax_head [none]", "softmax_head_none", [
        (f, "1 / math.sqrt(q.shape[-1])", "1 / q.shape[-1]") for f in (softmax.softmax_map_forward, softmax.softmax_map_backward)]),
    "the gate weighs inhibition": ("gated_head [none]", "gated_head_none", [
        (gated.mix, MIX, "one_minus_gate * A_exc - gate * A_inh"),
        (gated.gated_head_backward, DMIX, "one_minus_gate[..., None] * dA, -gate[..., None] * dA"),
        (gated.gated_head_backward, "row_dot(dA, A_exc + A_inh)", "-row_dot(dA, A_exc + A_inh)")]),
    "the gate spares inhibition": ("attention dgsa, inhibition [none]", "attention_dgsa_on_inhibition", [
        (gated.gate_lambda_forward, "sigmoid(z_gate)\n", "sigmoid(-z_gate)\n"),
        (gated.gate_lambda_backward, "dlam *", "-dlam *")]),
    "the logit for the gate": ("attention dgsa, inhibition [gate per head]", "attention_dgsa_on_inhibition_gate_head", [
        (gated.gate_lambda_forward, "sigmoid(z_gate)\n", "z_gate\n"),
        (gated.gate_lambda_backward, " * sigmoid(z_gate) * sigmoid(-z_gate)", "")]),
    "excitation plus inhibition": ("gated_head [none]", "gated_head_causal", [
        (gated.mix, MIX, MIX.replace(" - ", " + ")),
        (gated.gated_head_backward, DMIX, DMIX.replace("-one", "one")),
        (gated.gated_head_backward, "A_exc + A_inh", "A_exc - A_inh")]),
    "head norm without its factor": ("head_norm", "attention_dgsa_plain", [
        (multihead.head_norm_forward, "(1 - lambda_init) * n", "1 * n"),
        (multihead.head_norm_backward, "(1 - lambda_init) * dh", "1 * dh")]),
    "rmsnorm by the sum": ("rmsnorm", "rmsnorm", [
        (ops._inverse_root, "square_sum / n", "square_sum"), (ops._dscale, "(dot / count)", "dot")]),
    "eps twice": ("rmsnorm", "rmsnorm_eps", [(ops._inverse_root, "+ eps)", "+ 2 * eps)")]),
    "rotary by halves": ("rotary", "rotary", [
        (ops._rotate, "x[..., 0::2], x[..., 1::2]", "x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]"),
        (ops._rotate, "turned.reshape(x.shape)", "turned.swapaxes(-1, -2).reshape(x.shape)")]),
    "the mean over all targets": ("cross_entropy [some dropped]", "cross_entropy_keep", [
        (losses.cross_entropy_forward, "(1 / len(z))", "(1 / math.prod(logits.shape[:-1]))"),
        (losses.cross_entropy_backward, "(1 / len(P))", "(1 / math.prod(shape[:-1]))")]),
    "depth counted from 1": ("attention diff_v1 [none]", "attention_diff_v1_first_layer", [
        (differential.depth_schedule, "-0.3 * layer", "-0.3 * (layer + 1)")]),
    "the mean over dropped tokens": ("mean_pool [some dropped]", "model_dgsa_swiglu_keep", [
        (model.mean_pool_forward, "kept.sum(axis=1, keepdims=True)", "kept.shape[1]")]),
    "a query sees the next token": ("model dgsa [lm, none]", "model_lm_dgsa_gelu", [
        (masks.causal_mask, "<= S - T", "<= S - T + 1")]),
    "padding seen, tokens hidden": ("model dgsa [gelu, padding]", "model_dgsa_swiglu_keep", [
        (masks.padding_mask, "return keep[", "return ~keep[")]),
    "lambda is not a sigmoid": ("attention diff_v2 [none]", "attention_diff_v2_plain", [
        (output_gate.token_gate_forward, "sigmoid(swap(z))", "swap(z)"),
        (output_gate.token_gate_backward, " * sigmoid(z) * sigmoid(-z)", "")]),
    "twicing once": ("twicing_head [none]", "twicing_head_none", [
        (twicing.twicing_head_forward, "first + A @ missed", "first + 0 * (A @ missed)"),
        (twicing.twicing_head_backward, "do @ swap(missed), swap(A) @ do", "0 * (do @ swap(missed)), 0 * (swap(A) @ do)")]),
}  # fmt: skip


@pytest.mark.parametrize("name", TOGETHER)
def test_a_wrong_forward_passes_the_gradient_check_and_not_the_golden_values(name):
    case, stored, changes = TOGETHER[name]
    golden(stored)
    with planted(*changes):
        complex_step(case)  # blind to it
        with pytest.raises(FAILURES):
            golden(stored)
    golden(stored)


# -------------------------------------------------------------------- state, precision, masks, training, files

MORE = {  # what is wrong: (the change, the rung that catches it)
    "linear counts its calls": (
        (ops.linear_forward, "y = x @ W\n", "linear_forward.n = getattr(linear_forward, 'n', 0) + 1\n    y = x @ W * linear_forward.n\n"),
        lambda _: complex_step("linear")),
    "rmsnorm changes the upstream gradient": (
        (ops.rmsnorm_backward, "    dn, dw =", "    dy *= 1.5\n    dn, dw ="), lambda _: complex_step("rmsnorm")),
    "silu changes its argument": (
        (ops.silu_forward, "    sigma = sigmoid(x)", "    x *= 1.5\n    sigma = sigmoid(x)"), lambda _: complex_step("silu")),
    "softmax backward spoils its cache": (
        (ops.softmax_backward, "    check.upstream", "    A *= 1.1\n    check.upstream"), lambda _: complex_step("softmax [none]")),
    "AdamW moves the parameters it was given": (
        (optim._adamw, "m = b1 * m", "p += 1e-3\n    m = b1 * m"),
        calls(test_optim.test_a_step_changes_none_of_its_arguments_and_keeps_the_dtype, "float64")),
    "AdamW decays gains": (
        (optim.adamw_step, "if p.ndim >= 2 else 0.0", ""), calls(test_optim.test_decay_acts_on_matrices_only)),
    "AdamW without bias correction": (
        (optim._adamw, "m / m_share", "m"), calls(test_optim.test_adamw_is_the_formula_computed_by_hand)),
    "a NumPy number in a formula": (
        (softmax.softmax_map_forward, "1 / math.sqrt(q.shape[-1])", "(q.real.max() * 0 + 1).astype('float64') / math.sqrt(q.shape[-1])"),
        calls(test_model.test_dtype_follows_the_parameters_and_gradients_have_their_shapes)),
    "sums in single precision": (
        (ops.sum_to_shape, "dtype=np.promote_types(x.dtype, \"float64\")", "dtype=x.dtype"),
        calls(test_ops.test_sums_over_a_million_rows_keep_the_accuracy_of_float32)),
    "a sigmoid that overflows": (
        (ops.sigmoid, "z * (2 * below - 1)", "-z"),
        calls(test_ops.test_sigmoid_and_its_complement_sum_to_one_without_overflow, "float32")),
    "softmax without its maximum": (
        (ops._exp_from, "S - np.maximum(largest, lowest)", "S + 0"),
        calls(test_ops.test_softmax_rows_sum_to_one_for_huge_logits_too_in_silence, "float32", 1e4)),
    "masked after exp": (
        (ops._masked, "np.fmin(S, np.where(mask, nan, least).astype(S.dtype))", "S + np.where(mask, 0, -1e3)"),
        calls(test_ops.test_what_is_forbidden_may_hold_anything, np.inf, "float64")),
    "a row without keys looks everywhere": (
        (ops.softmax_forward, "-math.inf", "lowest"), lambda _: golden("softmax_rows")),
    "a later token is seen": (
        (masks.causal_mask, "<= S - T", "<= S - T + 1"), calls(test_attention.test_under_a_causal_mask_later_inputs_change_nothing, "dgsa", 0, 2)),
    "a dropped token is seen": (
        (model._mask, "padding_mask(keep)", "padding_mask(keep | True)"), lambda _: golden("model_dgsa_swiglu_keep")),
    "a checkpoint is not looked at": (
        (checkpoint._restore, '_sha256(a)] != [tree["shape"], tree["dtype"], tree["sha256"]]', '0] != [tree["shape"], tree["dtype"], 0]'),
        lambda tmp: test_checkpoint.test_hostile_files_are_refused("another sum", tmp)),
    "arrays are unpacked": (
        (checkpoint._check_members, "m.compress_type != zipfile.ZIP_STORED or m.file_size != m.compress_size", "False"),
        lambda tmp: test_checkpoint.test_nothing_is_unpacked(tmp)),
    "a checkpoint is written in place": (
        (checkpoint.save_checkpoint, 'aside = path.with_name(f".{path.name}.{os.getpid()}")', "aside = path"),
        lambda tmp: failing_save(tmp)),
}  # fmt: skip




def edge(test, *args, **options):
    """A rung of test_edges.py; what is to be patched in it is taken back."""

    def rung(_):
        with pytest.MonkeyPatch.context() as monkeypatch:
            test(*args, **options, **({"monkeypatch": monkeypatch} if "monkeypatch" in signature else {}))

    signature = inspect.signature(test).parameters
    return rung


LOW = "softmax", tiled.TILED[softmax.softmax_head_forward], "float32"
GATE_30 = test_far_from_zero.test_the_slope_of_a_gate_keeps_its_digits_where_1_minus_g_has_none
UNSEEN = test_padding.test_a_key_that_no_query_sees_reaches_nothing
EDGES = {
    "tiles whose maximum starts at 0": (
        (tiled._stream, "xp.finfo(Q.dtype).min", "0.0"), edge(test_far_from_zero.test_a_level_that_all_scores_share_changes_no_output, *LOW, -1e4)),
    "tiles whose maximum starts at -1000": (
        (tiled._stream, "xp.finfo(Q.dtype).min", "-1e3"), edge(test_far_from_zero.test_a_level_that_all_scores_share_changes_no_output, *LOW, -1e4)),
    "tiles whose maximum starts in the middle of the range": (
        (tiled._stream, "xp.finfo(Q.dtype).min", "xp.finfo(Q.dtype).min / 2"),
        edge(test_far_from_zero.test_a_level_that_all_scores_share_changes_no_output, *LOW, test_far_from_zero.LOWEST / 16 * 15)),
    "a softmax that takes half the lowest number for none": (
        (ops.softmax_forward, "keepdims=True), lowest)", "keepdims=True), lowest / 2)"),
        edge(test_far_from_zero.test_a_level_that_all_scores_share_changes_no_output,
             "dgsa", (gated.gated_head_forward, gated.gated_head_backward), "float32", test_far_from_zero.LOWEST / 16 * 15)),
    "the slope of a gate by 1 - g": (
        (gated.gated_head_backward, "gate * one_minus_gate * dgate", "gate * (1 - gate) * dgate"), edge(GATE_30, "dgsa", "plain", 30.0)),
    "the slope of a gate on tiles by 1 - g": (
        (tiled.tiled_gated_head_backward, "-cache.w[0] * cache.w[1] *", "cache.w[0] * (1 - cache.w[0]) *"), edge(GATE_30, "dgsa", "tiled", 30.0)),
    "the slope of a token gate by 1 - g": (
        (output_gate.token_gate_backward, "sigmoid(z) * sigmoid(-z)", "sigmoid(z) * (1 - sigmoid(z))"), edge(GATE_30, "diff_v2", "plain", 30.0)),
    "the same, of a gate that is shut": (
        (gated.gated_head_backward, "gate * one_minus_gate * dgate", "(1 - one_minus_gate) * one_minus_gate * dgate"),
        edge(GATE_30, "dgsa", "plain", -30.0)),
    "a row centred once": (
        (ops.layernorm_forward, "    centred = centred - centred.mean(axis=-1, keepdims=True)\n", ""),
        edge(test_norms.test_norms_of_rows_far_from_zero_keep_the_digits_of_float32, "layernorm", 1e6, 1e-5)),
    "dropped tokens times 0": (
        (model.mean_pool_forward, "_kept_only(keep, x)", "x"), edge(test_padding.test_a_pooled_mean_does_not_look_at_dropped_tokens)),
    "dropped patches times 0": (
        (model.patch_embed_forward, "_kept_only(keep, patches(images, cfg))", "patches(images, cfg)"),
        edge(test_padding.test_a_dropped_token_may_hold_anything, "dgsa", "vision", np.nan)),
    "rows of dropped tokens times 0": (
        (model.token_embed_forward, "np.where(keep, to_numpy(tokens), 0)", "tokens"),
        edge(test_padding.test_a_dropped_token_may_hold_anything, "dgsa", "text", np.nan)),
    "unseen values times 0": (
        (masks.seen_only, "select(seen, k) for k", "k for k"), edge(UNSEEN, "dgsa", (gated.gated_head_forward, gated.gated_head_backward), np.nan)),
    "blind queries times 0": (
        (masks.seen_only, "select(sees, q) for q", "q for q"), edge(UNSEEN, "softmax", (softmax.softmax_head_forward, softmax.softmax_head_backward), np.nan)),
    "moments that widen": (
        (optim._as_precise, "a.astype(p.dtype, copy=False)", "a"), edge(test_dtypes.test_float32_parameters_stay_float32_whatever_comes)),
    "images that widen": (
        (model.patch_embed_forward, 'if images.dtype.kind == "c"', "if True"), edge(test_dtypes.test_float32_parameters_stay_float32_whatever_comes)),
    "top-k by threshold": (
        (sampling._draw, "rank < top_k", "logits >= np.sort(logits)[-min(top_k, logits.size)]"),
        edge(test_sample.test_top_k_draws_among_exactly_k_of_equals_the_first)),
    "positions that count padding": (
        (model._places, "keep.cumsum(axis=1) - keep", "(keep | True).cumsum(axis=1) - 1"),
        edge(test_padding.test_a_text_with_padding_is_the_text_alone, "dgsa", "lm", True, "on the left")),
}  # fmt: skip


@pytest.mark.parametrize("name", EDGES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_bugs_at_the_edges_are_caught_by_the_test_of_their_kind(name):
    change, rung = EDGES[name]
    rung(None)
    with planted(change), pytest.raises(FAILURES):
        rung(None)


def failing_save(tmp_path):
    with pytest.MonkeyPatch.context() as monkeypatch:
        test_checkpoint.test_a_save_that_fails_leaves_the_old_checkpoint("replace", tmp_path, monkeypatch)


@pytest.mark.parametrize("name", MORE)
def test_other_bugs_are_caught_by_the_test_that_is_named_for_them(name, tmp_path):
    change, rung = MORE[name]
    (tmp_path / "right").mkdir()
    (tmp_path / "wrong").mkdir()
    rung(tmp_path / "right")
    with planted(change), pytest.raises((*FAILURES, checkpoint.CheckpointError)):
        rung(tmp_path / "wrong")


TRAINING = {
    "the order of the data is not that of the seed": (
        (training.train_steps, "rng.bit_generator.state = state.rng", "pass"), test_train.test_two_runs_are_equal_bit_for_bit_and_another_seed_is_not),
    "training changes the parameters it was given": (
        (training.first_state, "    order =", "    params['head']['b'] += 1\n    order ="),
        test_train.test_training_leaves_the_given_parameters_alone),
    "a resumed epoch starts from its beginning": ((training.train_steps, "[state.batch :]", "[0:]"), None),
    "a resumed step forgets its number": ((training.train_steps, "number = state.epoch * per_epoch + state.batch", "number = 0"), None),
}  # fmt: skip


@pytest.mark.parametrize("name", TRAINING)
def test_bugs_of_training_are_caught(name, digits):
    change, test = TRAINING[name]
    test = test or goes_on_like_one_that_did_not_stop
    test(digits)
    with planted(change), pytest.raises(FAILURES):
        test(digits)


def goes_on_like_one_that_did_not_stop(digits):
    """The learning rate and the loss of the steps after the third, in one go and from a state in between."""
    model_config, cfg = model.ModelConfig(width=8, n_heads=2, depth=1), training.TrainConfig(epochs=1, device="cpu")
    steps = list(training.train_steps(model_config, cfg, digits, training.first_state(model_config, cfg)))
    assert len({step["lr"] for _, step, _ in steps}) > 3
    again = list(training.train_steps(model_config, cfg, digits, steps[3][0]))
    assert [step for _, step, _ in again] == [step for _, step, _ in steps[4:]]


# --------------------------------------------------------------------------------------- right variants

VARIANTS = {  # the same, written in another way: (function, old, new, cases, golden)
    "softmax backward multiplied out": (ops.softmax_backward, "A * (dA - row_dot(dA, A))", "A * dA - A * (dA * A).sum(axis=-1, keepdims=True)", "softmax [none]", "softmax"),
    "scaled after the product": (softmax.softmax_map_forward, "(scale * q) @ swap(k)", "scale * (q @ swap(k))", "softmax_head [causal]", "softmax_head_causal"),
    "the maps in the other order": (gated.mix, MIX, "-one_minus_gate * A_inh + gate * A_exc", "gated_head [none]", "gated_head_none"),
    "dgate from the outputs": (gated.gated_head_backward, "row_dot(dA, A_exc + A_inh)[..., 0]", "row_dot(do, (A_exc + A_inh) @ v)[..., 0]", "gated_head [padding]", "gated_head_padding"),
    "one over a root": (ops._inverse_root, "1 / np.sqrt(square_sum / n + eps)", "(square_sum / n + eps) ** -0.5", "rmsnorm", "rmsnorm"),
    "a matrix product by einsum": (ops.linear_forward, "y = x @ W", "y = array_module(x).einsum('...n,nm->...m', x, W)", "linear", "linear"),
    "twicing by its square": (twicing.twicing_head_forward, "first + A @ missed", "(2 * A - A @ A) @ v", "twicing_head [none]", "twicing_head_none"),
    "silu multiplied out": (ops._dsilu, "dy * (sigma + y * (1 - sigma))", "dy * sigma + dy * y - dy * y * sigma", "silu", "silu"),
    "cross-entropy multiplied out": (losses.cross_entropy_backward, "(P - one_hot) * (1 / len(P))", "P / len(P) - one_hot / len(P)", "cross_entropy", "cross_entropy"),
    "keys shared by stacking": (differential_v2.differential_v2_head_backward, "dk_exc + dk_inh", "sum([dk_exc, dk_inh])", "differential_v2_head [none]", "differential_v2_head_none"),
}  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
def test_a_right_variant_passes_every_rung(name):
    function, old, new, case, stored = VARIANTS[name]
    with planted((function, old, new)):
        for rung in (complex_step, central_difference, second_order, taylor):
            rung(case)
        golden(stored)


def test_forty_bugs_and_eight_variants_are_there():
    assert len(BACKWARD) + len(TOGETHER) + len(MORE) + len(TRAINING) >= 40 and len(VARIANTS) >= 8
