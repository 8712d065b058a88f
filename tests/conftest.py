"""What the tests share."""

import pytest

from dgsa_np.cases import all_cases
from dgsa_np.data import load


@pytest.fixture(scope="session")
def digits():
    return load("digits")


def pytest_generate_tests(metafunc):
    """A test that takes `case` runs on the whole catalogue of pairs."""
    if "case" in metafunc.fixturenames:
        cases = list(all_cases())
        metafunc.parametrize("case", cases, ids=map(str, cases))
