"""A folder of one's own, of images or of texts:
what is read, how it is split, and what is said of what is wrong.
"""

import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.commands import SMALL, say
from support.data_files import (
    own_images,
    own_texts,
    picture,
    rng,
    texts_of,
    write_folder,
    write_images,
    write_listed_images,
    write_table,
)
from support.tiers import most_later

from dgsa_np.data import DataError, load
from dgsa_np.lab import runs
from dgsa_np.lab.settings import SettingsError, settle

LABELS = ["cat", "dog"]
THREE = ("train", "valid", "test")


def pixels_of(split):
    return [image.tobytes() for image in np.round(255 * split.inputs).astype("uint8")]


def check_pixels(split, images):
    """The split has these images, each with its label, and no others."""
    labels = dict(zip(pixels_of(split), split.targets.tolist(), strict=True))
    assert labels == {pixels.tobytes(): LABELS.index(path.split("/")[-2]) for path, pixels in images.items()}


def rows_of(files, split=False):
    """A row for each file: file, label, and its split."""
    return [(path, path.split("/")[-2], *[path.split("/")[0]] * split) for path in files]


# ------------------------------------------------------------------------------------------ layouts


def test_a_folder_for_each_label_is_split_once_and_for_all(tmp_path):
    images = own_images()
    data = load("images", write_images(tmp_path, images))
    assert [np.bincount(s.targets).tolist() for s in data[:3]] == [[7, 7], [1, 1], [2, 2]]
    for split in data[:3]:
        assert split.inputs.shape[1:] == (8, 8) and split.inputs.dtype == np.float32 and split.targets.dtype == "int64"
        check_pixels(split, {path: a for path, a in images.items() if a.tobytes() in pixels_of(split)})
    assert len({pixels for split in data[:3] for pixels in pixels_of(split)}) == 20
    expected = {"name": "images", "task": "vision", "n_out": 2, "image_size": 8, "channels": 1, "labels": LABELS}
    assert expected.items() <= data.meta.items() and load("images", tmp_path).meta == data.meta


def test_folders_train_and_test_are_kept_and_a_tenth_of_train_validates(tmp_path):
    images = own_images(parts=("train", "test"))
    data = load("images", write_images(tmp_path, images))
    assert [np.bincount(s.targets).tolist() for s in data[:3]] == [[9, 9], [1, 1], [10, 10]]
    check_pixels(data.test, {path: a for path, a in images.items() if path.startswith("test")})


def test_a_folder_valid_is_kept_too_and_then_there_may_be_few(tmp_path):
    images = own_images(n=1, parts=THREE)
    data = load("images", write_images(tmp_path, images))
    for part, split in zip(THREE, data, strict=False):
        check_pixels(split, {path: a for path, a in images.items() if path.startswith(part)})


def test_a_label_may_be_called_train(tmp_path):
    data = load("images", write_images(tmp_path, own_images(labels=("car", "train"))))
    assert data.meta["labels"] == ["car", "train"] and len(data.train.targets) == 14


def test_a_table_says_what_folders_would(tmp_path):
    images = own_images(parts=THREE)
    folders = load("images", write_images(tmp_path / "a", images))
    write_table(write_images(tmp_path / "b", images), rows_of(sorted(images), split=True), ("file", "label", "split"))
    for root in (tmp_path / "b", tmp_path / "b/labels.csv"):
        table = load("images", root)
        for part, split, other in zip(THREE, table[:3], folders[:3], strict=True):
            check_pixels(split, {path: a for path, a in images.items() if path.startswith(part)})
            assert sorted(pixels_of(split)) == sorted(pixels_of(other))


def test_a_table_without_splits_is_split(tmp_path):
    images = own_images()
    data = load("images", write_table(write_images(tmp_path, images), rows_of(images)))
    assert [np.bincount(s.targets).tolist() for s in data[:3]] == [[7, 7], [1, 1], [2, 2]]


WRITTEN = {  # how programs write a table
    "a byte-order mark": lambda text: "\ufeff" + text,
    "Windows": lambda text: text.replace("/", "\\"),
    "spaces": lambda text: text.replace(",", " , ").replace("file", " File"),
    "quotes": lambda text: "".join(f'"{line}"\n'.replace(",", '","') for line in text.splitlines()),
    "blank lines": lambda text: text.replace("\r\n", "\n\n"),
    "another column": lambda text: text.replace("\r\n", ",\r\n").replace("label,", "label,note"),
}


@pytest.mark.parametrize("name", most_later(WRITTEN, now=list(WRITTEN)[::2]))
def test_tables_as_programs_write_them(name, tmp_path):
    images = own_images()
    usual = load("images", write_table(write_images(tmp_path, images), rows_of(images))).meta
    table = tmp_path / "labels.csv"
    table.write_bytes(WRITTEN[name](table.read_bytes().decode()).encode())
    assert load("images", tmp_path).meta == usual


@pytest.mark.parametrize("name", ["images", "texts"])
@pytest.mark.parametrize("parts", [("",), ("train", "test")])
def test_hidden_files_and_folders_are_none_of_the_data(name, parts, tmp_path):
    if name == "images":
        write_images(tmp_path, own_images(parts=parts))
    else:
        write_folder(tmp_path, own_texts(parts=parts), "utf-8")
    usual = load(name, tmp_path).meta
    for folder in [tmp_path, *(path for path in tmp_path.rglob("*") if path.is_dir())]:
        for file in (".DS_Store", "._00.png", "Thumbs.db", "desktop.ini", ".git/x.txt", "__MACOSX/cat/._0.png"):
            (folder / file).parent.mkdir(exist_ok=True, parents=True)
            (folder / file).write_bytes(b"\xff")
    (tmp_path / "README.md").write_text("about these data")
    assert load(name, tmp_path).meta == usual


def test_folders_and_files_may_be_links(tmp_path):
    store = write_images(tmp_path / "store", own_images())
    (tmp_path / "linked/cat").mkdir(parents=True)
    (tmp_path / "linked/dog").symlink_to(store / "dog")
    for path in (store / "cat").iterdir():
        (tmp_path / "linked/cat" / path.name).symlink_to(path)
    assert load("images", tmp_path / "linked").meta == load("images", store).meta


# ------------------------------------------------------------------------------------------- images

GREY = rng.integers(0, 256, (4, 4), np.uint8)
COLOUR = rng.integers(0, 256, (4, 4, 3), np.uint8)
RED = np.full((4, 4, 3), (254, 0, 0))
TWO = (GREY > 99) * np.uint8(255)
PALETTE = Image.fromarray(COLOUR).quantize(16)
IN_PART = np.where(np.array(PALETTE)[..., None] == 3, 255, np.array(PALETTE.convert("RGB")))  # the fourth is not seen
CLEAR = np.zeros((4, 4, 4), np.uint8)  # black, and nothing of it is seen
HALF = np.concatenate([COLOUR, np.full((4, 4, 1), 128, np.uint8)], axis=2)
TURNED = Image.Exif()
TURNED[0x0112] = 6  # the camera lay on its side
SHOWN = {  # a file, and what a viewer shows of it
    "grey": (picture(GREY), GREY),
    "colour": (picture(COLOUR), COLOUR),
    "colour, and all of it grey": (picture(GREY[..., None].repeat(3, axis=2)), GREY),
    "black and white": (picture(Image.fromarray(TWO).convert("1")), TWO),
    "16 bits": (picture(GREY.astype("uint16") * 257), GREY),
    "a palette": (picture(PALETTE), np.array(PALETTE.convert("RGB"))),
    "a palette with a transparent colour": (picture(PALETTE, transparency=3), IN_PART),
    "transparent": (picture(CLEAR), np.full((4, 4), 255)),
    "half transparent": (picture(HALF), 255 + (COLOUR - 255.0) * 128 / 255),
    "turned": (picture(COLOUR, exif=TURNED), np.rot90(COLOUR, -1)),
    "BMP": (picture(COLOUR, "BMP"), COLOUR),
    "GIF": (picture(GREY, "GIF", save_all=True, append_images=[Image.fromarray(GREY.T)]), GREY),
    "JPEG": (picture(RED.astype("uint8"), "JPEG"), RED),
    "JPEG for printers": (picture(Image.new("CMYK", (4, 4), (0, 255, 255, 0)), "JPEG"), RED),
}


@pytest.mark.parametrize("name", most_later(SHOWN, now=list(SHOWN)[::2]))
def test_an_image_is_what_a_viewer_shows(name, tmp_path):
    content, shown = SHOWN[name]
    images = {path: content if path.startswith("cat") else np.zeros((4, 4), np.uint8) for path in own_images()}
    data = load("images", write_images(tmp_path, images))
    found = 255 * data.test.inputs[data.test.targets == 0][0]
    assert found.shape == shown.shape and np.abs(found - shown).max() < 1.01


def test_one_colour_image_makes_all_of_them_colour(tmp_path):
    images = own_images() | {"cat/00.png": rng.integers(0, 256, (8, 8, 3), np.uint8)}
    data = load("images", write_images(tmp_path, images))
    assert data.meta["channels"] == 3 and data.train.inputs.shape == (14, 8, 8, 3)
    grey = {a.repeat(3).tobytes() for a in images.values() if a.ndim == 2}
    assert sum(pixels in grey for split in data[:3] for pixels in pixels_of(split)) == 19


@pytest.mark.parametrize("upright", [False, True])
def test_images_are_resized_and_cropped_around_the_centre(upright, tmp_path):
    wide = np.pad(np.full((12, 12), 120, np.uint8), [(0, 0), (6, 6)])
    images = dict.fromkeys(own_images(), wide.T if upright else wide) | {"dog/00.png": np.full((5, 5), 9, np.uint8)}
    data = load("images", write_images(tmp_path, images), size=4)
    assert data.meta["image_size"] == 4 and data.train.inputs.shape == (14, 4, 4)
    found = [255 * image for split in data[:3] for image in split.inputs]
    assert sorted(round(image.mean(), -1) for image in found) == [10, *19 * [120]] and np.ptp(found, (1, 2)).max() < 20


# -------------------------------------------------------------------------------------------- texts


def test_texts_of_folders_and_of_a_table_are_the_same(tmp_path):
    texts = own_texts(parts=THREE)
    folders = load("texts", write_folder(tmp_path / "a", texts, "utf-8"), length=20, min_count=1)
    rows = [(label, text, split) for (_, label, split), text in zip(rows_of(texts, True), texts.values(), strict=True)]
    root = write_table(tmp_path / "b", rows, ("label", "text", "split"))
    assert load("texts", root, length=20, min_count=1).meta == folders.meta
    assert load("texts", root / "labels.csv", length=20, min_count=1).meta == folders.meta
    write_table(write_folder(tmp_path / "c", texts, "utf-8"), rows_of(texts, True), ("file", "label", "split"))
    assert load("texts", tmp_path / "c", length=20, min_count=1).meta == folders.meta
    assert folders.meta["labels"] == ["bad", "good"] and [len(s.targets) for s in folders[:3]] == [24, 24, 24]
    for text, label in zip(texts_of(folders, folders.train), folders.train.targets, strict=True):
        assert text.startswith("number ") and f"is a {['bad', 'good'][label]} one , isn't it ?" in text


def test_texts_without_a_split_are_split_and_have_the_options_of_other_texts(tmp_path):
    files = {path.replace("bad/00.txt", "bad/00.TXT"): "\ufeff" + text for path, text in own_texts().items()}
    data = load("texts", write_folder(tmp_path, files, "utf-8"), length=5, min_count=3, max_words=6)
    assert [np.bincount(s.targets).tolist() for s in data[:3]] == [[8, 8], [1, 2], [3, 2]]
    assert data.meta["max_len"] == 5 and data.meta["vocab_size"] == 8 and "number" in data.meta["symbols"]
    assert load("texts", tmp_path).train.inputs.shape == (16, 128)
    marked = load("texts", tmp_path, min_count=1).meta
    write_folder(tmp_path, {path: text.removeprefix("\ufeff") for path, text in files.items()}, "utf-8")
    assert load("texts", tmp_path, min_count=1).meta == marked


# ----------------------------------------------------------------------------------- wrong folders


def moved(old, new):
    return lambda root: (root / old).rename(root / new)


def removed(pattern):
    return lambda root: [path.unlink() for path in root.glob(pattern)]


def put(path, content):
    """Bytes, or a black image of this shape."""

    def act(root):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content if isinstance(content, bytes) else picture(np.zeros(content, np.uint8)))

    return act


def hide_labels(root):
    for label in LABELS:
        (root / label).rename(root / f".{label}")


def claiming(side):
    """An image whose head says that it has so many pixels each way."""
    content = bytearray(picture(GREY))
    content[16:24] = 2 * side.to_bytes(4, "big")
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
WRONG = {  # what became of cat and dog, and what is said of it
    "one label": (moved("cat", ".cat"), r"labels \['dog'\], expected two or more labels"),
    "too few": (removed("cat/00.png"), "9 of label 'cat', expected 10 of each at least, since other splits"),
    "a label without images": (put("cow/.DS_Store", b""), "cow: there are no images in it"),
    "no images": (removed("*/*"), "cat: there are no images in it"),
    "no labels": (hide_labels, "there is no labels.csv, LABEL/FILE or train/LABEL/FILE"),
    "a folder in a folder": (put("cat/more/0.png", (8, 8)), "cat/more/0.png: split 'cat', expected train, valid or"),
    "a file that is no image": (put("cat/notes.txt", b"cats"), "notes.txt: cannot be read: it is none of PNG, JPEG"),
    "a program": (put("cat/x.png", EPS), "x.png: cannot be read: it is none of PNG, JPEG"),
    "an image cut off": (put("cat/x.png", picture(GREY)[:60]), "x.png: cannot be read: "),
    "a bomb": (
        put("cat/x.png", claiming(10000)),
        "x.png: cannot be read: 10000 x 10000 pixels, expected at most 67,",
    ),
    "a larger bomb": (put("cat/x.png", claiming(20000)), "x.png: cannot be read: Image size"),
    "another size": (
        put("dog/x.png", (9, 9)),
        "cat/00.png is 8 x 8, .*dog/x.png is 9 x 9 pixels, expected squares of one size, as the option size makes them",
    ),
    "not a square": (put("cat/0.png", (6, 9)), "cat/0.png is 9 x 6 pixels, expected squares of one size"),
}
BOTH = "train", "test"
WRONG_PARTS = {  # the parts that there were, what became of them, and what is said of it
    "no train": (
        ("test",),
        Path.exists,
        "'cat' only in test, 'dog' only in test, expected two or more labels, the same",
    ),
    "no test": (("train",), Path.exists, "'cat' only in train, 'dog' only in train, expected two or more labels"),
    "test alone": (BOTH, moved("test/dog", "test/dogs"), "'dog' only in train, 'dogs' only in test, expected two or"),
    "valid alone": (BOTH, put("valid/cow/0.png", (8, 8)), "'cow' only in valid, expected two or more labels"),
    "other names": (("Training", "Testing"), Path.exists, "Testing/cat/00.png: split 'Testing', expected train, valid"),
    "another name": (BOTH, put("val/cat/0.png", (8, 8)), "val/cat/0.png: split 'val', expected train, valid or test"),
    "too few of train": (BOTH, removed("train/dog/0[0-3].png"), "6 of label 'dog' in train, expected 10 of each"),
}
WRONG_FOLDERS = {name: (("",), *wrong) for name, wrong in WRONG.items()} | WRONG_PARTS


@pytest.mark.parametrize("name", most_later(WRONG_FOLDERS, now=list(WRONG_FOLDERS)[::2]))
def test_what_is_wrong_with_a_folder_is_told(name, tmp_path):
    parts, act, words = WRONG_FOLDERS[name]
    act(write_images(tmp_path, own_images(parts=parts)))
    with pytest.raises(DataError, match=words) as caught:
        load("images", tmp_path)
    assert str(caught.value).startswith(str(tmp_path))


def test_train_and_test_alone_are_no_labels(tmp_path):
    write_images(tmp_path, own_images(labels=("train", "test")))
    with pytest.raises(DataError, match=r"there is no labels.csv, LABEL/FILE or train/LABEL/FILE"):
        load("images", tmp_path)


@pytest.mark.parametrize("data", ["images", "texts"])
def test_roots_that_are_none(data, tmp_path):
    with pytest.raises(
        DataError, match=f"{data}: root is None, expected a folder that holds a folder for each label, or"
    ):
        load(data)
    with pytest.raises(DataError, match="nowhere: cannot be read: No such file"):
        load(data, tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"there is no labels.csv, LABEL/FILE or train/LABEL/FILE"):
        load(data, tmp_path)


def test_all_images_together_have_a_bound(tmp_path, monkeypatch):
    write_images(tmp_path, {path: np.zeros((64, 64), np.uint8) for path in own_images()})
    monkeypatch.setattr("dgsa_np.data.images.LARGEST", 3 * 64 * 64 * 12)
    with pytest.raises(DataError, match=r"dog/02.png, with all before it: 159,744 bytes, expected at most 147,456"):
        load("images", tmp_path)


def test_what_is_wrong_with_texts_is_told(tmp_path):
    write_folder(tmp_path, own_texts() | {"new/x.md": "text"}, "utf-8")
    with pytest.raises(DataError, match="new: there are no texts in it"):
        load("texts", tmp_path)
    (tmp_path / "new/x.md").rename(tmp_path / "good/x.txt")
    (tmp_path / "new").rmdir()
    (tmp_path / "good/x.txt").write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match=r"good/x.txt: offset 3: not utf-8"):
        load("texts", tmp_path)


# ------------------------------------------------------------------------------------ wrong tables

ROWS = rows_of(own_images())
WRONG_TABLES = {  # a line, what stands there instead, and what is said of it
    "no label": (1, "file,class", r"line 1: columns \['file', 'class'\], expected file, label and perhaps split"),
    "no file": (1, "text,label", r"line 1: columns \['text', 'label'\], expected file, label and perhaps split"),
    "semicolons": (1, "file;label", r"line 1: columns \['file;label'\], .*with commas between them"),
    "a missing file": (9, "cat/99.png,cat", "line 9: 'cat/99.png' is not a file in .*; paths are relative to it"),
    "a folder": (9, "cat,cat", "line 9: 'cat' is not a file in "),
    "a file elsewhere": (9, "../secret.png,cat", "line 9: '../secret.png' is not a file in "),
    "a file elsewhere, in Windows": (9, r"..\secret.png,cat", r"line 9: '..\\\\secret.png' is not a file in "),
    "a file anywhere": (9, "/etc/passwd,cat", "line 9: '/etc/passwd' is not a file in "),
    "a file twice": (9, "cat/00.png,dog", "cat/00.png: comes twice, expected once"),
    "a file twice, otherwise": (9, "./cat/00.png,cat", "cat/00.png: comes twice, expected once"),
    "an empty label": (
        9,
        "x.png,",
        r"line 9: 2 cells, \['x.png', ''\], expected 2: file, label; no empty file or label",
    ),
    "a cell too many": (9, "cat/07.png,cat,1", "line 9: 3 cells, .*, expected 2: file, label;"),
    "a cell too few": (9, "cat/07.png", "line 9: 1 cells, .*, expected 2: file, label;"),
    "a quote": (9, '"cat/07.png"x,cat', "line 9: "),
    "half a row": (9, '"cat/07.png', "line 21: "),
    "a label once": (9, "cat/07.png,cats", "1 of label 'cats', expected 10 of each at least"),
}


@pytest.mark.parametrize("name", most_later(WRONG_TABLES, now=list(WRONG_TABLES)[::2]))
def test_what_is_wrong_with_a_table_is_told_with_its_line(name, tmp_path):
    number, line, words = WRONG_TABLES[name]
    write_table(write_images(tmp_path / "own", own_images()), ROWS)
    (tmp_path / "secret.png").write_bytes(picture(GREY))
    table = tmp_path / "own/labels.csv"
    lines = table.read_text(encoding="utf-8").splitlines()
    table.write_text("\n".join([*lines[: number - 1], line, *lines[number:]]), encoding="utf-8")
    with pytest.raises(DataError, match=words) as caught:
        load("images", tmp_path / "own")
    assert str(caught.value).startswith(str(tmp_path / "own"))


WRONG_CELLS = {  # columns, a row, and what is said of it
    "a split that is none": (
        ("file", "label", "split"),
        ("cat/00.png", "cat", "tst"),
        "; as split train, valid or test",
    ),
    "no split": (("file", "label", "split"), ("cat/00.png", "cat", ""), "no empty file or label or split"),
    "no text": (("text", "label"), ("", "good"), r"expected 2: text, label; no empty text or label"),
}


@pytest.mark.parametrize("name", WRONG_CELLS)
def test_cells_that_are_wrong_are_told_with_their_line(name, tmp_path):
    columns, row, words = WRONG_CELLS[name]
    write_table(tmp_path, [row], columns)
    with pytest.raises(DataError, match=f"labels.csv: line 2: {len(row)} cells, .*{words}"):
        load("texts", tmp_path)


WRONG_CONTENTS = {
    "no rows": (b"file,label\n", "there is no row below its header"),
    "nothing": (b"\n", "the file holds no text"),
    "other columns": (
        b"review,sentiment\n",
        r"line 1: columns \['review', 'sentiment'\], expected .*file, label and perh",
    ),
    "latin-1": (b"file,label\ncaf\xe9.png,cat\n", "offset 14: not utf-8"),
    "UTF-16": ("file,label\n".encode("utf-16"), "offset 0: not utf-8: .*; it begins as UTF-16 does"),
    "a zip": (b"PK\x03\x04\xff", "offset 4: not utf-8: .*; it begins as zip does"),
}


@pytest.mark.parametrize("data", most_later(["images", "texts"], now=["texts"]))
@pytest.mark.parametrize("name", WRONG_CONTENTS)
def test_files_that_are_no_tables(name, data, tmp_path):
    content, words = WRONG_CONTENTS[name]
    (tmp_path / "any.csv").write_bytes(content)
    with pytest.raises(DataError, match=f"any.csv: {words}"):
        load(data, tmp_path / "any.csv")


# ----------------------------------------------------------------------------------- what follows


def test_a_run_keeps_the_labels_and_knows_its_data(tmp_path):
    write_images(tmp_path / "own", own_images())
    asked = {"data": "images", "root": str(tmp_path / "own"), "width": 8, "n_heads": 2, "depth": 1, "device": "cpu"}
    runs.begin(tmp_path / "run", *settle(asked))
    assert runs.open_run(tmp_path / "run")["dataset"]["labels"] == LABELS
    (tmp_path / "own").rename(tmp_path / "moved")
    assert runs.reopen(tmp_path / "run", {"root": str(tmp_path / "moved")})[-1].meta["labels"] == LABELS
    write_images(tmp_path / "moved", {"cat/00.png": np.zeros((8, 8), np.uint8)})
    with pytest.raises(SettingsError, match="the data differ from those of the run: sha256"):
        runs.reopen(tmp_path / "run", {"root": str(tmp_path / "moved")})


@pytest.mark.slow
@pytest.mark.parametrize("data", ["images", "texts"])
def test_the_commands_take_ones_own_data(data, tmp_path, capsys):
    if data == "images":
        write_listed_images(tmp_path / "own")
    else:
        write_folder(tmp_path / "own", own_texts(labels=LABELS), "utf-8")
    where = ["--data", data, "--root", tmp_path / "own", *(["--size", 16] if data == "images" else ["--length", 9])]
    status, said, _ = say(["train", *where, *SMALL, "--out", tmp_path / "run"], capsys)
    assert status == 0 and "2 classes" in said and "labels ['cat', 'dog']" in said
    assert say(["evaluate", tmp_path / "run", "--corruption", "none", "--baselines"], capsys)[0] == 0
    assert say(["baselines", *where, "--corruption", "none"], capsys)[0] == 0
    grid = ["compare", *where, *SMALL, "--kind", "softmax", "dgsa", "--seeds", "1", "--jobs", "1", "--uneven"]
    assert say([*grid, "--out", tmp_path / "grid"], capsys)[0] == 0
