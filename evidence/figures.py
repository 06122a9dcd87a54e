"""The figures of the README and of this folder, from runs/demo (python -m ivekit demo), recovery.csv and sweep.csv.

python evidence/figures.py           writes docs/first.png and docs/recovery.png
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import torch

from ivekit import recipe, viz
from ivekit.topomap import Topomap

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
BLOCKS = ["shared", "meg", "video", "behaviour"]
FACTORS = ["position", "motion", "size", "vigilance", "contrast", "caution"]


def leak(times: int = 2) -> pd.DataFrame:
    """Blocks x factors: mean R2 over the seeds of the study, negative ones shown as 0."""
    rows = pd.read_csv(HERE / "recovery.csv").query("times == @times")
    return pd.DataFrame({f: [max(0.0, rows[f"{b}: {f}"].mean()) for b in BLOCKS] for f in FACTORS}, index=BLOCKS)


def ceiling(times: int) -> pd.DataFrame:
    """The best supervised reader of each factor: mean R2 over the seeds."""
    rows = pd.read_csv(HERE / "recovery.csv").query("times == @times")
    return pd.DataFrame({f: [rows[f"ceiling: {f}"].mean()] for f in FACTORS}, index=["ceiling"])


def first() -> None:
    """What the demonstration's model says of a held-out trial, and what is read of every factor in every block."""
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
    figure.savefig(DOCS / "first.png", dpi=110)


def recovery() -> None:
    """The leak matrices at all sizes beside the ceiling, and the sweep of settings."""
    figure = plt.figure(figsize=(11, 3.9), layout="constrained")
    *matrices, last = figure.subplots(1, 4, width_ratios=(1, 1, 1, 0.9))
    for ax, times in zip(matrices, (1, 2, 4), strict=True):
        table = pd.concat([leak(times), ceiling(times)])
        viz.matrix(table.to_numpy(), list(table.index), list(table.columns), ax, label="R², held-out rows", limit=1.0)
        scores = pd.read_csv(HERE / "recovery.csv").query("times == @times")["score"]
        said = ", ".join(f"{score:.2f}" for score in scores)
        ax.set_title(f"{times} × the true sizes\nblock scores {said}", fontsize=8)
    sweep = pd.read_csv(HERE / "sweep.csv", keep_default_na=False)
    last.plot(sweep["score"], range(len(sweep)), "o", color="black", markersize=4)
    last.axvline(sweep["score"][sweep["changed"] == "nothing"].item(), color="0.7", lw=0.8)
    last.set_yticks(range(len(sweep)), sweep["changed"], fontsize=7)
    last.set(xlabel="block score", xlim=(0, 1), title="one setting changed (one seed)")
    last.invert_yaxis()
    figure.savefig(DOCS / "recovery.png", dpi=110)


if __name__ == "__main__":
    torch.set_num_threads(1)
    plt.rcParams.update(viz.STYLE)
    DOCS.mkdir(exist_ok=True)
    first()
    recovery()
