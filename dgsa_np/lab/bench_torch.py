"""The tasks of bench.py in lean PyTorch: eager, or with its fused attention.

There is one additive mask, and nothing that the tasks do not need.
"""

import math

import torch
import torch.nn.functional as F

from ..fast import parallel
from ..params import flatten
from . import bench


def head(form, B, H, T, d):
    """As bench.head, for the gated head, on one thread."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    shapes = [(B, T, H, d)] * 4 + [(B, T, H, 2 * d), (B, T, H, 1)]
    args = [torch.randn(shape).transpose(1, 2).requires_grad_() for shape in shapes]
    do, mask = torch.randn(B, H, T, 2 * d), _causal(T)
    return lambda: torch.autograd.grad(gated_head(*args, mask, form), args, do)


def gated_head(q_exc, k_exc, q_inh, k_inh, v, z, mask, form):
    g = torch.sigmoid(z)
    if form == "fused":
        o_exc = F.scaled_dot_product_attention(q_exc, k_exc, v, is_causal=True)
        return g * o_exc - (1 - g) * F.scaled_dot_product_attention(q_inh, k_inh, v, is_causal=True)
    scale = 1 / math.sqrt(q_exc.shape[-1])
    A_exc = torch.softmax(scale * q_exc @ k_exc.mT + mask, -1)
    A_inh = torch.softmax(scale * q_inh @ k_inh.mT + mask, -1)
    return (g * A_exc - (1 - g) * A_inh) @ v


def step(form, B, T, C, H, depth):
    """As bench.step, for dgsa, on all cores, with the same parameters and tokens."""
    torch.set_num_threads(parallel.cores())
    params, tokens, targets, cfg = bench.language_model("dgsa", B, T, C, H, depth)
    p = {name: torch.tensor(a, requires_grad=True) for name, a in flatten(params).items()}
    tokens, targets, mask = torch.tensor(tokens), torch.tensor(targets).flatten(), _causal(T)

    def loss():
        x = p["embed.tokens"][tokens] + p["embed.positions"][:T]
        for i in range(depth):
            x = block(x, lambda name, i=i: p[f"blocks.{i}.{name}"], cfg, mask, form)
        logits = F.rms_norm(x, (C,), p["norm.w"], cfg.eps) @ p["head.W"] + p["head.b"]
        return F.cross_entropy(logits.flatten(0, 1), targets)

    return lambda: torch.autograd.grad(loss(), list(p.values()))


def block(x, p, cfg, mask, form):
    def heads(name):
        return (n @ p(f"attention.W_{name}")).unflatten(-1, (cfg.n_heads, -1)).transpose(1, 2)

    n = F.rms_norm(x, x.shape[-1:], p("norm1.w"), cfg.eps)
    z = (n @ p("attention.W_gate") + p("attention.b_gate")).mT[..., None]
    o = gated_head(*map(heads, ("q_exc", "k_exc", "q_inh", "k_inh", "v")), z, mask, form)
    o = (1 - cfg.lambda_init_at(0)) * F.rms_norm(o, o.shape[-1:], p("attention.w_norm"), cfg.eps)
    x = x + o.transpose(1, 2).flatten(2) @ p("attention.W_o")
    n = F.rms_norm(x, x.shape[-1:], p("norm2.w"), cfg.eps)
    return x + (F.silu(n @ p("mlp.W_gate")) * (n @ p("mlp.W_up"))) @ p("mlp.W_down")


def _causal(T):
    return torch.full((T, T), -math.inf).triu(1)
