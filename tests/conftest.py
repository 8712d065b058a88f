"""What the tests share."""

import numpy as np
import pytest

from dgsa_np.cases import all_cases
from dgsa_np.data import load

WORDS = ["a", "quiet", "film", "with", "a", "warm", "heart", "and", "no", "plot", "at", "all", "but", "great", "songs"]


@pytest.fixture(scope="session")
def digits():
    return load("digits")


@pytest.fixture(scope="session")
def sources(tmp_path_factory):
    """A text and labelled sentences, made up here."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for side, word in (("neg", "dull"), ("pos", "lovely")):
        lines = [" ".join([*rng.choice(WORDS, rng.integers(3, 9)), word]) for _ in range(60)]
        (root / f"rt-polarity.{side}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (root / "text.txt").write_text(" ".join(rng.choice(WORDS, 400)), encoding="utf-8")
    return root


def pytest_generate_tests(metafunc):
    """A test that takes `case` runs on the whole catalogue of pairs."""
    if "case" in metafunc.fixturenames:
        cases = list(all_cases())
        metafunc.parametrize("case", cases, ids=map(str, cases))
