"""FIF files looked at from outside: are they whole, and what do they hold?"""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .guard import fits

# FIFF standard (Neuromag, 2004): a tag is four big-endian integers (kind, type, bytes of data, next) and its data;
# `next` is 0 where the next tag follows, a position where it does not, and -1 at the end.
HEAD = struct.Struct(">4i")
FILE_ID, BLOCK_START, LAST = 100, 104, -1
ROLE, NAME, GOES_ON = 115, 118, 2  # what another file is to this one, that file's name; the role of the next part
BLOCKS = {373: "epochs", 102: "raw", 112: "raw", 119: "raw", 104: "evoked", 355: "covariance"}
BIG = 2**26  # bytes unpacked, at which to ask whether more would fit
MANY = 1_000_000  # tags; an hour of 306 channels is some ten thousand


def contents(path: Path) -> set[str]:
    """What a FIF file and the parts it goes on in hold: "raw", "epochs", "evoked", "covariance".

    Raises
    ------
    ValueError : when it is no FIF file, or is cut short: its chain of tags breaks off before the last one; or when a
        part that it goes on in is not there, or is cut short.
    """
    found, parts = set(), [path]
    while len(parts) <= 1000:
        blocks, following = _look(parts[-1])
        found |= {BLOCKS[block] for block in blocks if block in BLOCKS}
        if following is None:
            return found
        if not following.is_file() or following in parts:
            why = "goes on in itself" if following in parts else "is not whole"
            raise ValueError(f"{path.name} {why}: {parts[-1].name} goes on in {following.name}, which is not there")
        parts.append(following)
    raise ValueError(f"{path.name} goes on in more than {len(parts) - 1} parts")


def later_parts(paths: Iterable[Path]) -> set[Path]:
    """Those of some FIF files that another of them goes on in: by themselves they would be read twice.

    >>> later_parts([Path("nowhere_raw.fif"), Path("nowhere.csv")])
    set()
    """
    found = set()
    for path in paths:
        if path.name.endswith((".fif", ".fif.gz")) and path.is_file():
            try:
                found.add(_look(path)[1])
            except (ValueError, OSError):
                continue  # who reads it says what is wrong with it
    return found - {None}


def _look(path: Path) -> tuple[set[int], Path | None]:
    """The kinds of the blocks in a file, and the part that follows it."""
    blocks, role, following = set(), 0, None
    with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
        try:
            for kind, said in _walk(file, path):
                if kind == BLOCK_START:
                    blocks.add(int.from_bytes(said, "big"))
                elif kind == ROLE:
                    role = int.from_bytes(said, "big")
                elif role == GOES_ON:
                    following = path.with_name(Path(said.decode("latin-1")).name)
            file.read(1)  # gzip holds its checksum against what it unpacked when it comes to the end
        except (EOFError, gzip.BadGzipFile) as error:
            raise ValueError(f"{path.name} is cut short or damaged: {error}") from None
    return blocks, following


def _walk(file: Any, path: Path) -> Iterator[tuple[int, bytes]]:
    """The tags of a file that say what is in it: kinds of blocks, and what other files are to it."""
    at, asked, size = 0, BIG, path.stat().st_size if path.suffix != ".gz" else None
    for _ in range(MANY):
        head = file.read(HEAD.size)
        kind, _, n_bytes, following = HEAD.unpack(head) if len(head) == HEAD.size else (None, 0, -1, 0)
        if at == 0 and kind != FILE_ID:
            raise ValueError(f"{path.name} is not a FIF file: it does not start with a file's identity")
        end = at + HEAD.size + n_bytes
        back = following < LAST or 0 < following < end  # the walk would never end
        if not kind or n_bytes < 0 or (size is not None and end > size) or back:
            raise ValueError(
                f"{path.name} is cut short: its last whole entry ends at byte {at:,}, and more should follow"
            )
        if size is None and end > asked:
            fits(end, path)
            asked = 2 * end
        if kind in (BLOCK_START, ROLE, NAME):
            yield kind, file.read(n_bytes)
        if following == LAST:
            return
        at = following or end
        file.seek(at)
    raise ValueError(f"{path.name} is damaged: it has more than {MANY:,} entries")
