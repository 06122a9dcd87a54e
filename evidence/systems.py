"""The five systems as they come: each recipe's default on its shipped or simulated data, three seeds, held-out scores.

    python evidence/systems.py              goes on with the study that systems.csv holds
    python evidence/systems.py ive 0        only one recipe and seed
    python evidence/systems.py --table      the table of the README

A row is a seed, a view and a metric: the model's score, its 95 % interval, and beside it the constant predictor, the
model fed zeros and the linear baseline (`ivekit.baselines.held_out`), with the seconds that the run took.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch
from recovery import append

from ivekit.recipe import Recipe, run

TABLE = Path(__file__).with_suffix(".csv")
RECIPES = ("ive", "mimo_ae", "lipid_cvae", "modal_merge", "meg_decoding")
STUDY = [(name, seed) for seed in (0, 1, 2) for name in RECIPES]


def study(name: str, seed: int) -> list[dict[str, object]]:
    """One run of a recipe as it comes."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        run(Recipe(name, {"seed": seed, "device": "cpu"}), Path(folder, "run"), disable=True)
        scores = json.loads(Path(folder, "run", "scores.json").read_text(encoding="utf-8"))
    took, rows = round(time.perf_counter() - began), []
    for view, metrics in scores.items():
        for metric, said in metrics.items():
            low, high = said["interval"]
            numbers = {k: said[k] for k in ("model", "constant", "zero", "linear")} | {"low": low, "high": high}
            kept = {k: round(float(v), 4) for k, v in numbers.items()}
            rows.append({"recipe": name, "seed": seed, "view": view, "metric": metric, "seconds": took} | kept)
    return rows


def table() -> str:
    """Means over seeds as Markdown, and against the linear baseline who won in how many of them."""
    frame = pd.read_csv(TABLE)
    lines = ["| recipe | view, metric | model (95 % interval) | constant | zeros | linear | against the linear one |",
             "|---|---|---|---|---|---|---|"]  # fmt: skip
    for (name, view, metric), rows in frame.groupby(["recipe", "view", "metric"], sort=False):
        m = rows[["model", "low", "high", "constant", "zero", "linear"]].mean().round(2) + 0.0
        above, below = int((rows["low"] > rows["linear"]).sum()), int((rows["high"] < rows["linear"]).sum())
        verdict = f"above in {above}, below in {below} of {len(rows)}"
        lines.append(f"| `{name}` | {view}, {metric} | {m['model']:.2f} ({m['low']:.2f} to {m['high']:.2f}) | "
                     f"{m['constant']:.2f} | {m['zero']:.2f} | {m['linear']:.2f} | {verdict} |")  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    """Runs what is not in the table yet."""
    if sys.argv[1:] == ["--table"]:
        print(table())
        return
    torch.set_num_threads(1)
    todo = [(sys.argv[1], int(sys.argv[2]))] if len(sys.argv) == 3 else STUDY
    frame = pd.read_csv(TABLE) if TABLE.exists() else pd.DataFrame(columns=["recipe", "seed"])
    done = set(zip(frame["recipe"], frame["seed"]))
    for name, seed in todo:
        if (name, seed) not in done:
            rows = study(name, seed)
            for row in rows:
                append(TABLE, row)
            print(f"{name}, seed {seed}: {rows[0]['seconds']} s", flush=True)


if __name__ == "__main__":
    main()
