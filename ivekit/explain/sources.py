"""From an explained field back to the brain: a dipole and its error in millimetres, a latency and its error in ms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Real
from numpy import ndarray

SI = {"mag": 1e-15, "grad": 1e-13}  # of fT and fT/cm
CENTRE = (0.0, 0.0, 0.04)  # m in head coordinates: the usual centre of a sphere that stands for the head


class Rank1(NamedTuple):
    """One field with one course, and the part of a pattern's squares that it holds."""

    field: Float[ndarray, "c"]
    course: Float[ndarray, "t"]
    share: float


class Dipole(NamedTuple):
    """A current dipole in head coordinates: place (m), direction, moment (nAm), and its part of the field (0 to 1)."""

    place: Float[ndarray, "3"]
    direction: Float[ndarray, "3"]
    moment: float
    explained: float


def topography(pattern: Real[Any, "..."]) -> Rank1:
    """The field and the course of a pattern over sensors and time, (c, t): its leading singular vectors.

    A source that only grows and shrinks gives a field times a course, and the leading pair is the nearest such product
    (Eckart & Young, 1936); it uses all samples, where a map at one moment uses one. The course has a peak of 1, so the
    field is in the pattern's unit, at the peak. A pattern of zeros has a field of zeros and holds nothing.

    >>> found = topography(np.outer([1.0, -2.0], [0.6, 3.0, -1.5]))
    >>> found.field.round(3), found.course.round(3), round(found.share, 3)
    (array([ 3., -6.]), array([ 0.2,  1. , -0.5]), 1.0)
    """
    x = np.asarray(pattern, float)
    if x.ndim != 2:
        raise ValueError(f"a pattern over sensors and time is (c, t), got {x.shape}")
    u, s, v = np.linalg.svd(x, full_matrices=False)
    peak = v[0, np.abs(v[0]).argmax()]
    if not s[0] > 0:
        return Rank1(np.zeros(len(x)), np.zeros(x.shape[1]), 0.0)
    return Rank1(u[:, 0] * s[0] * peak, v[0] / peak, float(s[0] ** 2 / (s**2).sum()))


def cosine(field: Real[Any, "c"], truth: Real[Any, "*m c"]) -> Any:
    """How alike two fields are, whatever their strength and sign: |cos| of the angle between them, 0 to 1.

    Of several fields (..., c), one number each. A field of zeros is like none.

    >>> cosine(np.array([1.0, 0.0]), np.array([-2.0, 0.0]))
    1.0
    """
    a, b = np.asarray(field, float), np.asarray(truth, float)
    length = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    alike = np.abs(b @ a) / np.where(length > 0, length, 1)
    return alike if b.ndim > 1 else float(alike)


def fit_dipole(
    field: Real[Any, "c"],
    sensors: Any,
    noise: Real[Any, "c c"] | None = None,
    centre: Sequence[float] = CENTRE,
) -> Dipole:
    """The current dipole whose field in a sphere is nearest to a map of the MEG (`mne.fit_dipole`).

    field (c,), in fT (gradiometers fT/cm); sensors with an `mne.Info`, magnetometers, gradiometers or both. noise
    (c, c), its covariance in the same units squared, of the baseline for instance, by which sensors are weighed;
    without it, independent noise of 20 fT and 5 fT/cm. centre (m), of the sphere, in head coordinates. A quarter of a
    second on one core.

    Raises
    ------
    ValueError : when the sensors have no info, are not all MEG, or the field is zero.

    >>> from ivekit import synth
    >>> world = synth.audiovisual(n_trials=8)
    >>> found = fit_dipole(world.topographies["motion"], world.views.about["meg"])
    >>> found.place.round(2), round(found.explained, 2)  # the true one is at (0.055, -0.02, 0.075)
    (array([ 0.05, -0.02,  0.08]), 1.0)
    """
    import mne

    info = _meg(sensors)
    x = np.asarray(field, float)
    if x.shape != (len(info.ch_names),) or not np.abs(x).max() > 0:
        raise ValueError(f"a field is ({len(info.ch_names)},), one value a sensor, and not 0, got shape {x.shape}")
    unit = np.array([SI[kind] for kind in info.get_channel_types()])
    # the fit stops at an absolute tolerance, so every map is given the strength of a clear evoked field
    strength = 200 / np.abs(x).max()
    evoked = mne.EvokedArray((strength * x * unit)[:, None], info, verbose="error")
    if noise is None:
        covariance = mne.make_ad_hoc_cov(info, verbose="error")
    else:
        full = np.asarray(noise, float) * np.outer(unit, unit)
        covariance = mne.Covariance(full, info.ch_names, [], [], nfree=10**6, verbose="error")
    sphere = mne.make_sphere_model(r0=tuple(centre), head_radius=None, verbose="error")
    found, _ = mne.fit_dipole(evoked, covariance, sphere, verbose="error")
    return Dipole(found.pos[0], found.ori[0], float(1e9 * found.amplitude[0] / strength), float(found.gof[0] / 100))


def dipole_error(
    field: Real[Any, "c"],
    sensors: Any,
    place: Sequence[float] | Real[Any, "3"],
    noise: Real[Any, "c c"] | None = None,
    centre: Sequence[float] = CENTRE,
) -> float:
    """How far the dipole that explains a field lies from the true one, in mm.

    place (m), of the true source in head coordinates. A map of noise also gets a dipole somewhere in the head, several
    centimetres off; and the true field itself is found within about 2 mm.

    >>> from ivekit import synth
    >>> world = synth.audiovisual(n_trials=8)
    >>> dipole_error(world.topographies["motion"], world.views.about["meg"], world.places["motion"]) < 5
    True
    """
    far = fit_dipole(field, sensors, noise, centre).place - np.asarray(place, float)
    return float(1e3 * np.linalg.norm(far))


def latency(course: Real[Any, "_"], times: Real[Any, "_"]) -> float:
    """When a course is farthest from 0, in the unit of `times`, finer than the samples.

    The top of the parabola through the largest sample and its neighbours.

    >>> times = np.arange(5) * 10.0
    >>> latency(-((times - 19.0) ** 2) + 500, times)
    19.0
    """
    x, t = np.asarray(course, float), np.asarray(times, float)
    if x.shape != t.shape:
        raise ValueError(f"a course of {x.shape} samples at {t.shape} times")
    i = int(np.abs(x).argmax())
    if not 0 < i < len(x) - 1:
        return float(t[i])
    before, at, after = np.sign(x[i]) * x[i - 1 : i + 2]
    bend = before - 2 * at + after
    return float(t[i] + (t[i + 1] - t[i]) * (0.5 * (before - after) / bend if bend < 0 else 0.0))


def latency_error(course: Real[Any, "t"], truth: Real[Any, "t"], times: Real[Any, "t"]) -> float:
    """How far a course's peak is from the true course's, in ms; times in seconds. Never below 0.

    >>> times = np.arange(60) / 125
    >>> bump = lambda at: np.exp(-0.5 * ((times - at) / 0.02) ** 2)
    >>> round(latency_error(bump(0.104), bump(0.1), times), 1)
    4.0
    """
    return 1e3 * abs(latency(course, times) - latency(truth, times))


def noise_covariance(x: Real[Any, "b c t"], n_baseline: int) -> Float[ndarray, "c c"]:
    """The covariance of sensors before the event, over rows and samples, in their units squared: for `fit_dipole`.

    x (b, c, t), training rows; n_baseline, the samples of each row before the event.

    >>> x = np.array([[[1.0, 1.0, 9.0], [0.0, 0.0, 9.0]], [[-1.0, -1.0, 9.0], [0.0, 0.0, 9.0]]])
    >>> noise_covariance(x, n_baseline=2)
    array([[1., 0.],
           [0., 0.]])
    """
    base = np.asarray(x, float)[:, :, :n_baseline]
    base = base - base.mean(0)
    return np.einsum("bct,bdt->cd", base, base) / (base.shape[0] * base.shape[2])


def _meg(sensors: Any) -> Any:
    info = getattr(sensors, "info", None)
    if info is None:
        raise ValueError("a dipole is fitted to sensors whose place and coils are known: these have no mne.Info")
    if other := set(info.get_channel_types()) - set(SI):
        raise ValueError(f"dipoles are fitted to magnetometers and gradiometers, these sensors are {sorted(other)} too")
    return info
