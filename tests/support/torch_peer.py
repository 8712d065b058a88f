"""The same mathematics in plain PyTorch: forward only, every gradient comes from autograd.

Written from the equations, not from dgsa_np, and importing nothing of it: two readings of one text.
Functions and arguments carry the names of the package, without _forward; cfg is a plain dict of its
switches.
"""

import math

import torch
import torch.nn.functional as F

# ---------------------------------------------------------------------------------------------- ops


def linear(x, W, b=None):
    """x (..., n), W (n, m), b (m,) -> (..., m)"""
    return F.linear(x, W.T, b)


def embedding(tokens, table):
    """tokens (B, T), table (V, C) -> (B, T, C)"""
    return F.embedding(tokens, table)


def softmax(scores, mask=None):
    """scores (..., S), mask bool, True = may attend -> (..., S)"""
    if mask is None:
        return F.softmax(scores, dim=-1)
    # a finite floor, not -inf: a row without a key would be nan, and stay so in its gradient
    floor = torch.finfo(scores.dtype).min
    return F.softmax(scores.masked_fill(~mask, floor), dim=-1).masked_fill(~mask, 0)


def silu(x):
    """x (...) -> (...)"""
    return F.silu(x)


def gelu(x):
    """x (...) -> (...), by the error function"""
    return F.gelu(x, approximate="none")


def rmsnorm(x, w, eps=1e-5):
    """x (..., n), w (n,) -> (..., n)"""
    return F.rms_norm(x, w.shape, w, eps)


def layernorm(x, w, b, eps=1e-5):
    """x (..., n), w (n,), b (n,) -> (..., n)"""
    return F.layer_norm(x, w.shape, w, b, eps)


def swiglu(x, W_gate, W_up, W_down):
    """x (..., C), W_gate and W_up (C, F), W_down (F, C) -> (..., C)"""
    return (F.silu(x @ W_gate) * (x @ W_up)) @ W_down


def rotary(x, positions):
    """x (B, H, T, d), positions (T,) or (B, T) -> as x:
    each pair (x_2i, x_2i+1), a complex number, is turned
    """
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())  # (B, H, T, d/2)
    exponents = torch.arange(0, x.shape[-1], 2, dtype=x.dtype) / x.shape[-1]  # (d/2,): 2i/d
    angles = positions.to(x.dtype).unsqueeze(-1) * 10000.0**-exponents  # (T, d/2) or (B, T, d/2)
    angles = angles.unsqueeze(-3)  # beside the heads
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(-2)


def cross_entropy(logits, targets, keep=None):
    """logits (..., V), targets (...), keep (...) bool -> (), the mean over the kept targets"""
    keep = torch.ones_like(targets, dtype=torch.bool) if keep is None else keep
    return F.cross_entropy(logits[keep], targets[keep])


# -------------------------------------------------------------------------------------------- heads


def softmax_map(q, k, mask=None):
    """q (B, H, T, d), k (B, H, S, d) -> (B, H, T, S)"""
    return softmax(torch.einsum("bhtd,bhsd->bhts", q, k) / math.sqrt(q.shape[-1]), mask)


def apply_map(A, v):
    """A (B, H, T, S), v (B, H, S, e) -> (B, H, T, e)"""
    return torch.einsum("bhts,bhse->bhte", A, v)


def softmax_head(q, k, v, mask=None):
    """q (B, H, T, d), k (B, H, S, d), v (B, H, S, e) -> (B, H, T, e)"""
    return apply_map(softmax_map(q, k, mask), v)


def differential_head(q_exc, k_exc, q_inh, k_inh, v, lam, mask=None):
    """q_* (B, H, T, d), k_* (B, H, S, d), v (B, H, S, e), lam broadcastable to (B, H,
    T) -> (B, H, T, e)
    """
    o_exc, o_inh = softmax_head(q_exc, k_exc, v, mask), softmax_head(q_inh, k_inh, v, mask)
    return o_exc - lam.unsqueeze(-1) * o_inh


def gated_head(q_exc, k_exc, q_inh, k_inh, v, z_gate, mask=None):
    """q_* (B, H, T, d), k_* (B, H, S, d), v (B, H, S, e), z_gate (B, H, T) -> (B, H, T, e)"""
    g = torch.sigmoid(z_gate).unsqueeze(-1)  # (B, H, T, 1): one gate for all keys of a query
    return apply_map(g * softmax_map(q_exc, k_exc, mask) - (1 - g) * softmax_map(q_inh, k_inh, mask), v)


def differential_v2_head(q_exc, q_inh, k, v, lam, mask=None):
    """q_* (B, H, T, d), k (B, H, S, d), v (B, H, S, e), lam (B, H, T) -> (B, H, T, e)"""
    return apply_map(softmax_map(q_exc, k, mask) - lam.unsqueeze(-1) * softmax_map(q_inh, k, mask), v)


def output_gate_head(q, k, v, gate, mask=None):
    """q (B, H, T, d), k (B, H, S, d), v (B, H, S, e), gate (B, H, T) -> (B, H, T, e)"""
    return gate.unsqueeze(-1) * softmax_head(q, k, v, mask)


def twicing_head(q, k, v, mask=None):
    """q and k (B, H, T, d), v (B, H, T, e) -> (B, H, T, e)"""
    A = softmax_map(q, k, mask)
    return apply_map(2 * A - torch.matrix_power(A, 2), v)


# ---------------------------------------------------------------------------------------- attention


def attention(x, p, cfg, mask=None, layer=0, positions=None):
    """x (B, T, C), mask broadcastable to (B, H, T, T), layer the depth from 0,
    positions (B, T) -> (B, T, C)
    """
    kind, H = cfg["kind"], cfg["n_heads"]
    lambda_init = cfg.get("lambda_init")
    if lambda_init is None:
        lambda_init = {"diff_v1": 0.8 - 0.6 * math.exp(-0.3 * layer), "dgsa": 0.8}.get(kind)

    def project(*names):  # head h owns the h-th run of columns: (C, H d) is read as (C, H, d)
        return [torch.einsum("btc,chd->bhtd", x, p[f"W_{name}"].unflatten(1, (H, -1))) for name in names]

    def turned(*names):  # the queries and the keys
        places = torch.arange(x.shape[1]) if positions is None else positions
        return [rotary(a, places) if cfg.get("rotary") else a for a in project(*names)]

    def token_gate(W):  # (C, H) -> (B, H, T)
        return torch.sigmoid(torch.einsum("btc,ch->bht", x, W))

    [v] = project("v")
    if kind == "softmax":
        o = softmax_head(*turned("q", "k"), v, mask)
    elif kind == "diff_v1":
        exc, inh = (torch.exp(torch.dot(p[f"lambda_q_{s}"], p[f"lambda_k_{s}"])) for s in ("exc", "inh"))
        lam = exc - inh + lambda_init
        o = differential_head(*turned("q_exc", "k_exc", "q_inh", "k_inh"), v, lam, mask)
    elif kind == "dgsa":
        z = p["b_gate"].expand(*x.shape[:2], H)  # (B, T, H)
        if cfg.get("gate", "token") == "token":
            z = z + x @ p["W_gate"]
        z, branches = z.permute(0, 2, 1), turned("q_exc", "k_exc", "q_inh", "k_inh")
        if cfg.get("gate_on", "both") == "inhibition":
            o = differential_head(*branches, v, torch.sigmoid(z), mask)
        else:
            o = gated_head(*branches, v, z, mask)
    elif kind == "diff_v2":
        o = differential_v2_head(*turned("q_exc", "q_inh", "k"), v, token_gate(p["W_lambda"]), mask)
    elif kind == "output_gate":
        o = output_gate_head(*turned("q", "k"), v, token_gate(p["W_gate"]), mask)
    elif kind == "twicing":
        o = twicing_head(*turned("q", "k"), v, mask)
    else:
        raise NotImplementedError(f"write the head of {kind!r} into tests/support/torch_peer.py, and call it here")
    if kind in ("diff_v1", "dgsa") and cfg.get("head_norm", True):
        o = (1 - lambda_init) * rmsnorm(o, p["w_norm"], cfg.get("eps", 1e-5))
    return torch.einsum("bhte,hec->btc", o, p["W_o"].unflatten(0, (H, -1)))  # concat(heads) W_o


# -------------------------------------------------------------------------------------------- model


def patches(images, P):
    """images (B, h, w, ch) -> (B, h/P * w/P, P * P * ch):
    row by row, in a patch (row, column, channel)
    """
    tiles = images.unfold(1, P, P).unfold(2, P, P)  # (B, h/P, w/P, ch, P, P)
    return tiles.movedim(3, -1).flatten(3).flatten(1, 2)


def mlp(x, p, ffn):
    """x (B, T, C), p W_up (C, F), W_down (F, C) and, for swiglu, W_gate (C, F) -> (B, T, C)"""
    return swiglu(x, **p) if ffn == "swiglu" else gelu(x @ p["W_up"]) @ p["W_down"]


def places(keep):
    """keep (B, T) -> (B, T): a token stands behind the kept ones before it"""
    return torch.cat([torch.zeros_like(keep[:, :1], dtype=torch.long), keep[:, :-1].cumsum(dim=1)], dim=1)


def embed(inputs, p, cfg, keep):
    """tokens (B, T), p tokens (V, C), positions (max_len, C);
    or images, p W, b, positions (N, C) -> (B, T, C)
    """
    if cfg["task"] != "vision":
        return embedding(inputs.masked_fill(~keep, 0), p["tokens"]) + F.embedding(places(keep), p["positions"])
    images = inputs if inputs.ndim == 4 else inputs.unsqueeze(-1)
    return linear(patches(images, cfg["patch_size"]), p["W"], p["b"]) + p["positions"]


def attention_mask(keep, cfg):
    """keep (B, T) bool -> (B, 1, T, T):
    no key that is dropped, and for "lm" none that is later than the query
    """
    B, T = keep.shape
    mask = keep[:, None, None, :].expand(B, 1, T, T)
    return mask.tril() if cfg["task"] == "lm" else mask


def mean_pool(x, keep):
    """x (B, T, C), keep (B, T) -> (B, C)"""
    return torch.stack([tokens[k].mean(dim=0) for tokens, k in zip(x, keep, strict=True)])


def model(inputs, params, cfg, keep=None):
    """inputs images (B, h, w) or (B, h, w, ch), or tokens (B, T); keep (B, T) bool, True = a patch
    or token that counts

    -> logits (B, n_out), and (B, T, n_out) for "lm"
    """
    head, images = params["head"], cfg["task"] == "vision"
    T = params["embed"]["positions"].shape[0] if images else inputs.shape[1]
    keep = torch.ones(inputs.shape[0], T, dtype=torch.bool) if keep is None else keep
    x, positions = embed(inputs, params["embed"], cfg, keep), None if images else places(keep)
    mask = attention_mask(keep, cfg)
    for layer, block in enumerate(params["blocks"]):
        x = x + attention(rmsnorm(x, block["norm1"]["w"]), block["attention"], cfg, mask, layer, positions)
        x = x + mlp(rmsnorm(x, block["norm2"]["w"]), block["mlp"], cfg["ffn"])
    x = rmsnorm(x, params["norm"]["w"])
    return linear(x if cfg["task"] == "lm" else mean_pool(x, keep), head["W"], head["b"])


def loss(params, inputs, targets, cfg, keep=None):
    """targets (B,), or (B, T) for "lm", where those of dropped tokens do not count -> ()"""
    return cross_entropy(model(inputs, params, cfg, keep), targets, keep if cfg["task"] == "lm" else None)
