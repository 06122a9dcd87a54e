"""Sequences read step by step, and one token made of many steps by attention whose weights can be read."""

from __future__ import annotations

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from .blocks import Attention, Tokens, expect


class GRUEncoder(nn.Module):
    """A sequence read in both directions: one token a time step (Cho et al., 2014).

    directions : 1 reads forward only, so that a token knows nothing of what comes after it.

    >>> GRUEncoder(5, 32)(torch.zeros(2, 5, 20)).shape
    torch.Size([2, 20, 32])
    """

    cell: type[nn.GRU] | type[nn.LSTM] = nn.GRU

    def __init__(self, n_chans: int, dim: int, depth: int = 1, directions: int = 2):
        super().__init__()
        if directions not in (1, 2):
            raise ValueError(f"directions is {directions}: a sequence is read in 1 (forward) or 2")
        if dim % directions:
            raise ValueError(f"dim {dim} is odd, and each direction gives half of it")
        self.n_chans = n_chans
        both = directions == 2
        self.steps = self.cell(n_chans, dim // directions, depth, batch_first=True, bidirectional=both)

    def forward(self, x: Float[Tensor, "b c t"]) -> Float[Tensor, "b t d"]:
        expect(x, (self.n_chans, None), self)
        return self.steps(rearrange(x, "b c t -> b t c"))[0]


class LSTMEncoder(GRUEncoder):
    """A sequence read in both directions by cells that keep a memory (Hochreiter & Schmidhuber, 1997).

    >>> LSTMEncoder(5, 32, directions=1)(torch.zeros(2, 5, 20)).shape
    torch.Size([2, 20, 32])
    """

    cell = nn.LSTM


class Summary(nn.Module):
    """One token of many: a learned query looks over them all, and its weights say where (Bahdanau et al., 2015).

    After a recurrent encoder that is attention over time. While ``attend.keep`` is set, ``attend.weights`` are
    ``(b, heads, 1, n)``, a distribution over the tokens for every row and head.

    >>> net = nn.Sequential(GRUEncoder(5, 32), Summary(32))
    >>> net[1].attend.keep = True
    >>> net(torch.zeros(2, 5, 20)).shape, net[1].attend.weights.shape
    (torch.Size([2, 1, 32]), torch.Size([2, 1, 1, 20]))
    """

    def __init__(self, dim: int, heads: int = 1):
        super().__init__()
        self.dim, self.attend = dim, Attention(dim, heads)
        self.query = nn.Parameter(torch.randn(1, dim))

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b 1 d"]:
        expect(tokens, (None, self.dim), self)
        here = torch.ones(len(tokens), dtype=torch.bool, device=tokens.device)
        return self.attend(repeat(self.query, "n d -> b n d", b=len(tokens)), Tokens.of(tokens, here))
