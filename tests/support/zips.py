"""Zip files by hand, whose headers say what they are told to."""

import struct
import zlib

from support.checkpoints import W, manifest

LISTED = ("manifest.json", manifest().encode())


def header(said, central):
    """What a zip says of a member: beside it, or in the directory at its end."""
    numbers = [said[key] for key in ("flags", "method", "time", "date", "crc", "packed", "size")]
    numbers += [len(said["name"]), len(said["extra"])]
    if central:
        fixed = struct.pack("<4s6H3I5H2I", b"PK\1\2", 45, 45, *numbers, 0, 0, 0, 0, said["offset"])
    else:
        fixed = struct.pack("<4s5H3I2H", b"PK\3\4", 45, *numbers)
    return fixed + said["name"] + said["extra"]


def by_hand(members, before=b"", comment=b"", zip64=None, **end):
    """A zip that says what it is told to.

    members : name, content, and what the directory says of them instead of the truth
    zip64   : what the record of a large file says instead of the truth; None writes none
    end     : what the end says instead of the truth
    """
    body, directory = before, b""
    for name, content, lie in members:
        true = {"flags": 0, "method": 0, "time": 0, "date": 33, "crc": zlib.crc32(content), "packed": len(content)}
        true |= {"size": len(content), "name": name.encode(), "extra": b"", "offset": len(body)}
        body += header(true, central=False) + content
        directory += header(true | lie, central=True)
    place = {"disk": 0, "start": 0, "here": len(members), "all": len(members), "size": len(directory)}
    place["offset"] = len(body)
    records = b""
    if zip64 is not None:
        large = place | {"at": len(body) + len(directory), "disks": 1} | zip64
        records = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, *(large[key] for key in place))
        records += struct.pack("<4sIQI", b"PK\6\7", 0, large["at"], large["disks"])
        place |= {"here": 0xFFFF, "all": 0xFFFF, "size": 0xFFFFFFFF, "offset": 0xFFFFFFFF}
    last = struct.pack("<4s4H2IH", b"PK\5\6", *(place | end).values(), len(comment))
    return body + directory + records + last + comment


FAR, NO_PLACE = 2**63, {"packed": 0xFFFFFFFF, "size": 0xFFFFFFFF, "offset": 0xFFFFFFFF}
FAKE_END = b"PK\5\6" + bytes(18)


def large(size, offset):
    """Sizes and place of a member in the extra field for large files."""
    return NO_PLACE | {"extra": struct.pack("<2H3Q", 1, 24, size, size, offset)}


def one(lie=None, content=W[1], **options):
    """A checkpoint by hand with an array of two ones, the directory saying something of it."""
    return by_hand([(*LISTED, {}), ("W.npy", content, lie or {})], **options)


SIZE, AT = len(W[1]), 30 + len(LISTED[0]) + len(LISTED[1])
