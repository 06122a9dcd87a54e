"""A likelihood of some copies of a batch that a plan stacks several times over: the others are scored by nobody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.distributions import Distribution

from .masks import said


class SomeCopies(Distribution):
    """What is told of the copies `which` of a batch, of so many; of the others, nothing, and their density is 1.

    base : the likelihood of the rows of those copies, one copy after another.

    Means and samples are 0 in the rows of which nothing is told.

    >>> from . import Normal
    >>> p = SomeCopies(Normal(torch.ones(2, 1), 1.0), [1], copies=2)
    >>> p.mean[:, 0], p.log_prob(torch.ones(2, 1))
    (tensor([0., 0., 1., 1.]), tensor([ 0.0000,  0.0000, -0.9189, -0.9189]))
    """

    arg_constraints: dict = {}
    __repr__ = said

    def __init__(self, base: Any, which: Sequence[int], copies: int):
        self.base, self.which, self.copies = base, list(which), copies
        rows = base.batch_shape[0] // len(self.which) * copies
        super().__init__(torch.Size([rows]), base.event_shape, validate_args=False)

    def _of(self, x: Tensor) -> Tensor:
        """The rows of which something is told, of those of all copies."""
        each = x.unflatten(0, (self.copies, -1))
        return torch.cat([each[i] for i in self.which])

    def _among(self, told: Tensor, at: int = 0) -> Tensor:
        """The rows of all copies, of those of which something is told."""
        each = iter(told.chunk(len(self.which), at))
        nothing = torch.zeros_like(told.narrow(at, 0, told.shape[at] // len(self.which)))
        return torch.cat([next(each) if i in self.which else nothing for i in range(self.copies)], at)

    @property
    def mean(self) -> Tensor:
        return self._among(self.base.mean)

    @property
    def mode(self) -> Tensor:
        return self._among(self.base.mode)

    @property
    def stddev(self) -> Tensor:
        return self._among(self.base.stddev)

    @property
    def variance(self) -> Tensor:
        return self._among(self.base.variance)

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        return self._among(self.base.sample(sample_shape), len(sample_shape))

    def log_prob(self, x: Tensor, mask: Bool[Tensor, "b *any"] | None = None) -> Float[Tensor, "b"]:
        x = self._of(x) if len(x) == self.batch_shape[0] and self.copies > 1 else x
        return self._among(self.base.log_prob(x, None if mask is None else self._of(mask)))
