"""What a posterior may be, and the algebra of beliefs: points, mixtures, products and divergences."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor
from torch.distributions import Distribution, register_kl

from ..noise import noise
from .masks import said
from .normal import Laplace, Normal


class Delta(Distribution):
    """All the mass at one point: what the encoder of a plain autoencoder believes.

    >>> Delta(torch.ones(2, 3)).rsample().shape
    torch.Size([2, 3])
    """

    arg_constraints: dict = {}
    has_rsample = True
    __repr__ = said

    def __init__(self, point: Float[Tensor, "b k"]):
        self.point = point
        super().__init__(point.shape[:1], point.shape[1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.point

    @property
    def mode(self) -> Tensor:
        return self.point

    @property
    def stddev(self) -> Tensor:
        return torch.zeros_like(self.point)

    def rsample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        return self.point.expand(*sample_shape, *self.point.shape)


class Mixture(Distribution):
    """A mixture of normal components ``(m, b, k)``, weighted row by row.

    weights : (m, b), summing to 1 over m.

    >>> q = Mixture(torch.tensor([[[-1.0]], [[1.0]]]), torch.ones(2, 1, 1), torch.full((2, 1), 0.5))
    >>> q.mean
    tensor([[0.]])
    """

    arg_constraints: dict = {}
    has_rsample = True
    __repr__ = said

    def __init__(self, means: Float[Tensor, "m b k"], scales: Float[Tensor, "m b k"], weights: Float[Tensor, "m b"]):
        self.means, self.scales, self.weights = means, scales, weights
        super().__init__(means.shape[1:2], means.shape[2:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        return (self.weights[..., None] * self.means).sum(0)

    @property
    def variance(self) -> Tensor:
        second = self.scales.square() + (self.means - self.mean).square()  # about the mean: nothing cancels
        return (self.weights[..., None] * second).sum(0)

    @property
    def stddev(self) -> Tensor:
        return self.variance.sqrt()

    def log_prob(self, x: Float[Tensor, "b k"], mask: None = None) -> Float[Tensor, "b"]:
        each = torch.stack([Normal(m, s).log_prob(x) for m, s in zip(self.means, self.scales)])
        return (each + self.weights.log()).logsumexp(0)

    def rsample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """One component a row and draw is chosen, then sampled; the choice has no gradient (Shi et al., 2019)."""
        first = self.means[0]
        u = noise(torch.rand, first[:, :1], sample_shape)[..., 0]  # (..., b)
        choice = (u > rearrange(self.weights.cumsum(0)[:-1], "m b -> m" + " 1" * len(sample_shape) + " b")).sum(0)
        rows = torch.arange(first.shape[0], device=first.device).expand_as(choice)
        return self.means[choice, rows] + self.scales[choice, rows] * noise(torch.randn, first, sample_shape)


# the algebra of beliefs --------------------------------------------------------------------------------------


def standard_normal_like(q: Distribution) -> Normal:
    """The prior over what `q` is about: independent standard normals.

    >>> standard_normal_like(Delta(torch.ones(2, 3))).stddev.mean()
    tensor(1.)
    """
    return Normal(torch.zeros_like(q.mean), 1.0)


def product(
    means: Float[Tensor, "m b k"], log_variances: Float[Tensor, "m b k"], present: Bool[Tensor, "m b"]
) -> tuple[Float[Tensor, "b k"], Float[Tensor, "b k"]]:
    """The mean and log variance of the product of normal experts, of which only those present speak, and the prior.

    The standard normal prior is always one of the experts, so that with nobody present the product is the prior
    exactly (Wu & Goodman, 2018). Precisions are added as logarithms: none overflows.

    >>> product(torch.full((1, 1, 1), 2.0), torch.zeros(1, 1, 1), torch.ones(1, 1, dtype=torch.bool))
    (tensor([[1.]]), tensor([[-0.6931]]))
    """
    here = present[..., None]
    log_precisions = torch.where(here, -log_variances, -torch.inf)
    total = torch.cat([log_precisions, torch.zeros_like(log_precisions[:1])]).logsumexp(0)
    shares = (log_precisions - total).exp()
    return (shares * torch.where(here, means, 0)).sum(0), -total


def kl_by_latent(q: Normal | Mixture, p: Normal) -> Float[Tensor, "*b k"]:
    """KL(q || p) of each latent, in nats. Of a mixture, the mean of its components': an upper bound, by convexity.

    >>> kl_by_latent(Normal(torch.ones(1, 2), 1.0), Normal(torch.zeros(1, 2), 1.0))
    tensor([[0.5000, 0.5000]])
    """
    if isinstance(q, Mixture):
        each = kl_by_latent(Normal(q.means, q.scales), p)  # (m, b, k)
        return (q.weights[..., None] * each).sum(0)
    ratio = (q.stddev / p.stddev).square()
    return 0.5 * (ratio + ((q.loc - p.loc) / p.stddev).square() - 1 - ratio.log())


@register_kl(Normal, Normal)
def _kl_normal(q: Normal, p: Normal) -> Tensor:
    if Laplace in (type(q), type(p)):
        raise NotImplementedError(f"KL({type(q).__name__} || {type(p).__name__}) is not that of two normals")
    return kl_by_latent(q, p).flatten(1).sum(1)


@register_kl(Mixture, Normal)
def _kl_mixture(q: Mixture, p: Normal) -> Tensor:
    return kl_by_latent(q, p).sum(1)


@register_kl(Delta, Normal)
def _kl_delta(q: Delta, p: Normal) -> Tensor:
    """A point has no density: the divergence is infinite up to a constant, and only its moving part is kept."""
    return -p.log_prob(q.point)
