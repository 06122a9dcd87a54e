"""How like one signal is to another: in size, in shape, in frequency; each window by itself, then summed up.

Every metric takes the truth and what was told of it, ``(n, c, t)`` or ``(n, t)``, and gives a number a window,
``(n,)``, the mean over its channels. NaN is where a metric has no meaning, such as a correlation with a flat line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from einops import reduce
from jaxtyping import Float, Real, Shaped
from numpy import ndarray
from scipy.ndimage import uniform_filter1d
from scipy.signal import welch

from .errors import bootstrap

Signals = Real[ndarray, "n *c t"]
Scores = Float[ndarray, "n"]
STATISTICS = ("mean", "sd", "median", "low", "high")


def pearson(truth: Signals, told: Signals) -> Scores:
    """The correlation over time in each window: shape alone, whatever the level and the size.

    >>> pearson(np.array([[1.0, 2.0, 4.0]]), np.array([[10.0, 20.0, 40.0]])).round(6)
    array([1.])
    """
    return _each(_correlation(*_pair(truth, told)))


def snr_db(truth: Signals, told: Signals) -> Scores:
    """The power of the true signal (about its mean) over that of the error, in decibels: 0 is no better than the mean.

    >>> snr_db(np.array([[0.0, 2.0, 0.0, 2.0]]), np.array([[0.1, 1.9, 0.1, 1.9]])).round(6)
    array([20.])
    """
    truth, told = _pair(truth, told)
    with np.errstate(divide="ignore"):
        return _each(10 * np.log10(_ratio(truth.var(-1), np.square(truth - told).mean(-1))))


def ssim_1d(truth: Signals, told: Signals, width: int = 7, span: float | int | None = None) -> Scores:
    """Structural similarity along time: local level, local contrast and local shape, 1 if all are equal.

    width : samples that are local. span : the range of the signals, by default that of the true window's channel.

    ``(2 m m' + c1)(2 cov + c2) / ((m^2 + m'^2 + c1)(v + v' + c2))`` with ``c1 = (0.01 span)^2, c2 = (0.03 span)^2``,
    the mean over all places (Wang et al., 2004, in one dimension with an even window).

    >>> x = np.sin(2 * np.pi * np.arange(50) / 7)[None]
    >>> float(ssim_1d(x, x)[0]), bool(ssim_1d(x, -x)[0] < 0)
    (1.0, True)
    """
    a, b = _pair(truth, told)
    if not 1 <= width <= a.shape[-1]:
        raise ValueError(f"a window of {width} samples must be from 1 to the signal's {a.shape[-1]}")

    def local(x: ndarray) -> ndarray:
        inner = uniform_filter1d(x, width, axis=-1)
        return inner[..., width // 2 : x.shape[-1] - (width - 1) // 2]

    scale = np.ptp(a, axis=-1, keepdims=True) if span is None else span
    c1, c2 = np.square(0.01 * scale), np.square(0.03 * scale)
    ma, mb = local(a), local(b)
    va, vb, both = local(a * a) - ma**2, local(b * b) - mb**2, local(a * b) - ma * mb
    top, under = (2 * ma * mb + c1) * (2 * both + c2), (ma**2 + mb**2 + c1) * (va + vb + c2)
    return _each(_ratio(top, under).mean(-1))


def psd_correlation(
    truth: Signals, told: Signals, sfreq: float | int = 1.0, segment: float | int | None = None
) -> Scores:
    """The correlation of the power spectra, in decibels, over frequencies: are the right rhythms there at all?

    sfreq : samples a second. segment : seconds of the segments of Welch's method (1967), by default half a window.

    It does not say when a rhythm was, and a signal with a small part of the power everywhere still scores 1.

    >>> x = np.random.default_rng(0).normal(size=(1, 200)).cumsum(1)
    >>> float(psd_correlation(x, np.roll(0.5 * x, 60), 30.0)[0]) > 0.9
    True
    """
    a, b = _pair(truth, told)
    n = a.shape[-1] // 2 if segment is None else round(segment * sfreq)
    if not 4 <= n <= a.shape[-1]:
        raise ValueError(f"segments of {n} samples must be from 4 to the signal's {a.shape[-1]}")
    # the lowest bin holds what the detrending of each segment left, which is nothing of the signal's
    powers = [welch(x, sfreq, nperseg=n, axis=-1)[1][..., 1:] for x in (a, b)]
    floor = 1e-10 * np.maximum(powers[0].max(-1, keepdims=True), np.finfo(float).tiny)
    decibels = [10 * np.log10(p + floor) for p in powers]
    return _each(np.where(np.ptp(b, axis=-1) == 0, np.nan, _correlation(*decibels)))


def waveforms(truth: Signals, told: Signals, sfreq: float | int = 1.0) -> pd.DataFrame:
    """All metrics of each window, a row a window: squared and absolute error, and those above.

    >>> x = np.random.default_rng(0).normal(size=(3, 1, 60))
    >>> waveforms(x, 0.9 * x, 30.0).round(2).loc[0].to_dict()["pearson"]
    1.0
    """
    a, b = _pair(truth, told)
    errors = {"mse": _each(np.square(a - b).mean(-1)), "mae": _each(np.abs(a - b).mean(-1))}
    shapes = {"ssim": ssim_1d(a, b), "pearson": pearson(a, b)}
    return pd.DataFrame(errors | shapes | {"psd": psd_correlation(a, b, sfreq), "snr_db": snr_db(a, b)})


def summary(
    signals: Mapping[str, tuple[Signals, Signals]],
    sfreq: float | int = 1.0,
    groups: Shaped[Any, "n"] | None = None,
    n_boot: int = 500,
    seed: int = 0,
) -> pd.DataFrame:
    """Each metric of each signal over the windows: mean, sd, median, and the interval of the mean.

    signals : {name: (truth, told)}, all of the same windows.
    groups : of each window, what it belongs to (a person, a minute). Windows of one group are alike, above all where
        they overlap: with groups, whole groups are drawn again, otherwise single windows.
    n_boot : draws of the bootstrap. The interval holds the mean in 95 % of them (Efron, 1979).

    >>> x = np.random.default_rng(0).normal(size=(20, 1, 60))
    >>> table = summary({"ecg": (x, x + 1)}, 30.0)
    >>> table.loc[("ecg", "mae")].round(2).to_dict()
    {'mean': 1.0, 'sd': 0.0, 'median': 1.0, 'low': 1.0, 'high': 1.0}
    """
    rows = {}
    for name, (truth, told) in signals.items():
        for metric, values in waveforms(truth, told, sfreq).items():
            rows[name, str(metric)] = _statistics(values.to_numpy(), groups, n_boot, seed)
    index = pd.MultiIndex.from_tuples(rows, names=["signal", "metric"])
    return pd.DataFrame(list(rows.values()), index, columns=list(STATISTICS))


def _statistics(values: Scores, groups: Any, n_boot: int, seed: int) -> tuple[float, ...]:
    known = np.isfinite(values)
    if not known.any():
        return (float("nan"),) * len(STATISTICS)
    x = values[known]
    of = np.arange(len(x)) if groups is None else np.unique(np.asarray(groups)[known], return_inverse=True)[1]
    sums, counts = np.bincount(of, x), np.bincount(of)
    low, high = bootstrap(lambda s, n: float(s.sum() / n.sum()), sums, counts, n=n_boot, seed=seed)
    return float(x.mean()), float(x.std()), float(np.median(x)), low, high


def _pair(truth: Any, told: Any) -> tuple[Float[ndarray, "n *c t"], Float[ndarray, "n *c t"]]:
    a, b = np.asarray(truth, float), np.asarray(told, float)
    if a.shape != b.shape or a.ndim < 2:
        raise ValueError(f"truth and told must be (n, c, t) or (n, t) and alike, got {a.shape} and {b.shape}")
    return a, b


def _correlation(a: Float[ndarray, "n *c t"], b: Float[ndarray, "n *c t"]) -> Float[ndarray, "n *c"]:
    a, b = (x - x.mean(-1, keepdims=True) for x in (a, b))
    return _ratio((a * b).sum(-1), np.sqrt(np.square(a).sum(-1) * np.square(b).sum(-1)))


def _each(values: Float[ndarray, "n *c"]) -> Scores:
    """The mean over channels."""
    return reduce(values, "n ... -> n", "mean") if values.ndim > 1 else values


def _ratio(top: ndarray, under: ndarray) -> ndarray:
    """The ratio, NaN of nothing over nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(top / under)
