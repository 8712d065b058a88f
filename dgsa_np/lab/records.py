"""The one reader of what files hold: it looks at every value before it is used.

The form of a file stands beside the code that writes it, and is written like what it describes:
{"name": form} has these names, those with "?" may be missing; {NAME: form} has any names of a sort;
[form] is a list of any length, [form, form] one of two; (form, form) is one or the other, which
differ in type or in names; a Sort is a number or a word. A name that a form lacks is refused: a
newer version may mean something by it.
"""

import json
import re
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

from ..data.files import read


class Sort(NamedTuple):
    what: str
    is_right: Callable  # of a value


def _word(pattern):
    return lambda value: type(value) is str and re.fullmatch(pattern, value)


def one_of(known) -> Sort:
    return Sort(f"one of {', '.join(known)}", lambda name: type(name) is str and name in known)


NUMBER = Sort("a finite number", lambda x: type(x) in (int, float) and abs(x) < 1e300)
SHARE = Sort("a number from 0 to 1", lambda x: type(x) in (int, float) and 0 <= x <= 1)
COUNT = Sort("a whole number of at least 0", lambda n: type(n) is int and 0 <= n < 2**63)
TEXT = Sort("text", lambda text: type(text) is str)
LABEL = Sort("a printable line", lambda text: type(text) is str and text.isprintable())
NAME = Sort("letters, digits, spaces and -_.,", _word(r"\w[\w ,.-]{0,199}"))  # part of a file's name
HASH = Sort("hexadecimal digits", _word("[0-9a-f]{1,64}"))
NONE = Sort("null", lambda value: value is None)
DICT = Sort("a dict", lambda value: type(value) is dict)


@contextmanager
def told_as(error, before, *faults):
    """Faults in here, or in a function that this decorates, are told as an error.

    before : the first words of what it says
    """
    try:
        yield
    except faults as fault:
        raise error(f"{before}{fault}") from fault


def checked(value, form, where: str, error=ValueError):
    """The value as it is; an error that names the first place at which it is not of this form."""
    if isinstance(form, Sort):
        if not form.is_right(value):
            raise error(f"{where} is {_short(value)}, expected {form.what}")
    elif isinstance(form, tuple):
        checked(value, max(reversed(form), key=partial(_likeness, value)), where, error)
    elif type(value) is not type(form):
        raise error(f"{where} is {_short(value)}, expected a {type(form).__name__}")
    elif isinstance(form, list):
        if len(form) not in (1, len(value)):
            raise error(f"{where} is {_short(value)}, expected {len(form)} parts")
        for i, part in enumerate(value):
            checked(part, form[i % len(form)], f"{where}[{i}]", error)
    else:
        for name, one in _of_each(value, form, where, error):
            checked(value[name], one, f"{where}.{name}", error)
    return value


def _of_each(value, form, where, error):
    """(name, form) of each part of a dict."""
    (first, one), *_ = form.items()
    if isinstance(first, Sort):
        return [(checked(name, first, f"{where}: the name {_short(name)}", error), one) for name in value]
    forms = {name.removesuffix("?"): one for name, one in form.items()}
    missing = [name for name in form if not name.endswith("?") and name not in value]
    unknown = [str(name) for name in value if name not in forms]
    if missing or unknown:
        said = [f"lacks {', '.join(missing)}"] * bool(missing)
        said += [f"has {', '.join(unknown)[:60]} too many"] * bool(unknown)
        raise error(f"{where} {' and '.join(said)}")
    return [(name, forms[name]) for name in value]


def _likeness(value, form):
    """How much a value looks like a form: of several, it is held to the likeliest."""
    if isinstance(form, Sort):
        return bool(form.is_right(value))
    return type(value) is type(form) and 1 + len(form.keys() & value.keys() if isinstance(form, dict) else ())


def _short(value):
    said = repr(value)
    return said if len(said) < 60 else f"{said[:57]}..."


def read_json(text, form, where: str, error):
    """A value of this form from JSON."""
    with told_as(error, f"{where}: not JSON: ", ValueError, RecursionError):
        value = json.loads(text)
    return checked(value, form, f"{where}: it", error)


def read_lines(path, form, error) -> list:
    """The values of a file, one per line; none of a last line that was cut off, or of no file."""
    content = read(path) if path.exists() else b""
    whole = content[: content.rfind(b"\n") + 1]
    return [read_json(line, form, f"{path}: line {n}", error) for n, line in enumerate(whole.splitlines(), 1)]
