"""One look for all figures: legible in a journal's column, to colour-blind readers, on light and dark pages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

# Okabe and Ito (2008), "Color universal design": told apart by readers of every kind of colour vision
BLUE, ORANGE, GREEN, PURPLE, VERMILLION, SKY = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9"
CYCLE = [BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY]
LINES: list[Any] = ["-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1))]  # beside CYCLE, for a page in grey
GREY = "#8A8A8A"  # baselines and hints: the same contrast on white as on black
COLUMN = 85  # mm, one column of a journal

STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "lines.linewidth": 1.1,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": plt.cycler(color=CYCLE),
    "figure.dpi": 150,
    "savefig.dpi": 300,
    "text.parse_math": False,  # a name may hold a dollar sign
}

QUANTITY = {"fT": "magnetic field", "fT/cm": "field gradient", "uV": "potential", "µV": "potential"}


@contextmanager
def canvas(ax: Axes | None, height: float | int, width: float | int = COLUMN) -> Iterator[Axes]:
    """The axes to draw on, of a new figure (millimetres) when there are none, in this style while it lasts.

    >>> with canvas(None, 50) as ax:
    ...     [round(25.4 * inches) for inches in ax.figure.get_size_inches()]
    [85, 50]
    """
    with plt.rc_context(STYLE):
        yield ax if ax is not None else plt.subplots(figsize=millimetres(width, height), layout="constrained")[1]


def millimetres(width: float | int, height: float | int) -> tuple[float, float]:
    """A figure's size in the inches that matplotlib counts in.

    >>> millimetres(50.8, 25.4)
    (2.0, 1.0)
    """
    return width / 25.4, height / 25.4


def ink() -> str:
    """The colour of text on this page: black on white, white on black.

    >>> with plt.style.context("dark_background"):
    ...     ink()
    'white'
    """
    return plt.rcParams["text.color"]


def quantity(unit: str, otherwise: str = "signal") -> str:
    """What is measured in a unit, for an axis.

    >>> quantity("fT"), quantity("s", "reaction time"), quantity("")
    ('magnetic field (fT)', 'reaction time (s)', 'signal')
    """
    return f"{QUANTITY.get(unit, otherwise)} ({unit})" if unit else otherwise


def legend_above(ax: Axes, columns: int = 4, **options: Any) -> None:
    """A legend that covers no data.

    >>> with canvas(None, 50) as ax:
    ...     _ = ax.plot([0, 1], label="model")
    ...     legend_above(ax)
    >>> ax.get_legend().get_texts()[0].get_text()
    'model'
    """
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0.2, columnspacing=1.2, **options)
