"""The README's figure: what the demonstration's model says of a held-out trial, and what the study of recovery found.

    python evidence/first_figure.py      from runs/demo (python -m ivekit demo) and recovery.csv, to docs/first.png
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import torch

from ivekit import recipe, viz
from ivekit.topomap import Topomap

HERE = Path(__file__).parent
BLOCKS = ["shared", "meg", "video", "behaviour"]
FACTORS = ["position", "motion", "size", "vigilance", "contrast", "caution"]


def leak(times: int = 2) -> pd.DataFrame:
    """Blocks x factors: mean R2 over the seeds of the study, negative ones shown as 0."""
    rows = pd.read_csv(HERE / "recovery.csv").query("times == @times")
    return pd.DataFrame({f: [max(0.0, rows[f"{b}: {f}"].mean()) for b in BLOCKS] for f in FACTORS}, index=BLOCKS)


def main() -> None:
    """Draws and writes the figure."""
    torch.set_num_threads(1)
    plt.rcParams.update(viz.STYLE)
    model, run = recipe.load("runs/demo")
    test = recipe.parts(run.data())["test"]
    whole = test[torch.stack([test.rows_present(name) for name in test]).all(0)]
    with torch.no_grad():
        out = model(whole)
    sensors, trial = whole.about["meg"], int(out.p["meg"].mean.square().sum((1, 2)).argmax())
    figure = plt.figure(figsize=(10.5, 4.6), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1.5, 1))
    meg, film = left.subfigures(2, 1, height_ratios=(1, 1.05))
    times = sensors.times(whole["meg"].shape[2])
    viz.reconstruction(whole["meg"][trial], out.p["meg"].mean[trial], times, Topomap(sensors), meg)
    above, below = film.subplots(2, 1)
    viz.frames(whole["video"][trial], above, n=8, fps=30.0).set(title="film", xlabel="")
    viz.frames(out.p["video"].mean[trial], below, n=8, fps=30.0).set(title="the model's film")
    table = leak()
    viz.matrix(table.to_numpy(), list(table.index), list(table.columns), right.subplots(), label="R², held-out rows")
    right.suptitle("what is read of each true factor in each block of latents", fontsize=9)
    (HERE.parent / "docs").mkdir(exist_ok=True)
    figure.savefig(HERE.parent / "docs" / "first.png", dpi=110)


if __name__ == "__main__":
    main()
