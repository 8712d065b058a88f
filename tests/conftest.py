"""What the tests share."""

import os
from collections import Counter

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the arrays are small: more threads would only spin
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from support.tiers import most_later

from dgsa_np import model, shapes
from dgsa_np.attention import multihead
from dgsa_np.data import load
from dgsa_np.lab.cases import all_cases

# What fails in one of these says with which numbers, as it does in a test.
pytest.register_assert_rewrite(*(f"support.{name}" for name in ("compare", "devices", "runs", "second_order")))

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


def pytest_sessionstart(session):
    """Nothing remembered from before:
    mutation testing forks a process that has run the tests already.
    """
    shapes.PASSED.clear()
    for remembered in (multihead.attention_specs, multihead.at_depth, model.model_specs):
        remembered.cache_clear()


# The files that take longest: where two processes share the files, these are begun first, so that
# none of them is left for one process at the end.
LONGEST = """
    coursework bench what_is_read_back selfcheck handout report processes nbgrader a_new_mechanism grid
    hostile_arguments diagnose
"""
LONGEST = [f"test_{name}" for name in LONGEST.split()]
LEFT_OUT = Counter()  # by reason
LONGER = {  # marker: what runs the tests that bear it
    "slow": "make test-all",
    "peers": "make peers",
    "torture": "make torture",
    "notebooks": "make check-notebooks",
    "site": "make check-site",
}


def pytest_collection_modifyitems(config, items):
    """What takes longer runs where its marker is asked for:
    pytest -m torture, pytest -m "slow or not slow".
    """
    left = {marker: command for marker, command in LONGER.items() if marker not in config.option.markexpr}
    reasons = [[f"left to {left[m]}" for m in left if item.get_closest_marker(m)] for item in items]
    LEFT_OUT.update(why[-1] for why in reasons if why)
    config.hook.pytest_deselected(items=[item for item, why in zip(items, reasons, strict=True) if why])
    items[:] = [item for item, why in zip(items, reasons, strict=True) if not why]
    if hasattr(config, "workeroutput"):  # of a process of pytest-xdist, which prints nothing itself
        config.workeroutput["left out"] = dict(LEFT_OUT)
        items.sort(key=lambda item: (*LONGEST, item.path.stem).index(item.path.stem))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """What a process of pytest-xdist has left out. Each collects all tests: their numbers are the
    same, and do not add up.
    """
    for reason, n in getattr(node, "workeroutput", {}).get("left out", {}).items():
        LEFT_OUT[reason] = n


def pytest_terminal_summary(terminalreporter):
    """How many tests were left out, by reason,
    and the processor time of this process and of those it waited for.
    """
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = LEFT_OUT + Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped)
    terminalreporter.section(f"left out; processor time {sum(os.times()[:4]):.0f} s", "-")
    for reason, n in reasons.most_common():
        terminalreporter.write_line(f"{n:6,}  {reason}")


def pytest_generate_tests(metafunc):
    """A test that takes `case` runs on the whole catalogue of pairs; in the fast tier, of what is
    made of other pairs, on two models, and on the layers of dgsa and those of other kinds under
    padding. One that takes `piece` runs on what is not made of other pairs, and in make torture on
    the rest.
    """
    for name in {"case", "piece"} & {*metafunc.fixturenames}:
        cases = list(all_cases())
        made = [case for case in cases if case.name.split()[0] in ("model", "attention")]
        now = [case for case in cases if case not in made]
        if name == "case":
            two = [f"model dgsa [{variant}]" for variant in ("swiglu, none", "lm, padding")]
            now += [case for case in made if str(case) in two or case.name == "attention dgsa"]
            now += [case for case in made if case.name.startswith("attention") and case.variant == "padding"]
        torture = made if name == "piece" else ()
        metafunc.parametrize(name, most_later(cases, now, torture), ids=map(str, cases))
