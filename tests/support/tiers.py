"""Parameters in two tiers: some in every run, the rest in make test-all."""

import pytest


def most_later(values, now):
    """All of the values; those that are not among now are slow.
    A plain tuple is one value for several names.
    """
    marks = {True: (), False: pytest.mark.slow}
    return [pytest.param(*(v if type(v) is tuple else (v,)), marks=marks[v in now]) for v in values]
