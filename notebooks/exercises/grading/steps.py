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


def seen(made, mistakes, words="{}") -> dict:
    """Mistakes as they are seen in another result: {(made(mistake), ...): hint}.

    made  : a mistake -> one or a tuple of them
    words : what is said, with a gap for the hint
    """
    return {
        tuple(m for mistake in many(known) for m in many(made(mistake))): words.format(hint)
        for known, hint in mistakes.items()
    }


def many(mistakes) -> tuple:
    return mistakes if isinstance(mistakes, tuple) else (mistakes,)
