"""Several networks side by side that vote: what one of them sees in noise, the others do not."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..distributions import Votes
from .blocks import Tokens


class SideBySide(nn.Module):
    """The tokens of several encoders of one view, one after another.

    >>> from ivekit.nn import MLPEncoder
    >>> SideBySide([MLPEncoder(6, 16), MLPEncoder(6, 16)])(torch.zeros(2, 6)).shape
    torch.Size([2, 2, 16])
    """

    def __init__(self, encoders: Sequence[nn.Module]):
        super().__init__()
        self.encoders = nn.ModuleList(encoders)

    def forward(self, x: Float[Tensor, "b ..."]) -> Float[Tensor, "b n d"]:
        return torch.cat([encoder(x) for encoder in self.encoders], 1)


class Committee(nn.Module):
    """Classes told by members, each from one token of the context (Lakshminarayanan et al., 2017).

    With `SideBySide` encoders of one token each, the members share nothing but the rows they learn from.

    heads : one a token, ``(b, d) -> logits (b, classes)``.

    >>> votes = Committee([nn.Linear(8, 4), nn.Linear(8, 4)])
    >>> votes(torch.zeros(3, 8), Tokens.of(torch.zeros(3, 2, 8), torch.ones(3) > 0)).mean.shape
    torch.Size([3, 4])
    """

    def __init__(self, heads: Sequence[nn.Module]):
        super().__init__()
        self.heads = nn.ModuleList(heads)

    def forward(self, z: Float[Tensor, "b k"], context: Tokens | None = None) -> Votes:
        if context is None or context.x.shape[1] != len(self.heads):
            given = "none" if context is None else context.x.shape[1]
            raise ValueError(f"a committee of {len(self.heads)} needs as many tokens of context, got {given}")
        here = torch.where(context.mask[..., None], context.x, 0)
        return Votes(torch.stack([head(token) for head, token in zip(self.heads, here.unbind(1))], 1))
