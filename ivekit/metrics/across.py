"""Codes against factors, or other models' codes, up to what a model cannot know: order, sign, rotation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Real
from numpy import ndarray
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata

from .codes import Rows, _ridge
from .counting import Columns, check_rows, named_columns, varying

Codes = Real[ndarray, "n k"]
Align = Callable[[ndarray, ndarray], ndarray]  # codes (n, k), factors (n, f), standardised -> weights (k, j)


# mean correlation --------------------------------------------------------------------------------------------


class MCC(NamedTuple):
    """The mean |correlation|; that of each factor; and which code it was given (-1: there were too few)."""

    value: float
    each: Float[ndarray, "f"]
    given: Int[ndarray, "f"]


def mcc(codes: Codes, factors: Columns, train: Rows, test: Rows, align: Align | None = None) -> MCC:
    """The mean correlation coefficient: how well single codes follow single factors, at the best matching.

    Each factor is given a code of its own, together those with the largest |correlation| on the `train` rows (Hungarian
    matching); what is reported is the mean |correlation| of these pairs on the `test` rows. A factor for which no code
    is left has 0, one that is constant is left out (NaN). Khemakhem et al. (2020), "Variational autoencoders and
    nonlinear ICA".

    align : what may be done to the codes before, learnt from train rows: nothing by default, `rotation` or `linear`.
        The prior N(0, I) looks the same from every side, so a model trained with it may find the right space and
        stand turned in it: then the score is low before the rotation and high after.

    Known failures: correlation sees lines only; the value of noise is not 0 but about 1 / sqrt(n).

    >>> rng = np.random.default_rng(0)
    >>> f, half = rng.standard_normal((400, 2)), np.arange(400) < 200
    >>> turned = f @ np.array([[1, -1], [1, 1]]) / np.sqrt(2)
    >>> round(mcc(turned, f, half, ~half).value, 1), round(mcc(turned, f, half, ~half, rotation).value, 2)
    (0.7, 1.0)
    """
    check_rows(codes, factors)
    moves, _ = varying(factors)
    z, f = _standard(_numbers(codes, "codes"), train), _standard(_numbers(factors, "factors")[:, moves], train)
    z = z if align is None else z @ align(z[train], f[train])
    which, column = linear_sum_assignment(-_correlations(z[train], f[train]))
    fresh = _correlations(z[test], f[test])[which, column]
    each, given, places = np.where(moves, 0, np.nan), np.full(len(moves), -1), np.flatnonzero(moves)[column]
    each[places], given[places] = fresh, which
    return MCC(float(np.nanmean(each)), each, given)


def rotation(codes: Float[ndarray, "n k"], factors: Float[ndarray, "n f"]) -> Float[ndarray, "k f"]:
    """The rotation (reflections too) that brings codes closest to factors: U V' of the singular vectors of Z' F.

    Orthogonal Procrustes (Schoenemann, 1966); with more codes than factors, the best orthonormal directions.

    >>> z = np.random.default_rng(0).standard_normal((50, 2))
    >>> np.allclose(rotation(z, -z[:, ::-1]), [[0, -1], [-1, 0]])
    True
    """
    u, _, v = np.linalg.svd(codes.T @ factors, full_matrices=False)
    return u @ v


def linear(codes: Float[ndarray, "n k"], factors: Float[ndarray, "n f"]) -> Float[ndarray, "k f"]:
    """Any weighted sums: the readouts of the factors from all codes, which may stretch and shear besides turning.

    >>> z = np.random.default_rng(0).standard_normal((50, 2))
    >>> np.allclose(linear(z, z @ np.array([[1, 2], [5, 1]])), [[1, 2], [5, 1]], atol=0.01)
    True
    """
    return _ridge(codes, factors, np.eye(codes.shape[1])) - _ridge(codes, factors, np.zeros((1, codes.shape[1])))


def _standard(x: Float[ndarray, "n k"], train: Rows) -> Float[ndarray, "n k"]:
    scale = x[train].std(0)
    return (x - x[train].mean(0)) / np.where(scale > 0, scale, 1)


def _numbers(x: Columns, what: str) -> Float[ndarray, "n k"]:
    return np.stack([np.asarray(column, float) for _, column in named_columns(x, what)], 1)


def _correlations(z: Float[ndarray, "n k"], f: Float[ndarray, "n f"]) -> Float[ndarray, "k f"]:
    """Absolute ones; 0 of a column that does not vary."""
    z, f = z - z.mean(0), f - f.mean(0)
    size = np.sqrt(np.square(z).sum(0)[:, None] * np.square(f).sum(0))
    return np.abs(z.T @ f) / np.where(size > 0, size, 1)


# other models' codes -----------------------------------------------------------------------------------------


def udr(
    codes: Sequence[Real[ndarray, "_ _"]], informative: Sequence[Bool[ndarray, "_"]] | None = None
) -> Float[ndarray, "models"]:
    """Unsupervised disentanglement ranking: does a model's code look like those of its twins, latent by latent?

    codes : of the same rows, of models that differ in their seed. informative : which latents of each are in use; those
        whose means vary by more than 0.01 by default (the paper asks for a KL above 0.01).

    With R the |rank correlations| of two models' latents, ``(sum_b r_b^2 / R_b + sum_a r_a^2 / R_a) / (d_a + d_b)``,
    where r is the largest of a column or row and R its sum, over the latents in use; the median over the other models.
    Duan et al. (2020), "Unsupervised model selection for variational disentangled representation learning".

    Known failures: it rewards whatever is reproduced, right or wrong (twins with one bias agree); latents that are
    independent in the data but not factors count; what is not in use in either model is forgiven.

    >>> z = np.random.default_rng(0).standard_normal((500, 3))
    >>> udr([z, -z[:, [2, 0, 1]]]).round(1)
    array([1., 1.])
    """
    if len(codes) < 2:
        raise ValueError(f"{len(codes)} model has no twin: at least 2 are compared")
    used = [np.var(z, axis=0) > 0.01 for z in codes] if informative is None else list(informative)
    ranks = [rankdata(z[:, mask], axis=0) for z, mask in zip(codes, used)]
    alike = [[_alike(a, b) for b in ranks] for a in ranks]
    return np.array([np.median([x for j, x in enumerate(row) if j != i]) for i, row in enumerate(alike)])


def _alike(a: Float[ndarray, "n k"], b: Float[ndarray, "n l"]) -> float:
    if not a.shape[1] or not b.shape[1]:
        return 0.0
    r = _correlations(a, b)
    sides = [np.square(x.max(0)) / np.where(x.sum(0) > 0, x.sum(0), 1) for x in (r, r.T)]
    return float(sum(side.sum() for side in sides) / (a.shape[1] + b.shape[1]))


# what a leak matrix is by chance -----------------------------------------------------------------------------


def shuffled_readout(
    codes: Mapping[str, Real[ndarray, "_ _"]],
    factors: pd.DataFrame,
    train: Rows,
    test: Rows,
    n_draws: int = 100,
    seed: int = 0,
) -> Float[ndarray, "draws blocks factors"]:
    """The leak matrix of codes and factors that belong to different rows: what `block_readout` gives for nothing.

    Training rows are shuffled among themselves and test rows among themselves, the factors of a row staying together;
    readouts are fitted and scored anew in each draw, all draws of a block by one decomposition. Quantiles over draws
    are the floor of each cell; a whole leak matrix's is that of the largest cell, ``draws.max((1, 2))``.

    >>> z = np.random.default_rng(0).standard_normal((200, 3))
    >>> half, f = np.arange(200) < 100, pd.DataFrame({"motion": z[:, 0], "size": z[:, 1]})
    >>> draws = shuffled_readout({"shared": z}, f, half, ~half, n_draws=20)
    >>> draws.shape, bool(np.quantile(draws, 0.95) < 0.1)
    ((20, 1, 2), True)
    """
    values, rng = factors.to_numpy(float), np.random.default_rng(seed)
    known, fresh = values[train], values[test]
    learnt = np.stack([rng.permutation(known) for _ in range(n_draws)], 1)  # (n, draws, f)
    truth = np.stack([rng.permutation(fresh) for _ in range(n_draws)], 1)
    total = np.square(truth - known.mean(0)).sum(0)
    found = []
    for z in codes.values():
        told = _ridge(z[train], learnt.reshape(len(known), -1), z[test]).reshape(truth.shape)
        found.append(1 - np.square(truth - told).sum(0) / total)
    return np.stack(found, 1)
