"""Does an explanation fit what the model does with its input? Checks that ask the model about changed rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from einops import rearrange, reduce
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor, nn

from ..views import Views
from .check import Check, Explainer, Target
from .checks_model import ALPHA
from .forward import evaluating
from .groups import gathered, groups, spread
from .maps import answers, latent_of, told

Imputer = Callable[[str, Tensor, Tensor], Tensor]
FRACTIONS = (0.1, 0.3, 0.5, 0.7, 0.9)


def check_completeness(
    model: nn.Module,
    views: Views,
    target: Target,
    explainer: Explainer,
    baseline: Mapping[str, Tensor] | None = None,
    bar: float = 0.95,
) -> Check:
    """Do attributions sum to what the target differs from its value at the baseline (Sundararajan et al., 2017)?

    baseline : a row a view (those of other trials: as many rows). Without one, the error that the explanation itself
        brings with it (`Attribution.completeness`) is taken.

    The value is 1 less the mean |sum - difference| over the mean |difference|. Passed from `bar` on.

    >>> views, total = Views({"a": torch.rand(8, 6)}), lambda out: out["a"].square().sum(1)
    >>> squares = lambda model, views, target: {"a": views["a"] ** 2}
    >>> check_completeness(nn.Identity(), views, total, squares, {"a": torch.zeros(6)})
    completeness: 1, the bar 0.95: passed
    """
    maps: Any = explainer(model, views, target)
    if baseline is None:
        error = getattr(maps, "completeness", None)
        if error is None:
            raise ValueError("this explanation does not say how complete it is: give the baseline it was made against")
        return _above(Check("completeness", 1 - float(error.mean()), note="by the method's own account"), bar)
    there = {name: x.expand_as(views[name]) for name, x in baseline.items()}
    with torch.no_grad():
        change = answers(model, views, target) - answers(model, views.replace(**there), target)
    total = torch.stack([reduce(x.detach(), "b ... -> b", "sum") for x in maps.values()]).sum(0)
    error = (total - change).abs().mean() / change.abs().mean().clamp(min=1e-12)
    return _above(Check("completeness", 1 - float(error), note="sum of attributions against the change"), bar)


def rolled(maps: Float[Tensor, "b *event"], generator: torch.Generator) -> Float[Tensor, "b *event"]:
    """The maps at another place: all rows moved round along every axis by the same random steps.

    What it says is lost, how smooth it is and what its values are is kept. Numbers without a neighbour, of rows with
    one axis, are put in another order.

    >>> rolled(torch.arange(4.0)[None, :, None].expand(1, 4, 2), torch.Generator().manual_seed(1))[0, :, 0]
    tensor([3., 0., 1., 2.])
    """
    if maps.ndim == 2:
        return maps[:, torch.randperm(maps.shape[1], generator=generator).to(maps.device)]
    steps = [int(torch.randint(n, (1,), generator=generator)) for n in maps.shape[1:]]
    return maps.roll(steps, tuple(range(1, maps.ndim)))


def check_deletion(
    model: nn.Module,
    views: Views,
    target: Target,
    explainer: Explainer,
    imputer: Imputer,
    features: Mapping[str, Tensor] | None = None,
    fractions: Sequence[float] = FRACTIONS,
    surrogate: Callable[[Tensor, torch.Generator], Tensor] = rolled,
    draws: int = 19,
    batch_rows: int = 256,
    seed: int = 0,
) -> Check:
    """Does removing what is said to matter change the target more than removing what is said not to matter?

    imputer : ``(view, x, keep) -> x``, what is put where something is removed: `imputers.Mean`, `imputers.Conditional`.
    features : what is removed together, a number an element of each view; `groups(views)` by default.

    In each view, with the others as they are, the features with the largest |map| are removed first, or last; the
    area between the two curves of |change of the target| over the `fractions` removed, mean over rows. That is deletion
    and insertion at once: keeping the most relevant is removing the least relevant (Bluecher et al., 2024).
    The value is its z-score among the `surrogate` maps, which are the null: the same maps at another place, so that
    smooth maps are not compared with salt and pepper. Passed when p <= 0.05, in the worst view.

    >>> views, first = Views({"a": torch.rand(8, 20)}), lambda out: out["a"][:, :3].sum(1)
    >>> right = lambda model, views, target: {"a": (torch.arange(20) < 3) * views["a"]}
    >>> check = check_deletion(nn.Identity(), views, first, right, lambda name, x, keep: x * keep)
    >>> check.name, check.passed
    ('deletion (function)', True)
    """
    maps, of = explainer(model, views, target), features or groups(views)
    generator, found = torch.Generator().manual_seed(seed), []
    with torch.no_grad():
        for name in told(maps):
            size = maps[name].detach().abs()
            areas = [
                _area(model, views, target, name, gathered(m, of[name]), of[name], imputer, fractions, batch_rows)
                for m in (size, *(surrogate(size, generator) for _ in range(draws)))
            ]
            found.append((*_z_scores(np.array(areas)), name))
    value, null, worst = min(found, key=lambda view: view[0])
    said, by = ", ".join(f"{name} z = {v:.1f}" for v, _, name in found), type(imputer).__name__.lower()
    check = Check(f"deletion ({by})", value, null, note=f"{said}; worst view: {worst}")
    return Check(check.name, value, null, bool(value > 0 and check.p <= max(ALPHA, 1 / (1 + draws))), check.note)


def check_robustness(
    model: nn.Module,
    views: Views,
    target: Target,
    explainer: Explainer,
    radius: float = 0.02,
    draws: int = 5,
    bar: float = 0.5,
    seed: int = 0,
) -> Check:
    """How much of the explanation stays when the input is changed by so little that nobody would see it?

    Every element moves by up to `radius` of its standard deviation over the rows, at random. The value is 1 less the
    change of the map over its size (Euclidean norms of a row, mean over rows), of the worst of the `draws` and views
    (Yeh et al., 2019, the maximum sensitivity by sampling). Passed from `bar` on.

    >>> views = Views({"a": torch.rand(8, 6)})
    >>> check_robustness(nn.Identity(), views, len, lambda model, views, target: {"a": torch.ones(8, 6).cumsum(1)})
    robustness: 1, the bar 0.5: passed
    """
    own, generator, changes = explainer(model, views, target), torch.Generator().manual_seed(seed), []
    for _ in range(draws):
        near = {name: x + _noise(x, radius, generator) for name, x in views.items() if x.is_floating_point()}
        other = explainer(model, views.replace(**near), target)
        changes.append({name: _change(own[name], other[name]) for name in told(own)})
    worst = {name: max(each[name] for each in changes) for name in changes[0]}
    note = ", ".join(f"{name} changes by {change:.0%}" for name, change in worst.items())
    return _above(Check("robustness", 1 - max(worst.values()), note=note), bar)


def check_traversal(
    model: Any,
    views: Views,
    target: Target,
    explainer: Explainer | None = None,
    step: float = 1.0,
    data: Views | None = None,
) -> Check:
    """When the latent is moved and decoded, and what was decoded is encoded again, is it that latent which has moved?

    step : how far it is moved up and down, in standard deviations of the prior. data : rows whose codes are those that
    occur (training rows); `views` by default. The explainer is not asked.

    Fidelity is the slope of the latent's new code on the move, 0.8 to 1.2; cross-talk the largest slope of another
    latent over its own, below 0.25; and 95 % of the new codes must be within the distance (Mahalanobis) that 99 % of
    the codes of `data` keep; the last is left out, and said to be, where `data` has not ten rows a latent. The value is
    the smallest margin, 1 at best, 0 where a bar is met.

    >>> check_traversal(nn.Identity(), Views({"a": torch.rand(8)}), lambda out: out["a"])
    Traceback (most recent call last):
    ValueError: the target is no single latent of the model: there is none to move
    """
    latent = latent_of(model, views, target)
    if latent is None:
        raise ValueError("the target is no single latent of the model: there is none to move")
    known, up, down = (_coded(model, v) for v in (data or views, *_moved(model, views, latent, step)))
    slopes = {block: (up[block] - down[block]).mean(0) / (2 * step) for block in up}
    block, index = latent
    own = float(slopes[block][index])
    rest = np.concatenate([np.delete(s, index) if b == block else s for b, s in slopes.items()])
    talk = float(np.abs(rest).max(initial=0)) / max(abs(own), 1e-12)
    margins, note = [1 - abs(own - 1) / 0.2, 1 - talk / 0.25], f"fidelity {own:.2f}, cross-talk {talk:.2f}"
    there, *moved = (np.concatenate(list(z.values()), 1) for z in (known, up, down))
    if len(there) < 10 * there.shape[1]:
        note = f"{note}; {len(there)} rows are too few to say where codes of {there.shape[1]} latents lie"
    else:
        inside = _inside(there, *moved)
        margins, note = [*margins, 1 - (1 - inside) / 0.05], f"{note}, {inside:.0%} of the codes where others are"
    return _above(Check("traversal", min(margins), note=note), 0.0)


# what they are made of ---------------------------------------------------------------------------------------------


def _above(check: Check, bar: float) -> Check:
    """Passed from a fixed bar on."""
    return Check(check.name, check.value, check.null, check.value >= bar, check.note, bar)


def _area(
    model: nn.Module, views: Views, target: Target, name: str, scores: Tensor, of: Tensor, imputer: Imputer,
    fractions: Sequence[float], batch_rows: int,
) -> float:  # fmt: skip
    """The target's change with the largest scores removed less that with the smallest, mean over all."""
    n = scores.shape[1]
    place = scores.argsort(dim=1, descending=True, stable=True).argsort(dim=1)  # 0 is the largest
    counts = [min(max(round(f * n), 1), n) for f in fractions]
    keep = torch.stack([*(place >= k for k in counts), *(place < n - k for k in counts)])  # (2f, b, g)
    changes = torch.cat([
        _changes(model, views, target, name, spread(some, of), imputer)
        for some in keep.split(max(1, batch_rows // len(views)))
    ])  # fmt: skip
    most, least = changes.chunk(2)
    return float((most - least).mean())


def _changes(
    model: nn.Module, views: Views, target: Target, name: str, keep: Tensor, imputer: Imputer
) -> Float[Tensor, "m b"]:
    """How much the target of each row changes under each of m masks of one view."""
    m, b = keep.shape[:2]
    many = views[torch.arange(b).repeat(m)]
    x = imputer(name, many[name], rearrange(keep, "m b ... -> (m b) ...").to(many[name].device))
    y = rearrange(answers(model, many.replace(**{name: x}), target), "(m b) -> m b", m=m)
    return (y - answers(model, views, target)).abs()


def _z_scores(areas: Float[ndarray, "n"]) -> tuple[float, Float[ndarray, "m"]]:
    """The first and all others, as z-scores among the others."""
    null = areas[1:]
    scale = max(float(null.std(ddof=1)), 1e-300) if len(null) > 1 else 1.0  # one draw has no spread
    return float((areas[0] - null.mean()) / scale), (null - null.mean()) / scale


def _noise(x: Tensor, radius: float, generator: torch.Generator) -> Tensor:
    """Uniform within a part of each element's standard deviation over the rows."""
    sd = x.std(0) if len(x) > 1 else x.std()
    return radius * sd * (2 * torch.rand(x.shape, generator=generator, dtype=x.dtype).to(x.device) - 1)


def _change(own: Tensor, other: Tensor) -> float:
    """The change of a map over its size, mean over rows; a row of which nothing is said counts 0."""
    size = own.detach().flatten(1).norm(dim=1)
    change = (other - own).detach().flatten(1).norm(dim=1)
    return float((change / size.clamp(min=1e-30)).where(size > 0, 0.0).mean())


def _coded(model: Any, views: Views) -> dict[str, Float[ndarray, "b k"]]:
    with evaluating(model) as device, torch.no_grad():
        return {block: q.mean.double().cpu().numpy() for block, q in model.encode(views.to(device)).items()}


def _moved(model: Any, views: Views, latent: tuple[str, int], step: float) -> tuple[Views, Views]:
    """The rows as they are decoded with one latent moved up, and down."""
    block, index = latent
    with evaluating(model) as device, torch.no_grad():
        views = views.to(device)
        z, both = {name: q.mean for name, q in model.encode(views).items()}, []
        for sign in (1, -1):
            new = z[block].clone()
            new[:, index] += sign * step
            p = model.decode(z | {block: new})
            both.append(views.replace(**{name: p[name].mean for name in p}))
    return both[0], both[1]


def _inside(known: Float[ndarray, "n k"], up: Float[ndarray, "b k"], down: Float[ndarray, "b k"]) -> float:
    """The share of new codes that are no farther from the mean of the known ones than 99 % of those are."""
    mean, covariance = known.mean(0), np.cov(known.T) + 1e-9 * np.eye(known.shape[1])

    def far(z: ndarray) -> ndarray:
        return ((z - mean) * np.linalg.solve(covariance, (z - mean).T).T).sum(1)

    return float((far(np.concatenate([up, down])) <= np.quantile(far(known), 0.99)).mean())
