"""Exercise 09: lateral inhibition, on a ring of receptors.

[after Hartline and Ratliff, standard]
"""

import numpy as np

LAW = "exponential"  # course choice: "exponential", "gaussian", "lorentzian"


def steady_state(e, K):
    """The rates r with r = e - K r.

    e : (n,), what each receptor would fire alone
    K : (n, n), K_pj >= 0 is how strongly j inhibits p
    returns r : (n,), dtype of e and K
    raises ValueError for a K that is not (n, n), and for a network that does not settle:
    dr/dt = -r + e - K r runs away unless every eigenvalue of I + K has a real part above 0
    """
    ### BEGIN SOLUTION
    n = len(e)
    if K.shape != (n, n):
        raise ValueError(f"K is {K.shape}, expected {(n, n)}: e has {n} receptors")
    M = np.eye(n, dtype=K.dtype) + K
    if np.linalg.eigvals(M).real.min() <= 0:
        raise ValueError("the network is unstable: an eigenvalue of I + K has a real part that is not above 0")
    return np.linalg.solve(M, e)
    ### END SOLUTION


def inhibition_matrix(n, strength, width):
    """K_pj = strength f(a / width) for p != j, and K_pp = 0.

    a is the shorter way from p to j on a ring of n.
    LAW is f: "exponential" exp(-u), "gaussian" exp(-u^2 / 2), "lorentzian" 1 / (1 + u^2)
    returns K : (n, n)
    """
    ### BEGIN SOLUTION
    p = np.arange(n)
    apart = abs(p[:, None] - p)
    u = np.minimum(apart, n - apart) / width
    f = {"exponential": np.exp(-u), "gaussian": np.exp(-(u**2) / 2), "lorentzian": 1 / (1 + u**2)}[LAW]
    return strength * f * (1 - np.eye(n))
    ### END SOLUTION


def mach_band(n, low, high, strength, width):
    """The rates under a step of light: low on receptors 0 .. n/2 - 1, high on the others.

    n is even.
    returns r : (n,)
    """
    ### BEGIN SOLUTION
    e = np.where(np.arange(n) < n // 2, low, high)
    return steady_state(e, inhibition_matrix(n, strength, width))
    ### END SOLUTION


def overshoot(r):
    """How far the rates of a mach_band leave their plateaus.

    r : (n,), n a multiple of 4; the plateaus are r[n / 4] and r[3 n / 4], the middles of the dark
        and the bright half
    returns bright, dark : largest rate minus bright plateau, and dark plateau minus smallest rate
    """
    ### BEGIN SOLUTION
    n = len(r)
    return r.max() - r[3 * n // 4], r[n // 4] - r.min()
    ### END SOLUTION


def refuses(networks):
    """Given: for every (e, K), 1 where steady_state raises a ValueError, else 0."""

    def refused(e, K):
        try:
            steady_state(e, K)
        except ValueError:
            return 1
        return 0

    return np.array([refused(e, K) for e, K in networks])
