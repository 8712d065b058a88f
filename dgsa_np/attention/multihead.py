"""A layer of multi-head attention, with the heads of any mechanism.

Its steps: project the tokens, split what comes out into heads, attend, normalise each head (in dgsa
and diff_v1), merge the heads, project once more.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np

from .. import check, shapes
from ..backend import array_module
from ..check import parameters, setting
from ..ops.axes import merge_heads, split_heads
from ..ops.linear import LinearCache, linear_backward, linear_forward
from ..ops.rmsnorm import RmsnormCache, rmsnorm_backward, rmsnorm_forward
from ..ops.rotary import RotaryCache, rotary_backward, rotary_forward
from ..params import Spec, draw
from ..shapes import Array, takes, undoes
from .mechanisms import KINDS, MECHANISMS, ON_INHIBITION, Mechanism, Pair
from .tiled import tiles_are_faster

TILED_KINDS = tuple(kind for kind in KINDS if MECHANISMS[kind].tiled)


@dataclass(frozen=True)
class AttentionConfig:
    """The settings of one attention layer. A kind ignores the settings that it does not have."""

    kind: str = setting("dgsa", "", KINDS)
    width: int = setting(64, "C")
    n_heads: int = setting(4, "H")
    head_norm: bool = setting(True, "dgsa, diff_v1: RMSNorm of each head, times 1 - lambda_init", (False, True))
    lambda_init: float | None = setting(None, "None: the kind's own, 0.8 for dgsa, growing with depth for diff_v1")
    gate: str = setting("token", "dgsa: a gate per token and head, or a number per head", ("token", "head"))
    gate_on: str = setting("both", "dgsa: g A_exc - (1 - g) A_inh, or A_exc - g A_inh", ("both", "inhibition"))
    gate_bias: float = setting(1.0, "dgsa: the gate starts at sigmoid(gate_bias)")
    eps: float = setting(1e-5, "of the head norm, and of every other RMSNorm of a model", least=0)
    rotary: bool = setting(False, "turn queries and keys by their positions", (False, True))
    impl: str = setting("auto", "auto: on tiles where the maps are large", ("auto", "plain", "tiled"))

    def __post_init__(self):
        check.settings(self)
        if self.impl == "tiled":
            check.one_of(type(self).__name__, "with impl='tiled', kind", self.kind, TILED_KINDS)
        unit = self.mechanism.split * (2 if self.rotary else 1)
        if self.width % (unit * self.n_heads):
            parity = "an even" if self.rotary else "a"
            raise ValueError(
                f"{type(self).__name__}: width is {self.width}, expected a multiple of {unit} n_heads = "
                f"{unit * self.n_heads}, since d = width / ({self.mechanism.split} n_heads) is {parity} whole number "
                f"for kind {self.kind!r} with rotary={self.rotary}"
            )

    @property
    def mechanism(self) -> Mechanism:
        usual = MECHANISMS[self.kind]
        return ON_INHIBITION.get(self.kind, usual) if self.gate_on == "inhibition" else usual

    @property
    def has_head_norm(self) -> bool:
        return self.head_norm and self.mechanism.lambda_init is not None

    @cached_property
    def sizes(self) -> dict[str, int]:
        """The letters of the shapes, and their values."""
        C, H = self.width, self.n_heads
        d = C // (self.mechanism.split * H)
        return {"C": C, "H": H, "d": d, "H*d": H * d, "2d": 2 * d}

    @cached_property
    def known_sizes(self) -> tuple:
        """The same for shapes.arrays, as (letter, value, where it comes from)."""
        origin = f"cfg ({self.kind}, width {self.width}, n_heads {self.n_heads})"
        return tuple((letter, value, origin) for letter, value in self.sizes.items())

    def head_pair(self, xp, T, S) -> Pair:
        """Forward and backward of the head, on tiles or not.

        With impl="auto" the size of the maps decides.
        """
        plain, tiled = self.mechanism.head, self.mechanism.tiled
        on_tiles = self.impl == "tiled" or (self.impl == "auto" and tiles_are_faster(xp, T, S))
        return tiled if tiled and on_tiles else plain

    def lambda_init_at(self, layer) -> float | None:
        """lambda_init at a depth, counted from 0; None for kinds that have none."""
        shapes.whole("AttentionConfig", least=0, layer=layer)
        usual = self.mechanism.lambda_init
        return usual(layer) if usual and self.lambda_init is None else self.lambda_init


@lru_cache
def at_depth(cfg, layer) -> AttentionConfig:
    """The same configuration, with lambda_init as it is at this depth."""
    return replace(cfg, lambda_init=cfg.lambda_init_at(layer))


@lru_cache
def attention_specs(cfg) -> dict[str, Spec]:
    """A Spec for each parameter, by name: its axes and how it is drawn, in the order of drawing."""
    std = 1 / math.sqrt(cfg.width)
    specs = {f"W_{name}": Spec(axes, std) for name, axes in cfg.mechanism.projections.items()}
    specs |= {"W_o": Spec("C C", std)} | (cfg.mechanism.control.specs(cfg) if cfg.mechanism.control else {})
    return specs | ({"w_norm": Spec("2d", value=1.0)} if cfg.has_head_norm else {})


@takes(cfg=AttentionConfig)
def init_attention(cfg: AttentionConfig, rng: np.random.Generator, dtype: str | type = "float32") -> dict[str, Array]:
    """Random parameters for the start of one layer, by name.

    W ~ N(0, 1/fan_in), lambda vectors N(0, 0.1^2), W_gate and W_lambda 0, b_gate = cfg.gate_bias,
    gains 1.
    """
    return draw(attention_specs(cfg), cfg.sizes, rng, dtype)


# ---------------------------------------------------------------- from tokens to the heads and back


class ProjectCache(NamedTuple):
    linear: LinearCache
    rotary: RotaryCache | None
    n_past: int


@takes(x="B T C", W="C H*d")
def project_forward(x, W, n_heads, positions=None, past=None) -> tuple[Array, ProjectCache]:
    """Queries, keys or values of all heads.                                   [eq:project, reading]

        h = split(x W)

    With positions, each token of h is turned by its position (ops/rotary.py). With a past, h is put
    after it.

    positions : (T,) or (B, T)
    past      : (B, H, S - T, d)
    returns h : (B, H, S, d), and a ProjectCache
    """
    rotary, n_past = None, 0
    y, linear = linear_forward(x, W)
    h = split_heads(y, n_heads)
    if positions is not None:
        h, rotary = rotary_forward(h, positions)
    if past is not None:
        h, n_past = array_module(x).concatenate([past, h], axis=2), past.shape[2]
    return h, ProjectCache(linear, rotary, n_past)


@undoes(ProjectCache)
def project_backward(dh, cache) -> tuple[Array, ...]:
    """The gradients dx (B, T, C) and dW (C, H d); the past gets none."""
    linear, rotary, n_past = cache
    # h, n_past = array_module(x).concatenate([past, h], axis=2), past.shape[2]
    dh = dh[:, :, n_past:]
    if rotary is not None:
        # h, rotary = rotary_forward(h, positions)
        dh = rotary_backward(dh, rotary)
    # h = split_heads(y, n_heads)
    dy = merge_heads(dh)
    # y, linear = linear_forward(x, W)
    return linear_backward(dy, linear)


class HeadNormCache(NamedTuple):
    rmsnorm: RmsnormCache
    lambda_init: float


@takes(o="B H T e", w_norm="e", lambda_init="number")
def head_norm_forward(o, w_norm, lambda_init, eps=1e-5) -> tuple[Array, HeadNormCache]:
    """RMSNorm of each head's output, times a fixed factor.                  [eq:head-norm, reading]

        h = (1 - lambda_init) rmsnorm(o; w_norm, eps)

    returns h : (B, H, T, e), and a HeadNormCache

    All heads share the gain w_norm.
    """
    n, rmsnorm = rmsnorm_forward(o, w_norm, eps)
    h = (1 - lambda_init) * n
    return h, HeadNormCache(rmsnorm, lambda_init)


@undoes(HeadNormCache, "rmsnorm")
def head_norm_backward(dh, cache) -> tuple[Array, Array]:
    """The gradients do (B, H, T, e) and dw_norm (e,)."""
    rmsnorm, lambda_init = cache
    # h = (1 - lambda_init) * n
    dn = (1 - lambda_init) * dh
    # n, rmsnorm = rmsnorm_forward(o, w_norm, eps)
    return rmsnorm_backward(dn, rmsnorm)


# ----------------------------------------------------------------------------- the whole of a layer


class AttentionCache(NamedTuple):
    # Queries, keys and values by name, as the head saw them: (B, H, T or S, d or e).
    heads: dict[str, Array]
    projections: dict[str, ProjectCache]
    control: tuple | None  # the cache of the gate or lambda, None where the kind has neither
    head: Any  # the mechanism's own cache: A_exc, A_inh, gate ...
    pair: Pair  # the forward that made the head's cache, and its backward
    norm: HeadNormCache | None
    output: LinearCache
    cfg: AttentionConfig


@takes(cfg=AttentionConfig, x="B T C", p=parameters(attention_specs), layer="whole >= 0")
def attention_forward(
    x, p, cfg: AttentionConfig, mask=None, layer=0, past=None, positions=None
) -> tuple[Array, AttentionCache]:
    """Multi-head attention of a sequence to itself, by cfg.kind.            [eq:attention, reading]

        y = concat(head_1 .. head_H) W_o

    p     : as init_attention makes it
    mask  : bool, True = may attend, broadcastable to (B, H, T, S)
    layer : depth of the layer, counted from 0; only the schedule of lambda_init in diff_v1 uses it
    past  : for decoding, the AttentionCache of the tokens before x, whose keys and values are seen
            too; then S is the length of the past plus T
    positions : (T,) or (B, T), whole numbers by which rotary turns; None: they count up, from the
                length of the past
    returns y : (B, T, C), and an AttentionCache
    """
    settled = at_depth(cfg, layer)  # lambda_init, where there is one, is a number now
    start = _check_past(past, cfg, x)
    heads, projections = {}, {}
    places = range(start, start + x.shape[1]) if positions is None else positions
    for name in cfg.mechanism.projections:
        turned = places if cfg.rotary and name[0] in "qk" else None
        before = past.heads[name] if past is not None and name[0] in "kv" else None
        heads[name], projections[name] = project_forward(x, p[f"W_{name}"], cfg.n_heads, turned, before)
    # lam, z_gate or gate, if the mechanism has one: mechanisms.py names the function that makes it
    *extra, control = cfg.mechanism.control.forward(x, p, settled) if cfg.mechanism.control else (None,)
    pair = cfg.head_pair(array_module(x), x.shape[1], start + x.shape[1])
    o, head = pair.forward(*heads.values(), *extra, mask=mask)
    h, norm = head_norm_forward(o, p["w_norm"], settled.lambda_init, cfg.eps) if cfg.has_head_norm else (o, None)
    y, output = linear_forward(merge_heads(h), p["W_o"])
    return y, AttentionCache(heads, projections, control, head, pair, norm, output, cfg)


@undoes(AttentionCache, "output")
def attention_backward(dy, cache) -> tuple[Array, dict[str, Array]]:
    """dx (B, T, C), and grads shaped like p."""
    heads, projections, control, head, pair, norm, output, cfg = cache
    if heads["v"].shape[2] != dy.shape[1]:
        raise ValueError("attention_backward: forward was given a past, which serves to decode; train without one")
    grads, dx = {}, 0
    # y, output = linear_forward(merge_heads(h), p["W_o"])
    dmerged, grads["W_o"] = linear_backward(dy, output)
    dh = split_heads(dmerged, cfg.n_heads)
    do = dh
    if norm is not None:
        # h, norm = head_norm_forward(o, p["w_norm"], settled.lambda_init, cfg.eps) if cfg.has_head_norm else (o, None)
        do, grads["w_norm"] = head_norm_backward(dh, norm)
    # o, head = pair.forward(*heads.values(), *extra, mask=mask)
    dheads = list(pair.backward(do, head))
    if control is not None:
        # *extra, control = cfg.mechanism.control.forward(x, p, settled) if cfg.mechanism.control else (None,)
        dx, dcontrol = cfg.mechanism.control.backward(dheads.pop(), control)  # the head's last gradient
        grads |= dcontrol
    for name in reversed(heads):
        # heads[name], projections[name] = project_forward(x, p[f"W_{name}"], cfg.n_heads, turned, before)
        dx_name, grads[f"W_{name}"] = project_backward(dheads.pop(), projections[name])
        dx = dx + dx_name
    return dx, {name: grads[name] for name in attention_specs(cfg)}


def past_length(past) -> int:
    """The number of tokens that an AttentionCache has seen, 0 for None."""
    return 0 if past is None else past.heads["v"].shape[2]


def _check_past(past, cfg, x):
    """The length of the past; an error if it cannot be the past of x."""
    known = past is None or (isinstance(past, AttentionCache) and past.cfg == cfg and len(past.heads["v"]) == len(x))
    if not known or (past is not None and not cfg.mechanism.decodes):
        wanted = "None: its maps are square" if known else "the AttentionCache of the tokens before x, by the same cfg"
        raise ValueError(f"attention_forward: past with x {x.shape} and kind {cfg.kind!r}, expected {wanted}")
    return past_length(past)


def attention_map(cache) -> Array:
    """The map (B, H, T, S) that a head applied to its values, all its branches fused into one.

    cache : of a head, or an AttentionCache
    """
    head = getattr(cache, "head", cache)
    if not hasattr(head, "A"):
        raise TypeError(f"attention_map: cache is {type(cache).__name__}, expected that of a head or an AttentionCache")
    return head.A


def attention_gate(cache) -> Array:
    """The gate (B, H, T), one number for each token and head.

    cache : of a head, or an AttentionCache

    In dgsa it weighs excitation against inhibition. With gate_on="inhibition", and in diff_v2, it
    weighs inhibition alone, and the head's cache calls it lam.
    """
    head = getattr(cache, "head", cache)
    gate = getattr(head, "gate", None)
    gate = getattr(head, "lam", None) if gate is None else gate
    if gate is None or gate.ndim < 3:  # one lambda for all is no gate
        raise TypeError(f"attention_gate: cache is {type(cache).__name__}, expected that of a head with a gate")
    return gate
