"""08 Noise: the blanks filled in rightly, and with likely mistakes."""

ANSWERS = [
    '"contrast"',
    "32 * 4 + 4 + 2 * 4",
    '"nearest neighbour"',
    "4.30 / 3**0.5",
    ("5", "-0.5"),
    ("0", "0.731"),
    "0.8",
    "1 - 0.95**7",
    "4",
]
MISTAKES = [
    '"gaussian"',  # only in expectation
    "32 * 4 + 4",
    '"dgsa"',
    "4.30",
    ("5", "1"),
    ("0.1", "0.731"),
    "0.64",
    "7 * 0.05",
    "2",
]
