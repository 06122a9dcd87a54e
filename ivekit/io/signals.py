"""Signals that were recorded together, from tables, EDF and WFDB: each with its own rate and unit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ..signal.sampling import Number
from .edf import edf_signals
from .guard import fits, reachable, reading
from .table import read_frame, sidecar, units_of

MICRO = ("uV", "\u00b5V", "\u03bcV", "\x83\xcaV")  # as files have it: with u, with either mu, with mu in Shift-JIS
FASTEST = 1e7  # samples a second, above which a header is wrong


@dataclass(frozen=True)
class Signal:
    """One signal of a recording: its name, samples, samples a second, and unit ("" where the file does not say it)."""

    name: str
    x: Float[np.ndarray, "t"]
    sfreq: float
    unit: str = ""

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.x) / self.sfreq


def read_signals(path: str | Path, names: Sequence[str] | None = None, sfreq: Number | None = None) -> list[Signal]:
    """The signals of a recording, in the order asked for, or all of them in the file's.

    path : a table of one column a signal (CSV, TSV, Parquet); EDF or BDF; or WFDB, by its .hea, its .dat or the name
        that these share. EDF and WFDB keep a rate for each signal. In BIDS the JSON file beside a table names the
        columns of one that has no first line of names (its "Columns"), and the rate ("SamplingFrequency").
    sfreq : samples a second, where the file does not say it.

    Raises
    ------
    FileNotFoundError, ValueError, ImportError : no file; a broken one; no such signal; no rate, or not `sfreq`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as tmp:
    ...     _ = Path(tmp, "a.csv").write_text("ECG,note\\n0.5,x\\n0.7,y\\n")
    ...     read_signals(f"{tmp}/a.csv", sfreq=100)
    [Signal(name='ECG', x=array([0.5, 0.7]), sfreq=100.0, unit='')]
    """
    path = reachable(path)
    if not path.exists() and Path(f"{path}.hea").exists():
        path = Path(f"{path}.hea")
    read = {".edf": _edf, ".bdf": _edf, ".hea": _wfdb, ".dat": _wfdb}.get(path.suffix.lower())
    found = read(path, names) if read else _table(path, names, sfreq)
    for one in found:
        if not 0 < one.sfreq < FASTEST:
            raise ValueError(f"{path.name}: {one.name!r} cannot have {one.sfreq:g} samples a second")
        if sfreq is not None and abs(one.sfreq - sfreq) > 1e-6 * sfreq:
            raise ValueError(f"{path.name} says that {one.name!r} is sampled at {one.sfreq:g} Hz, not at {sfreq:g}")
    if empty := [one.name for one in found if not len(one.x)]:
        raise ValueError(f"{path.name} holds no sample of {empty}")
    return found


def _wanted(there: Sequence[str], names: Sequence[str] | None, path: Path) -> list[int]:
    """The numbers of the signals asked for, each of which the file must have once."""
    asked = list(there if names is None else names)
    if unknown := [name for name in asked if name not in there]:
        raise ValueError(f"{path.name} has no signal {unknown}; there are {list(there)}")
    if twice := sorted({name for name in asked if there.count(name) > 1}):
        raise ValueError(f"{path.name} has several signals called {twice}")
    return [there.index(name) for name in asked]


def _table(path: Path, names: Sequence[str] | None, sfreq: Number | None) -> list[Signal]:
    said = sidecar(path)
    frame = read_frame(path, said.get("Columns"))
    rate = said.get("SamplingFrequency", sfreq)
    if rate is None:
        raise ValueError(f"{path.name} does not say how many samples a second it has: pass sfreq")
    numbers = [str(c) for c in frame.select_dtypes("number")]
    chosen = [list(frame)[i] for i in _wanted(list(map(str, frame)), numbers if names is None else names, path)]
    if words := [c for c in chosen if str(c) not in numbers]:
        raise ValueError(f"{path.name}: {words} are no numbers")
    units = units_of(said)
    return [Signal(str(c), frame[c].to_numpy(float, na_value=np.nan), float(rate), units.get(c, "")) for c in chosen]


def _edf(path: Path, names: Sequence[str] | None) -> list[Signal]:
    """MNE reads one signal at a time, since it would bring all that it reads together to the highest rate."""
    import mne

    told = edf_signals(path)
    chosen = [told[i] for i in _wanted([one.name for one in told], names, path)]
    read: Any = mne.io.read_raw_bdf if path.suffix.lower() == ".bdf" else mne.io.read_raw_edf
    found = []
    with reading(path, "recording"):
        for name, unit, sfreq in chosen:
            volts = read(path, include=[name], stim_channel=None, verbose="error").get_data()[0]
            size = 1e6 if unit in MICRO else 1e3 if unit == "mV" else 1.0  # MNE makes volts of these, and of no other
            found.append(Signal(name, size * volts, sfreq, "uV" if unit in MICRO else unit))
    return found


def _wfdb(path: Path, wanted: Sequence[str] | None) -> list[Signal]:
    """The samples are held against the checksums of the header, which tell of a file that is cut or damaged."""
    try:
        import wfdb
    except ImportError:
        raise ImportError(f"{path.name} needs wfdb: pip install 'ivekit[physio]'") from None
    record = str(path.with_suffix(""))
    with reading(path.with_suffix(".hea"), "header") as header:
        _check_rate(header)
        told: Any = wfdb.rdheader(record)
        if isinstance(told, wfdb.MultiRecord):
            raise ValueError(f"{header.name} is of several segments: name one of {told.seg_name}")
        if outside := [name for name in told.file_name or () if Path(name).name != name]:
            raise ValueError(f"{header.name} names files that do not lie beside it: {outside}")
        if told.n_sig != len(told.sig_name or ()):
            raise ValueError(f"{header.name} tells of {told.n_sig} signals and lists {len(told.sig_name or ())}")
        names = [name or f"signal {i}" for i, name in enumerate(told.sig_name or ())]  # a header may leave them out
        fits(16 * (told.sig_len or 0) * sum(told.samps_per_frame or ()), header)
        chosen = _wanted(names, wanted, header)
        found: Any = wfdb.rdrecord(record, physical=False, smooth_frames=False)
        sums = found.calc_checksum(expanded=True)
        if wrong := [names[i] for i, n in enumerate(told.checksum) if n is not None and (sums[i] - n) % 2**16]:
            raise ValueError(f"{header.name}: the samples of {wrong} are not those that its checksums tell of")
        x = found.dac(expanded=True)
    rates = [told.fs * told.samps_per_frame[i] for i in chosen]
    return [Signal(names[i], x[i], float(sfreq), told.units[i] or "") for i, sfreq in zip(chosen, rates)]


def _check_rate(header: Path) -> None:
    """The rate in a header's first line is a number: of what it cannot read, wfdb makes 250 Hz."""
    lines = (line.split() for line in header.read_text(encoding="latin-1").splitlines() if line[:1] != "#")
    first = next((line for line in lines if line), [])
    if len(first) > 2 and not re.fullmatch(r"\d+(\.\d*)?(e[+]?\d)?(/.*)?", first[2]):
        raise ValueError(f"{header.name} says {first[2]!r} where the samples a second should stand")
