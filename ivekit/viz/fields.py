"""Fields, waveforms and films."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float, Real
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.image import AxesImage
from matplotlib.patches import Polygon
from matplotlib.ticker import MaxNLocator
from numpy import ndarray

from .style import BLUE, COLUMN, GREY, STYLE, canvas, ink, legend_above, millimetres, quantity


def topomap(
    values: Real[Any, "c"],
    topo: Any,
    ax: Axes | None = None,
    limit: float | int | None = None,
    unit: str = "fT",
    colorbar: bool = True,
) -> Axes:
    """Draw values at sensors as a map of the head, blue below zero and red above it.

    values (c,), in `unit`; `topo`, a `Topomap` of the sensors; `limit`, the value of the darkest colour (by default the
    largest at a sensor). Planar pairs, which have no sign, go from white to red. The thin lines are contours,
    dashed below zero; the dots are sensors; the nose is up.

    >>> from types import SimpleNamespace
    >>> from ivekit.topomap import Topomap
    >>> pos = 0.04 * np.stack(np.meshgrid([-2, -1, 0, 1, 2], [-1, 0, 1]), -1).reshape(15, 2)
    >>> sensors = SimpleNamespace(names=[f"M{i}" for i in range(15)], kinds=["mag"] * 15, pos=pos, info=None)
    >>> ax = topomap(1000 * pos[:, 0], Topomap(sensors))
    >>> ax.images[0].get_clim(), ax.images[0].colorbar.ax.get_ylabel()
    ((-80.0, 80.0), 'magnetic field (fT)')
    """
    with canvas(ax, 52, 70) as ax:
        _map(ax, np.asarray(values, float), topo, limit, topo.pairs is None, quantity(unit) if colorbar else None)
    return ax


EXPLAINED = ("pattern", "filter", "gradient", "attribution", "|attribution|", "attention", "truth")


def explained(
    values: Real[Any, "c"],
    topo: Any,
    what: str,
    of: str = "",
    ax: Axes | None = None,
    limit: float | int | None = None,
    unit: str = "a.u.",
    colorbar: bool = True,
) -> Axes:
    """Draw a map of an explanation, with what it is in its title: a filter is never taken for a pattern.

    what : pattern (the field that comes with a quantity), filter or gradient (how it is read, no map of a source),
        attribution, |attribution| or attention (from 0, white to red), or truth. of : what it explains.
    values (c,), in `unit`; `limit`, the value of the darkest colour.

    >>> from types import SimpleNamespace
    >>> from ivekit.topomap import Topomap
    >>> pos = 0.04 * np.stack(np.meshgrid([-2, -1, 0, 1, 2], [-1, 0, 1]), -1).reshape(15, 2)
    >>> sensors = SimpleNamespace(names=[f"M{i}" for i in range(15)], kinds=["mag"] * 15, pos=pos, info=None)
    >>> ax = explained(np.abs(pos[:, 0]), Topomap(sensors), "|attribution|", of="motion")
    >>> ax.get_title(), ax.images[0].get_clim()[0]
    ('|attribution| of motion', 0.0)
    """
    if what not in EXPLAINED:
        raise ValueError(f"a map says what it is, one of {', '.join(EXPLAINED)}; got {what!r}")
    x = np.asarray(values, float)
    size = what in ("|attribution|", "attention")
    if size and np.nanmin(x) < 0:
        raise ValueError(f"{what} has no sign, but the values go down to {np.nanmin(x):.3g}")
    with canvas(ax, 56, 70) as ax:
        label = f"{what} ({unit})" if unit else what
        _map(ax, x, topo, limit, topo.pairs is None and not size, label if colorbar else None)
        ax.set_title(f"{what} of {of}" if of else what)
    return ax


def _map(
    ax: Axes, x: Float[ndarray, "c"], topo: Any, limit: Any, signed: bool, label: str | None, lines: int = 7
) -> None:
    """The picture, its contours and the head; a colour bar where it has a label. Odd numbers of lines have one at 0."""
    limit = float(limit or np.nanmax(np.abs(topo.merge(x))) or 1)
    picture = np.ma.masked_invalid(topo(x, full=True))
    look: dict[str, Any] = {"cmap": "RdBu_r" if signed else "Reds", "vmin": -limit if signed else 0, "vmax": limit}
    image = ax.imshow(picture, origin="lower", extent=topo.extent, interpolation="bilinear", **look)
    edge = Polygon(topo.border, transform=ax.transData)
    image.set_clip_path(edge)
    _contours(ax, picture, topo.extent, limit, edge, signed, lines)
    ax.scatter(*topo.pos.T, s=0.6, color="black", linewidths=0, zorder=3)
    _draw_head(ax, topo, edge)
    if label is not None:
        _colour_bar(image, [ax], label)


def _colour_bar(image: AxesImage, axes: list[Axes], label: str) -> None:
    bar = axes[-1].figure.colorbar(image, ax=axes, shrink=0.7, aspect=14, label=label)
    bar.outline.set_visible(False)
    bar.locator = MaxNLocator(5, symmetric=image.norm.vmin != 0)
    bar.update_ticks()


def colour_bar(axes: Sequence[Axes] | ndarray, label: str) -> None:
    """Draw one colour bar beside several maps that are on one scale of colours.

    axes, each with a picture; label, what is drawn, with its unit.

    Raises
    ------
    ValueError : when two maps are on different scales: their colours would not mean the same.

    >>> _, axes = plt.subplots(1, 2)
    >>> _ = [ax.imshow([[0, 1]], vmin=-2, vmax=2) for ax in axes]
    >>> colour_bar(axes, "magnetic field (fT)")
    >>> axes[1].images[0].colorbar.ax.get_ylabel()
    'magnetic field (fT)'
    """
    drawn = list(np.ravel(np.asarray(axes, object)))
    images = [ax.images[0] for ax in drawn]
    scales = {tuple(float(f"{end:.5g}") for end in image.get_clim()) for image in images}
    if len(scales) > 1:
        raise ValueError(f"one colour bar stands for one scale, but these maps have {sorted(scales)}")
    with plt.rc_context(STYLE):
        _colour_bar(images[-1], drawn, label)


def _contours(ax: Axes, picture: Any, extent: tuple, limit: float, edge: Polygon, signed: bool, lines: int) -> None:
    if np.ptp(picture) == 0:
        return  # a flat map has no lines
    levels = np.linspace(-limit, limit, lines + 2)[1:-1] if signed else np.linspace(0, limit, 6)[1:-1]
    x, y = (np.linspace(lo, hi, n) for lo, hi, n in zip(extent[::2], extent[1::2], picture.shape[::-1]))
    drawn = ax.contour(x, y, picture, levels, colors="black", linewidths=0.3)
    drawn.set_clip_path(edge)


def _draw_head(ax: Axes, topo: Any, edge: Polygon) -> None:
    """The outline, in the page's ink, but black on the picture, which is light on any page. Nothing of a frame."""
    for line in topo.outlines.values():
        ax.plot(*line, color=ink(), linewidth=0.8, clip_on=False, zorder=4)
        ax.plot(*line, color="black", linewidth=0.8, zorder=4)[0].set_clip_path(edge)
    points = np.concatenate([topo.border, *(np.stack(line, 1) for line in topo.outlines.values())])
    (left, bottom), (right, top) = points.min(0), points.max(0)
    ax.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
    ax.set_axis_off()


def butterfly(
    series: Real[Any, "c t"],
    times: Real[Any, "t"],
    ax: Axes | None = None,
    pos: Real[Any, "c 2"] | None = None,
    unit: str = "fT",
    key: bool = True,
) -> Axes:
    """Draw all channels over one another, coloured by where they are on the head.

    series (c, t), in `unit`; times (t,), in seconds from the event; pos (c, 2), places on the flattened head. As in
    MNE, a colour's red grows from left to right, green from back to front, blue from the rim to the top of the head;
    the `key` beside the axes shows them.

    >>> times = np.linspace(-0.1, 0.4, 50)
    >>> ax = butterfly(np.outer([-1, 1, 2], np.exp(-(((times - 0.1) / 0.03) ** 2))), times)
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('time (s)', 'magnetic field (fT)')
    """
    with canvas(ax, 50) as ax:
        x, t = np.asarray(series, float), np.asarray(times, float)
        colours = place_colours(pos) if pos is not None else [ink()] * len(x)
        for line, colour in zip(x, colours):
            ax.plot(t, line, color=colour, linewidth=0.5, alpha=0.4 if pos is None and len(x) > 8 else 0.9)
        _event_lines(ax, t)
        ax.set(xlabel="time (s)", ylabel=quantity(unit), xlim=(t[0], t[-1]))
        if pos is not None and key:
            head = ax.inset_axes((1.01, 0.62, 0.24, 0.38))
            head.scatter(*np.asarray(pos, float).T, c=colours, s=3, linewidths=0)
            head.set_aspect("equal")
            head.set_axis_off()
    return ax


def place_colours(pos: Real[Any, "c 2"]) -> Float[ndarray, "c 3"]:
    """A colour for each place on the flattened head, so that neighbours look alike (red right, green front, blue top).

    >>> print(place_colours(np.array([[-1.0, 0], [1, 0], [0, 1], [0, -1], [0, 0]])).round(2))
    [[0.15 0.52 0.15]
     [0.9  0.52 0.15]
     [0.52 0.9  0.15]
     [0.52 0.15 0.15]
     [0.52 0.52 0.9 ]]
    """
    p = np.asarray(pos, float)
    span = np.maximum(np.nanmax(p, 0) - np.nanmin(p, 0), 1e-12)
    flat = (p - np.nanmin(p, 0)) / span
    # the projection keeps the angle from the top of the head as the distance from the centre
    far = np.linalg.norm(2 * flat - 1, axis=1, keepdims=True)
    height = np.clip(np.cos(np.pi / 2 * np.minimum(far, 1)), 0, 1)
    # neither so bright nor so dark that a line is lost on a white or a black page; an unknown place is the darkest
    return 0.15 + 0.75 * np.nan_to_num(np.concatenate([flat, height], 1))


def _event_lines(ax: Axes, t: Float[ndarray, "t"]) -> None:
    """Zero field, and the event at time 0 where it is within the window."""
    ax.axhline(0, color=GREY, linewidth=0.5, zorder=0)
    if t[0] < 0 < t[-1]:
        ax.axvline(0, color=GREY, linewidth=0.5, linestyle=(0, (4, 3)), zorder=0)


def frames(
    film: Real[Any, "colours t h w"],
    ax: Axes | None = None,
    n: int = 8,
    fps: float | int | None = None,
    start: float | int = 0,
    limits: tuple[float | int, float | int] = (0, 1),
) -> Axes:
    """Draw a film as a strip of `n` frames, evenly spread, each above its time.

    film (1 or 3, t, h, w): grey or red-green-blue, between the `limits`; fps, frames a second (without it, the frames'
    numbers stand below); start, the time of the first in seconds.

    >>> ax = frames(np.random.default_rng(0).random((1, 16, 8, 8)), n=4, fps=10)
    >>> [text.get_text() for text in ax.get_xticklabels()]
    ['0.00', '0.50', '1.00', '1.50']
    """
    x = np.asarray(film, float)
    if x.ndim != 4 or x.shape[0] not in (1, 3):
        raise ValueError(f"a film is (1 or 3 colours, time, height, width), got shape {x.shape}")
    chosen = np.unique(np.linspace(0, x.shape[1] - 1, n).round().astype(int))
    with canvas(ax, 26, 2 * COLUMN) as ax:
        strip, gap = _strip(x[:, chosen], limits)
        ax.imshow(strip, interpolation="nearest")
        centres = np.arange(len(chosen)) * (x.shape[3] + gap) + (x.shape[3] - 1) / 2
        labels = [f"{i}" if fps is None else f"{start + i / fps:.2f}" for i in chosen]
        ax.set_xticks(centres, labels)
        ax.set(yticks=[], xlabel="frame" if fps is None else "time (s)")
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    return ax


def _strip(x: Float[ndarray, "colours t h w"], limits: tuple) -> tuple[Float[ndarray, "h wide 4"], int]:
    """Frames side by side, with a gap that shows the page."""
    low, high = limits
    shown = np.clip((np.broadcast_to(x, (3, *x.shape[1:])) - low) / (high - low), 0, 1)
    gap = max(1, round(x.shape[3] / 16))
    opaque = np.concatenate([np.nan_to_num(shown), np.ones_like(shown[:1])])
    spaced = np.pad(opaque, ((0, 0), (0, 0), (0, 0), (0, gap)))
    return np.concatenate(list(np.moveaxis(spaced, 0, -1)), 1)[:, :-gap], gap


def reconstruction(
    data: Real[Any, "c t"],
    model: Real[Any, "c t"],
    times: Real[Any, "t"],
    topo: Any,
    figure: FigureBase | None = None,
    unit: str = "fT",
    at: float | int | None = None,
) -> list[Axes]:
    """Draw a field beside the model's: the map at the peak, and the course at the sensor that is strongest there.

    data, model (c, t), in `unit`; times (t,), in seconds; topo, a `Topomap` of the sensors; at, the time of the maps
    (by default where the data's root mean square over sensors is largest). Returns the axes: two maps and the course.
    """
    moment = _peak(topo.merge(np.asarray(data, float).T), np.asarray(times, float), at)
    waves = [topo.merge(np.asarray(x, float).T) for x in (data, model)]
    best = int(np.nanargmax(np.abs(waves[0][moment])))
    limit = max(float(np.abs(w[moment]).max()) for w in waves)
    with plt.rc_context(STYLE):
        figure = figure or plt.figure(figsize=millimetres(2 * COLUMN, 48), layout="constrained")
        axes = list(figure.subplots(1, 3, width_ratios=(1, 1, 1.6)))
        for ax, x, title in zip(axes, (data, model), ("data", "model")):
            topomap(np.asarray(x)[:, moment], topo, ax, limit, unit, colorbar=False)
            ax.set_title(f"{title}, {times[moment]:.3f} s")
            ax.plot(*topo.pos[best], "o", markersize=5, markerfacecolor="none", markeredgecolor="black", zorder=5)
        _colour_bar(axes[0].images[0], axes[:2], unit)
        _courses(axes[2], times, [w[:, best] for w in waves], topo.names[best], unit)
        axes[2].axvline(times[moment], color=GREY, linewidth=0.5)
    return axes


def _peak(merged: Float[ndarray, "t n"], times: Float[ndarray, "t"], at: float | int | None) -> int:
    return int(np.abs(times - at).argmin() if at is not None else np.square(merged).mean(1).argmax())


def _courses(ax: Axes, times: Any, waves: Sequence[Any], name: str, unit: str) -> None:
    """Data and model at one channel."""
    for wave, colour, label in zip(waves, (ink(), BLUE), ("data", "model")):
        ax.plot(times, wave, color=colour, label=label, linewidth=0.9 if label == "data" else 1.5)
    _event_lines(ax, np.asarray(times, float))
    ax.set(xlabel="time (s)", ylabel=quantity(unit), xlim=(times[0], times[-1]))
    ax.set_title(str(name), loc="right")
    legend_above(ax)
