"""Exercise 13, ten seeds: what is right, known mistakes, and the table of items."""

from functools import cache, partial
from itertools import combinations

import numpy as np
from grading.course import for_course
from grading.items import Item
from grading.steps import follow, seen

MODULI, LEVELS = (5, 7, 11), (0.95, 0.99)
NORMAL = {0.95: 1.959963984540054, 0.99: 2.5758293035489004}
BETTER, WORSE, NONE, UNTOLD = range(4)


def sequences(course, a, b, start, length):
    return continued(start, length, lambda x: (a * x + b) % course["MODULUS"])


def continued(start, length, rule):
    x = [start]
    for _ in range(length - 1):
        x.append(rule(x[-1]))
    return np.stack(x, axis=1)


def score(course, logits, x):
    return counted(course, guessed(logits)[:, 2:] == x[:, 3:])


def counted(course, right):
    return 100 * np.mean(right if course["SCORE"] == "accuracy" else ~right)


def guessed(logits):
    return logits.argmax(axis=-1)


@cache
def t_quantile(p, df):
    """As in the exercise, where it is given."""
    angle = (np.arange(10000) + 0.5) / 10000 * np.pi - np.pi / 2
    share = np.cumsum(np.cos(angle) ** (df - 1))
    return np.sqrt(df) * np.tan(np.interp(p, share / share[-1], angle + np.pi / 20000))


# ------------------------------------------------------------------------------------- arguments


def make_rules(course, rng, n=23, length=8):
    P = course["MODULUS"]
    return rng.integers(1, P, n), rng.integers(P, size=n), rng.integers(P, size=n), length


def make_guesses(course, rng, n=53, T=11):
    """The later a number, the more guesses of it are right; of six sequences all are."""
    P = course["MODULUS"]
    x = sequences(course, *make_rules(course, rng, n, T + 1))
    right = rng.permuted(np.arange(n)[:, None] < n * np.linspace(0.2, 0.9, T), axis=0)
    right[:6] = True
    guess = (x[:, 1:] + np.where(right, 0, rng.integers(1, P, (n, T)))) % P
    return rng.uniform(-1, 1, (n, T, P)) + 2.5 * np.eye(P)[guess], x


def make_scores(rng, n=10, sign=1, failed=0):
    """Scores that go up and down together, in 1024ths of a point: sums of them are exact.

    Of each mechanism `failed` runs have failed, those of the first before those of the second. p
    lies between 1/30 and 1/3, and the two are not in one order, or some mistakes would not show.
    """
    while True:
        second = 60 + 5 * rng.standard_normal(n)
        first = second + sign * (0.6 + rng.standard_normal(n))
        first, second = (np.round(1024 * a) / 1024 for a in (first, second))
        first[rng.choice(n // 3, failed, replace=False)] = np.nan
        second[n // 2 + rng.choice(n // 3, failed, replace=False)] = np.nan
        d = first - second
        one_order = (np.argsort(first[~np.isnan(d)]) == np.argsort(second[~np.isnan(d)])).all()
        if 1 / 30 < sign_flip_p(first, second) < 1 / 3 and sign * np.nansum(d) > 0 and not one_order:
            return first, second


def make_runs(rng, n=12, sign=1, failed=2):
    """Lists, with None for runs that failed."""
    scores = make_scores(rng, n, sign, failed)
    return tuple([None if np.isnan(x) else float(x) for x in a] for a in scores)


def make_ten(rng):
    return make_scores(rng, sign=-1)


def make_few(rng):
    return make_scores(rng, 9)


def make_worse(rng):
    return make_runs(rng, 13, failed=1, sign=-1)


def make_intervals(rng, kinds):
    """Two of each kind, in any order, and the smallest difference; kinds : names in ENDS."""
    smallest = rng.uniform(0.6, 1.6)
    ends = [[rng.uniform(*end) for end in ENDS[kind]] for kind in kinds.split() for _ in range(2)]
    return smallest * rng.permutation(np.array(ends)), smallest


ABOVE, BELOW = (1.5, 2.0), (-2.0, -1.5)  # in units of the smallest difference
ENDS = {  # between which numbers an interval begins, and ends
    "far-up": ((1.3, 1.7), (1.8, 2.2)),
    "up": ((0.2, 0.5), (1.2, 1.4)),
    "little-up": ((0.1, 0.4), (0.5, 0.9)),
    "inside": ((-0.9, -0.6), (0.6, 0.9)),
    "wide-up": ((-0.9, -0.7), ABOVE),
    "wide": (BELOW, ABOVE),
    "wide-down": (BELOW, (0.7, 0.9)),
    "little-down": ((-0.9, -0.5), (-0.4, -0.1)),
    "down": ((-1.4, -1.2), (-0.5, -0.2)),
    "far-down": ((-2.2, -1.8), (-1.7, -1.3)),
}


def make_clear(rng):
    return make_intervals(rng, "far-up up up inside wide-up wide wide-down down far-down")


def make_unclear(rng):
    return make_intervals(rng, "far-up up little-up inside inside wide-up wide wide-down little-down down")


# ------------------------------------------------------------------------ mistakes in the sequences


def exchanged(course, a, b, start, length):
    return sequences(course, b, a, start, length)


def factor_of_both(course, a, b, start, length):
    return continued(start, length, lambda x: a * (x + b) % course["MODULUS"])


def not_reduced(a, b, start, length):
    return continued(start, length, lambda x: a * x + b)


def product_reduced(course, a, b, start, length):
    return continued(start, length, lambda x: a * x % course["MODULUS"] + b)


def b_reduced(course, a, b, start, length):
    return continued(start, length, lambda x: a * x + b % course["MODULUS"])


def start_left_out(course, a, b, start, length):
    return sequences(course, a, b, start, length + 1)[:, 1:]


def one_too_many(course, a, b, start, length):
    return sequences(course, a, b, start, length + 1)


def one_rule(course, a, b, start, length):
    return sequences(course, a[0], b[0], start, length)


def steps_along_rows(course, *arguments):
    return sequences(course, *arguments).T


def from_the_start(course, a, b, start, length):
    return np.stack([start] + [(a * start + b) % course["MODULUS"]] * (length - 1), axis=1)


def of_modulus(modulus):
    return partial(sequences, {"MODULUS": modulus})


def wrong_sequences(course):
    others = tuple(of_modulus(P) for P in MODULI if course["MODULUS"] != P)
    return {
        exchanged: "a and b are exchanged: a is the factor",
        factor_of_both: "a multiplies b too: a x + b",
        (not_reduced, b_reduced): "it is not reduced modulo MODULUS: % binds as * does, so put a x + b in parentheses",
        product_reduced: "only the product is reduced: % binds as * does, so put a x + b in parentheses",
        start_left_out: "the start is left out: it is the first column",
        one_too_many: "there is one number too many: length counts the start",
        one_rule: "one rule serves all sequences: each has its own a and b",
        steps_along_rows: "the axes are exchanged: a sequence is a row",
        from_the_start: "every number is made from the start: take the one before",
        others: f"that is the modulus of another course: yours has MODULUS = {course['MODULUS']}",
    }


# ---------------------------------------------------------------------------- mistakes in the score


def from_place(first, last=None):
    """Counted from the guess after x_first on."""
    return lambda course, logits, x: counted(course, (guessed(logits) == x[:, 1:])[:, first:last])


def other_score(course, logits, x):
    return 100 - score(course, logits, x)


def as_fraction(course, logits, x):
    return score(course, logits, x) / 100


def as_count(course, logits, x):
    return score(course, logits, x) / 100 * x[:, 3:].size


def whole_sequences(course, logits, x):
    return counted(course, (guessed(logits) == x[:, 1:])[:, 2:].all(axis=1))


def of_what_is_seen(course, logits, x):
    return counted(course, (guessed(logits) == x[:, :-1])[:, 2:])


def of_each_place(course, logits, x):
    return np.array([from_place(t, t + 1)(course, logits, x) for t in range(2, logits.shape[1])])


def wrong_scores(course):
    counts = "right" if course["SCORE"] == "accuracy" else "wrong"
    return {
        from_place(0): "all guesses count: x_1 and x_2 cannot be known, whatever the model",
        from_place(1): "the guess of x_2 counts too: one step does not tell a and b, two do",
        from_place(3): "the guess of x_3 is left out: x_0, x_1 and x_2 tell the rule",
        from_place(-1): "only the last guess counts",
        from_place(0, -2): "the guesses are cut off at the end, not at the beginning",
        other_score: f"the {counts} guesses count: your course has SCORE = {course['SCORE']}",
        as_fraction: "that is a fraction: the score is in per cent",
        as_count: "that is a number of guesses: the score is in per cent of those that count",
        whole_sequences: "only sequences without a mistake count as right: every guess counts by itself",
        of_what_is_seen: "guesses are compared with the number just read: logits[:, t] are for x_{t+1}",
        of_each_place: "that is a score for each place: one number is asked for",
    }


# ------------------------------------- the interval, step by step: a mistake is another formula

INTERVAL = {
    "pairs": lambda n: (n.first - n.second)[~np.isnan(n.first - n.second)],
    "n_seeds": lambda n: len(n.pairs),
    "mean": lambda n: n.pairs.mean(),
    "df": lambda n: n.n_seeds - 1,
    "share": lambda n: (1 + n.level) / 2,
    "t": lambda n: t_quantile(n.share, n.df),
    "spread": lambda n: n.pairs.std(ddof=1),
    "error": lambda n: n.spread / np.sqrt(n.n_seeds),
    "found": lambda n: (n.mean, n.mean - n.t * n.error, n.mean + n.t * n.error),
}


def paired_interval(course, first, second, slips=()):
    first, second = (np.array(scores, float) for scores in (first, second))  # None becomes nan
    return follow(INTERVAL, dict(slips), first=first, second=second, level=course["CONFIDENCE"]).found


def but(**slips):
    return partial(paired_interval_with, slips=slips)


def paired_interval_with(course, first, second, slips):
    return paired_interval(course, first, second, slips)


def ended(a):
    return a[~np.isnan(a)]


def unpaired(n):
    """The error of a difference of two means of independent runs."""
    kept = ~np.isnan(n.first - n.second)
    return np.sqrt(sum(a[kept].var(ddof=1) for a in (n.first, n.second)) / n.n_seeds)


def unpaired_of_all(n):
    return np.sqrt(sum(ended(a).var(ddof=1) / len(ended(a)) for a in (n.first, n.second)))


def difference_of_means(n):
    return ended(n.first).mean() - ended(n.second).mean()


def twice_as_many(n):
    return 2 * n.n_seeds - 2


def of_all_runs(n):
    return len(ended(n.first)) + len(ended(n.second)) - 2


UNPAIRED = (
    but(error=unpaired),
    but(error=unpaired, df=twice_as_many),
    but(error=unpaired_of_all, mean=difference_of_means),
    but(error=unpaired_of_all, mean=difference_of_means, df=of_all_runs),
)
SHIFTED = {"pairs": lambda n: ended(n.first) - ended(n.second)}
ZERO = {"pairs": lambda n: np.nan_to_num(n.first) - np.nan_to_num(n.second)}
FILLED = {"pairs": lambda n: filled(n.first) - filled(n.second)}
KEPT = {"pairs": lambda n: n.first - n.second}


def filled(a):
    return np.where(np.isnan(a), np.nanmean(a), a)


WRONG_INTERVALS = {
    UNPAIRED: "the interval is that of two independent groups: take differences by seed, and their deviation",
    but(spread=lambda n: n.pairs.std()):
        "the deviation has ddof=0: the mean was estimated too, so divide by n - 1",
    but(error=lambda n: n.spread / np.sqrt(n.n_seeds - 1)):
        "n - 1 is counted twice: with ddof=1 the error of the mean is the deviation over sqrt(n)",
    but(error=lambda n: n.pairs.std() / n.n_seeds): "the deviation has ddof=0, and is divided by n: take sqrt(n)",
    but(error=lambda n: n.spread):
        "that is where a single difference lies: the error of their mean is the deviation over sqrt(n)",
    but(error=lambda n: n.spread / n.n_seeds): "the deviation is divided by n: the error of a mean goes with sqrt(n)",
    but(t=lambda n: 1.0): "that is one standard error to either side: multiply it by the quantile of t",
    but(share=lambda n: n.level): "the quantile is one-sided: half of what is outside lies at either end",
    but(t=lambda n: NORMAL[n.level]): "the quantile is the normal one: with few seeds t is larger",
    but(df=lambda n: n.n_seeds): "t has n - 1 degrees of freedom, not n",
    but(df=lambda n: n.n_seeds - 2): "t has n - 1 degrees of freedom, not n - 2",
    but(df=twice_as_many): "the degrees of freedom are those of two groups: there are n differences, so n - 1",
    but(pairs=lambda n: ended(n.second - n.first)): "the sign is wrong: first - second",
    but(pairs=lambda n: np.sort(ended(n.first)) - np.sort(ended(n.second))):
        "the scores are sorted: a pair is a seed, not a rank",
    but(mean=lambda n: np.nanmax(n.first) - np.nanmax(n.second)):
        "the best seeds are compared: whoever has more luck wins. Take all seeds",
    but(mean=lambda n: np.median(n.pairs)): "that is the median: the interval is one of the mean",
    but(pairs=lambda n: ended(100 * (n.first - n.second) / n.second)):
        "the difference is relative: points are per cent minus per cent",
    but(found=lambda n: (n.mean, n.t * n.error)): "that is the half width: return both ends",
    but(found=lambda n: (n.mean, n.t * n.error, n.t * n.error)): "that is the half width: return both ends",
}  # fmt: skip
FAILED = (
    (SHIFTED, "the failed runs are dropped on each side for itself: what is left are no pairs of a seed any more"),
    (ZERO, "a failed run counts as 0"),
    (FILLED, "a failed run counts as the mean of the others: drop the seed"),
    (KEPT, "nan is what is left: drop the seeds where a run failed"),
)
WRONG_WHERE_RUNS_FAILED = {but(**slip): hint for slip, hint in FAILED} | {
    but(n_seeds=lambda n: len(n.first)): "n counts the seeds that were dropped, too",
}


def wrong_confidence(course):
    (other,) = {*LEVELS} - {course["CONFIDENCE"]}
    return {
        but(
            share=lambda n: (1 + other) / 2
        ): f"the confidence is that of another course: yours has CONFIDENCE = {course['CONFIDENCE']}"
    }


# -------------------------------------------------------------------------- mistakes of sign flips

FLIPS = {
    "pairs": INTERVAL["pairs"],
    "signs": lambda n: 1 - 2 * (np.arange(2 ** len(n.pairs))[:, None] >> np.arange(len(n.pairs)) & 1),
    "sums": lambda n: n.signs @ n.pairs,
    "observed": lambda n: n.pairs.sum(),
    "count": lambda n: np.sum(abs(n.sums) >= abs(n.observed) - 1e-9),
    "p": lambda n: n.count / len(n.sums),
}


def sign_flip_p(first, second, **slips):
    return follow(FLIPS, slips, first=np.array(first, float), second=np.array(second, float)).p


def flips(**slips):
    return partial(sign_flip_p, **slips)


def exchanged_at_will(first, second):
    """All ways to give half of the runs to the first, whatever their seeds."""
    first, second = (np.array(scores, float) for scores in (first, second))
    runs, n = np.concatenate([ended(first), ended(second)]), len(ended(first))
    chosen = halves(n)
    return np.mean(abs(2 * runs[chosen].sum(axis=1) - runs.sum()) >= abs(2 * runs[:n].sum() - runs.sum()) - 1e-9)


@cache
def halves(n):
    if n > 9:
        raise ValueError(f"far too many halves of {2 * n} runs")
    return np.array(list(combinations(range(2 * n), n)))


WRONG_FLIPS = {
    (flips(count=lambda n: np.sum(n.sums >= n.observed - 1e-9)),
     flips(count=lambda n: np.sum(n.sums <= n.observed + 1e-9)),
     flips(count=lambda n: np.sum(n.sums >= abs(n.observed) - 1e-9))):
        "p is one-sided: means as far below 0 count too",
    flips(count=lambda n: np.sum(abs(n.sums) > abs(n.observed) + 1e-9)):
        "equal means are left out: at least as far, so >= and not >",
    (flips(p=lambda n: (n.count - 1) / (len(n.sums) - 1)), flips(p=lambda n: (n.count - 1) / len(n.sums))):
        "the signs as they were observed are left out: they are one of the 2^n choices",
    flips(p=lambda n: (n.count + 1) / (len(n.sums) + 1)):
        "1 is added to both: that is for signs that are drawn. Here all are there, the observed ones too",
    flips(p=lambda n: n.count): "that is a number of choices: divide by 2^n",
    flips(p=lambda n: 1 - n.count / len(n.sums)): "that is 1 - p",
    flips(p=lambda n: 2 * n.count / len(n.sums)): "p is doubled: both sides are counted already",
    exchanged_at_will: "runs are exchanged between seeds: within a seed alone the two may change places",
}  # fmt: skip
FLIPS_WHERE_RUNS_FAILED = {flips(**slip): hint for slip, hint in FAILED}

# ------------------------------------- mistakes of verdicts: of ends where more is better, as codes


def right_verdict(low, high, smallest):
    return NONE if -smallest < low and high < smallest else side(low, high)


def side(low, high):
    return BETTER if low > 0 else WORSE if high < 0 else UNTOLD


def judged(course, ends, smallest, rule=right_verdict):
    """rule : low, high, smallest -> a place in VERDICTS"""
    ends = ends if course["SCORE"] == "accuracy" else -ends[:, ::-1]
    return np.array([rule(low, high, smallest) for low, high in ends])


def ruled(rule):
    def verdicts(course, ends, smallest):
        return judged(course, ends, smallest, rule)

    return verdicts


def zero_says_none(low, high, smallest):
    return NONE if low <= 0 <= high else right_verdict(low, high, smallest)


def zero_alone(low, high, smallest):
    return NONE if low <= 0 <= high else side(low, high)


def zero_first(low, high, smallest):
    return right_verdict(low, high, smallest) if low <= 0 <= high else side(low, high)


def beyond_smallest(low, high, smallest):
    inside = right_verdict(low, high, smallest) == NONE
    return NONE if inside else BETTER if low >= smallest else WORSE if high <= -smallest else UNTOLD


def below_alone(low, high, smallest):
    return NONE if high < smallest else side(low, high)


def above_alone(low, high, smallest):
    return NONE if low > -smallest else side(low, high)


def either_end(low, high, smallest):
    return NONE if low > -smallest or high < smallest else side(low, high)


def side_first(rule):
    """Another order, with the same mistake."""
    return lambda low, high, smallest: side(low, high) if low > 0 or high < 0 else rule(low, high, smallest)


def middle(low, high, smallest):
    at = (low + high) / 2
    return NONE if abs(at) < smallest else BETTER if at > 0 else WORSE


def never_untold(low, high, smallest):
    told = right_verdict(low, high, smallest)
    return told if told != UNTOLD else BETTER if low + high > 0 else WORSE


def by_width(low, high, smallest):
    return NONE if high - low < smallest else side(low, high)


def by_half_width(low, high, smallest):
    return NONE if high - low < 2 * smallest else side(low, high)


def scaled(factor):
    return lambda low, high, smallest: right_verdict(low, high, smallest * factor)


def turned(low, high, smallest):
    return right_verdict(-high, -low, smallest)


def always(code):
    return lambda low, high, smallest: code


def wrong_verdicts(course):
    good = "more" if course["SCORE"] == "accuracy" else "less"
    known = {
        turned: f"better and worse are exchanged: with SCORE = {course['SCORE']} {good} is better",
        (zero_says_none, zero_alone):
            "an interval that contains 0 is called no difference: large ones lie in it too. Cannot tell",
        zero_first: "a difference is called better although all of its interval lies within smallest",
        beyond_smallest: "better does not ask that all of the interval lies beyond smallest: beyond 0",
        (below_alone, above_alone, side_first(below_alone), side_first(above_alone)):
            "one end alone is compared with smallest: both must lie within",
        (either_end, side_first(either_end)): "one end within smallest is enough here: both must be",
        middle: "the middle of the interval decides: its ends do",
        never_untold: "cannot tell is never said: an interval over 0 that reaches beyond smallest allows nothing else",
        (by_width, by_half_width): "the width of the interval is compared with smallest: its ends are",
        (scaled(0.01), scaled(0)):
            "smallest is not used, or as a fraction: it is in points, as the ends are",
        (*(always(code) for code in range(4)), scaled(100)):
            "one verdict serves all intervals; smallest is in points, as the ends are",
    }  # fmt: skip
    return seen(ruled, known)


def items(course):
    """course : the constants of the course, {"MODULUS": 7, "SCORE": "error", "CONFIDENCE": 0.99}"""
    interval, flipped, told = "paired_interval", "sign_flip_p", wrong_verdicts(course)
    wrong = WRONG_INTERVALS | wrong_confidence(course)
    return for_course(course, [
        Item("sequences, each with a rule of its own", 1, "make_sequences", make_rules, sequences,
             wrong_sequences(course)),
        Item("the score, where the rule can be known", 2, "score", make_guesses, score, wrong_scores(course)),
        Item("the interval of ten pairs", 2, interval, make_ten, paired_interval, wrong),
        Item("the interval, where runs have failed", 1, "interval_of_runs", make_runs, paired_interval,
             WRONG_WHERE_RUNS_FAILED | wrong),
        Item("sign flips", 2, flipped, make_few, sign_flip_p, WRONG_FLIPS),
        Item("sign flips of more seeds, where runs have failed", 1, "p_of_runs", make_worse, sign_flip_p,
             FLIPS_WHERE_RUNS_FAILED | WRONG_FLIPS),
        Item("what is better, and what is worse", 1, "verdicts", make_clear, judged, told),
        Item("what is no difference, and what cannot be told", 2, "verdicts", make_unclear, judged, told),
    ])  # fmt: skip
