"""Exercise 09: items and known mistakes."""

import numpy as np
from grading.items import Item, float32, same_dtype

LAWS = {
    "exponential": lambda u: np.exp(-u),
    "gaussian": lambda u: np.exp(-(u**2) / 2),
    "lorentzian": lambda u: 1 / (1 + u**2),
}


def solved(e, K):
    return np.linalg.solve(np.eye(len(e)) + K, e)


def forward(e, K):
    return e - K @ e


def iterated(n_steps):
    def r(e, K):
        found = e
        for _ in range(n_steps):
            found = e - K @ found
        return found

    return r


def all_to_all(n, k):
    return k * (np.ones((n, n)) - np.eye(n))


def one_way(n, k):
    """Each receptor inhibits the next one of a ring."""
    return k * np.roll(np.eye(n), 1, axis=0)


def distances(n, ring=True):
    p = np.arange(n)
    apart = abs(p[:, None] - p)
    return np.minimum(apart, n - apart) if ring else apart


def sure(*verdicts):
    """What a test says of the networks of make_doubtful or make_shapes: 1, refused."""
    return lambda networks: np.array(verdicts)


def items(course):
    """course : the constants of the course, {"LAW": "gaussian"}"""
    law = LAWS[course["LAW"]]

    def matrix(n, strength, width, law=law, ring=True, own=0.0):
        K = strength * law(distances(n, ring) / width)
        np.fill_diagonal(K, own * strength)
        return K

    def make(rng):
        K = rng.uniform(0, 0.2, (5, 5))
        np.fill_diagonal(K, 0)
        return rng.uniform(5, 15, 5), K

    def make_strong(rng):
        return rng.uniform(5, 15, 8), all_to_all(8, rng.uniform(0.2, 0.6))

    def make_doubtful(rng):
        K = [all_to_all(5, rng.uniform(1.2, 1.9)), all_to_all(8, rng.uniform(0.2, 0.6))]
        K += [one_way(3, rng.uniform(1.2, 1.8)), one_way(3, rng.uniform(2.2, 3))]
        K += [np.tril(rng.uniform(3, 5, (4, 4)), -1), make(rng)[1], all_to_all(4, rng.uniform(1.2, 1.9))]
        return ([(rng.uniform(5, 15, len(k)), k) for k in K],)

    def make_shapes(rng):
        shapes = ((4, 4), (1, 4), (4, 1), (4, 5), (5, 5), (3, 3))
        return ([(rng.uniform(5, 15, 4), rng.uniform(0, 0.1, shape)) for shape in shapes],)

    def make_matrix(rng):
        return int(rng.integers(7, 12)), rng.uniform(0.05, 0.3), rng.uniform(1, 3)

    def make_step(rng):
        low, high = rng.uniform(2, 8), rng.uniform(12, 20)
        return 2 * int(rng.integers(15, 25)), low, high, rng.uniform(0.05, 0.3), rng.uniform(1, 3)

    def make_bands(rng):
        n = 4 * int(rng.integers(8, 14))
        weaker = np.where(np.arange(n) < n // 2, rng.uniform(0.4, 0.8), 1.0)  # or both bands would be equal
        return (response(n, *make_step(rng)[1:]) * weaker,)

    def step(n, low, high):
        return np.where(np.arange(n) < n // 2, low, high)

    def response(n, low, high, *kernel):
        return solved(step(n, low, high), matrix(n, *kernel))

    def of_light(light, network=solved):
        return lambda n, low, high, *kernel: network(light(n, low, high), matrix(n, *kernel))

    def bands(r):
        n = len(r)
        return r.max() - r[3 * n // 4], r[n // 4] - r.min()

    wrong_networks = {
        "the sign of the inhibition is wrong: r + K r = e, so I + K is to be inverted": lambda e, K: np.linalg.solve(
            np.eye(len(e)) - K, e
        ),
        "that is forward inhibition, e - K e: here the rates r inhibit, which are themselves inhibited": forward,
        "K is transposed: K_pj is the inhibition that p receives from j": lambda e, K: solved(e, K.T),
        "that inverts K alone: the r on the left side is missing": lambda e, K: np.linalg.solve(K, e),
    }
    counts = (*range(2, 11), 19, 20, 49, 50, 99, 100, 199, 200, 499, 500, 999, 1000)
    naive = {
        "r <- e - K r was repeated, and it runs away here although the network is sound: solve instead": tuple(
            map(iterated, counts)
        )
    }
    tests = {
        "no network is refused, stable or not": sure(0, 0, 0, 0, 0, 0, 0),
        "the spectral radius of K is tested: it says if a simple iteration converges, not if the network settles": sure(
            1, 1, 1, 1, 0, 0, 1
        ),
        "row sums of K are tested: a sum above 1 stops a simple iteration, not the network": sure(1, 1, 1, 1, 1, 0, 1),
        "eigvalsh is for symmetric matrices: it reads one triangle of K only": sure(1, 0, 1, 1, 1, 0, 1),
        "the symmetric part of K is tested: K may be far from symmetric": sure(1, 0, 0, 1, 1, 0, 1),
        "the determinant is tested: two eigenvalues on the wrong side leave it positive": sure(0, 0, 0, 0, 0, 0, 1),
        "only real eigenvalues are looked at: complex ones count too, by their real parts": sure(1, 0, 0, 0, 0, 0, 1),
        "stable and unstable are the wrong way round": sure(0, 1, 1, 0, 1, 1, 0),
    }
    squares = {
        "K of any shape is taken: (1, n) and (n, 1) broadcast in I + K without an error": sure(0, 0, 0, 1, 1, 1),
        "everything is refused, also a K that is (n, n)": sure(1, 1, 1, 1, 1, 1),
    }
    wrong_matrices = {
        "the diagonal is not 0: no receptor inhibits itself": lambda *a: matrix(*a, own=law(0.0)),
        "that is a line: on a ring receptor 0 and receptor n - 1 are neighbours": lambda *a: matrix(*a, ring=False),
        "that is a line, and the diagonal is not 0": lambda *a: matrix(*a, ring=False, own=law(0.0)),
        "the distance is multiplied by width: a large width must reach far": lambda n, s, w: matrix(n, s, 1 / w),
        "the distance is not divided by width": lambda n, s, w: matrix(n, s, 1.0),
        "strength is missing": lambda n, s, w: matrix(n, 1.0, w),
        "the rows are made to sum to strength: the law does not normalise": lambda n, s, w: (
            s * (m := matrix(n, 1.0, w)) / m.sum(axis=1, keepdims=True)
        ),
        "the gaussian lacks its 1/2": lambda n, s, w: matrix(n, s, w, lambda u: np.exp(-(u**2))),
        "that is the law of another course: LAW says which one": tuple(
            lambda n, s, w, other=other: matrix(n, s, w, other) for name, other in LAWS.items() if name != course["LAW"]
        ),
    }
    wrong_bands = {
        "dark and bright halves are swapped: low comes first": of_light(lambda n, low, high: step(n, high, low)),
        "that is the light, not the rates": lambda n, low, high, *kernel: step(n, low, high),
        "that is what the network takes away, K r: the rates are e minus it": lambda n, low, high, *kernel: (
            step(n, low, high) - response(n, low, high, *kernel)
        ),
        "that is forward inhibition, e - K e: here the rates r inhibit, which are themselves inhibited": of_light(
            step, forward
        ),
        "the edge stands one receptor beside n/2": (
            of_light(lambda n, low, high: np.where(np.arange(n) <= n // 2, low, high)),
            of_light(lambda n, low, high: np.where(np.arange(n) < n // 2 - 1, low, high)),
        ),
    }

    def about(centre_bright, centre_dark):
        return lambda r: (r.max() - centre_bright(r), centre_dark(r) - r.min())

    wrong_heights = {
        "dark and bright are swapped": lambda r: bands(r)[::-1],
        "the dark band has the wrong sign: its depth is positive, plateau minus smallest rate": lambda r: (
            bands(r)[0],
            -bands(r)[1],
        ),
        "those are the extreme rates themselves: subtract the plateaus": lambda r: (r.max(), r.min()),
        "the mean of all rates is no plateau: each half has one of its own": about(np.mean, np.mean),
        "the mean of a half holds its bands: take the rate in the middle of the half": about(
            lambda r: r[len(r) // 2 :].mean(), lambda r: r[: len(r) // 2].mean()
        ),
        "that is the height over the other plateau: bright belongs to the bright half": lambda r: (
            r.max() - r[len(r) // 4],
            r[3 * len(r) // 4] - r.min(),
        ),
        "the plateaus are read at the ends of r, where the ring has its other edge": about(
            lambda r: r[-1], lambda r: r[0]
        ),
    }
    return [
        Item("a small network", 2, "steady_state", make, solved, wrong_networks),
        Item("strong inhibition", 1, "steady_state", make_strong, solved, naive | wrong_networks),
        Item("a network that runs away is refused, and no other", 2, "refuses", make_doubtful,
            sure(1, 0, 0, 1, 0, 0, 1), tests),
        Item("a K that is not (n, n) is refused", 1, "refuses", make_shapes, sure(0, 1, 1, 1, 1, 1), squares),
        Item("the matrix of a ring", 2, "inhibition_matrix", make_matrix, matrix, wrong_matrices),
        Item("the response to a step", 2, "mach_band", make_step, response, wrong_bands),
        Item("height and depth of the bands", 1, "overshoot", make_bands, bands, wrong_heights),
        Item("the dtype stays", 1, "steady_state", lambda rng: float32(*make(rng)), check=same_dtype),
    ]  # fmt: skip
