"""What moves a quantity of the model, what speaks against that, and whether latents stand for single things."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from time import process_time
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from numpy import ndarray

from .. import metrics, viz
from ..explain import Card, card, check_traversal, imputers, integrated_gradients, one_latent
from ..models import Outputs
from ..training import latents
from ..views import Views
from .figures import Picture, short, shown
from .latents import MOST_NAMED, maps_of, mark, rows_of, signed
from .page import Markup, Pictures, coded, table, tag
from .sections import count, number
from .study import Study, named

ROWS = 8  # that an attribution is checked on, the typical one first: a card asks for dozens of maps of each
NODES = 8  # of the quadrature of integrated gradients, enough for a completeness above 0.95 where a net is smooth
SHUFFLES = 100
TOO_DEAR = (
    "One map of this model takes seconds, and the checks ask for a hundred: make them by themselves (explain.card)."
)
MANY = 256  # rows of the check that moves a latent and decodes
DEAR = 0.5  # seconds of a map, beyond which it is drawn unchecked: a card asks for it about a hundred times
LEAST = 0.005  # part of a map that a view must have to be drawn
NOT_RUN = "seeds and labels, for which the model must be trained several times more (`Card.falsify`)"


# attributions ------------------------------------------------------------------------------------------------


def cards(study: Study, draws: int) -> tuple[list[tuple[Card, Views]], list[str]]:
    """The attributions of what tells most with their checks, and words for what could not be made.

    Of a model with latents: the one that tells most of what is shared, and the one of what is private. Of another: the
    log-probability of what was recorded.
    """
    made, failed = [], []
    rows = _rows(study)
    for what, target in _targets(study).items():
        explainer = partial(integrated_gradients, n_steps=NODES)
        try:
            seen = study.learnt if study.learnt is not None else study.held_out
            mean = imputers.Mean.fit(seen[: 4 * ROWS * ROWS])
            start = process_time()
            one = explainer(study.model, rows, target)
            if process_time() - start > DEAR:
                made.append((Card(what, one, (), (study.model, rows, target, explainer), {}), rows))
            else:
                found = card(study.model, rows, target, explainer, what, [mean], data=seen, draws=draws)
                made.append((_moved_in_many(study, found, target, seen), rows))
        except ValueError as error:  # views of bytes, rows of any length: said, and the page goes on
            failed.append(f"{what}: {error}")
    return made, failed


def _moved_in_many(study: Study, found: Card, target: Callable[..., torch.Tensor], seen: Views) -> Card:
    """A card whose check of the traversal is of many rows: of a few its bars are met by luck, and it costs little."""
    checks = [
        check_traversal(study.model, study.held_out[:MANY], target, data=seen) if check.name == "traversal" else check
        for check in found.checks
    ]
    return replace(found, checks=tuple(checks))


def _rows(study: Study) -> Views:
    """The typical row, then some that are spread over the held-out ones and have every view."""
    there = np.stack([study.held_out.rows_present(name).numpy() for name in study.held_out], 1).all(1)
    others = np.setdiff1d(np.flatnonzero(there), [study.row])
    spread = others[np.unique(np.linspace(0, len(others) - 1, ROWS - 1).round().astype(int))] if len(others) else others
    return study.held_out[torch.as_tensor([study.row, *spread.tolist()])]


def _targets(study: Study) -> dict[str, Callable[..., torch.Tensor]]:
    if study.has_latents:
        used = study.ranked()
        first = [used[(used["block"] == "shared") == shared].head(1) for shared in (True, False)]
        return {
            named(row.block, row.index_) + (f" ({row.match})" if row.passed else ""): one_latent(row.block, row.index_)
            for row in rows_of(pd.concat(first))
        }
    name = next(iter(study.model(study.held_out[:1]).p))

    def probability(out: Outputs, views: Views) -> Float[torch.Tensor, "b"]:
        return out.p[name].log_prob(views[name], views.present[name])

    return {f"log p({name})": probability}


def attributions(study: Study, made: list[tuple[Card, Views]], failed: list[str], pictures: Pictures) -> list[Markup]:
    """Each map under its verdict, and its card."""
    if not made and not failed:
        return []
    text = (
        f"Integrated gradients (Sundararajan et al., 2017; {NODES} nodes, from the mean training row): how much each "
        "number of the input adds to a quantity of the model, in the held-out row that is shown throughout. The checks "
        f"are made on {count(min(ROWS, len(study.held_out)), 'row')}, that of the traversal on up to {MANY}. A map "
        "that failed one is drawn, since it was made, but it is no evidence."
    )
    parts = [tag("p", text)]
    for found, rows in made:
        parts += [tag("h3", found.what), tag("p", mark_of(found), " ", found.verdict)]
        parts += [_checks(found)] if found.checks else [tag("p", TOO_DEAR)]
        parts += [pictures(*picture) for picture in _drawn(study, found, rows)]
    parts += [tag("p", f"Not made: {line}", class_="faint") for line in failed]
    return [*parts, tag("p", coded(f"Not run on this page: {NOT_RUN}."), class_="faint")]


def mark_of(found: Card) -> Markup:
    """The verdict of a card as a mark.

    >>> from ivekit.explain import Check
    >>> mark_of(Card("a latent", {}, (Check("weights", 0.1),), (torch.nn.Identity(), None, None, None), {}))
    '<span class="mark no">✗ failed 1 of 1</span>'
    """
    n = len(found.checks)
    if not n:
        return tag("span", "✗ not checked", class_="mark no")
    if found.failed:
        return tag("span", f"✗ failed {len(found.failed)} of {n}", class_="mark no")
    return tag("span", f"✓ passed {n} of {n}", class_="mark yes")


def _checks(found: Card) -> Markup:
    rows = [
        [
            tag("b", check.name), check.note, number(check.value),
            number(check.floor) if np.isfinite(check.floor) else "–", number(check.p) if len(check.null) else "–",
            tag("span", "✓" if check.passed else "✗ failed", class_=f"mark {'yes' if check.passed else 'no'}"),
        ]
        for check in found.checks
    ]  # fmt: skip
    return table(["check", "what was found", "value", "chance or bar", "p", ""], rows, 2)


def _drawn(study: Study, found: Card, rows: Views) -> Iterator[Picture]:
    """The views in which something matters, for the first row."""
    sizes = {name: x[0].detach().abs().double().numpy() for name, x in found.explanation.items()}
    total = sum(float(x.sum()) for x in sizes.values()) or 1.0
    shares = {name: float(x.sum()) / total for name, x in sizes.items()}
    parts = [f"{name} {share:.0%}" for name, share in shares.items() if share >= LEAST]
    said = ", ".join(parts) if len(parts) > 1 else ""
    for name, size in sizes.items():
        if shares[name] < LEAST or not rows.rows_present(name)[0]:
            continue
        doubt = "one held-out row" if found.checks else "no evidence, since no check was made"
        doubt = f"no evidence, since it failed {shown(found.failed)}" if found.failed else doubt
        text = f"{name}: |attribution| of {found.what}, {doubt}."
        more = f" Parts of the whole map's size: {said}." if said else ""
        yield from _of_view(study, name, size, rows, text + more, found.what)


def _of_view(study: Study, name: str, size: ndarray, rows: Views, text: str, what: str) -> Iterator[Picture]:
    """By the shape of a row: a map and its courses, frames, bars, traces; else words."""
    about, x = cast(Any, study.held_out.about.get(name)), rows[name][0].double().numpy()
    if size.ndim == 2 and (topos := maps_of(about)):
        times = np.asarray(about.times(size.shape[1]), float)
        picks = [np.flatnonzero([str(k) == t.kind for k in about.kinds]) for t in topos]
        for topo, pick in zip(topos, picks):
            own = np.where(np.isin(np.arange(len(size)), pick)[:, None], size, 0)
            yield (150, 50), lambda figure, o=own, t=topo: viz.attributed_field(o, times, t, short(what), figure), text
    elif size.ndim == 4 and size.shape[0] in (1, 3):
        fps = about.get("fps") if isinstance(about, Mapping) else None
        draw = lambda figure: viz.attributed_film(x, size, figure.subplots(), fps=fps)  # noqa: E731
        yield (170, 34), draw, text + " Red: the pixels with most, over the film in grey."
    elif size.ndim == 1 and len(size) <= 24:
        columns = about.get("columns") if isinstance(about, Mapping) else None
        names = [short(c) for c in columns] if columns else [f"column {i}" for i in range(len(size))]
        draw = lambda figure: _bars(figure, size, names)  # noqa: E731
        yield (110, 14 + 6 * len(size)), draw, text
    elif size.ndim == 2 and len(size) <= 6:
        yield (170, 14 + 20 * len(size)), lambda figure: _traces(figure, x, size, about), text


def _bars(figure: Figure, size: Float[ndarray, "k"], names: list[str]) -> None:
    viz.bars(size, names, ax=figure.subplots()).set_xlabel("|attribution| (a.u.)")


def _traces(figure: Figure, x: Float[ndarray, "c t"], size: Float[ndarray, "c t"], about: Any) -> None:
    """Each channel, and under it, filled, how much each moment adds."""
    said: Any = about if isinstance(about, Mapping) else {}
    clock = bool(said.get("sfreq"))
    times = np.arange(x.shape[1]) / float(said.get("sfreq") or 1)
    if hasattr(about, "times"):
        clock, times = True, cast(Any, about).times(x.shape[1])
    names = list(getattr(about, "names", None) or said.get("columns") or said.get("names") or [])
    axes = figure.subplots(len(x), 1, sharex=True, squeeze=False)[:, 0]
    for i, ax in enumerate(axes):
        span = np.ptp(x[i]) or 1.0
        ax.fill_between(
            times, x[i].min(), x[i].min() + span * size[i] / (size.max() or 1), color=viz.CYCLE[1], alpha=0.5, lw=0
        )
        ax.plot(times, x[i], color=viz.style.ink(), linewidth=0.8)
        ax.set_ylabel(short(names[i]) if len(names) == len(x) else f"channel {i}")
    axes[-1].set_xlabel("time (s)" if clock else "sample")


# disentanglement ---------------------------------------------------------------------------------------------


def disentanglement(study: Study, pictures: Pictures) -> list[Markup]:
    """What each block and each latent tell of what is known, beside what shuffled rows give; [] without latents."""
    if not study.has_latents:
        return []
    known, used = study.known, study.ranked().head(MOST_NAMED).sort_index()
    if known is None or not len(used):
        why = "no latent is in use" if known is not None else "no factor and no numeric column is known of these rows"
        return [
            tag("p", f"Not scored: {why}. (Agreement of models of several seeds, `metrics.udr`, needs several runs.)")
        ]
    codes = np.stack([study.codes[block][:, int(index)] for block, index in zip(used["block"], used["index"])], 1)
    said = metrics.score_table(metrics.scores, codes, known, SHUFFLES)
    fractions = said.drop(index="active")
    rows = [
        [tag("b", name), *(number(row[c]) for c in ("value",)), f"{number(row['low'])} to {number(row['high'])}",
         number(row["floor"]), mark(bool(row["value"] > row["floor"]))]
        for name, row in fractions.iterrows()
    ]  # fmt: skip
    names = [named(block, index) for block, index in zip(used["block"], used["index"])]
    relation = metrics.relation(codes, known)
    text = (
        f"How cleanly single latents stand for single columns, on {count(len(known), 'held-out row')}: 1 is perfect. "
        "Beside each score its interval (half samples) and its floor, what it stays below in 95 of "
        f"{SHUFFLES} shuffles of the rows; a score that is not above its floor says nothing."
    )
    parts = [tag("p", text), table(["score", "value", "interval", "chance", "verdict"], rows)]
    if relation.any():
        shape, columns = (60 + 11 * len(known.columns), 26 + 5.2 * len(names)), [short(c, 16) for c in known]
        caption = "What each latent tells of each column: part of the column's entropy, 0 where it could be chance."
        parts.append(pictures(shape, lambda figure: _relation(figure, relation, names, columns), caption))
    else:
        parts.append(tag("p", "No single latent tells anything of any column that could not be chance."))
    return [*parts, *_leak(study, known, pictures)]


def _relation(figure: Figure, relation: Float[ndarray, "k f"], names: list[str], columns: list[str]) -> None:
    viz.relation(relation, names, columns, ax=figure.subplots())


def _leak(study: Study, known: pd.DataFrame, pictures: Pictures) -> list[Markup]:
    """The leak matrix, fitted on training rows and scored on held-out ones, with its floor."""
    learnt = study.known_of_learnt
    if study.learnt is None or learnt is None:
        return []
    fitted = {block: z.double().numpy() for block, z in latents(study.model, study.learnt).items()}
    codes = {block: np.concatenate([fitted[block], z]) for block, z in study.codes.items()}
    both = pd.concat([learnt, known], ignore_index=True)
    train, test = np.arange(len(learnt)), np.arange(len(learnt), len(both))
    told = metrics.block_readout(codes, both, train, test)
    floor = float(np.quantile(metrics.shuffled_readout(codes, both, train, test, SHUFFLES).max((1, 2)), 0.95))
    homes = {f: "shared" if len(views) > 1 else next(iter(views)) for f, views in study.owners.items() if f in both}
    drawn = bool(homes) and set(homes) == set(map(str, both)) and set(homes.values()) <= set(told.index)
    size = (45 + 14 * len(both.columns), 30 + 8 * len(told))

    def draw(figure: Figure) -> None:
        if drawn:
            viz.leak(told, homes, floor=floor, ax=figure.subplots())
        else:
            columns = [short(c, 16) for c in told.columns]
            viz.matrix(
                told.clip(lower=0).to_numpy(), list(told.index), columns, figure.subplots(), "R2, held-out rows", 1.0
            )

    text = (
        "What a weighted sum of each block of latents tells of each column: R2 on held-out rows, fitted on training "
        f"rows. By chance the largest cell stays below {signed(floor)} (95 of {SHUFFLES} shuffles)."
    )
    if drawn:
        score = metrics.block_score(told, {f: study.owners[f] for f in homes})
        text += (
            f" Outlined: where a factor belongs. Block score {signed(score)} (1: everything at home and nowhere else)."
        )
    return [pictures(size, draw, text + " A line sees no leak that is bent.")]
