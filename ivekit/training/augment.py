"""What a model is shown of its training rows: less than it must tell."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..noise import noise
from ..views import Views


@dataclass(frozen=True)
class DropViews:
    """Hides each view of each row with a probability, but never all that a row has: for `train`, as its `augment`.

    A model that is to tell what it sees less of learns to tell a missing signal from the others (Ngiam et al., 2011).

    probability : of hiding a view in a row.

    >>> _ = torch.manual_seed(0)
    >>> DropViews(0.5)(Views({"ecg": torch.ones(4, 2), "ppg": torch.ones(4, 2)})).present
    {'ecg': tensor([False, False, False, False]), 'ppg': tensor([True, True, True, True])}
    """

    probability: float | int

    def __post_init__(self):
        if not 0 <= self.probability <= 1:
            raise ValueError(f"the probability of hiding a view is between 0 and 1, got {self.probability}")

    def __call__(self, views: Views) -> Views:
        if not self.probability:
            return views
        there = torch.stack([views.rows_present(name) for name in views], 1)
        drawn = noise(torch.rand, torch.zeros(there.shape, device=there.device))
        last = torch.where(there, drawn, -1).argmax(1, keepdim=True)  # the one that stays where all would go
        kept = (drawn >= self.probability).scatter(1, last, True)
        return views.masked(**{name: kept[:, i] for i, name in enumerate(views)})
