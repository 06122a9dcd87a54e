"""Scores, losses, latents, behaviour, and what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Real
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Patch
from numpy import ndarray

from .style import BLUE, COLUMN, CYCLE, GREY, LINES, ORANGE, PURPLE, canvas, ink, legend_above, quantity

BASELINES = {"constant": ("s", GREY), "zero": ("v", PURPLE), "linear": ("D", ORANGE)}
# for values of either kind of page: no end of it is near white or black
ORDERED = LinearSegmentedColormap.from_list("low to high", [BLUE, "#A0A0A0", ORANGE])
MISSING = LinearSegmentedColormap.from_list("missing to recorded", [ORANGE, BLUE])


def bars(
    values: Real[Any, "k"],
    names: Sequence[str],
    interval: Real[Any, "k 2"] | None = None,
    reference: Real[Any, "k"] | None = None,
    ax: Axes | None = None,
    unit: str = "",
    labels: tuple[str, str] = ("model", "data"),
) -> Axes:
    """Draw one number for each name as a bar, with its interval, and what it should be as a line across.

    values (k,); names, k of them; interval (k, 2), lower and upper end; reference (k,), marked on each bar.

    >>> ax = bars(np.array([0.5, 0.8]), ["reaction time", "confidence"], reference=np.array([0.4, 0.7]), unit="a.u.")
    >>> [text.get_text() for text in ax.get_yticklabels()], ax.get_xlabel()
    (['reaction time', 'confidence'], 'value (a.u.)')
    """
    x = np.asarray(values, float)
    if len(names) != len(x):
        raise ValueError(f"{len(x)} values need as many names, got {len(names)}")
    rows = np.arange(len(x))
    with canvas(ax, 12 + 6 * len(x)) as ax:
        ax.barh(rows, x, height=0.62, color=BLUE, alpha=0.85, label=labels[0])
        if interval is not None:
            low, high = np.asarray(interval, float).T
            ax.hlines(rows, low, high, color=ink(), linewidth=1)
        if reference is not None:
            ref = np.asarray(reference, float)
            line = ax.vlines(ref, rows - 0.4, rows + 0.4, color=ink(), linewidth=1.8, label=labels[1])
            legend_above(ax, handles=[ax.containers[0], line])
        ax.axvline(0, color=ink(), linewidth=0.5)
        ax.set_yticks(rows, [str(n) for n in names])
        ax.invert_yaxis()
        ax.set_xlabel(quantity(unit, "value"))
    return ax


def losses(table: pd.DataFrame, ax: Axes | None = None, columns: Sequence[str] | None = None) -> Axes:
    """Draw how the terms of a loss fell over training: each step faintly, a running median over it.

    table, one row a step, with a column "step" (or "epoch"); columns, those to draw (by default every number that is
    not a step, an epoch, a learning rate or a time). Columns named ``validation...`` are dots joined by a dashed line.

    >>> ax = losses(pd.DataFrame({"step": range(50), "loss": np.linspace(3, 1, 50), "lr": 1e-3}))
    >>> ax.get_xlabel(), [text.get_text() for text in ax.get_legend().get_texts()]
    ('step', ['loss'])
    """
    clock = next((c for c in ("step", "epoch") if c in table), None)
    when = table[clock].to_numpy(float) if clock else np.arange(len(table), dtype=float)
    columns = columns if columns is not None else loss_columns(table)
    with canvas(ax, 55) as ax:
        for i, name in enumerate(columns):
            known = table[name].notna().to_numpy()
            colour = CYCLE[(i - 1) % len(CYCLE)] if i else ink()
            _curve(ax, when[known], table[name].to_numpy(float)[known], str(name), colour, LINES[i % len(LINES)])
        drawn = table[list(columns)].to_numpy(float)
        size = np.nanmedian(np.abs(drawn), axis=0)
        if len(size) > 1 and size.max() > 50 * size.min():  # a small term would be a line on the axis
            ax.set_yscale("symlog", linthresh=max(float(size.min()), 1e-3))
            ax.yaxis.set_major_formatter("{x:g}")  # powers of ten are mathematics, which STYLE does not parse
        else:
            _robust_limits(ax, drawn)
        ax.set(xlabel=clock or "row", ylabel="loss (nats a row)")
        legend_above(ax)
    return ax


def loss_columns(table: pd.DataFrame) -> list[str]:
    """The columns of a table of losses that are losses, the whole loss first.

    >>> loss_columns(pd.DataFrame({"step": [0], "kl": [0.5], "loss": [1.0], "lr": [1e-3], "note": ["a"]}))
    ['loss', 'kl']
    """
    other = ("step", "epoch", "lr", "last_of_epoch", "seconds", "time")
    found = [c for c in table.select_dtypes("number") if c not in other and bool(table[c].notna().to_numpy().any())]
    return sorted(found, key=lambda name: name != "loss")


def _curve(
    ax: Axes, when: Float[ndarray, "n"], value: Float[ndarray, "n"], name: str, colour: str, dashes: Any
) -> None:
    if name.startswith("validation"):
        ax.plot(when, value, "o--", color=colour, markersize=2.5 if len(value) < 40 else 0, linewidth=0.9, label=name)
        return
    window = max(1, len(value) // 25)
    middle = pd.Series(value).rolling(window, center=True, min_periods=1).median()
    if window > 1:
        ax.plot(when, value, color=colour, linewidth=0.4, alpha=0.35)
    ax.plot(when, middle, color=colour, linestyle=dashes, label=name)


def _robust_limits(ax: Axes, values: Float[ndarray, "n terms"]) -> None:
    """The first steps may be far off: show what came after them, with a little room."""
    seen = values[np.isfinite(values)]
    late = values[len(values) // 20 :]
    late = late[np.isfinite(late)]
    if not len(late) or np.ptp(seen) <= 3 * np.ptp(late) or np.ptp(late) == 0:
        return
    room = 0.08 * np.ptp(late)
    ax.set_ylim(late.min() - room, late.max() + room)


def matrix(
    values: Real[Any, "r c"],
    rows: Sequence[str],
    columns: Sequence[str],
    ax: Axes | None = None,
    label: str = "",
    limit: float | int | None = None,
    digits: int = 2,
) -> Axes:
    """Draw a table of numbers as a map of colours, the numbers written in it while they can be read.

    values (r, c); rows, columns, their names; label, what the numbers are, with its unit. Numbers of both signs go
    from blue to red about zero, others from white on; `limit` is the value of the darkest colour.

    >>> ax = matrix(np.array([[0.9, 0.1], [0.0, 0.8]]), ["z0", "z1"], ["contrast", "side"], label="R2")
    >>> [text.get_text() for text in ax.texts]
    ['0.90', '0.10', '0.00', '0.80']
    """
    x = np.asarray(values, float)
    if x.shape != (len(rows), len(columns)):
        raise ValueError(f"{len(rows)} rows and {len(columns)} columns are named, but the matrix is {x.shape}")
    signed = bool((x < 0).any())
    limit = float(limit or np.nanmax(np.abs(x), initial=0) or 1)
    with canvas(ax, min(30 + 5 * len(rows), 110), max(COLUMN, 25 + 7 * len(columns))) as ax:
        look: dict[str, Any] = {"cmap": "RdBu_r" if signed else "Blues", "vmin": -limit if signed else 0, "vmax": limit}
        image = ax.imshow(x, aspect="auto", **look)
        ax.set_xticks(range(len(columns)), [str(c) for c in columns], rotation=40, ha="right", rotation_mode="anchor")
        ax.set_yticks(range(len(rows)), [str(r) for r in rows])
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        if x.size <= 150:
            _write_numbers(ax, x, limit, digits)
        bar = ax.figure.colorbar(image, ax=ax, label=label, aspect=25, pad=0.02)
        bar.outline.set_visible(False)
    return ax


def _write_numbers(ax: Axes, x: Float[ndarray, "r c"], limit: float, digits: int) -> None:
    for (row, column), value in np.ndenumerate(x):
        if np.isfinite(value):
            number = f"{round(value, digits) + 0.0:.{digits}f}"  # + 0.0: never "-0.00"
            colour = "white" if abs(value) > 0.6 * limit else "black"  # both scales are dark at their ends
            ax.text(column, row, number, ha="center", va="center", fontsize=6.5, color=colour)


def presence(present: Bool[Any, "rows views"], names: Sequence[str], ax: Axes | None = None) -> Axes:
    """Draw which rows have which views: a line a view, a gap in it where a row lacks it.

    present (rows, views), True where recorded; names of the views.

    >>> ax = presence(np.array([[True, True], [True, False]]), ["meg", "video"])
    >>> [text.get_text() for text in ax.get_yticklabels()]
    ['meg  100 %', 'video  50 %']
    """
    there = np.asarray(present, float)
    with canvas(ax, 16 + 6 * len(names)) as ax:
        # the shares of some hundred runs of rows: a picture of every row would show or lose single rows by chance
        runs = np.array_split(there, min(max(len(there), 1), 400))
        shares = np.stack([run.mean(0) for run in runs]) if len(there) else np.zeros((1, len(names)))
        for line, share in enumerate(shares.T):
            extent = (0, max(len(there), 1), line + 0.42, line - 0.42)
            ax.imshow(share[None], cmap=MISSING, vmin=0, vmax=1, aspect="auto", extent=extent, interpolation="nearest")
        # floor: 100 % is said only where nothing is missing
        percent = np.floor(100 * (there.mean(0) if len(there) else shares[0]) + 1e-9)
        ax.set_yticks(range(len(names)), [f"{n}  {p:.0f} %" for n, p in zip(names, percent)])
        ax.set(ylim=(len(names) - 0.5, -0.5), xlim=(0, max(len(there), 1)), xlabel="row")
        ax.tick_params(axis="y", length=0)
        ax.spines[:].set_visible(False)
        legend_above(ax, handles=[Patch(color=BLUE, label="recorded"), Patch(color=ORANGE, label="missing")])
    return ax


def latents(
    z: Real[Any, "n k"],
    colour: Real[Any, "n"] | None = None,
    ax: Axes | None = None,
    names: Sequence[str] | None = None,
    label: str = "",
) -> Axes:
    """Draw the distribution of each latent over the rows, before the band where the prior has 95 % of its mass.

    z (n, k), the posterior means; colour (n,), a number of each row (a factor, say) with its `label`. A latent that
    the model does not use is a point at zero. At most 400 rows are drawn, evenly spread.

    >>> ax = latents(np.random.default_rng(0).normal(size=(50, 3)))
    >>> ax.get_ylabel(), [text.get_text() for text in ax.get_xticklabels()]
    ('posterior mean (prior s.d.)', ['0', '1', '2'])
    """
    x = np.asarray(z, float)
    rows = np.unique(np.linspace(0, len(x) - 1, 400).round().astype(int)) if len(x) else np.arange(0)
    at = np.tile(np.arange(x.shape[1]), (len(rows), 1)) + _spread(len(rows))[:, None]
    with canvas(ax, 50) as ax:
        ax.axhspan(-1.96, 1.96, color=GREY, alpha=0.15, linewidth=0, zorder=0)
        of_row = None if colour is None else np.repeat(np.asarray(colour, float)[rows], x.shape[1])
        paint: dict[str, Any] = {"color": BLUE} if of_row is None else {"c": of_row, "cmap": ORDERED}
        dots = ax.scatter(at.ravel(), x[rows].ravel(), s=2, alpha=0.8, linewidths=0, rasterized=True, **paint)
        low, middle, high = np.quantile(x, [0.25, 0.5, 0.75], axis=0) if len(x) else np.zeros((3, x.shape[1]))
        ax.vlines(np.arange(x.shape[1]), low, high, color=ink(), linewidth=1.4)
        ax.scatter(np.arange(x.shape[1]), middle, s=7, color=ink(), zorder=3)
        _latent_axis(ax, x.shape[1], names)
        ax.set_ylabel("posterior mean (prior s.d.)")
        ax.set_title("grey: where the prior has 95 %", loc="left", color=GREY)
        if colour is not None:
            ax.figure.colorbar(dots, ax=ax, label=label, aspect=25, pad=0.02).outline.set_visible(False)
    return ax


def _spread(n: int) -> Float[ndarray, "n"]:
    """Even sideways places within a latent's lane, the same at every call (the golden ratio's multiples)."""
    return 0.7 * ((np.arange(n) * 0.618033988749895) % 1 - 0.5)


def _latent_axis(ax: Axes, k: int, names: Sequence[str] | None) -> None:
    every = max(1, -(-k // 16))
    shown = np.arange(0, k, every)
    ax.set_xticks(shown, [str(names[int(i)]) if names is not None else str(i) for i in shown])
    ax.set(xlabel="latent", xlim=(-0.6, k - 0.4))


def kl(
    values: Real[Any, "k"], ax: Axes | None = None, names: Sequence[str] | None = None, active: float | int = 0.01
) -> Axes:
    """Draw the nats that each latent tells of a row; those under `active`, collapsed onto the prior, are pale.

    values (k,), the mean over rows of KL(q(z | x), prior) of each latent.

    >>> ax = kl(np.array([1.2, 0.001]))
    >>> ax.get_ylabel(), ax.get_title("left")
    ('KL from the prior (nats)', '1 of 2 latents used')
    """
    x = np.asarray(values, float)
    with canvas(ax, 40) as ax:
        used = x >= active
        ax.bar(np.arange(len(x)), x, width=0.7, color=[BLUE if u else GREY for u in used])
        _latent_axis(ax, len(x), names)
        ax.set_ylabel("KL from the prior (nats)")
        ax.set_title(f"{used.sum()} of {len(x)} latents used", loc="left")
    return ax


def scores(table: Mapping[str, Mapping[str, Any]] | pd.DataFrame, ax: Axes | None = None, label: str = "score") -> Axes:
    """Draw each model's score as a dot with its interval, beside what needs no model: constant, zero input, linear.

    table: {name of the row: {"model", "constant", "zero", "linear": number, "interval": [low, high]}}, or the same as
    a DataFrame; what is absent is not drawn. label, the metric's name and unit.

    >>> ax = scores({"meg": {"model": 0.4, "constant": 0.0, "linear": 0.3, "interval": [0.35, 0.44]}}, label="R2")
    >>> ax.get_xlabel(), [text.get_text() for text in ax.get_legend().get_texts()]
    ('R2', ['model', 'constant', 'linear'])
    """
    rows: Any = table
    rows = rows.to_dict("index") if isinstance(rows, pd.DataFrame) else rows
    with canvas(ax, 20 + 7 * len(rows)) as ax:
        for y, said in enumerate(rows.values()):
            _score_row(ax, y, said)
        ax.set_yticks(range(len(rows)), [str(n) for n in rows])
        ax.set(ylim=(len(rows) - 0.5, -0.5), xlabel=label)
        ax.grid(axis="y", color=GREY, alpha=0.3, linewidth=0.5)
        ax.set_axisbelow(True)
        handles = dict(zip(*ax.get_legend_handles_labels()[::-1]))  # one entry a name, however many rows
        legend_above(ax, handles=list(handles.values()))
    return ax


def _score_row(ax: Axes, y: int, said: Mapping[str, Any]) -> None:
    interval = said.get("interval")
    if interval is not None and np.all(np.isfinite(interval)):
        ax.hlines(y, *interval, color=BLUE, linewidth=1.8, zorder=3)
    ax.plot(said["model"], y, "o", color=BLUE, markersize=5, label="model", linestyle="", zorder=4)
    for name, (marker, colour) in BASELINES.items():
        value = said.get(name)
        if value is not None and np.isfinite(value):
            # a little lower, so that a model no better than a baseline does not hide it
            ax.plot(value, y + 0.22, marker, color=colour, markersize=3.5, label=name, linestyle="")
