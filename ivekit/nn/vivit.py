"""Transformers for films, and for sensors on a grid: tubelets are tokens (ViViT; Arnab et al., 2021)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from einops import rearrange
from einops.layers.torch import Rearrange
from jaxtyping import Float
from torch import Tensor, nn

from .blocks import TransformerBlock, expect
from .recurrent import Summary

Sizes = tuple[int, int, int]


def tubelets(shape: Sequence[int], tubelet: Sizes) -> Sizes:
    """How many tubelets there are over time, height and width of a film ``(channels, time, height, width)``.

    >>> tubelets((1, 16, 32, 32), (4, 8, 8))
    (4, 4, 4)
    """
    _, *sizes = shape
    if any(n % p for n, p in zip(sizes, tubelet)):
        raise ValueError(f"tubelet {tubelet} does not divide time, height and width {tuple(sizes)}")
    t, h, w = (n // p for n, p in zip(sizes, tubelet))
    return t, h, w


def tubelet_embedding(n_chans: int, tubelet: Sizes, dim: int) -> nn.Sequential:
    """Each tubelet's numbers through one linear layer; tokens are ordered by time, then row, then column.

    >>> tubelet_embedding(1, (4, 8, 8), 32)(torch.zeros(2, 1, 16, 32, 32)).shape
    torch.Size([2, 64, 32])
    """
    pt, ph, pw = tubelet
    cut = Rearrange("b c (t pt) (h ph) (w pw) -> b (t h w) (c pt ph pw)", pt=pt, ph=ph, pw=pw)
    return nn.Sequential(cut, nn.Linear(n_chans * math.prod(tubelet), dim))


class ViViT(nn.Module):
    """A film, or sensors on a grid: tubelets, then joint attention over space and time (Arnab et al., 2021, model 1).

    >>> ViViT((1, 16, 32, 32), (4, 8, 8), 32)(torch.zeros(2, 1, 16, 32, 32)).shape
    torch.Size([2, 64, 32])
    """

    def __init__(self, shape: Sequence[int], tubelet: Sizes, dim: int, depth: int = 2, heads: int = 4):
        super().__init__()
        self.shape, self.counts = tuple(shape), tubelets(shape, tubelet)
        self.embed = tubelet_embedding(shape[0], tubelet, dim)
        self.position = nn.Parameter(0.02 * torch.randn(math.prod(self.counts), dim))
        self.blocks = nn.Sequential(*(TransformerBlock(dim, heads) for _ in range(depth)))

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b n d"]:
        expect(x, self.shape, self)
        return self.blocks(self.embed(x) + self.position)


class FactorisedViViT(nn.Module):
    """A film in one token a moment: attention within each moment, then over the moments (Arnab et al., 2021, model 2).

    A moment's tubelets see each other, `look` sums them up (its weights are a map over the grid), and moments see
    each other: t (h w)^2 + t^2 pairs of tokens instead of (t h w)^2.

    depth : blocks over space and over time.

    >>> FactorisedViViT((1, 16, 32, 32), (4, 8, 8), 32)(torch.zeros(2, 1, 16, 32, 32)).shape
    torch.Size([2, 4, 32])
    """

    def __init__(self, shape: Sequence[int], tubelet: Sizes, dim: int, depth: tuple[int, int] = (2, 2), heads: int = 4):
        super().__init__()
        self.shape, self.counts = tuple(shape), tubelets(shape, tubelet)
        n_times, *pixels = self.counts
        self.embed = tubelet_embedding(shape[0], tubelet, dim)
        self.place = nn.Parameter(0.02 * torch.randn(math.prod(pixels), dim))
        self.moment = nn.Parameter(0.02 * torch.randn(n_times, dim))
        self.space, self.time = (nn.Sequential(*(TransformerBlock(dim, heads) for _ in range(n))) for n in depth)
        self.look = Summary(dim)

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b n d"]:
        expect(x, self.shape, self)
        moments = rearrange(self.embed(x), "b (t n) d -> (b t) n d", t=self.counts[0])
        seen = self.look(self.space(moments + self.place))
        return self.time(rearrange(seen, "(b t) 1 d -> b t d", b=x.shape[0]) + self.moment)
