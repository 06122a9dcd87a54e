"""Pictures and volumes: residual encoders of any depth, and a decoder of transposed convolutions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from .blocks import Tokens, expect, mlp
from .conditioning import Queries


class ResNet2d(nn.Module):
    """A picture: residual convolutions, one token a remaining cell of the grid, each with its place (He et al., 2016).

    shape : (colours, height, width) of a row.
    blocks : residual blocks a stage; each stage after the first halves height and width and doubles the width.
    width : channels of the first stage. stem : stride of the first convolution.
    bottleneck : blocks of 1 x 1, 3 x 3 and 1 x 1 convolutions, four times as wide outside as inside.

    The cells are not mixed after the convolutions, so that a token stays where it is in the picture; a small network
    at each of them joins what is there with where it is, and a mean over tokens forgets neither.
    ResNet-18 is ``blocks=(2, 2, 2, 2), width=64, stem=4``; ResNet-50 is
    ``blocks=(3, 4, 6, 3), width=64, stem=4, bottleneck=True``. Normalisation is by groups of channels (Wu & He, 2018),
    and in the branches alone, so that rows do not depend on their batch and brightness survives. Halving is by means
    (He et al., 2019), not by strides, which would move cells to their upper left; sizes that do not halve are padded.

    >>> ResNet2d((1, 16, 16), 32)(torch.zeros(2, 1, 16, 16)).shape
    torch.Size([2, 16, 32])
    """

    conv: type = nn.Conv2d
    pool: type = nn.AvgPool2d
    names: tuple[str, ...] = ("height", "width")

    def __init__(
        self, shape: Sequence[int], dim: int, blocks: Sequence[int] = (1, 1), width: int = 16, stem: int = 2,
        bottleneck: bool = False,
    ):  # fmt: skip
        super().__init__()
        self.shape, cell = tuple(shape), stem * 2 ** (len(blocks) - 1)
        if len(self.shape) != len(self.names) + 1:
            raise ValueError(f"a row must be (colours, {', '.join(self.names)}), got shape {self.shape}")
        kernel, edge = (2 * stem, stem // 2) if stem > 1 else (3, 1)
        self.stem = self.conv(shape[0], width, kernel, stem, edge)
        stages, inner, sizes = [], width, [-(-n // cell) for n in shape[1:]]
        self.pad = [extra for n in reversed(shape[1:]) for extra in (0, -n % cell)]
        for i, n_blocks in enumerate(blocks):
            outer = width * 2**i * (4 if bottleneck else 1)
            for j in range(n_blocks):
                stages += [self.pool(2)] * (i > 0 and j == 0)
                stages.append(_Residual(self.conv, inner, outer, bottleneck))
                inner = outer
        self.blocks, self.axes = nn.Sequential(*stages), dict(zip(self.names, sizes))
        self.to_tokens = nn.Linear(inner, dim)
        self.position = nn.Parameter(torch.randn(math.prod(sizes), dim) / 2)
        self.net = nn.Sequential(nn.LayerNorm(dim), *mlp(dim, 2 * dim, dim))

    def forward(self, x: Float[Tensor, "b c h ..."]) -> Float[Tensor, "b n d"]:
        expect(x, self.shape, self)
        h = self.blocks(self.stem(F.pad(x, self.pad) if any(self.pad) else x))
        h = self.to_tokens(rearrange(h, "b d ... -> b (...) d")) + self.position
        return h + self.net(h)


class ResNet3d(ResNet2d):
    """A volume, (colours, depth, height, width): as `ResNet2d`, with convolutions in three dimensions.

    >>> ResNet3d((1, 8, 16, 16), 32)(torch.zeros(2, 1, 8, 16, 16)).shape
    torch.Size([2, 32, 32])
    """

    conv = nn.Conv3d
    pool = nn.AvgPool3d
    names = ("depth", "height", "width")


class _Residual(nn.Module):
    """A residual block whose way around is not normalised (He et al., 2016, "Identity mappings")."""

    def __init__(self, conv: type, inner: int, outer: int, bottleneck: bool):
        super().__init__()
        narrow = outer // 4 if bottleneck else outer
        sizes = [(inner, narrow, 1), (narrow, narrow, 3), (narrow, outer, 1)] if bottleneck else [
            (inner, outer, 3), (outer, outer, 3)]  # fmt: skip
        layers: list[nn.Module] = []
        for i, (a, b, kernel) in enumerate(sizes):
            layers += [_norm(a), nn.GELU(), conv(a, b, kernel, 1, kernel // 2, bias=i == len(sizes) - 1)]
        self.branch = nn.Sequential(*layers)
        self.skip = conv(inner, outer, 1, bias=False) if inner != outer else nn.Identity()

    def forward(self, x: Float[Tensor, "b c ..."]) -> Float[Tensor, "b c2 ..."]:
        return self.skip(x) + self.branch(x)


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(next(n for n in (8, 4, 2, 1) if width % n == 0), width)


class ConvDecoder(nn.Module):
    """A picture or a volume by transposed convolutions: coarse questions, answered by the context, made fine.

    shape : (colours, height, width) or (colours, depth, height, width) of a row.
    conditioners : how the context acts on the coarse grid, one after another; `dim` is their width.
    depth : how many times the grid is doubled. latent : size of z, or 0 if only the context tells.

    >>> net = ConvDecoder(3, (1, 16, 16), [], 32)
    >>> net(torch.zeros(2, 3)).shape
    torch.Size([2, 1, 16, 16])
    """

    def __init__(
        self, latent: int, shape: Sequence[int], conditioners: Sequence[nn.Module], dim: int, depth: int = 2,
        heads: int = 4,
    ):  # fmt: skip
        super().__init__()
        if len(shape) not in (3, 4):
            raise ValueError(f"a row must be (colours, height, width) or (colours, depth, height, width), got {shape}")
        self.shape, self.start = tuple(shape), [-(-n // 2**depth) for n in shape[1:]]
        up, conv = (nn.ConvTranspose2d, nn.Conv2d) if len(shape) == 3 else (nn.ConvTranspose3d, nn.Conv3d)
        names = ("height", "width") if len(shape) == 3 else ("depth", "height", "width")
        self.axes = dict(zip(names, self.start))
        self.queries = Queries(math.prod(self.start), dim, conditioners, latent, heads)
        widths = [max(8, dim // 2**i) for i in range(depth + 1)]
        widths[0] = dim
        steps = ([up(a, b, 4, 2, 1), nn.GELU()] for a, b in zip(widths, widths[1:]))
        self.net = nn.Sequential(*(layer for step in steps for layer in step), conv(widths[-1], shape[0], 3, padding=1))

    def forward(self, z: Float[Tensor, "b k"], context: Tokens | None = None) -> Float[Tensor, "b c h ..."]:
        grid = rearrange(self.queries(z, context), "b n d -> b d n").unflatten(-1, self.start)
        x = self.net(F.gelu(grid))
        return x[(..., *(slice(n) for n in self.shape[1:]))]
