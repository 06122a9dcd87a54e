"""Numbers on a line: normal and Laplace distributions, in closed form."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Num
from torch import Tensor
from torch.distributions import Distribution

from ..noise import noise
from .masks import apart, clean, real, said, total

LOG_2PI = math.log(2 * math.pi)


class Normal(Distribution):
    """Independent normal numbers, ``(b, ...)``, of mean `loc` and standard deviation `scale` (which broadcasts).

    >>> q = Normal(torch.zeros(2, 3), 1.0)
    >>> q.log_prob(torch.zeros(2, 3))
    tensor([-2.7568, -2.7568])
    """

    arg_constraints: dict = {}
    has_rsample = True

    def __init__(self, loc: Float[Tensor, "b *event"], scale: Float[Tensor, "..."] | float):
        full = torch.promote_types(loc.dtype, torch.float32)  # a scale rounded to bfloat16 would bias every density
        known = isinstance(scale, Tensor)
        self.loc, self.scale = loc, scale.to(loc.device, full) if known else loc.new_full((), scale, dtype=full)
        super().__init__(loc.shape[:1], loc.shape[1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def stddev(self) -> Tensor:
        return self.scale.expand_as(self.loc)

    @property
    def variance(self) -> Tensor:
        return self.stddev.square()

    def log_prob(self, x: Num[Tensor, "r *event"], mask: Bool[Tensor, "b *any"] | None = None) -> Float[Tensor, "b"]:
        x, mask = clean(real(x), mask)
        loc, scale = self.loc.to(x.dtype), self.scale.to(x.dtype)  # under autocast a density is still taken in full
        if scale.numel() in (1, scale.shape[0] if scale.ndim == loc.ndim else 1) and (mask is None or mask.ndim == 1):
            squares, n, scale = total(apart(x, loc).square(), None), loc.shape[1:].numel(), scale.flatten()
            log_p = -0.5 * squares / scale.square() - n * (scale.log() + 0.5 * LOG_2PI)
            return log_p if mask is None else log_p * mask
        return total(-0.5 * (apart(x, loc) / scale).square() - scale.log() - 0.5 * LOG_2PI, mask)

    def rsample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        return self.loc + self.scale * noise(torch.randn, self.loc, sample_shape)

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        with torch.no_grad():
            return self.rsample(sample_shape)

    def entropy(self) -> Float[Tensor, "b"]:
        return total(0.5 + 0.5 * LOG_2PI + self.scale.log().expand_as(self.loc), None)

    __repr__ = said


class Laplace(Normal):
    """Independent Laplace numbers: absolute error instead of squared, for data with outliers.

    >>> Laplace(torch.zeros(1, 1), 1.0).log_prob(torch.ones(1, 1))
    tensor([-1.6931])
    """

    def log_prob(self, x: Num[Tensor, "r *event"], mask: Bool[Tensor, "b *any"] | None = None) -> Float[Tensor, "b"]:
        x, mask = clean(real(x), mask)
        loc, scale = self.loc.to(x.dtype), self.scale.to(x.dtype)
        return total(-apart(x, loc).abs() / scale - (2 * scale).log(), mask)

    def rsample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        u = (noise(torch.rand, self.loc, sample_shape) - 0.5).clamp(min=-0.5 + 1e-7)
        return self.loc - self.scale * u.sign() * (1 - 2 * u.abs()).log()

    @property
    def variance(self) -> Tensor:
        return 2 * self.scale.square().expand_as(self.loc)

    @property
    def stddev(self) -> Tensor:
        return self.variance.sqrt()

    def entropy(self) -> Float[Tensor, "b"]:
        return total(1 + (2 * self.scale).log().expand_as(self.loc), None)
