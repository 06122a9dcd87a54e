"""What `train` costs over a bare PyTorch loop, and the loader over a DataLoader: medians of runs in turn.

python tests/benchmarks/train.py [pairs]
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from functools import partial
from statistics import median
from time import perf_counter

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import ivekit as ive
from ivekit.recipe import Recipe
from ivekit.training import train

ROWS, BATCH = 512, 64
SHAPES = {"meg": (102, 60), "video": (1, 16, 32, 32), "behaviour": (6,)}


def rows() -> ive.Views:
    """Noise of the default world's shapes."""
    random = torch.Generator().manual_seed(0)
    sensors = ive.Sensors([f"MEG{i}" for i in range(102)], np.zeros((102, 2)), ["mag"] * 102, 125.0, tmin=-0.1)
    return ive.Views(
        {name: torch.randn(ROWS, *shape, generator=random) for name, shape in SHAPES.items()}, about={"meg": sensors}
    )


def bare(net: nn.Module, objective: nn.Module, data: ive.Views, plan: ive.Plan, epochs: int) -> Iterator[None]:
    """The steps of `train` by hand: batches, gradient, clipping and AdamW, and nothing else."""
    weights = [*net.parameters(), *objective.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=1e-3, fused=True)
    net.train()
    for step, batch in enumerate(batch for _ in range(epochs) for batch in data.loader(BATCH, shuffle=True).batches()):
        views = data[batch]
        loss = sum(objective(net(views, plan), plan.views(views), step).values())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        yield


class Rows(Dataset):
    """The rows one by one, as a data set of PyTorch's usual kind gives them."""

    def __init__(self, data: ive.Views):
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        return {name: x[i] for name, x in self.data.items()}


def in_turn(first: Callable[[], object], second: Callable[[], object], pairs: int) -> tuple[list[float], list[float]]:
    """Seconds of two things done in turn, A B A B, after a few that are not counted."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for i in range(pairs + 3):
        for done, into in zip((first, second), seconds):
            begun = perf_counter()
            done()
            if i >= 3:
                into.append(perf_counter() - begun)
    return seconds


def epoch(loader: Iterable) -> None:
    """Every batch, kept by nobody."""
    for _ in loader:
        pass


def main(pairs: int = 60) -> None:
    """Prints two ratios and what they are made of."""
    data = rows()
    recipe = Recipe("ive")
    net, objective, plan = recipe.model(data), recipe.objective(data), recipe.training(data)["plan"]
    n_params = sum(p.numel() for p in net.parameters())
    print(f"{ROWS} rows, batches of {BATCH}, plan of {len(plan)} subsets, {n_params} parameters,", end=" ")
    print(f"{torch.get_num_threads()} thread(s); medians of {pairs} steps or epochs each, in turn")
    hand = bare(deepcopy(net), objective, data, plan, epochs=pairs)
    steps = train(net, objective, data, epochs=pairs, batch_size=BATCH, plan=plan, seed=0, device="cpu")
    a, b = in_turn(lambda: next(steps), lambda: next(hand), pairs)
    print(f"train {BATCH / median(a):.0f} rows/s, bare loop {BATCH / median(b):.0f} rows/s")
    print(f"throughput of train over a bare loop: {median(b) / median(a):.3f} (at least 0.95)")
    for names in (SHAPES, ["behaviour"]):
        some = ive.Views({name: data[name] for name in names})
        usual = DataLoader(Rows(some), BATCH, shuffle=True)
        a, b = in_turn(partial(epoch, some.loader(BATCH, shuffle=True)), partial(epoch, usual), pairs)
        print(f"an epoch of {', '.join(names)}: Views.loader {1e3 * median(a):.2f} ms,", end=" ")
        print(f"a DataLoader that collates rows {1e3 * median(b):.2f} ms; cost {median(a) / median(b):.3f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
