"""Worlds whose factors are known: simulated recordings that say what a model should have found."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import mne
import numpy as np
import pandas as pd
import torch
from einops import rearrange
from jaxtyping import Float
from numpy.random import Generator
from scipy.linalg import toeplitz
from torch import Tensor

from ivekit.signal import Sensors
from ivekit.views import Views

SFREQ, TMIN, N_TIMES, FPS = 125.0, -0.1, 60, 30.0
ALL, TWO = frozenset({"meg", "video", "behaviour"}), frozenset({"meg", "video"})
OWNERS = {
    "position": ALL,
    "motion": ALL,
    "size": TWO,
    "vigilance": frozenset({"meg"}),
    "contrast": frozenset({"video"}),
    "caution": frozenset({"behaviour"}),
}
# factor -> place of its dipole (m, from the sphere's centre; x right, y front, z up), tangential angle (rad), latency (s),
# width (s), size beside the first: an occipital M100, a right temporal M170, a lateral occipital and a left frontal field
EVOKED = {
    "position": ((-0.015, -0.062, 0.028), 0.3, 0.100, 0.022, 1.0),
    "motion": ((0.055, -0.020, 0.035), 1.2, 0.172, 0.030, 0.9),
    "size": ((0.020, -0.058, 0.035), 2.2, 0.136, 0.026, 0.8),
    "vigilance": ((-0.056, 0.012, 0.030), 1.9, 0.220, 0.038, 0.9),
}
ALPHA = ((0.020, -0.060, 0.030), (-0.020, -0.060, 0.035), (0.0, -0.055, 0.045))
ALPHA_LAG = (0.0, 0.4, 0.9)  # rad: the three generators do not swing together
ALPHA_SPREAD = 0.5  # sd of a trial's log amplitude
N_BACKGROUND = 200
# (sd of the median channel, sd of its sensor noise) in fT and fT/cm, from the pre-stimulus noise covariance of MNE-Python's
# sample recording (auditory/visual, Neuromag 306, 2904 samples): square roots of the median variance and of the smallest
# eigenvalue that the three projections leave
LEVEL, FLOOR = {"mag": 156.5, "grad": 53.1}, {"mag": 29.6, "grad": 23.2}
FEMTO = {"mag": 1e15, "grad": 1e13}  # T -> fT, T/m -> fT/cm
SPHERE = (0.0, 0.0, 0.04)  # centre of the head in head coordinates, m: about 4 cm above the line between the ears
BEHAVIOUR = {
    "reaction_time": "s",
    "choice": "0 or 1",
    "confidence": "probability",
    "pupil": "mm",
    "movement_time": "s",
    "rating": "points of 100",
}


@dataclass(frozen=True, repr=False)
class World:
    """Simulated data together with the truth that made them.

    views: the data.  factors: one column a factor, one row a row of the views.  owners: factor -> the views it drives.
    topographies: factor -> its field (c,), in the MEG's units per unit of the factor at the peak.  time_courses: factor -> its
    course (t,), 1 at the peak; both only for factors that have them.

    >>> world = audiovisual(n_trials=8)
    >>> world
    World of 8 rows: meg (102, 60), video (1, 16, 32, 32), behaviour (6)
      position   behaviour meg video
      motion     behaviour meg video
      size       meg video
      vigilance  meg
      contrast   video
      caution    behaviour
    """

    views: Views
    factors: pd.DataFrame
    owners: Mapping[str, frozenset[str]]
    topographies: Mapping[str, Float[np.ndarray, " c"]] = field(default_factory=dict)
    time_courses: Mapping[str, Float[np.ndarray, " t"]] = field(default_factory=dict)

    def __post_init__(self):
        if len(self.factors) != len(self.views):
            raise ValueError(f"{len(self.factors)} rows of factors for {len(self.views)} rows of views: they must be as many")
        if list(self.owners) != list(self.factors.columns):
            raise ValueError(f"owners name {list(self.owners)}, the factors are {list(self.factors.columns)}")

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} ({', '.join(map(str, self.views[name].shape[1:]))})" for name in self.views)
        width = max(map(len, self.owners)) + 2
        lines = [f"  {factor:{width}}{' '.join(sorted(names))}" for factor, names in self.owners.items()]
        return "\n".join([f"World of {len(self.views)} rows: {shapes}", *lines])


def audiovisual(
    n_trials: int = 1024,
    n_subjects: int = 4,
    seed: int = 0,
    snr_db: float = 0.0,
    kinds: tuple[str, ...] = ("mag",),
    pixel_noise: float = 0.05,
) -> World:
    """Subjects in a MEG watch a moving object and say which way it went; six known factors drive what is recorded.

    The factors are standard normal and independent. `position` and `motion` drive all views, `size` the MEG and the film;
    `vigilance` only the MEG, `contrast` only the film, `caution` only the behaviour.

    - meg (b, c, 60): fT (gradiometers fT/cm), 125 Hz from -0.1 s, on the Neuromag array with a spherical head: an evoked field
      a factor, amplitude 1 + factor, on 1/f noise of 200 dipoles, an alpha rhythm and sensor noise. Subjects differ in head
      position (3 mm, 2 degrees) and in the gain of their evoked fields (10 %). `kinds`: "mag", "grad" or both.
    - video (b, 1, 16, 32, 32): grey in [0, 1], 30 frames a second: a striped patch at `position` (left to right) that rises or
      falls by `motion`, its `size` and `contrast` log-normal, over a faint drifting grating of random phase, with pixel noise
      (its sd: `pixel_noise`). Most of these factors are not linear in the pixels, all are plain to a small network.
    - behaviour (b, 6): reaction time (s, skewed), choice (0 or 1: the object rose), confidence that it rose, pupil (mm),
      movement time (s), rating (0 to 100).

    snr_db: the signal-to-noise ratio of a single trial: the variance over trials that one factor causes at its peak and at
    its best sensor (of kinds[0]), over the variance of the noise there; the mean over the factors, in dB. The noise has
    its level from a real recording, so it is the evoked fields that change. The same seed gives the same factors, films
    and behaviour at every snr_db and kinds.

    `views.metadata`: subject ("s01" ...), trial (from 0 in each subject), split (train 70 %, validation 10 %, test 20 % of each subject).

    >>> world = audiovisual(n_trials=12, n_subjects=3)
    >>> world.views["meg"].shape, world.views["video"].shape, world.topographies["motion"].shape
    (torch.Size([12, 102, 60]), torch.Size([12, 1, 16, 32, 32]), (102,))
    """
    _check(n_trials, n_subjects, kinds)
    streams = [np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(6)]
    factors = pd.DataFrame(streams[0].standard_normal((n_trials, len(OWNERS))), columns=list(OWNERS))
    metadata = _trials(streams[1], n_trials, n_subjects)
    subject = pd.factorize(metadata["subject"])[0]
    sources = _sources(streams[2], n_subjects, snr_db, kinds)
    courses = np.stack([_course(latency, width) for _, _, latency, width, _ in EVOKED.values()])
    arrays = {
        "meg": _meg(streams[3], factors, subject, sources, courses),
        "video": _video(streams[4], factors, pixel_noise),
        "behaviour": _behaviour(streams[5], factors),
    }
    about = {
        "meg": Sensors.from_info(_info(kinds), tmin=TMIN),
        "video": {"fps": FPS},
        "behaviour": {"columns": list(BEHAVIOUR), "units": list(BEHAVIOUR.values())},
    }
    tensors = {name: torch.from_numpy(x) for name, x in arrays.items()}
    topographies = dict(zip(EVOKED, rearrange(sources.evoked.mean(axis=0), "c f -> f c"), strict=True))
    views = Views(tensors, metadata=metadata, about=about)
    return World(views, factors, OWNERS, topographies, dict(zip(EVOKED, courses, strict=True)))


def _check(n_trials, n_subjects, kinds):
    if not 1 <= n_subjects <= n_trials:
        raise ValueError(f"n_subjects is {n_subjects}, it must be between 1 and the {n_trials} trials")
    if not kinds or isinstance(kinds, str) or len(set(kinds)) < len(kinds) or not set(kinds) <= set(LEVEL):
        raise ValueError(f'kinds is {kinds!r}, it must be ("mag",), ("grad",) or both of them')


def _trials(rng: Generator, n_trials: int, n_subjects: int) -> pd.DataFrame:
    subject = pd.Series(np.sort(np.arange(n_trials) % n_subjects))
    share = pd.Series(rng.random(n_trials)).groupby(subject).rank(pct=True)  # in (0, 1], even within every subject
    split = np.select([share <= 0.7, share <= 0.8], ["train", "validation"], "test")
    trial = subject.groupby(subject).cumcount()
    return pd.DataFrame({"subject": [f"s{i + 1:02d}" for i in subject], "trial": trial, "split": split})


# --- the MEG ---------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=4)
def _info(kinds: tuple[str, ...], head: tuple[float, ...] = (0.0,) * 6) -> mne.Info:
    """The Neuromag sensors of these kinds around a head at (three angles in rad, three shifts in m) from its usual place."""
    canonical = mne.channels.read_meg_canonical_info("neuromag", verbose="error")
    picks = [i for i, kind in enumerate(canonical.get_channel_types()) if kind in kinds]
    canonical = mne.pick_info(canonical, picks, verbose="error")
    info = mne.create_info(canonical["ch_names"], SFREQ, canonical.get_channel_types(), verbose="error")
    for new, old in zip(info["chs"], canonical["chs"], strict=True):
        new.update(old)
    # the canonical head sits too low in the helmet (identity transform): 4 cm up puts its top where a subject's is
    place = mne.transforms.translation(*np.add(head[3:], SPHERE)) @ mne.transforms.rotation(*head[:3])
    info["dev_head_t"] = mne.transforms.Transform("meg", "head", place)
    return info


def _tangential(places: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Unit vectors (d, 3) at right angles to the radii: a radial dipole in a sphere has no field outside."""
    radii = places / np.linalg.norm(places, axis=1, keepdims=True)
    east = np.cross(radii, [0.0, 0.0, 1.0])
    east /= np.linalg.norm(east, axis=1, keepdims=True)
    return np.cos(angles)[:, None] * east + np.sin(angles)[:, None] * np.cross(radii, east)


def _dipoles() -> tuple[np.ndarray, np.ndarray]:
    """Places (d, 3) from the sphere's centre in m and directions (d, 3): evoked, alpha, background; one brain for all worlds."""
    rng = np.random.default_rng(0)
    cloud = rng.standard_normal((N_BACKGROUND, 3))
    cloud[:, 2] = np.abs(cloud[:, 2]) - 0.3  # mostly the upper half, where the cortex is
    cloud *= 0.075 * rng.uniform(0.4, 1, (N_BACKGROUND, 1)) ** (1 / 3) / np.linalg.norm(cloud, axis=1, keepdims=True)
    places = np.concatenate([[place for place, *_ in EVOKED.values()], ALPHA, cloud])
    angles = rng.uniform(0, 2 * np.pi, len(places))
    angles[: len(EVOKED)] = [angle for _, angle, *_ in EVOKED.values()]
    return places, _tangential(places, angles)


@functools.lru_cache(maxsize=64)
def _lead_field(kinds: tuple[str, ...], head: tuple[float, ...]) -> np.ndarray:
    """Field (c, d) of every dipole in fT (fT/cm) per nAm in a spherical head; once a head and process, since it takes 0.3 s."""
    places, directions = _dipoles()
    ones = np.ones(len(places))
    dipoles = mne.Dipole(np.arange(len(places)) / 1000, places + SPHERE, ones, directions, 100 * ones, verbose="error")
    sphere = mne.make_sphere_model(r0=SPHERE, head_radius=None, verbose="error")
    forward, _ = mne.make_forward_dipole(dipoles, sphere, _info(kinds, head), trans=None, verbose="error")
    return 1e-9 * _by_channel(FEMTO, kinds)[:, None] * forward["sol"]["data"]


def _by_channel(values: Mapping[str, float], kinds: tuple[str, ...]) -> np.ndarray:
    return np.array([values[kind] for kind in _info(kinds).get_channel_types()])


@dataclass(frozen=True)
class _Sources:
    """What one unit of each source makes at the sensors of every subject, in fT, and the sd of the sensors' own noise."""

    evoked: np.ndarray  # (s, c, f)
    alpha: np.ndarray  # (s, c, 3)
    background: np.ndarray  # (s, c, d)
    floor: np.ndarray  # (c,)

    def noise_variance(self) -> np.ndarray:
        """(s, c): over trials and time, all noise together."""
        return _alpha_variance(self.alpha) + (self.background**2).sum(axis=-1) + self.floor**2


def _alpha_variance(alpha: np.ndarray) -> np.ndarray:
    power = np.exp(2 * ALPHA_SPREAD**2) / 2  # mean square of a log-normal amplitude times a cosine
    return power * np.abs(alpha @ np.exp(1j * np.array(ALPHA_LAG))) ** 2


def _sources(rng: Generator, n_subjects: int, snr_db: float, kinds: tuple[str, ...]) -> _Sources:
    """Draw the subjects' heads and gains, then scale the noise to the recording's level and the evoked fields to `snr_db`."""
    heads = np.concatenate([rng.normal(0, 0.03, (n_subjects, 3)), rng.normal(0, 0.003, (n_subjects, 3))], axis=1)
    gains = np.exp(rng.normal(0, 0.1, n_subjects))
    leads = np.stack([_lead_field(kinds, tuple(head)) for head in heads.tolist()])
    evoked, alpha, background = np.split(leads, np.cumsum([len(EVOKED), len(ALPHA)]), axis=-1)
    first = _by_channel({kind: kind == kinds[0] for kind in kinds}, kinds)
    level, floor = LEVEL[kinds[0]], FLOOR[kinds[0]]
    # alpha is as strong at its best sensor as the background is at the mean sensor
    brain = (background[:, first] ** 2).sum(axis=-1).mean(axis=0)
    alpha = alpha * np.sqrt(brain.mean() / _alpha_variance(alpha[:, first]).mean(axis=0).max())
    brain = brain + _alpha_variance(alpha[:, first]).mean(axis=0)
    strength = np.sqrt((level**2 - floor**2) / np.median(brain))
    sizes = np.array([size for *_, size in EVOKED.values()])
    evoked = gains[:, None, None] * evoked
    evoked = evoked * sizes / np.abs(evoked.mean(axis=0)[first]).max(axis=0)
    sources = _Sources(evoked, strength * alpha, strength * background, _by_channel(FLOOR, kinds))
    best = np.abs(evoked.mean(axis=0)[first]).argmax(axis=0)
    ratio = np.mean(sizes**2 / sources.noise_variance().mean(axis=0)[first][best])
    return replace(sources, evoked=evoked * np.sqrt(10 ** (snr_db / 10) / ratio))


def _course(latency: float, width: float) -> np.ndarray:
    """A peak of 1 and a later, longer, opposite deflection; nothing before the stimulus."""
    times = TMIN + np.arange(N_TIMES) / SFREQ
    course = np.exp(-0.5 * ((times - latency) / width) ** 2)
    course -= 0.35 * np.exp(-0.5 * ((times - latency - 2.6 * width) / (1.3 * width)) ** 2)
    return np.where(times < 0, 0, course / course.max())


def _pink() -> np.ndarray:
    """(t, t): turns white noise into stationary noise of power 1 / f from 0.5 Hz up, variance 1."""
    frequencies = np.fft.rfftfreq(4 * N_TIMES, 1 / SFREQ)[1:]
    lags = np.arange(N_TIMES) / SFREQ
    covariance = np.cos(2 * np.pi * np.outer(lags, frequencies)) @ (1 / frequencies)
    return np.linalg.cholesky(toeplitz(covariance / covariance[0])).astype("f4")


def _alpha(rng: Generator, n_trials: int) -> np.ndarray:
    """(b, 3, t): a rhythm of 9 to 11.5 Hz whose amplitude, frequency and phase change from trial to trial."""
    amplitude = np.exp(rng.normal(0, ALPHA_SPREAD, (n_trials, 1, 1)))
    phase = rng.uniform(0, 2 * np.pi, (n_trials, 1, 1)) + np.array(ALPHA_LAG)[:, None]
    times = np.arange(N_TIMES) / SFREQ
    return amplitude * np.cos(2 * np.pi * rng.uniform(9, 11.5, (n_trials, 1, 1)) * times + phase)


def _meg(rng: Generator, factors: pd.DataFrame, subject: np.ndarray, sources: _Sources, courses: np.ndarray) -> np.ndarray:
    n_trials, n_chans = len(factors), len(sources.floor)
    amplitudes = 1 + factors[list(EVOKED)].to_numpy()
    alpha, pink = _alpha(rng, n_trials), _pink()
    x = sources.floor[:, None].astype("f4") * rng.standard_normal((n_trials, n_chans, N_TIMES), dtype="f4")
    for s in range(len(sources.evoked)):
        rows = subject == s
        background = rng.standard_normal((rows.sum(), N_BACKGROUND, N_TIMES), dtype="f4") @ pink.T
        x[rows] += sources.background[s].astype("f4") @ background
        x[rows] += (sources.alpha[s] @ alpha[rows]).astype("f4")
        x[rows] += (sources.evoked[s] @ (amplitudes[rows][:, :, None] * courses)).astype("f4")
    return x


# --- the film and the behaviour --------------------------------------------------------------------------------------


def _video(rng: Generator, factors: pd.DataFrame, noise: float, n_frames: int = 16, size: int = 32) -> np.ndarray:
    """(b, 1, 16, 32, 32): a patch of stripes (Gabor) that rises or falls over a faint drifting grating.

    Size zooms the patch, so that a pixel a stripe away from its centre is bright at one size and dark at another, and the log-normal
    contrast multiplies what is left: a weighted sum of pixels reads the factors badly. Yet the phase of the stripes is fixed
    to the patch: the film expected from the shared factors alone still shows it, softened.
    """
    position, motion, zoom, contrast = (
        2 * np.tanh(factors[name].to_numpy("f4")[:, None] / 2) for name in ("position", "motion", "size", "contrast")
    )  # softly limited, so that the patch stays in the picture
    frame, pixel = np.linspace(-0.5, 0.5, n_frames, dtype="f4"), np.arange(size, dtype="f4") - (size - 1) / 2
    sigma = 3.0 * np.exp(0.28 * zoom)[..., None]
    across = (pixel - 4.5 * position[..., None]) / sigma
    down = (pixel + 11.0 * (motion * frame)[..., None]) / sigma
    stripes = np.exp(-0.5 * across**2) * np.cos(2.5 * across)
    patch = np.exp(-0.5 * down**2)[..., :, None] * stripes[..., None, :]
    phase = rng.uniform(0, 2 * np.pi, (len(factors), 1, 1, 1)).astype("f4")
    wave = (pixel[:, None] + pixel) * (2 * np.pi / 24) + 2 * frame[:, None, None]
    film = 0.35 + 0.22 * np.exp(0.6 * contrast)[..., None, None] * patch
    film += 0.02 * (np.sin(wave) * np.cos(phase) + np.cos(wave) * np.sin(phase))
    film += noise * rng.standard_normal(film.shape, dtype="f4")
    return rearrange(film.clip(0, 1), "b t h w -> b 1 t h w")


def _behaviour(rng: Generator, factors: pd.DataFrame) -> np.ndarray:
    """(b, 6): what the subject did, in the order of BEHAVIOUR."""
    position, motion, caution = (factors[name].to_numpy() for name in ("position", "motion", "caution"))
    e = rng.standard_normal((6, len(factors)))
    columns = {
        "reaction_time": 0.25 + np.exp(-0.9 + 0.25 * position + 0.25 * caution + 0.05 * e[0]),
        "choice": motion + 0.3 * e[1] > 0,
        "confidence": 1 / (1 + np.exp(-0.9 * motion - 0.2 * e[2])),
        "pupil": 3.5 + 0.4 * (0.8 * caution + 0.2 * e[3]),
        "movement_time": 0.4 * np.exp(0.3 * position - 0.1 * motion + 0.06 * e[4]),
        "rating": np.clip(50 + 15 * (0.5 * position + 0.3 * caution - 0.2 * motion + 0.3 * e[5]), 0, 100),
    }
    return np.stack([columns[name] for name in BEHAVIOUR], axis=1).astype("f4")
