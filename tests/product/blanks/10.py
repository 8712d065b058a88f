"""10 Three questions about the gate: the blanks filled in rightly, and with likely mistakes."""

ANSWERS = ["4e-5", "0", "0.5**0.5", '"cd"']
MISTAKES = ["1e-5", "63", "0.95", '"d"']
