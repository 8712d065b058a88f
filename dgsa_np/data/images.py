"""Images: scikit-learn's digits, and the idx files of MNIST and Fashion-MNIST."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from .splits import DataError, Dataset, Split, sha256

LARGEST = 2**31  # bytes: what a header may promise


def load_digits(name, root=None):
    """1,797 scans of 8 x 8, grey levels 0 to 16 divided by 16, split 70 / 10 / 20 % with equal shares of each digit."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    if root is not None:
        raise ValueError(f"load: root is {root!r}, expected None: {name} comes with scikit-learn")
    bunch = load_digits()
    images, labels = (bunch.images / 16).astype("float32"), bunch.target.astype("int64")
    rest, test = train_test_split(np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=0)
    train, valid = train_test_split(rest, test_size=1 / 8, stratify=labels[rest], random_state=0)
    splits = [Split(images[r], labels[r]) for r in (train, valid, test)]
    return Dataset(*splits, _meta(name, images, 10, [a for s in splits for a in s[:2]]))


def load_idx(name, root=None):
    """The four idx files of a folder, gzipped or not; the last twelfth of the training file is the validation split."""
    kinds = ("images-idx3-ubyte", 3), ("labels-idx1-ubyte", 1)
    files = {part: [_read_idx(_find(name, root, f"{part}-{k}"), n) for k, n in kinds] for part in ("train", "t10k")}
    images, labels = files["train"]
    for part, (x, y) in files.items():
        if len(x) != len(y) or y.max() > 9 or x.shape[1:] != (images.shape[2],) * 2 or len(images) < 2:
            wanted = "as many labels, 0 to 9, and two or more square images of one size"
            raise DataError(f"{root}: {part} has images {x.shape}, labels {y.shape} up to {y.max()}, expected {wanted}")
    n = len(images) - max(1, len(images) // 12)
    parts = (images[:n], labels[:n]), (images[n:], labels[n:]), files["t10k"]
    splits = [Split(x.astype("float32") / 255, y.astype("int64")) for x, y in parts]
    return Dataset(*splits, _meta(name, images, 10, [a for part in parts for a in part]))


def _meta(name, images, n_out, arrays):
    task = {"task": "vision", "n_out": n_out, "image_size": images.shape[1], "channels": 1}
    return {"name": name, **task, "sha256": sha256(*arrays)}


def _find(name, root, stem):
    if root is None:
        raise DataError(f"{name}: root is None, expected the folder that holds {stem}.gz and its three companions")
    for path in (Path(root) / f"{stem}{end}" for end in ("", ".gz")):
        if path.is_file():
            return path
    raise DataError(f"{Path(root) / stem}: there is no such file, nor one with .gz; {name} needs its four idx files")


def _read_idx(path, n_axes):
    """An array of bytes. The format: 0 0 8 n_axes, the length of each axis in 4 bytes, big end first, the bytes."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            head = file.read(4 + 4 * n_axes)
            shape = tuple(int.from_bytes(head[i : i + 4], "big") for i in range(4, len(head), 4))
            size = math.prod(shape)
            if len(head) < 4 + 4 * n_axes or head[:4] != bytes([0, 0, 8, n_axes]) or not 0 < size <= LARGEST:
                raise DataError(f"{path}: offset 0: {head.hex(' ')} is not the head of an idx file of {n_axes} axes")
            body = file.read(size)
            if len(body) < size or file.read(1):
                found = f"the file ends at offset {len(head) + len(body)}" if len(body) < size else "more bytes follow"
                raise DataError(f"{path}: {found}, expected {len(head) + size} bytes by its head, which says {shape}")
    except (OSError, EOFError, zlib.error, MemoryError) as error:
        raise DataError(f"{path}: cannot be read to its end: {error}") from error
    return np.frombuffer(body, np.uint8).reshape(shape)
