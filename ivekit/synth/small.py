"""A small experiment for studies that train many models: few sensors, a tiny film, four columns, five factors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from numpy.random import Generator

from ..signal import Sensors
from ..views import Views
from . import meg
from .world import World

SAMPLES = slice(6, 46)  # of the 60 that `meg` simulates: 40 from -0.048 s, six of them before the stimulus
FILM = (1, 4, 12, 12)  # colours, frames, height, width
FPS = 15.0
OWNERS = {
    "position": frozenset({"meg", "video", "behaviour"}),
    "motion": frozenset({"meg", "video"}),
    "vigilance": frozenset({"meg"}),
    "contrast": frozenset({"video"}),
    "caution": frozenset({"behaviour"}),
}
EVOKED = [name for name in meg.EVOKED if name in OWNERS]
BEHAVIOUR = {"reaction_time": "s", "pupil": "mm", "movement_time": "s", "rating": "points"}


def small(
    n_trials: int = 512, seed: int = 0, snr_db: float = 0.0, n_sensors: int = 28, pixel_noise: float = 0.05
) -> World:
    """One subject watches a patch move over a striped band; small enough that a model learns it in seconds.

    The factors are independent and standard normal. `position` drives all three views, `motion` the MEG and the film;
    `vigilance` only the MEG, `contrast` only the film, `caution` only the behaviour.

    - ``meg (b, c, 40)`` in fT, 125 Hz from -0.048 s: magnetometers of the Neuromag helmet, spread evenly. Fields, noise
      and rhythm are those of `audiovisual`, of three dipoles: occipital, right temporal and left frontal.
    - ``video (b, 1, 4, 12, 12)``, grey from 0 to 1. A patch, from left to right by `position` and moving upwards by
      `motion`, over a band of stripes at the bottom whose `contrast` varies, with pixel noise.
    - ``behaviour (b, 4)``: reaction time and movement time (s, log-normal), pupil (mm), rating (points).

    Parameters
    ----------
    snr_db : the variance over trials that one factor causes at its peak and best sensor (of those there are) over the
        variance of the noise there; averaged over the three factors, then in dB.
    n_sensors : 8 to 102. pixel_noise : standard deviation of the film's white noise.

    Returns
    -------
    World : with `topographies`, `time_courses`, `clean` (of the film) and `pixels`: where the film's own change with a
        factor is at least half of its largest. ``views.metadata["split"]`` is train (70 %), validation (10 %) or test.
        A seed gives the same factors, film and behaviour at every `snr_db`.

    >>> world = small(n_trials=20)
    >>> world
    World of 20 rows: meg (28, 40), video (1, 4, 12, 12), behaviour (4)
      position   meg video behaviour
      motion     meg video
      vigilance  meg
      contrast   video
      caution    behaviour
    >>> {name: field.shape for name, field in world.topographies.items()}
    {'position': (28,), 'motion': (28,), 'vigilance': (28,)}
    """
    if n_trials < 10 or not 8 <= n_sensors <= 102 or not pixel_noise >= 0:
        raise ValueError(
            "there must be 10 trials or more, 8 to 102 sensors and pixel noise of 0 or more; "
            f"got {n_trials}, {n_sensors} and {pixel_noise}"
        )
    streams = [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(6)]
    factors = pd.DataFrame(streams[0].standard_normal((n_trials, len(OWNERS))), columns=list(OWNERS))
    sensors, fields, x = _meg(streams[1], streams[2], factors, snr_db, n_sensors)
    clean = _film(factors)
    noisy = (clean + pixel_noise * streams[3].standard_normal(clean.shape, dtype="f4")).clip(0, 1)
    tensors = {"meg": x, "video": noisy, "behaviour": _behaviour(streams[4], factors)}
    about = {
        "meg": sensors,
        "video": {"fps": FPS},
        "behaviour": {"columns": list(BEHAVIOUR), "units": list(BEHAVIOUR.values())},
    }
    split = np.array(["train"] * 7 + ["validation"] + ["test"] * 2)[streams[5].permutation(n_trials) * 10 // n_trials]
    views = Views(
        {name: torch.from_numpy(t) for name, t in tensors.items()}, None, pd.DataFrame({"split": split}), about
    )
    courses = dict(zip(meg.EVOKED, meg.courses()[:, SAMPLES]))
    return World(
        views, factors, OWNERS, dict(zip(EVOKED, fields.T)), {name: courses[name] for name in EVOKED}, {"video": clean},
        {name: _moved(factors, name) for name, owners in OWNERS.items() if "video" in owners},
        {name: meg.places()[name] for name in EVOKED},
    )  # fmt: skip


def _meg(
    heads: Generator, noise: Generator, factors: pd.DataFrame, snr_db: float, n_sensors: int
) -> tuple[Sensors, Float[np.ndarray, "c f"], Float[np.ndarray, "b c t"]]:
    """Sensors, fields and trials: those of `meg`, at the sensors that are picked and rescaled to the ratio there."""
    import mne

    everywhere = meg.sources(heads, 1, snr_db, ("mag",))
    info = meg.info(("mag",))
    picks = _spread(np.array([ch["loc"][:3] for ch in info["chs"]]), n_sensors)
    ours = [list(meg.EVOKED).index(name) for name in EVOKED]
    few = replace(
        everywhere, evoked=everywhere.evoked[:, picks][..., ours], alpha=everywhere.alpha[:, picks],
        background=everywhere.background[:, picks], sensor=everywhere.sensor[picks],
    )  # fmt: skip
    field, variance = np.abs(few.evoked[0]), few.noise_variance()[0]
    ratio = np.mean(field.max(axis=0) ** 2 / variance[field.argmax(axis=0)])
    few = replace(few, evoked=few.evoked * np.sqrt(10 ** (snr_db / 10) / ratio))
    # `trials` simulates every evoked course: the dipole that no factor here drives has no field
    whole = np.zeros((1, n_sensors, len(meg.EVOKED)))
    whole[..., ours] = few.evoked
    activity = np.zeros((len(factors), len(meg.EVOKED)))
    activity[:, ours] = factors[EVOKED].to_numpy()
    x = meg.trials(noise, activity, np.zeros(len(factors), int), replace(few, evoked=whole))[..., SAMPLES]
    sensors = Sensors.from_info(mne.pick_info(info.copy(), picks, verbose="error"), tmin=float(meg.TIMES[SAMPLES][0]))
    return sensors, few.evoked[0], np.ascontiguousarray(x)


def _spread(places: Float[np.ndarray, "c 3"], n: int) -> Int[np.ndarray, "n"]:
    """The places of n sensors that are far from each other, in ascending order (Gonzalez, 1985: farthest first)."""
    picks = [int(places[:, 2].argmax())]
    while len(picks) < n:
        apart = np.linalg.norm(places[:, None] - places[picks], axis=-1).min(axis=1)
        picks.append(int(apart.argmax()))
    return np.sort(picks)


def _film(factors: pd.DataFrame) -> Float[np.ndarray, "b c t h w"]:
    """The film without noise: a bright patch in the upper eight rows, stripes in the lower three."""
    place, motion, contrast = (
        2 * np.tanh(rearrange(factors[name].to_numpy("f4"), "b -> b 1 1 1") / 2)  # the patch stays in the picture
        for name in ("position", "motion", "contrast")
    )
    frame, pixel = np.linspace(-0.5, 0.5, FILM[1], dtype="f4")[:, None, None], np.arange(FILM[2], dtype="f4")
    across, down = pixel - 5.5 - 2.2 * place, pixel[:, None] - 4 + 3.5 * motion * frame
    patch = np.exp(-0.5 * (across**2 + down**2) / 1.6**2) * (pixel[:, None] < 8)
    stripes = np.cos(np.pi * pixel / 2 - np.pi / 4) * (pixel[:, None] > 8) * np.ones_like(frame)
    film = 0.4 + 0.4 * patch + 0.12 * (1 + 0.5 * contrast) * stripes
    return rearrange(film, "b t h w -> b 1 t h w").astype("f4")


def _moved(factors: pd.DataFrame, name: str) -> Bool[np.ndarray, "c t h w"]:
    """Pixels whose change with the factor (root mean square over the rows) is at least half of the largest."""
    up, down = (_film(factors.assign(**{name: factors[name] + step})) for step in (0.25, -0.25))
    change = np.sqrt(np.square(up - down).mean(axis=0))
    return change >= change.max() / 2


def _behaviour(rng: Generator, factors: pd.DataFrame) -> Float[np.ndarray, "b 4"]:
    """What the subject did (b, 4), in the order of BEHAVIOUR."""
    position, caution = factors["position"].to_numpy(), factors["caution"].to_numpy()
    noise = rng.standard_normal((4, len(factors)))
    columns = [
        np.exp(-0.6 + 0.25 * position + 0.25 * caution + 0.08 * noise[0]),
        3.5 + 0.32 * caution + 0.12 * noise[1],
        0.4 * np.exp(0.3 * position + 0.1 * noise[2]),
        50 + 8.0 * position + 4.0 * caution + 4.5 * noise[3],
    ]
    return np.stack(columns, axis=1).astype("f4")
