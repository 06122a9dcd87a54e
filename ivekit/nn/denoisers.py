"""Networks that tell data from noise, for `Diffusion`: ``(y, t, z, context) -> what it is asked, of y's shape``."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from .blocks import Tokens, TransformerBlock, expect, mlp
from .sequences import NAMES, _grid, _join

WAVES = 4  # octaves by which a network knows the time
PLACE = 0.5  # spread of the places' first vectors; at the usual 0.02 tokens look alike, and are learnt 3 times slower


def waves(t: Float[Tensor, "b"]) -> Float[Tensor, "b 8"]:
    """Time as sines and cosines of four octaves, so that a network can be sharp about it.

    >>> waves(torch.tensor([0.0]))
    tensor([[0., 0., 0., 0., 1., 1., 1., 1.]])
    """
    angle = 0.5 * math.pi * t[:, None] * 2 ** torch.arange(WAVES, device=t.device)
    return torch.cat([angle.sin(), angle.cos()], 1)


class MLPDenoiser(nn.Module):
    """A denoiser of a small row, such as a table's: residual layers that see time and z; it does not use the context.

    latent : size of z; 0, here and below, where z is not asked and all that is told comes through the conditioners.

    >>> MLPDenoiser(3, (2, 5))(torch.zeros(4, 2, 5), torch.zeros(4), torch.zeros(4, 3)).shape
    torch.Size([4, 2, 5])
    """

    def __init__(self, latent: int, shape: int | Sequence[int], width: int = 128, depth: int = 3):
        super().__init__()
        self.latent, self.shape = latent, (shape,) if isinstance(shape, int) else tuple(shape)
        n = math.prod(self.shape)
        self.told = mlp(2 * WAVES + latent, width, width)
        self.embed = nn.Linear(n, width)
        self.layers = nn.ModuleList(nn.Sequential(nn.LayerNorm(width), *mlp(width, width, width)) for _ in range(depth))
        self.out, self.skip = nn.Linear(width, n), nn.Linear(2 * WAVES, n)

    def forward(
        self, y: Float[Tensor, "b ..."], t: Float[Tensor, "b"], z: Float[Tensor, "b k"], context: Tokens | None = None
    ) -> Float[Tensor, "b ..."]:
        expect(y, self.shape, self)
        flat, time = y.flatten(1), waves(t)
        told = self.told(_known(time, z, self.latent))
        h = self.embed(flat)
        for layer in self.layers:
            h = h + layer(h + told)
        return (self.out(h) + self.skip(time) * flat).reshape(y.shape)


class TokenDenoiser(nn.Module):
    """A denoiser in patches: a transformer over time, pixels or columns, on whose tokens the context acts.

    shape : (columns,), (channels, times), (colours, height, width) or (colours, depth, height, width) of a row.
    conditioners : one before each block: `CrossAttention(dim)`, `FiLM(dim)`, `AdaIN(dim)`.
    dim : width, that of the context's tokens. patch : samples, pixels or columns of a token, along every axis.

    >>> from ivekit.nn import CrossAttention
    >>> net = TokenDenoiser(3, (4, 30), [CrossAttention(16)], dim=16, patch=4)
    >>> net(torch.zeros(5, 4, 30), torch.zeros(5), torch.zeros(5, 3)).shape
    torch.Size([5, 4, 30])
    """

    def __init__(
        self, latent: int, shape: Sequence[int], conditioners: Sequence[nn.Module], dim: int, patch: int = 1,
        heads: int = 4,
    ):  # fmt: skip
        super().__init__()
        self.latent, self.shape, self.axes, self.patch = latent, tuple(shape), _grid(shape, patch), patch
        n_chans = self.shape[0] if len(self.shape) > 1 else 1
        inner = n_chans * patch ** len(self.axes)
        self.embed, self.out = nn.Linear(inner, dim), nn.Linear(dim, inner)
        self.position = nn.Parameter(PLACE * torch.randn(math.prod(self.axes.values()), dim))
        self.told, self.skip = mlp(2 * WAVES + latent, dim, dim), nn.Linear(2 * WAVES, n_chans)
        self.conditioners = nn.ModuleList(conditioners)
        self.blocks = nn.ModuleList(TransformerBlock(dim, heads) for _ in conditioners)

    def forward(
        self, y: Float[Tensor, "b ..."], t: Float[Tensor, "b"], z: Float[Tensor, "b k"], context: Tokens | None = None
    ) -> Float[Tensor, "b ..."]:
        expect(y, self.shape, self)
        time = waves(t)
        h = self.embed(_cut(y, self.axes, self.patch)) + self.position
        h = h + self.told(_known(time, z, self.latent))[:, None]
        h = _transform(h, self.conditioners, self.blocks, context)
        gate = self.skip(time).reshape(y.shape[0], -1, *[1] * (y.ndim - 2))
        return _join(self.out(h), self.shape, self.axes, self.patch) + gate * y


class ImageDenoiser(nn.Module):
    """A denoiser of images, flat or volumes: convolutions down, tokens that the context acts on, convolutions up.

    A small U-Net (Ronneberger et al., 2015): what is halved away is kept beside and put back.

    shape : (channels, height, width) or (channels, depth, height, width). conditioners : as of `TokenDenoiser`, at the
    coarsest level. dim : width there, that of the context's tokens. levels : times the image is halved.

    >>> from ivekit.nn import FiLM
    >>> net = ImageDenoiser(3, (1, 12, 10), [FiLM(16)], dim=16)
    >>> net(torch.zeros(2, 1, 12, 10), torch.zeros(2), torch.zeros(2, 3)).shape
    torch.Size([2, 1, 12, 10])
    """

    def __init__(
        self, latent: int, shape: Sequence[int], conditioners: Sequence[nn.Module], dim: int, levels: int = 2,
        heads: int = 4,
    ):  # fmt: skip
        super().__init__()
        self.latent, self.shape = latent, tuple(shape)
        convolution = {3: nn.Conv2d, 4: nn.Conv3d}.get(len(self.shape))
        if convolution is None:
            raise ValueError(f"an image is (channels, height, width) or (channels, depth, height, width), got {shape}")
        widths = [max(8, dim // 2 ** (levels - i)) for i in range(levels)] + [dim]
        self.enter = convolution(self.shape[0], widths[0], 3, padding=1)
        self.down = nn.ModuleList(convolution(a, b, 3, 2, 1) for a, b in zip(widths, widths[1:]))
        self.up = nn.ModuleList(convolution(a + b, a, 3, padding=1) for a, b in zip(widths, widths[1:]))
        self.leave = convolution(widths[0], self.shape[0], 3, padding=1)
        self.told = mlp(2 * WAVES + latent, dim, dim)
        self.shift = nn.ModuleList(nn.Linear(dim, w) for w in widths)
        self.skip = nn.Linear(2 * WAVES, self.shape[0])
        self.axes = {name: -(-n // 2**levels) for name, n in zip(NAMES[len(self.shape)], self.shape[1:])}
        self.position = nn.Parameter(PLACE * torch.randn(math.prod(self.axes.values()), dim))
        self.conditioners = nn.ModuleList(conditioners)
        self.blocks = nn.ModuleList(TransformerBlock(dim, heads) for _ in conditioners)

    def forward(
        self, y: Float[Tensor, "b ..."], t: Float[Tensor, "b"], z: Float[Tensor, "b k"], context: Tokens | None = None
    ) -> Float[Tensor, "b ..."]:
        expect(y, self.shape, self)
        time, ones = waves(t), [1] * (len(self.shape) - 1)
        told = self.told(_known(time, z, self.latent))
        shifts = [shift(told).reshape(y.shape[0], -1, *ones) for shift in self.shift]
        h, beside = F.gelu(self.enter(y) + shifts[0]), []
        for down, shift in zip(self.down, shifts[1:]):
            beside.append(h)
            h = F.gelu(down(h) + shift)
        sizes = h.shape[2:]
        tokens = rearrange(h, "b d ... -> b (...) d") + self.position
        tokens = _transform(tokens, self.conditioners, self.blocks, context)
        h = rearrange(tokens, "b n d -> b d n").reshape(*h.shape[:2], *sizes)
        for up, fine in zip(reversed(self.up), reversed(beside)):
            h = F.gelu(up(torch.cat([fine, F.interpolate(h, size=fine.shape[2:], mode="nearest")], 1)))
        return self.leave(h) + self.skip(time).reshape(y.shape[0], -1, *ones) * y


def _cut(y: Tensor, axes: dict[str, int], patch: int) -> Float[Tensor, "b n p"]:
    """Rows in patches; where they do not come out even, zeros are added."""
    y = y if y.ndim > 2 else y[:, None]
    room = [pad for n, kept in zip(reversed(y.shape[2:]), reversed(axes.values())) for pad in (0, kept * patch - n)]
    inner = " ".join(f"p{i}" for i in range(len(axes)))
    pattern = f"b c {' '.join(f'({name} p{i})' for i, name in enumerate(axes))} -> b ({' '.join(axes)}) (c {inner})"
    return rearrange(F.pad(y, room), pattern, **{f"p{i}": patch for i in range(len(axes))})


def _known(time: Tensor, z: Tensor, latent: int) -> Tensor:
    """The time, and z where it is asked."""
    return torch.cat([time, z], 1) if latent else time


def _transform(h: Tensor, conditioners: nn.ModuleList, blocks: nn.ModuleList, context: Tokens | None) -> Tensor:
    """Tokens through the blocks, the context acting on them before each, where there is one."""
    for act, block in zip(conditioners, blocks):
        h = block(h if context is None else act(h, context))
    return h
