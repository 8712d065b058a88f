"""Images: scikit-learn's digits; MNIST, Fashion-MNIST and CIFAR from their files; your own."""

import io
import math
import os
import warnings

import numpy as np

from .files import LARGEST, VISIBLE, check_size, home, listed, opened, read, read_own, telling
from .splits import DataError, Dataset, Split, partition, sha256

IDX = {"mnist": "MNIST/raw", "fashion-mnist": "FashionMNIST/raw"}  # the folders that torchvision makes
BATCHES = [f"data_batch_{i}.bin" for i in range(1, 6)]
# The folder in the archive, its training files, its test file, the classes of each label byte.
CIFAR = {
    "cifar10": ("cifar-10-batches-bin", BATCHES, "test_batch.bin", (10,)),
    "cifar100": ("cifar-100-binary", ["train.bin"], "test.bin", (20, 100)),
}
FORMATS = "PNG", "JPEG", "BMP", "GIF", "WEBP"  # for none of them Pillow starts another program
LARGEST_IMAGE = 2**26  # pixels
# Names on openml.org.
OPENML = {"mnist": "mnist_784", "fashion-mnist": "Fashion-MNIST", "cifar10": "CIFAR_10"}


def load_digits(name, root=None):
    """scikit-learn's 1,797 scans of handwritten digits, 8 x 8, split 70 / 10 / 20 %.

    Grey levels 0 to 16 are divided by 16. Each split has equal shares of each digit.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = (bunch.images / 16).astype("float32")
    rows, labels, _ = partition(name, [""] * len(images), bunch.target)
    return _dataset(name, [(images[r], labels[r]) for r in rows], 10, white=1)


def load_idx(name, root=None):
    """MNIST or Fashion-MNIST, from the four idx files of a folder, gzipped or not.

    They are named train-images-idx3-ubyte or train-images.idx3-ubyte, with or without .gz; of
    several, the first is read. The last twelfth of the training file is the validation split.

    root : the folder, or the one above torchvision's MNIST/raw or FashionMNIST/raw; "download"
           fetches the images through scikit-learn
    """
    if root == "download":
        return _published(name, *((x.reshape(-1, 28, 28), y) for x, y in _download(name)), 10)
    folder = home(name, root, "the folder that holds train-images-idx3-ubyte.gz and its three companions", IDX[name])
    kinds = ("images", 3), ("labels", 1)
    files = {part: [_read_idx(_find(folder, part, kind, n), n) for kind, n in kinds] for part in ("train", "t10k")}
    images, labels = files["train"]
    for part, (x, y) in files.items():
        if len(x) != len(y) or y.max() > 9 or x.shape[1:] != (images.shape[2],) * 2 or len(images) < 2:
            wanted = "as many labels, 0 to 9, and two or more square images of one size"
            raise DataError(f"{root}: {part} has images {x.shape}, labels {y.shape} up to {y.max()}, expected {wanted}")
    return _published(name, (images, labels), files["t10k"], 10)


def load_cifar(name, root=None):
    """CIFAR-10 or CIFAR-100, from the binary files.

    Of CIFAR-10 there have to be all five batches, or data_batch_1.bin alone. The last twelfth of
    the training images is the validation split.

    root : the folder that holds them, or the one above; "download" fetches CIFAR-10 through
           scikit-learn
    """
    parts = _download(name) if root == "download" and name in OPENML else _read_parts(name, root)
    train, test = ((x.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), y) for x, y in parts)
    return _published(name, train, test, CIFAR[name][-1][-1])


def load_images(name, root=None, size=None):
    """Images of one's own: a label is the name of a folder, or stands in a table.

    They are FOLDER/LABEL/FILE, or FOLDER/train/LABEL/FILE and so on, or the rows of
    FOLDER/labels.csv, with the columns file and label, and perhaps split: train, valid or test.
    Those without a split are split 70 / 10 / 20 %; without a valid, a tenth of train is it.

    root : the folder, or the table
    size : height and width in pixels, to which images are resized and cropped around the centre;
           None: they are squares of one size
    """
    found, shapes = [], {}
    for path, (part, label, _), content in read_own(name, root, VISIBLE, ("file",)):
        pixels = _pixels(path, content, size)
        shapes.setdefault(pixels.shape[1::-1], path)
        if len({n for shape in shapes for n in shape}) > 1:
            said = ", ".join(f"{file} is {w} x {h}" for (w, h), file in shapes.items())
            raise DataError(f"{said} pixels, expected squares of one size, as the option size makes them")
        check_size(f"{path}, with all before it", pixels.nbytes * (len(found) + 1), LARGEST)
        found.append((part, label, pixels))
    parts, labels, pixels = zip(*found, strict=True)
    rows, y, names = partition(root, parts, labels)
    x = np.stack(pixels)
    x = x[..., 0] if (x == x[..., :1]).all() else x  # all of them are grey
    return _dataset(name, [(x[r], y[r]) for r in rows], len(names), labels=names)


def _pixels(path, content, size):
    """The bytes (h, w, 3) of an image as a viewer shows it: upright, and on white."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    with telling(path, faults=Exception), warnings.catch_warnings():  # Pillow has no end of errors
        warnings.simplefilter("ignore")
        try:
            image = Image.open(io.BytesIO(content), formats=FORMATS)
        except UnidentifiedImageError:
            raise ValueError(f"it is none of {', '.join(FORMATS)}") from None
        if image.width * image.height > LARGEST_IMAGE:
            raise ValueError(f"{image.width} x {image.height} pixels, expected at most {LARGEST_IMAGE:,}")
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):  # 16 bits; of those Pillow would cut off what is above 255
            image = Image.fromarray((np.asarray(image) >> 8).astype("uint8"))
        image = image.convert("RGBA")
        image = image if size is None else ImageOps.fit(image, (size, size))
        return np.array(Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB"))


def _published(name, train, test, n_out):
    """A data set from images and labels in bytes; the last twelfth of train is for validation."""
    images, labels = train
    n = len(images) - max(1, len(images) // 12)
    return _dataset(name, [(images[:n], labels[:n]), (images[n:], labels[n:]), test], n_out)


def _dataset(name, parts, n_out, white=255, **more):
    """A data set from images and labels of train, valid and test; white: the highest grey level."""
    splits = [Split(x.astype("float32", order="C") / white, y.astype("int64")) for x, y in parts]
    shape = splits[0].inputs.shape
    task = {"task": "vision", "n_out": n_out, "image_size": shape[1], "channels": [*shape, 1][3]}
    return Dataset(*splits, {"name": name, **task, "sha256": sha256(*(a for part in parts for a in part)), **more})


def _download(name):
    """Pixels (N, n) and labels, for training and for the test, which are the last 10,000."""
    from sklearn.datasets import fetch_openml

    with telling(name, f"{OPENML[name]} cannot be fetched from openml.org"):
        arrays = fetch_openml(OPENML[name], version=1, return_X_y=True, as_frame=False)
    pixels, labels = (a.astype("uint8") for a in arrays)
    return (pixels[:-10000], labels[:-10000]), (pixels[-10000:], labels[-10000:])


def _find(folder, part, kind, n_axes):
    names = [f"{part}-{kind}{mark}idx{n_axes}-ubyte{end}" for mark in "-." for end in ("", ".gz")]
    for path in (folder / name for name in names):
        if os.path.lexists(path):
            return path
    raise DataError(f"{folder / names[0]}: there is no such file, nor one named {', '.join(names[1:])}")


def _read_idx(path, n_axes):
    """The array of bytes in an idx file.

    The format: the bytes 0, 0, 8 and n_axes; the length of each axis in 4 bytes, the highest first;
    the bytes of the array.
    """
    with opened(path, unpack=True) as file:
        head = file.read(4 + 4 * n_axes)
        shape = tuple(int.from_bytes(head[i : i + 4], "big") for i in range(4, len(head), 4))
        size = math.prod(shape)
        if len(head) < 4 + 4 * n_axes or head[:4] != bytes([0, 0, 8, n_axes]) or not 0 < size <= LARGEST:
            raise DataError(f"{path}: offset 0: {head.hex(' ')} is not the head of an idx file of {n_axes} axes")
        body = file.read(size)
        if len(body) < size or file.read(1):
            found = f"the file ends at offset {len(head) + len(body)}" if len(body) < size else "more bytes follow"
            raise DataError(f"{path}: {found}, expected {len(head) + size} bytes by its head, which says {shape}")
    return np.frombuffer(body, np.uint8).reshape(shape)


def _read_parts(name, root):
    """Pixels (N, 3072) and labels of CIFAR, for training and for the test."""
    inner, train, test, classes = CIFAR[name]
    folder = home(name, root, f"the folder that holds {train[0]} and {test}", inner)
    batches = [_read_cifar(folder / file, classes) for file in (_batches(folder) if train is BATCHES else train)]
    pixels, labels = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
    return (pixels, labels), _read_cifar(folder / test, classes)


def _batches(folder):
    """The names of all batches, or of the first alone. A copy among them could be in two splits."""
    found = [name for name in listed(folder) if name.startswith("data_batch_") and name.endswith(".bin")]
    if found not in (BATCHES, BATCHES[:1]):
        odd = [f"{n} is {'one too many' if n in found else 'missing'}" for n in sorted({*found} ^ {*BATCHES})]
        raise DataError(f"{folder}: {', '.join(odd)}; expected {BATCHES[0]} to {BATCHES[-1]}, or {BATCHES[0]} alone")
    return found


def _read_cifar(path, classes):
    """Pixels and labels of one file.

    The format: records of a byte per label, the finest last, and three planes of 32 x 32.
    """
    content = np.frombuffer(read(path), np.uint8)
    size = len(classes) + 3 * 32 * 32
    n, rest = divmod(len(content), size)
    if rest or n < 2:
        found = f"offset {n * size}: the file ends at {len(content)}, after {rest} bytes of a record"
        raise DataError(f"{path}: {found}, expected two or more whole records of {size}")
    records = content.reshape(n, size)
    for row, column in np.argwhere(records[:, : len(classes)] >= classes)[:1]:
        found = f"offset {row * size + column}: label {records[row, column]}"
        raise DataError(f"{path}: {found}, expected 0 to {classes[column] - 1}")
    return records[:, len(classes) :], records[:, len(classes) - 1]
