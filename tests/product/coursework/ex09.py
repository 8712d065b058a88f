"""Exercise 09: right and wrong submissions, each the solution with some of its text exchanged."""

SOLVE = "return np.linalg.solve(M, e)"
STABLE = "np.linalg.eigvals(M).real.min() <= 0"
RING = "u = np.minimum(apart, n - apart) / width"
F = 'f = {"exponential": np.exp(-u), "gaussian": np.exp(-(u**2) / 2), "lorentzian": 1 / (1 + u**2)}[LAW]'
STEP = "return steady_state(e, inhibition_matrix(n, strength, width))"
BANDS = "return r.max() - r[3 * n // 4], r[n // 4] - r.min()"

RIGHT = {
    "the solution": [],
    "the inverse, and eigenvalues of K": [
        (SOLVE, "return np.linalg.inv(M) @ e"), (STABLE, "(np.linalg.eigvals(K).real <= -1).any()")],
    "Euler's method to the end": [
        (SOLVE, "r = e\n    for _ in range(6000):\n        r = r + K.dtype.type(0.1) * (e - M @ r)\n    return r")],
    "elimination by hand": [(SOLVE, """M, r = M.copy(), e.copy()
    for i in range(n):
        r[i], M[i] = r[i] / M[i, i], M[i] / M[i, i]
        for j in range(n):
            if j != i:
                r[j], M[j] = r[j] - M[j, i] * r[i], M[j] - M[j, i] * M[i]
    return r""")],
    "Fourier on the ring": [
        (STEP, "gain = 1 + np.fft.fft(inhibition_matrix(n, strength, width)[0])\n"
            "    return np.fft.ifft(np.fft.fft(e) / gain).real")],
    "loops for the matrix": [("return strength * f * (1 - np.eye(n))", """K = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            if i != j:
                K[i, j] = strength * f[i, j]
    return K""")],
    "distance by modulo, the diagonal filled": [
        (RING, "u = np.minimum((p - p[:, None]) % n, (p[:, None] - p) % n) / width"),
        ("return strength * f * (1 - np.eye(n))", "K = strength * f\n    np.fill_diagonal(K, 0)\n    return K")],
    "halves and medians": [("e = np.where(np.arange(n) < n // 2, low, high)", "e = np.repeat([low, high], n // 2)"),
        (BANDS, "dark, bright = r[: n // 2], r[n // 2 :]\n"
            "    return bright.max() - bright[n // 4], dark[n // 4] - dark.min()")],
}  # fmt: skip

WRONG = {  # name: (exchanges, a part of the hint that must be told)
    "sign": ([("np.eye(n, dtype=K.dtype) + K", "np.eye(n, dtype=K.dtype) - K")], "sign of the inhibition"),
    "forward inhibition": ([(SOLVE, "return e - K @ e")], "forward inhibition"),
    "K transposed": ([(SOLVE, "return np.linalg.solve(M.T, e)")], "transposed"),
    "K alone": ([(SOLVE, "return np.linalg.solve(K, e)")], "K alone"),
    "simple iteration": ([(SOLVE, "r = e\n    for _ in range(100):\n        r = e - K @ r\n    return r")],
        "solve instead"),
    "no test of stability": ([(STABLE, "False")], "no network is refused"),
    "spectral radius": ([(STABLE, "abs(np.linalg.eigvals(K)).max() >= 1")], "spectral radius"),
    "row sums": ([(STABLE, "K.sum(axis=1).max() >= 1")], "row sums"),
    "eigvalsh": ([(STABLE, "np.linalg.eigvalsh(M).min() <= 0")], "eigvalsh"),
    "symmetric part": ([(STABLE, "np.linalg.eigvalsh((M + M.T) / 2).min() <= 0")], "symmetric part"),
    "determinant": ([(STABLE, "np.linalg.det(M) <= 0")], "determinant"),
    "real eigenvalues only": ([(STABLE, "any(abs(v.imag) < 1e-9 and v.real <= 0 for v in np.linalg.eigvals(M))")],
        "complex ones"),
    "the wrong way round": ([(STABLE, "np.linalg.eigvals(M).real.min() > 0")], "wrong way round"),
    "two ends of the shape": ([("K.shape != (n, n)", "K.shape[0] != n or K.shape[-1] != n")], "of one axis"),
    "any shape": ([("K.shape != (n, n)", "False")], "broadcast"),
    "assert for raise": ([
        ('raise ValueError(f"K is {K.shape}, expected {(n, n)}: e has {n} receptors")', "assert K.shape == (n, n)")],
        "AssertionError"),
    "inhibits itself": ([("return strength * f * (1 - np.eye(n))", "return strength * f")],
        "no receptor inhibits itself"),
    "a line": ([(RING, "u = apart / width")], "that is a line"),
    "times width": ([(RING, "u = np.minimum(apart, n - apart) * width")], "large width"),
    "no width": ([(RING, "u = np.minimum(apart, n - apart)")], "not divided by width"),
    "no strength": ([("return strength * f", "return f")], "strength is missing"),
    "normalised": ([("return strength * f * (1 - np.eye(n))",
        "f = f * (1 - np.eye(n))\n    return strength * f / f.sum(axis=1, keepdims=True)")], "does not normalise"),
    "another law": ([(F, 'f = np.exp(-u) if LAW != "exponential" else np.exp(-(u**2) / 2)')], "another course"),
    "step swapped": ([("n // 2, low, high)", "n // 2, high, low)")], "low comes first"),
    "edge beside": ([("np.arange(n) < n // 2", "np.arange(n) <= n // 2")], "one receptor beside"),
    "the light": ([(STEP, "return e")], "that is the light"),
    "mach band by forward inhibition": ([(STEP, "return e - inhibition_matrix(n, strength, width) @ e")],
        "forward inhibition"),
    "plateaus one receptor beside": ([(BANDS, "return r.max() - r[3 * n // 4 - 1], r[n // 4 - 1] - r.min()")],
        "differs"),
    "bands swapped": ([(BANDS, "return r[n // 4] - r.min(), r.max() - r[3 * n // 4]")], "dark and bright are swapped"),
    "depth negative": ([(BANDS, "return r.max() - r[3 * n // 4], r.min() - r[n // 4]")], "its depth is positive"),
    "over the mean": ([(BANDS, "return r.max() - r.mean(), r.mean() - r.min()")], "no plateau"),
    "over the mean of a half": ([(BANDS, "return r.max() - r[n // 2 :].mean(), r[: n // 2].mean() - r.min()")],
        "holds its bands"),
    "plateaus at the ends": ([(BANDS, "return r.max() - r[-1], r[0] - r.min()")], "its other edge"),
    "float64 out": ([("np.eye(n, dtype=K.dtype)", "np.eye(n)")], "dtype"),
    "not implemented": ([("    n = len(e)\n", "    raise NotImplementedError('ex09: steady_state')\n    n = len(e)\n")],
        "NotImplementedError"),
    "returns nothing": ([(SOLVE, "r = np.linalg.solve(M, e)")], "None"),
}  # fmt: skip
