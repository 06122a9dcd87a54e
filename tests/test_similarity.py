"""Similarity against closed forms, and against definitions written out."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from ivekit.baselines.forecast import autoregression, persistence
from ivekit.metrics import dtw, hit_rate, localisation_auc, mae, mse, psnr, ssim

RNG = np.random.default_rng(0)


def test_errors_and_peak_ratio():
    x, y = RNG.random((5, 7)), RNG.random((5, 7))
    assert math.isclose(mse(x, y), sum((x - y).ravel() ** 2) / 35)
    assert math.isclose(mae(x, y), sum(abs((x - y).ravel())) / 35)
    assert math.isclose(psnr(x, y, 2.0), 20 * math.log10(2) - 10 * math.log10(mse(x, y)))
    assert psnr(x, x) == math.inf
    with pytest.raises(ValueError, match=r"one shape, got \(5, 7\) and \(7,\)"):
        mse(x, y[0])


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_ssim_of_flat_pictures_is_its_brightness_term(axes):
    a, b = np.full((2, 20, 20, 20), 0.3), np.full((2, 20, 20, 20), 0.5)
    expected = (2 * 0.3 * 0.5 + 1e-4) / (0.09 + 0.25 + 1e-4)
    assert math.isclose(ssim(a, b, axes=axes), expected, rel_tol=1e-9)


@pytest.mark.parametrize("axes", [2, 3])
def test_ssim_by_its_definition(axes):
    """Each window's weighted means, variances and covariance, written out at every pixel that has a whole window."""
    shape, reach = (13,) * axes, 5
    x, y = RNG.random(shape), RNG.random(shape)
    offsets = np.arange(-reach, reach + 1)
    bell = np.exp(-0.5 * (offsets / 1.5) ** 2)
    weight = np.asarray(1.0)
    for _ in range(axes):
        weight = np.multiply.outer(weight, bell)
    weight /= weight.sum()
    found = []
    for place in itertools.product(range(reach, 13 - reach), repeat=axes):
        window = tuple(slice(p - reach, p + reach + 1) for p in place)
        u, v = x[window], y[window]
        mu, mv = (weight * u).sum(), (weight * v).sum()
        vu, vv = (weight * (u - mu) ** 2).sum(), (weight * (v - mv) ** 2).sum()
        uv = (weight * (u - mu) * (v - mv)).sum()
        found.append((2 * mu * mv + 1e-4) * (2 * uv + 9e-4) / ((mu**2 + mv**2 + 1e-4) * (vu + vv + 9e-4)))
    assert math.isclose(ssim(x, y, axes=axes), np.mean(found), rel_tol=1e-6)


def test_ssim_falls_with_noise_and_is_blind_to_nothing():
    x = RNG.random((4, 1, 32, 32))
    scores = [ssim(x, x + sd * RNG.standard_normal(x.shape)) for sd in (0.0, 0.1, 0.4)]
    assert scores[0] == 1 and scores[0] > scores[1] > scores[2]
    assert ssim(x, 1 - x) < 0 and ssim(255 * x, 255 * x[::-1], 255) == pytest.approx(ssim(x, x[::-1]))
    with pytest.raises(ValueError, match="axes from 1 to 4"):
        ssim(x, x, axes=5)


def best_path(x: np.ndarray, y: np.ndarray, i: int = 0, j: int = 0) -> float:
    """The least cost from (i, j) on, by trying everything."""
    here = float(np.linalg.norm(x[:, i] - y[:, j]))
    steps = [(i + 1, j), (i, j + 1), (i + 1, j + 1)]
    rest = [best_path(x, y, a, b) for a, b in steps if a < x.shape[1] and b < y.shape[1]]
    return here + min(rest, default=0.0)


def test_dtw_is_the_best_of_all_paths():
    rows = [(RNG.random((2, 5)), RNG.random((2, 4))) for _ in range(3)]
    each = [dtw(x, y) for x, y in rows]
    np.testing.assert_allclose(each, [best_path(x, y) for x, y in rows])
    together = dtw(np.stack([x for x, _ in rows]), np.stack([y for _, y in rows]))
    assert math.isclose(together, np.mean(each))


def test_dtw_forgives_pace_and_a_window_forbids_it():
    t = np.linspace(0, 1, 40)
    x, late = np.sin(6 * t)[None], np.sin(6 * t**1.3)[None]
    straight = float(np.abs(x - late).sum())
    assert dtw(x, late) < 0.2 * straight
    assert math.isclose(dtw(x, late, window=0), straight)
    with pytest.raises(ValueError, match="window 1 is too small"):
        dtw(x, late[:, :30], window=1)


def test_chance_is_what_it_is_said_to_be():
    scores, truth = RNG.random((4000, 16)), np.arange(16) % 4 == 0
    assert abs(hit_rate(scores, truth) - truth.mean()) < 0.02 and abs(localisation_auc(scores, truth) - 0.5) < 0.01
    assert hit_rate(scores + 9 * truth, truth) == localisation_auc(scores + 9 * truth, truth) == 1
    assert localisation_auc(np.ones((3, 4)), [True, False, False, True]) == 0.5
    with pytest.raises(ValueError, match="no place is a true one"):
        hit_rate(scores, np.zeros(16, bool))


# forecasts -------------------------------------------------------------------------------------------------------


def test_autoregression_finds_the_process():
    """x_t = 0.6 x_{t-1} - 0.5 x_{t-2} + e: the best forecast is known, and persistence is far from it."""
    x = np.zeros((300, 2, 60))
    e = 0.1 * RNG.standard_normal(x.shape)
    for t in range(2, 60):
        x[..., t] = 0.6 * x[..., t - 1] - 0.5 * x[..., t - 2] + e[..., t] + 0.3
    past, future = x[..., :40], x[..., 40:]
    told = autoregression(past[:200], future[:200], past[200:])
    best, before = [], past[200:, :, -2:]
    for _ in range(20):
        before = np.stack([before[..., 1], 0.6 * before[..., 1] - 0.5 * before[..., 0] + 0.3], -1)
        best.append(before[..., 1])
    assert np.abs(told - np.stack(best, -1)).max() < 0.05
    assert mse(told, future[200:]) < 0.8 * mse(persistence(past[200:], 20), future[200:])


def test_an_autoregression_without_rows_is_refused():
    with pytest.raises(ValueError, match="no order of"):
        autoregression(np.zeros((1, 1, 4)), np.zeros((1, 1, 2)), np.zeros((1, 1, 4)))
