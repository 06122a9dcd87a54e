"""Each modality in its own way: how one step of one latent is drawn, by the shape of a view's rows.

Fields and traces (c, t), films (1 or 3, t, h, w), pictures (1 or 3, h, w), numbers and class probabilities (f,).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.patches import Polygon
from matplotlib.ticker import MaxNLocator
from numpy import ndarray

from .fields import _contours, _draw_head, _event_lines
from .style import GREY, ink, quantity
from .tables import ORDERED


@dataclass(frozen=True)
class Part:
    """A piece of a view: a cell for each step, or one panel for all steps of a latent.

    title; draw, ``(ax, latent, step, last)``, into axes; width, mm of a panel, 0 of cells; bar, the label of its
    colours; image, their ends and map.
    """

    title: str
    draw: Callable[[Axes, int, int, bool], None]
    width: float = 0.0
    bar: str = ""
    image: tuple[str, float, float] = ("", 0.0, 0.0)


@dataclass(frozen=True)
class Scales:
    """What all latents and steps share: where zero is, what full colour means, and how numbers are named.

    signed : values are changes, about zero. Without, films are grey between `grey`.
    """

    topo: Any = None
    times: Any = None
    columns: Sequence[str] | None = None
    spans: Any = None
    unit: str = "fT"
    grey: tuple[float, float] = (0.0, 1.0)
    signed: bool = False


def parts(name: str, x: Float[ndarray, "l v ..."], band: Any, scales: Scales) -> list[Part]:
    """How a view is drawn: as which cells and panels, on scales that all latents and steps share.

    x (l, v, *shape); band (2, l, v, *shape) or None.

    >>> [(part.title, part.width) for part in parts("rt", np.zeros((2, 3, 4)), None, Scales())]
    [('rt', 26.0)]
    """
    scales = _fitting(scales, x)
    if x.ndim == 4:
        maps = [] if scales.topo is None else [_maps(name, x, scales)]
        return [*maps, _courses(name, x, band, scales)]
    if x.ndim in (5, 6) and x.shape[2] in (1, 3):
        frame = _busiest(x) if x.ndim == 6 else None
        return [_pictures(name, x if x.ndim == 5 else x[:, :, :, frame], scales, frame)]
    if x.ndim == 3:
        return [_numbers(name, x, band, scales)]
    raise ValueError(
        f"view {name!r} has rows of {x.shape[2:]}: fields (c, t), films (1 or 3, t, h, w), pictures (1 or 3, h, w) "
        "and numbers (f,) can be drawn"
    )


def _fitting(scales: Scales, x: ndarray) -> Scales:
    """What is known of sensors, times and columns, where it is this view's: as many as it has."""
    fits = lambda given, n: given is not None and len(given) == n  # noqa: E731
    topo = scales.topo if x.ndim == 4 and scales.topo is not None and scales.topo.n_chans == x.shape[2] else None
    return replace(
        scales,
        topo=topo,
        times=scales.times if fits(scales.times, x.shape[-1]) else None,
        columns=scales.columns if fits(scales.columns, x.shape[-1]) else None,
        spans=scales.spans if fits(scales.spans, x.shape[-1]) else None,
        unit=scales.unit if topo is not None or scales.topo is None else "a.u.",
    )


def moments(x: Float[ndarray, "l v c t"]) -> list[int]:
    """The sample at which each latent changes a field most.

    >>> moments(np.stack([np.zeros((2, 3)), np.eye(3)[:2] * 2])[None])
    [0]
    """
    return [int(np.square(each - each.mean(0)).sum((0, 1)).argmax()) for each in x]


def ticks(low: float | int, high: float | int) -> list[float]:
    """Round numbers between two ends: both and 0 of a scale about zero, three or so of another.

    >>> ticks(-430, 430), ticks(-0.1, 0.38)
    ([-400.0, 0.0, 400.0], [0.0, 0.2])
    """
    if low == -high:
        size = 10.0 ** np.floor(np.log10(high))
        end = float(np.floor(high / size) * size)
        return [-end, 0.0, end]
    return [float(x) for x in MaxNLocator(3).tick_values(low, high) if low <= x <= high]


def step_colours(n: int) -> list[Any]:
    """A colour a step, from low to high.

    >>> len(step_colours(3))
    3
    """
    return [ORDERED(i / max(n - 1, 1)) for i in range(n)]


def _maps(name: str, x: ndarray, scales: Scales) -> Part:
    topo, when = scales.topo, moments(x)
    seen = np.stack([topo.merge(each[..., t]) for each, t in zip(x, when)])
    limit = float(np.abs(seen).max()) or 1.0
    signed = topo.pairs is None

    def draw(ax: Axes, i: int, j: int, last: bool) -> None:
        picture = np.ma.masked_invalid(topo(x[i, j, :, when[i]], full=True))
        look = _look(signed, limit)
        image = ax.imshow(picture, origin="lower", extent=topo.extent, interpolation="bilinear", **look)
        edge = Polygon(topo.border, transform=ax.transData)
        image.set_clip_path(edge)
        _contours(ax, picture, topo.extent, limit, edge, signed, 4)  # dashed below zero: the sign, also in grey
        _draw_head(ax, topo, edge)
        for line in ax.lines:
            line.set_linewidth(0.5)
        if _moves(x, i):
            ring: dict[str, Any] = {"markerfacecolor": "none", "markeredgecolor": "black", "markeredgewidth": 0.5}
            ax.plot(*topo.pos[int(np.ptp(seen[i], axis=0).argmax())], "o", markersize=2.2, zorder=5, **ring)

    bar = f"change of {quantity(scales.unit)}" if scales.signed else quantity(scales.unit)
    return Part(f"{name}, map", draw, bar=bar, image=("RdBu_r" if signed else "Reds", -limit if signed else 0, limit))


def _courses(name: str, x: ndarray, band: Any, scales: Scales) -> Part:
    """All steps' courses: of the channel that changes most where there is a map of all, of every channel elsewhere."""
    t = np.arange(float(x.shape[-1])) if scales.times is None else np.asarray(scales.times, float)
    limit = 1.05 * float(np.abs(x if band is None else np.asarray(band)).max()) or 1.0
    when, colours = moments(x), step_colours(x.shape[1])

    def draw(ax: Axes, i: int, j: int, last: bool) -> None:
        chosen = _loudest(x[i], when[i], scales.topo)
        for c in chosen:
            for step, colour in enumerate(colours):
                if band is not None and step in (0, len(colours) - 1):
                    ax.fill_between(t, *band[:, i, step, c], color=colour, alpha=0.25, linewidth=0)
                ax.plot(t, x[i, step, c], color=colour, linewidth=0.8, linestyle=_dash(step, len(colours)))
        _event_lines(ax, t)
        if scales.topo is not None and _moves(x, i):
            ax.axvline(t[when[i]], color=ink(), linewidth=0.4, linestyle=":")
        ax.set(xlim=(t[0], t[-1]), ylim=(-limit, limit), xticks=ticks(t[0], t[-1]), yticks=ticks(-limit, limit))
        ax.tick_params(labelbottom=last, labelsize=6, pad=1)
        if last:
            ax.set_xlabel("sample" if scales.times is None else "time (s)", fontsize=6, labelpad=1)

    title = name if scales.topo is None else "change" if scales.signed else "at the ring"
    return Part(f"{title} ({scales.unit})", draw, 22.0)


def _moves(x: Float[ndarray, "l v ..."], i: int) -> bool:
    """Whether a latent changes a view by as much as can be seen."""
    return bool(np.ptp(x[i], axis=0).max() > 1e-2 * np.ptp(x, axis=1).max())


def _loudest(x: Float[ndarray, "v c t"], moment: int, topo: Any) -> list[int]:
    if topo is None:
        return list(range(x.shape[1]))
    best = topo.picks[int(np.ptp(topo.merge(x[..., moment]), axis=0).argmax())]
    return [int(np.ravel(best)[0])]


def _busiest(x: Float[ndarray, "l v colours t h w"]) -> int:
    """The frame in which steps differ most."""
    return int(x.std(1).mean((0, 1, 3, 4)).argmax())


def _pictures(name: str, x: Float[ndarray, "l v colours h w"], scales: Scales, frame: int | None) -> Part:
    limit = float(np.abs(x).max()) or 1.0
    low, high = (-limit, limit) if scales.signed else scales.grey

    def draw(ax: Axes, i: int, j: int, last: bool) -> None:
        shown = np.moveaxis(x[i, j], 0, -1)
        if shown.shape[-1] == 3 and not scales.signed:
            ax.imshow(np.clip((shown - low) / (high - low), 0, 1), interpolation="nearest")
        else:
            look = _look(True, limit) if scales.signed else {"cmap": "gray", "vmin": low, "vmax": high}
            ax.imshow(shown.mean(-1), interpolation="nearest", **look)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)

    bar = "change of grey level" if scales.signed else "grey level"
    title = name if frame is None else f"{name}, frame {frame}"
    return Part(title, draw, bar=bar, image=("RdBu_r" if scales.signed else "gray", low, high))


def _numbers(name: str, x: Float[ndarray, "l v f"], band: Any, scales: Scales) -> Part:
    """A mark a step and column, at its place between low and high; with the interval as a line."""
    low, high = _span(x, scales)
    part = lambda y: (y - low) / np.where(high > low, high - low, 1)  # noqa: E731
    colours = step_colours(x.shape[1])
    names = [str(j) for j in range(x.shape[2])] if scales.columns is None else [str(c) for c in scales.columns]

    def draw(ax: Axes, i: int, j: int, last: bool) -> None:
        at = np.arange(x.shape[2])
        for step, colour in enumerate(colours):
            place = at + 0.5 * ((step + 0.5) / len(colours) - 0.5)
            if band is not None:
                ax.vlines(place, *part(band[:, i, step]), color=colour, linewidth=0.7)
            mark = _mark(step, len(colours))
            ax.plot(place, part(x[i, step]), mark, color=colour, markersize=2.2, markeredgewidth=0, clip_on=False)
        ax.set(xlim=(-0.5, len(at) - 0.5), ylim=(-0.06, 1.06), yticks=[0.5] if scales.signed else [])
        ax.axhline(0.5 if scales.signed else 0, color=GREY, linewidth=0.4, zorder=0)
        ax.set_yticks([0, 1], ["low", "high"] if not scales.signed else ["less", "more"], fontsize=6)
        ax.set_xticks(at, [c.replace("_", " ") for c in names] if last else [])
        ax.tick_params(length=0, labelsize=6, pad=1)
        for label in ax.get_xticklabels():
            label.set(rotation=40, ha="right", rotation_mode="anchor")
        ax.spines[["left", "bottom"]].set_visible(False)

    return Part(name, draw, 26.0)


def _span(x: ndarray, scales: Scales) -> tuple[ndarray, ndarray]:
    """Low and high of each column; probabilities of classes, which sum to 1, go from 0 to 1."""
    flat = x.reshape(-1, x.shape[-1])
    if scales.signed:
        far = np.abs(flat).max(0)
        far = far if scales.spans is None else np.maximum(far, np.ptp(np.asarray(scales.spans, float), axis=1) / 2)
        return -far, far
    if scales.spans is not None:
        low, high = np.asarray(scales.spans, float).T
        return np.minimum(low, flat.min(0)), np.maximum(high, flat.max(0))
    if x.shape[-1] > 1 and (flat >= 0).all() and np.allclose(flat.sum(1), 1, atol=1e-4):
        return np.zeros(x.shape[-1]), np.ones(x.shape[-1])
    return flat.min(0), flat.max(0)


def _look(signed: bool, limit: float) -> dict[str, Any]:
    return {"cmap": "RdBu_r" if signed else "Reds", "vmin": -limit if signed else 0, "vmax": limit}


def _mark(step: int, n: int) -> str:
    """Low, middle and high are told apart without colour, too."""
    return "v" if step < (n - 1) / 2 else "^" if step > (n - 1) / 2 else "o"


def _dash(step: int, n: int) -> Any:
    return (0, (3, 1)) if step < (n - 1) / 2 else "-" if step > (n - 1) / 2 else (0, (1, 1))
