"""Blanks in notebooks: what is said of an answer."""

import numpy as np
import pytest

from dgsa_np.lab.blank import blank

R = np.arange(6.0).reshape(2, 3)
DOTS = "Yours: replace the dots and run this cell again."


@pytest.mark.parametrize(
    ("answer", "right", "said"),
    [
        (..., R, DOTS),
        ((R, ...), (R, R), DOTS),
        (R + 1e-9, R, "Right."),
        (3, 3.0, "Right."),
        (1e-9, 0.0, "Not yet: 1e-09, expected 0. Look again."),
        ("yes", "yes", "Right."),
        (True, False, "Not yet: another answer is wanted. Look again."),
        ((R, R.T), (R, R.T), "Right."),
        (R, (R, R), "Not yet: expected 2 results. Look again."),
        ((R, -R), (R, R), "Not yet: result 1: most at (1, 2): -5, expected 5. Look again."),
        (R.T, R, "Not yet: its shape is (3, 2), expected (2, 3). Look again."),
        (None, R, "Not yet: its shape is (), expected (2, 3). Look again."),
        (R.astype(str), R, "Not yet: it is <U32, expected numbers. Look again."),
        (R * np.nan, R, "Not yet: most at (0, 0): nan, expected 0. Look again."),
    ],
)
def test_an_answer_is_right_or_it_is_said_where_it_is_not(answer, right, said, capsys):
    blank(answer, right, "Look again.")
    assert capsys.readouterr().out == f"{said}\n"


def test_without_a_hint_none_is_printed(capsys):
    blank(1.0, 2.0)
    assert capsys.readouterr().out == "Not yet: 1, expected 2.\n"
