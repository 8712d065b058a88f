"""04 Attention, backward: the blanks filled in rightly, and with likely mistakes."""

ANSWERS = [
    "[5.5, 6.0]",
    "2",
    "[4, 4, 16]",
    "dS.T @ q / math.sqrt(d)",
    "0",
    "x.reshape(B, T, H, d).swapaxes(1, 2)",
    '"W_o"',
    "16",
    "11",
    '"qk"',
    'inner["W_q"] * -1',
    "(1, 2)",
]
MISTAKES = [
    "[0.0, 4.0]",
    "1",
    "[12, 12, 12]",
    "dS.T @ q",
    "2",
    "x.reshape(B, H, T, d)",
    '"W_v"',
    "2",
    "10",
    '"qkv"',
    'inner["W_q"]',
    "(2, 2)",
]
