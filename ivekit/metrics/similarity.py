"""How alike two recordings, pictures or volumes are."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Real
from numpy import ndarray
from scipy.ndimage import gaussian_filter


def mse(x: Real[ndarray, "..."], y: Real[ndarray, "..."]) -> float:
    """The mean squared difference, in units squared.

    >>> mse(np.array([0.0, 2.0]), np.array([0.0, 0.0]))
    2.0
    """
    return float(np.square(_apart(x, y)).mean())


def mae(x: Real[ndarray, "..."], y: Real[ndarray, "..."]) -> float:
    """The mean absolute difference, in units.

    >>> mae(np.array([0.0, 2.0]), np.array([0.0, 0.0]))
    1.0
    """
    return float(np.abs(_apart(x, y)).mean())


def psnr(x: Real[ndarray, "..."], y: Real[ndarray, "..."], span: float | int = 1.0) -> float:
    """The peak signal-to-noise ratio in dB, ``10 log10(span^2 / mse)``; infinite where nothing differs.

    span : between the least and the greatest value that there can be.

    >>> round(psnr(np.zeros(4), np.full(4, 0.1)), 6)
    20.0
    """
    if not span > 0:
        raise ValueError(f"span is {span}, it must be above 0: the greatest possible value less the least")
    error = mse(x, y)
    return math.inf if error == 0 else 10 * math.log10(span**2 / error)


def ssim(
    x: Real[ndarray, "*b"], y: Real[ndarray, "*b"], span: float | int = 1.0, axes: int = 2, sigma: float = 1.5
) -> float:
    """Structural similarity of pictures (or of volumes: axes=3; of waves: axes=1), 1 where they are the same.

    Means, variances and the covariance in Gaussian windows of width `sigma` at every pixel, compared in brightness,
    contrast and structure, with the constants 0.01 and 0.03 of the span (Wang et al., 2004). The mean over pixels, of
    which those are left out whose windows reach over the edge where there are others, and over rows.

    axes : how many of the last axes a picture has.

    >>> x = np.random.default_rng(0).random((3, 16, 16))
    >>> ssim(x, x), round(ssim(x, x[::-1]), 1)
    (1.0, 0.3)
    """
    if not span > 0 or not 1 <= axes <= x.ndim:
        raise ValueError(f"span must be above 0 and axes from 1 to {x.ndim}, got {span} and {axes}")
    _apart(x, y)
    x, y, c1, c2 = x.astype(float), y.astype(float), (0.01 * span) ** 2, (0.03 * span) ** 2
    mx, my = (_blurred(u, axes, sigma) for u in (x, y))
    pairs = ((x, x, mx, mx), (y, y, my, my), (x, y, mx, my))
    vx, vy, vxy = (_blurred(u * v, axes, sigma) - m * n for u, v, m, n in pairs)
    same = (2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return float(_inside(same, axes, round(3.5 * sigma)).mean())


def _blurred(x: Float[ndarray, "*b"], axes: int, sigma: float) -> Float[ndarray, "*b"]:
    widths = [0.0] * (x.ndim - axes) + [sigma] * axes
    return gaussian_filter(x, widths, truncate=3.5)


def _inside(x: Float[ndarray, "*b"], axes: int, edge: int) -> Float[ndarray, "*b2"]:
    """Without the rim, along those axes that have something else."""
    rims = [edge if n > 2 * edge else 0 for n in x.shape[-axes:]]
    return x[(..., *(slice(rim, n - rim) for rim, n in zip(rims, x.shape[-axes:])))]


def dtw(x: Real[ndarray, "*b c t"], y: Real[ndarray, "*b c u"], window: int | None = None) -> float:
    """How far series are apart when time may be stretched: the least sum of distances along a warping path.

    Distances between samples are Euclidean over channels, and a path goes one sample on in the one, the other, or both
    (Sakoe & Chiba, 1978). The mean over rows; in units times samples, 0 where one is the other at another pace.

    window : the most samples that the two may be apart; any by default.

    >>> x = np.array([[0.0, 1.0, 2.0, 1.0, 0.0]])
    >>> dtw(x, np.repeat(x, 2, axis=1)), dtw(x, x + 1)
    (0.0, 3.0)
    """
    if x.shape[:-1] != y.shape[:-1]:
        raise ValueError(f"series must have the same rows and channels, got {x.shape} and {y.shape}")
    t, u = x.shape[-1], y.shape[-1]
    if window is not None and window < abs(t - u):
        raise ValueError(f"{t} and {u} samples are {abs(t - u)} apart at their end: window {window} is too small")
    apart = np.sqrt(np.square(x[..., :, None].astype(float) - y[..., None, :]).sum(-3))
    best = np.full((*x.shape[:-2], t + 1, u + 1), np.inf)
    best[..., 0, 0] = 0
    for i in range(t):
        reach = range(u) if window is None else range(max(0, i - window), min(u, i + window + 1))
        for j in reach:
            before = np.minimum(np.minimum(best[..., i, j], best[..., i, j + 1]), best[..., i + 1, j])
            best[..., i + 1, j + 1] = apart[..., i, j] + before
    return float(best[..., t, u].mean())


def _apart(x: Real[ndarray, "..."], y: Real[ndarray, "..."]) -> Float[ndarray, "..."]:
    if x.shape != y.shape:
        raise ValueError(f"what is compared must have one shape, got {x.shape} and {y.shape}")
    return x.astype(float) - y


def hit_rate(scores: Real[ndarray, "*b k"], truth: Sequence | ndarray) -> float:
    """How often the place with the highest score is a true one, over all rows that have one; chance is `truth`'s mean.

    truth : bool, of the scores' shape or broadcasting to it.

    >>> hit_rate(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([[False, True], [False, True]]))
    0.5
    """
    scores, there = _flat(scores, truth)
    return float(np.take_along_axis(there, scores.argmax(-1)[:, None], -1).mean())


def localisation_auc(scores: Real[ndarray, "*b k"], truth: Sequence | ndarray) -> float:
    """How surely a true place has a higher score than a false one, the mean over rows that have both; chance is 0.5.

    The area under the ROC curve of each row (Mann & Whitney, 1947), ties counting a half.

    >>> localisation_auc(np.array([[0.1, 0.9, 0.5], [0.8, 0.2, 0.2]]), np.array([False, True, False]))
    0.625
    """
    scores, there = _flat(scores, truth)
    both = there.any(-1) & ~there.all(-1)
    scores, there = scores[both], there[both]
    above = np.sign(scores[:, :, None] - scores[:, None, :]) / 2 + 0.5
    pairs = there[:, :, None] & ~there[:, None, :]
    return float(((above * pairs).sum((1, 2)) / pairs.sum((1, 2))).mean())


def _flat(scores: ndarray, truth: Sequence | ndarray) -> tuple[Float[ndarray, "n k"], ndarray]:
    there = np.broadcast_to(np.asarray(truth, bool), scores.shape).reshape(-1, scores.shape[-1])
    if not there.any():
        raise ValueError("no place is a true one, so nothing can be hit")
    rows = there.any(-1)
    return scores.reshape(-1, scores.shape[-1])[rows].astype(float), there[rows]
