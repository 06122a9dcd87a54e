"""A prior under which latents move slowly from window to window of a trial."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..distributions import Normal, kl_by_latent
from ..models import Outputs
from ..views import Views
from .schedules import Schedule, at
from .terms import known


@dataclass(frozen=True)
class AR1:
    """The divergence of each window's belief from what the window before it lets expect, in nats.

    ``beta sum_block w_block KL(q(z_i | x_i) || N(rho z_{i-1}, 1 - rho^2))`` with ``rho = exp(-(t_i - t_{i-1}) /
    timescale)``: a first-order autoregressive prior whose marginal is standard normal, the Ornstein-Uhlenbeck process
    (Uhlenbeck & Ornstein, 1930), exact for any gap between windows. It takes the place of `KL` for rows that are
    windows of trials. The row before is the one before it in the batch, if it is an earlier one of the same trial
    (`train` keeps them side by side with ``together="trial"``); otherwise the prior is the standard normal one.

    timescale : seconds in which a latent forgets 63 % of where it was.
    trial, time : columns of the metadata: one value a trial, and seconds.
    weights : by block ("shared", or a view's name), 1 where none is given.
    """

    timescale: float
    beta: float | Schedule = 1.0
    weights: Mapping[str, float] = field(default_factory=dict)
    trial: str = "trial"
    time: str = "time"

    def __post_init__(self):
        if not self.timescale > 0:
            raise ValueError(f"timescale is {self.timescale} s, it must be more than 0")

    def __call__(self, out: Outputs, views: Views, step: int | None) -> Float[Tensor, "b"]:
        known(self.weights, {*out.q, *views}, "blocks")
        scored = torch.stack([views.rows_present(name) for name in out.p]).any(0)
        rho = self._rho(views).to(scored.device, non_blocking=True)[:, None]
        total = torch.zeros(len(scored), device=scored.device)
        for block, q in out.q.items():
            before = torch.roll(out.z[block], 1, 0)
            each = kl_by_latent(q, Normal(rho * before, (1 - rho.square()).sqrt()))
            total = total + self.weights.get(block, 1.0) * each.sum(1)
        return at(self.beta, step) * total * scored

    def _rho(self, views: Views) -> Float[Tensor, "b"]:
        """How much of the row before is left in each row; nothing, where that is not an earlier one of its trial."""
        frame = views.metadata
        if frame is None or not {self.trial, self.time} <= set(frame):
            there = [] if frame is None else list(frame)
            raise ValueError(f"an AR(1) prior needs columns {self.trial!r} and {self.time!r}; the metadata has {there}")
        trial, time = frame[self.trial].to_numpy(), frame[self.time].to_numpy(float)
        gap = np.diff(time, prepend=np.inf)
        follows = (trial == np.roll(trial, 1)) & (gap > 0)
        return torch.from_numpy(np.where(follows, np.exp(-np.abs(gap) / self.timescale), 0.0)).float()
