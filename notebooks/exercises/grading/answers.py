"""What a submission's process sends back: records of a line of JSON and the bytes of arrays."""

import io
import json
from math import prod

import numpy as np

LARGEST, RESULTS = 4 * 2**20, 100  # bytes and arrays of an answer
LINE, RECORDS = 2**16, 100  # bytes of a line, records of a process


def send(pipe, name, answer=(), error=None):
    """A record: an array or a tuple of them, or an error's text; raises ValueError for too much.

    name : of an item, or of how far the process is
    """
    several = isinstance(answer, tuple)
    arrays = answer if several else (answer,)
    size = sum(a.nbytes for a in arrays)
    if len(arrays) > RESULTS or size > LARGEST:
        raise ValueError(f"returned far too much: {len(arrays)} arrays, {size} bytes")
    line = json.dumps([name, error, several, [[a.dtype.str, a.shape] for a in arrays]])
    pipe.write(line.encode() + b"\n" + b"".join(a.tobytes() for a in arrays))
    pipe.flush()


def received(raw) -> dict:
    """{name: {"answer": an array or a tuple of them} or {"error": text}}.

    The submission may have written all of it: nothing is believed, and it ends at the first record
    that cannot be read.
    """
    found, stream = {}, io.BytesIO(raw)
    for _ in range(RECORDS):
        name = ""
        try:
            name, error, several, told = json.loads(stream.readline(LINE))
            arrays = tuple(array(stream, *each) for each in told[:RESULTS])
            found[name] = {"answer": arrays if several else arrays[0]} if error is None else {"error": str(error)}
        except Exception as error:  # the end, or whatever a forged record may raise
            found[str(name)] = {"error": f"its answer cannot be read: {error or type(error).__name__}"}
            break
    return found


def array(stream, dtype, shape):
    """The next array of the stream; raises ValueError or TypeError where there is no such one."""
    dtype = np.dtype(str(dtype))
    if dtype.kind not in "fiubc" or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError("it holds something else than numbers")
    return np.ndarray(tuple(shape), dtype, stream.read(prod(shape) * dtype.itemsize)).copy()
