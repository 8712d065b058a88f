"""A forward, a backward and their arguments, whoever wrote them: as the check calls them."""

import inspect
from copy import copy

import numpy as np

from . import shapes
from .backend import owner_of, to_numpy
from .params import leaves


class GradientError(AssertionError):
    """A pair breaks the convention, or its gradient is wrong."""


class CheckedPair:
    """Any two callables, and any nesting of arguments.

    forward gives out and a cache, or out alone. backward takes the gradient of out and the cache;
    without a cache it takes that gradient and, if it wants them, the arguments. The backward of a
    loss may take no gradient.

    names  : of the arguments
    places : {"p.W": (1, "W")}, where each array stands: the number of its argument, and the keys
    arrays : {"p.W": array}, all of them
    leaves : {"p.W": array}, those that have a gradient
    raises   TypeError for what cannot be checked
    """

    def __init__(self, forward, backward, args, without=()):
        self.forward, self.backward, self.args = forward, backward, tuple(args)
        self.names = _argument_names(forward, self.args)
        found = leaves(self.args)
        self.places = {self.name(path): path for path, a in found.items() if _is_array(self.name(path), a, without)}
        self.arrays = {name: found[path] for name, path in self.places.items()}
        known = {*self.names, *self.arrays}
        if unknown := [name for name in without if name not in known]:
            raise ValueError(
                f"check_pair: without holds {unknown[0]!r}, expected names among {', '.join(sorted(known))}"
            )
        left_out = {name for name, path in self.places.items() if {name, self.names[path[0]]} & set(without)}
        self.leaves = {n: a for n, a in self.arrays.items() if a.dtype.kind == "f" and n not in left_out}
        for name, a in self.leaves.items():
            _check_leaf(name, a)
        if not self.leaves:
            raise TypeError(
                f"check_pair: args hold {', '.join(self.names) or 'no argument'} without a float64 array, "
                "expected one to differentiate"
            )

    def name(self, path) -> str:
        """p.W_q, p[0], p['attn.W']."""
        return self.names[path[0]] + "".join(f".{k}" if str(k).isidentifier() else f"[{k!r}]" for k in path[1:])

    def run(self, exchanged=None):
        """out, and a tuple of the cache if there is one; some leaves may be exchanged."""
        args = self.args
        for name, leaf in (exchanged or {}).items():
            args = _exchange(args, self.places[name], leaf)
        return self._out_and_cache(self.forward(*args), kinds="fc" if exchanged else "f")

    def _out_and_cache(self, result, kinds):
        out, *cache = result if isinstance(result, tuple) else (result,)
        out = np.asarray(out) if isinstance(out, (int, float, complex)) else out
        if len(cache) > 1 or owner_of(out) is None or out.dtype.kind not in kinds:
            what = f"{len(cache) + 1} results" if len(cache) > 1 else described(out)
            hints = (f"; {name} is complex" for name, a in self.arrays.items() if a.dtype.kind == "c")
            raise TypeError(
                f"check_pair: {name_of(self.forward)} returned {what}, "
                f"expected a real floating array, or (array, cache){''.join(hints)}"
            )
        return out, tuple(cache)

    def gradients(self, dout, cache):
        """{name: gradient}, one for each leaf."""
        upstream = dout.copy()
        given = self._what_backward_takes(upstream, cache)
        grads = self.backward(*given)
        if not same_bits(upstream, dout):
            raise GradientError(f"{name_of(self.backward)} changed the upstream gradient; work on a copy")
        found = {self.name(path): g for path, g in leaves(self._by_argument(grads)).items()}
        found = {name: g for name, g in found.items() if name in self.leaves or name not in self.arrays}
        if found.keys() != self.leaves.keys():
            raise GradientError(
                f"{name_of(self.backward)} returns gradients of {sorted(found)}, expected {sorted(self.leaves)}"
            )
        return {name: found[name] if given[0] is upstream else found[name] * dout for name in self.leaves}

    def _what_backward_takes(self, dout, cache):
        """Its arguments. Only the backward of a loss may do without dout."""
        signature, is_loss = _signature(self.backward, otherwise=lambda: None), dout.ndim == 0
        if cache:
            needed = [
                p
                for p in signature.parameters.values()
                if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty
            ]
            return cache if is_loss and len(needed) == 1 else (dout, *cache)
        if _fits(signature, dout, *self.args):
            return (dout, *self.args)
        return self.args if is_loss and _fits(signature, *self.args) else (dout,)

    def _by_argument(self, grads):
        """{number of an argument: its gradients}; data and what is left out may have none."""
        wanted = dict.fromkeys(self.places[name][0] for name in self.leaves)
        floats = dict.fromkeys(self.places[name][0] for name, a in self.arrays.items() if a.dtype.kind == "f")
        if type(grads) is not tuple and not (isinstance(grads, (tuple, list)) and len(wanted) > 1):
            grads = (grads,)
        for numbers in (wanted, floats, range(len(self.args))):
            if len(grads) == len(numbers):
                return {i: g for i, g in zip(numbers, grads, strict=True) if i in wanted}
        data = {name: a.dtype for name, a in self.arrays.items() if name in self.names and a.dtype.kind != "f"}
        hints = [f"; {name} is {dtype} and gets none" for name, dtype in data.items()]
        hints += ["; name what is data in without"] if len(grads) < len(wanted) else []
        raise GradientError(
            f"{name_of(self.backward)} returns {len(grads)} gradients, expected {len(wanted)}, "
            f"for {', '.join(self.names[i] for i in wanted)}{''.join(hints)}"
        )


# ------------------------------------------------------------------------------------ the arguments


def _is_array(name, a, without):
    """An array to look after? Numbers and other options are handed on as they are."""
    hidden = [attribute for attribute, x in getattr(a, "__dict__", {}).items() if owner_of(x) and x.dtype.kind == "f"]
    if hidden and name not in without:
        raise TypeError(
            f"check_pair: {name} is {type(a).__name__}, and {hidden[0]} in it would not be checked, "
            "expected a dict or NamedTuple, or its name in without"
        )
    if not hasattr(a, "dtype") or isinstance(a, np.generic):  # a number of NumPy's is an option
        return False
    if owner_of(a) is None and hasattr(a, "numpy"):
        raise TypeError(
            f"check_pair: {name} is {type(a).__name__}, expected an array: "
            "forward is given NumPy's, for torch.from_numpy, and returns y.detach().numpy()"
        )
    shapes.is_array("check_pair", name, a)
    return True


def _check_leaf(name, a):
    if a.dtype != "float64" or not a.size:
        precise = "float64, by .astype('float64'): single precision hides small mistakes"
        expected = precise if a.size else "an array that is not empty"
        raise TypeError(f"check_pair: {name} is {described(a)}, expected {expected}")
    check_finite(f"check_pair: {name}", a, "nothing can be compared there")


def check_finite(what, a, consequence):
    host = to_numpy(a)
    if not np.isfinite(host).all():
        place = tuple(map(int, np.argwhere(~np.isfinite(host))[0]))
        raise GradientError(f"{what} is {host[place]} at index {place}: {consequence}; choose other inputs")


def _exchange(tree, path, leaf):
    """A tree like this with the leaf at a path exchanged; every branch keeps its class."""
    if not path:
        return leaf
    key, *rest = path
    if isinstance(tree, tuple) and hasattr(tree, "_replace"):  # a NamedTuple
        return tree._replace(**{key: _exchange(getattr(tree, key), rest, leaf)})
    changed = copy(tree) if isinstance(tree, dict) else list(tree)
    changed[key] = _exchange(tree[key], rest, leaf)
    return changed if isinstance(tree, dict) else type(tree)(changed)


def described(x) -> str:
    return f"{x.dtype} {x.shape}" if owner_of(x) else type(x).__name__


def same_bits(a, b) -> bool:
    """Equal shapes, dtypes and bytes."""
    a, b = to_numpy(a), to_numpy(b)
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


# ------------------------------------------------------------------------------------- any callable


def name_of(f) -> str:
    """Of a function, a method, a partial or an object that can be called."""
    return getattr(f, "__name__", "") or getattr(getattr(f, "func", None), "__name__", type(f).__name__)


def _signature(f, otherwise):
    """How f is called; if it does not say, being written in C, as otherwise is."""
    try:
        return inspect.signature(f)
    except (TypeError, ValueError):
        return inspect.signature(otherwise)


def _argument_names(forward, args):
    """As forward calls them; by number where it does not say."""
    signature = _signature(forward, otherwise=lambda *argument: None)
    try:
        bound = signature.bind(*args).arguments
    except TypeError as error:
        raise TypeError(f"check_pair: {name_of(forward)} does not take the {len(args)} args given: {error}") from None
    names = []
    for name, value in bound.items():
        several = signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL
        names += [f"{name}[{i}]" for i in range(len(value))] if several else [name]
    return tuple(names)


def _fits(signature, *args):
    """Can it be called so?"""
    try:
        return bool(signature.bind(*args))
    except TypeError:
        return False
