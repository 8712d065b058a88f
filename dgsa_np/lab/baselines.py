"""Trivial baselines: what a model has to beat before its attention is worth a word."""

import math
from collections import Counter, defaultdict

import numpy as np
from threadpoolctl import threadpool_limits

from ..data.corruptions import PAD

# -------------------------------------------------------------------------------------- classifiers


def classifiers(data, prepare=None) -> dict:
    """{name: function of a Split that returns its classes}, fitted on the training split.

    Logistic regression and nearest neighbour on pixels; naive Bayes on the words of sentences. The
    regression is iterated until it stands still: at scikit-learn's own tolerance its biases are six
    to ten times too small, and its accuracy on digits of low contrast is over 20 points too high.

    prepare : what is done to images first
    """
    estimators, features = on_pixels(prepare) if data.meta["task"] == "vision" else on_words(data.meta["vocab_size"])
    x = features(data.train)
    with threadpool_limits(1):  # the arrays are small: two threads of BLAS wait for each other most of the time
        fitted = {name: estimator.fit(x, data.train.targets) for name, estimator in estimators.items()}
    return {name: lambda split, fit=fit: fit.predict(features(split)) for name, fit in fitted.items()}


def on_pixels(prepare):
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    return {
        "logistic regression": LogisticRegression(max_iter=20_000, tol=1e-9),
        "nearest neighbour": KNeighborsClassifier(1),
    }, lambda split: np.float64(prepare(split.inputs) if prepare else split.inputs).reshape(len(split.inputs), -1)


def on_words(vocab_size):
    from scipy.sparse import csr_array
    from sklearn.naive_bayes import MultinomialNB

    def counts(split):
        rows, columns = np.nonzero(split.inputs != PAD)
        return csr_array((np.ones(len(rows)), (rows, split.inputs[rows, columns])), (len(split.inputs), vocab_size))

    return {"naive Bayes": MultinomialNB()}, counts


# ------------------------------------------------------------------------------------------ n-grams


def ngram_losses(data, orders=(2, 3, 4, 5, 6)) -> dict:
    """{"5-gram": nats per token of the test split}, counted on the training split."""
    train, test = stream(data.train, data.meta["stride"]), stream(data.test, data.meta["max_len"])
    return {f"{n}-gram": NGram(train, n, data.meta["vocab_size"]).loss(test) for n in orders}


class NGram:
    """A language model that counts what follows the last n - 1 tokens.  [eq:witten-bell, published]

    p_n(c | h) = (count(h c) + t(h) p_{n-1}(c | h')) / (count(h) + t(h))

    h' is h without its first token, t(h) is the number of different tokens seen after h, and p_0 is
    uniform. Witten and Bell 1991.
    """

    def __init__(self, tokens, n, vocab_size):
        self.n, self.uniform, self.after = n, 1 / vocab_size, defaultdict(Counter)
        text = _as_text(tokens)
        for k in range(n):
            for i in range(k, len(text)):
                self.after[text[i - k : i]][text[i]] += 1

    def probability(self, token, history):
        """p_n(token | history), at most n - 1 tokens long."""
        p = self.uniform
        for start in range(len(history), -1, -1):
            if seen := self.after.get(history[start:]):
                p = (seen[token] + len(seen) * p) / (seen.total() + len(seen))
        return p

    def loss(self, tokens):
        """Nats per token of a text."""
        text = _as_text(tokens)
        logs = (math.log(self.probability(c, text[max(0, i - self.n + 1) : i])) for i, c in enumerate(text))
        return -sum(logs) / len(text)


def _as_text(tokens):
    """Tokens as characters, since slices of text make quick keys."""
    return "".join(map(chr, tokens))


def stream(split, stride):
    """The text that the windows of a language were cut from, up to the end of the last."""
    return np.concatenate([split.inputs[:-1, :stride].ravel(), split.inputs[-1], split.targets[-1, -1:]])
