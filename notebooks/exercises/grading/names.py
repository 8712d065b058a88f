"""Students' names, and what is drawn by them: the same in every run, another in another course."""

import re
import unicodedata
from pathlib import Path

from .course import number_of


def draw(course, student, what) -> int:
    """A number for a student of a course; `what` tells the draws of one student apart."""
    return number_of(f"{course} {known_as(student)} {what}")


def known_as(student) -> str:
    """The name without regard to capitals and spaces."""
    return " ".join(unicodedata.normalize("NFC", student).casefold().split())


def checked(student) -> str:
    """The name with single spaces; raises ValueError for what is none."""
    name = " ".join(student.split())
    if not name or not name.isprintable() or len(name) > 100:
        raise ValueError(f"{student[:100]!r} is no name, expected up to 100 printable characters")
    return name


def of_class(path) -> list:
    """The names of a file, one a line; raises ValueError if there are none, or one stands twice."""
    names = [checked(line) for line in Path(path).read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    seen = set()
    for name in names:
        if known_as(name) in seen:
            raise ValueError(f"{name!r} stands twice in {path}, expected different names")
        seen.add(known_as(name))
    if not names:
        raise ValueError(f"{path} is empty, expected a name on each line")
    return names


def folders(names) -> dict:
    """{name of a folder that every system allows: name}; raises ValueError if two are the same."""
    found = {}
    for name in names:
        folder = re.sub(r"[^\w-]+", "_", name)
        if folder.casefold() in (other.casefold() for other in found):
            raise ValueError(f"{name!r} needs the folder {folder} of another name, expected names that differ more")
        found[folder] = name
    return found
