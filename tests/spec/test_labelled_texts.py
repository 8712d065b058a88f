"""Sentences, reviews, posts and news with their labels:
what is read, and what is said of damage.
"""

import gc
import os
import tarfile
from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest
import sklearn.datasets
from support.data_files import (
    REAL,
    TEXTS,
    posts,
    reviews,
    rng,
    texts_of,
    write_archive,
    write_folder,
    write_news,
    write_sentences,
)
from support.tiers import most_later

from dgsa_np.data import DataError, Vocabulary, load
from dgsa_np.data.labelled import WORD


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


def test_sentences_may_lie_one_folder_below_and_begin_with_a_byte_order_mark(tmp_path):
    usual = load("rt-polarity", write_sentences(tmp_path), min_count=1).meta
    folder = write_sentences(tmp_path / "rt-polaritydata")
    for path in tmp_path.glob("*.*"):
        (folder / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8-sig")
        path.unlink()
    assert load("rt-polarity", tmp_path, min_count=1).meta == usual


@pytest.mark.skipif(not (REAL / "rt-polarity").exists(), reason="rt-polarity is not here; a twin is above")
@pytest.mark.slow
def test_the_real_sentences():
    data = load("rt-polarity", REAL / "rt-polarity/rt-polaritydata")
    assert [len(s.targets) for s in data[:3]] == [8528, 1067, 1067]
    assert sum(s.targets.sum() for s in data[:3]) == 5331 and data.train.keep.sum(axis=1).max() < 64


# --------------------------------------------------------------------------------------------- imdb


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


# ------------------------------------------------------------------------------------ 20 newsgroups


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
        "'sci.space' only in train, expected two",
    ),
    "one group": (lambda: posts(groups=("sci.space",)), "latin-1", dict, r"labels \['sci.space'\], expected two"),
    "too few posts": (lambda: posts(n=2), "latin-1", dict, "2 of label 'alt.atheism' in train, expected 10"),
    "no test": (reviews, "utf-8", without("/test/"), "'neg' only in train, 'pos' only in train, expected two or more"),
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
        with pytest.raises(DataError, match=f"{file}: cannot be read: "):
            load(name, tmp_path / file)
    with pytest.raises(DataError, match="there is no"):
        load(name, tmp_path)


def test_a_review_that_is_not_utf_8(tmp_path):
    files = reviews() | {"aclImdb/train/pos/3_9.txt": "Fine caf\xe9"}
    for root, mark in (
        (write_folder(tmp_path / "folder", files, "latin-1"), "/"),
        (write_archive(tmp_path / "a.tar", files, "latin-1"), ": "),
    ):
        with pytest.raises(DataError, match=f"{root}{mark}aclImdb/train/pos/3_9.txt: offset 8: not utf-8"):
            load("imdb", root)


def test_a_review_may_begin_with_a_byte_order_mark(tmp_path):
    usual, marked = reviews(), {path: "\ufeff" + text for path, text in reviews().items()}
    folders = [write_folder(tmp_path / name, files, "utf-8") for name, files in (("a", usual), ("b", marked))]
    one, other = (load("imdb", folder, min_count=1) for folder in folders)
    assert one.meta == other.meta


# ------------------------------------------------------------------------------ links and archives


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_links_to_folders_and_files_are_followed(name, level, tmp_path):
    files, encoding = TEXTS[name][0](), TEXTS[name][1]
    top = "20news-bydate/" if name == "20newsgroups" else ""  # so that both have four levels
    store = write_folder(tmp_path / "store", {top + path: text for path, text in files.items()}, encoding)
    for path in store.glob("/".join("*" * level)):
        link = tmp_path / "linked" / path.relative_to(store)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    assert load(name, tmp_path / "linked").meta == load(name, store).meta


@pytest.mark.parametrize("name", TEXTS)
def test_links_that_lead_back_do_no_harm(name, tmp_path):
    files, encoding = TEXTS[name][0](), TEXTS[name][1]
    usual = load(name, write_folder(tmp_path, files, encoding)).meta
    for folder in [tmp_path, *(path for path in tmp_path.rglob("*") if path.is_dir())]:
        (folder / "back").symlink_to(tmp_path)
        (folder / "itself").symlink_to(folder)
    (tmp_path / {"imdb": "aclImdb/aclImdb", "20newsgroups": "20news-bydate"}[name]).symlink_to(tmp_path)
    assert load(name, tmp_path).meta == usual


@pytest.mark.parametrize("place", ["train", "train/pos", "train/pos/3_9.txt"])
def test_a_broken_link_is_told(place, tmp_path):
    broken = write_folder(tmp_path, reviews(), "utf-8") / "aclImdb" / place
    broken.rename(tmp_path / "elsewhere")
    broken.symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match=f"{broken}: cannot be read: No such file"):
        load("imdb", tmp_path)


@pytest.mark.parametrize("name", TEXTS)
def test_stray_files_do_no_harm(name, tmp_path):
    files, encoding = TEXTS[name][0](), TEXTS[name][1]
    usual = load(name, write_folder(tmp_path, files, encoding)).meta
    for folder in [tmp_path, *(path for path in tmp_path.rglob("*") if path.is_dir())]:
        (folder / ".DS_Store").write_bytes(b"\xff")
    assert load(name, tmp_path).meta == usual


def test_a_review_in_a_folder_has_a_bound(tmp_path):
    review = write_folder(tmp_path, reviews(), "utf-8") / "aclImdb/test/neg/3_2.txt"
    os.truncate(review, 2**24 + 1)
    with pytest.raises(DataError, match=f"{review}: 16,777,217 bytes, expected at most 16,777,216"):
        load("imdb", tmp_path)


def member(name, content=b"", size=None, kind=tarfile.REGTYPE):
    """A head and a body as in an archive; size is what the head says."""
    head = tarfile.TarInfo(name)
    head.size, head.type, head.linkname = len(content) if size is None else size, kind, POS + "0_9.txt"
    return head.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)


def archive(tmp_path, more):
    """An archive of reviews, with some members more."""
    path = write_archive(tmp_path / "a.tar", reviews(), "utf-8")
    path.write_bytes(path.read_bytes()[: 1024 * len(reviews())] + more + bytes(1024))
    return path


POS = "aclImdb/train/pos/"
NEW = POS + "77_9.txt"
ODD_MEMBERS = {
    "a hard link": (member(NEW, kind=tarfile.LNKTYPE), f"{NEW}: is a link, expected a file"),
    "a symbolic link": (member(NEW, kind=tarfile.SYMTYPE), f"{NEW}: is a link, expected a file"),
    "a folder": (member(NEW, kind=tarfile.DIRTYPE), f"{NEW}: is a folder or a device, expected a file"),
    "a pipe": (member(NEW, kind=tarfile.FIFOTYPE), f"{NEW}: is a folder or a device, expected a file"),
    "one twice": (member(POS + "0_9.txt", b"Fine"), f"{POS}0_9.txt: comes twice, expected once"),
    "one twice, by other names": (member("./train/pos/0_9.txt"), "train/pos/0_9.txt: comes twice, expected once"),
    "too large": (member(NEW, size=2**24 + 1), f"{NEW}: 16,777,217 bytes, expected at most 16,777,216"),
    "smaller than nothing": (member(NEW, size=-512), r"offset \d+: neither a file nor the end of an archive"),
    "too long a name": (member("x", size=2**30, kind=b"L"), r"offset \d+: 1,073,741,824 bytes, expected at most"),
    "too long a pax head": (member("x", size=2**30, kind=b"x"), r"offset \d+: 1,073,741,824 bytes, expected at most"),
    "too many names": (member("x", b"name", kind=b"L") * 2000, "cannot be read: maximum recursion depth exceeded"),
}


@pytest.mark.parametrize("name", most_later(ODD_MEMBERS, now=[*ODD_MEMBERS][::6]))
def test_odd_members_of_archives_are_told(name, tmp_path):
    more, words = ODD_MEMBERS[name]
    gc.collect()  # what others left behind is not to be cleared away where the stack is full
    with pytest.raises(DataError, match=words) as caught:
        load("imdb", archive(tmp_path, more))
    assert str(caught.value).startswith(f"{tmp_path / 'a.tar'}: ")


def test_other_members_of_an_archive_may_be_large_and_come_twice(tmp_path):
    usual = load("imdb", archive(tmp_path, b"")).meta
    link, large = member("elsewhere", kind=tarfile.LNKTYPE), member("elsewhere", bytes(2**24 + 1))
    assert load("imdb", archive(tmp_path, link + large + large)).meta == usual


def test_all_texts_together_have_a_bound(tmp_path, monkeypatch):
    roots = write_folder(tmp_path / "folder", reviews(), "utf-8"), archive(tmp_path, b"")
    monkeypatch.setattr("dgsa_np.data.files.LARGEST", 1000)
    for root in roots:
        with pytest.raises(DataError, match=rf"{root}.*\.txt, with all before it: 1,\d+ bytes, expected at most 1,000"):
            load("imdb", root)


def test_the_name_of_an_archive_does_not_say_whether_it_is_gzipped(tmp_path):
    packed, plain = (write_archive(tmp_path / name, reviews(), "utf-8") for name in ("a.tar.gz", "b.tar"))
    usual = load("imdb", plain).meta
    assert load("imdb", packed.rename(tmp_path / "a.tar")).meta == usual
    assert load("imdb", plain.rename(tmp_path / "b.tar.gz")).meta == usual


def test_cut_and_damaged_archives_are_refused(tmp_path):
    files = reviews()
    packed, plain = (write_archive(tmp_path / name, files, "utf-8") for name in ("a.tar.gz", "b.tar"))
    whole = packed.read_bytes()
    for part in (whole[:-1], whole[:-8], whole[: len(whole) // 2], whole[:15], b""):
        packed.write_bytes(part)
        with pytest.raises(DataError, match=r"a.tar.gz: cannot be read: "):
            load("imdb", packed)
    whole = plain.read_bytes()
    members = 512 * (2 * len(files))  # a head and a body of one block each
    assert not whole[members:].strip(b"\0")
    for size in (members, members - 512, members - 500, members - 600, 1024 * 10, 1024 * 10 + 7, 1000):
        plain.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"b.tar: cannot be read: "):
            load("imdb", plain)
    plain.write_bytes(whole[: 1024 * 30] + b"x" + whole[1024 * 30 + 1 :])  # the head of a member
    with pytest.raises(DataError, match=f"offset {1024 * 30}: neither a file nor the end of an archive"):
        load("imdb", plain)
    plain.write_bytes(whole[: members + 512])
    assert sum(len(s.targets) for s in load("imdb", plain)[:3]) == 80


# ------------------------------------------------------------------------------------------ ag news


def test_news_are_labelled_and_split(tmp_path):
    data = load("ag-news", write_news(tmp_path / "plain"))
    assert load("ag-news", write_news(tmp_path / "head", head=True)).meta == data.meta
    assert [len(s.targets) for s in data[:3]] == [43, 5, 24] and data.meta["n_out"] == 4
    assert np.bincount(np.concatenate([s.targets for s in data[:2]])).tolist() == [12] * 4
    for text, label in zip(texts_of(data, data.train), data.train.targets, strict=True):
        assert text.startswith(f'title , " {label} " markets rose in row ') and text.endswith(" ; " + "ab"[label % 2])


def test_news_may_lie_one_folder_below_and_begin_with_a_byte_order_mark(tmp_path):
    usual = load("ag-news", write_news(tmp_path, head=True)).meta
    (tmp_path / "ag_news_csv").mkdir()
    for path in tmp_path.glob("*.csv"):
        (tmp_path / "ag_news_csv" / path.name).write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
        path.write_text("not read")
    assert load("ag-news", tmp_path).meta == usual


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
        (lambda t: '"1","a","b"\r\n', "'2' only in test, '3' only in test, '4' only in test, expected two or more"),
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
    for part in ("train", "test"):
        (tmp_path / f"{part}.csv").write_text("Class Index,Title,Description\n")
    with pytest.raises(DataError, match=r"labels \[\], expected two or more"):
        load("ag-news", tmp_path)
    (tmp_path / "train.csv").write_bytes(b'"1","\xe9","b"')
    with pytest.raises(DataError, match=r"train.csv: offset 5: not utf-8"):
        load("ag-news", tmp_path)
    write_news(tmp_path)
    (tmp_path / "test.csv").unlink()
    with pytest.raises(DataError, match=r"test.csv: cannot be read: No such file"):
        load("ag-news", tmp_path)
