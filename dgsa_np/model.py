"""A tiny transformer.

Images or tokens are embedded, go through pre-norm residual blocks and a last norm. Then the mean
token is classified, or each token predicts the next one.

The parameters nest as the calls do: params["blocks"][0]["attention"] goes to attention_forward, and
what that call remembers is cache.blocks[0].attention. The backward pass is the forward pass read
upwards.
"""

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np

from .attention import AttentionConfig, attention_backward, attention_forward, causal_mask, padding_mask
from .attention.mechanisms import Pair
from .attention.multihead import AttentionCache, attention_specs, past_length
from .backend import array_module, to_numpy
from .check import parameters, setting
from .indices import indices
from .layers import (
    MeanPoolCache,
    PatchEmbedCache,
    TokenEmbedCache,
    mean_pool_backward,
    mean_pool_forward,
    patch_embed_backward,
    patch_embed_forward,
    token_embed_backward,
    token_embed_forward,
)
from .losses import cross_entropy_backward, cross_entropy_forward
from .ops.feed_forwards import (
    GeluMlpCache,
    SwigluCache,
    gelu_mlp_backward,
    gelu_mlp_forward,
    swiglu_backward,
    swiglu_forward,
)
from .ops.linear import LinearCache, linear_backward, linear_forward
from .ops.rmsnorm import RmsnormCache, rmsnorm_backward, rmsnorm_forward
from .params import Spec, draw
from .shapes import Array, ShapeError, arrays, is_array, takes, undoes
from .shapes import keep as check_keep


@dataclass(frozen=True)
class ModelConfig(AttentionConfig):
    """The settings of a model: those of its attention, and these. Defaults fit the 8 x 8 digits."""

    task: str = setting("vision", "classify images, classify tokens, predict the next token", ("vision", "text", "lm"))
    n_out: int | None = setting(None, 'columns of the logits; None: vocab_size for "lm", 10 otherwise')
    depth: int = 4
    ffn: str = setting("swiglu", "", ("swiglu", "gelu"))
    ffn_width: int | None = setting(None, "F; None: 8/3 C rounded down to a multiple of 8 (swiglu), 4 C (gelu)")
    image_size: int = setting(8, "images are square")
    patch_size: int = setting(4, "P")
    channels: int = 1
    standardise: str = setting("none", "pixels: by the data, or each image by itself", ("none", "data", "image"))
    pixel_mean: float = setting(0.0, "of the training images; for standardise = data")
    pixel_deviation: float = setting(1.0, "the same", least=1e-6)
    vocab_size: int = setting(256, "V, of tokens")
    max_len: int = setting(128, "the most tokens of one input")

    def __post_init__(self):
        super().__post_init__()
        if self.n_out is None:
            object.__setattr__(self, "n_out", self.vocab_size if self.task == "lm" else 10)
        if self.task == "vision" and self.image_size % self.patch_size:
            raise ValueError(
                f"ModelConfig: image_size is {self.image_size}, expected a multiple of patch_size = "
                f"{self.patch_size}: patches tile the image"
            )

    @property
    def F(self) -> int:
        """The hidden width of the feed-forward layer."""
        usual = 4 * self.width if self.ffn == "gelu" else max(8, 8 * self.width // 3 // 8 * 8)
        return usual if self.ffn_width is None else self.ffn_width

    @property
    def n_tokens(self) -> int:
        """The number of positions: the patches of an image, or the most tokens of one input."""
        return (self.image_size // self.patch_size) ** 2 if self.task == "vision" else self.max_len

    @cached_property
    def sizes(self) -> dict[str, int]:
        names = ("image_size", "channels", "max_len", "F", "n_out")
        sizes = {"P*P*channels": self.patch_size**2 * self.channels, "N": self.n_tokens, "V": self.vocab_size}
        return super().sizes | sizes | {name: getattr(self, name) for name in names}


@lru_cache
def model_specs(cfg) -> dict[str, Any]:
    """A Spec for each parameter, nested: its axes and how it is drawn, in the order of drawing."""
    gain = {"w": Spec("C", value=1.0)}
    block = {"norm1": gain, "attention": attention_specs(cfg), "norm2": gain, "mlp": mlp_specs(cfg)}
    if cfg.task == "vision":
        W = Spec("P*P*channels C", 1 / math.sqrt(cfg.sizes["P*P*channels"]))
        embed = {"W": W, "b": Spec("C"), "positions": Spec("N C", 0.02)}
    else:
        embed = {"tokens": Spec("V C", 0.02), "positions": Spec("max_len C", 0.02)}
    head = {"W": Spec("C n_out", 0.02), "b": Spec("n_out")}
    return {"embed": embed, "blocks": [block] * cfg.depth, "norm": gain, "head": head}


@takes(cfg=ModelConfig)
def init_model(cfg: ModelConfig, rng: np.random.Generator, dtype: str | type = "float32") -> dict[str, Any]:
    """Random parameters for the start, drawn on the host (the CPU).

    W ~ N(0, 1/fan_in); token table, positions and classifier N(0, 0.02^2); gains 1, biases 0; those
    of attention as init_attention draws them.
    """
    return draw(model_specs(cfg), cfg.sizes, rng, dtype)


# --------------------------------------------------------------------------------- the feed-forward


def mlp_specs(cfg) -> dict[str, Spec]:
    C, F = cfg.width, cfg.F
    up, down = Spec("C F", 1 / math.sqrt(C)), Spec("F C", 1 / math.sqrt(F))
    return {"W_gate": up, "W_up": up, "W_down": down} if cfg.ffn == "swiglu" else {"W_up": up, "W_down": down}


MLPS = {
    "swiglu": Pair(swiglu_forward, swiglu_backward),
    "gelu": Pair(gelu_mlp_forward, gelu_mlp_backward),
}


# ---------------------------------------------------------------------------------------- the block


class BlockCache(NamedTuple):
    norm1: RmsnormCache
    attention: AttentionCache
    norm2: RmsnormCache
    mlp: SwigluCache | GeluMlpCache
    cfg: ModelConfig


@takes(x="B T C")
def block_forward(
    x, p, cfg: ModelConfig, mask=None, layer=0, past=None, positions=None
) -> tuple[Array, BlockCache]:
    """A pre-norm residual block.                                               [eq:block, choice]

        x <- x + attention(rmsnorm(x)),   x <- x + mlp(rmsnorm(x))

    past : for decoding, the BlockCache of the tokens before x
    returns x : (B, T, C), and a BlockCache
    """
    past = None if past is None else past.attention
    n1, norm1 = rmsnorm_forward(x, p["norm1"]["w"], cfg.eps)
    a, attention = attention_forward(n1, p["attention"], cfg, mask, layer, past, positions)
    x = x + a
    n2, norm2 = rmsnorm_forward(x, p["norm2"]["w"], cfg.eps)
    m, mlp = MLPS[cfg.ffn].forward(n2, **p["mlp"])
    x = x + m
    return x, BlockCache(norm1, attention, norm2, mlp, cfg)


@undoes(BlockCache, "mlp")
def block_backward(dx, cache) -> tuple[Array, dict[str, Any]]:
    """dx (B, T, C), and grads shaped like p."""
    norm1, attention, norm2, mlp, cfg = cache
    # x = x + m
    dm = dx
    # m, mlp = MLPS[cfg.ffn].forward(n2, **p["mlp"])
    dn2, *dmlp = MLPS[cfg.ffn].backward(dm, mlp)
    # n2, norm2 = rmsnorm_forward(x, p["norm2"]["w"], cfg.eps)
    dx_mlp, dw2 = rmsnorm_backward(dn2, norm2)
    dx = dx + dx_mlp
    # x = x + a
    da = dx
    # a, attention = attention_forward(n1, p["attention"], cfg, mask, layer, past, positions)
    dn1, dattention = attention_backward(da, attention)
    # n1, norm1 = rmsnorm_forward(x, p["norm1"]["w"], cfg.eps)
    dx_attention, dw1 = rmsnorm_backward(dn1, norm1)
    dx = dx + dx_attention
    mlp_grads = dict(zip(mlp_specs(cfg), dmlp, strict=True))
    return dx, {"norm1": {"w": dw1}, "attention": dattention, "norm2": {"w": dw2}, "mlp": mlp_grads}


# ---------------------------------------------------------------------------------------- the model


class ModelCache(NamedTuple):
    embed: PatchEmbedCache | TokenEmbedCache
    blocks: list[BlockCache]
    norm: RmsnormCache
    pool: MeanPoolCache | None  # None for a language model, which has logits at every token
    head: LinearCache
    keep: Array | None  # (B, T), on the host, of the past and of these tokens; None keeps all


@takes(cfg=ModelConfig, params=parameters(model_specs))
def model_forward(inputs, params, cfg: ModelConfig, keep=None, past=None) -> tuple[Array, ModelCache]:
    """The whole model, from images or tokens to logits.                        [eq:model, choice]

        logits = mean_t(rmsnorm(block_L(.. block_1(embed(inputs)) ..))) W + b

    For task "lm" there is no mean: each token has logits of its own. A DGViT, as the paper calls
    it, is kind="dgsa" with task "vision", a DGT kind="dgsa" with task "text"; a baseline differs in
    its kind alone.

    inputs : (B, h, w, channels) or (B, h, w), images in [0, 1], on the device of params; or
             (B, T), integer tokens, on the host
    params : as init_model makes them
    keep   : bool (B, T), True = a real token; None keeps all; with a past, its tokens come first.
             What is dropped may hold anything and moves no other token: a text that is padded, on
             either side, gives what the text alone gives
    past   : for decoding with task "lm", the ModelCache of the tokens before these, which are seen
    returns logits, (B, n_out) or for "lm" (B, T, n_out), and a ModelCache, whose attention maps are
            cache.blocks[i].attention.head.A_exc
    """
    start, xp = _start(cfg, past), array_module(params["head"]["W"])
    T = check_inputs(inputs, cfg, start, params["embed"].get("W"))
    keep = _check_keep(keep, past, start, inputs, T)
    kept = None if keep is None else xp.asarray(keep)
    places = None
    if cfg.task == "vision":
        x, embed = patch_embed_forward(inputs, params["embed"], cfg, kept)
    else:
        places, shown = _places(keep, start), None if keep is None else keep[:, start:]
        x, embed = token_embed_forward(inputs, params["embed"], cfg, start, shown, places)
    mask = _mask(cfg, kept, T, start, xp)
    blocks = []
    for layer, p in enumerate(params["blocks"]):
        x, block = block_forward(x, p, cfg, mask, layer, None if past is None else past.blocks[layer], places)
        blocks.append(block)
    n, norm = rmsnorm_forward(x, params["norm"]["w"], cfg.eps)
    y, pool = (n, None) if cfg.task == "lm" else mean_pool_forward(n, kept)
    logits, head = linear_forward(y, params["head"]["W"], params["head"]["b"])
    return logits, ModelCache(embed, blocks, norm, pool, head, keep)


@undoes(ModelCache, "head")
def model_backward(dlogits, cache) -> dict[str, Any]:
    """Gradients shaped like params."""
    embed, blocks, norm, pool, head, _ = cache
    # logits, head = linear_forward(y, params["head"]["W"], params["head"]["b"])
    dy, dW, db = linear_backward(dlogits, head)
    # y, pool = (n, None) if cfg.task == "lm" else mean_pool_forward(n, kept)
    dn = dy if pool is None else mean_pool_backward(dy, pool)
    # n, norm = rmsnorm_forward(x, params["norm"]["w"], cfg.eps)
    dx, dw = rmsnorm_backward(dn, norm)
    dblocks: list[dict] = []
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


def loss_and_grads(params, inputs, targets, cfg: ModelConfig, keep=None) -> tuple[Array, dict[str, Any]]:
    """The mean cross-entropy of a batch, in nats, and its gradients shaped like params.

    targets : (B,) or, for task "lm", (B, T): integers in [0, n_out), on the host; with "lm",
              those of dropped tokens do not count
    """
    logits, cache = model_forward(inputs, params, cfg, keep)
    loss, loss_cache = cross_entropy_forward(logits, targets, keep if cfg.task == "lm" else None)
    dlogits = cross_entropy_backward(loss_cache)
    return loss, model_backward(dlogits, cache)


def check_inputs(inputs, cfg, start=0, W=None) -> int:
    """Check images or tokens, and return T, the number of tokens that they make."""
    images = cfg.task == "vision"
    is_array("model_forward", "images" if images else "tokens", inputs)
    if images:
        letters = "B image_size image_size" + (" channels" if cfg.channels > 1 or inputs.ndim == 4 else "")
        axes = {"images": letters, "W": "P*P*channels C"}
        arrays("model_forward", axes, inputs, W, sizes=cfg.known_sizes, optional=("W",))
        return cfg.n_tokens
    if len(inputs.shape) != 2 or start + inputs.shape[1] > cfg.max_len:
        after = f" after {start} past tokens" if start else ""
        most = f"(B, T) with no more than cfg.max_len = {cfg.max_len} tokens in all"
        raise ShapeError(f"model_forward: tokens are {inputs.shape}{after}, expected {most}")
    indices("model_forward", "tokens", inputs, cfg.vocab_size, "cfg.vocab_size")
    return inputs.shape[1]


def _check_keep(keep, past, start, inputs, T):
    """keep, on the host. For the tokens of a past it must be what the past was given."""
    if keep is not None:
        check_keep("model_forward", keep, (len(inputs), start + T), f"inputs {inputs.shape}, past and new")
    keep = to_numpy(keep)
    if past is None or (keep is None and past.keep is None):
        return keep
    before, now = (np.True_ if k is None else k[:, :start] for k in (past.keep, keep))
    if (before != now).any():
        given = "None" if keep is None else f"another one for the first {start} tokens"
        raise ValueError(f"model_forward: keep is {given}, expected that of the past and of what follows")
    return keep


def _places(keep, start):
    """The position of each token from start on: how many kept tokens lie before it.

    So padding moves no token. The positions are (B, T), on the host; None where they count up,
    since no token is dropped before a kept one.
    """
    if keep is None or not (keep[:, 1:] > keep[:, :-1]).any():
        return None
    return (keep.cumsum(axis=1) - keep)[:, start:]


def _mask(cfg, keep, T, start, xp):
    """The attention mask: no token sees a dropped one, nor, in a language model, a later one."""
    mask = None if keep is None else padding_mask(keep)
    if cfg.task == "lm":
        causal = causal_mask(T, start + T, xp)
        mask = causal if mask is None else causal & mask
    return mask


def _start(cfg, past) -> int:
    """The number of tokens in the past, 0 if there is none."""
    if past is not None and (cfg.task != "lm" or not isinstance(past, ModelCache)):
        given = f"past is given with task {cfg.task!r}, a {type(past).__name__}"
        raise ValueError(f"model_forward: {given}, expected 'lm' and the ModelCache of the tokens before: it decodes")
    return past_length(None if past is None else past.blocks[0].attention)
