"""Whether a map is high where it should be: one map against one true mask, or against many masks at once.

``scores`` are one map, its places in one axis (k,); ``truth`` is (k,), or (..., k) for many masks, such as the true one
and surrogates of it. Each answer has the leading axes of the truth. On smooth maps chance is far from what it is on
independent places: draw it (`ivekit.explain.check_truth`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Real
from numpy import ndarray
from scipy.stats import rankdata

Numbers = Any  # a number of one mask; of several, one a mask


def auroc(scores: Real[ndarray, "k"], truth: Bool[ndarray, "*m _"]) -> Numbers:
    """How surely a true place is higher than a false one; 0.5 if places were independent and the map said nothing.

    The area under the ROC curve by ranks (Mann & Whitney, 1947), ties counting a half.

    >>> auroc(np.array([0.1, 0.9, 0.5]), np.array([[False, True, False], [True, False, False]])).tolist()
    [1.0, 0.0]
    """
    there, n = _checked(scores, truth)
    above = there @ rankdata(scores) - n * (n + 1) / 2
    return above / (n * (len(scores) - n))


def precision_lift(scores: Real[ndarray, "k"], truth: Bool[ndarray, "*m _"]) -> Numbers:
    """How many times more often than anywhere a place is true, the highest places first; 1 for a map that says nothing.

    Average precision, the area under the precision-recall curve by its steps, over the share of true places. At most
    one over that share. Equal scores are taken together.

    >>> precision_lift(np.array([0.1, 0.9, 0.5, 0.2]), np.array([False, True, False, False])).item()
    4.0
    """
    there, n = _checked(scores, truth)
    order, ends = _from_the_top(scores)
    hits = np.cumsum(there[..., order], axis=-1)[..., ends]
    gained = np.diff(hits, axis=-1, prepend=0)
    return (gained * hits / (ends + 1)).sum(-1) / n / (n / len(scores))


def mass_lift(scores: Real[ndarray, "k"], truth: Bool[ndarray, "*m _"]) -> Numbers:
    """How many times its share of the places the true ones hold of the map's size: 1 where it is spread evenly.

    The relevance mass accuracy of Arras, Osman & Samek (2022), ``sum over true |s| / sum |s|``, over the share of true
    places. A map that is 0 everywhere has 1: it prefers none.

    >>> mass_lift(np.array([0.0, -3.0, 1.0, 0.0]), np.array([False, True, False, False])).item()
    3.0
    """
    there, n = _checked(scores, truth)
    size = np.abs(scores).astype(float)
    size = size if size.sum() > 0 else np.ones(len(scores))
    return there @ size / size.sum() / (n / len(scores))


def rank_accuracy(scores: Real[ndarray, "k"], truth: Bool[ndarray, "*m _"]) -> Numbers:
    """Of as many of the highest places as are true, the share that is; by chance the share of true places.

    The relevance rank accuracy of Arras, Osman & Samek (2022). Where equal scores straddle the line, the expectation
    of picking among them at random.

    >>> rank_accuracy(np.array([0.1, 0.9, 0.5, 0.2]), np.array([False, True, False, True])).item()
    0.5
    """
    there, n = _checked(scores, truth)
    order, ends = _from_the_top(scores)
    hits = np.cumsum(there[..., order], axis=-1)[..., ends]
    flat = [np.interp(count, [0, *(ends + 1)], [0, *hit]) for hit, count in zip(hits.reshape(-1, len(ends)), n.ravel())]
    return np.array(flat).reshape(n.shape) / n


def _checked(scores: ndarray, truth: ndarray) -> tuple[Float[ndarray, "*m k"], Float[ndarray, "*m"]]:
    """The masks as numbers, and how many places of each are true."""
    if scores.ndim != 1 or truth.shape[-1:] != scores.shape:
        raise ValueError(f"a map of shape {scores.shape} does not fit masks of shape {truth.shape}: (k,) and (..., k)")
    if not np.isfinite(scores).all():
        raise ValueError(f"{int((~np.isfinite(scores)).sum())} of {len(scores)} places of the map are not finite")
    n = np.asarray(truth.sum(-1), float)
    if not ((n > 0) & (n < len(scores))).all():
        raise ValueError("a mask must have true and false places: there is nothing to find in all or none")
    return truth.astype(float), n


def _from_the_top(scores: ndarray) -> tuple[ndarray, ndarray]:
    """The order of places from the highest down, and the last of each run of equal ones."""
    order = np.argsort(-scores, kind="stable")
    return order, np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
