"""Exercise 09: lateral inhibition, on a ring of receptors.

[after Hartline and Ratliff, standard]
"""

import numpy as np

LAW = 'exponential'


def steady_state(e, K):
    """The rates r with r = e - K r.

    e : (n,), what each receptor would fire alone
    K : (n, n), K_pj >= 0 is how strongly j inhibits p
    returns r : (n,), dtype of e and K
    raises ValueError for a K that is not (n, n), and for a network that does not settle:
    dr/dt = -r + e - K r runs away unless every eigenvalue of I + K has a real part above 0
    """
    raise NotImplementedError("ex09: steady_state")


def inhibition_matrix(n, strength, width):
    """K_pj = strength f(a / width) for p != j, and K_pp = 0.

    a is the shorter way from p to j on a ring of n.
    LAW is f: "exponential" exp(-u), "gaussian" exp(-u^2 / 2), "lorentzian" 1 / (1 + u^2)
    returns K : (n, n)
    """
    raise NotImplementedError("ex09: inhibition_matrix")


def mach_band(n, low, high, strength, width):
    """The rates under a step of light: low on receptors 0 .. n/2 - 1, high on the others.

    n is even.
    returns r : (n,)
    """
    raise NotImplementedError("ex09: mach_band")


def overshoot(r):
    """How far the rates of a mach_band leave their plateaus.

    r : (n,), n a multiple of 4; the plateaus are r[n / 4] and r[3 n / 4], the middles of the dark
        and the bright half
    returns bright, dark : largest rate minus bright plateau, and dark plateau minus smallest rate
    """
    raise NotImplementedError("ex09: overshoot")


def refuses(networks):
    """Given: for every (e, K), 1 where steady_state raises a ValueError, else 0."""

    def refused(e, K):
        try:
            steady_state(e, K)
        except ValueError:
            return 1
        return 0

    return np.array([refused(e, K) for e, K in networks])
