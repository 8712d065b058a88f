"""The mistakes that ports make, each as our own layer with that mistake in it.

If a module computes what the layer with a mistake computes, the mistake has a name. And a test
vector catches those mistakes that change its numbers.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations
from typing import NamedTuple

import numpy as np

from ..attention.differential import depth_schedule
from ..attention.multihead import at_depth, head_norm_forward
from ..ops.axes import merge_heads, split_heads, swap
from ..ops.rotary import rotary_forward


class Layer(NamedTuple):
    """What a mistake may spoil, at the start of a layer."""

    x: np.ndarray
    p: dict
    cfg: object  # an AttentionConfig with a lambda_init that is settled
    mask: np.ndarray | None
    layer: int


class Slip(NamedTuple):
    """A mistake, and where in the layer it is made; each function takes and returns what is there.

    name   : unique: the flag of the test vectors that catch it
    before : (Layer) -> Layer
    heads  : (heads {q.., k.., v: (B, H, T, d)}, the Layer as it was asked for) -> heads
    map    : (cache of the head) -> A, the map that is applied to the values
    norm   : (o (B, H, T, e), Layer) -> what is merged
    merge  : (h (B, H, T, e)) -> (B, T, H e)
    """

    name: str
    message: str
    before: Callable = lambda at: at
    heads: Callable = lambda heads, at: heads
    map: Callable | None = None
    norm: Callable | None = None
    merge: Callable | None = None


def slipped(x, p, cfg, mask, layer, *slips) -> np.ndarray:
    """y (B, T, C) of our layer with some mistakes in it; without, as attention_forward's."""
    asked = at = Layer(x, p, at_depth(cfg, layer), mask, layer)
    for slip in slips:
        at = slip.before(at)
    x, p, cfg, mask, _ = at
    heads = {name: split_heads(x @ p[f"W_{name}"], cfg.n_heads) for name in cfg.mechanism.projections}
    turned = [name for name in heads if cfg.rotary and name[0] in "qk"]
    heads |= {name: rotary_forward(heads[name], range(x.shape[1]))[0] for name in turned}
    for slip in slips:
        heads = slip.heads(heads, asked)
    extra = cfg.mechanism.control.forward(x, p, cfg)[:-1] if cfg.mechanism.control else ()
    o, cache = cfg.mechanism.head.forward(*heads.values(), *extra, mask=mask)
    for slip in slips:
        o = slip.map(cache) @ heads["v"] if slip.map else o
    h = head_norm_forward(o, p["w_norm"], cfg.lambda_init, cfg.eps)[0] if cfg.has_head_norm else o
    for slip in slips:
        h = slip.norm(o, at) if slip.norm else h
    for slip in slips:
        if slip.merge:
            return slip.merge(h) @ p["W_o"]
    return merge_heads(h) @ p["W_o"]


# --------------------------------------------------------------------------- how a slip is written


def weights(change):
    """A slip of the parameters: change(p, cfg) -> the parameters that are other ones."""
    return {"before": lambda at: at._replace(p=at.p | change(at.p, at.cfg))}


def masks(change):
    """A slip of the mask, where there is one."""
    return {"before": lambda at: at if at.mask is None else at._replace(mask=change(at.mask, at.x))}


def settings(**changes):
    """A slip of the settings; each may be a function of the Layer."""

    def before(at):
        values = {name: value(at) if callable(value) else value for name, value in changes.items()}
        return at._replace(cfg=replace(at.cfg, **values))

    return {"before": before}


def transposed(name):
    return weights(lambda p, cfg: {name: p[name].T} if name in p and len(set(p[name].shape)) == 1 else {})


def times(letters, factor):
    """Some weights times a factor of the sizes."""
    return weights(lambda p, cfg: {n: p[n] * factor(cfg.sizes) for n in p if n.startswith(letters)})


def columns(order, letters=("W_q", "W_k")):
    """The columns of each head in another order: order(d) -> numbers."""

    def change(p, cfg):
        names = [n for n in p if n.startswith(letters)]
        each = {n: p[n].reshape(cfg.width, cfg.n_heads, -1) for n in names}
        return {n: a[..., order(a.shape[-1])].reshape(p[n].shape) for n, a in each.items()}

    return weights(change)


def half_split(d):
    """The column that rotary turns in each place, if it pairs column i with i + d/2."""
    return np.arange(d).reshape(2, -1).T.ravel() if d % 2 == 0 else np.arange(d)


def exchanged(*pairs):
    """Parameters that stand in each other's place."""
    names = dict(pairs) | {b: a for a, b in pairs}
    return weights(lambda p, cfg: {a: p[b] for a, b in names.items() if a in p and b in p})


def branches(read, written):
    """Queries, and keys, of both branches as one array (.., 2H, d), read otherwise than written.

    read, written : is the branch the last axis, (H, 2), or the first, (2, H)?
    """

    def change(p, cfg):
        found = {}
        for letter in "qk":
            both = [f"W_{letter}_exc", f"W_{letter}_inh"]
            if all(name in p for name in both):
                heads = np.stack([p[n].reshape(cfg.width, cfg.n_heads, -1) for n in both], axis=2 if written else 1)
                flat = heads.reshape(cfg.width, 2 * cfg.n_heads, -1)
                parts = [flat[:, 0::2], flat[:, 1::2]] if read else np.split(flat, 2, axis=1)
                found |= {name: part.reshape(p[name].shape) for name, part in zip(both, parts, strict=True)}
        return found

    return weights(change)


def interleaved(p, cfg):
    """x W read as (d, H) where (H, d) belongs."""
    names = [n for n in p if n.startswith(("W_q", "W_k", "W_v"))]
    return {n: p[n].reshape(cfg.width, -1, cfg.n_heads).swapaxes(1, 2).reshape(p[n].shape) for n in names}


def mask_is_added(heads, at):
    """Scores plus 1 where a key may be seen: what is left of a boolean mask that is added.

    The sum goes into columns of their own: [q, mask] [k, 1]^T; each query column is scaled such
    that the head's 1/sqrt(width) leaves what belongs there.
    """
    if at.mask is None:
        return heads
    B, H, T, _ = heads["v"].shape
    seen = np.broadcast_to(at.mask, (B, H, T, T)).astype(at.x.dtype)
    found = dict(heads)
    for name, a in heads.items():
        n = a.shape[-1] + T
        if name[0] == "q":
            found[name] = np.concatenate([a * math.sqrt(n / a.shape[-1]), seen * math.sqrt(n)], axis=-1)
        elif name[0] == "k":
            found[name] = np.concatenate([a, np.broadcast_to(np.eye(T), (B, H, T, T))], axis=-1)
    return found


def dual(fuse):
    """Another map from both: fuse(A_exc, A_inh, weight (B, H, T, 1), weight of A_inh)."""

    def fused(cache):
        if not hasattr(cache, "A_inh"):
            return cache.A
        if hasattr(cache, "gate"):
            return fuse(cache.A_exc, cache.A_inh, cache.gate[..., None], cache.one_minus_gate[..., None])
        return fuse(cache.A_exc, cache.A_inh, 1, cache.lam[..., None])

    return fused


def rms(o, eps, axis=-1):
    return o / np.sqrt((o * o).mean(axis=axis, keepdims=True) + eps)


def normed(change):
    """Another norm, where the kind has one: change(o, w_norm, factor 1 - lambda_init, cfg)."""

    def norm(o, at):
        if not at.cfg.has_head_norm:
            return o
        return change(o, at.p["w_norm"], 1 - at.cfg.lambda_init, at.cfg)

    return norm


def centred(o):
    return o - o.mean(axis=-1, keepdims=True)


# ------------------------------------------------------------------------------------ the mistakes

SLIPS = (
    *(
        Slip(
            f"transposed-{name}", f"{name} is transposed: a weight of torch.nn.Linear is (out, in)", **transposed(name)
        )
        for name in ("W_q", "W_k", "W_v", "W_o", "W_q_exc", "W_q_inh")
    ),
    Slip(
        "transposed-all",
        "all square weights are transposed: a weight of torch.nn.Linear is (out, in)",
        **weights(lambda p, cfg: {n: a.T for n, a in p.items() if a.ndim == 2 and len(set(a.shape)) == 1}),
    ),
    Slip(
        "branches-halves-from-pairs",
        "branches are written as pairs (2i, 2i+1) along the heads, and read as halves (i, i + H)",
        **branches(read=0, written=1),
    ),
    Slip(
        "branches-pairs-from-halves",
        "branches are written as halves (i, i + H) along the heads, and read as pairs (2i, 2i+1)",
        **branches(read=1, written=0),
    ),
    Slip(
        "rotary-half-split",
        "rotary turns column i with i + d/2, not with its neighbour: half-split, not interleaved",
        **columns(half_split),
    ),
    Slip(
        "rotary-interleaved",
        "rotary turns neighbouring columns where those of the weights are half-split",
        **columns(lambda d: np.argsort(half_split(d))),
    ),
    Slip("rotary-missing", "queries and keys are not turned by their positions", **settings(rotary=False)),
    Slip(
        "rotary-unasked",
        "queries and keys are turned by their positions, which they should not be",
        **settings(rotary=lambda at: at.cfg.sizes["d"] % 2 == 0),
    ),
    Slip(
        "branches-swapped",
        "the excitatory and the inhibitory branch have changed places",
        **exchanged(("W_q_exc", "W_q_inh"), ("W_k_exc", "W_k_inh")),
    ),
    Slip(
        "branches-keys-swapped", "the keys of the two branches have changed places", **exchanged(("W_k_exc", "W_k_inh"))
    ),
    Slip(
        "branches-lambda-swapped",
        "the vectors of lambda of the two branches have changed places",
        **exchanged(("lambda_q_exc", "lambda_q_inh"), ("lambda_k_exc", "lambda_k_inh")),
    ),
    Slip(
        "queries-for-keys",
        "queries and keys have changed places",
        **exchanged(("W_q", "W_k"), ("W_q_exc", "W_k_exc"), ("W_q_inh", "W_k_inh")),
    ),
    Slip(
        "heads-interleaved", "head h takes every H-th column, where it owns the h-th run of d", **weights(interleaved)
    ),
    Slip(
        "merge-heads-not-moved",
        "heads (B, H, T, e) are reshaped to (B, T, C) without the heads moved behind the tokens",
        merge=lambda h: h.reshape(len(h), h.shape[2], -1),
    ),
    Slip(
        "merge-heads-last",
        "columns of the heads are merged as (e, H), where (H, e) belongs",
        merge=lambda h: h.transpose(0, 2, 3, 1).reshape(len(h), h.shape[2], -1),
    ),
    Slip("scale-missing", "scores are not divided by sqrt(d)", **times("W_q", lambda n: math.sqrt(n["d"]))),
    Slip("scale-d", "scores are divided by d, not by sqrt(d)", **times("W_q", lambda n: 1 / math.sqrt(n["d"]))),
    Slip(
        "scale-sqrt-2d",
        "scores are divided by sqrt(2d): d is the width of a query, not of a value",
        **times("W_q", lambda n: 1 / math.sqrt(2)),
    ),
    Slip("scale-sqrt-half-d", "scores are divided by sqrt(d/2)", **times("W_q", lambda n: math.sqrt(2))),
    Slip(
        "scale-sqrt-C",
        "scores are divided by sqrt(C), not by sqrt(d)",
        **times("W_q", lambda n: math.sqrt(n["d"] / n["C"])),
    ),
    Slip("mask-inverted", "the mask is read as True = hidden, where True = may attend", **masks(lambda mask, x: ~mask)),
    Slip(
        "mask-added",
        "a boolean mask is added to the scores: +1 where a key may be seen, nothing is hidden",
        heads=mask_is_added,
        **masks(lambda mask, x: mask | True),
    ),
    Slip("mask-ignored", "the mask plays no part", **masks(lambda mask, x: mask | True)),
    Slip(
        "mask-turned",
        "the mask is turned: its queries are taken for keys",
        **masks(lambda mask, x: swap(np.broadcast_to(mask, (*mask.shape[:2], x.shape[1], x.shape[1])))),
    ),
    Slip(
        "mask-late",
        "each query sees the next key too: the causal mask is one late",
        **masks(lambda mask, x: mask | np.eye(x.shape[1], k=1, dtype=bool)),
    ),
    Slip(
        "mask-always-causal",
        "a causal mask is applied where none is asked for",
        before=lambda at: at._replace(
            mask=np.tri(at.x.shape[1], dtype=bool)[None, None] & (True if at.mask is None else at.mask)
        ),
    ),
    Slip("norm-missing", "the norm of the heads is missing", norm=normed(lambda o, w, factor, cfg: factor * w * o)),
    Slip(
        "norm-gain-factor-missing",
        "the norm of the heads is missing, and its gain and factor too",
        norm=normed(lambda o, *_: o),
    ),
    Slip(
        "factor-missing",
        "the factor 1 - lambda_init behind the norm is missing",
        norm=normed(lambda o, w, factor, cfg: w * rms(o, cfg.eps)),
    ),
    Slip(
        "factor-lambda-init",
        "the factor behind the norm is lambda_init, not 1 - lambda_init",
        norm=normed(lambda o, w, factor, cfg: (1 - factor) * w * rms(o, cfg.eps)),
    ),
    Slip(
        "gain-missing",
        "the gain of the norm is missing",
        norm=normed(lambda o, w, factor, cfg: factor * rms(o, cfg.eps)),
    ),
    Slip(
        "gain-plus-1",
        "the gain of the norm is 1 + w",
        norm=normed(lambda o, w, factor, cfg: factor * (1 + w) * rms(o, cfg.eps)),
    ),
    Slip(
        "norm-across-heads",
        "the norm takes the heads of a token together, not each for itself",
        norm=normed(lambda o, w, factor, cfg: factor * w * rms(o, cfg.eps, axis=(1, 3))),
    ),
    Slip(
        "norm-layernorm",
        "the norm is a LayerNorm, which subtracts the mean, not an RMSNorm",
        norm=normed(lambda o, w, factor, cfg: factor * w * rms(centred(o), cfg.eps)),
    ),
    *(Slip(f"eps-{eps:g}", f"the eps of the norm is {eps:g}", **settings(eps=eps)) for eps in (1e-5, 1e-6, 1e-8, 0)),
    Slip(
        "depth-from-1",
        "lambda_init is that of the next layer: depth counts from 0",
        **settings(lambda_init=lambda at: depth_schedule(at.layer + 1)),
    ),
    Slip("depth-0", "lambda_init is that of layer 0", **settings(lambda_init=lambda at: depth_schedule(0))),
    Slip(
        "depth-grows", "lambda_init grows with the depth", **settings(lambda_init=lambda at: depth_schedule(at.layer))
    ),
    Slip("depth-constant", "lambda_init is 0.8 in every layer", **settings(lambda_init=0.8)),
    Slip("sign-plus", "the inhibitory map is added, not subtracted", map=dual(lambda E, I, e, i: e * E + i * I)),
    Slip("inhibition-unweighted", "the inhibitory map is not weighted", map=dual(lambda E, I, e, i: e * E - I)),
    Slip("excitation-unweighted", "the excitatory map is not weighted", map=dual(lambda E, I, e, i: E - i * I)),
    Slip("gate-exchanged", "gate and 1 - gate have changed places", map=dual(lambda E, I, e, i: i * E - e * I)),
    Slip(
        "gate-on-keys",
        "the gate weighs keys, not queries",
        map=dual(lambda E, I, e, i: e * E - i * I if np.ndim(e) == 0 else swap(e) * E - swap(i) * I),
    ),
    Slip(
        "gate-bias-missing",
        "the bias of the gate is missing",
        **weights(lambda p, cfg: {name: 0 * p[name] for name in p if name == "b_gate"}),
    ),
    Slip(
        "map-sums-to-1",
        "rows of the fused map are made to sum to 1",
        map=dual(lambda E, I, e, i: (e * E - i * I) / (e * E - i * I).sum(axis=-1, keepdims=True)),
    ),
    Slip("map-cut-at-0", "the fused map is cut off at 0", map=dual(lambda E, I, e, i: np.maximum(e * E - i * I, 0))),
    Slip("inhibition-missing", "the inhibitory map plays no part", map=dual(lambda E, I, e, i: e * E)),
)


def explain(same, cases, n) -> Iterator[tuple[Slip, ...]]:
    """Any n mistakes with which together our layer computes what another one did.

    same  : (y of the other, y with mistakes) -> are they the same?
    cases : (y of the other, (x, p, cfg, mask, layer)) of each
    """
    return (slips for slips in combinations(SLIPS, n) if all(_agrees(same, *case, slips) for case in cases))


def _agrees(same, theirs, args, slips):
    with np.errstate(all="ignore"):
        try:
            ours = slipped(*args, *slips)
        except (ValueError, KeyError):  # a mistake that such a layer cannot make
            return False
    told = _sees_a_key(args, slips)
    return bool(told.any()) and same(theirs[told], ours[told])


def _sees_a_key(args, slips):
    """(B, T): the queries that still have a key; what others give is anybody's choice."""
    at = Layer(args[0], args[1], at_depth(args[2], args[4]), *args[3:])
    for slip in slips:
        at = slip.before(at)
    B, T, _ = at.x.shape
    return np.ones((B, T), bool) if at.mask is None else np.broadcast_to(at.mask.any(axis=(1, 3)), (B, T))
