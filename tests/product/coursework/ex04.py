"""Exercise 04: right and wrong submissions, each the solution with some of its text exchanged."""

SCALE = "scale = q.shape[-1] ** -POWER"
SCORES = "S = scale * (q @ swap(k))\n    A"
DS = "A * (dA - (A * dA).sum(axis=-1, keepdims=True))"
RESULTS = "return dA, dS, dq, dk, dv\n    ### END"

RIGHT = {
    "the solution": [],
    "einsum": [("dA = do @ swap(v)", 'dA = np.einsum("bhte,bhse->bhts", do, v)'),
        ("dv = swap(A) @ do", 'dv = np.einsum("bhts,bhte->bhse", A, do)'),
        ("dk = scale * (swap(dS) @ q)", 'dk = scale * np.einsum("bhts,bhtd->bhsd", dS, q)')],
    "the scale goes into q, and stays there": [(SCORES, "q = scale * q\n    S = q @ swap(k)\n    A"),
        ("dk = scale * (swap(dS) @ q)", "dk = swap(dS) @ q")],
    "the row sum from o": [("return o, (q, k, v, A, scale)", "return o, (q, k, v, A, scale, o)"),
        ("q, k, v, A, scale = cache", "q, k, v, A, scale, o = cache"),
        (DS, "A * (dA - (do * o).sum(axis=-1, keepdims=True))")],
    "nothing is kept but the arguments": [("return o, (q, k, v, A, scale)", "return o, (q, k, v)"),
        ("q, k, v, A, scale = cache",
            "q, k, v = cache\n    scale = 1 / q.shape[-1] ** POWER\n    A = softmax(q @ swap(k) * scale)")],
    "transposes by hand, divided": [(SCALE, "scale = float(q.shape[3] ** POWER)"), (SCORES,
        "S = q @ k.transpose(0, 1, 3, 2) / scale\n    A"), ("dq = scale * (dS @ k)", "dq = dS @ k / scale"),
        ("dk = scale * (swap(dS) @ q)", "dk = (q.transpose(0, 1, 3, 2) @ dS / scale).transpose(0, 1, 3, 2)")],
}  # fmt: skip

WRONG = {  # name: (exchanges, a part of the hint that must be told)
    "no scale": ([(SCALE, "scale = 1")], "not scaled"),
    "scaled by keys": ([(SCALE, "scale = k.shape[-2] ** -POWER")], "number of keys"),
    "scaled by queries": ([(SCALE, "scale = q.shape[-2] ** -POWER")], "number of queries"),
    "scaled by e": ([(SCALE, "scale = v.shape[-1] ** -POWER")], "value width"),
    "scaled by heads": ([(SCALE, "scale = q.shape[1] ** -POWER")], "number of heads"),
    "scaled up": ([(SCALE, "scale = q.shape[-1] ** POWER")], "multiplied by d^POWER"),
    "scaled late": ([("A = softmax(S)\n    o", "A = scale * softmax(S / scale)\n    o")], "scale comes after"),
    "no softmax": ([("A = softmax(S)\n    o", "A = S\n    o")], "softmax is missing"),
    "softmax over queries": ([("A = softmax(S)\n    o", "A = swap(softmax(swap(S)))\n    o")], "over the queries"),
    "S without a transpose": ([(SCORES, "S = scale * (q @ k)\n    A")], "ValueError"),
    "dq, dk not scaled": (
        [("scale * (dS @ k)", "dS @ k"), ("scale * (swap(dS) @ q)", "swap(dS) @ q")], "dq and dk are not"),
    "dq not scaled": ([("scale * (dS @ k)", "dS @ k")], "dq is not scaled"),
    "dk not scaled": ([("scale * (swap(dS) @ q)", "swap(dS) @ q")], "dk is not scaled"),
    "q scaled in the cache": (
        [(SCORES, "q = scale * q\n    S = q @ swap(k)\n    A")], "dk is scaled twice"),
    "k scaled in the cache": (
        [(SCORES, "k = scale * k\n    S = q @ swap(k)\n    A")], "dq is scaled twice"),
    "dS scaled, too": ([(DS, "scale * " + DS)], "again in dq and dk"),
    "dS scaled": ([(DS, "scale * " + DS), ("scale * (dS @ k)", "dS @ k"), ("scale * (swap(dS) @ q)", "swap(dS) @ q")],
        "belongs to dq and dk"),
    "no row sum": ([(DS, "A * dA")], "row sum is missing"),
    "no softmax backward": ([(DS, "dA")], "dS is dA"),
    "the diagonal": ([(DS, "dA * A * (1 - A)")], "only the diagonal"),
    "row sum of dA": ([("(A * dA).sum", "dA.sum")], "row sum lacks A"),
    "mean of A dA": ([("(A * dA).sum", "(A * dA).mean")], "a mean"),
    "mean of dA": ([("(A * dA).sum", "dA.mean")], "a mean"),
    "over the queries": ([("(A * dA).sum(axis=-1", "(A * dA).sum(axis=-2")], "wrong axis"),
    "plus": ([("(dA - (A", "(dA + (A")], "sign is minus"),
    "bracket": ([(DS, "A * dA - (A * dA).sum(axis=-1, keepdims=True)")], "not multiplied by A"),
    "no A in front": ([(DS, DS[4:])], "A in front"),
    "in place": ([("dS = " + DS, "dS = dA\n    dS -= (A * dA).sum(axis=-1, keepdims=True)\n    dS *= A")], "in place"),
    "dv by S": ([("swap(A) @ do", "scale * k @ swap(q) @ do")], "scores in the place of A"),
    "dA: v not turned": ([("do @ swap(v)", "do @ v")], "v without a transpose"),
    "dv: A not turned": ([("swap(A) @ do", "A @ do")], "A without a transpose"),
    "dk: dS not turned": ([("(swap(dS) @ q)", "(dS @ q)")], "dS without a transpose"),
    "dq: dS turned": ([("(dS @ k)", "(swap(dS) @ k)")], "dS with a transpose"),
    "dq by q": ([("(dS @ k)", "(dS @ q)")], "dq has q"),
    "dk by k": ([("(swap(dS) @ q)", "(swap(dS) @ k)")], "dk has k"),
    "dq and dk exchanged": ([(RESULTS, RESULTS.replace("dq, dk", "dk, dq"))], "in another order"),
    "another order": ([(RESULTS, RESULTS.replace("dA, dS, dq, dk, dv", "dq, dk, dv, dA, dS"))], "in another order"),
    "the gradients alone": ([(RESULTS, RESULTS.replace("dA, dS, ", ""))], "expected"),
    "float64 out": ([(SCALE, "scale = np.float64(q.shape[-1]) ** -POWER")], "dtype"),
    "not implemented": (
        [("    q, k, v, A, scale = cache", "    raise NotImplementedError('ex04: attention_backward')")],
        "NotImplementedError"),
    "returns nothing": ([(RESULTS, RESULTS.replace("return", "results ="))], "None"),
}  # fmt: skip

NOT_IN_0 = {  # where POWER is 0.5
    "POWER not used": ([(SCALE, "scale = q.shape[-1] ** -0.5")], "divided by sqrt(d)"),
}
