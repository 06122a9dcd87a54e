"""Brain states of several subjects at the sensors of real arrays: worlds for decoding within and across subjects."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import mne
import numpy as np
import pandas as pd
import torch
import yaml
from einops import rearrange
from jaxtyping import Float, Int
from numpy import ndarray
from numpy.random import Generator

from ..signal import Sensors
from ..views import Views
from . import meg
from .world import World

SFREQ, TMIN, N_TIMES = 125.0, -0.2, 125
ARRAYS = ("neuromag306", "neuromag102", "magnes248", "ctf275", "ctf151")


class State(NamedTuple):
    """What the brain does in a state: a slow field after the event, and a rhythm elsewhere, of any phase."""

    place: tuple[float, float, float]  # of the slow field, m from the head's centre; x right, y front, z up
    angle: float  # rad, in the plane that touches the sphere
    latency: float  # s
    source: tuple[float, float, float]  # of the rhythm
    frequency: float  # Hz


STATES = {
    "see": State((-0.015, -0.062, 0.028), 0.3, 0.25, (0.020, -0.060, 0.030), 10.0),  # occipital
    "hear": State((0.055, -0.015, 0.030), 1.2, 0.35, (-0.056, -0.012, 0.030), 8.0),  # temporal
    "move": State((-0.036, 0.005, 0.060), 0.4, 0.45, (0.036, 0.005, 0.060), 20.0),  # central, left and right
    "count": State((-0.040, 0.045, 0.035), 1.9, 0.55, (0.010, 0.058, 0.040), 6.0),  # frontal
}
WIDTH = 0.09  # s, of the slow fields: power up to 4 Hz
N_BACKGROUND = 48
MOVED, TURNED, JITTER, GAIN = 0.003, 0.04, 0.006, 0.15  # m, rad, m and log units: how subjects differ


def states(
    n_trials: int = 100,
    n_subjects: int = 6,
    array: str = "neuromag306",
    evoked: float = 0.5,
    rhythm: float = 0.5,
    seed: int = 0,
) -> World:
    """Trials of several subjects in one of four states, at the sensors of a real array.

    n_trials : of each subject, as many in each state. array : neuromag306, neuromag102, magnes248, ctf275 or ctf151.
    evoked : size of a state's slow field at its best sensor over the noise there; a linear decoder sees it.
    rhythm : the same of a state's rhythm, whose phase is another in every trial: no linear decoder sees it.

    meg (b, c, 125), 1 s at 125 Hz from 0.2 s before the event, in fT (fT/cm for gradiometers); label (b,), 0 to 3.
    Subjects differ in how they sit in the helmet, where their sources are and how strong. `metadata`: subject, trial,
    state. `factors` are the states, 0 or 1; `topographies` and `time_courses` are those of the slow fields, on average
    over subjects.

    Raises
    ------
    ValueError : for an unknown array, or trials that cannot be shared out evenly.

    >>> states(n_trials=8, n_subjects=2, array="magnes248")
    World of 16 rows: meg (248, 125), label ()
      see    meg label
      hear   meg label
      move   meg label
      count  meg label
    """
    if n_trials < 4 or n_trials % 4:
        raise ValueError(f"n_trials is {n_trials}: a multiple of 4, as many trials of a subject in each of 4 states")
    rng, info = np.random.default_rng(seed), array_info(array)
    fields = [_subject(rng, info) for _ in range(n_subjects)]
    scale = _scales(info, np.mean([np.square(f[:, 8:]).sum(1) for f in fields], 0))
    sensor = _by_kind(meg.SENSOR, info)
    label = np.concatenate([rng.permutation(np.arange(n_trials) % 4) for _ in fields])
    rows = [(f, label[i * n_trials : (i + 1) * n_trials]) for i, f in enumerate(_strong(fields, scale, sensor, info))]
    x = np.concatenate([_trials(rng, field, said, evoked, rhythm, sensor) for field, said in rows])
    factors = pd.DataFrame({name: (label == i).astype(float) for i, name in enumerate(STATES)})
    frame = _rows(n_trials, n_subjects).assign(state=np.array(list(STATES))[label])
    views = Views(
        {"meg": torch.from_numpy(x), "label": torch.from_numpy(label.astype(np.int64))},
        metadata=frame,
        about={"meg": Sensors.from_info(info, TMIN), "label": {"classes": list(STATES)}},
    )
    mean = np.mean([f for f, _ in rows], 0)
    maps = {name: evoked * mean[:, i] for i, name in enumerate(STATES)}
    return World(views, factors, dict.fromkeys(STATES, frozenset({"meg", "label"})), maps, dict(zip(STATES, courses())))


def _rows(n_trials: int, n_subjects: int) -> pd.DataFrame:
    subject = [f"s{i + 1:02d}" for i in range(n_subjects)]
    return pd.DataFrame({"subject": np.repeat(subject, n_trials), "trial": np.tile(np.arange(n_trials), n_subjects)})


@functools.lru_cache(maxsize=8)
def array_info(array: str) -> mne.Info:
    """The sensors of an array around a head in its usual place, at 125 Hz.

    >>> {name: array_info(name)["nchan"] for name in ("neuromag306", "magnes248", "ctf151")}
    {'neuromag306': 306, 'magnes248': 248, 'ctf151': 151}
    """
    if array not in ARRAYS:
        raise ValueError(f"array is one of {', '.join(ARRAYS)}; got {array!r}")
    if array.startswith("neuromag"):
        return meg.info(("mag", "grad") if array == "neuromag306" else ("mag",))
    if array == "magnes248":
        return _magnes()
    info = mne.channels.read_meg_canonical_info(array, verbose="error")
    with info._unlock():
        info["sfreq"] = SFREQ
    return _placed(info, mne.transforms.translation(*meg.CENTRE))


def _magnes() -> mne.Info:
    """The Magnes 3600 WH, of which MNE has only the layout."""
    said = yaml.safe_load(Path(__file__).with_name("magnes3600.yaml").read_text(encoding="utf-8"))
    info = mne.create_info(list(said["sensors"]), SFREQ, "mag", verbose="error")
    for channel, numbers in zip(info["chs"], said["sensors"].values()):
        place, normal = np.array(numbers).reshape(2, 3)
        across = np.cross(normal, [1.0, 0.0, 0.0] if abs(normal[0]) < 0.9 else [0.0, 1.0, 0.0])
        across /= np.linalg.norm(across)
        channel["loc"][:] = np.concatenate([place, across, np.cross(normal, across), normal])
        channel["coil_type"] = mne.io.constants.FIFF.FIFFV_COIL_MAGNES_MAG
    return _placed(info, np.vstack([said["device_to_head"], [0.0, 0.0, 0.0, 1.0]]))


def _placed(info: mne.Info, device_to_head: ndarray) -> mne.Info:
    info = info.copy()
    info["dev_head_t"] = mne.transforms.Transform("meg", "head", device_to_head)
    return info


# fields ---------------------------------------------------------------------------------------------------------


def _subject(rng: Generator, info: mne.Info) -> Float[ndarray, "c d"]:
    """The fields of a subject's sources per unit: 4 slow ones, 4 rhythms, background."""
    move = mne.transforms.translation(*rng.normal(0, MOVED, 3)) @ mne.transforms.rotation(*rng.normal(0, TURNED, 3))
    places, angles = _sources()
    places = places + rng.normal(0, JITTER, places.shape) * (np.arange(len(places)) < 8)[:, None]
    angles = angles + rng.normal(0, 0.1, len(angles))
    moved = _placed(info, move @ info["dev_head_t"]["trans"])
    return lead_field(moved, places, meg._tangential(places, angles)) * np.exp(rng.normal(0, GAIN, len(places)))


def _sources() -> tuple[Float[ndarray, "d 3"], Float[ndarray, "d"]]:
    """Places and angles that all brains have; the background is everywhere in the upper half, 5.5 to 7.5 cm out."""
    rng, each = np.random.default_rng(0), list(STATES.values())
    cloud = rng.standard_normal((N_BACKGROUND, 3))
    cloud[:, 2] = np.abs(cloud[:, 2]) - 0.3
    cloud *= 0.075 * rng.uniform(0.4, 1, (N_BACKGROUND, 1)) ** (1 / 3) / np.linalg.norm(cloud, axis=1, keepdims=True)
    places = np.concatenate([[s.place for s in each], [s.source for s in each], cloud])
    return places, np.concatenate([[s.angle for s in each], np.arange(4.0), rng.uniform(0, 2 * np.pi, N_BACKGROUND)])


def lead_field(
    info: mne.Info, places: Float[ndarray, "d 3"], directions: Float[ndarray, "d 3"]
) -> Float[ndarray, "c d"]:
    """The field of each dipole per nAm at the sensors, in fT (fT/cm), for a sphere (Sarvas, 1987).

    places : m from the head's centre. directions : unit vectors; a dipole along the radius has no field outside.

    >>> lead_field(array_info("ctf151"), np.array([[0.0, 0.0, 0.07]]), np.array([[1.0, 0.0, 0.0]])).shape
    (151, 1)
    """
    ones = np.ones(len(places))
    at = places + meg.CENTRE
    dipoles = mne.Dipole(np.arange(len(places)) / 1000, at, ones, directions, 100 * ones, verbose="error")
    sphere = mne.make_sphere_model(r0=meg.CENTRE, head_radius=None, verbose="error")
    forward, _ = mne.make_forward_dipole(dipoles, sphere, info, trans=None, verbose="error")
    return 1e-9 * _by_kind(meg.FEMTO, info)[:, None] * forward["sol"]["data"]


def _by_kind(values: Mapping[str, float], info: mne.Info) -> Float[ndarray, "c"]:
    return np.array([values[kind] for kind in info.get_channel_types()])


def _scales(info: mne.Info, power: Float[ndarray, "c"]) -> float:
    """What the background is multiplied with, so that noise has the recorded level at the median magnetometer."""
    mags = np.array(info.get_channel_types()) == "mag"
    wanted = meg.LEVEL["mag"] ** 2 - meg.SENSOR["mag"] ** 2
    return float(np.sqrt(wanted / np.median(power[mags])))


def _strong(
    fields: list[ndarray], scale: float, sensor: Float[ndarray, "c"], info: mne.Info
) -> list[Float[ndarray, "c d"]]:
    """Background at its level, and every state's field of 1 noise deviation at its best magnetometer, on average."""
    mags = np.array(info.get_channel_types()) == "mag"
    mean = np.mean([f[:, :8] for f in fields], 0)
    noise = np.sqrt(scale**2 * np.mean([np.square(f[:, 8:]).sum(1) for f in fields], 0) + sensor**2)
    size = 1 / (np.abs(mean) / noise[:, None])[mags].max(0)
    return [f * np.concatenate([size, np.full(N_BACKGROUND, scale)]) for f in fields]


# courses --------------------------------------------------------------------------------------------------------


def courses() -> Float[ndarray, "f t"]:
    """The slow fields' courses, 1 at their peak.

    >>> courses().shape, courses().max(1).round(2)
    ((4, 125), array([1., 1., 1., 1.]))
    """
    t = TMIN + np.arange(N_TIMES) / SFREQ
    latency = np.array([[state.latency] for state in STATES.values()])
    return np.exp(-0.5 * ((t - latency) / WIDTH) ** 2)


def _trials(
    rng: Generator, fields: Float[ndarray, "c d"], label: Int[ndarray, "b"], evoked: float, rhythm: float,
    sensor: Float[ndarray, "c"],
) -> Float[ndarray, "b c t"]:  # fmt: skip
    """A subject's trials: the state's field and rhythm, 1/f background and the sensors' own noise; float32."""
    b, t = len(label), TMIN + np.arange(N_TIMES) / SFREQ
    x = rng.standard_normal((b, len(sensor), N_TIMES), dtype="f4") * rearrange(sensor, "c -> c 1").astype("f4")
    background = rng.standard_normal((b, N_BACKGROUND, N_TIMES), dtype="f4") @ meg.pink(N_TIMES)
    x += fields[:, 8:].astype("f4") @ background
    size = evoked * np.exp(rng.normal(0, 0.3, (b, 1)))
    frequency = np.array([state.frequency for state in STATES.values()])[label][:, None] + rng.normal(0, 0.3, (b, 1))
    wave = np.sqrt(2) * np.cos(2 * np.pi * frequency * t + rng.uniform(0, 2 * np.pi, (b, 1)))
    wave *= rhythm * np.exp(rng.normal(0, 0.3, (b, 1))) * (1 / (1 + np.exp(-t / 0.03)))
    x += (rearrange(fields[:, label], "c b -> b c 1") * rearrange(size * courses()[label], "b t -> b 1 t")).astype("f4")
    x += (rearrange(fields[:, 4 + label], "c b -> b c 1") * rearrange(wave, "b t -> b 1 t")).astype("f4")
    return x
