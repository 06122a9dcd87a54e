"""What a decoder tells, when, and from where: confusion, scores over time, maps by class, attention over sensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float, Real
from matplotlib.axes import Axes
from numpy import ndarray

from .fields import topomap
from .style import COLUMN, CYCLE, GREY, STYLE, canvas, ink, legend_above, millimetres
from .tables import matrix


def confusion(values: Real[Any, "classes classes"], names: Sequence[str], ax: Axes | None = None) -> Axes:
    """Draw which class is taken for which: rows are true, columns are told, each row adds up to 1.

    >>> ax = confusion(np.array([[0.9, 0.1], [0.2, 0.8]]), ["left", "right"])
    >>> ax.get_ylabel(), ax.get_xlabel()
    ('true class', 'class told')
    """
    with canvas(ax, 20 + 12 * len(names), min(COLUMN, 35 + 12 * len(names))) as ax:
        matrix(values, names, names, ax, label="part of the true class", limit=1)
        ax.set(xlabel="class told", ylabel="true class")
    return ax


def over_time(
    times: Float[Any, "t"],
    scores: Mapping[str, Float[Any, "folds t"]],
    chance: float,
    ax: Axes | None = None,
    label: str = "accuracy",
) -> Axes:
    """Draw how well each moment is decoded: the mean over folds, with a band of two standard errors.

    times (t,), seconds; scores, by name, (folds, t); chance, the dashed line.

    >>> ax = over_time(np.arange(5.0), {"lda": np.full((3, 5), 0.5)}, chance=0.25)
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('time (s)', 'accuracy')
    """
    with canvas(ax, 45) as ax:
        for (name, each), colour in zip(scores.items(), CYCLE):
            mean, error = np.mean(each, 0), np.std(each, 0, ddof=1) / len(each) ** 0.5
            ax.fill_between(times, mean - 2 * error, mean + 2 * error, color=colour, alpha=0.2, linewidth=0)
            ax.plot(times, mean, color=colour, label=name)
        ax.axhline(chance, color=GREY, linestyle="--", linewidth=0.8, label="chance")
        if times[0] < 0 < times[-1]:
            ax.axvline(0, color=ink(), linewidth=0.5)
        ax.set(xlabel="time (s)", ylabel=label, xlim=(times[0], times[-1]))
        legend_above(ax)
    return ax


def generalisation(
    scores: Float[Any, "t u"], times: Float[Any, "t"], chance: float, ax: Axes | None = None, label: str = "accuracy"
) -> Axes:
    """Draw how a decoder trained at one time does at another: a square is a code that lasts, a diagonal one that moves.

    scores (t, u), trained at t and tested at u (King & Dehaene, 2014); times, seconds of both.

    >>> ax = generalisation(np.full((4, 4), 0.5), np.arange(4.0), chance=0.25)
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('tested at (s)', 'trained at (s)')
    """
    x = np.asarray(scores, float)
    far = max(float(np.abs(x - chance).max()), 1e-6)
    with canvas(ax, 62, 75) as ax:
        step = (times[-1] - times[0]) / max(len(times) - 1, 1) / 2
        edges = (times[0] - step, times[-1] + step)
        look: dict[str, Any] = {"cmap": "RdBu_r", "vmin": chance - far, "vmax": chance + far, "origin": "lower"}
        image = ax.imshow(x, extent=(*edges, *edges), **look)
        ax.plot(edges, edges, color=ink(), linewidth=0.4, alpha=0.5)
        ax.set(xlabel="tested at (s)", ylabel="trained at (s)")
        ax.figure.colorbar(image, ax=ax, label=label, aspect=25, pad=0.02).outline.set_visible(False)
    return ax


def sensor_time(
    weights: Float[Any, "c t"],
    times: Float[Any, "t"],
    ax: Axes | None = None,
    label: str = "attention",
    even: float | None = None,
) -> Axes:
    """Draw where and when something is looked at: sensors (most looked at on top) by time.

    weights (c, t), not negative; times, seconds of the columns. even : what each would be if all were alike, which is
    then white; what is above it is darker.

    >>> ax = sensor_time(np.random.default_rng(0).random((10, 5)), np.arange(5.0))
    >>> ax.get_ylabel()
    'sensor, by its share'
    """
    x = np.asarray(weights, float)
    x = x[np.argsort(-x.sum(1), kind="stable")]
    with canvas(ax, 50) as ax:
        extent = (float(times[0]), float(times[-1]), len(x), 0)
        look: dict[str, Any] = {"cmap": "Purples", "vmin": even or 0, "aspect": "auto", "interpolation": "nearest"}
        image = ax.imshow(x, extent=extent, **look)
        ax.set(xlabel="time (s)", ylabel="sensor, by its share")
        ax.figure.colorbar(image, ax=ax, label=label, aspect=25, pad=0.02).outline.set_visible(False)
    return ax


def class_maps(
    fields: Float[Any, "classes c"],
    topo: Any,
    names: Sequence[str],
    axes: Sequence[Axes] | None = None,
    unit: str = "fT",
) -> list[Axes]:
    """Draw a field for each class, all on one scale of colours.

    fields (classes, c), in `unit`; topo, a `Topomap` of the sensors.

    >>> from types import SimpleNamespace
    >>> from ivekit.topomap import Topomap
    >>> pos = 0.04 * np.stack(np.meshgrid([-2, -1, 0, 1, 2], [-1, 0, 1]), -1).reshape(15, 2)
    >>> sensors = SimpleNamespace(names=[f"M{i}" for i in range(15)], kinds=["mag"] * 15, pos=pos, info=None)
    >>> [ax.get_title() for ax in class_maps(np.stack([pos[:, 0], pos[:, 1]]), Topomap(sensors), ["left", "front"])]
    ['left', 'front']
    """
    x = np.asarray(fields, float)
    limit = float(max(np.nanmax(np.abs(topo.merge(field))) for field in x)) or 1.0
    with plt.rc_context(STYLE):
        if axes is None:
            size = millimetres(34 * len(x), 36)
            axes = list(np.ravel(plt.subplots(1, len(x), figsize=size, layout="constrained")[1]))
        for ax, field, name in zip(axes, x, names):
            topomap(field, topo, ax, limit=limit, unit=unit, colorbar=ax is axes[-1])
            ax.set_title(name)
    return list(axes)


def ranked(
    scores: Mapping[str, Float[ndarray, "n"]],
    chance: float,
    ax: Axes | None = None,
    label: str = "accuracy",
    ends: Mapping[str, tuple[float, float]] | None = None,
    plain: Sequence[str] = (),
) -> Axes:
    """Draw many decoders, the best on top: a dot for each fold, the mean, and its interval.

    scores, by decoder, (n,) of its folds; ends, the interval of each mean; plain, the linear ones: orange diamonds.

    >>> ax = ranked({"lda": np.array([0.5, 0.7]), "net": np.array([0.8, 0.6])}, chance=0.25, plain=["lda"])
    >>> [text.get_text() for text in ax.get_yticklabels()]
    ['net', 'lda']
    """
    order = sorted(scores, key=lambda name: -float(np.mean(scores[name])))
    with canvas(ax, 18 + 6 * len(order)) as ax:
        for y, name in enumerate(order):
            x = np.asarray(scores[name], float)
            colour, mark = (CYCLE[4], "D") if name in plain else (CYCLE[0], "o")
            spread = 0.25 * ((np.arange(len(x)) * 0.618 % 1) - 0.5)
            ax.scatter(x, y + spread, s=4, color=colour, alpha=0.35, linewidths=0)
            if ends and name in ends:
                ax.hlines(y, *ends[name], color=colour, linewidth=2)
            ax.plot(x.mean(), y, mark, color=colour, markersize=5, label="linear" if name in plain else "network")
        ax.axvline(chance, color=GREY, linestyle="--", linewidth=0.8)
        ax.set_yticks(range(len(order)), order)
        ax.set(xlabel=label, ylim=(len(order) - 0.5, -0.5))
        if plain:
            handles = dict(zip(*ax.get_legend_handles_labels()[::-1]))  # one entry a name, however many rows
            legend_above(ax, handles=list(handles.values()))
    return ax
