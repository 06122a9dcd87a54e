"""Published scores that count information between single codes and factors, each by its own definition.

Codes are cut into 20 bins of equal width, factors keep their values (or are cut likewise where there are more of them
than bins), and information is the plug-in estimate without a correction, as Locatello et al. (2019) compare them.
Constant factors are left out. The failures named below are measured in ``tests/test_disentanglement.py``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Real
from numpy import ndarray

from .counting import (
    Binned,
    Columns,
    entropy,
    factor_bins,
    information,
    lead,
    named_columns,
    tables,
    varying,
    width_bins,
)

Codes = Real[ndarray, "n k"] | Binned


def mutual_information(codes: Codes, factors: Columns, n_bins: int = 20) -> Float[ndarray, "k f"]:
    """How many nats each code tells of each factor, by counting: what most published scores are made of.

    ``sum p(z, v) log p(z, v) / p(z) p(v)`` over the bins. Known failure: the plug-in estimate is above 0 for noise, by
    (bins - 1) (values - 1) / 2n nats (Miller, 1955), and bins of equal width lose a code that has one far outlier.

    >>> mutual_information(np.array([[0.0], [0.0], [1.0], [1.0]]), np.array([[0], [0], [5], [5]])).round(4)
    array([[0.6931]])
    """
    return information(tables(width_bins(codes, n_bins), factor_bins(factors, n_bins)))


def mig(codes: Codes, factors: Columns, n_bins: int = 20) -> float:
    """The mutual information gap: how far a factor's best code is ahead of its second, over its entropy.

    Chen et al. (2018), "Isolating sources of disentanglement in VAEs", with the estimator of Locatello et al. (2019).

    Known failures: stretching a code changes it, since bins have equal width (one far outlier empties them), and a
    factor that is held twice scores 0 however cleanly it is held.

    >>> z = np.random.default_rng(0).uniform(size=(2000, 2))
    >>> 0.85 < mig(z, np.floor(4 * z)) < 1
    True
    """
    told, h, *_ = _shares(codes, factors, n_bins)
    return float((lead(told) / h).mean())


def mig_sup(codes: Codes, factors: Columns, n_bins: int = 20) -> float:
    """The gap turned round: how far a code's best factor is ahead of its second, the mean over codes.

    Information is over the factor's entropy. Li et al. (2020), "Progressive learning and disentanglement of
    hierarchical representations".

    Known failures: every code counts alike, so a perfect code with as many dead or noisy ones beside it scores a half;
    a factor that nobody tells costs nothing; and as `mig` it changes when a code is stretched.

    >>> z = np.random.default_rng(0).uniform(size=(2000, 2))
    >>> 0.85 < mig_sup(z, np.floor(4 * z)) < 1
    True
    """
    told, h, *_ = _shares(codes, factors, n_bins)
    return float(lead((told / h).T).mean())


def jemmig(codes: Codes, factors: Columns, n_bins: int = 20) -> float:
    """The gap that also asks the best code to hold nothing but the factor; 1 is best.

    With z* the factor's best code and z' its second, ``1 - (H(z*, v) - I(z*; v) + I(z'; v)) / (H(v) + log bins)``, the
    mean over factors. Do & Tran (2020), "Theory and evaluation metrics for learning disentangled representations", in
    the normalised form, so that more is better.

    Known failures: a code finer than its factor is punished for its own entropy, so that a perfect continuous code of a
    binary factor scores low; noise scores above 0 (bins filled unevenly have a joint entropy below the bound);
    it changes when a code is stretched.

    >>> z = np.random.default_rng(0).integers(0, 20, (2000, 2))
    >>> round(jemmig(z, z), 2)
    0.98
    """
    told, h, h_codes, n_bins = _shares(codes, factors, n_bins)
    best = told.argmax(0)
    own = told.max(0)
    joint = h_codes[best] + h - own
    return float((1 - (joint - lead(told)) / (h + np.log(n_bins))).mean())


def dcimig(codes: Codes, factors: Columns, n_bins: int = 20) -> float:
    """How far codes are ahead on their own factor, of each factor's best such code, over all that is to be told.

    Each code has a best factor and its lead there over its second. A factor gets the largest lead of the codes whose
    best it is, or 0; ``sum of leads / sum of entropies``. Sepliarskaia et al. (2019), "Evaluating disentangled
    representations" (there 3CharM).

    Known failures: a factor copied into ten codes scores as if held once; the entropies weigh the factors, so that one
    of two values hardly counts beside one of twenty; it changes when a code is stretched.

    >>> z = np.random.default_rng(0).uniform(size=(2000, 2))
    >>> 0.85 < dcimig(z, np.floor(4 * z)) < 1
    True
    """
    told, h, *_ = _shares(codes, factors, n_bins)
    leads, best = lead(told.T), told.argmax(1)
    return float(sum(leads[best == factor].max(initial=0) for factor in range(len(h))) / h.sum())


def modularity(codes: Codes, factors: Columns, n_bins: int = 20) -> float:
    """Does each code tell of one factor only? One minus the squared information on the others, the mean over codes.

    ``1 - sum_{j != best} I_j^2 / (I_best^2 (f - 1))``; 0 for a dead code. Ridgeway & Mozer (2018), "Learning deep
    disentangled embeddings with the F-statistic loss", as in Locatello et al. (2019).

    Known failures: squares and the division by f - 1 forgive: a dense linear mix of ten factors scores 0.9 and more.
    Codes count alike, so noise, whose plug-in information is never 0, pulls a perfect code down, by more in few rows.
    With one factor it is 1 for whatever tells anything.

    >>> z = np.random.default_rng(0).uniform(size=(2000, 2))
    >>> round(modularity(z, np.floor(4 * z)), 2)
    1.0
    """
    told, *_ = _shares(codes, factors, n_bins)
    squared = np.square(told)
    best = squared.max(1)
    others = (squared.sum(1) - best) / np.where(best > 0, best, 1) / max(told.shape[1] - 1, 1)
    return float(np.where(best > 0, 1 - others, 0).mean())


def total_correlation(codes: Real[ndarray, "n k"]) -> float:
    """How much the codes tell of each other, in nats, if they were jointly normal: 0 is independent.

    ``- log det C / 2`` of their correlations C (Watanabe, 1960). Columns that do not vary are left out; of columns that
    are a weighted sum of others it is infinite.

    Known failures: it asks for no factor, so a rotated code scores 0; dependence that is no correlation is not seen.

    >>> z = np.random.default_rng(0).standard_normal((100_000, 2))
    >>> round(total_correlation(np.stack([z[:, 0], 0.6 * z[:, 0] + 0.8 * z[:, 1]], 1)), 2)  # -log(1 - 0.36) / 2
    0.22
    """
    columns = [np.asarray(x, float) for _, x in named_columns(codes)]
    moving = np.stack([x for x in columns if np.ptp(x) > 0] or [np.arange(len(columns[0]), dtype=float)])
    eigenvalues = np.linalg.eigvalsh(np.corrcoef(moving).reshape(len(moving), -1))
    if eigenvalues.min() < 1e-12:
        return float("inf")
    return float(max(-0.5 * np.log(eigenvalues).sum(), 0.0))


def active_units(means: Real[ndarray, "n k"], threshold: float = 0.01) -> int:
    """How many latents are used: those whose posterior mean varies from row to row by more than the threshold.

    ``Var_x(E_q(z | x)[z]) > 0.01`` of Burda, Grosse & Salakhutdinov (2016), "Importance weighted autoencoders".
    A latent that fell back to its prior has 0. Known failure: the variance says nothing about what a unit is used for,
    and it depends on the latent's scale.

    >>> active_units(np.stack([np.zeros(10), np.arange(10.0)], 1))
    1
    """
    return int((np.var(np.asarray(means, float), 0) > threshold).sum())


class InfoMEC(NamedTuple):
    """Modularity, explicitness and compactness, and what they come from: information (k, f) over entropies."""

    modularity: float
    explicitness: float
    compactness: float
    information: Float[ndarray, "k f"]
    active: Bool[ndarray, "k"]


def infomec(codes: Real[ndarray, "n k"], factors: Columns, n_bins: int = 10, seed: int = 0) -> InfoMEC:
    """InfoM, InfoE and InfoC: does a code tell of one factor, can a line read it, does a factor sit in one code?

    Information of a continuous code about a factor's class by ten nearest neighbours (Ross, 2014), over the factor's
    entropy; codes whose range is under a twentieth of the widest are left out as dead. With r the shares, the mean over
    codes of max / sum of a row and over factors of a column, rescaled so that an even spread is 0; explicitness is the
    part of a factor's entropy that a logistic regression on all codes explains, on the rows it was fitted to. Hsu et
    al. (2023), "Disentanglement via latent quantization". Factors of more than `n_bins` values become classes of equal
    counts.

    Known failures: an estimate below 0 counts as 0, so that noise, of which few estimates are above 0 by chance, looks
    modular (InfoM 0.7 at 500 rows); as all codes count alike, noise beside a perfect code pulls InfoM down; which codes
    are dead depends on their scale; explicitness is of the rows fitted, so noise scores above 0. Codes and factors for
    which every estimate is 0 are left out, where the definition has 0/0.

    >>> z = np.random.default_rng(0).standard_normal((300, 2))
    >>> said = infomec(z, (z > 0).astype(int))
    >>> said.modularity > 0.8, said.compactness > 0.8, said.explicitness > 0.9
    (True, True, True)
    """
    from .counting import rank_bins
    from .prediction import explained_entropy

    moves, _ = varying(factors)
    labels = rank_bins(factors, n_bins).only(moves)
    z = np.stack([np.asarray(x, float) for _, x in named_columns(codes)], 1)
    r = _neighbours(z, labels, seed)
    active = np.ptp(z, axis=0) > np.ptp(z, axis=0).max() / 20
    used = r[active]
    explicit = [explained_entropy(z, x) for x in labels.labels.T]
    return InfoMEC(_one_sided(used), float(np.mean(explicit)), _one_sided(used.T), r, active)


def _neighbours(z: Float[ndarray, "n k"], factors: Binned, seed: int) -> Float[ndarray, "k f"]:
    from sklearn.feature_selection import mutual_info_classif

    loc, scale = z.mean(0), z.std(0)
    z = (z - loc) / np.where(scale > 0, scale, 1)
    told = [
        mutual_info_classif(z, x, discrete_features=False, n_neighbors=10, random_state=seed) for x in factors.labels.T
    ]
    h = np.array([entropy(np.bincount(x)) for x in factors.labels.T])
    return np.stack(told, 1) / h


def _one_sided(rows: Float[ndarray, "a b"]) -> float:
    """The mean share of the largest of a row, rescaled so that even is 0; rows of zeros are left out."""
    some = rows[rows.sum(1) > 0]
    if not len(some):
        return 0.0
    even = 1 / rows.shape[1]
    return float(((some.max(1) / some.sum(1)).mean() - even) / (1 - even)) if rows.shape[1] > 1 else 1.0


def _shares(codes: Codes, factors: Columns, n_bins: int) -> tuple[ndarray, ndarray, ndarray, int]:
    """Nats of each code about each factor that varies, the entropies of factors and codes, and the number of bins."""
    moves, _ = varying(factors)
    z, f = width_bins(codes, n_bins), factor_bins(factors, n_bins).only(moves)
    counted = tables(z, f)
    return information(counted), entropy(counted[0].sum(-2)), entropy(counted[:, 0].sum(-1)), n_bins
