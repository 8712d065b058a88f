"""Exercise 06: right and wrong submissions, each the solution with some of its text exchanged."""

SIGMOID = """    e = np.exp(-abs(z))  # never above 1
    return np.where(z >= 0, 1, e) / (1 + e)
"""
AXIS = 'z_gate[..., None] if GATE_ON == "queries" else z_gate[..., None, :]'
LAST = """    A = w_exc * A_exc - w_inh * A_inh
    o = A @ v
"""

RIGHT = {
    "the solution": [],
    "sigmoid by tanh": [(SIGMOID, "    return (1 + np.tanh(z / 2)) / 2\n"),
        ("sigmoid(z), sigmoid(-z)", "sigmoid(z), np.exp(-np.logaddexp(0, z))")],
    "sigmoid by logaddexp": [(SIGMOID, "    return np.exp(-np.logaddexp(0, -z).astype(z.dtype))\n")],
    "sigmoid in two parts": [(SIGMOID, """    out = np.empty_like(z)
    up = z >= 0
    out[up] = 1 / (1 + np.exp(-z[up]))
    out[~up] = np.exp(z[~up]) / (1 + np.exp(z[~up]))
    return out
""")],
    "einsum": [("scale * q_exc @ k_exc.swapaxes(-1, -2)", 'scale * np.einsum("bhtd,bhsd->bhts", q_exc, k_exc)'),
        ("o = A @ v", 'o = np.einsum("bhts,bhse->bhte", A, v)')],
    "two outputs, then the difference": [(LAST, """    A = w_exc * A_exc - w_inh * A_inh
    o = (w_exc * A_exc) @ v - (w_inh * A_inh) @ v
""")],
    "sqrt, divided afterwards": [("scale = q_exc.shape[-1] ** -0.5", "scale = 1 / float(np.sqrt(q_exc.shape[-1]))")],
    "a loop over batch and heads": [(LAST, """    A = w_exc * A_exc - w_inh * A_inh
    o = np.empty((*A.shape[:3], v.shape[-1]), v.dtype)
    for b in range(len(A)):
        for h in range(A.shape[1]):
            o[b, h] = A[b, h] @ v[b, h]
""")],
}  # fmt: skip

WRONG = {  # name: (exchanges, a part of the hint that must be told)
    "exp overflows": ([(SIGMOID, "    return 1 / (1 + np.exp(-z))\n")], "overflow"),
    "both sides of where": ([(SIGMOID, "    return np.where(z >= 0, 1 / (1 + np.exp(-z)), 1 - 1 / (1 + np.exp(z)))\n")],
        "overflow"),
    "inf / inf": ([(SIGMOID, "    return np.exp(z) / (1 + np.exp(z))\n")], "overflow"),
    "clipped": ([(SIGMOID, "    return 1 / (1 + np.exp(-np.clip(z, -30, 30)))\n")], "clipped"),
    "sigmoid falls": ([("np.where(z >= 0, 1, e)", "np.where(z >= 0, e, 1)")], "wrong sign"),
    "no scale": ([("scale = q_exc.shape[-1] ** -0.5", "scale = 1")], "not divided by sqrt(d)"),
    "divided by d": ([("** -0.5", "** -1.0")], "by d, not by its root"),
    "times sqrt(d)": ([("** -0.5", "** 0.5")], "it divides"),
    "the width of v": ([("scale = q_exc.shape[-1]", "scale = v.shape[-1]")], "width e of v"),
    "added": ([("w_exc * A_exc - w_inh * A_inh", "w_exc * A_exc + w_inh * A_inh")], "it is subtracted"),
    "minus the whole": ([("w_exc * A_exc - w_inh * A_inh", "w_inh * A_inh - w_exc * A_exc")], "wrong sign: exc"),
    "roles exchanged": ([("w_exc * A_exc - w_inh * A_inh", "w_inh * A_exc - w_exc * A_inh")], "exchanged: g weighs"),
    "g twice": ([("sigmoid(z), sigmoid(-z)", "sigmoid(z), sigmoid(z)")], "both maps are weighed by g"),
    "1 - g by subtraction": ([("sigmoid(z), sigmoid(-z)", "sigmoid(z), 1 - sigmoid(z)")], "rounded to 1"),
    "1 - g forgotten": ([("sigmoid(z), sigmoid(-z)", "sigmoid(z), 1")], "it gets 1 - g"),
    "g forgotten": ([("sigmoid(z), sigmoid(-z)", "1, sigmoid(-z)")], "it gets g"),
    "z for g": ([("sigmoid(z), sigmoid(-z)", "z, 1 - z")], "z_gate itself"),
    "the wrong axis": ([(AXIS, 'z_gate[..., None] if GATE_ON != "queries" else z_gate[..., None, :]')], "wrong axis"),
    "no axis": ([(AXIS, "z_gate")], "ValueError"),
    "keys shared": ([("q_inh @ k_inh.swapaxes", "q_inh @ k_exc.swapaxes")], "takes k_exc"),
    "queries shared": ([("q_inh @ k_inh.swapaxes", "q_exc @ k_inh.swapaxes")], "takes q_exc"),
    "one map twice": ([("q_inh @ k_inh.swapaxes", "q_exc @ k_exc.swapaxes")], "both maps are the excitatory one"),
    "the other map twice": ([("q_exc @ k_exc.swapaxes", "q_inh @ k_inh.swapaxes")],
        "both maps are the inhibitory one"),
    "a large number for -inf": ([("k_exc.swapaxes(-1, -2), mask)",
        "k_exc.swapaxes(-1, -2) + (0 if mask is None else np.where(mask, 0, -1e9)))"),
        ("k_inh.swapaxes(-1, -2), mask)",
        "k_inh.swapaxes(-1, -2) + (0 if mask is None else np.where(mask, 0, -1e9)))")], "stands for -inf"),
    "not transposed": ([("q_exc @ k_exc.swapaxes(-1, -2)", "q_exc @ k_exc")], "ValueError"),
    "map transposed": ([("q_exc @ k_exc.swapaxes(-1, -2)", "k_exc @ q_exc.swapaxes(-1, -2)"),
        ("q_inh @ k_inh.swapaxes(-1, -2)", "k_inh @ q_inh.swapaxes(-1, -2)")], "transposed"),
    "mask ignored": ([("k_exc.swapaxes(-1, -2), mask)", "k_exc.swapaxes(-1, -2))"), ("k_inh.swapaxes(-1, -2), mask)",
        "k_inh.swapaxes(-1, -2))")], "mask is not used"),
    "mask in one branch": ([("k_inh.swapaxes(-1, -2), mask)", "k_inh.swapaxes(-1, -2))")], "excitatory branch alone"),
    "negative cut off": ([("w_exc * A_exc - w_inh * A_inh", "np.maximum(w_exc * A_exc - w_inh * A_inh, 0)")],
        "may be negative"),
    "normalised again": ([(LAST, LAST.replace("    o =", "    A = A / A.sum(axis=-1, keepdims=True)\n    o ="))],
        "normalised"),
    "one softmax": ([(LAST, """    S_exc = scale * q_exc @ k_exc.swapaxes(-1, -2)
    S_inh = scale * q_inh @ k_inh.swapaxes(-1, -2)
    A = softmax(w_exc * S_exc - w_inh * S_inh, mask)
    o = A @ v
""")], "one softmax is taken"),
    "a NumPy scale": ([("scale = q_exc.shape[-1] ** -0.5", "scale = 1 / np.sqrt(q_exc.shape[-1])")], "dtype"),
    "no cache": ([("return o, (q_exc, k_exc, q_inh, k_inh, v, A, A_exc, A_inh, g, one_minus_g)", "return o")],
        "shape"),
}  # fmt: skip
