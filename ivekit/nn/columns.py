"""Decoders of tables: a likelihood for every kind of column."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from .. import distributions
from .blocks import Tokens
from .decoders import Gaussian


class LogNormal(Gaussian):
    """Numbers above a shift whose logarithm is normal around the network's output, such as reaction times.

    shift : the least a number can be, in the data's own units; for reaction times in s, about 0.2.

    >>> import torch
    >>> from ivekit.nn import MLPDecoder
    >>> LogNormal(MLPDecoder(3, 1), 0.5)(torch.zeros(4, 3))
    LogNormal(rows=4, event=(1,))
    """

    def __init__(self, net: nn.Module, scale: float | nn.Parameter | nn.Module = 1.0, shift: float = 0.0):
        super().__init__(net, scale)
        self.shift = shift

    def forward(self, z: Float[Tensor, "b k"], context: Tokens | None = None) -> distributions.LogNormal:
        return distributions.LogNormal(super().forward(z, context), self.shift)

    def extra_repr(self) -> str:
        return ", ".join(filter(None, (super().extra_repr(), f"shift={self.shift}")))


class Columns(nn.Module):
    """A table whose columns are of different kinds: a decoder for each in turn, of one column or of several.

    >>> import torch
    >>> from ivekit.nn import Bernoulli, MLPDecoder
    >>> table = Columns(rt=LogNormal(MLPDecoder(3, 1)), choice=Bernoulli(MLPDecoder(3, 1)))
    >>> table(torch.zeros(4, 3)).mean.shape
    torch.Size([4, 2])
    """

    def __init__(self, **decoders: nn.Module):
        super().__init__()
        if not decoders:
            raise ValueError("a table needs at least one decoder, such as rt=LogNormal(MLPDecoder(8, 1))")
        self.decoders = nn.ModuleDict(decoders)

    def forward(self, z: Float[Tensor, "b k"], context: Tokens | None = None) -> distributions.Columns:
        return distributions.Columns([decoder(z, context) for decoder in self.decoders.values()])
