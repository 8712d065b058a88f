"""Bugs planted in the package's functions while the tests run:
what must catch them is tested so.
"""

import inspect
import textwrap
from contextlib import ExitStack, contextmanager

import pytest

from dgsa_np.attention import multihead
from dgsa_np.checkpoint import CheckpointError
from dgsa_np.gradcheck import GradientError

# What a test that catches a bug may end with.
FAILURES = (
    AssertionError,
    GradientError,
    ValueError,
    TypeError,
    FloatingPointError,
    RuntimeWarning,
    CheckpointError,
    pytest.fail.Exception,
)


@contextmanager
def planted(*changes):
    """Functions, with texts in their source exchanged:
    (function, old, new), one after the other.
    """
    sources = {}
    for function, old, new in changes:
        function = inspect.unwrap(function)
        source = sources.get(function) or textwrap.dedent(inspect.getsource(function))
        assert old in source, f"{function.__name__} does not say {old!r}"
        sources[function] = source.replace(old, new)
    with ExitStack() as stack:
        multihead.at_depth.cache_clear()  # what it remembers was made by the right functions
        stack.callback(multihead.at_depth.cache_clear)
        for function, source in sources.items():
            stack.callback(setattr, function, "__code__", function.__code__)
            scope = dict(function.__globals__)
            exec(compile(source, f"<{function.__name__}, changed>", "exec"), scope)
            name = source.split(" = ")[0] if function.__name__ == "<lambda>" else function.__name__
            function.__code__ = inspect.unwrap(scope[name]).__code__
        yield


def assert_caught(test, *changes):
    """The test, called without arguments, passes; with the changes planted it fails."""
    test()
    with planted(*changes), pytest.raises(FAILURES):
        test()
