"""What seeds say: means with intervals, paired tests, effect sizes, and Holm's correction."""

from typing import NamedTuple

import numpy as np

from ..experiments import interval

LEVEL, POWER = 0.05, 0.8  # of every test; with which the smallest visible difference would be seen


class Comparison(NamedTuple):
    """One metric of a cell against that of another, seed by seed."""

    data: str
    metric: object
    label: str
    other: str
    n: int  # seeds that both have
    mean: float  # of the differences
    half: float  # of their 95 % interval
    p: float  # of Student's t, two-sided, paired
    effect: float  # mean over standard deviation of the differences, Cohen's d_z
    primary: bool
    holm: float = np.nan  # p, corrected for all that are not primary
    half_items: float = np.nan  # of the 95 % interval over seeds and test items together
    detectable: float = np.nan  # the smallest difference that so many seeds show with a power of 80 %
    margin: float | None = None  # of equivalence

    @property
    def significant(self):
        return bool((self.p if self.primary else self.holm) < LEVEL)


def paired(differences) -> dict:
    """Mean, interval, test and effect size of differences, one per seed.

    Without spread nothing can be tested: p is 1 if all differences are 0, and nan otherwise.
    """
    from scipy import stats

    d = np.asarray(differences, float)
    mean, half = interval(d)
    spread = d.std(ddof=1) if len(d) > 1 else 0.0
    untested = 1.0 if mean == 0 else np.nan, np.nan
    p, effect = (float(stats.ttest_1samp(d, 0).pvalue), mean / spread) if spread else untested
    return {"n": len(d), "mean": mean, "half": half, "p": p, "effect": effect}


def detectable(differences) -> float:
    """(t_{1 - LEVEL / 2} + t_{POWER}) s / sqrt(n), with n - 1 degrees of freedom."""
    from scipy import stats

    d = np.asarray(differences, float)
    if len(d) < 2:
        return np.nan
    t = stats.t.ppf([1 - LEVEL / 2, POWER], len(d) - 1).sum()
    return float(t * d.std(ddof=1) / np.sqrt(len(d)))


def half_over_items(D) -> float:
    """Half of a 95 % interval of the mean of D (seeds, items), where both are drawn at random.

    Its variance is that of the means of seeds, over their number, plus the same of items. So what
    is of neither alone is counted twice, and the interval is a little too wide.
    """
    from scipy import stats

    if min(D.shape) < 2:
        return np.nan
    variance = sum(D.mean(axis=1 - axis).var(ddof=1) / D.shape[axis] for axis in (0, 1))
    return float(stats.t.ppf(1 - LEVEL / 2, len(D) - 1) * np.sqrt(variance))


def interval_band(ys):
    """Lower and upper edge of the 95 % interval of each column of (seeds, levels)."""
    means, halves = np.transpose([interval(column) for column in ys.T])
    return means - np.nan_to_num(halves), means + np.nan_to_num(halves)


INTERVAL = "95 % intervals", interval_band


def holm(ps) -> np.ndarray:
    """p-values corrected for their number m, after Holm 1979.

    The i-th smallest, counted from 0, is multiplied by m - i. No corrected value is below the one
    before it, or above 1.
    """
    ps = np.asarray(ps, float)
    order = np.argsort(ps)[: np.isfinite(ps).sum()]  # what could not be tested, nan, comes last and stays
    steps = ps[order] * (len(order) - np.arange(len(order)))
    corrected = np.full_like(ps, np.nan)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return corrected


def comparisons(tables, metrics, primary, margin=None) -> list:
    """All comparisons of a study: the primary one, on the first data set, and then the others.

    The others are corrected for their number.

    tables  : {data: {label: [a record per seed]}}, seeds in the same order
    primary : (metric, label, other), as in a Study
    margin  : of equivalence
    """
    first, label, other = primary
    made = []
    for data, cells in tables.items():
        for metric in metrics:
            for name in cells if label in cells else ():
                if name != label and (both := pairs(cells[label], cells[name])):
                    differences = [metric.of(ours) - metric.of(theirs) for ours, theirs in both]
                    found = paired(differences) | {"detectable": detectable(differences), "margin": margin}
                    found |= {"half_items": _half_over_items(metric, both)}
                    found |= {"primary": (data, metric, name) == (next(iter(tables)), first, other)}
                    made.append(Comparison(data, metric, label, name, **found))
    others = [c for c in made if not c.primary]
    corrected = holm([c.p for c in others]).tolist()
    return [c for c in made if c.primary] + [c._replace(holm=p) for c, p in zip(others, corrected, strict=True)]


def _half_over_items(metric, both) -> float:
    """Of accuracies, if all runs have kept their test items."""
    if metric.items is None or not all("items" in record for pair in both for record in pair):
        return np.nan
    return half_over_items(np.array([metric.items(a) - metric.items(b) for a, b in both]))


def pairs(ours, theirs) -> list:
    """Of each seed the records of two cells, where both runs came to an end."""
    by_seed = {record["settings"]["seed"]: record for record in theirs if "failed" not in record}
    ended = [record for record in ours if "failed" not in record]
    return [(a, by_seed[a["settings"]["seed"]]) for a in ended if a["settings"]["seed"] in by_seed]
