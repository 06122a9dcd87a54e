"""What is decoded while one latent moves: one row a step, each view in its own way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Real
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from numpy import ndarray

from .fields import _event_lines, _strip, place_colours, topomap
from .style import BLUE, COLUMN, GREY, STYLE, ink, millimetres

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
) -> list[list[Axes]]:
    """Draw what a model decodes while one latent takes some values: from top to bottom, one row a value.

    decoded : {view: (v, ...)}. A field (v, c, t) is a map where it is strongest, if there is a `topo` (a `Topomap` of
        its sensors), and all its waveforms; a film (v, 1 or 3, t, h, w) a strip of `n_frames`; numbers (v, f) are bars
        with their values. All steps share scales.
    times (t,), seconds of the field's samples, which are in `unit`; columns, names of the numbers, and spans (f, 2),
        what an empty and a full bar mean (low and high of the data, say; by default, of what is decoded here).
    Returns the axes, one list a value.

    >>> axes = traversal([-1, 0, 1], {"behaviour": np.outer([-1.0, 0.0, 1.0], [0.2, 3.0])}, columns=["rt", "pupil"])
    >>> len(axes), [text.get_text() for text in axes[2][0].texts]
    (3, ['0.2', '3', 'z = 1'])
    """
    at = np.asarray(values, float)
    parts = {name: np.asarray(x, float) for name, x in decoded.items()}
    if wrong := {name: x.shape for name, x in parts.items() if len(x) != len(at)}:
        raise ValueError(f"{len(at)} values of the latent, but decoded are {wrong}")
    ways = [way for name, x in parts.items() for way in _ways(name, x, topo, times, columns, spans, unit, n_frames)]
    with plt.rc_context(STYLE):
        size = millimetres(2 * COLUMN, ROW * len(at) + 12)
        figure = figure or plt.figure(figsize=size, layout="constrained")
        grid = figure.subplots(len(at), len(ways), width_ratios=[way[1] for way in ways], squeeze=False)
        for i, row in enumerate(grid):
            for ax, (title, _, draw) in zip(row, ways):
                draw(ax, i, i == len(at) - 1)
                if i == 0:
                    ax.set_title(title)
            row[0].annotate(
                f"{label} = {at[i]:g}", (0, 0.5), (-6, 0), "axes fraction", textcoords="offset points",
                rotation=90, ha="right", va="center",
            )  # fmt: skip
    return [list(row) for row in grid]


def _ways(
    name: str, x: ndarray, topo: Any, times: Any, columns: Any, spans: Any, unit: str, n_frames: int
) -> list[tuple[str, float, Any]]:
    """How a view is drawn, by the shape of its rows: title, width, and what draws step i into some axes."""
    if x.ndim == 3:
        maps = [] if topo is None else [(f"{name}, map", 1.0, _maps(x, topo, times))]
        return [*maps, (f"{name}, courses ({unit})", 1.4, _waves(x, times, topo))]
    if x.ndim == 5:
        return [(name, 2.2, _films(x, n_frames))]
    if x.ndim == 2:
        return [(name, 1.2, _bars(x, columns, spans))]
    raise ValueError(f"view {name!r} has rows of {x.shape[1:]}: fields (c, t), films (colours, t, h, w), numbers (f,)")


def _maps(x: ndarray, topo: Any, times: Any) -> Any:
    power = np.square(topo.merge(np.moveaxis(x, 1, 2))).mean((0, 2))
    moment = int(power.argmax())
    limit = float(np.abs(topo.merge(x[:, :, moment])).max())

    def draw(ax: Axes, i: int, last: bool) -> None:
        topomap(x[i, :, moment], topo, ax, limit, colorbar=False)
        if last:
            when = f"sample {moment}" if times is None else f"at {1e3 * float(times[moment]):.0f} ms"
            ax.annotate(when, (0.5, 0), (0, -4), "axes fraction", textcoords="offset points", ha="center", va="top")

    return draw


def _waves(x: ndarray, times: Any, topo: Any) -> Any:
    t = np.arange(x.shape[-1]) if times is None else np.asarray(times, float)
    limit = 1.05 * float(np.abs(x).max())
    colours = place_colours(topo.pos) if topo is not None and len(topo.pos) == x.shape[1] else [ink()] * x.shape[1]

    def draw(ax: Axes, i: int, last: bool) -> None:
        for line, colour in zip(x[i], colours):
            ax.plot(t, line, color=colour, linewidth=0.4, alpha=0.8)
        _event_lines(ax, t)
        ax.set(xlim=(t[0], t[-1]), ylim=(-limit, limit))
        ax.tick_params(labelbottom=last)
        if last:
            ax.set_xlabel("sample" if times is None else "time (s)")

    return draw


def _films(x: ndarray, n: int) -> Any:
    chosen = np.unique(np.linspace(0, x.shape[2] - 1, n).round().astype(int))

    def draw(ax: Axes, i: int, last: bool) -> None:
        ax.imshow(_strip(x[i][:, chosen], (0, 1))[0], interpolation="nearest")
        ax.set_axis_off()

    return draw


def _bars(x: ndarray, columns: Any, spans: Any) -> Any:
    names = [str(j) for j in range(x.shape[1])] if columns is None else [str(c).replace("_", " ") for c in columns]
    low, high = (x.min(0), x.max(0)) if spans is None else np.asarray(spans, float).T
    part = np.clip((x - low) / np.where(high > low, high - low, 1), 0, 1)

    def draw(ax: Axes, i: int, last: bool) -> None:
        rows = np.arange(len(names))
        ax.barh(rows, np.ones(len(names)), color=GREY, alpha=0.18, height=0.72)
        ax.barh(rows, part[i], color=BLUE, height=0.72)
        for row, value in enumerate(x[i]):
            ax.text(1.04, row, f"{value:.3g}", va="center", fontsize=6)
        ax.set(xlim=(0, 1), ylim=(len(names) - 0.5, -0.5), xticks=[])
        ax.set_yticks(rows, names, fontsize=6)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)

    return draw
