"""Does the default recipe find the truth of a simulated world? Trains it over seeds and latent sizes; one row a run.

    python evidence/recovery.py             goes on with the study that recovery.csv holds
    python evidence/recovery.py 0 2         only seed 0 at twice the true sizes

Each row has what a linear readout finds of every factor in every latent block (R2 on test rows, which choose nothing),
the block score, what single views tell, and beside it the ceiling: the best of a supervised network, kernel ridge and,
for MEG, the whitened matched filter on the true fields and courses.
"""

from __future__ import annotations

import csv
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.kernel_ridge import KernelRidge
from torch import nn

import ivekit as ive
from ivekit import metrics
from ivekit.nn import FrameConv, MLPEncoder, SensorBasis
from ivekit.recipe import Recipe, parts
from ivekit.training import latents, train

TABLE = Path(__file__).with_suffix(".csv")
TRUE_SHARED, TRUE_PRIVATE = 3, 3  # three factors; a film's own are its contrast and the two of its grating's phase
STUDY = [(seed, times) for times in (2, 4, 1) for seed in (0, 1, 2)]


def study(seed: int, times: int, n_trials: int = 2048, **changed: float) -> dict[str, float]:
    """One run: a seed's world, the recipe at a multiple of the true sizes and with other settings, and what is read."""
    sizes = dict(shared=TRUE_SHARED * times, private=TRUE_PRIVATE * times)
    settings = dict(data="world", n_trials=n_trials, seed=seed, epochs=30) | sizes | changed
    recipe = Recipe("ive", settings)
    world = ive.synth.audiovisual(n_trials, seed=seed)
    rows = parts(recipe.data())
    model, began = recipe.model(rows["train"]), time.perf_counter()
    for _ in train(model, recipe.objective(rows["train"]), rows["train"], **recipe.training(rows["train"])):
        pass
    took = time.perf_counter() - began
    split = world.views.metadata["split"].to_numpy()
    fit, test = split != "test", split == "test"
    codes = {block: z.numpy() for block, z in latents(model, world.views).items()}
    leak = metrics.block_readout(codes, world.factors, fit, test)
    said = {"seed": seed, "times": times, "n_trials": n_trials, "seconds": round(took)}
    said["score of all latents"] = metrics.block_score(leak, world.owners)
    used = {block: z[:, _active(z[fit])] for block, z in codes.items()}
    leak = metrics.block_readout(used, world.factors, fit, test)
    said["score"] = metrics.block_score(leak, world.owners)
    said |= {f"{block}: {factor}": leak.loc[block, factor] for block in leak.index for factor in leak.columns}
    for view in world.views:
        alone = latents(model, world.views.without(*(set(world.views) - {view})))["shared"].numpy()
        one = metrics.block_readout({"shared": alone}, world.factors, fit, test)
        said |= {f"{view} alone: {factor}": one.loc["shared", factor] for factor in one.columns}
    return said


def _active(z: np.ndarray) -> np.ndarray:
    """The latents that carry something: the variance of their means is over 0.01 (Burda et al., 2016).

    What is below is a collapsed latent, whose mean can be read when it is blown up, but whose samples no decoder can
    tell from the prior. Where all have collapsed, the largest is kept.
    """
    variance = z.var(0)
    return variance >= min(0.01, variance.max())


def ceiling(seed: int, n_trials: int = 2048) -> dict[str, float]:
    """The best that is known of each factor, from all views and from each alone, by who is told the factors."""
    world = ive.synth.audiovisual(n_trials, seed=seed)
    split = world.views.metadata["split"].to_numpy()
    fit, test = split != "test", split == "test"
    features = {view: _network(world, view, fit, seed) for view in world.views}
    features["meg"] = [features["meg"], _matched(world, fit)]
    said = {}
    for factor, owners in world.owners.items():
        column, y = list(world.factors).index(factor), world.factors[factor].to_numpy()
        best = {}
        for view in owners:
            mine = features[view] if view == "meg" else [features[view]]
            scored = [(metrics.readout(z[fit], y[fit], z[test], y[test]), z) for z in (m[:, [column]] for m in mine)]
            said[f"ceiling {view} alone: {factor}"], best[view] = max(scored, key=lambda pair: pair[0])
        z = np.concatenate(list(best.values()), 1)
        kernel = KernelRidge(kernel="rbf", gamma=0.1, alpha=0.1).fit(z[fit], y[fit]).predict(z[test])
        said[f"ceiling: {factor}"] = max(
            metrics.readout(z[fit], y[fit], z[test], y[test]),
            metrics.r2(y[test], kernel, mean=y[fit].mean()),
        )
    return said


def _network(world: ive.synth.World, view: str, fit: np.ndarray, seed: int, epochs: int = 30) -> np.ndarray:
    """What a network trained on the factors themselves says of every row: out of fold for the rows it learns from."""
    shape = tuple(world.views[view].shape[1:])
    rows = world.views[view][fit]
    transform = (ive.Whiten(12) if view == "meg" else ive.ZScore()).fit(rows, torch.ones(len(rows)) > 0)
    x, y = transform(world.views[view]), torch.tensor(world.factors.to_numpy("f4"))
    made = {
        "meg": lambda: SensorBasis(*shape, 64, 24, 16, 32),
        "video": lambda: FrameConv(shape, 64),
        "behaviour": lambda: MLPEncoder(*shape, 64),
    }
    said, shuffle = np.zeros(y.shape), np.random.default_rng(seed)
    order = shuffle.permutation(np.flatnonzero(fit))
    halves = np.array_split(order, 2)
    for held, learn in ((halves[0], halves[1]), (halves[1], halves[0]), (np.flatnonzero(~fit), order)):
        torch.manual_seed(seed)
        net = nn.Sequential(made[view](), nn.Flatten(), nn.Linear(64, y.shape[1]))
        optimizer = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=1e-2)
        steps = epochs * -(-len(learn) // 64)
        rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
        for _ in range(epochs):
            for rows in torch.as_tensor(shuffle.permutation(learn)).split(64):
                loss = (net(x[rows]) - y[rows]).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                rate.step()
        with torch.no_grad():
            said[held] = net(x[torch.as_tensor(held)]).numpy()
    return said


def _matched(world: ive.synth.World, fit: np.ndarray) -> np.ndarray:
    """The matched filter of every factor: its true field and course, whitened in space by the baseline and in time."""
    x = world.views["meg"].numpy().astype(float)
    x = x - x[fit].mean(0)
    base = x[fit][:, :, :12].transpose(1, 0, 2).reshape(x.shape[1], -1)
    noise = np.cov(base)
    noise += 1e-3 * np.trace(noise) / len(noise) * np.eye(len(noise))
    said = np.zeros((len(x), len(world.owners)))
    for i, factor in enumerate(world.owners):
        if factor in world.topographies:
            course = np.einsum("bct,c->bt", x, np.linalg.solve(noise, world.topographies[factor]))
            said[:, i] = course @ np.linalg.solve(np.cov(course[fit].T), world.time_courses[factor])
    return said


def append(table: Path, row: dict) -> None:
    """One more row of a CSV, with the head if it is the first."""
    new = not table.exists()
    with table.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


def main(arguments: list[str]) -> None:
    torch.set_num_threads(1)
    wanted = [tuple(map(int, arguments))] if arguments else STUDY
    done = set() if not TABLE.exists() else set(map(tuple, pd.read_csv(TABLE)[["seed", "times"]].to_numpy().tolist()))
    for seed, times in wanted:
        if (seed, times) in done:
            continue
        row = {name: round(float(value), 4) for name, value in (study(seed, times) | ceiling(seed)).items()}
        append(TABLE, row)
        print(f"seed {seed}, {times} times the true sizes: block score {row['score']:.3f} in {row['seconds']:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
