"""A likelihood told in the data's own units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.distributions import Distribution

from .masks import clean, said, stacked


class Standardised(Distribution):
    """A likelihood of standardised numbers, told in the data's own units.

    base : the likelihood of ``u = transform(x)``.
    transform : a fitted part of `ivekit.signal.Standardise`: ``transform(x)``, ``.inverse(u)``, and ``.log_det`` of
        each number, which broadcasts to a row.

    With holes in a row, what is masked is filled by the model's own mean before the transform (so its residual is
    nought, whatever the transform mixes), and is not scored; the density is then that of the rest given the fill.
    """

    arg_constraints: dict = {}
    __repr__ = said

    def __init__(self, base: Any, transform: Any):
        self.base, self.transform = base, transform
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.transform.inverse(self.base.mean)

    @property
    def mode(self) -> Tensor:
        return self.transform.inverse(self.base.mode)

    @property
    def stddev(self) -> Tensor:
        return self.transform.spread(self.base.stddev)

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        return self.transform.inverse(self.base.sample(sample_shape))

    def log_prob(self, x: Tensor, mask: Bool[Tensor, "b *any"] | None = None) -> Float[Tensor, "b"]:
        if mask is not None and mask.ndim > 1:
            x = stacked(x, len(mask))
            u = self.transform(torch.where(mask, x, self.mean))
            volume = (self.transform.log_det * mask).flatten(1).sum(1)
        else:
            x, mask = clean(x, mask)
            u, volume = self.transform(x), self.transform.log_det.mean() * self.event_shape.numel()
            volume = volume if mask is None else volume * mask
        return self.base.log_prob(u, mask) + volume


def in_units(p: Any, transform: Any) -> Any:
    """A likelihood in the data's own units: of standardised numbers, unless it knows of no other units.

    Yes/no numbers, classes and text are what they are; a log-normal and a table's columns do it in their own way.

    >>> from . import Bernoulli
    >>> in_units(Bernoulli(torch.zeros(2, 1)), None)
    Bernoulli(rows=2, event=(1,))
    """
    return p.in_units(transform) if hasattr(p, "in_units") else Standardised(p, transform)
