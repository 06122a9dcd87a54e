"""The objective, its likelihood and its divergence from the prior."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import kl_divergence

from ..distributions import kl_by_latent, standard_normal_like
from ..models import Outputs
from ..views import Views
from .schedules import Schedule, at


class Objective(nn.Module):
    """The sum of its terms, by name; what training makes small.

    >>> Objective(nll=NLL(), kl=KL(beta=4.0))
    Objective(nll=NLL(weights={}), kl=KL(beta=4.0, weights={}, free_bits=0.0))
    """

    def __init__(self, **terms: Any):
        super().__init__()
        if not terms:
            raise ValueError("an objective needs at least one term, such as nll=NLL()")
        self.terms = terms
        self.learned = nn.ModuleDict({name: term for name, term in terms.items() if isinstance(term, nn.Module)})

    def forward(self, out: Outputs, views: Views, step: int | None) -> dict[str, Float[Tensor, ""]]:
        return {name: term(out, views, step).mean() for name, term in self.terms.items()}

    def __repr__(self) -> str:
        return f"Objective({', '.join(f'{name}={term}' for name, term in self.terms.items())})"


def balance(views: Views) -> dict[str, float]:
    """Weights for `NLL` by which each view counts alike, whatever its size.

    A likelihood is a sum over numbers, so a film of 16,384 pixels drowns a table of 6 columns. The weight of a view
    is the geometric mean of the views' sizes over its own size (the ratio of sizes of Shi et al., 2019, without a
    view to be named the largest).

    >>> balance(Views({"a": torch.ones(2, 100), "b": torch.ones(2, 1)}))
    {'a': 0.1, 'b': 10.0}
    """
    sizes = {name: x.shape[1:].numel() for name, x in views.items()}
    middle = math.exp(sum(math.log(n) for n in sizes.values()) / len(sizes))
    return {name: round(middle / n, 6) for name, n in sizes.items()}


@dataclass(frozen=True)
class NLL:
    """Minus the log-likelihood of every decoded view where it is present, ``-sum_v w_v log p(x_v | z)``, in nats.

    weights : by view, 1 where none is given; `balance` makes each view count alike.
    """

    weights: Mapping[str, float] = field(default_factory=dict)

    def __call__(self, out: Outputs, views: Views, step: int | None) -> Float[Tensor, "b"]:
        known(self.weights, views, "views")
        scores = [self.weights.get(n, 1.0) * p.log_prob(views.batch(n), views.present[n]) for n, p in out.p.items()]
        return -torch.stack(scores).sum(0)


@dataclass(frozen=True)
class KL:
    """The divergence of the posteriors from the standard normal prior, ``beta sum_block w_block KL(q || p)``, in nats.

    beta : a number or a schedule (Higgins et al., 2017).
    weights : by block ("shared", or a view's name), 1 where none is given.
    free_bits : nats that each latent may carry for nothing, on the average of the batch (Kingma et al., 2016).

    Rows of a plan that are scored on nothing have no evidence bound, and no divergence is taken of them.
    """

    beta: float | Schedule = 1.0
    weights: Mapping[str, float] = field(default_factory=dict)
    free_bits: float = 0.0

    def __call__(self, out: Outputs, views: Views, step: int | None) -> Float[Tensor, "b"]:
        known(self.weights, {*out.q, *views}, "blocks")
        scored = torch.stack([views.rows_present(name) for name in out.p]).any(0)
        total = sum(self.weights.get(block, 1.0) * self._of(q, scored) for block, q in out.q.items())
        return at(self.beta, step) * total * scored

    def _of(self, q: Any, scored: Tensor) -> Float[Tensor, "b"]:
        if not self.free_bits:
            return kl_divergence(q, standard_normal_like(q))
        each = kl_by_latent(q, standard_normal_like(q))
        mean = (each * scored[:, None]).sum(0) / scored.sum().clamp(min=1)
        return torch.where(mean > self.free_bits, each, self.free_bits).sum(1)


def known(weights: Mapping[str, float], names: Iterable[str], what: str) -> None:
    """An error where a weight is given for something that is not there."""
    if unknown := set(weights) - set(names):
        raise ValueError(f"weights are given for {sorted(unknown)}, but the {what} are {sorted(names)}")
