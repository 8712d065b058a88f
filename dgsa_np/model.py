"""A tiny transformer: embed, pre-norm residual blocks, norm; then classify the mean token, or predict the next one.

The parameters nest as the calls do: params["blocks"][0]["attention"] goes to attention_forward, and what it
remembers is cache.blocks[0].attention. The backward pass is the forward pass read upwards.
"""

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np

from . import check, ops
from .attention import AttentionConfig, attention_backward, attention_forward, causal_mask, multihead, padding_mask
from .attention.masks import select
from .backend import array_module, to_numpy
from .check import setting
from .losses import cross_entropy_backward, cross_entropy_forward
from .params import Spec, draw


@dataclass(frozen=True)
class ModelConfig(AttentionConfig):
    """A model is its attention's configuration and this. The defaults fit the 8 x 8 digits."""

    task: str = setting("vision", "classify images, classify tokens, predict the next token", ("vision", "text", "lm"))
    n_out: int | None = setting(None, 'columns of the logits; None: vocab_size for "lm", 10 otherwise')
    depth: int = 4
    ffn: str = setting("swiglu", "", ("swiglu", "gelu"))
    ffn_width: int | None = setting(None, "F; None: 8/3 C rounded down to a multiple of 8 (swiglu), 4 C (gelu)")
    image_size: int = setting(8, "images are square")
    patch_size: int = setting(4, "P")
    channels: int = 1
    vocab_size: int = setting(256, "V, of tokens")
    max_len: int = setting(128, "the most tokens of one input")

    def __post_init__(self):
        super().__post_init__()
        if self.n_out is None:
            object.__setattr__(self, "n_out", self.vocab_size if self.task == "lm" else 10)
        counts = ("vocab_size", "max_len", "n_out", "depth", "image_size", "patch_size", "channels")
        check.whole("ModelConfig", **{name: getattr(self, name) for name in counts}, ffn_width=self.F)
        if self.task == "vision" and self.image_size % self.patch_size:
            whole = f"a multiple of patch_size = {self.patch_size}: patches tile the image"
            raise ValueError(f"ModelConfig: image_size is {self.image_size}, expected {whole}")

    @property
    def F(self):
        """The hidden width of the feed-forward layer."""
        usual = 4 * self.width if self.ffn == "gelu" else max(8, 8 * self.width // 3 // 8 * 8)
        return usual if self.ffn_width is None else self.ffn_width

    @property
    def n_tokens(self):
        """Positions: patches of an image, or the most tokens of an input."""
        return (self.image_size // self.patch_size) ** 2 if self.task == "vision" else self.max_len

    @cached_property
    def sizes(self):
        names = ("image_size", "channels", "max_len", "F", "n_out")
        sizes = {"P*P*channels": self.patch_size**2 * self.channels, "N": self.n_tokens, "V": self.vocab_size}
        return super().sizes | sizes | {name: getattr(self, name) for name in names}


@lru_cache
def model_specs(cfg):
    """Names, axes and laws of all parameters, in the order in which they are drawn."""
    gain = {"w": Spec("C", value=1.0)}
    block = {"norm1": gain, "attention": multihead.attention_specs(cfg), "norm2": gain, "mlp": mlp_specs(cfg)}
    if cfg.task == "vision":
        W = Spec("P*P*channels C", 1 / math.sqrt(cfg.sizes["P*P*channels"]))
        embed = {"W": W, "b": Spec("C"), "positions": Spec("N C", 0.02)}
    else:
        embed = {"tokens": Spec("V C", 0.02), "positions": Spec("max_len C", 0.02)}
    head = {"W": Spec("C n_out", 0.02), "b": Spec("n_out")}
    return {"embed": embed, "blocks": [block] * cfg.depth, "norm": gain, "head": head}


def init_model(cfg: ModelConfig, rng, dtype="float32") -> dict:
    """Parameters, drawn on the host.

    W ~ N(0, 1/fan_in); token table, positions and classifier N(0, 0.02^2); gains 1, biases 0.
    """
    check.instance("init_model", ModelConfig, cfg=cfg)
    return draw(model_specs(cfg), cfg.sizes, rng, dtype)


# ------------------------------------------------------------------------------------------ the front end


class PatchEmbedCache(NamedTuple):
    linear: ops.LinearCache
    positions: object


def patches(images, cfg):
    """(B, h, w[, channels]) -> (B, N, P P channels): row by row, and row by row within a patch."""
    B, n, P = images.shape[0], cfg.image_size // cfg.patch_size, cfg.patch_size
    tiles = images.reshape(B, n, P, n, P, cfg.channels)
    return tiles.transpose(0, 1, 3, 2, 4, 5).reshape(B, n * n, P * P * cfg.channels)


def patch_embed_forward(images, p, cfg, keep=None):
    """One token per patch, plus a learned position.                         [eq:patch-embed, choice]

        x = patches W + b + positions

    images : (B, h, w, channels) or (B, h, w), in [0, 1], taken to the precision of W      keep : bool (B, N)
    returns x : (B, N, C), and a PatchEmbedCache

    A dropped patch counts as 0, whatever it holds.
    """
    images = images if images.dtype.kind == "c" else images.astype(p["W"].real.dtype, copy=False)
    tiles = _kept_only(keep, patches(images, cfg))
    x, linear = ops.linear_forward(tiles, p["W"], p["b"])
    x = x + p["positions"]
    return x, PatchEmbedCache(linear, p["positions"])


def patch_embed_backward(dx, cache):
    """The gradients of W, b and positions; images have none."""
    linear, positions = check.cache("patch_embed_backward", cache, PatchEmbedCache, dx)
    # x = x + p["positions"]
    dpositions = ops.sum_to_shape(dx, positions.shape)
    # x, linear = ops.linear_forward(tiles, p["W"], p["b"])
    _, dW, db = ops.linear_backward(dx, linear)
    return {"W": dW, "b": db, "positions": dpositions}


class TokenEmbedCache(NamedTuple):
    embedding: ops.EmbeddingCache
    positions: object
    start: int
    placed: ops.EmbeddingCache | None  # None where the positions count up from start


def token_embed_forward(tokens, p, cfg, start=0, keep=None, places=None):
    """One row of the table per token, plus a learned position.              [eq:token-embed, choice]

        x_t = table[token_t] + positions_i,   i = the number of kept tokens before t

    tokens : (B, T) integers on the host, T <= max_len      keep : bool (B, T), there too
    start  : the i of the first one, from which they count up      places : (B, T), on the host, each i, if not so
    returns x : (B, T, C), and a TokenEmbedCache

    A dropped token counts as token 0, whatever it is.
    """
    placed = None
    tokens = tokens if keep is None else np.where(keep, to_numpy(tokens), 0)
    x, embedding = ops.embedding_forward(tokens, p["tokens"])
    if places is None:
        x = x + p["positions"][start : start + tokens.shape[1]]
    else:
        position, placed = ops.embedding_forward(places, p["positions"])
        x = x + position
    return x, TokenEmbedCache(embedding, p["positions"], start, placed)


def token_embed_backward(dx, cache):
    """The gradients of the table and of the positions; tokens have none."""
    embedding, positions, start, placed = check.cache("token_embed_backward", cache, TokenEmbedCache, dx)
    if placed is not None:
        # position, placed = ops.embedding_forward(places, p["positions"])
        dpositions = ops.embedding_backward(dx, placed)
    else:
        # x = x + p["positions"][start : start + tokens.shape[1]]
        dpositions = array_module(dx).zeros(positions.shape, dx.dtype)
        dpositions[start : start + dx.shape[1]] = ops.sum_to_shape(dx, dx.shape[1:])
    # x, embedding = ops.embedding_forward(tokens, p["tokens"])
    dtable = ops.embedding_backward(dx, embedding)
    return {"tokens": dtable, "positions": dpositions}


def _places(keep, start):
    """(B, T), on the host: how many kept tokens lie before each of those from start on. So padding moves no token.

    None where they count up from start, since no token is dropped before a kept one.
    """
    if keep is None or not (keep[:, 1:] > keep[:, :-1]).any():
        return None
    return (keep.cumsum(axis=1) - keep)[:, start:]


def _kept_only(keep, x):
    """(B, T, C) with 0 in the place of dropped tokens."""
    return x if keep is None else select(array_module(x).asarray(keep)[:, :, None], x)


# --------------------------------------------------------------------------------------- the feed-forward


class GeluMlpCache(NamedTuple):
    up: object
    gelu: object
    down: object


def mlp_specs(cfg):
    C, F = cfg.width, cfg.F
    up, down = Spec("C F", 1 / math.sqrt(C)), Spec("F C", 1 / math.sqrt(F))
    return {"W_gate": up, "W_up": up, "W_down": down} if cfg.ffn == "swiglu" else {"W_up": up, "W_down": down}


def gelu_mlp_forward(x, W_up, W_down):
    """The feed-forward layer of the ViT baseline.                           [eq:gelu-mlp, standard]

        y = gelu(x W_up) W_down

    x : (..., C)      W_up : (C, F)      W_down : (F, C)
    returns y : (..., C), and a GeluMlpCache
    """
    a, up = ops.linear_forward(x, W_up)
    h, gelu = ops.gelu_forward(a)
    y, down = ops.linear_forward(h, W_down)
    return y, GeluMlpCache(up, gelu, down)


def gelu_mlp_backward(dy, cache):
    """dx (..., C), dW_up (C, F), dW_down (F, C)."""
    up, gelu, down = check.cache("gelu_mlp_backward", cache, GeluMlpCache, dy)
    # y, down = ops.linear_forward(h, W_down)
    dh, dW_down = ops.linear_backward(dy, down)
    # h, gelu = ops.gelu_forward(a)
    da = ops.gelu_backward(dh, gelu)
    # a, up = ops.linear_forward(x, W_up)
    dx, dW_up = ops.linear_backward(da, up)
    return dx, dW_up, dW_down


MLPS = {"swiglu": (ops.swiglu_forward, ops.swiglu_backward), "gelu": (gelu_mlp_forward, gelu_mlp_backward)}


# -------------------------------------------------------------------------------------------- the block


class BlockCache(NamedTuple):
    norm1: ops.RmsnormCache
    attention: multihead.AttentionCache
    norm2: ops.RmsnormCache
    mlp: object
    cfg: ModelConfig


def block_forward(x, p, cfg, mask=None, layer=0, past=None, positions=None):
    """A pre-norm residual block.                                            [eq:block, choice]

        x <- x + attention(rmsnorm(x)),   x <- x + mlp(rmsnorm(x))

    x : (B, T, C)      past : to decode, the BlockCache of the tokens before x
    returns x : (B, T, C), and a BlockCache
    """
    mlp_forward, _ = MLPS[cfg.ffn]
    past = None if past is None else past.attention
    n1, norm1 = ops.rmsnorm_forward(x, p["norm1"]["w"], cfg.eps)
    a, attention = attention_forward(n1, p["attention"], cfg, mask, layer, past, positions)
    x = x + a
    n2, norm2 = ops.rmsnorm_forward(x, p["norm2"]["w"], cfg.eps)
    m, mlp = mlp_forward(n2, **p["mlp"])
    x = x + m
    return x, BlockCache(norm1, attention, norm2, mlp, cfg)


def block_backward(dx, cache):
    """dx (B, T, C), and grads shaped like p."""
    norm1, attention, norm2, mlp, cfg = check.cache("block_backward", cache, BlockCache, dx)
    _, mlp_backward = MLPS[cfg.ffn]
    # x = x + m
    dm = dx
    # m, mlp = mlp_forward(n2, **p["mlp"])
    dn2, *dmlp = mlp_backward(dm, mlp)
    # n2, norm2 = ops.rmsnorm_forward(x, p["norm2"]["w"], cfg.eps)
    dx_mlp, dw2 = ops.rmsnorm_backward(dn2, norm2)
    dx = dx + dx_mlp
    # x = x + a
    da = dx
    # a, attention = attention_forward(n1, p["attention"], cfg, mask, layer, past, positions)
    dn1, dattention = attention_backward(da, attention)
    # n1, norm1 = ops.rmsnorm_forward(x, p["norm1"]["w"], cfg.eps)
    dx_attention, dw1 = ops.rmsnorm_backward(dn1, norm1)
    dx = dx + dx_attention
    mlp_grads = dict(zip(mlp_specs(cfg), dmlp, strict=True))
    return dx, {"norm1": {"w": dw1}, "attention": dattention, "norm2": {"w": dw2}, "mlp": mlp_grads}


# --------------------------------------------------------------------------------------------- the model


class MeanPoolCache(NamedTuple):
    weights: object


def mean_pool_forward(x, keep=None):
    """The mean over the kept tokens.                                        [eq:mean-pool, choice]

    x : (B, T, C)      keep : bool (B, T), True = a real token
    returns y : (B, C), and a MeanPoolCache
    """
    xp = array_module(x)
    kept = xp.ones(x.shape[:2], bool) if keep is None else xp.asarray(keep)
    weights = (kept / xp.maximum(kept.sum(axis=1, keepdims=True), 1)).astype(x.real.dtype)
    y = (weights[:, :, None] * _kept_only(keep, x)).sum(axis=1)
    return y, MeanPoolCache(weights)


def mean_pool_backward(dy, cache):
    """dx (B, T, C)."""
    (weights,) = check.cache("mean_pool_backward", cache, MeanPoolCache, dy)
    # y = (weights[:, :, None] * _kept_only(keep, x)).sum(axis=1)
    return weights[:, :, None] * dy[:, None, :]


class ModelCache(NamedTuple):
    embed: PatchEmbedCache | TokenEmbedCache
    blocks: list
    norm: ops.RmsnormCache
    pool: MeanPoolCache | None  # None for a language model, which has logits at every token
    head: ops.LinearCache
    keep: object  # (B, T), on the host, of the past and of these tokens; None keeps all


def model_forward(inputs, params, cfg, keep=None, past=None):
    """The whole model. A DGViT or DGT is kind="dgsa"; a baseline differs in its kind alone.   [eq:model, choice]

        logits = mean_t(rmsnorm(block_L(.. block_1(embed(inputs)) ..))) W + b        without the mean for task "lm"

    inputs : (B, h, w, channels) or (B, h, w), images in [0, 1], on the device of params; or
             (B, T), integer tokens, on the host
    keep   : bool (B, T), True = a real token; None keeps all; with a past, its tokens count in. What is dropped may
             hold anything, and moves no token: a text with padding, on either side, is the text alone
    past   : to decode with task "lm": the ModelCache of the tokens before these, which are seen too
    returns logits, (B, n_out) or for "lm" (B, T, n_out), and a ModelCache, whose attention maps are
            cache.blocks[i].attention.head.A_exc
    raises  : ShapeError, TypeError, ValueError, IndexError naming the argument
    """
    check.instance("model_forward", ModelConfig, cfg=cfg)
    check.params("model_forward", params, model_specs(cfg), cfg.known_sizes, "params")
    start, xp, places = _start(cfg, past), array_module(params["head"]["W"]), None
    T = _check_inputs(inputs, params["embed"], cfg, start)
    check.keep("model_forward", keep, (len(inputs), start + T), f"inputs {inputs.shape}, past and new")
    keep = to_numpy(keep)
    _check_past_keep(keep, past, start)
    kept = None if keep is None else xp.asarray(keep)
    if cfg.task == "vision":
        x, embed = patch_embed_forward(inputs, params["embed"], cfg, kept)
    else:
        places, shown = _places(keep, start), None if keep is None else keep[:, start:]
        x, embed = token_embed_forward(inputs, params["embed"], cfg, start, shown, places)
    mask, blocks = _mask(cfg, kept, T, start, xp), []
    for layer, p in enumerate(params["blocks"]):
        x, block = block_forward(x, p, cfg, mask, layer, None if past is None else past.blocks[layer], places)
        blocks.append(block)
    n, norm = ops.rmsnorm_forward(x, params["norm"]["w"], cfg.eps)
    y, pool = (n, None) if cfg.task == "lm" else mean_pool_forward(n, kept)
    logits, head = ops.linear_forward(y, params["head"]["W"], params["head"]["b"])
    return logits, ModelCache(embed, blocks, norm, pool, head, keep)


def model_backward(dlogits, cache):
    """Gradients shaped like params."""
    embed, blocks, norm, pool, head, _ = check.cache("model_backward", cache, ModelCache, dlogits)
    check.upstream("model_backward", dlogits, (*head.x.shape[:-1], head.W.shape[1]))
    # logits, head = ops.linear_forward(y, params["head"]["W"], params["head"]["b"])
    dy, dW, db = ops.linear_backward(dlogits, head)
    # y, pool = (n, None) if cfg.task == "lm" else mean_pool_forward(n, kept)
    dn = dy if pool is None else mean_pool_backward(dy, pool)
    # n, norm = ops.rmsnorm_forward(x, params["norm"]["w"], cfg.eps)
    dx, dw = ops.rmsnorm_backward(dn, norm)
    dblocks = []
    for block in reversed(blocks):
        # x, block = block_forward(x, p, cfg, mask, layer, None if past is None else past.blocks[layer], places)
        dx, dblock = block_backward(dx, block)
        dblocks.insert(0, dblock)
    if isinstance(embed, TokenEmbedCache):
        # x, embed = token_embed_forward(inputs, params["embed"], cfg, start, shown, places)
        dembed = token_embed_backward(dx, embed)
    else:
        # x, embed = patch_embed_forward(inputs, params["embed"], cfg, kept)
        dembed = patch_embed_backward(dx, embed)
    return {"embed": dembed, "blocks": dblocks, "norm": {"w": dw}, "head": {"W": dW, "b": db}}


def loss_and_grads(params, inputs, targets, cfg, keep=None):
    """The mean cross-entropy of a batch, in nats, and its gradients shaped like params.

    targets : (B,) or, for task "lm", (B, T): integers in [0, n_out), on the host; those of dropped tokens do not count
    """
    logits, cache = model_forward(inputs, params, cfg, keep)
    loss, loss_cache = cross_entropy_forward(logits, targets, keep if cfg.task == "lm" else None)
    dlogits = cross_entropy_backward(loss_cache)
    return loss, model_backward(dlogits, cache)


def _check_inputs(inputs, embed, cfg, start):
    """Images or tokens; returns T, how many tokens they make."""
    images = cfg.task == "vision"
    check.is_array("model_forward", "images" if images else "tokens", inputs)
    if images:
        letters = "B image_size image_size" + (" channels" if cfg.channels > 1 or inputs.ndim == 4 else "")
        shapes = {"images": letters, "W": "P*P*channels C"}
        check.arrays("model_forward", shapes, inputs, embed["W"], sizes=cfg.known_sizes)
        return cfg.n_tokens
    if len(inputs.shape) != 2 or start + inputs.shape[1] > cfg.max_len:
        after = f" after {start} past tokens" if start else ""
        most = f"(B, T) with no more than cfg.max_len = {cfg.max_len} tokens in all"
        raise check.ShapeError(f"model_forward: tokens are {inputs.shape}{after}, expected {most}")
    check.indices("model_forward", "tokens", inputs, cfg.vocab_size, "cfg.vocab_size")
    return inputs.shape[1]


def _mask(cfg, keep, T, start, xp):
    """Who may look at whom: no dropped token, and for a language model nothing that comes later."""
    mask = None if keep is None else padding_mask(keep)
    if cfg.task == "lm":
        causal = causal_mask(T, start + T, xp)
        mask = causal if mask is None else causal & mask
    return mask


def _start(cfg, past):
    """The number of tokens before the first one."""
    if past is not None and (cfg.task != "lm" or not isinstance(past, ModelCache)):
        given = f"past is given with task {cfg.task!r}, a {type(past).__name__}"
        raise ValueError(f"model_forward: {given}, expected 'lm' and the ModelCache of the tokens before: it decodes")
    return multihead.past_length(None if past is None else past.blocks[0].attention)


def _check_past_keep(keep, past, start):
    """What was dropped of the past stays dropped, and nothing else of it."""
    if past is None or (keep is None and past.keep is None):
        return
    before, now = (np.True_ if k is None else k[:, :start] for k in (past.keep, keep))
    if (before != now).any():
        given = "None" if keep is None else f"another one for the first {start} tokens"
        raise ValueError(f"model_forward: keep is {given}, expected that of the past and of what follows")
