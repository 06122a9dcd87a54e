"""MATLAB's files looked at from outside: is every entry of a kind that there is, and within what holds it?

A level 5 file (MathWorks, 2019) is a header of 128 bytes and entries: four bytes say the kind, four the length; an
array's entry holds others. Where one is of another kind or is missing, SciPy reads from anywhere in memory, which ends
Python.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .guard import fits

HEAD = 128
ARRAY, PACKED = 14, 15
KINDS = {1, 2, 3, 4, 5, 6, 7, 9, 12, 13, ARRAY, PACKED, 16, 17, 18}
CELL, STRUCT, OBJECT, CHARS, SPARSE, NUMBERS, COMPLEX = 1, 2, 3, 4, 5, range(6, 16), 0x0800
DEEP = 50  # arrays in arrays


class Entry(NamedTuple):
    """What an entry is of, and its bytes."""

    kind: int
    data: memoryview


def check_matlab(path: Path) -> None:
    """Nothing, if a file is as long as its entries say, and each holds what its kind must.

    Raises
    ------
    ValueError : when it is cut short or damaged, or no file of MATLAB's.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as tmp:
    ...     _ = Path(tmp, "a.set").write_bytes(b"MATLAB 5.0".ljust(126) + b"IM" + struct.pack("<II", 255, 0))
    ...     check_matlab(Path(tmp, "a.set"))
    Traceback (most recent call last):
    ValueError: a.set is cut short or damaged: an entry is of kind 255, which there is not
    """
    with open(path, "rb") as file:
        head = file.read(HEAD)
        if head.startswith((b"MATLAB 7.3", b"\x89HDF")):
            return  # HDF5, which knows its own length
        if not head.startswith(b"MATLAB 5"):
            raise ValueError(f"{path.name} is cut short or no file of EEGLAB: it does not start as MATLAB's files do")
        fits(path.stat().st_size, path)
        data = memoryview(file.read())
    try:
        for _ in _entries(data, "<" if head[126:] == b"IM" else ">", 0):
            pass
        if len(head) < HEAD:
            raise ValueError(f"its header should be {HEAD} bytes long, and is {len(head)}")
    except (ValueError, struct.error, zlib.error) as error:
        raise ValueError(f"{path.name} is cut short or damaged: {error}") from None


def _entries(data: memoryview, order: str, depth: int) -> Iterator[Entry]:
    """One entry after another, each after those within it."""
    at = 0
    while at < len(data):
        kind, size, start = _tag(data, at, order)
        if kind not in KINDS or (kind == PACKED and depth) or depth > DEEP:
            raise ValueError(f"an entry is of kind {kind}, which there is not")
        if (end := start + size) > len(data):
            raise ValueError(f"its last entry should be {size:,} bytes long, and {len(data) - start:,} are left")
        found = Entry(kind, data[start:end])
        if kind == PACKED:
            for _ in _entries(memoryview(_unpacked(found.data, order)), order, 1):
                pass
        elif kind == ARRAY and size:
            _check_array(list(_entries(found.data, order, depth + 1)), order)
        yield found
        at = end if kind in (ARRAY, PACKED) else min(end + -end % 8, len(data))


def _tag(data: memoryview, at: int, order: str) -> tuple[int, int, int]:
    """An entry's kind and length, and where its data begin; of up to four bytes, they stand in the length's place."""
    kind, size = struct.unpack_from(order + "II", data, at)
    if kind >> 16 > 4:
        raise ValueError(f"an entry of {kind >> 16} bytes stands where four have room")
    return (kind & 0xFFFF, kind >> 16, at + 4) if kind >> 16 else (kind, size, at + 8)


def _unpacked(data: memoryview, order: str) -> bytes:
    """An entry that was deflated; its own first bytes say how long it is."""
    size = struct.unpack(order + "II", zlib.decompressobj().decompress(data, 8))[1]
    fits(size, "it")
    return zlib.decompressobj().decompress(data, size + 8)


def _check_array(parts: list[Entry], order: str) -> None:
    """An array says its class, its sizes and its name; then come its numbers, or the arrays that it is made of."""
    if len(parts) < 3:
        raise ValueError("an array lacks its class, its sizes or its name")
    (flags,), rest = struct.unpack_from(order + "I", parts[0].data), parts[3:]
    what, arrays = flags & 0xFF, flags & 0xFF in (CELL, STRUCT, OBJECT)
    if not arrays and what not in (CHARS, SPARSE, *NUMBERS):
        return  # a function, or one of MATLAB's own
    n = 1 + 2 * (what == SPARSE) + bool(flags & COMPLEX)
    if arrays:
        n = math.prod(struct.unpack(order + f"{len(parts[1].data) // 4}i", parts[1].data))
    if what in (STRUCT, OBJECT):
        rest = rest[what == OBJECT :]  # an object's class comes first
        n, rest = n * _n_fields(rest[:2], order), rest[2:]
    if not 0 <= n <= len(rest) or any((part.kind == ARRAY) != arrays for part in rest[:n]):
        raise ValueError(f"an array of class {what} should hold {n} entries, and holds {len(rest)}, or others")


def _n_fields(said: list[Entry], order: str) -> int:
    """How many fields a structure has: the length of a name, and all names."""
    if len(said) < 2:
        raise ValueError("a structure lacks the names of its fields")
    (length,), names = struct.unpack(order + "i", said[0].data), said[1].data
    if length < 0 or (names and (not length or len(names) % length)):
        raise ValueError(f"a structure's names of {length} bytes take {len(names)}")
    return len(names) // length if names else 0
