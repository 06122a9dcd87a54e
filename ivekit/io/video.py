"""Films of what was seen, or of who was recorded, cut at the trials' onsets."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral
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
from . import asked
from .guard import fits, reading

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
    n_frames, fps : how many frames, and how many of them a second; as many as in the film, on average, by default.
    size : (height, width) to shrink to; the film's own by default. grey : or in colour (red, green, blue).
    metadata : one row a trial, for `join`.

    The view is called "video", (b, 1 or 3, n_frames, h, w) in [0, 1]. Frame j is the one on screen at onset + j / fps,
    by the film's time stamps, even or not, to half of its shortest frame (so that rounded onsets hit). Pictures are
    turned upright where the film says how, as a telephone's does. Sound is left out. Trials without an onset, or not
    wholly within the film, are missing, which a log message says. `about`: fps, history.

    Only what is asked for is decoded, trial by trial, from the last key frame before it. So memory holds the result (4
    bytes a pixel), one trial more, and 8 bytes a frame of the film, however long that is.

    Raises
    ------
    FileNotFoundError, ValueError : no film, no picture in it, one cut short or damaged (its frames are counted against
        its header), a header that lies, or no trial in it at all; a result that does not fit in memory.

    >>> read_video("nowhere.mp4", [0.0], 16)
    Traceback (most recent call last):
    FileNotFoundError: there is no film nowhere.mp4
    """
    asked.positive(fps=fps)
    onsets = np.asarray(onsets, float)
    if size is not None and not (np.shape(size) == (2,) and all(isinstance(n, Integral) and n > 0 for n in size)):
        raise ValueError(f"size must be (height, width) in pixels, such as (32, 32), got {size!r}")
    count = isinstance(n_frames, Integral) and n_frames >= 1
    if onsets.ndim != 1 or not len(onsets) or not count or (metadata is not None and len(metadata) != len(onsets)):
        rows = "no metadata" if metadata is None else f"{len(metadata)} rows of metadata"
        raise ValueError(f"onsets must be (trials,), with n_frames >= 1: got onsets {onsets.shape}, {n_frames}, {rows}")
    with _opened(Path(path)) as film:
        name = Path(path).name
        if not film.streams.video:
            raise ValueError(f"{name} has no picture, or is cut short before the first")
        stream: Any = film.streams.video[0]
        stamps = _stamps(film, stream, name)
        times, rate = (stamps - stamps[0]) * float(stream.time_base), _rate(stream)
        wanted = _wanted(times, rate, onsets, n_frames, fps or rate)
        _say_missing(onsets, wanted, times[-1], name)
        turns = _turns(film, stream, int(stamps[wanted[wanted[:, 0] >= 0][0, 0]]))
        own = (stream.width, stream.height) if turns % 2 else (stream.height, stream.width)
        shape = (len(onsets), 1 if grey else 3, n_frames, *(size or own))
        fits(4 * math.prod(shape), path)
        x = torch.zeros(shape)
        for row, here in enumerate(wanted):
            if here[0] >= 0:
                x[row] = torch.from_numpy(_decode(film, stream, stamps[here], size, turns, grey, name))
        turned = [f"turned left by {90 * turns} degrees, as the film says that it is shown"] if turns else []
        steps = [*turned, *_steps(film, times, shape, own, fps or rate)]
    there = torch.from_numpy(wanted[:, 0] >= 0)
    return Views({"video": x}, {"video": there}, metadata, {"video": {"fps": fps or rate, "history": steps}})


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A film; whatever FFmpeg finds wrong with it is one error that names it."""
    with reading(path, "film"):
        try:
            with av.open(str(path)) as film:
                yield film
        except (FFmpegError, EOFError) as error:
            raise ValueError(f"{path.name} cannot be read, it is cut short or damaged: {error}") from None


def _rate(stream: Any) -> float:
    """Frames a second, on average."""
    rate = stream.average_rate or stream.guessed_rate
    if not rate or not stream.time_base:
        raise ValueError("its header does not say how fast it goes")
    return float(rate)


def _steps(film: Any, times: np.ndarray, shape: tuple[int, ...], own: tuple[int, int], fps: Number) -> list[str]:
    """What was done to the pictures, a sentence a step."""
    gaps, (_, c, n, h, w) = np.diff(times), shape
    uneven = len(gaps) and gaps.max() > 1.5 * gaps.min()
    even = f", which lie {gaps.min():.3f} to {gaps.max():.3f} s apart in the film" if uneven else ""
    shrunk = [f"from {own[0]} x {own[1]} to {h} x {w} pixels, by area"] if (h, w) != own else []
    sound = ["sound left out"] if film.streams.audio else []
    return [
        f"{n} frames a trial, {fps:g} a second{even}",
        *shrunk,
        f"{'grey' if c == 1 else 'colour'} in [0, 1]",
        *sound,
    ]


def _stamps(film: Any, stream: Any, name: str) -> Int[np.ndarray, "n"]:
    """When each frame is shown, in the stream's unit of time: from the packets, without decoding.

    A film that is cut short often plays without complaint (Matroska does), so its end is held against its header.
    """
    stamps, first, end, broken = [], 0.0, 0.0, 0
    promised, of_pictures = _promised(film, stream)
    for packet in film.demux():
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is None or not packet.size:
            continue  # the mark at the end of a stream
        if packet.stream is stream or not of_pictures:
            first = min(first, float(stamp * packet.time_base))  # sound may begin before 0, which the header counts
            end = max(end, float((stamp + (packet.duration or 0)) * packet.time_base))
        if packet.stream is stream and not packet.is_discard:
            stamps.append(stamp)
            broken += packet.is_corrupt
    if broken or len(stamps) < stream.frames:
        raise ValueError(
            f"{name} is cut short: its header says {stream.frames} frames, {len(stamps) - broken} are whole"
        )
    if not stream.frames and end - first + 0.5 / _rate(stream) < promised:
        raise ValueError(
            f"{name} is cut short: its header says it ends at {promised:.2f} s, its last frame does at {end:.2f} s"
        )
    shown = np.unique(stamps).astype(int)
    if len(shown) < len(stamps) / 2:  # two fields of one picture may share a stamp
        raise ValueError(f"{name} is damaged: {len(stamps)} frames share {len(shown)} time stamps")
    if not len(shown):
        raise ValueError(f"{name} has no frame")
    return shown


def _promised(film: Any, stream: Any) -> tuple[float, bool]:
    """The second at which the header says that the film ends, and whether it says so of the pictures alone."""
    said = next((value for key, value in stream.metadata.items() if key.upper().startswith("DURATION")), "")
    if found := re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d*)?)", said.strip()):
        hours, minutes, seconds = map(float, found.groups())
        return 3600 * hours + 60 * minutes + seconds, True
    return (max(film.duration or 0, 0) + (film.start_time or 0)) / av.time_base, False


def _wanted(
    times: Float[np.ndarray, "n"], rate: float, onsets: np.ndarray, n: int, fps: Number
) -> Int[np.ndarray, "b k"]:
    """The number of the frame that is on screen at each moment; -1 for trials not wholly within the film.

    A moment less than half of the shortest frame before a frame is that frame's.
    """
    half = 0.5 * float(np.diff(times).min()) if len(times) > 1 else 0.5 / rate
    moments = onsets[:, None] + np.arange(n) / fps
    frames = np.searchsorted(times, moments + half, side="right") - 1
    inside = (moments >= -half) & (moments <= times[-1] + half)
    return np.where(inside.all(1, keepdims=True), frames, -1)


def _decode(
    film: Any,
    stream: Any,
    stamps: np.ndarray,
    size: tuple[int, int] | None,
    turns: int,
    grey: bool,
    name: str,
) -> Float[np.ndarray, "c n h w"]:
    """The frames shown at these stamps (in order, some perhaps twice)."""
    found: dict[int, np.ndarray] = {}
    for start in (int(stamps[0]), 0):  # some containers seek too far: from the beginning, then
        if len(found) < len(set(stamps)):
            frames = _frames(film, stream, stamps, start)
            found |= {stamp: _picture(frame, stream, size, turns, grey, name) for stamp, frame in frames}
    if lost := sorted({*stamps.tolist()} - set(found)):
        at = float(lost[0] * stream.time_base)
        raise ValueError(f"{name} is damaged: {len(lost)} frames of a trial cannot be decoded, the first at {at:.3f} s")
    frames = np.stack([found[stamp] for stamp in stamps.tolist()])
    return rearrange(frames, "n h w -> 1 n h w" if grey else "n h w c -> c n h w").astype("f4") / 255


def _frames(film: Any, stream: Any, stamps: np.ndarray, start: int) -> Iterator[tuple[int, Any]]:
    wanted = set(stamps.tolist())
    film.seek(start, stream=stream, backward=True)
    for frame in film.decode(stream):
        stamp = frame.pts if frame.pts is not None else frame.dts
        if stamp in wanted and not frame.is_corrupt:
            yield stamp, frame
        if stamp is not None and stamp >= stamps[-1]:
            return


def _turns(film: Any, stream: Any, stamp: int) -> int:
    """Quarter turns to the left after which the pictures stand upright: telephones film lying, and say so."""
    film.seek(stamp, stream=stream, backward=True)
    frame = next(film.decode(stream), None)
    return round(frame.rotation / 90) % 4 if frame is not None else 0


def _picture(frame: Any, stream: Any, size: tuple[int, int] | None, turns: int, grey: bool, name: str) -> np.ndarray:
    lies, own = turns % 2 == 1, (stream.height, stream.width)
    if size is None and (frame.height, frame.width) != own:
        raise ValueError(f"{name}: its header says {own} pixels, a frame has {frame.height, frame.width}: give a size")
    h, w = own if size is None else (size[1], size[0]) if lies else size
    small = frame.reformat(width=w, height=h, format="gray" if grey else "rgb24", interpolation="AREA")
    return np.rot90(small.to_ndarray(), turns)


def _say_missing(onsets: np.ndarray, wanted: np.ndarray, end: float, name: str) -> None:
    gone, length = np.flatnonzero(wanted[:, 0] < 0), f"the film is {end:.2f} s long"
    if len(gone) == len(onsets):
        there = onsets[np.isfinite(onsets)]
        said = f"onsets go from {there.min():g} to {there.max():g} s" if len(there) else "no trial has an onset"
        raise ValueError(f"no trial lies in {name}: {said}, {length}")
    if len(gone):
        some = ", ".join(f"{i} (at {onsets[i]:g} s)".replace("at nan s", "no onset") for i in gone[:12]) + (
            ", ..." if len(gone) > 12 else ""
        )
        logger.warning("%s lacks %d of %d trials: %s; %s", name, len(gone), len(onsets), some, length)
