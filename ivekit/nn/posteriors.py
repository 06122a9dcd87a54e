"""Posteriors: each turns the tokens of all views into one belief about a latent vector.

Experts fuse beliefs; `Fused` fuses features and then believes. A missing view is one whose tokens are masked:
it contributes nothing, to values or gradients, and with every view missing the belief is the prior.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ..distributions import Delta, Mixture, Normal, product
from .blocks import Tokens, mlp


class Experts(nn.Module):
    """One normal belief a view, from the mean of its tokens.

    Log variances are kept within +-10 by a tanh, which (unlike a clamp) always passes a gradient on, and start at
    -2, so that at first the latents carry something.
    """

    def __init__(self, names: Sequence[str], dim: int, latent: int):
        super().__init__()
        self.latent = latent
        self.heads = nn.ModuleDict({name: nn.Linear(dim, 2 * latent) for name in names})
        for head in self.heads.values():
            nn.init.constant_(head.bias[latent:], -2.0)  # type: ignore[index, arg-type]

    def beliefs(
        self, tokens: dict[str, Tokens]
    ) -> tuple[Float[Tensor, "m b k"], Float[Tensor, "m b k"], Bool[Tensor, "m b"]]:
        """The experts' means and log variances, and which of them have anything to say."""
        said = torch.stack([head(tokens[name].mean()) for name, head in self.heads.items()]).float()
        mean, raw = said.chunk(2, -1)
        return mean, 10 * torch.tanh(raw / 10), torch.stack([tokens[name].present for name in self.heads])

    def extra_repr(self) -> str:
        return f"latent={self.latent}"


class ProductOfExperts(Experts):
    """Beliefs multiplied, the prior among them (Wu & Goodman, 2018): views that agree make each other surer.

    >>> q = ProductOfExperts(["a"], 4, 2)({"a": Tokens.of(torch.ones(3, 1, 4), torch.zeros(3, dtype=torch.bool))})
    >>> q.mean.abs().max(), q.stddev.mean()
    (tensor(0., grad_fn=<MaxBackward1>), tensor(1., grad_fn=<MeanBackward0>))
    """

    def forward(self, tokens: dict[str, Tokens]) -> Normal:
        mean, log_variance = product(*self.beliefs(tokens))
        return Normal(mean, (0.5 * log_variance).exp())


class MixtureOfExperts(Experts):
    """Beliefs averaged (Shi et al., 2019): each view must do by itself. With none, the prior."""

    def forward(self, tokens: dict[str, Tokens]) -> Mixture:
        mean, log_variance, present = self.beliefs(tokens)
        return _mixture(mean, log_variance, present)


class MixtureOfProducts(Experts):
    """The products over all subsets of the views that are there, averaged (MoPoE; Sutter et al., 2021)."""

    def forward(self, tokens: dict[str, Tokens]) -> Mixture:
        mean, log_variance, present = self.beliefs(tokens)
        m = len(self.heads)
        subsets = [list(s) for r in range(1, m + 1) for s in combinations(range(m), r)]
        fused = [product(mean[s], log_variance[s], present[s]) for s in subsets]
        means, log_variances = (torch.stack(part) for part in zip(*fused))
        return _mixture(means, log_variances, torch.stack([present[s].all(0) for s in subsets]))


def _mixture(mean: Tensor, log_variance: Tensor, present: Bool[Tensor, "m b"]) -> Mixture:
    """An even mixture of those present, with the prior as one more component for rows that have none."""
    nobody = ~present.any(0, keepdim=True)
    here = torch.cat([present, nobody])
    blank = torch.zeros_like(mean[:1])
    means = torch.where(here[..., None], torch.cat([mean, blank]), 0)
    scales = torch.where(here[..., None], torch.cat([0.5 * log_variance, blank]), 0).exp()
    return Mixture(means, scales, here / here.sum(0))


class Fused(nn.Module):
    """One vector is made of all views by `fusion`; a linear head makes it a normal belief, or a point.

    fusion : ``(b, m, d), present (b, m) -> (b, d)``: `Concat`, `Gated`, `AttentionPool`.
    """

    def __init__(self, names: Sequence[str], fusion: nn.Module, dim: int, latent: int, point: bool = False):
        super().__init__()
        self.names, self.fusion, self.point, self.latent = tuple(names), fusion, point, latent
        self.head = nn.Linear(dim, latent if point else 2 * latent)

    def forward(self, tokens: dict[str, Tokens]) -> Normal | Delta:
        features = torch.stack([tokens[name].mean() for name in self.names], 1)
        present = torch.stack([tokens[name].present for name in self.names], 1)
        out, here = self.head(self.fusion(features, present)).float(), present.any(1, keepdim=True)
        if self.point:
            return Delta(torch.where(here, out, 0))
        mean, raw = out.chunk(2, -1)
        return Normal(torch.where(here, mean, 0), torch.where(here, 5 * torch.tanh(raw / 10), 0).exp())


class Concat(nn.Module):
    """The views side by side, through one linear layer."""

    def __init__(self, n_views: int, dim: int):
        super().__init__()
        self.net = nn.Linear(n_views * dim, dim)

    def forward(self, x: Float[Tensor, "b m d"], present: Bool[Tensor, "b m"]) -> Float[Tensor, "b d"]:
        return self.net(rearrange(torch.where(present[..., None], x, 0), "b m d -> b (m d)"))


class Gated(nn.Module):
    """A sigmoid gate a view, computed from all of them; those of the last call are in `weights`, ``(b, m)``."""

    def __init__(self, n_views: int, dim: int):
        super().__init__()
        self.gate, self.weights = mlp(n_views * dim, max(4, dim // 4), n_views), None

    def forward(self, x: Float[Tensor, "b m d"], present: Bool[Tensor, "b m"]) -> Float[Tensor, "b d"]:
        x = torch.where(present[..., None], x, 0)
        gate = torch.where(present, self.gate(rearrange(x, "b m d -> b (m d)")).sigmoid(), 0)
        self.weights = gate.detach()
        return (gate[..., None] * x).sum(1)


class AttentionPool(nn.Module):
    """A learned query attends to the views that are there; the last weights are in `weights`, ``(b, m)``."""

    def __init__(self, dim: int):
        super().__init__()
        self.query, self.weights = nn.Parameter(torch.randn(dim) / dim**0.5), None

    def extra_repr(self) -> str:
        return f"dim={len(self.query)}"

    def forward(self, x: Float[Tensor, "b m d"], present: Bool[Tensor, "b m"]) -> Float[Tensor, "b d"]:
        x = torch.where(present[..., None], x, 0)
        scores = torch.where(present, x @ self.query, torch.finfo(x.dtype).min)
        weight = torch.where(present, scores.softmax(1), 0)
        self.weights = weight.detach()
        return (weight[..., None] * x).sum(1)
