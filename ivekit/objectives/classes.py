"""Classes that are rare made to count as much as common ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..models import Outputs
from ..views import Views


def balanced(labels: Int[Tensor, "b"], n_classes: int | None = None) -> list[float]:
    """Weights by which every class counts alike: the mean number of rows of a class over its own.

    >>> balanced(torch.tensor([0, 0, 0, 1]))
    [0.667, 2.0]
    """
    counts = torch.bincount(labels, minlength=n_classes or 0)
    if not counts.all():
        raise ValueError(f"there is no row of class {int((counts == 0).nonzero()[0])}, so no weight balances it")
    return [round(len(labels) / len(counts) / int(n), 3) for n in counts]


class ByClass:
    """A term whose rows count by their class, ``w_{label} term``; a row without a label counts once.

    term : any, such as ``NLL()``. view : of labels. weights : one a class, such as `balanced` of the training rows (1
        on the average of these).

    >>> ByClass(torch.zeros, "label", [1.0, 2.0])
    ByClass(label, [1.0, 2.0])
    """

    def __init__(self, term: Any, view: str, weights: Sequence[float]):
        self.term, self.view, self.weights = term, view, list(weights)

    def __repr__(self) -> str:
        return f"ByClass({self.view}, {self.weights})"

    def __call__(self, out: Outputs, views: Views, step: int | None) -> Float[Tensor, "b"]:
        labels, here = views[self.view], views.rows_present(self.view)
        weight = torch.tensor(self.weights).to(labels.device, non_blocking=True)[torch.where(here, labels, 0)]
        return torch.where(here, weight, 1) * self.term(out, views, step)
