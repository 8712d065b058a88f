"""A tiny transformer: embed, pre-norm residual blocks, norm, mean over the tokens, classify.

The parameters nest as the calls do: params["blocks"][0]["attention"] goes to attention_forward, and what it
remembers is cache.blocks[0].attention. The backward pass is the forward pass read upwards.
"""

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

from .attention.masks import padding_mask
from .attention.multihead import (
    AttentionCache,
    AttentionConfig,
    attention_backward,
    attention_forward,
    attention_specs,
)
from .backend import array_module
from .checks import (
    ShapeError,
    check_arrays,
    check_choice,
    check_is_array,
    check_keep,
    check_params,
    check_upstream,
    check_whole,
    differing_names,
)
from .losses import cross_entropy_backward, cross_entropy_forward
from .ops import (
    LinearCache,
    RmsnormCache,
    gelu_backward,
    gelu_forward,
    linear_backward,
    linear_forward,
    rmsnorm_backward,
    rmsnorm_forward,
    sum_to_shape,
    swiglu_backward,
    swiglu_forward,
)
from .params import Spec, draw


@dataclass(frozen=True)
class ModelConfig(AttentionConfig):
    """A model is its attention's configuration and this. The defaults fit the 8 x 8 digits."""

    task: str = "vision"
    n_out: int = 10
    depth: int = 4
    ffn: str = "swiglu"  # or "gelu"
    ffn_width: int | None = None  # F; None: 8/3 C rounded down to a multiple of 8 (swiglu), 4 C (gelu)
    image_size: int = 8  # images are square
    patch_size: int = 4  # P
    channels: int = 1

    def __post_init__(self):
        super().__post_init__()
        check_choice("ModelConfig", "task", self.task, ("vision",))
        check_choice("ModelConfig", "ffn", self.ffn, ("swiglu", "gelu"))
        counts = ("n_out", "depth", "image_size", "patch_size", "channels")
        check_whole("ModelConfig", **{name: getattr(self, name) for name in counts}, ffn_width=self.F)
        if self.image_size % self.patch_size:
            raise ValueError(
                f"ModelConfig: image_size is {self.image_size}, expected a multiple of patch_size = {self.patch_size}, "
                "since patches tile the image"
            )

    @property
    def F(self):
        """The hidden width of the feed-forward layer."""
        if self.ffn_width is not None:
            return self.ffn_width
        return 4 * self.width if self.ffn == "gelu" else max(8, 8 * self.width // 3 // 8 * 8)

    @property
    def n_tokens(self):
        return (self.image_size // self.patch_size) ** 2

    @cached_property
    def sizes(self):
        image = {
            "image_size": self.image_size,
            "channels": self.channels,
            "P*P*channels": self.patch_size**2 * self.channels,
        }
        return super().sizes | image | {"F": self.F, "N": self.n_tokens, "n_out": self.n_out}


@lru_cache
def model_specs(cfg):
    """Names, axes and laws of all parameters, in the order in which they are drawn."""
    fan_in = cfg.sizes["P*P*channels"]
    gain = {"w": Spec("C", value=1.0)}
    block = {"norm1": gain, "attention": attention_specs(cfg), "norm2": gain, "mlp": mlp_specs(cfg)}
    return {
        "embed": {"W": Spec("P*P*channels C", 1 / math.sqrt(fan_in)), "b": Spec("C"), "positions": Spec("N C", 0.02)},
        "blocks": [block] * cfg.depth,
        "norm": gain,
        "head": {"W": Spec("C n_out", 0.02), "b": Spec("n_out")},
    }


def init_model(cfg: ModelConfig, rng, dtype="float32") -> dict:
    """Parameters, drawn on the host: W ~ N(0, 1/fan_in), positions and classifier N(0, 0.02^2), gains 1, biases 0."""
    return draw(model_specs(cfg), cfg.sizes, rng, dtype)


# ------------------------------------------------------------------------------------------ the front end


class PatchEmbedCache(NamedTuple):
    linear: LinearCache
    positions: object


def patches(images, cfg):
    """(B, h, w[, channels]) -> (B, N, P P channels): row by row, and row by row within a patch."""
    B, n, P = images.shape[0], cfg.image_size // cfg.patch_size, cfg.patch_size
    tiles = images.reshape(B, n, P, n, P, cfg.channels)
    return tiles.transpose(0, 1, 3, 2, 4, 5).reshape(B, n * n, P * P * cfg.channels)


def patch_embed_forward(images, p, cfg):
    """One token per patch, plus a learned position.                         [eq:patch-embed, choice]

        x = patches W + b + positions

    images : (B, h, w, channels) or (B, h, w), in [0, 1]
    returns x : (B, N, C), and a PatchEmbedCache
    """
    _check_images(images, p["W"], cfg)
    x, linear = linear_forward(patches(images, cfg), p["W"], p["b"])
    x = x + p["positions"]
    return x, PatchEmbedCache(linear, p["positions"])


def patch_embed_backward(dx, cache):
    """The gradients of W, b and positions; images have none."""
    linear, positions = cache
    # x = x + p["positions"]
    dpositions = sum_to_shape(dx, positions.shape)
    # x, linear = linear_forward(patches(images, cfg), p["W"], p["b"])
    _, dW, db = linear_backward(dx, linear)
    return {"W": dW, "b": db, "positions": dpositions}


def _check_images(images, W, cfg):
    check_is_array("model_forward", "images", images)
    letters = "B image_size image_size" + (" channels" if cfg.channels > 1 or images.ndim == 4 else "")
    check_arrays("model_forward", {"images": letters, "W": "P*P*channels C"}, images, W, sizes=cfg.known_sizes)


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
    a, up = linear_forward(x, W_up)
    h, gelu = gelu_forward(a)
    y, down = linear_forward(h, W_down)
    return y, GeluMlpCache(up, gelu, down)


def gelu_mlp_backward(dy, cache):
    """dx (..., C), dW_up (C, F), dW_down (F, C)."""
    up, gelu, down = cache
    # y, down = linear_forward(h, W_down)
    dh, dW_down = linear_backward(dy, down)
    # h, gelu = gelu_forward(a)
    da = gelu_backward(dh, gelu)
    # a, up = linear_forward(x, W_up)
    dx, dW_up = linear_backward(da, up)
    return dx, dW_up, dW_down


MLPS = {"swiglu": (swiglu_forward, swiglu_backward), "gelu": (gelu_mlp_forward, gelu_mlp_backward)}


# -------------------------------------------------------------------------------------------- the block


class BlockCache(NamedTuple):
    norm1: RmsnormCache
    attention: AttentionCache
    norm2: RmsnormCache
    mlp: object
    cfg: ModelConfig


def block_forward(x, p, cfg, mask=None, layer=0):
    """A pre-norm residual block.                                            [eq:block, choice]

        x <- x + attention(rmsnorm(x)),   x <- x + mlp(rmsnorm(x))

    x : (B, T, C)
    returns x : (B, T, C), and a BlockCache
    """
    mlp_forward, _ = MLPS[cfg.ffn]
    n1, norm1 = rmsnorm_forward(x, p["norm1"]["w"], cfg.eps)
    a, attention = attention_forward(n1, p["attention"], cfg, mask, layer)
    x = x + a
    n2, norm2 = rmsnorm_forward(x, p["norm2"]["w"], cfg.eps)
    m, mlp = mlp_forward(n2, **p["mlp"])
    x = x + m
    return x, BlockCache(norm1, attention, norm2, mlp, cfg)


def block_backward(dx, cache):
    """dx (B, T, C), and grads shaped like p."""
    norm1, attention, norm2, mlp, cfg = cache
    _, mlp_backward = MLPS[cfg.ffn]
    # x = x + m
    dm = dx
    # m, mlp = mlp_forward(n2, **p["mlp"])
    dn2, *dmlp = mlp_backward(dm, mlp)
    # n2, norm2 = rmsnorm_forward(x, p["norm2"]["w"], cfg.eps)
    dx_mlp, dw2 = rmsnorm_backward(dn2, norm2)
    dx = dx + dx_mlp
    # x = x + a
    da = dx
    # a, attention = attention_forward(n1, p["attention"], cfg, mask, layer)
    dn1, dattention = attention_backward(da, attention)
    # n1, norm1 = rmsnorm_forward(x, p["norm1"]["w"], cfg.eps)
    dx_attention, dw1 = rmsnorm_backward(dn1, norm1)
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
    y = (weights[:, :, None] * x).sum(axis=1)
    return y, MeanPoolCache(weights)


def mean_pool_backward(dy, cache):
    """dx (B, T, C)."""
    (weights,) = cache
    # y = (weights[:, :, None] * x).sum(axis=1)
    return weights[:, :, None] * dy[:, None, :]


class ModelCache(NamedTuple):
    embed: PatchEmbedCache
    blocks: list
    norm: RmsnormCache
    pool: MeanPoolCache
    head: LinearCache


def model_forward(inputs, params, cfg, keep=None):
    """The whole model. A DGViT is kind="dgsa"; a baseline differs in its kind alone.   [eq:model, choice]

        logits = mean_t(rmsnorm(block_L(.. block_1(embed(inputs)) ..))) W + b

    inputs : (B, h, w, channels) or (B, h, w), images in [0, 1], on the device of params
    keep   : bool (B, T), True = a real token; None keeps all
    returns logits : (B, n_out), and a ModelCache; its attention maps are cache.blocks[i].attention.head.A_exc
    raises  : ShapeError, TypeError, ValueError naming the argument
    """
    _check_model(params, cfg)
    x, embed = patch_embed_forward(inputs, params["embed"], cfg)
    check_keep("model_forward", keep, x.shape[:2], f"inputs {inputs.shape}")
    keep = None if keep is None else array_module(x).asarray(keep)
    mask = None if keep is None else padding_mask(keep)
    blocks = []
    for layer, p in enumerate(params["blocks"]):
        x, block = block_forward(x, p, cfg, mask, layer)
        blocks.append(block)
    n, norm = rmsnorm_forward(x, params["norm"]["w"], cfg.eps)
    y, pool = mean_pool_forward(n, keep)
    logits, head = linear_forward(y, params["head"]["W"], params["head"]["b"])
    return logits, ModelCache(embed, blocks, norm, pool, head)


def model_backward(dlogits, cache):
    """Gradients shaped like params."""
    embed, blocks, norm, pool, head = cache
    check_upstream("model_backward", dlogits, (head.x.shape[0], head.W.shape[1]))
    # logits, head = linear_forward(y, params["head"]["W"], params["head"]["b"])
    dy, dW, db = linear_backward(dlogits, head)
    # y, pool = mean_pool_forward(n, keep)
    dn = mean_pool_backward(dy, pool)
    # n, norm = rmsnorm_forward(x, params["norm"]["w"], cfg.eps)
    dx, dw = rmsnorm_backward(dn, norm)
    dblocks = []
    for block in reversed(blocks):
        # x, block = block_forward(x, p, cfg, mask, layer)
        dx, dblock = block_backward(dx, block)
        dblocks.insert(0, dblock)
    # x, embed = patch_embed_forward(inputs, params["embed"], cfg)
    dembed = patch_embed_backward(dx, embed)
    return {"embed": dembed, "blocks": dblocks, "norm": {"w": dw}, "head": {"W": dW, "b": db}}


def loss_and_grads(params, inputs, targets, cfg, keep=None):
    """The mean cross-entropy of a batch, in nats, and its gradients shaped like params.

    targets : (B,) integers in [0, n_out), on the host
    """
    logits, cache = model_forward(inputs, params, cfg, keep)
    loss, loss_cache = cross_entropy_forward(logits, targets)
    dlogits = cross_entropy_backward(loss_cache)
    return loss, model_backward(dlogits, cache)


def _check_model(params, cfg):
    """The outer names and shapes; attention_forward checks its own."""
    specs = model_specs(cfg)
    _check_parts("params", params, specs)
    for part in ("embed", "norm", "head"):
        check_params("model_forward", params[part], specs[part], cfg.known_sizes, f"params[{part!r}]")
    if not isinstance(params["blocks"], (list, tuple)) or len(params["blocks"]) != cfg.depth:
        given = (
            f"{len(params['blocks'])} blocks"
            if isinstance(params["blocks"], (list, tuple))
            else type(params["blocks"]).__name__
        )
        raise ShapeError(f"model_forward: params['blocks'] is {given}, expected a list of cfg.depth = {cfg.depth}")
    for i, p in enumerate(params["blocks"]):
        _check_parts(f"params['blocks'][{i}]", p, specs["blocks"][0])
        for part in ("norm1", "norm2", "mlp"):
            check_params(
                "model_forward", p[part], specs["blocks"][0][part], cfg.known_sizes, f"params['blocks'][{i}][{part!r}]"
            )


def _check_parts(name, p, specs):
    if not isinstance(p, dict):
        raise TypeError(f"model_forward: {name} is {type(p).__name__}, expected a dict, as init_model makes it")
    if p.keys() != specs.keys():
        raise ValueError(f"model_forward: {name} {differing_names(p, specs)}")
