"""What is a leak matrix when codes and factors do not belong together? The floor under recovery.csv.

    python evidence/shuffled.py             writes shuffled.csv (a minute)

Codes are those of the stored run (twice the true sizes), and independent normal numbers of once, twice and four times
the true sizes; their factors are those of other rows (`metrics.shuffled_readout`). Once the pairs are broken, codes and
factors are independent, and how far a ridge regression then overfits depends on numbers of rows and latents only: the
two kinds of codes at twice the true sizes say whether that holds.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch

import ivekit as ive
from ivekit import metrics
from ivekit.training import latents

HERE = Path(__file__).parent
TABLE = Path(__file__).with_suffix(".csv")
RUN = HERE.parent / "data_samples" / "runs" / "world"
TRUE, DRAWS = 3, 200


def null(codes: dict[str, np.ndarray], world: ive.synth.World) -> dict[str, float]:
    """What 95 of 100 shuffles stay below: one cell, the largest cell, and the block score."""
    test = (world.views.metadata["split"] == "test").to_numpy()
    draws = metrics.shuffled_readout(codes, world.factors, ~test, test, DRAWS)
    tables = [pd.DataFrame(x, list(codes), world.factors.columns) for x in draws]
    scores = [metrics.block_score(table, world.owners) for table in tables]
    each = {"cell": draws.ravel(), "largest cell": draws.max((1, 2)), "block score": np.array(scores)}
    return {name: round(float(np.quantile(x, 0.95)), 4) for name, x in each.items()}


def main() -> None:
    """Writes the table."""
    torch.set_num_threads(1)
    world, rng = ive.synth.audiovisual(2048, seed=0), np.random.default_rng(0)
    model, _ = ive.recipe.load(RUN, recipe="ive")
    stored = {block: z.numpy() for block, z in latents(model, world.views).items()}
    rows = [{"codes": "stored run", "times": 2, "draws": DRAWS} | null(stored, world)]
    for times in (1, 2, 4):
        codes = {block: rng.standard_normal((len(world.views), TRUE * times)) for block in stored}
        rows.append({"codes": "normal", "times": times, "draws": DRAWS} | null(codes, world))
    pd.DataFrame(rows).to_csv(TABLE, index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
