"""FIF files looked at from outside: are they whole, and what do they hold?"""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

# FIFF standard (Neuromag, 2004): a tag is four big-endian integers (kind, type, bytes of data, next) and its data;
# `next` is 0 where the next tag follows, a position where it does not, and -1 at the end.
HEAD = struct.Struct(">4i")
FILE_ID, BLOCK_START, LAST = 100, 104, -1
BLOCKS = {373: "epochs", 102: "raw", 112: "raw", 119: "raw", 104: "evoked", 355: "covariance"}


def contents(path: Path) -> set[str]:
    """What a FIF file holds: "raw", "epochs", "evoked", "covariance".

    Raises
    ------
    ValueError : when it is no FIF file, or is cut short: its chain of tags breaks off before the last one.
    """
    with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
        try:
            blocks = set(_walk(file, path))
            file.read(1)  # gzip holds its checksum against what it unpacked when it comes to the end
        except (EOFError, gzip.BadGzipFile) as error:
            raise ValueError(f"{path.name} is cut short or damaged: {error}") from None
    return {BLOCKS[block] for block in blocks if block in BLOCKS}


def _walk(file, path: Path):
    """The kinds of the blocks in a file, tag by tag."""
    at, size = 0, path.stat().st_size if path.suffix != ".gz" else None
    while True:
        head = file.read(HEAD.size)
        kind, _, n_bytes, following = HEAD.unpack(head) if len(head) == HEAD.size else (None, 0, -1, 0)
        if at == 0 and kind != FILE_ID:
            raise ValueError(f"{path.name} is not a FIF file: it does not start with a file's identity")
        end = at + HEAD.size + n_bytes
        if n_bytes < 0 or (size is not None and end > size) or 0 < following < end:
            raise ValueError(
                f"{path.name} is cut short: its last whole entry ends at byte {at:,}, and more should follow"
            )
        if kind == BLOCK_START:
            yield int.from_bytes(file.read(4), "big")
        if following == LAST:
            return
        at = following or end
        file.seek(at)
