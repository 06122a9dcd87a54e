"""The card of an explanation: each check beside what chance reaches, and what may be claimed."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy import ndarray

from .style import BLUE, GREY, VERMILLION, canvas, ink

Row = tuple[float, ndarray, float, bool]  # value, draws of chance, the bar, passed
Look = dict[str, Any]
PASSED: Look = dict(marker="o", color=BLUE)
FAILED: Look = dict(marker="X", color=VERMILLION)


def card(rows: Mapping[str, Row], verdict: str = "", ax: Axes | None = None) -> Axes:
    """Draw checks as dots over what chance reaches: right of the line is better than chance, or above a fixed bar.

    rows : by name, (value, draws of it by chance, where the bar is, passed). Every check has its own scale, on which
    the line is where chance stays below in 95 of 100 draws (or the fixed bar), and its number beside it. A passed
    check is a blue circle, a failed one a red cross. The verdict is the title.

    >>> none = np.empty(0)
    >>> rows = {"weights": (0.8, np.array([0.1, 0.2]), 0.2, True), "completeness": (0.5, none, 0.95, False)}
    >>> ax = card(rows, "Not to be believed: it failed completeness.")
    >>> [text.get_text() for text in ax.get_yticklabels()], ax.get_title(loc="left")
    (['weights', 'completeness'], 'Not to be believed: it failed completeness.')
    """
    if not rows:
        raise ValueError("a card has at least one check")
    with canvas(ax, 22 + 6 * len(rows)) as ax:
        ax.axvline(0, color=ink(), linewidth=0.8, zorder=1)
        for y, (value, null, bar, passed) in enumerate(rows.values()):
            at, draws = _on_its_scale(value, np.asarray(null, float), bar)
            ax.plot(draws, y + _spread(len(draws)), ".", color=GREY, markersize=2.5, alpha=0.6, zorder=2)
            ax.plot([at], [y], markersize=6.5, zorder=3, linestyle="", **(PASSED if passed else FAILED))
            ax.text(1.12, y, _number(value, null, bar), va="center", fontsize=6.5)
        ax.set_yticks(range(len(rows)), list(rows))
        ax.set(xlim=(-1.1, 1.1), ylim=(len(rows) - 0.4, -0.6), xticks=[])
        ax.set_xlabel("\N{LEFTWARDS ARROW} as by chance      better \N{RIGHTWARDS ARROW}", labelpad=17)
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        ax.set_title(textwrap.fill(verdict, 48), loc="left")
        _legend(ax)
    return ax


def claim(what: str, failed: Sequence[str], ax: Any = None) -> str:
    """What a figure of an explanation may call it, given the checks that it failed; the title of `ax`, if there is one.

    Nothing is said to drive anything when a check failed.

    >>> claim("shared 3", []), claim("shared 3", ["weights", "deletion"])
    ('what drives shared 3', 'shared 3: a map that failed weights, deletion, no evidence')
    """
    title = f"{what}: a map that failed {', '.join(failed)}, no evidence" if failed else f"what drives {what}"
    if ax is not None:
        ax.set_title(textwrap.fill(title, 44), fontsize=7.5)
    return title


def _on_its_scale(value: float, null: ndarray, bar: float) -> tuple[float, ndarray]:
    """Value and draws with the bar at 0, the farther of the two at 1; without a bar the value decides nothing."""
    bar = bar if np.isfinite(bar) else 0.0
    far = max(abs(value - bar), float(np.abs(null - bar).max(initial=0)), 1e-12)
    return (value - bar) / far, (null - bar) / far


def _spread(n: int) -> ndarray:
    """Small steps up and down, the same every time, so that draws of one value can be counted."""
    return 0.24 * (np.arange(n) * 0.618034 % 1 - 0.5)


def _number(value: float, null: Any, bar: float) -> str:
    if len(null):
        p = (1 + int((np.asarray(null) >= value).sum())) / (1 + len(null))
        return f"{value:.2g} (chance {bar:.2g}, p {p:.2g})"
    return f"{value:.2g} (bar {bar:.2g})" if np.isfinite(bar) else f"{value:.2g}"


def _legend(ax: Axes) -> None:
    dot: Look = dict(linestyle="", markersize=5)
    ax.legend(
        handles=[
            Line2D([], [], label="passed", **dot, **PASSED), Line2D([], [], label="failed", **dot, **FAILED),
            Line2D([], [], label="chance", linestyle="", marker=".", color=GREY, markersize=4),
        ],
        loc="upper left", bbox_to_anchor=(0, 0), ncols=3, columnspacing=1, handletextpad=0.2, borderaxespad=0.2,
    )  # fmt: skip
