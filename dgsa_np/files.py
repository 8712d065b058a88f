"""Files that are written whole or not at all, and folders that one process at a time writes to."""

import errno
import os
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None

UNFINISHED = ".dgsa_np"  # how the names of files end that are not whole yet
# What a file system says that cannot have a folder written to the disk, or that has no locks; the
# last two, where a folder may be written to, but not opened.
LACKS = errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EPERM, errno.EACCES
TAKEN = (errno.EWOULDBLOCK, errno.EAGAIN) if fcntl else (errno.EACCES, errno.EDEADLOCK)


class FolderInUseError(Exception):
    """Another process, or another thread, is writing to this folder."""


@contextmanager
def whole_file(path):
    """A binary file that takes the place of the one at path, in a single move, when it is whole.

    path   : where it is a link it stays one, and what it leads to is replaced
    raises : OSError that names the path, and says whether what is there is the old or the new;
             whatever OSError comes up in the meantime counts as one of this file
    """
    place = Path(os.path.realpath(path))
    aside = place.with_name(f".{place.name}.{os.getpid()}-{threading.get_ident()}{UNFINISHED}")
    try:
        with open(aside, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, place)
    except OSError as error:
        why = error.strerror or error
        raise OSError(f"{path}: cannot be written: {why}; what was there is untouched") from error
    finally:
        with suppress(OSError):  # it has taken its place, or could not be made
            aside.unlink()
    try:
        _sync(place.parent)
    except OSError as error:
        if error.errno not in LACKS:
            raise OSError(f"{path}: written, but the disk may lose it: {error.strerror}") from error


def _sync(folder):
    """Have a folder written to the disk: before, a move may be lost. Windows has no such call."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_whole(path, content):
    """Bytes, or text in UTF-8, as whole_file writes; the folder is made."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def append(path):
    """A text file to add lines to; an error of the disk names the path."""
    try:
        with open(path, "a", encoding="utf-8", newline="\n") as file:  # the same bytes on Windows
            yield file
    except OSError as error:
        raise OSError(f"{path}: cannot be written: {error.strerror or error}") from error


@contextmanager
def sole_writer(path, owns=("*",)):
    """One writer at a time: whoever else asks for the same path meanwhile is refused.

    What killed processes have left unfinished is deleted: nobody is writing it now.

    path   : a file that is never replaced, in the folder that is written to
    owns   : the names there that only the sole writer writes
    raises : FolderInUseError where another process, or another thread, has it

    The lock is the operating system's: it ends with the process, however that ends. Where the file
    system has no locks nothing is locked.
    """
    with open(path, "ab") as file:
        try:
            _lock(file)
        except OSError as error:
            if error.errno in TAKEN:
                said = "something else is writing to this folder; wait until it ends, or end it"
                raise FolderInUseError(f"{Path(path).parent}: {said}") from error
            if error.errno not in LACKS:
                raise
        for place in (Path(path).parent / name for name in owns):
            for unfinished in filter(Path.is_file, place.parent.glob(f".{place.name}.*-*{UNFINISHED}")):
                unfinished.unlink()
        yield


def _lock(file):
    if fcntl:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
        import msvcrt

        file.seek(2**30)  # a byte that nobody reads
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
