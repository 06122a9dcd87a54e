"""Columns cut into bins, and the information that one column of labels holds of another, by counting."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Real, Shaped
from numpy import ndarray
from scipy.special import xlogy


@dataclass(frozen=True, eq=False)
class Binned:
    """Codes or factors that were cut into bins once, to be counted many times: rows of it are taken like an array's.

    labels : (n, k), from 0. sizes : (k,), how many bins each column had. names : of the columns.

    Whatever counts takes it in place of an array, so that a null of a thousand shuffles sorts nothing anew.

    >>> z = rank_bins(np.random.default_rng(0).standard_normal((100, 2)), 5)
    >>> len(z[:40]), z[:40].sizes
    (40, array([5, 5]))
    """

    labels: Int[ndarray, "n k"]
    sizes: Int[ndarray, "k"]
    names: tuple[Hashable, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Any) -> Binned:
        return Binned(self.labels[rows], self.sizes, self.names)

    def only(self, keep: Bool[ndarray, "k"]) -> Binned:
        """Some of the columns."""
        names = tuple(name for name, kept in zip(self.names, keep) if kept)
        return Binned(self.labels[:, keep], self.sizes[keep], names)


Columns = Shaped[ndarray, "_ f"] | pd.DataFrame | Binned


# into bins ---------------------------------------------------------------------------------------------------


def rank_bins(x: Columns, n_bins: int = 20) -> Binned:
    """Bins of equal counts, by rank: no map that rises or falls everywhere can change what they tell.

    A column of no more than `n_bins` values keeps them. Equal values share a bin, that of their middle rank.

    >>> rank_bins(np.array([[0.0], [10.0], [11.0], [12.0]]), 2).labels[:, 0]
    array([0, 0, 1, 1])
    """
    return x if isinstance(x, Binned) else _binned(x, lambda column: _by_rank(column, n_bins))


def width_bins(x: Columns, n_bins: int = 20) -> Binned:
    """Bins of equal width, as published scores cut their codes (Locatello et al., 2019).

    >>> width_bins(np.array([[0.0], [10.0], [11.0], [12.0]]), 2).labels[:, 0]
    array([0, 1, 1, 1])
    """
    return x if isinstance(x, Binned) else _binned(x, lambda column: _by_width(column, n_bins))


def factor_bins(x: Columns, n_bins: int = 20) -> Binned:
    """Factors as published scores take them: their values if there are no more than bins, else bins of equal width.

    >>> factor_bins(np.array([["left"], ["right"], ["left"]])).labels[:, 0]
    array([0, 1, 0])
    """
    few = lambda column: _by_value(column) if len(np.unique(column)) <= n_bins else _by_width(column, n_bins)  # noqa: E731
    return x if isinstance(x, Binned) else _binned(x, few)


def named_columns(x: Columns, what: str = "codes") -> list[tuple[Any, ndarray]]:
    """Names and values of columns; an error names one that holds NaN.

    >>> named_columns(pd.DataFrame({"motion": [1, 2]}), "factors")
    [('motion', array([1, 2]))]
    """
    frame: Any = x if isinstance(x, pd.DataFrame) else pd.DataFrame(x.labels if isinstance(x, Binned) else x)
    if not len(frame) or not len(frame.columns):
        raise ValueError(f"{what} must have rows and columns, got {frame.shape}")
    if bad := [str(name) for name, gap in zip(frame, frame.isna().to_numpy().any(0)) if gap]:
        raise ValueError(f"{what} hold NaN in column {', '.join(bad)}: leave those rows out")
    return [(name, frame[name].to_numpy()) for name in frame]


def check_rows(codes: Any, factors: Any) -> None:
    """An error where codes and factors have not as many rows.

    >>> check_rows(np.zeros((3, 1)), np.zeros((3, 2)))
    """
    if len(codes) != len(factors):
        raise ValueError(f"{len(codes)} rows of codes for {len(factors)} rows of factors: they must be as many")


def varying(factors: Columns) -> tuple[Bool[ndarray, "f"], list[Any]]:
    """Which factors vary at all, and the names of those that do not (numbers, of an array's columns).

    >>> varying(pd.DataFrame({"a": [1, 2], "b": [3, 3]}))
    (array([ True, False]), ['b'])
    """
    if isinstance(factors, Binned):
        moves = (factors.labels != factors.labels[0]).any(0)
        names = list(factors.names)
    else:
        columns = named_columns(factors, "factors")
        moves = np.array([bool((x != x[0]).any()) for _, x in columns])
        names = [name for name, _ in columns]
    if not moves.any():
        raise ValueError(f"every factor is constant ({', '.join(map(str, names))}): there is nothing to tell")
    return moves, [name for name, moving in zip(names, moves) if not moving]


def _binned(x: Columns, cut: Any) -> Binned:
    columns = named_columns(x)
    labels, sizes = zip(*(cut(column) for _, column in columns))
    return Binned(np.stack(labels, 1), np.array(sizes), tuple(name for name, _ in columns))


def _by_rank(x: Shaped[ndarray, "n"], n_bins: int) -> tuple[Int[ndarray, "n"], int]:
    order, n = np.argsort(x), len(x)
    ascending = x[order]
    starts = np.flatnonzero(np.concatenate([[True], ascending[1:] != ascending[:-1]]))  # of the runs of equal values
    ends = np.append(starts[1:], n)
    if len(starts) > n_bins:
        # twice the middle rank, in whole numbers: no monotone map can move a value across an edge
        bins = (starts + ends) * n_bins // (2 * n)
        run = np.cumsum(np.diff(bins, prepend=bins[0]) > 0)  # ties may leave a bin empty
    else:
        run = np.arange(len(starts))
    labels = np.empty(n, int)
    labels[order] = np.repeat(run, ends - starts)
    return labels, int(run[-1]) + 1


def _by_value(x: Shaped[ndarray, "n"]) -> tuple[Int[ndarray, "n"], int]:
    values, labels = np.unique(x, return_inverse=True)
    return labels, len(values)


def _by_width(x: Real[ndarray, "n"], n_bins: int) -> tuple[Int[ndarray, "n"], int]:
    return _by_value(np.digitize(x, np.histogram(x, n_bins)[1][1:-1]))


# counting ----------------------------------------------------------------------------------------------------


def tables(codes: Binned, factors: Binned) -> Int[ndarray, "k f a b"]:
    """How many rows have each pair of labels, for every code and factor; bins that a column lacks are 0.

    >>> z = rank_bins(np.array([[0], [0], [1]]))
    >>> tables(z, z)[0, 0]
    array([[2, 0],
           [0, 1]])
    """
    check_rows(codes, factors)
    a, b, f = int(codes.sizes.max()), int(factors.sizes.max()), factors.labels.shape[1]
    place = np.ascontiguousarray(factors.labels.T) + (np.arange(f) * a * b)[:, None]
    counted = [np.bincount((place + x * b).ravel(), minlength=f * a * b) for x in codes.labels.T]
    return np.reshape(counted, (-1, f, a, b))


def entropy(counts: Int[ndarray, "*m a"]) -> Float[ndarray, "*m"]:
    """In nats, of the plug-in probabilities, along the last axis.

    >>> entropy(np.array([2, 2, 0])).round(4)
    np.float64(0.6931)
    """
    n = counts.sum(-1)
    return np.asarray(np.log(n) - xlogy(counts, counts).sum(-1) / n)


def information(counts: Int[ndarray, "*m a b"]) -> Float[ndarray, "*m"]:
    """What rows tell of columns in nats, by the plug-in probabilities: H(columns) - H(columns | rows).

    >>> information(np.array([[2, 0], [0, 2]])).round(4)
    np.float64(0.6931)
    """
    each = counts.sum(-1)
    # nothing is lost where each row has one column: that difference is 0 exactly, and a perfect code scores exactly 1
    lost = (xlogy(each, each) - xlogy(counts, counts).sum(-1)).sum(-1) / each.sum(-1)
    return np.asarray(np.maximum(entropy(np.asarray(counts.sum(-2))) - lost, 0))


def lead(r: Float[ndarray, "k f"]) -> Float[ndarray, "f"]:
    """How far each column's largest value is ahead of its second (of a single one: of 0).

    >>> lead(np.array([[0.9, 0.2], [0.4, 0.2]]))
    array([0.5, 0. ])
    """
    largest = np.sort(r, 0)[::-1]
    return largest[0] - (largest[1] if len(r) > 1 else 0)
