"""Recordings cut into HDF5 files, one matrix of channels and samples each, named {task}_{subject}_{chunk}.h5."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from ..signal import Sensors
from ..signal.filters import windows
from ..signal.sampling import Number, resample
from ..views import Views

logger = logging.getLogger(__name__)
NAME = re.compile(r"(?P<task>.+)_(?P<subject>[^_]+)_(?P<chunk>[^_]+)")


def read_h5(
    paths: str | Path | Iterable[str | Path],
    old: Number = 2034,
    sfreq: Number = 125,
    window: Number = 1.0,
    step: Number | None = None,
    scale: Number = 1.0,
    sensors: Sensors | None = None,
) -> Views:
    """Windows of long recordings, and which task each is from.

    paths : a folder with files ``{task}_{subject}_{chunk}.h5``, or such files. Each holds one matrix, channels x
        samples, under any name.
    old, sfreq : samples a second in the files, and of the result, between which lies a filter against aliases
        (`ivekit.io.resample`). window, step : seconds of a window, and from one to the next; windows that touch by
        default. A last one that would be short is left out.
    scale : what the numbers are multiplied with; 1e15 makes fT of T.
    sensors : what the channels are; without, they have names and no places.

    meg (b, c, t) and label (b,), the number of the task in alphabetical order, whose names are ``about["label"]``.
    `metadata`: task, subject, chunk, start (seconds in the chunk). Windows of one chunk are neighbours in time: split
    by chunk or by subject, never by window.

    Raises
    ------
    FileNotFoundError : when there is no such file.
    ValueError : for a name of another form, a file without one matrix, a matrix that looks transposed, or files of
        different numbers of channels.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for task in ("rest", "task_motor"):
    ...     with h5py.File(folder / f"{task}_105923_1.h5", "w") as file:
    ...         _ = file.create_dataset("data", data=np.zeros((248, 2034 * 3)))
    >>> read_h5(folder)
    Views of 6 rows
      meg    (248, 125)  248 mag at 125 Hz
      label  ()
      metadata: task, subject, chunk, start
    """
    files = _files(paths)
    n, by = round(window * sfreq), round((window if step is None else step) * sfreq)
    tables, parts = [], []
    for path in files:
        x = resample(scale * _matrix(path), old, sfreq)
        if x.shape[1] < n:
            logger.warning("%s is shorter than one window of %g s, and is left out", path.name, window)
            continue
        parts.append(windows(x, n, by).astype(np.float32))
        if parts[-1].shape[1] != parts[0].shape[1]:
            raise ValueError(f"{path.name} has {parts[-1].shape[1]} channels, those before it {parts[0].shape[1]}")
        tables.append(pd.DataFrame(_named(path) | {"start": np.arange(len(parts[-1])) * by / sfreq}))
    if not parts:
        raise ValueError(f"none of {len(files)} files is as long as a window of {window} s")
    return _views(np.concatenate(parts), pd.concat(tables, ignore_index=True), sensors, float(sfreq))


def _files(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    one = isinstance(paths, str | Path)
    found = sorted(Path(paths).glob("*.h5")) if one and Path(paths).is_dir() else []
    found = found or ([Path(paths)] if one else [Path(path) for path in paths])
    if gone := [str(path) for path in found if not path.is_file()]:
        raise FileNotFoundError(f"there is no recording {{task}}_{{subject}}_{{chunk}}.h5 at {', '.join(gone[:3])}")
    return found


def _named(path: Path) -> dict[str, str]:
    """What a file's name says."""
    if not (said := NAME.fullmatch(path.stem)):
        raise ValueError(f"{path.name} is not named {{task}}_{{subject}}_{{chunk}}.h5")
    return said.groupdict()


def _matrix(path: Path) -> Float[np.ndarray, "c t"]:
    """The one matrix of a file."""
    found: dict[str, np.ndarray] = {}

    def look(name: str, thing: Any) -> None:
        if isinstance(thing, h5py.Dataset) and thing.ndim == 2 and np.issubdtype(thing.dtype, np.number):
            found[name] = thing[()]

    try:
        with h5py.File(path, "r") as file:
            file.visititems(look)
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read as HDF5: {error}") from None
    if len(found) != 1:
        raise ValueError(f"{path.name} must hold one matrix, channels x samples; it has {list(found) or 'none'}")
    ((name, x),) = found.items()
    if x.shape[0] > x.shape[1]:
        raise ValueError(f"{name} of {path.name} is {x.shape}: channels x samples are needed, this looks transposed")
    return x.astype(float)


def _views(x: Float[np.ndarray, "b c t"], frame: pd.DataFrame, sensors: Sensors | None, sfreq: float) -> Views:
    names = [f"MEG {c + 1:03d}" for c in range(x.shape[1])]
    sensors = sensors or Sensors(names, np.full((len(names), 2), np.nan), ["mag"] * len(names), sfreq)
    if len(sensors.names) != x.shape[1] or sensors.sfreq != sfreq:
        raise ValueError(f"sensors are {sensors}, the windows have {x.shape[1]} channels at {sfreq:g} Hz")
    classes = sorted(frame["task"].unique())
    label = torch.tensor([classes.index(task) for task in frame["task"]])
    about = {"meg": sensors, "label": {"classes": classes}}
    return Views({"meg": torch.from_numpy(x), "label": label}, metadata=frame, about=about)
