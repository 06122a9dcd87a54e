"""A body whose causes are known: heart, pulse and breath that move each other."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from einops import rearrange
from jaxtyping import Float

from ..signal import Sensors, resample
from ..views import Views
from .world import World

MARGIN = 24  # samples to either side of a window, for the filter
FINE = 4  # samples simulated for one that is kept: an R wave is shorter than a sample at 30 Hz
# Height and width (radians of the beat) of the waves, and where in the beat they are: McSharry et al. (2003), table 1,
# heights relative to the R wave.
ECG = ((-1.22, 0.12, 0.25), (-0.26, -0.17, 0.10), (0.0, 1.0, 0.10), (0.26, -0.25, 0.10), (1.75, 0.3, 0.40))
PULSE = ((-0.9, 1.0, 0.75), (0.75, 0.45, 0.75))  # the ejected pulse, and its reflection with the dicrotic notch between
OWNERS = {
    "heart_rate": ("ecg", "ppg"),
    "breath_rate": ("ecg", "ppg", "rsp"),
    "coupling": ("ecg", "ppg"),
    "depth": ("ppg", "rsp"),
    "delay": ("ppg",),
}


def physiology(
    n_subjects: int = 24,
    n_windows: int = 40,
    window: float | int = 8.0,
    sfreq: float | int = 30.0,
    noise: float | int = 0.1,
    seed: int = 0,
) -> World:
    """Electrocardiogram, pulse wave and breathing of several people at rest, in windows.

    The heart beats at `heart_rate` (a minute), faster while breathing in: by the fraction `coupling` at most
    (respiratory sinus arrhythmia). Breath comes at `breath_rate` (a minute), with `depth`. Each beat is an
    electrocardiogram of five waves (McSharry et al., 2003), and `delay` seconds later a pulse wave at the finger, on a
    baseline that follows the breath. So the heart's rhythm is in two signals and the breath's in all three, but when
    a window begins within a beat or a breath is drawn anew: no two windows are in step.

    Parameters
    ----------
    n_subjects, n_windows : people, and windows of each. People differ in the mean of every factor and in the shape of
        their beats; a window differs a little from its person's mean.
    window, sfreq : seconds, and samples a second.
    noise : standard deviation of the noise, which is pink, as a part of each signal's own.

    Views ecg, ppg and rsp, each ``(b, 1, t)``, in units of the R wave, of the pulse and of a breath of depth 1.
    `metadata`: subject, window, and split by subjects: of ten, seven train, one validation, two test.

    >>> physiology(n_subjects=10, n_windows=2)
    World of 20 rows: ecg (1, 240), ppg (1, 240), rsp (1, 240)
      heart_rate   ecg ppg
      breath_rate  ecg ppg rsp
      coupling     ecg ppg
      depth        ppg rsp
      delay        ppg
    """
    if n_subjects < 3:
        raise ValueError(f"of {n_subjects} subjects none can be held out for validation and test: make it at least 3")
    random = np.random.default_rng(seed)
    subject = np.repeat(np.arange(n_subjects), n_windows)
    factors = _factors(random, subject)
    n_times = round(window * sfreq)
    signals = _signals(random, subject, factors, n_times, sfreq)
    views = {name: resample(x, FINE, 1)[:, MARGIN : MARGIN + n_times] for name, x in signals.items()}
    for x in views.values():
        x += noise * x.std() * _pink(random, x.shape)
    part = np.digitize((np.arange(n_subjects) + 0.5) / n_subjects, [0.7, 0.8])
    split = np.array(["train", "validation", "test"])[part]
    names = np.array([f"s{i + 1:02d}" for i in range(n_subjects)])
    frame = pd.DataFrame({"subject": names[subject], "window": np.tile(np.arange(n_windows), n_subjects)})
    about = {name: Sensors([name], np.full((1, 2), np.nan), [name], float(sfreq)) for name in views}
    tensors = {name: rearrange(torch.from_numpy(x).float(), "b t -> b 1 t") for name, x in views.items()}
    owners = {factor: frozenset(names) for factor, names in OWNERS.items()}
    return World(Views(tensors, None, frame.assign(split=split[subject]), about), factors, owners)


def _factors(random: np.random.Generator, subject: np.ndarray) -> pd.DataFrame:
    """Each factor about its subject's own mean, in natural units, within what bodies do."""
    people = {"heart_rate": (70, 9), "breath_rate": (15, 2.5), "coupling": (0.1, 0.035), "depth": (1, 0.2),
              "delay": (0.25, 0.03)}  # fmt: skip
    within = {"heart_rate": 3, "breath_rate": 1, "coupling": 0.02, "depth": 0.15, "delay": 0.01}
    least = {"heart_rate": 45, "breath_rate": 7, "coupling": 0.0, "depth": 0.3, "delay": 0.15}
    drawn = {}
    for name, (mean, sd) in people.items():
        own = random.normal(mean, sd, subject.max() + 1)
        drawn[name] = np.maximum(random.normal(own[subject], within[name]), least[name])
    return pd.DataFrame(drawn)


def _signals(
    random: np.random.Generator, subject: np.ndarray, factors: pd.DataFrame, n_times: int, sfreq: float | int
) -> dict[str, Float[np.ndarray, "b n"]]:
    """The signals before noise, at `FINE` times the rate, with some samples more at either end for the filter."""
    f = {name: factors[name].to_numpy()[:, None] for name in factors}
    b, rate = len(subject), FINE * sfreq
    t = np.arange(-FINE * MARGIN, FINE * (n_times + MARGIN)) / rate
    start, start_breath, start_slow = random.uniform(0, 2 * np.pi, (3, b, 1))
    breath = start_breath + 2 * np.pi * f["breath_rate"] / 60 * t
    slow = 0.02 * np.sin(start_slow + 2 * np.pi * 0.1 * t)  # the tenth-hertz waves of blood pressure

    def beats(delay: np.ndarray | float) -> np.ndarray:
        """The phase of the heart, as it was `delay` seconds ago; the integral of its rate."""
        omega = 2 * np.pi * f["breath_rate"] / 60
        turns = (t - delay) - f["coupling"] / omega * np.cos(breath - omega * delay) + slow / 0.63
        return start + 2 * np.pi * f["heart_rate"] / 60 * turns

    shape = random.lognormal(0, 0.1, (subject.max() + 1, len(ECG) + len(PULSE)))[subject]
    ecg, pulse = _waves(beats(0.0), ECG, shape[:, : len(ECG)]), _waves(beats(f["delay"]), PULSE, shape[:, len(ECG) :])
    inhaled = np.sin(breath) + 0.15 * np.sin(2 * breath)  # in is quicker than out
    return {
        "ecg": ecg,
        "ppg": pulse * (1 + 0.1 * np.cos(breath)) + 0.3 * f["depth"] * inhaled,
        "rsp": f["depth"] * inhaled,
    }


def _waves(
    phase: Float[np.ndarray, "b n"], waves: tuple[tuple[float, float, float], ...], heights: Float[np.ndarray, "b w"]
) -> Float[np.ndarray, "b n"]:
    """A sum of bumps around the beat's circle."""
    total = np.zeros_like(phase)
    for (place, height, width), own in zip(waves, heights.T):
        apart = (phase - place + np.pi) % (2 * np.pi) - np.pi
        total += height * own[:, None] * np.exp(-0.5 * (apart / width) ** 2)
    return total


def _pink(random: np.random.Generator, shape: tuple[int, ...]) -> Float[np.ndarray, "b t"]:
    """Noise whose power falls as one over frequency, of standard deviation 1."""
    spectrum = np.fft.rfft(random.normal(size=shape))
    spectrum[:, 1:] /= np.sqrt(np.arange(1, spectrum.shape[1]))
    spectrum[:, 0] = 0
    x = np.fft.irfft(spectrum, shape[1])
    return x / x.std()
