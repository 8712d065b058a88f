"""The layers around the blocks.

Before the blocks, patches or tokens become vectors; after them, the mean of the vectors is taken.
"""

from typing import NamedTuple

import numpy as np

from .attention.masks import select
from .backend import array_module, to_numpy
from .ops.axes import sum_to_shape
from .ops.embedding import EmbeddingCache, embedding_backward, embedding_forward
from .ops.linear import LinearCache, linear_backward, linear_forward
from .shapes import Array, takes, undoes


def kept_only(keep, x) -> Array:
    """x (B, T, C) with 0 in the place of dropped tokens.

    keep : bool (B, T), or None: all are kept
    """
    return x if keep is None else select(array_module(x).asarray(keep)[:, :, None], x)


# ------------------------------------------------------------------------------------------ patches


class PatchEmbedCache(NamedTuple):
    linear: LinearCache
    positions: Array


def patches(images, cfg) -> Array:
    """Cut images (B, h, w[, channels]) into patches (B, N, P P channels).

    Patches follow each other row by row, and so do the pixels within each.
    """
    B, n, P = images.shape[0], cfg.image_size // cfg.patch_size, cfg.patch_size
    tiles = images.reshape(B, n, P, n, P, cfg.channels)
    return tiles.transpose(0, 1, 3, 2, 4, 5).reshape(B, n * n, P * P * cfg.channels)


def kept_patches(images, cfg, keep=None) -> Array:
    """Patches (B, N, P P channels) as the model sees them, standardised; dropped ones are 0."""
    return kept_only(keep, standardised(kept_only(keep, patches(images, cfg)), cfg, keep))


def standardised(x, cfg, keep=None) -> Array:
    """(x - m) / s, by the mean m and the deviation s of a data set, or of each image.      [choice]

    x    : images, or patches, those that are dropped at 0: they do not count
    keep : bool (B, N)

    An image without contrast has none to bring out: its own s counts as 1/255 at least.
    """
    if cfg.standardise == "none":
        return x
    m, s = cfg.pixel_mean, cfg.pixel_deviation
    if cfg.standardise == "image":
        axes = tuple(range(1, x.ndim))
        part = 1 if keep is None else _part_kept(x, keep)
        m = x.mean(axis=axes, keepdims=True) / part
        s = ((kept_only(keep, x - m) ** 2).mean(axis=axes, keepdims=True) / part) ** 0.5
        s = s.clip(1 / 255)
    return (x - m) / s


def _part_kept(x, keep):
    """(B, 1, 1), the part of the patches that is kept, as if it were one at least."""
    part = array_module(x).asarray(keep).mean(axis=1, keepdims=True).clip(1 / keep.shape[1])
    return part[..., None].astype(x.real.dtype)


def patch_embed_forward(images, p, cfg, keep=None) -> tuple[Array, PatchEmbedCache]:
    """One token per patch, plus a learned position.                        [eq:patch-embed, choice]

        x = patches W + b + positions

    images : (B, h, w, channels) or (B, h, w), in [0, 1], converted to the dtype of W
    keep   : bool (B, N)
    returns x : (B, N, C), and a PatchEmbedCache

    A dropped patch counts as 0, whatever it holds.
    """
    images = images if images.dtype.kind == "c" else images.astype(p["W"].real.dtype, copy=False)
    tiles = kept_patches(images, cfg, keep)
    x, linear = linear_forward(tiles, p["W"], p["b"])
    x = x + p["positions"]
    return x, PatchEmbedCache(linear, p["positions"])


@undoes(PatchEmbedCache, "linear")
def patch_embed_backward(dx, cache) -> dict[str, Array]:
    """The gradients of W, b and positions; images get none."""
    linear, positions = cache
    # x = x + p["positions"]
    dpositions = sum_to_shape(dx, positions.shape)
    # x, linear = linear_forward(tiles, p["W"], p["b"])
    _, dW, db = linear_backward(dx, linear)
    return {"W": dW, "b": db, "positions": dpositions}


# ------------------------------------------------------------------------------------------- tokens


class TokenEmbedCache(NamedTuple):
    embedding: EmbeddingCache
    positions: Array
    start: int
    placed: EmbeddingCache | None  # None where the positions count up from start


def token_embed_forward(tokens, p, cfg, start=0, keep=None, places=None) -> tuple[Array, TokenEmbedCache]:
    """One row of the table per token, plus a learned position.             [eq:token-embed, choice]

        x_t = table[token_t] + positions_i,   i = the number of kept tokens before t

    tokens : (B, T) integers on the host (the CPU), T <= max_len
    keep   : bool (B, T), on the host too
    start  : the i of the first token, from which they count up
    places : (B, T), on the host: every i, where they do not count up
    returns x : (B, T, C), and a TokenEmbedCache

    A dropped token counts as token 0, whatever it is.
    """
    placed = None
    tokens = tokens if keep is None else np.where(keep, to_numpy(tokens), 0)
    x, embedding = embedding_forward(tokens, p["tokens"])
    if places is None:
        x = x + p["positions"][start : start + tokens.shape[1]]
    else:
        position, placed = embedding_forward(places, p["positions"])
        x = x + position
    return x, TokenEmbedCache(embedding, p["positions"], start, placed)


@undoes(TokenEmbedCache, "embedding")
def token_embed_backward(dx, cache) -> dict[str, Array]:
    """The gradients of the table and of the positions; tokens get none."""
    embedding, positions, start, placed = cache
    if placed is not None:
        # position, placed = embedding_forward(places, p["positions"])
        dpositions = embedding_backward(dx, placed)
    else:
        # x = x + p["positions"][start : start + tokens.shape[1]]
        dpositions = array_module(dx).zeros(positions.shape, dx.dtype)
        dpositions[start : start + dx.shape[1]] = sum_to_shape(dx, dx.shape[1:])
    # x, embedding = embedding_forward(tokens, p["tokens"])
    dtable = embedding_backward(dx, embedding)
    return {"tokens": dtable, "positions": dpositions}


# ------------------------------------------------------------------------------------------ pooling


class MeanPoolCache(NamedTuple):
    weights: Array  # (B, T), 1 / the number of kept tokens, or 0


@takes(x="B T C", keep="keep B T")
def mean_pool_forward(x, keep=None) -> tuple[Array, MeanPoolCache]:
    """The mean over the kept tokens.                                         [eq:mean-pool, choice]

    returns y : (B, C), and a MeanPoolCache
    """
    xp = array_module(x)
    kept = xp.ones(x.shape[:2], bool) if keep is None else xp.asarray(keep)
    weights = (kept / xp.maximum(kept.sum(axis=1, keepdims=True), 1)).astype(x.real.dtype)
    y = (weights[:, :, None] * kept_only(keep, x)).sum(axis=1)
    return y, MeanPoolCache(weights)


@undoes(MeanPoolCache)
def mean_pool_backward(dy, cache) -> Array:
    """dx (B, T, C)."""
    (weights,) = cache
    # y = (weights[:, :, None] * kept_only(keep, x)).sum(axis=1)
    return weights[:, :, None] * dy[:, None, :]
