"""The good files that are spoilt here: those of tests/hostile, smaller, and made of the same bytes each time."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable
from contextlib import chdir
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import h5py
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "hostile"))
import kinds  # noqa: E402
from kinds import Kind, beside, of_bids, of_fmriprep, prepared, written  # noqa: E402

from ivekit import Views, io  # noqa: E402

SIGNALS = "ECG\n" + "".join(f"{np.sin(i / 9):.2f}\n" for i in range(850))  # a window of 8 s and a bit
NOW = 1.7e9


def trials(folder: Path) -> Path:
    with h5py.File(folder / "trials.h5", "w") as file:
        file.create_dataset("meg", data=kinds.rng.random((4, 3, 20))).attrs["sfreq"] = 100.0
        file.create_dataset("label", data=[0, 1, 0, 1])
    return folder / "trials.h5"


def film(name: str, options: dict[str, str], folder: Path) -> Path:
    """A film of ten small pictures."""
    import av

    with av.open(str(folder / name), "w", options=options) as file:
        stream: Any = file.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 16, 16, "yuv420p", 5
        for _ in range(10):
            picture = kinds.rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode())
    return folder / name


def _table(path: Path) -> Views:
    return io.read_physio(path, {"ecg": "ECG"}, sfreq=100)


OWN = {
    "physio": Kind(written("a.csv", SIGNALS), _table, text=True),
    "prepare": Kind(written("s1.csv", SIGNALS), prepared, text=True),
    "mp4": Kind(partial(film, "a.mp4", {}), lambda path: io.read_video(path, [0.0], 8)),
    "mkv": Kind(partial(film, "a.mkv", {"fflags": "+bitexact"}), lambda path: io.read_video(path, [0.0], 8)),
    "trials": Kind(trials, io.read_h5),
    "metadata.tsv": Kind(beside("metadata.tsv"), lambda path: Views.open(path.parent), text=True),
}
# any file of these folders may be the spoilt one
FOLDERS = ("brainvision", "wfdb", "imzml", "info.fif", "bids", "fmriprep")
KINDS: dict[str, Kind] = {
    name: kind
    for name, kind in {**kinds.KINDS, **OWN}.items()
    if name not in ("bids events", "fmriprep mask", "participants")  # of the folders above
}
ALONE: dict[str, Callable[[Path], Any]] = {"bids": of_bids, "fmriprep": of_fmriprep}


def make(name: str, folder: Path, seed: int = 0) -> Path:
    """A good file of a kind in a folder: the same bytes on every day and in every process."""
    kinds.rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    folder.mkdir(parents=True)
    fixed = uuid.UUID(int=seed)
    with (
        chdir(folder),  # imzML files say by which path they were written
        patch("time.time", lambda: NOW),
        patch("time.asctime", lambda *_: "Tue Nov 14 22:13:20 2023"),  # MATLAB's files say when they were made
        patch("uuid.uuid4", lambda: fixed),
        patch("uuid.uuid1", lambda: fixed),
    ):
        return folder / KINDS[name].make(Path())
