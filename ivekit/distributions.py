"""The distributions that models speak in: closed forms, no validation, and masks that say what was recorded.

Every one has rows first: ``log_prob(x, mask)`` is ``(b,)``, a sum over all that a row holds and `mask` admits. When
the rows are a batch stacked several times over (see `Plan`), x may be one copy of it, which spares memory and time.
`torch.distributions` validates each call and is seven times slower on a film; these are its formulas alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange, reduce, repeat
from jaxtyping import Bool, Float, Num, Shaped
from torch import Tensor
from torch.distributions import Distribution, register_kl

from .noise import noise

LOG_2PI = math.log(2 * math.pi)


def _said(self: Distribution) -> str:
    return f"{type(self).__name__}(rows={self.batch_shape[0]}, event={tuple(self.event_shape)})"


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
        self.loc, self.scale = loc, torch.as_tensor(scale, dtype=full, device=loc.device)
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
        x, mask = _clean(_real(x), mask)
        loc, scale = self.loc.to(x.dtype), self.scale.to(x.dtype)  # under autocast a density is still taken in full
        if scale.numel() in (1, scale.shape[0] if scale.ndim == loc.ndim else 1) and (mask is None or mask.ndim == 1):
            squares, n, scale = _total(_apart(x, loc).square(), None), loc.shape[1:].numel(), scale.flatten()
            total = -0.5 * squares / scale.square() - n * (scale.log() + 0.5 * LOG_2PI)
            return total if mask is None else total * mask
        return _total(-0.5 * (_apart(x, loc) / scale).square() - scale.log() - 0.5 * LOG_2PI, mask)

    def rsample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        return self.loc + self.scale * noise(torch.randn, self.loc, sample_shape)

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        with torch.no_grad():
            return self.rsample(sample_shape)

    def entropy(self) -> Float[Tensor, "b"]:
        return _total(0.5 + 0.5 * LOG_2PI + self.scale.log().expand_as(self.loc), None)

    __repr__ = _said


class Laplace(Normal):
    """Independent Laplace numbers: absolute error instead of squared, for data with outliers.

    >>> Laplace(torch.zeros(1, 1), 1.0).log_prob(torch.ones(1, 1))
    tensor([-1.6931])
    """

    def log_prob(self, x: Num[Tensor, "r *event"], mask: Bool[Tensor, "b *any"] | None = None) -> Float[Tensor, "b"]:
        x, mask = _clean(_real(x), mask)
        loc, scale = self.loc.to(x.dtype), self.scale.to(x.dtype)
        return _total(-_apart(x, loc).abs() / scale - (2 * scale).log(), mask)

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
        return _total(1 + (2 * self.scale).log().expand_as(self.loc), None)


class Bernoulli(Distribution):
    """Independent yes/no numbers, given by their logits ``(b, ...)``.

    >>> Bernoulli(torch.zeros(1, 2)).log_prob(torch.ones(1, 2))
    tensor([-1.3863])
    """

    arg_constraints: dict = {}
    __repr__ = _said

    def __init__(self, logits: Float[Tensor, "b *event"]):
        self.logits = logits
        super().__init__(logits.shape[:1], logits.shape[1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.logits.sigmoid()

    @property
    def mode(self) -> Tensor:
        return (self.logits > 0).to(self.logits.dtype)

    @property
    def variance(self) -> Tensor:
        return self.mean * (1 - self.mean)

    def log_prob(self, x: Shaped[Tensor, "r *event"], mask: Bool[Tensor, "b *any"] | None = None) -> Float[Tensor, "b"]:
        x, mask = _clean(_real(x), mask)
        x = _stacked(x, len(self.logits))
        return _total(-F.binary_cross_entropy_with_logits(self.logits.to(x.dtype), x, reduction="none"), mask)

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        with torch.no_grad():
            return (noise(torch.rand, self.logits, sample_shape) < self.mean).to(self.logits.dtype)


class Categorical(Distribution):
    """One of several classes a number, given by logits ``(b, ..., classes)``; `mean` is the class probabilities.

    >>> Categorical(torch.zeros(2, 4)).log_prob(torch.tensor([0, 3]))
    tensor([-1.3863, -1.3863])
    """

    arg_constraints: dict = {}
    __repr__ = _said

    def __init__(self, logits: Float[Tensor, "b *event classes"]):
        self.logits = logits
        super().__init__(logits.shape[:1], logits.shape[1:-1], validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.logits.softmax(-1)

    @property
    def mode(self) -> Tensor:
        return self.logits.argmax(-1)

    def log_prob(self, x: Tensor, mask: Bool[Tensor, "b *any"] | None = None) -> Float[Tensor, "b"]:
        x, mask = _clean(x, mask)
        logits = self.logits.float() if self.logits.dtype in (torch.float16, torch.bfloat16) else self.logits
        labels = rearrange(_stacked(x, len(logits)).long(), "... -> ... 1")
        return _total(rearrange(logits.log_softmax(-1).gather(-1, labels), "... 1 -> ..."), mask)

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        with torch.no_grad():
            return (self.logits - noise(torch.rand, self.logits, sample_shape).log().neg().log()).argmax(-1)


class Delta(Distribution):
    """All the mass at one point: what the encoder of a plain autoencoder believes.

    >>> Delta(torch.ones(2, 3)).rsample().shape
    torch.Size([2, 3])
    """

    arg_constraints: dict = {}
    has_rsample = True
    __repr__ = _said

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
    __repr__ = _said

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


class Standardised(Distribution):
    """A likelihood of standardised numbers, told in the data's own units.

    base : the likelihood of ``u = transform(x)``.
    transform : a fitted part of `ivekit.signal.Standardise`: ``transform(x)``, ``.inverse(u)``, and ``.log_det`` of
        each number, which broadcasts to a row.

    With holes in a row, what is masked is filled by the model's own mean before the transform (so its residual is
    nought, whatever the transform mixes), and is not scored; the density is then that of the rest given the fill.
    """

    arg_constraints: dict = {}
    __repr__ = _said

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
            x = _stacked(x, len(mask))
            u = self.transform(torch.where(mask, x, self.mean))
            volume = (self.transform.log_det * mask).flatten(1).sum(1)
        else:
            x, mask = _clean(x, mask)
            u, volume = self.transform(x), self.transform.log_det.mean() * self.event_shape.numel()
            volume = volume if mask is None else volume * mask
        return self.base.log_prob(u, mask) + volume


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


def kl_by_latent(q: Normal | Mixture, p: Normal) -> Float[Tensor, "b k"]:
    """KL(q || p) of each latent, in nats. Of a mixture, the mean of its components': an upper bound, by convexity.

    >>> kl_by_latent(Normal(torch.ones(1, 2), 1.0), Normal(torch.zeros(1, 2), 1.0))
    tensor([[0.5000, 0.5000]])
    """
    if isinstance(q, Mixture):
        each = torch.stack([kl_by_latent(Normal(m, s), p) for m, s in zip(q.means, q.scales)])
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


# masks -----------------------------------------------------------------------------------------------------


def _clean(x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Zeros where nothing was recorded, so that a NaN there reaches neither value nor gradient."""
    if mask is None or (mask.device.type == "cpu" and bool(mask.all())):
        return x, None
    spread = mask.unflatten(0, (-1, len(x))).any(0)  # what is scored in no copy of the batch may hold anything
    spread = spread if mask.ndim == x.ndim else spread.reshape(-1, *[1] * (x.ndim - 1))
    return torch.where(spread, x, torch.zeros((), dtype=x.dtype, device=x.device)), mask


def _real(x: Tensor) -> Tensor:
    return x if x.is_floating_point() else x.to(torch.get_default_dtype())


def _apart(x: Tensor, loc: Tensor) -> Tensor:
    """x minus the mean, of the rows of `loc`; x is as many rows, or one copy of those that are stacked there."""
    return (x - loc.unflatten(0, (-1, len(x)))).flatten(0, 1) if len(x) else x - loc


def _stacked(x: Tensor, rows: int) -> Tensor:
    return x if len(x) == rows else repeat(x, "b ... -> (s b) ...", s=rows // len(x))


def _total(log_p: Tensor, mask: Tensor | None) -> Float[Tensor, "b"]:
    if mask is not None and mask.ndim > 1:
        log_p = torch.where(mask, log_p, 0)
    total = reduce(log_p, "b ... -> b", "sum")
    return total if mask is None or mask.ndim > 1 else total * mask
