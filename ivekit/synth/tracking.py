"""A simulated experiment whose factors move: the hand follows a target while windows slide over each trial."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from einops import rearrange
from jaxtyping import Float
from numpy.random import Generator

from ..signal import Sensors
from ..views import Views
from . import meg
from .world import World

WINDOW, STEP = 32, 16  # samples: 0.256 s every 0.128 s
TIMESCALE = 0.8  # s in which every factor forgets 63 % of where it was
OWNERS = {"aim": frozenset({"meg", "hand"}), "effort": frozenset({"meg"}), "grip": frozenset({"hand"})}
GENERATOR = {"aim": 1, "effort": 3}  # the dipoles of `meg.EVOKED` that carry them: right temporal, left frontal


def tracking(n_trials: int = 120, n_windows: int = 20, seed: int = 0, snr_db: float = -6.0) -> World:
    """Windows that slide over trials in which three factors drift: one shared, two private.

    Each factor is an Ornstein-Uhlenbeck process of mean 0, variance 1 and a time scale of 0.8 s, a new one each trial.
    A row is a window of 0.256 s; windows start 0.128 s apart, so neighbours share half their samples.

    - ``meg (b, 102, 32)`` in fT, 125 Hz: slow fields that follow `aim` and `effort`, in 1/f noise of 200 dipoles and
      sensor noise, at Neuromag magnetometers around a spherical head.
    - ``hand (b, 2, 32)``: position (cm), which follows `aim`, and grip force (N), which follows `grip`.

    Parameters
    ----------
    n_trials, n_windows : the rows are their product, trial by trial.
    snr_db : the variance that one factor causes at its best sensor over the variance of the noise there, in dB.

    Returns
    -------
    World : `factors` are the means over each window. ``views.metadata`` has `trial`, `time` (s, the window's middle)
        and `split`, by trial (70, 10 and 20 %).

    >>> world = tracking(n_trials=10, n_windows=3)
    >>> world
    World of 30 rows: meg (102, 32), hand (2, 32)
      aim     meg hand
      effort  meg
      grip    hand
    >>> world.views.metadata["time"].tolist()[:3]
    [0.128, 0.256, 0.384]
    """
    if n_trials < 10 or n_windows < 1:
        raise ValueError(f"there must be 10 trials to split, of a window or more; got {n_trials} of {n_windows}")
    streams = [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(5)]
    n_times = WINDOW + STEP * (n_windows - 1)
    moving = {name: _drift(streams[0], n_trials, n_times) for name in OWNERS}
    scaled = meg.sources(streams[1], 1, snr_db, ("mag",))
    recorded = {"meg": _field(streams[2], moving, scaled), "hand": _hand(streams[3], moving)}
    starts = STEP * np.arange(n_windows)
    tensors = {name: torch.from_numpy(_windows(x, starts)) for name, x in recorded.items()}
    factors = pd.DataFrame({name: _windows(x[:, None], starts).mean((1, 2)) for name, x in moving.items()})
    about = {
        "meg": Sensors.from_info(meg.info(("mag",)).copy()),
        "hand": Sensors(["position", "grip"], np.full((2, 2), np.nan), ["cm", "N"], meg.SFREQ),
    }
    fields = {name: scaled.evoked[0, :, i] for name, i in GENERATOR.items()}
    return World(Views(tensors, None, _rows(streams[4], n_trials, starts), about), factors, OWNERS, fields)


def _drift(rng: Generator, n_trials: int, n_times: int) -> Float[np.ndarray, "b t"]:
    """Ornstein-Uhlenbeck processes that begin anywhere."""
    rho = np.exp(-1 / (meg.SFREQ * TIMESCALE))
    x = rng.standard_normal((n_trials, n_times))
    for t in range(1, n_times):
        x[:, t] = rho * x[:, t - 1] + np.sqrt(1 - rho**2) * x[:, t]
    return x


def _field(rng: Generator, moving: dict[str, np.ndarray], scaled: meg.Sources) -> Float[np.ndarray, "b c t"]:
    n_trials, n_times = moving["aim"].shape
    x = rng.standard_normal((n_trials, len(scaled.sensor), n_times), dtype="f4")
    x *= rearrange(scaled.sensor, "c -> 1 c 1").astype("f4")
    background = rng.standard_normal((n_trials, meg.N_BACKGROUND, n_times), dtype="f4") @ meg.pink(n_times)
    x += scaled.background[0].astype("f4") @ background
    for name, i in GENERATOR.items():
        x += (scaled.evoked[0, :, i, None] * moving[name][:, None]).astype("f4")
    return x


def _hand(rng: Generator, moving: dict[str, np.ndarray]) -> Float[np.ndarray, "b 2 t"]:
    """Where the hand is (cm), a tenth of a second behind the aim, and how hard it grips (N), with tremor."""
    late = np.roll(moving["aim"], 12, 1)
    late[:, :12] = late[:, 12:13]
    clean = np.stack([3.0 * late, 10.0 + 2.0 * moving["grip"]], 1)
    return (clean + np.array([[1.5], [1.0]]) * rng.standard_normal(clean.shape)).astype("f4")


def _windows(x: Float[np.ndarray, "b c t"], starts: np.ndarray) -> Float[np.ndarray, "r c u"]:
    return np.ascontiguousarray(rearrange([x[..., s : s + WINDOW] for s in starts], "w b c t -> (b w) c t"))


def _rows(rng: Generator, n_trials: int, starts: np.ndarray) -> pd.DataFrame:
    share = (rng.permutation(n_trials) + 1) / n_trials
    split = np.select([share <= 0.7, share <= 0.8], ["train", "validation"], "test")
    trial = np.repeat(np.arange(n_trials), len(starts))
    time = np.tile((starts + WINDOW / 2) / meg.SFREQ, n_trials)
    return pd.DataFrame({"trial": trial, "time": time, "split": split[trial]})
