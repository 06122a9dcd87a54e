"""Ways for context to act on tokens: ``(x, context) -> x``."""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from .blocks import Attention, Tokens


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
    """Features normalised over the tokens, then scaled and shifted by the context (Huang & Belongie, 2017)."""

    def __init__(self, dim: int):
        super().__init__()
        self.film = FiLM(dim)

    def forward(self, x: Float[Tensor, "b n d"], context: Tokens) -> Float[Tensor, "b n d"]:
        centred = x - x.mean(1, keepdim=True)
        return self.film(centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt(), context)
