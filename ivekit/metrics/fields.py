"""How well a told field agrees with the true one, and whether its error bars are honest: arrays in, numbers out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from scipy.stats import norm


def relative_error(
    truth: Float[np.ndarray, "*n"], told: Float[np.ndarray, "*n"], mask: Bool[np.ndarray, "*n"] | None = None
) -> float:
    """The length of the error over the length of the truth, ``|told - truth| / |truth|``, where `mask` is True.

    Values far from 0 make any guess look good: print the mean map's beside it, or `r2`, which takes the mean off.

    >>> relative_error(np.array([3.0, 4.0]), np.array([3.0, 3.0]))
    0.2
    """
    truth, told = _where(mask, truth, told)
    length = np.linalg.norm(truth)
    if not length > 0:
        raise ValueError(f"a relative error needs a truth that is not 0; {truth.size} numbers of it are given")
    return float(np.linalg.norm(told - truth) / length)


def coverage(
    truth: Float[np.ndarray, "*n"],
    mean: Float[np.ndarray, "*n"],
    sd: Float[np.ndarray, "*n"],
    level: float | int = 0.9,
    mask: Bool[np.ndarray, "*n"] | None = None,
) -> float:
    """The part of the truth that lies within the central interval of a normal belief: `level`, if that is honest.

    >>> coverage(np.array([0.0, 1.0, 5.0, -1.0]), np.zeros(4), np.ones(4))
    0.75
    """
    if not 0 < level < 1:
        raise ValueError(f"a level lies between 0 and 1, got {level}")
    truth, mean, sd = _where(mask, truth, mean, sd)
    return float((np.abs(truth - mean) <= norm.ppf(0.5 + level / 2) * sd).mean())


def calibration(
    truth: Float[np.ndarray, "*n"],
    mean: Float[np.ndarray, "*n"],
    sd: Float[np.ndarray, "*n"],
    levels: Sequence[float] = (0.1, 0.3, 0.5, 0.7, 0.9),
    mask: Bool[np.ndarray, "*n"] | None = None,
) -> pd.Series:
    """The `coverage` at each level, by level: the diagonal is honesty, above it is doubt, below it is conceit.

    >>> calibration(np.array([0.0, 1.0]), np.zeros(2), np.ones(2), (0.5, 0.9)).to_dict()
    {0.5: 0.5, 0.9: 1.0}
    """
    each = [coverage(truth, mean, sd, level, mask) for level in levels]
    return pd.Series(each, index=pd.Index(levels, name="level"), name="coverage")


def _where(mask: Bool[np.ndarray, "*n"] | None, *arrays: Float[np.ndarray, "*n"]) -> list[np.ndarray]:
    return [np.asarray(x) if mask is None else np.asarray(x)[mask] for x in arrays]
