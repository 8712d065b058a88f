"""Files, folders and archives that anybody may have made: looked at before they are read."""

import gzip
import os
import re
import tarfile
import zlib
from contextlib import contextmanager
from pathlib import Path

from .splits import DataError

LARGEST = 2**31  # bytes that a file may have, and all texts of a folder or an archive
LARGEST_TEXT = 2**24  # and each of those texts
GZIP = b"\x1f\x8b"  # how a gzipped file begins
UTF_16 = "; it begins as UTF-16 does"
HINTS = {b"\xff\xfe": UTF_16, b"\xfe\xff": UTF_16, GZIP: "; it begins as gzip does"}
# What reading and unpacking raise. LookupError: no such encoding.
BROKEN = (OSError, EOFError, ValueError, LookupError, OverflowError, MemoryError, RecursionError,
          zlib.error, tarfile.TarError)  # fmt: skip


def home(name, root, expected, folder=""):
    """The folder of this name in root, if there is one, else root itself."""
    if root is None:
        raise DataError(f"{name}: root is None, expected {expected}")
    inner = Path(root, folder)
    return inner if os.path.isdir(inner) else Path(root)


@contextmanager
def _told(path):
    """What goes wrong in here with a file or a folder is told as a DataError."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: offset {error.start}: not {error.encoding}: {error.reason}{HINTS.get(error.object[:2], '')}"
        ) from error
    except BROKEN as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DataError(f"{path}: cannot be read: {why}") from error


def _check(path, size, largest, kind="a file"):
    """Check what is going to be read: that it is a file, and its size in bytes."""
    if kind != "a file":
        raise DataError(f"{path}: is {kind}, expected a file")
    if size > largest:
        raise DataError(f"{path}: {size:,} bytes, expected at most {largest:,}")


@contextmanager
def opened(path, largest=LARGEST, unpack=False):
    """A file to read from; a folder, a pipe, a device or what is too large is not even opened.

    unpack : whether what begins as gzip does is unpacked; the name of the file says nothing
    """
    with _told(path):
        kind = "a file" if os.path.isfile(path) else "a folder" if os.path.isdir(path) else "a pipe or a device"
        _check(path, os.path.getsize(path), largest, kind)
        with open(path, "rb") as file:
            yield gzip.GzipFile(fileobj=file) if unpack and file.peek(2)[:2] == GZIP else file


def read(path, largest=LARGEST):
    """The bytes of a file."""
    with opened(path, largest) as file:
        return file.read(os.fstat(file.fileno()).st_size)


def read_text(path, encoding="utf-8"):
    """The text of a file, of which there has to be some."""
    text = _decoded(path, read(path), encoding)
    if not text.strip():
        raise DataError(f"{path}: the file holds no text")
    return text


def _decoded(path, content, encoding):
    """A text without a byte-order mark, whose lines end as on Unix."""
    with _told(path):
        return content.decode(encoding).removeprefix("\ufeff").replace("\r\n", "\n")


def listed(folder):
    """The names in a folder, in order."""
    with _told(folder):
        return sorted(os.listdir(folder))


# ----------------------------------------------------------- many texts, in a folder or an archive


def read_texts(name, root, layout, example, encoding):
    """[(part, label, file, text)] of all files that lie in root as the layout says.

    layout : a folder, which may be left out; then, level by level, the names below it
    """
    root = home(name, root, f"a folder or a .tar.gz that holds {example} and its like", layout[0])
    texts, total = {}, 0
    for path, place, content in _walk(root, layout[1:]) if os.path.isdir(root) else _unpack(root, layout):
        total += len(content)
        _check(f"{path}, with all before it", total, LARGEST)
        if place in texts:
            raise DataError(f"{path}: comes twice, expected once")
        texts[place] = _decoded(path, content, encoding)
    if not texts:
        raise DataError(f"{root}: there is no {example}, nor its like")
    return [(*place, text) for place, text in texts.items()]


def _walk(folder, layout, place=()):
    """Path, place and content of each file in a folder.

    Links are followed, but no deeper than the layout goes, so that one that leads back is harmless.
    """
    for name in listed(folder):
        path, found = folder / name, re.fullmatch(layout[0], name)
        if found and not layout[1:]:
            yield path, (*place, *found.groups()), read(path, LARGEST_TEXT)
        elif found and (os.path.isdir(path) or os.path.islink(path)):  # a broken link is told by listed
            yield from _walk(path, layout[1:], (*place, *found.groups()))


def _unpack(root, layout):
    """Path, place and content of each file in an archive, read in memory.

    An archive has to end in zeros. That is checked here, since tarfile takes other bytes for the
    end too, and says nothing.
    """
    inside = re.compile(rf"(?:\./)?(?:{layout[0]}/)?{'/'.join(layout[1:])}")
    with opened(root, unpack=True) as file, tarfile.open(fileobj=_Sips(root, file), mode="r:") as tar:
        while (member := tar.next()) and tar.offset > member.offset:  # else its size is negative
            tar.members.clear()  # where tarfile keeps all that it has met
            if found := inside.fullmatch(member.name):
                path, linked = f"{root}: {member.name}", member.issym() or member.islnk()
                kind = "a file" if member.isfile() else "a link" if linked else "a folder or a device"
                _check(path, member.size, LARGEST_TEXT, kind)
                yield path, found.groups(), tar.extractfile(member).read()
        file.seek(tar.offset)
        if {not block.strip(b"\0") for block in iter(lambda: file.read(2**20), b"")} != {True}:
            raise tarfile.ReadError(f"offset {tar.offset}: neither a file nor the end of an archive")


class _Sips:
    """An archive for tarfile, which reads a long name at once, as long as its header says it is."""

    def __init__(self, path, file):
        self.path, self.file, self.seek, self.tell = path, file, file.seek, file.tell

    def read(self, size):
        _check(f"{self.path}: offset {self.tell()}", size, LARGEST_TEXT)
        return self.file.read(max(0, size))
