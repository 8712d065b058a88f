"""Embedding: one row of a table for each token."""

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
    """One row of the table per token.                                      [eq:embedding, standard]

        x = table[tokens]

    tokens : integers (...), on the host (the CPU), where they are checked and stay
    returns x : (..., C), and an EmbeddingCache
    raises    : IndexError for a token outside [0, V)
    """
    tokens = to_numpy(tokens)
    x = table[array_module(table).asarray(tokens)]
    return x, EmbeddingCache(tokens, table)


@undoes(EmbeddingCache, "... C")
def embedding_backward(dx, cache) -> Array:
    """dtable (V, C): for each token, the sum of dx over the places where it stood.

    The places of one token are added in pairs, the results in pairs again, and so on. No addition
    writes to one place twice, so a GPU needs no atomic operations. Every run gives the same bits,
    with the accuracy of a balanced sum.
    """
    tokens, table = cache
    xp = array_module(dx)
    rounds, places = pair_equal(tokens.ravel())
    rows = dx.reshape(-1, table.shape[1]).copy()
    for into, source in rounds:
        rows[xp.asarray(into)] += rows[xp.asarray(source)]
    dtable = xp.zeros(table.shape, dx.dtype)
    # x = table[array_module(table).asarray(tokens)]
    dtable[xp.asarray(tokens.ravel()[places])] = rows[xp.asarray(places)]
    return dtable


def pair_equal(tokens):
    """How to add up equal tokens: rounds of additions, and the places where the sums end up.

    A round is (into, source), two arrays of places: what is at source is added to what is at into,
    where the same token stood.
    """
    places, rounds = np.argsort(tokens, kind="stable"), []
    while True:
        t = tokens[places]
        # Each place is number 0, 1, 2 ... among those of its token.
        rank = np.arange(t.size) - np.searchsorted(t, t)
        odd = np.flatnonzero(rank % 2)
        if not odd.size:
            return rounds, places
        rounds.append((places[odd - 1], places[odd]))
        places = np.delete(places, odd)
