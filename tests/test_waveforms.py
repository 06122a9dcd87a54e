"""Metrics of signals: what each sees, what each is blind to, and the table that sums them up."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from scipy import signal, stats

from ivekit.metrics import bootstrap, pearson, psd_correlation, snr_db, ssim_1d, summary, waveforms

SFREQ, T = 30.0, 240
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(6, 2, T)).cumsum(-1)
NOISY = X + 0.3 * RANDOM.normal(size=X.shape)


def test_each_metric_is_best_for_the_truth_itself():
    best = waveforms(X, X, SFREQ)
    assert (best[["mse", "mae"]] == 0).all(axis=None) and np.allclose(best[["ssim", "pearson", "psd"]], 1)
    assert np.isposinf(best["snr_db"]).all()
    worse = waveforms(X, NOISY, SFREQ)
    assert (worse[["mse", "mae"]] > 0).all(axis=None) and (worse[["ssim", "pearson", "psd"]] < 1).all(axis=None)


def test_against_formulas_and_other_programs():
    table = waveforms(X, NOISY, SFREQ)
    for i in range(len(X)):
        np.testing.assert_allclose(table["mse"][i], np.mean((X[i] - NOISY[i]) ** 2))
        np.testing.assert_allclose(table["mae"][i], np.mean(np.abs(X[i] - NOISY[i])))
        each = [stats.pearsonr(a, b).statistic for a, b in zip(X[i], NOISY[i])]
        np.testing.assert_allclose(table["pearson"][i], np.mean(each))
        ratios = [10 * np.log10(a.var() / np.mean((a - b) ** 2)) for a, b in zip(X[i], NOISY[i])]
        np.testing.assert_allclose(table["snr_db"][i], np.mean(ratios))
        logs = [
            [10 * np.log10(signal.welch(x, SFREQ, nperseg=120)[1][1:]) for x in (a, b)] for a, b in zip(X[i], NOISY[i])
        ]
        np.testing.assert_allclose(table["psd"][i], np.mean([np.corrcoef(*pair)[0, 1] for pair in logs]), rtol=1e-6)


def test_ssim_by_its_formula_place_by_place():
    a, b, w = X[0, 0], NOISY[0, 0], 7
    c1, c2 = (0.01 * np.ptp(a)) ** 2, (0.03 * np.ptp(a)) ** 2
    places = []
    for i in range(T - w + 1):
        x, y = a[i : i + w], b[i : i + w]
        cov = np.mean((x - x.mean()) * (y - y.mean()))
        top = (2 * x.mean() * y.mean() + c1) * (2 * cov + c2)
        places.append(top / ((x.mean() ** 2 + y.mean() ** 2 + c1) * (x.var() + y.var() + c2)))
    np.testing.assert_allclose(ssim_1d(a[None], b[None])[0], np.mean(places))


def test_what_each_is_blind_to():
    """A shift in time: the spectrum does not see it. A smaller copy: the correlation does not. The error sees both."""
    late, small = np.roll(X, 60, -1), 0.2 * X
    shifted, shrunk = waveforms(X, late, SFREQ), waveforms(X, small, SFREQ)
    assert (shifted["psd"] > 0.7).all() and (shifted["pearson"] < 0.5).all() and (shifted["snr_db"] < 3).all()
    assert np.allclose(shrunk["pearson"], 1) and np.allclose(shrunk["psd"], 1) and (shrunk["snr_db"] < 2.5).all()
    assert (shifted["ssim"] < 0.7).all() and (shrunk["ssim"] < 0.9).all()


def test_telling_the_mean_is_worth_no_decibels_and_has_no_correlation():
    flat = np.broadcast_to(X.mean(-1, keepdims=True), X.shape)
    np.testing.assert_allclose(snr_db(X, flat), 0, atol=1e-9)
    assert np.isnan(psd_correlation(X, np.zeros_like(X), SFREQ)).all()
    assert np.isnan(pearson(X, np.zeros_like(X))).all()


def test_the_rate_does_not_matter_but_the_rhythm_does():
    t = np.arange(T) / SFREQ
    one, same, other = (np.sin(2 * np.pi * f * t + p)[None] for f, p in ((1, 0), (1, 2), (4, 0)))
    hum = 0.05 * RANDOM.normal(size=(1, T))
    assert (
        psd_correlation(one + hum, same + hum[:, ::-1], SFREQ)[0]
        > psd_correlation(one + hum, other + hum, SFREQ)[0] + 0.4
    )


def test_a_summary_says_mean_sd_median_and_interval():
    table = summary({"ecg": (X, NOISY), "rsp": (X, X + 1)}, SFREQ)
    each = waveforms(X, NOISY, SFREQ)["mae"].to_numpy()
    row = table.loc[("ecg", "mae")]
    np.testing.assert_allclose(row[["mean", "sd", "median"]].astype(float), [each.mean(), each.std(), np.median(each)])
    assert row["low"] < row["mean"] < row["high"]
    low, high = bootstrap(lambda s, n: s.sum() / n.sum(), each, np.ones(len(each)), n=500, seed=0)
    np.testing.assert_allclose(row[["low", "high"]].astype(float), [low, high])
    assert list(table.loc["rsp"].index) == ["mse", "mae", "ssim", "pearson", "psd", "snr_db"]


def test_windows_that_overlap_are_drawn_by_group():
    """Six windows that say the same ten times over are not sixty: the interval must not shrink."""
    many, told = np.repeat(X, 10, 0), np.repeat(NOISY, 10, 0)
    once = summary({"x": (X, NOISY)}, SFREQ).loc[("x", "mse")]
    naive = summary({"x": (many, told)}, SFREQ).loc[("x", "mse")]
    grouped = summary({"x": (many, told)}, SFREQ, groups=np.repeat(list("abcdef"), 10)).loc[("x", "mse")]
    width = {name: row["high"] - row["low"] for name, row in {"once": once, "naive": naive, "grouped": grouped}.items()}
    assert width["naive"] < 0.6 * width["once"] and width["grouped"] == pytest.approx(width["once"])


def test_a_spectrum_is_compared_whatever_the_size_of_other_channels():
    both, told = np.concatenate([X, X], 1), np.concatenate([NOISY, NOISY], 1)
    sizes = np.repeat([1.0, 1e-7], X.shape[1])[:, None]
    np.testing.assert_allclose(psd_correlation(both * sizes, told * sizes, SFREQ), psd_correlation(both, told, SFREQ))


def test_windows_without_meaning_are_left_out_of_the_mean():
    told = NOISY.copy()
    told[0] = 0
    table = summary({"x": (X, told)}, SFREQ)
    assert table.loc[("x", "pearson"), "mean"] == pytest.approx(pearson(X[1:], NOISY[1:]).mean())
    assert summary({"x": (X, np.zeros_like(X))}, SFREQ).loc[("x", "pearson")].isna().all()


@pytest.mark.parametrize(("a", "b"), [(X, X[:, :1]), (X[0, 0], X[0, 0])])
def test_shapes_that_do_not_fit_are_named(a, b):
    with pytest.raises(ValueError, match=r"must be \(n, c, t\) or \(n, t\) and alike"):
        inspect.unwrap(waveforms)(a, b)  # without the tests' own check of shapes, which comes first


def test_windows_of_metrics_must_fit():
    with pytest.raises(ValueError, match="window of 300 samples must be from 1 to the signal's 240"):
        ssim_1d(X, X, 300)
    with pytest.raises(ValueError, match="segments of 3 samples"):
        psd_correlation(X, X, SFREQ, segment=0.1)
