"""The gradient of a table of tokens, on memory that stands still."""

from itertools import accumulate, pairwise, zip_longest

import numpy as np

from ..ops.embedding import pair_equal
from .program import put


class TableSum:
    """Adds up the rows of equal tokens, as embedding_backward does: in pairs, and these in pairs.

    Which rows meet is found on the host, with each batch. A round has as many pairs as N tokens can
    have at the most; those that it has too many add 0 to 0, in rows of their own behind the others.
    """

    def __init__(self, program, table, dx):
        """table : (V, C); dx : (N, C), the rows to add"""
        xp, N = program.xp, len(dx)
        # a token with a pair in round j stands at more than 2^j places
        self.most = [N // (2**j + 1) for j in range(N.bit_length()) if 2**j < N]
        self.numbers = xp.zeros(2 * sum(self.most) + len(table), "int64")
        self.held = self.numbers if xp is np else np.zeros(self.numbers.shape, "int64")
        self.rounds, self.places = self.parts(self.numbers)
        self.program, self.dx, self.spare = program, dx, max(self.most, default=1)
        self.rows = xp.zeros((N + self.spare, dx.shape[1]), dx.dtype)

    def parts(self, numbers):
        """Views of numbers: the pairs of each round, and where the sum of each token ends up."""
        ends = list(accumulate((2 * most for most in self.most), initial=0))
        return [numbers[start:end].reshape(2, -1) for start, end in pairwise(ends)], numbers[ends[-1] :]

    def load(self, tokens):
        """What parts names, for tokens (N,)."""
        (found, last), N, (rounds, places) = pair_equal(tokens), len(tokens), self.parts(self.held)
        for pairs, those in zip_longest(rounds, found, fillvalue=()):
            n = len(those[0]) if those else 0
            pairs[:, n:] = np.arange(N, N + pairs.shape[1] - n)
            if n:
                pairs[:, :n] = those
        places.fill(N)
        places[tokens[last]] = last
        if self.held is not self.numbers:
            put(self.numbers, self.held)

    def write(self, out):
        """Write down: out (V, C), for each token the sum of the rows of dx where it stands."""
        into = self.program.into
        into(self.rows[: len(self.dx)]).copy(self.dx)
        a, b = (self.program.xp.zeros((self.spare, self.dx.shape[1]), self.dx.dtype) for _ in range(2))
        for pairs in self.rounds:
            n = pairs.shape[1]
            into(a[:n]).take(self.rows, pairs[0])
            into(b[:n]).take(self.rows, pairs[1])
            into(a[:n]).add(a[:n], b[:n])
            self.program.do(self.rows.__setitem__, pairs[0], a[:n])
        into(out).take(self.rows, self.places)
