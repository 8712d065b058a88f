"""09 From formulas to fast code: the blanks filled in rightly, and with likely mistakes."""

ANSWERS = [
    "xp.log(1 + xp.exp(on_it))",
    ("64", "1024"),
    ("15 / 16 + 1", "15 / 4 + 2"),
    "np.log(12)",
    "o_exc - sigmoid(z_gate)[..., None] * o_inh",
    "5 / 8",
    ("-3 / 4", "3 / 4"),
    "300 / 4",
    "256",
    "1.5**-0.5",
    ("-1", "8"),
    ("-1 / 16", "1 / 16"),
    "3 / 7 * 2.0 + 4 / 7 * 2.7",
    ("0.85", "2.1"),
]
MISTAKES = [
    "xp.exp(on_it)",
    ("128", "1024"),  # as if in float64
    ("15 / 8 + 1", "15 / 2 + 2"),  # nothing fades
    "0",
    "o_exc - sigmoid(-z_gate)[..., None] * o_inh",
    "1 / 2",
    ("3", "2"),  # the row sum forgotten
    "300",
    "64",
    "1 / 2",
    ("0", "12"),  # the second token alone
    ("1 / 16", "-1 / 16"),
    "(2.0 + 2.7) / 2",
    ("0.65", "2.4"),  # a step along g
]
