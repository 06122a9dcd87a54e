"""How far from the evidence is each way of joining beliefs, whatever is missing? In a world where both are exact.

    python evidence/aggregation.py          writes aggregation.csv (half a minute)

Three views are linear in three normal latents (`synth.linear_gaussian`), each tells its exact posterior, and what joins
them is the module that models are built with. The gap is log p(x) less the evidence lower bound, KL(q || p(z | x)) in
nats, the mean over rows; nothing is trained, so it is the price of the aggregation and of nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ivekit.nn import MixtureOfExperts, MixtureOfProducts, ProductOfExperts, Tokens
from ivekit.synth import LinearGaussian, linear_gaussian

TABLE = Path(__file__).with_suffix(".csv")
NOISES: dict[str, Any] = {"0.25": 0.25, "0.5": 0.5, "1": 1.0, "a 0.25, b 0.5, c 1": {"a": 0.25, "b": 0.5, "c": 1.0}}
BELIEFS: dict[str, type[nn.Module]] = {
    "product": ProductOfExperts,
    "mixture": MixtureOfExperts,
    "mixture of products": MixtureOfProducts,
}
TOGETHER = {"one view at a time": 1, "one subset at a time": 99}  # the most views that a drawn subset may have


def subsets(names: Sequence[str], most: int = 99) -> list[tuple[str, ...]]:
    """All subsets with something in them, of at most so many."""
    return [s for r in range(1, min(most, len(names)) + 1) for s in combinations(names, r)]


def precision(world: LinearGaussian, names: Sequence[str]) -> Tensor:
    """The inverse covariance of z given some views, (k, k)."""
    parts = [world.loadings[n].mT @ world.loadings[n] / world.noise[n] ** 2 for n in names]
    return torch.eye(len(world.factors.columns), dtype=torch.float64) + sum(parts)


def exact_gap(world: LinearGaussian, seen: Sequence[str], there: Sequence[str]) -> float:
    """E KL(p(z | seen) || p(z | there)) over data, of some of the views that are there: what not to look costs.

    Both are normal; the means differ by S - T in covariance (S, T the posteriors'), the law of total variance. So
    ``tr(T^-1 S) - k + (log |T| - log |S|) / 2``.
    """
    s, t = (precision(world, names) for names in (seen, there))
    return float((t @ torch.linalg.inv(s)).trace() - len(s) + (s.logdet() - t.logdet()) / 2)


def beliefs(world: LinearGaussian, kind: type[nn.Module]) -> nn.Module:
    """A posterior of ivekit's whose experts say exactly what each view tells; its tokens are the views, padded."""
    k, width = len(world.factors.columns), max(len(a) for a in world.loadings.values())
    make: Any = kind
    posterior = make(list(world.loadings), width, k)
    prior = 1.0 if kind is MixtureOfExperts else 0.0  # products bring the prior themselves
    for name, a in world.loadings.items():
        own = a.square().sum(0) / world.noise[name] ** 2 + prior
        weight = pad((a / world.noise[name] ** 2 / own).mT, (0, width - len(a)))
        head = posterior.heads[name]
        head.weight.data = torch.cat([weight, torch.zeros_like(weight)]).float()
        head.bias.data = torch.cat(
            [torch.zeros(k), 10 * torch.atanh(-own.log() / 10)]
        ).float()  # undoes the heads' tanh
    return posterior.requires_grad_(False)


def drawn_gap(
    world: LinearGaussian, kind: type[nn.Module], there: Sequence[str], draws: int = 64
) -> tuple[float, float]:
    """KL(q || p(z | x)) by draws of q, the mean over rows, and its standard error."""
    absent = [name for name in world.loadings if name not in there]
    views = world.views.without(*absent)
    width = max(len(a) for a in world.loadings.values())
    tokens = {n: Tokens.of(pad(x, (0, width - x.shape[1]))[:, None], views.present[n]) for n, x in views.items()}
    torch.manual_seed(0)
    q = beliefs(world, kind)(tokens)
    mean, covariance = world.posterior(views)
    exact = torch.distributions.MultivariateNormal(mean, covariance)
    z = [q.rsample() for _ in range(draws)]
    each = torch.stack([q.log_prob(x).double() - exact.log_prob(x.double()) for x in z]).mean(0)
    return float(each.mean()), float(each.std() / len(each) ** 0.5)


def study(noise: str) -> list[dict]:
    """A row an aggregation and pattern of what is there."""
    world, rows = linear_gaussian(n_rows=4096, n_latents=3, noise=NOISES[noise]), []
    for there in subsets(list(world.loadings)):
        where = {"noise": noise, "there": "+".join(there)}
        for name, kind in BELIEFS.items():
            gap, error = drawn_gap(world, kind, there)
            rows.append(where | {"aggregation": name, "gap": round(gap, 4) + 0.0, "error": round(error, 4)})
        for name, most in TOGETHER.items():
            gaps = [exact_gap(world, seen, there) for seen in subsets(there, most)]
            rows.append(where | {"aggregation": name, "gap": round(sum(gaps) / len(gaps), 4) + 0.0, "error": 0.0})
    return rows


def main() -> None:
    """Writes the table."""
    torch.set_num_threads(1)
    rows = [row for noise in NOISES for row in study(noise)]
    pd.DataFrame(rows).to_csv(TABLE, index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
