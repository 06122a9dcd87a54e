"""How well classes are told: accuracy, balanced accuracy, area under the curve, confusion; with intervals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from sklearn.metrics import roc_auc_score

from .errors import bootstrap

Labels = Int[ndarray, "n"]
Probabilities = Float[ndarray, "n classes"]


def accuracy(labels: Labels, told: Labels) -> float:
    """The part of the rows whose class is told right.

    >>> accuracy(np.array([0, 1, 1, 2]), np.array([0, 1, 2, 2]))
    0.75
    """
    _check(labels, told)
    return float(np.mean(labels == told))


def balanced_accuracy(labels: Labels, told: Labels) -> float:
    """The mean over classes of the part told right: 1 / classes for who always says one, however common that is.

    Classes that no row has are left out (Brodersen et al., 2010).

    >>> balanced_accuracy(np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0]))
    0.5
    """
    _check(labels, told)
    return float(np.mean([np.mean(told[labels == k] == k) for k in np.unique(labels)]))


def auc(labels: Labels, p: Probabilities) -> float:
    """How often a row of a class has a higher probability of it than a row of another, over all pairs of classes.

    0.5 is chance. Of two classes the area under the ROC curve; of more, the mean over pairs (Hand & Till, 2001). NaN
    where the labels lack a class.

    >>> auc(np.array([0, 1, 1]), np.array([[0.8, 0.2], [0.3, 0.7], [0.1, 0.9]]))
    1.0
    """
    _check(labels, p)
    if len(np.unique(labels)) < p.shape[1]:
        return float("nan")
    if p.shape[1] == 2:
        return float(roc_auc_score(labels, p[:, 1]))
    return float(roc_auc_score(labels, p / p.sum(1, keepdims=True), multi_class="ovo"))


def confusion(labels: Labels, told: Labels, n_classes: int) -> Float[ndarray, "classes classes"]:
    """The part of each true class (rows) that is told as each class (columns); each row adds up to 1.

    A class that no row has is a row of NaN.

    >>> confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 2)
    array([[0.5, 0.5],
           [0. , 1. ]])
    """
    _check(labels, told)
    counts = np.zeros((n_classes, n_classes))
    np.add.at(counts, (labels, told), 1)
    total = counts.sum(1, keepdims=True)
    return np.where(total > 0, counts / np.maximum(total, 1), np.nan)


def decoding(labels: Labels, p: Probabilities) -> dict[str, float]:
    """All scores of class probabilities: accuracy, balanced accuracy and area under the curve.

    >>> decoding(np.array([0, 1]), np.array([[0.9, 0.1], [0.2, 0.8]]))
    {'accuracy': 1.0, 'balanced': 1.0, 'auc': 1.0}
    """
    told = p.argmax(1)
    return {"accuracy": accuracy(labels, told), "balanced": balanced_accuracy(labels, told), "auc": auc(labels, p)}


def interval(
    labels: Labels, told: ndarray, score: Callable[..., float] = accuracy, n: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Where a score would lie in 95 % of cases if the rows were drawn again, as many of each class (`bootstrap`).

    told : classes, or probabilities, whatever `score` takes.

    >>> low, high = interval(np.repeat([0, 1], 50), np.repeat([0, 1, 1], [40, 10, 50]))
    >>> 0.8 < low < 0.9 < high < 1
    True
    """
    _check(labels, told)
    order = np.argsort(labels, kind="stable")
    blocks = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    rng = np.random.default_rng(seed)
    drawn = (np.concatenate([rng.choice(block, len(block)) for block in blocks]) for _ in range(n))
    low, high = np.quantile([score(labels[rows], told[rows]) for rows in drawn], [0.025, 0.975])
    return float(low), float(high)


def interval_over(groups: Float[ndarray, "g"], n: int = 1000, seed: int = 0) -> tuple[float, float]:
    """Where the mean over groups, such as subjects left out, would lie if other groups had been drawn.

    >>> [round(end, 2) for end in interval_over(np.array([0.6, 0.7, 0.8]))]
    [0.6, 0.8]
    """
    return bootstrap(np.mean, groups, n=n, seed=seed)


def _check(labels: ndarray, told: ndarray) -> None:
    if len(labels) != len(told) or not len(labels):
        raise ValueError(f"labels and what is told need as many rows, at least one; got {len(labels)} and {len(told)}")
