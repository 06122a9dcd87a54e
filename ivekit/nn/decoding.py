"""Networks that decode MEG and EEG, small enough for few trials, with filters whose patterns can be drawn."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from einops import einsum, rearrange, reduce
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..noise import dropped, noise
from .blocks import cosines, expect


class LowPass(nn.Module):
    """The slow part of a signal alone: its first cosines (DCT-II), at as many samples a row as are asked for.

    n_basis : cosines that are kept; over T seconds those up to f Hz are ``2 f T + 1``. n_out : samples of the result,
        `n_times` by default. White noise of variance 1 has a variance of 1 on average in the result too, so what a
        network sees keeps its size.

    >>> t = torch.arange(125) / 125
    >>> waves = torch.stack([torch.cos(2 * torch.pi * f * t) for f in (2, 20)])[None]
    >>> LowPass(125, n_basis=11, n_out=22)(waves).square().mean(-1).round(decimals=1)
    tensor([[5.7000, 0.0000]])
    """

    keep: Tensor

    def __init__(self, n_times: int, n_basis: int, n_out: int | None = None):
        super().__init__()
        n_out = n_times if n_out is None else n_out
        if not 1 <= n_basis <= min(n_times, n_out):
            raise ValueError(f"n_basis is {n_basis}: from 1 to the samples there are ({n_times}) and will be ({n_out})")
        self.n_times, self.n_out = n_times, n_out
        size = (n_out / n_basis) ** 0.5
        self.register_buffer("keep", size * cosines(n_times, n_basis).mT @ cosines(n_out, n_basis))

    def extra_repr(self) -> str:
        return f"{self.n_times} samples to {self.n_out}"

    def forward(self, x: Float[Tensor, "*b c t"]) -> Float[Tensor, "*b c n"]:
        if x.shape[-1] != self.n_times:
            raise ValueError(f"LowPass takes rows of {self.n_times} samples, got {x.shape[-1]}")
        return x @ self.keep


class Jitter(nn.Module):
    """Rows made a little different at each training step, so that a network cannot learn them by heart.

    noise : standard deviation of white noise that is added. drop : part of the channels that is silenced in a row.
    shift : samples by which a row is moved at most, earlier or later (its ends go around). At rest it does nothing.

    >>> Jitter(noise=0.5).eval()(torch.ones(1, 2, 3)).sum()
    tensor(6.)
    """

    def __init__(self, noise: float = 0.0, drop: float = 0.0, shift: int = 0):
        super().__init__()
        if noise < 0 or shift < 0 or not 0 <= drop < 1:
            raise ValueError(f"noise and shift are at least 0 and drop below 1, got {noise}, {shift} and {drop}")
        self.noise, self.drop, self.shift = noise, drop, shift

    def extra_repr(self) -> str:
        return f"noise={self.noise}, drop={self.drop}, shift={self.shift}"

    def forward(self, x: Float[Tensor, "b c t"]) -> Float[Tensor, "b c t"]:
        if not self.training:
            return x
        if self.shift:
            by = noise(partial(_integers, self.shift), x[:, :1, 0])
            source = (torch.arange(x.shape[-1], device=x.device) - by) % x.shape[-1]
            x = x.gather(-1, source[:, None].expand_as(x))
        x = x * dropped(torch.ones_like(x[..., :1]), self.drop) if self.drop else x
        return x + self.noise * noise(torch.randn, x) if self.noise else x


def _integers(most: int, *shape: int, device: torch.device, **_: Any) -> Int[Tensor, "..."]:
    return torch.randint(-most, most + 1, shape, device=device)


class Dropout(nn.Dropout):
    """Numbers set to 0 at random while training, of a row the same ones however many processes or parts its batch has.

    Otherwise it is `torch.nn.Dropout`, draw for draw (Srivastava et al., 2014).

    >>> Dropout(0.5).eval()(torch.ones(1, 3))
    tensor([[1., 1., 1.]])
    """

    def forward(self, x: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
        return dropped(x, self.p) if self.training else x


class LFCNN(nn.Module):
    """Sources found by spatial filters, each with a temporal filter of its own (LF-CNN; Zubarev et al., 2019).

    Rectified, and the largest of each `pool` samples kept: one token a pooled step, of `dim` sources. `spatial` holds
    the filters, ``(dim, n_chans)``, of which `patterns` are the fields that can be drawn.

    width : samples of a temporal filter.

    >>> LFCNN(102, 32)(torch.zeros(2, 102, 60)).shape
    torch.Size([2, 30, 32])
    """

    mixes = False

    def __init__(self, n_chans: int, dim: int = 32, width: int = 7, pool: int = 2, dropout: float = 0.5):
        super().__init__()
        self.n_chans, self.pool, self.width = n_chans, pool, width
        self.spatial = nn.Conv1d(n_chans, dim, 1)
        self.temporal = nn.Conv1d(dim, dim, width, groups=1 if self.mixes else dim)
        self.dropout = Dropout(dropout)

    def sources(self, x: Float[Tensor, "b c t"]) -> Float[Tensor, "b d t"]:
        """What each filter hears."""
        return self.temporal(_pad(self.spatial(x), self.width))

    def forward(self, x: Float[Tensor, "b c t"]) -> Float[Tensor, "b n d"]:
        expect(x, (self.n_chans, None), self)
        h = F.relu(self.sources(x))
        h = F.max_pool1d(h, min(self.pool, h.shape[-1]), ceil_mode=True)
        return rearrange(self.dropout(h), "b d n -> b n d")


class VARCNN(LFCNN):
    """Sources that each listen to the past of all others (VAR-CNN; Zubarev et al., 2019).

    >>> VARCNN(102, 32)(torch.zeros(2, 102, 60)).shape
    torch.Size([2, 30, 32])
    """

    mixes = True


def patterns(filters: Float[Tensor, "d c"], covariance: Float[Tensor, "c c"]) -> Float[Tensor, "d c"]:
    """The field that comes with each filter's output: what to draw, since a filter itself is no map of a source.

    ``a = C w / (w' C w)``, the regression of the sensors on the filter's output (Haufe et al., 2014). A filter also
    has weights where it only cancels noise.

    covariance : of the sensors, over training rows and samples, in the units the filters are for.

    >>> patterns(torch.tensor([[1.0, -1.0]]), torch.tensor([[2.0, 1.0], [1.0, 1.0]]))  # sensor 1 hears the noise alone
    tensor([[1., 0.]])
    """
    heard = filters @ covariance
    return heard / reduce(heard * filters, "d c -> d 1", "sum")


def responses(kernels: Float[Tensor, "d t"], n: int = 64) -> Float[Tensor, "d f"]:
    """The gain of temporal filters at `n` frequencies from 0 to half the sampling rate.

    >>> responses(torch.full((1, 2), 0.5), 3)
    tensor([[1.0000, 0.7071, 0.0000]])
    """
    return torch.fft.rfft(kernels, 2 * (n - 1), dim=-1).abs()


class EEGNet(nn.Module):
    """Temporal, spatial and separable convolutions, and few of them (Lawhern et al., 2018): one token a pooled step.

    n_temporal : temporal filters, of `width` samples (half a second in the paper). depth : spatial filters of each.
    pool : samples averaged after the spatial and after the separable convolution. Weights are kept small by weight
    decay in training, where the paper bounds their norm.

    >>> EEGNet(102, 16)(torch.zeros(2, 102, 125)).shape
    torch.Size([2, 4, 16])
    """

    def __init__(
        self,
        n_chans: int,
        dim: int = 16,
        n_temporal: int = 8,
        depth: int = 2,
        width: int = 63,
        pool: tuple[int, int] = (4, 8),
        dropout: float = 0.25,
    ):
        super().__init__()
        inner = n_temporal * depth
        self.n_chans, self.pool, self.width = n_chans, pool, width
        self.temporal = nn.Conv1d(1, n_temporal, width, bias=False)
        self.spatial = nn.Conv2d(n_temporal, inner, (n_chans, 1), groups=n_temporal, bias=False)
        self.own = nn.Conv1d(inner, inner, 15, groups=inner, bias=False)
        self.mix = nn.Conv1d(inner, dim, 1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm1d(inner), nn.BatchNorm1d(dim)])
        self.dropout = Dropout(dropout)

    def forward(self, x: Float[Tensor, "b c t"]) -> Float[Tensor, "b n d"]:
        expect(x, (self.n_chans, None), self)
        each = rearrange(self.spatial.weight, "(f d) 1 c 1 -> f d c", f=self.temporal.out_channels)
        kernels = rearrange(einsum(each, self.temporal.weight[:, 0], "f d c, f w -> f d c w"), "f d c w -> (f d) c w")
        h = F.conv1d(_pad(x, self.width), kernels)  # both at once: no map of every filter on every sensor is made
        h = self.dropout(_average(F.elu(self.norms[0](h)), self.pool[0]))
        h = self.mix(self.own(_pad(h, 15)))
        h = self.dropout(_average(F.elu(self.norms[1](h)), self.pool[1]))
        return rearrange(h, "b d n -> b n d")


class ShallowNet(nn.Module):
    """The logarithm of the power of filtered signals, as band-power features are (Schirrmeister et al., 2017).

    width, pool, stride : samples of a temporal filter, of a window of power, and from window to window; the defaults
        are the paper's 100, 300 and 60 ms at 125 Hz.

    >>> ShallowNet(102, 40)(torch.zeros(2, 102, 125)).shape
    torch.Size([2, 12, 40])
    """

    def __init__(
        self,
        n_chans: int,
        dim: int = 40,
        n_temporal: int = 40,
        width: int = 13,
        pool: int = 38,
        stride: int = 8,
        dropout: float = 0.5,
    ):
        super().__init__()
        self.n_chans, self.width, self.pool, self.stride = n_chans, width, pool, stride
        self.temporal = nn.Conv1d(1, n_temporal, width, bias=False)
        self.spatial = nn.Conv2d(n_temporal, dim, (n_chans, 1), bias=False)
        self.norm, self.dropout = nn.BatchNorm1d(dim), Dropout(dropout)

    def forward(self, x: Float[Tensor, "b c t"]) -> Float[Tensor, "b n d"]:
        expect(x, (self.n_chans, None), self)
        kernels = einsum(self.spatial.weight[..., 0], self.temporal.weight[:, 0], "d f c, f w -> d c w")
        h = self.norm(F.conv1d(_pad(x, self.width), kernels))  # both at once: they are linear
        power = _average(h.square(), self.pool, self.stride)
        return rearrange(self.dropout(power.clamp(min=1e-6).log()), "b d n -> b n d")


def _pad(x: Float[Tensor, "b c t"], width: int) -> Float[Tensor, "b c u"]:
    """Zeros around, so that a filter of this width leaves as many samples as there were."""
    return F.pad(x, ((width - 1) // 2, width // 2))


def _average(x: Float[Tensor, "b c t"], pool: int, stride: int | None = None) -> Float[Tensor, "b c n"]:
    """Means of windows, the last of which may be short: no sample is left out."""
    pool = min(pool, x.shape[-1])
    return F.avg_pool1d(x, pool, min(stride or pool, pool), ceil_mode=True)
