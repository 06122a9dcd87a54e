"""Which rows are meant: by a key, by a batch, by a process's share of a batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader

Rows = slice | int | np.integer | range | Tensor | np.ndarray | pd.Series | list


class Loader:
    """Iterates over batches of `Views`; a batch is one index operation a view. Set `epoch` for another order.

    groups : a number for each row; rows of one number stay together, in their order.
    """

    def __init__(
        self, views: Any, batch_size: int, shuffle: bool, sharded: bool, workers: int, seed: int,
        groups: Tensor | None = None,
    ):  # fmt: skip
        self.views, self.batch_size, self.shuffle, self.workers, self.seed = views, batch_size, shuffle, workers, seed
        self.groups = groups
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
        if self.groups is None:
            return list(torch.randperm(len(self.views), generator=order).split(self.batch_size))
        place = torch.randperm(int(self.groups.max()) + 1, generator=order)[self.groups]
        return list(place.argsort(stable=True).split(self.batch_size))

    def share(self, rows: Tensor) -> Tensor:
        """This process's part of a batch's rows."""
        return rows[self.rank :: self.world]

    def __iter__(self) -> Iterator[Any]:
        mine = [self.share(rows) for rows in self.batches()]
        if not self.workers:
            return (self.views[rows] for rows in mine)
        return iter(DataLoader(self.views, sampler=mine, batch_size=None, num_workers=self.workers))  # type: ignore[arg-type]


def row_numbers(key: Rows, n: int) -> slice | Tensor:
    """Any way to name rows as a slice or whole numbers."""
    if isinstance(key, slice):
        return key
    if isinstance(key, int | np.integer):
        key = [int(key)]
    if not isinstance(key, Tensor) and np.array(key).dtype.kind not in "biuf":
        raise IndexError(f"rows are whole numbers or a mask, got {key!r}; a view is asked for by one name")
    rows = key if isinstance(key, Tensor) else torch.as_tensor(np.array(key))
    if rows.dtype == torch.bool:
        if rows.shape != (n,):
            raise IndexError(f"a mask of {tuple(rows.shape)} does not fit {n} rows")
        return rows.nonzero()[:, 0]
    if rows.numel() == 0:
        return rows.long()
    if rows.is_floating_point() or rows.ndim != 1:
        raise IndexError(f"rows are whole numbers or a mask, got {rows.dtype} of shape {tuple(rows.shape)}")
    ends = rows.cpu().numpy()  # of NumPy, whose reductions cost less on a batch, and are no synchronisation
    low, high = int(ends.min()), int(ends.max())
    if high >= n or low < -n:
        raise IndexError(f"row {high if high >= n else low} asked for, there are {n}")
    return (torch.where(rows < 0, rows + n, rows) if low < 0 else rows).long()


def sent(views: Any, device: torch.device) -> Any:
    """A batch on the device, without waiting for it: to a GPU by way of pinned memory.

    >>> from ivekit import Views
    >>> sent(Views({"a": torch.ones(2)}), torch.device("cpu"))["a"].device
    device(type='cpu')
    """
    if all(x.device == device for x in views.tensors.values()):
        return views
    if device.type == "cuda":
        views = views._like(
            *({name: _pinned(x) for name, x in part.items()} for part in (views.tensors, views.present))
        )
    return views.to(device)


def _pinned(x: Tensor) -> Tensor:
    return x.pin_memory() if x.device.type == "cpu" else x
