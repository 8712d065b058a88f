"""Exercise 01: right and wrong submissions, each the solution with some of its text exchanged."""

RIGHT = {
    "the solution": [],
    "einsum for the sum": [("e.sum(axis=-1, keepdims=True)", 'np.einsum("...s->...", e)[..., None]')],
    "the mask multiplied in": [("z = np.where(mask, z, -np.inf)", "z = np.where(mask, z, -1e30)"),
        ("    total =", "    e = e if mask is None else e * mask\n    total =")],
    "scaled in exp": [("z = scores / TEMPERATURE", "z = scores * (1 / TEMPERATURE)")],
    "amax and another name": [("z.max(axis=-1, keepdims=True)", "np.amax(z, axis=-1, keepdims=True)")],
}  # fmt: skip

WRONG = {  # name: (exchanges, a part of the hint that must be told)
    "over the queries": ([("e.sum(axis=-1, keepdims=True)", "e.sum(axis=-2, keepdims=True)")], "wrong axis"),
    "over everything": ([("e.sum(axis=-1, keepdims=True)", "e.sum()")], "over everything"),
    "no maximum": ([("z - np.where(np.isfinite(top), top, 0)", "z")], "overflows"),
    "mask the wrong way round": ([("np.where(mask, z, -np.inf)", "np.where(mask, -np.inf, z)")], "wrong way round"),
    "mask ignored": ([("np.where(mask, z, -np.inf)", "z")], "not used"),
    "masked after": ([("        z = np.where(mask, z, -np.inf)", "        pass"),
        ("return e / np.where(total == 0, 1, total)", "A = e / total\n    return A if mask is None else A * mask")],
        "after the division"),
    "the maximum of all": ([("        z = np.where(mask, z, -np.inf)", "        pass"),
        ("    total =", "    e = e if mask is None else e * mask\n    total =")], "among the forbidden ones too"),
    "masked by zero, then by the mask": ([("-np.inf)", "0.0)"),
        ("    total =", "    e = e if mask is None else e * mask\n    total =")], "replaced by a number"),
    "masked by zero": ([("-np.inf)", "0.0)")], "exp(0) = 1"),
    "a large number for -inf": ([("-np.inf)", "-1e9)")], "stands for -inf"),
    "a large number added": ([("np.where(mask, z, -np.inf)", "z + np.where(mask, 0, -1e9)")], "stands for -inf"),
    "one maximum for all": ([("z.max(axis=-1, keepdims=True)", "z.max()"),
        ("np.where(np.isfinite(top), top, 0)", "top")], "serves all rows"),
    "the mean subtracted": ([("z - np.where(np.isfinite(top), top, 0)", "z - z.mean(axis=-1, keepdims=True)")],
        "the mean of a row"),
    "clipped": ([("z = scores / TEMPERATURE", "z = np.clip(scores / TEMPERATURE, -500, 500)")], "clipped"),
    "0 / 0": ([("top = z.max(axis=-1, keepdims=True)", "top = np.maximum(z.max(axis=-1, keepdims=True), -1e300)"),
        ("e / np.where(total == 0, 1, total)", "e / total")], "0 / 0"),
    "float64 out": ([("z = scores / TEMPERATURE", "z = scores.astype(float) / TEMPERATURE")], "dtype"),
    "a NumPy constant": ([("z = scores / TEMPERATURE", "z = scores / np.array([TEMPERATURE])")], "dtype"),
    "not implemented": ([("    z = scores / TEMPERATURE", "    raise NotImplementedError('ex01: softmax')")],
        "NotImplementedError"),
    "returns nothing": ([("return e / np.where", "result = e / np.where")], "None"),
}  # fmt: skip

NOT_IN_0 = {  # where TEMPERATURE is 1
    "temperature multiplied": ([("scores / TEMPERATURE", "scores * TEMPERATURE")], "multiplied by TEMPERATURE"),
    "no temperature": ([("scores / TEMPERATURE", "scores + 0")], "not divided by TEMPERATURE"),
}
