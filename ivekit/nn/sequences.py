"""Series: a transformer that reads them, and decoders that a context conditions.

`TokenDecoder` also makes pictures, volumes and tables: whatever is cut into patches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from .blocks import Tokens, TransformerBlock, expect, mlp
from .conditioning import Queries


def sinusoids(n: int, dim: int, device: torch.device | None = None) -> Float[Tensor, "n d"]:
    """Sines and cosines of geometric periods, which tell places in a sequence of any length (Vaswani et al., 2017).

    >>> sinusoids(3, 4)[0]
    tensor([0., 1., 0., 1.])
    """
    rate = 1e4 ** (-torch.arange(0, dim, 2, device=device) / dim)
    angle = torch.arange(n, device=device)[:, None] * rate
    return rearrange(torch.stack([angle.sin(), angle.cos()]), "two n d -> n (d two)")[:, :dim]


class SeriesTransformer(nn.Module):
    """A series of any length: a token a patch of samples, then attention over time; fMRI parcels are channels, too.

    patch : samples a token. depth : transformer blocks; with none, a small network at each token alone, so that a
        token stays what happened at its time.

    >>> SeriesTransformer(3, 32, patch=4)(torch.zeros(2, 3, 30)).shape
    torch.Size([2, 8, 32])
    """

    def __init__(self, n_chans: int, dim: int, patch: int = 4, depth: int = 2, heads: int = 4):
        super().__init__()
        self.n_chans, self.dim, self.axes = n_chans, dim, {"time": -1}
        self.embed = nn.Conv1d(n_chans, dim, patch, patch)
        self.blocks = nn.Sequential(*(TransformerBlock(dim, heads) for _ in range(depth)))
        self.net = nn.Sequential(nn.LayerNorm(dim), *mlp(dim, 2 * dim, dim))

    def forward(self, x: Float[Tensor, "b c t"]) -> Float[Tensor, "b n d"]:
        expect(x, (self.n_chans, None), self)
        x = F.pad(x, (0, -x.shape[-1] % self.embed.stride[0]))
        h = rearrange(self.embed(x), "b d n -> b n d")
        h = self.blocks(h + sinusoids(h.shape[1], self.dim, h.device).to(h))
        return h + self.net(h)


class ColumnEncoder(nn.Module):
    """A table's row, one token a column: attention can then choose among columns, which it cannot in one token.

    >>> ColumnEncoder(6, 16)(torch.zeros(2, 6)).shape
    torch.Size([2, 6, 16])
    """

    def __init__(self, n_features: int, dim: int):
        super().__init__()
        self.n_features, self.axes = n_features, {"column": n_features}
        self.slope, self.column = (nn.Parameter(torch.randn(n_features, dim) / 2) for _ in range(2))
        self.net = nn.Sequential(nn.LayerNorm(dim), *mlp(dim, 2 * dim, dim))

    def forward(self, x: Float[Tensor, "b f"]) -> Float[Tensor, "b f d"]:
        expect(x, (self.n_features,), self)
        h = x[..., None] * self.slope + self.column
        return h + self.net(h)


NAMES = {1: ("column",), 2: ("time",), 3: ("height", "width"), 4: ("depth", "height", "width")}


class TokenDecoder(nn.Module):
    """A series, picture, volume or table in patches: a learned question a patch, which the context answers.

    shape : (columns,), (channels, times), (colours, height, width) or (colours, depth, height, width) of a row.
    conditioners : how the context acts on the questions, one after another, a transformer block after each;
        `dim` is their width. patch : samples, pixels or columns of a patch, a number for every axis.
    latent : size of z, or 0 where all comes from the context.

    >>> TokenDecoder(3, (2, 30), [], 16, patch=4)(torch.zeros(5, 3)).shape
    torch.Size([5, 2, 30])
    >>> TokenDecoder(3, (1, 16, 16), [], 16, patch=4)(torch.zeros(5, 3)).shape
    torch.Size([5, 1, 16, 16])
    """

    def __init__(
        self, latent: int, shape: Sequence[int], conditioners: Sequence[nn.Module], dim: int, patch: int = 4,
        heads: int = 4,
    ):  # fmt: skip
        super().__init__()
        self.shape, self.axes, self.patch = tuple(shape), _grid(shape, patch), patch
        self.queries = Queries(math.prod(self.axes.values()), dim, conditioners, latent, heads)
        n_chans = shape[0] if len(shape) > 1 else 1
        self.out = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, n_chans * patch ** len(self.axes)))

    def forward(self, z: Float[Tensor, "b k"], context: Tokens | None = None) -> Float[Tensor, "b ..."]:
        return _join(self.out(self.queries(z, context)), self.shape, self.axes, self.patch)


class LSTMDecoder(nn.Module):
    """A series read out in order by an LSTM, whose input at each step is a question that the context answered.

    Source: Hochreiter & Schmidhuber (1997). Arguments as for `TokenDecoder`.

    >>> LSTMDecoder(3, (2, 30), [], 16)(torch.zeros(5, 3)).shape
    torch.Size([5, 2, 30])
    """

    def __init__(
        self, latent: int, shape: tuple[int, int], conditioners: Sequence[nn.Module], dim: int, patch: int = 4,
        heads: int = 4,
    ):  # fmt: skip
        super().__init__()
        if len(shape) != 2:
            raise ValueError(f"an LSTM writes series, rows of shape (channels, times), got {tuple(shape)}")
        self.shape, self.axes, self.patch = tuple(shape), _grid(shape, patch), patch
        self.queries = Queries(self.axes["time"], dim, conditioners, latent, heads)
        self.lstm = nn.LSTM(dim, dim, batch_first=True)
        self.out = nn.Linear(dim, shape[0] * patch)

    def forward(self, z: Float[Tensor, "b k"], context: Tokens | None = None) -> Float[Tensor, "b c t"]:
        h = self.lstm(self.queries(z, context))[0]
        return _join(self.out(h), self.shape, self.axes, self.patch)


def _grid(shape: Sequence[int], patch: int) -> dict[str, int]:
    """How many patches there are along each axis of a row."""
    if len(shape) not in NAMES:
        raise ValueError(f"a row of shape {tuple(shape)} is no table, series, picture or volume: it has 1 to 4 axes")
    sizes = shape[1:] if len(shape) > 1 else shape
    return {name: -(-n // patch) for name, n in zip(NAMES[len(shape)], sizes)}


def _join(tokens: Tensor, shape: Sequence[int], axes: dict[str, int], patch: int) -> Float[Tensor, "b ..."]:
    """Patches side by side, cut to a row's shape."""
    inner = " ".join(f"p{i}" for i in range(len(axes)))
    pattern = f"b ({' '.join(axes)}) (c {inner}) -> b c {' '.join(f'({name} p{i})' for i, name in enumerate(axes))}"
    sizes = {**axes, **{f"p{i}": patch for i in range(len(axes))}}
    x = rearrange(tokens, pattern, **sizes)
    if len(shape) == 1:
        return rearrange(x, "b 1 f -> b f")[:, : shape[0]]
    return x[(..., *(slice(n) for n in shape[1:]))]
