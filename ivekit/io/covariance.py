"""The noise of sensors, as MNE stores it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mne
import numpy as np
import torch
from jaxtyping import Float
from mne.proj import make_projector
from torch import Tensor

from ..fif import contents
from ..signal import Sensors
from .guard import reading
from .units import unit_sizes


def read_covariance(source: Any, sensors: Sensors) -> Float[Tensor, "c c"]:
    """The covariance of noise between the sensors of a view, in its units squared and in the order of its channels.

    source : a FIF file that holds a covariance (``-cov.fif``), or an `mne.Covariance`.
    sensors : those of the view: ``views.about["meg"]``. The projections that were applied to them are applied here
        too, P C P^T, since noise that was taken out of the view is no noise of it (Uusitalo & Ilmoniemi, 1997).

    The result is float64: of sensors in fT and in uV together, small eigenvalues are 1e-9 of the largest.

    Raises
    ------
    FileNotFoundError, ValueError : no file; one that is cut short or holds no covariance; a sensor that it lacks, or
        of which it is not a finite number.

    >>> sensors = Sensors(["b", "a"], np.zeros((2, 2)), ["mag", "eeg"], 125.0)
    >>> read_covariance(mne.Covariance(np.diag([4e-12, 9e-30]), ["a", "b"], [], [], nfree=10), sensors)
    tensor([[9., 0.],
            [0., 4.]], dtype=torch.float64)
    """
    noise, name = (source, "this Covariance") if isinstance(source, mne.Covariance) else _open(Path(source))
    if missing := [channel for channel in sensors.names if channel not in noise.ch_names]:
        raise ValueError(
            f"{name} has no noise of {len(missing)} of {len(sensors.names)} sensors: {', '.join(missing[:12])}; "
            f"it is of {len(noise.ch_names)} ({noise.ch_names[0]} ...)"
        )
    whole = np.diag(noise.data) if noise["diag"] else noise.data
    if lost := [channel for channel, row in zip(noise.ch_names, whole) if not np.isfinite(row).all()]:
        raise ValueError(f"{name} is not a finite number for {len(lost)} channels: {', '.join(lost[:12])}")
    p = _projector(noise.ch_names, sensors)
    at, size = [noise.ch_names.index(channel) for channel in sensors.names], unit_sizes(sensors.kinds)
    return torch.from_numpy(size[:, None] * (p @ whole @ p.T)[np.ix_(at, at)] * size)


def _open(path: Path) -> tuple[Any, str]:
    with reading(path, "covariance"):
        if "covariance" not in (holds := contents(path)):
            raise ValueError(f"{path.name} holds {' and '.join(sorted(holds)) or 'no data'}, no covariance")
        noise = mne.read_cov(path, verbose="error")
        if not noise.ch_names:
            raise ValueError(f"{path.name} names no channel whose noise it is")
        return noise, path.name


def _projector(names: list[str], sensors: Sensors) -> Float[np.ndarray, "c c"]:
    """What the projections of the sensors' `mne.Info` that were applied do to all channels, in SI units."""
    info = sensors.info or {"projs": [], "bads": []}
    applied = [projection for projection in info["projs"] if projection["active"]]
    if not applied:
        return np.eye(len(names))
    with mne.utils.use_log_level("error"):  # they may know channels that the noise does not
        return make_projector(applied, names, info["bads"])[0]
