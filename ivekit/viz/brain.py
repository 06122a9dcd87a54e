"""Functional MRI: parcels' courses, how they go together, and maps on slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Real
from matplotlib.axes import Axes
from numpy import ndarray

from .style import BLUE, GREY, canvas, ink


def bold(
    series: Real[ndarray, "p t"],
    times: Real[ndarray, "t"],
    ax: Axes | None = None,
    samples: Real[ndarray, "n p t"] | None = None,
    names: Sequence[str] | None = None,
    step: float | int | None = None,
    unit: str = "",
) -> Axes:
    """Draw the courses of parcels above one another, and thin behind each what a model drew of it.

    series (p, t), in one unit; times (t,), in seconds; samples (n, p, t), of the same unit; step, between two
    parcels, in that `unit` (as much as the largest needs, by default), which is then said at the side.

    >>> ax = bold(np.random.default_rng(0).random((3, 20)), 1.5 * np.arange(20))
    >>> [text.get_text() for text in ax.get_yticklabels()], ax.get_xlabel()
    (['parcel 0', 'parcel 1', 'parcel 2'], 'time (s)')
    """
    x: Any = np.asarray(series, float)
    drawn: Any = np.zeros((0, *x.shape)) if samples is None else np.asarray(samples, float)
    every: Any = np.concatenate([x[None], drawn])
    step = float(step or 1.05 * max(float(np.ptp(every, axis=(0, 2)).max()), 1e-12))
    with canvas(ax, 60) as ax:
        for p in range(len(x)):
            ground = (len(x) - 1 - p) * step
            ax.axhline(ground, color=GREY, linewidth=0.4, zorder=0)
            for one in drawn:
                ax.plot(times, one[p] + ground, color=BLUE, linewidth=0.4, alpha=0.5)
            ax.plot(times, x[p] + ground, color=ink(), linewidth=1.2)
        ax.set_yticks([(len(x) - 1 - p) * step for p in range(len(x))], names or [f"parcel {p}" for p in range(len(x))])
        ax.set(xlabel="time (s)", xlim=(float(np.min(times)), float(np.max(times))))
        if unit:
            ax.set_ylabel(f"{step:.2g} {unit} from line to line")
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
    return ax


def connectivity(
    r: Real[ndarray, "p p"], ax: Axes | None = None, names: Sequence[str] | None = None, label: str = "correlation"
) -> Axes:
    """Draw how parcels go together as a matrix from -1 (blue) to 1 (red); the diagonal, which is 1, is left out.

    >>> ax = connectivity(np.eye(3), label="partial correlation")
    >>> ax.images[0].get_clim(), ax.images[0].colorbar.ax.get_ylabel()
    ((-1.0, 1.0), 'partial correlation')
    """
    shown = np.ma.masked_array(np.asarray(r, float), np.eye(len(r), dtype=bool))
    with canvas(ax, 55, 65) as ax:
        image = ax.imshow(shown, cmap="RdBu_r", vmin=-1, vmax=1)
        bar = ax.figure.colorbar(image, ax=ax, shrink=0.8, aspect=14, label=label)
        bar.outline.set_visible(False)
        places = range(len(r)) if names is not None else []
        ax.set_xticks(places, names or [], rotation=45, ha="right")
        ax.set_yticks(places, names or [])
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    return ax


def slice_map(
    image: Real[ndarray, "h w"],
    ax: Axes | None = None,
    values: Real[ndarray, "rows columns"] | None = None,
    outline: Real[ndarray, "h w"] | None = None,
    limit: float | int | None = None,
    label: str = "",
) -> Axes:
    """Draw a slice in grey, on it a map from blue to red where its values are not 0, and lines around a mask.

    values (h, w), of any coarser or equal grid that divides the image; outline (h, w), not 0 within the lines; limit,
    the value of the darkest colour. Rows go down, as in the array.

    >>> ax = slice_map(np.random.default_rng(0).random((12, 12)), values=np.eye(4))
    >>> len(ax.images), ax.images[1].get_clim()
    (2, (-1.0, 1.0))
    """
    h, w = image.shape
    extent = (-0.5, w - 0.5, h - 0.5, -0.5)
    with canvas(ax, 50, 55) as ax:
        ax.imshow(image, cmap="gray", extent=extent)
        if values is not None:
            limit = float(limit or np.abs(values).max() or 1)
            shown = np.ma.masked_equal(np.asarray(values, float), 0)
            over = ax.imshow(shown, cmap="RdBu_r", vmin=-limit, vmax=limit, alpha=0.65, extent=extent)
            if label:
                bar = ax.figure.colorbar(over, ax=ax, shrink=0.8, aspect=14, label=label)
                bar.outline.set_visible(False)
        if outline is not None:
            ax.contour(np.asarray(outline, float), [0.5], colors="gold", linewidths=0.8)
        ax.set_axis_off()
    return ax
