"""Every answer twice: on arguments that cannot be written to, after other ones, in two orders.

It runs beside a submission: in the grader's process of its own, and in the student's tests.
"""

from contextlib import suppress

import numpy as np

from .call import answer_of

SINGLE, DOUBLE = 1e-4, 1e-9  # so close is the same answer, relative to its largest number


class ArgumentChanged(Exception):
    """A function writes into what it was given."""

    def __init__(self):
        super().__init__("it writes into an argument: x += y changes the caller's array, x = x + y makes a new one")


class AnswerChanged(Exception):
    """The same arguments, and another answer."""

    def __init__(self, when, what):
        super().__init__(
            f"{when}, with the same arguments, it {what}: something outlives a call, "
            "a global, a default argument, or arrays that two caches share"
        )


# ------------------------------------------------------------------------ one item, and all items


def answer(space, names, arguments, free=False):
    """What call.answer_of returns, as plain arrays, if a second call returns the same.

    free : whether the second answer may differ, because many are right
    """
    new = Given(arguments)  # made now, or it would lie where the arrays of the first call have been
    first = after_others(space, names, arguments)
    compare(first, space, names, new, "called again", free)
    return first


def answers(space, calls, arguments, free=()):
    """Yields (item, answer), or (item, exception) where there is none.

    First to last; then last to first, where an item comes again if its answer is another one.

    calls : {item: names}      arguments : {item: tuple}      free : items whose answers may differ
    """
    first = {}
    for item, names in calls.items():
        first[item] = tried(answer, space, names, arguments[item], item in free)
        yield item, first[item]
    for item, names in reversed(calls.items()):
        if not isinstance(first[item], Exception):
            when = "called again, after later items"
            told = tried(compare, first[item], space, names, Given(arguments[item]), when, item in free)
            if told is not None:
                yield item, told


def tried(function, *arguments):
    try:
        return function(*arguments)
    except Exception as error:
        return error


def after_others(space, names, arguments):
    """The answer, after the same arrays have held other numbers.

    Between two functions of a pair the first is called once more: a cache must not change by that.
    """
    given = Given(arguments)
    if given.show(np.flip):
        told = tried(called, space, names, given)  # it is the next answer that counts
        if isinstance(told, ArgumentChanged):
            raise told
        given.show(np.copy)
    return called(interrupted(space, names, arguments), names, given)


def compare(first, space, names, given, when, free):
    """Raises AnswerChanged where a call gives another answer than the first."""
    try:
        second = called(space, names, given)
    except ArgumentChanged:
        raise
    except Exception as error:
        told = AnswerChanged(when, f"raises {type(error).__name__}: {error}")
        raise told.with_traceback(error.__traceback__) from None
    if not (free or alike(first, second)):
        raise AnswerChanged(when, "returns something else")


# -------------------------------------------------------------------------------------- one call


class Given:
    """Arguments whose arrays cannot be written to; show puts other numbers into the same arrays."""

    def __init__(self, arguments):
        self.arrays = []  # (what can be written to, the numbers of the item)
        self.arguments = self.of(arguments)
        self.show(np.copy)

    def of(self, tree):
        if type(tree) in (tuple, list):
            return type(tree)(map(self.of, tree))
        if isinstance(tree, dict):
            return {name: self.of(value) for name, value in tree.items()}
        if not isinstance(tree, np.ndarray):
            return tree
        own = np.empty_like(tree)
        self.arrays.append((own, tree))
        return locked(own)

    def show(self, change) -> bool:
        """Whether there is an array of floats, whose numbers change."""
        for own, numbers in self.arrays:
            own[...] = change(numbers) if numbers.dtype.kind == "f" else numbers
        self.before = [a.copy() for a, _ in self.arrays], list(leaves(self.arguments))
        return any(numbers.dtype.kind == "f" for _, numbers in self.arrays)

    def changed(self) -> bool:
        numbers, places = self.before
        same_numbers = all(a.tobytes() == b.tobytes() for (a, _), b in zip(self.arrays, numbers, strict=True))
        return not same_numbers or places != list(leaves(self.arguments))


def locked(own):
    view = own.view()
    view.flags.writeable = False
    return view


def leaves(tree, place=()):
    """Every place in nested tuples, lists and dicts, and which object is there."""
    branches = enumerate(tree) if type(tree) in (tuple, list) else tree.items() if isinstance(tree, dict) else ()
    yield place, id(tree)
    for name, branch in branches:
        yield from leaves(branch, (*place, name))


def called(space, names, given):
    """The answer as plain arrays; raises ArgumentChanged."""
    np.random.seed(0)  # who draws without a seed draws alike each time
    try:
        found = as_arrays(answer_of(space, names, given.arguments))
    except ValueError as error:
        if "read-only" not in str(error):
            raise
        raise ArgumentChanged().with_traceback(error.__traceback__) from None
    if given.changed():
        raise ArgumentChanged()
    return found


def interrupted(space, names, arguments):
    """The functions, where the first of a pair is called with other arguments before the second."""
    forward, *backward = names.split()
    if not backward or not callable(space.get(forward)):
        return space
    other = Given(arguments[:-1])
    other.show(np.flip)

    def forward_and_another(*given):
        result = space[forward](*given)
        with suppress(Exception):
            space[forward](*other.arguments)
        return result

    return {**space, forward: forward_and_another}


# -------------------------------------------------------------------------------------- answers


def as_arrays(answer):
    """Plain arrays of numbers, whatever class the answer has."""
    if answer is None:
        raise TypeError("returned None: is a return missing?")
    several = isinstance(answer, (tuple, list))
    arrays = tuple(np.array(a, subok=False) for a in (answer if several else [answer]))
    for a in arrays:
        if a.dtype.kind not in "fiubc":
            raise TypeError(f"returned {a.dtype}, expected numbers")
    return arrays if several else arrays[0]


def alike(first, second) -> bool:
    """As many arrays, of the same shapes and dtypes, with the same numbers but for rounding."""
    first, second = (a if isinstance(a, tuple) else (a,) for a in (first, second))
    return len(first) == len(second) and all(map(close, first, second))


def close(a, b) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    tolerance = SINGLE if a.dtype == np.float32 else DOUBLE
    return np.allclose(a, b, rtol=0, atol=tolerance * abs(a[np.isfinite(a)]).max(initial=0), equal_nan=True)
