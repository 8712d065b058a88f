"""Exercise 09, lateral inhibition: what is right, known mistakes, and the table of items."""

import numpy as np
from grading.course import for_course
from grading.items import Item, the_dtype_stays

LAWS = {
    "exponential": lambda u: np.exp(-u),
    "gaussian": lambda u: np.exp(-(u**2) / 2),
    "lorentzian": lambda u: 1 / (1 + u**2),
}


def solved(e, K):
    return np.linalg.solve(np.eye(len(e)) + K, e)


def matrix_of(law, n, strength, width, ring=True, own=0.0):
    """own : what stands on the diagonal, before strength"""
    K = strength * law(distances(n, ring) / width)
    np.fill_diagonal(K, own * strength)
    return K


def distances(n, ring=True):
    p = np.arange(n)
    apart = abs(p[:, None] - p)
    return np.minimum(apart, n - apart) if ring else apart


def law(course):
    return LAWS[course["LAW"]]


def matrix(course, n, strength, width):
    return matrix_of(law(course), n, strength, width)


def step(n, low, high):
    return np.where(np.arange(n) < n // 2, low, high)


def response(course, n, low, high, strength, width):
    return solved(step(n, low, high), matrix(course, n, strength, width))


def bands(r):
    n = len(r)
    return r.max() - r[3 * n // 4], r[n // 4] - r.min()


# ------------------------------------------------------------------------------------- arguments


def all_to_all(n, k):
    return k * (np.ones((n, n)) - np.eye(n))


def one_way(n, k):
    """Each receptor inhibits the next one of a ring."""
    return k * np.roll(np.eye(n), 1, axis=0)


def weak(rng, n):
    K = rng.uniform(0, 0.2, (n, n))
    np.fill_diagonal(K, 0)
    return K


def light(rng, n):
    return rng.uniform(5, 15, n)


def make(rng):
    return light(rng, 5), weak(rng, 5)


def make_strong(rng):
    return light(rng, 8), all_to_all(8, rng.uniform(0.2, 0.6))


def make_doubtful(rng):
    """Three networks of each of seven kinds, in any order."""
    kinds = [
        lambda: all_to_all(5, rng.uniform(1.2, 1.9)),  # runs away, the determinant is positive
        lambda: all_to_all(4, rng.uniform(1.2, 1.9)),  # runs away, the determinant is negative
        lambda: one_way(3, rng.uniform(2.2, 3)),  # runs away, by complex eigenvalues
        lambda: weak(rng, 4),
        lambda: all_to_all(8, rng.uniform(0.2, 0.6)),
        lambda: one_way(3, rng.uniform(1.2, 1.8)),
        lambda: np.tril(rng.uniform(3, 5, (4, 4)), -1),
    ]
    return (in_any_order(rng, [kind() for kind in kinds for _ in range(3)]),)


def make_shapes(rng):
    """Networks of four receptors; in half of them K is (4, 4)."""
    shapes = (*[(4, 4)] * 8, (4,), (1, 4), (4, 1), (4, 5), (5, 4), (5, 5), (3, 3), (1, 1))
    return ([(light(rng, 4), K) for _, K in in_any_order(rng, [rng.uniform(0, 0.1, shape) for shape in shapes])],)


def in_any_order(rng, matrices):
    """[(e, K)]"""
    return [(light(rng, len(matrices[i])), matrices[i]) for i in rng.permutation(len(matrices))]


def make_matrix(rng, n):
    return n, rng.uniform(0.05, 0.3), rng.uniform(1.5, 3)


def make_step(course, rng, n=34):
    """So much inhibition that a simple iteration runs away, and rates at the edge fall below 0."""
    width = rng.uniform(1.5, 2.5)
    strength = rng.uniform(1.4, 1.7) / matrix(course, n, 1.0, width)[0].sum()
    return n, rng.uniform(1, 2), rng.uniform(14, 20), strength, width


def make_bands(course, rng, n=44):
    """Bands of two heights, on plateaus that are not level: it matters where one is read."""
    weaker = np.where(np.arange(n) < n // 2, rng.uniform(0.4, 0.8), 1.0)
    return (response(course, *make_step(course, rng, n)) * weaker + rng.uniform(-0.05, 0.05, n),)


# ------------------------------------------------------------------------ mistakes of a network


def inhibition_of_other_sign(e, K):
    return np.linalg.solve(np.eye(len(e)) - K, e)


def forward_inhibition(e, K):
    return e - K @ e


def network_turned(e, K):
    return solved(e, K.T)


def K_alone_inverted(e, K):
    return np.linalg.solve(K, e)


FORWARD = "that is forward inhibition, e - K e: here the rates r inhibit, which are themselves inhibited"
WRONG_NETWORKS = {
    inhibition_of_other_sign: "the sign of the inhibition is wrong: r + K r = e, so I + K is to be inverted",
    forward_inhibition: FORWARD,
    network_turned: "K is transposed: K_pj is the inhibition that p receives from j",
    K_alone_inverted: "that inverts K alone: the r on the left side is missing",
}


def repeated(n_steps):
    """r <- e - K r, so many times."""

    def r(e, K):
        found = e
        for _ in range(n_steps):
            found = e - K @ found
        return found

    return r


COUNTS = (*range(2, 11), 19, 20, 49, 50, 99, 100, 199, 200, 499, 500, 999, 1000)
REPEATED = {
    tuple(map(repeated, COUNTS)):
        "r <- e - K r was repeated, and it runs away here although the network is sound: solve instead",
}  # fmt: skip

# --------------------------------------- which networks are refused: 1 for each that is, 0 else


def where(rule):
    """rule : K -> whether it is refused"""
    return lambda networks: np.array([int(rule(K)) for _, K in networks])


def with_identity(K):
    return np.eye(len(K)) + K


def eigenvalues(K):
    return np.linalg.eigvals(with_identity(K))


def runs_away(K):
    return eigenvalues(K).real.min() <= 0


refused = where(runs_away)
WRONG_TESTS = {
    where(lambda K: False): "no network is refused, stable or not",
    where(lambda K: True): "every network is refused, stable or not",
    where(lambda K: abs(np.linalg.eigvals(K)).max() >= 1):
        "the spectral radius of K is tested: it says if a simple iteration converges, not if the network settles",
    where(lambda K: K.sum(axis=1).max() >= 1):
        "row sums of K are tested: a sum above 1 stops a simple iteration, not the network",
    where(lambda K: np.linalg.eigvalsh(with_identity(K)).min() <= 0):
        "eigvalsh is for symmetric matrices: it reads one triangle of K only",
    where(lambda K: np.linalg.eigvalsh(with_identity((K + K.T) / 2)).min() <= 0):
        "the symmetric part of K is tested: K may be far from symmetric",
    where(lambda K: np.linalg.det(with_identity(K)) <= 0):
        "the determinant is tested: two eigenvalues on the wrong side leave it positive",
    where(lambda K: any(abs(v.imag) < 1e-9 and v.real <= 0 for v in eigenvalues(K))):
        "only real eigenvalues are looked at: complex ones count too, by their real parts",
    where(lambda K: not runs_away(K)): "stable and unstable are the wrong way round",
}  # fmt: skip


def of_shape(rule):
    """rule : shape of K, number of receptors -> whether it is refused"""
    return lambda networks: np.array([int(rule(K.shape, len(e))) for e, K in networks])


def broadcasts(shape, n):
    return all(length in (1, n) for length in shape)


wrong_shape = of_shape(lambda shape, n: shape != (n, n))
WRONG_SHAPES = {
    of_shape(lambda shape, n: not broadcasts(shape, n)):
        "K of any shape is taken: (1, n) and (n, 1) broadcast in I + K without an error",
    of_shape(lambda shape, n: shape[0] != n): "only the rows of K are counted: it is (n, n)",
    of_shape(lambda shape, n: shape[-1] != n): "only the columns of K are counted: it is (n, n)",
    of_shape(lambda shape, n: shape[0] != shape[-1] or len(shape) == 1): "K must be as large as e, not only square",
    of_shape(lambda shape, n: shape[0] != n or shape[-1] != n): "a K of one axis is taken: it is (n, n)",
    of_shape(lambda shape, n: False): "no K is refused, whatever its shape",
    of_shape(lambda shape, n: True): "everything is refused, also a K that is (n, n)",
}  # fmt: skip

# ------------------------------------------------------------------------- mistakes of a matrix


def inhibits_itself(course, n, strength, width):
    return matrix_of(law(course), n, strength, width, own=law(course)(0.0))


def on_a_line(course, n, strength, width):
    return matrix_of(law(course), n, strength, width, ring=False)


def on_a_line_and_inhibits_itself(course, n, strength, width):
    return matrix_of(law(course), n, strength, width, ring=False, own=law(course)(0.0))


def distance_times_width(course, n, strength, width):
    return matrix(course, n, strength, 1 / width)


def without_width(course, n, strength, width):
    return matrix(course, n, strength, 1.0)


def without_strength(course, n, strength, width):
    return matrix(course, n, 1.0, width)


def rows_normalised(course, n, strength, width):
    K = matrix(course, n, 1.0, width)
    return strength * K / K.sum(axis=1, keepdims=True)


def gaussian_without_half(n, strength, width):
    return matrix_of(lambda u: np.exp(-(u**2)), n, strength, width)


def of_law(name):
    return lambda n, strength, width: matrix_of(LAWS[name], n, strength, width)


def wrong_matrices(course):
    others = tuple(of_law(name) for name in LAWS if name != course["LAW"])
    return {
        inhibits_itself: "the diagonal is not 0: no receptor inhibits itself",
        on_a_line: "that is a line: on a ring receptor 0 and receptor n - 1 are neighbours",
        on_a_line_and_inhibits_itself: "that is a line, and the diagonal is not 0",
        distance_times_width: "the distance is multiplied by width: a large width must reach far",
        without_width: "the distance is not divided by width",
        without_strength: "strength is missing",
        rows_normalised: "the rows are made to sum to strength: the law does not normalise",
        gaussian_without_half: "the gaussian lacks its 1/2",
        others: "that is the law of another course: LAW says which one",
    }


# --------------------------------------------------------------- mistakes of the response to a step


def halves_swapped(course, n, low, high, *kernel):
    return response(course, n, high, low, *kernel)


def light_itself(n, low, high, *kernel):
    return step(n, low, high)


def what_is_taken_away(course, n, low, high, *kernel):
    return step(n, low, high) - response(course, n, low, high, *kernel)


def response_of_forward_inhibition(course, n, low, high, *kernel):
    return forward_inhibition(step(n, low, high), matrix(course, n, *kernel))


def edge_one_later(course, n, low, high, *kernel):
    return solved(np.where(np.arange(n) <= n // 2, low, high), matrix(course, n, *kernel))


def edge_one_earlier(course, n, low, high, *kernel):
    return solved(np.where(np.arange(n) < n // 2 - 1, low, high), matrix(course, n, *kernel))


WRONG_RESPONSES = {
    halves_swapped: "dark and bright halves are swapped: low comes first",
    light_itself: "that is the light, not the rates",
    what_is_taken_away: "that is what the network takes away, K r: the rates are e minus it",
    response_of_forward_inhibition: FORWARD,
    (edge_one_later, edge_one_earlier): "the edge stands one receptor beside n/2",
}

# ------------------------------------------------------------------- mistakes of height and depth


def bands_swapped(r):
    return bands(r)[::-1]


def depth_of_other_sign(r):
    height, depth = bands(r)
    return height, -depth


def extreme_rates(r):
    return r.max(), r.min()


def over_mean_of_all(r):
    return r.max() - r.mean(), r.mean() - r.min()


def over_mean_of_half(r):
    half = len(r) // 2
    return r.max() - r[half:].mean(), r[:half].mean() - r.min()


def over_other_plateau(r):
    return r.max() - r[len(r) // 4], r[3 * len(r) // 4] - r.min()


def over_the_ends(r):
    return r.max() - r[-1], r[0] - r.min()


WRONG_BANDS = {
    bands_swapped: "dark and bright are swapped",
    depth_of_other_sign: "the dark band has the wrong sign: its depth is positive, plateau minus smallest rate",
    extreme_rates: "those are the extreme rates themselves: subtract the plateaus",
    over_mean_of_all: "the mean of all rates is no plateau: each half has one of its own",
    over_mean_of_half: "the mean of a half holds its bands: take the rate in the middle of the half",
    over_other_plateau: "that is the height over the other plateau: bright belongs to the bright half",
    over_the_ends: "the plateaus are read at the ends of r, where the ring has its other edge",
}


def items(course):
    """course : the constants of the course, {"LAW": "gaussian"}"""
    state, kernel, wrong = "steady_state", "inhibition_matrix", wrong_matrices(course)
    return for_course(course, [
        Item("a small network", 2, state, make, solved, WRONG_NETWORKS),
        Item("strong inhibition", 1, state, make_strong, solved, REPEATED | WRONG_NETWORKS),
        Item("a network that runs away is refused, and no other", 2, "refuses", make_doubtful, refused, WRONG_TESTS),
        Item("a K that is not (n, n) is refused", 1, "refuses", make_shapes, wrong_shape, WRONG_SHAPES),
        Item("the matrix of a ring", 1, kernel, lambda rng: make_matrix(rng, 10), matrix, wrong),
        Item("the matrix of a ring of an odd number", 1, kernel, lambda rng: make_matrix(rng, 13), matrix, wrong),
        Item("the response to a step", 2, "mach_band", make_step, response, WRONG_RESPONSES),
        Item("height and depth of the bands", 1, "overshoot", make_bands, bands, WRONG_BANDS),
        the_dtype_stays(1, state, make, solved),
    ])  # fmt: skip
