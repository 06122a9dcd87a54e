"""Ways for context to act on tokens: ``(x, context) -> x``; and learned questions that a context answers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from .blocks import Attention, Tokens, TransformerBlock


class CrossAttention(nn.Module):
    """Each token looks at the context and adds what it finds."""

    def __init__(self, dim: int, heads: int = 4):
        super().__init__()
        self.attend = Attention(dim, heads)

    def forward(self, x: Float[Tensor, "b n d"], context: Tokens) -> Float[Tensor, "b n d"]:
        here = context.present[:, None, None]
        return x + torch.where(here, self.attend(x, context), 0)


class FiLM(nn.Module):
    """Features scaled and shifted by the mean of the context (Perez et al., 2018)."""

    def __init__(self, dim: int):
        super().__init__()
        self.to_scale_shift = nn.Linear(dim, 2 * dim)

    def forward(self, x: Float[Tensor, "b n d"], context: Tokens) -> Float[Tensor, "b n d"]:
        said = torch.where(context.present[:, None], self.to_scale_shift(context.mean()), 0)
        scale, shift = rearrange(said, "b (two d) -> two b 1 d", two=2)
        return (1 + scale) * x + shift


class AdaIN(nn.Module):
    """Features normalised over the tokens, then scaled and shifted by the context (Huang & Belongie, 2017).

    causal : over the tokens so far, for a text that is being written: what comes later must not be seen.
    """

    def __init__(self, dim: int, causal: bool = False):
        super().__init__()
        self.film, self.causal = FiLM(dim), causal

    def forward(self, x: Float[Tensor, "b n d"], context: Tokens) -> Float[Tensor, "b n d"]:
        centred = x - self._mean(x)
        variance = self._mean(x.square()) - self._mean(x).square() if self.causal else self._mean(centred.square())
        return self.film(centred / (variance.clamp(min=0) + 1e-5).sqrt(), context)

    def _mean(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b m d"]:
        if not self.causal:
            return x.mean(1, keepdim=True)
        return x.cumsum(1) / torch.arange(1, x.shape[1] + 1, device=x.device)[:, None]


class Queries(nn.Module):
    """Learned questions that a context answers, `n` tokens: each conditioner acts on them, and then they on another.

    conditioners : one after another, a transformer block after each. latent : size of z, or 0 where z is not asked
        and all that is told comes through the conditioners.

    >>> context = Tokens.of(torch.ones(2, 5, 8), torch.tensor([True, False]))
    >>> Queries(7, 8, [CrossAttention(8)])(torch.zeros(2, 1), context).shape
    torch.Size([2, 7, 8])
    """

    def __init__(self, n: int, dim: int, conditioners: Sequence[nn.Module], latent: int = 0, heads: int = 4):
        super().__init__()
        self.questions = nn.Parameter(torch.randn(n, dim) / 2)
        self.from_z = nn.Linear(latent, dim) if latent else None
        self.conditioners = nn.ModuleList(conditioners)
        self.blocks = nn.ModuleList(TransformerBlock(dim, heads) for _ in conditioners)

    def forward(self, z: Float[Tensor, "b k"], context: Tokens | None = None) -> Float[Tensor, "b n d"]:
        x = repeat(self.questions, "n d -> b n d", b=z.shape[0])
        x = x if self.from_z is None else x + self.from_z(z)[:, None]
        for condition, block in zip(self.conditioners, self.blocks):
            x = block(x if context is None else condition(x, context))
        return x
