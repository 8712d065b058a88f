"""Exercise 08: right and wrong submissions, each the solution with some of its text exchanged."""

R = "1 / np.sqrt((c * c).mean(axis=-1, keepdims=True) + EPS)  #"  # the second line that has it is a comment
CENTRED = 'c = o - o.mean(axis=-1, keepdims=True) if NORM == "layer" else o\n    r'
DC = "r * (dn - n * (dn * n).mean(axis=-1, keepdims=True))"
DW = "factor * (dh * n).sum(axis=(0, 1, 2))"
DO = 'dc - dc.mean(axis=-1, keepdims=True) if NORM == "layer" else dc'
LAST = "return do, dw\n    ### END"

RIGHT = {
    "the solution": [],
    "by var": [(R, "(c.var(axis=-1, keepdims=True) + c.mean(axis=-1, keepdims=True) ** 2 + EPS) ** -0.5  #")],
    "einsum": [(R, '1 / np.sqrt(np.einsum("bhte,bhte->bht", c, c)[..., None] / c.shape[-1] + EPS)  #'),
        (DW, 'factor * np.einsum("bhte,bhte->e", dh, n)')],
    "dw as rows": [(DW, "factor * (dh * n).reshape(-1, n.shape[-1]).sum(axis=0)")],
    "r and its derivative apart": [
        (DC, "r * dn - r**3 * (n / r) * (dn * n / r).sum(axis=-1, keepdims=True) / n.shape[-1]")],
    "the factor last": [("h = factor * w * n\n    return", "h = (n * w) * factor\n    return")],
    "the Jacobian": [(DC, """np.einsum("bhtij,bhtj->bhti", r[..., None] * (np.eye(n.shape[-1], dtype=n.dtype)
        - n[..., :, None] * n[..., None, :] / n.shape[-1]), dn)""")],
}  # fmt: skip

WRONG = {  # name: (exchanges, a part of the hint that must be told)
    "no gain": ([("h = factor * w * n\n    return", "h = factor * n\n    return")], "gain w is missing"),
    "lambda_init for its complement": ([
        ("1 - lambda_init if FACTOR else 1", "lambda_init if FACTOR else 1 - lambda_init")], "lambda_init"),
    "FACTOR not read": ([("1 - lambda_init if FACTOR else 1", "1 if FACTOR else 1 - lambda_init")], "lambda_init"),
    "sum for mean": ([(R, R.replace("mean", "sum"))], "a sum stands"),
    "over the queries": ([(R, R.replace("axis=-1", "axis=-2"))], "wrong axis"),
    "over the heads and e": ([(R, R.replace("axis=-1", "axis=(1, 3)"))], "wrong axis"),
    "over everything": ([(R, R.replace("axis=-1", "axis=None"))], "wrong axis"),
    "no root": ([(R, R.replace("np.sqrt", ""))], "root is missing"),
    "no EPS": ([(R, R.replace(" + EPS", ""))], "EPS is not added"),
    "EPS outside": ([(R, R.replace(" + EPS)", ") + EPS)").replace("1 / ", "1 / ("))], "EPS stands outside"),
    "EPS as a limit": ([(R, "1 / np.sqrt(np.maximum((c * c).mean(axis=-1, keepdims=True), EPS))  #")], "lower limit"),
    "absolute values": ([(R, "1 / (abs(c).mean(axis=-1, keepdims=True) + EPS)  #")], "absolute values"),
    "e - 1": ([(R, "1 / np.sqrt((c * c).sum(axis=-1, keepdims=True) / (c.shape[-1] - 1) + EPS)  #")], "e - 1"),
    "the other norm": ([(CENTRED, CENTRED.replace("==", "!="))], "mean is"),
    "r a constant": ([(DC, "r * dn")], "r is treated as a constant"),
    "second term added": ([(DC, DC.replace("dn - n", "dn + n"))], "second term is added"),
    "sum for mean in do": ([(DC, DC.replace("mean", "sum"))], "a sum over e"),
    "wrong axis in do": ([(DC, DC.replace("axis=-1", "axis=-2"))], "wrong axis"),
    "no w in do": ([("dn, dw = factor * w * dh", "dn, dw = factor * dh")], "gain w is missing: dn"),
    "no r in do": ([(DC, DC.replace("r * (dn", "(dn"))], "factor r before the bracket"),
    "no n in do": ([(DC, DC.replace("dn - n *", "dn -"))], "factor n is missing"),
    "no n under the mean": ([(DC, DC.replace("(dn * n)", "dn"))], "n is missing under the mean"),
    "o for n": ([(DC, "r * (dn - n / r * (dn * n / r).mean(axis=-1, keepdims=True))")], "o stands where n belongs"),
    "a power of r": ([(DC, "r * dn - n / r * (dn * n / r).mean(axis=-1, keepdims=True) * r**2")], "power of r"),
    "a half": ([(DC, "r * dn - n * (dn * n).mean(axis=-1, keepdims=True) * r / 2")], "cancel"),
    "centring the wrong way": ([(DO, DO.replace("==", "!="))], "mean"),
    "dw not summed": ([(DW, "factor * dh * n")], "shape"),
    "dw per head": ([(DW, DW.replace("(0, 1, 2)", "(0, 2)"))], "shape"),
    "dw a mean": ([(DW, DW.replace(".sum", ".mean"))], "dw is a mean"),
    "w in dw": ([(DW, DW.replace("(dh * n)", "(w * dh * n)"))], "w stands in dw"),
    "o in dw": ([(DW, DW.replace("(dh * n)", "(dh * n / r)"))], "o stands where n belongs"),
    "dw of the first entry": ([(DW, "factor * (dh * n)[0].sum(axis=(0, 1))")], "one batch entry"),
    "a NumPy factor": ([
        ("1 - lambda_init if FACTOR else 1", "np.float64(1 - lambda_init if FACTOR else 1)")], "dtype"),
    "exchanged": ([(LAST, "return dw, do\n    ### END")], "the other one"),
    "one alone": ([(LAST, "return do\n    ### END")], "shape"),
}  # fmt: skip
