"""Checks of integers that point into an array: tokens and targets.

They are made on the host (the CPU), because a GPU takes an index out of range modulo the size and
says nothing.
"""

from .backend import to_numpy
from .shapes import ShapeError, is_array


def index(into: str, axis: int, like=None):
    """For @takes: integers that point along an axis of another argument.

    into : the name of that argument
    like : how many of its axes, from the first one on, the integers share (-1: all but the last);
           None: any shape
    """

    def look_at(function, name, given):
        shape = given[into].shape
        indices(function, name, given[name], shape[axis], f"{into} {shape}", shape[:like] if like else None)
        return given[name]

    return look_at


def indices(function: str, name: str, indices, size: int, origin: str, shape: tuple | None = None):
    """Check that integers lie in [0, size). The check reads them on the host.

    indices : best kept on the host; from a GPU the check has to copy them
    shape   : the shape that is expected, where origin fixes it
    """
    is_array(function, name, indices)
    if shape is not None and indices.shape != shape:
        raise ShapeError(f"{function}: {name} is {indices.shape}, expected {shape}; it comes from {origin}")
    if indices.dtype.kind not in "iu":
        raise TypeError(f"{function}: {name} has dtype {indices.dtype}, expected integers; .astype('int64') makes them")
    if indices.size == 0:
        raise ShapeError(f"{function}: {name} is {indices.shape}, an empty array; expected at least one element")
    host = to_numpy(indices)
    worst = int(host.min() if host.min() < 0 else host.max())
    if not 0 <= worst < size:
        raise IndexError(f"{function}: {name} holds {worst}, expected 0 <= {name} < {size}; {size} comes from {origin}")
