"""Exercise 13: two mechanisms, ten seeds, and what may be said.   [standard statistics]"""

import time

import numpy as np

MODULUS = 7
SCORE = 'accuracy'
CONFIDENCE = 0.95
VERDICTS = ("better", "worse", "no difference worth having", "cannot tell")


def make_sequences(a, b, start, length):
    """x_0 = start,  x_{t+1} = (a x_t + b) mod MODULUS,  each sequence with its own a and b.

    a, b, start : (N,) integers from 0 to MODULUS - 1
    returns x : (N, length) integers; start is its first column
    """
    raise NotImplementedError("ex13: make_sequences")


def score(logits, x):
    """How good the guesses are, in per cent, where the rule can be known: of x_3 and what follows.

    logits : (N, T, MODULUS); the place of the largest of logits[n, t] is the guess of x[n, t + 1]
    x      : (N, T + 1), sequences with one number more than the model has read
    SCORE says what counts: "accuracy" the right guesses, "error" the wrong ones
    returns a number from 0 to 100
    """
    raise NotImplementedError("ex13: score")


def paired_interval(first, second):
    """Mean of first - second over seeds, and its interval by Student's t, two-sided, at CONFIDENCE.

    first, second : (n,), scores by seed, nan where a run has failed; a seed counts where both came
                    to an end
    returns mean, low, high
    """
    raise NotImplementedError("ex13: paired_interval")


def sign_flip_p(first, second):
    """The exact two-sided p of the differences first - second, by all 2^n choices of their signs.

    If the two did not differ, the sign of each difference would be chance. p is the share of all
    2^n choices, the one that was observed among them, whose mean is at least as far from 0 as the
    observed mean. Where the means are equal but for rounding, that is "as far".

    first, second : (n,), as above, n up to 14
    """
    raise NotImplementedError("ex13: sign_flip_p")


def verdict(low, high, smallest):
    """Which of VERDICTS an interval of first - second allows, for the first of the two.

    low, high : the ends, in points
    smallest  : the smallest difference that is worth having, in points, above 0
    "no difference worth having": the whole interval lies between -smallest and smallest.
    If not, "better" or "worse": all of it lies on one side of 0. If not, "cannot tell".
    More is better or worse, as SCORE has it.
    """
    raise NotImplementedError("ex13: verdict")


# ----------------------------------------------------------------------- given, nothing to be done


def t_quantile(p, df):
    """Given: the p-quantile of Student's t with df degrees of freedom, right to six digits."""
    angle = (np.arange(10000) + 0.5) / 10000 * np.pi - np.pi / 2  # t = sqrt(df) tan(angle)
    share = np.cumsum(np.cos(angle) ** (df - 1))
    return np.sqrt(df) * np.tan(np.interp(p, share / share[-1], angle + np.pi / 20000))


def verdicts(intervals, smallest):
    """Given: for every (low, high), the place in VERDICTS of what verdict says."""
    return np.array([VERDICTS.index(verdict(low, high, smallest)) for low, high in intervals])


def interval_of_runs(first, second):
    """Given: paired_interval of two lists, in which None stands for a run that failed."""
    return paired_interval(np.array(first, float), np.array(second, float))


def p_of_runs(first, second):
    """Given: sign_flip_p of two such lists."""
    return sign_flip_p(np.array(first, float), np.array(second, float))


def trained(kind, seed, steps=1000):
    """Given: the score of one model, on rules that it was not trained on; nan if it broke down.

    The seed draws rules, sequences, first weights and order, the same for both kinds. It needs the
    library: pip install -e . in its folder.
    """
    from dgsa_np.data.splits import Dataset, Split
    from dgsa_np.fast import choose_step
    from dgsa_np.model import ModelConfig
    from dgsa_np.train import NonFiniteError, TrainConfig, predict, train

    rng, length, batch = np.random.default_rng([seed, 13]), 13, 32
    rules = rng.permutation([(a, b) for a in range(1, MODULUS) for b in range(MODULUS)])
    few = len(rules) // 4  # of the rules, for the test

    def drawn(rules, n):
        a, b = rules[rng.integers(len(rules), size=n)].T
        return make_sequences(a, b, rng.integers(MODULUS, size=n), length)

    x, x_test = drawn(rules[few:], 3200), drawn(rules[:few], 500)
    parts = (Split(part[:, :-1], part[:, 1:]) for part in (x, x[:batch], x_test))
    data, epochs = Dataset(*parts, {}), steps * batch // len(x)
    n_heads = {"softmax": 4, "dgsa": 2}[kind]  # a head of dgsa has two maps: as many maps, equally wide
    model = ModelConfig(kind=kind, task="lm", width=32, depth=2, n_heads=n_heads, vocab_size=MODULUS, max_len=12)
    cfg = TrainConfig(epochs=epochs, batch_size=batch, lr=0.01, weight_decay=0.1, seed=seed, device="cpu")
    try:
        params = train(model, cfg, data, step=choose_step(model, cfg)).params
        return score(predict(params, data.test, model), x_test)
    except NonFiniteError:
        return np.nan


def compare(smallest, seeds=range(10), steps=1000):
    """Given: trains dgsa and softmax with each seed, a line per run, and lets your functions judge.

    returns the scores of dgsa and those of softmax
    """
    scores = {kind: np.full(len(seeds), np.nan) for kind in ("dgsa", "softmax")}
    for i, seed in enumerate(seeds):
        for kind in scores:
            start = time.perf_counter()
            scores[kind][i] = trained(kind, seed, steps)
            took = time.perf_counter() - start
            print(f"seed {seed}  {kind:8s}{SCORE} {scores[kind][i]:5.1f} %  {took:5.1f} s", flush=True)
    first, second = scores.values()
    mean, low, high = paired_interval(first, second)
    print(f"dgsa - softmax: {mean:+.2f} points, {CONFIDENCE:.0%} interval [{low:+.2f}, {high:+.2f}], ", end="")
    print(f"sign flips p = {sign_flip_p(first, second):.4f}; dgsa: {verdict(low, high, smallest)}")
    return first, second
