"""Recordings that the project knows: the simulated one beside the code, and real ones, which `fetch` finds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import one_hot

from ..signal import Sensors
from ..signal.sampling import Number, resample
from ..views import Views
from .fetch import fetch
from .guard import reading
from .meg import read_meg
from .physio import read_physio
from .table import read_table
from .trials import join
from .ts import read_ts
from .video import read_video

BANDS = {"ecg": (0.5, 14.0), "ppg": (0.5, 8.0), "rsp": (0.05, 2.0), "eda": (None, 3.0)}  # Hz, where the signal is
BEHAVIOUR = ("reaction_time", "choice", "confidence", "pupil", "movement_time", "rating")


def read_samples(folder: str | Path | None = None, seed: int = 0) -> Views:
    """The small recording in data_samples: MEG, film and behaviour of 4 subjects, simulated, as real files.

    folder : by default the one that came with ivekit.
    seed : of the split of each subject's trials into 70 % train, 10 % validation and 20 % test.

    meg (b, 102, 60) in fT, video (b, 1, 16, 32, 32) in [0, 1], behaviour (b, 6); a few trials lack one of them.
    `metadata`: subject, trial, split, event_name (what the object did) and more.

    Raises
    ------
    FileNotFoundError : when the folder holds no recording.

    >>> read_samples()["meg"].shape
    torch.Size([192, 102, 60])
    """
    folder = _came_with() if folder is None else Path(folder)
    subjects = sorted(path.name.removesuffix("_epo.fif") for path in folder.glob("sub-*_epo.fif"))
    if not subjects:
        raise FileNotFoundError(
            f"there is no recording sub-*_epo.fif in {folder}: a wheel and the repository (data_samples) have them; "
            "install one of the two again, or name a folder that has such files"
        )
    tables = [read_table(folder / f"{s}_beh.tsv", BEHAVIOUR) for s in subjects]
    frames: list[Any] = [table.metadata for table in tables]
    films = [
        read_video(folder / f"{s}_stimuli.mp4", frame["film_onset"], 16, metadata=frame)
        for s, frame in zip(subjects, frames)
    ]
    megs = [read_meg(folder / f"{s}_epo.fif") for s in subjects]
    views = join({"meg": Views.concat(megs), "video": Views.concat(films), "behaviour": Views.concat(tables)})
    frame: Any = views.metadata
    split = _splits(frame[["subject", "trial"]], frame["subject"], seed)
    return Views(views.tensors, views.present, frame.assign(split=split), views.about)


def _came_with() -> Path:
    """The recording in an installed package, or in the repository."""
    package = Path(__file__).parents[1]
    return package / "samples" if (package / "samples").is_dir() else package.parent / "data_samples"


def read_hand_movement(folder: str | Path | None = None, seed: int = 0) -> Views:
    """Real MEG of one subject who moved the wrist in one of four directions (Waldert et al., 2008).

    folder : by default `fetch`'s; the UEA archive's HandMovementDirection_TRAIN.ts and _TEST.ts, or X_train.npy,
        y_train.npy, X_test.npy, y_test.npy.
    seed : of the validation rows, 10 % of the archive's training rows, as many of each movement.

    meg (234, 10, 125): ten sensors over the motor cortex, 1 s at 125 Hz; neither their positions nor the unit are known
    (the numbers are of the size of fT). behaviour (234, 4): 1 for the movement made. `metadata`: movement (0 to 3, in
    the file's own order), split (test as in the archive).
    """
    x, y, split = _movements(_folder("meg_hand_movement", folder))
    frame = pd.DataFrame({"movement": y.astype(int), "split": split})
    train = frame["split"] == "train"
    share = _shares(frame[train].reset_index()[["index"]], frame.loc[train, "movement"], seed)
    frame.loc[train, "split"] = np.where(share > 0.9, "validation", "train")
    names = [f"MEG {c + 1}" for c in range(x.shape[1])]
    meg = torch.from_numpy(resample(x, 400, 125)).float()
    behaviour = one_hot(torch.from_numpy(y.astype(int)), 4).float()
    about = {
        "meg": Sensors(
            names, np.full((len(names), 2), np.nan), ["mag"] * len(names), 125.0,
            history=("resampled from 400 to 125 Hz",), units=[""] * len(names),
        ),
        "behaviour": {"columns": [f"movement {i}" for i in range(4)], "units": ["0 or 1"] * 4},
    }  # fmt: skip
    return Views({"meg": meg, "behaviour": behaviour}, metadata=frame, about=about)


def _movements(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Trials (b, c, t), what was moved (b,), and train or test (b,)."""
    if not (folder / "X_train.npy").exists():
        rows = read_ts([folder / f"HandMovementDirection_{part}.ts" for part in ("TRAIN", "TEST")])
        frame: Any = rows.metadata
        return rows["signal"].numpy(), rows["label"].numpy(), frame["split"].to_numpy()
    parts = [(_load(folder / f"X_{split}.npy"), _load(folder / f"y_{split}.npy")) for split in ("train", "test")]
    x, y = (np.concatenate(each) for each in zip(*parts))
    if x.ndim != 3 or len(x) != len(y):
        raise ValueError(
            f"{folder.name} must hold X (trials, channels, times) and y (trials,), got {x.shape} and {y.shape}"
        )
    return x, y, np.repeat(["train", "test"], [len(y) for _, y in parts])


def read_resting(
    folder: str | Path | None = None, seed: int = 0, step: Number = 2.0, filtered: bool = False, scale: str = "none"
) -> Views:
    """Real heart, skin and breath of two people at rest and in a task: windows of 8 s at 30 Hz (Makowski et al., 2021).

    folder : by default `fetch`'s physio; example recordings of NeuroKit2.
    seed : of which minutes are test (20 %) and validation (10 %): windows of different splits share no sample.
    step : seconds from one window to the next. filtered : whether each signal is kept to its band, `BANDS`.
    scale : "none", "recording" or "window", see `read_physio`.

    ecg, eda and rsp (b, 1, 240), in microsiemens (eda) and the files' own units (ecg, rsp) where they are not scaled.
    """
    names = ("bio_resting_8min_100hz", "bio_eventrelated_100hz")
    columns = {"ecg": "ECG", "eda": "EDA", "rsp": "RSP"}
    return _minutes(names, columns, folder, seed, step, filtered, scale, units={"eda": "uS"})


def read_pulse(
    folder: str | Path | None = None, seed: int = 0, step: Number = 2.0, filtered: bool = False, scale: str = "none"
) -> Views:
    """Real heart, pulse and breath of one person at rest for five minutes: windows as those of `read_resting`.

    ecg, ppg and rsp (b, 1, 240); of the five minutes, three are for training, one is validation and one is test.
    """
    columns = {"ecg": "ECG", "ppg": "PPG", "rsp": "RSP"}
    return _minutes(("bio_resting_5min_100hz",), columns, folder, seed, step, filtered, scale)


def _minutes(
    names: Sequence[str], columns: dict[str, str], folder: str | Path | None, seed: int, step: Number, filtered: bool,
    scale: str, **how: Any,
) -> Views:  # fmt: skip
    """Recordings at 100 Hz as windows, split by whole minutes."""
    folder = _folder("physio", folder)
    band = {view: BANDS[view] for view in columns} if filtered else {}
    ready: Any = dict(sfreq=100, step=step, band=band, scale=scale, **how)
    views = Views.concat(read_physio(folder / f"{name}.csv", columns, **ready) for name in names)
    frame: Any = views.metadata
    frame = frame.reset_index(drop=True)
    split = _splits(frame[["recording", "block"]], frame["recording"], seed)
    return Views(views.tensors, views.present, frame.assign(split=split), views.about)


def _folder(name: str, folder: str | Path | None) -> Path:
    """A set of real recordings: the folder given, or `fetch`'s."""
    if folder is None:
        return fetch(name)
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    return Path(folder)


def _load(path: Path) -> np.ndarray:
    with reading(path, "array"):
        return np.load(path, allow_pickle=False)


def _splits(units: pd.DataFrame, strata: pd.Series, seed: int) -> np.ndarray:
    """train, validation or test for each row: rows of one unit together, as many in each stratum."""
    share = _shares(units, strata, seed)
    return np.select([share <= 0.7, share <= 0.8], ["train", "validation"], "test")


def _shares(units: pd.DataFrame, strata: pd.Series, seed: int) -> np.ndarray:
    """A number in (0, 1] for each row, even within each stratum, the same for rows of one unit."""
    unit = units.groupby(list(units), sort=True).ngroup().to_numpy()
    drawn = np.random.default_rng(seed).random(unit.max() + 1)
    stratum = pd.Series(strata.to_numpy()).groupby(unit).first()
    return pd.Series(drawn).groupby(stratum.to_numpy()).rank(pct=True).to_numpy()[unit]
