"""Parameters in two tiers: some in every run, the rest in make test-all."""

import pytest


def most_later(values, now):
    """All of the values; those that are not among now are slow. A tuple is one value for several names."""
    marks = {True: (), False: pytest.mark.slow}
    return [pytest.param(*(v if isinstance(v, tuple) else (v,)), marks=marks[v in now]) for v in values]
