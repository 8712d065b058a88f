"""Elementwise chains of many forms, for the kernels that they become on a device;
and arguments strange on purpose.
"""

import inspect

import numpy as np
import pytest

from dgsa_np import optim
from dgsa_np.fast.fused import fused


@fused
def masked(S, mask, nan, least):
    return np.fmin(S, np.where(mask, nan, least).astype(S.dtype))


@fused
def exp_from(S, largest, lowest):
    return np.exp(E := S - np.maximum(largest, lowest), out=E)


@fused
def divided(E, total):
    return np.divide(E, total + (total == 0), out=E)


@fused
def sigmoid(z):
    below = (z.real < 0).astype(z.dtype)
    e = np.exp(z * (2 * below - 1))
    return (below * e + (1 - below)) / (1 + e)


@fused
def dsilu(dy, y, sigma):
    return dy * (sigma + y * (1 - sigma))


@fused
def inverse_root(square_sum, n, eps):
    return 1 / np.sqrt(square_sum / n + eps)


@fused
def scaled(x, r, w):
    return (n := x * r, n * w)


@fused
def dscaled(dn, n, r, dot, count):
    return r * (dn - n * (dot / count))


mix = fused(lambda gate, A_exc, one_minus_gate, A_inh: gate * A_exc - one_minus_gate * A_inh)

CHAINS = {f.__name__: f for f in (masked, exp_from, divided, sigmoid, dsilu, inverse_root, scaled, dscaled)}
CHAINS |= {"mix": mix, "_adamw": optim._adamw}
NUMBERS = {"nan": np.nan, "least": -np.inf, "lowest": -1e30, "count": 5, "n": 5}  # and their values
NUMBERS |= dict.fromkeys(("eps", "b1", "b2", "m_share", "v_share", "lr", "weight_decay"), 0.25)
ROWS = {"largest", "total", "square_sum", "r", "dot", "gate", "one_minus_gate"}  # one number for each row


def kinds_of(name):
    """What each argument of a chain is, by its name."""
    names = inspect.signature(CHAINS[name].__wrapped__).parameters
    numbers = NUMBERS.keys() - ({"n"} if name == "dscaled" else set())
    return {p: "bool" if p == "mask" else "float64" if p in numbers else "T" for p in names}


def arguments(name, dtype):
    """For a chain; the second row of each array is 0, the third holds what is no usual number."""
    rng = np.random.default_rng(0)
    strange = [np.nan, np.inf, -np.inf, -0.0, -1e4]

    def draw(p, kind):
        if kind != "T":
            return rng.random((2, 1, 5)) < 0.6 if kind == "bool" else NUMBERS[p]
        a = rng.standard_normal((2, 3, 1) if p in ROWS else (2, 3, 5)).astype(dtype)
        a[0, 1], a[0, 2], a[1, 2] = 0, strange[: a.shape[2]], strange[-a.shape[2] :]
        return abs(a) if p in ("v", "square_sum", "total") else a

    return [draw(p, kind) for p, kind in kinds_of(name).items()]


def results(out):
    return out if isinstance(out, tuple) else (out,)


everywhere = pytest.mark.parametrize("name", CHAINS)
precisions = pytest.mark.parametrize("dtype", ["float32", "float64"])


def same(a, b):
    """Bit for bit, but for the sign of nan."""
    if a.dtype.kind == "c":
        return same(a.real, b.real) and same(a.imag, b.imag)
    return (
        a.dtype == b.dtype and np.array_equal(a, b, equal_nan=True) and (np.signbit(a) == np.signbit(b))[a == a].all()
    )
