"""What a model says of each view, drawn by the view's shape and by what its numbers are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from einops import rearrange
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy import ndarray

from .. import viz
from ..topomap import KINDS, Topomap
from ..viz.style import ink
from . import classes

R2 = "(R2; of classes, accuracy)"
METRICS = {"reconstruction": f"told from all views {R2}", "from_others": f"told from the other views {R2}"}
MOST_COLUMNS = 64  # of a table drawn one by one; more are points of a map
UNITS = {"mag": "fT", "grad": "fT/cm", "eeg": "µV"}
Picture = tuple[tuple[float | int, float | int], Callable[[Figure], Any], str]  # size in mm, what draws it, its caption


@dataclass(frozen=True, repr=False)
class Told:
    """A view of some rows beside what a model tells of it; what is missing is NaN in the data.

    data, model (b, ...), of one shape. about, what the numbers are. row, the one that is shown by itself.

    >>> Told("behaviour", np.zeros((9, 2)), np.ones((9, 2)), {"columns": ["rt", "choice"]}, row=4)
    behaviour of 9 rows, (2,) each, row 4 by itself
    """

    name: str
    data: Float[ndarray, "b ..."]
    model: Float[ndarray, "b ..."]
    about: Any
    row: int

    def __repr__(self) -> str:
        return f"{self.name} of {len(self.data)} rows, {self.data.shape[1:]} each, row {self.row} by itself"

    @property
    def is_sensors(self) -> bool:
        """Whether the channels are sensors that know their kinds."""
        return hasattr(self.about, "kinds")

    def said(self, key: str, otherwise: Any = None) -> Any:
        """What `about` says of the view under `key`, if it is a dict and says it."""
        return self.about.get(key, otherwise) if isinstance(self.about, Mapping) else otherwise

    def names(self, n: int, word: str) -> list[str]:
        """The names of its `n` channels, columns or classes."""
        known = (self.said(key) for key in ("classes", "columns", "names"))
        names = list(self.about.names) if self.is_sensors else list(next(filter(None, known), []))
        return [short(x) for x in names] if len(names) == n else [f"{word} {i}" for i in range(n)]

    @property
    def one(self) -> str:
        """The words for the row that is shown by itself."""
        return f"one held-out row (number {self.row}, of median error)"


def pictures(told: Told) -> Iterator[Picture]:
    """The figures of a view: classes, fields and waveforms, frames, bars, traces; else told over observed."""
    if told.said("classes"):
        yield classes.confusion(told)
        return
    rank = told.data.ndim - 1
    maps = _maps(told) if told.is_sensors and rank == 2 else []
    for topo in maps:
        yield from _fields(told, topo)
    if maps:
        return
    if rank == 4 and told.data.shape[1] in (1, 3):
        yield _film(told)
    elif rank == 2:
        yield _traces(told)
    elif rank == 1 and told.data.shape[1] <= MOST_COLUMNS:
        yield _bars(told)
        yield _columns(told)
    else:
        yield _elements(told)


def _mean(x: Float[ndarray, "b ..."]) -> Float[ndarray, "..."]:
    """Over the rows that are there; 0 where none is."""
    here = np.isfinite(x)
    return np.where(here, x, 0).sum(0) / np.maximum(here.sum(0), 1)


def _like(model: Float[ndarray, "b ..."], data: Float[ndarray, "b ..."]) -> Float[ndarray, "b ..."]:
    """What is told of that which is there: the two means are over the same rows."""
    return np.where(np.isfinite(data), model, np.nan)


# fields and waveforms ----------------------------------------------------------------------------------------


def _maps(told: Told) -> list[Topomap]:
    """A map for each kind of sensor that can be drawn: there are enough, and their places are known."""
    maps = []
    for kind in (k for k in KINDS if k in set(map(str, told.about.kinds))):
        try:
            maps.append(Topomap(told.about, kind))
        except ValueError:
            continue  # they are drawn as traces
    return maps


def _fields(told: Told, topo: Topomap) -> Iterator[Picture]:
    unit, times = UNITS[topo.kind], _seconds(told)
    channels = np.flatnonzero([str(kind) == topo.kind for kind in told.about.kinds])
    means = [_mean(told.data), _mean(_like(told.model, told.data))]
    single = [np.nan_to_num(x[told.row]) for x in (told.data, told.model)]
    peak = float(times[np.square(topo.merge(means[0].T)).mean(1).argmax()])
    name = told.name if len(channels) == len(told.about.kinds) else f"{told.name}, {topo.kind}"

    def waves(figure: Figure) -> None:
        for ax, x, title in zip(figure.subplots(1, 2, sharey=True), means, ("data", "model")):
            viz.butterfly(x[channels], times, ax, told.about.pos[channels], unit, key=title == "model")
            ax.set_title(title, loc="left")
            ax.label_outer()

    def maps(pair: list) -> Callable[[Figure], Any]:
        data, model = pair
        return lambda figure: viz.reconstruction(data, model, times, topo, figure, unit, at=peak)

    average = "mean over the held-out rows"
    yield (170, 48), waves, f"{name}, {average}: every sensor, coloured by its place on the head."
    strongest = "its course at the sensor that is strongest there, ringed on the maps"
    yield (170, 48), maps(means), f"{name}, {average}: the field at the peak of the data, and {strongest}."
    yield (170, 48), maps(single), f"{name}, {told.one}: the field at the same time, and {strongest}."


def _seconds(told: Told) -> Float[ndarray, "t"]:
    n = told.data.shape[-1]
    if told.is_sensors:
        return np.asarray(told.about.times(n), float)
    return float(told.said("tmin", 0)) + np.arange(n) / float(told.said("sfreq", 1))


def _traces(told: Told, most: int = 4) -> Picture:
    """The channels that vary most, in one row."""
    data, n = told.data, told.data.shape[1]
    spread = _mean(np.square(data - _mean(data)[None])).mean(-1)
    channels = np.sort(np.argsort(-spread, kind="stable")[:most])
    names, times = told.names(n, "channel"), _seconds(told)
    clock = "time (s)" if told.is_sensors or told.said("sfreq") else "sample"

    def draw(figure: Figure) -> None:
        axes = figure.subplots(len(channels), 1, sharex=True, squeeze=False)[:, 0]
        for ax, channel in zip(axes, channels):
            ax.plot(times, data[told.row, channel], color=ink(), linewidth=0.8, label="data")
            ax.plot(times, told.model[told.row, channel], color=viz.CYCLE[0], linewidth=1.5, label="model")
            ax.set_ylabel(names[channel])
        axes[-1].set_xlabel(clock)
        _shared_legend(figure, axes[0])

    which = "all channels" if n <= most else f"the {most} of its {n} channels that vary most"
    return (170, 18 + 20 * len(channels)), draw, f"{told.name}, {told.one}: {which}, in the units of the data."


def _shared_legend(figure: Figure, ax: Axes) -> None:
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper left", ncols=4)


# films -------------------------------------------------------------------------------------------------------


def _film(told: Told) -> Picture:
    seen = told.data[np.isfinite(told.data)]
    low, high = np.quantile(seen, [0.002, 0.998]) if len(seen) else (0.0, 1.0)
    limits = (float(low), float(high) if high > low else float(low) + 1)
    strips = [told.data[told.row], told.model[told.row], _mean(_like(told.model, told.data))]

    def draw(figure: Figure) -> None:
        axes = figure.subplots(3, 1)
        for ax, film, title in zip(axes, strips, ("data", "model", "model,\nmean of rows")):
            viz.frames(film, ax, fps=told.said("fps"), limits=limits)
            ax.set_ylabel(title, rotation=0, ha="right", va="center")
        for ax in axes[:-1]:
            ax.set(xlabel="", xticks=[])

    caption = (
        f"{told.name}, {told.one}: data above the model, black at {limits[0]:.2f} and white at {limits[1]:.2f}. "
        "The last strip is the model's mean over the held-out rows; a model that tells rows apart differs from it."
    )
    return (170, 76), draw, caption


# tables ------------------------------------------------------------------------------------------------------


def _bars(told: Told) -> Picture:
    """One row, in standard deviations, so that seconds and probabilities can stand side by side."""
    k = told.data.shape[1]
    middle = _mean(told.data)
    spread = np.sqrt(_mean(np.square(told.data - middle[None])))
    spread = np.where(spread > 0, spread, 1)
    data, model = ((x[told.row] - middle) / spread for x in (told.data, told.model))

    def draw(figure: Figure) -> None:
        viz.bars(
            model, told.names(k, "column"), reference=data, ax=figure.subplots(), unit="s.d. over rows, from their mean"
        )

    return (110, 18 + 6 * k), draw, f"{told.name}, {told.one}: what the model tells, and the line at what was recorded."


def _columns(told: Told, most: int = 6) -> Picture:
    """Told over observed, a panel a column."""
    k = min(told.data.shape[1], most)
    units = list(told.said("units") or [""] * told.data.shape[1])
    names = told.names(told.data.shape[1], "column")

    def draw(figure: Figure) -> None:
        axes = figure.subplots(-(-k // 3), 3, squeeze=False).ravel()
        for i, ax in enumerate(axes[:k]):
            _told_over_observed(ax, told.data[:, i], told.model[:, i])
            ax.set_title(f"{names[i]} ({short(units[i])})" if units[i] else names[i], loc="left")
        for ax in axes[k:]:
            ax.set_axis_off()

    rest = "" if k == told.data.shape[1] else f" The first {k} of {told.data.shape[1]} columns."
    text = f"{told.name}, all held-out rows: what the model tells over what was recorded; on the line they are equal."
    return (170, 45 * -(-k // 3)), draw, text + rest


def _elements(told: Told) -> Picture:
    """Any other shape: its elements, told over observed."""

    def draw(figure: Figure) -> None:
        ax = figure.subplots()
        _told_over_observed(ax, rearrange(told.data, "... -> (...)"), rearrange(told.model, "... -> (...)"))

    return (80, 70), draw, f"{told.name}, elements of all held-out rows: what the model tells over what was recorded."


def _told_over_observed(ax: Axes, data: Float[ndarray, "n"], model: Float[ndarray, "n"], most: int = 1500) -> None:
    known = np.flatnonzero(np.isfinite(data))
    shown = known[np.unique(np.linspace(0, len(known) - 1, most).round().astype(int))] if len(known) else known
    ax.plot(
        data[shown], model[shown], "o", color=viz.CYCLE[0], markersize=2, alpha=0.8, markeredgewidth=0, rasterized=True
    )
    if len(shown):
        ends = [float(data[shown].min()), float(data[shown].max())]
        ax.plot(ends, ends, color=ink(), linewidth=0.6)
    ax.set(xlabel="recorded", ylabel="model")


# latents, losses, scores -------------------------------------------------------------------------------------


def latents(z: Mapping[str, Float[ndarray, "n _"]], kl: Mapping[str, Float[ndarray, "_"]]) -> Iterator[Picture]:
    """The distribution of each latent, and under it the nats it tells; blocks side by side while there is room."""
    for blocks in _shelves({block: x.shape[1] for block, x in z.items()}, room=32):
        known = [block for block in blocks if block in kl and np.isfinite(kl[block]).all()]
        text = f"Latents of {shown(blocks)} on held-out rows: a dot a row, a bar from quartile to quartile, "
        text += "grey where the prior has 95 %" + ("; below, the nats that each tells of a row." if known else ".")
        width = max(70, min(170, 25 + 5 * sum(z[block].shape[1] for block in blocks)))
        yield (width, 90 if known else 52), _latents_of(blocks, z, kl, known), text


def _latents_of(blocks: list[str], z: Mapping, kl: Mapping, known: list[str]) -> Callable[[Figure], Any]:
    def draw(figure: Figure) -> None:
        share = {"width_ratios": [2 + z[b].shape[1] for b in blocks], "height_ratios": (1.3, 1) if known else None}
        axes = figure.subplots(2 if known else 1, len(blocks), sharey="row", squeeze=False, **share)
        for column, block in enumerate(blocks):
            viz.latents(z[block], ax=axes[0, column])
            if known:
                axes[0, column].set_xlabel("")
                axes[1, column].set_axis_off()
            if block in known:
                axes[1, column].set_axis_on()
                viz.kl(kl[block], axes[1, column])
                axes[1, column].set_title("", loc="left")
            axes[0, column].set_title(short(block), loc="left", color=ink())
        for ax in axes[:, 1:].ravel():
            ax.set_ylabel("")

    return draw


def _shelves(sizes: Mapping[str, int], room: int) -> Iterator[list[str]]:
    """Names in order, as many together as fit."""
    row: list[str] = []
    for name, size in sizes.items():
        if row and sum(sizes[n] for n in row) + size > room:
            yield row
            row = []
        row.append(name)
    if row:
        yield row


def losses(table: Any) -> Picture:
    """A panel a term, its validation beside it."""
    names = viz.loss_columns(table)
    pairs = {n: [n, *(v for v in names if _validates(v, n))] for n in names if not n.startswith("validation")}
    pairs |= {v: [v] for v in names if v.startswith("validation") and not any(v in p for p in pairs.values())}
    rows = -(-len(pairs) // 3)

    def draw(figure: Figure) -> None:
        axes = figure.subplots(rows, 3, squeeze=False)
        for ax, (name, columns) in zip(axes.ravel(), pairs.items()):
            viz.losses(table, ax, columns)
            ax.set_title(short(name), loc="left")
            ax.set_ylabel("nats a row" if ax in axes[:, 0] else "")
            ax.get_legend().remove()
        for ax in axes.ravel()[len(pairs) :]:
            ax.set_axis_off()

    text = (
        "Each term of the loss over training, every step faintly and their running median; blue, the validation rows."
    )
    return (170, 46 * rows), draw, text


def _validates(column: str, term: str) -> bool:
    rest = column.removeprefix("validation").lstrip("._ /:")
    return column.startswith("validation") and rest in (term, "" if term == "loss" else term)


def scores(table: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Picture:
    """A panel a metric, a line a view."""
    metrics = list(dict.fromkeys(metric for said in table.values() for metric in said))
    rows = -(-len(metrics) // 2)

    def draw(figure: Figure) -> None:
        axes = figure.subplots(rows, 2, squeeze=False).ravel()
        handles: dict[str, Any] = {}
        for ax, metric in zip(axes, metrics):
            of_views = {view: said[metric] for view, said in table.items() if metric in said}
            viz.scores(of_views, ax, METRICS.get(metric, short(metric)))
            ax.set_yticks(range(len(of_views)), [short(view) for view in of_views])
            legend = ax.get_legend()
            handles |= {handle.get_label(): handle for handle in legend.legend_handles}
            legend.remove()
        for ax in axes[len(metrics) :]:
            ax.set_axis_off()
        figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=len(handles))

    text = "Held-out scores: the model with its interval beside what needs no model."
    return (170, 8 + rows * (14 + 8 * len(table))), draw, text


def presence(there: Bool[ndarray, "rows views"], names: list[str]) -> Picture:
    """Which rows have which views."""
    size = (150, 16 + 7 * len(names))
    return (
        size,
        lambda figure: viz.presence(there, [short(n) for n in names], figure.subplots()),
        "Which rows have which views.",
    )


def drift(watch: pd.DataFrame) -> Picture:
    """How many latents are active, and how far they still move, epoch by epoch."""

    def draw(figure: Figure) -> None:
        active, moved = figure.subplots(1, 2)
        for (block, part), colour in zip(watch.groupby("block", sort=False), cycle(viz.CYCLE)):
            epochs = part.groupby("epoch")
            active.plot(epochs["active"].sum(), color=colour, label=short(block))
            moved.plot(epochs["drift"].mean(), color=colour)
        active.set(xlabel="epoch", ylabel="active latents", ylim=(0, None))
        moved.set(xlabel="epoch", ylabel="moved (prior s.d.)", ylim=(0, None))
        _shared_legend(figure, active)

    text = (
        "The latents during training, by block: how many are active, and how far the posterior means moved in an epoch."
    )
    return (170, 50), draw, text


def short(name: Any, most: int = 24) -> str:
    """A name that fits beside an axis.

    >>> short("reaction time"), short("a" * 40, 10)
    ('reaction time', 'aaaaaaaaa…')
    """
    text = str(name)
    return text if len(text) <= most else text[: most - 1] + "…"


def shown(names: Sequence[str], most: int = 12) -> str:
    """Names for a sentence, the first of them when they are many.

    >>> shown(["a", "b"]), shown([str(i) for i in range(20)], 3)
    ('a, b', '0, 1, 2 and 17 more')
    """
    rest = len(names) - most
    return ", ".join(map(str, names[:most])) + (f" and {rest} more" if rest > 0 else "")
