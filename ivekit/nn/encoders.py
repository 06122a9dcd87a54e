"""Encoders: each turns one view into tokens, ``(b, ...) -> (b, n, d)``."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor, nn

from .blocks import Attention, ResBlock1d, Tokens, TransformerBlock, cosines, expect, mlp


class MLPEncoder(nn.Module):
    """A table's row: one token.

    >>> MLPEncoder(6, 16)(torch.zeros(2, 6)).shape
    torch.Size([2, 1, 16])
    """

    def __init__(self, n_features: int, dim: int, width: int = 64):
        super().__init__()
        self.n_features, self.net = n_features, mlp(n_features, width, width, dim)

    def forward(self, x: Float[Tensor, "b f"]) -> Float[Tensor, "b 1 d"]:
        expect(x, (self.n_features,), self)
        return self.net(x)[:, None]


class SensorConv(nn.Module):
    """MEG or EEG of any length: spatial filters, then temporal filters of their outputs, one token a pooled step.

    Spatial filters first, each with temporal filters of its own: LF-CNN (Zubarev et al., 2019).

    >>> SensorConv(102, 32)(torch.zeros(2, 102, 60)).shape
    torch.Size([2, 12, 32])
    """

    def __init__(self, n_chans: int, dim: int, n_filters: int = 32, width: int = 15, stride: int = 5):
        super().__init__()
        self.n_chans, self.stride = n_chans, stride
        self.spatial = nn.Conv1d(n_chans, n_filters, 1)
        self.temporal = nn.Conv1d(n_filters, n_filters, width, padding=width // 2, groups=n_filters)
        self.mix = nn.Conv1d(n_filters, dim, 1)

    def forward(self, x: Float[Tensor, "b c t"]) -> Float[Tensor, "b n d"]:
        expect(x, (self.n_chans, None), self)
        h = F.gelu(self.temporal(self.spatial(x)))
        h = F.avg_pool1d(h, min(self.stride, h.shape[-1]), self.stride, ceil_mode=True)
        return rearrange(self.mix(h), "b d n -> b n d")


class SensorBasis(nn.Module):
    """MEG or EEG in one token: spatial filters read out on smooth time courses, then a small network.

    The signal is a few fields times smooth courses, so `n_filters` filters and `n_basis` cosines keep it and leave
    most of the noise outside. Linear, with a nonlinear part added.

    >>> SensorBasis(102, 60, 32)(torch.zeros(2, 102, 60)).shape
    torch.Size([2, 1, 32])
    """

    basis: Tensor

    def __init__(self, n_chans: int, n_times: int, dim: int, n_filters: int = 32, n_basis: int = 20, width: int = 128):
        super().__init__()
        n_basis = min(n_basis, n_times)
        self.shape = (n_chans, n_times)
        self.register_buffer("basis", cosines(n_times, n_basis))
        self.spatial = nn.Linear(n_chans, n_filters, bias=False)
        nn.init.orthogonal_(self.spatial.weight)
        self.linear = nn.Linear(n_filters * n_basis, dim)
        self.net = mlp(n_filters * n_basis, width, dim)

    def affine(self, x: Float[Tensor, "b c t"]) -> Float[Tensor, "b h"]:
        """What comes first and is affine: sums of inputs become sums of it."""
        h = self.spatial(rearrange(x @ self.basis.mT, "b c n -> b n c"))
        return rearrange(h, "b n c -> b (n c)")

    def after(self, h: Float[Tensor, "b h"]) -> Float[Tensor, "b 1 d"]:
        """What follows."""
        return (self.linear(h) + self.net(h))[:, None]

    def forward(self, x: Float[Tensor, "b c t"]) -> Float[Tensor, "b 1 d"]:
        expect(x, self.shape, self)
        return self.after(self.affine(x))


class SensorAttention(nn.Module):
    """Attention over sensors: learned queries choose, trial by trial, which sensors to read.

    Each sensor is a token, its smooth time course and its own embedding; while ``attend.keep`` is set,
    ``attend.weights`` are ``(b, heads, n_queries, n_chans)``: a map over the helmet for every query.

    >>> SensorAttention(102, 60, 32)(torch.zeros(2, 102, 60)).shape
    torch.Size([2, 4, 32])
    """

    basis: Tensor

    def __init__(self, n_chans: int, n_times: int, dim: int, n_queries: int = 4, n_basis: int = 20, heads: int = 4):
        super().__init__()
        self.shape = (n_chans, n_times)
        self.register_buffer("basis", cosines(n_times, min(n_basis, n_times)))
        self.course = nn.Linear(len(self.basis), dim)
        self.sensor = nn.Parameter(torch.randn(n_chans, dim) / dim**0.5)
        self.queries = nn.Parameter(torch.randn(n_queries, dim))
        self.attend = Attention(dim, heads)
        self.net = nn.Sequential(nn.LayerNorm(dim), *mlp(dim, 2 * dim, dim))

    def forward(self, x: Float[Tensor, "b c t"]) -> Float[Tensor, "b n d"]:
        expect(x, self.shape, self)
        sensors = self.course(x @ self.basis.mT) + self.sensor
        context = Tokens.of(sensors, torch.ones(x.shape[0], dtype=torch.bool, device=x.device))
        h = self.attend(repeat(self.queries, "n d -> b n d", b=x.shape[0]), context)
        return h + self.net(h)


class SensorGrid(nn.Module):
    """Sensors laid on a grid, then an encoder of films: ``cells`` are `Sensors.cells(shape)`.

    >>> grid = SensorGrid(torch.arange(4), (2, 2), Conv3d((1, 8, 2, 2), 16, patch=(2, 1, 1)))
    >>> grid(torch.zeros(3, 4, 8)).shape
    torch.Size([3, 2, 16])
    """

    cells: Tensor

    def __init__(self, cells: Int[Tensor, "c"], shape: tuple[int, int], encoder: nn.Module):
        super().__init__()
        self.shape, self.encoder = shape, encoder
        self.register_buffer("cells", cells)

    def forward(self, x: Float[Tensor, "b c t"]) -> Float[Tensor, "b n d"]:
        expect(x, (len(self.cells), None), self)
        h, w = self.shape
        grid = x.new_zeros(x.shape[0], h * w, x.shape[-1]).index_copy(1, self.cells, x)
        return self.encoder(rearrange(grid, "b (h w) t -> b 1 t h w", h=h))


class Conv3d(nn.Module):
    """A film, or sensors on a grid: strided 3-D convolutions, then a transformer over time; one token a time step.

    shape : (channels, frames, height, width) of a row.
    patch : frames, height and width that the first convolution takes in one step: large patches make it cheap.
    Sizes that patches do not divide are padded with zeros.

    >>> Conv3d((1, 16, 32, 32), 32)(torch.zeros(2, 1, 16, 32, 32)).shape
    torch.Size([2, 4, 32])
    """

    def __init__(
        self,
        shape: Sequence[int],
        dim: int,
        patch: tuple[int, int, int] = (2, 4, 4),
        widths: tuple[int, int] = (24, 32),
        depth: int = 1,
    ):
        super().__init__()
        self.shape = tuple(shape)
        self.pad = tuple(-n % p for n, p in zip(self.shape[1:], patch))
        inner = [(n + extra) // p for n, extra, p in zip(self.shape[1:], self.pad, patch)]
        stride = (2 if inner[0] > 1 else 1, 2 if inner[1] > 1 else 1, 2 if inner[2] > 1 else 1)
        n_times, *pixels = (math.ceil(n / s) for n, s in zip(inner, stride))
        self.stem = nn.Conv3d(self.shape[0], widths[0], patch, patch)
        self.body = nn.Conv3d(*widths, 3, stride, 1)
        self.to_tokens = nn.Linear(widths[1] * math.prod(pixels), dim)
        self.position = nn.Parameter(0.02 * torch.randn(n_times, dim))
        self.over_time = nn.Sequential(*(TransformerBlock(dim) for _ in range(depth)))

    def features(self, x: Float[Tensor, "b c t h w"]) -> list[Float[Tensor, "b ..."]]:
        """What each convolution sees, fine to coarse."""
        expect(x, self.shape, self)
        t, h, w = self.pad
        fine = F.gelu(self.stem(F.pad(x, (0, w, 0, h, 0, t)) if any(self.pad) else x))
        return [fine, F.gelu(self.body(fine))]

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b n d"]:
        frames = rearrange(self.features(x)[-1], "b c t h w -> b t (c h w)")
        return self.over_time(self.to_tokens(frames) + self.position)


class MultiScale(nn.Module):
    """The tokens of a `Conv3d`, and beside them one token for each finer scale that it passed through.

    >>> MultiScale(Conv3d((1, 16, 32, 32), 32), widths=(24,), dim=32)(torch.zeros(2, 1, 16, 32, 32)).shape
    torch.Size([2, 5, 32])
    """

    def __init__(self, encoder: Conv3d, widths: Sequence[int], dim: int):
        super().__init__()
        self.encoder = encoder
        self.to_token = nn.ModuleList(nn.Linear(2 * width, dim) for width in widths)

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b n d"]:
        *finer, last = self.encoder.features(x)
        frames = rearrange(last, "b c t h w -> b t (c h w)")
        coarse = self.encoder.over_time(self.encoder.to_tokens(frames) + self.encoder.position)
        tokens = []
        for features, net in zip(finer, self.to_token):
            flat = rearrange(features, "b c ... -> b c (...)")
            tokens.append(net(torch.cat([flat.mean(-1), flat.amax(-1)], -1)))
        return torch.cat([coarse, torch.stack(tokens, 1)], 1)


class FrameConv(nn.Module):
    """A short film in one token, cheaply: 2-D convolutions that take its frames for channels.

    >>> FrameConv((1, 16, 32, 32), 32)(torch.zeros(2, 1, 16, 32, 32)).shape
    torch.Size([2, 1, 32])
    """

    def __init__(self, shape: Sequence[int], dim: int, widths: Sequence[int] = (24, 32, 32), width: int = 128):
        super().__init__()
        self.shape = tuple(shape)
        c, t, h, w = self.shape
        layers: list[nn.Module] = []
        for a, b in zip((c * t, *widths), widths):
            layers += [nn.Conv2d(a, b, 4, 2, 1), nn.GELU()]
            h, w = h // 2, w // 2
        if min(h, w) < 1:
            raise ValueError(f"frames of {self.shape[2:]} are too small to halve {len(widths)} times")
        self.net = nn.Sequential(*layers)
        self.out = mlp(widths[-1] * h * w, width, dim)

    def affine(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b n h2 w2"]:
        """What comes first and is affine: sums of inputs become sums of it."""
        return self.net[0](rearrange(x, "b c t h w -> b (c t) h w"))

    def after(self, h: Float[Tensor, "b n h2 w2"]) -> Float[Tensor, "b 1 d"]:
        """What follows."""
        return self.out(rearrange(self.net[1:](h), "b c h w -> b (c h w)"))[:, None]

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b 1 d"]:
        expect(x, self.shape, self)
        return self.after(self.affine(x))


class ResNet1d(nn.Module):
    """Physiological signals of any length: strided residual blocks, one token a remaining step.

    depth : how often time is halved, so a row of t samples is ``ceil(t / 2^depth)`` tokens, in order.
    least : the fewest channels of a block; they double up to `dim`.

    >>> ResNet1d(1, 32)(torch.zeros(2, 1, 250)).shape
    torch.Size([2, 32, 32])
    """

    def __init__(self, n_chans: int, dim: int, depth: int = 3, least: int = 4):
        super().__init__()
        widths = [n_chans, *(max(least, dim // 2 ** (depth - 1 - i)) for i in range(depth - 1)), dim]
        self.n_chans = n_chans
        self.blocks = nn.Sequential(*(ResBlock1d(a, b, stride=2) for a, b in zip(widths, widths[1:])))

    def forward(self, x: Float[Tensor, "b c t"]) -> Float[Tensor, "b n d"]:
        expect(x, (self.n_chans, None), self)
        return rearrange(self.blocks(x), "b d n -> b n d")


class Flat(nn.Module):
    """One token from an encoder's `n_tokens` that keeps their order, which a mean over tokens would lose.

    >>> Flat(ResNet1d(1, 32), 32, 32)(torch.zeros(2, 1, 250)).shape
    torch.Size([2, 1, 32])
    """

    def __init__(self, encoder: nn.Module, n_tokens: int, dim: int):
        super().__init__()
        self.encoder, self.n_tokens, self.net = encoder, n_tokens, nn.Linear(n_tokens * dim, dim)

    def forward(self, x: Float[Tensor, "b ..."]) -> Float[Tensor, "b 1 d"]:
        tokens = self.encoder(x)
        if tokens.shape[1] != self.n_tokens:
            raise ValueError(f"Flat was made for {self.n_tokens} tokens, its encoder gave {tokens.shape[1]}")
        return self.net(rearrange(tokens, "b n d -> b (n d)"))[:, None]
