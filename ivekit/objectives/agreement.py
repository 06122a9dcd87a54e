"""Terms that compare beliefs: of subsets of views, of latents with each other, of private codes and the shared one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from ..distributions import Normal, kl_by_latent
from ..models import Outputs
from ..views import Views
from .schedules import Schedule, at


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
        if step is None or not self.to:
            return torch.zeros_like(q.loc[:, 0])
        loc, scale = (rearrange(x, "(s b) k -> s b k", s=self.subsets) for x in (q.loc, q.stddev))
        locs, scales = (torch.stack([x[s] for s in self.to]) for x in (loc, scale))
        each = kl_by_latent(Normal(loc[self.of], scale[self.of]), Normal(locs, scales)).sum(2)
        saw = (locs != 0).any(2)  # a belief whose mean is exactly 0 is the prior: nothing was seen
        apart = at(self.weight, step) * (each * saw).sum(0)
        of = self.of % self.subsets
        return torch.cat([apart if s == of else torch.zeros_like(apart) for s in range(self.subsets)])


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
        return at(self.weight, step) * (joint - each.sum(1))


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
        return at(self.weight, step) * torch.as_tensor(total).expand(len(u))

    def _read(self, w: Tensor, u: Tensor) -> Tensor:
        seen = (w != 0).any(1, keepdim=True).to(w.dtype)  # a code that is exactly 0 is the prior of an unseen view
        n = seen.sum().clamp(min=2)
        w, u = (seen * (x - (seen * x).sum(0) / n) for x in (w, u))
        gram = w.mT @ w / n + self.ridge * torch.eye(w.shape[1], dtype=w.dtype, device=w.device)
        across = w.mT @ u / n
        explained = (across * torch.linalg.solve_ex(gram, across).result).sum(0)
        return (explained / (u.square().sum(0) / n + 1e-3)).sum()
