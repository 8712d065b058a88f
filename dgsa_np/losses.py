"""Cross-entropy, from the logits."""

import math
from typing import NamedTuple

import numpy as np

from .backend import array_module, to_numpy
from .indices import index
from .shapes import Array, takes, undoes


class CrossEntropyCache(NamedTuple):
    P: Array  # probabilities (N, V) of the N kept rows
    targets: Array  # (N,), the targets of these rows
    rows: Array | None  # (N,), where these rows are among all; None: all are kept
    shape: tuple  # of the logits


@takes(logits="... V", targets=index(into="logits", axis=-1, like=-1), keep="keep ...")
def cross_entropy_forward(logits, targets, keep=None) -> tuple[Array, CrossEntropyCache]:
    """Mean negative log-probability of the kept targets, in nats.      [eq:cross-entropy, standard]

        L = mean_i (log sum_j exp(z_ij) - z_i,targets_i)

    targets : integers (...), on the host (the CPU), where they are checked
    keep    : None keeps all
    returns the loss, an array without axes, and a CrossEntropyCache
    raises  : IndexError for a target outside [0, V); ValueError where nothing is kept

    Logits of dropped targets are never read, so that they may be nan.
    """
    xp = array_module(logits)
    rows, targets = _kept(keep, to_numpy(targets).reshape(-1), xp)
    z = logits.reshape(-1, logits.shape[-1])
    z = z if rows is None else z[rows]  # (N, V)
    z = z - z.real.max(axis=-1, keepdims=True)
    E = xp.exp(z)
    total = E.sum(axis=-1)
    log_p = xp.take_along_axis(z, targets[:, None], axis=-1)[:, 0] - xp.log(total)
    loss = -log_p.mean()
    return loss, CrossEntropyCache(E / total[:, None], targets, rows, logits.shape)


@undoes(CrossEntropyCache)
def cross_entropy_backward(cache) -> Array:
    """dlogits (..., V): (probabilities - one-hot targets) / number kept.       [derived]"""
    P, targets, rows, shape = cache
    xp = array_module(P)
    one_hot = targets[:, None] == xp.arange(P.shape[-1])
    # loss = -log_p.mean()
    dz = (P - one_hot) / len(P)
    if rows is None:
        return dz.reshape(shape)
    # z = z if rows is None else z[rows]
    dlogits = xp.zeros((math.prod(shape[:-1]), shape[-1]), dz.dtype)
    dlogits[rows] = dz
    return dlogits.reshape(shape)


def _kept(keep, targets, xp):
    """Which rows are kept, None for all of them, and the targets of these rows, as arrays of xp."""
    if keep is None or (keep := to_numpy(keep)).all():
        return None, xp.asarray(targets)
    rows = np.flatnonzero(keep)
    if not rows.size:
        raise ValueError("cross_entropy_forward: keep is all False, expected at least one kept target")
    return xp.asarray(rows), xp.asarray(targets[rows])
