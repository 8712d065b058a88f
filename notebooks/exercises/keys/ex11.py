"""Exercise 11: pairs to be judged, right ones and planted bugs, and what it means if one is misjudged."""

from itertools import chain, combinations

import numpy as np
from grading.items import Item, Source

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


RIGHT = "return A * (dA - (A * dA).sum(axis=-1, keepdims=True)) / T"
D = RIGHT.replace("return", "d =") + "\n    "


def planted(old, new, text=PLAIN):
    assert text.count(old) == 1, old
    return text.replace(old, new)


def gradient(formula):
    """PLAIN with another backward."""
    return planted(RIGHT, formula)


OTHER_AXIS = PLAIN.replace("axis=-1", "axis=-2")
WARMER = PLAIN.replace("/ T", "/ (1.3 * T)")
OVERFLOW = planted("(scores - scores.max(axis=-1, keepdims=True))", "scores")
SHARED = (
    planted("return A, A", 'memory["A"] = A\n    return A, memory')
    .replace("import numpy as np", "import numpy as np\n\nmemory = {}")
    .replace("def backward(dA, A):", 'def backward(dA, cache):\n    A = cache["A"]')
)

RIGHT_PAIRS = {
    PLAIN: "a right pair is refused, the plainest there is",
    JACOBIAN: "a right pair is refused: it keeps the Jacobian in a dict, and what the cache is, is its own affair",
    LOOPS: "a right pair is refused: it goes row by row in loops",
}
BUGS = {
    gradient("return np.zeros(dA.shape)"): "a backward that returns zeros passes: compare numbers, not shapes alone",
}
ROUNDING = (
    {
        SINGLE: "a right pair that calculates in float32 is refused: the tolerance is below its rounding, or the step "
        "of a central difference is so small that it magnifies the rounding"
    },
    {gradient(RIGHT + " * 1.03"): "a gradient that is 3 % too large passes: the tolerance is too loose"},
)
ROW_SUM = {
    gradient("return A * dA / T"): "a gradient without the row sum passes",
    gradient("return A * (dA - dA.sum(axis=-1, keepdims=True)) / T"): "a row sum that is not weighted by A passes",
    gradient("return A * (dA - dA.mean(axis=-1, keepdims=True)) / T"): "the plain mean of dA in the place of the one "
    "weighted by A passes: where all scores are equal they agree, so take unequal ones",
}
SCALE = {
    gradient(
        RIGHT + " / 2"
    ): "a gradient of half the size passes. With an upstream of ones the right gradient is 0, and "
    "half of it too; and rows that sum to 0 do so for any factor",
    gradient("return -" + RIGHT[7:]): "a gradient of the wrong sign passes: compare with the sign",
}
AXES = {
    gradient("return A * (dA - (A * dA).sum()) / T"): "one sum over all rows together passes: try more than one row",
    gradient("return A * (dA - (A * dA).sum(axis=-2, keepdims=True)) / T"): "a sum over the queries passes",
    gradient(D + "return d.swapaxes(-1, -2)"): "a gradient with its last two axes swapped passes: compare "
    "element by element, on a square",
}
FORWARD = {
    WARMER: "a pair for another temperature passes. Its backward fits its forward, no gradient check sees it: test A",
    OTHER_AXIS: "a softmax over the wrong axis passes, whose backward agrees with it: test A too",
}
PARTS = {
    gradient(D + "d[..., -1] = 0\n    return d"): "a gradient that is wrong for the last key alone passes: compare all "
    "elements",
    gradient(
        D + "d[1:] = 0\n    return d"
    ): "a gradient that is right in its first part alone passes: compare all of it",
}
LARGE = {
    OVERFLOW: "a pair that returns nan for large scores passes: try such scores, and mind that nan > tolerance is False"
}
ERRORS = {
    gradient("raise ValueError('the last axis of A is ' + str(A.shape[-1]))"): "a backward that raises passes",
    gradient(
        RIGHT.replace("return ", "return (") + ")[None]"
    ): "a gradient with one axis too many passes: a - b broadcasts, so compare the shapes first",
}
MEMORY = {
    SHARED: "a pair whose calls share one cache passes: call forward twice before the first backward",
    gradient("dA -= (A * dA).sum(axis=-1, keepdims=True)\n    return A * dA / T"): "a backward that overwrites its "
    "upstream passes: keep a copy and compare",
    planted("e = np.exp((scores - scores.max(axis=-1, keepdims=True)) / T)",
        "scores -= scores.max(axis=-1, keepdims=True)\n    e = np.exp(scores / T)"): "a forward that overwrites its "
    "scores passes: keep a copy and compare",
}  # fmt: skip


def subsets(things):
    return chain.from_iterable(combinations(things, n) for n in range(len(things) + 1))


def items(course):
    """course : the constants of the course, {"TEMPERATURE": 2.0}"""

    def item(name, points, right, bugs):
        """Some pairs in any order; the first one misjudged is told."""
        texts = [f"T = {course['TEMPERATURE']}\n{text}" for text in (*right, *bugs)]
        sentences = (*right.values(), *bugs.values())
        wanted = {text: int(i < len(right)) for i, text in enumerate(texts)}

        def make(rng):
            order = rng.permutation(len(texts))
            return tuple(Source(texts[i], function) for i in order for function in ("forward", "backward"))

        def said(*misjudged):
            return lambda *functions: np.array([wanted[f.text] ^ (f.text in misjudged) for f in functions[::2]])

        mistakes = {
            sentence: tuple(said(text, *others) for others in subsets(texts[i + 1 :]))
            for i, (text, sentence) in enumerate(zip(texts, sentences, strict=True))
        }
        return Item(name, points, "verdicts", make, said(), mistakes)

    plain = {PLAIN: RIGHT_PAIRS[PLAIN]}
    return [
        item("three right pairs pass", 2, RIGHT_PAIRS, BUGS),
        item("rounding passes, 3 % do not", 1, *ROUNDING),
        item("wrong row sums", 1, plain, ROW_SUM),
        item("wrong factors", 1, plain, SCALE),
        item("wrong axes", 1, plain, AXES),
        item("a wrong forward with the backward of its own", 1, plain, FORWARD),
        item("gradients that are wrong in part", 1, plain, PARTS),
        item("large scores", 1, plain, LARGE),
        item("errors and shapes", 1, plain, ERRORS),
        item("caches and arguments", 1, plain, MEMORY),
    ]
