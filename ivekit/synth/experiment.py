"""A simulated experiment in which subjects watch a moving patch, and everything that drives the data is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from einops import rearrange
from numpy.random import Generator

from ..signal import Sensors
from ..views import Views
from . import meg
from .world import World

FPS, N_FRAMES, N_PIXELS = 30.0, 16, 32
OWNERS = {
    "position": frozenset({"meg", "video", "behaviour"}),
    "motion": frozenset({"meg", "video", "behaviour"}),
    "size": frozenset({"meg", "video"}),
    "vigilance": frozenset({"meg"}),
    "contrast": frozenset({"video"}),
    "caution": frozenset({"behaviour"}),
}
BEHAVIOUR = {
    "reaction_time": "s",
    "choice": "0 or 1",
    "confidence": "probability",
    "pupil": "mm",
    "movement_time": "s",
    "rating": "points",
}


def audiovisual(
    n_trials: int = 1024,
    n_subjects: int = 4,
    seed: int = 0,
    snr_db: float = 0.0,
    kinds: tuple[str, ...] = ("mag",),
    pixel_noise: float = 0.05,
) -> World:
    """Subjects in a MEG watch a patch move and say where it went; six known factors drive what is recorded.

    The factors are independent and standard normal. `position` and `motion` drive all three views, `size` the MEG and
    the film; `vigilance` only the MEG, `contrast` only the film, `caution` only the behaviour.

    - ``meg (b, c, 60)`` in fT (gradiometers fT/cm), 125 Hz from -0.096 s, Neuromag sensors around a spherical head. An
      evoked field a factor, of amplitude 1 + factor, in 1/f noise of 200 dipoles, an alpha rhythm and sensor noise.
      Subjects differ in the head's position (2 mm and 0.02 rad an axis) and in the gain of their evoked fields (10 %).
    - ``video (b, 1, 16, 32, 32)``, grey from 0 to 1, 30 frames/s. A striped patch: `position` from left to right,
      `motion` upwards, zoomed by `size`, over a faint drifting grating of random phase, with pixel noise. Most of its
      factors are not linear in the pixels; a small convolutional network reads them all.
    - ``behaviour (b, 6)``: reaction time (s; skewed), choice (1: it rose), confidence (the probability that it rose),
      pupil (mm), movement time (s), rating (0 to 100).

    Parameters
    ----------
    n_trials : of all subjects together; the rows are in their order.
    snr_db : signal-to-noise ratio of single trials: the variance over trials that one factor causes at its peak and at
        its best sensor of ``kinds[0]``, over the variance of the noise there; averaged over the factors, then in dB.
        The noise keeps the level of a real recording, so this scales the evoked fields.
    kinds : the MEG's sensors: ``("mag",)``, ``("grad",)`` or both.
    pixel_noise : standard deviation of the film's white noise.

    Returns
    -------
    World : its ``views.metadata`` has `subject` ("s01" ...), `trial` (from 0 in each subject) and `split` ("train"
        70 %, "validation" 10 %, "test" 20 % of each subject). Its topographies are the mean over subjects. A seed gives
        the same factors, films, behaviour and split at every `snr_db` and `kinds`.

    Raises
    ------
    ValueError : when there are more subjects than trials, or the kinds are unknown.

    >>> world = audiovisual(n_trials=12, n_subjects=3)
    >>> world
    World of 12 rows: meg (102, 60), video (1, 16, 32, 32), behaviour (6)
      position   meg video behaviour
      motion     meg video behaviour
      size       meg video
      vigilance  meg
      contrast   video
      caution    behaviour
    >>> world.topographies["motion"].shape, world.time_courses["motion"].shape
    ((102,), (60,))
    """
    _check(n_trials, n_subjects, kinds, pixel_noise)
    streams = [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(6)]
    factors = pd.DataFrame(streams[0].standard_normal((n_trials, len(OWNERS))), columns=list(OWNERS))
    subject = np.sort(np.arange(n_trials) % n_subjects)
    sources = meg.sources(streams[1], n_subjects, snr_db, kinds)
    tensors = {
        "meg": meg.trials(streams[2], factors[list(meg.EVOKED)].to_numpy(), subject, sources),
        "video": _video(streams[3], factors, pixel_noise),
        "behaviour": _behaviour(streams[4], factors),
    }
    about = {
        "meg": Sensors.from_info(meg.info(kinds).copy(), tmin=meg.TMIN),
        "video": {"fps": FPS},
        "behaviour": {"columns": list(BEHAVIOUR), "units": list(BEHAVIOUR.values())},
    }
    views = Views({name: torch.from_numpy(x) for name, x in tensors.items()}, None, _trials(streams[5], subject), about)
    topographies = dict(zip(meg.EVOKED, sources.evoked.mean(axis=0).T))
    courses = dict(zip(meg.EVOKED, meg.courses()))
    return World(views, factors, OWNERS, topographies, courses, places=meg.places())


def _check(n_trials: int, n_subjects: int, kinds: tuple[str, ...], pixel_noise: float):
    if not 1 <= n_subjects <= n_trials:
        raise ValueError(f"n_subjects is {n_subjects}, it must be from 1 to the number of trials, {n_trials}")
    if not isinstance(kinds, tuple) or kinds not in {("mag",), ("grad",), ("mag", "grad"), ("grad", "mag")}:
        raise ValueError(f'kinds is {kinds!r}, it must be ("mag",), ("grad",) or both')
    if not pixel_noise >= 0:
        raise ValueError(f"pixel_noise is {pixel_noise}, it must be 0 or more")


def _trials(rng: Generator, subject: np.ndarray) -> pd.DataFrame:
    """One row a trial; the split is drawn within each subject."""
    share = pd.Series(rng.random(len(subject))).groupby(subject).rank(pct=True)  # even in (0, 1]
    split = np.select([share <= 0.7, share <= 0.8], ["train", "validation"], "test")
    trial = pd.Series(subject).groupby(subject).cumcount()
    return pd.DataFrame({"subject": [f"s{s + 1:02d}" for s in subject], "trial": trial, "split": split})


def _video(rng: Generator, factors: pd.DataFrame, noise: float) -> np.ndarray:
    """The film (b, 1, t, h, w): a Gabor patch whose place, zoom and contrast are the factors.

    Zoomed, a pixel beside the centre turns from bright to dark, and the contrast is log-normal: both multiply what a
    weighted sum of pixels says of the place. The stripes' phase is fixed to the patch, so that the film which is
    expected from the shared factors alone still shows it.
    """
    position, motion, size, contrast = (
        2 * np.tanh(rearrange(factors[name].to_numpy("f4"), "b -> b 1 1") / 2)  # the patch stays in the picture
        for name in ("position", "motion", "size", "contrast")
    )
    frame = np.linspace(-0.5, 0.5, N_FRAMES, dtype="f4")[:, None]
    pixel = np.arange(N_PIXELS, dtype="f4") - (N_PIXELS - 1) / 2
    width = 3.0 * np.exp(0.28 * size)
    across, down = (pixel - 4.5 * position) / width, (pixel + 11.0 * motion * frame) / width
    stripes, bell = np.exp(-0.5 * across**2) * np.cos(2.5 * across), np.exp(-0.5 * down**2)
    patch = rearrange(bell, "b t h -> b t h 1") * rearrange(stripes, "b 1 w -> b 1 1 w")
    film = 0.45 + 0.22 * np.exp(0.6 * contrast)[..., None] * patch + _grating(rng, len(factors))
    film += noise * rng.standard_normal(film.shape, dtype="f4")
    return rearrange(film.clip(0, 1), "b t h w -> b 1 t h w")


def _grating(rng: Generator, n_trials: int) -> np.ndarray:
    """A faint background (b, t, h, w) that drifts along the diagonal, 2 rad in the film, from a random phase."""
    phase = rearrange(rng.uniform(0, 2 * np.pi, n_trials).astype("f4"), "b -> b 1 1 1")
    pixel, frame = np.arange(N_PIXELS, dtype="f4"), np.linspace(0, 2, N_FRAMES, dtype="f4")
    wave = (pixel[:, None] + pixel) * (2 * np.pi / 24) + frame[:, None, None]
    return 0.02 * (np.sin(wave) * np.cos(phase) + np.cos(wave) * np.sin(phase))  # sin(wave + phase), ten times faster


def _behaviour(rng: Generator, factors: pd.DataFrame) -> np.ndarray:
    """What the subject did (b, 6), in the order of BEHAVIOUR."""
    position, motion, caution = (factors[name].to_numpy() for name in ("position", "motion", "caution"))
    noise = rng.standard_normal((6, len(factors)))
    columns = {
        "reaction_time": 0.25 + np.exp(-0.9 + 0.25 * position + 0.25 * caution + 0.05 * noise[0]),
        "choice": motion + 0.3 * noise[1] > 0,
        "confidence": 1 / (1 + np.exp(-0.9 * motion - 0.2 * noise[2])),
        "pupil": 3.5 + 0.32 * caution + 0.08 * noise[3],
        "movement_time": 0.4 * np.exp(0.3 * position - 0.1 * motion + 0.06 * noise[4]),
        "rating": np.clip(50 + 7.5 * position - 3.0 * motion + 4.5 * caution + 4.5 * noise[5], 0, 100),
    }
    return np.stack([columns[name] for name in BEHAVIOUR], axis=1).astype("f4")
