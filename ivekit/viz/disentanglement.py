"""Which latent tells of which factor, which block leaks into which, beside what is possible and what is chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Real
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from .style import BLUE, CYCLE, GREY, VERMILLION, canvas, ink, legend_above
from .tables import matrix


def relation(
    r: Real[Any, "k f"],
    latents: Sequence[str],
    factors: Sequence[str],
    scores: Mapping[str, Any] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw how much each latent tells of each factor, with the scores that sum the matrix up above it.

    r (k, f), of `metrics.relation`; latents, factors, their names; scores, of `metrics.scores`, whose fractions are
    printed.

    >>> ax = relation(np.eye(2), ["z0", "z1"], ["size", "side"], {"mig": 1.0, "active": 2})
    >>> ax.get_title("left")
    'mig 1.00'
    """
    ax = matrix(r, latents, factors, ax, label="part of the factor's entropy", limit=1.0)
    said = [f"{name} {x:.2f}" for name, x in (scores or {}).items() if isinstance(x, float)]
    ax.set_title(", ".join(said), loc="left", fontsize=7)
    return ax


def leak(
    table: pd.DataFrame,
    homes: Mapping[str, str],
    ceiling: Mapping[str, float] | None = None,
    floor: float | int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw what each block tells of each factor, outlined where it should be, above what is possible at all.

    table, blocks x factors, held-out R2 (negative ones are drawn as 0); homes {factor: block}; ceiling {factor: R2} of
    the best supervised reader, a row below; floor, what chance stays below: numbers under it are written pale.

    >>> told = pd.DataFrame({"motion": [0.9, 0.0]}, index=["shared", "meg"])
    >>> ax = leak(told, {"motion": "shared"}, {"motion": 0.95}, floor=0.01)
    >>> [text.get_text() for text in ax.texts], [label.get_text() for label in ax.get_yticklabels()]
    (['0.90', '0.00', '0.95'], ['shared', 'meg', 'ceiling'])
    """
    shown = table.clip(lower=0)
    if ceiling is not None:
        shown = pd.concat([shown, pd.DataFrame([[ceiling[f] for f in table.columns]], ["ceiling"], table.columns)])
    names = [str(block) for block in shown.index]
    ax = matrix(shown.to_numpy(float), names, list(map(str, table.columns)), ax, label="R2, held-out rows", limit=1.0)
    for text, value in zip(ax.texts, shown.to_numpy(float).ravel()):
        if floor is not None and value <= floor:
            text.set_color(GREY)
    for column, factor in enumerate(table.columns):
        row = names.index(homes[str(factor)])
        ax.add_patch(Rectangle((column - 0.46, row - 0.46), 0.92, 0.92, fill=False, edgecolor=VERMILLION, lw=1.4))
    if ceiling is not None:
        ax.axhline(len(table) - 0.5, color=ink(), linewidth=1.2)
    return ax


def floors(table: pd.DataFrame, ax: Axes | None = None, label: str = "score") -> Axes:
    """Draw scores as dots with their intervals, and below each, in grey, how far chance alone comes.

    table, a row a score: value, low, high, floor (`metrics.score_table`).

    >>> said = pd.DataFrame([[0.8, 0.7, 0.9, 0.2]], ["mig"], columns=["value", "low", "high", "floor"])
    >>> ax = floors(said)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['score and 95 % interval', 'chance: 95 % of shuffles']
    """
    rows = np.arange(len(table))
    with canvas(ax, 14 + 5 * len(table)) as ax:
        chance = ax.barh(rows, table["floor"], height=0.6, color=GREY, alpha=0.45)
        line = ax.errorbar(
            table["value"],
            rows,
            xerr=np.maximum([table["value"] - table["low"], table["high"] - table["value"]], 0),
            fmt="o",
            color=BLUE,
            markersize=3.5,
            linewidth=1.4,
        )
        ax.set_yticks(rows, [str(name) for name in table.index])
        ax.set(xlabel=label, ylim=(len(table) - 0.4, -0.6))
        legend_above(ax, handles=[line, chance], labels=["score and 95 % interval", "chance: 95 % of shuffles"])
    return ax


def gaps(table: pd.DataFrame, ax: Axes | None = None, label: str = "below the evidence (nats)") -> Axes:
    """Draw how far each aggregation stays below the evidence, for each pattern of what was recorded.

    table, a row an aggregation and pattern: there, aggregation, gap.

    >>> table = pd.DataFrame({"there": ["a", "a+b"], "aggregation": "product", "gap": [0.0, 0.1]})
    >>> [text.get_text() for text in gaps(table).get_xticklabels()]
    ['a', 'a+b']
    """
    patterns = list(dict.fromkeys(table["there"]))
    kinds = list(dict.fromkeys(table["aggregation"]))
    with canvas(ax, 55) as ax:
        for i, (kind, colour) in enumerate(zip(kinds, CYCLE * len(kinds))):
            one = table[table["aggregation"] == kind]
            at = [patterns.index(there) + 0.12 * (i - (len(kinds) - 1) / 2) for there in one["there"]]
            ax.plot(at, one["gap"], "os^Dv"[i % 5], color=colour, markersize=4, label=kind, linestyle="")
        ax.set_xticks(range(len(patterns)), patterns)
        ax.axhline(0, color=ink(), linewidth=0.5)
        ax.set(xlabel="views that are there", ylabel=label)
        ax.grid(axis="y", color=GREY, alpha=0.3, linewidth=0.5)
        legend_above(ax, columns=2)
    return ax
