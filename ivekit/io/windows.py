"""Windows of signals as one NPZ file, which numpy alone can read and other programs write."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pandas as pd
import torch
from einops import rearrange

from ..signal import Sensors
from ..store import whole
from ..views import Views
from . import asked
from .guard import fits, reading

logger = logging.getLogger(__name__)
PRESENT, RATE = ".present", "sfreq"


def write_npz(views: Views, path: str | Path) -> Path:
    """Writes windows as an NPZ file, whole or not at all.

    In it: an array ``(n, c, t)`` a signal under its name, ``NAME.present`` where something of it is missing, a column
    of the metadata under its name, ``(n,)``, and ``sfreq``, samples a second, where the views say it. Nothing is
    pickled.

    Raises
    ------
    ValueError : when a view and a column have one name, or a column holds neither numbers nor words.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as tmp:
    ...     path = write_npz(Views({"ecg": torch.zeros(3, 1, 240)}), f"{tmp}/windows.npz")
    ...     read_npz(path)
    Views of 3 rows
      ecg  (1, 240)
    """
    views.require_finite()
    arrays = {name: x.cpu().numpy() for name, x in views.items()}
    arrays |= {f"{n}{PRESENT}": m.cpu().numpy() for n, m in views.present.items() if not bool(m.all())}
    columns = {} if views.metadata is None else {str(c): _column(str(c), x) for c, x in views.metadata.items()}
    if twice := sorted(set(columns) & {*arrays, RATE}):
        raise ValueError(f"{twice} would be in the file twice, as a signal and as a column of the metadata: rename one")
    rates = {about.sfreq for about in views.about.values() if isinstance(about, Sensors)}
    rate: dict[str, Any] = {RATE: rates.pop()} if len(rates) == 1 else {}
    path = Path(path)
    with whole(path) as new, new.open("wb") as file:
        np.savez_compressed(file, **arrays, **columns, **rate)
    return path


def _column(name: str, values: pd.Series) -> np.ndarray:
    x = values.to_numpy()
    if x.dtype.kind in "biuf":
        return x
    if not all(isinstance(value, str) for value in values):
        raise ValueError(f"column {name!r} of the metadata holds neither numbers nor words alone: drop or convert it")
    return x.astype(str)


def read_npz(path: str | Path, sfreq: float | int | None = None, names: Mapping[str, str] | None = None) -> Views:
    """Reads windows from an NPZ file: `write_npz`'s, or another program's.

    path : arrays of 2 or 3 axes are signals, ``(n, t)`` or ``(n, c, t)``; arrays ``(n,)`` are columns of the metadata.
    sfreq : samples a second, where the file does not say it.
    names : {view: array}, the signals wanted; by default all. NaN in them is masked.

    Raises
    ------
    FileNotFoundError, ValueError : no file, one that is none or holds pickles, arrays that do not share their rows.
    """
    asked.positive(sfreq=sfreq)
    asked.named("names", names, "{view: array}, such as {'ecg': 'ecg'}")
    with reading(path, "NPZ file") as path:
        return _of_arrays(_arrays(path), sfreq, names, path.name)


def _of_arrays(arrays: dict[str, np.ndarray], sfreq: float | int | None, names: Any, name: str) -> Views:
    """Signals and columns as `Views`."""
    rate = arrays.pop(RATE, None)
    found = {key: x for key, x in arrays.items() if x.ndim in (2, 3) and not key.endswith(PRESENT)}
    wanted, names = names, dict(names or {key: key for key in found})
    if lacking := [key for key in names.values() if key not in found]:
        raise ValueError(f"{name} has no signals {lacking} of 2 or 3 axes; there are {list(found)}")
    if not names:
        raise ValueError(f"{name} holds no array of 2 or 3 axes, (n, t) or (n, c, t), only {list(arrays)}")
    tensors = {view: _signal(found[key]) for view, key in names.items()}
    present = {v: torch.from_numpy(arrays[k + PRESENT]) for v, k in names.items() if k + PRESENT in arrays}
    n = len(next(iter(tensors.values())))
    columns = {key: x for key, x in arrays.items() if x.ndim == 1 and len(x) == n and not key.endswith(PRESENT)}
    used = {*names.values(), *columns, *(key + PRESENT for key in names.values())}
    if wanted is None and (left := [key for key in arrays if key not in used]):
        logger.warning("%s: %s are left out, since they are neither signals nor columns of %d rows", name, left, n)
    hertz = sfreq if sfreq is not None else None if rate is None else float(rate)
    if hertz is not None and not 0 < hertz < np.inf:
        raise ValueError(f"{name} says {hertz} samples a second, which is no rate: give it as sfreq=")
    about = {} if hertz is None else {view: _sensors(view, x.shape[1], hertz) for view, x in tensors.items()}
    return Views(tensors, present, pd.DataFrame(columns) if columns else None, about).mask_nan()


def _arrays(path: Path) -> dict[str, np.ndarray]:
    with ZipFile(path) as archive:
        fits(sum(member.file_size for member in archive.infolist()), path)
    with np.load(path, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def _signal(x: np.ndarray) -> torch.Tensor:
    x = rearrange(x, "n t -> n 1 t") if x.ndim == 2 else x
    return torch.from_numpy(np.ascontiguousarray(x)).float()


def _sensors(view: str, n_chans: int, sfreq: float | int) -> Sensors:
    names = [view] if n_chans == 1 else [f"{view} {i + 1}" for i in range(n_chans)]
    return Sensors(names, np.full((n_chans, 2), np.nan), [view] * n_chans, float(sfreq))
