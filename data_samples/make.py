"""Makes the recording of this folder: files as a laboratory has them, of a simulated experiment whose truth is known.

    python data_samples/make.py [folder]

The same bytes come out each time: the simulation is seeded, FIF files are stored without the time and the machine they
were made on, and the film is coded by one thread, without the coder's version.
"""

from __future__ import annotations

import json
import struct
import sys
from fractions import Fraction
from pathlib import Path

import av
import mne
import numpy as np
import pandas as pd

from ivekit import synth
from ivekit.fif import HEAD

HERE = Path(__file__).parent
N_SUBJECTS, N_TRIALS = 4, 48
# 192 trials are few: with evoked fields of twice the noise (6 dB) a model learns in them what 0 dB shows in 2,000
WORLD = dict(n_trials=N_SUBJECTS * N_TRIALS, n_subjects=N_SUBJECTS, seed=0, snr_db=6.0)
NO_FILM = {("s02", 11), ("s02", 12)}  # trials in which the projector was off
REJECTED = {("s03", 17): "MUSCLE"}  # trials whose MEG was dropped
PAUSES = (4, 8)  # frames of grey between two films, from and to
GREY = 128
ID_STRUCT = 31  # FIFF type of the identities that hold a machine and a time


def make(folder: Path) -> None:
    """Writes all the files into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    world = synth.audiovisual(**WORLD)
    keys = world.views.metadata[["subject", "trial"]].reset_index(drop=True)
    pauses = np.random.default_rng(1).integers(PAUSES[0], PAUSES[1] + 1, len(keys))
    for subject, rows in keys.groupby("subject").indices.items():
        name, views = f"sub-{subject[1:]}", world.views[rows]
        rises = (world.factors["motion"].iloc[rows] > 0).to_numpy()
        write_meg(folder / f"{name}_epo.fif", views, rises)
        onsets = write_film(folder / f"{name}_stimuli.mp4", views, pauses[rows])
        write_behaviour(folder / f"{name}_beh.tsv", views, onsets)
    pd.concat([keys, world.factors.round(6)], axis=1).to_csv(folder / "truth.tsv", sep="\t", index=False)


def write_meg(path: Path, views, rises: np.ndarray) -> None:
    """Epochs in tesla; what the patch did is the event."""
    sensors, keys = views.about["meg"], views.metadata[["subject", "trial"]].reset_index(drop=True)
    info = sensors.info.copy()
    info["subject_info"] = {"his_id": path.name.split("_")[0]}
    events = np.stack([250 * np.arange(1, len(views) + 1), 0 * rises, np.where(rises, 1, 2)], axis=1)
    x = views["meg"].numpy().astype("f8") * 1e-15
    named = {"rises": 1, "falls": 2}
    epochs = mne.EpochsArray(x, info, events, sensors.tmin, named, metadata=keys, verbose="error")
    for row, key in reversed(list(enumerate(keys.itertuples(index=False, name=None)))):
        if key in REJECTED:
            epochs.drop([row], reason=REJECTED[key], verbose="error")
    epochs.save(path, fmt="single", overwrite=True, verbose="error")
    forget_time_and_machine(path)


def forget_time_and_machine(path: Path) -> None:
    """Blanks the computer and the moment in every identity of a FIF file: version, two numbers, s, us."""
    data, at, following = bytearray(path.read_bytes()), 0, 0
    while following != -1:
        _, kind, size, following = HEAD.unpack_from(data, at)
        at += HEAD.size
        if kind == ID_STRUCT:
            data[at + 4 : at + size] = struct.pack(">4i", 0, 0, 0, 2**31 - 1)  # MNE reads this moment as no date
        at = following if following > 0 else at + size
    path.write_bytes(data)


def write_film(path: Path, views, pauses: np.ndarray) -> list[float]:
    """All trials one after another with grey between; the second at which each begins, NaN where there is no film."""
    onsets, frames, fps = [], [], round(views.about["video"]["fps"])
    keys = views.metadata[["subject", "trial"]].itertuples(index=False, name=None)
    films = np.rint(255 * views["video"].numpy()).astype(np.uint8)[:, 0]
    blank = np.full_like(films[0, 0], GREY)
    for film, pause, key in zip(films, pauses, keys):
        frames += [blank] * pause
        onsets.append(np.nan if key in NO_FILM else len(frames) / fps)
        frames += [] if key in NO_FILM else list(film)
    encode(path, [*frames, blank, blank], fps)
    return onsets


def encode(path: Path, frames: list[np.ndarray], fps: int) -> None:
    """H.264 that every player knows, and the same bytes on every run."""
    with av.open(str(path), "w", options={"fflags": "+bitexact", "movflags": "+faststart"}) as film:
        stream = film.add_stream("libx264", rate=fps)
        stream.height, stream.width = frames[0].shape
        stream.pix_fmt, stream.gop_size = "yuv420p", 30
        stream.codec_context.thread_count = 1
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        stream.options = {"crf": "16", "x264-params": "threads=1:cpu-independent=1"}
        for i, grey in enumerate(frames):
            film.mux(stream.encode(luma(grey, i, Fraction(1, fps))))
        film.mux(stream.encode())


def luma(grey: np.ndarray, i: int, unit: Fraction) -> av.VideoFrame:
    """A grey picture as brightness from 16 to 235 (ITU-R BT.601) and no colour."""
    h, w = grey.shape
    planes = np.full((h * 3 // 2, w), 128, np.uint8)
    planes[:h] = np.rint(16 + 219 / 255 * grey)
    frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
    frame.pts, frame.time_base = i, unit
    return frame


def write_behaviour(path: Path, views, onsets: list[float]) -> None:
    """What the subject did, one row a trial, and beside it a description of the columns, as in BIDS."""
    about = views.about["behaviour"]
    frame = views.metadata[["subject", "trial"]].reset_index(drop=True).assign(film_onset=onsets)
    answers = pd.DataFrame(views["behaviour"].numpy().astype("f8").round(4), columns=about["columns"])
    answers = answers.astype({"choice": int})
    pd.concat([frame.round(6), answers], axis=1).to_csv(path, sep="\t", index=False, na_rep="n/a")
    units = {"film_onset": "s", **dict(zip(about["columns"], about["units"]))}
    said = {column: {"Units": unit} for column, unit in units.items()}
    path.with_suffix(".json").write_text(json.dumps(said, indent=1) + "\n")


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
