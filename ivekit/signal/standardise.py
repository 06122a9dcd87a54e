"""Standardisation fitted on training rows: z-scores, whitening, and what applies them to views."""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Num
from torch import Tensor, nn


class ZScore(nn.Module):
    """Mean 0 and standard deviation 1 over the training rows: for each channel, column or colour by itself.

    A constant channel is centred and left at its own scale. `log_det` is ``log |du / dx|`` of each number.

    >>> z = ZScore().fit(torch.tensor([[1.0], [3.0]]), torch.ones(2, dtype=torch.bool))
    >>> z(torch.tensor([[3.0]])), z.inverse(torch.tensor([[1.0]]))
    (tensor([[1.]]), tensor([[3.]]))
    """

    loc: Tensor
    scale: Tensor
    log_det: Tensor

    def fit(self, x: Num[Tensor, "b *event"], mask: Bool[Tensor, "b *any"]) -> ZScore:
        """Takes the statistics of the training rows, of what was recorded in them."""
        shape = (x.shape[1], *[1] * (x.ndim - 2)) if x.ndim > 1 else ()
        flat = rearrange(x.double(), "b c ... -> c (b ...)") if x.ndim > 1 else rearrange(x.double(), "b -> 1 b")
        spread = mask if mask.ndim == x.ndim else mask.reshape(-1, *[1] * (x.ndim - 1)).expand_as(x)
        here = rearrange(spread, "b c ... -> c (b ...)") if x.ndim > 1 else rearrange(spread, "b -> 1 b")
        n = here.sum(1).clamp(min=1)
        mean = torch.where(here, flat, 0).sum(1) / n
        sd = (torch.where(here, flat - mean[:, None], 0).square().sum(1) / n).sqrt()
        sd = torch.where(sd > 1e-12 * mean.abs().clamp(min=1e-30), sd, 1.0)
        for name, value in {"loc": mean, "scale": sd, "log_det": -sd.log()}.items():
            self.register_buffer(name, value.reshape(shape).to(floating(x)))
        return self

    def forward(self, x: Num[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return (x - self.loc) / self.scale

    def inverse(self, u: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Back to the data's units."""
        return u * self.scale + self.loc

    def spread(self, sd: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """A standard deviation of standardised numbers in the data's units."""
        return sd * self.scale

    def part(self, columns: slice) -> ZScore:
        """The same of some columns alone."""
        one = ZScore()
        for name, value in self.named_buffers():
            one.register_buffer(name, value[columns])
        return one


class Whiten(nn.Module):
    """Sensors made uncorrelated and equally noisy: in space by the baseline's covariance, then in time.

    n_baseline : the first samples of each row, in which nothing has happened yet. All of them when None.
    noise : (c, c), a noise covariance in the data's units squared, instead of the baseline's.
    shrink : the part of the mean variance added to each, in space and in time (Engemann & Gramfort, 2015).

    The mean over rows is taken off. Both matrices are symmetric square roots (ZCA), the rotation that changes the
    channels least. In this space squared error is the log-likelihood of what the sensors really do: unwhitened,
    ongoing rhythms take over the latents. `log_det` is ``log |du / dx|`` of a row, shared evenly by its numbers.
    """

    loc: Tensor
    space: Tensor
    unspace: Tensor
    time: Tensor
    untime: Tensor
    log_det: Tensor

    def __init__(
        self,
        n_baseline: int | None = None,
        noise: Float[Tensor, "c c"] | None = None,
        shrink: tuple[float, float] = (1e-3, 2e-2),
    ):
        super().__init__()
        if n_baseline is not None and n_baseline < 1:
            raise ValueError(f"n_baseline is {n_baseline}: give the samples before the event, or None to take them all")
        self.n_baseline, self.noise, self.shrink = n_baseline, noise, shrink

    def fit(self, x: Num[Tensor, "b c t"], mask: Bool[Tensor, "b *any"]) -> Whiten:
        """Takes mean and covariances of the training rows, of what was recorded in them."""
        n_chans, n_times = x.shape[1:]
        here = (mask if mask.ndim == 3 else mask[:, None, None].expand_as(x)).double()
        x64 = torch.where(here > 0, x.double(), 0)
        mean = x64.sum(0) / here.sum(0).clamp(min=1)
        x64 = (x64 - mean) * here
        base, seen = x64[..., : self.n_baseline], here[..., : self.n_baseline]
        in_space = self.noise.double() if self.noise is not None else _covariance(base, seen, "b c t -> c (b t)")
        space, unspace = _square_roots(in_space, self.shrink[0])
        x64 = space @ x64
        time, untime = _square_roots(_covariance(x64, here, "b c t -> t (b c)"), self.shrink[1])
        for name, value in {"loc": mean, "space": space, "unspace": unspace, "time": time, "untime": untime}.items():
            self.register_buffer(name, value.to(floating(x)))
        log_det = torch.linalg.slogdet(space)[1] / n_chans + torch.linalg.slogdet(time)[1] / n_times
        self.register_buffer("log_det", log_det.reshape(1, 1).to(floating(x)))
        return self

    def forward(self, x: Num[Tensor, "*b c t"]) -> Float[Tensor, "*b c t"]:
        return self.space @ ((x - self.loc) @ self.time)

    def inverse(self, u: Float[Tensor, "*b c t"]) -> Float[Tensor, "*b c t"]:
        """Back to the data's units."""
        return self.unspace @ (u @ self.untime) + self.loc

    def spread(self, sd: Float[Tensor, "*b c t"]) -> Float[Tensor, "*b c t"]:
        """A standard deviation of standardised numbers in the data's units: variances add."""
        return (self.unspace.square() @ (sd.square() @ self.untime.square())).sqrt()


class Standardise(nn.Module):
    """Data to numbers that networks like, and back: one transform a view, fitted on training rows only.

    It is a part of the model: its statistics are buffers saved with the weights, encoders see what it makes, and
    likelihoods are told in the data's own units. What is masked is 0 after it.

    >>> from ivekit import Views
    >>> train = Views({"rt": torch.tensor([[1.0], [3.0]])})
    >>> Standardise.fit(train, rt=ZScore())(train)["rt"]
    tensor([[-1.],
            [ 1.]])
    """

    def __init__(self, **transforms: nn.Module):
        super().__init__()
        self.transforms = nn.ModuleDict(transforms)

    @classmethod
    def fit(cls, train: Any, **transforms: Any) -> Standardise:
        """Fits a transform a view on training rows; a view that none is named for stays as it is.

        Raises
        ------
        ValueError : when a view is unknown, or the rows hold some marked as test.
        """
        if unknown := set(transforms) - set(train):
            raise ValueError(f"no view {sorted(unknown)} to standardise; there are {list(train)}")
        if train.metadata is not None and "split" in train.metadata and (train.metadata["split"] == "test").any():
            raise ValueError("statistics are fitted on training rows, and some of these are marked split = 'test'")
        train.require_finite()
        return cls(**{name: t.fit(train[name], train.present[name]) for name, t in transforms.items()})

    def forward(self, views: Any) -> Any:
        """The same rows, standardised, with 0 wherever nothing was recorded."""
        new = {}
        for name, x in views.items():
            mask = views.present[name]
            mask = mask if mask.ndim == x.ndim else mask.reshape(-1, *[1] * (x.ndim - 1))
            whole = mask.device.type == "cpu" and bool(mask.all())
            if name in self.transforms:
                transform: Any = self.transforms[name]
                x = transform(x if whole else torch.where(mask, x, transform.loc))
            new[name] = x if whole else torch.where(mask, x, torch.zeros((), dtype=x.dtype, device=x.device))
        return views.replace(**new)


def floating(x: Tensor) -> torch.dtype:
    """The type of statistics of `x`: its own, or that of real numbers for whole ones (pixels, say)."""
    return x.dtype if x.is_floating_point() else torch.get_default_dtype()


def _covariance(x: Tensor, here: Tensor, pattern: str) -> Float[Tensor, "n n"]:
    """Over the pairs of numbers that were both recorded."""
    rows, seen = rearrange(x, pattern), rearrange(here, pattern)
    return rows @ rows.mT / (seen @ seen.mT).clamp(min=1)


def _square_roots(covariance: Tensor, shrink: float) -> tuple[Tensor, Tensor]:
    """The inverse square root of a covariance, and its square root. Of nothing (no rows), the identity."""
    level = covariance.diagonal().mean()
    if not level > 0:
        eye = torch.eye(len(covariance), dtype=covariance.dtype)
        return eye, eye
    d, u = torch.linalg.eigh(covariance)
    d = d.clamp(min=0) + shrink * level
    return (u / d.sqrt()) @ u.mT, (u * d.sqrt()) @ u.mT
