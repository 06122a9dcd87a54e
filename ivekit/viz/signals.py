"""Signals over time: what was told of them, what each weighed, and which model tells them best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jaxtyping import Real
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from .style import BLUE, COLUMN, CYCLE, GREY, LINES, STYLE, canvas, ink, legend_above, millimetres

MARKERS = "oDs^vP"


def traces(
    signals: Mapping[str, Sequence[Real[Any, "t"]]],
    times: Real[Any, "t"],
    figure: FigureBase | None = None,
    labels: Sequence[str] = ("recorded", "told"),
    title: str = "",
) -> list[Axes]:
    """Draw signals one above the other, each beside what models tell of it, on one time axis.

    signals, {name: (recorded (t,), told (t,), ...)}; times (t,), in seconds; labels, what the lines are: the first is
    drawn in ink, the others in colour over it. NaN leaves a gap. Returns the axes, one a signal.

    >>> wave = np.sin(np.linspace(0, 9, 50))
    >>> axes = traces({"ecg": (wave, 0.9 * wave), "rsp": (wave, wave)}, np.linspace(0, 8, 50))
    >>> [ax.get_ylabel() for ax in axes], axes[-1].get_xlabel()
    (['ecg', 'rsp'], 'time (s)')
    """
    if odd := {name: len(lines) for name, lines in signals.items() if len(lines) != len(labels)}:
        raise ValueError(f"each signal needs {len(labels)} lines, one for each of {list(labels)}; got {odd}")
    with plt.rc_context(STYLE):
        size = millimetres(2 * COLUMN, 12 + 17 * len(signals))
        figure = figure or plt.figure(figsize=size, layout="constrained")
        axes = list(figure.subplots(len(signals), 1, sharex=True, squeeze=False)[:, 0])
        colours = [ink(), *CYCLE[1:], *CYCLE]
        for ax, (name, lines) in zip(axes, signals.items()):
            for i, (line, label) in enumerate(zip(lines, labels)):
                look: dict[str, Any] = {"linewidth": 1.2 if i else 0.8, "linestyle": LINES[max(i - 1, 0) % len(LINES)]}
                ax.plot(times, line, color=colours[i], label=label, alpha=0.9, **look)
            ax.set(ylabel=name, xlim=(times[0], times[-1]))
            ax.yaxis.set_major_locator(plt.MaxNLocator(3))
        figure.align_ylabels(axes)
        axes[-1].set_xlabel("time (s)")
        axes[0].legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=len(labels), borderaxespad=0.2)
        axes[0].set_title(title, loc="left")
    return axes


def fusion_weights(
    weights: Mapping[str, Real[Any, "b n"]], ax: Axes | None = None, label: str = "weight in the code"
) -> Axes:
    """Draw what each signal weighed in the code: over all windows and steps, the middle, the half and nine tenths.

    weights, {name: (b, n)}: windows and steps in time; label, what the number is.

    >>> ax = fusion_weights({"ecg": np.full((3, 15), 0.8), "rsp": np.full((3, 15), 0.2)})
    >>> [text.get_text() for text in ax.get_yticklabels()], ax.get_xlabel()
    (['ecg', 'rsp'], 'weight in the code')
    """
    numbers = {name: np.asarray(values, float) for name, values in weights.items()}
    with canvas(ax, 16 + 7 * len(weights)) as ax:
        for y, values in enumerate(numbers.values()):
            low, first, middle, third, high = np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])
            ax.hlines(y, low, high, color=BLUE, linewidth=1)
            ax.hlines(y, first, third, color=BLUE, linewidth=5, alpha=0.5)
            ax.plot(middle, y, "o", color=ink(), markersize=4)
        ax.set_yticks(range(len(weights)), list(weights))
        ax.set(ylim=(len(weights) - 0.5, -0.5), xlabel=label)
        ax.set_xlim(0, 1 if max(values.max() for values in numbers.values()) <= 1 else None)
        ax.grid(axis="y", color=GREY, alpha=0.3, linewidth=0.5)
    return ax


def comparison(
    tables: Mapping[str, pd.DataFrame], metric: str, ax: Axes | None = None, label: str = "", log: bool = False
) -> Axes:
    """Draw one metric of several models side by side: a line a signal, a mark a model, with its interval.

    tables, {model: table}, each indexed by (signal, metric) with columns mean, low and high, as `metrics.summary` makes
    them; log, a logarithmic axis.

    >>> index = pd.MultiIndex.from_product([["ecg", "rsp"], ["mse"]])
    >>> table = pd.DataFrame({"mean": [0.1, 0.02], "low": [0.09, 0.01], "high": [0.12, 0.03]}, index)
    >>> ax = comparison({"gate": table, "concat": table}, "mse")
    >>> [text.get_text() for text in ax.get_legend().get_texts()], ax.get_xlabel()
    (['gate', 'concat'], 'mse')
    """
    signals = list(next(iter(tables.values())).xs(metric, level=1).index)
    with canvas(ax, 18 + 9 * len(signals)) as ax:
        places = np.linspace(-0.28, 0.28, len(tables)) if len(tables) > 1 else [0.0]
        for i, (name, table) in enumerate(tables.items()):
            rows = table.xs(metric, level=1).loc[signals]
            y, colour = np.arange(len(signals)) + places[i], CYCLE[i % len(CYCLE)]
            ax.hlines(y, rows["low"], rows["high"], color=colour, linewidth=1.4)
            ax.plot(rows["mean"], y, MARKERS[i % len(MARKERS)], color=colour, markersize=4, label=name)
        ax.set_yticks(range(len(signals)), [str(s) for s in signals])
        ax.set(ylim=(len(signals) - 0.5, -0.5), xlabel=label or metric)
        if log:
            ax.set_xscale("log")
            ax.xaxis.set_major_formatter("{x:g}")  # powers of ten are mathematics, which STYLE does not parse
            ax.xaxis.set_minor_formatter(lambda x, _: f"{x:g}" if f"{x:.0e}"[0] in "25" else "")
        legend_above(ax, columns=min(len(tables), 5))
    return ax
