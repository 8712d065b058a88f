"""Exercise 12: right and wrong submissions, each the solution with some of its text exchanged."""

MAXIMUM = "np.maximum(m, S.max(axis=-1, keepdims=True))"
TOTAL = "total = fade * total + E.sum"
OUTPUT = "o = fade * o + E @ v[tile]"
ENDS = "return o / total"
LOOP = "range(0, len(k), width)"
GATED = "g[:, None] * o_exc - (1 - g)[:, None] * o_inh"
SCALE = '-0.5 if SCALE == "1/sqrt(d)" else -1'
WHOLE = """    S = q @ k.T
    E = power(S - S.max(axis=-1, keepdims=True))
    return (E / E.sum(axis=-1, keepdims=True)) @ v
    m = """

RIGHT = {
    "the solution": [],
    "a low number for the first maximum": [("-np.inf", "np.finfo(q.dtype).min / 2")],
    "from the last tile to the first": [(LOOP, "reversed(range(0, len(k), width))")],
    "one array for sum and output": [("o = np.zeros_like(m), np.zeros((len(q), v.shape[-1]), q.dtype)",
            "o = np.zeros_like(m), np.zeros((len(q), v.shape[-1] + 1), q.dtype)"),
        (OUTPUT, "o = fade * o + E @ np.concatenate([v[tile], np.ones_like(v[tile, :1])], axis=1)"),
        (ENDS, "return o[:, :-1] / o[:, -1:]")],
    "the mean so far": [(TOTAL, "total, before = fade * total + E.sum"), ("E.sum(axis=-1, keepdims=True)",
            "E.sum(axis=-1, keepdims=True), fade * total"),
        (OUTPUT, "o = (before * o + E @ v[tile]) / total"), (ENDS, "return o")],
    "a loop with while": [
        ("    for start in " + LOOP + ":\n", "    start = -width\n    while (start := start + width) < len(k):\n")],
    "split by NumPy": [
        ("for start in " + LOOP, "for keys in np.array_split(np.arange(len(k)), -(-len(k) // width))"),
        ("slice(start, start + width)", "keys")],
    "the gate by transposes": [(GATED, "(g * o_exc.T - (1 - g) * o_inh.T).T")],
}  # fmt: skip

WRONG = {  # name: (exchanges, a part of the hint that must be told)
    "sum does not fade": ([(TOTAL, TOTAL.replace("fade * ", ""))], "the sum does not fade"),
    "output does not fade": ([(OUTPUT, OUTPUT.replace("fade * ", ""))], "o does not fade"),
    "nothing fades": ([(TOTAL, TOTAL.replace("fade * ", "")), (OUTPUT, OUTPUT.replace("fade * ", ""))], "neither"),
    "the wrong way round": ([("power(m_old - m)", "power(m - m_old)"), ("-np.inf", "-1e30")], "wrong way round"),
    "a softmax per tile": ([(TOTAL, "total = E.sum"), (OUTPUT, "o = o + E @ v[tile] / total"), (ENDS, "return o"),
        (MAXIMUM, "S.max(axis=-1, keepdims=True)")], "outputs are added"),
    "the mean of the tiles": ([(TOTAL, "total = E.sum"), (OUTPUT, "o = o + E @ v[tile] / total"),
        (ENDS, "return o / -(-len(k) // width)"), (MAXIMUM, "S.max(axis=-1, keepdims=True)")], "do not weigh the same"),
    "the last sum": ([(TOTAL, "total = E.sum")], "last tile alone"),
    "no division": ([(ENDS, "return o")], "division by the sum is missing"),
    "a maximum per tile": ([(MAXIMUM, "S.max(axis=-1, keepdims=True)"), ("power(m_old - m)", "1")], "its own maximum"),
    "a maximum that falls": ([(MAXIMUM, "S.max(axis=-1, keepdims=True)")], "may fall"),
    "no maximum": ([(MAXIMUM, "0 * m"), ("-np.inf", "0")], "overflows"),
    "one maximum": ([(MAXIMUM, "np.maximum(m, S.max())")], "one maximum serves all"),
    "a maximum from 0": ([("-np.inf", "0")], "begins at 0"),
    "the whole sum": ([(ENDS, "return o / total.sum()")], "one sum serves all"),
    "full tiles only": ([(LOOP, "range(0, len(k) - width + 1, width)")], "last full tile"),
    "one tile short": ([(LOOP, "range(0, len(k) - width, width)")], "last tile is left out"),
    "from the second tile": ([(LOOP, "range(width, len(k), width)")], "first tile is left out"),
    "no scale": ([("q = q * q.shape[-1] ** (" + SCALE + ")", "q = q + 0")], "not scaled"),
    "the other scale": ([(SCALE, '-1 if SCALE == "1/sqrt(d)" else -0.5')], "your course has SCALE"),
    "the other base": ([('np.exp if BASE == "e" else np.exp2', 'np.exp2 if BASE == "e" else np.exp')], "has BASE"),
    "not transposed": ([("k[tile].T", "k[tile]")], "ValueError"),
    "added": ([(GATED, GATED.replace(" - (1", " + (1"))], "it is subtracted"),
    "exchanged": ([(GATED, "(1 - g)[:, None] * o_exc - g[:, None] * o_inh")], "are exchanged"),
    "g twice": ([(GATED, "g[:, None] * (o_exc - o_inh)")], "both outputs are weighed by g"),
    "no gate": ([(GATED, "o_exc - o_inh")], "gate is not used"),
    "g along the columns": ([(GATED, "g * o_exc - (1 - g) * o_inh")], "along the columns"),
    "keys shared": ([("q_inh, k_inh, v, width)\n    return", "q_inh, k_exc, v, width)\n    return")], "takes k_exc"),
    "the inhibitory head twice": ([
        ("streamed_attention(q_exc, k_exc, v, width)", "streamed_attention(q_inh, k_inh, v, width)")],
        "both outputs are the inhibitory one"),
    "float64": ([("np.zeros((len(q), v.shape[-1]), q.dtype)", "np.zeros((len(q), v.shape[-1]))")], "dtype"),
    "flat sums": ([("E.sum(axis=-1, keepdims=True)", "E.sum(axis=-1)")], "ValueError"),
}  # fmt: skip

MEMORY = {  # right numbers, but not under the limit of memory that a process of its own has
    "the whole map": ([("    m = ", WHOLE)], "MemoryError"),
    "all scores first": ([("    m = ", "    scores = q @ k.T\n    m = "), ("q @ k[tile].T", "scores[:, tile]")],
        "MemoryError"),
    "all tiles kept": ([("    m = ", "    kept = []\n    m = "), (TOTAL, "kept.append(E)\n        " + TOTAL)],
        "MemoryError"),
}  # fmt: skip
