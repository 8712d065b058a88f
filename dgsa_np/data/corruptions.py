"""Corruptions of images and of sentences. Level 0 is the identity; nothing is clipped unless asked.

| kind            | level means                                            | unit            |
|-----------------|--------------------------------------------------------|-----------------|
| gaussian        | standard deviation of noise added to each pixel        | grey level, 0-1 |
| salt-and-pepper | part of the pixels set to 0 or 1, half each            | fraction, 0-1   |
| brightness      | constant added to every pixel                          | grey level, 0-1 |
| contrast        | part of the contrast lost: 1 leaves the image's mean   | fraction, 0-1   |
| occlusion       | side of a black square at a random place, over the     | fraction, 0-1   |
|                 | image's side                                           |                 |
| blur            | standard deviation of a Gaussian blur                  | pixels          |
| substitution    | part of the tokens exchanged for tokens drawn from x   | fraction, 0-1   |
| deletion        | part of the tokens dropped; one is always left         | fraction, 0-1   |
| insertion       | chance of a token, drawn from x, before each token;    | fraction, 0-1   |
|                 | what is pushed over the end is lost                    |                 |
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .. import check, shapes
from ..params import check_rng

PAD = 0  # the token after the end of a sentence


def corrupt(x, kind: str, level: float, rng, clip: bool = False) -> np.ndarray:
    """Images or sentences with one kind of damage, as a new array of the same dtype.

    x      : images (N, h, w) or (N, h, w, channels), floating; or tokens (N, T), integers,
             0 = padding; on the host (the CPU)
    kind   : a name in the table at the top of this file
    level  : how much damage, in the unit of that table
    rng    : a numpy.random.Generator; equal seeds give equal damage
    clip   : cut images to [0, 1]
    raises : ValueError, TypeError naming the argument
    """
    check.one_of("corrupt", "kind", kind, tuple(IMAGES | SENTENCES))
    _check_damaged(x, kind)
    check_rng("corrupt", rng)
    corruption = (IMAGES | SENTENCES)[kind]
    shapes.number(f"corrupt (kind {kind!r})", low=0, high=corruption.most, level=level)
    some = level > 0 and (kind in IMAGES or x.any())  # in padding alone there is nothing to damage
    damaged = corruption.damage(x, level, rng).astype(x.dtype) if some else x.copy()
    return damaged.clip(0, 1) if clip else damaged


def _check_damaged(x, kind):
    """Check that x is images, for a damage to images, or tokens, for a damage to sentences."""
    what = x.dtype if type(x) is np.ndarray else type(x).__name__
    if kind in SENTENCES and not (type(x) is np.ndarray and x.dtype.kind in "iu"):
        raise TypeError(f"corrupt: x is {what}, expected a NumPy array of integer tokens for kind {kind!r}")
    if kind in SENTENCES and x.ndim != 2:
        raise shapes.ShapeError(f"corrupt: x is {x.shape}, expected tokens (N, T)")
    if kind in IMAGES and not (type(x) is np.ndarray and x.dtype in (np.float32, np.float64)):
        raise TypeError(f"corrupt: x is {what}, expected a float32 or float64 NumPy array for kind {kind!r}")
    if kind in IMAGES and x.ndim not in (3, 4):
        raise shapes.ShapeError(f"corrupt: x is {x.shape}, expected (N, h, w) or (N, h, w, channels)")


def gaussian(x, level, rng):
    return x + level * rng.standard_normal(x.shape)


def salt_and_pepper(x, level, rng):
    pixels = x.shape[:3] + (1,) * (x.ndim - 3)  # all channels of a pixel together
    hit = rng.random(pixels) < level
    return np.where(hit, rng.integers(0, 2, pixels), x)


def brightness(x, level, rng):
    return x + level


def contrast(x, level, rng):
    mean = x.mean(axis=tuple(range(1, x.ndim)), keepdims=True)
    return mean + (1 - level) * (x - mean)


def occlusion(x, level, rng):
    n, h, w = x.shape[:3]
    a, b = round(level * h), round(level * w)
    tops, lefts = rng.integers(0, h - a + 1, n), rng.integers(0, w - b + 1, n)
    out = x.copy()
    for image, top, left in zip(out, tops, lefts, strict=True):
        image[top : top + a, left : left + b] = 0
    return out


def blur(x, level, rng):
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(x, sigma=level, axes=(1, 2), mode="nearest")


# ---------------------------------------------------------------------------------------- sentences


def substitution(x, level, rng):
    hit = (x != PAD) & (rng.random(x.shape) < level)
    return np.where(hit, rng.choice(x[x != PAD], x.shape), x)


def deletion(x, level, rng):
    dropped = rng.random(x.shape) < level
    return _refill(x, lambda row, i: row[~dropped[i, : len(row)]] if not dropped[i, : len(row)].all() else row[:1])


def insertion(x, level, rng):
    hit, drawn = rng.random(x.shape) < level, rng.choice(x[x != PAD], x.shape)

    def insert(row, i):
        places = np.flatnonzero(hit[i, : len(row)])
        return np.insert(row, places, drawn[i, places])

    return _refill(x, insert)


def _refill(x, change):
    """Each sentence changed, cut where it grew too long, padded where it became shorter."""
    out = np.full_like(x, PAD)
    for i, row in enumerate(x):
        changed = change(row[row != PAD], i)[: x.shape[1]]
        out[i, : len(changed)] = changed
    return out


# ---------------------------------------------------------------------------------------- the table


class Corruption(NamedTuple):
    damage: Callable
    unit: str  # of the level, for a figure's axis
    levels: tuple  # what figures and tables show
    most: float = np.inf  # the largest level


IMAGES = {
    "gaussian": Corruption(gaussian, "noise, standard deviation (grey level)", (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)),
    "salt-and-pepper": Corruption(salt_and_pepper, "pixels hit (fraction)", (0.0, 0.05, 0.1, 0.2, 0.3, 0.4), 1),
    "brightness": Corruption(brightness, "constant added (grey level)", (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)),
    "contrast": Corruption(contrast, "contrast lost (fraction)", (0.0, 0.2, 0.4, 0.6, 0.7, 0.8), 1),
    "occlusion": Corruption(occlusion, "side of the square (fraction)", (0.0, 0.125, 0.25, 0.375, 0.5, 0.625), 1),
    "blur": Corruption(blur, "standard deviation (pixels)", (0.0, 0.4, 0.6, 0.8, 1.0, 1.2)),
}
SENTENCES = {
    "substitution": Corruption(substitution, "tokens exchanged (fraction)", (0.0, 0.1, 0.2, 0.3, 0.4, 0.5), 1),
    "deletion": Corruption(deletion, "tokens dropped (fraction)", (0.0, 0.1, 0.2, 0.3, 0.4, 0.5), 1),
    "insertion": Corruption(insertion, "tokens inserted (fraction)", (0.0, 0.1, 0.2, 0.3, 0.4, 0.5), 1),
}
CORRUPTIONS = {"vision": IMAGES, "text": SENTENCES, "lm": {}}  # by the task of a data set
