"""How far predictions are from the truth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Bool, Real, Shaped
from numpy import ndarray


def r2(
    truth: Real[ndarray, "n *event"],
    prediction: Real[ndarray, "..."],
    mean: Real[ndarray, "..."] | float | None = None,
    weight: Real[ndarray, "..."] | float = 1.0,
    mask: Bool[ndarray, "..."] | None = None,
) -> float:
    """The part of the variance that a prediction explains: 1 is perfect, 0 is no better than the training mean.

    truth : (n, ...). prediction, mean, weight, mask : of that shape, or broadcasting to it.
    mean : what one would say knowing nothing: the mean of the training rows. That of `truth` itself when None.
    weight : of each element; one over a column's variance makes columns of different units count alike.
    mask : only elements where it is True count; the others may hold anything, NaN too.

    ``1 - sum w (x - prediction)^2 / sum w (x - mean)^2``, over rows and elements together: columns are pooled, weighted
    by their variance. On held-out rows it may be negative without limit.

    Raises
    ------
    ValueError : when the truth does not differ from the mean anywhere, so that there is nothing to explain.

    >>> r2(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 4.0]))
    0.5
    """
    truth = np.asarray(truth, float)
    here = np.ones(truth.shape, bool) if mask is None else np.broadcast_to(mask, truth.shape)
    if mean is None:
        mean = np.where(here, truth, 0).sum(0) / np.maximum(here.sum(0), 1)
    error, total = (_squares(truth, guess, weight, here) for guess in (prediction, mean))
    if not total > 0:
        raise ValueError(f"the truth (shape {truth.shape}) equals its mean everywhere: there is no variance to explain")
    return float(1 - error / total)


def _squares(truth: ndarray, guess: Any, weight: Any, here: ndarray) -> float:
    return float((weight * np.square(np.where(here, truth - guess, 0))).sum())


def bootstrap(
    statistic: Callable[..., float], *arrays: Shaped[ndarray, "_ ..."], n: int = 200, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Between which numbers a score would lie if the rows were drawn again: the percentile bootstrap interval.

    statistic : of arrays with rows first; all `arrays` are given the same drawn rows.
    n : how often rows are drawn, with replacement. level : the part of the draws between the two numbers.

    For a ratio of sums over rows, give the rows' sums: then a draw costs microseconds.

    Source: Efron (1979), "Bootstrap methods: another look at the jackknife".

    >>> low, high = bootstrap(np.mean, np.arange(100.0), n=500)
    >>> 42 < low < 49.5 < high < 57
    True
    """
    if len({len(a) for a in arrays}) != 1 or not len(arrays[0]):
        raise ValueError(f"arrays must have the same number of rows, at least one; got {[len(a) for a in arrays]}")
    rows = np.random.default_rng(seed).integers(0, len(arrays[0]), (n, len(arrays[0])))
    draws = [statistic(*(a[drawn] for a in arrays)) for drawn in rows]
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
