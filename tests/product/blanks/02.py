"""02 Centre and surround: the blanks filled in rightly, and with likely mistakes."""

ANSWERS = [
    "2",
    "crossing(0.5)",
    "1",
    "0.2 / (0.8 * 5)",
    "3",
    "0.3 / sqrt(161)",
    "0.2",
    "[2, 2]",
]
MISTAKES = [
    "4",
    "S_EXC",
    "3",
    "1 / 5",
    "6 / 4",
    "0.3 / 161",
    "0.8",
    "[1, 1]",
]
