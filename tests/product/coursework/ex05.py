"""Exercise 05: right and wrong submissions, each the solution with some of its text exchanged."""

SCALE = "scale = q_exc.shape[-1] ** -0.5"
WEIGHTS = '(lam, 1) if LAMBDA_ON == "exc" else (1, lam)'
FUSED = "    A = w_exc * A_exc - w_inh * A_inh\n    o ="
INH = "A_inh = softmax(scale * (q_inh @ swap(k_inh)))\n    w"
DLAM = '(dA * A_exc).sum() if LAMBDA_ON == "exc" else -(dA * A_inh).sum()'
RESULTS = "return dq_exc, dk_exc, dq_inh, dk_inh, dv, dlam"
DQ_EXC, DQ_INH = "scale * (dS_exc @ k_exc)", "scale * (dS_inh @ k_inh)"
DK_EXC, DK_INH = "scale * (swap(dS_exc) @ q_exc)", "scale * (swap(dS_inh) @ q_inh)"


def dlam(with_exc, with_inh):
    return [(DLAM, f'{with_exc} if LAMBDA_ON == "exc" else {with_inh}')]


RIGHT = {
    "the solution": [],
    "a formula for each course": [(FUSED,
        '    A = lam * A_exc - A_inh if LAMBDA_ON == "exc" else A_exc - lam * A_inh\n    o =')],
    "two products with v": [("o = A @ v\n    return", "o = w_exc * (A_exc @ v) - w_inh * (A_inh @ v)\n    return"),
        ("dv = swap(A) @ do", "dv = w_exc * (swap(A_exc) @ do) - w_inh * (swap(A_inh) @ do)")],
    "dlam from the output": [
        (DLAM, '(do * (A_exc @ v)).sum() if LAMBDA_ON == "exc" else -np.einsum("bhte,bhte->", do, A_inh @ v)')],
    "the weight after the softmax backward": [
        ("softmax_backward(dA_inh, A_inh)", "-w_inh * softmax_backward(dA, A_inh)"),
        ("softmax_backward(dA_exc, A_exc)", "w_exc * softmax_backward(dA, A_exc)")],
    "both branches stacked": [
        ("dS_inh = softmax_backward(dA_inh, A_inh)",
            "dS_exc, dS_inh = softmax_backward(np.stack([dA_exc, dA_inh]), np.stack([A_exc, A_inh]))"),
        ("    dS_exc = softmax_backward(dA_exc, A_exc)\n", "")],
    "sums one after the other": dlam(
        "(dA * A_exc).sum(axis=(2, 3)).sum()", "(-dA * A_inh).sum(axis=-1).sum(axis=(0, 1, 2))"),
}  # fmt: skip

WRONG = {  # name: (exchanges, a part of the hint that must be told)
    "no scale": ([(SCALE, "scale = 1")], "not scaled"),
    "divided by d": ([(SCALE, "scale = 1 / q_exc.shape[-1]")], "divided by d"),
    "the scale of e": ([(SCALE, "scale = v.shape[-1] ** -0.5")], "value width e"),
    "the scale of 2 d": ([(SCALE, "scale = (2 * q_exc.shape[-1]) ** -0.5")], "2 d"),
    "the other map": ([(WEIGHTS, '(1, lam) if LAMBDA_ON == "exc" else (lam, 1)')], "weighs the other map"),
    "no lambda": ([(WEIGHTS, "(1, 1)")], "lambda is not used"),
    "lambda on both": ([(WEIGHTS, "(lam, lam)")], "weighs both maps"),
    "lambda and 1 - lambda": ([(WEIGHTS, '(lam, 1 - lam) if LAMBDA_ON == "exc" else (1 - lam, lam)')], "1 - lambda"),
    "added": ([(FUSED, FUSED.replace(" - ", " + "))], "map is added"),
    "upside down": ([(FUSED, "    A = w_inh * A_inh - w_exc * A_exc\n    o =")], "sign of the map"),
    "rows normalised": ([(FUSED, FUSED.replace("A_inh\n", "A_inh\n    A = A / A.sum(axis=-1, keepdims=True)\n"))],
        "divided by their sum"),
    "clipped": ([(FUSED, FUSED.replace("A_inh\n", "A_inh\n    A = np.maximum(A, 0)\n"))], "negative weights"),
    "scores subtracted": (
        [(FUSED, "    A = softmax(scale * (w_exc * q_exc @ swap(k_exc) - w_inh * q_inh @ swap(k_inh)))\n    o =")],
        "difference of the scores"),
    "q_exc in A_inh": ([(INH, INH.replace("q_inh", "q_exc"))], "queries of the excitatory"),
    "k_exc in A_inh": ([(INH, INH.replace("k_inh", "k_exc"))], "keys of the excitatory"),
    "both maps excitatory": ([(INH, INH.replace("q_inh", "q_exc").replace("k_inh", "k_exc"))], "both maps are the exc"),
    "dlam: sign": (dlam("-(dA * A_exc).sum()", "(dA * A_inh).sum()"), "sign of dlam"),
    "dlam: the other map": (dlam("-(dA * A_inh).sum()", "(dA * A_exc).sum()"), "wrong map"),
    "dlam: the fused map": ([(DLAM, "(dA * A).sum()")], "fused map"),
    "dlam: no map": (dlam("dA.sum()", "-dA.sum()"), "dlam lacks the map"),
    "dlam: mean": (dlam("(dA * A_exc).mean()", "-(dA * A_inh).mean()"), "dlam is a mean"),
    "dlam: mean over the batch": (dlam("(dA * A_exc).sum() / len(dA)", "-(dA * A_inh).sum() / len(dA)"),
        "dlam is a mean"),
    "dlam: times lambda": (dlam("(dA_exc * A_exc).sum()", "(dA_inh * A_inh).sum()"), "factor lambda too much"),
    "dlam: one per query": (dlam("(dA * A_exc).sum(axis=-1)", "-(dA * A_inh).sum(axis=-1)"), "shape"),
    "dlam: one per head": (dlam("(dA * A_exc).sum(axis=(0, 2, 3))", "-(dA * A_inh).sum(axis=(0, 2, 3))"), "shape"),
    "dlam: shape (1,)": (dlam("(dA * A_exc).sum()[None]", "-(dA * A_inh).sum()[None]"), "shape"),
    "dlam: divided by lambda": (dlam("(dA_exc * A_exc).sum() / w_exc", "(dA_inh * A_inh).sum() / w_inh"),
        "divided by lambda"),
    "no dlam": ([(DLAM, "0.0")], "dlam is 0"),
    "inhibition added": ([("dA_inh = -w_inh", "dA_inh = w_inh")], "lack the minus"),
    "lambda forgotten": ([("-w_inh * dA", "-dA"), ("w_exc * dA\n", "dA\n")], "lambda is missing in the branch"),
    "lambda in both": ([("w_exc * dA\n", "w_exc * w_inh * dA\n"), ("-w_inh * dA", "-w_inh * w_exc * dA")],
        "other branch, too"),
    "lambda exchanged": ([("w_exc * dA\n", "w_inh * dA\n"), ("-w_inh * dA", "-w_exc * dA")], "wrong branch"),
    "minus in both": ([("w_exc * dA\n", "-w_exc * dA\n")], "minus is in both"),
    "dv: A_exc alone": ([("swap(A) @ do", "swap(A_exc) @ do")], "excitatory map alone"),
    "dv: the sum": ([("swap(A) @ do", "swap(w_exc * A_exc + w_inh * A_inh) @ do")], "sum of the maps"),
    "dv: no lambda": ([("swap(A) @ do", "swap(A_exc - A_inh) @ do")], "dv lacks lambda"),
    "softmax backward of A": ([("(dA_inh, A_inh)", "(dA_inh, A)"), ("(dA_exc, A_exc)", "(dA_exc, A)")],
        "has the fused map"),
    "softmax backward of A_exc": ([("(dA_inh, A_inh)", "(dA_inh, A_exc)")], "has the map A_exc"),
    "the sum of the fused rows": ([
        ("dS_inh = softmax_backward(dA_inh, A_inh)",
            "dS_inh = -w_inh * A_inh * (dA - (do * (A @ v)).sum(axis=-1, keepdims=True))"),
        ("dS_exc = softmax_backward(dA_exc, A_exc)",
            "dS_exc = w_exc * A_exc * (dA - (do * (A @ v)).sum(axis=-1, keepdims=True))")], "fused rows"),
    "no softmax backward": (
        [("softmax_backward(dA_inh, A_inh)", "dA_inh"), ("softmax_backward(dA_exc, A_exc)", "dA_exc")],
        "backward of softmax is missing"),
    "one softmax backward": ([("softmax_backward(dA_inh, A_inh)", "dA_inh")], "missing in the inhibitory branch"),
    "q, k not scaled": ([(old, old.removeprefix("scale * ")) for old in (DQ_EXC, DQ_INH, DK_EXC, DK_INH)],
        "dq and dk are not scaled"),
    "q not scaled": ([(old, old.removeprefix("scale * ")) for old in (DQ_EXC, DQ_INH)], "dq is not scaled"),
    "k not scaled": ([(old, old.removeprefix("scale * ")) for old in (DK_EXC, DK_INH)], "dk is not scaled"),
    "dk scaled twice": ([(old, "scale * " + old) for old in (DK_EXC, DK_INH)], "dk is scaled twice"),
    "dq_inh by k_exc": ([(DQ_INH, DQ_INH.replace("k_inh", "k_exc"))], "has the keys of the excitatory"),
    "dk_inh by q_exc": ([(DK_INH, DK_INH.replace("q_inh", "q_exc"))], "has the queries of the excitatory"),
    "branches exchanged": ([(RESULTS, "return dq_inh, dk_inh, dq_exc, dk_exc, dv, dlam")], "are exchanged"),
    "another order": ([(RESULTS, "return dq_exc, dq_inh, dk_exc, dk_inh, dv, dlam")], "in another order"),
    "dk: not turned": ([(old, old.replace("swap", "")) for old in (DK_EXC, DK_INH)], "dS without a transpose"),
    "dv: not turned": ([("swap(A) @ do", "A @ do")], "A without a transpose"),
    "dA: not turned": ([("do @ swap(v)", "do @ v")], "v without a transpose"),
    "float64 out": ([(SCALE, "scale = 1 / np.sqrt(q_exc.shape[-1])")], "dtype"),
    "dlam a Python number": ([(RESULTS, RESULTS.replace("dlam", "float(dlam)"))], "dtype"),
    "not implemented": (
        [("    " + SCALE, "    raise NotImplementedError('ex05: differential_forward')")], "NotImplementedError"),
    "returns nothing": ([(RESULTS, RESULTS.replace("return", "results ="))], "None"),
}  # fmt: skip
