"""The files of students, whatever they are: which one is meant, and what is in it."""

import os
import re
import stat
from contextlib import suppress
from pathlib import Path

MOST = 2**20  # bytes of a submission
NAME = re.compile(r"(ex\d\d)(?!\d).*\.py", re.IGNORECASE)  # a second download is called "ex07 (1).py"


def students(folder) -> dict:
    """{student: their folder, or a link to nothing}, of FOLDER/STUDENT/."""
    paths = [Path(folder, name) for name in sorted(os.listdir(folder)) if not name.startswith((".", "__"))]
    return {path.name: path for path in paths if os.path.isdir(path) or os.path.islink(path)}


def handed_in(folder, exercises) -> dict:
    """{exercise: the paths that may be meant, the right name first}; {} if nothing can be read."""
    found, names = {}, []
    with suppress(OSError):
        names = [] if os.path.islink(folder) else sorted(os.listdir(folder))
    for name in names:
        match = NAME.fullmatch(name)
        if match and match[1].lower() in exercises:
            found.setdefault(match[1].lower(), []).append(Path(folder, name))
    return {exercise: sorted(paths, key=lambda path: path.stem != exercise) for exercise, paths in found.items()}


def read(path) -> bytes:
    """A submission; raises ValueError with what it is instead."""
    content = content_of(path, MOST, "a file of Python")
    if content.lstrip().startswith(b"{") and b'"cells"' in content:
        raise ValueError("it is a notebook; hand in its Python: File, Save and Export, Executable Script")
    return content


def content_of(path, most, expected) -> bytes:
    """What is in a file of at most so many bytes; raises ValueError with what it is instead.

    A link is not followed, and a FIFO not waited for.
    """
    path = Path(path)
    if os.path.islink(path) or os.path.isdir(path):
        raise ValueError(f"{path.name} is a {'link' if os.path.islink(path) else 'folder'}, expected {expected}")
    flags = [getattr(os, name, 0) for name in ("O_RDONLY", "O_NOFOLLOW", "O_NONBLOCK", "O_BINARY")]
    try:
        with open(os.open(path, sum(flags)), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ValueError(f"{path.name} is a pipe or a device, expected {expected}")
            content = file.read(most + 1)
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read: {error.strerror}") from None
    if len(content) > most:
        raise ValueError(f"{path.name} has more than {most} bytes, expected {expected}")
    return content
