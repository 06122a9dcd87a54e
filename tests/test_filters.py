"""Filters, z-scores, windows and gaps: what must be kept is, what must go goes, and nothing moves in time."""

from __future__ import annotations

import mne
import numpy as np
import pytest

from ivekit.signal import band_pass, fill, resample, windows, z_score

SFREQ = 100.0
T = np.arange(3000) / SFREQ
INNER = slice(500, -500)


def tone(f: float, phase: float = 0.3) -> np.ndarray:
    return np.sin(2 * np.pi * f * T + phase)


def gain(f: float, **band: float) -> float:
    out = band_pass(tone(f), SFREQ, **band)
    return float(out[INNER].std() / tone(f)[INNER].std())


@pytest.mark.parametrize(
    ("band", "edges"),
    [
        ({"low": 0.5}, [0.5]),
        ({"high": 12.0}, [12.0]),
        ({"low": 0.5, "high": 12.0}, [0.5, 12.0]),
        ({"high": 45.0}, [45.0]),
    ],
)
def test_half_the_power_is_left_at_the_edges_after_both_passes(band, edges):
    for edge in edges:
        assert gain(edge, **band) ** 2 == pytest.approx(0.5, abs=0.02)


def test_what_is_in_the_band_stays_where_it_was():
    kept = band_pass(tone(2) + tone(0.05) + tone(30), SFREQ, 0.5, 12)
    np.testing.assert_allclose(kept[INNER], tone(2)[INNER], atol=0.03)  # a delay of one sample would be off by 0.12


def test_it_agrees_with_another_zero_phase_filter():
    """Where both are sure: slopes differ, so nothing is near the edges."""
    phase = np.random.default_rng(0).uniform(0, 2 * np.pi, (2, 6, 1))
    frequency = np.array([[0.1], [0.3], [2.0], [3.3], [5.0], [20.0]])
    x = np.cos(2 * np.pi * frequency * np.arange(3000) / SFREQ + phase).sum(1)
    ours = band_pass(x, SFREQ, 1.0, 8.0, order=4)
    theirs = mne.filter.filter_data(x, SFREQ, 1.0, 8.0, verbose="error")
    assert np.corrcoef(ours[:, INNER].ravel(), theirs[:, INNER].ravel())[0, 1] > 0.99


def test_the_order_makes_slopes_steeper():
    assert gain(20, high=10.0, order=4) < 0.1 * gain(20, high=10.0, order=1)


def test_an_open_band_changes_nothing():
    assert np.array_equal(band_pass(tone(3), SFREQ), tone(3))


@pytest.mark.parametrize(("low", "high"), [(None, 50.0), (0.0, 5.0), (8.0, 2.0), (60.0, None), (5.0, 5.0)])
def test_a_band_that_cannot_be_is_refused(low, high):
    with pytest.raises(ValueError, match=r"0 < low < high < 50 Hz .* got"):
        band_pass(T, SFREQ, low, high)


def test_a_filter_refuses_gaps():
    with pytest.raises(ValueError, match="fill"):
        band_pass(np.where(T == 1, np.nan, T), SFREQ, 0.5)


def test_gaps_up_to_the_limit_are_bridged_and_longer_ones_stay_known():
    x = tone(0.5)
    broken = x.copy()
    broken[10:13], broken[100:120], broken[-2:] = np.nan, np.nan, np.nan
    filled, holes = fill(broken, limit=3)
    assert np.flatnonzero(holes).tolist() == list(range(100, 120))
    np.testing.assert_allclose(filled[8:15], x[8:15], atol=0.01)
    assert np.isfinite(filled).all() and np.isnan(broken[11])
    assert fill(broken, limit=20)[1].sum() == 0 and fill(broken)[1].sum() == 25


def test_a_signal_of_nothing_but_gaps_is_never_called_recorded():
    assert fill(np.full((2, 5), np.nan), limit=9)[1].all()


def test_z_scores_are_of_what_was_recorded():
    x = np.random.default_rng(0).normal(3, 5, (4, 200))
    z = z_score(x)
    np.testing.assert_allclose([z.mean(1), z.std(1)], [[0] * 4, [1] * 4], atol=1e-12)
    holes = np.zeros(x.shape, bool)
    holes[:, :20] = True
    spoilt = np.where(holes, 1e6, x)
    np.testing.assert_allclose(z_score(spoilt, holes)[:, 20:], z_score(x[:, 20:]))
    assert (z_score(np.full((1, 9), 7.0)) == 0).all()


def test_windows_lie_where_they_say_and_keep_the_channels():
    x = np.stack([np.arange(10.0), 100 + np.arange(10.0)])
    cut = windows(x, 4, 3)
    assert cut.shape == (3, 2, 4)
    assert cut[2].tolist() == [[6, 7, 8, 9], [106, 107, 108, 109]]
    cut[0, 0, 3] = -1  # a window of its own, though the first two overlap
    assert cut[1, 0, 0] == 3
    for length, stride in ((11, 1), (0, 1), (4, 0)):
        with pytest.raises(ValueError, match="do not fit into 10 samples"):
            windows(x, length, stride)


def test_the_true_rate_is_kept_whatever_the_ratio():
    """1000 Hz to 30 Hz is 100/3: no whole number, and after 30 s nothing has drifted."""
    t = np.arange(30_000) / 1000
    slow = resample(np.sin(2 * np.pi * 1.7 * t), 1000, 30)
    assert len(slow) == 900
    np.testing.assert_allclose(slow[60:-60], np.sin(2 * np.pi * 1.7 * np.arange(900) / 30)[60:-60], atol=2e-3)
