"""What takes the place of what is removed: a baseline, another trial, or what the rest lets one expect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float, Num, Shaped
from torch import Tensor, nn

from ..views import Views

MOST = 2048  # numbers of a sample whose covariance is held: above, it would take minutes and gigabytes


def training_mean(model: nn.Module, views: Views) -> dict[str, Tensor]:
    """The mean of the training rows, a row a view: what the model's standardisation maps to 0, else 0.

    >>> training_mean(nn.Linear(2, 2), Views({"a": torch.ones(3, 2)}))
    {'a': tensor([0., 0.])}
    """
    known: Any = getattr(getattr(model, "standardise", None), "transforms", {})
    means = {}
    for name, x in views.items():
        loc = known[name].loc if name in known else torch.zeros(())
        means[name] = loc.detach().to(x.device, real(x)).expand(x.shape[1:]).clone()
    return means


def zeros(model: nn.Module, views: Views) -> dict[str, Tensor]:
    """Zero in the data's own units, a row a view: no field, black, and perhaps a reaction before it can be.

    >>> zeros(nn.Linear(2, 2), Views({"a": torch.ones(3, 2)}))
    {'a': tensor([0., 0.])}
    """
    return {name: torch.zeros(x.shape[1:], device=x.device, dtype=real(x)) for name, x in views.items()}


def real(x: Tensor) -> torch.dtype:
    """The number format in which a view is explained: its own, or that of real numbers for whole ones.

    >>> real(torch.zeros(2, dtype=torch.uint8))
    torch.float32
    """
    return x.dtype if x.is_floating_point() else torch.get_default_dtype()


class Mean:
    """Removed elements become a fixed row of each view: the training mean, or what you give.

    values : a row a view.

    >>> mean = Mean.fit(Views({"a": torch.tensor([[1.0, 4.0], [3.0, 4.0]])}))
    >>> mean("a", torch.tensor([[9.0, 9.0]]), torch.tensor([[False, True]]))
    tensor([[2., 9.]])
    """

    def __init__(self, values: Mapping[str, Tensor], words: str = "a row as given"):
        self.values, self.words = dict(values), words

    @classmethod
    def fit(cls, views: Views) -> Mean:
        """Takes the mean of what was recorded in some rows: those of training, not those explained."""
        return cls({name: _mean(views, name) for name in views}, "training mean")

    def __call__(
        self, name: str, x: Num[Tensor, "p *event"], keep: Bool[Tensor, "p *event"]
    ) -> Num[Tensor, "p *event"]:
        return torch.where(keep, x, self.values[name].to(x))

    def __repr__(self) -> str:
        return f"Mean({', '.join(self.values)}): {self.words}"


class Matched:
    """Removed elements become those of another trial, row for row.

    views : as many rows as are explained, in their order. What is missing there becomes `otherwise`'s.

    >>> other = Matched(Views({"a": torch.tensor([[1.0], [2.0]])}))
    >>> other("a", torch.zeros(4, 1), torch.zeros(4, 1, dtype=torch.bool)).flatten()  # two rows, twice
    tensor([1., 2., 1., 2.])
    """

    words = "another trial"

    def __init__(self, views: Views, otherwise: Mapping[str, Tensor] | None = None):
        self.views, self.otherwise = views, otherwise or {}

    def __getitem__(self, rows: Any) -> Matched:
        return Matched(self.views[rows], self.otherwise)

    def __call__(
        self, name: str, x: Num[Tensor, "p *event"], keep: Bool[Tensor, "p *event"]
    ) -> Num[Tensor, "p *event"]:
        other, b = recorded(self.views, name, self.otherwise.get(name)), len(self.views)
        if len(x) % b:
            raise ValueError(f"{len(x)} rows are no multiple of the {b} of the other trials")
        return torch.where(keep, x, repeat(other, "b ... -> (g b) ...", g=len(x) // b).to(x))


class Conditional:
    """Removed elements become what is expected of them given those that are kept, as if the data were normal.

    A row ``(channels, ...)`` of sensors by samples is conditioned sample by sample, through the covariance of the
    sensors; a film ``(colours, frames, h, w)`` frame by frame, through that of the pixels; a table ``(columns,)``
    through that of its columns. With mean m and covariance C of one sample, fitted on training rows,
    ``E[x_d | x_k] = m_d + C_dk C_kk^-1 (x_k - m_k)``; m is kept for each sample, C is one for all samples and has
    `shrink` times its mean variance added to its diagonal. Where a whole sample is removed, its mean remains: what was
    before and after does not fill it. One linear system is solved for each different pattern of what is kept.

    >>> x = torch.tensor([[1.0, 2.0], [-1.0, -2.0], [2.0, 4.0], [-2.0, -4.0]])
    >>> given = Conditional.fit(Views({"a": x}), shrink=1e-6)
    >>> given("a", torch.tensor([[3.0, 0.0]]), torch.tensor([[True, False]])).round(decimals=3)
    tensor([[3., 6.]])
    """

    words = "Gaussian conditional mean"

    def __init__(self, means: Mapping[str, Tensor], covariances: Mapping[str, Tensor]):
        self.means, self.covariances = dict(means), dict(covariances)

    @classmethod
    def fit(cls, views: Views, shrink: float | int = 1e-3) -> Conditional:
        """Takes mean and covariance of what was recorded in some rows: those of training, not those explained."""
        means, covariances = {}, {}
        for name, x in views.items():
            if not x.is_floating_point():
                raise ValueError(f"view {name!r} holds {x.dtype}: there is no normal distribution of whole numbers")
            means[name], here = _mean(views, name), there(views, name)
            flat = _samples(torch.where(here, x - means[name], 0)).double()
            if flat.shape[1] > MOST:
                raise ValueError(f"a sample of view {name!r} has {flat.shape[1]} numbers, {MOST} at most")
            seen = _samples(here).double()
            covariance = flat.mT @ flat / (seen.mT @ seen).clamp(min=1)
            level = covariance.diagonal().mean().clamp(min=1e-30)
            covariances[name] = covariance + shrink * level * torch.eye(len(covariance)).to(covariance)
        return cls(means, covariances)

    def __call__(
        self, name: str, x: Float[Tensor, "p *event"], keep: Bool[Tensor, "p *event"]
    ) -> Float[Tensor, "p *event"]:
        mean = self.means[name].to(x)
        kept, flat = _samples(keep), _samples(torch.where(keep, x - mean, 0))
        patterns, which = _patterns(kept)
        order = which.argsort(stable=True)
        for pattern, rows in zip(patterns, order.split(which.bincount(minlength=len(patterns)).tolist())):
            if not pattern.all() and pattern.any():
                flat[rows] = self._expected(name, flat[rows], pattern)
        return torch.where(keep, x, mean + _rows(flat, x))

    def _expected(self, name: str, flat: Tensor, keep: Tensor) -> Tensor:
        covariance = self.covariances[name].to(flat.device)
        weights = torch.linalg.solve(covariance[keep][:, keep], covariance[keep][:, ~keep]).to(flat)
        new = flat.clone()
        new[:, ~keep] = flat[:, keep] @ weights
        return new

    def __repr__(self) -> str:
        return f"Conditional({', '.join(f'{name} {len(c)}' for name, c in self.covariances.items())})"


def recorded(views: Views, name: str, otherwise: Tensor | None = None) -> Shaped[Tensor, "b *event"]:
    """A view in which what was not recorded is a given row's, or 0.

    >>> recorded(Views({"a": torch.ones(2)}, {"a": torch.tensor([True, False])}), "a")
    tensor([1., 0.])
    """
    x = views[name]
    other = torch.zeros((), dtype=x.dtype, device=x.device) if otherwise is None else otherwise.to(x)
    return torch.where(there(views, name), x, other)


def there(views: Views, name: str) -> Bool[Tensor, "b *event"]:
    """Which elements of a view were recorded.

    >>> there(Views({"a": torch.ones(2, 2)}, {"a": torch.tensor([True, False])}), "a")
    tensor([[ True,  True],
            [False, False]])
    """
    mask, x = views.present[name], views[name]
    return mask if mask.ndim == x.ndim else mask.reshape(-1, *[1] * (x.ndim - 1)).expand_as(x)


def _mean(views: Views, name: str) -> Tensor:
    """The mean over the rows of what was recorded; of bytes, the most frequent."""
    x, here = views[name], there(views, name)
    if not x.is_floating_point():
        return x[here].mode().values.expand(x.shape[1:]).clone()
    total = torch.where(here, x, 0).sum(0, dtype=torch.float64)
    return (total / here.sum(0).clamp(min=1)).to(x.dtype)


def _samples(x: Shaped[Tensor, "p *event"]) -> Shaped[Tensor, "q c"]:
    """What is conditioned on each other, along the last axis: sensors, the pixels of a frame, columns."""
    if x.ndim == 1:
        return x[:, None]
    return rearrange(x, "p c t h w -> (p t) (c h w)") if x.ndim == 5 else rearrange(x, "p c ... -> (p ...) c")


def _rows(flat: Shaped[Tensor, "q c"], like: Shaped[Tensor, "p *event"]) -> Shaped[Tensor, "p *event"]:
    """Samples as rows again."""
    if like.ndim == 5:
        _, c, t, h, _ = like.shape
        return rearrange(flat, "(p t) (c h w) -> p c t h w", c=c, t=t, h=h)
    if like.ndim == 1:
        return flat[:, 0]
    return rearrange(flat, "(p n) c -> p c n", p=len(like)).reshape(like.shape)


def _patterns(kept: Bool[Tensor, "q c"]) -> tuple[Bool[Tensor, "u c"], Tensor]:
    """The different rows of a mask, and which of them each row is; 62 columns at a time as the bits of a number."""
    weights = 2 ** torch.arange(62, device=kept.device)
    codes = torch.stack([(part * weights[: part.shape[1]]).sum(1) for part in kept.split(62, 1)], 1)
    unique, which = codes.unique(dim=0, return_inverse=True)
    first = torch.full((len(unique),), len(kept), device=kept.device)
    first = first.scatter_reduce(0, which, torch.arange(len(kept), device=kept.device), "amin")
    return kept[first], which
