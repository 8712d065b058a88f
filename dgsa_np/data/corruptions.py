"""Corruptions of images. Level 0 is the identity; nothing is clipped unless asked.

| kind            | level means                                                     | unit            |
|-----------------|-----------------------------------------------------------------|-----------------|
| gaussian        | standard deviation of noise added to each pixel                 | grey level, 0-1 |
| salt-and-pepper | part of the pixels set to 0 or 1, half each                     | fraction, 0-1   |
| brightness      | constant added to every pixel                                   | grey level, 0-1 |
| contrast        | part of the contrast lost: 1 leaves the image's mean            | fraction, 0-1   |
| occlusion       | side of a black square at a random place, over the image's side | fraction, 0-1   |
| blur            | standard deviation of a Gaussian blur                           | pixels          |
"""

import numpy as np

from ..checks import ShapeError, check_choice, check_number

CORRUPTIONS = {  # the levels that the demo draws
    "gaussian": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5),
    "salt-and-pepper": (0.0, 0.05, 0.1, 0.2, 0.3, 0.4),
    "brightness": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5),
    "contrast": (0.0, 0.2, 0.4, 0.6, 0.7, 0.8),
    "occlusion": (0.0, 0.125, 0.25, 0.375, 0.5, 0.625),
    "blur": (0.0, 0.4, 0.6, 0.8, 1.0, 1.2),
}


def corrupt(x, kind: str, level: float, rng, clip: bool = False) -> np.ndarray:
    """Images with one kind of damage, as a new array of the same dtype.

    x    : (N, h, w) or (N, h, w, channels), floating, on the host
    rng  : a numpy.random.Generator; equal seeds give equal damage
    clip : cut the result to [0, 1]
    raises : ValueError, TypeError naming the argument
    """
    check_choice("corrupt", "kind", kind, tuple(CORRUPTIONS))
    if not isinstance(x, np.ndarray) or x.dtype not in (np.float32, np.float64):
        raise TypeError(
            f"corrupt: x is {getattr(x, 'dtype', type(x).__name__)}, expected a float32 or float64 NumPy array"
        )
    if x.ndim not in (3, 4):
        raise ShapeError(f"corrupt: x is {x.shape}, expected (N, h, w) or (N, h, w, channels)")
    if not isinstance(rng, np.random.Generator):
        raise TypeError(
            f"corrupt: rng is {type(rng).__name__}, expected numpy.random.Generator: np.random.default_rng(seed)"
        )
    top = 1 if kind in ("salt-and-pepper", "contrast", "occlusion") else np.inf
    check_number(f"corrupt (kind {kind!r})", low=0, high=top, level=level)
    damaged = x.copy() if level == 0 else DAMAGE[kind](x, level, rng).astype(x.dtype)
    return damaged.clip(0, 1) if clip else damaged


def gaussian(x, level, rng):
    return x + level * rng.standard_normal(x.shape)


def salt_and_pepper(x, level, rng):
    hit = rng.random(x.shape[:3]) < level
    colour = rng.integers(0, 2, x.shape[:3])
    if x.ndim == 4:
        hit, colour = hit[..., None], colour[..., None]
    return np.where(hit, colour, x)


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


DAMAGE = {
    "gaussian": gaussian,
    "salt-and-pepper": salt_and_pepper,
    "brightness": brightness,
    "contrast": contrast,
    "occlusion": occlusion,
    "blur": blur,
}
