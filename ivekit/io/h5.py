"""HDF5 files: of trials, or of recordings cut into files of one matrix each, named {task}_{subject}_{chunk}.h5."""

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

from ..history import after
from ..signal import Sensors
from ..signal.filters import windows
from ..signal.sampling import Number, resample
from ..views import Views
from . import asked
from .guard import fits, reachable, reading
from .h5trials import read_trials, shapes

logger = logging.getLogger(__name__)
NAME = re.compile(r"(?P<task>.+)_(?P<subject>[^_]+)_(?P<chunk>[^_]+)")


def read_h5(
    paths: str | Path | Iterable[str | Path],
    old: Number | None = None,
    sfreq: Number | None = 125,
    window: Number | None = None,
    step: Number | None = None,
    scale: Number = 1.0,
    sensors: Sensors | None = None,
    *,
    label: str | None = None,
) -> Views:
    """Trials of HDF5 files; or windows of long recordings, and which task each is from.

    paths : one file, several, or a folder of them. What they hold tells how they are read:

    - Data sets of three axes, (trials, channels, samples), are trials. Each is a view called as it is; so are data sets
      of as many rows and other axes (pictures, tables). Those of one axis are columns of the metadata. A signal's rate,
      units, channels and first second stand in its attributes, its group's, or in data sets: sfreq, units, ch_names,
      tmin. A channel is masked in trials in which it has a NaN.
    - One matrix a file, (channels, samples), under any name, is a long recording, and the file is called
      ``{task}_{subject}_{chunk}.h5``. Of these come windows: meg (b, c, t) and label (b,), the number of the task in
      alphabetical order. `metadata`: task, subject, chunk, start (seconds in the chunk). Windows of one chunk are
      neighbours in time: split by chunk or by subject, never by window.

    old, sfreq : samples a second in the files, and of the result, between which lies a filter against aliases
        (`ivekit.io.resample`); None leaves the rate. By default `old` is what the file says; for a matrix, 2034.
    window, step : seconds of a window of a long recording, 1 by default, and from one to the next; windows that touch
        by default. A last one that would be short is left out.
    scale : what the numbers of signals are multiplied with; 1e15 makes fT of T.
    sensors : what the channels are; without, they have names and no places.
    label : of trials, the column that is a view, `label` (b,), the number of the class, too.

    The names of classes are in ``about["label"]``.

    Raises
    ------
    FileNotFoundError : when there is no such file.
    ValueError : for a broken file; one without trials or one matrix; a matrix that looks transposed, or whose file has
        another name; files of different numbers of channels; a rate, sensors, or channels that do not fit.

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
    asked.positive(old=old, sfreq=sfreq, window=window, step=step)
    files = _files(paths)
    if any(len(shape) == 3 for shape in shapes(files[0]).values()):
        if window is not None or step is not None:
            raise ValueError(f"{files[0].name} is cut into trials already, so window and step have no use here")
        return _one_label(Views.concat(read_trials(path, old, sfreq, scale, sensors) for path in files), label)
    if label is not None or sfreq is None:
        raise ValueError(f"{files[0].name} holds no trials, so label has no use here, and windows need sfreq")
    return _of_matrices(files, old or 2034, sfreq, 1.0 if window is None else window, step, scale, sensors)


def _one_label(views: Views, label: str | None) -> Views:
    """The same trials, a column of the metadata as classes."""
    frame: Any = views.metadata
    if label is None:
        return views
    if label not in frame:
        raise ValueError(f"there are no labels {label!r} of one number or word a trial; there are {list(frame)}")
    classes = sorted(frame[label].unique().tolist())
    numbers = torch.tensor([classes.index(value) for value in frame[label].tolist()])
    about = views.about | {"label": {"classes": classes}}
    return Views({**views.tensors, "label": numbers}, views.present, frame, about)


def _of_matrices(
    files: list[Path], old: Number, sfreq: Number, window: Number, step: Number | None, scale: Number,
    sensors: Sensors | None,
) -> Views:  # fmt: skip
    """Windows of long recordings."""
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
    scaled = (f"multiplied by {scale:g}",) if scale != 1 else ()
    resampled = (f"resampled from {old:g} to {sfreq:g} Hz",) if old != sfreq else ()
    steps = (*scaled, *resampled, f"cut into windows of {window:g} s, one every {by / sfreq:g} s")
    return _views(np.concatenate(parts), pd.concat(tables, ignore_index=True), sensors, float(sfreq), steps)


def _files(paths: Any) -> list[Path]:
    found = [reachable(path) for path in asked.files(paths)]
    if isinstance(paths, str | Path) and found[0].is_dir():
        found = sorted(found[0].glob("*.h5")) or found
    if not found:
        raise ValueError("read_h5 needs a file at least, got none")
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
    found = {name: shape for name, shape in shapes(path).items() if len(shape) == 2}
    if len(found) != 1:
        raise ValueError(f"{path.name} must hold one matrix, channels x samples; it has {list(found) or 'none'}")
    ((name, shape),) = found.items()
    if shape[0] > shape[1]:
        raise ValueError(f"{name} of {path.name} is {shape}: channels x samples are needed, this looks transposed")
    with reading(path, "recording"), h5py.File(path, "r") as file:
        fits(16 * shape[0] * shape[1], path)
        return np.asarray(file[name], float)


def _views(
    x: Float[np.ndarray, "b c t"], frame: pd.DataFrame, sensors: Sensors | None, sfreq: float, steps: tuple[str, ...]
) -> Views:
    names = [f"MEG {c + 1:03d}" for c in range(x.shape[1])]
    unplaced = np.full((len(names), 2), np.nan)
    sensors = sensors or Sensors(names, unplaced, ["mag"] * len(names), sfreq, units=[""] * len(names))  # not known
    if len(sensors.names) != x.shape[1] or sensors.sfreq != sfreq:
        raise ValueError(f"sensors are {sensors}, the windows have {x.shape[1]} channels at {sfreq:g} Hz")
    classes = sorted(frame["task"].unique())
    label = torch.tensor([classes.index(task) for task in frame["task"]])
    about = {"meg": after(sensors, *steps), "label": {"classes": classes}}
    return Views({"meg": torch.from_numpy(x), "label": label}, metadata=frame, about=about)
