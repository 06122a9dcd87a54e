"""Films of what was seen, or of who was recorded, cut at the trials' onsets."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
import torch
from av.error import FFmpegError
from einops import rearrange
from jaxtyping import Float, Int

from ..signal.sampling import Number
from ..views import Views

logger = logging.getLogger(__name__)


def read_video(
    path: str | Path,
    onsets: Any,
    n_frames: int,
    *,
    size: tuple[int, int] | None = None,
    grey: bool = True,
    fps: Number | None = None,
    metadata: pd.DataFrame | None = None,
) -> Views:
    """The frames of each trial, from a film of all of them.

    onsets : seconds from the film's first frame to the trial's, one a trial; NaN where a trial has none.
    n_frames, fps : how many frames, and how many of them a second; as many as in the film by default.
    size : (height, width) to shrink to; the film's own by default. grey : or in colour (red, green, blue).
    metadata : one row a trial, for `join`.

    The view is called "video", (b, 1 or 3, n_frames, h, w) in [0, 1]. Frame j is the one on screen at onset + j / fps,
    by the film's time stamps, to half a frame (so that rounded onsets hit). Only what is asked for is decoded, trial
    by trial, from the last key frame before it. Trials without an onset, or not wholly within the film, are missing,
    which a log message says.

    Raises
    ------
    FileNotFoundError, ValueError : no film, no picture in it, one cut short or damaged (its frames are counted against
        its header), or no trial in it at all.

    >>> read_video("nowhere.mp4", [0.0], 16)
    Traceback (most recent call last):
    FileNotFoundError: there is no film nowhere.mp4
    """
    path, onsets = Path(path), np.asarray(onsets, float)
    if not path.exists():
        raise FileNotFoundError(f"there is no film {path}")
    if onsets.ndim != 1 or not len(onsets) or n_frames < 1 or (metadata is not None and len(metadata) != len(onsets)):
        rows = "no metadata" if metadata is None else f"{len(metadata)} rows of metadata"
        raise ValueError(f"onsets must be (trials,), with n_frames >= 1: got onsets {onsets.shape}, {n_frames}, {rows}")
    try:
        with av.open(str(path)) as film:
            if not film.streams.video:
                raise ValueError(f"{path.name} has no picture, or is cut short before the first")
            stream: Any = film.streams.video[0]
            stamps = _stamps(film, stream, path.name)
            rate = float(stream.average_rate or stream.guessed_rate)
            wanted = _wanted(stamps, float(stream.time_base), rate, onsets, n_frames, fps or rate)
            _say_missing(onsets, wanted, stamps, float(stream.time_base), path.name)
            h, w = size or (stream.height, stream.width)
            x = torch.zeros(len(onsets), 1 if grey else 3, n_frames, h, w)
            for row, here in enumerate(wanted):
                if here[0] >= 0:
                    x[row] = torch.from_numpy(_decode(film, stream, stamps[here], (h, w), grey, path.name))
    except (FFmpegError, EOFError) as error:
        raise ValueError(f"{path.name} cannot be read, it is cut short or damaged: {error}") from None
    there = torch.from_numpy(wanted[:, 0] >= 0)
    return Views({"video": x}, {"video": there}, metadata, {"video": {"fps": fps or rate}})


def _stamps(film: Any, stream: Any, name: str) -> Int[np.ndarray, "n"]:
    """When each frame is shown, in the stream's unit of time: from the packets, without decoding.

    A film that is cut short often plays without complaint (Matroska does), so its end is held against its header.
    """
    stamps, end, broken = [], 0.0, 0
    for packet in film.demux():
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is None or not packet.size:
            continue  # the mark at the end of a stream
        end = max(end, float((stamp + (packet.duration or 0)) * packet.time_base))
        if packet.stream is stream and not packet.is_discard:
            stamps.append(stamp)
            broken += packet.is_corrupt
    shown = np.unique(stamps).astype(int)
    if broken or len(shown) < stream.frames:
        raise ValueError(
            f"{name} is cut short: its header says {stream.frames} frames, {len(shown) - broken} are whole"
        )
    half = 0.5 / float(stream.average_rate or stream.guessed_rate)
    promised = (film.duration or 0) / av.time_base + (film.start_time or 0) / av.time_base
    if not stream.frames and end + half < promised:
        raise ValueError(
            f"{name} is cut short: its header says it ends at {promised:.2f} s, its last frame does at {end:.2f} s"
        )
    if not len(shown):
        raise ValueError(f"{name} has no frame")
    return shown


def _wanted(
    stamps: np.ndarray, unit: float, rate: float, onsets: np.ndarray, n: int, fps: Number
) -> Int[np.ndarray, "b n"]:
    """The number of the frame that is on screen at each moment; -1 for trials not wholly within the film."""
    times, half = (stamps - stamps[0]) * unit, 0.5 / rate
    moments = onsets[:, None] + np.arange(n) / fps
    frames = np.searchsorted(times, moments + half, side="right") - 1
    inside = (moments >= -half) & (moments <= times[-1] + half)
    return np.where(inside.all(1, keepdims=True), frames, -1)


def _decode(
    film: Any, stream: Any, stamps: np.ndarray, size: tuple[int, int], grey: bool, name: str
) -> Float[np.ndarray, "c n h w"]:
    """The frames shown at these stamps (in order, some perhaps twice)."""
    found = dict(_frames(film, stream, stamps, size, grey, int(stamps[0])))
    if len(found) < len(set(stamps)):  # some containers seek too far: from the beginning, then
        found = dict(_frames(film, stream, stamps, size, grey, 0))
    if lost := sorted({*stamps.tolist()} - set(found)):
        at = float(lost[0] * stream.time_base)
        raise ValueError(f"{name} is damaged: {len(lost)} frames of a trial cannot be decoded, the first at {at:.3f} s")
    frames = np.stack([found[stamp] for stamp in stamps.tolist()])
    return rearrange(frames, "n h w -> 1 n h w" if grey else "n h w c -> c n h w").astype("f4") / 255


def _frames(
    film: Any, stream: Any, stamps: np.ndarray, size: tuple[int, int], grey: bool, start: int
) -> Iterator[tuple[int, np.ndarray]]:
    wanted, (h, w) = set(stamps.tolist()), size
    film.seek(start, stream=stream, backward=True)
    for frame in film.decode(stream):
        stamp = frame.pts if frame.pts is not None else frame.dts
        if stamp in wanted and not frame.is_corrupt:
            small = frame.reformat(width=w, height=h, format="gray" if grey else "rgb24", interpolation="AREA")
            yield stamp, small.to_ndarray()
        if stamp is not None and stamp >= stamps[-1]:
            return


def _say_missing(onsets: np.ndarray, wanted: np.ndarray, stamps: np.ndarray, unit: float, name: str) -> None:
    gone = np.flatnonzero(wanted[:, 0] < 0)
    length = f"the film is {(stamps[-1] - stamps[0]) * unit:.2f} s long"
    if len(gone) == len(onsets):
        raise ValueError(
            f"no trial lies in {name}: onsets go from {np.nanmin(onsets):g} to {np.nanmax(onsets):g} s, {length}"
        )
    if len(gone):
        some = ", ".join(f"{i} (at {onsets[i]:g} s)".replace("at nan s", "no onset") for i in gone[:12]) + (
            ", ..." if len(gone) > 12 else ""
        )
        logger.warning("%s lacks %d of %d trials: %s; %s", name, len(gone), len(onsets), some, length)
