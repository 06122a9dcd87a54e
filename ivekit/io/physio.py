"""Physiological signals recorded over minutes, as windows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from einops import rearrange
from jaxtyping import Bool, Float

from ..signal import Sensors, band_pass, z_score
from ..signal.sampling import Number, fill, resample
from ..views import Views
from . import asked
from .signals import Signal, read_signals

Band = tuple[Number | None, Number | None]  # Hz
SCALES = ("none", "recording", "window")


def read_physio(
    path: str | Path,
    columns: Mapping[str, str] | None = None,
    *,
    sfreq: Number | None = None,
    to: Number | None = 30.0,
    window: Number = 8.0,
    step: Number | None = None,
    block: Number | None = 60.0,
    band: Mapping[str, Band] | None = None,
    gap: Number = 0.0,
    scale: str = "none",
    units: Mapping[str, str] | None = None,
) -> Views:
    """Windows of signals that were recorded together, one view a signal.

    path : a CSV, TSV or Parquet file of one column a signal; EDF or BDF; WFDB (.hea with its .dat, needs
        ``ivekit[physio]``).
    columns : {view: signal}, such as ``{"ecg": "ECG"}``; by default every signal, under its own name.
    sfreq : samples a second in the file, where it does not say it itself, as a table does not. to : of the result, see
        `resample`; None leaves each signal its own rate.
    window, step : length and distance of the windows in seconds; side by side by default.
    block : seconds. The recording is cut into blocks before anything else is done, so that no two blocks share a
        sample: hold out blocks, not windows, which overlap and are alike. None leaves it whole: hold out recordings.
    band : {view: (low, high)} in Hz, None for an open side, see `band_pass`; views that are not named stay as they are.
    gap : seconds. A gap of NaN no longer than this is told by a straight line; longer ones are masked.
    scale : "none" leaves the file's units; "recording" or "window" makes each block or each window a `z_score`.
    units : {view: unit}; by default what the file says, or the JSON file beside a table.

    Each view is (b, 1, t), gaps of NaN masked; its `Sensors` know the signal's name, unit and rate, and what was done
    to it. Signals of unequal length are read as far as the shortest. `metadata`: recording, block, start (s).

    Raises
    ------
    FileNotFoundError, ValueError, ImportError : no file, a broken one, no such signals, no rate, a recording or block
        shorter than a window.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as tmp:
    ...     pd.DataFrame({"ECG": np.zeros(2000)}).to_csv(f"{tmp}/a.csv", index=False)
    ...     views = read_physio(f"{tmp}/a.csv", {"ecg": "ECG"}, sfreq=100, units={"ecg": "mV"})
    >>> views
    Views of 2 rows
      ecg  (1, 240)  1 ecg at 30 Hz
      metadata: recording, block, start
    >>> views.about["ecg"].units, views.about["ecg"].history
    (['mV'], ('resampled from 100 to 30 Hz', 'cut into windows of 8 s, one every 8 s, in blocks of 20 s'))
    """
    asked.named("columns", columns, "{view: signal}, such as {'ecg': 'ECG'}")
    asked.named("band", band, "{view: (low, high)} in Hz, such as {'ecg': (0.5, 40)}")
    asked.named("units", units, "{view: unit}, such as {'ecg': 'mV'}")
    asked.positive(sfreq=sfreq, to=to, window=window, step=step, block=block)
    for view, ends in (band or {}).items():
        asked.pair(f"band[{view!r}]", ends, "(low, high) in Hz, either or None")
    if not gap >= 0:
        raise ValueError(f"gap must be 0 or more seconds, got {gap!r}")
    found = read_signals(path, None if columns is None else list(columns.values()), sfreq)
    signals = dict(zip(columns or [one.name for one in found], found))
    path, length = Path(path), min(one.seconds for one in found)
    for given, what in ((band, "a band"), (units, "a unit")):
        if unknown := [view for view in given or {} if view not in signals]:
            raise ValueError(f"{what} is given for {unknown}, the signals are {list(signals)}")
    step, block = window if step is None else step, length if block is None else min(block, length)
    if scale not in SCALES:
        raise ValueError(f"scale is one of {', '.join(SCALES)}; got {scale!r}")
    if not 0 < window <= block + 1e-6 or not step > 0:
        raise ValueError(
            f"windows of {window} s every {step} s do not fit: {path.name} is {length:g} s long, a block is {block:g} s"
        )
    grid = _Grid.of(length, block, window, step)
    frame = pd.DataFrame(
        [(Path(path.name.removesuffix(".gz")).stem, i, start) for i, start in grid.starts()],
        columns=["recording", "block", "start"],
    )
    tensors, present, about = {}, {}, {}
    for view, one in signals.items():
        kept = _Kept((band or {}).get(view, (None, None)), one.sfreq if to is None else to, gap, scale)
        x, holes = grid.windows(one, kept)
        tensors[view] = rearrange(torch.from_numpy(x).float(), "b t -> b 1 t")
        present |= {view: rearrange(torch.from_numpy(~holes), "b t -> b 1 t")} if holes.any() else {}
        unit = (units or {}).get(view, one.unit)
        about[view] = _sensors(view, replace(one, unit=unit), kept, grid)
    return Views(tensors, present, frame, about)


@dataclass(frozen=True)
class _Kept:
    """What is kept of a signal: its band, at which rate, which gaps, and on which scale."""

    band: Band
    to: Number
    gap: Number
    scale: str

    def of(self, x: Float[np.ndarray, "t"], sfreq: float) -> tuple[Float[np.ndarray, "n"], Bool[np.ndarray, "n"]]:
        """A block without gaps, filtered, resampled; and which new samples lie within one old sample of a gap."""
        x, holes = fill(x, round(self.gap * sfreq))
        x = resample(band_pass(x, sfreq, *self.band), sfreq, self.to)
        old, new = np.arange(len(holes)) / sfreq, np.arange(len(x)) / self.to
        holes = np.interp(new, old, holes.astype(float)) > 0
        return (z_score(x, holes) if self.scale == "recording" else x), holes


@dataclass(frozen=True)
class _Grid:
    """Where windows lie: blocks (their first second and length), and the windows' starts within each."""

    blocks: list[tuple[float, float]]
    within: list[np.ndarray]
    window: Number
    step: Number

    @classmethod
    def of(cls, length: float, block: Number, window: Number, step: Number) -> _Grid:
        firsts = block * np.arange(int(np.ceil(length / block - 1e-9)))
        blocks = [(float(first), float(min(block, length - first))) for first in firsts]
        return cls(blocks, [np.arange(0, long - window + 1e-6, step) for _, long in blocks], window, step)

    def starts(self) -> list[tuple[int, float]]:
        """The block and the first second of each window."""
        return [(i, first + start) for i, (first, _) in enumerate(self.blocks) for start in self.within[i].tolist()]

    def windows(self, one: Signal, kept: _Kept) -> tuple[Float[np.ndarray, "b t"], Bool[np.ndarray, "b t"]]:
        """A signal's windows, and what is not there of them."""
        n, parts = round(self.window * kept.to), []
        for (first, long), starts in zip(self.blocks, self.within):
            if not len(starts):
                continue
            begin, end = round(first * one.sfreq), round((first + long) * one.sfreq)
            x, holes = kept.of(one.x[begin:end], one.sfreq)
            at = np.minimum(np.round(starts * kept.to).astype(int), len(x) - n)  # the last may end between two samples
            parts += [(x[i : i + n], holes[i : i + n]) for i in at]
        x, holes = (np.stack(each) for each in zip(*parts))
        return (z_score(x, holes) if kept.scale == "window" else x), holes


def _sensors(view: str, one: Signal, kept: _Kept, grid: _Grid) -> Sensors:
    unit = one.unit if kept.scale == "none" else "SD"
    steps = tuple(step for step in _steps(one, kept, grid) if step)
    return Sensors([one.name], np.full((1, 2), np.nan), [view], float(kept.to), history=steps, units=[unit])


def _steps(one: Signal, kept: _Kept, grid: _Grid) -> Iterator[str]:
    """What was done to a signal, a sentence a step; "" for what was not."""
    bridged = int((~np.isfinite(one.x) & ~fill(one.x, round(kept.gap * one.sfreq))[1]).sum())
    yield f"{bridged} samples in gaps of up to {kept.gap:g} s told by straight lines" if bridged else ""
    sides = zip(("above", "below"), kept.band)
    ends = [f"{side} {edge:g} Hz" for side, edge in sides if edge is not None]
    yield f"{' and '.join(ends)}, zero phase" if ends else ""
    yield f"resampled from {one.sfreq:g} to {kept.to:g} Hz" if one.sfreq != kept.to else ""
    yield "mean 0 and standard deviation 1 in each block" if kept.scale == "recording" else ""
    yield f"cut into windows of {grid.window:g} s, one every {grid.step:g} s, in blocks of {grid.blocks[0][1]:g} s"
    yield "mean 0 and standard deviation 1 in each window" if kept.scale == "window" else ""
