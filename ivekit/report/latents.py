"""What each latent is, what happens when it moves, and the field that comes with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from numpy import ndarray

from .. import viz
from ..explain import haufe_pattern, traverse, traverse_band
from ..topomap import KINDS, Topomap
from ..viz.style import ink
from .figures import UNITS, Picture, short, shown
from .page import Markup, Pictures, table, tag
from .sections import count, number
from .study import Study, named, sentence

MOST_NAMED = 24  # latents of the table, MOST_MOVED of the traversals, MOST_MAPS of the fields
FEW = 6  # of the table, where none can be named
MOST_MOVED = 5
MOST_MAPS = 8
STEPS = 5
MARKS = {True: ("yes", "✓ above chance"), False: ("no", "✗ chance")}


# what each is ------------------------------------------------------------------------------------------------


def summary(study: Study) -> str:
    """How many latents are in use, and what the best known of them are, in a sentence.

    >>> from ivekit import Views
    >>> from ivekit.models import Conditional
    >>> summary(Study(Conditional({}, {}), Views({"a": torch.ones(2)})))
    'This model has no latents.'
    """
    if not study.has_latents:
        return "This model has no latents."
    found, used = study.found, study.ranked()
    text = f"{len(used)} of {count(len(found), 'latent')} {'is' if len(used) == 1 else 'are'} in use"
    known = used[used["passed"]].sort_values("r", key=abs, ascending=False, kind="stable").drop_duplicates("match")
    if not len(known):
        return f"{text}; none of them can be named by anything that is known of the rows."
    best = [f"{row.block} {row.index_} with {row.match}" for row in rows_of(known.head(4))]
    return f"{text}, and {int(used['passed'].sum())} go with something known; most surely {sentence(best)}."


def rows_of(frame: pd.DataFrame) -> Iterator[Any]:
    """Rows of a table of latents; `index_` is the column index, a word that tuples keep for themselves.

    >>> [row.index_ for row in rows_of(pd.DataFrame({"block": ["shared"], "index": [3]}))]
    [3]
    """
    return frame.rename(columns={"index": "index_"}).itertuples(index=False)


def identity(study: Study) -> Markup:
    """The table of what each latent goes with, beside what chance gives."""
    used = study.ranked()
    shown_ = used.head(MOST_NAMED if used["passed"].any() else FEW).sort_index()
    rows = [
        [
            tag("b", named(row.block, row.index_)), row.match if row.match else "–", number(row.kl), number(row.sd),
            tag("b", signed(row.r)), f"{signed(row.low)} to {signed(row.high)}" if row.match else "–",
            signed(row.floor), mark(bool(row.passed)) if row.match else "–",
        ]
        for row in rows_of(shown_)
    ]  # fmt: skip
    head = ["latent", "goes most with", "KL (nats)", "s.d.", "r", "95 % interval", "chance", ""]
    rest = f" Shown are the {len(shown_)} that tell most of the {len(used)} in use." if len(used) > len(shown_) else ""
    what = "the true factors" if study.factors is not None else "the numeric columns of the metadata"
    text = (
        f"The correlation of each latent in use with {what}, on {count(len(study.held_out), 'held-out row')}: the "
        "column with the largest one, its interval, and what the largest correlation of the whole table stays below in "
        "95 of 100 shuffles of the rows. The s.d. is the posterior's, in units of the prior's: 1 knows nothing. What "
        "goes with a column in a bent way is not seen here, but under Disentanglement." + rest
    )
    parts = [tag("p", text), table(head, rows, 2)] if rows else [tag("p", "No latent is in use.", class_="warn")]
    twice = used[used["passed"]].groupby("match", sort=False)["block"].count()
    if len(several := [f"{name} ({n} latents)" for name, n in twice.items() if n > 1]):
        parts.append(tag("p", f"Spread over several latents: {shown(several)}. No single one of these is the thing."))
    return Markup("".join(parts))


def mark(passed: bool) -> Markup:
    """A verdict that is read without its colour.

    >>> mark(True)
    '<span class="mark yes">✓ above chance</span>'
    """
    look, words = MARKS[passed]
    return tag("span", words, class_=f"mark {look}")


def signed(x: float) -> str:
    """Two decimals with a real minus, a dash for none.

    >>> signed(-0.5), signed(float("nan"))
    ('−0.50', '–')
    """
    return "–" if not np.isfinite(x) else f"{x:.2f}".replace("-", "\N{MINUS SIGN}")


# what happens when it moves ----------------------------------------------------------------------------------


def traversals(study: Study, pictures: Pictures) -> list[Markup]:
    """What is decoded while one latent moves over the range that it has, for those that tell most."""
    moved = [traversal(study, block, index, pictures) for block, index in _most(study)]
    if not any(moved):
        return []
    text = (
        "One latent moves over the middle 95 % of its values on the held-out rows while all others stay at their mean, "
        "and everything is decoded; the band holds 90 % of what is decoded when the others are what they may be. Shown "
        "are those that tell most: of the shared ones two, of each view's own one. What a traversal shows is the "
        "model's belief, not the data."
    )
    return [tag("p", text), *moved]


def _most(study: Study) -> list[tuple[str, int]]:
    blocks = list(study.codes)
    chosen = [
        (block, int(index))
        for block in blocks
        for index in study.ranked(block)["index"].head(2 if block == "shared" else 1)
    ]
    return chosen[:MOST_MOVED]


def traversal(study: Study, block: str, index: int, pictures: Pictures) -> Markup:
    """The figure of one latent's way; nothing where no view that it tells can be drawn."""
    low, high = np.quantile(study.codes[block][:, index], [0.025, 0.975])
    values = np.linspace(low, high, STEPS).round(2)
    told = traverse(study.model, study.held_out, block, index, values.tolist())
    drawn = {name: x.numpy() for name, x in told.items() if name in study.touched(block) and drawable(x.shape[1:])}
    bands = traverse_band(study.model, study.held_out, block, index, values.tolist())
    band = {name: bands[name].numpy() for name in drawn}
    if not drawn:
        return Markup()
    settings = _settings(study, drawn)
    row = study.found[(study.found["block"] == block) & (study.found["index"] == index)].iloc[0]
    only_film = all(len(x.shape) == 5 for x in drawn.values())
    height = 12 + (14 if only_film else 21) * STEPS

    def draw(figure: Figure) -> None:
        axes = viz.traversal(values, drawn, figure=figure, label="z", band=band, **settings)
        for row in axes:  # the value stands left of whatever labels the first view has there
            cast(Any, row[0].texts[-1]).xyann = (-_labels(next(iter(drawn.values())), settings), 0)

    width = min(170, 40 + sum(_width(x.shape[1:], settings["topo"]) for x in drawn.values()))
    goes = f" (goes with {row['match']}, r = {signed(row['r'])})" if row["passed"] else ""
    rest = [name for name in study.touched(block) if name not in drawn]
    missing = f" Not drawn: {shown(rest)}." if rest else ""
    text = f"{named(block, index)}{goes}, decoded from {signed(low)} to {signed(high)} prior s.d.{missing}"
    return pictures((width, height), draw, text)


def _labels(first: Float[ndarray, "v ..."], settings: Mapping[str, Any]) -> float:
    """Points that the labels left of a view's axes take."""
    if first.ndim == 2:
        return 12 + 3.6 * max(map(len, settings.get("columns") or ["0"]))
    return 28.0 if first.ndim == 3 and settings["topo"] is None else 6.0


def drawable(shape: tuple[int, ...]) -> bool:
    """Whether rows of a shape can be drawn while a latent moves.

    >>> drawable((102, 60)), drawable((1, 16, 32, 32)), drawable((6,)), drawable((560,)), drawable(())
    (True, True, True, False, False)
    """
    return len(shape) == 2 or (len(shape) == 4 and shape[0] in (1, 3)) or (len(shape) == 1 and shape[0] <= 12)


def _width(shape: tuple[int, ...], topo: Any) -> int:
    return {1: 42, 2: 76 if topo is not None else 46, 4: 70}[len(shape)]


def _settings(study: Study, drawn: Mapping[str, Float[ndarray, "v ..."]]) -> dict[str, Any]:
    """What a traversal's figure should know of the views: sensors, times, columns and their range."""
    known: dict[str, Any] = {"topo": None, "times": None, "unit": "a.u."}
    seen = [x for x in drawn.values() if x.ndim == 5]
    if seen:
        known["grey"] = tuple(float(end) for end in np.quantile(seen[0], [0.001, 0.999]))
    for name, x in drawn.items():
        about, shape = cast(Any, study.held_out.about.get(name)), x.shape[1:]
        if len(shape) == 2 and known["times"] is None:
            topo = next(iter(maps_of(about)), None)
            known["topo"], known["unit"] = topo, UNITS[topo.kind] if topo is not None else "a.u."
            if hasattr(about, "times"):
                known["times"] = np.asarray(about.times(shape[1]), float)
            elif isinstance(about, Mapping) and about.get("sfreq"):
                known["times"] = np.arange(shape[1]) / float(about["sfreq"])
        if len(shape) == 1:
            data = study.held_out[name][study.held_out.rows_present(name)].double().numpy()
            known["spans"] = np.quantile(data, [0.025, 0.975], axis=0).T if len(data) else None
            columns = about.get("columns") if isinstance(about, Mapping) else None
            known["columns"] = [short(c) for c in columns] if columns and len(columns) == shape[0] else None
    return known


def maps_of(about: Any) -> list[Topomap]:
    """A map for each kind of sensors that can be drawn.

    >>> maps_of({"columns": ["rt"]})
    []
    """
    found = []
    for kind in KINDS if hasattr(about, "kinds") else ():
        try:
            found.append(Topomap(about, kind))
        except ValueError:
            continue  # too few of this kind, or nobody knows where they are
    return found


# the field that comes with it --------------------------------------------------------------------------------


def fields(study: Study, pictures: Pictures) -> list[Markup]:
    """The patterns on the head of what tells most: how the sensors change when a latent, or a class, grows by one."""
    parts = []
    for name in study.held_out:
        topos = maps_of(study.held_out.about.get(name))
        if not topos or study.held_out[name].ndim != 3 or not study.held_out[name].is_floating_point():
            continue
        titles, target, unit = _quantities(study, name)
        if not titles:
            continue
        halves = [haufe_pattern(study.model, study.held_out[start::2], target)[name].numpy() for start in (0, 1)]
        whole = haufe_pattern(study.model, study.held_out, target)[name].numpy()
        parts += [pictures(*_maps(study, name, topo, whole, halves, titles, unit)) for topo in topos]
    if not parts:
        return []
    text = (
        "The pattern of a quantity is how the sensors change, over held-out rows, when it grows by one (Haufe et al., "
        "2014): the field that comes with it, by whichever way, and not where the model looks. Each map is at the "
        "moment when its pattern is strongest; below it stands how alike the maps of every other row and of the rest "
        "are (r over sensors at that moment). A map whose halves do not agree is noise."
    )
    return [tag("p", text), *parts]


def _quantities(study: Study, name: str) -> tuple[list[str], Callable[..., torch.Tensor], str]:
    """What maps are made of: latents that can know of a view, those that tell most; or the classes that are told."""
    if study.has_latents:
        used = study.ranked()
        used = used[used["block"].isin(["shared", name])].head(MOST_MAPS)
        chosen = [(row.block, int(row.index_)) for row in rows_of(used)]
        titles = [f"{named(row.block, row.index_)}" + (f": {row.match}" if row.passed else "") for row in rows_of(used)]
        return titles, lambda out: torch.stack([out.z[b][:, i] for b, i in chosen], 1), "s.d. of the prior"
    for told, p in study.model(study.held_out[:1]).p.items():
        about = study.held_out.about.get(told)
        classes = about.get("classes") if isinstance(about, Mapping) else None
        if classes and p.mean.ndim == 2 and len(classes) == p.mean.shape[1]:
            log = lambda out, told=told: out.p[told].mean.clamp(min=1e-6).log()[:, :MOST_MAPS]  # noqa: E731
            return [str(c) for c in classes][:MOST_MAPS], log, "nat of log-probability"
    return [], lambda out: out, ""


def _maps(
    study: Study, name: str, topo: Topomap, whole: Float[ndarray, "k c t"], halves: list[ndarray], titles: list[str],
    unit: str,
) -> Picture:  # fmt: skip
    times = np.asarray(study.held_out.about[name].times(whole.shape[2]), float)
    strength = np.square(topo.merge(np.moveaxis(whole, 1, 2))).mean(2)  # (k, t)
    peaks = strength.argmax(1)
    columns = min(4, len(titles))
    rows = -(-len(titles) // columns)

    def draw(figure: Figure) -> None:
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        figure.get_layout_engine().set(hspace=0.12)  # type: ignore[union-attr]
        for k, (ax, title) in enumerate(zip(axes, titles)):
            field, parts = whole[k, :, peaks[k]], [topo.merge(half[k, :, peaks[k]]) for half in halves]
            limit = float(np.abs(topo.merge(field)).max()) or 1.0
            viz.topomap(field, topo, ax, limit, colorbar=False)
            ax.set_title(short(title, 22), fontsize=7.5, color=ink())
            agree = f"halves r = {signed(_alike(*parts))}"
            below = f"{1e3 * times[peaks[k]]:.0f} ms, ±{number(limit)} {UNITS[topo.kind]}\n{agree}"
            ax.annotate(below, (0.5, 0), (0, -2), "axes fraction", "offset points", ha="center", va="top", fontsize=6.5)
        for ax in axes[len(titles) :]:
            ax.set_axis_off()

    kind = "" if len(maps_of(study.held_out.about[name])) == 1 else f", {topo.kind}"
    text = f"{name}{kind}: patterns, in {UNITS[topo.kind]} per {unit}; every map has its own scale, written below it."
    return (42.5 * columns, 52 * rows), draw, text


def _alike(a: Float[ndarray, "n"], b: Float[ndarray, "n"]) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size > 0 else 0.0
