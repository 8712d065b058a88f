"""Exercise 07: right and wrong submissions, each the solution with some of its text exchanged."""

DS_EXC = "A_exc * (dA_exc - (dA_exc * A_exc).sum(axis=-1, keepdims=True))"
DS_INH = "A_inh * (dA_inh - (dA_inh * A_inh).sum(axis=-1, keepdims=True))"
DG = '(dA * (A_exc + A_inh)).sum(axis=-1 if GATE_ON == "queries" else -2)'
SLOPE = "(g * one_minus_g).reshape(dg.shape)"
EXC = "dq_exc, dk_exc = scale * dS_exc @ k_exc, scale * swap(dS_exc) @ q_exc"
INH = "dq_inh, dk_inh = scale * dS_inh @ k_inh, scale * swap(dS_inh) @ q_inh"
LAST = "return dq_exc, dk_exc, dq_inh, dk_inh, dv, dz_gate\n    ### END"

RIGHT = {
    "the solution": [],
    "einsum": [("dA, dv = do @ swap(v), swap(A) @ do", 'dA = np.einsum("bhte,bhse->bhts", do, v)\n'
                                                       '    dv = np.einsum("bhts,bhte->bhse", A, do)'),
        (EXC, 'dq_exc = scale * np.einsum("bhts,bhsd->bhtd", dS_exc, k_exc)\n'
              '    dk_exc = scale * np.einsum("bhts,bhtd->bhsd", dS_exc, q_exc)')],
    "the Jacobian of each row": [(DS_INH, """np.einsum("bhtj,bhtij->bhti", dA_inh,
        A_inh[..., None] * (np.eye(A_inh.shape[-1], dtype=A_inh.dtype) - A_inh[..., None, :]))""")],
    "the row sum from the outputs": [(DS_INH, "A_inh * dA_inh - A_inh * (A_inh * dA_inh).sum(-1)[..., None]")],
    "the gate's two parts": [("dg = sign * " + DG, """axis = -1 if GATE_ON == "queries" else -2
    dg = (dA * A_exc).sum(axis) + (dA * A_inh).sum(axis)
    dg = dg if GATED == "exc" else -dg""")],
    "the gate with the axis kept": [(DG, DG.replace("else -2", "else -2, keepdims=True")),
        (SLOPE + " * dg", '(g * one_minus_g * dg).squeeze(-1 if GATE_ON == "queries" else -2)')],
    "the scale at dS": [(DS_EXC, "scale * " + DS_EXC), (EXC, "dq_exc, dk_exc = dS_exc @ k_exc, swap(dS_exc) @ q_exc")],
    "a helper for both branches": [(DS_EXC, "through(A_exc, dA_exc)"), (DS_INH, "through(A_inh, dA_inh)"),
        ("    # o = A @ v\n", """
    def through(A, dA):
        P = A * dA
        return P - A * P.sum(axis=-1, keepdims=True)

    # o = A @ v
""")],
}  # fmt: skip

WRONG = {  # name: (exchanges, a part of the hint that must be told)
    "dv without transpose": ([("swap(A) @ do", "A @ do")], "dv lacks the transpose"),
    "dv of the excitatory map": ([("swap(A) @ do", "swap(A_exc) @ do")], "excitatory map alone"),
    "dv without the gate": ([("swap(A) @ do", "swap(A_exc - A_inh) @ do")], "without the gate"),
    "dA not transposed": ([("do @ swap(v)", "do @ v")], "ValueError"),
    "inhibitory sign": ([("-w_inh * dA", "w_inh * dA")], "sign of the inhibitory branch"),
    "excitatory sign": ([("w_exc * dA, ", "-w_exc * dA, ")], "sign of the excitatory branch"),
    "weights forgotten": ([("w_exc * dA, -w_inh * dA", "dA, -dA")], "is not weighed"),
    "weights exchanged": ([("w_exc * dA, -w_inh * dA", "w_inh * dA, -w_exc * dA")], "weight of the other branch"),
    "dg of the difference": ([("(A_exc + A_inh)", "(A_exc - A_inh)")], "difference of the maps"),
    "dg of one map": ([("(A_exc + A_inh)", "A_exc")], "lacks the inhibitory map"),
    "dg of the fused map": ([("(A_exc + A_inh)", "A")], "dg has the fused map"),
    "dg over the wrong axis": ([(DG, DG.replace("-1 if", "-2 if").replace("else -2", "else -1"))], "wrong axis"),
    "dg not summed": ([("dg = sign * " + DG, "dg = sign * (dA * (A_exc + A_inh))"),
        (SLOPE + " * dg", "g * one_minus_g * dg")], "shape"),
    "dg with its axis": ([(DG, DG.replace("else -2", "else -2, keepdims=True"))], "shape"),
    "dg a mean": ([(DG, DG.replace(".sum", ".mean"))], "dg is a mean"),
    "no slope": ([(SLOPE + " * dg", "dg")], "slope of the sigmoid is missing"),
    "slope g": ([("g * one_minus_g).re", "g).re")], "not g"),
    "slope 1 - g^2": ([("g * one_minus_g).re", "1 - g**2).re")], "tanh"),
    "slope by subtraction": ([("g * one_minus_g).re", "g * (1 - g)).re")], "no digits left"),
    "gate's sign": ([("dg = sign * ", "dg = -sign * ")], "dz_gate has the wrong sign"),
    "no row sum": ([(DS_EXC, "A_exc * dA_exc")], "row sum is missing"),
    "row sum over the queries": ([(DS_INH, DS_INH.replace("-1", "-2"))], "row sum runs over the wrong axis"),
    "row mean": ([(DS_INH, DS_INH.replace(".sum", ".mean"))], "a mean of A dA"),
    "no factor A": ([(DS_EXC, DS_EXC.replace("A_exc * (dA_exc -", "(dA_exc -"))], "A in front is missing"),
    "softmax as a sigmoid": ([(DS_INH, "dA_inh * A_inh * (1 - A_inh)")], "only the diagonal"),
    "the fused map in the softmax": ([(DS_EXC, "A * (dA_exc - (dA_exc * A).sum(axis=-1, keepdims=True))")],
        "fused map A stands"),
    "the sum of the fused rows": ([
        (DS_EXC, "A_exc * (dA_exc - (do * (A @ v)).sum(axis=-1, keepdims=True))"),
        (DS_INH, "A_inh * (dA_inh - (do * (A @ v)).sum(axis=-1, keepdims=True))")], "fused rows"),
    "the fused row sum, weighed": ([
        (DS_EXC, "w_exc * A_exc * (dA - (dA * A).sum(axis=-1, keepdims=True))")], "fused rows"),
    "one map for both": ([(DS_INH, DS_INH.replace("A_inh", "A_exc").replace("dA_exc", "dA_inh"))],
        "map of the other branch"),
    "dg of one map, twice": ([("(A_exc + A_inh)", "(A_exc + A_exc)")], "excitatory map twice"),
    "dg after the slope, over the wrong axis": ([
        (SLOPE + " * dg", "sign * (g * one_minus_g * dA * (A_exc + A_inh)).sum(\n"
            '        axis=-2 if GATE_ON == "queries" else -1)')], "wrong axis"),
    "another order": ([(LAST, LAST.replace("dk_exc, dq_inh", "dq_inh, dk_exc"))], "in another order"),
    "softmax skipped": ([(DS_INH, "dA_inh")], "backward of softmax is missing"),
    "no scale": ([(EXC, EXC.replace("scale * ", ""))], "scale is forgotten"),
    "no scale in dk": ([(INH, INH.replace("scale * swap", "swap"))], "scale is forgotten in dk"),
    "scale twice": ([(DS_EXC, "scale * " + DS_EXC)], "scale comes twice"),
    "dk without transpose": ([(EXC, EXC.replace("swap(dS_exc)", "dS_exc"))], "dk lacks the transpose"),
    "dq and dk exchanged": ([(INH, INH.replace("dq_inh, dk_inh", "dk_inh, dq_inh"))], "in another order"),
    "dq of q": ([(INH, INH.replace("@ k_inh", "@ K").replace("@ q_inh", "@ k_inh").replace("@ K", "@ q_inh"))],
        "dq is made of q"),
    "float64": ([("dA, dv = do @", "do = do.astype(float)\n    dA, dv = do @")], "dtype"),
    "five gradients": ([(LAST, "return dq_exc, dk_exc, dq_inh, dk_inh, dv\n    ### END")], "IndexError"),
    "not there yet": ([("dz_gate = " + SLOPE + " * dg", "dz_gate = None")], "None"),
}  # fmt: skip
