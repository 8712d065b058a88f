"""03 Softmax and its gradient: the blanks filled in rightly, and with likely mistakes."""

ANSWERS = [
    "[1 / 13, 2 / 13, 10 / 13]",
    "1 + 1 / 2 + 1 / 3 + 1 / 4",
    "1 / 3",
    "1 / 4",
    "[-5 / 8, -10 / 8, 15 / 8]",
    "4",
    "1 / 10 - 1",
    "-(0.1**2)",
    '"fails"',
]
MISTAKES = [
    "[1 / 8, 2 / 8, 10 / 8]",
    "1",
    "3",
    "1",
    "[0, 0, 15 / 8]",
    "0",
    "1 / 10",
    "0.1**2",
    '"passes"',
]
