"""A step as a CUDA graph: what it starts on a GPU is recorded once, then started all at once."""

import sys
from contextlib import suppress

import numpy as np


class Captured:
    """Calls a function, the first time; then records what it starts on the GPU, and starts that.

    It must start the same each time, on memory that stands still. What CuPy takes from its pool
    meanwhile, as room for a product, comes from a pool that is kept for the graph alone.

    CuPy 14 lets none of its products of matrices be recorded: they need cublas.py.
    """

    def __init__(self):
        import cupy

        self.cuda, self.pool, self.stream = cupy.cuda, cupy.cuda.MemoryPool(), cupy.cuda.Stream(non_blocking=True)
        self.called, self.graph = False, None

    def run(self, function):
        if self.called and self.graph is None:
            self.graph = self.record(function)
        self.called = True
        if self.graph:
            self.graph.launch()
        else:
            with self.cuda.using_allocator(self.pool.malloc):
                function()

    def record(self, function):
        """The graph of a function, which is not run; False, with a line, where CUDA refuses."""
        self.cuda.get_current_stream().synchronize()
        with self.cuda.using_allocator(self.pool.malloc), self.stream:
            self.stream.begin_capture()
            try:
                function()
                return self.stream.end_capture()
            except Exception as error:  # whatever cannot be recorded is the reason
                with suppress(Exception):
                    self.stream.end_capture()  # of what has been recorded so far: it goes
                return refused(error)


def captured(xp):
    """A Captured, or None, with a line, on a CPU."""
    if xp is not np:
        return Captured()
    refused("it is not on a GPU")
    return None


def refused(why) -> bool:
    print(f"capture: the step runs without a CUDA graph: {why}", file=sys.stderr)
    return False
