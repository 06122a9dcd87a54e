"""How a good file becomes a bad one: seeded changes of its bytes, its words, and of what formats say of themselves.

``changed(name, data, others, random)``. Where a file is packed or has a structure (gzip, zip, npy, safetensors, JSON,
FIF), half of the changes are made inside it and what holds it together (lengths, checksums) is made anew, so that they
get past the first look of a reader.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import struct
import zipfile
from collections.abc import Callable, Iterator, Sequence
from random import Random

Change = Callable[[bytes, Random], bytes]

NUMBERS = (0, 1, -1, 2, 127, 128, 255, 256, 32767, 32768, 65535, 2**24, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1)
REALS = (0.0, -1.0, 1e-300, 1e300, float("nan"), float("inf"), -float("inf"), 0.5, 1e9)
WORDS = (
    "nan", "NaN", "inf", "-inf", "1e309", "-1", "0", "-0.0", "1e-320", "", " ", "99999999999999999999", "0x10", "1_000",
    "1,5", "true", "None", "n/a", "null", "[]", "{}", "'", '"', '""', "\\", "/", "../..", "/dev/zero", "é", "日本",
    "\u202e", "\x00", "\ufeff", "=1+1", "%s", "{0}", "<x>", "&amp;", ";", "#", "2147483648", "a" * 5000, "9" * 400,
    "1e5", "-7.5",
)  # fmt: skip


def changed(name: str, data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """A file of this name with one to six changes. others : good files of the same format, to splice with."""
    for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
        data = random.choice(_kinds(name, data, others))(data, random)
    return data


def _kinds(name: str, data: bytes, others: Sequence[bytes]) -> list[Change]:
    """What can be done to a file, by its name and its first bytes."""
    raw: list[Change] = [of_bytes] * 5 + ([spliced(others)] if others else [])
    inside = _inside(name, data)
    return raw + [inside] * len(raw) if inside else raw


def _inside(name: str, data: bytes) -> Change | None:
    for start, inside in (
        (b"\x1f\x8b", of_gzip), (b"PK", of_zip), (b"\x93NUMPY", of_npy), (b"0 ", of_fields), (b"\0\0\0", of_fif)
    ):  # fmt: skip
        if data.startswith(start) and (inside is not of_fif or ".fif" in name):
            return inside
    if name.endswith(".safetensors"):
        return of_safetensors
    if name.endswith(".json"):
        return of_json
    return of_text if name.endswith((".tsv", ".csv", ".ts", ".vhdr", ".vmrk", ".hea", ".imzML")) else None


# bytes ----------------------------------------------------------------------------------------------------------------


def of_bytes(data: bytes, random: Random) -> bytes:
    """One change that knows nothing of the format."""
    return random.choice(BYTES)(data, random)


def _place(data: bytes, random: Random) -> int:
    """Anywhere; every other time near an end, where headers and footers are."""
    last = max(0, len(data) - 1)
    near = (0, last), (0, last), (0, min(last, 400)), (max(0, last - 400), last)
    return random.randint(*random.choice(near))


def _piece(data: bytes, random: Random) -> tuple[int, int]:
    start = _place(data, random)
    return start, min(len(data), start + random.choice((1, 2, 4, 8, 16, 64, 512, 4096)))


def flipped(data: bytes, random: Random) -> bytes:
    at = _place(data, random)
    return data[:at] + bytes([(data[at : at + 1] or b"\0")[0] ^ 1 << random.randrange(8)]) + data[at + 1 :]


def set_byte(data: bytes, random: Random) -> bytes:
    at = _place(data, random)
    return data[:at] + bytes([random.choice((0, 1, 9, 10, 13, 32, 45, 48, 57, 127, 128, 255))]) + data[at + 1 :]


def set_number(data: bytes, random: Random) -> bytes:
    """A number that is often the edge of something, in any order of bytes and any size."""
    at, order = _place(data, random), random.choice("<>")
    if random.random() < 0.25:
        new = struct.pack(order + random.choice("fd"), random.choice((0.0, -1.0, 0.5, 1e9, float("nan"), float("inf"))))
    else:
        size = random.choice((1, 2, 4, 8))
        new = (random.choice(NUMBERS) % 256**size).to_bytes(size, "little" if order == "<" else "big")
    return data[:at] + new + data[at + len(new) :]


def cut(data: bytes, random: Random) -> bytes:
    return data[: _place(data, random)]


def removed(data: bytes, random: Random) -> bytes:
    start, stop = _piece(data, random)
    return data[:start] + data[stop:]


def inserted(data: bytes, random: Random) -> bytes:
    at = _place(data, random)
    return data[:at] + random.randbytes(random.choice((1, 2, 4, 16, 300))) + data[at:]


def repeated(data: bytes, random: Random) -> bytes:
    start, stop = _piece(data, random)
    return data[:stop] + data[start:stop] * random.choice((1, 1, 3, 50)) + data[stop:]


def moved(data: bytes, random: Random) -> bytes:
    """A piece stands where another stood."""
    (start, stop), at = _piece(data, random), _place(data, random)
    return data[:at] + data[start:stop] + data[at + stop - start :]


def blank(data: bytes, random: Random) -> bytes:
    start, stop = _piece(data, random)
    return data[:start] + random.choice((b"\0", b"\xff", b" ")) * (stop - start) + data[stop:]


BYTES: tuple[Change, ...] = (
    flipped, flipped, set_byte, set_byte, set_number, set_number, set_number, cut, removed, inserted, repeated, moved,
    blank,
)  # fmt: skip


def spliced(others: Sequence[bytes]) -> Change:
    """The beginning of one file and the end of another."""

    def splice(data: bytes, random: Random) -> bytes:
        other = random.choice(others)
        at = _place(data, random)
        return data[:at] + other[at if random.random() < 0.5 else _place(other, random) :]

    return splice


# words ----------------------------------------------------------------------------------------------------------------


def of_text(data: bytes, random: Random) -> bytes:
    """One change of lines, numbers or words; what is not UTF-8 stays as it is."""
    return random.choice((word, word, word, line, line, of_bytes))(data, random)


def word(data: bytes, random: Random) -> bytes:
    """A number or a word is another."""
    found = list(re.finditer(rb"-?\d[\d.eE+-]*|[A-Za-z_]+", data[:20_000]))
    if not found:
        return of_bytes(data, random)
    here = random.choice(found)
    new = here[0] if random.random() < 0.1 else random.choice(WORDS).encode()
    other = random.choice(found)[0] if random.random() < 0.2 else new
    return data[: here.start()] + other + data[here.end() :]


def line(data: bytes, random: Random) -> bytes:
    """A line is gone, twice, elsewhere, a thousand times, or has lost or gained a cell."""
    lines = data.split(b"\n")
    at, to = random.randrange(len(lines)), random.randrange(len(lines))
    cells = re.split(rb"([,\t=:])", lines[at])
    here = random.randrange(len(cells))
    new = {
        "gone": lines[:at] + lines[at + 1 :],
        "twice": [*lines[:at], lines[at], *lines[at:]],
        "elsewhere": [*lines[:to], lines[at], *lines[to:]],
        "often": [*lines[:at], *[lines[at]] * random.choice((30, 1000)), *lines[at:]],
        "fewer": [*lines[:at], b"".join(cells[:here] + cells[here + 2 :]), *lines[at + 1 :]],
        "more": [*lines[:at], b"".join(cells[: here + 1] + cells[here:]), *lines[at + 1 :]],
        "other ends": data.replace(b"\n", random.choice((b"\r\n", b"\r", b"", b"\n\n"))).split(b"\n"),
    }
    return b"\n".join(new[random.choice(list(new))])


def of_fields(data: bytes, random: Random) -> bytes:
    """EDF's header: fields of so many characters (Kemp et al., 1992); the third part is of the signals."""
    at = random.choice((0, 8, 88, 168, 176, 184, 192, 236, 244, 252, *range(256, min(len(data), 1300), 8)))
    size = 4 if at == 252 else 8
    return data[:at] + random.choice(WORDS).encode()[:size].ljust(size) + data[at + size :]


# what a format says of itself -----------------------------------------------------------------------------------------


def of_gzip(data: bytes, random: Random) -> bytes:
    """The unpacked bytes are changed and packed again."""
    try:
        inner = gzip.decompress(data)
    except (OSError, EOFError, ValueError, ArithmeticError):
        return of_bytes(data, random)
    except Exception as error:  # zlib.error, which has no public base
        if type(error).__name__ != "error":
            raise
        return of_bytes(data, random)
    change = _inside("a.fif" if inner.startswith(b"\0\0\0\x64") else "a.tsv", inner) or of_bytes
    new = random.choice((change, of_bytes))(inner, random)
    return gzip.compress(new, 1, mtime=0)


def of_zip(data: bytes, random: Random) -> bytes:
    """A member is changed, and the archive made anew; one in ten loses a member, or has it under another name."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(name, archive.read(name)) for name in archive.namelist()]
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, LookupError, NotImplementedError, RuntimeError):
        return of_bytes(data, random)
    if not members:
        return of_bytes(data, random)
    at = random.randrange(len(members))
    name, body = members[at]
    if random.random() < 0.1:
        members[at : at + 1] = random.choice(([], [(random.choice(WORDS).replace("\0", "") or "x", body)]))
    else:
        members[at] = (name, (_inside(name, body) or of_bytes)(body, random))
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, body in members:
            archive.writestr(zipfile.ZipInfo(name), body)
    return made.getvalue()


def of_npy(data: bytes, random: Random) -> bytes:
    """The header of a .npy says something else, at its right length."""
    size = struct.unpack("<H", data[8:10].ljust(2, b"\0"))[0]
    head, body = data[10 : 10 + size], data[10 + size :]
    new = random.choice((word, word, of_bytes, dtype))(head, random)[: 2**16 - 1]
    return data[:8] + struct.pack("<H", len(new)) + new + body


DTYPES = "<f4 >f8 |O <U4 |S0 |V8 <c8 <m8 <M8[ns] |b1 <i8 <f2 <f16 |u1 <U0".split()


def dtype(head: bytes, random: Random) -> bytes:
    return re.sub(rb"'descr': '[^']*'", f"'descr': '{random.choice(DTYPES)}'".encode(), head)


def of_safetensors(data: bytes, random: Random) -> bytes:
    """The header, JSON behind its length, says something else."""
    size = struct.unpack("<Q", data[:8].ljust(8, b"\0"))[0]
    new = random.choice((of_json, of_json, word))(data[8 : 8 + size], random)
    return struct.pack("<Q", len(new)) + new + data[8 + size :]


VALUES = (None, True, -1, 0, 1.5, 1e308, 2**70, [], {}, [0], [[1]], {"a": 1}, "sensors")


def of_json(data: bytes, random: Random) -> bytes:
    """A value, anywhere in it, is another, gone, or in a box; or a word of the text is."""
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return word(data, random)
    places = list(_places(tree))
    if not places or random.random() < 0.3:
        return word(data, random)
    box, key = random.choice(places)
    act = random.random()
    if act < 0.15:
        del box[key]
    elif act < 0.3:
        box[key] = random.choice(([box[key]], {"a": box[key]}, {"sensors": box[key]}))
    else:
        box[key] = random.choice((*WORDS, *VALUES))
    return json.dumps(tree).encode()


def _places(tree: object) -> Iterator[tuple]:
    """Every value of a JSON text, as what holds it and its key."""
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in list(pairs):
        yield tree, key
        yield from _places(value)


def of_fif(data: bytes, random: Random) -> bytes:
    """A tag (kind, type, size, next; big-endian) is of another kind, size or place, or holds another number."""
    found, at = [], 0
    while 0 <= at <= len(data) - 16 and len(found) < 2000:
        _, _, size, following = struct.unpack(">iIii", data[at : at + 16])
        found.append((at, size))
        at = following if following > 0 else at + 16 + max(size, 0)
    if not found:
        return of_bytes(data, random)
    at, size = random.choice(found)
    if random.random() < 0.5 and size > 3:
        at += 16 + 4 * random.randrange(min(size // 4, 24))
        reals = [struct.pack(">f", value) for value in REALS if abs(value) < 1e38 or value != value]
        new = random.choice([*reals, *((n % 2**32).to_bytes(4, "big") for n in NUMBERS)])
    else:
        at += 4 * random.randrange(4)
        old = int.from_bytes(data[at : at + 4], "big")
        new = (random.choice((*NUMBERS, old + 1, old - 1, old + 4, 2 * old)) % 2**32).to_bytes(4, "big")
    return data[:at] + new + data[at + 4 :]
