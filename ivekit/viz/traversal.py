"""What is decoded while one latent moves: one row a step, each view in its own way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Real
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from numpy import ndarray

from .fields import _event_lines, _strip, place_colours, topomap
from .film import pictures, record
from .style import BLUE, COLUMN, GREY, STYLE, ink, millimetres
from .ways import Scales

ROW = 21  # mm


def traversal(
    values: Sequence[float | int] | Real[Any, "v"],
    decoded: Mapping[str, Real[Any, "v *shape"]],
    topo: Any = None,
    times: Real[Any, "t"] | None = None,
    columns: Sequence[str] | None = None,
    spans: Real[Any, "f 2"] | None = None,
    unit: str = "fT",
    figure: FigureBase | None = None,
    label: str = "z",
    n_frames: int = 4,
    band: Mapping[str, Real[Any, "2 v *shape"]] | None = None,
    grey: tuple[float | int, float | int] = (0, 1),
) -> list[list[Axes]]:
    """Draw what a model decodes while one latent takes some values: from top to bottom, one row a value.

    decoded : {view: (v, ...)}. A field (v, c, t) is a map where it is strongest, if there is a `topo` (a `Topomap` of
        its sensors), and all its waveforms; a film (v, 1 or 3, t, h, w) a strip of `n_frames`; numbers (v, f) are bars
        with their values. All steps share scales.
    times (t,), seconds of the field's samples, which are in `unit`; columns, names of the numbers, and spans (f, 2),
        what an empty and a full bar mean (low and high of the data, say; by default, of what is decoded here).
    band : {view: (2, v, ...)}, bounds (`explain.traverse_band`): filled around the course of the sensor that changes
        most, which is drawn thick, and a line on each bar. grey : what is black and what is white in a film.
    Returns the axes, one list a value.

    >>> axes = traversal([-1, 0, 1], {"behaviour": np.outer([-1.0, 0.0, 1.0], [0.2, 3.0])}, columns=["rt", "pupil"])
    >>> len(axes), [text.get_text() for text in axes[2][0].texts]
    (3, ['0.2', '3', 'z = 1'])
    """
    at, ways = _prepared(values, decoded, band, Scales(topo, times, columns, spans, unit, _pair(grey)), n_frames)
    with plt.rc_context(STYLE):
        size = millimetres(2 * COLUMN, ROW * len(at) + 12)
        figure = figure or plt.figure(figsize=size, layout="constrained")
        grid = figure.subplots(len(at), len(ways), width_ratios=[way[1] for way in ways], squeeze=False)
        for i, row in enumerate(grid):
            _step(list(row), ways, i, f"{label} = {at[i]:g}", i == 0, i == len(at) - 1)
    return [list(row) for row in grid]


def animate_traversal(
    values: Sequence[float | int] | Real[Any, "v"],
    decoded: Mapping[str, Real[Any, "v *shape"]],
    path: str | Path,
    topo: Any = None,
    times: Real[Any, "t"] | None = None,
    columns: Sequence[str] | None = None,
    spans: Real[Any, "f 2"] | None = None,
    unit: str = "fT",
    label: str = "z",
    n_frames: int = 4,
    band: Mapping[str, Real[Any, "2 v *shape"]] | None = None,
    grey: tuple[float | int, float | int] = (0, 1),
    fps: float | int = 6,
) -> Path:
    """Store a traversal as a film, ``.gif`` for a page or ``.mp4`` for a talk: a picture a step, there and back.

    Each picture is the row that `traversal` draws of a step, whose arguments these are; fps, steps a second.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = animate_traversal([-1, 0, 1], {"a": np.eye(3)}, f"{folder}/a.gif")
    ...     path.name, path.stat().st_size > 1000
    ('a.gif', True)
    """
    at, ways = _prepared(values, decoded, band, Scales(topo, times, columns, spans, unit, _pair(grey)), n_frames)
    order = [*range(len(at)), *range(len(at) - 2, 0, -1)]
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=millimetres(2 * COLUMN, ROW + 14), dpi=130, layout="constrained")
        row = list(figure.subplots(1, len(ways), width_ratios=[way[1] for way in ways], squeeze=False)[0])

        def draw(frame: int) -> None:
            for ax in row:
                ax.clear()
            _step(row, ways, order[frame], f"{label} = {at[order[frame]]:.2g}", True, True)

        return record(pictures(figure, draw, len(order)), path, fps)


def _pair(grey: tuple[float | int, float | int]) -> tuple[float, float]:
    return float(grey[0]), float(grey[1])


def _prepared(
    values: Any, decoded: Mapping[str, Any], band: Any, scales: Scales, n_frames: int
) -> tuple[ndarray, list[tuple[str, float, Any]]]:
    at = np.asarray(values, float)
    x = {name: np.asarray(tensor, float) for name, tensor in decoded.items()}
    if wrong := {name: tensor.shape for name, tensor in x.items() if len(tensor) != len(at)}:
        raise ValueError(f"{len(at)} values of the latent, but decoded are {wrong}")
    bounds = {name: np.asarray(bound, float) for name, bound in (band or {}).items()}
    return at, [way for name, tensor in x.items() for way in _ways(name, tensor, bounds.get(name), scales, n_frames)]


def _step(axes: list[Axes], ways: list[tuple[str, float, Any]], i: int, label: str, first: bool, last: bool) -> None:
    """One step: a row of axes, titles above the first and what the axes are below the last."""
    for ax, (title, _, draw) in zip(axes, ways):
        draw(ax, i, last)
        if first:
            ax.set_title(title)
    where: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "rotation": 90}
    axes[0].annotate(label, (0, 0.5), (-6, 0), ha="right", va="center", **where)


def _ways(name: str, x: ndarray, band: Any, scales: Scales, n_frames: int) -> list[tuple[str, float, Any]]:
    """How a view is drawn, by the shape of its rows: title, width, and what draws step i into some axes."""
    if x.ndim == 3:
        maps = [] if scales.topo is None else [(f"{name}, map", 1.0, _maps(x, scales))]
        return [*maps, (f"{name}, courses ({scales.unit})", 1.4, _waves(x, band, scales))]
    if x.ndim == 5:
        chosen = np.unique(np.linspace(0, x.shape[2] - 1, n_frames).round().astype(int))
        return [(name, 2.2, _films(x[:, :, chosen], scales))]
    if x.ndim == 4 and x.shape[1] in (1, 3):
        return [(name, 1.0, _films(x[:, :, None], scales))]
    if x.ndim == 2:
        return [(name, 1.2, _bars(x, band, scales))]
    raise ValueError(
        f"view {name!r} has rows of {x.shape[1:]}: fields (c, t), films (colours, t, h, w), pictures (1 or 3, h, w) "
        "and numbers (f,) can be drawn"
    )


def _maps(x: ndarray, scales: Scales) -> Callable[[Axes, int, bool], None]:
    topo, times = scales.topo, scales.times
    power = np.square(topo.merge(np.moveaxis(x, 1, 2))).mean((0, 2))
    moment = int(power.argmax())
    limit = float(np.abs(topo.merge(x[:, :, moment])).max())

    def draw(ax: Axes, i: int, last: bool) -> None:
        topomap(x[i, :, moment], topo, ax, limit, colorbar=False)
        if last:
            when = f"sample {moment}" if times is None else f"{1e3 * float(times[moment]):.0f} ms"
            ends = "" if topo.pairs is not None else "\N{PLUS-MINUS SIGN}"
            said = f"{when}, {ends}{limit:.3g} {scales.unit}"
            ax.annotate(said, (0.5, 0), (0, -4), "axes fraction", textcoords="offset points", ha="center", va="top")

    return draw


def _waves(x: ndarray, band: Any, scales: Scales) -> Callable[[Axes, int, bool], None]:
    topo, t = scales.topo, np.arange(float(x.shape[-1])) if scales.times is None else np.asarray(scales.times, float)
    limit = 1.05 * float(np.abs(x if band is None else np.concatenate([x[None], band])).max())
    colours = place_colours(topo.pos) if topo is not None and len(topo.pos) == x.shape[1] else [ink()] * x.shape[1]
    most = int(np.ptp(x, axis=0).max(-1).argmax())

    def draw(ax: Axes, i: int, last: bool) -> None:
        for c, (line, colour) in enumerate(zip(x[i], colours)):
            thick = band is not None and c == most
            ax.plot(t, line, color=colour, linewidth=1.2 if thick else 0.4, alpha=1 if thick else 0.8)
        if band is not None:
            ax.fill_between(t, *band[:, i, most], color=colours[most], alpha=0.35, linewidth=0)
        _event_lines(ax, t)
        ax.set(xlim=(t[0], t[-1]), ylim=(-limit, limit))
        ax.tick_params(labelbottom=last)
        if last:
            ax.set_xlabel("sample" if scales.times is None else "time (s)")

    return draw


def _films(x: ndarray, scales: Scales) -> Callable[[Axes, int, bool], None]:
    def draw(ax: Axes, i: int, last: bool) -> None:
        ax.imshow(_strip(x[i], scales.grey)[0], interpolation="nearest")
        ax.set_axis_off()

    return draw


def _bars(x: ndarray, band: Any, scales: Scales) -> Callable[[Axes, int, bool], None]:
    known, spans = (of if of is not None and len(of) == x.shape[1] else None for of in (scales.columns, scales.spans))
    names = [str(j) for j in range(x.shape[1])] if known is None else [str(c).replace("_", " ") for c in known]
    low, high = (x.min(0), x.max(0)) if spans is None else np.asarray(spans, float).T  # of this table, not another
    part = lambda y: np.clip((y - low) / np.where(high > low, high - low, 1), 0, 1)  # noqa: E731

    def draw(ax: Axes, i: int, last: bool) -> None:
        rows = np.arange(len(names))
        ax.barh(rows, np.ones(len(names)), color=GREY, alpha=0.18, height=0.72)
        ax.barh(rows, part(x[i]), color=BLUE, height=0.72)
        if band is not None:
            ax.hlines(rows, *part(band[:, i]), color=ink(), linewidth=0.8)
        for row, value in enumerate(x[i]):
            ax.text(1.04, row, _number(value, float(high[row] - low[row])), va="center", fontsize=6)
        ax.set(xlim=(0, 1), ylim=(len(names) - 0.5, -0.5), xticks=[])
        ax.set_yticks(rows, names, fontsize=6)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)

    return draw


def _number(value: float, span: float) -> str:
    """Three digits of what the bar can show: no 7e-07 beside a bar from 0 to 1."""
    return f"{round(value, 2 - int(np.floor(np.log10(span)))) + 0.0:.4g}" if span > 0 else f"{value:.3g}"
