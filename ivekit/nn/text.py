"""Text, as bytes with a mask: two encoders, and a language model that is a decoder like the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from .. import distributions
from .blocks import Tokens, TransformerBlock
from .sequences import sinusoids

N_BYTES, START = 256, 256  # a text begins with a symbol that no byte is


class TextEncoder(nn.Module):
    """A text, one token a byte: a small transformer over those that are there.

    >>> text, mask = torch.tensor([[104, 105, 0]]), torch.tensor([[True, True, False]])
    >>> TextEncoder(16)(text, mask).mask
    tensor([[ True,  True, False]])
    """

    def __init__(self, dim: int, depth: int = 1, heads: int = 4):
        super().__init__()
        self.dim, self.axes, self.embed = dim, {"byte": -1}, nn.Embedding(N_BYTES, dim)
        # each byte with those beside it: letters mean little, their order much
        self.near = nn.Conv1d(dim, dim, 5, padding=2)
        self.blocks = nn.ModuleList(TransformerBlock(dim, heads) for _ in range(depth))

    def forward(self, x: Int[Tensor, "b n"], mask: Bool[Tensor, "b n"]) -> Tokens:
        h = _embedded(self.embed, x, mask) + sinusoids(x.shape[1], self.dim, x.device).to(self.embed.weight)
        h = torch.where(mask[..., None], h, 0)
        h = h + F.gelu(rearrange(self.near(rearrange(h, "b n d -> b d n")), "b d n -> b n d"))
        for block in self.blocks:
            h = block(h, mask)
        return Tokens(h, mask)


class TextGRU(nn.Module):
    """A text read in both directions, one token a byte (Cho et al., 2014).

    >>> text, mask = torch.tensor([[104, 105, 0]]), torch.tensor([[True, True, False]])
    >>> TextGRU(16)(text, mask).x.shape
    torch.Size([1, 3, 16])
    """

    def __init__(self, dim: int):
        super().__init__()
        if dim % 2:
            raise ValueError(f"dim {dim} is odd, and each direction gives half of it")
        self.axes, self.embed = {"byte": -1}, nn.Embedding(N_BYTES, dim)
        self.gru = nn.GRU(dim, dim // 2, batch_first=True, bidirectional=True)

    def forward(self, x: Int[Tensor, "b n"], mask: Bool[Tensor, "b n"]) -> Tokens:
        return Tokens(self.gru(_embedded(self.embed, x, mask))[0], mask)


def _embedded(embed: nn.Embedding, x: Tensor, mask: Tensor) -> Float[Tensor, "b n d"]:
    return torch.where(mask[..., None], embed(torch.where(mask, x, 0)), 0)


class LanguageModel(nn.Module):
    """The logits of each byte of a text from those before it and from the context.

    n : the longest text, its end among its bytes. conditioners : how the context acts on the bytes written so far, one
        after another, a causal transformer block after each; an `AdaIN` must be causal too. latent : size of z, or 0.

    >>> net = LanguageModel(3, 9, [], 16)
    >>> net(torch.zeros(2, 9, dtype=torch.int64), torch.zeros(2, 3)).shape
    torch.Size([2, 9, 256])
    """

    def __init__(self, latent: int, n: int, conditioners: Sequence[nn.Module], dim: int, heads: int = 4):
        super().__init__()
        self.n, self.dim, self.axes = n, dim, {"byte": n}
        self.embed, self.from_z = nn.Embedding(N_BYTES + 1, dim), nn.Linear(latent, dim) if latent else None
        self.conditioners = nn.ModuleList(conditioners)
        self.blocks = nn.ModuleList(TransformerBlock(dim, heads, causal=True) for _ in range(max(1, len(conditioners))))
        self.out = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, N_BYTES))

    def forward(
        self, x: Int[Tensor, "b n"], z: Float[Tensor, "b k"], context: Tokens | None = None
    ) -> Float[Tensor, "b n classes"]:
        h = self.embed(F.pad(x[:, :-1], (1, 0), value=START))  # what is known before each byte
        h = h + sinusoids(x.shape[1], self.dim, h.device).to(h)
        h = h if self.from_z is None else h + self.from_z(z)[:, None]
        for i, block in enumerate(self.blocks):
            told = context is not None and i < len(self.conditioners)
            h = block(self.conditioners[i](h, context) if told else h)
        return self.out(h)


class Autoregressive(nn.Module):
    """A text, byte after byte: the density is by teacher forcing, samples are written one byte at a time.

    net : ``(x (b, n), z, context) -> logits (b, n, classes)``, of which no logit may depend on bytes from its own on;
        its attribute `n` is the longest text.

    >>> p = Autoregressive(LanguageModel(3, 9, [], 16))(torch.zeros(2, 3))
    >>> p
    Autoregressive(rows=2, event=(9,))
    >>> p.log_prob(torch.zeros(2, 9, dtype=torch.int64)).shape
    torch.Size([2])
    """

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net: Any = net

    def forward(self, z: Float[Tensor, "b k"], context: Tokens | None = None) -> distributions.Autoregressive:
        return distributions.Autoregressive(lambda x: self.net(x, z, context), (len(z), self.net.n), z.device)
