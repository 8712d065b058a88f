"""The gradient of a table of tokens, on memory that stands still."""

import numpy as np

from ..ops.embedding import pair_equal


class TableSum:
    """Adds up the rows of equal tokens, as embedding_backward does: in pairs, and these in pairs.

    Which rows meet is found on the host, with each batch. A round has as many pairs as N tokens can
    have at the most; those that it has too many add 0 to 0, in rows of their own behind the others.
    """

    def __init__(self, program, table, dx):
        """table : (V, C); dx : (N, C), the rows to add"""
        xp, N = program.xp, len(dx)
        # a token with a pair in round j stands at more than 2^j places
        self.rounds = [xp.zeros((2, N // (2**j + 1)), "int64") for j in range(N.bit_length()) if 2**j < N]
        self.program, self.dx, self.places = program, dx, xp.zeros(len(table), "int64")
        self.spare = max((pairs.shape[1] for pairs in self.rounds), default=1)
        self.rows = xp.zeros((N + self.spare, dx.shape[1]), dx.dtype)

    def load(self, tokens):
        """The pairs of each round, and where the sums end up, for tokens (N,)."""
        (rounds, last), N = pair_equal(tokens), len(tokens)
        for j, pairs in enumerate(self.rounds):
            found = np.array(rounds[j]) if j < len(rounds) else np.zeros((2, 0), int)
            n, most = found.shape[1], pairs.shape[1]
            yield pairs[:, :n], found
            yield pairs[:, n:], np.arange(N, N + most - n)
        places = np.full(len(self.places), N)
        places[tokens[last]] = last
        yield self.places, places

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
