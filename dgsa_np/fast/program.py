"""A program: calls that are written down once and then made again and again.

Where memory stands still, the arrays of every call are known beforehand, and so is the order of the
calls. So what a step has to do is written down before the first one,

    program.into(r).add(r, eps).sqrt(r)

stands for numpy.add(r, eps, out=r) and numpy.sqrt(r, out=r), and a step is a loop over calls.
"""

from functools import partial

import numpy as np

from .cublas import cublas


class Program:
    """A list of calls; to call it is to make them all."""

    def __init__(self, xp):
        self.xp, self.calls = xp, []

    def __call__(self):
        for call in self.calls:
            call()

    def do(self, function, *args, **options):
        """Write down any call."""
        self.calls.append(partial(function, *args, **options))

    def into(self, out):
        return Into(self, out)


class Into:
    """Writes down functions of NumPy or CuPy, whose results all go into one buffer, out."""

    def __init__(self, program, out):
        self.program, self.out = program, out

    def __getattr__(self, name):
        def write(*args, **options):
            self.program.do(getattr(self.program.xp, name), *args, out=self.out, **options)
            return self

        return write

    def matmul(self, a, b):
        """out = a b"""
        blas = cublas(self.program.xp)
        if blas:
            self.program.do(blas.product(a, b, self.out))
        else:
            self.program.do(self.program.xp.matmul, a, b, out=self.out)
        return self

    def copy(self, a, **options):
        self.program.do(self.program.xp.copyto, self.out, a, **options)
        return self

    def take(self, a, indices):
        """out = a[indices]. NumPy would make a copy, if it had to look for indices out of range."""
        options = {"mode": "clip"} if self.program.xp is np else {}
        self.program.do(self.program.xp.take, a, indices, axis=0, out=self.out, **options)
        return self


def put(buffer, array):
    """Copy an array of the host, or of the buffer's device, into a buffer."""
    if isinstance(array, np.ndarray) and not isinstance(buffer, np.ndarray):
        buffer.set(np.ascontiguousarray(array, buffer.dtype))
    else:
        buffer[...] = array
