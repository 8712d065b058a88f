"""Corruptions of images as CIFAR-10-C defines them, in five severities.

Hendrycks and Dietterich, arXiv:1903.12261; the numbers are those of the script they published with
it. Ten of its nineteen are here. The others need pictures of frost, ImageMagick or OpenCV, or are
defined for 32 x 32 pixels. Images are damaged as bytes would be: cut to [0, 1], rounded down to
255ths. Grey images count as images with one channel.
"""

from functools import partial
from io import BytesIO

import numpy as np

from ..data.corruptions import Corruption


def gaussian_noise(x, c, rng):
    return x + rng.normal(scale=c, size=x.shape)


def shot_noise(x, c, rng):
    return rng.poisson(x * c) / c


def impulse_noise(x, c, rng):
    """Salt and pepper, in each channel by itself."""
    return np.where(rng.random(x.shape) < c, rng.integers(0, 2, x.shape), x)


def speckle_noise(x, c, rng):
    return x + x * rng.normal(scale=c, size=x.shape)


def gaussian_blur(x, c, rng):
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(x, sigma=c, axes=(1, 2), mode="nearest")


def defocus_blur(x, c, rng):
    """By a disk, which is itself blurred a little."""
    from scipy.ndimage import correlate

    (radius, alias), at = c, np.arange(-8, 9)
    disk = (at[:, None] ** 2 + at**2 <= radius**2) / 1.0
    tap = np.exp(-(np.arange(-1, 2) ** 2) / (2 * alias**2))
    kernel = correlate(disk / disk.sum(), np.outer(tap, tap) / tap.sum() ** 2, mode="constant")
    kernel = kernel[5:12, 5:12]  # beyond is nothing
    return correlate(x, kernel.reshape(1, 7, 7, 1), mode="mirror")


def brightness(x, c, rng):
    """c added to the value of HSV: hue and saturation stay."""
    value = x.max(axis=-1, keepdims=True)
    brighter = (value + c).clip(0, 1)
    return np.where(value > 0, x * brighter / np.where(value > 0, value, 1), brighter)


def contrast(x, c, rng):
    mean = x.mean(axis=(1, 2), keepdims=True)
    return (x - mean) * c + mean


def pixelate(x, c, rng):
    from PIL import Image

    side = x.shape[1]
    return each_image(x, lambda im: im.resize((int(side * c),) * 2, Image.BOX).resize((side, side), Image.BOX))


def jpeg(x, c, rng):
    from PIL import Image

    def squeezed(image):
        file = BytesIO()
        image.save(file, "JPEG", quality=c)
        return Image.open(file)

    return each_image(x, squeezed)


def each_image(x, change):
    """Images (N, h, w, 1 or 3), each changed as one of Pillow's, which matplotlib brings."""
    from PIL import Image

    pixels = (255 * x).astype("uint8")
    pixels = pixels[..., 0] if x.shape[3] == 1 else pixels
    return np.stack([np.asarray(change(Image.fromarray(p))) for p in pixels]).reshape(x.shape) / 255


NUMBERS = {
    gaussian_noise: (0.04, 0.06, 0.08, 0.09, 0.10),
    shot_noise: (500, 250, 100, 75, 50),
    impulse_noise: (0.01, 0.02, 0.03, 0.05, 0.07),
    speckle_noise: (0.06, 0.1, 0.12, 0.16, 0.2),
    gaussian_blur: (0.4, 0.6, 0.7, 0.8, 1.0),
    defocus_blur: ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    brightness: (0.05, 0.1, 0.15, 0.2, 0.3),
    contrast: (0.75, 0.5, 0.4, 0.3, 0.15),
    pixelate: (0.95, 0.9, 0.85, 0.75, 0.65),
    jpeg: (80, 65, 58, 50, 40),
}


def damaged(damage, x, severity, rng):
    """Images (N, h, w[, channels]) in [0, 1] with one kind of damage; severity: 1 to 5"""
    pixels = x.reshape(*x.shape[:3], -1).astype("float64")
    out = damage(pixels, NUMBERS[damage][int(severity) - 1], rng).clip(0, 1)
    return (np.floor(255 * out + 1e-6) / 255).astype(x.dtype).reshape(x.shape)


CIFAR_C = {
    damage.__name__.replace("_", " "): Corruption(partial(damaged, damage), "severity", (0, 1, 2, 3, 4, 5), 5)
    for damage in NUMBERS
}
