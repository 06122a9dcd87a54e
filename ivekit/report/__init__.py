"""A run as one HTML page: what was asked, how well held-out rows are told, what latents are, and what is not known.

The page holds its figures and style and asks nothing of the network, so it can be mailed, archived and read in ten
years. Every name that came from data or settings is escaped.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy import ndarray

from ..models import Outputs
from ..views import Views
from . import latents as latent
from . import reasons, sections
from .architecture import architecture, thousands
from .classes import one_hot
from .diagram import described, diagram
from .figures import Told
from .limits import limits
from .page import Markup, Pictures, put, tag, whole
from .study import Study, study_of

__all__ = ["write"]

DRAWS = 39  # of chance for each check of an attribution: as few as three of them can be sure with (Holm)


def write(
    path: str | os.PathLike,
    *,
    title: str,
    settings: Mapping[str, Any],
    data: Views,
    scores: Mapping[str, Mapping[str, Mapping[str, Any]]],
    losses: pd.DataFrame,
    outputs: Outputs,
    views: Views,
    latents: Mapping[str, Any],
    kl: Mapping[str, Any],
    watch: pd.DataFrame | None = None,
    notes: Sequence[str] = (),
    question: str = "",
    command: str = "",
    model: Any = None,
    factors: pd.DataFrame | None = None,
    owners: Mapping[str, Collection[str]] | None = None,
    links: Sequence[tuple[str, str]] = (),
    draws: int = DRAWS,
) -> Path:
    """Writes the report of a run to one HTML file and returns its path; an old page stands until the new one is whole.

    title, question : what was asked. settings : what was run, by name; `command` : the line that runs it again.
    data : all rows, with their split in the metadata. views : the held-out rows; outputs : what the model says of them.
    scores : ``{view: {metric: {"model", "constant", "zero", "linear": number, "interval": [low, high]}}}``.
    losses : one row a step. latents : the posterior means of the held-out rows by block, (n, k); kl : the nats that
    each of them tells, averaged over rows, by block, (k,). watch : the same during training, with the columns block,
    epoch, active and drift. notes : anything else the reader should know. links : pages beside this one, (words, href).

    model : with it the page also has its diagram, what each latent is, traversals, attributions with their checks,
    disentanglement, and fields on the head. factors : what is known of `data`, a row a row, a column a quantity;
    without them, the numeric columns of the metadata. owners : of each factor, the views that it drives. draws : of
    chance for each check; 0 leaves attributions out, which take longest.

    >>> import tempfile, torch
    >>> from ivekit.distributions import Normal
    >>> size = torch.linspace(0, 1, 8)[:, None]
    >>> rows, out = Views({"pupil": size}), Outputs({}, {}, {"pupil": Normal(size, 0.1)})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = write(
    ...         Path(folder, "report.html"), title="Pupils", settings={"seed": 0}, data=rows, views=rows, outputs=out,
    ...         scores={"pupil": {"R2": {"model": 1.0, "constant": 0.0}}}, latents={"shared": size},
    ...         losses=pd.DataFrame({"step": [1], "loss": [2.0]}), kl={"shared": torch.ones(1)},
    ...     ).read_text()
    >>> page[:15], "<h1>Pupils</h1>" in page, page.count("<svg")
    ('<!DOCTYPE html>', True, 5)
    """
    pictures, (told, undrawn) = Pictures(), compare(outputs, views)
    codes, nats = ({block: _array(x) for block, x in given.items()} for given in (latents, kl))
    study = None if model is None else study_of(model, data, views, factors, owners or {}, told[0].row if told else 0)
    made, failed = ([], []) if study is None or not draws else reasons.cards(study, draws)
    n_scored = _n_scored(data, views)
    transforms = dict(getattr(getattr(model, "standardise", None), "transforms", {}))
    parts = {
        "data": sections.recordings(data, transforms, undrawn, pictures),
        "model": _model(model, views, pictures),
        "training": sections.training(losses, pictures),
        "scores": sections.held_out(scores, pictures, n_scored),
        "reconstructions": sections.reconstructions(told, pictures),
        "latents": sections.latent_space(codes, nats, watch, pictures, _named(study)),
    }
    if study is not None:
        asked = {
            "traversals": latent.traversals(study, pictures) if study.has_latents else [],
            "attributions": reasons.attributions(study, made, failed, pictures),
            "disentanglement": reasons.disentanglement(study, pictures),
            "topomaps": latent.fields(study, pictures),
        }
        parts |= {name: sections.section(name, *inside) for name, inside in asked.items() if inside}
    parts["limits"] = limits(notes, data, scores, study, any(card.checks for card, _ in made), len(views))
    parts["again"] = sections.again(settings, command)
    parts = {name: part for name, part in parts.items() if part}
    found = [sections.verdict(scores, n_scored), *([] if study is None else [latent.summary(study)])]
    found += [
        Markup(f"{reasons.mark_of(card)} {tag('span', card.title if card.checks else card.what)}") for card, _ in made
    ]
    head = sections.head(title, question, data, found, list(parts), links)
    return put(path, whole(title, [head, *parts.values()]))


def _n_scored(data: Views, views: Views) -> int:
    """The rows that scores are of: all test rows, where the data say which they are."""
    split = None if data.metadata is None or "split" not in data.metadata else data.metadata["split"]
    return len(views) if split is None else int((split == "test").sum()) or len(views)


def _model(model: Any, views: Views, pictures: Pictures) -> Markup:
    """The diagram, where the model is one of ours; of another, its class."""
    if model is None:
        return Markup()
    found = architecture(model, views)
    name = type(model).__name__
    if found is None:
        return sections.section("model", tag("p", f"A {name}, of whose parts this page knows nothing."))
    text = f"A {name} of {thousands(found.weights)} weights: {described(found)}."
    return sections.section("model", pictures.given(diagram(found), text))


def _named(study: Study | None) -> list[Markup]:
    return [latent.identity(study)] if study is not None and study.has_latents else []


def _array(x: Any) -> ndarray:
    """Numbers of a tensor on any device, or of an array."""
    return np.asarray(x.detach().cpu() if hasattr(x, "detach") else x, float)


def compare(outputs: Outputs, views: Views) -> tuple[list[Told], list[str]]:
    """Each view beside what is told of it, and sentences about those that cannot be compared."""
    pairs, abouts, undrawn = {}, dict(views.about), []
    for name, p in outputs.p.items():
        data, model, about = _array(views[name]), _array(p.mean), abouts.get(name)
        if data.ndim == 1 and model.ndim == 2:  # labels, and the probabilities of their classes
            known = about if isinstance(about, Mapping) else {}
            classes = known.get("classes", known.get("names", range(model.shape[1])))
            data, abouts[name] = one_hot(data, model.shape[1]), {"classes": list(classes)}
        if data.shape != model.shape:
            undrawn.append(f"{name} is not drawn: the model tells {model.shape[1:]} for a row of {data.shape[1:]}.")
            continue
        here = _array(views.present[name]).astype(bool)
        pairs[name] = np.where(here.reshape(*here.shape, *[1] * (data.ndim - here.ndim)), data, np.nan), model
    row = typical_row(pairs) if pairs else 0
    return [Told(name, data, model, abouts.get(name), row) for name, (data, model) in pairs.items()], undrawn


def typical_row(pairs: Mapping[str, tuple[Float[ndarray, "b ..."], Float[ndarray, "b ..."]]]) -> int:
    """The row whose error is the median one, among those in which most views are there; not the best, not the worst.

    pairs: data (b, ...), NaN where missing, and what a model tells of them, by view. A view's errors count relative to
    their mean.

    >>> data = np.zeros((5, 2))
    >>> typical_row({"a": (data, np.array([[9.0], [1], [3], [2], [8]]) * np.ones((5, 2)))})
    2
    """
    errors = []
    for data, model in pairs.values():
        squared = np.square(data - model).reshape(len(data), -1)
        here = np.isfinite(squared)
        error = np.where(here, squared, 0).sum(1) / np.maximum(here.sum(1), 1)
        errors.append(np.where(here.any(1), error / max(error.mean(), 1e-30), np.nan))
    there = np.isfinite(errors).sum(0)
    full = np.flatnonzero(there == there.max())
    order = full[np.argsort(np.nan_to_num(errors)[:, full].sum(0), kind="stable")]
    return int(order[(len(order) - 1) // 2])
