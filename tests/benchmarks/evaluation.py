"""What `evaluate` and `latents` cost over the same model asked by hand: medians of passes in turn.

python tests/benchmarks/evaluation.py [runs]
"""

from __future__ import annotations

import sys
from functools import partial
from time import process_time

import torch
from loading import rows
from results import keep
from timing import in_turn, ms, over
from torch import nn

import ivekit as ive
from ivekit.recipe import Recipe
from ivekit.training import evaluate, latents

BATCH = 256


def terms(model: nn.Module, objective: nn.Module, data: ive.Views) -> dict[str, float]:
    """The mean of every term by hand: batches, one pass, a sum."""
    total: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        for i in range(0, len(data), BATCH):
            views = data[i : i + BATCH]
            for name, term in objective(model(views), views, None).items():
                total[name] = total.get(name, torch.zeros(())) + term * len(views) / len(data)
    return {name: float(value) for name, value in total.items()}


def codes(model: nn.Module, data: ive.Views) -> dict[str, torch.Tensor]:
    """The posterior means by hand."""
    with torch.no_grad():
        parts = [model.encode(data[i : i + BATCH]) for i in range(0, len(data), BATCH)]
    return {block: torch.cat([part[block].mean for part in parts]) for block in parts[0]}


def main(runs: int = 15) -> None:
    """Ratios of throughputs."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data, recipe = rows(1024), Recipe("ive")
    model, objective = recipe.model(data), ive.Objective(nll=ive.NLL(), kl=ive.KL())
    model.eval()
    by_hand, ours = terms(model, objective, data), evaluate(model, objective, data)
    assert all(abs(by_hand[name] - ours[name]) <= 1e-4 * abs(ours[name]) for name in ours)  # they are the same numbers
    took = in_turn(
        {
            "evaluate": partial(evaluate, model, objective, data),
            "evaluate by hand": partial(terms, model, objective, data),
            "latents": partial(latents, model, data),
            "latents by hand": partial(codes, model, data),
        },
        runs,
        clock=process_time,
    )
    told = []
    for name in ("evaluate", "latents"):
        hand, own = took[f"{name} by hand"], took[name]
        more = f"{ms(own)}, by hand {ms(hand)}: {len(data) / own:.0f} rows/s"
        readme = f"throughput of `{name}` over the same model asked by hand"
        told.append(over(f"throughput of `{name}` over the same by hand", hand / own, 0.95, more, readme))
    note = f"The default IVE, {len(data)} rows in batches of {BATCH}; medians of {runs} passes, seconds of one core."
    keep("evaluation", "Evaluation", "python tests/benchmarks/evaluation.py", told, note)
    for row in told:
        print(f"{row['what']}: {row['measured']}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
