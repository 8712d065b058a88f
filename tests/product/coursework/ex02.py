"""Exercise 02: right and wrong submissions, each the solution with some of its text exchanged."""

LINE = "math.log(BASE) * A * (dA - (A * dA).sum(axis=-1, keepdims=True))"
TOTAL = "-(dA * E).sum(axis=-1, keepdims=True) / total**2"

RIGHT = {
    "the solution": [],
    "einsum for the row sum": [(LINE, 'math.log(BASE) * A * (dA - np.einsum("...s,...s->...", A, dA)[..., None])')],
    "the whole Jacobian": [("return " + LINE,
        "J = A[..., :, None] * (np.eye(A.shape[-1], dtype=A.dtype) - A[..., None, :])\n"
        "    return math.log(BASE) * (dA[..., None, :] @ J.swapaxes(-1, -2))[..., 0, :]")],
    "multiplied out": [("return " + LINE,
        "P = A * dA\n    return (P - A * P.sum(axis=-1, keepdims=True)) * float(np.log(BASE))")],
    "added in two lines": [("dE = dA / total + dtotal", "dE = dA / total\n    dE = dE + np.ones_like(E) * dtotal")],
    "total by A": [(TOTAL, "-(dA * (E / total)).sum(axis=-1, keepdims=True) / total")],
    "a cache with A": [("return A, (E, total)", "return A, (A, E, total)"), ("E, total = cache", "A, E, total = cache"),
        (TOTAL, "-np.sum(dA * A / total, axis=-1, keepdims=True)")],
    "a list": [("return dtotal, dE, dscores", "return [dtotal, dE, dscores]")],
}  # fmt: skip

WRONG = {  # name: (exchanges, a part of the hint that must be told)
    "graph: no log": ([("dE * E * math.log(BASE)", "dE * E")], "log(BASE) is missing"),
    "graph: log2": ([("dE * E * math.log(BASE)", "dE * E * math.log2(BASE)")], "log(BASE)"),
    "graph: sign": ([("dtotal = -(", "dtotal = (")], "sign of dtotal"),
    "graph: no square": ([("total**2", "total")], "not by total**2"),
    "graph: dtotal without E": ([("-(dA * E)", "-dA")], "dtotal lacks E"),
    "graph: three axes": ([("(dA * E).sum(axis=-1, keepdims=True)",
        'np.einsum("bts,bts->bt", dA, E)[:, :, None]')], "ValueError"),
    "graph: mean": ([("(dA * E).sum", "(dA * E).mean")], "dtotal is a mean"),
    "graph: no keepdims": ([("(dA * E).sum(axis=-1, keepdims=True)", "(dA * E).sum(axis=-1)")], "shape"),
    "graph: dtotal not summed": ([("(dA * E).sum(axis=-1, keepdims=True)", "(dA * E)")], "shape"),
    "graph: the direct path only": ([("dA / total + dtotal", "dA / total")], "only the path through A"),
    "graph: total's path only": ([("dE = dA / total + dtotal", "dE = dA / total\n    dE = 0 * E + dtotal")],
        "only the path through total"),
    "graph: no E": ([("dE * E * math", "dE * math")], "dscores lacks E"),
    "graph: A for E": ([("dE * E * math", "dE * (E / total) * math")], "in the place of E"),
    "graph: float64 out": ([("dE * E * math.log(BASE)", "dE * E * np.log(BASE)")], "dtype"),
    "graph: dscores only": ([("return dtotal, dE, dscores", "return dscores")], "expected"),
    "graph: another order": ([("return dtotal, dE, dscores", "return dscores, dE, dtotal")], "in another order"),
    "graph: over the queries": ([("(dA * E).sum(axis=-1", "(dA * E).sum(axis=-2")], "wrong axis"),
    "graph: not implemented": (
        [("    E, total = cache", "    raise NotImplementedError('ex02: softmax_backward_by_steps')")],
        "NotImplementedError"),
    "no log": ([("math.log(BASE) * A", "A")], "log(BASE) is missing"),
    "log10": ([("math.log(BASE) * A", "math.log10(BASE) * A")], "log(BASE)"),
    "divided by the log": ([("math.log(BASE) * A", "1 / math.log(BASE) * A")], "instead of multiplied"),
    "no row sum": ([("(dA - (A * dA).sum(axis=-1, keepdims=True))", "dA")], "row sum is missing"),
    "neither row sum nor log": ([(LINE, "A * dA")], "row sum is missing"),
    "the diagonal": ([("(dA - (A * dA).sum(axis=-1, keepdims=True))", "dA * (1 - A)")], "only the diagonal"),
    "row sum of dA": ([("(A * dA).sum", "dA.sum")], "row sum lacks A"),
    "mean of dA": ([("(A * dA).sum", "dA.mean")], "mean of dA"),
    "mean of A dA": ([("(A * dA).sum", "(A * dA).mean")], "mean of A dA"),
    "wrong axis": ([("(A * dA).sum(axis=-1", "(A * dA).sum(axis=-2")], "wrong axis"),
    "no keepdims": ([("(A * dA).sum(axis=-1, keepdims=True)", "(A * dA).sum(axis=-1)")], "keepdims"),
    "one sum": ([("(A * dA).sum(axis=-1, keepdims=True)", "(A * dA).sum()")], "one sum over all rows"),
    "plus": ([("(dA - (A", "(dA + (A")], "sign is minus"),
    "bracket": ([(LINE, "math.log(BASE) * (A * dA - (A * dA).sum(axis=-1, keepdims=True))")], "not multiplied by A"),
    "no A in front": ([("math.log(BASE) * A * (dA", "math.log(BASE) * (dA")], "A in front"),
    "divided by A": ([("(A * dA).sum", "(A**2 * dA / A).sum")], "divided by A"),
    "float64 out": ([("math.log(BASE) * A", "np.log(BASE) * A")], "dtype"),
    "returns nothing": ([("return math.log", "dscores = math.log")], "None"),
}  # fmt: skip
