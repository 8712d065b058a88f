"""Parameters in tiers: in every run, in make test-all, and more of the same in make torture."""

import pytest


def most_later(values, now, torture=()):
    """All of the values; those that are not among now are slow, or torture.
    A plain tuple is one value for several names.
    """

    def tier(value):
        return () if value in now else pytest.mark.torture if value in torture else pytest.mark.slow

    return [pytest.param(*(v if type(v) is tuple else (v,)), marks=tier(v)) for v in values]
