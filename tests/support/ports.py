"""Ports of three mechanisms to PyTorch modules, written from the equations and from what
PAPER.md says of other people's layouts. dgsa_np is not imported: these are what it judges.
"""

import math

import torch
from torch import nn


def split(x, d):
    """x (B, T, H d) -> (B, H, T, d)"""
    return x.unflatten(-1, (-1, d)).transpose(1, 2)


def merge(h):
    """h (B, H, T, e) -> (B, T, H e)"""
    return h.transpose(1, 2).flatten(2)


def turn(x, cos, sin):
    """x (B, H, T, d), cos and sin (T, d/2): each pair of neighbouring columns is turned."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)


def positions(x, d):
    """cos and sin (T, d/2) of the angles t / 10000^(2i/d)"""
    angles = torch.arange(x.shape[1], dtype=x.dtype)[:, None] / 10000 ** (torch.arange(0, d, 2, dtype=x.dtype) / d)
    return angles.cos(), angles.sin()


def attend(q, k, mask):
    """q (B, H, T, d), k (B, H, S, d), mask bool, True = may attend -> the map (B, H, T, S)"""
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(dim=-1)


class Dgsa(nn.Module):
    """Gated: A = g A_exc - (1 - g) A_inh, with layers that are called as dgsa_np's parameters."""

    def __init__(self, width, n_heads, lambda_init=0.8, rotary=False, dropout=0.0):
        super().__init__()
        self.head_dim, self.rotary, self.lambda_init = width // n_heads // 2, rotary, lambda_init
        half = n_heads * self.head_dim
        self.q_exc_proj = nn.Linear(width, half, bias=False)
        self.k_exc_proj = nn.Linear(width, half, bias=False)
        self.q_inh_proj = nn.Linear(width, half, bias=False)
        self.k_inh_proj = nn.Linear(width, half, bias=False)
        self.v_proj = nn.Linear(width, width, bias=False)
        self.gate_proj = nn.Linear(width, n_heads)
        self.head_norm = nn.RMSNorm(2 * self.head_dim, eps=1e-5)
        self.o_proj = nn.Linear(width, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, mask=None):
        d = self.head_dim
        q_exc, k_exc = split(self.q_exc_proj(x), d), split(self.k_exc_proj(x), d)
        q_inh, k_inh = split(self.q_inh_proj(x), d), split(self.k_inh_proj(x), d)
        v = split(self.v_proj(x), 2 * d)
        if self.rotary:
            q_exc, k_exc, q_inh, k_inh = (turn(a, *positions(x, d)) for a in (q_exc, k_exc, q_inh, k_inh))
        A_exc = attend(q_exc, k_exc, mask)
        A_inh = attend(q_inh, k_inh, mask)
        g = self.gate_proj(x).sigmoid().transpose(1, 2).unsqueeze(-1)  # (B, H, T, 1)
        o = self.dropout(g * A_exc - (1 - g) * A_inh) @ v
        h = (1 - self.lambda_init) * self.head_norm(o)
        return self.o_proj(merge(h))


class DifferentialV1(nn.Module):
    """A = A_1 - lambda A_2, with the names and places of microsoft/unilm's MultiheadDiffAttn.

    Heads 2i and 2i + 1 of queries and keys are the two branches of head i.
    """

    def __init__(self, width, n_heads, depth, n_groups=None):
        super().__init__()
        self.head_dim, self.repeat = width // n_heads // 2, n_heads // (n_groups or n_heads)
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(width, width // self.repeat, bias=False)
        self.v_proj = nn.Linear(width, width // self.repeat, bias=False)
        self.out_proj = nn.Linear(width, width, bias=False)
        self.lambda_init = 0.8 - 0.6 * math.exp(-0.3 * depth)
        for name in ("lambda_q1", "lambda_k1", "lambda_q2", "lambda_k2"):
            self.register_parameter(name, nn.Parameter(0.1 * torch.randn(self.head_dim)))
        self.subln = nn.RMSNorm(2 * self.head_dim, eps=1e-5)

    def forward(self, x, rel_pos, attn_mask=None):
        d = self.head_dim
        q = turn(split(self.q_proj(x), d), *rel_pos)  # (B, 2H, T, d)
        k = turn(split(self.k_proj(x), d), *rel_pos)  # (B, 2G, T, d)
        v = split(self.v_proj(x), 2 * d)  # (B, G, T, 2d)
        v = v.repeat_interleave(self.repeat, dim=1)
        hidden = attn_mask if attn_mask is not None else 0
        maps = []
        for branch in (0, 1):
            q_branch = q[:, branch::2]
            k_branch = k[:, branch::2].repeat_interleave(self.repeat, dim=1)
            scores = q_branch @ k_branch.transpose(-1, -2) / math.sqrt(d)
            maps.append((scores + hidden).softmax(dim=-1))
        lam = torch.exp(self.lambda_q1 @ self.lambda_k1) - torch.exp(self.lambda_q2 @ self.lambda_k2) + self.lambda_init
        h = (1 - self.lambda_init) * self.subln((maps[0] - lam * maps[1]) @ v)
        return self.out_proj(merge(h))


class DifferentialV2(nn.Module):
    """o = a_1 - sigmoid(x W_lambda) a_2: branches share keys and values, as heads of a group do."""

    def __init__(self, width, n_heads, n_groups=None):
        super().__init__()
        self.head_dim, self.repeat = width // n_heads, n_heads // (n_groups or n_heads)
        self.q_proj = nn.Linear(width, 2 * width, bias=False)
        self.k_proj = nn.Linear(width, width // self.repeat, bias=False)
        self.v_proj = nn.Linear(width, width // self.repeat, bias=False)
        self.lambda_proj = nn.Linear(width, n_heads, bias=False)
        self.o_proj = nn.Linear(width, width, bias=False)

    def forward(self, x, rel_pos, attn_mask=None):
        q = turn(split(self.q_proj(x), self.head_dim), *rel_pos)  # (B, 2H, T, d)
        k = turn(split(self.k_proj(x), self.head_dim), *rel_pos).repeat_interleave(2 * self.repeat, dim=1)
        v = split(self.v_proj(x), self.head_dim).repeat_interleave(2 * self.repeat, dim=1)
        scores = q @ k.transpose(-1, -2) / math.sqrt(self.head_dim)
        a = (scores if attn_mask is None else scores + attn_mask).softmax(dim=-1) @ v
        lam = self.lambda_proj(x).sigmoid().transpose(1, 2).unsqueeze(-1)  # (B, H, T, 1)
        return self.o_proj(merge(a[:, 0::2] - lam * a[:, 1::2]))
