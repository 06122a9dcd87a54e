"""How well does the autoencoder of physiological signals tell real ones? One row a run, beside PCA of as many numbers.

    IVEKIT_DATA=folder python evidence/physio.py             goes on with the study that physio.csv holds
    IVEKIT_DATA=folder python evidence/physio.py world gate training 0

Each row has the mean squared error of the test windows in standardised units (by signal, and the mean of them), of the
model with the epoch that validation rows chose, of 128 principal components of all signals side by side, and of zero;
then how well each signal is told from the others (R2), by the model and by ridge regression. Test rows choose nothing.
"""

from __future__ import annotations

import csv
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from einops import rearrange

from ivekit import Views, baselines
from ivekit.baselines.linear import principal_components
from ivekit.recipe import Recipe, parts, run

TABLE = Path(__file__).with_suffix(".csv")
FUSIONS = ("concat", "gate", "attention", "experts")
STUDY = [
    *(("physio", fusion, "training", 0) for fusion in FUSIONS),
    *(("world", fusion, "training", 0) for fusion in FUSIONS),
    *(("physio", "gate", "window", seed) for seed in (0, 1, 2)),
    *(("resting", "gate", "training", seed) for seed in (0, 1, 2)),
    *(("physio", "gate", "training", seed) for seed in (1, 2)),
]


def study(data: str, fusion: str, scale: str, seed: int) -> dict[str, object]:
    """One run of the recipe, its other settings at their defaults, and what its test rows say."""
    recipe, began = Recipe("mimo_ae", dict(data=data, fusion=fusion, scale=scale, seed=seed)), time.process_time()
    rows = parts(recipe.data())
    with tempfile.TemporaryDirectory() as folder:
        model = run(recipe, Path(folder, "run"), disable=True)
    said: dict[str, object] = dict(data=data, fusion=fusion, scale=scale, seed=seed)
    said |= {"rows": len(rows["train"]), "seconds": round(time.process_time() - began)}
    truth, train = side_by_side(model, rows["test"]), side_by_side(model, rows["train"])
    with torch.no_grad():
        told = rows["test"].replace(**{name: p.mean for name, p in model(rows["test"]).p.items()})
    flat = [rearrange(x, "b m t -> b (m t)").numpy() for x in (train, truth)]
    linear = torch.from_numpy(principal_components(*flat, 128)).reshape(truth.shape)
    for who, guess in (("model", side_by_side(model, told)), ("pca", linear), ("zero", 0 * truth)):
        each = (guess - truth).square().mean((0, 2))
        said |= {f"{who}": float(each.mean())} | {f"{who} {name}": float(e) for name, e in zip(rows["test"], each)}
    scores = baselines.held_out(model, rows["train"], rows["test"])
    for name, metrics in scores.items():
        said |= {f"others {name}": metrics["from_others"]["model"], f"ridge {name}": metrics["from_others"]["linear"]}
    return said


def side_by_side(model: torch.nn.Module, rows: Views) -> torch.Tensor:
    """Standardised signals of one channel as the rows of a picture, (b, m, t)."""
    numbers = model.standardise(rows)
    return torch.cat([numbers[name] for name in numbers], 1)


def main() -> None:
    """Goes on with the study, or does the one run that is named."""
    asked = [(d, f, s, int(seed)) for d, f, s, seed in [sys.argv[1:5]]] if sys.argv[1:] else STUDY
    kept = list(csv.DictReader(TABLE.open(encoding="utf-8"))) if TABLE.exists() else []
    done = {(r["data"], r["fusion"], r["scale"], int(r["seed"])) for r in kept}
    torch.set_num_threads(1)
    for key in asked:
        if key in done:
            continue
        row = {n: f"{x:.4f}" if isinstance(x, float | np.floating) else x for n, x in study(*key).items()}
        kept.append({n: str(x) for n, x in row.items()})
        columns = list(dict.fromkeys(name for r in kept for name in r))
        with TABLE.open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, columns, restval="")
            table.writeheader()
            table.writerows(kept)
        print(" ".join(f"{name}={x}" for name, x in row.items()), flush=True)


if __name__ == "__main__":
    main()
