"""06 The gate: the blanks filled in rightly, and with likely mistakes."""

ANSWERS = [
    "-0.4",
    "4",
    "(1 - some_gate) / some_gate",
    "(1 + fused_map.sum(axis=-1)) / 2",
    "3 / 4",
    "0.75 * at_0 + 0.25 * at_1",
    "-1 / 3",
    '"none"',
    "8 / 9",
]
MISTAKES = [
    "0.5",  # added, not taken away
    "1",
    "some_gate / (1 - some_gate)",
    "fused_map.sum(axis=-1)",
    "1",
    "0.25 * at_0 + 0.75 * at_1",
    "1 / 3",
    '"x"',
    "2 / 3",  # the gate of key 2
]
