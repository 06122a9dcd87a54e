"""Published scores that hold a factor still and look at what moves in the codes, each by its own definition.

Where the papers ask a simulator for new data with one factor fixed, rows of the given data are taken whose factor falls
into one bin (of equal counts, or one value where there are few): arrays are all that is needed.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, Real
from numpy import ndarray
from numpy.random import Generator

from .counting import Binned, Columns, check_rows, named_columns, rank_bins, varying

Codes = Real[ndarray, "n k"]


def factor_vae(
    codes: Codes, factors: Columns, n_bins: int = 10, n_votes: int = 800, batch: int = 64, seed: int = 0
) -> float:
    """Does the code that moves least tell which factor was held still? The accuracy of a vote; 1 / f is chance.

    A factor is drawn and held within one bin for `batch` rows; the code whose variance there, over its variance in all,
    is least casts a vote for that factor. A code stands for the factor it voted for most often in `n_votes` draws, and
    is right in what part of as many others? Kim & Mnih (2018), "Disentangling by factorising".

    Known failures: only the order of variances counts, so a dense linear mix, whose codes each have one slightly larger
    weight, scores 0.9 and more; a factor that two codes hold is no loss; chance is 1 / f; a dead code would win every
    vote and is left out.

    >>> z = np.random.default_rng(0).standard_normal((2000, 3))
    >>> factor_vae(z, z)
    1.0
    """
    z, f, rng = *_prepared(codes, factors, n_bins), np.random.default_rng(seed)
    if not z.shape[1]:
        return 1 / len(f.sizes)
    counts = np.zeros((2, z.shape[1], len(f.sizes)), int)
    for part in counts:
        for which, rows in _held(f, n_votes, batch, rng):
            part[z[rows].var(0).argmin(), which] += 1
    return float(counts[1][np.arange(z.shape[1]), counts[0].argmax(1)].sum() / n_votes)


def beta_vae(
    codes: Codes, factors: Columns, n_bins: int = 10, n_points: int = 600, pairs: int = 32, seed: int = 0
) -> float:
    """Can a line tell from how far codes are apart in pairs which factor the pairs share? Accuracy; 1 / f is chance.

    A point is the mean of |z - z'| over `pairs` pairs of rows that agree in one factor's bin; a logistic regression
    learns from `n_points` which factor that was and is scored on as many others. Higgins et al. (2017), "beta-VAE".

    Known failures: a classifier of all codes may combine them, so any invertible linear mix scores nearly 1: it says
    nothing of single codes; chance is 1 / f.

    >>> z = np.random.default_rng(0).standard_normal((2000, 3))
    >>> beta_vae(z, z) > 0.95
    True
    """
    from sklearn.linear_model import LogisticRegression

    z, f, rng = *_prepared(codes, factors, n_bins), np.random.default_rng(seed)
    if not z.shape[1]:
        return 1 / len(f.sizes)
    drawn = [(which, np.abs(np.diff(z[rows].reshape(2, pairs, -1), axis=0))[0].mean(0))
             for which, rows in _held_in_pairs(f, 2 * n_points, pairs, rng)]  # fmt: skip
    y, x = np.array([which for which, _ in drawn]), np.stack([point for _, point in drawn])
    x = (x - x[:n_points].mean(0)) / x[:n_points].std(0)
    if len(np.unique(y)) == 1:
        return 1.0
    return float(LogisticRegression(max_iter=500).fit(x[:n_points], y[:n_points]).score(x[n_points:], y[n_points:]))


def irs(codes: Codes, factors: Columns, n_bins: int = 10, quantile: float = 0.99) -> float:
    """Interventional robustness: how little does a code move while its factor is held still, whatever else changes?

    Within each bin of a factor, the `quantile` of a code's distance from its mean there; the mean over bins, over the
    code's greatest distance in all. One minus that, of the factor that holds the code stillest; codes weighted by their
    greatest distance. Suter et al. (2019), "Robustly disentangled causal mechanisms", with the quantile of Locatello
    et al. (2019).

    Known failures: codes of noise count by their spread, and each of them scores above 0 (the quantile within a bin is
    below the extreme of all), so five of them halve a perfect code's score; the greatest distance is one row's, so it
    moves with outliers, with the scale of a column and with the number of rows.

    >>> z = np.random.default_rng(0).uniform(size=(2000, 2))
    >>> irs(z, z) > 0.8
    True
    """
    moves, _ = varying(factors)
    check_rows(codes, factors)
    f = rank_bins(factors, n_bins).only(moves)
    z = np.stack([np.asarray(x, float) for _, x in named_columns(codes)], 1)
    most = np.abs(z - z.mean(0)).max(0)
    still = np.stack([_deviation(z, x, quantile) for x in f.labels.T], 1)
    each = (1 - still / np.where(most > 0, most, 1)[:, None]).max(1)
    return float(np.average(each, weights=most)) if most.sum() > 0 else 0.0


def _deviation(z: Float[ndarray, "n k"], labels: Int[ndarray, "n"], quantile: float) -> Float[ndarray, "k"]:
    groups = [z[labels == value] for value in np.unique(labels)]
    return np.mean([np.quantile(np.abs(group - group.mean(0)), quantile, axis=0) for group in groups], 0)


def _prepared(codes: Codes, factors: Columns, n_bins: int) -> tuple[Float[ndarray, "n alive"], Binned]:
    """Codes that move, in units of their deviation, and factors that vary, in bins."""
    moves, _ = varying(factors)
    check_rows(codes, factors)
    z = np.stack([np.asarray(x, float) for _, x in named_columns(codes)], 1)
    alive = np.ptp(z, axis=0) > 0
    return z[:, alive] / z[:, alive].std(0), rank_bins(factors, n_bins).only(moves)


def _held(f: Binned, n: int, size: int, rng: Generator):
    """Numbers of factors, and rows in which that factor stays in the bin of a row drawn at random."""
    places = _places(f)
    for which in rng.integers(0, len(f.sizes), n):
        here = places[which][f.labels[rng.integers(len(f)), which]]
        yield int(which), rng.choice(here, size)


def _held_in_pairs(f: Binned, n: int, pairs: int, rng: Generator):
    """Numbers of factors, and rows of which the second half agrees with the first in that factor's bin."""
    places = _places(f)
    for which in rng.integers(0, len(f.sizes), n):
        first = rng.integers(0, len(f), pairs)
        share = rng.random(pairs)
        groups = [places[which][label] for label in f.labels[first, which]]
        second = [group[int(u * len(group))] for group, u in zip(groups, share)]
        yield int(which), np.concatenate([first, second])


def _places(f: Binned) -> list[list[Int[ndarray, "_"]]]:
    """The rows of each bin of each factor."""
    return [[np.flatnonzero(x == value) for value in range(size)] for x, size in zip(f.labels.T, f.sizes)]
