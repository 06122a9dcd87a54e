"""Points on a grid: sections that convolutions see at several scales, and a latent vector grown to a volume."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Bool, Float
from torch import Tensor, nn

from .blocks import Tokens, expect, mlp


class Rasterise(nn.Module):
    """Points sorted into the cells of a grid: the mean of the values in each cell, and whether there are any.

    shape : cells along x (the sections), y and z. extent : the grid reaches from -extent to extent on each axis, in the
    units of the coordinates (standardised: 2 holds a brain); what lies outside is in the outermost cells.

    >>> Rasterise((2, 2, 2), n_values=1)(torch.zeros(1, 5, 4), torch.ones(1, 5, dtype=torch.bool)).shape
    torch.Size([1, 2, 2, 2, 2])
    """

    def __init__(self, shape: Sequence[int], n_values: int = 1, extent: float = 2.0):
        super().__init__()
        self.shape, self.n_values, self.extent = tuple(shape), n_values, extent

    def forward(self, x: Float[Tensor, "b n f"], mask: Bool[Tensor, "b n"]) -> Float[Tensor, "b c x y z"]:
        ways = (x[..., :3] / self.extent + 1) / 2
        a, b, c = ((ways[..., i] * size).long().clamp(0, size - 1) for i, size in enumerate(self.shape))
        cell = (a * self.shape[1] + b) * self.shape[2] + c
        numbers = torch.cat([x[..., 3:], torch.ones_like(x[..., :1])], -1) * mask[..., None]
        index = repeat(cell, "b n -> b n c", c=numbers.shape[-1])
        total = numbers.new_zeros(len(x), math.prod(self.shape), numbers.shape[-1]).scatter_add(1, index, numbers)
        count = total[..., -1:]
        grid = torch.cat([total[..., :-1] / count.clamp(min=1), (count > 0).to(x.dtype)], -1)
        return rearrange(grid, "b (x y z) c -> b c x y z", x=self.shape[0], y=self.shape[1])

    def extra_repr(self) -> str:
        return f"shape={self.shape}, extent={self.extent}"


class GatedConv3d(nn.Module):
    """A residual block of a volume: convolutions, a gate a voxel, and squeeze-and-excitation of its channels.

    ``x + 2 s (a * sigmoid(g))`` as in `GatedBlock`, with s from the mean over the volume (Hu et al., 2018).

    >>> GatedConv3d(4)(torch.zeros(2, 4, 3, 3, 3)).shape
    torch.Size([2, 4, 3, 3, 3])
    """

    def __init__(self, width: int):
        super().__init__()
        self.width = width
        self.norm, self.conv = nn.GroupNorm(1, width), nn.Conv3d(width, width, 3, padding=1)
        self.out = nn.Conv3d(width, 2 * width, 1)
        self.excite = nn.Sequential(*mlp(width, max(4, width // 4), width), nn.Sigmoid())

    def forward(self, x: Float[Tensor, "b c x y z"]) -> Float[Tensor, "b c x y z"]:
        squeezed = rearrange(self.excite(x.mean((2, 3, 4))), "b c -> b c 1 1 1")
        return x + 2 * squeezed * F.glu(self.out(F.gelu(self.conv(self.norm(x)))), 1)


class GridEncoder(nn.Module):
    """Points as sections on a grid, seen by convolutions at several scales: one token a scale, fine to coarse.

    An encoder of rows ``(n, 3 + f)`` like `PointEncoder`; what is finer than a cell is averaged. A cell nothing fell
    into is known as such from its own channel.

    >>> GridEncoder(16)(torch.zeros(2, 50, 4), torch.ones(2, 50, dtype=torch.bool)).x.shape
    torch.Size([2, 3, 16])
    """

    def __init__(
        self, dim: int, n_values: int = 1, shape: Sequence[int] = (16, 8, 8), widths: Sequence[int] = (12, 24, 32)
    ):
        super().__init__()
        if any(n % 2 ** (len(widths) - 1) for n in shape):
            raise ValueError(f"a grid of {tuple(shape)} cannot be halved {len(widths) - 1} times")
        self.n_numbers, self.raster = 3 + n_values, Rasterise(shape, n_values)
        inner = (n_values + 1, *widths)
        strides = [1, *[2] * (len(widths) - 1)]
        self.down = nn.ModuleList(nn.Conv3d(a, b, 3, s, 1) for a, b, s in zip(inner, widths, strides))
        self.blocks = nn.ModuleList(GatedConv3d(width) for width in widths)
        cells = [n // 2 ** (len(widths) - 1) for n in shape]
        self.last = nn.Linear(widths[-1] * cells[0] * cells[1] * cells[2], dim)
        self.finer = nn.ModuleList(nn.Linear(2 * width, dim) for width in widths[:-1])

    def forward(self, x: Float[Tensor, "b n f"], mask: Bool[Tensor, "b n *f"]) -> Tokens:
        expect(x, (None, self.n_numbers), self)
        here = mask.all(-1) if mask.ndim == 3 else mask
        seen = self.features(torch.where(here[..., None], x, 0), here)
        flat = [rearrange(h, "b c x y z -> b c (x y z)") for h in seen]
        tokens = [net(torch.cat([h.mean(-1), h.amax(-1)], -1)) for net, h in zip(self.finer, flat)]
        tokens.append(self.last(rearrange(seen[-1], "b c x y z -> b (c x y z)")))
        return Tokens(torch.stack(tokens, 1), repeat(here.any(1), "b -> b n", n=len(tokens)))

    def features(self, x: Float[Tensor, "b n f"], here: Bool[Tensor, "b n"]) -> list[Float[Tensor, "b c x y z"]]:
        """What is seen at each scale, fine to coarse."""
        h, seen = self.raster(x, here), []
        for down, block in zip(self.down, self.blocks):
            h = block(F.gelu(down(h)))
            seen.append(h)
        return seen


class GridDecoder(nn.Module):
    """A volume grown from a latent vector, coarse to fine, and asked at coordinates: a field on a grid.

    Each stage doubles the grid, refines it, and adds its own picture to the enlarged one of the stage before: skip
    connections from every scale to the output (Karras et al., 2020; Laplacian pyramids, Burt & Adelson, 1983). Between
    cells it is interpolated linearly, so it can be asked anywhere; it has no detail finer than a cell. The context is
    coordinates themselves (an `nn.Identity` encodes their view), of the scale of `Rasterise`.

    start : cells of the coarsest grid along x, y and z; widths, one a stage.

    >>> places = Tokens.of(torch.rand(2, 50, 3), torch.ones(2, dtype=torch.bool))
    >>> GridDecoder(4)(torch.zeros(2, 4), places).shape
    torch.Size([2, 50])
    """

    def __init__(
        self,
        latent: int,
        n_values: int = 1,
        start: tuple[int, int, int] = (4, 2, 2),
        widths: Sequence[int] = (32, 24, 12),
        extent: float = 2.0,
    ):
        super().__init__()
        self.start, self.extent, self.n_values = tuple(start), extent, n_values
        self.seed = nn.Linear(latent, widths[0] * start[0] * start[1] * start[2])
        self.widen = nn.ModuleList(nn.Conv3d(a, b, 1) for a, b in zip((widths[0], *widths), widths))
        self.blocks = nn.ModuleList(GatedConv3d(width) for width in widths)
        self.pictures = nn.ModuleList(nn.Conv3d(width, n_values, 3, padding=1) for width in widths)
        self.log_scale = nn.Parameter(torch.zeros(n_values))

    def forward(self, z: Float[Tensor, "b k"], context: Tokens | None) -> Float[Tensor, "b n *f"]:
        if context is None or context.x.shape[-1] != 3:
            raise ValueError("a GridDecoder is asked at coordinates (b, n, 3): encode their view by nn.Identity()")
        places = (context.x / self.extent).flip(-1)  # grid_sample counts the last axis first
        at = rearrange(places, "b n xyz -> b n 1 1 xyz").to(z.dtype)
        told = F.grid_sample(self.volume(z), at, align_corners=False, padding_mode="border")
        told = rearrange(told, "b f n 1 1 -> b n f") * self.log_scale.exp()
        return told[..., 0] if self.n_values == 1 else told

    def volume(self, z: Float[Tensor, "b k"]) -> Float[Tensor, "b f x y z"]:
        """The whole grid, before it is asked."""
        x, y, _ = self.start
        h = rearrange(self.seed(z), "b (c x y z) -> b c x y z", x=x, y=y, z=self.start[2])
        total = None
        for widen, block, picture in zip(self.widen, self.blocks, self.pictures):
            if total is not None:
                h, total = (F.interpolate(v, scale_factor=2, mode="trilinear", align_corners=False) for v in (h, total))
            h = block(widen(h))
            total = picture(h) if total is None else total + picture(h)
        assert total is not None
        return total
