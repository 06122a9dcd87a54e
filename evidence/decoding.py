"""Which network decodes MEG, in whom, and at what price? Trains each over folds; one row of decoding.csv a fit.

    python evidence/decoding.py                     goes on with the study that decoding.csv holds
    python evidence/decoding.py hand lfcnn          only these rows of it

Studies, none of which looks at a test set that was set aside:

- hand: real MEG of four wrist movements, the 160 official training trials, 10 folds, repeated with other folds;
- hand test: the official test trials, once, with the settings that "hand" had before;
- within: four simulated states at 306 sensors, 5 folds of the trials of each subject;
- across: the same, one subject left out; across248: the same at the 248 sensors of another array.

Beside every network stand, on the same rows, "lda" (shrinkage LDA on the part of the sensors below 5 Hz) and
"logistic", the linear model that every run prints (`ivekit.baselines`).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from recovery import append
from scipy.signal import butter, sosfiltfilt
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import LeaveOneGroupOut, StratifiedKFold

import ivekit as ive
from ivekit import metrics
from ivekit.baselines.linear import logistic
from ivekit.recipe import Recipe
from ivekit.training import cost, train

TABLE = Path(__file__).with_suffix(".csv")
SLOW = {"data": "hand_movement", "highest": 6.0, "noise": 1.0}
WORLD = {"n_trials": 60, "n_subjects": 4, "epochs": 20, "members": 1, "highest": 25.0}
STUDIES = {
    "hand": SLOW,
    "hand test": SLOW,
    "within": WORLD,
    "across": WORLD,
    "across248": WORLD | {"array": "magnes248"},
}
LINEAR = ("lda", "logistic")
TRANSFORMERS = ("vivit", "factorised")
SMALL = ("lfcnn", "varcnn", "eegnet", "shallow", "linear", "gru", "bigru", "lstm")
OWN = {name: {"dim": 96, "lr": 1e-3, "decay": 0.05, "epochs": 8} for name in TRANSFORMERS} | {
    "lfcnn, one": {"members": 1}
}


def study() -> Iterator[tuple[str, str, int]]:
    """The fits in the order in which they are worth having: study, who decodes, repeat."""
    for who in (*LINEAR, *SMALL, "lfcnn, one"):
        yield "hand", who, 0
    for who in ("lfcnn", "lda"):
        yield "hand test", who, 0
    for name in ("across", "across248", "within"):
        for who in (*LINEAR, "lfcnn", "bigru", *(TRANSFORMERS if name == "across" else ()), "eegnet"):
            yield name, who, 0
    for repeat in (1, 2, 3):
        for who in (*LINEAR, *SMALL):
            yield "hand", who, repeat


def rows_of(name: str) -> ive.Views:
    """All rows of a study that may be learnt from, or for the last one all rows."""
    data = Recipe("meg_decoding", STUDIES[name]).data()
    frame = data.metadata
    if name.startswith("hand"):
        split = frame["split"].replace("validation", "train")
        data = ive.Views(data.tensors, data.present, frame.assign(split=split), data.about)
        return data if name == "hand test" else data[(frame["split"] != "test").to_numpy()]
    return ive.Views(data.tensors, data.present, frame.drop(columns="split"), data.about)


def folds(name: str, data: ive.Views, repeat: int) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, training rows and test rows of each fold."""
    label, frame = data["label"].numpy(), data.metadata
    some = StratifiedKFold(10 if name == "hand" else 5, shuffle=True, random_state=repeat)
    if name == "hand":
        yield from ((f"fold {i}", a, b) for i, (a, b) in enumerate(some.split(label, label)))
    elif name == "hand test":
        test = (frame["split"] == "test").to_numpy()
        yield "official", np.flatnonzero(~test), np.flatnonzero(test)
    elif name == "within":
        for subject in frame["subject"].unique():
            own = np.flatnonzero(frame["subject"] == subject)
            for i, (a, b) in enumerate(some.split(own, label[own])):
                yield f"{subject} fold {i}", own[a], own[b]
    else:
        for a, b in LeaveOneGroupOut().split(label, label, frame["subject"]):
            yield f"without {frame['subject'].iloc[b[0]]}", a, b


def told(name: str, who: str, repeat: int, rest: ive.Views, test: ive.Views) -> tuple[np.ndarray, dict[str, float]]:
    """Class probabilities of the test rows, and what they cost."""
    began, label = time.process_time(), rest["label"].numpy()
    if who == "lda":
        x, x_new = slow(rest), slow(test)
        fitted = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(x, label)
        return fitted.predict_proba(x_new), {"seconds": time.process_time() - began}
    if who == "logistic":
        x, x_new = (views["meg"].flatten(1).numpy() for views in (rest, test))
        guess = logistic(x / x.std(), label, x_new / x.std())
        return np.eye(label.max() + 1)[guess], {"seconds": time.process_time() - began}
    settings = STUDIES[name] | OWN.get(who, {}) | {"encoder": who.split(",")[0], "seed": repeat}
    recipe = Recipe("meg_decoding", settings)
    model = recipe.model(rest)
    for _ in train(model, recipe.objective(rest), rest, **recipe.training(rest)):
        pass
    price = cost(model, rest[:16])._asdict() | {"seconds": time.process_time() - began}
    with torch.no_grad():
        return model.eval()(test).p["label"].mean.numpy(), price


def slow(data: ive.Views) -> np.ndarray:
    """The magnetometers below 5 Hz: every second sample of ten of them, every twelfth of more."""
    mags = [i for i, kind in enumerate(data.about["meg"].kinds) if kind == "mag"]
    sfreq = data.about["meg"].sfreq
    waves = sosfiltfilt(butter(4, 5.0, fs=sfreq, output="sos"), data["meg"][:, mags].numpy(), axis=-1)
    step = 2 if waves.shape[1] == 10 else 12
    return waves[..., ::step].reshape(len(waves), -1)


def main(arguments: list[str]) -> None:
    torch.set_num_threads(1)
    keys = ["study", "who", "repeat", "fold"]
    done = set() if not TABLE.exists() else set(map(tuple, pd.read_csv(TABLE)[keys].astype(str).to_numpy()))
    data: dict[str, ive.Views] = {}
    for name, who, repeat in study():
        if any(wanted not in (name, who) for wanted in arguments):
            continue
        rows = data[name] = data.get(name) or rows_of(name)
        for fold, a, b in folds(name, rows, repeat):
            if (name, who, str(repeat), fold) in done:
                continue
            p, price = told(name, who, repeat, rows[a], rows[b])
            scores = metrics.decoding(rows["label"][b].numpy(), p)
            said = {"study": name, "who": who, "repeat": repeat, "fold": fold, "rows": len(a), "test": len(b)}
            price = {key: price.get(key, "") for key in ("parameters", "flop", "megabytes", "seconds")}
            append(TABLE, said | {key: _short(value) for key, value in (scores | price).items()})
            print(f"{name:10} {who:12} {repeat} {fold:14} {scores['accuracy']:.3f}", flush=True)


def _short(value: float | str) -> float | str:
    return value if isinstance(value, str | int) else float(f"{value:.4g}")


if __name__ == "__main__":
    main(sys.argv[1:])
