"""Which of eight objects is seen, from half a slice of BOLD, and the BOLD from the object: each run held out in turn.

    python evidence/fmri.py                 goes on with the study that fmri.csv holds

Each row is a held-out run. Nothing is chosen on it: settings are those below for every run, and the networks' last
weights are scored. `volume` and `block` are the parts of right answers (chance 0.125), a block's by its mean log
probability; `explained` the part of the BOLD's variance that is told from the object, R2 against the training mean.
Reference, linear models of others on the same half slice: 0.66 a volume, 0.72 a block.
"""

from __future__ import annotations

import csv
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from torch import nn

import ivekit as ive
from ivekit import io, metrics
from ivekit.nn import Categorical, Diffusion, Gaussian, MLPDecoder, MLPDenoiser, MLPEncoder
from ivekit.signal.fmri import leave_one_run_out
from ivekit.training import one_cycle, train

TABLE = Path(__file__).with_suffix(".csv")
N_PARTS = 64  # principal directions of the training volumes in which BOLD is told; the rest is the mean


def right(log_p: np.ndarray, y: np.ndarray, blocks: np.ndarray) -> tuple[float, float]:
    """The parts of volumes and of blocks that are told right."""
    numbers = np.unique(blocks)
    said = [log_p[blocks == k].mean(0).argmax() for k in numbers]
    true = [y[blocks == k][0] for k in numbers]
    return float((log_p.argmax(1) == y).mean()), float(np.mean(np.array(said) == true))


def network(rows: ive.Views, seed: int, dropout: float = 0.5, dim: int = 64) -> ive.Conditional:
    """Category from BOLD: voxels dropped at random, one hidden layer."""
    torch.manual_seed(seed)
    n = rows["bold"].shape[1]
    encoder = nn.Sequential(nn.Dropout(dropout), MLPEncoder(n, dim))
    model = ive.Conditional({"bold": encoder}, {"category": Categorical(nn.Linear(dim, 8))})
    model.decoders["category"].net = _First(nn.Sequential(nn.Dropout(dropout), nn.Linear(dim, 8)))
    return model


class _First(nn.Module):
    """A network of z alone."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, z: torch.Tensor, context: object = None) -> torch.Tensor:
        return self.net(z)


def fit(model: nn.Module, rows: ive.Views, epochs: int, seed: int, lr: float = 2e-3, decay: float = 1e-2) -> None:
    """Trains with the settings of all."""
    adam = lambda weights: torch.optim.AdamW(weights, lr=lr, weight_decay=decay)  # noqa: E731
    settings = dict(epochs=epochs, batch_size=64, lr=lr, optimizer=adam, scheduler=one_cycle, seed=seed)
    for _ in train(model, ive.Objective(nll=ive.NLL()), rows, **settings):
        pass


def decode(views: ive.Views, inside: np.ndarray, outside: np.ndarray, seed: int) -> dict[str, float]:
    """Who tells the object of a run that was held out, and how often."""
    x, y = views["bold"].numpy(), views["category"].numpy()
    blocks = views.metadata["block"].to_numpy()[outside]
    ridge = RidgeClassifier(alpha=1e3).fit(x[inside], y[inside])
    logistic = LogisticRegression(C=1e-3, max_iter=500).fit(x[inside], y[inside])
    model = network(views, seed)
    fit(model, views[inside], 30, seed)
    with torch.no_grad():
        told = model(views[outside]).p["category"].mean.log().numpy()
    said = {"ridge": ridge.decision_function(x[outside]), "logistic": logistic.predict_log_proba(x[outside])}
    found = {}
    for who, log_p in {**said, "network": told}.items():
        found[f"{who} volume"], found[f"{who} block"] = right(log_p, y[outside], blocks)
    return found


def encode(views: ive.Views, inside: np.ndarray, outside: np.ndarray, seed: int) -> dict[str, float]:
    """How much of the BOLD of a held-out run is told from the object, and how well its spread."""
    x, c = views["bold"].numpy(), views["stimulus"].numpy()
    mean = x[inside].mean(0)
    _, _, v = np.linalg.svd(x[inside] - mean, full_matrices=False)
    parts = torch.from_numpy((x - mean) @ v[:N_PARTS].T).float()
    rows = ive.Views({"stimulus": views["stimulus"], "bold": parts})
    truth, found = parts[outside].numpy(), {}
    linear = Ridge(alpha=10.0).fit(c[inside], x[inside]).predict(c[outside])
    found["ridge explained"] = metrics.r2(x[outside], linear, mean)
    sizes = dict(stimulus=ive.ZScore(), bold=ive.ZScore())
    for who, decoder, epochs in (
        ("gaussian", Gaussian(MLPDecoder(32, N_PARTS, (64,)), nn.Parameter(torch.zeros(N_PARTS))), 15),
        ("diffusion", Diffusion(MLPDenoiser(32, N_PARTS, 192), N_PARTS, steps=15), 60),
    ):
        standardise = ive.Standardise.fit(rows[inside], **sizes)
        model = ive.Conditional({"stimulus": MLPEncoder(8, 32)}, {"bold": decoder}, standardise=standardise)
        fit(model, rows[inside], epochs, seed)
        with torch.no_grad():
            torch.manual_seed(seed)
            p = model(rows[outside]).p["bold"]
            samples, told = p.sample((32,)).numpy(), p.mean.numpy() @ v[:N_PARTS] + mean
        found[f"{who} explained"] = metrics.r2(x[outside], told, mean)
        found[f"{who} energy"] = float(metrics.energy_score(samples, truth).mean())
        found[f"{who} crps"] = float(metrics.crps(samples, truth).mean())
    return found


def study(run: int, seed: int = 0) -> dict[str, float]:
    """One run held out."""
    views = io.read_haxby()
    folds = {int(name): (inside, outside) for name, inside, outside in leave_one_run_out(views.metadata["run"])}
    frame = views.metadata.assign(split="train")  # the fold says what is held out
    views = ive.Views(views.tensors, views.present, frame, views.about)
    began = time.process_time()
    torch.manual_seed(seed)
    found = decode(views, *folds[run], seed) | encode(views, *folds[run], seed)
    return {"run": run, "seed": seed} | found | {"seconds": time.process_time() - began}


def main() -> None:
    """Studies what is not in the table yet."""
    torch.set_num_threads(1)
    done = set(pd.read_csv(TABLE)["run"]) if TABLE.exists() else set()
    asked = [int(run) for run in sys.argv[1:]] or range(12)
    for run in asked:
        if run in done:
            continue
        row = {name: round(float(value), 4) for name, value in study(run).items()}
        new = not TABLE.exists()
        with TABLE.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, row, lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow(row | {"run": run, "seed": int(row["seed"])})
        print(f"run {run}: {row}")


if __name__ == "__main__":
    main()
