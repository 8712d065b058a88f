"""A user's program, for type checkers alone: what they show as the type of each result."""

from typing import Any

import numpy as np
from typing_extensions import assert_type

import dgsa_np
from dgsa_np import AttentionConfig, ModelConfig, TrainConfig, attention, backend, checkpoint, losses, ops, optim
from dgsa_np.attention.gated import GatedHeadCache
from dgsa_np.attention.multihead import AttentionCache
from dgsa_np.data import Split, corrupt, load
from dgsa_np.fast import choose_step, loss_and_grads_threaded, make_step
from dgsa_np.gradcheck import Result, compare_pair, complex_step, diagnose
from dgsa_np.model import BlockCache, ModelCache
from dgsa_np.ops import LinearCache
from dgsa_np.shapes import Array
from dgsa_np.train import NonFiniteError, TrainResult, evaluate, plain_step, predict, train

rng = np.random.default_rng(0)
x = rng.standard_normal((2, 5, 16))

# one layer of attention
cfg = AttentionConfig(kind="dgsa", width=16, n_heads=2, rotary=True)
p = dgsa_np.init_attention(cfg, rng, np.float64)
y, cache = dgsa_np.attention_forward(x, p, cfg, mask=dgsa_np.causal_mask(5))
dx, grads = dgsa_np.attention_backward(y, cache)
assert_type(p, dict[str, Array])
assert_type(y, Array)
assert_type(cache, AttentionCache)
assert_type(cache.head, Any)  # each mechanism has its own
assert_type(cache.heads["v"], Array)
assert_type(dx, Array)
assert_type(grads, dict[str, Array])

# a head and an operation by themselves
o, head = attention.gated_head_forward(x, x, x, x, x, x[..., 0])
dq_exc, dk_exc, dq_inh, dk_inh, dv, dz_gate = attention.gated_head_backward(o, head)
assert_type(o, Array)
assert_type(head, GatedHeadCache)
assert_type(head.A_exc, Array)
assert_type(dz_gate, Array)
assert_type(dgsa_np.attention_map(head), Array)
z, linear = ops.linear_forward(x, p["W_o"])
dz, dW = ops.linear_backward(z, linear)
assert_type(linear, LinearCache)
assert_type(dW, Array)

# is a gradient right?
results = dgsa_np.gradcheck.check_pair(ops.silu_forward, ops.silu_backward, (x,), sizes={"d": 4})
assert_type(results, list[Result])
assert_type(compare_pair(ops.silu_forward, ops.silu_backward, [x], method="central"), list[Result])
assert_type(results[0].ok, bool)
assert_type(diagnose(x, x).message, str)
assert_type(complex_step(lambda a: (a * a).sum(), x), np.ndarray)

# data, a model, a step
data = load("digits")
model = ModelConfig(task="vision", kind="dgsa", n_out=data.meta["n_out"])
params = dgsa_np.init_model(model, rng)
logits, trace = dgsa_np.model_forward(data.train.inputs, params, model)
loss, loss_cache = losses.cross_entropy_forward(logits, data.train.targets)
assert_type(data.train, Split)
assert_type(data.train.inputs, np.ndarray)
assert_type(data.train.keep, np.ndarray | None)
assert_type(corrupt(data.test.inputs, "gaussian", 0.1, rng), np.ndarray)
assert_type(params, dict[str, Any])
assert_type(trace, ModelCache)
assert_type(trace.blocks, list[BlockCache])
assert_type(loss, Array)
assert_type(dgsa_np.model_backward(losses.cross_entropy_backward(loss_cache), trace), dict[str, Any])
assert_type(dgsa_np.loss_and_grads(params, data.train.inputs, data.train.targets, model), tuple[Array, dict[str, Any]])
loss, gradients = loss_and_grads_threaded(params, data.train.inputs, data.train.targets, model, threads=2)
clipped, norm = optim.clip_by_norm(gradients, 1.0)
params, state = optim.adamw_step(params, clipped, optim.adamw_init(params), optim.warmup_cosine(0, 10, 0.02, 2))
assert_type(loss, Array)
assert_type(gradients, dict[str, Any])
assert_type(norm, Array)
assert_type(state, dict[str, Any])

# a fast step
step = make_step(model, batch=64, threads=2)
step.set(params, state)
loss, norm = step.train(data.train.inputs[:64], data.train.targets[:64], lr=1e-3)
assert_type(loss, Array)
assert_type(norm, Array)
assert_type(step.gradients(data.train.inputs[:64], data.train.targets[:64]), Array)
assert_type(step.grads(), dict[str, Any])
assert_type(step.state(), tuple[dict[str, Any], dict[str, Any]])

# a training
training = TrainConfig(epochs=1, step="plain")
result = train(model, training, data, step=plain_step)
try:
    result = train(model, training, data, step=choose_step(model, training))
except NonFiniteError as error:
    assert_type(error.params, dict[str, Any])
assert_type(result, TrainResult)
assert_type(result.epochs, list[dict[str, Any]])
assert_type(predict(result.params, data.test, model), np.ndarray)
assert_type(evaluate(result.params, data.test, model), dict[str, float])
assert_type(backend.resolve_device("auto"), str)
checkpoint.save_checkpoint("run.npz", {"params": backend.to_numpy(params)})
assert_type(checkpoint.load_checkpoint("run.npz"), Any)
