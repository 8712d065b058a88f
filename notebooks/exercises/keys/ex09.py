"""Exercise 09, lateral inhibition: what is right, known mistakes, and the table of items."""

import numpy as np
from grading.course import for_course
from grading.items import Item, float32, same_dtype

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


def make(rng):
    K = rng.uniform(0, 0.2, (5, 5))
    np.fill_diagonal(K, 0)
    return rng.uniform(5, 15, 5), K


def make_strong(rng):
    return rng.uniform(5, 15, 8), all_to_all(8, rng.uniform(0.2, 0.6))


def make_doubtful(rng):
    """Seven networks; the first, the fourth and the last run away."""
    K = [all_to_all(5, rng.uniform(1.2, 1.9)), all_to_all(8, rng.uniform(0.2, 0.6))]
    K += [one_way(3, rng.uniform(1.2, 1.8)), one_way(3, rng.uniform(2.2, 3))]
    K += [np.tril(rng.uniform(3, 5, (4, 4)), -1), make(rng)[1], all_to_all(4, rng.uniform(1.2, 1.9))]
    return ([(rng.uniform(5, 15, len(k)), k) for k in K],)


def make_shapes(rng):
    """Six networks; all but the first have a K that is not (4, 4)."""
    shapes = ((4, 4), (1, 4), (4, 1), (4, 5), (5, 5), (3, 3))
    return ([(rng.uniform(5, 15, 4), rng.uniform(0, 0.1, shape)) for shape in shapes],)


def make_matrix(rng):
    return int(rng.integers(7, 12)), rng.uniform(0.05, 0.3), rng.uniform(1, 3)


def make_step(rng):
    low, high = rng.uniform(2, 8), rng.uniform(12, 20)
    return 2 * int(rng.integers(15, 25)), low, high, rng.uniform(0.05, 0.3), rng.uniform(1, 3)


def make_bands(course, rng):
    n = 4 * int(rng.integers(8, 14))
    weaker = np.where(np.arange(n) < n // 2, rng.uniform(0.4, 0.8), 1.0)  # or both bands would be equal
    return (response(course, n, *make_step(rng)[1:]) * weaker,)


def make_single(rng):
    return float32(*make(rng))


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


def verdicts(*refused):
    return lambda networks: np.array(refused)


right_verdicts = verdicts(1, 0, 0, 1, 0, 0, 1)
none_refused = verdicts(0, 0, 0, 0, 0, 0, 0)
by_spectral_radius = verdicts(1, 1, 1, 1, 0, 0, 1)
by_row_sums = verdicts(1, 1, 1, 1, 1, 0, 1)
by_one_triangle = verdicts(1, 0, 1, 1, 1, 0, 1)
by_symmetric_part = verdicts(1, 0, 0, 1, 1, 0, 1)
by_determinant = verdicts(0, 0, 0, 0, 0, 0, 1)
by_real_eigenvalues = verdicts(1, 0, 0, 0, 0, 0, 1)
stable_refused = verdicts(0, 1, 1, 0, 1, 1, 0)

WRONG_TESTS = {
    none_refused: "no network is refused, stable or not",
    by_spectral_radius:
        "the spectral radius of K is tested: it says if a simple iteration converges, not if the network settles",
    by_row_sums: "row sums of K are tested: a sum above 1 stops a simple iteration, not the network",
    by_one_triangle: "eigvalsh is for symmetric matrices: it reads one triangle of K only",
    by_symmetric_part: "the symmetric part of K is tested: K may be far from symmetric",
    by_determinant: "the determinant is tested: two eigenvalues on the wrong side leave it positive",
    by_real_eigenvalues: "only real eigenvalues are looked at: complex ones count too, by their real parts",
    stable_refused: "stable and unstable are the wrong way round",
}  # fmt: skip

right_shapes = verdicts(0, 1, 1, 1, 1, 1)
rows_and_columns_taken = verdicts(0, 0, 0, 1, 1, 1)
all_refused = verdicts(1, 1, 1, 1, 1, 1)

WRONG_SHAPES = {
    rows_and_columns_taken: "K of any shape is taken: (1, n) and (n, 1) broadcast in I + K without an error",
    all_refused: "everything is refused, also a K that is (n, n)",
}

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
    state, refuses = "steady_state", "refuses"
    return for_course(course, [
        Item("a small network", 2, state, make, solved, WRONG_NETWORKS),
        Item("strong inhibition", 1, state, make_strong, solved, REPEATED | WRONG_NETWORKS),
        Item("a network that runs away is refused, and no other", 2, refuses, make_doubtful, right_verdicts,
            WRONG_TESTS),
        Item("a K that is not (n, n) is refused", 1, refuses, make_shapes, right_shapes, WRONG_SHAPES),
        Item("the matrix of a ring", 2, "inhibition_matrix", make_matrix, matrix, wrong_matrices(course)),
        Item("the response to a step", 2, "mach_band", make_step, response, WRONG_RESPONSES),
        Item("height and depth of the bands", 1, "overshoot", make_bands, bands, WRONG_BANDS),
        Item("the dtype stays", 1, state, make_single, check=same_dtype),
    ])  # fmt: skip
