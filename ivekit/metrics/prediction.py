"""Published scores that train something to read the factors from the codes, each by its own definition.

What is trained sees one half of the rows, drawn by `seed`, and is scored on the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Real, Shaped
from numpy import ndarray
from scipy.optimize import linear_sum_assignment

from .counting import Columns, check_rows, lead, named_columns, rank_bins, tables, varying

Codes = Real[ndarray, "n k"]


class Halves(NamedTuple):
    """Codes of the rows that are learnt from and of those that are scored, standardised by the first."""

    train: Int[ndarray, "n"]
    test: Int[ndarray, "m"]
    codes: Float[ndarray, "_ k"]


# SAP ---------------------------------------------------------------------------------------------------------


def sap(codes: Codes, factors: Columns, seed: int = 0) -> float:
    """Separated attribute predictability: how far a factor's best single code is ahead of its second as a predictor.

    A factor of real numbers is told by a line (the squared correlation), one of words, whole numbers or truth values by
    a linear support vector machine with one threshold a class (its accuracy on the other half of the rows); the mean of
    the leads over factors. Kumar et al. (2018), "Variational inference of disentangled latent concepts from unlabeled
    observations", with the classifier's settings of Locatello et al. (2019).

    Known failures: a line sees only what is linear: a code that is a monotone map of its factor scores less, its square
    nothing. Accuracy starts at that of guessing, so a lead can never be 1. A duplicated code scores 0.

    >>> z = np.random.default_rng(0).standard_normal((1000, 3))
    >>> round(sap(z, z[:, :2]), 2)
    1.0
    """
    moves, _ = varying(factors)
    columns = [x for (_, x), moving in zip(named_columns(factors, "factors"), moves) if moving]
    halves = _halves(codes, factors, seed)
    numbers, kinds = ([x for x in columns if _is_number(x) is yes] for yes in (True, False))
    told = [*_squared_correlations(halves.codes, numbers), *(_accuracies(halves, x, seed) for x in kinds)]
    return float(lead(np.stack(told, 1)).mean())


def _is_number(x: Shaped[ndarray, "n"]) -> bool:
    return np.issubdtype(x.dtype, np.floating)


def _squared_correlations(z: Float[ndarray, "n k"], columns: list[Real[ndarray, "n"]]) -> Float[ndarray, "f k"]:
    z, x = z - z.mean(0), np.stack([_of_length_one(x) for x in columns]) if columns else np.zeros((0, len(z)))
    power = np.square(z).sum(0)
    return np.where(power > 1e-12, np.square(x @ z) / np.where(power > 1e-12, power, 1), 0)


def _of_length_one(x: Real[ndarray, "n"]) -> Float[ndarray, "n"]:
    """A column about its mean, in units of its own: what is in tesla has squares that are 0."""
    x = x.astype(float)
    x = x / np.abs(x).max()
    x = x - x.mean()
    return x / np.linalg.norm(x)


def _accuracies(halves: Halves, x: Shaped[ndarray, "n"], seed: int) -> Float[ndarray, "k"]:
    from sklearn.svm import LinearSVC

    def one(z: Float[ndarray, "n 1"]) -> float:
        machine = LinearSVC(C=0.01, class_weight="balanced", random_state=seed)
        return machine.fit(z[halves.train], x[halves.train]).score(z[halves.test], x[halves.test])

    return np.array([one(halves.codes[:, [j]]) for j in range(halves.codes.shape[1])])


# DCI ---------------------------------------------------------------------------------------------------------


class DCI(NamedTuple):
    """Disentanglement, completeness, informativeness, and the importance of each code for each factor (k, f)."""

    disentanglement: float
    completeness: float
    informativeness: float
    importance: Float[ndarray, "k f"]


def lasso(seed: int = 0) -> Any:
    """A regression for `dci` that leaves codes out: |weights| are importances (Tibshirani, 1996).

    >>> lasso()
    LassoCV(cv=3, random_state=0)
    """
    from sklearn.linear_model import LassoCV

    return LassoCV(cv=3, random_state=seed)


def random_forest(seed: int = 0, n_trees: int = 40) -> Any:
    """A forest for `dci` that sees any kind of dependence; importances are drops of variance (Breiman, 2001).

    >>> type(random_forest()).__name__
    'RandomForestRegressor'
    """
    from sklearn.ensemble import RandomForestRegressor

    return RandomForestRegressor(n_trees, min_samples_leaf=5, random_state=seed)


def gradient_boosting(seed: int = 0, n_trees: int = 50) -> Any:
    """Boosted trees for `dci`, as Locatello et al. (2019) use them (Friedman, 2001).

    >>> type(gradient_boosting()).__name__
    'GradientBoostingRegressor'
    """
    from sklearn.ensemble import GradientBoostingRegressor

    return GradientBoostingRegressor(n_estimators=n_trees, random_state=seed)


def dci(codes: Codes, factors: Columns, regressor: Any = None, seed: int = 0) -> DCI:
    """Who is needed to predict whom: a regression of each factor on all codes, and how its importances are spread.

    Of the importances R (k, f), a code's disentanglement is one minus the entropy of its row over log f, weighted by
    the row's share of all importance; a factor's completeness one minus the entropy of its column over log k, the mean
    over factors; informativeness the mean R2 (or accuracy) on the other half of the rows. Eastwood & Williams (2018),
    "A framework for the quantitative evaluation of disentangled representations".

    regressor : anything of scikit-learn's kind with ``coef_`` or ``feature_importances_``: `lasso()` by default,
        `random_forest()`, `gradient_boosting()`, or a classifier for factors that are classes. A fresh copy is fitted
        for each factor; it sees standardised codes.

    Known failures: the numbers are the regressor's as much as the code's: they move with its settings, and one and the
    same noisy, perfectly pure code goes from 0.3 in 100 rows to 0.98 in 10,000 (boosted trees), or stays at 0.44 (a
    forest), since small importances are dealt out to codes of noise. A lasso sees no square, and of noise it may
    keep a single weight by chance: disentanglement and completeness are then 1, and only informativeness says that
    nothing was told.

    >>> z = np.random.default_rng(0).standard_normal((400, 3))
    >>> said = dci(z, z[:, :2])
    >>> round(said.disentanglement, 2), round(said.completeness, 2), round(said.informativeness, 2)
    (1.0, 1.0, 1.0)
    """
    from sklearn.base import clone

    regressor = lasso(seed) if regressor is None else regressor
    halves = _halves(codes, factors, seed)
    importance, told = [], []
    for x in _numbers(factors):
        fitted = clone(regressor).fit(halves.codes[halves.train], x[halves.train])
        importance.append(_importance(fitted))
        told.append(fitted.score(halves.codes[halves.test], x[halves.test]))
    r = np.stack(importance, 1)
    weight = r.sum(1) / r.sum() if r.sum() > 0 else np.zeros(len(r))
    disentangled, complete = (weight * _focus(r)).sum(), np.mean(_focus(r.T))
    return DCI(float(disentangled), float(complete), float(np.mean(told)), r)


def _importance(fitted: Any) -> Float[ndarray, "k"]:
    if hasattr(fitted, "feature_importances_"):
        return np.asarray(fitted.feature_importances_, float)
    if not hasattr(fitted, "coef_"):
        raise ValueError(f"{type(fitted).__name__} has neither coef_ nor feature_importances_, so no importances")
    return np.abs(np.atleast_2d(fitted.coef_)).sum(0)


def _focus(rows: Float[ndarray, "a b"]) -> Float[ndarray, "a"]:
    """One minus the entropy of each row over its largest; of a single column, or of a row of zeros: 1 and 0."""
    total = rows.sum(1, keepdims=True)
    p = rows / np.where(total > 0, total, 1)
    spread = -(p * np.log(np.where(p > 0, p, 1))).sum(1) / np.log(max(rows.shape[1], 2))
    return np.where(total[:, 0] > 0, 1 - spread, 0.0)


def _numbers(factors: Columns) -> Iterator[ndarray]:
    moves, _ = varying(factors)
    return (x for (_, x), moving in zip(named_columns(factors, "factors"), moves) if moving)


# explicitness, and the part of the entropy that a line explains ------------------------------------------------


def explicitness(codes: Codes, factors: Columns, n_bins: int = 10, seed: int = 0) -> float:
    """Can a linear classifier on all codes tell a factor's classes? The area under the ROC curve; 0.5 is chance.

    A logistic regression of each factor, the mean over classes against the rest and over factors, on the other half of
    the rows. Ridgeway & Mozer (2018). Factors of more than `n_bins` values become classes of equal counts.

    Known failures: it says nothing of single codes: a rotated code scores as well; its floor is 0.5; a line cannot mark
    out a middle class, so a code that *is* the factor scores far below 1 when cut into many.

    >>> z = np.random.default_rng(0).standard_normal((400, 2))
    >>> round(explicitness(z, (z > 0).astype(int)), 2)
    1.0
    """
    from sklearn.metrics import roc_auc_score

    moves, _ = varying(factors)
    halves = _halves(codes, factors, seed)
    told = []
    for x in rank_bins(factors, n_bins).only(moves).labels.T:
        p = _logistic().fit(halves.codes[halves.train], x[halves.train]).predict_proba(halves.codes[halves.test])
        seen = np.unique(x[halves.train])
        told += [
            roc_auc_score(x[halves.test] == c, p[:, i])
            for i, c in enumerate(seen)
            if 0 < np.mean(x[halves.test] == c) < 1
        ]
    return float(np.mean(told))


def explained_entropy(codes: Codes, labels: Int[ndarray, "n"]) -> float:
    """The part of the entropy of classes that a logistic regression on all codes explains, on the same rows.

    ``1 - H_V(y | z) / H_V(y)``, a predictive information of the linear family V (Xu et al., 2020); InfoE is its mean.

    >>> z = np.random.default_rng(0).standard_normal((200, 1))
    >>> explained_entropy(z, (z[:, 0] > 0).astype(int)) > 0.95
    True
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    z = np.asarray(codes, float)
    scale = z.std(0)
    z = (z - z.mean(0)) / np.where(scale > 0, scale, 1)
    model = LogisticRegression(C=np.inf, class_weight="balanced", max_iter=100, tol=1e-4)
    values, y = np.unique(labels, return_inverse=True)
    # with balanced classes the best that a constant can say is that all are as likely
    return float(
        1 - log_loss(y, _quietly(model, z, y).predict_proba(z), labels=range(len(values))) / np.log(len(values))
    )


def _logistic() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=300)


def _quietly(model: Any, z: Float[ndarray, "n k"], y: Int[ndarray, "n"]) -> Any:
    """Fitted; a hundred steps are part of the definition, so not to have converged is no warning."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(z, y)


# single neurons ----------------------------------------------------------------------------------------------


def snc(codes: Codes, factors: Columns, n_bins: int = 10) -> float:
    """Single-neuron classification: how often the one code that a factor is given tells its class.

    Each factor is given a code of its own, together those with the most information; that code is cut into as many bins
    of equal counts as the factor has classes, each bin stands for one class (the best one-to-one match), and the score
    is the accuracy, the mean over factors. Mahon, Sha & Lukasiewicz (2024), "Correcting flaws in common disentanglement
    metrics". Factors of more than `n_bins` values become classes of equal counts.

    Known failures: chance is 1 / classes and more, not 0; classes of unequal counts cannot be told even by a perfect
    code, whose bins have equal counts; what other codes hold of the factor is not seen (`nk` is for that).

    >>> z = np.random.default_rng(0).standard_normal((400, 3))
    >>> snc(z, z[:, :2])
    1.0
    """
    moves, _ = varying(factors)
    f, right = rank_bins(factors, n_bins).only(moves), []
    given = _given(codes, factors, n_bins)
    z = np.stack([x for _, x in named_columns(codes)], 1)
    for k, j in enumerate(given):
        bins = rank_bins(z[:, [j]], int(f.sizes[k]))
        counted = tables(bins, f.only(np.arange(len(given)) == k))[0, 0]
        right.append(counted[linear_sum_assignment(-counted)].sum() / len(z))
    return float(np.mean(right))


def nk(codes: Codes, factors: Columns, classifier: Any = None, n_bins: int = 10, seed: int = 0) -> float:
    """Neuron knockout: how much accuracy a classifier loses when a factor's own code is taken away.

    The accuracy of a network on all codes less that on all but the code that `snc` gives the factor, on the other half
    of the rows, the mean over factors. Mahon, Sha & Lukasiewicz (2024).

    classifier : of scikit-learn's kind; a network of 64 hidden units by default. A fresh copy is fitted each time.

    Known failures: a duplicated code hides the loss (score 0); two fits differ by chance, so noise is not exactly 0 and
    may be below; the largest possible loss is one minus chance, 0.9 for ten classes.

    >>> from sklearn.linear_model import LogisticRegression
    >>> z = np.random.default_rng(0).standard_normal((400, 2))
    >>> 0.4 < nk(z, (z > 0).astype(int), LogisticRegression()) < 0.6
    True
    """
    from sklearn.base import clone
    from sklearn.neural_network import MLPClassifier

    default = MLPClassifier((64,), learning_rate_init=1e-2, max_iter=40, random_state=seed)
    classifier = default if classifier is None else classifier
    moves, _ = varying(factors)
    halves, lost = _halves(codes, factors, seed), []
    for j, x in zip(_given(codes, factors, n_bins), rank_bins(factors, n_bins).only(moves).labels.T):
        kept = np.delete(halves.codes, j, 1) if halves.codes.shape[1] > 1 else np.zeros_like(halves.codes)
        fits = [_quietly(clone(classifier), z[halves.train], x[halves.train]) for z in (halves.codes, kept)]
        whole, without = (fit.score(z[halves.test], x[halves.test]) for fit, z in zip(fits, (halves.codes, kept)))
        lost.append(whole - without)
    return float(np.mean(lost))


def _given(codes: Codes, factors: Columns, n_bins: int) -> list[int]:
    """The code that each factor is given, no code twice: together those of the most information."""
    from .counting import information

    moves, _ = varying(factors)
    if len(named_columns(codes)) < moves.sum():
        raise ValueError(f"{moves.sum()} factors need as many codes of their own, got {len(named_columns(codes))}")
    told = information(tables(rank_bins(codes, n_bins), rank_bins(factors, n_bins).only(moves)))
    given, which = linear_sum_assignment(-told)
    return [int(given[list(which).index(k)]) for k in range(told.shape[1])]


def _halves(codes: Codes, factors: Columns, seed: int) -> Halves:
    check_rows(codes, factors)
    z = np.stack([np.asarray(x, float) for _, x in named_columns(codes)], 1)
    order = np.random.default_rng(seed).permutation(len(z))
    train, test = np.sort(order[: len(z) // 2]), np.sort(order[len(z) // 2 :])
    scale = z[train].std(0)
    return Halves(train, test, (z - z[train].mean(0)) / np.where(scale > 0, scale, 1))
