"""Exercise 03: right and wrong submissions, each the solution with some of its text exchanged."""

LINE = "A * (dA - (A * dA).sum(axis=-1, keepdims=True)) / TEMPERATURE\n    ### END"
ROW = "(A * dA).sum(axis=-1, keepdims=True)) / TEMPERATURE\n    ### END"
WITNESS = "    dA = np.zeros_like(A)\n    dA[..., 0] = 1  # the loss is the weight of the first key\n    return dA\n"

RIGHT = {
    "the solution": [],
    "a random upstream": [(WITNESS, "    return np.random.default_rng(0).standard_normal(A.shape)\n")],
    "the loss is half the sum of squares, from the last key": [(WITNESS, "    return A[..., ::-1] ** 2\n")],
    "a random one of size 1e6, einsum": [(WITNESS, "    return 1e6 * np.random.default_rng(1).random(A.shape)\n"),
        (LINE, 'A * (dA - np.einsum("...s,...s->...", A, dA)[..., None]) / TEMPERATURE\n    ### END')],
    "one of the keys, as integers": [(WITNESS, "    dA = np.zeros(A.shape, int)\n    dA[..., 1] = 1\n    return dA\n")],
    "where the largest weights are": [(WITNESS, "    return A == A.max(axis=-1, keepdims=True)\n")],
    "the whole Jacobian": [("return " + LINE,
        "J = A[..., :, None] * (np.eye(A.shape[-1], dtype=A.dtype) - A[..., None, :]) / TEMPERATURE\n"
        "    return np.einsum('...ij,...i->...j', J, dA)\n    ### END")],
    "multiplied out": [("return " + LINE,
        "P = A * dA\n    return (P - A * P.sum(axis=-1)[..., None]) / TEMPERATURE\n    ### END")],
}  # fmt: skip

WRONG = {  # name: (exchanges, a part of the hint that must be told)
    "the map itself": ([(WITNESS, "    return A\n")], "an upstream of your own is asked for"),
    "a copy of the map": ([(WITNESS, "    return A.copy()\n")], "an upstream of your own is asked for"),
    "complex": ([(WITNESS, "    return A[..., ::-1] + 1j\n")], "real numbers"),
    "ones": ([(WITNESS, "    return np.ones_like(A)\n")], "both give 0"),
    "zeros": ([(WITNESS, "    return np.zeros_like(A)\n")], "both give 0"),
    "a large constant": ([(WITNESS, "    return np.full_like(A, 1e6)\n")], "both give 0"),
    "a constant too large to tell": ([(WITNESS, "    return np.full(A.shape, 1e308)\n")], "must lie between"),
    "row sums": ([(WITNESS, "    return A.sum(axis=-1, keepdims=True) * np.ones_like(A)\n")], "both give 0"),
    "rounding": ([(WITNESS, "    dA = np.ones_like(A)\n    dA[..., 0] += 1e-12\n    return dA\n")], "both give 0"),
    "one number": ([(WITNESS, "    return np.array(1.0)\n")], "shape"),
    "one row": ([(WITNESS, "    return np.arange(float(A.shape[-1]))\n")], "shape"),
    "infinite": ([(WITNESS, "    return np.full_like(A, np.inf)\n")], "finite"),
    "witness not implemented": ([(WITNESS, "    raise NotImplementedError('ex03: witness')\n")], "NotImplementedError"),
    "unchanged": ([(LINE, "given_backward(dA, A)\n    ### END")], "still there"),
    "the mean of dA": ([(ROW, ROW.replace("(A * dA).sum", "dA.mean"))], "the mean of dA"),
    "no A in front": ([(LINE, LINE.removeprefix("A * "))], "A in front"),
    "one sum for all queries": ([(ROW, ROW.replace("True)) /", "True).mean(axis=-2, keepdims=True)) /"))],
        "one sum for all queries"),
    "no temperature": ([(LINE, LINE.replace(" / TEMPERATURE", ""))], "not divided by TEMPERATURE"),
    "temperature twice": ([(LINE, LINE.replace("/ TEMPERATURE", "/ TEMPERATURE**2"))], "by TEMPERATURE twice"),
    "its root": ([(LINE, LINE.replace("/ TEMPERATURE", "/ TEMPERATURE**0.5"))], "the root of TEMPERATURE"),
    "times the temperature": ([(LINE, LINE.replace("/ TEMPERATURE", "* TEMPERATURE"))], "multiplied by TEMPERATURE"),
    "no row sum": ([(LINE, "A * dA / TEMPERATURE\n    ### END")], "row sum is missing"),
    "the diagonal": ([(LINE, "A * (1 - A) * dA / TEMPERATURE\n    ### END")], "only the diagonal"),
    "row sum of dA": ([(ROW, ROW.replace("(A * dA)", "dA"))], "row sum lacks A"),
    "the mean of A dA": ([(ROW, ROW.replace("sum(", "mean("))], "mean of A dA"),
    "wrong axis": ([(ROW, ROW.replace("-1", "-2"))], "wrong axis"),
    "no keepdims": ([(ROW, ROW.replace(", keepdims=True", ""))], "keepdims"),
    "one sum": ([(ROW, ROW.replace("axis=-1, keepdims=True", ""))], "one sum over all rows"),
    "plus": ([(LINE, LINE.replace("dA - ", "dA + "))], "sign is minus"),
    "all signs": ([("return " + LINE, "return -" + LINE)], "wrong way round"),
    "bracket": ([(LINE, LINE.replace("A * (dA - ", "(A * dA - "))], "not multiplied by A"),
    "half divided": ([(LINE, LINE.replace(")) / TEMPERATURE", ") / TEMPERATURE)"))], "row sum alone"),
    "divided by A": ([(ROW, ROW.replace("A * dA", "A**2 * dA / A"))], "divided by A"),
    "float64 out": ([("return " + LINE, "return np.float64(1) * " + LINE)], "dtype"),
    "returns nothing": ([("return " + LINE, "dscores = " + LINE)], "None"),
}  # fmt: skip
