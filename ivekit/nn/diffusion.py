"""A diffusion model as one more decoder: what it says of a view is a distribution of any shape, sampled by denoising.

Data are mixed with noise, ``y = a x + s e``, the more of it the later the time; a network learns to tell them apart
(DDPM: Ho, Jain & Abbeel, 2020), and noise is walked back to data in a few steps (DDIM: Song, Meng & Ermon, 2021).
Where a Gaussian decoder says the mean of what may be and a width for each number by itself, this one says what may be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from einops import repeat
from jaxtyping import Bool, Float, Num
from torch import Tensor, nn
from torch.distributions import Distribution

from ..distributions.masks import clean, real, said, stacked, total
from ..noise import noise
from .blocks import Tokens


@dataclass(frozen=True)
class Cosine:
    """How much noise there is at a time from 0 (next to none) to 1 (nothing else), as an angle up to pi / 2.

    The share of the data is its cosine, that of the noise its sine, so that the variance stays 1 (Nichol & Dhariwal,
    2021). offset : keeps the noise at time 0 above nothing.

    >>> Cosine(offset=0.0)(torch.tensor([0.0, 0.5, 1.0]))
    tensor([0.0000, 0.7854, 1.5708])
    """

    offset: float = 0.008

    def __call__(self, t: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        return 0.5 * math.pi * (t + self.offset) / (1 + self.offset)


@dataclass(frozen=True)
class Velocity:
    """The network tells ``v = a e - s x``, which is well-posed at every time (Salimans & Ho, 2022).

    Where all is noise it is minus the data, so the best guess there is the conditional mean.
    """

    tells_mean = True

    def target(self, x: Tensor, e: Tensor, a: Tensor, s: Tensor) -> Tensor:
        """What the network should say of data x in noise e."""
        return a * e - s * x

    def clean(self, y: Tensor, told: Tensor, a: Tensor, s: Tensor) -> Tensor:
        """The data that noisy y holds, as the network told it."""
        return a * y - s * told


@dataclass(frozen=True)
class Epsilon:
    """The network tells the noise (Ho et al., 2020): the original choice, which says little where all is noise.

    least : the smallest share of the data that is divided by.
    """

    least: float = 0.03
    tells_mean = False

    def target(self, x: Tensor, e: Tensor, a: Tensor, s: Tensor) -> Tensor:
        """What the network should say of data x in noise e."""
        return e

    def clean(self, y: Tensor, told: Tensor, a: Tensor, s: Tensor) -> Tensor:
        """The data that noisy y holds, as the network told it."""
        return (y - s * told) / a.clamp(min=self.least)


class Diffusion(nn.Module):
    """A decoder whose distribution is a diffusion model, given z and the context: ``Diffusion(net, shape)``.

    net : a denoiser, ``(y (b, ...), t (b,), z (b, k), context) -> (b, ...)``: `TokenDenoiser`, `ImageDenoiser`,
        `MLPDenoiser`. shape : of a row, in standardised units: data of variance about 1.
    target : what the network tells, `Velocity` or `Epsilon`. schedule : time -> angle.
    steps : of the walk from noise to data; each is one evaluation of the network (two with guidance).
    order : 1 holds data and noise, as guessed at a step's start, for the whole step (DDIM); 2 carries on the change
        since the step before to this one's middle (Adams-Bashforth; Liu et al., 2022), which loses a tenth of the
        variance that DDIM loses at 25 steps, for nothing.
    eta : 0 walks without noise (DDIM), 1 adds as much as DDPM's reverse process does.
    drop : part of the training rows whose z and context are hidden, so that the network also knows p(x) alone.
    guidance : 1 samples p(x | z); more overdoes what the condition says, 0 ignores it (Ho & Salimans, 2022).
    draws : samples whose average is `mean`; 0 takes the network's own word at full noise, one evaluation.
    levels : times at which evaluation takes the denoising error.

    In a `MultimodalVAE` mind the KL term: this decoder can tell p(x) without z, and will if z costs more than it gains.

    >>> from ivekit.nn import MLPDenoiser
    >>> p = Diffusion(MLPDenoiser(3, (2, 5)), (2, 5))(torch.zeros(4, 3))
    >>> p, p.sample().shape, p.log_prob(torch.zeros(4, 2, 5)).shape
    (Denoised(rows=4, event=(2, 5)), torch.Size([4, 2, 5]), torch.Size([4]))
    """

    def __init__(
        self,
        net: nn.Module,
        shape: int | Sequence[int],
        target: Any = Velocity(),
        schedule: Callable[[Tensor], Tensor] = Cosine(),
        steps: int = 25,
        order: int = 2,
        eta: float | int = 0.0,
        drop: float | int = 0.1,
        guidance: float | int = 1.0,
        draws: int = 0,
        levels: int = 8,
    ):
        super().__init__()
        if steps < 1 or levels < 1:
            raise ValueError(f"steps and levels must be at least 1, got {steps} and {levels}")
        if order not in (1, 2):
            raise ValueError(f"order must be 1 (DDIM) or 2, got {order}")
        if not 0 <= drop < 1 or not 0 <= eta <= 1:
            raise ValueError(f"drop must be in [0, 1) and eta in [0, 1], got {drop} and {eta}")
        if draws == 0 and not target.tells_mean:
            raise ValueError(f"{target} does not tell the mean where all is noise: average samples, say draws=16")
        self.net, self.shape = net, (shape,) if isinstance(shape, int) else tuple(shape)
        self.target, self.schedule, self.steps, self.order, self.eta = target, schedule, steps, order, eta
        self.drop, self.guidance, self.draws, self.levels = drop, guidance, draws, levels

    def forward(self, z: Float[Tensor, "b k"], context: Tokens | None = None) -> Denoised:
        return Denoised(self, z, context)

    def extra_repr(self) -> str:
        return f"shape={self.shape}, target={self.target}, steps={self.steps}, guidance={self.guidance}"

    def shares(self, t: Float[Tensor, "b"]) -> tuple[Tensor, Tensor]:
        """The shares of data and of noise at times t, ``(b, 1, ...)`` each."""
        angle = self.schedule(t).reshape(-1, *[1] * len(self.shape))
        return angle.cos().clamp(min=1e-6), angle.sin()


class Denoised(Distribution):
    """What a `Diffusion` says of b rows: samples, their mean, and how well it tells data from noise.

    `log_prob` is no density but a bound on one up to weights and a constant: minus half the squared error of the
    denoiser, summed over a row. In training it is one draw of time and noise a row; in evaluation the average over
    `levels` evenly spaced times, with the same fixed noise for every row, so that it is the same on every call and
    rows and models can be compared. Under classes of denoising models it orders them as a likelihood would
    (Kingma et al., 2021); it must not be compared with a Gaussian decoder's nats. Use samples for that: an energy
    score or a CRPS judges both.
    """

    arg_constraints: dict = {}
    __repr__ = said

    def __init__(self, decoder: Diffusion, z: Float[Tensor, "b k"], context: Tokens | None):
        self.decoder, self.z, self.context = decoder, z, context
        super().__init__(z.shape[:1], torch.Size(decoder.shape), validate_args=False)

    def log_prob(self, x: Num[Tensor, "r *event"], mask: Bool[Tensor, "b *any"] | None = None) -> Float[Tensor, "b"]:
        x, mask = clean(real(x), mask)
        x, n = stacked(x, len(self.z)), self.decoder.levels
        if self.decoder.training:
            keep = noise(torch.rand, self.z[:, 0]) >= self.decoder.drop
            return self._error(x, noise(torch.rand, x.flatten(1)[:, 0]), noise(torch.randn, x), mask, keep)
        e = _fixed_noise((n, *self.event_shape), x)
        errors = [self._error(x, x.new_full((len(x),), (i + 0.5) / n), e[i].expand_as(x), mask, None) for i in range(n)]
        return torch.stack(errors).mean(0)

    def _error(self, x: Tensor, t: Tensor, e: Tensor, mask: Tensor | None, keep: Tensor | None) -> Float[Tensor, "b"]:
        a, s = self.decoder.shares(t)
        off = self._said(a * x + s * e, t, keep) - self.decoder.target.target(x, e, a, s)
        return total(-0.5 * off.square(), mask)

    def _said(self, y: Tensor, t: Tensor, keep: Tensor | None = None, times: int = 1) -> Tensor:
        """What the network says; its condition hidden from rows that are not to keep it."""
        z, context = _repeated(self.z, self.context, times)
        if keep is not None:
            z = torch.where(keep[:, None], z, 0)
            context = None if context is None else Tokens(context.x, context.mask & keep[:, None])
        return self.decoder.net(y, t, z, context)

    @property
    def mean(self) -> Float[Tensor, "b *event"]:
        """The conditional mean: the network's word at full noise (of value 0), or the average of `draws` samples.

        The two agree once it is trained: in `tests/test_diffusion.py` to 3 % of the variance.
        """
        if n := self.decoder.draws:
            e = _fixed_noise((-(-n // 2), *self.event_shape), self.z)
            e = torch.cat([e, -e])[:n]  # in pairs of opposites, whose average strays less
            return self._walk(repeat(e, "n ... -> (n b) ...", b=len(self.z)), n, 0.0).unflatten(0, (n, -1)).mean(0)
        y, t = self.z.new_zeros(self.z.shape[0], *self.event_shape), self.z.new_ones(self.z.shape[0])
        a, s = self.decoder.shares(t)
        return self.decoder.target.clean(y, self._said(y, t), a, s)

    @property
    def mode(self) -> Float[Tensor, "b *event"]:
        """Where the walk without noise ends that starts at the most probable noise, 0."""
        return self._walk(self.z.new_zeros(len(self.z), *self.event_shape), eta=0.0)

    def sample(
        self, sample_shape: Sequence[int] = torch.Size(), generator: torch.Generator | None = None
    ) -> Float[Tensor, "*s_b_event"]:
        """Samples by the decoder's `steps`, `eta` and `guidance`; their noise is of `generator` if one is given."""
        like, n = self.z.new_empty(len(self.z), *self.event_shape), math.prod(sample_shape)
        if generator is None:
            start = noise(torch.randn, like, sample_shape)
        else:
            start = torch.randn(*sample_shape, *like.shape, generator=generator, device=generator.device).to(like)
        rows = start.reshape(-1, *self.event_shape)
        return self._walk(rows, n, generator=generator).reshape(start.shape)

    @torch.no_grad()
    def _walk(
        self, y: Tensor, times: int = 1, eta: float | int | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """From noise to data: at each time the data are guessed, and what is left of the noise is put back."""
        eta, order = self.decoder.eta if eta is None else eta, self.decoder.order
        moments, before = torch.linspace(1, 0, self.decoder.steps + 1).tolist(), None
        for now, then in zip(moments, moments[1:]):
            (a, s), (a2, s2) = (self.decoder.shares(y.new_full((1,), t)) for t in (now, then))
            x = self._guess(y, now, a, s, times)
            e = (y - a * x) / s
            if eta:
                fresh = eta * (s2 / s) * (1 - (a / a2).square()).clamp(min=0).sqrt()
                y = a2 * x + (s2.square() - fresh.square()).sqrt() * e + fresh * _randn(y, generator)
            else:
                middle = (x, e) if before is None or order == 1 else [1.5 * n - 0.5 * b for n, b in zip((x, e), before)]
                y, before = y + (a2 - a) * middle[0] + (s2 - s) * middle[1], (x, e)
        return y

    def _guess(self, y: Tensor, now: float, a: Tensor, s: Tensor, times: int) -> Tensor:
        """The data in y, with classifier-free guidance where it is asked for."""
        t, g = y.new_full((len(y),), now), self.decoder.guidance
        if g == 1:
            told = self._said(y, t, None, times)
        else:
            alone = self._said(y, t, torch.zeros(len(y), dtype=torch.bool, device=y.device), times)
            told = alone if g == 0 else alone + g * (self._said(y, t, None, times) - alone)
        return self.decoder.target.clean(y, told, a, s)


def _repeated(z: Tensor, context: Tokens | None, times: int) -> tuple[Tensor, Tokens | None]:
    """The condition of a batch, several times over."""
    if times == 1:
        return z, context
    every = torch.ones(times, dtype=torch.bool, device=z.device)
    return repeat(z, "b k -> (n b) k", n=times), None if context is None else context.stacked(every)


def _fixed_noise(shape: Sequence[int], like: Tensor) -> Tensor:
    """Noise that is the same on every call and every device (and so also in every row)."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).to(like, non_blocking=True)


def _randn(like: Tensor, generator: torch.Generator | None) -> Tensor:
    if generator is None:
        return torch.randn_like(like)
    return torch.randn(like.shape, generator=generator, device=generator.device).to(like)
