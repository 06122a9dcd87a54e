"""What tests/fuzz has found: the least change of a good file that once was no clear error, or the end of Python."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import h5py
import numpy as np
from spoilt import SFREQ, Spoil, Way, at, npy, put, said, tag, tags

ASPECT, COVARIANCE = 210, 3531


def head(kind: int, place: int, number: int) -> Spoil:
    """The first tag of a kind says another type (4) or another place of the next one (12)."""

    def change(path: Path) -> None:
        packed = path.suffix == ".gz"
        data = bytearray(gzip.decompress(path.read_bytes()) if packed else path.read_bytes())
        here = place + next(start for start, this in tags(bytes(data)) if this == kind)
        data[here : here + 4] = struct.pack(">i", number)
        path.write_bytes(gzip.compress(data) if packed else data)

    return change


def unplaced(path: Path) -> None:
    """A point has no place."""
    with h5py.File(path, "a") as file:
        file["x"][0] = np.nan


CIRCLES = [
    Way("entries in a circle", head(SFREQ, 12, 0x14)),
    Way("entries that go back before the first", head(SFREQ, 12, -(2**20))),
]
NPY = [
    Way("words of no letters", said(npy("(-1,)", "'<U0'"))),  # numpy's map divides by the bytes of one: SIGFPE
    Way("an array of no axis", said(npy("()", body=bytes(8)))),
    Way("a header that does not end", said(npy("(3, 4"))),
]
NUMBER = rb"\x06\0\0\0\x08\0\0\0\x06"  # of MATLAB: eight bytes, of which the first says that it is an array of float64

FOUND: dict[str, list[Way]] = {
    "fif": [*CIRCLES, Way("a number of a type that there is not", head(SFREQ, 4, 32704))],
    "fif.gz": CIRCLES,
    "epochs": [Way("1e-43 Hz", tag(SFREQ, struct.pack(">f", 1e-43)))],
    "evoked": [*CIRCLES, Way("averages of no kind", tag(ASPECT, struct.pack(">i", 2**24)))],
    "covariance": [Way("a number of a type that there is not", head(COVARIANCE, 4, 32704))],
    "eeglab": [  # SciPy reads from anywhere in memory: SIGSEGV
        Way("an entry of a kind that there is not", put(rb"\x09\0\0\0(.{4})", b"\xff\0\0\0....")),
        Way("numbers without their imaginary part", put(NUMBER + rb"\0", b"\x06\0\0\0\x08\0\0\0\x06\x08")),
    ],
    "wfdb": [
        Way("a signal more than it tells of", put(r"$", "a.dat 16 9(0)/mV 16 0 0 0 0 X\n")),
        Way("a signal without a name", put(" RESP", ""), True),
    ],
    "points": [Way("a point without a place", unplaced)],
    "nifti": [Way("a unit that there is not", at(123, b"\x07"))],
    "rows.npy": [*NPY, Way("rows of another number", said(npy("(1, 4)", "'<f4'", bytes(16))))],
    "present.npy": [*NPY, Way("a mask of numbers", said(npy("(3,)", "'|u1'", bytes(3))))],
    "about.json": [
        Way("categories that are none", put(r'"subject": "[a-z]+"', '"subject": {"categories": null}')),
        Way("a file of it that is a list", put(r'"files": \[', '"files": [["a"],')),
        Way("a view that is not there is described", put(r'"about": \{', '"about": {"b": 1,')),
        Way("a view of a long name", put(r'"views": \[', f'"views": ["{"a" * 5000}",')),
    ],
    "info.fif": [
        *CIRCLES,
        Way("a kind of sensor that is a list", put(r'"kinds": \[\s*"mag"', '"kinds": [["mag"]', "about.json")),
        Way("a rate that is a word", put(r'"sfreq": [\d.]+', '"sfreq": "fast"', "about.json")),
    ],
    "confounds": [
        Way("a confound that is a word", put(r"\n0[.]\d+", "\nhigh")),
        Way("a confound without end", put(r"\n0[.]\d+", "\ninf")),
    ],
}
