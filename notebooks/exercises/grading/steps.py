"""A calculation as a table of steps: a mistake is another formula for one of them."""

from types import SimpleNamespace


def follow(steps, slips, **known):
    """All values after the last step. Steps after a slip go on with what the slip gives.

    steps : {name: what is known so far -> its value}, in their order
    slips : {name of a step: another formula for it}
    known : what is known before the first step
    """
    n = SimpleNamespace(**known)
    for name, formula in (steps | slips).items():
        setattr(n, name, formula(n))
    return n
