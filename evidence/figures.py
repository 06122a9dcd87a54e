"""The figures of the README and of this folder, from runs/demo (python -m ivekit demo) and the tables beside this file.

python evidence/figures.py           writes docs/first.png, recovery.png, leak.png and aggregation.png
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


def leaks() -> None:
    """The leak matrices at all sizes with ceilings and shuffled-pair floors, and the block scores between the two."""
    homes = {f: "shared" if f in FACTORS[:3] else b for f, b in zip(FACTORS, ["", "", "", *BLOCKS[1:]])}
    floors = pd.read_csv(HERE / "shuffled.csv").query("codes == 'normal'").set_index("times")
    figure = plt.figure(figsize=(11, 3.2), layout="constrained")
    *matrices, last = figure.subplots(1, 4, width_ratios=(1, 1, 1, 0.9))
    for ax, times in zip(matrices, (1, 2, 4), strict=True):
        best, floor = ceiling(times).loc["ceiling"], floors.loc[times, "largest cell"]
        viz.leak(leak(times), homes, best.to_dict(), floor, ax)
        ax.set_title(f"{times} × the true sizes\nby chance up to {floor:.3f}", fontsize=8)
    rows = pd.read_csv(HERE / "recovery.csv")
    best = rows[[f"ceiling: {f}" for f in FACTORS]].mean(axis=1)
    last.plot(rows["times"], rows["score"], "o", color=viz.CYCLE[0], markersize=4, label="a seed's block score")
    last.plot(rows["times"], best, "_", color="black", markersize=9, label="ceiling")
    last.plot(floors.index, floors["block score"], "x", color="0.5", markersize=5, label="shuffled pairs, 95 %")
    last.set(xlabel="latents, times the true number", xscale="log", ylim=(-0.03, 1.03), xlim=(0.8, 5))
    last.set_xticks((1, 2, 4), ("1", "2", "4"), minor=False)
    last.minorticks_off()
    last.legend(fontsize=6.5, loc="center")
    figure.savefig(DOCS / "leak.png", dpi=110)


def aggregation() -> None:
    """How far each way of joining beliefs stays below the evidence, in two worlds where that is exact."""
    rows = pd.read_csv(HERE / "aggregation.csv")
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 2.9), layout="constrained")
    for ax, noise in zip(axes, ("0.5", "a 0.25, b 0.5, c 1"), strict=True):
        viz.gaps(rows[rows["noise"] == noise], ax)
        ax.text(0.02, 0.95, f"noise {noise}", transform=ax.transAxes, va="top", fontsize=7)
    figure.savefig(DOCS / "aggregation.png", dpi=110)


if __name__ == "__main__":
    torch.set_num_threads(1)
    plt.rcParams.update(viz.STYLE)
    DOCS.mkdir(exist_ok=True)
    first()
    recovery()
    leaks()
    aggregation()
