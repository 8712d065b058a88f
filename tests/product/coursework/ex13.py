"""Exercise 13: right and wrong submissions, each the solution with some of its text exchanged."""

RULE = "x.append((a * x[-1] + b) % MODULUS)"
RIGHT_GUESSES = "right = logits[:, 2:].argmax(axis=-1) == x[:, 3:]"
PER_CENT = 'return 100 * np.mean(right if SCORE == "accuracy" else ~right)'
PAIRS = "    d = first - second\n    d = d[~np.isnan(d)]\n"
HALF = "half = t_quantile((1 + CONFIDENCE) / 2, len(d) - 1) * d.std(ddof=1) / np.sqrt(len(d))"
ENDS = "return d.mean(), d.mean() - half, d.mean() + half"
SIGNS = "    signs = 1 - 2 * (np.arange(2 ** len(d))[:, None] >> np.arange(len(d)) & 1)  # (2^n, n)\n"
SHARE = "return np.mean(abs(signs @ d) >= abs(d.sum()) - 1e-9)"
INSIDE = "if -smallest < low and high < smallest:"
OVER = '    if low <= 0 <= high:\n        return "cannot tell"\n'
SIDE = 'return "better" if (low > 0) == (SCORE == "accuracy") else "worse"'
INTERVAL_D, FLIPS_D = PAIRS + "    " + HALF, PAIRS + SIGNS


def interval(*lines):
    """Other pairs for the interval."""
    return (INTERVAL_D, "".join(f"    {line}\n" for line in lines) + "    " + HALF)


def flips(*lines):
    """Other pairs for the signs."""
    return (FLIPS_D, "".join(f"    {line}\n" for line in lines) + SIGNS)


BOTH_SIDES = "first, second = first[~np.isnan(first)], second[~np.isnan(second)]"
DROPPED = "d = (first - second)[~np.isnan(first - second)]"

RIGHT = {
    "the solution": [],
    "a loop over places, reduced at the end": [
        ("    x = [start]\n", "    found = np.empty((len(start), length), int)\n    found[:, 0] = x = start\n"),
        ("    while len(x) < length:\n        " + RULE + "\n",
            "    for t in range(1, length):\n        x = a * x + b\n        found[:, t] = np.mod(x, MODULUS)\n"),
        ("return np.stack(x, axis=1)", "return found")],
    "counted": [
        (PER_CENT, 'hits = np.count_nonzero(right) * 100 / right.size\n'
            '    return hits if SCORE == "accuracy" else 100 - hits')],
    "ddof=0 over sqrt(n - 1)": [
        (HALF, "half = t_quantile((1 + CONFIDENCE) / 2, len(d) - 1) * d.std() / np.sqrt(len(d) - 1)")],
    "by variances and the covariance": [
        interval("both = ~np.isnan(first + second)", "first, second = first[both], second[both]",
            "d, C = first - second, np.cov(first, second)"),
        ("d.std(ddof=1) / np.sqrt(len(d))", "np.sqrt((C[0, 0] + C[1, 1] - 2 * C[0, 1]) / len(d))")],
    "the lower quantile": [
        (HALF, "half = -t_quantile((1 - CONFIDENCE) / 2, len(d) - 1) * d.std(ddof=1) / np.sqrt(len(d))")],
    "signs by product": [
        (SIGNS, "    signs = np.array(list(__import__('itertools').product([1, -1], repeat=len(d))))\n")],
    "means, and twice one side": [
        (SHARE, "return 2 * np.mean((signs * d).mean(axis=1) >= abs(d.mean()) - 1e-9)")],
    "sums built up one by one": [
        (SIGNS, "    sums = np.zeros(1)\n    for one in d:\n        sums = np.concatenate([sums + one, sums - one])\n"),
        (SHARE, "return np.count_nonzero(np.abs(sums) > abs(d.sum()) - 1e-6) / len(sums)")],
    "verdict by signs": [
        (INSIDE, "if max(abs(low), abs(high)) < smallest:"),
        (OVER, '    if np.sign(low) != np.sign(high):\n        return VERDICTS[3]\n'),
        (SIDE, 'return VERDICTS[int((high < 0) != (SCORE == "error"))]')],
}  # fmt: skip

WRONG = {  # name: (exchanges, a part of the hint that must be told)
    "floats": ([("np.stack(x, axis=1)", "np.stack(x, axis=1) * 1.0")], "expected integers"),
    "the sign of the mean lost": ([(ENDS, "m = abs(d.mean())\n    return m, m - half, m + half")], "differs"),
    "a and b exchanged": ([(RULE, "x.append((b * x[-1] + a) % MODULUS)")], "a is the factor"),
    "a times the sum": ([(RULE, "x.append(a * (x[-1] + b) % MODULUS)")], "a multiplies b too"),
    "no modulus": ([(RULE, "x.append(a * x[-1] + b)")], "not reduced"),
    "a modulus without parentheses": ([(RULE, "x.append(a * x[-1] + b % MODULUS)")], "in parentheses"),
    "the product alone": ([(RULE, "x.append(a * x[-1] % MODULUS + b)")], "only the product"),
    "one rule": ([(RULE, "x.append((a[0] * x[-1] + b[0]) % MODULUS)")], "one rule serves all"),
    "from the start": ([(RULE, "x.append((a * start + b) % MODULUS)")], "the one before"),
    "another modulus": ([(RULE, RULE.replace("MODULUS", "(7 if MODULUS == 11 else 11)"))], "your"),
    "stacked the other way": ([("np.stack(x, axis=1)", "np.stack(x)")], "a sequence is a row"),
    "without the start": ([("np.stack(x, axis=1)", "np.stack([*x[1:], (a * x[-1] + b) % MODULUS], axis=1)")],
        "the start is left out"),
    "one too many": ([("while len(x) < length:", "while len(x) <= length:")], "one number too many"),
    "all guesses": ([(RIGHT_GUESSES, "right = logits.argmax(axis=-1) == x[:, 1:]")], "x_1 and x_2"),
    "from x_2 on": ([(RIGHT_GUESSES, "right = logits[:, 1:].argmax(axis=-1) == x[:, 2:]")], "guess of x_2 counts"),
    "from x_4 on": ([(RIGHT_GUESSES, "right = logits[:, 3:].argmax(axis=-1) == x[:, 4:]")], "x_3 is left out"),
    "the last guess": ([(RIGHT_GUESSES, "right = logits[:, -1].argmax(axis=-1) == x[:, -1]")], "only the last"),
    "cut at the end": ([(RIGHT_GUESSES, "right = logits[:, :-2].argmax(axis=-1) == x[:, 1:-2]")], "cut off at the end"),
    "the number just read": ([(RIGHT_GUESSES, "right = logits[:, 2:].argmax(axis=-1) == x[:, 2:-1]")], "just read"),
    "other axis": ([(RIGHT_GUESSES, "right = logits[:, 2:].argmax(axis=1) == x[:, 3:]")], "Error"),
    "the other score": ([(PER_CENT, PER_CENT.replace('"accuracy"', '"error"'))], "your course has SCORE"),
    "a fraction": ([(PER_CENT, PER_CENT.replace("100 * ", ""))], "that is a fraction"),
    "a number of guesses": ([(PER_CENT, PER_CENT.replace("100 * np.mean", "np.sum"))], "number of guesses"),
    "whole sequences": ([(RIGHT_GUESSES, f"{RIGHT_GUESSES}\n    right = right.all(axis=1)")], "without a mistake"),
    "a score for each place": ([(PER_CENT, PER_CENT.replace("~right)", "~right, axis=0)"))], "for each place"),
    "unpaired": ([(HALF, HALF.replace("d.std(ddof=1)",
        "np.sqrt(first[~np.isnan(first - second)].var(ddof=1) + second[~np.isnan(first - second)].var(ddof=1))"))],
        "two independent groups"),
    "unpaired, all runs": ([
        interval("one, two = first[~np.isnan(first)], second[~np.isnan(second)]", "d = one - two"),
        (HALF, "half = t_quantile((1 + CONFIDENCE) / 2, 2 * len(d) - 2) * "
            "np.sqrt(one.var(ddof=1) / len(one) + two.var(ddof=1) / len(two))")], "two independent groups"),
    "degrees of two groups": ([(HALF, HALF.replace("len(d) - 1)", "2 * len(d) - 2)"))], "those of two groups"),
    "ddof=0": ([(HALF, HALF.replace("ddof=1", "ddof=0"))], "has ddof=0"),
    "n - 1 twice": ([(HALF, HALF.replace("np.sqrt(len(d))", "np.sqrt(len(d) - 1)"))], "counted twice"),
    "the deviation": ([(HALF, HALF.replace(" / np.sqrt(len(d))", ""))], "single difference"),
    "over n": ([(HALF, HALF.replace("np.sqrt(len(d))", "len(d)"))], "goes with sqrt(n)"),
    "one standard error": ([(HALF, "half = d.std(ddof=1) / np.sqrt(len(d))")], "one standard error"),
    "one-sided": ([(HALF, HALF.replace("(1 + CONFIDENCE) / 2", "CONFIDENCE"))], "quantile is one-sided"),
    "the normal quantile": ([(HALF, HALF.replace("t_quantile((1 + CONFIDENCE) / 2, len(d) - 1)",
        "{0.95: 1.959963984540054, 0.99: 2.5758293035489004}[CONFIDENCE]"))], "normal one"),
    "n degrees of freedom": ([(HALF, HALF.replace("len(d) - 1)", "len(d))"))], "not n"),
    "another confidence": ([(HALF, HALF.replace("CONFIDENCE", "(1.94 - CONFIDENCE)"))], "another course"),
    "second minus first": ([interval("d = second - first", "d = d[~np.isnan(d)]")], "first - second"),
    "sorted": ([interval("d = np.sort(first[~np.isnan(first)]) - np.sort(second[~np.isnan(second)])")], "not a rank"),
    "the best seeds": ([(ENDS, ENDS.replace("d.mean()", "(np.nanmax(first) - np.nanmax(second))"))], "more luck"),
    "the median": ([(ENDS, ENDS.replace("d.mean()", "np.median(d)"))], "that is the median"),
    "relative": ([interval("d = 100 * (first - second) / second", "d = d[~np.isnan(d)]")], "relative"),
    "half the width": ([(ENDS, "return d.mean(), half")], "half width"),
    "ends exchanged": ([(ENDS, "return d.mean(), d.mean() + half, d.mean() - half")], "another order"),
    "failed runs dropped on each side": ([interval(BOTH_SIDES, "d = first - second")], "no pairs of a seed"),
    "failed runs as 0": ([interval("d = np.nan_to_num(first) - np.nan_to_num(second)")], "counts as 0"),
    "failed runs kept": ([interval("d = first - second")], "nan is what is left"),
    "failed runs filled": ([interval(
        "first, second = (np.where(np.isnan(a), np.nanmean(a), a) for a in (first, second))", "d = first - second")],
        "mean of the others"),
    "all seeds counted": ([(HALF, "n = len(first)\n    "
        "half = t_quantile((1 + CONFIDENCE) / 2, n - 1) * d.std(ddof=1) / np.sqrt(n)")], "seeds that were dropped"),
    "failed runs dropped on each side, signs": ([flips(BOTH_SIDES, "d = first - second")], "no pairs of a seed"),
    "failed runs as 0, signs": ([flips("d = np.nan_to_num(first) - np.nan_to_num(second)")], "counts as 0"),
    "one side": ([(SHARE, "return np.mean(signs @ d >= d.sum() - 1e-9)")], "p is one-sided"),
    "one side, of the size": ([(SHARE, "return np.mean(signs @ d >= abs(d.sum()) - 1e-9)")], "p is one-sided"),
    "strictly farther": ([(SHARE, "return np.mean(abs(signs @ d) > abs(d.sum()) + 1e-9)")], ">= and not >"),
    "without what was observed": ([
        (SHARE, "return (np.sum(abs(signs @ d) >= abs(d.sum()) - 1e-9) - 1) / (len(signs) - 1)")], "one of the 2^n"),
    "from the second choice on": ([(SHARE, "return np.mean(abs(signs[1:] @ d) >= abs(d.sum()) - 1e-9)")],
        "one of the 2^n"),
    "one added": ([(SHARE, "return (np.sum(abs(signs @ d) >= abs(d.sum()) - 1e-9) + 1) / (len(signs) + 1)")],
        "signs that are drawn"),
    "a number of choices": ([(SHARE, SHARE.replace("np.mean", "np.sum"))], "divide by 2^n"),
    "doubled": ([(SHARE, SHARE.replace("return ", "return 2 * "))], "doubled"),
    "1 - p": ([(SHARE, SHARE.replace("return ", "return 1 - "))], "1 - p"),
    "better and worse exchanged": ([(SIDE, SIDE.replace('"accuracy"', '"error"'))], "are exchanged"),
    "SCORE not asked": ([(SIDE, 'return "better" if low > 0 else "worse"'),
        (PER_CENT, 'return 100 * np.mean(~right if SCORE == "accuracy" else right)')], "SCORE"),
    "zero says no difference": ([(OVER, OVER.replace("cannot tell", "no difference worth having"))], "contains 0"),
    "zero alone": ([("    " + INSIDE + '\n        return "no difference worth having"\n', ""),
        (OVER, OVER.replace("cannot tell", "no difference worth having"))], "contains 0"),
    "better, however little": ([(INSIDE, "if -smallest < low <= 0 <= high < smallest:")], "within smallest"),
    "beyond the smallest": ([(OVER, OVER.replace("low <= 0 <= high", "low < smallest and high > -smallest"))],
        "beyond 0"),
    "one end": ([(INSIDE, "if high < smallest:")], "one end alone"),
    "either end": ([(INSIDE, "if -smallest < low or high < smallest:")], "both must be"),
    "the middle": ([(INSIDE, "if abs(low + high) / 2 < smallest:"),
        (OVER, "    low = high = (low + high) / 2\n")], "the middle"),
    "never cannot tell": ([(OVER, "    low = high = (low + high) / 2\n")], "never said"),
    "the width": ([(INSIDE, "if high - low < smallest:")], "width of the interval"),
    "smallest as a fraction": ([(INSIDE, INSIDE.replace("smallest", "smallest / 100"))], "in points"),
    "smallest not used": ([(INSIDE, "if False:")], "not used"),
    "always better": ([(INSIDE, 'if True:\n        return "better"\n    ' + INSIDE)], "one verdict serves all"),
    "other words": ([(SIDE, 'return "Better"')], "ValueError"),
    "not implemented": ([("    x = [start]\n",
        "    raise NotImplementedError('ex13: make_sequences')\n    x = [start]\n")], "NotImplementedError"),
    "returns nothing": ([(SHARE, SHARE.replace("return ", "p = "))], "None"),
}  # fmt: skip
