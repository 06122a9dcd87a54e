"""Posteriors: each turns the tokens of all views into one belief about a latent vector.

Experts fuse beliefs; `Fused` fuses features and then believes. A missing view is one whose tokens are masked:
it contributes nothing, to values or gradients, and with every view missing the belief is the prior.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from ..distributions import Delta, Mixture, Normal, product
from .blocks import Tokens, full, mlp


class Experts(nn.Module):
    """One normal belief a view, from the mean of its tokens, or step by step from each of them.

    steps : tokens of every view, whose order is time's: each tells the next ``latent / steps`` latents, by the same
        head. So a code keeps time, and what was learnt of one moment holds for all. 1 is the mean, which forgets order.

    Log variances are kept within +-10 by a tanh, which (unlike a clamp) always passes a gradient on, and start at
    -2, so that at first the latents carry something.
    """

    def __init__(self, names: Sequence[str], dim: int, latent: int, steps: int = 1):
        super().__init__()
        self.latent, self.steps, each = latent, steps, a_step(latent, steps)
        self.heads = nn.ModuleDict({name: nn.Linear(dim, 2 * each) for name in names})
        for head in self.heads.values():
            nn.init.constant_(head.bias[each:], -2.0)  # type: ignore[index, arg-type]

    def beliefs(
        self, tokens: dict[str, Tokens]
    ) -> tuple[Float[Tensor, "m b k"], Float[Tensor, "m b k"], Bool[Tensor, "m b"]]:
        """The experts' means and log variances, and which of them have anything to say."""
        each = [head(in_steps(tokens[name], self.steps)) for name, head in self.heads.items()]
        mean, raw = (rearrange(x, "m b n k -> m b (n k)") for x in full(torch.stack(each)).chunk(2, -1))
        return mean, 10 * torch.tanh(raw / 10), torch.stack([tokens[name].present for name in self.heads])

    def extra_repr(self) -> str:
        return f"latent={self.latent}" + (f", steps={self.steps}" if self.steps > 1 else "")


def a_step(latent: int, steps: int) -> int:
    """How many of the latents each step tells.

    >>> a_step(120, 15)
    8
    """
    if steps < 1 or latent % steps:
        raise ValueError(f"{latent} latents cannot be shared evenly by {steps} steps")
    return latent // steps


def in_steps(tokens: Tokens, steps: int) -> Float[Tensor, "b n d"]:
    """The tokens one by one, 0 where absent; where there is but one step, their mean.

    >>> in_steps(Tokens.of(torch.ones(2, 5, 3), torch.tensor([True, False])), 5).sum((1, 2))
    tensor([15.,  0.])
    """
    if steps == 1:
        return tokens.mean()[:, None]
    if tokens.x.shape[1] != steps:
        raise ValueError(
            f"the posterior has {steps} steps, and a view came with {tokens.x.shape[1]} tokens: bring all signals to "
            "one rate and length, and name their number of tokens"
        )
    return torch.where(tokens.mask[..., None], tokens.x, 0)


class ProductOfExperts(Experts):
    """Beliefs multiplied, the prior among them (Wu & Goodman, 2018): views that agree make each other surer.

    >>> q = ProductOfExperts(["a"], 4, 2)({"a": Tokens.of(torch.ones(3, 1, 4), torch.zeros(3, dtype=torch.bool))})
    >>> q.mean.abs().max(), q.stddev.mean()
    (tensor(0., grad_fn=<MaxBackward1>), tensor(1., grad_fn=<MeanBackward0>))
    """

    def forward(self, tokens: dict[str, Tokens]) -> Normal:
        mean, log_variance = product(*self.beliefs(tokens))
        return Normal(mean, (0.5 * log_variance).exp())

    def weights(self, tokens: dict[str, Tokens]) -> dict[str, Float[Tensor, "b n"]]:
        """By name, each view's part of the belief's precision, over a step's latents; the rest is the prior's."""
        _, log_variance, present = self.beliefs(tokens)
        precision = torch.where(present[..., None], (-log_variance).exp(), 0)
        shares = rearrange(precision / (1 + precision.sum(0)), "m b (n k) -> m b n k", n=self.steps).mean(-1)
        return dict(zip(self.heads, shares.detach()))


class MixtureOfExperts(Experts):
    """Beliefs averaged (Shi et al., 2019): each view must do by itself. With none, the prior."""

    def forward(self, tokens: dict[str, Tokens]) -> Mixture:
        mean, log_variance, present = self.beliefs(tokens)
        return _mixture(mean, log_variance, present)


class MixtureOfProducts(Experts):
    """The products over all subsets of the views that are there, averaged (MoPoE; Sutter et al., 2021)."""

    def forward(self, tokens: dict[str, Tokens]) -> Mixture:
        mean, log_variance, present = self.beliefs(tokens)
        precision = torch.where(present[..., None], (-log_variance).exp(), 0)  # at most exp(10): nothing overflows
        tilted = precision * torch.where(present[..., None], mean, 0)
        total = 1 + _over_subsets(precision)
        return _mixture(_over_subsets(tilted) / total, -total.log(), _over_subsets((~present).int()) == 0)


def _over_subsets(x: Shaped[Tensor, "m *b"]) -> Shaped[Tensor, "s *b"]:
    """The sum over each subset but the empty one: those without a view, and the same with it.

    >>> _over_subsets(torch.tensor([1, 10, 100]))
    tensor([  1,  10,  11, 100, 101, 110, 111])
    """
    sums = torch.zeros_like(x[:1])
    for one in x:
        sums = torch.cat([sums, sums + one])
    return sums[1:]


def _mixture(mean: Tensor, log_variance: Tensor, present: Bool[Tensor, "m b"]) -> Mixture:
    """An even mixture of those present, with the prior as one more component for rows that have none."""
    nobody = ~present.any(0, keepdim=True)
    here = torch.cat([present, nobody])
    blank = torch.zeros_like(mean[:1])
    means = torch.where(here[..., None], torch.cat([mean, blank]), 0)
    scales = torch.where(here[..., None], torch.cat([0.5 * log_variance, blank]), 0).exp()
    return Mixture(means, scales, here / here.sum(0))


class Point(nn.Module):
    """Another posterior's mean, as a point: what an autoencoder's code is, with nothing said of how sure it is.

    >>> Point(ProductOfExperts(["a"], 4, 2))({"a": Tokens.of(torch.ones(3, 1, 4), torch.ones(3, dtype=torch.bool))})
    Delta(rows=3, event=(2,))
    """

    def __init__(self, posterior: Any):
        super().__init__()
        self.posterior = posterior

    def forward(self, tokens: dict[str, Tokens]) -> Delta:
        return Delta(self.posterior(tokens).mean)

    def weights(self, tokens: dict[str, Tokens]) -> dict[str, Float[Tensor, "b n"]]:
        """Those of the posterior inside."""
        return self.posterior.weights(tokens)


class Fused(nn.Module):
    """One vector is made of all views by `fusion`; a linear head makes it a normal belief, or a point.

    fusion : ``(b, m, d), present (b, m) -> (b, d)``: `Concat`, `Gated`, `AttentionPool`.
    steps : tokens of every view, fused one step at a time, each for its own ``latent / steps`` latents (see `Experts`).
    """

    def __init__(
        self, names: Sequence[str], fusion: nn.Module, dim: int, latent: int, point: bool = False, steps: int = 1
    ):
        super().__init__()
        self.names, self.fusion, self.point, self.latent, self.steps = tuple(names), fusion, point, latent, steps
        self.head = nn.Linear(dim, a_step(latent, steps) * (1 if point else 2))

    def forward(self, tokens: dict[str, Tokens]) -> Normal | Delta:
        features, present = self._features(tokens)
        each = rearrange(full(self.head(self.fusion(features, present))), "(b n) k -> b n k", n=self.steps)
        here = torch.stack([tokens[name].present for name in self.names], 1).any(1, keepdim=True)
        if self.point:
            return Delta(torch.where(here, rearrange(each, "b n k -> b (n k)"), 0))
        mean, raw = (rearrange(x, "b n k -> b (n k)") for x in each.chunk(2, -1))
        return Normal(torch.where(here, mean, 0), torch.where(here, 5 * torch.tanh(raw / 10), 0).exp())

    def _features(self, tokens: dict[str, Tokens]) -> tuple[Float[Tensor, "bn m d"], Bool[Tensor, "bn m"]]:
        x = torch.stack([in_steps(tokens[name], self.steps) for name in self.names], 2)
        present = torch.stack([tokens[name].present for name in self.names], 1)
        return rearrange(x, "b n m d -> (b n) m d"), repeat(present, "b m -> (b n) m", n=self.steps)

    def weights(self, tokens: dict[str, Tokens]) -> dict[str, Float[Tensor, "b n"]]:
        """By name, the gate or attention that each view had at each step; nothing for a fusion without weights.

        >>> t = {n: Tokens.of(torch.ones(3, 5, 4), torch.ones(3, dtype=torch.bool)) for n in "ab"}
        >>> {n: w.shape for n, w in Fused("ab", Gated(2, 4), 4, 10, steps=5).weights(t).items()}
        {'a': torch.Size([3, 5]), 'b': torch.Size([3, 5])}
        """
        self.fusion(*self._features(tokens))
        weights = getattr(self.fusion, "weights", None)
        if weights is None:
            return {}
        each = rearrange(weights, "(b n) m -> m b n", n=self.steps)
        return dict(zip(self.names, each))


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
