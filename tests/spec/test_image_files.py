"""Images from files and from OpenML: what is read, how it is split, and what is said of damage."""

import gzip
from urllib.error import URLError

import numpy as np
import pytest
import sklearn.datasets
from support.data_files import CIFAR, IMAGES, LABELS, REAL, idx, rng, write_cifar, write_idx

from dgsa_np.data import DataError, load


@pytest.mark.parametrize("packed", [True, False])
def test_idx_files_become_images_between_0_and_1(packed, tmp_path):
    data = load("mnist", write_idx(tmp_path, packed))
    assert [s.inputs.shape for s in data[:3]] == [(33, 5, 5), (3, 5, 5), (7, 5, 5)]
    assert data.train.inputs.dtype == np.float32 and data.train.targets.dtype == np.int64
    assert np.array_equal(np.round(data.train.inputs * 255), IMAGES["train"][:33])
    assert np.array_equal(np.concatenate([data.train.targets, data.valid.targets]), LABELS["train"])
    assert (data.meta["image_size"], data.meta["n_out"], data.meta["task"]) == (5, 10, "vision")


def test_idx_files_may_be_gzipped_or_not_file_by_file(tmp_path):
    write_idx(tmp_path)
    for name in (f"{TRAIN}.gz", "t10k-labels-idx1-ubyte.gz"):
        path = tmp_path / name
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    whole = load("mnist", write_idx(tmp_path / "plain", packed=False))
    assert load("mnist", tmp_path).meta == whole.meta
    assert load("fashion-mnist", tmp_path).meta == whole.meta | {"name": "fashion-mnist"}


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("mark", ["-", "."])
def test_idx_files_have_two_names_and_none_says_that_they_are_gzipped(mark, end, packed, tmp_path):
    usual = load("mnist", write_idx(tmp_path / "usual"))
    assert load("mnist", write_idx(tmp_path / "other", packed, mark, end)).meta == usual.meta


def test_of_an_idx_file_that_is_there_twice_the_one_that_is_not_gz_is_read(tmp_path):
    write_idx(tmp_path, packed=False)
    for part in ("train", "t10k"):
        (tmp_path / f"{part}-labels-idx1-ubyte.gz").write_bytes(b"not read")
        (tmp_path / f"{part}-labels.idx1-ubyte").write_bytes(b"not read")
    assert np.array_equal(load("mnist", tmp_path).test.targets, LABELS["t10k"])


def test_idx_files_may_lie_where_torchvision_puts_them(tmp_path):
    for name, folder in (("mnist", "MNIST/raw"), ("fashion-mnist", "FashionMNIST/raw")):
        write_idx(tmp_path / folder)
        assert load(name, tmp_path).meta == load(name, tmp_path / folder).meta
        damage(f"{TRAIN}.gz", lambda b: b[:-20])(tmp_path / folder)
        with pytest.raises(DataError, match=folder):
            load(name, tmp_path)


def damage(name, change):
    def act(root):
        path = root / name
        path.write_bytes(change(path.read_bytes()))

    return act


TRAIN = "train-images-idx3-ubyte"
HUGE = bytes([0, 0, 8, 3]) + b"\xff" * 12
TERABYTE = bytes([0, 0, 8, 3, 0, 0, 64, 0, 0, 0, 32, 0, 0, 0, 32, 0])  # 2^14 x 2^13 x 2^13 = 2^40
DAMAGED = {
    "missing": (lambda root: (root / TRAIN).unlink(), TRAIN, "there is no such file"),
    "magic": (damage(TRAIN, lambda b: b"\x00\x00\x0d\x03" + b[4:]), TRAIN, "offset 0"),
    "head cut": (damage(TRAIN, lambda b: b[:9]), TRAIN, "offset 0"),
    "empty": (damage(TRAIN, lambda b: b""), TRAIN, "offset 0"),
    "body cut": (damage(TRAIN, lambda b: b[:-3]), TRAIN, "the file ends at offset 913, expected 916"),
    "more follows": (damage(TRAIN, lambda b: b + b"x"), TRAIN, "more bytes follow"),
    "promises too much": (damage(TRAIN, lambda b: HUGE + b[16:]), TRAIN, "offset 0"),
    "promises a terabyte": (damage(TRAIN, lambda b: TERABYTE + b[16:]), TRAIN, "offset 0"),
    "promises nothing": (damage(TRAIN, lambda b: b[:12] + bytes(4)), TRAIN, "offset 0"),
    "two axes": (damage(TRAIN, lambda b: idx(IMAGES["train"][0])), TRAIN, "is not the head of an idx file of 3 axes"),
    "other images": (damage("t10k-images-idx3-ubyte", lambda b: idx(IMAGES["t10k"][:, :4])), "t10k", "(7, 4, 5)"),
    "a label too few": (damage("t10k-labels-idx1-ubyte", lambda b: idx(LABELS["t10k"][:6])), "t10k", "as many labels"),
    "label 10": (damage("t10k-labels-idx1-ubyte", lambda b: b[:-1] + b"\x0a"), "t10k", "0 to 9"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_to_idx_files_is_told_with_file_and_place(name, tmp_path):
    act, file, words = DAMAGED[name]
    act(write_idx(tmp_path, packed=False))
    with pytest.raises(DataError) as caught:
        load("mnist", tmp_path)
    assert str(tmp_path) in str(caught.value) and file in str(caught.value) and words in str(caught.value)


PACKED = {
    "cut": lambda b: b[:-20],
    "head cut": lambda b: b[:5],
    "stream": lambda b: b[:40] + b"\xff" * 9 + b[49:],
    "sum": lambda b: b[:-8] + b"\x00" * 4 + b[-4:],
    "no gzip": lambda b: b"no gzip",
    "junk follows": lambda b: b + b"junk",
    "another follows": lambda b: b + b,
    "promises too much": lambda b: gzip.compress(HUGE),
    "promises a terabyte": lambda b: gzip.compress(TERABYTE),
}


@pytest.mark.parametrize("name", PACKED)
def test_damage_to_gzipped_files_is_told(name, tmp_path):
    damage(f"{TRAIN}.gz", PACKED[name])(write_idx(tmp_path))
    with pytest.raises(DataError, match=str(tmp_path / f"{TRAIN}.gz")):
        load("mnist", tmp_path)


def test_a_folder_of_images_that_is_none(tmp_path):
    (tmp_path / "file").touch()
    for root, words in ((None, "root is None"), (tmp_path / "file", "there is no such file"), (tmp_path, "nor one")):
        with pytest.raises(DataError, match=words):
            load("mnist", root)


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("dgsa_np.data.files.open", refuse, raising=False)
    with pytest.raises(DataError, match=f"{TRAIN}: cannot be read: Permission denied"):
        load("mnist", write_idx(tmp_path, packed=False))


@pytest.mark.slow
@pytest.mark.skipif(not (REAL / "fashion-mnist").exists(), reason="fashion-mnist is not here; a twin is above")
def test_the_real_images():
    data = load("fashion-mnist", REAL / "fashion-mnist")
    assert [len(s.targets) for s in data[:3]] == [55000, 5000, 10000]
    assert np.bincount(data.test.targets).tolist() == [1000] * 10
    assert data.train.targets[:5].tolist() == [9, 0, 0, 3, 0]


# -------------------------------------------------------------------------------------------- cifar

SIZE = {"cifar10": 3073, "cifar100": 3074}


@pytest.mark.parametrize("name", CIFAR)
def test_cifar_records_become_colour_images(name, tmp_path):
    written = write_cifar(tmp_path, name)
    data = load(name, tmp_path)
    assert load(name, tmp_path / CIFAR[name][1]).meta == data.meta  # the folder itself, or its parent
    images, labels = (np.concatenate(a) for a in zip(*(written[file] for file in CIFAR[name][2]), strict=True))
    n = len(labels) - len(labels) // 12
    for split, x, y in zip(data[:3], (images[:n], images[n:], written[CIFAR[name][3]][0]),
                           (labels[:n], labels[n:], written[CIFAR[name][3]][1]), strict=True):  # fmt: skip
        assert np.array_equal(np.round(split.inputs * 255), x) and np.array_equal(split.targets, y)
        assert split.inputs.dtype == np.float32 and split.targets.dtype == np.int64 and split.inputs.max() <= 1
        assert split.inputs.flags.c_contiguous
    expected = {"task": "vision", "n_out": CIFAR[name][0][-1], "image_size": 32, "channels": 3}
    assert expected.items() <= data.meta.items()


FIVE = CIFAR["cifar10"][2]
ODD = {  # the batches that are there, and what is said of them
    "a copy": ([*FIVE, "data_batch_5 (1).bin"], r"data_batch_5 \(1\)\.bin is one too many; expected"),
    "another copy": ([*FIVE, "data_batch_5 copy.bin"], "data_batch_5 copy.bin is one too many; expected"),
    "a copy of the only one": ([FIVE[0], "data_batch_1 (1).bin"], r"data_batch_1 \(1\)\.bin is one too many"),
    "a sixth": ([*FIVE, "data_batch_6.bin"], "data_batch_6.bin is one too many; expected"),
    "a tenth": ([*FIVE, "data_batch_10.bin"], "data_batch_10.bin is one too many; expected"),
    "a hole": ([*FIVE[:2], *FIVE[3:]], "/cifar-10-batches-bin: data_batch_3.bin is missing; expected"),
    "an end too early": (FIVE[:4], "data_batch_5.bin is missing; expected data_batch_1.bin to data_batch_5.bin, or"),
    "the second alone": (FIVE[1:2], "data_batch_1.bin is missing, data_batch_3.bin is missing, "),
    "none": ([], "data_batch_1.bin is missing, data_batch_2.bin is missing, "),
}


@pytest.mark.parametrize("name", ODD)
def test_copies_of_batches_and_batches_that_lack_are_told_by_name(name, tmp_path):
    write_cifar(tmp_path, "cifar10", n=2)
    (first, *_), folder = FIVE, tmp_path / "cifar-10-batches-bin"
    batch, (there, words) = (folder / first).read_bytes(), ODD[name]
    for file in {*FIVE, *there}:
        (folder / file).write_bytes(batch) if file in there else (folder / file).unlink()
    with pytest.raises(DataError, match=words):
        load("cifar10", tmp_path)


def test_the_first_batch_may_be_the_only_one(tmp_path):
    written = write_cifar(tmp_path, "cifar10")
    for file in FIVE[1:]:
        (tmp_path / "cifar-10-batches-bin" / file).unlink()
    data = load("cifar10", tmp_path)
    assert np.concatenate([s.targets for s in data[:2]]).tolist() == written["data_batch_1.bin"][1].tolist()


def changed(path, place, value):
    content = bytearray(path.read_bytes())
    content[place] = value
    path.write_bytes(content)


@pytest.mark.parametrize("name", CIFAR)
def test_damage_to_cifar_files_is_told_with_file_and_offset(name, tmp_path):
    write_cifar(tmp_path, name)
    size, (classes, folder, _, last) = SIZE[name], CIFAR[name]
    path = tmp_path / folder / last
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    cut = f"{last}: offset {17 * size}: the file ends at {18 * size - 100}, after {size - 100} bytes of a record"
    with pytest.raises(DataError, match=cut):
        load(name, tmp_path)
    for content in (b"", whole[:size]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=f"{last}: .*expected two or more whole records of {size}"):
            load(name, tmp_path)
    path.write_bytes(whole)
    for column, n in enumerate(classes):
        changed(path, 5 * size + column, n)
        with pytest.raises(DataError, match=f"{last}: offset {5 * size + column}: label {n}, expected 0 to {n - 1}"):
            load(name, tmp_path)
        path.write_bytes(whole)
    path.unlink()
    with pytest.raises(DataError, match=f"{last}: cannot be read: No such file"):
        load(name, tmp_path)
    for root, words in ((None, "root is None"), (tmp_path / "none", "cannot be read: No such file")):
        with pytest.raises(DataError, match=words):
            load(name, root)


@pytest.mark.slow
@pytest.mark.skipif(not (REAL / "cifar-10-subset").exists(), reason="cifar-10-subset is not here; a twin is above")
def test_the_real_cifar_images():
    data = load("cifar10", REAL / "cifar-10-subset")
    assert [len(s.targets) for s in data[:3]] == [9167, 833, 2000]
    counts = np.bincount(np.concatenate([s.targets for s in data[:2]]))
    assert counts.tolist() == [1005, 974, 1032, 1016, 999, 937, 1030, 1001, 1025, 981]
    assert np.bincount(data.test.targets).tolist() == [196, 198, 195, 199, 198, 185, 216, 193, 217, 203]
    between_rows = np.abs(np.diff(data.test.inputs, axis=1)).mean()
    assert between_rows < np.abs(data.test.inputs[1:] - data.test.inputs[:-1]).mean() / 2  # neighbours are alike


# ------------------------------------------------------------------------------------------- openml


@pytest.mark.parametrize(
    ("name", "title", "shape"),
    [
        ("mnist", "mnist_784", (28, 28)),
        ("fashion-mnist", "Fashion-MNIST", (28, 28)),
        pytest.param("cifar10", "CIFAR_10", (3, 32, 32), marks=pytest.mark.slow),
    ],
)
def test_images_from_openml(name, title, shape, monkeypatch):
    n = 10100
    pixels, labels = rng.integers(0, 256, (n, *shape)), rng.integers(0, 10, n)

    def fetch(asked, **options):
        assert asked == title and options == {"version": 1, "return_X_y": True, "as_frame": False}
        return pixels.reshape(n, -1).astype(float), labels.astype(str).astype(object)

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch)
    data = load(name, "download")
    assert [len(s.targets) for s in data[:3]] == [92, 8, 10000]
    images = pixels if len(shape) == 2 else np.moveaxis(pixels, 1, 3)
    assert np.array_equal(np.round(255 * data.test.inputs), images[100:])
    assert np.array_equal(np.concatenate([s.targets for s in data[:3]]), labels)
    assert (data.meta["channels"], data.meta["image_size"]) == (1 if len(shape) == 2 else 3, shape[-1])


@pytest.mark.parametrize("error", [URLError("no route to host"), ImportError("pandas"), ValueError("no such data")])
def test_a_fetcher_that_fails_is_told(error, monkeypatch):
    def fail(*args, **options):
        raise error

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fail)
    for name in ("mnist", "fashion-mnist", "cifar10"):
        with pytest.raises(DataError, match=f"^{name}: .* cannot be fetched from openml.org: "):
            load(name, "download")
