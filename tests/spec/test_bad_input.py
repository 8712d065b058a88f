"""Every wrong call is refused with a line that names the function, the argument,
what it is and what was expected.
"""
# ruff: noqa: E501 - a table reads best with a row to a line

import re
import sys
import types
from dataclasses import replace

import numpy as np
import pytest

from dgsa_np import losses, ops, optim
from dgsa_np.attention import (
    AttentionConfig,
    attention_backward,
    attention_forward,
    causal_mask,
    differential_head_backward,
    differential_head_forward,
    differential_v2_head_backward,
    differential_v2_head_forward,
    gated_head_backward,
    gated_head_forward,
    init_attention,
    output_gate_head_backward,
    output_gate_head_forward,
    padding_mask,
    softmax_head_backward,
    softmax_head_forward,
    twicing_head_backward,
    twicing_head_forward,
)
from dgsa_np.attention.differential import lambda_backward
from dgsa_np.attention.output_gate import token_gate_backward
from dgsa_np.backend import DeviceError, array_module, resolve_device
from dgsa_np.data import corrupt, load
from dgsa_np.fast import loss_and_grads_threaded, make_step
from dgsa_np.lab.cases import all_cases
from dgsa_np.model import ModelConfig, init_model, loss_and_grads, model_backward, model_forward
from dgsa_np.params import flatten

rng = np.random.default_rng(0)
normal = rng.standard_normal
x, W, b, w = normal((2, 3, 5)), normal((5, 7)), normal(7), normal(5)
q, k, v, z, lam = normal((2, 3, 4, 5)), normal((2, 3, 6, 5)), normal((2, 3, 6, 7)), normal((2, 3, 4)), normal((3, 1))
logits, targets, tokens = normal((4, 5)), np.array([0, 4, 2, 1]), np.array([[0, 4, 2]])
whole = np.ones((2, 3, 4, 6), bool)
cfg, xs = AttentionConfig(width=12, n_heads=3), normal((2, 4, 12))
p = init_attention(cfg, rng, "float64")
model = ModelConfig(width=8, n_heads=2, depth=2, n_out=3, patch_size=2)
params, images, labels = init_model(model, rng, "float64"), rng.random((2, 8, 8)), np.array([0, 2])
block = params["blocks"][0]
lm = ModelConfig(task="lm", width=8, n_heads=2, depth=2, vocab_size=5, max_len=6)
text, twice = replace(lm, task="text", n_out=3), replace(lm, kind="twicing")
of_lm, of_text, of_twice = (init_model(c, rng, "float64") for c in (lm, text, twice))
words, kept = rng.integers(0, 5, (2, 4)), np.ones((2, 4), bool)
past, past_twice = (model_forward(words, a, c)[1] for a, c in ((of_lm, lm), (of_twice, twice)))
past_attention = attention_forward(xs, p, cfg)[1]
INPUTS = flatten({n: a for n, a in globals().items() if isinstance(a, (np.ndarray, dict)) and not n.startswith("__")})


def lacking(tree, name):
    return {key: branch for key, branch in tree.items() if key != name}


def row(name, call, error, *words):
    return pytest.param(call, error, words, id=name)


def both(k_inh=k, q_inh=q):
    return q, k, q_inh, k_inh, v


SHAPES = [
    row("linear W", lambda: ops.linear_forward(x, W.T), ValueError, "linear_forward", "W is (7, 5)", "(5, m)", "x (2, 3, 5)"),
    row("linear b", lambda: ops.linear_forward(x, W, w), ValueError, "linear_forward", "b is (5,)", "m comes from W (5, 7)"),
    row("linear x", lambda: ops.linear_forward(np.array(1.0), W), ValueError, "linear_forward", "x is ()"),
    row("embedding", lambda: ops.embedding_forward(tokens, w), ValueError, "embedding_forward", "table is (5,)", "(V, C)"),
    row("softmax", lambda: ops.softmax_forward(np.array(1.0)), ValueError, "softmax_forward", "scores is ()"),
    row("rmsnorm", lambda: ops.rmsnorm_forward(x, b), ValueError, "rmsnorm_forward", "w is (7,)", "n comes from x (2, 3, 5)"),
    row("layernorm", lambda: ops.layernorm_forward(x, w, b), ValueError, "layernorm_forward", "b is (7,)", "n comes from x (2, 3, 5)"),
    row("swiglu", lambda: ops.swiglu_forward(x, W, W, W), ValueError, "swiglu_forward", "W_down is (5, 7)", "(7, 5)"),
    row("split", lambda: ops.split_heads(x, 2), ValueError, "split_heads", "x is (2, 3, 5)", "n_heads = 2"),
    row("split axes", lambda: ops.split_heads(W, 1), ValueError, "split_heads", "x is (5, 7)"),
    row("merge axes", lambda: ops.merge_heads(x), ValueError, "merge_heads", "x is (2, 3, 5)"),
    row("softmax head k", lambda: softmax_head_forward(q, v, v), ValueError, "softmax_head_forward", "k is (2, 3, 6, 7)", "q (2, 3"),
    row("softmax head v", lambda: softmax_head_forward(q, k, q), ValueError, "softmax_head_forward", "v is (2, 3, 4, 5)", "k (2, 3"),
    row("differential head", lambda: differential_head_forward(*both(q_inh=k), lam), ValueError, "differential_head_forward",
        "q_inh is (2, 3, 6, 5)", "(2, 3, 4, 5)"),
    row("gated head k", lambda: gated_head_forward(*both(k_inh=q), z), ValueError, "gated_head_forward", "k_inh is (2, 3, 4, 5)"),
    row("gated head z", lambda: gated_head_forward(*both(), z[:, :2]), ValueError, "gated_head_forward", "z_gate is (2, 2, 4)"),
    row("lam axes", lambda: differential_head_forward(*both(), z[None]), ValueError, "lam is (1, 2, 3, 4)", "(2, 3, 4)"),
    row("lam", lambda: differential_head_forward(*both(), w), ValueError, "differential_head_forward", "lam is (5,)", "(2, 3, 4)"),
    row("attention x", lambda: attention_forward(xs[..., :7], p, cfg), ValueError, "attention_forward", "x is (2, 4, 7)", "12"),
    row("attention x axes", lambda: attention_forward(xs[0], p, cfg), ValueError, "attention_forward", "x is (4, 12)", "(B, T, C)"),
    row("attention W_o", lambda: attention_forward(xs, p | {"W_o": W}, cfg), ValueError, "attention_forward", "W_o is (5, 7)",
        "(12, 12)", "cfg"),
    row("images", lambda: model_forward(images[:, :7], params, model), ValueError, "model_forward", "(2, 7, 8)", "8", "image_size"),
    row("channels", lambda: model_forward(images[..., None] + np.ones(3), params, model), ValueError, "(2, 8, 8, 3)", "channels"),
    row("model parameter", lambda: model_forward(images, params | {"norm": {"w": w}}, model), ValueError, "model_forward",
        "w is (5,)", "8", "cfg"),
    row("depth", lambda: model_forward(images, params | {"blocks": [block]}, model), ValueError, "1 blocks", "cfg.depth = 2"),
    row("targets", lambda: losses.cross_entropy_forward(logits, targets[:3]), ValueError, "targets is (3,)", "(4,)", "logits (4, 5)"),
    row("corrupt", lambda: corrupt(images[0], "blur", 1.0, rng), ValueError, "corrupt", "x is (8, 8)", "(N, h, w)"),
    row("empty batch", lambda: attention_forward(xs[:0], p, cfg), ValueError, "attention_forward", "x is (0, 4, 12)", "empty"),
    row("no images", lambda: model_forward(images[:0], params, model), ValueError, "model_forward", "(0, 8, 8)", "empty"),
    row("no keys", lambda: softmax_head_forward(q, k[:, :, :0], v[:, :, :0]), ValueError, "softmax_head_forward", "k is", "empty"),
    row("no tokens", lambda: ops.embedding_forward(tokens[:0], W), ValueError, "embedding_forward", "tokens is (0, 3)", "empty"),
    row("no targets", lambda: losses.cross_entropy_forward(logits[:0], targets[:0]), ValueError, "logits is (0, 5)", "empty"),
    row("twicing keys", lambda: twicing_head_forward(q, k, k), ValueError, "twicing_head_forward", "k is (2, 3, 6, 5), expected (B, H, T, d) = (2, 3, 4, 5)", "T comes from q"),
    row("twicing v", lambda: twicing_head_forward(q, q, v), ValueError, "twicing_head_forward", "v is (2, 3, 6, 7)", "T comes from q (2, 3, 4, 5)"),
    row("output gate", lambda: output_gate_head_forward(q, k, v, z[:, :2]), ValueError, "output_gate_head_forward", "gate is (2, 2, 4)",
        "(B, H, T) = (2, 3, 4)"),
    row("output gate k", lambda: output_gate_head_forward(q, v, v, z), ValueError, "output_gate_head_forward", "k is (2, 3, 6, 7)"),
    row("lam of v2", lambda: differential_v2_head_forward(q, q, k, v, z[:, :2]), ValueError, "differential_v2_head_forward",
        "lam is (2, 2, 4)", "(2, 3, 4)"),
    row("lam axes of v2", lambda: differential_v2_head_forward(q, q, k, v, z[..., None]), ValueError, "differential_v2_head_forward",
        "lam is (2, 3, 4, 1)"),
    row("q_inh of v2", lambda: differential_v2_head_forward(q, k, k, v, z), ValueError, "differential_v2_head_forward",
        "q_inh is (2, 3, 6, 5)", "(2, 3, 4, 5)"),
    row("rotary odd", lambda: ops.rotary_forward(q, range(4)), ValueError, "rotary_forward", "x is (2, 3, 4, 5)", "an even d"),
    row("rotary positions", lambda: ops.rotary_forward(q[..., :4], range(5)), ValueError, "rotary_forward", "positions (5,)", "(T,) = (4,)"),
    row("rotary position", lambda: ops.rotary_forward(q[..., :4], 3), ValueError, "rotary_forward", "positions ()", "(T,) = (4,)"),
    row("rotary position rows", lambda: ops.rotary_forward(q[..., :4], z), ValueError, "rotary_forward", "positions (2, 3, 4)", "or (B, T)"),
    row("rotary axes", lambda: ops.rotary_forward(xs, range(4)), ValueError, "rotary_forward", "x is (2, 4, 12)", "(B, H, T, d)"),
    row("tokens axes", lambda: model_forward(words[None], of_lm, lm), ValueError, "model_forward", "tokens are (1, 2, 4)", "(B, T)"),
    row("tokens one axis", lambda: model_forward(words[0], of_text, text), ValueError, "model_forward", "tokens are (4,)", "(B, T)"),
    row("tokens too long", lambda: model_forward(np.zeros((2, 7), int), of_lm, lm), ValueError, "tokens are (2, 7)", "cfg.max_len = 6"),
    row("no tokens of a model", lambda: model_forward(words[:, :0], of_text, text), ValueError, "tokens is (2, 0)", "empty"),
    row("images as tokens", lambda: model_forward(images, of_lm, lm), ValueError, "model_forward", "tokens are (2, 8, 8)", "(B, T)"),
    row("targets of lm", lambda: loss_and_grads(of_lm, words, words[:, :3], lm), ValueError, "targets is (2, 3)", "(2, 4)", "logits (2, 4, 5)"),
    row("labels for lm", lambda: loss_and_grads(of_lm, words, labels, lm), ValueError, "targets is (2,)", "(2, 4)"),
    row("targets for text", lambda: loss_and_grads(of_text, words, words, text), ValueError, "targets is (2, 4)", "(2,)", "logits (2, 3)"),
    row("past too long", lambda: model_forward(words[:, :3], of_lm, lm, past=past), ValueError, "model_forward",
        "tokens are (2, 3) after 4 past tokens", "cfg.max_len = 6"),
    row("mask with a past", lambda: attention_forward(xs, p, cfg, causal_mask(4), past=past_attention), ValueError,
        "mask is (1, 1, 4, 4)", "(2, 3, 4, 8)"),
]  # fmt: skip

UPSTREAM = [
    row("linear", lambda: ops.linear_backward(x, ops.linear_forward(x, W)[1]), ValueError, "linear_backward", "(2, 3, 5)", "(2, 3, 7)"),
    row("embedding", lambda: ops.embedding_backward(x, ops.embedding_forward(tokens, W)[1]), ValueError, "embedding_backward",
        "(2, 3, 5)", "(1, 3, 7)"),
    row("softmax", lambda: ops.softmax_backward(x[0], ops.softmax_forward(x)[1]), ValueError, "softmax_backward", "(3, 5)", "(2, 3, 5)"),
    row("silu", lambda: ops.silu_backward(w, ops.silu_forward(x)[1]), ValueError, "silu_backward", "(5,)", "(2, 3, 5)"),
    row("gelu", lambda: ops.gelu_backward(w, ops.gelu_forward(x)[1]), ValueError, "gelu_backward", "(5,)", "(2, 3, 5)"),
    row("rmsnorm", lambda: ops.rmsnorm_backward(w, ops.rmsnorm_forward(x, w)[1]), ValueError, "rmsnorm_backward", "(5,)", "(2, 3, 5)"),
    row("layernorm", lambda: ops.layernorm_backward(w, ops.layernorm_forward(x, w, w)[1]), ValueError, "layernorm_backward", "(5,)"),
    row("softmax head", lambda: softmax_head_backward(q, softmax_head_forward(q, k, v)[1]), ValueError, "softmax_head_backward",
        "(2, 3, 4, 5)", "(2, 3, 4, 7)"),
    row("differential head", lambda: differential_head_backward(q, differential_head_forward(*both(), lam)[1]), ValueError,
        "differential_head_backward", "(2, 3, 4, 5)", "(2, 3, 4, 7)"),
    row("gated head", lambda: gated_head_backward(q, gated_head_forward(*both(), z)[1]), ValueError, "gated_head_backward",
        "(2, 3, 4, 5)", "(2, 3, 4, 7)"),
    row("attention", lambda: attention_backward(xs[:1], attention_forward(xs, p, cfg)[1]), ValueError, "attention_backward",
        "(1, 4, 12)", "(2, 4, 12)"),
    row("model", lambda: model_backward(images, model_forward(images, params, model)[1]), ValueError, "model_backward",
        "(2, 8, 8)", "(2, 3)"),
    row("a list", lambda: ops.silu_backward([1.0], ops.silu_forward(x)[1]), (TypeError, ValueError), "silu_backward", "(2, 3, 5)"),
    row("None", lambda: ops.silu_backward(None, ops.silu_forward(x)[1]), (TypeError, ValueError), "silu_backward", "None"),
    row("integers", lambda: ops.silu_backward(np.ones((2, 3, 5), int), ops.silu_forward(x)[1]), TypeError, "silu_backward", "int64"),
    row("float16", lambda: ops.silu_backward(x.astype("float16"), ops.silu_forward(x)[1]), TypeError, "silu_backward", "float16"),
    row("twicing head", lambda: twicing_head_backward(v, twicing_head_forward(q, q, q)[1]), ValueError, "twicing_head_backward",
        "(2, 3, 6, 7)", "(2, 3, 4, 5)"),
    row("output gate head", lambda: output_gate_head_backward(q, output_gate_head_forward(q, k, v, z)[1]), ValueError,
        "output_gate_head_backward", "(2, 3, 4, 5)", "(2, 3, 4, 7)"),
    row("differential v2 head", lambda: differential_v2_head_backward(q, differential_v2_head_forward(q, q, k, v, z)[1]), ValueError,
        "(2, 3, 4, 5)", "(2, 3, 4, 7)"),
    row("rotary", lambda: ops.rotary_backward(q, ops.rotary_forward(q[..., :4], range(4))[1]), ValueError, "rotary_backward",
        "(2, 3, 4, 5)", "(2, 3, 4, 4)"),
    row("language model", lambda: model_backward(logits, past), ValueError, "model_backward", "(4, 5)", "(2, 4, 5)"),
    row("with a past", lambda: attention_backward(xs, attention_forward(xs, p, cfg, past=past_attention)[1]), ValueError,
        "attention_backward", "past", "train without one"),
]  # fmt: skip

DTYPES = [
    row("linear integers", lambda: ops.linear_forward(np.ones((2, 5), int), W), TypeError, "linear_forward", "x has dtype int64",
        "float32 or float64", "astype"),
    row("linear float16", lambda: ops.linear_forward(x, W.astype("float16")), TypeError, "linear_forward", "W has dtype float16",
        "float32 or float64"),
    row("softmax bool", lambda: ops.softmax_forward(whole), TypeError, "softmax_forward", "scores has dtype bool", "float32"),
    row("silu float16", lambda: ops.silu_forward(x.astype("float16")), TypeError, "silu_forward", "x has dtype float16", "gradients"),
    row("gelu integers", lambda: ops.gelu_forward(tokens), TypeError, "gelu_forward", "x has dtype int64", "float32"),
    row("objects", lambda: ops.rmsnorm_forward(x, w.astype(object)), TypeError, "rmsnorm_forward", "w has dtype object", "float32"),
    row("head", lambda: softmax_head_forward(q, k, v.astype("float16")), TypeError, "softmax_head_forward", "v has dtype float16"),
    row("gate", lambda: gated_head_forward(*both(), z.astype(int)), TypeError, "gated_head_forward", "z_gate has dtype int64"),
    row("lam integers", lambda: differential_head_forward(*both(), np.ones((3, 1), int)), TypeError, "lam", "int64", "float32"),
    row("lam float16", lambda: differential_head_forward(*both(), lam.astype("float16")), TypeError, "lam", "float16", "float32"),
    row("attention", lambda: attention_forward(xs.astype(int), p, cfg), TypeError, "attention_forward", "x has dtype int64"),
    row("parameter", lambda: attention_forward(xs, p | {"W_v": p["W_v"].astype("float16")}, cfg), TypeError, "attention_forward",
        "W_v has dtype float16"),
    row("images", lambda: model_forward((255 * images).astype("uint8"), params, model), TypeError, "model_forward", "dtype uint8"),
    row("logits", lambda: losses.cross_entropy_forward(logits.astype("float16"), targets), TypeError, "logits has dtype float16"),
    row("corrupt", lambda: corrupt(labels[:, None, None], "blur", 1.0, rng), TypeError, "corrupt", "x is int64", "float32"),
    row("init float16", lambda: init_attention(cfg, rng, "float16"), TypeError, "dtype is float16", "float32 or float64"),
    row("init integers", lambda: init_model(model, rng, "int64"), TypeError, "dtype is int64", "float32 or float64"),
    row("init unknown dtype", lambda: init_model(model, rng, "float23"), TypeError, "dtype is float23", "float32 or float64"),
    row("output gate", lambda: output_gate_head_forward(q, k, v, z.astype(int)), TypeError, "output_gate_head_forward", "gate has dtype int64"),
    row("lam of v2", lambda: differential_v2_head_forward(q, q, k, v, z.astype("float16")), TypeError, "lam has dtype float16"),
    row("twicing", lambda: twicing_head_forward(q, q, q.astype("float16")), TypeError, "twicing_head_forward", "v has dtype float16"),
    row("rotary", lambda: ops.rotary_forward(whole.astype(int), range(4)), TypeError, "rotary_forward", "x has dtype int64", "float32"),
    row("tokens as images", lambda: model_forward(words, params, model), TypeError, "model_forward", "images has dtype int64"),
]  # fmt: skip

MASKS = [
    row("float", lambda: softmax_head_forward(q, k, v, whole * 1.0), TypeError, "mask has dtype float64", "bool", "True = may attend"),
    row("two axes", lambda: softmax_head_forward(q, k, v, whole[0, 0]), ValueError, "softmax_head_forward", "mask is (4, 6)",
        "(2, 3, 4, 6)", "mask[None, None]"),
    row("two axes, gated", lambda: gated_head_forward(*both(), z, whole[0, 0]), ValueError, "gated_head_forward", "mask[None, None]"),
    row("three axes", lambda: differential_head_forward(*both(), lam, whole[0]), ValueError, "differential_head_forward",
        "mask is (3, 4, 6)", "4 axes"),
    row("does not broadcast", lambda: softmax_head_forward(q, k, v, whole[..., :5]), ValueError, "mask is (2, 3, 4, 5)", "(2, 3, 4, 6)"),
    row("too large", lambda: ops.softmax_forward(x, np.ones((4, 3, 5), bool)), ValueError, "softmax_forward", "mask is (4, 3, 5)"),
    row("attention", lambda: attention_forward(xs, p, cfg, causal_mask(5)), ValueError, "mask is (1, 1, 5, 5)", "(2, 3, 4, 4)"),
    row("attention, two axes", lambda: attention_forward(xs, p, cfg, causal_mask(4)[0, 0]), ValueError, "mask[None, None]"),
    row("list", lambda: softmax_head_forward(q, k, v, [[[[True]]]]), TypeError, "softmax_head_forward", "mask is list", "array"),
    row("padding float", lambda: padding_mask(np.ones((2, 3))), (TypeError, ValueError), "padding_mask", "keep has dtype float64", "bool"),
    row("padding axes", lambda: padding_mask(whole[0, 0, 0]), ValueError, "padding_mask: keep is (6,), expected (6, 'S'); it comes from its two axes (B, S)"),
    row("padding list", lambda: padding_mask([[True]]), TypeError, "padding_mask", "keep is list", "array"),
    row("causal size", lambda: causal_mask(-2), ValueError, "causal_mask", "T is -2", "at least 1"),
    row("causal float", lambda: causal_mask(2.5), (TypeError, ValueError), "causal_mask", "T is 2.5", "whole number"),
    row("two axes, twicing", lambda: twicing_head_forward(q, q, q, whole[0, 0, :, :4]), ValueError, "twicing_head_forward", "mask[None, None]"),
    row("two axes, output gate", lambda: output_gate_head_forward(q, k, v, z, whole[0, 0]), ValueError, "output_gate_head_forward",
        "mask[None, None]"),
    row("two axes, v2", lambda: differential_v2_head_forward(q, q, k, v, z, whole[0, 0]), ValueError, "differential_v2_head_forward",
        "mask[None, None]"),
]  # fmt: skip

INDICES = [
    row("token too large", lambda: ops.embedding_forward(tokens + 1, W), IndexError, "tokens holds 5", "< 5", "table (5, 7)"),
    row("token negative", lambda: ops.embedding_forward(tokens - 1, W), IndexError, "embedding_forward", "tokens holds -1", "0 <="),
    row("token float", lambda: ops.embedding_forward(tokens * 1.0, W), TypeError, "tokens has dtype float64", "integers"),
    row("token bool", lambda: ops.embedding_forward(tokens > 0, W), TypeError, "tokens has dtype bool", "integers"),
    row("token list", lambda: ops.embedding_forward([[0]], W), TypeError, "embedding_forward", "tokens is list", "array"),
    row("target too large", lambda: losses.cross_entropy_forward(logits, targets + 1), IndexError, "targets holds 5", "< 5", "logits"),
    row("target negative", lambda: losses.cross_entropy_forward(logits, targets - 1), IndexError, "targets holds -1", "0 <="),
    row("target float", lambda: losses.cross_entropy_forward(logits, targets * 1.0), TypeError, "targets has dtype float64", "integers"),
    row("label of a model", lambda: loss_and_grads(params, images, labels + 1, model), IndexError, "targets holds 3", "< 3"),
    row("labels as a list", lambda: loss_and_grads(params, images, [0, 1], model), TypeError, "targets is list", "array"),
    row("keep integers", lambda: losses.cross_entropy_forward(logits, targets, targets), TypeError, "keep has dtype int64", "bool"),
    row("keep shape", lambda: losses.cross_entropy_forward(logits, targets, whole[0, 0, 0]), ValueError, "keep is (6,)", "(4,)"),
    row("keep nothing", lambda: losses.cross_entropy_forward(logits, targets, targets > 9), ValueError, "keep is all False", "one"),
    row("keep of a model", lambda: model_forward(images, params, model, whole[0, 0, :2]), ValueError, "keep is (2, 6)", "(2, 16)"),
    row("keep float", lambda: model_forward(images, params, model, np.ones((2, 16))), TypeError, "keep has dtype float64", "bool"),
    row("word too large", lambda: model_forward(words + 5, of_lm, lm), IndexError, "model_forward", "tokens holds", "0 <= tokens < 5",
        "cfg.vocab_size"),
    row("word negative", lambda: model_forward(words - 5, of_text, text), IndexError, "model_forward", "tokens holds -", "0 <= tokens < 5"),
    row("word float", lambda: model_forward(words * 1.0, of_lm, lm), TypeError, "model_forward", "tokens has dtype float64", "integers"),
    row("word bool", lambda: model_forward(kept, of_text, text), TypeError, "model_forward", "tokens has dtype bool", "integers"),
    row("next word too large", lambda: loss_and_grads(of_lm, words, words + 5, lm), IndexError, "targets holds", "0 <= targets < 5"),
    row("next word negative", lambda: loss_and_grads(of_lm, words, words - 5, lm), IndexError, "targets holds -", "0 <= targets < 5"),
    row("next word float", lambda: loss_and_grads(of_lm, words, words * 1.0, lm), TypeError, "targets has dtype float64", "integers"),
    row("label of a text", lambda: loss_and_grads(of_text, words, labels + 1, text), IndexError, "targets holds 3", "< 3"),
    row("keep of words", lambda: model_forward(words, of_lm, lm, kept[:, :3]), ValueError, "keep is (2, 3)", "(2, 4)", "inputs (2, 4)"),
    row("keep of one text", lambda: model_forward(words, of_text, text, kept[:1]), ValueError, "keep is (1, 4)", "(2, 4)", "inputs (2, 4)"),
    row("keep one axis", lambda: loss_and_grads(of_text, words, labels, text, kept[0]), ValueError, "keep is (4,)", "(2, 4)"),
    row("keep of words integers", lambda: model_forward(words, of_lm, lm, kept * 1), TypeError, "keep has dtype int64", "bool"),
    row("keep of words a list", lambda: model_forward(words, of_lm, lm, kept.tolist()), TypeError, "keep is list", "array"),
    row("keep no words", lambda: loss_and_grads(of_lm, words, words, lm, ~kept), ValueError, "keep is all False", "one"),
    row("keep of the new words alone", lambda: model_forward(words[:, :1], of_lm, lm, kept[:, :1], past), ValueError, "keep is (2, 1)",
        "(2, 5)", "past and new"),
]  # fmt: skip

NAMES = [
    row("kind", lambda: AttentionConfig(kind="dsga"), ValueError, "kind is 'dsga'", "'softmax'", "did you mean 'dgsa'?"),
    row("kind of a model", lambda: ModelConfig(kind="twicin"), ValueError, "ModelConfig", "'twicin'", "did you mean 'twicing'?"),
    row("gate", lambda: AttentionConfig(gate="tokens"), ValueError, "gate is 'tokens'", "did you mean 'token'?"),
    row("impl", lambda: AttentionConfig(impl="plane"), ValueError, "impl is 'plane'", "did you mean 'plain'?"),
    row("task", lambda: ModelConfig(task="visoin"), ValueError, "task is 'visoin'", "did you mean 'vision'?"),
    row("ffn", lambda: ModelConfig(ffn="gleu"), ValueError, "ffn is 'gleu'", "did you mean 'gelu'?"),
    row("data set", lambda: load("digit"), ValueError, "load", "name is 'digit'", "did you mean 'digits'?"),
    row("option of a data set", lambda: load("digits", colour=True), ValueError, "load", "colour", "expected no options"),
    row("corruption", lambda: corrupt(images, "brightnes", 0.1, rng), ValueError, "corrupt", "did you mean 'brightness'?"),
    row("lacking", lambda: attention_forward(xs, lacking(p, "W_o"), cfg), ValueError, "attention_forward", "kind 'dgsa' lack W_o", "expected W_q_exc"),
    row("too many", lambda: attention_forward(xs, p | {"W_x": W}, cfg), ValueError, "attention_forward", "W_x too many"),
    row("of another kind", lambda: attention_forward(xs, p, AttentionConfig("softmax", 12, 3)), ValueError, "kind 'softmax' lack W_q", "expected W_q, W_k, W_v, W_o"),
    row("no dict", lambda: attention_forward(xs, None, cfg), TypeError, "attention_forward", "NoneType", "dict"),
    row("model lacks", lambda: model_forward(images, lacking(params, "head"), model), ValueError, "model_forward", "params lack head", "expected embed, blocks, norm, head"),
    row("head of None", lambda: model_forward(images, params | {"head": None}, model), TypeError, "model_forward", "NoneType", "dict"),
    row("part lacks", lambda: model_forward(images, params | {"head": {"W": W}}, model), ValueError, "lack b", "'head'"),
    row("params None", lambda: model_forward(images, None, model), (TypeError, ValueError), "model_forward", "params"),
    row("blocks None", lambda: model_forward(images, params | {"blocks": None}, model), (TypeError, ValueError), "model_forward", "blocks"),
    row("block lacks a part", lambda: model_forward(images, params | {"blocks": [block, lacking(block, "norm1")]}, model),
        ValueError, "model_forward", "norm1"),
    row("block lacks attention", lambda: model_forward(images, params | {"blocks": [block, lacking(block, "attention")]}, model),
        ValueError, "model_forward", "attention"),
    row("block has a part too many", lambda: model_forward(images, params | {"blocks": [block, block | {"norm3": {"w": w}}]}, model),
        ValueError, "model_forward", "norm3"),
    row("gradient lacks", lambda: optim.sgd_step({"W": W, "b": b}, {"W": W}, 0.1), ValueError, "b"),
    row("gradient too many", lambda: optim.sgd_step({"W": W}, {"W": W, "b": b}, 0.1), ValueError, "b"),
    row("gradient shape", lambda: optim.sgd_step({"W": W[:1]}, {"W": W}, 0.1), ValueError, "W", "(5, 7)", "(1, 7)"),
    row("a task in part", lambda: ModelConfig(task="lmm"), ValueError, "ModelConfig", "task is 'lmm'", "did you mean 'lm'?"),
    row("no task", lambda: ModelConfig(task=None), ValueError, "ModelConfig", "task is None", "'vision', 'text', 'lm'"),
    row("rotary", lambda: AttentionConfig(rotary="yes"), ValueError, "AttentionConfig", "rotary is 'yes'", "False, True"),
    row("of another task", lambda: model_forward(words, params, lm), ValueError, "model_forward", "params['embed']", "lack tokens"),
    row("of another task, back", lambda: model_forward(images, of_lm, model), ValueError, "model_forward", "params['embed']", "lack W"),
    row("lacking, of v2", lambda: attention_forward(xs, p, replace(cfg, kind="diff_v2")), ValueError, "kind 'diff_v2'", "W_lambda"),
    row("lacking, of output_gate", lambda: attention_forward(xs, p, replace(cfg, kind="output_gate")), ValueError, "'output_gate'", "W_q"),
    row("past of a classifier", lambda: model_forward(words[:, :1], of_text, text, past=past), ValueError, "model_forward", "past",
        "task 'text'", "expected 'lm'"),
    row("past of images", lambda: model_forward(images, params, model, past=past), ValueError, "model_forward", "task 'vision'", "'lm'"),
    row("past of another batch", lambda: model_forward(words[:1, :1], of_lm, lm, past=past), ValueError, "past with x (1, 1, 8)", "same cfg"),
    row("past of another model", lambda: model_forward(words[:, :1], of_twice, twice, past=past), ValueError, "past with x", "same cfg"),
    row("past of twicing", lambda: model_forward(words[:, :1], of_twice, twice, past=past_twice), ValueError, "past with x",
        "kind 'twicing'", "None", "square"),
    row("past of no kind", lambda: attention_forward(xs, p, cfg, past=3), ValueError, "attention_forward", "past", "AttentionCache"),
]  # fmt: skip

VALUES = [
    row("width", lambda: AttentionConfig(width=10, n_heads=3), ValueError, "width is 10", "multiple", "6", "dgsa"),
    row("width of a model", lambda: ModelConfig(kind="softmax", width=10, n_heads=4), ValueError, "ModelConfig", "width is 10", "4"),
    row("width float", lambda: AttentionConfig(width=64.0), ValueError, "width is 64.0", "whole number"),
    row("heads", lambda: AttentionConfig(n_heads=0), ValueError, "n_heads is 0", "at least 1"),
    row("depth", lambda: ModelConfig(depth=-1), ValueError, "ModelConfig", "depth is -1", "at least 1"),
    row("classes", lambda: ModelConfig(n_out=True), ValueError, "ModelConfig", "n_out is True", "whole number"),
    row("ffn_width", lambda: ModelConfig(ffn_width=0), ValueError, "ffn_width is 0", "at least 1"),
    row("patches", lambda: ModelConfig(image_size=9, patch_size=2), ValueError, "image_size is 9", "multiple", "patch_size = 2"),
    row("eps", lambda: AttentionConfig(eps=-1.0), ValueError, "eps is -1.0", "expected"),
    row("gate_on", lambda: AttentionConfig(gate_on="inhibitory"), ValueError, "AttentionConfig: gate_on is 'inhibitory', expected one of 'both', 'inhibition'; did you mean 'inhibition'?"),
    row("gate_bias", lambda: AttentionConfig(gate_bias="1"), (TypeError, ValueError), "gate_bias is '1'", "number"),
    row("lambda_init", lambda: AttentionConfig(lambda_init="0.8"), (TypeError, ValueError), "lambda_init is '0.8'", "number"),
    row("odd d with rotary", lambda: AttentionConfig(width=12, n_heads=2, rotary=True), ValueError, "AttentionConfig: width is 12, expected a multiple of 4 n_heads = 8, since d = width / (2 n_heads) is an even whole number for kind 'dgsa' with rotary=True"),
    row("d of no whole number", lambda: AttentionConfig(width=9, n_heads=2, kind="softmax"), ValueError, "AttentionConfig: width is 9, expected a multiple of 1 n_heads = 2, since d = width / (1 n_heads) is a whole number for kind 'softmax' with rotary=False"),
    row("no config", lambda: attention_forward(xs, p, "dgsa"), TypeError, "attention_forward", "cfg is str", "AttentionConfig"),
    row("seed for a generator", lambda: init_attention(cfg, 0), TypeError, "rng is int", "numpy.random.Generator", "default_rng"),
    row("no generator", lambda: init_model(model, None), TypeError, "rng is NoneType", "numpy.random.Generator"),
    row("old generator", lambda: corrupt(images, "blur", 1.0, np.random.RandomState(0)), TypeError, "corrupt", "rng is RandomState"),
    row("level too high", lambda: corrupt(images, "contrast", 1.1, rng), ValueError, "corrupt", "level is 1.1", "<= 1", "'contrast'"),
    row("level negative", lambda: corrupt(images, "gaussian", -0.1, rng), ValueError, "corrupt", "level is -0.1", "0 <= level"),
    row("level nan", lambda: corrupt(images, "blur", float("nan"), rng), ValueError, "corrupt", "level is nan"),
    row("level infinite", lambda: corrupt(images, "brightness", float("inf"), rng), ValueError, "corrupt", "level is inf"),
    row("level text", lambda: corrupt(images, "blur", "1", rng), (TypeError, ValueError), "corrupt", "level is '1'", "expected"),
    row("level None", lambda: corrupt(images, "blur", None, rng), (TypeError, ValueError), "corrupt", "level is None", "expected"),
    row("device", lambda: resolve_device("gpu"), ValueError, "resolve_device", "device is 'gpu'", "'auto', 'cpu' or 'cuda'"),
    row("rotary width", lambda: AttentionConfig(width=30, n_heads=3, rotary=True), ValueError, "width is 30", "4 n_heads = 12", "even"),
    row("rotary width, softmax", lambda: ModelConfig("softmax", 9, 3, rotary=True), ValueError, "ModelConfig", "width is 9",
        "2 n_heads = 6", "even", "rotary=True"),
    row("vocabulary", lambda: ModelConfig(vocab_size=0), ValueError, "ModelConfig", "vocab_size is 0", "at least 1"),
    row("vocabulary float", lambda: ModelConfig(task="text", vocab_size=5.0), ValueError, "vocab_size is 5.0", "whole number"),
    row("vocabulary None", lambda: ModelConfig(task="text", vocab_size=None), ValueError, "vocab_size is None", "whole number"),
    row("length", lambda: ModelConfig(max_len=-1), ValueError, "ModelConfig", "max_len is -1", "at least 1"),
    row("length text", lambda: ModelConfig(task="text", max_len="6"), ValueError, "max_len is '6'", "whole number"),
    row("length bool", lambda: ModelConfig(max_len=True), ValueError, "max_len is True", "whole number"),
    row("no threads", lambda: loss_and_grads_threaded(of_lm, words, words, lm, threads=0), ValueError, "loss_and_grads_threaded",
        "threads is 0", "at least 1"),
    row("threads float", lambda: loss_and_grads_threaded(params, images, labels, model, threads=2.0), ValueError, "threads is 2.0"),
    row("step of no batch", lambda: make_step(model, 0), ValueError, "make_step", "batch is 0", "at least 1"),
    row("step of no threads", lambda: make_step(model, 4, threads=0), ValueError, "make_step", "threads is 0", "at least 1"),
    row("step of no model", lambda: make_step(cfg, 4), TypeError, "make_step", "cfg is AttentionConfig", "ModelConfig"),
    row("step of a kind without one", lambda: make_step(twice, 4), ValueError, "make_step", "kind is 'twicing'", "expected one of", "dgsa"),
    row("step on no device", lambda: make_step(model, 4, device="gpu"), ValueError, "device is 'gpu'", "'cpu' or 'cuda'"),
    row("step on half precision", lambda: make_step(model, 4, dtype="float16"), (TypeError, ValueError), "make_step", "dtype", "float16", "float32"),
    row("step of length 0", lambda: make_step(lm, 4, length=0), ValueError, "make_step", "length is 0", "at least 1"),
    row("step of too many tokens", lambda: make_step(lm, 4, length=7), ValueError, "make_step", "length is 7", "max_len = 6"),
    row("step with another number of patches", lambda: make_step(model, 4, length=7), ValueError, "make_step", "length is 7", "16"),
    row("clip below 0", lambda: make_step(model, 4, clip=-1.0), ValueError, "make_step", "clip is -1.0", "expected"),
    row("no weight decay", lambda: make_step(model, 4, weight_decay=None), (TypeError, ValueError), "make_step", "weight_decay is None"),
]  # fmt: skip

NO_ARRAYS = [  # and for every other argument: test_hostile_arguments.py
    row("list", lambda: ops.linear_forward([1.0], W), TypeError, "linear_forward", "x is list", "expected an array", "asarray"),
    row("number", lambda: ops.rmsnorm_forward(x, 1.0), TypeError, "rmsnorm_forward", "w is float", "expected an array"),
    row("head", lambda: softmax_head_forward(q, k, [v]), TypeError, "softmax_head_forward", "v is list", "expected an array"),
    row("parameter", lambda: attention_forward(xs, p | {"W_o": [1.0]}, cfg), TypeError, "attention_forward", "W_o is list", "array"),
    row("module", lambda: array_module([1.0]), TypeError, "array_module", "got list", "expected a NumPy or CuPy array"),
    row("corrupt", lambda: corrupt([[1.0]], "blur", 1.0, rng), TypeError, "corrupt", "x is list", "expected"),
    row("targets None", lambda: losses.cross_entropy_forward(logits, None), TypeError, "targets is None", "expected an array"),
    row("images list", lambda: model_forward([[1.0]], params, model), TypeError, "model_forward", "list", "expected an array"),
    row("parameter None", lambda: attention_forward(xs, p | {"W_o": None}, cfg), TypeError, "attention_forward", "W_o is None"),
    row("words None", lambda: model_forward(None, of_text, text), TypeError, "model_forward", "tokens is None", "array"),
    row("next words None", lambda: loss_and_grads(of_lm, words, None, lm), TypeError, "targets is None", "array"),
]  # fmt: skip


def refuse(call, error, words):
    """The call raises that error, its message holds every word,
    and no input has changed by a bit.
    """
    before = {name: a.tobytes() for name, a in INPUTS.items()}
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert [word for word in words if word not in message] == [], message
    assert {name: a.tobytes() for name, a in INPUTS.items()} == before


@pytest.mark.parametrize(("call", "error", "words"), SHAPES)
def test_a_wrong_shape_is_refused(call, error, words):
    refuse(call, error, words)


@pytest.mark.parametrize(("call", "error", "words"), UPSTREAM)
def test_a_wrong_upstream_gradient_is_refused(call, error, words):
    refuse(call, error, words)


@pytest.mark.parametrize(("call", "error", "words"), DTYPES)
def test_a_wrong_dtype_is_refused(call, error, words):
    refuse(call, error, words)


@pytest.mark.parametrize(("call", "error", "words"), MASKS)
def test_a_wrong_mask_is_refused(call, error, words):
    refuse(call, error, words)


@pytest.mark.parametrize(("call", "error", "words"), INDICES)
def test_wrong_tokens_labels_and_keep_are_refused(call, error, words):
    refuse(call, error, words)


@pytest.mark.parametrize(("call", "error", "words"), NAMES)
def test_an_unknown_or_missing_name_is_refused(call, error, words):
    refuse(call, error, words)


@pytest.mark.parametrize(("call", "error", "words"), VALUES)
def test_a_wrong_value_is_refused(call, error, words):
    refuse(call, error, words)


@pytest.mark.parametrize(("call", "error", "words"), NO_ARRAYS)
def test_what_is_no_array_is_refused(call, error, words):
    refuse(call, error, words)


def test_cuda_is_refused_where_there_is_none():
    if resolve_device("auto") == "cuda":
        pytest.skip("a GPU is here, and resolve_device('cuda') is right to take it")
    refuse(lambda: resolve_device("cuda"), DeviceError, ("'cuda' cannot be used", "CuPy"))


class FakeCupyArray:
    """As much of a CuPy array as the checks look at."""

    __module__ = "cupy"

    def __init__(self, a):
        self.shape, self.dtype, self.ndim = a.shape, a.dtype, a.ndim


@pytest.mark.parametrize("call", [
    lambda fake: array_module(x, None, 1.0, fake(W)),
    lambda fake: ops.linear_forward(x, fake(W)),
    lambda fake: softmax_head_forward(fake(x), W, W),
    lambda fake: attention_forward(fake(xs), p, cfg),
    lambda fake: model_forward(fake(images), params, model),
], ids=["array_module", "op", "head", "attention", "model"])  # fmt: skip
def test_arrays_on_two_devices_are_refused_and_both_are_named(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", types.SimpleNamespace(ndarray=FakeCupyArray))
    with pytest.raises(TypeError, match="live on different devices") as caught:
        call(FakeCupyArray)
    assert "numpy array (" in str(caught.value) and "cupy array (" in str(caught.value)


@pytest.mark.parametrize("backward", [lambda_backward, token_gate_backward])
def test_a_step_of_a_layer_refuses_another_cache(backward):
    refuse(lambda: backward(q, (1, 2)), TypeError, (f"{backward.__name__}: cache is tuple", "of its forward"))


PAIRS = {case.backward.__name__: case for case in all_cases()}


@pytest.mark.parametrize("name", PAIRS)
def test_a_backward_refuses_another_cache_and_a_gradient_from_elsewhere(name, monkeypatch):
    case = PAIRS[name]
    out, cache = case.forward(*case.args)
    upstream = [] if name == "cross_entropy_backward" else [np.ones_like(out)]
    for other in (None, (1, 2), losses.CrossEntropyCache if upstream else cache[:2]):
        refuse(lambda other=other: case.backward(*upstream, other), TypeError,
               (f"{name}: cache is {type(other).__name__}, expected the {type(cache).__name__} of its forward",))  # fmt: skip
    if upstream and name not in ("head_norm_backward", "project_backward"):  # a step of a layer, which holds no array of its own
        monkeypatch.setitem(sys.modules, "cupy", types.SimpleNamespace(ndarray=FakeCupyArray))
        with pytest.raises(TypeError, match="live on different devices"):
            case.backward(FakeCupyArray(out), cache)


def test_other_masks_and_other_floats_are_refused_by_name():
    scores = np.random.default_rng(0).standard_normal((2, 3, 4))
    wrong = {
        "mask is (2, 4, 3), expected a shape that broadcasts": (scores, np.ones((2, 4, 3), bool)),
        "mask has dtype float64, expected bool": (scores, np.where(np.ones((2, 3, 4)), 0.0, -np.inf)),
        "mask has dtype int64, expected bool": (scores, np.ones((2, 3, 4), int)),
        "scores has dtype float16, expected float32": (scores.astype("float16"), None),
        "scores has dtype >f8, expected float32": (scores.astype(">f8"), None),
    }
    for said, args in wrong.items():
        with pytest.raises((TypeError, ValueError), match=re.escape(f"softmax_forward: {said}")):
            ops.softmax_forward(*args)
