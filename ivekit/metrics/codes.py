"""How well codes tell of known factors: readout by a linear map, and disentanglement."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Real, Shaped
from numpy import ndarray
from scipy.stats import chi2
from sklearn.linear_model import RidgeCV

from .errors import r2

# rows that users may get wrong are "_" in a shape: they are checked in words
Factors = Shaped[ndarray, "_ f"] | pd.DataFrame
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
    codes: Mapping[str, Real[ndarray, "_ _"]], factors: pd.DataFrame, train: Rows, test: Rows
) -> pd.DataFrame:
    """How much each block of latents tells of each factor: the leak matrix, blocks x factors, of held-out R2.

    codes : {block: (n, k)}, "shared" and the views' names. factors : one column a factor, one row a row of the codes.
    train, test : the rows that the readouts are fitted and scored on, as masks or row numbers.

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
        guess = _ridge(z[train], values[train], z[test])
        leak[block] = [r2(values[test, k], guess[:, k], values[train, k].mean()) for k in range(values.shape[1])]
    return pd.DataFrame.from_dict(leak, orient="index", columns=factors.columns)


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


def relation(
    codes: Real[ndarray, "n k"], factors: Factors, n_bins: int = 20, alpha: float = 0.01
) -> Float[ndarray, "k f"]:
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
    z, f = [column for _, column in _columns(codes, "codes")], [column for _, column in _columns(factors, "factors")]
    if len(z[0]) != len(f[0]):
        raise ValueError(f"{len(z[0])} rows of codes for {len(f[0])} rows of factors: they must be as many")
    n_bins = max(2, min(n_bins, int(np.sqrt(len(z[0])))))
    binned = [[_rank_bins(x, n_bins) for x in columns] for columns in (z, f)]
    level = alpha / (len(z) * len(f))
    return np.array([[_related(_table(a, b), level) for b in binned[1]] for a in binned[0]])


def scores(codes: Real[ndarray, "n k"], factors: Factors, n_bins: int = 20, alpha: float = 0.01) -> dict[str, Any]:
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
    constant = {name: bool((x == x[0]).all()) for name, x in _columns(factors, "factors")}
    if all(constant.values()):
        raise ValueError(f"every factor is constant ({', '.join(map(str, constant))}): there is nothing to tell")
    r = relation(codes, factors, n_bins, alpha)[:, ~np.array(list(constant.values()))]
    active = r[r.max(1) > 0]
    told = active[:, active.sum(0) > 0]
    return {
        "coverage": float(r.max(0).mean()),
        "mig": float(_gap(r).mean()),
        "modularity": float(np.average(_purity(active), weights=active.sum(1))) if len(active) else 0.0,
        "compactness": float(_purity(told.T).mean()) if len(active) else 0.0,
        "active": len(active),
        "skipped": [name for name, skip in constant.items() if skip],
    }


def _purity(rows: Float[ndarray, "a b"]) -> Float[ndarray, "a"]:
    """1 where a row has all its weight in one column, 0 where it is spread evenly; of a single column, 1."""
    even = 1 / rows.shape[1]
    return (rows.max(1) / rows.sum(1) - even) / (1 - even) if rows.shape[1] > 1 else np.ones(len(rows))


def _gap(r: Float[ndarray, "k f"]) -> Float[ndarray, "f"]:
    """How far each column's largest value is ahead of its second (of a single one: of 0)."""
    largest = np.sort(r, 0)[::-1]
    return largest[0] - (largest[1] if len(r) > 1 else 0)


def _related(table: Int[ndarray, "a b"], level: float) -> float:
    n, df = table.sum(), (table.shape[0] - 1) * (table.shape[1] - 1)
    if df == 0:
        return 0.0
    expected = table.sum(1, keepdims=True) * table.sum(0) / n
    if (np.square(table - expected) / expected).sum() <= _critical(level, df):
        return 0.0
    bias = df / (2 * n)
    most = _entropy(table.sum(0)) - bias
    return float(np.clip((_information(table) - bias) / most, 0, 1)) if most > 0 else 0.0


@lru_cache(maxsize=1024)
def _critical(level: float, df: int) -> float:
    return float(chi2.isf(level, df))


# disentanglement: as published -------------------------------------------------------------------------------


def mig(codes: Real[ndarray, "n k"], factors: Factors, n_bins: int = 20) -> float:
    """The mutual information gap as published: how far a factor's best code is ahead of its second, over its entropy.

    Codes (and factors of more values than that) are cut into `n_bins` bins of equal width; plug-in information, without
    a correction for its bias; constant factors are left out. Chen et al. (2018), "Isolating sources of disentanglement
    in VAEs", with the estimator of Locatello et al. (2019).

    Known failures: stretching a code changes it, since bins have equal width (one far outlier empties them), and a
    factor that is held twice scores 0 however cleanly it is held.

    >>> z = np.random.default_rng(0).uniform(size=(2000, 2))
    >>> 0.85 < mig(z, np.floor(4 * z)) < 1
    True
    """
    z = [_width_bins(x, n_bins) for _, x in _columns(codes, "codes")]
    f = [_width_bins(x, n_bins) if len(np.unique(x)) > n_bins else _values(x) for _, x in _columns(factors, "factors")]
    f = [(labels, count) for labels, count in f if count > 1]
    if not f:
        raise ValueError("every factor is constant: there is nothing to tell")
    tables = [[_table(a, b) for b in f] for a in z]
    return float(_gap(np.array([[_information(t) / _entropy(t.sum(0)) for t in row] for row in tables])).mean())


def active_units(means: Real[ndarray, "n k"], threshold: float = 0.01) -> int:
    """How many latents are used: those whose posterior mean varies from row to row by more than the threshold.

    ``Var_x(E_q(z | x)[z]) > 0.01`` of Burda, Grosse & Salakhutdinov (2016), "Importance weighted autoencoders".
    A latent that fell back to its prior has 0. Known failure: the variance says nothing about what a unit is used for.

    >>> active_units(np.stack([np.zeros(10), np.arange(10.0)], 1))
    1
    """
    return int((np.var(np.asarray(means, float), 0) > threshold).sum())


# counting ----------------------------------------------------------------------------------------------------


def _columns(x: Factors, what: str) -> list[tuple[Any, ndarray]]:
    """Names and values of columns; an error names one that holds NaN."""
    frame: Any = x if isinstance(x, pd.DataFrame) else pd.DataFrame(np.asarray(x))
    if not len(frame) or not len(frame.columns):
        raise ValueError(f"{what} must have rows and columns, got {frame.shape}")
    if bad := [str(name) for name in frame if frame[name].isna().to_numpy().any()]:
        raise ValueError(f"{what} hold NaN in column {', '.join(bad)}: leave those rows out")
    return [(name, frame[name].to_numpy()) for name in frame]


def _values(x: Shaped[ndarray, "n"]) -> tuple[Int[ndarray, "n"], int]:
    values, labels = np.unique(x, return_inverse=True)
    return labels, len(values)


def _rank_bins(x: Shaped[ndarray, "n"], n_bins: int) -> tuple[Int[ndarray, "n"], int]:
    """Bins of equal counts and how many there are; equal values share a bin, that of their middle rank."""
    values, labels, counts = np.unique(x, return_inverse=True, return_counts=True)
    if len(values) <= n_bins:
        return labels, len(values)
    twice_rank = 2 * np.cumsum(counts) - counts  # in whole numbers: no monotone map can move a value across an edge
    bins = twice_rank * n_bins // (2 * len(x))  # ascending; ties may leave one empty
    numbers = np.cumsum(np.diff(bins, prepend=bins[0]) > 0)
    return numbers[labels], int(numbers[-1]) + 1


def _width_bins(x: Real[ndarray, "n"], n_bins: int) -> tuple[Int[ndarray, "n"], int]:
    return _values(np.digitize(x, np.histogram(x, n_bins)[1][1:-1]))


def _table(x: tuple[ndarray, int], y: tuple[ndarray, int]) -> Int[ndarray, "a b"]:
    """How many rows have each pair of labels."""
    return np.bincount(x[0] * y[1] + y[0], minlength=x[1] * y[1]).reshape(x[1], y[1])


def _entropy(counts: Int[ndarray, "a"]) -> float:
    """In nats, of the plug-in probabilities."""
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum())


def _information(table: Int[ndarray, "a b"]) -> float:
    """Mutual information in nats, of the plug-in probabilities."""
    return _entropy(table.sum(1)) + _entropy(table.sum(0)) - _entropy(table.ravel())
