"""MEG and EEG recordings, through MNE, as `Views`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import mne
import numpy as np
import torch
from einops import repeat

from ..guard import reading
from ..signal import Sensors
from ..signal.sampling import Number
from ..views import Views
from . import asked
from .cut import Cut, cropped, from_baseline, of_epochs, of_evokeds, of_raw, resampled
from .events import find_events
from .recording import Recording, open_recording
from .units import UNITS, unit_sizes, units_of

Picks = str | Sequence[str]
KINDS = {"meg": ("mag", "grad"), "ieeg": ("seeg", "ecog", "dbs")}  # words for several kinds of channels


def read_meg(
    source: Any,
    *,
    picks: Picks | Mapping[str, Picks] = "mag",
    tmin: Number | None = None,
    tmax: Number | None = None,
    baseline: tuple[Number | None, Number | None] | None = None,
    band: tuple[Number | None, Number | None] | None = None,
    sfreq: Number | None = 125.0,
    events: Any = None,
    event_id: Any = None,
) -> Views:
    """The trials of a MEG or EEG recording, filtered, cut and resampled.

    source : a file that MNE reads, continuous, of epochs or of evokeds; or its `Raw`, `Epochs` or `Evoked`s, which stay
        as they are.
    picks : "mag", "grad", "meg", "eeg", "ieeg" or another kind of channel, or a list of kinds and of channels' names.
        As {view: picks}, the same trials in several views: ``{"mag": "mag", "grad": "grad", "eeg": "eeg"}``.
    tmin, tmax : seconds from the event to the first and last sample; a Raw needs them, trials are shortened to them.
    baseline : (from, to) in seconds, whose mean is taken off each channel; None at an end is the end of the trial.
    band : (low, high) in Hz, either may be None: a zero-phase FIR filter (`mne.filter.create_filter`), run over a Raw
        before it is cut. A filter longer than what it would run over is refused.
    sfreq : samples a second of the result, see `resample`; None keeps the recording's.
    events, event_id : which moments of a Raw are trials: see `ivekit.io.events.find_events`.

    One view is called "meg", or by the kind of its channels ("eeg"), and is (b, c, t) in fT, fT/cm or uV. Projections
    in the file are applied, as MNE does. Bad channels, and a trial's channels with a gap of NaN, are masked.
    `about`: the `Sensors`; the steps taken are `Views.history`, and stand in ``about["meg"].info["description"]``.
    `metadata`: that of the Epochs, or of the table of events; and epoch (its number before any was dropped), event,
    event_name. Epochs dropped in the file, or now, are named in a log message. Of evokeds: condition, nave, kind.

    Raises
    ------
    FileNotFoundError, ValueError : no file; one that is cut short or of another kind; no such channels, events, trials.

    >>> info = mne.create_info(["a", "b", "c"], 250.0, ["mag", "mag", "eeg"])
    >>> epochs = mne.EpochsArray(np.full((3, 3, 100), 1e-13), info, tmin=-0.1, verbose="error")
    >>> views = read_meg(epochs)
    >>> views["meg"].shape, float(views["meg"][0, 0, 0].round())
    (torch.Size([3, 2, 50]), 100.0)
    >>> read_meg(epochs, picks={"mag": "mag", "eeg": "eeg"})
    Views of 3 rows
      mag  (2, 50)  2 mag at 125 Hz
      eeg  (1, 50)  1 eeg at 125 Hz
      metadata: epoch, event, event_name
    """
    asked.positive(sfreq=sfreq)
    asked.pair("band", band, "(low, high) in Hz, either or None")
    asked.pair("baseline", baseline, "(from, to) in s, either or None")
    asked.pair("tmin, tmax", (tmin, tmax), "two numbers of seconds, or None")
    recording = open_recording(source)
    chosen = _chosen(recording.info, picks, recording.name)
    every = list(dict.fromkeys(i for found in chosen.values() for i in found))
    cut = _trials(recording, every, band, events, event_id, (tmin, tmax), sfreq)
    cut = resampled(cut, sfreq, (tmin, tmax), recording.name)
    cut = cropped(from_baseline(cut, baseline, recording.name), tmin, tmax, recording.name)
    with reading(recording.path) if recording.path else nullcontext():  # where MNE cannot place the sensors
        return _views(cut, {view: [every.index(i) for i in found] for view, found in chosen.items()})


def _trials(
    recording: Recording, channels: list[int], band: Any, events: Any, event_id: Any, span: tuple, sfreq: Any
) -> Cut:
    if isinstance(recording.data, mne.io.BaseRaw):
        tmin, tmax = span
        if tmin is None or tmax is None or not tmin < tmax:
            raise ValueError(
                f"{recording.name} is continuous: say with tmin < tmax (s from the event) where a trial is; "
                f"got {tmin}, {tmax}"
            )
        found = find_events(recording.data, events, event_id, recording.name)
        return of_raw(recording, channels, band, found, span, sfreq)
    if events is not None or event_id is not None:
        raise ValueError(f"{recording.name} is cut into trials already, so events and event_id have no use here")
    return (of_evokeds if isinstance(recording.data, list) else of_epochs)(recording, channels, band)


def _chosen(info: mne.Info, picks: Picks | Mapping[str, Picks], name: str) -> dict[str, list[int]]:
    """The channels of each view."""
    if isinstance(picks, Mapping):
        if not picks:
            raise ValueError("picks name no view: say which, such as {'mag': 'mag', 'eeg': 'eeg'}")
        return {view: _channels(info, wanted, name) for view, wanted in picks.items()}
    found = _channels(info, picks, name)
    kinds = info.get_channel_types(picks=found)
    return {"meg" if {"mag", "grad"} & set(kinds) else kinds[0]: found}


def _channels(info: mne.Info, picks: Picks, name: str) -> list[int]:
    """Those asked for: of a kind in the file's order, one after another in the order asked for."""
    asked.names(picks=[picks] if isinstance(picks, str) else picks)
    kinds, wanted = info.get_channel_types(), [picks] if isinstance(picks, str) else list(picks)
    each = {
        pick: [i for i, kind in enumerate(kinds) if kind in KINDS.get(pick, (pick,)) or info.ch_names[i] == pick]
        for pick in wanted
    }
    missing = [pick for pick, found in each.items() if not found]
    if missing or not wanted:
        there = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
        raise ValueError(
            f"{name} has no channels {missing or 'when none is asked for'}: it has {there} ({info.ch_names[0]} ...)"
        )
    return list(dict.fromkeys(i for found in each.values() for i in found))


def _views(cut: Cut, chosen: Mapping[str, list[int]]) -> Views:
    """The trials in the units of views, each view with its channels, its mask and its steps."""
    tensors, present, about = {}, {}, {}
    for view, channels in chosen.items():
        info = mne.pick_info(cut.info, channels, verbose="error")
        kinds = info.get_channel_types()
        tensors[view] = torch.from_numpy((cut.x[:, channels] * unit_sizes(kinds)[:, None]).astype("f4"))
        good = ~(cut.bad[:, channels] | np.isin(info.ch_names, info["bads"]))
        if not good.all():
            present[view] = torch.from_numpy(repeat(good, "b c -> b c t", t=cut.x.shape[-1]).copy())
        steps = _steps(cut, info)
        info["description"] = "; ".join(steps)
        units = [UNITS.get(kind, ("",))[0] for kind in kinds]
        about[view] = replace(Sensors.from_info(info, cut.tmin, steps), units=units)
    return Views(tensors, present, cut.metadata, about)


def _steps(cut: Cut, info: mne.Info) -> list[str]:
    """What was done to some channels, from what their file says of itself to their unit."""
    names = set(info.ch_names)
    applied = sum(bool(p["active"]) and not names.isdisjoint(p["data"]["col_names"]) for p in info["projs"])
    units = units_of(info.get_channel_types())
    return [
        *([info["description"]] if info["description"] else []),
        *([f"{applied} projection{'s' if applied > 1 else ''} applied"] if applied else []),
        *cut.steps,
        *([f"in {' and '.join(units)}"] if units else []),
    ]
