"""Terms for fields over space: neighbours that agree, values within bounds, few latents; terms of training alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..models import Outputs
from ..views import Views
from .schedules import Schedule, at


def neighbours(coords: Float[Tensor, "n xyz"], k: int) -> Int[Tensor, "n k"]:
    """The `k` points nearest to each point, itself not among them: by a k-d tree, in memory linear in n.

    >>> neighbours(torch.tensor([[0.0], [1.0], [3.0]]), 1)
    tensor([[1],
            [0],
            [1]])
    """
    if not 0 < k < len(coords):
        raise ValueError(f"{k} neighbours cannot be had of {len(coords)} points")
    places = coords.detach().cpu().numpy()
    from scipy.spatial import cKDTree  # a fifth of a second, which `import ivekit` need not take

    found = torch.from_numpy(cKDTree(places).query(places, k + 1)[1]).long()
    itself = found == torch.arange(len(found))[:, None]
    itself[:, -1] |= ~itself.any(1)  # where points coincide, the farthest one goes
    return found[~itself].unflatten(0, (-1, k)).to(coords.device)


@dataclass
class SpatialConsistency:
    """How much a told field differs between neighbours, ``weight / 2k sum_i sum_j w_ij (f_i - f_j)^2`` over a graph.

    A point's neighbours j are the `k` nearest; ``w = exp(-d^2 / 2 s^2)`` with s the mean distance of neighbours in the
    row, so that units of space do not matter. The sum has k terms a point: no n x n matrix is made, and 50,000 points
    need megabytes. Rows that share their coordinates share the graph, which is kept until other coordinates come.

    view : the decoded values, (b, n) or (b, n, f). coords : the view of their coordinates, (b, n, xyz).
    Source: the graph Laplacian's smoothness (Belkin & Niyogi, 2003).
    """

    view: str
    coords: str = "coords"
    k: int = 8
    weight: float | Schedule = 1.0
    _graph: tuple[Tensor, Tensor, Tensor] | None = field(default=None, init=False, repr=False, compare=False)

    def __call__(self, out: Outputs, views: Views, step: int | None) -> Float[Tensor, "b"]:
        weight, told, places = at(self.weight, step), out.p[self.view].mean, views[self.coords]
        if told.shape[1] != places.shape[1]:
            raise ValueError(f"{self.view!r} is told at {told.shape[1]} points, {self.coords!r} has {places.shape[1]}")
        if bool((places == places[:1]).all()):
            return weight * self._rough(told, *self._of(places[0]))
        each = [self._rough(told[i : i + 1], *self._of(places[i])) for i in range(len(places))]
        return weight * torch.cat(each)

    def _rough(self, told: Tensor, near: Int[Tensor, "n k"], w: Float[Tensor, "n k"]) -> Float[Tensor, "b"]:
        steps = torch.stack([(told - told[:, j]).flatten(2) if told.ndim > 2 else told - told[:, j] for j in near.T], 2)
        squares = steps.square().sum(3) if steps.ndim == 4 else steps.square()
        return (squares * w).sum((1, 2)) / (2 * self.k)

    def _of(self, places: Float[Tensor, "n xyz"]) -> tuple[Int[Tensor, "n k"], Float[Tensor, "n k"]]:
        """The graph over these places, the last one if it is the same."""
        kept = self._graph
        if kept is None or kept[0].device != places.device or not torch.equal(kept[0], places):
            near = neighbours(places, self.k)
            squared = torch.stack([(places - places[j]).square().sum(1) for j in near.T], 1)
            spread = squared.sqrt().mean().square().clamp(min=torch.finfo(squared.dtype).tiny)
            self._graph = kept = places, near, (-squared / (2 * spread)).exp()
        return kept[1:]


@dataclass(frozen=True)
class Bounds:
    """How far told values lie outside what is possible, ``weight sum (low - f)_+^2 + (f - high)_+^2``.

    It acts on what the decoder says in the data's units. Behind a sigmoid it would be 0 always, and say nothing.
    """

    view: str
    low: float | None = 0.0
    high: float | None = 1.0
    weight: float | Schedule = 1.0

    def __post_init__(self):
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError(f"bounds go from low to high, got {self.low} and {self.high}")

    def __call__(self, out: Outputs, views: Views, step: int | None) -> Float[Tensor, "b"]:
        told = out.p[self.view].mean.flatten(1)
        below = 0 if self.low is None else (self.low - told).clamp(min=0).square()
        above = 0 if self.high is None else (told - self.high).clamp(min=0).square()
        return at(self.weight, step) * torch.as_tensor(below + above).expand_as(told).sum(1)


@dataclass(frozen=True)
class L1:
    """The absolute values of a belief's mean, ``weight sum_k |mu_k|``: latents that a row does not need stay at 0."""

    weight: float | Schedule = 1.0
    block: str = "shared"

    def __call__(self, out: Outputs, views: Views, step: int | None) -> Float[Tensor, "b"]:
        return at(self.weight, step) * out.q[self.block].mean.abs().sum(1)


@dataclass(frozen=True)
class InTraining:
    """A term that shapes training; in evaluation it is `otherwise`, or 0.

    So that the epoch is chosen by the evidence bound itself, at beta = 1, whatever prices and penalties it was trained
    with: ``Objective(nll=NLL(), kl=InTraining(KL(beta=0.3, free_bits=0.1), KL()), l1=InTraining(L1(0.01)))``.
    """

    term: Any
    otherwise: Any = None

    def __call__(self, out: Outputs, views: Views, step: int | None) -> Float[Tensor, "b"]:
        if step is not None:
            return self.term(out, views, step)
        if self.otherwise is not None:
            return self.otherwise(out, views, step)
        first = next(iter(out.z.values()))
        return torch.zeros(len(first), dtype=first.dtype, device=first.device)
