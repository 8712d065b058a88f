"""Call a layer of another library with NumPy arrays, for its output and gradients."""

import inspect
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from functools import partial
from operator import attrgetter

import numpy as np

from .layouts import LayoutError, as_numpy

MASK = ("mask", "attn_mask", "attention_mask")  # how others call it


class Caller:
    """A function forward(x, weights, mask) on NumPy arrays, alone or with a backward(dy, cache).

    names   : {name in the layout: name in yours}
    weights : {name in the layout: array}
    how     : how yours is called, in words
    """

    takes_mask = True
    how = "forward(x, weights, mask), since weights are not arrays of JAX"

    def __init__(self, yours, weights, names):
        self.forward, self.backward = yours if isinstance(yours, tuple) else (yours, None)
        self.names, self.back = names, {real: name for name, real in names.items()}
        if unknown := [real for real in self.back if real not in weights]:
            raise LayoutError(f"conform: names has {unknown[0]!r}, expected one of yours: {', '.join(weights)}")
        self.weights = {self.back.get(name, name): as_numpy(a, name) for name, a in weights.items()}

    def read(self, attributes) -> dict:
        """{setting: number} of those that yours holds as an attribute."""
        return {}

    def run(self, weights, case) -> dict:
        """What yours gives: {"y": array}, and where it has gradients "dx", and those of weights."""
        kept = case._asdict() | weights
        lent = deepcopy(kept)
        real = {self.names.get(name, name): lent[name] for name in weights}
        y, dx, grads = self.evaluate(real, lent["x"], lent["mask"], lent["dy"])
        if changed := [name for name, a in kept.items() if not np.array_equal(a, lent[name])]:
            raise ValueError(f"it changes its argument {', '.join(changed)}")
        found = {} if dx is None else {"dx": dx} | {self.back.get(name, name): a for name, a in grads.items()}
        return {name: as_numpy(a, name) for name, a in ({"y": y} | found).items()}

    def evaluate(self, weights, x, mask, dy) -> tuple:
        """y, dx and {name in yours: gradient}; dx is None where there are no gradients."""
        result = self.forward(x, weights, mask)
        if self.backward is None:
            return first(result), None, {}
        y, cache = result
        return y, *self.backward(dy, cache)


class JaxCaller(Caller):
    """A function f(weights, x) or f(weights, x, mask) of JAX."""

    def __init__(self, yours, weights, names):
        super().__init__(yours, weights, names)
        self.takes_mask = len(inspect.signature(yours).parameters) > 2
        self.how = f"f(weights, x{', mask' * self.takes_mask})"

    def evaluate(self, weights, x, mask, dy):
        import jax

        weights, x = jax.tree.map(jax.numpy.asarray, (weights, x))
        rest = (mask if mask is None else jax.numpy.asarray(mask),) if self.takes_mask else ()
        y, pull = jax.vjp(lambda weights, x: first(self.forward(weights, x, *rest)), weights, x)
        if y.shape != dy.shape:
            return y, None, {}
        grads, dx = pull(jax.numpy.asarray(dy, y.dtype))
        return y, dx, grads


class TorchCaller(Caller):
    """A copy of a torch.nn.Module, in double precision, called by call(module, x, mask)."""

    def __init__(self, module, names, call):
        self.module = deepcopy(module).double().cpu().eval().requires_grad_()
        super().__init__(call, dict(self.module.named_parameters()), names)
        self.takes_mask = call not in CALLS.values() or mask_of(module) is not None
        extra = f", {mask_of(module)}=mask)" if mask_of(module) else f"), for it has none of {', '.join(MASK)}"
        self.how = f"module(x{extra}; call= says otherwise" if call is call_plainly else "call= says, or the layout"

    def read(self, attributes):
        found = {}
        for setting, path in attributes.items():
            with suppress(AttributeError, TypeError):
                found[setting] = float(attrgetter(path)(self.module))
        return found

    def evaluate(self, weights, x, mask, dy):
        import torch

        parameters = dict(self.module.named_parameters())
        with torch.enable_grad():
            for name, parameter in parameters.items():
                parameter.data.copy_(torch.as_tensor(weights[name]))
            x = torch.tensor(x, requires_grad=True)
            y = first(self.forward(self.module, x, mask if mask is None else torch.as_tensor(mask)))
            if y.shape != x.shape:
                return y, None, {}
            wanted = [x, *parameters.values()]
            dy = torch.as_tensor(dy, dtype=y.dtype)
            dx, *grads = torch.autograd.grad(y, wanted, dy, allow_unused=True, materialize_grads=True)
        return y, dx, dict(zip(parameters, grads, strict=True))


def first(result):
    """The output, where others return more than that."""
    return result[0] if isinstance(result, (tuple, list)) else result


# --------------------------------------------------------------------------- how modules are called


def mask_of(module):
    """The name by which a module takes its mask, or None."""
    return next((name for name in MASK if name in inspect.signature(module.forward).parameters), None)


def call_plainly(module, x, mask):
    """module(x), or with its mask by name."""
    name = mask_of(module)
    return module(x, **{name: mask}) if name else module(x)


def call_with_positions(module, x, mask, half_split=False):
    """With cosines and sines of the positions, and a mask that is added: 0, or the least number."""
    import torch

    (B, T, _), d, name = x.shape, module.head_dim, mask_of(module)
    angles = torch.outer(torch.arange(T).double(), 10000.0 ** -(torch.arange(0, d, 2).double() / d))
    angles = torch.cat([angles, angles], dim=-1)[None] if half_split else angles
    hidden = torch.zeros(B, 1, T, T, dtype=x.dtype)
    if mask is not None:
        hidden = hidden.masked_fill(~mask, torch.finfo(x.dtype).min)
    return module(x, (angles.cos(), angles.sin()), **({name: hidden} if name else {}))


CALLS: dict[str | None, Callable] = {
    None: call_plainly,
    "unilm_v1": call_with_positions,
    "unilm_v2": call_with_positions,
    "hf_diffllama": partial(call_with_positions, half_split=True),
}


def caller_of(yours, like, weights, names, call) -> Caller:
    """The Caller for a module, a function of JAX, or any other callable."""
    is_class = isinstance(yours, type)
    if hasattr(yours, "named_parameters") and not is_class:
        return TorchCaller(yours, names, call or CALLS.get(like, call_plainly))
    parts = yours if isinstance(yours, tuple) and len(yours) == 2 else (yours,)
    if is_class or not all(map(callable, parts)):
        what = f"the class {yours.__name__}" if is_class else type(yours).__name__
        raise TypeError(f"conform: yours is {what}, expected a module, a function, or a pair of functions")
    if call is not None:
        raise TypeError("conform: call is given, but yours is a function, expected a module")
    if not isinstance(weights, dict) or not weights:
        what = "empty" if isinstance(weights, dict) else type(weights).__name__
        raise LayoutError(f"conform: weights is {what}, and yours is a function; expected a dict {{name: array}}")
    is_jax = any(type(a).__module__.startswith("jax") for a in (yours, *weights.values()))
    return (JaxCaller if is_jax else Caller)(yours, weights, names)
