"""Yes or no, and one of several classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Shaped
from torch import Tensor
from torch.distributions import Distribution

from ..noise import noise
from .masks import clean, real, said, stacked, total


class Bernoulli(Distribution):
    """Independent yes/no numbers, given by their logits ``(b, ...)``.

    >>> Bernoulli(torch.zeros(1, 2)).log_prob(torch.ones(1, 2))
    tensor([-1.3863])
    """

    arg_constraints: dict = {}
    __repr__ = said

    def __init__(self, logits: Float[Tensor, "b *event"]):
        self.logits = logits
        super().__init__(logits.shape[:1], logits.shape[1:], validate_args=False)

    def in_units(self, transform: Any) -> Bernoulli:
        """The same: yes and no have no unit."""
        return self

    @property
    def mean(self) -> Tensor:
        return self.logits.sigmoid()

    @property
    def mode(self) -> Tensor:
        return (self.logits > 0).to(self.logits.dtype)

    @property
    def variance(self) -> Tensor:
        return self.mean * (1 - self.mean)

    @property
    def stddev(self) -> Tensor:
        return self.variance.sqrt()

    def log_prob(self, x: Shaped[Tensor, "r *event"], mask: Bool[Tensor, "b *any"] | None = None) -> Float[Tensor, "b"]:
        x, mask = clean(real(x), mask)
        x = stacked(x, len(self.logits))
        return total(-F.binary_cross_entropy_with_logits(self.logits.to(x.dtype), x, reduction="none"), mask)

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        with torch.no_grad():
            return (noise(torch.rand, self.logits, sample_shape) < self.mean).to(self.logits.dtype)


class Categorical(Distribution):
    """One of several classes a number, given by logits ``(b, ..., classes)``; `mean` is the class probabilities.

    >>> Categorical(torch.zeros(2, 4)).log_prob(torch.tensor([0, 3]))
    tensor([-1.3863, -1.3863])
    """

    arg_constraints: dict = {}
    __repr__ = said

    def __init__(self, logits: Float[Tensor, "b *event classes"]):
        self.logits = logits
        super().__init__(logits.shape[:1], logits.shape[1:-1], validate_args=False)

    def in_units(self, transform: Any) -> Categorical:
        """The same: classes have no unit."""
        return self

    @property
    def mean(self) -> Tensor:
        return self.logits.softmax(-1)

    @property
    def mode(self) -> Tensor:
        return self.logits.argmax(-1)

    def log_prob(self, x: Tensor, mask: Bool[Tensor, "b *any"] | None = None) -> Float[Tensor, "b"]:
        x, mask = clean(x, mask)
        logits = self.logits.float() if self.logits.dtype in (torch.float16, torch.bfloat16) else self.logits
        labels = rearrange(stacked(x, len(logits)).long(), "... -> ... 1")
        return total(rearrange(logits.log_softmax(-1).gather(-1, labels), "... 1 -> ..."), mask)

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        with torch.no_grad():
            return (self.logits - noise(torch.rand, self.logits, sample_shape).log().neg().log()).argmax(-1)
