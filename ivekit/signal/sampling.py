"""Signals at another rate, and holes in them."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from jaxtyping import Bool, Float, Shaped

Number = float | int
LONGEST = 2**21  # samples of a filter for each that it reaches over: 600 MB of it
HALF = 20  # the anti-aliasing filter reaches over 20 samples of the slower rate to each side


def resample(x: Shaped[np.ndarray, "*b t"], old: Number, new: Number) -> Float[np.ndarray, "*b n"]:
    """A signal at another number of samples a second, without what the new rate cannot carry.

    Sample k of the result is the signal at k / new seconds exactly: the filter has no delay, and padding adds none
    (`mne.Epochs.resample` is off by up to half a new sample where old / new is no power of two). What is below 0.77 of
    the slower rate's Nyquist frequency is kept, what is above 1 is 70 dB down: a polyphase filter with a Kaiser
    window (Crochiere & Rabiner, 1983). Beyond its ends the signal is taken to go on as its point reflection.

    old, new : samples a second.

    >>> tone = np.sin(2 * np.pi * 100 * np.arange(1000) / 1000)
    >>> print(f"{np.abs(resample(tone, 1000, 125)[20:-20]).max():.3f}")  # 100 Hz cannot be at 125 samples a second
    0.000
    """
    if not (old > 0 and new > 0):
        raise ValueError(f"rates must be positive numbers of samples a second, got {old} and {new}")
    step = ratio(old, new)
    if step == 1:
        return np.asarray(x, float)
    longer = max(step.numerator, step.denominator)
    if longer > LONGEST:
        raise ValueError(f"no filter leads from {old:g} to {new:g} Hz: it would be {2 * HALF * longer:,} samples long")
    from scipy.signal import firwin, resample_poly  # half a second, which `import ivekit` need not take

    taps = firwin(2 * HALF * longer + 1, 0.88 / longer, window=("kaiser", 7.0))
    return resample_poly(
        np.asarray(x, float), step.denominator, step.numerator, axis=-1, window=taps, padtype="antireflect"
    )


def ratio(old: Number, new: Number) -> Fraction:
    """Old samples a new one, as a fraction that is right to 6e-8.

    >>> ratio(1000, 125), ratio(400, 125)
    (Fraction(8, 1), Fraction(16, 5))
    """
    step = Fraction(old / new).limit_denominator(4096)
    return step if step else Fraction(1, round(new / old))


def fill(x: Float[np.ndarray, "*b t"], limit: int = 0) -> tuple[Float[np.ndarray, "*b t"], Bool[np.ndarray, "*b t"]]:
    """A signal with a straight line over every gap of NaN, and where the gaps are. One that is all NaN becomes 0.

    limit : samples. A gap no longer than this counts as recorded, since the line tells it well enough.

    >>> fill(np.array([1.0, np.nan, 3.0]))
    (array([1., 2., 3.]), array([False,  True, False]))
    >>> fill(np.array([1.0, np.nan, 3.0, np.nan, np.nan]), limit=1)[1]
    array([False, False, False,  True,  True])
    """
    holes = ~np.isfinite(x)
    if not holes.any():
        return x, holes
    x = np.where(holes, 0.0, x)
    for i in np.ndindex(x.shape[:-1]):
        if holes[i].any() and not holes[i].all():
            x[i][holes[i]] = np.interp(np.flatnonzero(holes[i]), np.flatnonzero(~holes[i]), x[i][~holes[i]])
            holes[i] &= _run_lengths(holes[i]) > limit
    return x, holes


def _run_lengths(holes: Bool[np.ndarray, "t"]) -> Shaped[np.ndarray, "t"]:
    """For each sample, how many of its like stand side by side with it."""
    edges = np.flatnonzero(np.diff(holes)) + 1
    lengths = np.diff(np.concatenate([[0], edges, [len(holes)]]))
    return np.repeat(lengths, lengths)
