"""Batches of rows: which rows each holds, and which of them are this process's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader


class Loader:
    """Iterates over batches of `Views`; a batch is one index operation a view. Set `epoch` for another order."""

    def __init__(self, views: Any, batch_size: int, shuffle: bool, sharded: bool, workers: int, seed: int):
        self.views, self.batch_size, self.shuffle, self.workers, self.seed = views, batch_size, shuffle, workers, seed
        here = sharded and torch.distributed.is_available() and torch.distributed.is_initialized()
        self.rank = torch.distributed.get_rank() if here else 0
        self.world = torch.distributed.get_world_size() if here else 1
        self.epoch = 0

    def __len__(self) -> int:
        return -(-len(self.views) // self.batch_size)

    def batches(self) -> list[Tensor]:
        """The rows of every batch of this epoch, over all processes."""
        if not self.shuffle:
            return list(torch.arange(len(self.views)).split(self.batch_size))
        order = torch.Generator().manual_seed(hash((self.seed, self.epoch)) % 2**63)
        return list(torch.randperm(len(self.views), generator=order).split(self.batch_size))

    def share(self, rows: Tensor) -> Tensor:
        """This process's part of a batch's rows."""
        return rows[self.rank :: self.world]

    def __iter__(self) -> Iterator[Any]:
        mine = [self.share(rows) for rows in self.batches()]
        if not self.workers:
            return (self.views[rows] for rows in mine)
        return iter(DataLoader(self.views, sampler=mine, batch_size=None, num_workers=self.workers))  # type: ignore[arg-type]
