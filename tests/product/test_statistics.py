"""The statistics of the report are those of the books, and seeds stay in pairs."""

from functools import partial
from math import atan, pi, sqrt

import numpy as np
import pytest
from scipy import stats
from support.planting import assert_caught

from dgsa_np.lab import experiments
from dgsa_np.lab.evidence import measures, statistics, studies
from dgsa_np.lab.experiments import Run, collect, interval, per_seed_scores, with_interval


def test_holm_is_the_step_down_that_is_in_the_books():
    assert np.allclose(statistics.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    assert np.allclose(statistics.holm([0.5, 0.9, 0.6]), [1, 1, 1]) and statistics.holm([]).size == 0


def test_holm_keeps_the_chance_of_any_false_alarm():
    rng = np.random.default_rng(0)
    alarms = [(statistics.holm(rng.random(8)) < 0.05).any() for _ in range(4000)]
    assert abs(np.mean(alarms) - 0.05) < 0.012


def test_a_paired_test_is_that_of_scipy():
    a, b = np.random.default_rng(0).standard_normal((2, 10))
    a = a + 0.5
    told, theirs = statistics.paired(a - b), stats.ttest_rel(a, b)
    low, high = theirs.confidence_interval()
    assert np.isclose(told["p"], theirs.pvalue, rtol=1e-12)
    assert np.allclose([told["mean"] - told["half"], told["mean"] + told["half"]], [low, high], rtol=1e-12)
    assert np.isclose(told["effect"], theirs.statistic / np.sqrt(10), rtol=1e-12)


def test_without_spread_nothing_is_significant():
    assert statistics.paired([0.0, 0.0, 0.0])["p"] == 1
    assert np.isnan(statistics.paired([1.0, 1.0])["p"]) and np.isnan(statistics.paired([1.0])["p"])


def fake(accuracy, seed=0, **more):
    return {"x": accuracy, "settings": {"seed": seed}} | more


def seeds(*accuracies):
    """The records of a cell, with seeds 0, 1, ..."""
    return [fake(x, seed) for seed, x in enumerate(accuracies)]


GONE = {"failed": "missing"}  # a run that is not there has no settings


METRIC = studies.Metric("x", "%", lambda record: record["x"], "is more accurate")


def test_the_primary_comparison_is_not_corrected_and_all_others_are():
    rng = np.random.default_rng(0)
    cells = {name: seeds(*rng.standard_normal(10)) for name in ("a", "b", "c")}
    made = statistics.comparisons({"d1": cells, "d2": cells}, (METRIC,), (METRIC, "a", "b"))
    assert [(c.data, c.label, c.other, c.primary) for c in made] == [
        ("d1", "a", "b", True), ("d1", "a", "c", False), ("d2", "a", "b", False), ("d2", "a", "c", False)]  # fmt: skip
    assert np.isnan(made[0].holm) and np.allclose([c.holm for c in made[1:]], statistics.holm([c.p for c in made[1:]]))
    assert np.isclose(made[0].mean, np.mean([a["x"] - b["x"] for a, b in zip(cells["a"], cells["b"], strict=True)]))


def test_seeds_that_broke_down_are_left_out_in_pairs():
    cells = {"a": [fake(1.0, 0), fake(5.0, 1, failed="!"), fake(4.0, 2)], "b": seeds(0.0, 0.0, 1.0)}
    (only,) = statistics.comparisons({"d": cells}, (METRIC,), (METRIC, "a", "b"))
    assert only.n == 2 and only.mean == 2


def test_seeds_stay_in_pairs_where_runs_are_missing_from_the_middle():
    cells = {"a": [fake(1.0, 0), GONE, fake(5.0, 2), fake(8.0, 3)], "b": [*seeds(0.0, 0.0), GONE, fake(6.0, 3)]}
    (only,) = statistics.comparisons({"d": cells}, (METRIC,), (METRIC, "a", "b"))
    assert (only.n, only.mean) == (2, 1.5)


def test_what_cannot_be_tested_is_not_counted_by_holm():
    corrected = statistics.holm([np.nan, 0.04, 0.5])
    assert np.isnan(corrected[0]) and np.allclose(corrected[1:], [0.08, 0.5])


# --------------------------------------------------------------------------- small numbers, by hand


def test_two_and_three_differences_by_hand():
    """Student's t with 1 and with 2 degrees of freedom has closed forms."""
    two = statistics.paired([1.0, 4.0])
    assert two == pytest.approx(
        {"n": 2, "mean": 2.5, "half": 12.7062047 * 1.5, "p": 1 - 2 / pi * atan(2.5 / 1.5), "effect": 2.5 / sqrt(4.5)},
        rel=1e-8,
    )
    three = statistics.paired([1, 2, 6])
    spread = sqrt((2**2 + 1**2 + 3**2) / 2)
    t = 3 / (spread / sqrt(3))
    expected = {"n": 3, "mean": 3, "half": 4.30265273 * spread / sqrt(3), "p": 1 - t / sqrt(2 + t**2)}
    assert three == pytest.approx(expected | {"effect": 3 / spread}, rel=1e-8)


def test_a_difference_of_one_seed_has_a_mean_alone():
    (only, *rest) = statistics.paired([2.0]).items()
    assert [only, rest[0]] == [("n", 1), ("mean", 2.0)] and all(np.isnan(x) for _, x in rest[1:])


def test_a_band_is_the_interval_of_every_level():
    low, high = statistics.interval_band(np.array([[1.0, 0.0], [2.0, 0.0], [6.0, 3.0]]))
    means, halves = np.array([3, 1]), np.array([4.30265273 * sqrt(7 / 3), 4.30265273])
    assert low == pytest.approx(means - halves) and high == pytest.approx(means + halves)
    assert [edge.tolist() for edge in statistics.interval_band(np.array([[1.0, 2.0]]))] == [[1, 2]] * 2  # one seed


def compared(p, holm, primary):
    return statistics.Comparison("d", METRIC, "a", "b", 3, 0.0, 0.0, p, 0.0, primary, holm)


def test_significant_is_below_5_percent_the_primary_by_p_and_others_corrected():
    assert compared(0.049, np.nan, True).significant and not compared(0.05, 0.01, True).significant
    assert compared(0.049, 0.049, False).significant and not compared(0.01, 0.05, False).significant
    assert not compared(np.nan, np.nan, False).significant


def test_a_comparison_without_a_seed_is_none():
    cells = {"a": [GONE, fake(1.0, 1)], "b": [fake(0.0, 0), GONE], "c": seeds(0.0, 3.0)}
    (only,) = statistics.comparisons({"d": cells}, (METRIC,), (METRIC, "a", "b"))
    assert (only.label, only.other, only.n, only.mean, only.primary) == ("a", "c", 1, -2, False)


def test_cells_are_paired_by_the_seeds_that_both_have():
    """In any order; seeds that one of them lacks, or whose run broke down there, are in no pair."""
    a = [fake(7.0, 12), fake(1.0, 10), fake(9.0, 14), fake(3.0, 11), fake(5.0, 13)]
    b = [fake(0.5, 10), fake(3.0, 12), fake(2.0, 11), fake(8.0, 14, failed="!"), GONE]
    assert [(ours["x"], theirs["x"]) for ours, theirs in statistics.pairs(a, b)] == [(7, 3), (1, 0.5), (3, 2)]
    (only,) = statistics.comparisons({"d": {"a": a, "b": b}}, (METRIC,), (METRIC, "a", "b"))
    assert (only.n, only.mean) == (3, pytest.approx(5.5 / 3))
    assert statistics.pairs(seeds(1.0, 2.0), [fake(0.0, 2)]) == statistics.pairs(a, [GONE]) == []


def test_a_cell_of_few_seeds_is_compared_on_them():
    """And the others on all: cells of a study may have other numbers of seeds."""
    cells = {"a": seeds(*range(10)), "b": seeds(*[0.0] * 10), "few": seeds(0.0, 0.5, 1.0)}
    made = statistics.comparisons({"d": cells}, (METRIC,), (METRIC, "a", "b"))
    assert [(c.other, c.n, c.mean) for c in made] == [("b", 10, 4.5), ("few", 3, 0.5)]
    assert made[1].p == pytest.approx(statistics.paired([0, 0.5, 1])["p"])


# ------------------------------------------------------------------ what so many seeds would show


@pytest.mark.parametrize("n", [5, 12])
def test_what_is_detectable_is_found_by_four_tests_in_five(n):
    """By scipy's noncentral t, and by drawing differences of that mean, with the spread of ours."""
    d = np.random.default_rng(n).normal(0, 2, n)
    smallest = statistics.detectable(d)
    shift, critical = smallest / (d.std(ddof=1) / sqrt(n)), stats.t.ppf(0.975, n - 1)
    assert stats.nct.sf(critical, n - 1, shift) + stats.nct.cdf(-critical, n - 1, shift) == pytest.approx(0.8, abs=0.03)
    drawn = np.random.default_rng(0).normal(smallest, d.std(ddof=1), (4000, n))
    found = stats.ttest_1samp(drawn, 0, axis=1).pvalue < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.03)


def test_what_is_detectable_by_hand():
    """The t of 2 degrees of freedom is that of 0.975, 4.303, and that of 0.8, 1.061."""
    assert statistics.detectable([1, 2, 6]) == pytest.approx((4.30265273 + 1.06066017) * sqrt(7 / 3), rel=1e-8)
    assert np.isnan(statistics.detectable([1.0])) and statistics.detectable([2.0, 2.0]) == 0


def test_an_interval_over_seeds_and_items_by_hand():
    """Means of seeds 1 and 4, of items 0, 1.5 and 6: their variances are 4.5 and 9.75."""
    D = np.array([[0, 0, 3], [0, 3, 9]])
    assert statistics.half_over_items(D) == pytest.approx(12.7062047 * sqrt(4.5 / 2 + 9.75 / 3), rel=1e-8)
    assert np.isnan(statistics.half_over_items(D[:1])) and np.isnan(statistics.half_over_items(D[:, :1]))


@pytest.mark.parametrize(("of_seeds", "of_items", "rest"), [(1, 0, 0.2), (0.3, 3, 3), (0.1, 3, 10), (0, 0, 1)])
def test_an_interval_over_seeds_and_items_holds_the_truth_as_often_as_it_says(of_seeds, of_items, rest):
    """Or more often: what is of neither alone is counted twice."""
    rng, n, items, hits = np.random.default_rng(0), 8, 60, []
    for _ in range(800):
        D = of_seeds * rng.standard_normal((n, 1)) + of_items * rng.standard_normal(items)
        D = 0.5 + D + rest * rng.standard_normal((n, items))
        hits.append(abs(D.mean() - 0.5) <= statistics.half_over_items(D))
    assert np.mean(hits) >= 0.95 - 0.02
    if of_items == 0 and of_seeds:
        assert np.mean(hits) < 0.98  # of seeds alone it is the usual one


def with_items(seed, n=40):
    """The record of a run that kept its test items; and which of them it had right."""
    rng = np.random.default_rng([seed, n])
    right = {kind: rng.random((6, n)) < 0.7 for kind in ("noise", "blur", "contrast")}
    right["blur"][0] = right["contrast"][0] = right["noise"][0]  # level 0 damages nothing
    accuracy = {kind: levels.mean(axis=1).tolist() for kind, levels in right.items()}
    figures = {"accuracy": accuracy["noise"][0]}
    record = {"settings": {"seed": seed}, "clean": figures, "accuracy": accuracy, "items": measures.packed(right)}
    return record, right


@pytest.mark.parametrize("metric", [studies.CLEAN, studies.CORRUPTED], ids=["clean", "corrupted"])
def test_test_items_have_the_accuracy_of_their_record(metric):
    record, right = with_items(0)
    items = metric.items(record)
    levels = [clean[0] for clean in right.values()] if metric is studies.CLEAN else [*right.values()]
    by_hand = 100 * np.mean([a if a.ndim == 1 else a[1:].mean(axis=0) for a in levels], axis=0)
    assert items == pytest.approx(by_hand) and items.mean() == pytest.approx(metric.of(record), rel=1e-12)


def test_a_comparison_of_accuracies_has_the_interval_over_seeds_and_items_of_its_pairs():
    ours, theirs = ([with_items(seed)[0] for seed in seeds] for seeds in ([3, 1, 2, 9], [11, 2, 1, 3]))
    pairs = [(ours[0], theirs[3]), (ours[1], theirs[2]), (ours[2], theirs[1])]
    theirs[3]["accuracy"]["blur"][1] += 0.01  # else equal seeds would be equal runs
    theirs[3]["items"] = with_items(4)[0]["items"]
    for metric in (studies.CLEAN, studies.CORRUPTED):
        (made,) = statistics.comparisons({"d": {"a": ours, "b": theirs}}, (metric,), (metric, "a", "b"))
        D = np.array([metric.items(a) - metric.items(b) for a, b in pairs])
        assert made.n == 3 and made.half_items == pytest.approx(statistics.half_over_items(D)) and made.half_items > 0


def test_without_test_items_there_is_no_interval_over_them():
    ours, theirs = ([with_items(seed)[0] for seed in range(3)] for _ in range(2))
    for record in theirs:
        del record["items"]
    loss = studies.LOSS._replace(of=lambda record: 1.0)
    for metric, cells, other in (
        (studies.CLEAN, {"a": ours, "b": theirs}, "b"),
        (loss, {"a": ours, "b": ours}, "b"),
    ):
        (made,) = statistics.comparisons({"d": cells}, (metric,), (metric, "a", other))
        assert np.isnan(made.half_items) and made.n == 3


def test_a_comparison_knows_its_margin_and_what_its_seeds_would_show():
    cells = {"a": seeds(1.0, 2.0, 6.0), "b": seeds(0.0, 0.0, 0.0), "c": seeds(0.0, 1.0, 5.0)}
    made = statistics.comparisons({"d": cells}, (METRIC,), (METRIC, "a", "b"), margin=0.5)
    assert [c.margin for c in made] == [0.5, 0.5]
    assert [c.detectable for c in made] == pytest.approx([statistics.detectable([1, 2, 6]), 0])
    (made, _) = statistics.comparisons({"d": cells}, (METRIC,), (METRIC, "a", "b"))
    assert made.margin is None


RUNS = [
    Run(name, seed, {}, [], [], {"noise": noise, "blur": blur})
    for name, seed, noise, blur in (
        ("nearest", 0, [0.5, 0.5, 0.5], [0.5, 0.5, 0.5]),
        ("softmax", 1, [0.8, 0.4, 0.2], [0.8, 0.6, 0.5]),
        ("softmax", 0, [1.0, 0.5, 0.3], [1.0, 0.7, 0.6]),
    )
]


def test_runs_are_collected_by_mechanism_and_seed():
    found = collect(RUNS)
    assert list(found) == ["softmax", "nearest"]
    assert found["softmax"]["noise"].tolist() == [[1.0, 0.5, 0.3], [0.8, 0.4, 0.2]]


def test_the_score_under_a_corruption_is_the_mean_over_its_levels_above_0():
    scores = per_seed_scores(collect(RUNS)["softmax"])
    expected = {"clean": [1, 0.8], "noise": [0.4, 0.3], "blur": [0.65, 0.55], "all corruptions": [0.525, 0.425]}
    assert scores.keys() == expected.keys()
    assert all(scores[name] == pytest.approx(values) for name, values in expected.items())


def test_a_mean_is_printed_with_half_its_interval():
    assert interval([1, 2, 6]) == pytest.approx((3, 4.30265273 * sqrt(7 / 3)))
    assert with_interval([1, 2, 6], 1) == "3.0 ± 6.6" and with_interval([2.0], 2) == "2.00"


# ------------------------------------------------------------------------------------- planted bugs

paired, holm, comparisons, band = statistics.paired, statistics.holm, statistics.comparisons, statistics.interval_band
pairs, half_over_items = statistics.pairs, statistics.half_over_items
by_hand, of_the_books = test_two_and_three_differences_by_hand, test_holm_is_the_step_down_that_is_in_the_books
primary_first = test_the_primary_comparison_is_not_corrected_and_all_others_are
broken_down = test_seeds_that_broke_down_are_left_out_in_pairs
by_seed, detectable_by_hand = test_cells_are_paired_by_the_seeds_that_both_have, test_what_is_detectable_by_hand
over_items = test_an_interval_over_seeds_and_items_by_hand
of_pairs = test_a_comparison_of_accuracies_has_the_interval_over_seeds_and_items_of_its_pairs
of_items = partial(test_test_items_have_the_accuracy_of_their_record, studies.CORRUPTED)
scores = test_the_score_under_a_corruption_is_the_mean_over_its_levels_above_0

BUGS = {  # what is wrong: (what catches it, function, old, new)
    "the spread of all rather than of a sample": (by_hand, paired, "ddof=1", "ddof=0"),
    "the effect by the standard error": (by_hand, paired, "mean / spread", "mean / spread * len(d) ** 0.5"),
    "a one-sided test": (by_hand, paired, "ttest_1samp(d, 0)", "ttest_1samp(d, 0, alternative='greater')"),
    "a test against 1": (by_hand, paired, "ttest_1samp(d, 0)", "ttest_1samp(d, 1)"),
    "no spread is significant": (
        test_without_spread_nothing_is_significant, paired, "1.0 if mean == 0 else np.nan", "0.0"),
    "a 90 % interval": (by_hand, experiments.interval, "0.975", "0.95"),
    "the interval of a normal distribution": (
        by_hand, experiments.interval, "stats.t.ppf(0.975, len(values) - 1)", "stats.norm.ppf(0.975)"),
    "a degree of freedom too many": (by_hand, experiments.interval, "len(values) - 1", "len(values)"),
    "the interval by the spread": (by_hand, experiments.interval, "stats.sem", "np.std"),
    "the lower edge is the upper one": (test_a_band_is_the_interval_of_every_level, band, "means - np", "means + np"),
    "Bonferroni for Holm": (of_the_books, holm, "(len(order) - np.arange(len(order)))", "len(order)"),
    "Holm by one too few": (of_the_books, holm, "(len(order) - np", "(len(order) - 1 - np"),
    "corrected values that fall": (of_the_books, holm, "np.maximum.accumulate(steps)", "steps"),
    "corrected values above 1": (
        of_the_books, holm, "np.minimum(np.maximum.accumulate(steps), 1)", "np.maximum.accumulate(steps)"),
    "corrected values in the order of size": (of_the_books, holm, "corrected[order] =", "corrected[: len(order)] ="),
    "what cannot be tested is counted": (
        test_what_cannot_be_tested_is_not_counted_by_holm, holm, "len(order) - np.arange", "len(ps) - np.arange"),
    "the primary comparison is corrected": (
        primary_first, comparisons, "[c for c in made if not c.primary]", "made[1:] + made[:1]"),
    "a repetition is primary too": (
        primary_first, comparisons, "(next(iter(tables)), first, other)", "(data, first, other)"),
    "the sign of a difference": (
        primary_first, comparisons, "metric.of(ours) - metric.of(theirs)", "metric.of(theirs) - metric.of(ours)"),
    "the others are not corrected": (
        primary_first, comparisons, "holm([c.p for c in others]).tolist()", "[c.p for c in others]"),
    "our seeds that broke down count": (
        broken_down, pairs, 'for record in ours if "failed" not in record', "for record in ours"),
    "their seeds that broke down count": (
        by_seed, pairs,
        'for record in theirs if "failed" not in record', 'for record in theirs if "settings" in record'),
    "pairs are made of what is left": (
        test_seeds_stay_in_pairs_where_runs_are_missing_from_the_middle, pairs,
        'return [(a, by_seed[a["settings"]["seed"]]) for a in ended if a["settings"]["seed"] in by_seed]',
        "return list(zip(ended, by_seed.values()))"),
    "pairs in the order of the second": (by_seed, pairs, "(ours, theirs)", "(theirs, ours)"),
    "detectable by the spread of all": (detectable_by_hand, statistics.detectable, "ddof=1", "ddof=0"),
    "detectable by one seed in two": (detectable_by_hand, statistics.detectable, "[1 - LEVEL / 2, POWER]", "[POWER]"),
    "detectable by a one-sided test": (detectable_by_hand, statistics.detectable, "1 - LEVEL / 2", "1 - LEVEL"),
    "detectable by the spread of one seed": (detectable_by_hand, statistics.detectable, " / np.sqrt(len(d))", ""),
    "chance between items alone": (over_items, half_over_items, "for axis in (0, 1)", "for axis in (1,)"),
    "chance between seeds alone": (over_items, half_over_items, "for axis in (0, 1)", "for axis in (0,)"),
    "the number of seeds for that of items": (over_items, half_over_items, "D.shape[axis]", "D.shape[1 - axis]"),
    "means of items for those of seeds": (over_items, half_over_items, "D.mean(axis=1 - axis)", "D.mean(axis=axis)"),
    "the interval over items with their degrees": (over_items, half_over_items, "len(D) - 1", "D.shape[1] - 1"),
    "items of other seeds": (
        of_pairs, comparisons, "pairs(cells[label], cells[name])", "list(zip(cells[label], cells[name]))"),
    "items divided by all states": (of_items, studies.corrupted_items, "len(levels) - 1", "len(levels)"),
    "level 0 in a corrupted mean": (scores, per_seed_scores, "a[:, 1:]", "a"),
    "the last level is left out": (scores, per_seed_scores, "a[:, 1:]", "a[:, :-1]"),
    "clean accuracy of the worst level": (scores, per_seed_scores, "[:, 0]", "[:, -1]"),
    "the mean over seeds": (scores, per_seed_scores, "for c in by_corruption], axis=0", "for c in by_corruption]"),
    "clean counts as a corruption": (
        scores, per_seed_scores, "[scores[c] for c in by_corruption]", "list(scores.values())"),
    "seeds in another order": (test_runs_are_collected_by_mechanism_and_seed, collect, "r.seed)", "-r.seed)"),
}  # fmt: skip


@pytest.mark.parametrize("name", BUGS)
def test_planted_bugs_are_caught(name):
    test, *change = BUGS[name]
    assert_caught(test, change)
