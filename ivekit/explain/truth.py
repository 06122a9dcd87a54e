"""Against the truth, where a world knows it: is the map high where it should be, and is it the source's field?

A smooth map on smooth data is right about a place by luck far more often than independent places would let one think.
So every number here stands beside what the same map scores against places that are wrong in a plausible way: the
fields of other dipoles, in windows shifted in time (`null_places`), or a true mask moved elsewhere (`shifted_places`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Real
from numpy import ndarray
from torch import Tensor, nn

from .. import metrics
from ..views import Views
from .check import Check, Explainer, Target
from .sources import cosine, topography

Statistic = Callable[[Any, Any], Any]  # (scores (k,), masks (..., k)) -> (...), as those of metrics.localisation
Likeness = Callable[[Any, Any], Any]  # (map (c,), fields (..., c)) -> (...), the larger the more alike

STATISTICS: Mapping[str, Statistic] = {
    "AUROC": metrics.auroc,
    "precision over prevalence": metrics.precision_lift,
    "mass lift": metrics.mass_lift,
    "rank accuracy": metrics.rank_accuracy,
}


# where it should be high -----------------------------------------------------------------------------------------


def true_places(field: Real[ndarray, "c"], course: Real[ndarray, "t"]) -> Bool[ndarray, "c t"]:
    """The sensors and moments at which a source is heard: those with half its largest field, at half its peak or more.

    >>> true_places(np.array([1.0, -0.6, 0.1]), np.array([0.0, 1.0, 0.4])).tolist()
    [[False, True, False], [False, True, False], [False, False, False]]
    """
    near, active = np.abs(field) >= np.abs(field).max() / 2, course >= course.max() / 2
    return near[:, None] & active


def null_places(
    field: Real[ndarray, "c"],
    course: Real[ndarray, "t"],
    fields: Real[ndarray, "n c"],
    n: int = 400,
    seed: int = 0,
) -> Bool[ndarray, "m c t"]:
    """Places that are as many, as smooth and as plausible as the true ones, but those of another source.

    fields (n, c), of other dipoles at the same sensors (`ivekit.synth.random_fields` for a world): of each, the
    sensors where it is strongest, as many as the true source has; in the true window, moved round by any number of
    samples.

    >>> fields = np.random.default_rng(0).standard_normal((20, 3))
    >>> null_places(np.array([1.0, 0.2, 0.1]), np.array([0.0, 1.0, 0.4]), fields, n=5).sum((1, 2)).tolist()
    [1, 1, 1, 1, 1]
    """
    truth, rng = true_places(field, course), np.random.default_rng(seed)
    near, active = truth.any(1), truth.any(0)
    strength = np.abs(fields)[rng.integers(len(fields), size=n)]
    order = np.argsort(-strength, axis=1)[:, : near.sum()]
    sensors = np.zeros((n, len(field)), bool)
    np.put_along_axis(sensors, order, True, axis=1)
    windows = np.stack([np.roll(active, shift) for shift in rng.integers(len(course), size=n)])
    return sensors[:, :, None] & windows[:, None]


def shifted_places(truth: Bool[ndarray, "*shape"], n: int = 400, seed: int = 0) -> Bool[ndarray, "m *shape"]:
    """A mask moved round along its axes, all but those of one place: as smooth as the true one, and elsewhere.

    For the pixels of a film, (c, t, h, w). Draws that would be the mask itself are moved again.

    >>> shifted_places(np.array([[True, True, False, False]]), n=3).sum((1, 2)).tolist()
    [2, 2, 2]
    """
    rng, moved = np.random.default_rng(seed), []
    axes = tuple(range(truth.ndim))
    for _ in range(1000 * n):
        other = np.roll(truth, [int(rng.integers(size)) for size in truth.shape], axes)
        if not np.array_equal(other, truth):
            moved.append(other)
        if len(moved) == n:
            return np.stack(moved)
    raise ValueError(f"a mask of shape {truth.shape} that is the same wherever it is moved has no surrogates")


def map_of(explanation: Float[Tensor, "..."], row_ndim: int) -> Float[ndarray, "..."]:
    """The size of an explanation at every place of a row: the mean of what is absolute in the rows.

    row_ndim : axes of a row, 2 for (c, t). A pattern, which has the shape of a row, is taken as a single row.

    >>> map_of(torch.tensor([[1.0, -2.0], [-1.0, 0.0]]), 1).tolist()
    [1.0, 1.0]
    """
    size = explanation.detach().abs().double()
    return (size if size.ndim == row_ndim else size.mean(0)).cpu().numpy()


# the checks ------------------------------------------------------------------------------------------------------


def localised(
    scores: Real[ndarray, "*shape"],
    truth: Bool[ndarray, "*shape"],
    null: Bool[ndarray, "m *shape"],
    statistic: Statistic = metrics.auroc,
    alpha: float = 0.05,
) -> Check:
    """Is a map higher at the true places than it is at surrogates of them? For a map that is there already.

    scores, the map, of the truth's shape; null, at least 200 surrogates. The note names every statistic of
    `STATISTICS`, each with what chance stays below in 95 of 100 draws.

    >>> rng = np.random.default_rng(0)
    >>> truth = np.zeros((6, 8), bool)
    >>> truth[1:3, 2:5] = True
    >>> localised(truth + 0.1 * rng.random((6, 8)), truth, shifted_places(truth, 200)).passed
    True
    >>> localised(rng.random((6, 8)), truth, shifted_places(truth, 200)).passed
    False
    """
    if len(null) < 200:
        raise ValueError(f"{len(null)} surrogates: at least 200 are needed to tell 1 in 20 with some certainty")
    flat, masks = scores.ravel(), rearrange(null, "m ... -> m (...)")
    value, draws = float(statistic(flat, truth.ravel())), np.asarray(statistic(flat, masks), float)
    check = Check("truth", value, draws, False, _said(flat, truth.ravel(), masks))
    return Check(check.name, value, draws, check.p <= alpha, check.note)


def _said(scores: ndarray, truth: ndarray, masks: ndarray) -> str:
    """Every statistic with its floor, in words."""
    parts = []
    for name, statistic in STATISTICS.items():
        floor = np.quantile(statistic(scores, masks), 0.95)
        parts.append(f"{name} {float(statistic(scores, truth)):.2f} (by chance up to {floor:.2f})")
    return f"{'; '.join(parts)}; true places are {truth.mean():.1%}"


def check_truth(
    model: nn.Module,
    views: Views,
    target: Target,
    explainer: Explainer,
    truth: Bool[ndarray, "*shape"],
    null: Bool[ndarray, "m *shape"],
    view: str = "meg",
    statistic: Statistic = metrics.auroc,
    alpha: float = 0.05,
) -> Check:
    """Is an explanation high where the truth is, more than at surrogates of it? A world's own check.

    truth : of a row's shape, the places that the target's cause moves (`true_places`, or a world's pixels).
    null : surrogates of it, at least 200 (`null_places`, `shifted_places`).
    statistic : the value; the note tells all of `STATISTICS`.

    Source: Arras, Osman & Samek (2022), "CLEVR-XAI", for truth by simulation; the null is ours, since on smooth data
    its 95 % quantile is an AUROC of 0.8 and not the 0.5 of independent places.

    >>> truth = np.zeros((6, 8), bool)
    >>> truth[1:3, 2:5] = True
    >>> views, known = Views({"meg": torch.rand(4, 6, 8)}), torch.from_numpy(truth).float()
    >>> sees = lambda model, views, target: {"meg": views["meg"] + 2 * known}
    >>> check_truth(nn.Identity(), views, len, sees, truth, shifted_places(truth, 200)).passed
    True
    """
    expected = tuple(views[view].shape[1:])
    if truth.shape != expected:
        raise ValueError(f"the truth is of shape {truth.shape}, a row of {view!r} of {expected}")
    explanation = explainer(model, views, target)
    return localised(map_of(explanation[view], len(expected)), truth, null, statistic, alpha)


# topographies ----------------------------------------------------------------------------------------------------


def field_of(explanation: Float[Tensor, "..."]) -> Float[ndarray, "c"]:
    """The map over sensors of an explanation (b, c, t), or of a pattern (c, t), with its sign.

    The field of the one source that explains most of the mean over rows (`ivekit.explain.sources.topography`). Its
    overall sign says nothing.

    >>> course = torch.tensor([0.0, 2.0, 1.0])
    >>> field_of(torch.tensor([[3.0], [-4.0]]) * course).round(4).tolist()
    [6.0, -8.0]
    """
    mean = explanation.detach().double()
    return topography((mean if mean.ndim == 2 else mean.mean(0)).cpu().numpy()).field


def magnitude(explanation: Float[Tensor, "..."]) -> Float[ndarray, "c"]:
    """How large an explanation (b, c, t), or a pattern (c, t), is at each sensor: the mean of what is absolute.

    >>> magnitude(torch.tensor([[[1.0, -3.0], [0.0, 0.0]]])).tolist()
    [2.0, 0.0]
    """
    return map_of(explanation, 2).mean(-1)


def same_field(x: Real[ndarray, "c"], fields: Real[ndarray, "*m c"]) -> Any:
    """|cos| of a map with its sign and fields: 1 where they are one field up to its scale and sign, 0 at right angles.

    >>> same_field(np.array([1.0, -1.0]), np.array([[-2.0, 2.0], [1.0, 1.0]])).round(6).tolist()
    [1.0, 0.0]
    """
    return cosine(x, fields)


def same_strength(x: Real[ndarray, "c"], fields: Real[ndarray, "*m c"]) -> Any:
    """The cosine of a map of sizes and the sizes of fields. Two maps without signs are alike anyway: mind the null.

    >>> round(same_strength(np.array([1.0, 1.0]), np.array([-2.0, 2.0])), 6)
    1.0
    """
    return same_field(np.abs(x), np.abs(fields))


def check_topography(
    model: nn.Module,
    views: Views,
    target: Target,
    explainer: Explainer,
    field: Real[ndarray, "c"],
    fields: Real[ndarray, "n _"],
    view: str = "meg",
    read: Callable[[Tensor], ndarray] = field_of,
    alike: Likeness = same_field,
    alpha: float = 0.05,
) -> Check:
    """Is the map over sensors the field of the true source, more than fields of other dipoles are?

    field (c,), the true one; fields (n, c), of other dipoles at the same sensors, at least 200.
    read, alike : how a map over sensors is made of the explanation, and how it is compared. By default with its sign;
        `magnitude` and `same_strength` for explanations that have lost it, such as |integrated gradients|.

    The null is what the fields of the other dipoles would score in place of the map. A pattern (`haufe_pattern`) should
    pass; a filter or a gradient need not, however good the model (Haufe et al., 2014, NeuroImage 87).

    >>> field, fields = np.arange(20.0) - 10, np.random.default_rng(0).standard_normal((200, 20))
    >>> shows = lambda model, views, target: {"meg": torch.from_numpy(np.outer(field, [0, 1, 0.5]))}
    >>> check = check_topography(nn.Identity(), Views({"meg": torch.rand(4, 20, 3)}), len, shows, field, fields)
    >>> round(check.value, 3), check.passed
    (1.0, True)
    """
    if len(fields) < 200:
        raise ValueError(f"fields of {len(fields)} other dipoles: at least 200 are needed for a null")
    if field.shape != views[view].shape[1:2] or fields.shape[1:] != field.shape:
        raise ValueError(
            f"fields must be of the {views[view].shape[1]} sensors of {view!r}, got {field.shape} and {fields.shape}"
        )
    found = read(explainer(model, views, target)[view])
    check = Check("topography", float(alike(found, field)), np.asarray(alike(field, fields), float))
    nearer = float((np.asarray(alike(found, fields)) < check.value).mean())
    note = (
        f"{_words(alike)} with the true field; it is nearer to it than to {nearer:.0%} of {len(fields)} other dipoles"
    )
    return Check(check.name, check.value, check.null, check.p <= alpha, note)


def _words(alike: Any) -> str:
    known: dict[Any, str] = {same_field: "|cos|", same_strength: "cosine of sizes"}
    return known.get(alike, getattr(alike, "__name__", "likeness"))


# false positives -------------------------------------------------------------------------------------------------


def scrambled(views: Views, seed: int = 0) -> Views:
    """Noise with the data's own numbers: every sensor, moment, pixel and column has its values dealt to other rows.

    Each number keeps its distribution over rows and no two have anything to do with each other any more.

    >>> x = torch.arange(20.0).reshape(10, 2)
    >>> noise = scrambled(Views({"a": x}), seed=0)["a"]
    >>> noise.sort(0).values.equal(x), bool((noise[:, 1] - noise[:, 0] == 1).all())
    (True, False)
    """
    random = torch.Generator().manual_seed(seed)
    dealt = {}
    for name in views:
        order = torch.rand(views[name].shape, generator=random).argsort(0)
        dealt[name] = views[name].cpu().gather(0, order)
    present = {name: mask.cpu() for name, mask in views.present.items()}
    if any(not mask.all() for mask in present.values()):
        raise ValueError("rows with holes cannot be dealt anew: leave out views or rows where something is missing")
    return Views(dealt, present, views.metadata, views.about)


def sign_flips(
    maps: Real[ndarray, "b *shape"], alpha: float = 0.05, n: int = 400, seed: int = 0
) -> Bool[ndarray, "*shape"]:
    """Places where rows agree on a sign more than chance lets any place of the map agree.

    The t value of the mean over rows, against the largest |t| anywhere when rows change their signs at random: the
    chance of a single false place in the whole map is alpha (Nichols & Holmes, 2002).

    >>> maps = np.random.default_rng(1).standard_normal((40, 30))
    >>> int(sign_flips(maps).sum()), sign_flips(maps + 2 * (np.arange(30) == 4)).nonzero()[0].tolist()
    (0, [4])
    """
    x, rng = rearrange(np.asarray(maps, float), "b ... -> b (...)"), np.random.default_rng(seed)
    square = np.square(x).sum(0)
    signs = rng.choice([-1.0, 1.0], (n, len(x)))

    def t(total: ndarray) -> ndarray:  # flips leave the sum of squares as it is
        return np.abs(total) / np.sqrt(np.maximum(square - total**2 / len(x), 1e-300))

    bar = np.quantile(t(signs @ x).max(-1), 1 - alpha)
    return (t(x.sum(0)) > bar).reshape(maps.shape[1:])


def check_false_positives(
    model: nn.Module,
    views: Views,
    target: Target,
    explainer: Explainer,
    retrain: Callable[[int, Views], nn.Module],
    data: Views,
    view: str = "meg",
    noise: Callable[[Views, int], Views] = scrambled,
    significant: Callable[[ndarray], ndarray] = sign_flips,
    n: int = 3,
    seed: int = 0,
    alpha: float = 0.05,
) -> Check:
    """How many sensors and moments does an explanation call significant where there is nothing to find?

    Models are trained by ``retrain(seed, noise)`` on noise made of the training rows `data`, and explain noise made of
    `views`. `significant` takes the explanation of all rows (b, ...) and says which places it would report.

    A fixed network has fixed weights: its mean gradient is not zero anywhere, and rows that agree on it are no sample
    of anything. So explanations that say what the *network* does fail here with every test over rows, and those that
    say what is in the *data* may pass.

    Returns
    -------
    Check : the value is 1 less the excess of the share of significant places over alpha, 1 at best; no null, a fixed
        bar. The note tells the share on noise, and on the data as they are by the model that is explained.
    """
    shares = []
    for i in range(seed, seed + n):
        fresh = noise(views, 10_000 + i)
        maps = explainer(retrain(i, noise(data, i)), fresh, target)[view]
        shares.append(_share(maps, significant))
    on_noise, on_data = float(np.mean(shares)), _share(explainer(model, views, target)[view], significant)
    excess = max(0.0, on_noise - alpha)
    note = f"of {n} models trained on noise {on_noise:.1%} of places are significant, of the model itself {on_data:.1%}"
    return Check("false positives", 1 - excess, np.empty(0), excess == 0, note)


def _share(maps: Tensor, significant: Callable[[ndarray], ndarray]) -> float:
    return float(significant(maps.detach().double().cpu().numpy()).mean())
