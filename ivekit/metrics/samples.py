"""How well samples tell what may be: scores that only the true distribution makes smallest."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Real
from numpy import ndarray


def energy_score(samples: Real[ndarray, "n b *event"], truth: Real[ndarray, "b *event"]) -> Float[ndarray, "b"]:
    """How far a forecast's samples are from what came, less how far they are apart; a number a row, smaller is better.

    ``E|X - y| - E|X - X'| / 2`` with Euclidean distances of whole rows, the second mean over different samples, so
    that few samples are as fair as many (Gneiting & Raftery, 2007; Ferro, 2014). It sees what single numbers do not:
    samples of the right widths but the wrong correlations score worse.

    >>> samples = np.array([[[0.0, 0.0]], [[3.0, 4.0]]])
    >>> energy_score(samples, np.zeros((1, 2)))  # 2.5 from the truth, 5 apart
    array([0.])
    """
    x, y = _rows(samples, truth)
    n = len(x)
    away = np.linalg.norm(x - y, axis=-1).mean(0)
    apart = sum(np.linalg.norm(x[i + 1 :] - x[i], axis=-1).sum(0) for i in range(n - 1))
    return away - apart / (n * (n - 1))


def crps(samples: Real[ndarray, "n b *event"], truth: Real[ndarray, "b *event"]) -> Float[ndarray, "b"]:
    """The energy score of each number by itself, averaged over a row: the continuous ranked probability score.

    In the data's units; of a single certain guess it is the mean absolute error (Matheson & Winkler, 1976).

    >>> crps(np.array([[[0.0, 1.0]], [[2.0, 1.0]]]), np.array([[0.0, 3.0]]))  # (1 - 2 / 2 + 2 - 0) / 2
    array([1.])
    """
    x, y = _rows(samples, truth)
    n = len(x)
    ranked = np.sort(x, axis=0)
    place = 2 * np.arange(1, n + 1) - n - 1  # the sum of all differences, from the sorted samples
    apart = np.tensordot(place, ranked, (0, 0)) / (n * (n - 1))
    return (np.abs(x - y).mean(0) - apart).mean(-1)


def _rows(samples: ndarray, truth: ndarray) -> tuple[Float[ndarray, "n b d"], Float[ndarray, "b d"]]:
    x, y = np.asarray(samples, float), np.asarray(truth, float)
    if len(x) < 2:
        raise ValueError(f"{len(x)} samples say nothing of a spread: at least 2 are needed")
    if x.shape[1:] != y.shape:
        raise ValueError(f"samples (n, *{y.shape}) are needed for a truth of {y.shape}, got {x.shape}")
    return x.reshape(*x.shape[:2], -1), y.reshape(len(y), -1)
