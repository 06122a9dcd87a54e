"""Time series with labels, in the text format of the UEA and UCR archives (.ts)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from ..signal import Sensors
from ..signal.sampling import Number
from ..views import Views
from . import asked
from .guard import fits, reading


def read_ts(
    paths: str | Path | Sequence[str | Path],
    *,
    view: str = "signal",
    sfreq: Number | None = None,
    channels: Sequence[str] | None = None,
    units: Sequence[str] | None = None,
) -> Views:
    """Trials of a .ts file and what each is, as the UEA and UCR archives keep them (Bagnall et al., 2018).

    paths : a file, or several of one problem, such as its _TRAIN and its _TEST.
    view : what the signals are called.
    sfreq, channels, units : samples a second, the channels' names and units, of which the format says nothing. Without
        a rate there are no `Sensors`.

    The signals are (b, c, t); shorter ones are padded, what is padded or missing ("?") is masked. `label` (b,) is the
    number of the class in the order of the file, whose names are ``about["label"]["classes"]``; where the file holds
    a number to be told instead, `target` (b, 1). `metadata`: recording (the file), label, and split, train or test, of
    files that are called so.

    Raises
    ------
    FileNotFoundError, ValueError : no file; a broken one, with its line; files that differ in channels or classes.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as tmp:
    ...     head = "@problemName a\\n@classLabel true rest walk\\n@data\\n"
    ...     _ = Path(tmp, "a_TRAIN.ts").write_text(head + "1,2,3:4,5,6:walk\\n7,?,9:1,1:rest\\n")
    ...     read_ts(f"{tmp}/a_TRAIN.ts", sfreq=10)
    Views of 2 rows
      signal  (2, 3)  2 signal at 10 Hz; 16.7% masked
      label   ()
      metadata: recording, label, split
    """
    asked.positive(sfreq=sfreq)
    files = [_read(path) for path in asked.files(paths)]
    if not files:
        raise ValueError("read_ts needs a file at least, got none")
    first = files[0]
    for file in files[1:]:
        if (file.n_chans, file.classes) != (first.n_chans, first.classes):
            raise ValueError(f"{file.name} has {file}, {first.name} has {first}: these are two problems")
    x = _padded([series for file in files for series in file.series])
    tensors, about = {view: torch.from_numpy(x)}, {}
    for what, given in (("channels", channels), ("units", units)):
        if given is not None and len(given) != first.n_chans:
            raise ValueError(f"{first.name} has {first.n_chans} channels, {len(given)} {what} are given")
    if sfreq is not None:
        names = list(channels or (f"{view} {c + 1}" for c in range(first.n_chans)))
        unplaced = np.full((first.n_chans, 2), np.nan)
        about[view] = Sensors(names, unplaced, [view] * len(names), float(sfreq), units=list(units or ()))
    elif channels or units:
        about[view] = {"channels": list(channels or ()), "units": list(units or ())}
    tensors, about = tensors | _labels(files), about | ({"label": {"classes": first.classes}} if first.classes else {})
    return Views(tensors, metadata=_metadata(files), about=about).mask_nan()


@dataclass(frozen=True, repr=False)
class _File:
    """What one file holds: signals (c, t), of unequal length perhaps; what each is; and the classes there are."""

    name: str
    series: list[Any]
    labels: list[str]
    classes: list[str] | None
    target: bool

    @property
    def n_chans(self) -> int:
        return len(self.series[0])

    def __repr__(self) -> str:
        return f"{self.n_chans} channels and the classes {self.classes}"


def _read(path: Path) -> _File:
    with reading(path, "file of time series") as path, path.open(encoding="utf-8", errors="replace") as text:
        fits(4 * path.stat().st_size, path)
        said = dict(_header(text))
        kinds = {key: said.get(key, "false").split() for key in ("@classlabel", "@targetlabel", "@timestamps")}
        classed, target, stamped = (kind[:1] == ["true"] for kind in kinds.values())
        if stamped:
            raise ValueError("each of its values has a time stamp, which is not read here")
        n_chans = int(said.get("@dimensions", said.get("@dimension", "0"))) or None
        classes = kinds["@classlabel"][1:] if classed else None
        rows = list(_rows(text, classed or target, n_chans, classes))
        if not rows:
            raise ValueError("it has no row below @data")
        length = said.get("@serieslength") if said.get("@equallength") == "true" else None
        if length and (other := [len(c) for x, _ in rows for c in x if len(c) != int(length)]):
            raise ValueError(f"its header says {length} samples, {len(other)} signals have others, such as {other[0]}")
    return _File(path.name, [x for x, _ in rows], [label for _, label in rows], classes, target)


def _header(text: Any) -> Iterator[tuple[str, str]]:
    """What stands above the data: keys, which are in lower case, as is "true"; names of classes are as they are."""
    for line in text:
        key, _, said = line.strip().partition(" ")
        if key.lower() == "@data":
            return
        if key.startswith("@"):
            first, _, rest = said.strip().partition(" ")
            yield key.lower(), f"{first.lower()} {rest}".strip()
        elif key and key[0] not in "#%":
            raise ValueError(f"it is no .ts file: a line above @data starts with {key[:20]!r}")
    raise ValueError("it has no @data")


def _rows(
    text: Any, labelled: bool, n_chans: int | None, classes: list[str] | None
) -> Iterator[tuple[list[np.ndarray], str]]:
    """The channels and the label of each line."""
    for number, line in enumerate(text, 1):
        if not line.strip() or line[0] in "#%":
            continue
        parts = line.strip().split(":")
        label = parts.pop().strip() if labelled else ""
        n_chans = n_chans or len(parts)
        if len(parts) != n_chans or (classes is not None and label not in classes):
            found = f"{len(parts)} channels and the label {label[:20]!r}"
            raise ValueError(f"row {number} below @data has {found}, not {n_chans} and one of {classes}")
        yield [np.array(part.replace("?", "nan").split(","), float) for part in parts], label


def _padded(series: list[list[np.ndarray]]) -> Float[np.ndarray, "b c t"]:
    """Signals of unequal length, followed by NaN."""
    x = np.full((len(series), len(series[0]), max(len(one) for row in series for one in row)), np.nan, np.float32)
    for i, row in enumerate(series):
        for c, one in enumerate(row):
            x[i, c, : len(one)] = one
    return x


def _labels(files: list[_File]) -> dict[str, torch.Tensor]:
    labels, classes = [label for file in files for label in file.labels], files[0].classes
    if files[0].target:
        return {"target": torch.tensor([[float(label.replace("?", "nan"))] for label in labels])}
    return {"label": torch.tensor([classes.index(label) for label in labels])} if classes else {}


def _metadata(files: list[_File]) -> pd.DataFrame:
    stems = [Path(file.name).stem for file in files for _ in file.series]
    frame = pd.DataFrame({"recording": stems, "label": [label for file in files for label in file.labels]})
    frame = frame if files[0].classes else frame[["recording"]]
    splits = [stem.rpartition("_")[2].lower() for stem in stems]
    return frame.assign(split=splits) if {*splits} <= {"train", "test"} else frame
