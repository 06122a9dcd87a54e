"""Evoked fields of known sources in noise like that of a recording, at the Neuromag sensors around a spherical head."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import mne
import numpy as np
from einops import rearrange
from jaxtyping import Float, Int
from numpy.random import Generator
from scipy.linalg import toeplitz

from ..signal import Sensors

SFREQ, TMIN, N_TIMES = 125.0, -0.096, 60  # sample 12 is the stimulus itself: MNE stores no times between samples
TIMES = TMIN + np.arange(N_TIMES) / SFREQ


class Evoked(NamedTuple):
    """A dipole that answers a stimulus: where it is from the centre of the head, and its course."""

    place: tuple[float, float, float]  # m; x to the right, y to the front, z up
    angle: float  # rad, in the plane that touches the sphere
    latency: float  # s
    width: float  # s
    size: float  # peak field beside the others'


EVOKED = {
    "position": Evoked((-0.015, -0.062, 0.028), 0.3, 0.100, 0.022, 1.0),  # occipital, like the M100
    "motion": Evoked((0.055, -0.020, 0.035), 1.2, 0.172, 0.030, 0.9),  # right temporal, like the M170
    "size": Evoked((0.020, -0.058, 0.035), 2.2, 0.136, 0.026, 0.8),  # right occipital
    "vigilance": Evoked((-0.056, 0.012, 0.030), 1.9, 0.220, 0.038, 0.9),  # left frontal
}
ALPHA = ((0.020, -0.060, 0.030), (-0.020, -0.060, 0.035), (0.0, -0.055, 0.045))  # m, three occipital generators
ALPHA_LAG = np.array([0.0, 0.4, 0.9])  # rad: they do not swing together
ALPHA_SPREAD = 0.5  # standard deviation of a trial's log amplitude
N_BACKGROUND = 200
CENTRE = (0.0, 0.0, 0.04)  # m: the centre of the head lies about 4 cm above the line between the ears

# Standard deviations in fT and fT/cm, from the pre-stimulus noise covariance of MNE-Python's sample recording (Neuromag
# 306, 2904 samples): LEVEL is the median channel's, SENSOR the root of the smallest eigenvalue that the three
# projections leave, which is what no source in the head explains.
LEVEL = {"mag": 156.5, "grad": 53.1}
SENSOR = {"mag": 29.6, "grad": 23.2}
FEMTO = {"mag": 1e15, "grad": 1e13}  # T -> fT, T/m -> fT/cm


@dataclass(frozen=True)
class Sources:
    """What a unit of each source makes at the sensors of every subject, and the sensors' own noise, in fT (fT/cm)."""

    evoked: Float[np.ndarray, "s c f"]  # per unit of the factor
    alpha: Float[np.ndarray, "s c 3"]
    background: Float[np.ndarray, "s c d"]
    sensor: Float[np.ndarray, "c"]  # standard deviation

    def noise_variance(self) -> Float[np.ndarray, "s c"]:
        """Variance of all noise together, over trials and time."""
        return _alpha_variance(self.alpha) + (self.background**2).sum(axis=-1) + self.sensor**2


def sources(rng: Generator, n_subjects: int, snr_db: float, kinds: tuple[str, ...]) -> Sources:
    """Draw the subjects' heads and gains; scale the noise to the recording's level and the evoked fields to `snr_db`.

    Both levels are set at the sensors of kinds[0] and for the mean subject.

    >>> sources(np.random.default_rng(0), n_subjects=2, snr_db=0.0, kinds=("mag",)).evoked.shape
    (2, 102, 4)
    """
    heads = np.concatenate([rng.normal(0, 0.02, (n_subjects, 3)), rng.normal(0, 0.002, (n_subjects, 3))], axis=1)
    gains = np.exp(rng.normal(0, 0.1, (n_subjects, 1, 1)))
    leads = np.stack([_lead_field(kinds, tuple(head)) for head in heads.tolist()])
    evoked, alpha, background = np.split(leads, np.cumsum([len(EVOKED), len(ALPHA)]), axis=-1)
    scaled = Sources(gains * evoked, *_at_recorded_level(alpha, background, kinds), _by_channel(SENSOR, kinds))
    return replace(scaled, evoked=_at_snr(scaled, snr_db, kinds))


def _at_recorded_level(
    alpha: Float[np.ndarray, "s c 3"], background: Float[np.ndarray, "s c d"], kinds: tuple[str, ...]
) -> tuple[Float[np.ndarray, "s c 3"], Float[np.ndarray, "s c d"]]:
    """The brain's noise so strong that with the sensors' own the median channel has the recording's level."""
    first = _first(kinds)
    power = (background[:, first] ** 2).sum(axis=-1).mean(axis=0)
    rhythm = _alpha_variance(alpha[:, first]).mean(axis=0)
    # the rhythm is as strong at its best sensor as the background is at the average one
    alpha, rhythm = alpha * np.sqrt(power.mean() / rhythm.max()), rhythm * power.mean() / rhythm.max()
    strength = np.sqrt((LEVEL[kinds[0]] ** 2 - SENSOR[kinds[0]] ** 2) / np.median(power + rhythm))
    return strength * alpha, strength * background


def _at_snr(scaled: Sources, snr_db: float, kinds: tuple[str, ...]) -> Float[np.ndarray, "s c f"]:
    """Evoked fields whose squared peaks over the noise variance at the same sensors have this mean, in dB."""
    first, sizes = _first(kinds), np.array([evoked.size for evoked in EVOKED.values()])
    field = np.abs(scaled.evoked.mean(axis=0)[first])
    noise = scaled.noise_variance().mean(axis=0)[first][field.argmax(axis=0)]
    ratio = np.mean(sizes**2 / noise)
    return scaled.evoked * sizes / field.max(axis=0) * np.sqrt(10 ** (snr_db / 10) / ratio)


def _alpha_variance(alpha: Float[np.ndarray, "*s c 3"]) -> Float[np.ndarray, "*s c"]:
    power = np.exp(2 * ALPHA_SPREAD**2) / 2  # mean square of a log-normal amplitude times a cosine
    return power * np.abs(alpha @ np.exp(1j * ALPHA_LAG)) ** 2


def places() -> dict[str, Float[np.ndarray, "3"]]:
    """Where the source of each factor is, in metres and head coordinates, as `mne.Dipole` and `mne.fit_dipole` say it.

    >>> places()["motion"].round(3)
    array([ 0.055, -0.02 ,  0.075])
    """
    return {name: np.add(evoked.place, CENTRE) for name, evoked in EVOKED.items()}


@functools.lru_cache(maxsize=4)
def info(kinds: tuple[str, ...]) -> mne.Info:
    """The Neuromag sensors of these kinds around a head in its usual place, at 125 Hz.

    >>> info(("mag",))["nchan"], info(("mag", "grad"))["nchan"]
    (102, 306)
    """
    canonical = mne.channels.read_meg_canonical_info("neuromag", verbose="error")
    picks = [i for i, kind in enumerate(canonical.get_channel_types()) if kind in kinds]
    canonical = mne.pick_info(canonical, picks, verbose="error")
    sensors = mne.create_info(canonical["ch_names"], SFREQ, canonical.get_channel_types(), verbose="error")
    for new, old in zip(sensors["chs"], canonical["chs"], strict=True):
        new.update(old)
    return _around(sensors, (0.0,) * 6)


def _around(sensors: mne.Info, head: tuple[float, ...]) -> mne.Info:
    """The same sensors around a head that is turned by three angles (rad) and moved by three lengths (m)."""
    # The canonical transform is the identity, with the head's centre 4 cm too high in the helmet: fields of 1000 fT.
    place = mne.transforms.translation(*np.add(CENTRE, head[3:])) @ mne.transforms.rotation(*head[:3])
    sensors = sensors.copy()
    sensors["dev_head_t"] = mne.transforms.Transform("meg", "head", place)
    return sensors


def _by_channel(values: Mapping[str, float], kinds: tuple[str, ...]) -> np.ndarray:
    return np.array([values[kind] for kind in info(kinds).get_channel_types()])


def _first(kinds: tuple[str, ...]) -> np.ndarray:
    return np.array(info(kinds).get_channel_types()) == kinds[0]


@functools.lru_cache(maxsize=64)
def _lead_field(kinds: tuple[str, ...], head: tuple[float, ...]) -> Float[np.ndarray, "c d"]:
    """Field of every dipole per nAm; kept for each head, since it takes 0.3 s."""
    return 1e-9 * _by_channel(FEMTO, kinds)[:, None] * _fields(*_dipoles(), _around(info(kinds), head))


def _fields(places: Float[np.ndarray, "d 3"], directions: Float[np.ndarray, "d 3"], sensors: mne.Info) -> np.ndarray:
    """Field of every dipole per Am, (c, d) in T and T/m, in a sphere around CENTRE; places are from its centre."""
    ones = np.ones(len(places))
    dipoles = mne.Dipole(np.arange(len(places)) / 1000, places + CENTRE, ones, directions, 100 * ones, verbose="error")
    sphere = mne.make_sphere_model(r0=CENTRE, head_radius=None, verbose="error")
    forward, _ = mne.make_forward_dipole(dipoles, sphere, sensors, trans=None, verbose="error")
    return forward["sol"]["data"]


def random_fields(sensors: Sensors, n: int = 200, seed: int = 0) -> Float[np.ndarray, "n c"]:
    """Fields of dipoles anywhere in a spherical head: maps as smooth as a true one, to compare an explanation with.

    sensors : MEG sensors with an `mne.Info`, as worlds have them. Dipoles are tangential, 1 nAm, drawn evenly in the
    volume from 4.5 to 7 cm off the centre, mostly in its upper half.

    Returns
    -------
    (n, c), in fT (gradiometers fT/cm).

    >>> random_fields(Sensors.from_info(info(("mag",))), n=5).shape
    (5, 102)
    """
    if sensors.info is None:
        raise ValueError(f"the sensors ({sensors}) have no mne.Info, which says where the coils are")
    if unknown := set(sensors.kinds) - set(FEMTO):
        raise ValueError(f"fields are made for {', '.join(FEMTO)}; the sensors are {sorted(unknown)} too")
    rng = np.random.default_rng(seed)
    places = _cloud(rng, n, 0.045, 0.07)
    fields = _fields(places, _tangential(places, rng.uniform(0, 2 * np.pi, n)), sensors.info)
    return 1e-9 * fields.T * np.array([FEMTO[kind] for kind in sensors.kinds])


def _cloud(rng: Generator, n: int, nearest: float, farthest: float) -> Float[np.ndarray, "d 3"]:
    """Places from the head's centre (m), even in volume between two radii, mostly in the upper half: the cortex."""
    cloud = rng.standard_normal((n, 3))
    cloud[:, 2] = np.abs(cloud[:, 2]) - 0.3
    radii = rng.uniform(nearest**3, farthest**3, (n, 1)) ** (1 / 3)
    return cloud * radii / np.linalg.norm(cloud, axis=1, keepdims=True)


def _dipoles() -> tuple[Float[np.ndarray, "d 3"], Float[np.ndarray, "d 3"]]:
    """Places from the head's centre (m) and directions: evoked, alpha, background. Every world has the same brain."""
    rng = np.random.default_rng(0)
    cloud = rng.standard_normal((N_BACKGROUND, 3))
    cloud[:, 2] = np.abs(cloud[:, 2]) - 0.3  # mostly the upper half, where the cortex is
    radii = 0.075 * rng.uniform(0.4, 1, (N_BACKGROUND, 1)) ** (1 / 3)  # even in volume, 5.5 to 7.5 cm
    cloud *= radii / np.linalg.norm(cloud, axis=1, keepdims=True)
    places = np.concatenate([[evoked.place for evoked in EVOKED.values()], ALPHA, cloud])
    angles = rng.uniform(0, 2 * np.pi, len(places))
    angles[: len(EVOKED)] = [evoked.angle for evoked in EVOKED.values()]
    return places, _tangential(places, angles)


def _tangential(places: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Unit vectors at right angles to the radii: a radial dipole in a sphere has no field outside (Sarvas, 1987)."""
    up = places / np.linalg.norm(places, axis=1, keepdims=True)
    east = np.cross(up, [0.0, 0.0, 1.0])
    east /= np.linalg.norm(east, axis=1, keepdims=True)
    return np.cos(angles)[:, None] * east + np.sin(angles)[:, None] * np.cross(up, east)


def courses() -> Float[np.ndarray, "f t"]:
    """The evoked courses: a peak of 1, then a longer deflection the other way; nothing before the stimulus.

    >>> courses().shape, courses().max(axis=1)
    ((4, 60), array([1., 1., 1., 1.]))
    """
    latency = np.array([[evoked.latency] for evoked in EVOKED.values()])
    width = np.array([[evoked.width] for evoked in EVOKED.values()])
    peak = np.exp(-0.5 * ((TIMES - latency) / width) ** 2)
    later = np.exp(-0.5 * ((TIMES - latency - 2.6 * width) / (1.3 * width)) ** 2)
    course = np.where(TIMES < 0, 0.0, peak - 0.35 * later)
    return course / course.max(axis=1, keepdims=True)


def trials(
    rng: Generator, factors: Float[np.ndarray, "b f"], subject: Int[np.ndarray, "b"], scaled: Sources
) -> Float[np.ndarray, "b c t"]:
    """Every trial: evoked fields of amplitude 1 + factor, 1/f noise, an alpha rhythm and the sensors' noise; float32.

    >>> some = sources(np.random.default_rng(0), n_subjects=2, snr_db=0.0, kinds=("mag",))
    >>> trials(np.random.default_rng(1), np.zeros((5, 4)), np.array([0, 0, 0, 1, 1]), some).shape
    (5, 102, 60)
    """
    x = rng.standard_normal((len(factors), len(scaled.sensor), N_TIMES), dtype="f4")
    x *= rearrange(scaled.sensor, "c -> 1 c 1").astype("f4")
    activity, rhythm, slow = (1 + factors)[:, :, None] * courses(), _alpha(rng, len(factors)), pink(N_TIMES)
    for s in range(len(scaled.evoked)):
        rows = subject == s
        background = rng.standard_normal((rows.sum(), N_BACKGROUND, N_TIMES), dtype="f4") @ slow
        x[rows] += scaled.background[s].astype("f4") @ background
        x[rows] += (scaled.alpha[s] @ rhythm[rows] + scaled.evoked[s] @ activity[rows]).astype("f4")
    return x


def _alpha(rng: Generator, n_trials: int) -> Float[np.ndarray, "b 3 t"]:
    """A rhythm of 9 to 11.5 Hz whose amplitude, frequency and phase change from trial to trial."""
    amplitude = np.exp(rng.normal(0, ALPHA_SPREAD, (n_trials, 1, 1)))
    phase = rng.uniform(0, 2 * np.pi, (n_trials, 1, 1)) + ALPHA_LAG[:, None]
    return amplitude * np.cos(2 * np.pi * rng.uniform(9, 11.5, (n_trials, 1, 1)) * TIMES + phase)


def pink(n_times: int) -> Float[np.ndarray, "t u"]:
    """The matrix that white noise is multiplied by to become stationary, of power 1/f from 0.5 Hz up and variance 1.

    >>> np.allclose((pink(60) ** 2).sum(axis=0), 1)  # each sample's variance
    True
    """
    frequencies = np.fft.rfftfreq(4 * n_times, 1 / SFREQ)
    frequencies = frequencies[frequencies >= 0.5]
    lags = np.arange(n_times) / SFREQ
    covariance = np.cos(2 * np.pi * np.outer(lags, frequencies)) @ (1 / frequencies)
    return np.linalg.cholesky(toeplitz(covariance / covariance[0])).T.astype("f4")
