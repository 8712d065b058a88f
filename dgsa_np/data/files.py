"""Files, folders and archives that anybody may have made: looked at before they are read."""

import csv
import gzip
import io
import os
import re
import tarfile
import zlib
from contextlib import contextmanager
from pathlib import Path

from .splits import PARTS, DataError

LARGEST = 2**31  # bytes that a file may have, and all files of a folder or an archive
LARGEST_ITEM = 2**24  # and each of those files
GZIP = b"\x1f\x8b"  # how a gzipped file begins
UTF_16 = "; it begins as UTF-16 does"
HINTS = {b"\xff\xfe": UTF_16, b"\xfe\xff": UTF_16, GZIP: "; it begins as gzip does", b"PK": "; it begins as zip does"}
# Any name but those that systems give to files of their own.
VISIBLE = r"(?!\.|__MACOSX|Thumbs\.db|desktop\.ini)(.+)"
# What reading, unpacking and fetching raise. LookupError: no such encoding. ImportError: pandas is
# not there, which scikit-learn needs to fetch.
BROKEN = (OSError, EOFError, ValueError, LookupError, OverflowError, MemoryError, RecursionError,
          zlib.error, tarfile.TarError, ImportError)  # fmt: skip


def home(name, root, expected, folder=""):
    """The folder of this name in root, if there is one, else root itself."""
    if root is None:
        raise DataError(f"{name}: root is None, expected {expected}")
    inner = Path(root, folder)
    return inner if os.path.isdir(inner) else Path(root)


@contextmanager
def telling(path, what="cannot be read", faults=BROKEN):
    """What goes wrong in here with a file or a folder is told as a DataError."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: offset {error.start}: not {error.encoding}: {error.reason}{HINTS.get(error.object[:2], '')}"
        ) from error
    except faults as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DataError(f"{path}: {what}: {why}") from error


def check_size(path, size, largest, kind="a file"):
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
    with telling(path):
        kind = "a file" if os.path.isfile(path) else "a folder" if os.path.isdir(path) else "a pipe or a device"
        check_size(path, os.path.getsize(path), largest, kind)
        with open(path, "rb") as file:
            yield gzip.GzipFile(fileobj=file) if unpack and file.peek(2)[:2] == GZIP else file


def read(path, largest=LARGEST):
    """The bytes of a file."""
    with opened(path, largest) as file:
        return file.read(os.fstat(file.fileno()).st_size)


def read_text(path, encoding="utf-8"):
    """The text of a file, of which there has to be some."""
    text = decoded(path, read(path), encoding)
    if not text.strip():
        raise DataError(f"{path}: the file holds no text")
    return text


def decoded(path, content, encoding):
    """A text without a byte-order mark, whose lines end as on Unix."""
    with telling(path):
        return content.decode(encoding).removeprefix("\ufeff").replace("\r\n", "\n")


def listed(folder):
    """The names in a folder, in order."""
    with telling(folder):
        return sorted(os.listdir(folder))


def read_rows(path):
    """(line, row) of each row of a CSV file that is not empty; line is its last one."""
    rows = csv.reader(io.StringIO(read_text(path)), skipinitialspace=True, strict=True)
    try:
        for row in rows:
            if row:
                yield rows.line_num, row
    except csv.Error as error:
        raise DataError(f"{path}: line {rows.line_num}: {error}") from error


# ------------------------------------------------------- many files, in folders, archives or tables


def read_texts(name, root, layout, example, encoding):
    """[(split, label, file, text)] of all files that lie in root as the layout says.

    layout : a folder, which may be left out; then, level by level, the names below it
    """
    root = home(name, root, f"a folder or a .tar.gz that holds {example} and its like", layout[0])
    found = _walk(root, layout[1:]) if os.path.isdir(root) else _unpack(root, layout)
    found = _all_of(root, found, f"{example}, nor its like")
    return [(*place, decoded(path, content, encoding)) for path, place, content in found]


def read_own(name, root, file, columns):
    """(path, (split, label, file), content) of each item in a folder of one's own; split may be "".

    file    : the pattern of the names of files, if they lie in folders named as their labels
    columns : of which labels.csv, if there is one, has to have one: "file", "text"
    """
    root = home(name, root, "a folder that holds a folder for each label, or labels.csv")
    table = root / "labels.csv" if os.path.isdir(root) else root
    if os.path.lexists(table):
        return _all_of(table, _tabled(table, columns), "row below its header")
    is_deep = any(map(os.path.isdir, root.glob("[!._]*/[!._]*")))
    is_split = is_deep or all(os.path.isdir(root / part) for part in ("train", "test"))
    layout = [VISIBLE, VISIBLE, file] if is_split else ["()" + VISIBLE, file]
    return _all_of(root, _walk(root, layout, needed=name), "labels.csv, LABEL/FILE or train/LABEL/FILE")


def _all_of(root, found, expected):
    """What is found, if there is any, nothing comes twice, and all together is not too large."""
    seen, total = set(), 0
    for path, place, content in found:
        total += len(content)
        check_size(f"{path}, with all before it", total, LARGEST)
        if {path, place} & seen:
            raise DataError(f"{path}: comes twice, expected once")
        if place[0] not in PARTS:
            raise DataError(f"{path}: split {place[0]!r}, expected train, valid or test")
        seen |= {path, place}
        yield path, place, content
    if not seen:
        raise DataError(f"{root}: there is no {expected}")


def _tabled(table, columns):
    """Path, place and content of each row of a table, which has a text or names a file."""
    rows = read_rows(table)
    header = [name.strip().lower() for name in next(rows)[1]]
    kind = next((name for name in columns if name in header), None)
    if kind is None or "label" not in header:
        wanted = f"{' or '.join(columns)}, label and perhaps split, with commas between them"
        raise DataError(f"{table}: line 1: columns {header}, expected {wanted}")
    used = [name for name in (kind, "label", "split") if name in header]
    for line, row in rows:
        where, cells = f"{table}: line {line}", dict(zip(header, map(str.strip, row), strict=False))
        if len(row) != len(header) or not all(cells[name] for name in used) or cells.get("split", "") not in PARTS:
            wanted = f"{len(header)}: {', '.join(header)}; no empty {' or '.join(used)}; as split train, valid or test"
            raise DataError(f"{where}: {len(row)} cells, {str(row)[:60]}, expected {wanted}")
        path, content = _named(table, where, cells["file"]) if kind == "file" else (where, cells["text"].encode())
        yield path, (cells.get("split", ""), cells["label"], cells[kind]), content


def _named(table, where, name):
    """Path and content of the file that a row names."""
    place = Path(name.replace("\\", "/"))
    path = table.parent / place
    if place.anchor or ".." in place.parts or not os.path.isfile(path):
        raise DataError(f"{where}: {name[:60]!r} is not a file in {table.parent}; paths are relative to it")
    return path, read(path, LARGEST_ITEM)


def _walk(folder, layout, place=(), needed=""):
    """Path, place and content of each file in a folder.

    Links are followed, but no deeper than the layout goes, so that one that leads back is harmless.

    needed : what every last folder has to hold; "": some may hold nothing
    """
    found = {name: re.fullmatch(layout[0], name) for name in listed(folder)}
    if needed and not layout[1:] and not any(found.values()):
        raise DataError(f"{folder}: there are no {needed} in it")
    for path, match in ((folder / name, match) for name, match in found.items() if match):
        if not layout[1:]:
            yield path, (*place, *match.groups()), read(path, LARGEST_ITEM)
        elif os.path.isdir(path) or os.path.islink(path):  # a broken link is told by listed
            yield from _walk(path, layout[1:], (*place, *match.groups()), needed)


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
                check_size(path, member.size, LARGEST_ITEM, kind)
                yield path, found.groups(), tar.extractfile(member).read()
        file.seek(tar.offset)
        if {not block.strip(b"\0") for block in iter(lambda: file.read(2**20), b"")} != {True}:
            raise tarfile.ReadError(f"offset {tar.offset}: neither a file nor the end of an archive")


class _Sips:
    """An archive for tarfile, which reads a long name at once, as long as its header says it is."""

    def __init__(self, path, file):
        self.path, self.file, self.seek, self.tell = path, file, file.seek, file.tell

    def read(self, size):
        check_size(f"{self.path}: offset {self.tell()}", size, LARGEST_ITEM)
        return self.file.read(max(0, size))
