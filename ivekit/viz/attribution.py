"""Attributions: where and when in a recording, and on the frames of a film. Each says what it is."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Real
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from .fields import explained
from .style import COLUMN, STYLE, canvas, millimetres


def attributed_field(
    sizes: Real[Any, "c t"],
    times: Real[Any, "t"],
    topo: Any,
    of: str = "",
    figure: FigureBase | None = None,
) -> list[Axes]:
    """Draw the sizes of an attribution to sensors: its map where it is largest, and all sensors over time.

    sizes (c, t), not negative: the mean |attribution| over trials, say; times (t,), seconds; topo, a `Topomap`; of,
    what is explained. Sensors are sorted, the one with most on top. It is no field: see `explain.haufe_pattern`.

    >>> from types import SimpleNamespace
    >>> from ivekit.topomap import Topomap
    >>> pos = 0.04 * np.stack(np.meshgrid([-2, -1, 0, 1, 2], [-1, 0, 1]), -1).reshape(15, 2)
    >>> sensors = SimpleNamespace(names=[f"M{i}" for i in range(15)], kinds=["mag"] * 15, pos=pos, info=None)
    >>> axes = attributed_field(np.abs(np.outer(pos[:, 0], [0, 1, 0.5])), np.arange(3) / 10, Topomap(sensors), "motion")
    >>> axes[0].get_title(), axes[1].get_title()
    ('|attribution| of motion', 'map at 0.100 s')
    """
    x, t = np.asarray(sizes, float), np.asarray(times, float)
    if x.min() < 0:
        raise ValueError(f"sizes have no sign, but go down to {x.min():.3g}: give |attribution|")
    peak = int(x.sum(0).argmax())
    with plt.rc_context(STYLE):
        figure = figure or plt.figure(figsize=millimetres(1.5 * COLUMN, 48), layout="constrained")
        axes = list(figure.subplots(1, 2, width_ratios=(1, 1.6)))
        explained(x[:, peak], topo, "|attribution|", of, axes[0], colorbar=False)
        extent = (float(t[0]), float(t[-1]), float(len(x)), 0.0)
        order = np.argsort(-x.sum(1), kind="stable")
        axes[1].imshow(x[order], extent=extent, cmap="Reds", vmin=0, aspect="auto", interpolation="nearest")
        axes[1].axvline(t[peak], color="black", linewidth=0.5, linestyle=(0, (4, 3)))
        axes[1].set(xlabel="time (s)", ylabel="sensor, by its share", title=f"map at {t[peak]:.3f} s")
    return axes


def attributed_film(
    film: Real[Any, "colours t h w"],
    sizes: Real[Any, "colours t h w"],
    ax: Axes | None = None,
    n: int = 8,
    fps: float | int | None = None,
    part: float = 0.02,
) -> Axes:
    """Draw frames of a film in grey, with the pixels of the largest attribution in red over them.

    film and sizes (colours, t, h, w): sizes not negative, summed over colours; n, frames, evenly spread; fps, frames a
    second; part, the share of all pixels that is drawn in full red; those with less are paler.

    >>> film = np.random.default_rng(0).random((1, 16, 8, 8))
    >>> ax = attributed_film(film, film**4, n=4, fps=10)
    >>> [text.get_text() for text in ax.get_xticklabels()]
    ['0.00', '0.50', '1.00', '1.50']
    """
    x, size = np.asarray(film, float).mean(0), np.asarray(sizes, float).sum(0)
    if x.shape != size.shape or size.min() < 0:
        raise ValueError(f"a film {x.shape} takes sizes of its shape, from 0; got {size.shape}, from {size.min():.3g}")
    level = float(np.quantile(size, 1 - part)) or float(size.max()) or 1.0
    chosen = np.unique(np.linspace(0, len(x) - 1, n).round().astype(int))
    much = np.clip(size[chosen] / level, 0, 1)[..., None] ** 2
    grey = (x[chosen] - x.min()) / (np.ptp(x) or 1)
    shown = (1 - much) * np.repeat(grey[..., None], 3, -1) + much * np.array([0.84, 0.1, 0.1])
    wide = x.shape[2] + 1
    strip = np.concatenate([np.pad(f, ((0, 0), (0, 1), (0, 0)), constant_values=1.0) for f in shown], 1)[:, :-1]
    with canvas(ax, 26, 2 * COLUMN) as ax:
        ax.imshow(strip, interpolation="nearest")
        labels = [f"{i}" if fps is None else f"{i / fps:.2f}" for i in chosen]
        ax.set_xticks(np.arange(len(chosen)) * wide + (wide - 2) / 2, labels)
        ax.set(yticks=[], xlabel="frame" if fps is None else "time (s)")
        ax.spines[:].set_visible(False)
    return ax
