"""Data from files: what is read, how it is split, and what is said of damage."""

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

from dgsa_np.data import CORRUPTIONS, DataError, Split, Vocabulary, corrupt, load

REAL = Path(__file__).parents[3] / "shared" / "data"
rng = np.random.default_rng(0)
IMAGES = {"train": rng.integers(0, 256, (36, 5, 5), np.uint8), "t10k": rng.integers(0, 256, (7, 5, 5), np.uint8)}
LABELS = {"train": np.arange(36, dtype=np.uint8) % 10, "t10k": np.arange(7, dtype=np.uint8)}
TEXT = "".join(rng.choice(list("abcde fg\n"), 2000))


def idx(a):
    return bytes([0, 0, 8, a.ndim]) + b"".join(n.to_bytes(4, "big") for n in a.shape) + a.tobytes()


def write_idx(root, packed=True):
    """The four files, gzipped or not."""
    root.mkdir(exist_ok=True)
    for part in ("train", "t10k"):
        for what, a in (("images-idx3-ubyte", IMAGES[part]), ("labels-idx1-ubyte", LABELS[part])):
            end, content = (".gz", gzip.compress(idx(a))) if packed else ("", idx(a))
            (root / f"{part}-{what}{end}").write_bytes(content)
    return root


def write_sentences(root, n=40):
    for side, word in (("neg", "dull"), ("pos", "fine")):
        lines = [f"the film {i % 7} is {word} " + "so " * (i % 5) + f"once{side}{i}" for i in range(n)]
        (root / f"rt-polarity.{side}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


# ------------------------------------------------------------------------------------------------- idx


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

    monkeypatch.setattr("dgsa_np.data.images.open", refuse, raising=False)
    with pytest.raises(DataError, match=f"{TRAIN}: cannot be read to its end: .*Permission denied"):
        load("mnist", write_idx(tmp_path, packed=False))


# ------------------------------------------------------------------------------------------------ text


def windows(split, vocabulary):
    """The inputs and the targets of a language, as text."""
    return [[vocabulary.decode(row) for row in rows] for rows in split[:2]]


def text_file(tmp_path, content=TEXT):
    path = tmp_path / "text.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("overlap", [1, 2, 3, 99])
@pytest.mark.parametrize("unit", ["characters", "bytes"])
def test_a_text_is_cut_into_windows_in_its_order(overlap, unit, tmp_path):
    data = load("text", text_file(tmp_path), length=16, overlap=overlap, unit=unit)
    vocabulary, stride = Vocabulary(data.meta["unit"], data.meta["symbols"]), max(1, 16 // overlap)
    parts = TEXT[:1800], TEXT[1800:1900], TEXT[1900:]  # no window reaches into another part
    for split, part, step in zip(data[:3], parts, (stride, 16, 16), strict=True):
        starts = range(0, len(part) - 16, step)
        expected = [[part[i + shift : i + shift + 16] for i in starts] for shift in (0, 1)]
        assert windows(split, vocabulary) == expected
    assert data.meta["sha256"] == hashlib.sha256(TEXT.encode()).hexdigest()
    size = {"characters": len(set(TEXT)) + 1, "bytes": 256}[unit]
    assert data.meta["vocab_size"] == data.meta["n_out"] == size and data.meta["max_len"] == 16


def test_what_is_encoded_is_decoded(tmp_path):
    for unit in ("characters", "bytes"):
        data = load("text", text_file(tmp_path), length=16, unit=unit)
        vocabulary = Vocabulary(data.meta["unit"], data.meta["symbols"])
        assert vocabulary.decode(vocabulary.encode(TEXT)) == TEXT
        assert vocabulary.encode("").shape == (0,) and vocabulary.decode([]) == ""


def test_lines_may_end_as_on_windows(tmp_path):
    unix = load("text", text_file(tmp_path), length=16).meta
    assert load("text", text_file(tmp_path, TEXT.replace("\n", "\r\n")), length=16).meta == unix


def test_the_vocabulary_knows_the_training_part_alone(tmp_path):
    data = load("text", text_file(tmp_path, TEXT + 20 * "z"), length=16)
    vocabulary = Vocabulary(data.meta["unit"], data.meta["symbols"])
    assert "z" not in vocabulary.symbols and len(set(vocabulary.symbols)) == len(vocabulary.symbols)
    assert vocabulary.decode(vocabulary.encode("azb")) == "a\ufffdb"
    assert [(vocabulary.index["\ufffd"] == split.targets).any() for split in data[:3]] == [False, False, True]


def test_bytes_are_read_and_written(tmp_path):
    data = load("text", text_file(tmp_path, TEXT + "é"), length=16, unit="bytes")
    vocabulary = Vocabulary(data.meta["unit"], data.meta["symbols"])
    assert data.meta["vocab_size"] == 256
    assert vocabulary.decode(vocabulary.encode("naïve €")) == "naïve €"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "holds no text"),
        (b" \n ", "holds no text"),
        (b"abc\xff" * 99, "offset 3: not utf-8"),
        (b"short", "a part of the text has 4 tokens, expected more than length = 128"),
        (b"enough for a part of it " * 20, "a part of the text has 24 tokens, expected more than length = 128"),
    ],
)
def test_damage_to_a_text_is_told(content, words, tmp_path):
    with pytest.raises(DataError, match=words):
        load("text", text_file(tmp_path, content))


def test_a_text_that_is_not_there(tmp_path):
    for root in (None, tmp_path / "none", tmp_path):
        with pytest.raises(DataError, match=r"root is None|cannot be read"):
            load("text", root)


def test_pydoc_is_the_manual_of_this_python():
    from pydoc_data.topics import topics

    data = load("pydoc")
    whole = "\n".join(topics[key] for key in sorted(topics))
    assert data.meta["sha256"] == hashlib.sha256(whole.encode()).hexdigest()
    assert data.train.inputs.shape[1:] == (128,) and data.meta["task"] == "lm"
    assert data.meta["n_out"] == data.meta["vocab_size"] == len(data.meta["symbols"]) and data.meta["stride"] == 32
    assert all((s.inputs[:, 1:] == s.targets[:, :-1]).all() for s in data[:3])
    assert not np.shares_memory(data.train.inputs, data.test.inputs)


# ------------------------------------------------------------------------------------------- sentences


def test_sentences_are_padded_split_and_labelled(tmp_path):
    data = load("rt-polarity", write_sentences(tmp_path), length=8)
    assert [len(s.targets) for s in data[:3]] == [64, 8, 8]
    assert all(s.targets.mean() == 0.5 for s in data[:3])
    for split in data[:3]:
        assert np.array_equal(split.keep, split.inputs != 0) and split.inputs.shape[1:] == (8,)
        ends = split.keep.sum(axis=1)
        assert all(row[:n].all() and not row[n:].any() for row, n in zip(split.keep, ends, strict=True))
    words = data.meta["symbols"]
    assert not any(w.startswith("once") for w in words) and {"dull", "fine", "film"} <= set(words)
    fine = words.index("fine")
    assert all((fine in row) == label for row, label in zip(data.train.inputs, data.train.targets, strict=True))


def test_words_of_other_splits_are_unknown(tmp_path):
    data = load("rt-polarity", write_sentences(tmp_path), length=12, min_count=1)
    once = sum(w.startswith("once") for w in data.meta["symbols"])
    assert once == 64  # one for each training sentence
    assert (data.train.inputs == 1).sum() == 0 and (data.test.inputs == 1).sum() == 8


def test_a_long_sentence_is_cut_and_a_rare_word_is_unknown(tmp_path):
    whole, cut = (load("rt-polarity", write_sentences(tmp_path), length=n) for n in (11, 8))
    assert whole.train.keep.sum(axis=1).max() == 10 and cut.train.keep.sum(axis=1).max() == 8
    assert all(np.array_equal(a.inputs[:, :8], b.inputs) for a, b in zip(whole[:3], cut[:3], strict=True))
    vocabulary = Vocabulary(whole.meta["unit"], whole.meta["symbols"])
    row = whole.train.inputs[0][whole.train.keep[0]]
    assert vocabulary.decode(row).startswith("the film ") and vocabulary.decode(row).endswith("\ufffd")
    for least in (2, 9, 10, 99):
        words = load("rt-polarity", tmp_path, min_count=least).meta["symbols"][2:]
        assert all(count_words(tmp_path, word) >= least for word in words) and ("the" in words) == (least < 65)


def count_words(root, word):
    return sum(path.read_text(encoding="utf-8").split().count(word) for path in root.iterdir())


def test_no_sentence_stands_in_two_splits_and_none_is_lost(tmp_path):
    data = load("rt-polarity", write_sentences(tmp_path), length=12, min_count=1)
    vocabulary = Vocabulary(data.meta["unit"], data.meta["symbols"])
    known = [vocabulary.decode(row).split()[-1] for row in data.train.inputs]  # the last word is a sentence's own
    assert len(set(known)) == 64 and all(word.startswith("once") for word in known)
    lines = [line for path in tmp_path.iterdir() for line in path.read_text(encoding="utf-8").splitlines()]
    others = [line.split()[:-1] for line in lines if line.split()[-1] not in known]
    held = [vocabulary.decode(row).split()[:-1] for s in data[1:3] for row in s.inputs]
    assert sorted(held) == sorted(others)


def test_damage_to_sentences_is_told(tmp_path):
    with pytest.raises(DataError, match="root is None"):
        load("rt-polarity")
    with pytest.raises(DataError, match=r"rt-polarity\.neg: cannot be read"):
        load("rt-polarity", tmp_path)
    path = write_sentences(tmp_path) / "rt-polarity.pos"
    path.write_bytes(b"fine \xe9\n" * 20)
    with pytest.raises(DataError, match=r"rt-polarity\.pos: offset 5: not utf-8"):
        load("rt-polarity", tmp_path)
    assert load("rt-polarity", tmp_path, encoding="latin-1").meta["task"] == "text"
    path.write_text("one\n\n \ntwo\n")
    with pytest.raises(DataError, match=r"rt-polarity\.pos: 2 sentences, expected at least 10"):
        load("rt-polarity", tmp_path)
    path.write_text("\n")
    with pytest.raises(DataError, match=r"rt-polarity\.pos: the file holds no text"):
        load("rt-polarity", tmp_path)
    path.unlink()
    with pytest.raises(DataError, match=r"rt-polarity\.pos: cannot be read: No such file"):
        load("rt-polarity", tmp_path)


@pytest.mark.skipif(not (REAL / "rt-polarity").exists(), reason="rt-polarity is not here; a twin is above")
def test_the_real_sentences():
    data = load("rt-polarity", REAL / "rt-polarity/rt-polaritydata")
    assert [len(s.targets) for s in data[:3]] == [8528, 1067, 1067]
    assert sum(s.targets.sum() for s in data[:3]) == 5331 and data.train.keep.sum(axis=1).max() < 64


@pytest.mark.slow
@pytest.mark.skipif(not (REAL / "fashion-mnist").exists(), reason="fashion-mnist is not here; a twin is above")
def test_the_real_images():
    data = load("fashion-mnist", REAL / "fashion-mnist")
    assert [len(s.targets) for s in data[:3]] == [55000, 5000, 10000]
    assert np.bincount(data.test.targets).tolist() == [1000] * 10
    assert data.train.targets[:5].tolist() == [9, 0, 0, 3, 0]


# ------------------------------------------------------------------------------------------------ fuzz


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


FUZZ = {
    "idx": (lambda root: write_idx(root, packed=False), fuzzed_images),
    "gzipped idx": (write_idx, fuzzed_gzip),
    "text": (text_file, fuzzed_text),
    "rt-polarity": (lambda root: write_sentences(root, 12), fuzzed_sentences),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FUZZ)
def test_fuzzed_files_are_read_right_or_refused(name, tmp_path, fuzzed):
    """Whatever else a loader raised would end this test."""
    write, check = FUZZ[name]
    write(tmp_path)
    check(tmp_path)
    refused = 0
    for _ in fuzzed(sorted(tmp_path.iterdir()), 2000):
        try:
            check(tmp_path)
        except DataError as error:
            refused += 1
            assert str(tmp_path) in str(error) or name == "text"
    assert 200 < refused < 2000


# ------------------------------------------------------------------------------- corruptions of sentences


def sentences(n=400, T=20):
    x, draw = np.zeros((n, T), "int64"), np.random.default_rng(2)
    for row in x:
        length = draw.integers(1, T + 1)
        row[:length] = draw.integers(3, 50, length)
    return x


@pytest.mark.parametrize("kind", CORRUPTIONS["text"])
def test_damaged_sentences_are_new_repeatable_and_well_formed(kind):
    x = sentences()
    before = x.copy()
    assert np.array_equal(corrupt(x, kind, 0.0, np.random.default_rng(0)), x)
    for level in (0.3, 1.0):
        damaged = corrupt(x, kind, level, np.random.default_rng(0))
        assert np.array_equal(x, before) and not np.shares_memory(damaged, x) and damaged.dtype == x.dtype
        assert np.array_equal(damaged, corrupt(x, kind, level, np.random.default_rng(0)))
        assert not np.array_equal(damaged, corrupt(x, kind, level, np.random.default_rng(1))) or kind == "deletion"
        keep = damaged != 0
        assert keep[:, 0].all() and (np.diff(keep.astype(int), axis=1) <= 0).all()  # never empty, padding at the end
        assert set(damaged[keep]) <= set(x[x != 0])


def test_levels_are_fractions():
    x = np.concatenate([sentences(2000, 20), np.zeros((2000, 40), "int64")], axis=1)  # room for what is inserted
    n = (x != 0).sum()
    dropped, longer = (corrupt(x, kind, 0.3, np.random.default_rng(0)) for kind in ("deletion", "insertion"))
    assert (dropped != 0).sum() / n == pytest.approx(0.7, abs=0.02)
    assert (longer != 0).sum() / n == pytest.approx(1.3, abs=0.02)
    changed = corrupt(x, "substitution", 0.3, np.random.default_rng(0))
    assert (changed != x).sum() / n == pytest.approx(0.3 * 46 / 47, abs=0.02)  # a drawn token may be the same


def test_what_is_left_of_a_sentence_keeps_its_order():
    x = np.arange(1, 21)[None]
    left = corrupt(x, "deletion", 0.4, np.random.default_rng(0))[0]
    assert (np.diff(left[left != 0]) > 0).all() and 0 < (left != 0).sum() < 20
    more = iter(corrupt(np.concatenate([x, 0 * x], axis=1), "insertion", 0.4, np.random.default_rng(0))[0])
    assert all(token in more for token in x[0])  # one after the other


def test_everything_may_be_dropped_but_one_and_what_is_pushed_over_the_end_is_lost():
    x = sentences()
    dropped, longer = (corrupt(x, kind, 1.0, np.random.default_rng(0)) for kind in ("deletion", "insertion"))
    assert np.array_equal(dropped[:, 0], x[:, 0]) and not dropped[:, 1:].any()
    assert np.array_equal((longer != 0).sum(axis=1), np.minimum(20, 2 * (x != 0).sum(axis=1)))
    assert np.array_equal(longer[:, 1::2], x[:, :10])  # a drawn token stands before each


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_tokens_keep_their_dtype(dtype):
    for kind in CORRUPTIONS["text"]:
        assert corrupt(sentences().astype(dtype), kind, 0.5, np.random.default_rng(0)).dtype == dtype


def test_a_damaged_split_keeps_what_is_kept():
    x = sentences()
    split = Split(x, np.zeros(len(x), int), x != 0).corrupted("deletion", 0.5, np.random.default_rng(0))
    assert np.array_equal(split.keep, split.inputs != 0)


@pytest.mark.parametrize(
    ("x", "kind", "words"),
    [
        (np.ones((2, 3)), "deletion", "expected a NumPy array of integer tokens"),
        (np.ones((2, 3, 4), int), "deletion", r"x is \(2, 3, 4\), expected tokens \(N, T\)"),
        (np.ones(3, int), "insertion", r"x is \(3,\), expected tokens \(N, T\)"),
        (np.ones((2, 8, 8), "float32"), "substitution", "x is float32, expected a NumPy array of integer tokens"),
        (np.ones((2, 3), bool), "deletion", "x is bool, expected a NumPy array of integer tokens"),
        ([[1, 2]], "insertion", "x is list, expected a NumPy array of integer tokens"),
        (np.ones((2, 3), int), "gaussian", "float32 or float64"),
    ],
)
def test_images_and_tokens_are_not_mistaken_for_each_other(x, kind, words):
    with pytest.raises((TypeError, ValueError), match=words):
        corrupt(x, kind, 0.5, np.random.default_rng(0))


@pytest.mark.parametrize("kind", CORRUPTIONS["text"])
def test_a_level_of_damage_to_tokens_is_at_most_one(kind):
    for level in (1.01, -0.1, float("nan")):
        with pytest.raises(ValueError, match=f"corrupt \\(kind '{kind}'\\): level is {level}, .*0 <= level <= 1"):
            corrupt(sentences(), kind, level, np.random.default_rng(0))


# ------------------------------------------------------------------------------------------------ load


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: load("pydoc", lenght=4),
            "lenght given, expected length, .* with pydoc; did you mean 'length'",
        ),
        (lambda: load("mnits"), "name is 'mnits', expected one of 'digits', .*; did you mean 'mnist'"),
        (lambda: load("digits", length=4), "length given, expected no options with digits"),
        (lambda: load("rt-polarity", "x", unit="bytes"), "unit given, expected length, min_count, encoding"),
        (lambda: load("rt-polarity", "x", min_count=0), "min_count is 0, expected a whole number of at least 1"),
        (lambda: load("digits", root="x"), "root is 'x', expected None"),
        (lambda: load("pydoc", root="x"), "root is 'x', expected None"),
        (lambda: load("pydoc", unit="words"), "unit is 'words', expected one of 'characters', 'bytes'"),
        (lambda: load("pydoc", length=0), "length is 0"),
        (lambda: load("pydoc", overlap=1.5), "overlap is 1.5"),
    ],
)
def test_wrong_options_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
