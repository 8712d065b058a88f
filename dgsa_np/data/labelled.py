"""Texts with a label: film reviews, news (AG News), posts (20 Newsgroups), a folder of one's own.

length    : tokens per text; longer ones are cut, shorter ones padded
min_count : words that are rarer than this in the training split become UNKNOWN
max_words : and so do all but this many words, the most frequent ones
"""

import re
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np

from .. import shapes
from .corruptions import PAD
from .files import decoded, home, read_own, read_rows, read_text, read_texts, telling
from .splits import DataError, Dataset, Split, partition, sha256
from .text import UNKNOWN, Vocabulary

# A word is letters with apostrophes inside, or digits, or one mark.
WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*|\d+|[^\w\s]|_")
REVIEW = "aclImdb", "(train|test)", "(neg|pos)", r"(\d+_\d+\.txt)"
POST = "20news-bydate", "20news-bydate-(train|test)", "([^/]+)", r"(\d+)"


def load_rt_polarity(name, root=None, length=64, min_count=2, encoding="utf-8"):
    """Sentences of film reviews, negative (0) or positive (1), split 80 / 10 / 10 %.

    They are read from rt-polarity.neg and rt-polarity.pos, one per line.

    root : the folder that holds them, or the one above, if theirs is rt-polaritydata
    """
    folder = home(name, root, "the folder that holds rt-polarity.neg and rt-polarity.pos", "rt-polaritydata")
    shapes.instance("load", str, encoding=encoding)
    sides = [_sentences(folder / f"rt-polarity.{side}", encoding) for side in ("neg", "pos")]
    labels = np.repeat([0, 1], [len(side) for side in sides])
    rows, y, _ = partition(root, [""] * len(labels), labels, shares=(0.1, 1 / 9))
    return _dataset(name, sides[0] + sides[1], y, rows, length, min_count)


def _sentences(path, encoding):
    lines = [line for line in read_text(path, encoding).split("\n") if line.strip()]
    if len(lines) < 10:
        raise DataError(f"{path}: {len(lines)} sentences, expected at least 10, one per line")
    return lines


def load_imdb(name, root=None, length=256, min_count=2, max_words=20000):
    """Film reviews, negative (0) or positive (1), one per file, such as aclImdb/train/pos/0_9.txt.

    Line breaks of HTML become spaces.

    root : the folder aclImdb, the one above or an archive of either
    """
    files = read_texts(name, root, REVIEW, "aclImdb/train/pos/0_9.txt", "utf-8")
    texts = [(*place, text.replace("<br />", " ")) for *place, text in files]
    return _labelled(name, root, texts, length, min_count, max_words)


def load_ag_news(name, root=None, length=128, min_count=2, max_words=20000):
    """News of four classes, from the rows of train.csv and test.csv.

    A row is "class", "title", "description", with the classes 1 to 4.

    root : the folder that holds them, or the one above, if theirs is ag_news_csv
    """
    folder = home(name, root, "the folder that holds train.csv and test.csv", "ag_news_csv")
    texts = [(part, *row) for part in ("train", "test") for row in _read_news(folder / f"{part}.csv")]
    return _labelled(name, root, texts, length, min_count, max_words)


def _read_news(path):
    """(class, line, text) of each row; the first row may be a header."""
    for line, row in read_rows(path):
        if line == 1 and row == ["Class Index", "Title", "Description"]:
            continue
        if len(row) != 3 or row[0] not in ("1", "2", "3", "4"):
            raise DataError(f"{path}: line {line}: {str(row)[:60]}, expected a class 1 to 4, a title, a description")
        yield row[0], line, f"{row[1]} {row[2]}"


def load_newsgroups(name, root=None, length=128, min_count=2, max_words=20000):
    """Posts to newsgroups, one per file, such as 20news-bydate-train/sci.space/59848.

    Headers, which name the group, are left out, and so are footers and quotes.

    root : the folder, the one above or an archive of either; "download" fetches the posts through
           scikit-learn
    """
    texts = _fetch_posts(name) if root == "download" else _read_posts(name, root)
    return _labelled(name, root, texts, length, min_count, max_words)


SPEAKS = "writes in", "writes:", "wrote:", "says:", "said:"  # in a line that says whom the next ones quote
QUOTES = "In article", "Quoted from", "|", ">"  # at the start of a quoted line


def _read_posts(name, root):
    files = read_texts(name, root, POST, "20news-bydate-train/sci.space/59848", "latin-1")
    return [(*place, _body(text)) for *place, text in files]


def _body(post):
    """A post without its header, its footer and what it quotes, as scikit-learn takes them off."""
    _, _, text = post.partition("\n\n")
    lines = text.strip().split("\n")
    last_rule = max((i for i, line in enumerate(lines) if not line.strip().strip("-")), default=0)
    lines = lines[:last_rule] if last_rule else text.split("\n")  # a last paragraph is the footer
    return "\n".join(line for line in lines if not line.startswith(QUOTES) and not any(s in line for s in SPEAKS))


def _fetch_posts(name):
    from sklearn.datasets import fetch_20newsgroups

    for part in ("train", "test"):
        with telling(name, "cannot be fetched"):
            posts = fetch_20newsgroups(subset=part, remove=("headers", "footers", "quotes"))
        for label, path, text in zip(posts.target, posts.filenames, posts.data, strict=True):
            yield part, posts.target_names[label], Path(path).name, text


def load_texts(name, root=None, length=128, min_count=2, max_words=20000):
    """Texts of one's own, in UTF-8: a label is the name of a folder, or stands in a table.

    They are FOLDER/LABEL/FILE.txt, or FOLDER/train/LABEL/FILE.txt and so on, or the rows of a
    table, with the columns label, text or file, and perhaps split: train, valid or test. Those
    without a split are split 70 / 10 / 20 %; without a valid, a tenth of train is it.

    root : the folder, which may hold a table labels.csv, or the table itself
    """
    found = read_own(name, root, r"(?!\.)(.+\.(?i:txt))", ("text", "file"))
    texts = [(*place, decoded(path, content, "utf-8")) for path, place, content in found]
    return _labelled(name, root, texts, length, min_count, max_words)


# ---------------------------------------------------------------------------------- texts to tokens


def _labelled(name, root, texts, *sizes):
    """A data set from texts in any order, as tuples (split, label, ..., text)."""
    texts = sorted(texts)
    rows, y, names = partition(root, [part for part, *_ in texts], [label for _, label, *_ in texts])
    words = [" ".join(WORD.findall(text.lower())) or UNKNOWN for *_, text in texts]
    return _dataset(name, words, y, rows, *sizes, labels=names)


def _dataset(name, texts, y, rows, length, min_count, max_words=None, **more):
    """A data set from texts, which are words between spaces.

    rows : which texts are in train, valid and test

    The vocabulary is that of train alone.
    """
    counts = Counter(word for row in rows[0] for word in texts[row].split())
    del counts[UNKNOWN]
    words = sorted(word for word, n in counts.most_common(max_words) if n >= min_count)
    vocabulary = Vocabulary("words", ["", UNKNOWN, *words])
    tokens = _pad([vocabulary.encode(text) for text in texts], length)
    splits = [Split(tokens[r], y[r], tokens[r] != PAD) for r in rows]
    size = {"n_out": int(y.max()) + 1, "vocab_size": len(vocabulary.symbols), "max_len": length}
    meta = {"name": name, "task": "text", **size, **asdict(vocabulary), "sha256": sha256(tokens, y), **more}
    return Dataset(*splits, meta)


def _pad(rows, length):
    """(N, length) tokens, PAD after the end."""
    return np.array([np.pad(row[:length], (0, max(0, length - len(row))), constant_values=PAD) for row in rows])
