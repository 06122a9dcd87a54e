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

WAVES = 4  # octaves by which a network knows the time


def waves(t: Float[Tensor, "b"]) -> Float[Tensor, "b 8"]:
    """Time as sines and cosines of four octaves, so that a network can be sharp about it.

    >>> waves(torch.tensor([0.0]))
    tensor([[0., 0., 0., 0., 1., 1., 1., 1.]])
    """
    angle = 0.5 * math.pi * t[:, None] * 2 ** torch.arange(WAVES, device=t.device)
    return torch.cat([angle.sin(), angle.cos()], 1)


class MLPDenoiser(nn.Module):
    """A denoiser of a small row, such as a table's: residual layers that see time and z; it does not use the context.

    >>> MLPDenoiser(3, (2, 5))(torch.zeros(4, 2, 5), torch.zeros(4), torch.zeros(4, 3)).shape
    torch.Size([4, 2, 5])
    """

    def __init__(self, latent: int, shape: int | Sequence[int], width: int = 128, depth: int = 3):
        super().__init__()
        self.shape = (shape,) if isinstance(shape, int) else tuple(shape)
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
        told = self.told(torch.cat([time, z], 1))
        h = self.embed(flat)
        for layer in self.layers:
            h = h + layer(h + told)
        return (self.out(h) + self.skip(time) * flat).reshape(y.shape)


class TokenDenoiser(nn.Module):
    """A denoiser of series: a transformer over time whose tokens the context acts on.

    condition : the conditioners, one before each block: `CrossAttention(dim)`, `FiLM(dim)`, `AdaIN(dim)`.
    dim : width, that of the context's tokens. patch : samples of a token; it must divide the series' length.

    >>> from ivekit.nn import CrossAttention
    >>> net = TokenDenoiser(3, (4, 24), [CrossAttention(16)], dim=16, patch=2)
    >>> net(torch.zeros(5, 4, 24), torch.zeros(5), torch.zeros(5, 3)).shape
    torch.Size([5, 4, 24])
    """

    def __init__(
        self,
        latent: int,
        shape: Sequence[int],
        condition: Sequence[nn.Module],
        dim: int,
        patch: int = 1,
        heads: int = 4,
    ):
        super().__init__()
        self.shape, self.patch = tuple(shape), patch
        n_chans, n_times = self.shape
        if n_times % patch:
            raise ValueError(f"patch {patch} does not divide {n_times} samples")
        self.embed, self.out = nn.Linear(n_chans * patch, dim), nn.Linear(dim, n_chans * patch)
        self.position = nn.Parameter(0.02 * torch.randn(n_times // patch, dim))
        self.told, self.skip = mlp(2 * WAVES + latent, dim, dim), nn.Linear(2 * WAVES, n_chans)
        self.condition = nn.ModuleList(condition)
        self.blocks = nn.ModuleList(TransformerBlock(dim, heads) for _ in condition)

    def forward(
        self, y: Float[Tensor, "b c t"], t: Float[Tensor, "b"], z: Float[Tensor, "b k"], context: Tokens | None = None
    ) -> Float[Tensor, "b c t"]:
        expect(y, self.shape, self)
        time = waves(t)
        h = self.embed(rearrange(y, "b c (n p) -> b n (c p)", p=self.patch)) + self.position
        h = h + self.told(torch.cat([time, z], 1))[:, None]
        h = _transform(h, self.condition, self.blocks, context)
        said = rearrange(self.out(h), "b n (c p) -> b c (n p)", p=self.patch)
        return said + self.skip(time)[..., None] * y


class ImageDenoiser(nn.Module):
    """A denoiser of images, flat or volumes: convolutions down, tokens that the context acts on, convolutions up.

    A small U-Net (Ronneberger et al., 2015): what is halved away is kept beside and put back.

    shape : (channels, height, width) or (channels, depth, height, width). condition : as of `TokenDenoiser`, at the
    coarsest level. dim : width there, that of the context's tokens. levels : times the image is halved.

    >>> from ivekit.nn import FiLM
    >>> net = ImageDenoiser(3, (1, 12, 10), [FiLM(16)], dim=16)
    >>> net(torch.zeros(2, 1, 12, 10), torch.zeros(2), torch.zeros(2, 3)).shape
    torch.Size([2, 1, 12, 10])
    """

    def __init__(
        self,
        latent: int,
        shape: Sequence[int],
        condition: Sequence[nn.Module],
        dim: int,
        levels: int = 2,
        heads: int = 4,
    ):
        super().__init__()
        self.shape = tuple(shape)
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
        n_tokens = math.prod(-(-n // 2**levels) for n in self.shape[1:])
        self.position = nn.Parameter(0.02 * torch.randn(n_tokens, dim))
        self.condition = nn.ModuleList(condition)
        self.blocks = nn.ModuleList(TransformerBlock(dim, heads) for _ in condition)

    def forward(
        self, y: Float[Tensor, "b ..."], t: Float[Tensor, "b"], z: Float[Tensor, "b k"], context: Tokens | None = None
    ) -> Float[Tensor, "b ..."]:
        expect(y, self.shape, self)
        time, ones = waves(t), [1] * (len(self.shape) - 1)
        told = self.told(torch.cat([time, z], 1))
        shifts = [shift(told).reshape(len(y), -1, *ones) for shift in self.shift]
        h, beside = F.gelu(self.enter(y) + shifts[0]), []
        for down, shift in zip(self.down, shifts[1:]):
            beside.append(h)
            h = F.gelu(down(h) + shift)
        sizes = h.shape[2:]
        tokens = rearrange(h, "b d ... -> b (...) d") + self.position
        tokens = _transform(tokens, self.condition, self.blocks, context)
        h = rearrange(tokens, "b n d -> b d n").reshape(*h.shape[:2], *sizes)
        for up, fine in zip(reversed(self.up), reversed(beside)):
            h = F.gelu(up(torch.cat([fine, F.interpolate(h, size=fine.shape[2:], mode="nearest")], 1)))
        return self.leave(h) + self.skip(time).reshape(len(y), -1, *ones) * y


def _transform(h: Tensor, condition: nn.ModuleList, blocks: nn.ModuleList, context: Tokens | None) -> Tensor:
    """Tokens through the blocks, the context acting on them before each, where there is one."""
    for act, block in zip(condition, blocks):
        h = block(h if context is None else act(h, context))
    return h
