"""Physiological signals recorded over minutes, as windows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from einops import rearrange

from ..signal import Sensors, band_pass, z_score
from ..signal.sampling import Number, fill, resample
from ..views import Views
from .table import read_frame

Band = tuple[Number | None, Number | None]  # Hz
SCALES = ("none", "recording", "window")


def read_physio(
    path: str | Path,
    columns: Mapping[str, str],
    *,
    sfreq: Number,
    to: Number = 30.0,
    window: Number = 8.0,
    step: Number | None = None,
    block: Number | None = 60.0,
    band: Mapping[str, Band] | None = None,
    gap: Number = 0.0,
    scale: str = "none",
) -> Views:
    """Windows of signals that were recorded together, one view a signal.

    path : a CSV, TSV or Parquet file of one column a signal.
    columns : {view: column}, such as ``{"ecg": "ECG"}``.
    sfreq, to : samples a second in the file and in the result, see `resample`.
    window, step : length and distance of the windows in seconds; side by side by default.
    block : seconds. The recording is cut into blocks before anything else is done, so that no two blocks share a
        sample: hold out blocks, not windows, which overlap and are alike. None leaves it whole: hold out recordings.
    band : {view: (low, high)} in Hz, None for an open side, see `band_pass`; views that are not named stay as they are.
    gap : seconds. A gap of NaN no longer than this is told by a straight line; longer ones are masked.
    scale : "none" leaves the file's units; "recording" or "window" makes each block or each window a `z_score`.

    Each view is (b, 1, t), gaps of NaN masked. `metadata`: recording, block, start (s).

    Raises
    ------
    FileNotFoundError, ValueError : no file, a broken one, no such columns, a recording or block shorter than a window.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as tmp:
    ...     pd.DataFrame({"ECG": np.zeros(2000)}).to_csv(f"{tmp}/a.csv", index=False)
    ...     read_physio(f"{tmp}/a.csv", {"ecg": "ECG"}, sfreq=100)
    Views of 2 rows
      ecg  (1, 240)  1 ecg at 30 Hz
      metadata: recording, block, start
    """
    path, band = Path(path), band or {}
    frame = read_frame(path)
    if unknown := [c for c in columns.values() if c not in frame]:
        raise ValueError(f"{path.name} has no column {unknown}; there are {list(frame)}")
    if unknown := [view for view in band if view not in columns]:
        raise ValueError(f"a band is given for {unknown}, the signals are {list(columns)}")
    if scale not in SCALES:
        raise ValueError(f"scale is one of {', '.join(SCALES)}; got {scale!r}")
    signals = rearrange(frame[list(columns.values())].to_numpy(float), "t c -> c t")
    step, length = window if step is None else step, len(frame) / sfreq
    block = length if block is None else block
    if not 0 < window <= min(block, length) or step <= 0:
        raise ValueError(
            f"windows of {window} s every {step} s do not fit: {path.name} is {length:g} s long, a block is {block:g} s"
        )
    bands, ready = [band.get(view, (None, None)) for view in columns], (sfreq, to, gap, scale)
    parts, places = [], []
    for i in range(int(np.ceil(length / block - 1e-9))):
        x, holes = _block(signals[:, round(i * block * sfreq) : round((i + 1) * block * sfreq)], bands, *ready)
        starts = np.arange(0, x.shape[-1] / to - window + 1e-6, step)
        parts += [_cut(x[:, rows], holes[:, rows], scale) for rows in _windows(starts, window, to)]
        places += [(path.stem, i, i * block + start) for start in starts]
    x, holes = (torch.from_numpy(np.stack(each)) for each in zip(*parts))
    tensors = {view: rearrange(x[:, c].float(), "b t -> b 1 t") for c, view in enumerate(columns)}
    present = {view: rearrange(~holes[:, c], "b t -> b 1 t") for c, view in enumerate(columns) if holes[:, c].any()}
    about = {view: Sensors([name], np.full((1, 2), np.nan), [view], float(to)) for view, name in columns.items()}
    return Views(tensors, present, pd.DataFrame(places, columns=["recording", "block", "start"]), about)


def _block(
    x: np.ndarray, bands: list[Any], sfreq: Number, to: Number, gap: Number, scale: str
) -> tuple[np.ndarray, np.ndarray]:
    """Signals (c, t) without gaps, filtered, resampled; and which new samples lie within one old sample of a gap."""
    x, holes = fill(x, round(gap * sfreq))
    x = np.stack([band_pass(one, sfreq, *band) for one, band in zip(x, bands)])
    x = resample(x, sfreq, to)
    old, new = np.arange(holes.shape[-1]) / sfreq, np.arange(x.shape[-1]) / to
    holes = np.stack([np.interp(new, old, missing.astype(float)) > 0 for missing in holes])
    return z_score(x, holes) if scale == "recording" else x, holes


def _cut(x: np.ndarray, holes: np.ndarray, scale: str) -> tuple[np.ndarray, np.ndarray]:
    return z_score(x, holes) if scale == "window" else x, holes


def _windows(starts: np.ndarray, window: Number, sfreq: Number) -> list[slice]:
    return [slice(first, first + round(window * sfreq)) for first in np.round(starts * sfreq).astype(int)]
