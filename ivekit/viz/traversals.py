"""All latents of a model on paper: one row a latent, its steps side by side, each modality in its own way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Bool, Real
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy import ndarray

from .style import STYLE, VERMILLION, ink, millimetres
from .ways import Part, Scales, _dash, _mark, parts, step_colours, ticks

PAGE = 170  # mm, both columns of a journal
SMALL = 6  # pt, the smallest that journals print
GAP, CELL_GAP, TICKS, HEADER, FOOTER, LOWEST, RIGHT = 2.5, 0.6, 7.0, 9.0, 17.0, 5.0, 2.0  # mm


def traversals(
    values: Sequence[float | int] | Real[Any, "v"] | Real[Any, "l v"],
    decoded: Mapping[str, Real[Any, "l v *shape"]],
    names: Sequence[str],
    topo: Any = None,
    times: Real[Any, "t"] | None = None,
    columns: Sequence[str] | None = None,
    spans: Real[Any, "f 2"] | None = None,
    unit: str = "fT",
    bands: Mapping[str, Real[Any, "2 l v *shape"]] | None = None,
    outside: Bool[Any, "l v"] | None = None,
    grey: tuple[float | int, float | int] = (0, 1),
    width: float | int = PAGE,
    row: float | int | None = None,
) -> list[list[Axes]]:
    """Draw what a model decodes while each of its latents takes some values: one row a latent, one cell a step.

    decoded : {view: (l, v, ...)} (`explain.traversals`). Of a field (c, t) the map at the sample that the latent
        changes most, if there is a `topo` (a `Topomap` of its sensors), and the course of the sensor that it changes
        most there (ringed); traces without a map have all their courses. Of a film (1 or 3, t, h, w) the frame that
        changes most, of a picture (1 or 3, h, w) the picture. Numbers (f,) are marks between low and high.
    names : what each latent is called, and what it matches; a line break is kept.
    times (t,), seconds of a field's samples, which are in `unit`; columns, names of the numbers; spans (f, 2), what
        their low and high mean at least (what is drawn, by default). Each is used for views that it fits.
    bands : {view: (2, l, v, ...)}, bounds (`explain.traversal_bands`): around the courses of the first and last step,
        and of each number. outside (l, v): which steps have left the data (`explain.departures` above 1).
    grey : what is black and what is white. width : of the figure, mm; row : height of a latent's, mm.

    All latents and steps share their scales. Returns the axes, one list a latent.

    Raises
    ------
    ValueError : when lengths disagree, a view's shape is unknown, or so many steps have no room on the page.

    >>> axes = traversals([-1, 1], {"behaviour": np.zeros((3, 2, 4))}, ["shared 0", "shared 1", "meg 0"])
    >>> len(axes), axes[0][0].get_title("left"), round(25.4 * axes[0][0].figure.get_figwidth())
    (3, 'behaviour', 170)
    """
    scales = Scales(topo, times, columns, spans, unit, (float(grey[0]), float(grey[1])))
    return _drawn(values, decoded, names, scales, bands, outside, float(width), row)


def changes(
    values: Sequence[float | int] | Real[Any, "v"] | Real[Any, "l v"],
    decoded: Mapping[str, Real[Any, "l v *shape"]],
    begin: Mapping[str, Real[Any, "..."]],
    names: Sequence[str],
    topo: Any = None,
    times: Real[Any, "t"] | None = None,
    columns: Sequence[str] | None = None,
    spans: Real[Any, "f 2"] | None = None,
    unit: str = "fT",
    outside: Bool[Any, "l v"] | None = None,
    width: float | int = PAGE,
    row: float | int | None = None,
) -> list[list[Axes]]:
    """Draw what moving each latent changes: as `traversals`, but as the difference from where they start.

    begin : {view: (*shape)}, what is decoded at the start. Maps, films and pictures are blue where less and red where
    more; numbers are marks below or above the middle, which is no change, and half of their span (or the largest
    change) reaches the edge. The other arguments as in `traversals`.

    >>> axes = changes([-1, 1], {"a": np.zeros((3, 2, 4))}, {"a": np.ones(4)}, ["shared 0", "shared 1", "meg 0"])
    >>> axes[0][0].get_title("left"), [label.get_text() for label in axes[0][0].get_yticklabels()]
    ('a, change', ['less', 'more'])
    """
    far = {name: np.asarray(x, float) - np.asarray(begin[name], float) for name, x in decoded.items()}
    scales = Scales(topo, times, columns, spans, unit, signed=True)
    return _drawn(values, far, names, scales, None, outside, float(width), row)


# the page ------------------------------------------------------------------------------------------------------------


def _drawn(
    values: Any, decoded: Mapping[str, Any], names: Sequence[str], scales: Scales, bands: Any, outside: Any,
    width: float, row: float | int | None,
) -> list[list[Axes]]:  # fmt: skip
    x = {name: np.asarray(tensor, float) for name, tensor in decoded.items()}
    at = _checked(values, x, names)
    bounds = {name: np.asarray(bounds, float) for name, bounds in (bands or {}).items()}
    pieces = [part for name, tensor in x.items() for part in parts(name, tensor, bounds.get(name), scales)]
    if scales.signed:
        pieces = [replace(p, title=p.title if "(" in p.title else f"{p.title}, change") for p in pieces]
    left = 2 + 1.15 * max(len(line) for name in names for line in name.split("\n"))
    cell = _cell(pieces, at.shape[1], width, left)
    row = max(cell, 9.0 if any(part.width for part in pieces) else 0) if row is None else float(row)
    with plt.rc_context({**STYLE, "font.size": SMALL, "axes.titlesize": SMALL}):
        tilted = 8.0 if any(tensor.ndim == 3 for tensor in x.values()) else 0.0  # the names of numbers
        height = HEADER + len(names) * (row + GAP) + FOOTER + tilted
        figure = plt.figure(figsize=millimetres(width, height))
        axes = [_row(figure, pieces, i, len(names), at, cell, row, left, height, outside) for i in range(len(names))]
        for i, name in enumerate(names):
            y = height - HEADER - i * (row + GAP) - row / 2
            figure.text(1 / width, y / height, name, va="center", fontsize=SMALL, linespacing=1.15)
        _foot(figure, pieces, at, outside, width, height, axes)
    return axes


def _checked(values: Any, x: Mapping[str, ndarray], names: Sequence[str]) -> ndarray:
    at = np.asarray(values, float)
    at = np.tile(at, (len(names), 1)) if at.ndim == 1 else at
    if wrong := {name: tensor.shape for name, tensor in x.items() if tensor.shape[:2] != at.shape}:
        raise ValueError(f"{len(names)} latents take {at.shape[1]} values each, but decoded are {wrong}")
    if len(at) != len(names):
        raise ValueError(f"{len(names)} names of latents, but values of {len(at)}")
    return at


def _cell(pieces: Sequence[Part], n_steps: int, width: float, left: float) -> float:
    """The side of a cell: what panels and gaps leave."""
    panels = sum(part.width + (TICKS if "(" in part.title else 4.0) for part in pieces if part.width)
    cells = sum(n_steps for part in pieces if not part.width)
    room = width - left - panels - GAP * len(pieces) - RIGHT
    if cells and (room / cells) < LOWEST:
        raise ValueError(
            f"{width:g} mm leave {max(room / cells, 0):.1f} mm for each of {n_steps} steps of {cells // n_steps} "
            f"views, and {LOWEST:g} are the least: draw fewer steps or views, or a wider figure"
        )
    return min(room / cells, 16.0) if cells else 0.0


def _row(
    figure: Figure, pieces: Sequence[Part], i: int, n: int, at: ndarray, cell: float, row: float, left: float,
    height: float, outside: Any,
) -> list[Axes]:  # fmt: skip
    """All axes of one latent, from left to right."""
    x, y, last, found = left, height - HEADER - i * (row + GAP) - row, i == n - 1, []
    width = 25.4 * figure.get_figwidth()
    for part in pieces:
        x += GAP
        if part.width:
            x += TICKS if "(" in part.title else 4.0
            ax = figure.add_axes((x / width, y / height, part.width / width, row / height))
            part.draw(ax, i, 0, last)
            found.append(ax)
            x += part.width
        else:
            for j in range(at.shape[1]):
                side = cell - CELL_GAP
                ax = figure.add_axes((x / width, (y + (row - side) / 2) / height, side / width, side / height))
                part.draw(ax, i, j, last)
                _said(ax, at, i, j, outside)
                found.append(ax)
                x += cell
        if i == 0:
            found[-1 if part.width else -at.shape[1]].set_title(part.title, loc="left", pad=2 if part.width else 9)
    return found


def _said(ax: Axes, at: ndarray, i: int, j: int, outside: Any) -> None:
    """The step's value above its cell (once, where it is the same for all latents), and a frame where data end."""
    if i == 0 or not (at == at[0]).all():
        ax.annotate(
            f"{at[i, j]:g}".replace("-", "\N{MINUS SIGN}"), (0.5, 1), (0, 1.5), "axes fraction",
            textcoords="offset points", ha="center", fontsize=SMALL,
        )  # fmt: skip
    if outside is not None and bool(np.asarray(outside)[i, j]):
        frame = Rectangle((-0.03, -0.03), 1.06, 1.06, transform=ax.transAxes, fill=False, clip_on=False)
        frame.set(edgecolor=VERMILLION, linewidth=0.7, linestyle=(0, (2, 1.5)), zorder=9)
        ax.add_patch(frame)


def _foot(
    figure: Figure, pieces: Sequence[Part], at: ndarray, outside: Any, width: float, height: float,
    axes: list[list[Axes]],
) -> None:  # fmt: skip
    """Bars of colour, what the steps look like, and what a dashed frame means."""
    k = at.shape[1]
    first = np.cumsum([0, *[1 if part.width else k for part in pieces]])
    for part, start in zip(pieces, first):
        if part.bar:
            a, b = (axes[-1][j].get_position() for j in (start, start + k - 1))
            bar = figure.add_axes((a.x0, 9.5 / height, b.x1 - a.x0, 1.6 / height))
            name, low, high = part.image
            drawn = figure.colorbar(ScalarMappable(Normalize(low, high), name), cax=bar, orientation="horizontal")
            drawn.outline.set_visible(False)
            drawn.set_label(part.bar, fontsize=SMALL, labelpad=1)
            bar.tick_params(labelsize=SMALL, pad=1, length=1.5)
            bar.set_xticks(ticks(low, high))
    lines: list[Any] = []
    if any(part.width for part in pieces):
        shown = [0, (k - 1) // 2, k - 1] if k % 2 else [0, k - 1]
        for j, colour in [(j, step_colours(k)[j]) for j in dict.fromkeys(shown)]:
            value = f"{at[0, j]:g}" if (at == at[0]).all() else ("lowest", "middle", "highest")[(j > 0) + (j == k - 1)]
            look: dict[str, Any] = {"color": colour, "linewidth": 0.8, "markersize": 2.5, "markeredgewidth": 0}
            label = f"z = {value}".replace("-", "\N{MINUS SIGN}")
            lines.append(Line2D([], [], marker=_mark(j, k), linestyle=_dash(j, k), label=label, **look))
    if outside is not None and np.asarray(outside).any():
        frame = {"edgecolor": VERMILLION, "linewidth": 0.7, "linestyle": (0, (2, 1.5)), "fill": False}
        lines.append(Rectangle((0, 0), 1, 1, label="outside 99 % of the data's codes", **frame))
    if lines:
        figure.legend(
            handles=lines, loc="lower left", bbox_to_anchor=(0.5 / width, 0), ncols=len(lines), fontsize=SMALL,
            borderaxespad=0.1, handlelength=2.2, columnspacing=1.2, labelcolor=ink(),
        )  # fmt: skip
