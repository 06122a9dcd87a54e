"""Terms for signals: how far what is told is from the truth, in time and in frequency, and weights that are learned.

All errors are shares: 1 is what is lost by telling the training mean, 0 is perfect, whatever the unit, the number of
samples or the transform. So the weight of a term is its share in the loss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ..models import Outputs
from ..views import Views

Features = Callable[[Tensor], Tensor]  # signals (b, c, t) -> numbers (b, f)
TINY = 1e-12  # under a root, so that silence has a gradient


def samples(x: Float[Tensor, "b c t"]) -> Float[Tensor, "b f"]:
    """The signals themselves: the error in the time domain.

    >>> samples(torch.ones(2, 1, 4)).shape
    torch.Size([2, 4])
    """
    return rearrange(x, "b c t -> b (c t)")


def amplitude(x: Float[Tensor, "b c t"]) -> Float[Tensor, "b f"]:
    """The amplitude of each frequency over the whole window, which does not say when anything was.

    A circular shift changes nothing here: as the only loss it would take any signal for a delayed one.

    >>> x = torch.randn(1, 1, 60)
    >>> torch.allclose(amplitude(x), amplitude(x.roll(20, -1)), atol=1e-4)
    True
    """
    return _size(_spectrum(x))


@dataclass(frozen=True)
class WithPhase:
    """The complex spectrum of the whole window: each frequency's amplitude, to a power, at its phase.

    power : 1 is the spectrum as it is, and its squared error is that of the samples again (Parseval's theorem). Below
        1, faint frequencies count for more beside strong ones (power-law compression; Ephrat et al., 2018).

    >>> x = torch.randn(1, 1, 60)
    >>> bool((WithPhase()(x) - WithPhase()(x.roll(20, -1))).abs().max() > 0.1)
    True
    """

    power: float | int = 0.5

    def __call__(self, x: Float[Tensor, "b c t"]) -> Float[Tensor, "b f"]:
        s = _spectrum(x)
        if self.power != 1:
            s = s * (s.real.square() + s.imag.square() + 1e-6) ** ((self.power - 1) / 2)
        return rearrange(torch.view_as_real(s), "b f two -> b (f two)")


@dataclass(frozen=True)
class Resolutions:
    """Amplitudes in short windows of several lengths: what sounds when, at each precision (Yamamoto et al., 2020).

    lengths : of the windows in samples, each moved on by a quarter of itself; Hann windows.

    >>> Resolutions((16, 64))(torch.randn(2, 1, 240)).shape
    torch.Size([2, 1077])
    """

    lengths: Sequence[int] = (16, 32, 64)

    def __call__(self, x: Float[Tensor, "b c t"]) -> Float[Tensor, "b f"]:
        if max(self.lengths) > x.shape[-1] or min(self.lengths) < 4:
            raise ValueError(f"windows of {tuple(self.lengths)} samples must be 4 to the signal's {x.shape[-1]}")
        flat, parts = rearrange(x, "b c t -> (b c) t"), []
        for n in self.lengths:
            window = torch.hann_window(n, dtype=x.dtype, device=x.device)
            s = torch.stft(flat, n, n // 4, window=window, pad_mode="reflect", normalized=True, return_complex=True)
            parts.append(_size(rearrange(s, "(b c) f n -> b (c f n)", b=len(x))) / len(self.lengths) ** 0.5)
        return torch.cat(parts, -1)


def _spectrum(x: Float[Tensor, "b c t"]) -> Tensor:
    """Both sides of the spectrum, so that the sum of squares is that of the samples."""
    return rearrange(torch.fft.fft(x, dim=-1, norm="ortho"), "b c f -> b (c f)")


def _size(s: Tensor) -> Tensor:
    return (s.real.square() + s.imag.square() + TINY).sqrt()


class Waveform(nn.Module):
    """How far the told signals are from the true ones, as a share of what telling the training mean would lose.

    ``weight mean_v |F(x_v) - F(x'_v)|^2 / E |F(x_v)|^2``, with each channel at mean 0 and standard deviation 1 over the
    training rows, and E their mean. What is masked, or in a view that is absent, costs nothing.

    train : training rows; their views of shape (b, c, t) are scored where a model decodes them.
    weight : the share of this term in a loss of several. features : F; `samples` is the time domain.

    >>> from ivekit.distributions import Normal
    >>> train = Views({"ecg": torch.randn(50, 1, 60)})
    >>> mean = Outputs({}, {}, {"ecg": Normal(train["ecg"].mean().expand(50, 1, 60), 1.0)})
    >>> print(f"{Waveform(train)(mean, train, None).mean():.2f}")
    1.00
    """

    def __init__(self, train: Views, weight: float | int = 1.0, features: Features = samples):
        super().__init__()
        self.weight, self.features = weight, features
        self.names = tuple(name for name, x in train.items() if x.ndim == 3)
        if not self.names:
            shapes = {name: tuple(x.shape) for name, x in train.items()}
            raise ValueError(f"signals are views of shape (b, c, t), and there are none: {shapes}")
        for name in self.names:
            self._fit(name, train[name], _spread(train.present[name], train[name]))

    def _fit(self, name: str, x: Tensor, here: Bool[Tensor, "b c t"]) -> None:
        count = here.sum((0, 2))[:, None].clamp(min=1)
        loc = torch.where(here, x, 0).sum((0, 2), dtype=torch.float64)[:, None] / count
        squares = torch.where(here, x - loc, 0).square().sum((0, 2))[:, None]
        scale = torch.where(squares > 1e-18 * count * loc.square(), (squares / count).sqrt(), 1.0)
        for what, value in {"loc": loc, "scale": scale}.items():
            self.register_buffer(f"{what}_{name}", value.to(x.dtype))
        rows = here.flatten(1).any(1).nonzero()[:, 0].split(256)
        total = sum(self._numbers(name, x[i], here[i]).square().sum(dtype=torch.float64) for i in rows)
        level = torch.as_tensor(total).to(x.dtype) / max(sum(map(len, rows)), 1)
        self.register_buffer(f"level_{name}", level if level > 0 else torch.ones_like(level))

    def _numbers(self, name: str, x: Tensor, here: Tensor) -> Float[Tensor, "b f"]:
        loc, scale = getattr(self, f"loc_{name}"), getattr(self, f"scale_{name}")
        return self.features(torch.where(here, (x - loc) / scale, 0))

    def forward(self, out: Outputs, views: Views, step: int | None) -> Float[Tensor, "b"]:
        told = [self._of(name, out.p[name].mean, views) for name in self.names if name in out.p]
        return self.weight * torch.stack(told).mean(0)

    def _of(self, name: str, said: Tensor, views: Views) -> Float[Tensor, "b"]:
        x, here = views[name], _spread(views.present[name], views[name])
        apart = self._numbers(name, said.to(x.dtype), here) - self._numbers(name, x, here)
        return apart.square().sum(1) / getattr(self, f"level_{name}")

    def extra_repr(self) -> str:
        return f"weight={self.weight}, features={getattr(self.features, '__name__', self.features)}"


class Spectral(Waveform):
    """The same in frequency: how far the spectra of the told signals are from the true ones, as a share of all.

    features : `amplitude`, which forgets when (a shift in time is free); `WithPhase()`; or `Resolutions()`, short
        windows of several lengths.

    >>> from ivekit.distributions import Normal
    >>> train = Views({"ecg": torch.randn(50, 1, 60)})
    >>> late = Outputs({}, {}, {"ecg": Normal(train["ecg"].roll(20, -1), 1.0)})
    >>> [bool(Spectral(train, features=f)(late, train, None).mean() > 0.5) for f in (amplitude, WithPhase())]
    [False, True]
    """

    def __init__(self, train: Views, weight: float | int = 1.0, features: Features = amplitude):
        super().__init__(train, weight, features)


def _spread(mask: Tensor, x: Tensor) -> Bool[Tensor, "b c t"]:
    return mask if mask.ndim == x.ndim else rearrange(mask, "b -> b 1 1").expand_as(x)


class Uncertain(nn.Module):
    """A term whose weight is learned with everything else: ``term / (2 s^2) + log s``, with s > 0 free.

    s is how uncertain this task is: the best s^2 is the term's own mean, so a term that cannot be made small is weighed
    down and one that can be is weighed up, whatever the units of either (Kendall, Gal & Cipolla, 2018).

    term : any ``(out, views, step) -> (b,)`` that is not negative.

    The logarithm of s^2 is ten times a parameter: an optimiser whose steps are of the size of its learning rate would
    otherwise need a thousand of them to halve a weight.

    >>> Uncertain(lambda out, views, step: torch.ones(2)).weight
    tensor(0.5000)
    """

    def __init__(self, term: Any):
        super().__init__()
        self.term, self.tenth = term, nn.Parameter(torch.zeros(()))

    @property
    def weight(self) -> Float[Tensor, ""]:
        """What the term is multiplied with now."""
        return 0.5 * (-10 * self.tenth.detach()).exp()

    def forward(self, out: Outputs, views: Views, step: int | None) -> Float[Tensor, "b"]:
        log_variance = 10 * self.tenth
        return 0.5 * (-log_variance).exp() * self.term(out, views, step) + 0.5 * log_variance

    def extra_repr(self) -> str:
        return f"weight={self.weight.item():.3g}"
