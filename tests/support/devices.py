"""What tests on a device share: the stand-in's or a GPU's."""

import numpy as np

from dgsa_np.backend import array_module, to_device, to_numpy
from dgsa_np.gradcheck import relative_error, same_bits
from dgsa_np.params import flatten
from support import strict_cupy


def on_device(a):
    return type(a) is strict_cupy.ndarray


def leaves(tree):
    return flatten(tree).values()


def agree(a, b, tolerance):
    """To rounding: a device adds rows in an order of its own."""
    a, b = to_numpy([a, b])
    return a.dtype == b.dtype and (same_bits(a, b) or relative_error(a, b) <= tolerance)


def laid_out(a, way):
    """The same numbers by rows, in rows that lie further apart, or by columns."""
    if way == 1:
        wide = array_module(a).full((*a.shape[:-1], a.shape[-1] + 3), np.nan, a.dtype)
        wide[..., 1:-2] = a
        return wide[..., 1:-2]
    return a.mT.copy().mT if way == 2 else a


def gradients(case, args):
    """Output and gradients for a fixed upstream gradient, all on the host."""
    out, cache = case.forward(*args)
    dout = array_module(out).asarray(np.random.default_rng(8).standard_normal(out.shape))
    grads = case.backward(cache) if out.shape == () else case.backward(dout, cache)
    return flatten({"out": to_numpy(out), "grads": to_numpy(grads)})


def assert_a_pair_agrees_and_repeats(case):
    args = [to_device(a, "cuda") if isinstance(a, (np.ndarray, dict, list)) else a for a in case.args]
    here, there = gradients(case, case.args), gradients(case, args)
    assert here.keys() == there.keys()
    for name in here:
        assert there[name].dtype == here[name].dtype
        assert relative_error(there[name], here[name]) <= 1e-12, name
    again = gradients(case, args)
    assert all(same_bits(again[name], there[name]) for name in there)
