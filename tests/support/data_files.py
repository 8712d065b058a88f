"""Files of data in the published formats, written here: small, and known."""

import csv
import gzip
import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from dgsa_np.data import Vocabulary, load

REAL = Path(__file__).parents[3] / "shared" / "data"
rng = np.random.default_rng(0)
IMAGES = {"train": rng.integers(0, 256, (36, 5, 5), np.uint8), "t10k": rng.integers(0, 256, (7, 5, 5), np.uint8)}
LABELS = {"train": np.arange(36, dtype=np.uint8) % 10, "t10k": np.arange(7, dtype=np.uint8)}
TEXT = "".join(rng.choice(list("abcde fg\n"), 2000))


def idx(a):
    return bytes([0, 0, 8, a.ndim]) + b"".join(n.to_bytes(4, "big") for n in a.shape) + a.tobytes()


def write_idx(root, packed=True, mark="-", end=None):
    """The four files, gzipped or not; their names end in .gz if they are, or as end says."""
    root.mkdir(exist_ok=True, parents=True)
    for part in ("train", "t10k"):
        for what, a in (("images", IMAGES[part]), ("labels", LABELS[part])):
            name = f"{part}-{what}{mark}idx{a.ndim}-ubyte{'.gz' * packed if end is None else end}"
            (root / name).write_bytes(gzip.compress(idx(a)) if packed else idx(a))
    return root


def write_sentences(root, n=40):
    root.mkdir(exist_ok=True)
    for side, word in (("neg", "dull"), ("pos", "fine")):
        lines = [f"the film {i % 7} is {word} " + "so " * (i % 5) + f"once{side}{i}" for i in range(n)]
        (root / f"rt-polarity.{side}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def text_file(tmp_path, content=TEXT):
    path = tmp_path / "text.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def fuzzed_images(root):
    """Anything of the right shape: a changed pixel looks like any other."""
    assert [s.inputs.shape for s in load("mnist", root)[:3]] == [(33, 5, 5), (3, 5, 5), (7, 5, 5)]


def fuzzed_gzip(root):
    """Nothing but what was packed."""
    data = load("mnist", root)
    assert np.array_equal(np.round(255 * data.test.inputs), IMAGES["t10k"])
    assert np.array_equal(np.round(255 * np.concatenate([s.inputs for s in data[:2]])), IMAGES["train"])
    assert np.array_equal(np.concatenate([s.targets for s in data[:3]]), np.concatenate(list(LABELS.values())))


def fuzzed_text(root):
    data, text = load("text", root / "text.txt", length=16), (root / "text.txt").read_bytes().decode()
    assert data.meta["sha256"] == hashlib.sha256(text.replace("\r\n", "\n").encode()).hexdigest()
    assert all((s.inputs[:, 1:] == s.targets[:, :-1]).all() for s in data[:3])


def fuzzed_sentences(root):
    data = load("rt-polarity", root, length=7, min_count=1)
    lines = [line for path in root.iterdir() for line in path.read_bytes().decode().split("\n") if line.strip()]
    assert sum(len(s.targets) for s in data[:3]) == len(lines)
    assert sum(s.keep.sum() for s in data[:3]) == sum(min(7, len(line.split())) for line in lines)


def fuzzed_own(root):
    """As many images as the table has rows: a changed pixel looks like any other."""
    data, table = load("images", root), (root / "labels.csv").read_bytes().decode().splitlines()
    assert sum(len(s.targets) for s in data[:3]) == len([line for line in table if line]) - 1
    assert all(s.inputs.shape[1:3] == (8, 8) and 0 <= s.inputs.min() <= s.inputs.max() <= 1 for s in data[:3])


FUZZ = {
    "idx": (lambda root: write_idx(root, packed=False), fuzzed_images),
    "gzipped idx": (write_idx, fuzzed_gzip),
    "text": (text_file, fuzzed_text),
    "rt-polarity": (lambda root: write_sentences(root, 12), fuzzed_sentences),
    "images": (lambda root: write_listed_images(root), fuzzed_own),
}


def vocabulary_of(data):
    return Vocabulary(data.meta["unit"], data.meta["symbols"])


def texts_of(data, split):
    """The tokens of each row as text, without padding."""
    return [vocabulary_of(data).decode(row[keep]) for row, keep in zip(split.inputs, split.keep, strict=True)]


CIFAR = {  # label bytes, their classes, folder, files for training, file of the test
    "cifar10": ((10,), "cifar-10-batches-bin", [f"data_batch_{i}.bin" for i in range(1, 6)], "test_batch.bin"),
    "cifar100": ((20, 100), "cifar-100-binary", ["train.bin"], "test.bin"),
}


def write_cifar(root, name, n=18):
    """n records in each file; images (N, 32, 32, 3) and labels of each, as they should be read."""
    classes, folder, first, last = CIFAR[name]
    (root / folder).mkdir(parents=True)
    written = {}
    for file in (*first, last):
        labels = rng.integers(0, classes, (n, len(classes)), np.uint8)
        images = rng.integers(0, 256, (n, 32, 32, 3), np.uint8)
        planes = [image[:, :, channel].tobytes() for image in images for channel in range(3)]
        records = [labels[i].tobytes() + b"".join(planes[3 * i : 3 * i + 3]) for i in range(n)]
        (root / folder / file).write_bytes(b"".join(records))
        written[file] = images, labels[:, -1]
    return written


def reviews(n=20):
    """{path: text} in the layout of aclImdb, with what else lies there."""
    found = {"aclImdb/README": "train pos", "aclImdb/train/unsup/0_0.txt": "unlabelled", "aclImdb/imdb.vocab": "the"}
    for part in ("train", "test"):
        for side, word in (("neg", "Dull"), ("pos", "Fine")):
            found[f"aclImdb/{part}/urls_{side}.txt"] = "http"
            for i, letter in enumerate("abcdefghijklmnopqrst"[:n]):
                text = f"{word} film, isn't it?<br /><br />It's {part} own{part}{side}{letter} twice{part}"
                found[f"aclImdb/{part}/{side}/{i}_{9 if side == 'pos' else 2}.txt"] = text
    return found


def posts(n=12, groups=("alt.atheism", "sci.space", "talk.politics.misc")):
    """{path: text} in the layout of 20news-bydate."""
    found = {}
    for part in ("train", "test"):
        for group in groups:
            for i in range(n):
                body = f"Orbit of {group.split('.')[1]} number {i} in\n> quoted {group}\n{part}word {part}word, yes."
                head = f"From: someone\nNewsgroups: {group}\nSubject: headword"
                text = f"{head}\n\nHe writes:\n{body}\n\n--\nfooter caf\xe9 {group}\n"
                found[f"20news-bydate-{part}/{group}/{100 + i}"] = text
    return found


TEXTS = {"imdb": (reviews, "utf-8"), "20newsgroups": (posts, "latin-1")}


def write_folder(root, files, encoding):
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(text.encode(encoding))
    return root


def write_archive(path, files, encoding, prefix=""):
    """A tar archive of the files in any order, gzipped if its name says so;
    prefix "./" as tar -C FOLDER . gives.
    """
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for name in rng.permutation(list(files)):
            member = tarfile.TarInfo(prefix + str(name))
            member.size = len(files[name].encode(encoding))
            tar.addfile(member, io.BytesIO(files[name].encode(encoding)))
    return path


def news(n=12):
    return [(str(i % 4 + 1), f'Title, "{i % 4}"', f"Markets rose\nin row {i}; {'ab'[i % 2]}") for i in range(4 * n)]


def write_news(root, head=False, n=12):
    root.mkdir(exist_ok=True)
    for part, rows in (("train", news(n)), ("test", news(n // 2))):
        with open(root / f"{part}.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, quoting=csv.QUOTE_ALL)
            writer.writerows([("Class Index", "Title", "Description")] * head + rows)
    return root


# ---------------------------------------------------------------------------- a folder of one's own


def picture(pixels, kind="PNG", **options):
    """The bytes of a file that shows these pixels: an array, or an image of Pillow."""
    file = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(file, kind, **options)
    return file.getvalue()


def own_images(n=10, parts=("",), labels=("cat", "dog"), shape=(8, 8)):
    """{path: pixels} of n images of each label in each part."""
    names = [f"{part}/{label}/{i:02}.png".lstrip("/") for part in parts for label in labels for i in range(n)]
    return {name: rng.integers(0, 256, shape, np.uint8) for name in names}


def own_texts(n=12, parts=("",), labels=("bad", "good")):
    """{path: text} of n texts of each label in each part."""
    names = [f"{part}/{label}/{i:02}.txt".lstrip("/") for part in parts for label in labels for i in range(n)]
    return {name: f"Number {name[-6:-4]} is\na {name.split('/')[-2]} one, isn't it?" for name in names}


def write_images(root, images):
    """Images as PNG, or bytes as they are."""
    for path, pixels in images.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(pixels if isinstance(pixels, bytes) else picture(pixels))
    return root


def write_table(root, rows, header=("file", "label")):
    """The rows, and a header above them, as labels.csv."""
    root.mkdir(exist_ok=True, parents=True)
    with open(root / "labels.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return root


def write_listed_images(root):
    """All in one folder, with their table."""
    images = own_images()
    write_images(root, {path.replace("/", "-"): pixels for path, pixels in images.items()})
    return write_table(root, [(path.replace("/", "-"), path.split("/")[0]) for path in images])


def write_listed_texts(root):
    return write_table(root, [(path.split("/")[0], text) for path, text in own_texts().items()], ("label", "text"))
