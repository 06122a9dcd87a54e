"""Recordings cut into trials, and what every trial goes through."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import mne
import numpy as np
import pandas as pd
from einops import rearrange
from jaxtyping import Bool, Float

from ..signal.sampling import HALF, Number, fill, ratio, resample
from .events import Events
from .guard import fits
from .recording import COPIES, Recording

logger = logging.getLogger(__name__)
Band = tuple[Number | None, Number | None]


@dataclass(frozen=True)
class Cut:
    """Trials on their way: (b, c, t) in SI units, which of (b, c) are not to be trusted, and what has been done."""

    x: Float[np.ndarray, "b c t"]
    bad: Bool[np.ndarray, "b c"]
    info: mne.Info
    tmin: float
    metadata: pd.DataFrame
    margin: int = 0  # samples before and after the trial, there for the filter of the resampling alone
    steps: tuple[str, ...] = ()

    def times(self) -> Float[np.ndarray, "t"]:
        """Seconds of each sample from the event."""
        return self.tmin + np.arange(self.x.shape[-1]) / self.info["sfreq"]

    def then(self, step: str, **changes: Any) -> Cut:
        """The same trials after one more step."""
        return replace(self, steps=(*self.steps, step), **changes)


# out of recordings ----------------------------------------------------------------------------------------------------


def of_epochs(recording: Recording, chosen: list[int], band: Band | None) -> Cut:
    """The epochs that were not dropped."""
    epochs = recording.data.copy().load_data()
    epochs.drop_bad(verbose="error")
    _say_dropped(epochs, recording.name)
    x = epochs.get_data(picks=chosen, verbose="error")
    return _of_arrays(x, epochs.info, chosen, float(epochs.times[0]), _metadata(epochs), band, recording.name)


def of_evokeds(recording: Recording, chosen: list[int], band: Band | None) -> Cut:
    """One row a condition."""
    first = recording.data[0]
    for one in recording.data[1:]:
        if one.ch_names != first.ch_names or len(one.times) != len(first.times) or one.tmin != first.tmin:
            raise ValueError(
                f"{recording.name} holds evokeds of other channels or times, which are no rows of one table: "
                f"{first.comment!r} is {first.data.shape} from {first.tmin:g} s, "
                f"{one.comment!r} {one.data.shape} from {one.tmin:g} s"
            )
    said = [(one.comment or "", one.nave, one.kind) for one in recording.data]
    x = np.stack([one.data[chosen] for one in recording.data])
    metadata = pd.DataFrame(said, columns=["condition", "nave", "kind"])
    return _of_arrays(x, first.info, chosen, float(first.times[0]), metadata, band, recording.name)


def _of_arrays(
    x: Float[np.ndarray, "b c t"],
    info: mne.Info,
    chosen: list[int],
    tmin: float,
    metadata: pd.DataFrame,
    band: Band | None,
    name: str,
) -> Cut:
    x, holes = fill(x)
    info = mne.pick_info(info, chosen, verbose="error")
    cut = Cut(x, np.asarray(holes.any(-1)), info, tmin, metadata, steps=_bridged(holes))
    if band is None:
        return cut
    _check_band(band, info["sfreq"], x.shape[-1], f"the trials of {name}")
    x = mne.filter.filter_data(x, info["sfreq"], *band, verbose="error")
    return cut.then(_band_step(band), x=x, info=_changed(info, highpass=band[0], lowpass=band[1]))


def of_raw(
    recording: Recording, chosen: list[int], band: Band | None, found: Events, span: tuple, sfreq: Number | None
) -> Cut:
    """Filters, then cuts; trials keep a margin of the recording around them, so that resampling meets no edge."""
    raw, holes = _prepared(recording, chosen)
    steps = [*_bridged(holes)]
    if band is not None:
        _check_band(band, raw.info["sfreq"], int(raw.n_times), recording.name)
        raw.filter(*band, picks="all", verbose="error")
        steps += [_band_step(band)]
    epochs = mne.Epochs(raw, found.events, found.names, *span, None, metadata=found.table, verbose="error")
    epochs.drop_bad(verbose="error")
    _say_dropped(epochs, recording.name)
    step = ratio(raw.info["sfreq"], sfreq or raw.info["sfreq"])
    # as far as the filter reaches, in whole samples of both rates
    margin = 0 if step == 1 else step.numerator * math.ceil(HALF * max(1, step) / step.numerator)
    first = epochs.events[:, 0] - raw.first_samp + round(epochs.tmin * raw.info["sfreq"])
    at = first[:, None] + np.arange(-margin, len(epochs.times) + margin)
    inside = np.clip(at, 0, int(raw.n_times) - 1)  # before the recording it is as at its start
    fits(COPIES * 8 * len(chosen) * at.size, f"{len(at)} trials of {recording.name}")
    bad = rearrange(np.asarray(holes[:, inside].any(-1)), "c b -> b c")
    x = np.stack([samples[inside] for samples in _channels(raw)], axis=1)
    steps += [f"cut from {span[0]:g} to {span[1]:g} s around each event"]
    return Cut(x, bad, raw.info, float(epochs.times[0]), _metadata(epochs), margin, tuple(steps))


def _prepared(recording: Recording, chosen: list[int]) -> tuple[Any, Bool[np.ndarray, "c t"]]:
    """The channels asked for, without gaps of NaN and with the projections applied; and where the gaps were.

    A projection is of all its channels, be some of them asked for or none.
    """
    names = [recording.info.ch_names[i] for i in chosen]
    projected = {name: None for p in recording.info["projs"] if set(p["data"]["col_names"]) & set(names)
                 for name in p["data"]["col_names"] if not p["active"]}  # fmt: skip
    others = [i for i, name in enumerate(recording.info.ch_names) if name in projected and i not in set(chosen)]
    raw = recording.loaded([*chosen, *others])
    holes = np.stack([~np.isfinite(samples) for samples in _channels(raw)])
    if holes.any():
        raw.apply_function(lambda x: fill(x)[0], picks="all", verbose="error")
    raw.apply_proj(verbose="error")
    return raw.pick(names, verbose="error"), holes[: len(chosen)]


def _channels(raw: Any) -> Iterator[Float[np.ndarray, "t"]]:
    """The channels one by one: all at once, MNE would copy the recording."""
    return (raw.get_data([i])[0] for i in range(len(raw.ch_names)))


def _bridged(holes: Bool[np.ndarray, "*b t"]) -> tuple[str, ...]:
    gone = int(holes.sum())
    return (f"{gone:,} samples without a number bridged by straight lines, their trials masked",) if gone else ()


def _say_dropped(epochs: Any, name: str) -> None:
    """Names the epochs that are gone and why; no epoch left is an error."""
    log = [(i, reasons) for i, reasons in enumerate(epochs.drop_log) if reasons and "IGNORED" not in reasons]
    total = len(epochs) + len(log)
    some = ", ".join(f"{i} ({', '.join(map(str, reasons))})" for i, reasons in log[:12]) + (
        ", ..." if len(log) > 12 else ""
    )
    if not len(epochs):
        raise ValueError(f"{name} has no epoch left of {total}: {some}")
    if log:
        logger.warning("%s lacks %d of %d epochs, which were dropped: %s", name, len(log), total, some)


def _metadata(epochs: Any) -> pd.DataFrame:
    names = {code: name for name, code in epochs.event_id.items()}
    own = pd.DataFrame(index=range(len(epochs))) if epochs.metadata is None else epochs.metadata.reset_index(drop=True)
    codes = epochs.events[:, 2]
    ours = {"epoch": epochs.selection, "event": codes, "event_name": [names.get(code, str(code)) for code in codes]}
    return own.assign(**{column: values for column, values in ours.items() if column not in own})


# filters --------------------------------------------------------------------------------------------------------------


def _check_band(band: Sequence[Number | None], sfreq: float, n_times: int, name: str) -> None:
    low, high = band if len(band) == 2 else (math.nan, math.nan)
    if not (low or 0) < (high or math.inf) or (low or 0) < 0 or max(low or 0, high or 0) >= sfreq / 2:
        raise ValueError(
            f"band must be (low, high) in Hz with 0 <= low < high < {sfreq / 2:g}, either or None, got {band}"
        )
    taps = mne.filter.create_filter(None, sfreq, low, high, verbose="error")
    if len(taps) > n_times:
        raise ValueError(
            f"the filter for {_band_step((low, high))} is {len(taps) / sfreq:.2g} s, {name} only "
            f"{n_times / sfreq:.2g} s: filter before cutting into epochs, or filter less sharply"
        )


def _band_step(band: Band) -> str:
    ends = (f"above {band[0]:g} Hz" if band[0] else "", f"below {band[1]:g} Hz" if band[1] else "")
    return " and ".join(end for end in ends if end) + ", zero phase"


def _changed(info: mne.Info, **changes: Any) -> mne.Info:
    """An info that says what was done; a filter only narrows what was there."""
    info = info.copy()
    with info._unlock():
        if (low := changes.pop("highpass", None)) is not None:
            info["highpass"] = max(info["highpass"], float(low))
        if (high := changes.pop("lowpass", None)) is not None:
            info["lowpass"] = min(info["lowpass"], float(high))
        info.update(changes)
    return info


# what every trial goes through ----------------------------------------------------------------------------------------


def resampled(cut: Cut, sfreq: Number | None, span: tuple, name: str) -> Cut:
    """At the new rate and without its margins; the first sample stays where it is in time.

    With margins there is enough to fill the span: so recordings of any rate give as many samples.
    """
    old = cut.info["sfreq"]
    if sfreq is None or ratio(old, sfreq) == 1:
        return cut
    n_times, step = cut.x.shape[-1] - 2 * cut.margin, ratio(old, sfreq)
    fits(COPIES * 8 * int(cut.x.size / step), f"at {sfreq:g} Hz instead of {old:g}, {name}")
    start = int(cut.margin / step)
    stop = start + 1 + (int((span[1] - span[0]) * sfreq + 1e-6) if cut.margin else int((n_times - 1) / step))
    x = resample(cut.x, old, sfreq)[..., start:stop]
    info = _changed(cut.info, sfreq=float(sfreq), lowpass=0.44 * min(old, sfreq))
    return cut.then(f"resampled from {old:g} to {sfreq:g} Hz", x=x, info=info, margin=0)


def from_baseline(cut: Cut, baseline: Band | None, name: str) -> Cut:
    """Each channel of a trial without its mean over the baseline."""
    if baseline is None:
        return cut
    times = cut.times()
    start, stop = (times[i] if end is None else end for i, end in zip((0, -1), baseline))
    within = (times >= start - 1e-6) & (times <= stop + 1e-6)
    if not within.any():
        raise ValueError(
            f"no sample of {name} is in the baseline {baseline} s: its trials go from {times[0]:g} to {times[-1]:g} s"
        )
    x = cut.x - cut.x[..., within].mean(-1, keepdims=True)
    return cut.then(f"baseline from {start:g} to {stop:g} s", x=x)


def cropped(cut: Cut, tmin: Number | None, tmax: Number | None, name: str) -> Cut:
    """The samples from `tmin` to `tmax`; a Raw was cut at its own samples, so these are met to half a sample."""
    times, near = cut.times(), 0.5 / cut.info["sfreq"]
    low, high = (-math.inf if tmin is None else tmin - near), (math.inf if tmax is None else tmax + near)
    within = (times > low) & (times < high)
    if not within.any():
        raise ValueError(
            f"no sample of {name} is from {tmin} to {tmax} s: its trials go from {times[0]:g} to {times[-1]:g} s"
        )
    return replace(cut, x=cut.x[..., within], tmin=float(times[within][0]))
