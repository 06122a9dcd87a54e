"""Pieces that encoders and decoders share: tokens, attention whose weights can be read, residual blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Bool, Float
from torch import Tensor, nn


@dataclass(frozen=True)
class Tokens:
    """What flows from encoders to posteriors and decoders: vectors, and which of them are there.

    >>> Tokens.of(torch.ones(2, 3, 4), torch.tensor([True, False])).present
    tensor([ True, False])
    """

    x: Float[Tensor, "b n d"]
    mask: Bool[Tensor, "b n"]

    @classmethod
    def of(cls, x: Float[Tensor, "b n d"], present: Bool[Tensor, "b"]) -> Tokens:
        """The tokens of rows that are present, or not, as a whole."""
        return cls(x, repeat(present, "b -> b n", n=x.shape[1]))

    @classmethod
    def cat(cls, parts: Sequence[Tokens]) -> Tokens:
        """The tokens of several views one after another."""
        return cls(torch.cat([p.x for p in parts], 1), torch.cat([p.mask for p in parts], 1))

    def stacked(self, seen: Bool[Tensor, "s"]) -> Tokens:
        """The batch once for every entry of `seen`, there only where that is True."""
        x = repeat(self.x, "b n d -> (s b) n d", s=len(seen))
        return Tokens(x, rearrange(seen[:, None, None] & self.mask, "s b n -> (s b) n"))

    @property
    def present(self) -> Bool[Tensor, "b"]:
        return self.mask.any(1)

    def mean(self) -> Float[Tensor, "b d"]:
        """The mean of the tokens that are there, 0 where none is."""
        if self.x.shape[1] == 1:
            return torch.where(self.mask, self.x[:, 0], 0)
        total = torch.where(self.mask[..., None], self.x, 0).sum(1)
        return total / self.mask.sum(1, keepdim=True).clamp(min=1)


def expect(x: Tensor, shape: Sequence[int | None], who: object) -> None:
    """An error unless the rows of `x` have this shape; None admits any length.

    >>> expect(torch.zeros(5, 3, 9), (4, None), "SensorConv")
    Traceback (most recent call last):
    ValueError: SensorConv takes rows of shape (4, any), got (3, 9)
    """
    given = tuple(x.shape[1:])
    if len(given) != len(shape) or any(want not in (None, got) for want, got in zip(shape, given)):
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        name = who if isinstance(who, str) else type(who).__name__
        raise ValueError(f"{name} takes rows of shape ({wanted}), got {given}")


def full(x: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """Numbers in single precision at least: half is not enough for a variance, double stays double.

    >>> full(torch.zeros(1, dtype=torch.bfloat16)).dtype, full(torch.zeros(1, dtype=torch.float64)).dtype
    (torch.float32, torch.float64)
    """
    return x.to(torch.promote_types(x.dtype, torch.float32))


def mlp(inner: int, *widths: int) -> nn.Sequential:
    """Linear layers with GELU between them.

    >>> mlp(2, 8, 3)(torch.zeros(5, 2)).shape
    torch.Size([5, 3])
    """
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(zip((inner, *widths), widths)):
        layers += [nn.GELU()] * (i > 0) + [nn.Linear(a, b)]
    return nn.Sequential(*layers)


def cosines(n_times: int, n: int) -> Float[Tensor, "n t"]:
    """The first `n` orthonormal cosines (DCT-II) over `n_times` samples: a basis of smooth time courses.

    >>> torch.allclose(cosines(9, 4) @ cosines(9, 4).mT, torch.eye(4), atol=1e-6)
    True
    """
    k, t = torch.arange(n)[:, None], torch.arange(n_times)
    basis = torch.cos(torch.pi * k * (t + 0.5) / n_times) * (2 / n_times) ** 0.5
    return torch.cat([basis[:1] / 2**0.5, basis[1:]]) if n else basis


class Attention(nn.Module):
    """Multi-head attention from `x` to a context, or within `x` (Vaswani et al., 2017).

    causal : within `x`, nobody looks at what comes later. mask : of `x` itself, where some of it is not there.
    While `keep` is set, the weights of the last call are in `weights`, ``(b, heads, queries, keys)``.
    A row whose context is absent altogether takes nothing from it.
    """

    def __init__(self, dim: int, heads: int = 4, causal: bool = False):
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim {dim} is not a multiple of heads {heads}")
        self.heads, self.causal, self.keep, self.weights = heads, causal, False, None
        self.norm, self.to_q, self.to_kv = nn.LayerNorm(dim), nn.Linear(dim, dim), nn.Linear(dim, 2 * dim)
        self.to_out = nn.Linear(dim, dim)

    def forward(
        self, x: Float[Tensor, "b n d"], context: Tokens | None = None, mask: Bool[Tensor, "b n"] | None = None
    ) -> Float[Tensor, "b n d"]:
        x = self.norm(x)
        source = x if context is None else torch.where(context.mask[..., None], context.x, 0)
        mask = mask if context is None else context.mask
        q = rearrange(self.to_q(x), "b n (h d) -> b h n d", h=self.heads)
        k, v = rearrange(self.to_kv(source), "b n (two h d) -> two b h n d", two=2, h=self.heads)
        if mask is None and not self.keep:
            out = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        else:
            out = self._weigh(q, k, mask, self.causal and context is None) @ v
        return self.to_out(rearrange(out, "b h n d -> b n (h d)"))

    def _weigh(self, q: Tensor, k: Tensor, mask: Tensor | None, causal: bool) -> Float[Tensor, "b h n m"]:
        scores = q @ k.mT / q.shape[-1] ** 0.5
        here = torch.ones(1, 1, *scores.shape[-2:], dtype=torch.bool, device=q.device)
        here = here.tril() if causal else here
        here = here if mask is None else here & rearrange(mask, "b n -> b 1 1 n")
        weights = torch.where(here, torch.where(here, scores, torch.finfo(scores.dtype).min).softmax(-1), 0)
        self.weights = weights.detach() if self.keep else None
        return weights


class TransformerBlock(nn.Module):
    """Attention within `x`, then a two-layer network at each token, each added to what came in.

    causal, mask : as of `Attention`.
    """

    def __init__(self, dim: int, heads: int = 4, causal: bool = False):
        super().__init__()
        self.attend = Attention(dim, heads, causal)
        self.net = nn.Sequential(nn.LayerNorm(dim), *mlp(dim, 2 * dim, dim))

    def forward(self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"] | None = None) -> Float[Tensor, "b n d"]:
        x = x + self.attend(x, mask=mask)
        return x + self.net(x)


class ResBlock1d(nn.Module):
    """Two convolutions over time with a way around them (He et al., 2016)."""

    def __init__(self, inner: int, outer: int, stride: int = 1):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv1d(inner, outer, 3, stride, 1),
            nn.GroupNorm(_groups(outer), outer),
            nn.GELU(),
            nn.Conv1d(outer, outer, 3, 1, 1),
        )
        self.skip = nn.Conv1d(inner, outer, 1, stride) if (inner, stride) != (outer, 1) else nn.Identity()

    def forward(self, x: Float[Tensor, "b c t"]) -> Float[Tensor, "b c2 t2"]:
        return F.gelu(self.net(x) + self.skip(x))


def _groups(width: int) -> int:
    """Four groups where the width allows it."""
    return next(n for n in (4, 2, 1) if width % n == 0)
