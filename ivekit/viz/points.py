"""Maps of points in space: sections side by side, in three dimensions, told against true, and latents' planes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int, Real
from matplotlib.axes import Axes
from numpy import ndarray

from .signals import MARKERS
from .style import BLUE, COLUMN, CYCLE, GREY, canvas, ink

COLOURS = "viridis"  # even steps of lightness: read the same in print and by colour-blind readers


def strip(
    places: Any,
    values: Any,
    titles: Sequence[str] = (),
    ax: Axes | None = None,
    limits: tuple[float | int, float | int] | None = None,
    label: str = "",
    size: float | int = 10,
) -> Axes:
    """Draw maps side by side on one scale of colours: sections of a brain, or steps of a walk through latents.

    places, one (n, 2) a map, across and up; values, one (n,) a map; titles, one a map; limits, values of the ends of
    the colours; label of the colour bar, none without. size of a point.

    >>> ax = strip([np.random.rand(9, 2)] * 3, np.random.rand(3, 9), ["front", "middle", "back"])
    >>> [text.get_text() for text in ax.texts]
    ['front', 'middle', 'back']
    """
    if len(places) != len(values):
        raise ValueError(f"{len(places)} maps have places, {len(values)} have values")
    each = [np.asarray(place, float) for place in places]
    numbers = np.concatenate([np.asarray(v, float) for v in values])
    low, high = limits or (np.nanmin(numbers), np.nanmax(numbers))
    step = 1.15 * max(np.ptp(place[:, 0]) for place in each)
    shifted = [place + np.array([i * step, 0]) for i, place in enumerate(each)]
    with canvas(ax, 26, 2 * COLUMN) as ax:
        xy = np.concatenate(shifted)
        dots = ax.scatter(*xy.T, c=numbers, s=size, cmap=COLOURS, vmin=low, vmax=high, linewidth=0)
        for i, title in enumerate(titles):
            ax.text(i * step, xy[:, 1].max() + 0.06 * np.ptp(xy[:, 1]), title, ha="center", va="bottom", fontsize=7)
        room = 0.03 * np.ptp(xy, axis=0)  # places whose value is missing keep their room
        ax.set(xlim=(xy[:, 0].min() - room[0], xy[:, 0].max() + room[0]))
        ax.set(ylim=(xy[:, 1].min() - 2 * room[1], xy[:, 1].max() + 2 * room[1]), aspect="equal")
        ax.set_axis_off()
        if label:
            ax.figure.colorbar(dots, ax=ax, label=label, shrink=0.8, pad=0.01)  # type: ignore[union-attr]
    return ax


def sections(
    xyz: Real[Any, "n 3"],
    values: Real[Any, "n"],
    section: Int[ndarray, "n"],
    which: Sequence[int] | None = None,
    ax: Axes | None = None,
    limits: tuple[float | int, float | int] | None = None,
    label: str = "",
    titles: Sequence[str] | None = None,
    size: float | int = 10,
) -> Axes:
    """Draw a map section by section: y across, z up, one section after another.

    xyz (n, 3); values (n,); section (n,), its number; which of them, by default all; titles, otherwise their numbers.

    >>> ax = sections(np.random.rand(20, 3), np.random.rand(20), np.arange(20) // 5, which=[0, 2])
    >>> [text.get_text() for text in ax.texts]
    ['0', '2']
    """
    chosen = np.unique(section).tolist() if which is None else list(which)
    if unknown := set(chosen) - set(np.unique(section).tolist()):
        raise ValueError(f"there is no section {sorted(unknown)}; there are {np.unique(section).tolist()}")
    xyz, values = np.asarray(xyz, float), np.asarray(values, float)
    rows = [section == s for s in chosen]
    names = [str(s) for s in chosen] if titles is None else titles
    return strip([xyz[r][:, 1:] for r in rows], [values[r] for r in rows], names, ax, limits, label, size)


def agreement(
    truth: Real[Any, "n"],
    told: Real[Any, "n"],
    ax: Axes | None = None,
    labels: tuple[str, str] = ("truth", "told"),
    most: int = 3000,
) -> Axes:
    """Draw what was told over what is true, a dot a point, with the line of equality and Pearson's r.

    truth, told (n,), of which at most `most` dots are drawn; r is of all.

    >>> ax = agreement(np.arange(5.0), np.arange(5.0))
    >>> ax.texts[0].get_text()
    'r = 1.00'
    """
    truth, told = np.asarray(truth, float), np.asarray(told, float)
    if truth.shape != told.shape:
        raise ValueError(f"{truth.shape} values are true, {told.shape} told")
    shown = np.unique(np.linspace(0, len(truth) - 1, most).round().astype(int))
    size = 1.6 if len(shown) > 500 else 4
    with canvas(ax, 60, 65) as ax:
        ax.plot(
            truth[shown],
            told[shown],
            "o",
            color=BLUE,
            markersize=size,
            alpha=0.35 if size < 2 else 0.8,
            markeredgewidth=0,
            rasterized=True,
        )
        ends = [truth.min(), truth.max()]
        ax.plot(ends, ends, color=ink(), linewidth=0.8)
        ax.text(0.04, 0.96, f"r = {np.corrcoef(truth, told)[0, 1]:.2f}", transform=ax.transAxes, va="top")
        ax.set(xlabel=labels[0], ylabel=labels[1])
    return ax


def calibration(levels: Sequence[float], coverages: Any, names: Sequence[str], ax: Axes | None = None) -> Axes:
    """Draw how much of the truth lies in intervals that should hold a given part of it: honesty is the diagonal.

    levels (k,); coverages, one (k,) a curve; names, one a curve.

    >>> calibration([0.5, 0.9], [[0.4, 0.8]], ["model"]).get_xlabel()
    'interval should hold'
    """
    with canvas(ax, 55, 60) as ax:
        ax.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
        for curve, name, colour, mark in zip(coverages, names, CYCLE, MARKERS):
            ax.plot(levels, curve, f"{mark}-", color=colour, markersize=3, label=name)
        ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="interval should hold", ylabel="it holds")
        ax.set_aspect("equal")
        ax.legend()
    return ax


def principal_plane(
    codes: Real[Any, "b k"], values: Real[Any, "b"], ax: Axes | None = None, label: str = "", mark: Sequence[int] = ()
) -> Axes:
    """Draw rows in the plane of their codes' first two principal components, coloured by a number; some are ringed.

    codes (b, k); values (b,); label, what the values are; mark, rows.

    >>> principal_plane(np.random.default_rng(0).standard_normal((9, 4)), np.arange(9)).get_xlabel()[:11]
    'component 1'
    """
    centred = np.asarray(codes, float) - np.mean(codes, 0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    plane, share = u[:, :2] * s[:2], s**2 / np.sum(s**2)
    with canvas(ax, 55, 70) as ax:
        dots = ax.scatter(*plane.T, c=values, s=12, cmap=COLOURS, linewidth=0)
        ax.scatter(*plane[list(mark)].T, s=45, facecolors="none", edgecolors=ink(), linewidth=0.8)
        ax.set(xlabel=f"component 1 ({share[0]:.0%})", ylabel=f"component 2 ({share[1]:.0%})")
        ax.figure.colorbar(dots, ax=ax, label=label)  # type: ignore[union-attr]
    return ax


def scatter3d(
    xyz: Real[Any, "n 3"],
    values: Real[Any, "n"],
    label: str = "",
    limits: tuple[float | int, float | int] | None = None,
) -> Any:
    """A map in three dimensions, to be turned by hand: a plotly figure.

    xyz (n, 3); values (n,), as colours; label of the colour bar.

    >>> len(scatter3d(np.random.rand(9, 3), np.random.rand(9)).data[0].x)
    9
    """
    import plotly.graph_objects as go

    x, y, z = np.round(np.asarray(xyz, float).T, 4).tolist()  # as text: arrays would be stored as long base64
    low, high = limits or (None, None)
    look = dict(
        size=3, color=np.round(np.asarray(values, float), 4).tolist(), colorscale="Viridis", cmin=low, cmax=high
    )
    dots = go.Scatter3d(x=x, y=y, z=z, mode="markers", marker=look | dict(colorbar=dict(title=label)))
    figure = go.Figure(dots)
    figure.update_layout(width=520, height=400, margin=dict(l=0, r=0, t=0, b=0), scene=dict(aspectmode="data"))
    return figure
