"""CIFAR, IMDB, AG News and 20 Newsgroups: files in the published formats, written here; what is read and refused."""

import csv
import io
import tarfile
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest
import sklearn.datasets

from dgsa_np.data import DataError, Vocabulary, load
from dgsa_np.data.labelled import WORD
from dgsa_np.lab.settings import RECIPES, settle

REAL = Path(__file__).parents[3] / "shared" / "data"
rng = np.random.default_rng(0)


def vocabulary_of(data):
    return Vocabulary(data.meta["unit"], data.meta["symbols"])


def texts_of(data, split):
    """The tokens of each row as text, without padding."""
    return [vocabulary_of(data).decode(row[keep]) for row, keep in zip(split.inputs, split.keep, strict=True)]


# ----------------------------------------------------------------------------------------------- cifar

CIFAR = {  # label bytes, their classes, folder, files for training, file of the test
    "cifar10": ((10,), "cifar-10-batches-bin", ("data_batch_1.bin", "data_batch_2.bin"), "test_batch.bin"),
    "cifar100": ((20, 100), "cifar-100-binary", ("train.bin",), "test.bin"),
}
SIZE = {"cifar10": 3073, "cifar100": 3074}


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


def test_cifar_batches_come_in_the_order_of_their_numbers(tmp_path):
    write_cifar(tmp_path, "cifar10", n=2)
    folder = tmp_path / "cifar-10-batches-bin"
    (folder / "data_batch_10.bin").write_bytes((folder / "data_batch_1.bin").read_bytes())
    one, two = (np.fromfile(folder / f"data_batch_{i}.bin", np.uint8).reshape(-1, 3073)[:, 0] for i in (1, 2))
    data = load("cifar10", tmp_path)
    assert np.concatenate([s.targets for s in data[:2]]).tolist() == [*one, *two, *one]


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


# ---------------------------------------------------------------------------------------------- openml


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


# ------------------------------------------------------------------------------------------------ imdb


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
    """A tar archive of the files in any order, gzipped if its name says so; prefix "./" as tar -C FOLDER . gives."""
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for name in rng.permutation(list(files)):
            member = tarfile.TarInfo(prefix + str(name))
            member.size = len(files[name].encode(encoding))
            tar.addfile(member, io.BytesIO(files[name].encode(encoding)))
    return path


@pytest.mark.parametrize("name", TEXTS)
def test_a_folder_and_its_archives_hold_the_same_data(name, tmp_path):
    files, encoding = TEXTS[name][0](), TEXTS[name][1]
    folder = load(name, write_folder(tmp_path / "folder", files, encoding))
    archives = [
        load(name, write_archive(tmp_path / file, files, encoding, prefix))
        for file, prefix in (("a.tar.gz", ""), ("b.tar", ""), ("c.tar.gz", "./"))
    ]
    assert all(archive.meta == folder.meta for archive in archives)
    for archive in archives:
        for a, b in zip(archive[:3], folder[:3], strict=True):
            assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tar.gz", "b.tar", "c.tar.gz", "folder"]  # nothing unpacked


def test_reviews_are_labelled_and_split(tmp_path):
    data = load("imdb", write_folder(tmp_path, reviews(), "utf-8"), length=20)
    assert load("imdb", tmp_path / "aclImdb", length=20).meta == data.meta
    assert [np.bincount(s.targets).tolist() for s in data[:3]] == [[18, 18], [2, 2], [20, 20]]
    expected = {"task": "text", "n_out": 2, "max_len": 20, "unit": "words", "vocab_size": len(data.meta["symbols"])}
    assert expected.items() <= data.meta.items()
    for split in data[:3]:
        assert np.array_equal(split.keep, split.inputs != 0) and split.keep.any(axis=1).all()
        for text, label in zip(texts_of(data, split), split.targets, strict=True):
            assert text.startswith(("dull film , isn't it ? it's ", "fine film , isn't it ? it's ")[label])
    words = set(data.meta["symbols"])
    assert {"dull", "fine", "isn't", "it's", "train", "?", ","} <= words
    assert not words & {"br", "<", "test", "twicetest", "unlabelled", "http"}  # twicetest stands ten times in test
    assert "twicetrain" in words and load("imdb", tmp_path).train.inputs.shape[1] == 256


def test_words_are_those_of_the_training_split_alone(tmp_path):
    data = load("imdb", write_folder(tmp_path, reviews(), "utf-8"), length=40, min_count=1)
    seen = {word for text in texts_of(data, data.train) for word in text.split()}
    assert set(data.meta["symbols"][2:]) == seen and (data.train.inputs != 1).all()
    assert sum(word.startswith("owntrain") for word in seen) == 36  # one for each training review
    assert (data.valid.inputs == 1).sum() == 4 and (data.test.inputs == 1).sum() == 40 * 3


def test_the_most_frequent_words_are_kept(tmp_path):
    write_folder(tmp_path, reviews(), "utf-8")
    every = load("imdb", tmp_path, length=40, min_count=1)
    counts = np.bincount(every.train.inputs.ravel())[2:]
    few = load("imdb", tmp_path, length=40, min_count=1, max_words=7)
    assert few.meta["vocab_size"] == 9 and set(few.meta["symbols"]) <= set(every.meta["symbols"])
    kept = [counts[every.meta["symbols"].index(word) - 2] for word in few.meta["symbols"][2:]]
    assert sorted(kept) == sorted(counts)[-7:]
    rare = load("imdb", tmp_path, length=40, min_count=19)
    assert rare.meta["vocab_size"] == 2 + (counts >= 19).sum()


def test_words_are_split_from_marks():
    text = "don't 'quote' rock'n'roll 1990s, a_b caf\xe9... \u4f60\u597d \U0001f600"
    words = ["don't", "'", "quote", "'", "rock'n'roll", "1990", "s", ",", "a", "_", "b"]
    words += ["caf\xe9", ".", ".", ".", "\u4f60\u597d", "\U0001f600"]
    assert WORD.findall(text) == words


@pytest.mark.slow
@pytest.mark.skipif(not (REAL / "imdb-subset").exists(), reason="imdb-subset is not here; a twin is above")
def test_the_real_reviews():
    data = load("imdb", REAL / "imdb-subset/aclImdb-subset.tar.gz")
    counts = [np.bincount(s.targets).tolist() for s in data[:3]]
    assert counts == [[2250, 2250], [250, 250], [2500, 2500]] and data.meta["vocab_size"] == 20002
    assert {"the", "movie", "don't", "!"} <= set(data.meta["symbols"]) and "br" not in data.meta["symbols"]


# ---------------------------------------------------------------------------------------- 20 newsgroups


def test_posts_come_without_headers_footers_and_quotes(tmp_path):
    data = load("20newsgroups", write_folder(tmp_path, posts(), "latin-1"), min_count=1)
    assert [len(s.targets) for s in data[:3]] == [32, 4, 36]
    assert np.bincount(data.test.targets).tolist() == [12, 12, 12]
    assert data.meta["n_out"] == 3 and data.meta["max_len"] == 128
    words = set(data.meta["symbols"])
    told = {"someone", "newsgroups", "headword", "quoted", "footer", "caf\xe9", "writes", "he", "misc", "alt", "sci"}
    assert not words & told and {"orbit", "trainword", "yes", "."} <= words and "testword" not in words
    for text, label in zip(texts_of(data, data.train), data.train.targets, strict=True):
        group = ("atheism", "space", "politics")[label]  # labels are the sorted names
        assert text.startswith(f"orbit of {group} number ") and text.endswith(" in trainword trainword , yes .")


def test_lines_of_posts_may_end_as_on_windows(tmp_path):
    unix = load("20newsgroups", write_folder(tmp_path / "unix", posts(), "latin-1"))
    files = {path: text.replace("\n", "\r\n") for path, text in posts().items()}
    assert load("20newsgroups", write_folder(tmp_path / "windows", files, "latin-1")).meta == unix.meta


def test_of_a_post_that_holds_nothing_one_unknown_word_is_left(tmp_path):
    files = posts()
    empty = ["train/sci.space/100", "train/sci.space/101", "train/sci.space/102", "test/sci.space/100"]
    files |= {f"20news-bydate-{path}": "From: someone\n\n> all of it\n" for path in empty}
    data = load("20newsgroups", write_folder(tmp_path, files, "latin-1"), min_count=1)
    assert all(split.keep[:, 0].all() for split in data[:3])
    rows = data.test.inputs[data.test.keep.sum(axis=1) == 1]
    assert rows.shape[0] == 1 and rows[0, 0] == 1 and data.meta["symbols"].count("\ufffd") == 1


def test_fetched_posts_are_those_of_the_folder(tmp_path, monkeypatch):
    from sklearn.datasets import _twenty_newsgroups as strip

    files, groups = posts(), sorted({path.split("/")[1] for path in posts()})

    def fetch(subset, remove):
        assert remove == ("headers", "footers", "quotes")
        names = [path for path in rng.permutation(list(files)) if f"-{subset}/" in path]
        texts = [strip.strip_newsgroup_header(files[path]) for path in names]
        texts = [strip.strip_newsgroup_quoting(strip.strip_newsgroup_footer(text)) for text in texts]
        target = np.array([groups.index(path.split("/")[1]) for path in names])
        return SimpleNamespace(data=texts, target=target, target_names=groups, filenames=np.array(names))

    monkeypatch.setattr(sklearn.datasets, "fetch_20newsgroups", fetch)
    fetched = load("20newsgroups", "download")
    assert fetched.meta == load("20newsgroups", write_folder(tmp_path, files, "latin-1")).meta

    def fail(**options):
        raise URLError("no route to host")

    monkeypatch.setattr(sklearn.datasets, "fetch_20newsgroups", fail)
    with pytest.raises(DataError, match=r"20newsgroups: cannot be fetched: .*no route to host"):
        load("20newsgroups", "download")


def without(pattern):
    """The files but those with the pattern in their path."""
    return lambda files: {path: text for path, text in files.items() if pattern not in path}


ODD = {
    "a group too few": (
        posts,
        "latin-1",
        without("test/sci.space"),
        "'sci.space'.* in train, .* in test, expected two",
    ),
    "one group": (lambda: posts(groups=("sci.space",)), "latin-1", dict, r"labels \['sci.space'\] in train"),
    "too few posts": (lambda: posts(n=2), "latin-1", dict, "6 texts in train, too few to split"),
    "no test": (reviews, "utf-8", without("/test/"), r"\[\] in test, expected two or more"),
    "no reviews": (reviews, "utf-8", without(".txt"), "there is no aclImdb/train/pos/0_9.txt, nor its like"),
}


@pytest.mark.parametrize("name", ODD)
def test_folders_and_archives_that_lack_something(name, tmp_path):
    make, encoding, change, words = ODD[name]
    loader = "imdb" if make is reviews else "20newsgroups"
    folder = write_folder(tmp_path / "folder", change(make()), encoding)
    for root in (folder, write_archive(tmp_path / "a.tar.gz", change(make()), encoding)):
        with pytest.raises(DataError, match=words) as caught:
            load(loader, root)
        assert str(caught.value).startswith(str(root))


@pytest.mark.parametrize("name", TEXTS)
def test_roots_that_are_none(name, tmp_path):
    (tmp_path / "file.txt").write_text("no archive " * 100)
    (tmp_path / "empty.tar").touch()
    (tmp_path / "file.tar.gz").write_bytes(b"no archive")
    with pytest.raises(DataError, match=rf"{name}: root is None, expected a folder or a \.tar\.gz that holds "):
        load(name)
    for file in ("file.txt", "empty.tar", "file.tar.gz", "missing"):
        with pytest.raises(DataError, match=f"{file}: cannot be read to its end, only 0 texts: "):
            load(name, tmp_path / file)
    with pytest.raises(DataError, match="there is no"):
        load(name, tmp_path)


def test_a_review_that_is_not_utf_8(tmp_path):
    files = reviews() | {"aclImdb/train/pos/3_9.txt": "Fine caf\xe9"}
    for root in (
        write_folder(tmp_path / "folder", files, "latin-1"),
        write_archive(tmp_path / "a.tar", files, "latin-1"),
    ):
        with pytest.raises(DataError, match=f"{root}: aclImdb/train/pos/3_9.txt: offset 8: not utf-8"):
            load("imdb", root)


def test_cut_and_damaged_archives_are_refused(tmp_path):
    files = reviews()
    packed, plain = (write_archive(tmp_path / name, files, "utf-8") for name in ("a.tar.gz", "b.tar"))
    whole = packed.read_bytes()
    for part in (whole[:-1], whole[:-8], whole[: len(whole) // 2], whole[:15], b""):
        packed.write_bytes(part)
        with pytest.raises(DataError, match=r"a.tar.gz: cannot be read to its end, only \d+ texts"):
            load("imdb", packed)
    whole = plain.read_bytes()
    members = 512 * (2 * len(files))  # a head and a body of one block each
    assert not whole[members:].strip(b"\0")
    for size in (members, members - 512, members - 500, members - 600, 1024 * 10, 1024 * 10 + 7, 1000):
        plain.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"b.tar: cannot be read to its end, only \d+ texts: "):
            load("imdb", plain)
    plain.write_bytes(whole[: 1024 * 30] + b"x" + whole[1024 * 30 + 1 :])  # the head of a member
    with pytest.raises(DataError, match=f"offset {1024 * 30}: neither a file nor the end of an archive"):
        load("imdb", plain)
    plain.write_bytes(whole[: members + 512])
    assert sum(len(s.targets) for s in load("imdb", plain)[:3]) == 80


# --------------------------------------------------------------------------------------------- ag news


def news(n=12):
    return [(str(i % 4 + 1), f'Title, "{i % 4}"', f"Markets rose\nin row {i}; {'ab'[i % 2]}") for i in range(4 * n)]


def write_news(root, head=False, n=12):
    root.mkdir(exist_ok=True)
    for part, rows in (("train", news(n)), ("test", news(n // 2))):
        with open(root / f"{part}.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, quoting=csv.QUOTE_ALL)
            writer.writerows([("Class Index", "Title", "Description")] * head + rows)
    return root


def test_news_are_labelled_and_split(tmp_path):
    data = load("ag-news", write_news(tmp_path / "plain"))
    assert load("ag-news", write_news(tmp_path / "head", head=True)).meta == data.meta
    assert [len(s.targets) for s in data[:3]] == [43, 5, 24] and data.meta["n_out"] == 4
    assert np.bincount(np.concatenate([s.targets for s in data[:2]])).tolist() == [12] * 4
    for text, label in zip(texts_of(data, data.train), data.train.targets, strict=True):
        assert text.startswith(f'title , " {label} " markets rose in row ') and text.endswith(" ; " + "ab"[label % 2])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.replace('"3"', '"5"', 1), "train.csv: line 6: .*expected a class 1 to 4, a title, a description"),
        (lambda t: t.replace('"1",', '"1","",', 1), "train.csv: line 2: "),
        (lambda t: t.replace('"1",', "", 1), "train.csv: line 2: "),
        (lambda t: t + '"1","cut', "train.csv: line 97: "),
        (lambda t: t + '"1","a"b,"c"\r\n', "train.csv: line 97: "),
        (lambda t: t + '"Class Index","Title","Description"\r\n', "train.csv: line 97: "),
        (lambda t: "", "train.csv: the file holds no text"),
        (lambda t: '"1","a","b"\r\n', r"labels \['1'\] in train"),
    ],
)
def test_damage_to_news_is_told_with_file_and_line(change, words, tmp_path):
    path = write_news(tmp_path) / "train.csv"
    path.write_bytes(change(path.read_bytes().decode()).encode())
    with pytest.raises(DataError, match=words) as caught:
        load("ag-news", tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_news_that_are_not_there(tmp_path):
    with pytest.raises(DataError, match="root is None"):
        load("ag-news")
    write_news(tmp_path)
    (tmp_path / "train.csv").write_bytes(b'"1","\xe9","b"')
    with pytest.raises(DataError, match=r"train.csv: offset 5: not utf-8"):
        load("ag-news", tmp_path)
    write_news(tmp_path)
    (tmp_path / "test.csv").unlink()
    with pytest.raises(DataError, match=r"test.csv: cannot be read: No such file"):
        load("ag-news", tmp_path)


# ------------------------------------------------------------------------------------------------ all


WRITERS = {
    "cifar10": lambda root: write_cifar(root, "cifar10", 3),
    "cifar100": lambda root: write_cifar(root, "cifar100", 3),
    "imdb": lambda root: write_folder(root, reviews(), "utf-8"),
    "ag-news": write_news,
    "20newsgroups": lambda root: write_folder(root, posts(), "latin-1"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_model_is_configured_from_the_data(name, tmp_path):
    WRITERS[name](tmp_path)
    _, cfg, train, data = settle({"data": name, "root": str(tmp_path), "device": "cpu", "threads": 1})
    assert cfg.n_out == data.meta["n_out"] and cfg.task == data.meta["task"]
    assert RECIPES[name].items() <= (vars(cfg) | vars(train)).items()
    assert data.meta == load(name, tmp_path).meta


@pytest.mark.parametrize("options", [{"max_words": 0}, {"max_words": 1.5}, {"length": 0}, {"min_count": True}])
def test_counts_that_are_none(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} is .*, expected a whole number of at least 1"):
        load("imdb", "x", **options)


FUZZ = {
    "cifar10": lambda root: write_cifar(root, "cifar10", 3) and root,
    "imdb": lambda root: write_archive(root / "a.tar", reviews(12), "utf-8"),
    "20newsgroups": lambda root: write_archive(root / "a.tar.gz", posts(), "latin-1"),
    "ag-news": lambda root: write_news(root, n=10),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FUZZ)
def test_fuzzed_files_are_read_or_refused(name, tmp_path, fuzzed):
    """Whatever else a loader raised would end this test; of a packed archive nothing but what was packed is read."""
    root, refused = FUZZ[name](tmp_path), 0
    whole = load(name, root)
    for _ in fuzzed(sorted(path for path in tmp_path.rglob("*") if path.is_file()), 300):
        try:
            data = load(name, root)
            assert name == "ag-news" or [s.inputs.shape for s in data[:3]] == [s.inputs.shape for s in whole[:3]]
            assert name != "20newsgroups" or data.meta == whole.meta
        except DataError as error:
            refused += 1
            assert str(tmp_path) in str(error)
    assert 30 < refused <= 300
