"""`dgsa-np baselines`, and the n-grams by the formula of Witten and Bell."""

import re

import numpy as np
import pytest
from support.commands import say

from dgsa_np.data import load
from dgsa_np.lab import baselines


def test_baselines_of_each_task(sources, capsys):
    status, said, _ = say(["baselines", "--corruption", "none"], capsys)
    assert status == 0 and re.search(r"nearest neighbour +\| 97.8", said) and "gaussian" not in said
    argv = ["baselines", "--data", "rt-polarity", "--root", sources, "--corruption", "deletion"]
    status, said, _ = say(argv, capsys)
    assert status == 0 and re.search(r"naive Bayes +\| 100.0", said) and "deletion" in said
    status, said, _ = say(["baselines", "--data", "text", "--root", sources / "text.txt", "--length", "16"], capsys)
    losses = {int(n): float(loss) for n, loss in re.findall(r"\| (\d)-gram +\| ([\d.]+)", said)}
    assert status == 0 and list(losses) == [2, 3, 4, 5, 6] and losses[5] < losses[2] < np.log(20)


@pytest.fixture(scope="module")
def manual():
    """The training part of Python's manual, as tokens, and how many symbols there are."""
    data = load("pydoc")
    tokens = baselines.stream(data.train, data.meta["stride"])
    assert np.array_equal(tokens[:129], np.append(data.train.inputs[0], data.train.targets[0, -1]))
    return tokens, data.meta["vocab_size"]


@pytest.mark.parametrize("n", [1, 2, 4, 6])
def test_the_probabilities_of_an_ngram_add_up_to_one(n, manual):
    tokens, size = manual
    model = baselines.NGram(tokens[:20000], n, size)
    seen = "".join(map(chr, tokens[100 : 100 + n - 1]))
    for history in ("", chr(5)[: n - 1], seen, chr(1) * (n - 1)):
        p = [model.probability(chr(c), history) for c in range(size)]
        assert sum(p) == pytest.approx(1, abs=1e-12) and min(p) > 0


def test_an_ngram_is_the_formula_of_witten_and_bell():
    model = baselines.NGram(np.array([0, 1, 0, 1, 0, 2]), 2, 4)
    uniform = 1 / 4
    after_nothing = [(count + 3 * uniform) / (6 + 3) for count in (3, 2, 1, 0)]
    after_0 = [(count + 2 * p) / (3 + 2) for count, p in zip((0, 2, 1, 0), after_nothing, strict=True)]
    assert [model.probability(chr(c), "") for c in range(4)] == pytest.approx(after_nothing)
    assert [model.probability(chr(c), chr(0)) for c in range(4)] == pytest.approx(after_0)
    assert model.probability(chr(3), chr(3)) == pytest.approx(after_nothing[3])  # nothing is known of 3
    assert model.loss(np.array([0, 1])) == pytest.approx(-np.log([after_nothing[0], after_0[1]]).mean())


def test_ngrams_are_counted_on_the_training_split_and_judged_on_the_test_split(sources):
    data = load("text", sources / "text.txt", length=16)
    train, test = (baselines.stream(s, n) for s, n in ((data.train, data.meta["stride"]), (data.test, 16)))
    expected = {f"{n}-gram": baselines.NGram(train, n, data.meta["vocab_size"]).loss(test) for n in (2, 3)}
    assert baselines.ngram_losses(data, (2, 3)) == expected


@pytest.mark.slow
def test_more_context_helps_on_the_manual(manual):
    tokens, size = manual
    two, five = (baselines.NGram(tokens[:100000], n, size).loss(tokens[100000:103000]) for n in (2, 5))
    assert five < two - 0.3 and two < np.log(size) - 1


def test_a_stream_is_the_text_that_was_cut(sources):
    for overlap in (1, 3, 4):
        data = load("text", sources / "text.txt", length=16, overlap=overlap)
        text = (sources / "text.txt").read_text()
        tokens = baselines.stream(data.train, data.meta["stride"])
        decoded = "".join(data.meta["symbols"][t] for t in tokens)
        assert text.startswith(decoded) and len(decoded) > 0.85 * len(text)
