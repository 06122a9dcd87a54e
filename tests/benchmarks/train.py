"""What `train` costs over a bare PyTorch loop, for the default recipe and for nets of a few thousand parameters.

python tests/benchmarks/train.py [pairs]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from copy import deepcopy
from time import process_time

import numpy as np
import torch
from results import keep
from timing import in_turn, ms, over
from torch import nn

import ivekit as ive
from ivekit import plans
from ivekit.nn import Gaussian, KnownScale, MLPDecoder, MLPEncoder, ProductOfExperts
from ivekit.recipe import Recipe
from ivekit.training import train

ROWS, BATCH = 512, 64
SHAPES = {"meg": (102, 60), "video": (1, 16, 32, 32), "behaviour": (6,)}
SMALL = {"a": (20,), "b": (20,)}


def rows(shapes: dict[str, tuple[int, ...]]) -> ive.Views:
    """Noise of these shapes; MEG has its sensors."""
    random = torch.Generator().manual_seed(0)
    sensors = ive.Sensors([f"MEG{i}" for i in range(102)], np.zeros((102, 2)), ["mag"] * 102, 125.0, tmin=-0.1)
    tensors = {name: torch.randn(ROWS, *shape, generator=random) for name, shape in shapes.items()}
    return ive.Views(tensors, about={"meg": sensors} if "meg" in shapes else None)


def default() -> tuple[nn.Module, nn.Module, ive.Views, ive.Plan]:
    """The default recipe on noise of the default world's shapes."""
    data, recipe = rows(SHAPES), Recipe("ive")
    return recipe.model(data), recipe.objective(data), data, recipe.training(data)["plan"]


def small() -> tuple[nn.Module, nn.Module, ive.Views, ive.Plan]:
    """Perceptrons of two views of 20 numbers, with a latent that they share."""
    torch.manual_seed(0)
    net = ive.MultimodalVAE(
        {name: MLPEncoder(20, 32, 32) for name in SMALL},
        ProductOfExperts([*SMALL], 32, 4),
        {name: Gaussian(MLPDecoder(4, 20, (32,)), KnownScale(4, (20,))) for name in SMALL},
    )
    return net, ive.Objective(nll=ive.NLL(), kl=ive.KL()), rows(SMALL), plans.mvae([*SMALL])


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


def main(pairs: int = 60) -> None:
    """Keeps the throughput of `train` over that of a bare loop."""
    found = []
    for what, make, factor in (("the default recipe", default, 1), ("a small net", small, 10)):
        net, objective, data, plan = make()
        n, runs = sum(p.numel() for p in net.parameters()), pairs * factor
        hand = bare(deepcopy(net), objective, data, plan, epochs=runs)
        steps = train(net, objective, data, epochs=runs, batch_size=BATCH, plan=plan, seed=0, device="cpu")
        took = in_turn({"train": steps.__next__, "bare": hand.__next__}, runs, 3, process_time)
        more = f"{ms(took['train'])} a step of {BATCH} rows, bare {ms(took['bare'])}; {n} parameters"
        name = f"throughput of train over a bare loop, {what}"
        found.append(over(name, took["bare"] / took["train"], 0.97, more, readme=name[0].upper() + name[1:]))
        print(found[-1])
    note = (
        "The bare loop is of the same model, objective and batches, with the gradient, its clipping and AdamW (fused) "
        f"and nothing else. Steps are timed in turn in one process of {torch.get_num_threads()} thread, in seconds of "
        f"the processor; medians of {pairs} steps each, of the small net of {10 * pairs}."
    )
    keep("train", "Training over a bare loop", f"python tests/benchmarks/train.py {pairs}", found, note)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
