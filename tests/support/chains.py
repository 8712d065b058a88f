"""The elementwise chains that are kernels on a device,
with arguments that are strange on purpose.
"""

import importlib
import importlib.util
import inspect

import numpy as np
import pytest

MODULES = [importlib.import_module(f"dgsa_np.{name}") for name in ("ops", "optim", "attention.gated")]
CHAINS = {
    name: chain
    for module in MODULES
    for name, chain in vars(module).items()
    if hasattr(chain, "__wrapped__") and chain.__module__ == module.__name__
}
NUMBERS = {"nan": np.nan, "least": -np.inf, "lowest": -1e30, "count": 5, "n": 5}  # and their values
NUMBERS |= dict.fromkeys(("eps", "b1", "b2", "m_share", "v_share", "lr", "weight_decay"), 0.25)
ROWS = {"largest", "total", "square_sum", "r", "dot", "gate", "one_minus_gate"}  # one number for each row


def kinds_of(name):
    """What each argument of a chain is, by its name."""
    names = inspect.signature(CHAINS[name].__wrapped__).parameters
    numbers = NUMBERS.keys() - ({"n"} if name == "_dscale" else set())
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
