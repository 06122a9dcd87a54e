"""A recording of MEG or EEG, opened by MNE and known to be whole: some readers return what is left of a file."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mne
from scipy.io.matlab import MatReadError

from ..fif import contents
from .edf import edf_header
from .guard import fits, reading
from .matlab import check_matlab

COPIES = 3  # of a recording or of its trials in memory, float64, while they are filtered, cut and resampled
FASTEST = 1e7  # Hz
BYTES = {"INT_16": 2, "UINT_16": 2, "INT_32": 4, "IEEE_FLOAT_32": 4}  # a sample, as BrainVision's headers call it


@dataclass(frozen=True)
class Recording:
    """MNE's Raw or Epochs, or a list of its Evokeds; what messages call it; its file, if it has one."""

    data: Any
    name: str
    path: Path | None = None

    @property
    def info(self) -> mne.Info:
        """That of MNE's object."""
        return self.data[0].info if isinstance(self.data, list) else self.data.info

    def loaded(self, channels: Sequence[int]) -> Any:
        """A copy of the Raw with some of its channels in memory, if they fit there."""
        fits(COPIES * 8 * len(channels) * int(self.data.n_times), self.name)
        with reading(self.path) if self.path else nullcontext():
            return self.data.copy().pick(list(channels)).load_data(verbose="error")


def open_recording(source: Any) -> Recording:
    """A file that MNE reads, or its Raw, Epochs or Evokeds, ready to be cut.

    Raises
    ------
    TypeError, FileNotFoundError, ValueError : what is no recording; no file; one that is cut short, that belies its
        header, or that holds something else.

    >>> open_recording(mne.io.RawArray([[0.0, 1.0]], mne.create_info(1, 100.0), verbose="error")).name
    'this RawArray'
    """
    if isinstance(source, mne.Evoked):
        source = [source]
    if isinstance(source, list | tuple) and source and all(isinstance(one, mne.Evoked) for one in source):
        return Recording(list(source), "these Evokeds")
    if isinstance(source, mne.BaseEpochs | mne.io.BaseRaw):
        file = getattr(source, "filename", None) or (getattr(source, "filenames", None) or [None])[0]
        path = Path(file) if file and Path(file).exists() else None
        return Recording(source, Path(file).name if file else f"this {type(source).__name__}", path)
    if not isinstance(source, str | Path):
        raise TypeError(f"read_meg takes a file, or mne's Raw, Epochs or Evoked, got {type(source).__name__}")
    with reading(source) as path:
        check_whole(path)
        found = Recording(_opened(path), path.name, path)
        if not 0 < found.info["sfreq"] < FASTEST or not found.info.get_channel_types():  # it raises at unknown kinds
            raise ValueError(f"{path.name} says that it has {found.info['sfreq']} samples a second")
        return found


def check_whole(path: Path) -> None:
    """Nothing, if a recording is as long as its header says: FIF, EDF, BDF, BrainVision and EEGLAB.

    One thing nobody can tell: a BrainVision file cut between two samples after its last marker, if its header does not
    count them.

    Raises
    ------
    ValueError : when it is not, or when the header makes no sense.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as tmp:
    ...     _ = Path(tmp, "a.edf").write_bytes(b"0" + b" " * 300)
    ...     check_whole(Path(tmp, "a.edf"))
    Traceback (most recent call last):
    ValueError: a.edf cannot be read: it is cut short or no EDF file, its header tells of '' signals
    """
    ending = path.suffix.lower()
    if ending in {".edf", ".bdf"}:
        edf_header(path)
    elif ending in {".vhdr", ".ahdr"}:
        _check_brainvision(path)
    elif ending == ".set":
        check_matlab(path)
    elif path.name.endswith((".fif", ".fif.gz")):
        contents(path)


# opening --------------------------------------------------------------------------------------------------------------


def _opened(path: Path) -> Any:
    """MNE's object; what it leaves on disk until it is asked for is known to be there."""
    if path.name.endswith((".fif", ".fif.gz")):
        return _open_fif(path)
    if path.suffix.lower() == ".set":
        return _open_eeglab(path)
    series = _series_of_4d(path)
    raw = mne.io.read_raw_bti(series, head_shape_fname=None, verbose="error") if series else None
    return _sensible(raw or mne.io.read_raw(path, verbose="error"), path)


def _open_fif(path: Path) -> Any:
    holds = contents(path)
    if "epochs" in holds:
        fits(2 * COPIES * path.stat().st_size, path)  # four bytes a sample become eight
        return mne.read_epochs(path, verbose="error")
    if "raw" in holds:
        return _sensible(mne.io.read_raw_fif(path, verbose="error"), path)
    if "evoked" in holds:
        found = mne.read_evokeds(path, verbose="error")
        if not found or not all(one.kind for one in found):  # MNE looks it up late, and raises at a kind that is none
            raise ValueError(f"{path.name} holds no averages")
        return found
    what = " and ".join(sorted(holds)) or "no data"
    raise ValueError(f"{path.name} holds {what}, and neither a continuous recording nor epochs nor evokeds")


def _open_eeglab(path: Path) -> Any:
    """A continuous set, or one that is cut into trials. Its samples may be in a file of their own, of 4 bytes each."""
    try:
        raw = mne.io.read_raw_eeglab(path, verbose="error")
    except MatReadError as error:  # it is no ValueError
        raise ValueError(f"{path.name} cannot be read: {error}") from error
    except TypeError as error:
        if "read_epochs_eeglab" not in str(error):
            raise
        return mne.read_epochs_eeglab(path, verbose="error")
    if (samples := Path(raw.filenames[0])).suffix == ".fdt":
        _check_length(path, samples, 4 * len(raw.ch_names) * int(raw.n_times))
        return _sensible(raw, path)
    within = mne.io.read_raw_eeglab(path, preload=True, verbose="error")
    if within.n_times != raw.n_times:
        raise ValueError(f"{path.name} says that it is {raw.n_times:,} samples long, and holds {within.n_times:,}")
    return _sensible(within, path)


def _series_of_4d(path: Path) -> Path | None:
    """The time series of a 4D/BTi run, which lies beside its "config" and has no ending: "c,rfDC"."""
    found = sorted(path.glob("*c,rf*")) if path.is_dir() else [path]
    return next((one for one in found if ",rf" in one.name and (one.parent / "config").exists()), None)


def _sensible(raw: Any, path: Path) -> Any:
    if raw.n_times < 1:
        raise ValueError(f"{path.name} says that it is {raw.n_times} samples long")
    return raw


# headers --------------------------------------------------------------------------------------------------------------


def _check_length(path: Path, samples: Path, expected: int) -> None:
    if (size := samples.stat().st_size) != expected:
        short = "is cut short" if size < expected else "is not what its header says"
        raise ValueError(f"{path.name} {short}: {samples.name} should be {expected:,} bytes long, and is {size:,}")


def _check_brainvision(path: Path) -> None:
    """Header, samples and markers are three files, none of which says how long another is, but for some headers."""
    said = _lines(path, path)
    entries = dict(re.findall(r"^(\w+)=(.*?)\s*$", said.split("[Channel Infos]")[0], re.MULTILINE))
    entries |= dict(re.findall(r"^(BinaryFormat)=(.*?)\s*$", said, re.MULTILINE))
    listed = len(re.findall(r"^Ch\d+=", said.partition("[Channel Infos]")[2].partition("\n[")[0], re.MULTILINE))
    if not entries.get("NumberOfChannels", "").isdigit() or int(entries["NumberOfChannels"]) != listed:
        said = entries.get("NumberOfChannels", "nothing")
        raise ValueError(f"{path.name} is cut short or damaged: it says {said} of its channels and lists {listed}")
    if entries.get("BinaryFormat") not in BYTES:
        return  # samples as text: MNE counts them
    samples, frame = _beside(path, entries, "DataFile"), listed * BYTES[entries["BinaryFormat"]]
    n_times = math.ceil(samples.stat().st_size / frame)
    _check_length(path, samples, frame * int(entries.get("DataPoints", n_times)))
    if "MarkerFile" in entries:
        _check_markers(path, _beside(path, entries, "MarkerFile"), n_times)


def _lines(path: Path, part: Path) -> str:
    said = part.read_text(encoding="utf-8", errors="replace")
    if re.search(r"^(Ch|Mk)\d+=.*\Z", said, re.MULTILINE) and not said.endswith("\n"):
        raise ValueError(f"{path.name} cannot be read: {part.name} is cut short, it ends within a line")
    return said


def _beside(path: Path, entries: dict[str, str], key: str) -> Path:
    beside = path.with_name(entries.get(key, "").replace("$b", path.stem))
    if not beside.is_file():
        raise ValueError(f"{path.name} lacks its {key} {beside.name}, which should lie beside it")
    return beside


def _check_markers(path: Path, markers: Path, n_times: int) -> None:
    """``Mk3=Stimulus,S 1,500,1,0``: kind, description, sample, duration, channel."""
    lines = re.findall(r"^Mk\d+=(.*?)\s*$", _lines(path, markers), re.MULTILINE)
    fields = [line.split(",") for line in lines]
    if broken := [line for line, parts in zip(lines, fields) if len(parts) < 5 or not parts[2].isdigit()]:
        raise ValueError(f"{path.name} cannot be read: {markers.name} is cut short or damaged at {broken[0]!r}")
    last = max((int(parts[2]) for parts in fields), default=0)
    if last > n_times:
        raise ValueError(f"{path.name} is cut short: its markers go to sample {last:,}, its data to {n_times:,}")
