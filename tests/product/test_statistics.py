"""The statistics of the report are those of the books, and seeds stay in pairs."""

import numpy as np
from scipy import stats

from dgsa_np.lab.evidence import statistics, studies


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


def fake(accuracy, **more):
    return {"x": accuracy} | more


METRIC = studies.Metric("x", "%", lambda record: record["x"])


def test_the_primary_comparison_is_not_corrected_and_all_others_are():
    rng = np.random.default_rng(0)
    cells = {name: [fake(x) for x in rng.standard_normal(10)] for name in ("a", "b", "c")}
    made = statistics.comparisons({"d1": cells, "d2": cells}, (METRIC,), (METRIC, "a", "b"))
    assert [(c.data, c.label, c.other, c.primary) for c in made] == [
        ("d1", "a", "b", True), ("d1", "a", "c", False), ("d2", "a", "b", False), ("d2", "a", "c", False)]  # fmt: skip
    assert np.isnan(made[0].holm) and np.allclose([c.holm for c in made[1:]], statistics.holm([c.p for c in made[1:]]))
    assert np.isclose(made[0].mean, np.mean([a["x"] - b["x"] for a, b in zip(cells["a"], cells["b"], strict=True)]))


def test_seeds_that_broke_down_are_left_out_in_pairs():
    cells = {"a": [fake(1.0), fake(5.0, failed="!"), fake(4.0)], "b": [fake(0.0), fake(0.0), fake(1.0)]}
    (only,) = statistics.comparisons({"d": cells}, (METRIC,), (METRIC, "a", "b"))
    assert only.n == 2 and only.mean == 2


def test_seeds_stay_in_pairs_where_runs_are_missing_from_the_middle():
    gone = {"failed": "missing"}
    cells = {"a": [fake(1.0), gone, fake(5.0), fake(8.0)], "b": [fake(0.0), fake(0.0), gone, fake(6.0)]}
    (only,) = statistics.comparisons({"d": cells}, (METRIC,), (METRIC, "a", "b"))
    assert (only.n, only.mean) == (2, 1.5)


def test_what_cannot_be_tested_is_not_counted_by_holm():
    corrected = statistics.holm([np.nan, 0.04, 0.5])
    assert np.isnan(corrected[0]) and np.allclose(corrected[1:], [0.08, 0.5])


def test_an_endpoint_without_another_is_tested_against_zero():
    cells = {"a": [fake(1.0), fake(2.0)], "b": [fake(0.0), fake(1.0)]}
    made = statistics.comparisons({"d": cells}, (METRIC,), (METRIC, "a", None))
    assert [(c.label, c.other, c.mean, c.primary) for c in made] == [("a", None, 1.5, True), ("b", None, 0.5, False)]
