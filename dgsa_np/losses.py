"""Cross-entropy, from the logits."""

from typing import NamedTuple

import numpy as np

from . import check
from .backend import array_module, to_numpy


class CrossEntropyCache(NamedTuple):
    P: object  # probabilities (N, V)
    targets: object  # (N,)
    weights: object  # (N,): 1 / n for a kept target, 0 for a dropped one
    shape: tuple


def cross_entropy_forward(logits, targets, keep=None):
    """Mean negative log-probability of the kept targets, in nats.           [eq:cross-entropy, standard]

        L = mean_i (log sum_j exp(z_ij) - z_i,targets_i)

    logits  : (..., V)
    targets : (...) integers in [0, V), on the host, where they are checked
    keep    : (...) bool, True = counts; None keeps all
    returns the loss, an array without axes, and a CrossEntropyCache
    raises  : IndexError for a target outside [0, V); ValueError where nothing is kept
    """
    check.arrays("cross_entropy_forward", {"logits": "... V"}, logits)
    V = logits.shape[-1]
    check.indices("cross_entropy_forward", "targets", targets, V, f"logits {logits.shape}", logits.shape[:-1])
    check.keep("cross_entropy_forward", keep, logits.shape[:-1], f"logits {logits.shape}")
    xp = array_module(logits)
    targets = xp.asarray(to_numpy(targets)).reshape(-1)
    weights = xp.asarray(_mean_weights(keep, targets.size, logits.real.dtype))
    z = logits.reshape(-1, V)
    z = z - z.real.max(axis=-1, keepdims=True)
    E = xp.exp(z)
    total = E.sum(axis=-1)
    log_p = xp.take_along_axis(z, targets[:, None], axis=-1)[:, 0] - xp.log(total)
    loss = -(weights * log_p).sum()
    return loss, CrossEntropyCache(E / total[:, None], targets, weights, logits.shape)


def cross_entropy_backward(cache):
    """dlogits (..., V): probabilities minus one-hot targets, over the number kept.   [derived]"""
    P, targets, weights, shape = check.cache("cross_entropy_backward", cache, CrossEntropyCache)
    one_hot = targets[:, None] == array_module(P).arange(P.shape[-1])
    # loss = -(weights * log_p).sum()
    return ((P - one_hot) * weights[:, None]).reshape(shape)


def _mean_weights(keep, n, dtype):
    """1 / n for each of the n kept targets, 0 for the others."""
    keep = np.ones(n, bool) if keep is None else to_numpy(keep).reshape(-1)
    if not keep.any():
        raise ValueError("cross_entropy_forward: keep is all False, expected at least one kept target")
    return (keep / keep.sum()).astype(dtype)
