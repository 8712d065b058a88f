"""01 Lateral inhibition: the blanks filled in rightly, and with likely mistakes."""

ANSWERS = [
    "10",
    "r + K @ r",
    "9",
    "(-7 * 0.2) ** 3",
    "[0, 10]",
    "[0.1, 0]",
    "2",
    "(2 * 0.2 - 1) * 7",
]
MISTAKES = [
    "12 - 0.2 * 12",
    "r - K @ r",
    "19",
    "1.4**3",
    "[10 / 3, 20 / 3]",
    "[0.2, 0]",
    "3",
    "0.2 * 7",
]
