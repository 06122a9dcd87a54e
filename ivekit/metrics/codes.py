"""How well codes tell of known factors: readout by a linear map, and disentanglement."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Real
from numpy import ndarray
from scipy.stats import chi2
from sklearn.linear_model import RidgeCV

from .counting import Binned, Columns, check_rows, entropy, information, lead, rank_bins, tables, varying
from .errors import r2

# rows that users may get wrong are "_" in a shape: they are checked in words
Codes = Real[ndarray, "n k"] | Binned
Rows = Bool[ndarray, "_"] | Int[ndarray, "_"]
ALPHAS = np.logspace(-4, 4, 17)  # ridge penalties on standardised codes: from nothing to more than any readout needs


# linear readout ----------------------------------------------------------------------------------------------


def readout(
    codes_train: Real[ndarray, "n k"],
    factor_train: Real[ndarray, "n"],
    codes_test: Real[ndarray, "m k"],
    factor_test: Real[ndarray, "m"],
) -> float:
    """How much of a factor a weighted sum of the codes tells on new rows (R2; 0 is the training mean).

    Ridge regression on codes standardised by the training rows, its penalty chosen there by leave-one-out error
    (Golub, Heath & Wahba, 1979). A binary factor is read as a number too.

    >>> z = np.random.default_rng(0).standard_normal((200, 3))
    >>> round(readout(z[:100], z[:100, 0] - z[:100, 2], z[100:], z[100:, 0] - z[100:, 2]), 3)
    1.0
    """
    guess = _ridge(codes_train, np.asarray(factor_train, float)[:, None], codes_test)[:, 0]
    return r2(factor_test, guess, float(np.mean(factor_train)))


def _ridge(codes: ndarray, factors: ndarray, codes_new: ndarray) -> Float[ndarray, "m f"]:
    codes, codes_new = np.asarray(codes, float), np.asarray(codes_new, float)
    loc, scale = codes.mean(0), codes.std(0)
    scale = np.where(scale > 0, scale, 1)
    ridge = RidgeCV(ALPHAS, alpha_per_target=True).fit((codes - loc) / scale, factors)
    return ridge.predict((codes_new - loc) / scale).reshape(len(codes_new), -1)  # of one factor it gives no column


def block_readout(
    codes: Mapping[str, Real[ndarray, "_ _"]], factors: pd.DataFrame, train: Rows, test: Rows, regressor: Any = None
) -> pd.DataFrame:
    """How much each block of latents tells of each factor: the leak matrix, blocks x factors, of held-out R2.

    codes : {block: (n, k)}, "shared" and the views' names. factors : one column a factor, one row a row of the codes.
    train, test : the rows that the readouts are fitted and scored on, as masks or row numbers.
    regressor : who reads, of scikit-learn's kind, a fresh copy for each block and factor; a line (ridge) by default. A
        line sees no leak that is bent: `random_forest()` does.

    Raises
    ------
    ValueError : when a factor is constant in either part, or rows do not fit.

    >>> z = np.random.default_rng(0).standard_normal((200, 2))
    >>> half = np.arange(200) < 100
    >>> leak = block_readout({"shared": z[:, :1], "meg": z[:, 1:]}, pd.DataFrame({"motion": z[:, 0]}), half, ~half)
    >>> leak.round(1).abs()
            motion
    shared     1.0
    meg        0.0
    """
    values = factors.to_numpy(float)
    for rows, part in ((train, "training"), (test, "test")):
        if constant := [str(c) for c, x in zip(factors, values[rows].T) if np.ptp(x) == 0]:
            raise ValueError(f"constant in the {part} rows, so there is nothing to read out: {', '.join(constant)}")
    leak = {}
    for block, z in codes.items():
        if len(z) != len(values):
            raise ValueError(f"block {block!r} has {len(z)} rows of codes for {len(values)} rows of factors")
        guess = (
            _ridge(z[train], values[train], z[test]) if regressor is None else _read(regressor, z, values, train, test)
        )
        leak[block] = [r2(values[test, k], guess[:, k], values[train, k].mean()) for k in range(values.shape[1])]
    return pd.DataFrame.from_dict(leak, orient="index", columns=factors.columns)


def _read(regressor: Any, z: ndarray, factors: ndarray, train: Rows, test: Rows) -> Float[ndarray, "m f"]:
    from sklearn.base import clone

    return np.stack([clone(regressor).fit(z[train], x[train]).predict(z[test]) for x in factors.T], 1)


def block_score(leak: pd.DataFrame, owners: Mapping[str, Collection[str]]) -> float:
    """Whether each factor is where it belongs, and only there: 1 is perfect, 0 is no better than anywhere.

    leak : the R2 of each factor (columns) from each block (rows), of `block_readout`.
    owners : for each factor, the views that it drives. One that drives several belongs in the block "shared", one that
        drives a single view in that view's own block.

    The mean R2 over the right pairs of block and factor, minus the mean R2 over all the wrong pairs, each clipped at 0.

    >>> leak = pd.DataFrame({"motion": [0.9, 0.1], "vigilance": [-0.2, 0.7]}, index=["shared", "meg"])
    >>> round(block_score(leak, {"motion": {"meg", "video"}, "vigilance": {"meg"}}), 2)
    0.75
    """
    homes = {factor: "shared" if len(views) > 1 else next(iter(views)) for factor, views in owners.items()}
    if set(homes) != set(leak.columns):
        raise ValueError(f"owners name {sorted(homes)}, the columns are {sorted(map(str, leak.columns))}")
    if homeless := {f: b for f, b in homes.items() if b not in leak.index}:
        raise ValueError(f"no block for {homeless} (factor: block); the blocks are {list(leak.index)}")
    scores = np.maximum(leak.to_numpy(float), 0)
    right = np.array([[homes[factor] == block for factor in leak.columns] for block in leak.index])
    return float(scores[right].mean() - (scores[~right].mean() if (~right).any() else 0.0))


# disentanglement: our default --------------------------------------------------------------------------------


def relation(codes: Codes, factors: Columns, n_bins: int = 20, alpha: float = 0.01) -> Float[ndarray, "k f"]:
    """What each single code tells of each factor, latents x factors: 1 is everything, 0 nothing that is not chance.

    Any kind of dependence counts, not only a linear one. Codes and factors are cut into bins of equal counts by rank
    (the values themselves if there are no more of them than bins), so stretching or flipping a column changes nothing.
    Then, for code j and factor k with I their mutual information, H the factor's entropy and b the bias of I,

        R[j, k] = (I - b) / (H - b),   b = (bins_j - 1) (bins_k - 1) / 2n,

    or 0 where Pearson's chi-square of the table is not significant at `alpha`, corrected for the number of pairs.
    A constant code or factor has 0. Never NaN.

    n_bins : at most; never more than the root of n, so that a cell of the table expects at least one row. The gate is
        Pearson's and not the likelihood ratio 2nI, which in tables as sparse as that is 10 to 20 % above its chi-square
        distribution: at 500 rows it let one in twelve pairs of pure noise pass at a level of 0.0002.
    alpha : the chance that any pair of the whole matrix passes when codes are noise (Bonferroni).

    Sources: Miller (1955), "Note on the bias of information estimates"; Chen et al. (2018) for the entropy below.

    >>> z = np.random.default_rng(0).standard_normal((2000, 2))
    >>> relation(z, np.exp(z[:, :1]))
    array([[1.],
           [0.]])
    """
    check_rows(codes, factors)
    n_bins = max(2, min(n_bins, int(np.sqrt(len(codes)))))
    counted = tables(rank_bins(codes, n_bins), rank_bins(factors, n_bins))
    rows, columns, n = counted.sum(3), counted.sum(2), len(codes)
    df = ((rows > 0).sum(-1) - 1) * ((columns > 0).sum(-1) - 1)
    bias = df / (2 * n)
    most = entropy(columns) - bias
    passed = (df > 0) & (_chi2(counted, rows, columns) > _critical(alpha / df.size, df)) & (most > 0)
    return np.where(passed, np.clip((information(counted) - bias) / np.where(most > 0, most, 1), 0, 1), 0.0)


def _chi2(counted: Int[ndarray, "k f a b"], rows: Int[ndarray, "k f a"], columns: Int[ndarray, "k f b"]) -> ndarray:
    expected = rows[..., None] * columns[..., None, :] / rows[:1, :1].sum()
    return (np.square(counted - expected) / np.where(expected > 0, expected, 1)).sum((-2, -1))


def _critical(level: float, df: Int[ndarray, "k f"]) -> Float[ndarray, "k f"]:
    return np.reshape([_tail(level, max(int(d), 1)) for d in df.ravel()], df.shape)


@lru_cache(maxsize=1024)
def _tail(level: float, df: int) -> float:
    return float(chi2.isf(level, df))


def scores(codes: Codes, factors: Columns, n_bins: int = 20, alpha: float = 0.01) -> dict[str, Any]:
    """How cleanly single codes stand for single factors, by the matrix `relation`: 1 when perfect, 0 for noise.

    - coverage: how much the best code tells of a factor, mean over factors.
    - mig: how far the best code is ahead of the second, mean over factors (the gap of Chen et al., 2018).
    - modularity: does a code speak of one factor only? (max / sum - 1/f) / (1 - 1/f) of a code's row, mean over codes
      weighted by what they tell, so that dead codes and codes of noise do not count.
    - compactness: does a factor sit in one code only? (max / sum - 1/a) / (1 - 1/a) of a factor's column, over the a
      active codes, mean over the factors that any code tells of.
    - active: how many codes tell of any factor.
    - skipped: the names of the constant factors (of an array's, the column numbers), which nothing can tell of.

    Nothing changes when columns are put in another order, stretched by a monotone map or flipped, or when dead codes or
    codes of noise are added; a copy of a code changes mig and compactness only.

    >>> z = np.random.default_rng(0).standard_normal((2000, 3))
    >>> scores(z, pd.DataFrame({"motion": z[:, 0], "size": -z[:, 1], "nothing": 1.0}))
    {'coverage': 1.0, 'mig': 1.0, 'modularity': 1.0, 'compactness': 1.0, 'active': 2, 'skipped': ['nothing']}
    """
    moves, constant = varying(factors)
    r = relation(codes, factors, n_bins, alpha)[:, moves]
    active = r[r.max(1) > 0]
    told = active[:, active.sum(0) > 0]
    return {
        "coverage": float(r.max(0).mean()),
        "mig": float(lead(r).mean()),
        "modularity": float(np.average(_purity(active), weights=active.sum(1))) if len(active) else 0.0,
        "compactness": float(_purity(told.T).mean()) if len(active) else 0.0,
        "active": len(active),
        "skipped": constant,
    }


def _purity(rows: Float[ndarray, "a b"]) -> Float[ndarray, "a"]:
    """1 where a row has all its weight in one column, 0 where it is spread evenly; of a single column, 1."""
    even = 1 / rows.shape[1]
    return (rows.max(1) / rows.sum(1) - even) / (1 - even) if rows.shape[1] > 1 else np.ones(len(rows))
