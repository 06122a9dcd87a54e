"""Objectives: sums of named terms, each ``(out, views, step) -> (b,)``, one number a row.

A term is any such function, or a module with parameters of its own. `step` is None in evaluation, and a schedule
then answers with its end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import kl_divergence

from .distributions import Normal, kl_by_latent, standard_normal_like
from .models import Outputs
from .views import Views

Schedule = Callable[[int | None], float]


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


# schedules ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Linear:
    """From `low` to `high` in `steps` steps, then `high`.

    >>> [Linear(0.0, 2.0, steps=4)(step) for step in (0, 1, 4, 100, None)]
    [0.0, 0.5, 2.0, 2.0, 2.0]
    """

    low: float
    high: float
    steps: int

    def __call__(self, step: int | None) -> float:
        done = 1.0 if step is None or step >= self.steps else step / self.steps
        return self.low + (self.high - self.low) * done


@dataclass(frozen=True)
class Cyclical:
    """Up from `low` to `high` over the first half of every `period` steps, then flat (Fu et al., 2019).

    >>> [Cyclical(0.0, 1.0, period=4)(step) for step in (0, 1, 2, 3, 4, None)]
    [0.0, 0.5, 1.0, 1.0, 0.0, 1.0]
    """

    low: float
    high: float
    period: int

    def __call__(self, step: int | None) -> float:
        done = 1.0 if step is None else min(1.0, 2 * (step % self.period) / self.period)
        return self.low + (self.high - self.low) * done


def _at(value: float | Schedule, step: int | None) -> float:
    return value(step) if callable(value) else value


def _known(weights: Mapping[str, float], names: Iterable[str], what: str) -> None:
    if unknown := set(weights) - set(names):
        raise ValueError(f"weights are given for {sorted(unknown)}, but the {what} are {sorted(names)}")


# terms -------------------------------------------------------------------------------------------------------


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
        _known(self.weights, views, "views")
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
        _known(self.weights, {*out.q, *views}, "blocks")
        scored = torch.stack([views.rows_present(name) for name in out.p]).any(0)
        total = sum(self.weights.get(block, 1.0) * self._of(q, scored) for block, q in out.q.items())
        return _at(self.beta, step) * total * scored

    def _of(self, q: Any, scored: Tensor) -> Float[Tensor, "b"]:
        if not self.free_bits:
            return kl_divergence(q, standard_normal_like(q))
        each = kl_by_latent(q, standard_normal_like(q))
        mean = (each * scored[:, None]).sum(0) / scored.sum().clamp(min=1)
        return torch.where(mean > self.free_bits, each, self.free_bits).sum(1)


@dataclass(frozen=True)
class SubsetKL:
    """How far what all views say is from what some of them say alone: ``weight sum_s KL(q(z | x) || q(z | x_s))``.

    The term that JMVAE (Suzuki et al., 2016) and MVTCAE (Hwang et al., 2021) add to a bound. It compares the rows
    of subset `of` with those of the subsets `to`, of a plan with `subsets` of them, but for rows of which a subset
    saw nothing. In evaluation there is no plan, and it is 0.
    """

    subsets: int
    of: int = 0
    to: Sequence[int] = (1, 2, 3)
    weight: float | Schedule = 1.0
    block: str = "shared"

    def __call__(self, out: Outputs, views: Views, step: int | None) -> Float[Tensor, "b"]:
        q = out.q[self.block]
        if step is None:
            return torch.zeros_like(q.loc[:, 0])
        loc, scale = (rearrange(x, "(s b) k -> s b k", s=self.subsets) for x in (q.loc, q.stddev))
        one = Normal(loc[self.of], scale[self.of])
        saw = (loc != 0).any(2)  # a belief whose mean is exactly 0 is the prior: nothing was seen
        apart = sum(kl_divergence(one, Normal(loc[s], scale[s])) * saw[s] for s in self.to)
        rows = torch.zeros_like(loc[..., 0])
        rows[self.of] = _at(self.weight, step) * apart
        return rearrange(rows, "s b -> (s b)")


@dataclass(frozen=True)
class TotalCorrelation:
    """How far the latents of a block are from independent, ``weight KL(q(z) || prod_k q(z_k))``, in nats.

    The term that beta-TCVAE weighs, estimated from the batch by minibatch weighted sampling (Chen et al., 2018).

    n_rows : the size of the training set.
    """

    n_rows: int
    weight: float | Schedule = 1.0
    block: str = "shared"

    def __call__(self, out: Outputs, views: Views, step: int | None) -> Float[Tensor, "b"]:
        _, joint, each = log_densities(out.q[self.block], out.z[self.block], self.n_rows)
        return _at(self.weight, step) * (joint - each.sum(1))


def log_densities(
    q: Normal, z: Float[Tensor, "b k"], n_rows: int
) -> tuple[Float[Tensor, "b"], Float[Tensor, "b"], Float[Tensor, "b k"]]:
    """``log q(z | x)``, ``log q(z)`` and ``log q(z_k)`` of each sample: the parts of the KL divergence.

    KL(q(z|x) || p(z)) = mutual information + total correlation + dimension-wise KL (Chen et al., 2018); the
    aggregate q(z) over `n_rows` rows is estimated from the batch.

    >>> q = Normal(torch.zeros(4, 2), 1.0)  # every row alike: q(z) = q(z | x), and its dimensions are independent
    >>> conditional, joint, each = log_densities(q, torch.zeros(4, 2), n_rows=4)
    >>> torch.allclose(conditional, joint), torch.allclose(joint, each.sum(1))
    (True, True)
    """
    error = (z[:, None] - q.loc[None]) / q.stddev[None]
    log_q = -0.5 * error.square() - q.stddev[None].log() - 0.5 * math.log(2 * math.pi)  # sample, row, latent
    log_share = _shares(len(z), n_rows, z)
    joint = (log_q.sum(2) + log_share).logsumexp(1)
    each = (log_q + log_share[..., None]).logsumexp(1)
    return q.log_prob(z), joint, each


def _shares(batch: int, n_rows: int, like: Tensor) -> Float[Tensor, "b b"]:
    """The part of q(z) that each row of a batch stands for: itself, and by the others all the rest."""
    if batch == 1:
        return torch.zeros_like(like[:1, :1])
    rest = (n_rows - 1) / n_rows / (batch - 1)
    eye = torch.eye(batch, dtype=torch.bool, device=like.device)
    return torch.where(eye, 1 / n_rows, rest).to(like.dtype).log()


@dataclass(frozen=True)
class Leak:
    """What can be read of the shared code from the private codes, ``weight sum_k R2(u_k | w_v)``: it should be nothing.

    R2 is that of a ridge regression within the batch, of the posterior means, over the rows that saw the view. The
    shared code is held fixed: the private codes give way.
    """

    weight: float | Schedule = 1.0
    ridge: float = 1e-2

    def __call__(self, out: Outputs, views: Views, step: int | None) -> Float[Tensor, "b"]:
        u = out.q["shared"].mean.detach()
        total = sum(self._read(out.q[block].mean, u) for block in out.q if block != "shared")
        return _at(self.weight, step) * torch.as_tensor(total).expand(len(u))

    def _read(self, w: Tensor, u: Tensor) -> Tensor:
        seen = (w != 0).any(1, keepdim=True).to(w.dtype)  # a code that is exactly 0 is the prior of an unseen view
        n = seen.sum().clamp(min=2)
        w, u = (seen * (x - (seen * x).sum(0) / n) for x in (w, u))
        gram = w.mT @ w / n + self.ridge * torch.eye(w.shape[1], dtype=w.dtype, device=w.device)
        across = w.mT @ u / n
        explained = (across * torch.linalg.solve(gram, across)).sum(0)
        return (explained / (u.square().sum(0) / n + 1e-3)).sum()
