"""Data from files: what is read, how it is split, and what is said of damage."""

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

from dgsa_np.data import CORRUPTIONS, DataError, Split, Vocabulary, corrupt, load

REAL = Path(__file__).parents[2] / "shared" / "data"
rng = np.random.default_rng(0)
IMAGES = {"train": rng.integers(0, 256, (36, 5, 5), np.uint8), "t10k": rng.integers(0, 256, (7, 5, 5), np.uint8)}
LABELS = {"train": np.arange(36, dtype=np.uint8) % 10, "t10k": np.arange(7, dtype=np.uint8)}
TEXT = "".join(rng.choice(list("abcde fg\n"), 2000))


def idx(a):
    return bytes([0, 0, 8, a.ndim]) + b"".join(n.to_bytes(4, "big") for n in a.shape) + a.tobytes()


def write_idx(root, packed=True):
    """The four files, gzipped or not."""
    for part in ("train", "t10k"):
        for what, a in (("images-idx3-ubyte", IMAGES[part]), ("labels-idx1-ubyte", LABELS[part])):
            end, content = (".gz", gzip.compress(idx(a))) if packed else ("", idx(a))
            (root / f"{part}-{what}{end}").write_bytes(content)
    return root


def write_sentences(root):
    for side, word in (("neg", "dull"), ("pos", "fine")):
        lines = [f"the film {i % 7} is {word} " + "so " * (i % 5) + f"once{side}{i}" for i in range(40)]
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


def damage(name, change):
    def act(root):
        path = root / name
        path.write_bytes(change(path.read_bytes()))

    return act


TRAIN = "train-images-idx3-ubyte"
HUGE = bytes([0, 0, 8, 3]) + b"\xff" * 12
DAMAGED = {
    "missing": (lambda root: (root / TRAIN).unlink(), TRAIN, "there is no such file"),
    "magic": (damage(TRAIN, lambda b: b"\x00\x00\x0d\x03" + b[4:]), TRAIN, "offset 0"),
    "head cut": (damage(TRAIN, lambda b: b[:9]), TRAIN, "offset 0"),
    "empty": (damage(TRAIN, lambda b: b""), TRAIN, "offset 0"),
    "body cut": (damage(TRAIN, lambda b: b[:-3]), TRAIN, "the file ends at offset 913, expected 916"),
    "more follows": (damage(TRAIN, lambda b: b + b"x"), TRAIN, "more bytes follow"),
    "promises too much": (damage(TRAIN, lambda b: HUGE + b[16:]), TRAIN, "offset 0"),
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


@pytest.mark.parametrize("change", [lambda b: b[:-20], lambda b: b[:40] + b"\xff" * 9 + b[49:], lambda b: b"no gzip"])
def test_damage_to_gzipped_files_is_told(change, tmp_path):
    damage(f"{TRAIN}.gz", change)(write_idx(tmp_path))
    with pytest.raises(DataError, match=TRAIN):
        load("mnist", tmp_path)


@pytest.mark.parametrize("packed", [True, False])
def test_fuzzed_idx_files_are_read_right_or_refused(packed, tmp_path):
    path = write_idx(tmp_path, packed) / (f"{TRAIN}.gz" if packed else TRAIN)
    whole, fuzz = path.read_bytes(), np.random.default_rng(1)
    for _ in range(300):
        path.write_bytes(mutate(whole, fuzz))
        try:
            data = load("mnist", tmp_path)
        except DataError:
            continue
        assert [s.inputs.shape for s in data[:3]] == [(33, 5, 5), (3, 5, 5), (7, 5, 5)]


def mutate(whole, fuzz):
    """Some bytes changed, or the end cut off."""
    content = bytearray(whole)
    for place in fuzz.integers(0, len(content), fuzz.integers(1, 5)):
        content[place] = fuzz.integers(256)
    return bytes(content[: fuzz.integers(len(content))] if fuzz.random() < 0.3 else content)


# ------------------------------------------------------------------------------------------------ text


def text_file(tmp_path, content=TEXT):
    path = tmp_path / "text.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_text_is_cut_into_windows_in_its_order(tmp_path):
    data = load("text", text_file(tmp_path), length=16, overlap=2)
    vocabulary = Vocabulary(data.meta["unit"], data.meta["symbols"])
    for split, part, stride in zip(data[:3], (TEXT[:1800], TEXT[1800:1900], TEXT[1900:]), (8, 16, 16), strict=True):
        for i, (x, y) in enumerate(zip(split.inputs, split.targets, strict=True)):
            assert (
                vocabulary.decode(x) == part[i * stride :][:16] and vocabulary.decode(y) == part[i * stride + 1 :][:16]
            )
    assert data.meta["sha256"] == hashlib.sha256(TEXT.encode()).hexdigest()
    assert data.meta["vocab_size"] == data.meta["n_out"] == len(set(TEXT)) + 1


def test_the_vocabulary_knows_the_training_part_alone(tmp_path):
    data = load("text", text_file(tmp_path, TEXT + "z"), length=16)
    vocabulary = Vocabulary(data.meta["unit"], data.meta["symbols"])
    assert "z" not in vocabulary.symbols
    assert vocabulary.decode(vocabulary.encode("azb")) == "a\ufffdb"


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
        (b"short", "length"),
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
    path.write_text("one\ntwo\n")
    with pytest.raises(DataError, match="2 sentences, expected at least 10"):
        load("rt-polarity", tmp_path)


@pytest.mark.skipif(not (REAL / "rt-polarity").exists(), reason="rt-polarity is not here; a twin is above")
def test_the_real_sentences():
    data = load("rt-polarity", REAL / "rt-polarity/rt-polaritydata")
    assert [len(s.targets) for s in data[:3]] == [8528, 1067, 1067]
    assert sum(s.targets.sum() for s in data[:3]) == 5331 and data.train.keep.sum(axis=1).max() < 64


@pytest.mark.skipif(not (REAL / "fashion-mnist").exists(), reason="fashion-mnist is not here; a twin is above")
def test_the_real_images():
    data = load("fashion-mnist", REAL / "fashion-mnist")
    assert [len(s.targets) for s in data[:3]] == [55000, 5000, 10000]
    assert np.bincount(data.test.targets).tolist() == [1000] * 10
    assert data.train.targets[:5].tolist() == [9, 0, 0, 3, 0]


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
    assert (np.diff(left[left != 0]) > 0).all()
    more = corrupt(np.concatenate([x, 0 * x], axis=1), "insertion", 0.4, np.random.default_rng(0))[0].tolist()
    assert [more.index(i) for i in range(1, 21)] == sorted(more.index(i) for i in range(1, 21)) or len(more) > 20


def test_a_damaged_split_keeps_what_is_kept():
    x = sentences()
    split = Split(x, np.zeros(len(x), int), x != 0).corrupted("deletion", 0.5, np.random.default_rng(0))
    assert np.array_equal(split.keep, split.inputs != 0)


@pytest.mark.parametrize(
    ("x", "kind", "words"),
    [
        (np.ones((2, 3)), "deletion", "expected a NumPy array of integer tokens"),
        (np.ones((2, 3, 4), int), "deletion", r"expected tokens \(N, T\)"),
        (np.ones((2, 3), int), "gaussian", "float32 or float64"),
    ],
)
def test_images_and_tokens_are_not_mistaken_for_each_other(x, kind, words):
    with pytest.raises((TypeError, ValueError), match=words):
        corrupt(x, kind, 0.5, np.random.default_rng(0))


# ------------------------------------------------------------------------------------------------ load


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: load("pydoc", lenght=4),
            "lenght given, expected length, .* with pydoc; did you mean 'length'",
        ),
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
