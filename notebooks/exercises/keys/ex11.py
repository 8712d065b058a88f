"""Exercise 11, write a property test: pairs to be judged, and what it means if one is misjudged.

What is wrong with a pair is fixed, so that a test finds it for every seed or for none. How the pair
is written is not: names, spellings and numbers are drawn.
"""

import re
from functools import partial
from itertools import chain, combinations

import numpy as np
from grading.items import Item, Source

# -------------------------------------------------------------------------------- right pairs

PLAIN = """
import numpy as np

def forward(scores):
    e = np.exp((scores - scores.max(axis=-1, keepdims=True)) / T)
    A = e / e.sum(axis=-1, keepdims=True)
    return A, A

def backward(dA, A):
    return A * (dA - (A * dA).sum(axis=-1, keepdims=True)) / T
"""

JACOBIAN = """
import numpy as np

def forward(scores):
    z = scores / T
    top = z.max(axis=-1, keepdims=True)
    A = np.exp(z - top - np.log(np.exp(z - top).sum(axis=-1, keepdims=True)))
    J = (np.eye(A.shape[-1]) * A[..., None] - A[..., :, None] * A[..., None, :]) / T
    return A, {"J": J}

def backward(dA, cache):
    return np.einsum("...i,...ij->...j", dA, cache["J"])
"""

LOOPS = """
import numpy as np

def softmax(row):
    e = [np.exp((s - max(row)) / T) for s in row]
    return [x / sum(e) for x in e]

def forward(scores):
    A = np.array([softmax(list(row)) for row in scores.reshape(-1, scores.shape[-1])]).reshape(scores.shape)
    return A, scores.copy()

def backward(dA, scores):
    A, _ = forward(scores)
    dscores = np.zeros(A.shape)
    for at in np.ndindex(A.shape[:-1]):
        for j in range(A.shape[-1]):
            for i in range(A.shape[-1]):
                dscores[at][j] += dA[at][i] * A[at][i] * ((i == j) - A[at][j]) / T
    return dscores
"""

SINGLE = """
import numpy as np

def forward(scores):
    e = np.exp(((scores - scores.max(axis=-1, keepdims=True)) / T).astype(np.float32))
    A = e / e.sum(axis=-1, keepdims=True)
    return A.astype(scores.dtype), A

def backward(dA, A):
    d = dA.astype(np.float32)
    return (A * (d - (A * d).sum(axis=-1, keepdims=True)) / np.float32(T)).astype(dA.dtype)
"""

# ------------------------------------------------------ planted bugs: the plain pair with a change

FORMULA = "A * (dA - (A * dA).sum(axis=-1, keepdims=True)) / T"


def planted(old, new):
    assert PLAIN.count(old) == 1, old
    return PLAIN.replace(old, new)


def gradient(*lines):
    """PLAIN with other lines in its backward."""
    return planted(f"return {FORMULA}", "\n    ".join(lines))


ZEROS = gradient("return np.zeros(dA.shape)")
THREE_PERCENT_MORE = gradient(f"return {FORMULA} * MORE")
NO_ROW_SUM = gradient("return A * dA / T")
ROW_SUM_WITHOUT_A = gradient("return A * (dA - dA.sum(axis=-1, keepdims=True)) / T")
PLAIN_MEAN = gradient("return A * (dA - dA.mean(axis=-1, keepdims=True)) / T")
HALF = gradient(f"return {FORMULA} / 2")
OTHER_SIGN = gradient(f"return -{FORMULA}")
ONE_SUM_FOR_ALL = gradient("return A * (dA - (A * dA).sum()) / T")
SUM_OVER_QUERIES = gradient("return A * (dA - (A * dA).sum(axis=-2, keepdims=True)) / T")
TURNED = gradient(f"d = {FORMULA}", "return d.swapaxes(-1, -2)")
OTHER_TEMPERATURE = PLAIN.replace("/ T", "/ (OTHER * T)")
OTHER_AXIS = PLAIN.replace("axis=-1", "axis=-2")
LAST_KEY_ZERO = gradient(f"d = {FORMULA}", "d[..., -1] = 0", "return d")
FIRST_PART_ALONE = gradient(f"d = {FORMULA}", "d[1:] = 0", "return d")
OVERFLOW = planted("(scores - scores.max(axis=-1, keepdims=True))", "scores")
RAISES = gradient("raise ValueError('the last axis of A is ' + str(A.shape[-1]))")
AXIS_TOO_MANY = gradient(f"return ({FORMULA})[None]")
SHARED_CACHE = (
    planted("return A, A", 'memory["A"] = A\n    return A, memory')
    .replace("import numpy as np", "import numpy as np\n\nmemory = {}")
    .replace("def backward(dA, A):", 'def backward(dA, cache):\n    A = cache["A"]')
)
UPSTREAM_OVERWRITTEN = gradient("dA -= (A * dA).sum(axis=-1, keepdims=True)", "return A * dA / T")
SCORES_OVERWRITTEN = planted(
    "e = np.exp((scores - scores.max(axis=-1, keepdims=True)) / T)",
    "scores -= scores.max(axis=-1, keepdims=True)\n    e = np.exp(scores / T)",
)

# --------------------------------------------------------------- what is said of one misjudged

PLAIN_PASSES = {PLAIN: "a right pair is refused, the plainest there is"}
THREE_PASS = {
    **PLAIN_PASSES,
    JACOBIAN: "a right pair is refused: it keeps the Jacobian in a dict, and what the cache is, is its own affair",
    LOOPS: "a right pair is refused: it goes row by row in loops",
}
ZEROS_FAIL = {ZEROS: "a backward that returns zeros passes: compare numbers, not shapes alone"}
ROUNDING_PASSES = {
    SINGLE:
        "a right pair that calculates in float32 is refused: the tolerance is below its rounding, or the step "
        "of a central difference is so small that it magnifies the rounding",
}  # fmt: skip
TOLERANCE = {THREE_PERCENT_MORE: "a gradient that is 3 % too large passes: the tolerance is too loose"}
ROW_SUMS = {
    NO_ROW_SUM: "a gradient without the row sum passes",
    ROW_SUM_WITHOUT_A: "a row sum that is not weighted by A passes",
    PLAIN_MEAN:
        "the plain mean of dA in the place of the one weighted by A passes: where all scores are equal they "
        "agree, so take unequal ones",
}  # fmt: skip
FACTORS = {
    HALF:
        "a gradient of half the size passes. With an upstream of ones the right gradient is 0, and half of it "
        "too; and rows that sum to 0 do so for any factor",
    OTHER_SIGN: "a gradient of the wrong sign passes: compare with the sign",
}  # fmt: skip
AXES = {
    ONE_SUM_FOR_ALL: "one sum over all rows together passes: try more than one row",
    SUM_OVER_QUERIES: "a sum over the queries passes",
    TURNED: "a gradient with its last two axes swapped passes: compare element by element, on a square",
}
FORWARDS = {
    OTHER_TEMPERATURE:
        "a pair for another temperature passes. Its backward fits its forward, no gradient check sees it: test A",
    OTHER_AXIS: "a softmax over the wrong axis passes, whose backward agrees with it: test A too",
}  # fmt: skip
PARTS = {
    LAST_KEY_ZERO: "a gradient that is wrong for the last key alone passes: compare all elements",
    FIRST_PART_ALONE: "a gradient that is right in its first part alone passes: compare all of it",
}
LARGE = {
    OVERFLOW: "a pair that returns nan for large scores passes: try such scores, and mind that nan > tolerance is False"
}
ERRORS = {
    RAISES: "a backward that raises passes",
    AXIS_TOO_MANY: "a gradient with one axis too many passes: a - b broadcasts, so compare the shapes first",
}
MEMORY = {
    SHARED_CACHE: "a pair whose calls share one cache passes: call forward twice before the first backward",
    UPSTREAM_OVERWRITTEN: "a backward that overwrites its upstream passes: keep a copy and compare",
    SCORES_OVERWRITTEN: "a forward that overwrites its scores passes: keep a copy and compare",
}

# ------------------------------------------------------------- a pair as a seed writes it

NAMES = ("A", "e", "dA", "dscores", "scores", "z", "top", "J", "row", "s", "x", "d", "i", "j", "at", "memory", "cache")
LETTERS = "abcdfghkmnopqrtuvw"
SPELLINGS = {
    ".sum(axis=-1, keepdims=True)": ".sum(axis=-1)[..., None]",
    ".max(axis=-1, keepdims=True)": ".max(axis=-1)[..., None]",
    "/ T": "* (1 / T)",
    "/ 2": "* 0.5",
}
NUMBERS = {"MORE": 1.03, "OTHER": 1.3}


class Planted(Source):
    """A function of a pair that knows which pair it is; a submission gets text and name alone."""

    def __new__(cls, text, name, kind):
        source = super().__new__(cls, text, name)
        source.kind = kind
        return source


def written(rng, kind, temperature) -> str:
    """The pair with drawn names, spellings and numbers."""
    text = kind
    for old, new in SPELLINGS.items():
        text = text.replace(old, new) if rng.random() < 0.5 else text
    for name, number in NUMBERS.items():
        text = re.sub(rf"\b{name}\b", f"{number + rng.uniform(0, 1e-3):.6f}", text)
    numbers = rng.permutation(100)
    for name, number in zip(NAMES, numbers, strict=False):
        text = re.sub(rf"(?<!\.)\b{name}\b", f"{rng.choice(list(LETTERS))}{number}", text)
    return f"T = {temperature}\n{text}"


# ---------------------------------------------------------- an item: some pairs in any order


def make(rng, kinds, temperature):
    """kinds : {pair: how many of it}"""
    pairs = [kind for kind, n in kinds.items() for _ in range(n)]
    texts = [(written(rng, pairs[i], temperature), pairs[i]) for i in rng.permutation(len(pairs))]
    return tuple(Planted(text, function, kind) for text, kind in texts for function in ("forward", "backward"))


def verdicts(right, misjudged, *functions):
    """1 for each pair that passes: the right ones, but for those that are misjudged."""
    return np.array([int(f.kind in right) ^ (f.kind in misjudged) for f in functions[::2]])


def misjudging(i, kinds, right):
    """A pair and any of those after it are misjudged, so that the first of them is told."""
    after = kinds[i + 1 :]
    others = chain.from_iterable(combinations(after, n) for n in range(len(after) + 1))
    return tuple(partial(verdicts, right, (kinds[i], *some)) for some in others)


def judged(course, name, points, pass_, fail):
    """pass_, fail : {pair: what is told where it is misjudged}; of each there are four or more"""
    copies = {kind: -(-4 // len(side)) for side in (pass_, fail) for kind in side}
    kinds, hints = list(copies), (*pass_.values(), *fail.values())
    mistakes = {misjudging(i, kinds, list(pass_)): hint for i, hint in enumerate(hints)}
    made = partial(make, kinds=copies, temperature=course["TEMPERATURE"])
    return Item(name, points, "verdicts", made, partial(verdicts, list(pass_), ()), mistakes)


def items(course):
    """course : the constants of the course, {"TEMPERATURE": 2.0}"""
    return [
        judged(course, "three right pairs pass", 2, THREE_PASS, ZEROS_FAIL),
        judged(course, "rounding passes, 3 % do not", 1, ROUNDING_PASSES, TOLERANCE),
        judged(course, "wrong row sums", 1, PLAIN_PASSES, ROW_SUMS),
        judged(course, "wrong factors", 1, PLAIN_PASSES, FACTORS),
        judged(course, "wrong axes", 1, PLAIN_PASSES, AXES),
        judged(course, "a wrong forward with the backward of its own", 1, PLAIN_PASSES, FORWARDS),
        judged(course, "gradients that are wrong in part", 1, PLAIN_PASSES, PARTS),
        judged(course, "large scores", 1, PLAIN_PASSES, LARGE),
        judged(course, "errors and shapes", 1, PLAIN_PASSES, ERRORS),
        judged(course, "caches and arguments", 1, PLAIN_PASSES, MEMORY),
    ]
