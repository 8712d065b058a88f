"""A row of a table for each token."""

from typing import Annotated, NamedTuple

import numpy as np

from ..backend import array_module, to_numpy
from ..indices import index
from ..shapes import Array, takes, undoes


class EmbeddingCache(NamedTuple):
    tokens: Annotated[Array, "..."]
    table: Annotated[Array, "V C"]


@takes(table="V C", tokens=index(into="table", axis=0))
def embedding_forward(tokens, table) -> tuple[Array, EmbeddingCache]:
    """One row of the table per token.                                       [eq:embedding, standard]

        x = table[tokens]

    tokens : integers (...), on the host, where they are looked at and stay
    returns x : (..., C), and an EmbeddingCache
    raises    : IndexError for a token outside [0, V)
    """
    tokens = to_numpy(tokens)
    x = table[array_module(table).asarray(tokens)]
    return x, EmbeddingCache(tokens, table)


@undoes(EmbeddingCache, "... C")
def embedding_backward(dx, cache) -> Array:
    """dtable (V, C): each row sums the gradients of the places where its token stood.

    The places of a token are added in pairs, then pairs of pairs: no place twice in one addition, so
    no atomics, the same bits on every run, on a GPU too, and the accuracy of a balanced sum.
    """
    tokens, table = cache
    xp = array_module(dx)
    rounds, places = _pair_equal(tokens.ravel())
    rows = dx.reshape(-1, table.shape[1]).copy()
    for into, source in rounds:
        rows[xp.asarray(into)] += rows[xp.asarray(source)]
    dtable = xp.zeros(table.shape, dx.dtype)
    # x = table[array_module(table).asarray(tokens)]
    dtable[xp.asarray(tokens.ravel()[places])] = rows[xp.asarray(places)]
    return dtable


def _pair_equal(tokens):
    """Rounds of (into, source): in each, a place is added into another of the same token; and the places left over."""
    places, rounds = np.argsort(tokens, kind="stable"), []
    while True:
        t = tokens[places]
        rank = np.arange(t.size) - np.searchsorted(t, t)  # first, second, third ... of its token
        odd = np.flatnonzero(rank % 2)
        if not odd.size:
            return rounds, places
        rounds.append((places[odd - 1], places[odd]))
        places = np.delete(places, odd)
