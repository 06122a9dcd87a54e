"""Metrics against their definitions written out, and at the edges: one of a kind, none of a kind, other shapes."""

from __future__ import annotations

import inspect
import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import norm, rankdata
from sklearn.metrics import average_precision_score, roc_auc_score

from ivekit import metrics
from ivekit.metrics.codes import _purity
from ivekit.metrics.counting import entropy, factor_bins, information, rank_bins, tables, width_bins
from ivekit.metrics.fields import calibration, coverage, relative_error
from ivekit.metrics.localisation import auroc, mass_lift, precision_lift, rank_accuracy
from ivekit.metrics.prediction import _focus, _halves
from ivekit.metrics.samples import crps, energy_score
from ivekit.metrics.uncertainty import score_table, with_floor

RNG = np.random.default_rng(0)


# where it should be high ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ties", [False, True])
def test_scores_of_many_masks_are_those_of_scikit_learn_mask_by_mask(ties):
    scores = np.round(RNG.random(40), 1) if ties else RNG.random(40)
    masks = RNG.random((3, 5, 40)) < 0.3
    found = auroc(scores, masks), precision_lift(scores, masks)
    assert found[0].shape == found[1].shape == (3, 5)
    for i, j in np.ndindex(3, 5):
        assert found[0][i, j] == pytest.approx(roc_auc_score(masks[i, j], scores))
        expected = average_precision_score(masks[i, j], scores) / masks[i, j].mean()
        assert found[1][i, j] == pytest.approx(expected) == precision_lift(scores, masks[i, j])


def test_the_mass_and_the_rank_of_true_places_by_hand():
    scores, truth = np.array([3.0, -2.0, 0.0, 1.0]), np.array([[True, True, False, False], [False, False, False, True]])
    np.testing.assert_allclose(mass_lift(scores, truth), [5 / 6 / 0.5, 1 / 6 / 0.25])
    np.testing.assert_allclose(mass_lift(np.zeros(4), truth), 1)
    np.testing.assert_allclose(rank_accuracy(scores, truth), [0.5, 0])
    even = np.array([1.0, 1.0, 1.0, 2.0])  # of the three that are alike, one is taken beside the highest
    np.testing.assert_allclose(rank_accuracy(even, truth), [(2 / 3) / 2, 1])


@pytest.mark.parametrize(
    ("scores", "truth", "said"),
    [
        (np.zeros((2, 3)), np.ones((2, 3), bool), r"a map of shape \(2, 3\) does not fit"),
        (np.zeros(()), np.ones((), bool), r"a map of shape \(\) does not fit"),
        (np.zeros(3), np.ones(4, bool), r"does not fit masks of shape \(4,\)"),
        (np.array([1.0, np.nan, np.inf]), np.array([True, False, True]), "2 of 3 places of the map are not finite"),
        (np.zeros(3), np.ones(3, bool), "there is nothing to find in all or none"),
        (np.zeros(3), np.array([[True, False, True], [False] * 3]), "there is nothing to find in all or none"),
    ],
)
def test_masks_that_do_not_fit_a_map_are_named(scores, truth, said):
    with pytest.raises(ValueError, match=said):
        inspect.unwrap(auroc)(scores, truth)  # without the tests' own check of shapes, which comes first


# how alike -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "rim"), [(9, 0), (10, 0), (11, 5), (14, 5)])
def test_a_rim_is_left_out_of_pictures_that_have_something_else(n, rim):
    x, y = RNG.random((2, n, 16)), RNG.random((2, n, 16))
    blurred = [gaussian_filter(u, [0, 1.5, 1.5], truncate=3.5) for u in (x, y, x * x, y * y, x * y)]
    mx, my, xx, yy, xy = blurred
    top = (2 * mx * my + 1e-4) * (2 * (xy - mx * my) + 9e-4)
    each = top / ((mx**2 + my**2 + 1e-4) * (xx - mx**2 + yy - my**2 + 9e-4))
    assert metrics.ssim(x, y) == pytest.approx(each[:, rim : n - rim, 5:11].mean())


@pytest.mark.parametrize("wrong", [dict(axes=0), dict(axes=3), dict(span=0.0), dict(span=-1.0)])
def test_a_picture_has_axes_and_a_span(wrong):
    with pytest.raises(ValueError, match="span must be above 0 and axes from 1 to 2"):
        metrics.ssim(np.zeros((9, 9)), np.zeros((9, 9)), **wrong)
    with pytest.raises(ValueError, match="span is 0, it must be above 0"):
        metrics.psnr(np.zeros(3), np.ones(3), 0)


@pytest.mark.parametrize("shapes", [((2, 3, 9), (3, 3, 9)), ((3, 3, 9), (2, 3, 9)), ((2, 1, 9), (2, 3, 9))])
def test_series_of_other_rows_or_channels_are_not_warped(shapes):
    with pytest.raises(ValueError, match="series must have the same rows and channels"):
        inspect.unwrap(metrics.dtw)(*(np.zeros(shape) for shape in shapes))


def test_the_warping_path_is_the_least_of_all():
    x, y = RNG.random((2, 4)), RNG.random((2, 3))
    cost = np.linalg.norm(x[:, :, None] - y[:, None], axis=0)

    def least(i: int, j: int, window: int) -> float:
        if abs(i - j) > window or min(i, j) < 0:
            return np.inf
        if (i, j) == (0, 0):
            return cost[0, 0]
        return cost[i, j] + min(least(i - 1, j, window), least(i, j - 1, window), least(i - 1, j - 1, window))

    for window in (None, 1, 2):
        assert metrics.dtw(x, y, window) == pytest.approx(least(3, 2, 9 if window is None else window))
    with pytest.raises(ValueError, match="window 0 is too small"):
        metrics.dtw(x, y, 0)


def test_hits_are_counted_over_all_axes_of_rows():
    scores = RNG.random((2, 3, 4))
    truth = RNG.random((2, 3, 4)) < 0.5
    truth[0, 0], truth[1, 1] = False, True
    rows = [(s, t) for s, t in zip(scores.reshape(6, 4), truth.reshape(6, 4)) if t.any()]
    assert metrics.hit_rate(scores, truth) == pytest.approx(np.mean([t[s.argmax()] for s, t in rows]))
    both = [roc_auc_score(t, s) for s, t in rows if not t.all()]
    assert metrics.localisation_auc(scores, truth) == pytest.approx(np.mean(both))


@pytest.mark.parametrize("width", [1, 4, 7, 20])
def test_ssim_of_series_by_its_windows(width):
    a, b = RNG.random(20), RNG.random(20)
    c1, c2 = 0.02**2, 0.06**2  # of a span of 2
    found = []
    for i in range(20 - width + 1):
        x, y = a[i : i + width], b[i : i + width]
        cov = np.mean((x - x.mean()) * (y - y.mean()))
        top = (2 * x.mean() * y.mean() + c1) * (2 * cov + c2)
        found.append(top / ((x.mean() ** 2 + y.mean() ** 2 + c1) * (x.var() + y.var() + c2)))
    assert metrics.ssim_1d(a[None], b[None], width, span=2.0)[0] == pytest.approx(np.mean(found))
    for wrong in (0, 21):
        with pytest.raises(ValueError, match=f"a window of {wrong} samples must be from 1 to the signal's 20"):
            metrics.ssim_1d(a[None], b[None], wrong)


# classes and errors --------------------------------------------------------------------------------------------------


def test_rows_of_each_class_are_drawn_as_often_as_they_are_there():
    labels = np.array([2, 0, 1, 0, 2, 0, 1, 0])
    drawn = []

    def score(labels_, told) -> float:
        assert np.array_equal(labels_, labels[told]) and np.bincount(labels_).tolist() == [4, 2, 2]
        drawn.append(tuple(sorted(told)))
        return float(len(drawn))

    low, high = metrics.interval(labels, np.arange(8), score, n=201)
    assert len(set(drawn)) > 60 and set(np.concatenate(drawn)) == set(range(8))
    assert (low, high) == (6.0, 196.0)  # 2.5 % of the draws on either side


def test_probabilities_need_not_add_up():
    labels, p = np.array([0, 1, 2, 0, 1, 2]), RNG.random((6, 3))
    assert metrics.auc(labels, 3 * p) == pytest.approx(metrics.auc(labels, p / p.sum(1, keepdims=True)))


def test_explained_variance_by_hand():
    truth, told = np.array([[1.0, 2.0], [3.0, 9.0], [8.0, 4.0]]), np.array([[1.0, 3.0], [5.0, 0.0], [7.0, 0.0]])
    here = np.array([[True, False], [True, False], [True, False]])
    assert metrics.r2(truth, told, mask=here) == pytest.approx(1 - 5 / (9 + 1 + 16))  # a column that nobody recorded
    weighed = metrics.r2(truth, told, mean=4.0, weight=np.array([1.0, 0.5]))
    assert weighed == pytest.approx(1 - (5 + (1 + 81 + 16) / 2) / (9 + 1 + 16 + (4 + 25 + 0) / 2))


def test_the_bootstrap_by_its_draws():
    x = RNG.random(7)
    rows = np.random.default_rng(5).integers(0, 7, (31, 7))
    expected = np.quantile([x[drawn].max() for drawn in rows], [0.1, 0.9])
    np.testing.assert_allclose(metrics.bootstrap(np.max, x, n=31, seed=5, level=0.8), expected)


def test_fields_by_hand():
    truth, told, here = np.array([3.0, 0.0, 4.0]), np.array([3.0, 9.0, 1.0]), np.array([True, False, True])
    assert relative_error(truth, told, here) == pytest.approx(3 / 5)
    with pytest.raises(ValueError, match="a relative error needs a truth that is not 0; 1 numbers of it"):
        relative_error(truth, told, ~here)
    mean, sd = np.zeros(1000), np.full(1000, 2.0)
    sample = 2 * norm.ppf((np.arange(1000) + 0.5) / 1000)
    for level in (0.1, 0.5, 0.99):
        assert coverage(sample, mean, sd, level) == pytest.approx(level, abs=0.002)
    assert calibration(sample, mean, 2 * sd).loc[0.5] == pytest.approx(norm.cdf(2 * 0.67449) * 2 - 1, abs=0.002)
    assert coverage(sample, mean, sd, 0.5, sample > 0) == pytest.approx(0.5, abs=0.003)
    for level in (0, 1):
        with pytest.raises(ValueError, match="a level lies between 0 and 1"):
            coverage(truth, truth, truth, level)


def test_scores_of_samples_by_all_pairs():
    x, y = RNG.random((5, 3, 2, 2)), RNG.random((3, 2, 2))
    for i in range(3):
        flat = x[:, i].reshape(5, 4)
        pairs = list(itertools.permutations(range(5), 2))
        apart = np.mean([np.linalg.norm(flat[a] - flat[b]) for a, b in pairs])
        away = np.mean(np.linalg.norm(flat - y[i].ravel(), axis=1))
        assert energy_score(x, y)[i] == pytest.approx(away - apart / 2)
        each = [np.abs(flat[:, k] - y[i].flat[k]).mean() for k in range(4)]
        spread = [np.mean([abs(flat[a, k] - flat[b, k]) for a, b in pairs]) for k in range(4)]
        assert crps(x, y)[i] == pytest.approx(np.mean(each) - np.mean(spread) / 2)
    with pytest.raises(ValueError, match="1 samples say nothing of a spread"):
        crps(x[:1], y)
    with pytest.raises(ValueError, match=r"samples \(n, \*\(3, 2, 2\)\) are needed"):
        inspect.unwrap(crps)(x[..., :1], y)


# codes and factors ---------------------------------------------------------------------------------------------------


def test_the_one_right_pair_of_block_and_factor_has_no_wrong_ones_beside_it():
    leak = pd.DataFrame({"motion": [0.8]}, index=["meg"])
    assert metrics.block_score(leak, {"motion": {"meg"}}) == 0.8
    both = pd.DataFrame({"a": [0.5, -0.4, 0.1], "b": [0.2, 0.1, 0.6]}, index=["shared", "x", "y"])
    assert metrics.block_score(both, {"a": {"x", "y"}, "b": {"y"}}) == pytest.approx(
        1.1 / 2 - (0.0 + 0.1 + 0.2 + 0.1) / 4
    )


def test_bins_of_ranks_of_widths_and_of_values():
    x = np.array([5.0, 1.0, 2.0, 2.0, 2.0, 9.0, 7.0, 100.0])[:, None]
    by_rank = rank_bins(x, 4)
    assert by_rank.labels[:, 0].tolist() == [2, 0, 1, 1, 1, 3, 2, 3] and by_rank.sizes.tolist() == [4]
    assert width_bins(x, 4).labels[:, 0].tolist() == [0] * 7 + [1] and width_bins(x, 4).sizes.tolist() == [2]
    assert factor_bins(x, 6).labels[:, 0].tolist() == [2, 0, 1, 1, 1, 4, 3, 5]
    assert factor_bins(x, 5).labels[:, 0].tolist() == [0] * 7 + [1]
    assert rank_bins(x, 6).labels[:, 0].tolist() == [2, 0, 1, 1, 1, 4, 3, 5], "as many values as bins are kept"
    ties = rank_bins(np.array([[0.0]] * 7 + [[1.0], [2.0], [3.0]]), 3)
    assert ties.labels[:, 0].tolist() == [0] * 7 + [1] * 3 and ties.sizes.tolist() == [2], "a bin may stay empty"


def test_information_by_counting():
    z, f = RNG.integers(0, 3, (60, 2)), RNG.integers(0, 4, (60, 3))
    counted = tables(rank_bins(z), rank_bins(f))
    assert counted.shape == (2, 3, 3, 4) and (counted.sum((2, 3)) == 60).all()
    for j, k in np.ndindex(2, 3):
        p = np.array([[np.mean((z[:, j] == a) & (f[:, k] == b)) for b in range(4)] for a in range(3)])
        np.testing.assert_allclose(counted[j, k] / 60, p)
        px, py = p.sum(1, keepdims=True), p.sum(0, keepdims=True)
        expected = (p[p > 0] * np.log((p / (px * py))[p > 0])).sum()
        assert information(counted)[j, k] == pytest.approx(expected)
        assert entropy(counted[j, k].sum(0)) == pytest.approx(-(py * np.log(py)).sum())


def test_purity_and_focus_by_hand():
    rows = np.array([[1.0, 0.0, 0.0], [1.0, 1.0, 1.0], [2.0, 1.0, 1.0]])
    np.testing.assert_allclose(_purity(rows), [1, 0, (0.5 - 1 / 3) / (2 / 3)])
    np.testing.assert_allclose(_purity(np.array([[0.2], [3.0]])), 1)
    spread = -(0.5 * np.log(0.5) + 2 * 0.25 * np.log(0.25)) / np.log(3)
    np.testing.assert_allclose(_focus(np.concatenate([rows, np.zeros((1, 3))])), [1, 0, 1 - spread, 0], atol=1e-12)
    np.testing.assert_allclose(_focus(np.array([[2.0], [0.0]])), [1, 0])


def test_half_of_the_rows_are_learnt_from_and_give_the_units():
    z, f = RNG.standard_normal((9, 2)) * [1, 0] + 5, RNG.random((9, 1))
    halves = _halves(z, f, 3)
    assert len(halves.train) == 4 and sorted([*halves.train, *halves.test]) == list(range(9))
    learnt = z[halves.train, 0]
    np.testing.assert_allclose(halves.codes[:, 0], (z[:, 0] - learnt.mean()) / learnt.std())
    np.testing.assert_allclose(halves.codes[:, 1], 0)
    r = np.corrcoef(z[:, 0], f[:, 0])[0, 1]
    assert metrics.sap(z, f) == pytest.approx(r**2), "a code that never varies is 0 ahead"


def test_a_model_without_latents_in_use_is_like_none():
    z = RNG.standard_normal((50, 2))
    dead = 0.01 * RNG.standard_normal((50, 2))
    assert metrics.udr([z, dead]).tolist() == [0, 0] == metrics.udr([dead, z]).tolist()
    used = [np.array([True, False])] * 2
    assert metrics.udr([z, z[:, ::-1]], used)[0] < 1 == pytest.approx(metrics.udr([z, z], used)[0])


def test_twins_are_compared_by_ranks_both_ways():
    a, b = RNG.standard_normal((40, 3)), RNG.standard_normal((40, 2))
    b[:, 0] += a[:, 1]
    r = np.abs(np.corrcoef(rankdata(a, axis=0).T, rankdata(b, axis=0).T)[:3, 3:])
    expected = ((r.max(0) ** 2 / r.sum(0)).sum() + (r.max(1) ** 2 / r.sum(1)).sum()) / 5
    np.testing.assert_allclose(metrics.udr([a, b]), expected)


def test_floors_are_of_two_hundred_shuffles_and_half_samples():
    z = RNG.standard_normal((31, 1))
    seen = []

    def metric(codes, factors) -> float:
        seen.append(len(codes))
        return float(abs(np.corrcoef(codes[:, 0], factors[:, 0])[0, 1]))

    said = with_floor(metric, z, z)
    assert len(said.null) == 200 and said.p == 1 / 201 and seen.count(15) == 200 and seen.count(31) == 201
    table = score_table(lambda codes, factors: {"r": metric(codes, factors)}, z, z)
    assert table.loc["r", "p"] == 1 / 201 and table.loc["r", "floor"] == pytest.approx(said.floor)
    assert with_floor(metric, z, z, n_draws=1).p == 0.5
    with pytest.raises(ValueError, match="0 draws give neither an interval nor a floor"):
        with_floor(metric, z, z, n_draws=0)


def test_scores_by_information_are_their_definitions_at_the_default_bins():
    z, f = RNG.standard_normal((300, 3)), RNG.integers(0, 4, (300, 2))
    z[:, 0] += f[:, 0]
    z[:, 1] += 0.5 * f[:, 1] + 0.2 * f[:, 0]
    told = metrics.mutual_information(z, f)
    h = np.array([-sum(p * np.log(p) for p in np.bincount(x) / 300) for x in f.T])
    ranked = np.sort(told, 0)[::-1]
    assert metrics.mig(z, f) == pytest.approx(((ranked[0] - ranked[1]) / h).mean())
    shares = np.sort(told / h, 1)[:, ::-1]
    assert metrics.mig_sup(z, f) == pytest.approx((shares[:, 0] - shares[:, 1]).mean())
    codes = width_bins(z, 20).labels
    h_codes = np.array([-sum(p * np.log(p) for p in np.bincount(x) / 300 if p > 0) for x in codes.T])
    gaps = [h_codes[told[:, k].argmax()] + h[k] - 2 * ranked[0, k] + ranked[1, k] for k in range(2)]
    # 1 - (H(z*, v) - (I* - I')) / (H(v) + log 20), with H(z*, v) = H(z*) + H(v) - I*
    expected = [1 - gap / (h[k] + np.log(20)) for k, gap in enumerate(gaps)]
    assert metrics.jemmig(z, f) == pytest.approx(np.mean(expected))
    best, leads = told.argmax(1), np.sort(told, 1)[:, 1] - np.sort(told, 1)[:, 0]
    expected = sum(max([leads[j] for j in range(3) if best[j] == k], default=0) for k in range(2)) / h.sum()
    assert metrics.dcimig(z, f) == pytest.approx(expected)
    others = np.square(told).sum(1) - np.square(told).max(1)
    assert metrics.modularity(z, f) == pytest.approx((1 - others / np.square(told).max(1)).mean())
