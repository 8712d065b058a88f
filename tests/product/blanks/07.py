"""07 A transformer by hand: the blanks filled in rightly, and with likely mistakes."""

ANSWERS = [
    ("5", "2"),
    "dx2",
    ("3", "0"),
    "np.log(64)",
    ("0.995", "1"),
    ("0.6", "0.8"),
    "4",
    "2**0.5",
    "(A.sum(axis=1) < 0).sum()",
    '"c"',
]
MISTAKES = [
    ("4", "4"),
    "0 * dx2",
    ("3", "3"),
    "np.log(10)",
    ("0.995", "0.995"),
    ("1", "1"),  # each by itself
    "2",
    "2",
    "(A < 0).any(axis=1).sum()",
    '"bc"',
]
