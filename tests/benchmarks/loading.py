"""What batches cost: `Views.loader` beside a DataLoader that collates rows, and rows on disk beside rows in memory.

python tests/benchmarks/loading.py [runs]
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from time import process_time
from unittest.mock import patch

import numpy as np
import torch
from results import keep
from timing import in_turn, ms, over
from torch.utils.data import DataLoader, Dataset

import ivekit as ive
from ivekit import ondisk

ROWS, BATCH = 512, 64
SHAPES = {"meg": (102, 60), "video": (1, 16, 32, 32), "behaviour": (6,)}


def rows(n: int = ROWS) -> ive.Views:
    """Noise of the default world's shapes."""
    random = torch.Generator().manual_seed(0)
    sensors = ive.Sensors([f"MEG{i}" for i in range(102)], np.zeros((102, 2)), ["mag"] * 102, 125.0, tmin=-0.1)
    tensors = {name: torch.randn(n, *shape, generator=random) for name, shape in SHAPES.items()}
    return ive.Views(tensors, about={"meg": sensors})


class Rows(Dataset):
    """The rows one by one, as a data set of PyTorch's usual kind gives them."""

    def __init__(self, data: ive.Views):
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        return {name: x[i] for name, x in self.data.items()}


def epoch(batches: Iterable) -> None:
    """Every batch, kept by nobody."""
    for _ in batches:
        pass


def compared(data: ive.Views, names: list[str], runs: int) -> dict:
    """An epoch of some views by our loader and by PyTorch's."""
    some = ive.Views({name: data[name] for name in names})
    took = in_turn(
        {
            "ours": partial(epoch, some.loader(BATCH, shuffle=True)),
            "theirs": partial(epoch, DataLoader(Rows(some), BATCH, shuffle=True)),
        },
        runs,
        clock=process_time,
    )
    what = ", ".join(names)
    return over(
        f"an epoch of {ROWS} rows of {what}: a DataLoader that collates rows over `Views.loader`",
        took["theirs"] / took["ours"],
        1,
        f"{ms(took['theirs'])} over {ms(took['ours'])}",
        f"loading {what}: a collating DataLoader takes this many times as long as `Views.loader`",
    )


def from_disk(data: ive.Views, runs: int) -> dict:
    """An epoch of rows that stay in their file, which the system has in its cache, beside the same rows in memory."""
    with tempfile.TemporaryDirectory() as folder, patch.object(ondisk, "LARGE", 0):  # as files too large for memory are
        data.save(Path(folder, "rows"))
        disk = ive.Views.open(Path(folder, "rows"))
        assert all(isinstance(x, ondisk.OnDisk) for x in disk.tensors.values())
        there = [partial(epoch, views.loader(BATCH, shuffle=True)) for views in (disk, data)]
        with patch.object(ondisk, "LARGE", 2**27):
            took = in_turn(dict(zip(("disk", "memory"), there)), runs, clock=process_time)
    more = f"{ms(took['memory'])} over {ms(took['disk'])}; from the system's cache"
    return over("an epoch of all views: rows in memory over rows on disk", took["memory"] / took["disk"], None, more)


def main(runs: int = 40) -> None:
    """Memory against PyTorch's loader, disk against memory."""
    torch.set_num_threads(1)
    data = rows()
    told = [compared(data, list(SHAPES), runs), compared(data, ["behaviour"], runs), from_disk(data, runs)]
    note = (
        f"Batches of {BATCH}, shuffled; medians of {runs} epochs in turn, core time, no workers. What rows beyond "
        "memory cost a training (0.8 of the throughput is asked for) is `tests/benchmarks/bigger.py`'s, by hand."
    )
    keep("loading", "Loading", "python tests/benchmarks/loading.py", told, note)
    for row in told:
        print(f"{row['what']}: {row['measured']}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
