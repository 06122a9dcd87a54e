"""Metrics: closed forms, oracles, and what must not change a score."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2_contingency
from sklearn.linear_model import Lasso, RidgeCV
from sklearn.metrics import mutual_info_score, r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ivekit import metrics
from ivekit.metrics import counting

SCORES = ("coverage", "mig", "modularity", "compactness")


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def same(a: dict, b: dict, tolerance: float = 1e-12) -> bool:
    return all(abs(a[name] - b[name]) <= tolerance for name in SCORES)


# R2 and its interval


def test_r2_of_a_perfect_prediction_is_1_and_of_the_mean_0():
    x = normal(50, 3, 4)
    assert metrics.r2(x, x) == 1
    assert metrics.r2(x, x.mean(0)) == 0
    assert metrics.r2(x, np.full(x.shape, 2.0), mean=2.0) == 0


def test_r2_pools_columns_by_their_variance():
    x, guess = normal(40, 3) * [1, 10, 100], normal(40, 3, seed=1)
    assert metrics.r2(x, guess) == pytest.approx(r2_score(x, guess, multioutput="variance_weighted"), abs=1e-12)
    fair = metrics.r2(x, guess, weight=1 / x.var(0))
    assert fair == pytest.approx(r2_score(x, guess, multioutput="uniform_average"), abs=1e-12)


def test_r2_is_against_the_mean_that_is_given():
    truth, guess = np.array([1.0, 3.0]), np.array([1.0, 2.0])
    assert metrics.r2(truth, guess, mean=0.0) == pytest.approx(1 - 1 / 10)


def test_masked_numbers_do_not_count_whatever_they_hold():
    x, guess = normal(30, 4), normal(30, 4, seed=1)
    mask = np.random.default_rng(2).random(x.shape) < 0.7
    holed = np.where(mask, x, np.nan)
    expected = metrics.r2(x[mask], guess[mask], mean=np.broadcast_to(np.nanmean(holed, 0), x.shape)[mask])
    assert metrics.r2(holed, guess, mask=mask) == pytest.approx(expected, abs=1e-12)


def test_r2_of_what_does_not_vary_is_an_error():
    with pytest.raises(ValueError, match=r"shape \(5,\)\) equals its mean everywhere"):
        metrics.r2(np.ones(5), np.zeros(5))


def test_the_bootstrap_of_a_mean_is_as_wide_as_the_normal_law_says():
    x = normal(400)
    low, high = metrics.bootstrap(np.mean, x, n=4000)
    wide = 1.96 * x.std() / 20
    assert low == pytest.approx(x.mean() - wide, abs=0.1 * wide)
    assert high == pytest.approx(x.mean() + wide, abs=0.1 * wide)


def test_the_bootstrap_draws_the_same_rows_of_every_array_and_again():
    x = normal(50)
    assert metrics.bootstrap(lambda a, b: float(np.abs(a - b).max()), x, x) == (0, 0)
    assert metrics.bootstrap(np.mean, x, seed=3) == metrics.bootstrap(np.mean, x, seed=3)
    assert metrics.bootstrap(np.mean, x, seed=3) != metrics.bootstrap(np.mean, x, seed=4)


def test_the_bootstrap_refuses_unequal_rows():
    with pytest.raises(ValueError, match=r"\[3, 4\]"):
        metrics.bootstrap(np.mean, np.ones(3), np.ones(4))


# readout and blocks


def test_a_readout_is_scikit_learns_ridge():
    z, e = normal(300, 5) * [1, 10, 0.1, 1, 1], normal(300, seed=1)
    f = z[:, 0] + 3 * z[:, 2] + e
    oracle = make_pipeline(StandardScaler(), RidgeCV(metrics.codes.ALPHAS)).fit(z[:200], f[:200])
    expected = metrics.r2(f[200:], oracle.predict(z[200:]), mean=f[:200].mean())
    assert metrics.readout(z[:200], f[:200], z[200:], f[200:]) == pytest.approx(expected, abs=1e-9)
    assert 0.4 < expected < 0.6


def test_a_readout_of_noise_is_about_0_and_a_dead_latent_does_no_harm():
    z, f = normal(400, 4), normal(400, seed=1)
    assert abs(metrics.readout(z[:200], f[:200], z[200:], f[200:])) < 0.05
    z[:, 1] = 7.0
    assert metrics.readout(z[:200], z[:200, 0], z[200:], z[200:, 0]) > 0.999


def test_the_leak_matrix_holds_the_readouts():
    z = {"shared": normal(200, 3), "meg": normal(200, 2, seed=1)}
    factors = pd.DataFrame({"a": z["shared"][:, 0] + normal(200, seed=2), "b": z["meg"][:, 1]})
    train = np.arange(200) < 120
    leak = metrics.block_readout(z, factors, train, ~train)
    assert list(leak.index) == ["shared", "meg"] and list(leak.columns) == ["a", "b"]
    for block in z:
        for name in factors:
            f = factors[name].to_numpy()
            expected = metrics.readout(z[block][train], f[train], z[block][~train], f[~train])
            assert leak.loc[block, name] == pytest.approx(expected, abs=1e-9)
    numbers = metrics.block_readout(z, factors, np.arange(120), np.arange(120, 200))
    pd.testing.assert_frame_equal(leak, numbers)


def test_a_leak_matrix_names_what_is_wrong():
    z, train = {"shared": normal(20, 2)}, np.arange(20) < 10
    with pytest.raises(ValueError, match="constant in the test rows.*: still"):
        factors = pd.DataFrame({"still": np.r_[normal(10), np.ones(10)], "moves": normal(20)})
        metrics.block_readout(z, factors, train, ~train)
    with pytest.raises(ValueError, match="'shared' has 20 rows of codes for 19"):
        metrics.block_readout(z, pd.DataFrame({"a": normal(19)}), train[:19], ~train[:19])


OWNERS = {"both": {"meg", "video"}, "own": {"meg"}}


@pytest.mark.parametrize(
    ("leak", "score"),
    [
        ({"both": [1, 0, 0], "own": [0, 1, 0]}, 1.0),  # all where it belongs
        ({"both": [1, 1, 1], "own": [1, 1, 1]}, 0.0),  # all everywhere
        ({"both": [0, 1, 0], "own": [1, 0, 0]}, -0.5),  # all where it does not
        ({"both": [0.8, 0.2, -3], "own": [0.1, 0.6, 0.1]}, 0.7 - 0.1),  # below 0 counts as 0
        ({"both": [-1, 0, 0], "own": [0, 1, 0]}, 0.5),
    ],
)
def test_block_scores_by_hand(leak, score):
    frame = pd.DataFrame(leak, index=["shared", "meg", "video"])
    assert metrics.block_score(frame, OWNERS) == pytest.approx(score)


def test_a_block_score_needs_every_factor_and_its_home():
    leak = pd.DataFrame({"both": [1.0], "own": [0.0]}, index=["shared"])
    with pytest.raises(ValueError, match="no block for {'own': 'meg'}.*\\['shared'\\]"):
        metrics.block_score(leak, OWNERS)
    with pytest.raises(ValueError, match="owners name \\['both'\\]"):
        metrics.block_score(leak, {"both": {"meg", "video"}})


# the relation matrix and its scores


def code(n: int = 2000, noise: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three codes, one a factor each, and the factors."""
    factors = normal(n, 3, seed=seed)
    return factors + noise * normal(n, 3, seed=seed + 1), factors


def test_the_relation_matrix_against_scipy_and_scikit_learn():
    z, f = code(2000, noise=0.5)
    f[:, 2] = np.sign(f[:, 2])
    ours = metrics.relation(z, f)
    ranks = [np.argsort(np.argsort(x)) * 20 // len(x) for x in z.T]
    bins = [*(np.argsort(np.argsort(x)) * 20 // len(x) for x in f.T[:2]), (f[:, 2] > 0).astype(int)]
    for j, x in enumerate(ranks):
        for k, y in enumerate(bins):
            count = pd.crosstab(x, y).to_numpy()
            p, df = chi2_contingency(count, correction=False)[1:3]
            bias = df / 2 / len(x)
            known = (mutual_info_score(x, y) - bias) / (mutual_info_score(y, y) - bias)
            assert ours[j, k] == pytest.approx(max(known, 0) if p < 0.01 / 9 else 0, abs=1e-9)


def test_a_perfect_code_scores_1():
    perfect = metrics.scores(*code())
    assert perfect == {"coverage": 1, "mig": 1, "modularity": 1, "compactness": 1, "active": 3, "skipped": []}


@pytest.mark.parametrize("n", [40, 60, 100, 333])
def test_a_perfect_code_scores_1_with_few_rows_too(n):
    assert metrics.relation(*code(n)).diagonal() == pytest.approx(1)


@pytest.mark.parametrize("noise", [0.0, 0.5])
@pytest.mark.parametrize(
    "change",
    [
        lambda z: z[:, [2, 0, 1]],
        lambda z: z * [1e-3, 50, 1e6] + [7, -3, 0],
        lambda z: -z,
        lambda z: np.stack([np.exp(z[:, 0]), z[:, 1] ** 3, np.tanh(z[:, 2])], 1),
        lambda z: np.concatenate([z, np.zeros((len(z), 4))], 1),
        lambda z: np.concatenate([np.ones((len(z), 1)), z], 1),
        lambda z: np.concatenate([z, normal(len(z), 5, seed=9)], 1),
    ],
    ids=["permuted", "affine", "flipped", "monotone", "dead", "dead first", "noise"],
)
def test_what_must_not_change_the_scores(noise, change):
    z, f = code(noise=noise)
    before = metrics.scores(z, f)
    assert same(before, metrics.scores(change(z), f))
    assert (noise == 0) == (before["coverage"] == 1)


def test_factors_may_be_permuted_and_stretched():
    z, f = code(noise=0.5)
    assert same(metrics.scores(z, f), metrics.scores(z, np.exp(f[:, [1, 2, 0]]) * [1, 5, 9]))
    assert metrics.relation(z, f[:, [1, 2, 0]]) == pytest.approx(metrics.relation(z, f)[:, [1, 2, 0]])


def test_a_duplicated_code_changes_only_how_compact_it_is():
    z, f = code(noise=0.2)
    before, after = metrics.scores(z, f), metrics.scores(z[:, [0, 1, 2, 2]], f)
    assert after["coverage"] == pytest.approx(before["coverage"])
    assert after["modularity"] == pytest.approx(before["modularity"])
    assert after["compactness"] < before["compactness"] - 0.1
    assert after["mig"] == pytest.approx(before["mig"] * 2 / 3, rel=0.02)


def test_noise_scores_nothing_at_500_rows():
    found = []
    for seed in range(40):
        s = metrics.scores(normal(500, 10, seed=seed), normal(500, 5, seed=1000 + seed))
        assert s["coverage"] < 0.02 and s["mig"] < 0.02
        found.append(s["active"] > 0)
    assert np.mean(found) <= 0.05  # the gate lets 1 in 100 matrices of noise pass


def test_scores_rise_with_the_signal():
    each = [metrics.scores(*code(noise=noise)) for noise in (3.0, 1.0, 0.5, 0.2, 0.0)]
    for name in ("coverage", "mig"):
        assert (np.diff([s[name] for s in each]) > 0).all()


def test_the_scores_by_hand(monkeypatch):
    r = np.array([[0.9, 0.0, 0.0], [0.0, 0.6, 0.2], [0.0, 0.1, 0.1], [0.0, 0.0, 0.0]])
    monkeypatch.setattr(metrics.codes, "relation", lambda *_: r)
    s = metrics.scores(normal(50, 4), normal(50, 3))
    assert s["coverage"] == pytest.approx((0.9 + 0.6 + 0.2) / 3)
    assert s["mig"] == pytest.approx((0.9 + 0.5 + 0.1) / 3)
    pure = (1 - 1 / 3) / (2 / 3), (0.75 - 1 / 3) / (2 / 3), (0.5 - 1 / 3) / (2 / 3)
    assert s["modularity"] == pytest.approx((0.9 * pure[0] + 0.8 * pure[1] + 0.2 * pure[2]) / 1.9)
    apart = 1.0, (6 / 7 - 1 / 3) / (2 / 3), (2 / 3 - 1 / 3) / (2 / 3)  # over 3 active codes
    assert s["compactness"] == pytest.approx(np.mean(apart)) and s["active"] == 3


def test_a_rotated_code_is_neither_modular_nor_compact():
    z, f = code()
    mix = np.linalg.qr(normal(3, 3, seed=5))[0]
    s = metrics.scores(z @ mix, f)
    assert s["modularity"] < 0.6 and s["mig"] < 0.4 and s["coverage"] > 0.1


def test_dependence_of_any_kind_counts():
    x = normal(2000, 1)
    assert metrics.relation(np.abs(x), x)[0, 0] > 0.6  # all but the sign
    assert abs(np.corrcoef(np.abs(x[:, 0]), x[:, 0])[0, 1]) < 0.1


def test_a_constant_factor_is_skipped_and_named():
    z, f = code()
    frame = pd.DataFrame(f, columns=["a", "b", "c"]).assign(still=2.0)
    assert metrics.scores(z, frame) == metrics.scores(z, f) | {"skipped": ["still"]}
    assert (metrics.relation(z, frame)[:, 3] == 0).all()
    with pytest.raises(ValueError, match=r"every factor is constant \(still\)"):
        metrics.scores(z, frame[["still"]])


def test_one_code_one_factor_and_labels():
    z, f = code()
    assert metrics.scores(z[:, :1], f[:, :1])["modularity"] == 1
    assert metrics.scores(z, f[:, :1])["mig"] == 1
    words = pd.DataFrame({"hand": np.where(f[:, 1] > 0, "left", "right")})
    assert metrics.relation(z, words)[:, 0] == pytest.approx([0, 1, 0], abs=0.06)  # one bin holds both hands


def test_ties_do_not_break_the_bins():
    z, f = code()
    clipped = np.maximum(z, 0)  # half of the values are one number
    r = metrics.relation(clipped, f)
    assert np.isfinite(r).all() and (r.diagonal() > 0.3).all() and metrics.relation(clipped, clipped)[0, 0] == 1


def test_relation_names_what_is_wrong():
    z, f = code(50)
    with pytest.raises(ValueError, match="50 rows of codes for 49 rows of factors"):
        metrics.relation(z, f[1:])
    z[3, 1] = np.nan
    with pytest.raises(ValueError, match="codes hold NaN in column 1"):
        metrics.relation(z, f)
    with pytest.raises(ValueError, match=r"must have rows and columns, got \(0, 3\)"):
        metrics.relation(z[:0], f[:0])


# as published


def test_mig_against_its_definition():
    rng = np.random.default_rng(0)
    f = rng.integers(0, 6, (3000, 3))
    z = f @ np.array([[1.0, 0.2, 0], [0, 1, 0.4], [0, 0, 1]]) + 0.3 * rng.standard_normal((3000, 3))
    gaps = []
    for y in f.T:
        known = [mutual_info_score(np.digitize(x, np.histogram(x, 20)[1][:-1]), y) for x in z.T]
        second, best = np.sort(known)[-2:]
        gaps.append((best - second) / mutual_info_score(y, y))
    assert metrics.mig(z, f) == pytest.approx(np.mean(gaps), abs=1e-9)


def test_mig_is_changed_by_an_outlier_as_its_docstring_says():
    z, f = code()
    far = z.copy()
    far[0] = 1e6
    assert metrics.mig(far, f) < 0.1 < metrics.mig(z, f)
    assert metrics.scores(far, f)["mig"] > 0.98


def test_active_units_count_latents_that_move():
    means = normal(500, 4) * [1, 0.2, 0.05, 0]
    assert metrics.active_units(means) == 2
    assert metrics.active_units(means, threshold=0.5) == 1


def test_a_single_code_leads_by_all_it_has():
    assert counting.lead(np.array([[0.5, 0.25]])).tolist() == [0.5, 0.25]


def test_what_no_code_is_needed_for_is_not_complete():
    """A penalty under which every weight is 0: no importance, neither in a row nor in a column."""
    nothing = metrics.dci(normal(60, 2), normal(60, 3, seed=1), Lasso(alpha=1e6))
    assert (nothing.importance == 0).all() and nothing.completeness == nothing.disentanglement == 0


def test_the_regressions_of_dci_are_those_that_are_said():
    forest, boosted = metrics.random_forest(3, 7), metrics.gradient_boosting(3, 7)
    assert forest.n_estimators == boosted.n_estimators == 7 and forest.random_state == boosted.random_state == 3
    x = normal(40, 1)
    leaves = forest.fit(x, x[:, 0]).apply(x)[:, 0]
    assert forest.min_samples_leaf == 5 and len(np.unique(leaves)) <= 8  # of at least five rows each
