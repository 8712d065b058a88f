"""Every formula of docs/equations.md once more, as loops over numbers: what the package must
compute.

Nothing here is vectorised, nothing is imported from the package, and no gradient is taken. Arrays
are nested lists. A small letter is an index and its capital the size: b, h, t, s, c, d, e run below
B, H, T, S, C, D, E. So where the formulas write sqrt(d) for the key width, here stands sqrt(D).
Functions and arguments are named as in the package, without _forward. test_oracles.py compares the
two.
"""

from functools import partial
from math import cos, erf, exp, fsum, log, sin, sqrt

# ------------------------------------------------------------------------------------- nested lists


def build(entry, *sizes):
    """The nested list of these sizes whose number at [i][j].. is entry(i, j, ..)."""
    n, *rest = sizes
    return [build(partial(entry, i), *rest) if rest else entry(i) for i in range(n)]


def shape(a):
    """The sizes of a nested list; () of a number."""
    return (len(a), *shape(a[0])) if isinstance(a, list) else ()


def rows(f, x):
    """f of each row of x. A row runs along the last axis."""
    return [rows(f, x_i) for x_i in x] if isinstance(x[0], list) else f(x)


def each(f, x):
    """f of each number of x."""
    return [each(f, x_i) for x_i in x] if isinstance(x, list) else f(x)


def flat(a, axes=0):
    """The numbers of a in order; with axes = 1 its rows."""
    return [a] if len(shape(a)) == axes else [number for a_i in a for number in flat(a_i, axes)]


def share(mask, i):
    """Entry i of a mask. An axis of length 1 serves every i, and None allows all."""
    return None if mask is None else mask[i if len(mask) > 1 else 0]


# --------------------------------------------------------------------------------------- operations


def linear(x, W, b=None):
    """y_m = sum_n x_n W_nm + b_m,  for each row of x.   [eq:linear]"""
    N, M = shape(W)

    def y(x):
        return [fsum(x[n] * W[n][m] for n in range(N)) + (0 if b is None else b[m]) for m in range(M)]

    return rows(y, x)


def embedding(tokens, table):
    """x_btc = table_vc,  v = tokens_bt.   [eq:embedding]"""
    return each(lambda v: [table[v][c] for c in range(len(table[v]))], tokens)


def softmax(scores, mask=None):
    """A_i = exp(S_i) / sum_k exp(S_k),  k over what the mask allows; a row without a key is 0.
    [eq:softmax]

    The largest score is taken off all of them. It cancels, and exp cannot overflow.
    """
    if isinstance(scores[0], list):
        return [softmax(scores[i], share(mask, i)) for i in range(len(scores))]
    S, keys = scores, [k for k in range(len(scores)) if mask is None or share(mask, k)]
    top = max([S[k] for k in keys], default=0)
    total = fsum(exp(S[k] - top) for k in keys)
    return [exp(S[i] - top) / total if i in keys else 0.0 for i in range(len(S))]


def sigmoid(z):
    """sigmoid(z) = 1 / (1 + exp(-z)) = exp(z) / (1 + exp(z)): the one whose exp cannot overflow."""
    return 1 / (1 + exp(-z)) if z >= 0 else exp(z) / (1 + exp(z))


def silu(x):
    """y = x sigmoid(x).   [eq:silu]"""
    return each(lambda x: x * sigmoid(x), x)


def gelu(x):
    """y = x Phi(x),  Phi(x) = (1 + erf(x / sqrt(2))) / 2.   [eq:gelu]"""
    return each(lambda x: x * (1 + erf(x / sqrt(2))) / 2, x)


def rmsnorm(x, w, eps=1e-5):
    """y_n = w_n x_n r,  r = (mean_n(x_n^2) + eps)^(-1/2),  for each row of x.   [eq:rmsnorm]"""
    N = len(w)

    def y(x):
        r = 1 / sqrt(fsum(x[n] ** 2 for n in range(N)) / N + eps)
        return [w[n] * x[n] * r for n in range(N)]

    return rows(y, x)


def layernorm(x, w, b, eps=1e-5):
    """y_n = w_n (x_n - mean(x)) r + b_n,  r = (var(x) + eps)^(-1/2),  for each row of x.
    [eq:layernorm]
    """
    N = len(w)

    def y(x):
        mean = fsum(x[n] for n in range(N)) / N
        var = fsum((x[n] - mean) ** 2 for n in range(N)) / N
        r = 1 / sqrt(var + eps)
        return [w[n] * (x[n] - mean) * r + b[n] for n in range(N)]

    return rows(y, x)


def rotary(x, positions):
    """Pairs of columns are turned.   [eq:rotary]

    y_2i = x_2i cos a - x_2i+1 sin a,  y_2i+1 = x_2i sin a + x_2i+1 cos a,  a = position /
    10000^(2i/d).
    """
    B, H, T, D = shape(x)

    def y(b, h, t, d):
        i = d // 2
        p = positions[b][t] if len(shape(positions)) == 2 else positions[t]
        a = p / 10000 ** (2 * i / D)
        first, second = x[b][h][t][2 * i], x[b][h][t][2 * i + 1]
        return first * cos(a) - second * sin(a) if d == 2 * i else first * sin(a) + second * cos(a)

    return build(y, B, H, T, D)


def swiglu(x, W_gate, W_up, W_down):
    """y = (silu(x W_gate) * (x W_up)) W_down,  for each row of x.   [eq:swiglu]"""

    def y(x):
        s, u = silu(linear(x, W_gate)), linear(x, W_up)
        return linear([s[f] * u[f] for f in range(len(s))], W_down)

    return rows(y, x)


def gelu_mlp(x, W_up, W_down):
    """y = gelu(x W_up) W_down.   [eq:gelu-mlp]"""
    return linear(gelu(linear(x, W_up)), W_down)


def cross_entropy(logits, targets, keep=None):
    """L = mean_i (log sum_j exp(z_ij) - z_i,targets_i),  i over the kept targets.
    [eq:cross-entropy]
    """
    z, target = flat(logits, axes=1), flat(targets)
    kept = [i for i in range(len(z)) if keep is None or flat(keep)[i]]

    def loss(i):
        top = max(z[i])  # exp cannot overflow, and the logarithm adds it again
        return log(fsum(exp(z_j - top) for z_j in z[i])) + top - z[i][target[i]]

    return fsum(loss(i) for i in kept) / len(kept)


# -------------------------------------------------------------------------------------------- masks


def causal_mask(T, S):
    """mask_ts:
    the T queries are the last of S tokens, and token t + S - T sees none that comes later.
    """
    return build(lambda b, h, t, s: s <= t + S - T, 1, 1, T, S)


def padding_mask(keep):
    """mask_bs = keep_bs: nobody sees a dropped token."""
    B, S = shape(keep)
    return build(lambda b, h, t, s: keep[b][s], B, 1, 1, S)


# -------------------------------------------------------------------------------------------- heads


def softmax_map(q, k, mask=None):
    """A_bhts = softmax_s(sum_d q_bhtd k_bhsd / sqrt(d)).   [eq:softmax-map]"""
    (B, H, T, D), S = shape(q), len(k[0][0])

    def score(b, h, t, s):
        return fsum(q[b][h][t][d] * k[b][h][s][d] for d in range(D)) / sqrt(D)

    return softmax(build(score, B, H, T, S), mask)


def apply_map(A, v):
    """o_bhte = sum_s A_bhts v_bhse."""
    (B, H, T, S), E = shape(A), len(v[0][0][0])
    return build(lambda b, h, t, e: fsum(A[b][h][t][s] * v[b][h][s][e] for s in range(S)), B, H, T, E)


def softmax_head(q, k, v, mask=None):
    """o = A v,  A = softmax(q k^T / sqrt(d)).   [eq:softmax-head]"""
    return apply_map(softmax_map(q, k, mask), v)


def differential_head(q_exc, k_exc, q_inh, k_inh, v, lam, mask=None):
    """o = A v,  A_bhts = A_exc_bhts - lam_bht A_inh_bhts.   [eq:differential-head]"""
    A_exc, A_inh = softmax_map(q_exc, k_exc, mask), softmax_map(q_inh, k_inh, mask)

    def A(b, h, t, s):
        return A_exc[b][h][t][s] - lam[b][h][t] * A_inh[b][h][t][s]

    return apply_map(build(A, *shape(A_exc)), v)


def streamed(queries, keys, v, weights, mask=None):
    """o = sum_i w_i A_i v,  A_i = softmax(q_i k_i^T / sqrt(d)).   [eq:streamed]"""
    maps = [softmax_map(q, k, mask) for q, k in zip(queries, keys, strict=True)]

    def A(b, h, t, s):
        return sum(w[b][h][t] * A_i[b][h][t][s] for w, A_i in zip(weights, maps, strict=True))

    return apply_map(build(A, *shape(maps[0])), v)


def gated_head(q_exc, k_exc, q_inh, k_inh, v, z_gate, mask=None):
    """o = A v,  A_bhts = g_bht A_exc_bhts - (1 - g_bht) A_inh_bhts,  g = sigmoid(z_gate).
    [eq:gated-head]
    """
    A_exc, A_inh = softmax_map(q_exc, k_exc, mask), softmax_map(q_inh, k_inh, mask)

    def A(b, h, t, s):
        g = sigmoid(z_gate[b][h][t])
        return g * A_exc[b][h][t][s] - (1 - g) * A_inh[b][h][t][s]

    return apply_map(build(A, *shape(A_exc)), v)


def differential_v2_head(q_exc, q_inh, k, v, lam, mask=None):
    """o = A v,  A = softmax(q_exc k^T / sqrt(d)) - lam softmax(q_inh k^T / sqrt(d)).
    [eq:differential-v2-head]
    """
    return differential_head(q_exc, k, q_inh, k, v, lam, mask)


def output_gate_head(q, k, v, gate, mask=None):
    """o_bhte = g_bht sum_s A_bhts v_bhse,  A = softmax(q k^T / sqrt(d)).   [eq:output-gate-head]"""
    o = softmax_head(q, k, v, mask)
    return build(lambda b, h, t, e: gate[b][h][t] * o[b][h][t][e], *shape(o))


def twicing_head(q, k, v, mask=None):
    """o = (2 A - A^2) v,  A = softmax(q k^T / sqrt(d)).   [eq:twicing-head]"""
    A = softmax_map(q, k, mask)
    B, H, T, S = shape(A)

    def twice(b, h, t, s):
        return 2 * A[b][h][t][s] - fsum(A[b][h][t][r] * A[b][h][r][s] for r in range(S))

    return apply_map(build(twice, B, H, T, S), v)


# ---------------------------------------------------------- what weighs the maps, and the head norm


def learned_lambda(q_exc, k_exc, q_inh, k_inh, lambda_init):
    """lam = exp(lambda_q_exc . lambda_k_exc) - exp(lambda_q_inh . lambda_k_inh) + lambda_init.
    [eq:lambda]
    """
    D = len(q_exc)
    exc = fsum(q_exc[d] * k_exc[d] for d in range(D))
    inh = fsum(q_inh[d] * k_inh[d] for d in range(D))
    return exp(exc) - exp(inh) + lambda_init


def depth_schedule(layer):
    """lambda_init = 0.8 - 0.6 exp(-0.3 layer),  layer from 0.   [eq:lambda-init]"""
    return 0.8 - 0.6 * exp(-0.3 * layer)


def gate_logits(x, b_gate, W_gate=None):
    """z_bht = sum_c x_btc W_gate_ch + b_gate_h;  with gate="head" no W_gate, and z_bht = b_gate_h.
    [eq:gate]
    """
    (B, T, C), H = shape(x), len(b_gate)

    def z(b, h, t):
        return b_gate[h] + (0 if W_gate is None else fsum(x[b][t][c] * W_gate[c][h] for c in range(C)))

    return build(z, B, H, T)


def gate_lambda(x, b_gate, W_gate=None):
    """lam_bht = g_bht = sigmoid(z_bht),  z as in gate_logits.   [eq:gate-on-inhibition]"""
    return each(sigmoid, gate_logits(x, b_gate, W_gate))


def token_gate(x, W):
    """g_bht = sigmoid(sum_c x_btc W_ch).   [eq:token-gate] [eq:token-lambda]"""
    (B, T, C), H = shape(x), len(W[0])
    return build(lambda b, h, t: sigmoid(fsum(x[b][t][c] * W[c][h] for c in range(C))), B, H, T)


def head_norm(o, w_norm, lambda_init, eps=1e-5):
    """h = (1 - lambda_init) rmsnorm(o; w_norm, eps).   [eq:head-norm]"""
    return each(lambda n: (1 - lambda_init) * n, rmsnorm(o, w_norm, eps))


# ----------------------------------------------------------------------------- multi-head attention


def project(x, W, n_heads, positions=None, past=None):
    """q_bhtd = sum_c x_btc W_c,hD+d: head h owns columns h D .. (h + 1) D of W.  [eq:project]"""
    (B, T, C), H = shape(x), n_heads
    D = len(W[0]) // H
    h = build(lambda b, h, t, d: fsum(x[b][t][c] * W[c][h * D + d] for c in range(C)), B, H, T, D)
    h = h if positions is None else rotary(h, positions)
    return h if past is None else [[past[b][i] + h[b][i] for i in range(H)] for b in range(B)]


def concat(h):
    """x_b,t,hE+e = h_bhte: the heads of a token side by side."""
    B, H, T, E = shape(h)
    return build(lambda b, t, c: h[b][c // E][t][c % E], B, T, H * E)


def lambda_init_of(cfg, layer):
    """The number in cfg if there is one, else 0.8 for dgsa and the schedule for diff_v1."""
    if cfg.lambda_init is not None:
        return cfg.lambda_init
    return depth_schedule(layer) if cfg.kind == "diff_v1" else 0.8


def lambda_of(x, p, cfg, layer):
    """lam_bht, the same number for all of them: the tokens play no part."""
    names = ("lambda_q_exc", "lambda_k_exc", "lambda_q_inh", "lambda_k_inh")
    lam = learned_lambda(*(p[name] for name in names), lambda_init_of(cfg, layer))
    return build(lambda b, h, t: lam, len(x), cfg.n_heads, len(x[0]))


def gate_weight(weigh, x, p, cfg):
    """What weighs in dgsa, by a gate per token or per head."""
    return weigh(x, p["b_gate"], p["W_gate"] if cfg.gate == "token" else None)


BRANCHES = ("q_exc", "k_exc", "q_inh", "k_inh")
HEADS = {  # kind: its head, the names of its queries and keys, and what weighs, of x, p, cfg, layer; None: nothing does
    "softmax": (softmax_head, ("q", "k"), None),
    "diff_v1": (differential_head, BRANCHES, lambda_of),
    "dgsa": (gated_head, BRANCHES, lambda x, p, cfg, layer: gate_weight(gate_logits, x, p, cfg)),
    "dgsa, inhibition": (differential_head, BRANCHES, lambda x, p, cfg, layer: gate_weight(gate_lambda, x, p, cfg)),
    "diff_v2": (differential_v2_head, ("q_exc", "q_inh", "k"), lambda x, p, cfg, layer: token_gate(x, p["W_lambda"])),
    "output_gate": (output_gate_head, ("q", "k"), lambda x, p, cfg, layer: token_gate(x, p["W_gate"])),
    "twicing": (twicing_head, ("q", "k"), None),
}


def heads(x, p, cfg, mask=None, layer=0, positions=None):
    """o_bhte of the mechanism cfg.kind:
    project, turn queries and keys where cfg.rotary says so, attend.
    """
    kind = "dgsa, inhibition" if (cfg.kind, cfg.gate_on) == ("dgsa", "inhibition") else cfg.kind
    if kind not in HEADS:
        raise NotImplementedError(f"write a row for {kind!r} into HEADS of tests/support/oracles.py")
    head, names, weigh = HEADS[kind]
    branches = [project(x, p[f"W_{name}"], cfg.n_heads) for name in names]
    if cfg.rotary:
        branches = [rotary(a, positions or range(len(x[0]))) for a in branches]
    weights = [weigh(x, p, cfg, layer)] if weigh else []
    return head(*branches, project(x, p["W_v"], cfg.n_heads), *weights, mask)


def attention(x, p, cfg, mask=None, layer=0, positions=None):
    """y = concat(head_1 .. head_H) W_o.   [eq:attention]"""
    h = heads(x, p, cfg, mask, layer, positions)
    if cfg.head_norm and cfg.kind in ("dgsa", "diff_v1"):
        h = head_norm(h, p["w_norm"], lambda_init_of(cfg, layer), cfg.eps)
    return linear(concat(h), p["W_o"])


# ---------------------------------------------------------------------------------------- the model


def patches(images, P):
    """The numbers of patch n, row by row: its pixels stand in rows P (n // N) + i and columns P (n
    % N) + j.

    N patches lie side by side. A pixel is a number, or a list of channels.
    """
    B, N = len(images), len(images[0]) // P

    def patch(b, n):
        row, column = P * (n // N), P * (n % N)
        return flat([images[b][row + i][column + j] for i in range(P) for j in range(P)])

    return build(patch, B, N * N)


def patch_embed(images, p, cfg):
    """x_bnc = sum_i patches_bni W_ic + b_c + positions_nc.   [eq:patch-embed]"""
    x = linear(patches(images, cfg.patch_size), p["W"], p["b"])
    return build(lambda b, n, c: x[b][n][c] + p["positions"][n][c], *shape(x))


def places(tokens, keep=None):
    """i_bt = how many kept tokens lie before token t; all count where nothing is dropped."""
    return build(lambda b, t: t if keep is None else sum(keep[b][:t]), *shape(tokens))


def token_embed(tokens, p, cfg, start=0, keep=None):
    """x_btc = table_vc + positions_start+i,c,  v = tokens_bt, 0 where t is dropped,  i = i_bt.
    [eq:token-embed]
    """
    known = build(lambda b, t: tokens[b][t] if keep is None or keep[b][t] else 0, *shape(tokens))
    x, i = embedding(known, p["tokens"]), places(tokens, keep)
    return build(lambda b, t, c: x[b][t][c] + p["positions"][start + i[b][t]][c], *shape(x))


def mean_pool(x, keep=None):
    """y_bc = mean of x_btc over the kept t; 0 where none is kept.   [eq:mean-pool]"""
    B, T, C = shape(x)

    def y(b, c):
        kept = [x[b][t][c] for t in range(T) if keep is None or keep[b][t]]
        return fsum(kept) / len(kept) if kept else 0.0

    return build(y, B, C)


def add(x, y):
    """x_btc + y_btc."""
    return build(lambda b, t, c: x[b][t][c] + y[b][t][c], *shape(x))


def block(x, p, cfg, mask=None, layer=0, positions=None):
    """x <- x + attention(rmsnorm(x)),  x <- x + mlp(rmsnorm(x)).   [eq:block]"""
    mlp = {"swiglu": swiglu, "gelu": gelu_mlp}[cfg.ffn]
    x = add(x, attention(rmsnorm(x, p["norm1"]["w"], cfg.eps), p["attention"], cfg, mask, layer, positions))
    return add(x, mlp(rmsnorm(x, p["norm2"]["w"], cfg.eps), **p["mlp"]))


def model(inputs, params, cfg, keep=None):
    """logits = mean_t(rmsnorm(block_L(.. block_1(embed(inputs)) ..))) W + b.   [eq:model]

    A token sees the kept ones; in a language model only those up to itself, and there is no mean.
    """
    if cfg.task == "vision":
        x, positions = patch_embed(inputs, params["embed"], cfg), None
    else:
        x, positions = token_embed(inputs, params["embed"], cfg, 0, keep), places(inputs, keep)
    B, T, C = shape(x)

    def sees(b, h, t, s):
        return (keep is None or keep[b][s]) and (cfg.task != "lm" or s <= t)

    for layer, p in enumerate(params["blocks"]):
        x = block(x, p, cfg, build(sees, B, 1, T, T), layer, positions)
    y = rmsnorm(x, params["norm"]["w"], cfg.eps)
    if cfg.task != "lm":
        y = mean_pool(y, keep)
    return linear(y, params["head"]["W"], params["head"]["b"])
