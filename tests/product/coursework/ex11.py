"""Exercise 11: right and wrong submissions, each the solution with some of its text exchanged."""

UPSTREAM = "rng.standard_normal((2, 4, 4))) for size"
SIZES = "for size in (1, 1, 3000)]"
ORACLE = "right_dscores = right_A * (dA - (right_A * dA).sum(axis=-1, keepdims=True)) / TEMPERATURE"
RIGHT_LINE = "right = close(A, right_A) and close(dscores, right_dscores)"
KEPT = "if not (right and np.array_equal(given_scores, scores) and np.array_equal(given_dA, dA)):"
CLOSE = "return a.shape == b.shape and bool((abs(a - b) < 1e-4).all())  # false for nan"
BEGIN = "    rng = np.random.default_rng(0)\n"
END = "def softmax(scores):"
LAST = "    ### END SOLUTION\n"

NUMERIC = """

def numeric(f, scores, dA, h):
    d = np.zeros(scores.shape)
    for i in np.ndindex(scores.shape):
        step = np.zeros(scores.shape)
        step[i] = h
        d[i] = ((f(scores + step) - f(scores - step)) * dA).sum() / (2 * h)
    return d
"""

# A numeric gradient of the pair's own forward, in the place of a right one.
OF_FORWARD = [
    (ORACLE, "right_dscores = numeric(lambda s: forward(s)[0], scores, dA, 3e-3)"),
    (LAST, LAST + NUMERIC), ("< 1e-4", "< 1e-3"),
]  # fmt: skip
ALL = "bool((abs(a - b) < 1e-4).all())"

RIGHT = {
    "the solution": [],
    "a numeric gradient of its own softmax": [
        (ORACLE, "right_dscores = numeric(softmax, scores, dA, 1e-5)"), (LAST, LAST + NUMERIC)],
    "a numeric gradient of the pair's forward": OF_FORWARD,
    "the Jacobian from unit upstreams": [
        (RIGHT_LINE, """right = close(A, right_A) and close(dscores, right_dscores)
            for j in range(4):
                unit = np.zeros(dA.shape)
                unit[..., j] = 1
                column = right_A * (np.eye(4)[j] - right_A[..., j : j + 1]) / TEMPERATURE
                right = right and close(backward(unit, cache), column)""")],
    "assert_allclose": [
        (RIGHT_LINE, """np.testing.assert_allclose(A, right_A, rtol=0, atol=1e-5)
            np.testing.assert_allclose(dscores, right_dscores, rtol=0, atol=1e-5)
            right = A.shape == dA.shape == dscores.shape""")],
    "row by row": [
        (ORACLE, """right_dscores = np.zeros(dA.shape)
            for i in np.ndindex(dA.shape[:-1]):
                J = (np.diag(right_A[i]) - np.outer(right_A[i], right_A[i])) / TEMPERATURE
                right_dscores[i] = J @ dA[i]""")],
    "many small cases": [(SIZES, "for size in (0.1, 0.5, 1, 2, 5, 10, 100, 1000, 9999)]")],
}  # fmt: skip

WRONG = {  # name: (exchanges, a part of the hint that must be told)
    "always True": ([(BEGIN, "    return True\n" + BEGIN)], "zeros passes"),
    "always False": ([(BEGIN, "    return False\n" + BEGIN)], "the plainest there is"),
    "shapes alone": ([(CLOSE, "return a.shape == b.shape")], "zeros passes"),
    "compares with itself": ([(ORACLE, "right_dscores = backward(dA.copy(), cache)")], "zeros passes"),
    "an upstream of ones": ([(UPSTREAM, "np.ones((2, 4, 4))) for size")], "upstream of ones"),
    "equal scores": ([("size * rng.standard_normal((2, 4, 4)), rng", "size * np.ones((2, 4, 4)), rng")],
        "unequal ones"),
    "too loose": ([("< 1e-4", "< 0.1")], "too loose"),
    "too tight": ([("< 1e-4", "< 1e-12")], "below its rounding"),
    "too small a step": ([(ORACLE, "right_dscores = numeric(lambda s: forward(s)[0], scores, dA, 1e-6)"),
        (LAST, LAST + NUMERIC)],
        "magnifies the rounding"),
    "one row": ([("cases = [(size * rng.standard_normal((2, 4, 4)), rng.standard_normal((2, 4, 4)))",
        "cases = [(size * rng.standard_normal((1, 4)), rng.standard_normal((1, 4)))")], "more than one row"),
    "the first element": ([(RIGHT_LINE, "right = close(A[0, 0, :1], right_A[0, 0, :1]) and "
        "close(dscores[0, 0, :1], right_dscores[0, 0, :1])")], "compare all elements"),
    "the first matrix": ([(RIGHT_LINE, "right = close(A[0], right_A[0]) and close(dscores[0], right_dscores[0])")],
        "right in its first part"),
    "the forward is not tested": ([(RIGHT_LINE, "right = close(dscores, right_dscores)"), *OF_FORWARD],
        "another temperature"),
    "rows of A sum to 1": ([
        (RIGHT_LINE, "right = close(A.sum(axis=-1), np.ones((2, 4))) and close(dscores, right_dscores)"),
        *OF_FORWARD],
        "another temperature"),
    "rows of dscores sum to 0": ([
        (RIGHT_LINE, "right = close(A, right_A) and close(dscores.sum(axis=-1), np.zeros((2, 4)))")],
        "of half the size passes"),
    "errors cancel": ([(ALL, "bool(abs((a - b).sum()) < 1e-4)")], "passes"),
    "norms": ([(ALL, "bool(abs(np.linalg.norm(a) - np.linalg.norm(b)) < 1e-4)")],
        "element by element"),
    "sizes without signs": ([("abs(a - b)", "abs(abs(a) - abs(b))")], "wrong sign"),
    "nan passes": ([(ALL, "not (abs(a - b) > 1e-4).any()")], "nan for large scores"),
    "no large scores": ([(SIZES, "for size in (1, 1, 3)]")], "nan for large scores"),
    "errors go through": ([("except Exception:", "except ZeroDivisionError:")], "ValueError"),
    "an error is no bug": ([
        ("    except Exception:\n        return False", "    except Exception:\n        return True")],
        "raises passes"),
    "shapes broadcast": ([("a.shape == b.shape and ", "")], "compare the shapes"),
    "one call after the other": ([("[forward(scores) for scores in given]", "[None] * 3"),
        ("            given_dA = dA.copy()\n",
            "            A, cache = forward(given_scores)\n            given_dA = dA.copy()\n"),
        ("in zip(cases, given, answers, strict=True)", "in zip(cases, given, [(0, 0)] * 3, strict=True)")],
        "share one cache"),
    "the upstream is not compared": ([(" and np.array_equal(given_dA, dA)", "")], "overwrites its upstream"),
    "the scores are not compared": ([(" and np.array_equal(given_scores, scores)", "")], "overwrites its scores"),
    "another temperature": ([
        ("/ TEMPERATURE\n    return np.exp", "/ (TEMPERATURE + 1)\n    return np.exp")], "is refused"),
    "the wrong way round": ([("    return True\n\n", "    return False\n\n"),
        (KEPT + "\n                return False", KEPT + "\n                return True")],
        "the plainest there is"),
    "not implemented": ([(BEGIN, "    raise NotImplementedError('ex11: check_softmax_pair')\n" + BEGIN)],
        "NotImplementedError"),
    "returns nothing": ([("    return True\n\n", "    result = True\n\n")], "None"),
}  # fmt: skip
