"""What the tests of machines share."""

import time

import pytest
from support import strict_cupy


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
