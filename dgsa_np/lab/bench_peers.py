"""The tasks of bench.py in PyTorch, in JAX and in HIPS autograd.

The model is lean, and written once, in what the arrays of all three have. What else it needs, such
as a softmax, each library brings as its users know it. There is one additive mask, and nothing that
the tasks do not need.
"""

import math
from functools import partial
from types import SimpleNamespace

import numpy as np
from threadpoolctl import threadpool_limits

from ..params import flatten
from . import bench


def step(peer, threads, *size):
    """The loss of dgsa and its gradients, with the parameters and tokens of bench.py."""
    loss, arguments, library = language_model(peer, threads, *size)
    return partial(library.gradients(loss), *arguments)


def train(peer, threads, *size):
    """A whole training step in PyTorch, with what it has for clipping and for AdamW."""
    import torch

    loss, (p, *data), library = language_model(peer, threads, *size)
    optimizer = torch.optim.AdamW(p.values(), lr=1e-3, capturable="graph" in peer)
    gradients = library.gradients(loss)

    def run():
        value, grads = gradients(p, *data)
        for name, a in p.items():
            a.grad = grads[name]
        torch.nn.utils.clip_grad_norm_(p.values(), 1.0)
        optimizer.step()
        return value

    return recorded(run) if "graph" in peer else run


def recorded(run):
    """A step as a CUDA graph, as PyTorch records one."""
    import torch

    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    with torch.cuda.stream(stream):  # its first steps make what the others need
        for _ in range(3):
            run()
    stream.synchronize()
    with torch.cuda.graph(graph):
        value = run()

    def replay():
        graph.replay()
        return value

    return replay


def head(peer, B, H, T, d):
    """As bench.head, for the gated head in PyTorch, on one thread."""
    import torch

    library, draw = LIBRARIES["torch"](peer, 1), np.random.default_rng(0).standard_normal
    shapes = [(B, T, H, d)] * 4 + [(B, T, H, 2 * d), (B, T, H, 1)]
    args = [library.parameter(draw(shape, "float32")).transpose(1, 2) for shape in shapes]
    do, mask = torch.tensor(draw((B, H, T, 2 * d), "float32")), library.array(causal(T))
    return lambda: torch.autograd.grad(gated_head(*args, mask, library), args, do)


# ---------------------------------------------------------------------------------------- the model


def language_model(peer, threads, B, T, C, H, depth) -> tuple:
    """The loss; what it takes: parameters by dotted names, tokens and targets; and the library.

    peer : its first word is a key of LIBRARIES
    """
    library = LIBRARIES[peer.split()[0]](peer, threads)
    params, tokens, targets, cfg = bench.language_model("dgsa", B, T, C, H, depth)
    mask = library.array(causal(T))

    def loss(p, tokens, targets):
        x = p["embed.tokens"][tokens] + p["embed.positions"]
        for i in range(depth):
            x = block(x, lambda name, i=i: p[f"blocks.{i}.{name}"], cfg, mask, library)
        logits = library.rmsnorm(x, p["norm.w"], cfg.eps) @ p["head.W"] + p["head.b"]
        return library.cross_entropy(logits.reshape(B * T, -1), targets)

    p = {name: library.parameter(a) for name, a in flatten(params).items()}
    return loss, (p, library.array(tokens), library.array(targets.ravel())), library


def block(x, p, cfg, mask, library):
    def heads(name):
        return (n @ p(f"attention.W_{name}")).reshape(*x.shape[:2], cfg.n_heads, -1).swapaxes(1, 2)

    n = library.rmsnorm(x, p("norm1.w"), cfg.eps)
    z = (n @ p("attention.W_gate") + p("attention.b_gate")).swapaxes(1, 2)[..., None]
    o = gated_head(*map(heads, ("q_exc", "k_exc", "q_inh", "k_inh", "v")), z, mask, library)
    o = (1 - cfg.lambda_init_at(0)) * library.rmsnorm(o, p("attention.w_norm"), cfg.eps)
    x = x + o.swapaxes(1, 2).reshape(x.shape) @ p("attention.W_o")
    n = library.rmsnorm(x, p("norm2.w"), cfg.eps)
    return x + (library.silu(n @ p("mlp.W_gate")) * (n @ p("mlp.W_up"))) @ p("mlp.W_down")


def gated_head(q_exc, k_exc, q_inh, k_inh, v, z, mask, library):
    g = library.sigmoid(z)
    if library.fused:
        return g * library.fused(q_exc, k_exc, v) - (1 - g) * library.fused(q_inh, k_inh, v)
    scale = 1 / math.sqrt(q_exc.shape[-1])
    A_exc = library.softmax(scale * q_exc @ k_exc.swapaxes(-1, -2) + mask)
    A_inh = library.softmax(scale * q_inh @ k_inh.swapaxes(-1, -2) + mask)
    return (g * A_exc - (1 - g) * A_inh) @ v


def causal(T):
    """What is added to scores (T, T)."""
    return np.triu(np.full((T, T), -np.inf, "float32"), 1)


# ------------------------------------------------------------------------------------ the libraries
# array makes one from NumPy's, parameter one to be differentiated; softmax is over the last axis,
# fused is causal attention or None. gradients makes of a loss a function that takes the same, and
# returns the loss and its gradients, shaped as the first argument.


def in_torch(peer, threads):
    """PyTorch eager, with fused attention, or with a compiled loss; its last words say which."""
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(threads)
    torch.set_default_device("cuda" if "cuda" in peer else "cpu")

    def rmsnorm(x, w, eps):
        return F.rms_norm(x, w.shape, w, eps)

    def gradients(loss):
        used = torch.compile(loss, dynamic=False) if "compile" in peer else loss

        def run(p, *others):
            value = used(p, *others)
            return value.detach(), dict(zip(p, torch.autograd.grad(value, list(p.values())), strict=True))

        return run

    return SimpleNamespace(
        array=torch.tensor,
        parameter=partial(torch.tensor, requires_grad=True),
        sigmoid=torch.sigmoid,
        silu=F.silu,
        softmax=partial(torch.softmax, dim=-1),
        rmsnorm=rmsnorm,
        cross_entropy=F.cross_entropy,
        fused=partial(F.scaled_dot_product_attention, is_causal=True) if "fused" in peer else None,
        gradients=gradients,
    )


def in_jax(peer, threads):
    """JAX, compiled; it takes all cores that it is allowed."""
    import jax
    from jax import numpy
    from jax.scipy import special

    def gradients(loss):
        compiled = jax.jit(jax.value_and_grad(loss))
        return lambda *arguments: jax.block_until_ready(compiled(*arguments))

    return _like_numpy(numpy, special, jax.nn.softmax, gradients)


def in_autograd(peer, threads):
    """HIPS autograd, which differentiates what NumPy computes, on BLAS's threads."""
    from autograd import numpy, value_and_grad
    from autograd.scipy import special
    from autograd.tracer import getval

    threadpool_limits(threads)

    def softmax(S):
        e = numpy.exp(S - getval(S).max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)

    return _like_numpy(numpy, special, softmax, value_and_grad)


def _like_numpy(np, special, softmax, gradients):
    """What these two have in common, where np and special are as NumPy and scipy.special."""

    def silu(x):
        return x * special.expit(x)

    def rmsnorm(x, w, eps):
        return x * w / np.sqrt((x * x).mean(-1, keepdims=True) + eps)

    def cross_entropy(logits, targets):
        return (special.logsumexp(logits, -1) - logits[np.arange(len(targets)), targets]).mean()

    return SimpleNamespace(
        array=np.array,
        parameter=np.array,
        sigmoid=special.expit,
        silu=silu,
        softmax=softmax,
        rmsnorm=rmsnorm,
        cross_entropy=cross_entropy,
        fused=None,
        gradients=gradients,
    )


LIBRARIES = {"torch": in_torch, "jax": in_jax, "autograd": in_autograd}
