"""05 Differential attention: the blanks filled in rightly, and with likely mistakes."""

ANSWERS = [
    "32 / (32 + 32)",
    "5 / 3",
    "2",
    "2 - 1 + 0.2",
    "math.sqrt(10)",
    "1 - depth_schedule(3)",
    "((64, 32), (8,))",
    "6 * 8",
    "16 * (1 - lam)",
    "(1 - lam)[:, :, :, None] * softmax_head_forward(q_exc, k, v)[0]",
    "-1",
]
MISTAKES = [
    "32 / 33",
    "3 / 5",
    "3",
    "2 + 0.2",
    "1",
    "depth_schedule(3)",
    "((64, 64), (64,))",
    "2 * 48",
    "1 - lam",
    "softmax_head_forward(q_exc, k, v)[0]",
    "1",
]
