"""Linear models as autoencoders, translators and classifiers: arrays in, predictions of new rows out.

What is chosen (components, penalties) is chosen on the training rows alone. All of them stay cheap with many more
columns than rows, as films and MEG have.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.utils.extmath import randomized_svd

MOST_ROWS = 2048  # a regression on more numbers than rows solves a system of rows x rows, which takes 1 s at this size
PENALTIES = np.logspace(-4, 6, 41)  # of ridge regression, in mean eigenvalues: from none to saying the mean alone


def principal_components(
    x: Float[ndarray, "n d"], x_new: Float[ndarray, "m d"], n_components: int, seed: int = 0
) -> Float[ndarray, "m d"]:
    """New rows as told by the first principal components of the training rows: the best linear autoencoder there is.

    x : training rows. n_components : at most as many as rows or columns are used.

    Source: Pearson (1901); many columns by a randomised decomposition (Halko, Martinsson & Tropp, 2011).

    >>> x = np.outer(np.arange(5.0), [1.0, 2.0, 3.0])
    >>> bool(np.allclose(principal_components(x, x[:2], 1), x[:2]))
    True
    """
    pca = PCA(min(n_components, *x.shape), random_state=seed).fit(x)
    return pca.inverse_transform(pca.transform(x_new))


def reduced_rank(
    x: Float[ndarray, "n d"], y: Float[ndarray, "n e"], x_new: Float[ndarray, "m d"], rank: int, seed: int = 0
) -> Float[ndarray, "m e"]:
    """What a linear map of a given rank tells of y from x: the linear model with as narrow a waist as a latent code.

    x, y : training rows. rank : numbers that pass from one side to the other.

    Ridge regression, ``B = (X'X + lambda)^-1 X'Y``, its penalty chosen by generalised cross-validation on the training
    rows (Golub, Heath & Wahba, 1979), then cut to the directions of y that it predicts best: ``B V V'``, V the first
    eigenvectors of ``Y'X B`` (Izenman, 1975; with a penalty, Mukherjee & Zhu, 2011). It is computed in the space of the
    rows, ``X X' = U S U'``, so that 20,000 columns cost little. Where rows and columns are both more than `MOST_ROWS`,
    as many rows are used, drawn at random.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((100, 8))
    >>> y = x[:, :1] * np.ones((1, 4))
    >>> bool(np.allclose(reduced_rank(x, y, x[:3], 1), y[:3], atol=0.01))
    True
    """
    if min(x.shape) > MOST_ROWS:
        rows = np.sort(np.random.default_rng(seed).choice(len(x), MOST_ROWS, replace=False))
        x, y = x[rows], y[rows]
    mean_x, mean_y = x.mean(0), y.mean(0)
    x, y = x - mean_x, y - mean_y
    u, s = _spectrum(x)
    told = u.T @ y  # y in the eigenvectors' coordinates, (r, e)
    penalty = _penalty(s, np.square(told, dtype=float).sum(1), float(np.square(y, dtype=float).sum()), len(x))
    codes = (x_new - mean_x) @ x.T @ u / (s + penalty).astype(x.dtype)
    if rank >= min(told.shape):
        return codes @ told + mean_y
    v = _leading(np.sqrt(s / (s + penalty)).astype(x.dtype)[:, None] * told, rank, seed)
    return codes @ (told @ v.T) @ v + mean_y


def _leading(y: Float[ndarray, "r e"], rank: int, seed: int) -> Float[ndarray, "rank e"]:
    """The directions in which y is largest; by a randomised decomposition where an exact one would take seconds."""
    if min(y.shape) <= 500:
        return np.linalg.svd(y, full_matrices=False)[2][:rank]
    return randomized_svd(y, rank, n_iter=7, random_state=seed)[2]  # type: ignore[arg-type]


def _spectrum(x: Float[ndarray, "n d"]) -> tuple[Float[ndarray, "n r"], Float[ndarray, "r"]]:
    """Eigenvectors and eigenvalues of ``x x'`` that are not nothing, by the shorter side of x."""
    if x.shape[1] < len(x):
        u, singular, _ = np.linalg.svd(x, full_matrices=False)
        s = np.square(singular, dtype=float)
    else:
        s, u = np.linalg.eigh((x @ x.T).astype(float))
    kept = s > 10 * np.finfo(x.dtype).eps * max(s.max(), np.finfo(float).tiny)
    return u[:, kept].astype(x.dtype), s[kept]


def _penalty(s: Float[ndarray, "r"], told: Float[ndarray, "r"], total: float, n: int) -> float:
    """The ridge penalty of least generalised cross-validation error: ``|Y - HY|^2 / (1 - tr H / n)^2``.

    told : the sum of squares of Y along each eigenvector. The mean costs one degree of freedom.
    """
    if not len(s):
        return 1.0
    grid = PENALTIES[:, None] * s.mean()
    left = np.square(grid / (s + grid)) @ told + max(total - told.sum(), 0)
    freedom = 1 - ((s / (s + grid)).sum(1) + 1) / n
    return float(grid[np.argmin(left / np.square(np.maximum(freedom, 1e-6))), 0])


def logistic(
    x: Float[ndarray, "n d"], labels: Int[ndarray, "n"], x_new: Float[ndarray, "m d"], seed: int = 0
) -> Int[ndarray, "m"]:
    """The classes that a logistic regression tells of new rows.

    On the first 64 principal components of x, together scaled to the first one's variance; the penalty is the best of
    seven by cross-validation on the training rows (5 folds, or as many as the rarest class has rows).

    >>> x = np.random.default_rng(0).standard_normal((100, 3))
    >>> labels = (x[:, 1] > 0).astype(int)
    >>> float((logistic(x[:50], labels[:50], x[50:]) == labels[50:]).mean()) > 0.9
    True
    """
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) == 1:
        return np.full(len(x_new), classes[0])
    pca = PCA(min(64, *x.shape), random_state=seed).fit(x)
    scale = max(float(np.sqrt(pca.explained_variance_[0])), np.finfo(float).tiny)
    codes, codes_new = (pca.transform(rows).astype(float) / scale for rows in (x, x_new))
    regression = LogisticRegression(max_iter=2000)
    if counts.min() > 1:
        folds = min(5, int(counts.min()))
        regression = GridSearchCV(regression, {"C": np.logspace(-3, 3, 7)}, cv=folds)
    return regression.fit(codes, labels).predict(codes_new)
