"""Maps over time: as a row of small heads on one scale of colours, and as a film to play."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Int, Real, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy import ndarray

from ..atomic import whole
from .fields import _colour_bar, _map, topomap
from .style import COLUMN, STYLE, millimetres


def film(
    series: Real[Any, "c _"],
    times: Real[Any, "_"],
    topo: Any,
    axes: Sequence[Axes] | None = None,
    at: Sequence[float] | Real[Any, "n"] | None = None,
    n: int = 8,
    unit: str = "fT",
    limit: float | int | None = None,
    title: str = "",
) -> list[Axes]:
    """Draw a field as it changes: a head for each of some moments, all on one scale of colours.

    series (c, t), in `unit`; times (t,), in seconds; topo, a `Topomap` of the sensors. at, the moments (the nearest
    samples are drawn); without it `n` of them, evenly spread. limit, the value of the darkest colour, by default the
    largest that is drawn. title, what the maps are: to the left of the first.

    >>> from types import SimpleNamespace
    >>> from ivekit.topomap import Topomap
    >>> pos = 0.04 * np.stack(np.meshgrid([-2, -1, 0, 1, 2], [-1, 0, 1]), -1).reshape(15, 2)
    >>> sensors = SimpleNamespace(names=[f"M{i}" for i in range(15)], kinds=["mag"] * 15, pos=pos, info=None)
    >>> axes = film(np.outer(pos[:, 0], [0, 1, 2]), np.arange(3) / 10, Topomap(sensors, size=16), n=2)
    >>> [ax.get_title() for ax in axes], round(axes[0].images[0].get_clim()[1], 2)
    (['0 ms', '200 ms'], 0.16)
    """
    x, t = np.asarray(series, float), np.asarray(times, float)
    chosen = _moments(x, t, at, n)
    limit = limit or float(np.abs(topo.merge(x[:, chosen].T)).max()) or 1.0
    with plt.rc_context(STYLE):
        if axes is None:
            size = millimetres(2 * COLUMN, 2 * COLUMN / (len(chosen) + 1) + 8)
            axes = list(np.ravel(plt.subplots(1, len(chosen), figsize=size, layout="constrained")[1]))
        if len(axes) != len(chosen):
            raise ValueError(f"{len(chosen)} moments need as many axes, got {len(axes)}")
        for ax, i in zip(axes, chosen):
            _map(ax, x[:, i], topo, limit, topo.pairs is None, None, lines=6)  # a line at 0 would draw the noise
            ax.set_title(f"{1e3 * t[i]:.0f} ms")
        if title:
            where: dict[str, Any] = {"rotation": 90, "ha": "right", "va": "center", "transform": axes[0].transAxes}
            axes[0].text(-0.06, 0.45, title, fontsize=STYLE["axes.titlesize"], **where)
        _colour_bar(axes[-1].images[0], list(axes), unit)
    return list(axes)


def animate(
    series: Real[Any, "c _"],
    times: Real[Any, "_"],
    topo: Any,
    path: str | Path,
    fps: float | int = 12,
    unit: str = "fT",
    limit: float | int | None = None,
    title: str = "",
) -> Path:
    """Store a field as it changes as a film: ``.gif`` for a page, ``.mp4`` for a talk; a head, and its time above it.

    series (c, t), in `unit`; times (t,), in seconds; fps, samples shown a second; limit and title as in `film`. The
    colours of a page's style are kept. Some 80 ms a sample.

    Raises
    ------
    ValueError : when the path ends in neither .gif nor .mp4.

    >>> import tempfile
    >>> from types import SimpleNamespace
    >>> from ivekit.topomap import Topomap
    >>> pos = 0.04 * np.stack(np.meshgrid([-2, -1, 0, 1, 2], [-1, 0, 1]), -1).reshape(15, 2)
    >>> sensors = SimpleNamespace(names=[f"M{i}" for i in range(15)], kinds=["mag"] * 15, pos=pos, info=None)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = animate(np.outer(pos[:, 0], [0, 1]), np.arange(2) / 10, Topomap(sensors, size=16), f"{folder}/a.gif")
    ...     path.name, path.stat().st_size > 1000
    ('a.gif', True)
    """
    x, t = np.asarray(series, float), np.asarray(times, float)
    _moments(x, t, None, 1)
    limit = limit or float(np.abs(topo.merge(x.T)).max()) or 1.0
    with plt.rc_context(STYLE):
        figure, ax = plt.subplots(figsize=(3.2, 2.6), dpi=100, layout="constrained")

        def draw(i: int) -> None:
            ax.clear()
            topomap(x[:, i], topo, ax, limit, unit, colorbar=i == 0)
            ax.set_title(f"{title}  {1e3 * t[i]:4.0f} ms".strip())

        return record(pictures(figure, draw, len(t)), path, fps)


def pictures(figure: Figure, draw: Callable[[int], Any], n: int) -> Iterator[UInt8[ndarray, "h w 3"]]:
    """What a drawing looks like at each of `n` moments, one picture after another, of even sides, as films need.

    draw : ``draw(i)`` draws moment i on the figure, which is closed at the end. Where its parts are is settled by the
    first picture.

    >>> figure, ax = plt.subplots(figsize=(1.01, 1), dpi=100)
    >>> [picture.shape for picture in pictures(figure, lambda i: ax.plot([0, i]), 2)]
    [(100, 100, 3), (100, 100, 3)]
    """
    try:
        for i in range(n):
            draw(i)
            figure.canvas.draw()
            figure.set_layout_engine("none")  # the places of the first picture are those of all
            picture = np.array(figure.canvas.buffer_rgba())[..., :3]  # pyright: ignore[reportAttributeAccessIssue]
            yield picture[: len(picture) // 2 * 2, : picture.shape[1] // 2 * 2]
    finally:
        plt.close(figure)


def record(pictures: Iterable[UInt8[ndarray, "h w 3"]], path: str | Path, fps: float | int = 12) -> Path:
    """Store pictures as a film, ``.gif`` for a page or ``.mp4`` for a talk, `fps` of them a second.

    It is there once the last picture is in it; what ends the writing before, such as an error of whoever draws, leaves
    what was there.

    Raises
    ------
    ValueError : when the path ends in neither .gif nor .mp4, before the first picture is drawn; or there is none.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     record((np.full((8, 8, 3), i, np.uint8) for i in (0, 255)), f"{folder}/a.gif").stat().st_size > 0
    True
    """
    path, each = Path(path).expanduser(), iter(pictures)
    if path.suffix not in (".gif", ".mp4"):
        raise ValueError(f"a film is stored as .gif or .mp4, not {path.name!r}")
    if (first := next(each, None)) is None:
        raise ValueError(f"a film needs a picture at least, and there is none for {path.name!r}")
    with whole(path) as new:
        (_gif if path.suffix == ".gif" else _mp4)(chain([first], each), new, fps)
    return path


def _moments(x: ndarray, t: ndarray, at: Any, n: int) -> Int[ndarray, "n"]:
    """The samples that are drawn."""
    if x.ndim != 2 or x.shape[1] != len(t):
        raise ValueError(f"a field over time is (sensors, {len(t)} times), got {x.shape}")
    if at is None:
        return np.unique(np.linspace(0, len(t) - 1, n).round().astype(int))
    return np.abs(t[:, None] - np.asarray(at, float)).argmin(0)


def _gif(pictures: Iterable[UInt8[ndarray, "h w 3"]], path: Path, fps: float | int) -> None:
    from PIL import Image

    first, *rest = [Image.fromarray(picture) for picture in pictures]
    first.save(path, save_all=True, append_images=rest, duration=round(1000 / fps), loop=0)


def _mp4(pictures: Iterable[UInt8[ndarray, "h w 3"]], path: Path, fps: float | int) -> None:
    from fractions import Fraction

    import av

    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("h264", rate=Fraction(fps).limit_denominator(1000))
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "18"}
        for i, picture in enumerate(pictures):
            if i == 0:
                stream.height, stream.width = picture.shape[:2]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
