"""What the tests of machines share."""

import time

import numpy as np
import pytest
from support import strict_cupy
from support.damage import rewrite


@pytest.fixture
def traffic():
    """With the stand-in as CuPy: what crosses between it and the host."""
    with strict_cupy.installed() as traffic:
        yield traffic


@pytest.fixture
def cupy(traffic):
    import cupy

    return cupy


@pytest.fixture
def tell():
    """Prints the figures of a test, with the time that it took."""
    start = time.monotonic()
    return lambda text: print(f"\n{text}; {time.monotonic() - start:.0f} s")


@pytest.fixture(scope="session")
def fuzzed():
    """A function that spoils one of some files, again and again:
    it yields each time, and leaves the files whole.
    """

    def variants(paths, n):
        whole, rng = {path: path.read_bytes() for path in paths}, np.random.default_rng(1)
        for _ in range(n):
            path = paths[rng.integers(len(paths))]
            rewrite(path, spoil(whole[path], rng))
            yield
            rewrite(path, whole[path])

    return variants


def spoil(whole, rng):
    """Bytes and bits changed, the end cut off, something put in."""
    content = bytearray(whole)
    for place in rng.integers(0, len(content), rng.integers(1, 5)):
        content[place] = rng.integers(256) if rng.random() < 0.5 else content[place] ^ 1 << rng.integers(8)
    if rng.random() < 0.2:
        content = content[: rng.integers(len(content))]
    if rng.random() < 0.1:
        place = rng.integers(len(content) + 1)
        content[place:place] = rng.bytes(3)
    return bytes(content)
