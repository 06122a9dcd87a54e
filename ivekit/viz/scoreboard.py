"""Methods side by side: what each scored in many runs, and what is scored by chance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from .style import BLUE, GREY, VERMILLION, canvas, ink, legend_above


def scoreboard(
    values: Mapping[str, Any],
    ax: Axes | None = None,
    floors: Mapping[str, float] | None = None,
    label: str = "score",
    ends: tuple[str, ...] = (),
) -> Axes:
    """Draw what each method scored: a dot a run, the median as a bar across and the middle half as a line.

    values : method -> its scores (n,), drawn from top to bottom; NaN is left out. floors : method -> what chance stays
    below, a red bar. ends : methods that are no contestants (chance, the truth itself), in grey.

    >>> ax = scoreboard({"pattern": np.array([0.9, 1.0]), "random": np.array([0.1])}, floors={"pattern": 0.6})
    >>> [text.get_text() for text in ax.get_yticklabels()], len(ax.get_legend().get_texts())
    (['pattern', 'random'], 2)
    """
    rng, bars = np.random.default_rng(0), []
    with canvas(ax, 14 + 6 * len(values)) as ax:
        for row, (name, given) in enumerate(values.items()):
            x = np.asarray(given, float)
            x, colour = x[np.isfinite(x)], GREY if name in ends else BLUE
            if not len(x):
                continue
            place = row + rng.uniform(-0.25, 0.25, len(x))
            ax.plot(x, place, ".", color=colour, alpha=0.35, markersize=3, markeredgewidth=0)
            low, middle, high = np.quantile(x, [0.25, 0.5, 0.75])
            ax.hlines(row, low, high, color=ink(), linewidth=1)
            median = ax.vlines(middle, row - 0.36, row + 0.36, color=ink(), linewidth=1.8, label="median")
            bars = [median, *bars[1:]]
            if floors and np.isfinite(floors.get(name, np.nan)):
                chance = ax.vlines(
                    floors[name], row - 0.36, row + 0.36, color=VERMILLION, linewidth=1.4, label="chance, 95 %"
                )
                bars = [median, chance]
        ax.set_yticks(range(len(values)), list(values))
        ax.set(ylim=(len(values) - 0.4, -0.6), xlabel=label)
        legend_above(ax, handles=bars)
    return ax
