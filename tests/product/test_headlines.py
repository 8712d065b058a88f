"""The figures of docs/evidence.md about the second round, computed once more from its records by
code that shares nothing with the laboratory.
"""

import base64
import json
import re
import zlib
from pathlib import Path
from statistics import mean, stdev

import pytest

DOCS = Path(__file__).parents[2] / "docs"
T = {2: 4.303, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262, 10: 2.228, 11: 2.201}  # 97.5 %, by freedom
SMALLER = {2: 1.061, 4: 0.941, 5: 0.920, 6: 0.906, 7: 0.896, 8: 0.889, 9: 0.883, 10: 0.879, 11: 0.876}  # 80 %


def form(s):
    """The name of a cell, from a run's settings."""
    if s["kind"] == "dgsa":
        gates = {0.223: "dgsa", 1.0: "dgsa, b = 1"}
        factor = {0.2: "dgsa, factor 0.8"}.get(s.get("lambda_init"), gates[s["gate_bias"]])
        return "dgsa, head gate" if s["gate"] == "head" else factor
    if s["kind"] == "softmax":
        twice = 4 if s["data"] in ("rt-polarity", "imdb") else 8
        return "softmax" if s["n_heads"] == twice else "softmax, H heads"
    return "diff_v1, 0.8" if s.get("lambda_init") else s["kind"]


def clean(record):
    return 100 * record["clean"]["accuracy"]


def corrupted(record):
    return 100 * mean(mean(levels[1:]) for levels in record["accuracy"].values())


@pytest.fixture(scope="module")
def runs():
    """{(data, how pixels are standardised, form): {seed: record}}"""
    found = {}
    for line in (DOCS / "evidence/second/runs.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        s = record["settings"]
        if "clean" in record:
            found.setdefault((s["data"], s["standardise"], form(s)), {})[s["seed"]] = record
    return found


def table(first):
    """The rows of the table in evidence.md whose head begins so."""
    lines = (DOCS / "evidence.md").read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {first} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            return rows
        rows.append([cell.strip(" *`") for cell in line.strip("|").split("|")])
    return rows


def compare(of, ours, theirs):
    d = [of(ours[seed]) - of(theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())]
    free = len(d) - 1
    error = stdev(d) / len(d) ** 0.5
    return mean(d), T[free] * error, len(d), (T[free] + SMALLER[free]) * error


def test_the_contrasts_are_those_of_the_records(runs):
    rows = table("study")
    assert len(rows) >= 16
    for study, data, contrast, said, interval, seeds, seen, _ in rows:
        how = "none" if data in ("rt-polarity", "imdb") else "image" if study == "each-image" else "data"
        of = clean if study in ("clean", "head-factor") else corrupted
        a, b = (runs[data, how, name.strip(" `")] for name in contrast.split(" - "))
        difference, half, n, detectable = compare(of, a, b)
        low, high = map(float, re.findall(r"[-+][\d.]+", interval))
        assert float(said) == pytest.approx(difference, abs=0.006), (study, data)
        assert (low, high) == pytest.approx((difference - half, difference + half), abs=0.011), (study, data)
        assert int(seeds) == n and float(seen) == pytest.approx(detectable, abs=0.06), (study, data)


def test_the_words_follow_from_interval_and_margin():
    for *_, said, interval, _seeds, _seen, verdict in table("study"):
        low, high = map(float, re.findall(r"[-+][\d.]+", interval))
        inside, way = low > -1 and high < 1, "better" if float(said) > 0 else "worse"
        wanted = way if low > 0 or high < 0 else "equivalent" if inside else "cannot tell"
        assert verdict.startswith(wanted), (said, interval, verdict)


TABLES = {  # of accuracies: the data sets of their columns, and how their pixels are standardised
    "accuracy, %": dict.fromkeys(("fashion-mnist", "cifar10", "digits"), "data")
    | dict.fromkeys(("rt-polarity", "imdb"), "none"),
    "each image, %": {"fashion-mnist": "image", "digits": "image"},
}


@pytest.mark.parametrize(("first", "places"), TABLES.items())
def test_the_accuracies_are_those_of_the_records(first, places, runs):
    for name, *cells in table(first):
        for (data, how), pair in zip(places.items(), zip(cells[::2], cells[1::2], strict=True), strict=True):
            by_seed = runs.get((data, how, name), {})
            assert any(pair) == (len(by_seed) > 1), (name, data)
            for of, said in zip((clean, corrupted), pair, strict=True):
                if said:
                    found = [of(record) for record in by_seed.values()]
                    half = T[len(found) - 1] * stdev(found) / len(found) ** 0.5
                    assert list(map(float, said.split(" ± "))) == pytest.approx([mean(found), half], abs=0.051), name


def test_what_is_kept_of_each_test_item_adds_up(runs):
    for by_seed in runs.values():
        for record in by_seed.values():
            right = {name: list(zlib.decompress(base64.b64decode(t))) for name, t in record["items"].items()}
            assert 100 * mean(right["clean"]) == pytest.approx(clean(record), abs=1e-3)
            states = 5 * len(record["accuracy"])
            assert 100 * mean(right["corrupted"]) / states == pytest.approx(corrupted(record), abs=1e-3)


def test_how_alike_tokens_are_is_what_the_records_hold():
    runs = {}
    for line in (DOCS / "evidence/smoothing/runs.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if "similarity" in record:
            runs.setdefault(form(record["settings"]), []).append(record)
    rows = table("mean cosine")
    assert {name for name, *_ in rows} == runs.keys() and {len(some) for some in runs.values()} == {10}
    for name, *cells in rows:
        after = [record["similarity"]["after"] for record in runs[name]]
        columns = [a[4] for a in after], [a[8] for a in after], [clean(record) for record in runs[name]]
        for xs, said, digits in zip(columns, cells, (0.0051, 0.0051, 0.051), strict=True):
            middle, half = map(float, said.split(" ± "))
            assert (middle, half) == pytest.approx((mean(xs), T[9] * stdev(xs) / 10**0.5), abs=digits), (name, said)


def test_no_seed_was_used_for_tuning(runs):
    seeds = {seed for by_seed in runs.values() for seed in by_seed}
    assert seeds == set(range(300, 312))
    for path in (DOCS / "evidence/tuning").glob("*/runs.jsonl"):
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        assert not seeds & {r["settings"].get("seed") for r in records}


def test_each_rate_is_the_best_on_validation_data_and_inside_what_was_tried(runs):
    """In the folder where a mechanism was tuned; with the same budget for all of a folder."""
    tuned = {}
    for path in sorted((DOCS / "evidence/tuning").glob("*/runs.jsonl")):
        reached = {}
        for line in path.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            if "valid" in record:
                s = record["settings"]
                reached.setdefault(s["kind"], {}).setdefault(s["lr"], []).append(record["valid"]["accuracy"])
        assert len({len(rates) for rates in reached.values()}) == 1
        tuned = {(s["data"], kind): rates for kind, rates in reached.items()} | tuned
    assert {data for data, _ in tuned} == {"digits", "fashion-mnist", "rt-polarity", "imdb"}
    for (data, _, name), by_seed in runs.items():
        if (data, name.split(",")[0]) in tuned:
            means = {lr: round(mean(found), 9) for lr, found in tuned[data, name.split(",")[0]].items()}
            (lr,) = {record["settings"]["lr"] for record in by_seed.values()}
            assert means[lr] == max(means.values()) and min(means) < lr < max(means), (data, name, means)
