"""A score beside its interval and its floor: how sure it is, and what the same score is for codes that know nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy import ndarray

from .counting import check_rows


@dataclass(frozen=True, eq=False)
class WithFloor:
    """A score, the interval it lies in, and draws of what it is by chance.

    low, high : where it would lie in 95 % of cases if the rows were drawn again. null : its values for shuffled rows.

    >>> WithFloor(0.5, 0.4, 0.6, np.array([0.1, 0.2, 0.15]))
    0.500 [0.400, 0.600], by chance up to 0.195 (p = 0.25, 3 shuffles)
    """

    value: float
    low: float
    high: float
    null: Float[ndarray, "draws"]

    @property
    def floor(self) -> float:
        """What chance stays below in 95 of 100 shuffles."""
        return float(np.quantile(self.null, 0.95))

    @property
    def p(self) -> float:
        """How often chance does as well, (1 + shuffles as large) / (1 + shuffles) (Phipson & Smyth, 2010)."""
        return (1 + int((self.null >= self.value).sum())) / (1 + len(self.null))

    def __repr__(self) -> str:
        chance = f"by chance up to {self.floor:.3f} (p = {self.p:.2g}, {len(self.null)} shuffles)"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}], {chance}"


def with_floor(
    metric: Callable[[Any, Any], float], codes: Any, factors: Any, n_draws: int = 200, seed: int = 0
) -> WithFloor:
    """A score with its interval and its floor. No score should be shown without.

    metric : of codes and factors; where more is better. codes, factors : rows first, arrays or data frames. What counts
        bins is faster on `Binned`: ``with_floor(mig, width_bins(z), factor_bins(f))`` cuts once, then only counts.

    The floor is from shuffles: whole rows of the factors are dealt out to the codes anew, so that dependence within
    each side stays. The interval is from **half samples**, drawn without replacement: their spread about their mean is
    that of the score over samples of n rows (Shao & Wu, 1989, the jackknife that deletes half). The bootstrap proper
    draws rows twice, and a row that is there twice looks like dependence: of noise it makes information.

    >>> z = np.random.default_rng(0).standard_normal((300, 2))
    >>> said = with_floor(lambda z, f: abs(np.corrcoef(z[:, 0], f[:, 0])[0, 1]), z, z + 1.5, n_draws=40)
    >>> round(said.value, 2), said.floor < 0.2, round(said.p, 3)
    (1.0, True, 0.024)
    """
    (value,), spread, null = _draws(lambda z, f: {"": metric(z, f)}, codes, factors, n_draws, seed)
    low, high = _interval(value, spread[:, 0])
    return WithFloor(float(value), low, high, null[:, 0])


def score_table(
    metric: Callable[[Any, Any], Any], codes: Any, factors: Any, n_draws: int = 200, seed: int = 0
) -> pd.DataFrame:
    """All numbers that a metric gives (a dict or named tuple of them), a row each: value, interval, floor and p.

    As `with_floor`, one draw serving all of them; what is no number (names, arrays) is left out.

    >>> z = np.random.default_rng(0).standard_normal((300, 1))
    >>> score_table(lambda z, f: {"hit": float((z == f).mean()), "note": "x"}, z, z, n_draws=20).round(2)
         value  low  high  floor     p
    hit    1.0  1.0   1.0   0.01  0.05
    """
    numbers = lambda z, f: {name: x for name, x in _named(metric(z, f)) if isinstance(x, Real)}  # noqa: E731
    names = list(numbers(codes, factors))
    values, spread, null = _draws(numbers, codes, factors, n_draws, seed)
    rows = []
    for value, half, chance in zip(values, spread.T, null.T):
        one = WithFloor(float(value), *_interval(value, half), chance)
        rows.append([one.value, one.low, one.high, one.floor, one.p])
    return pd.DataFrame(rows, names, columns=["value", "low", "high", "floor", "p"])


def _named(said: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(said, dict):
        return iter(said.items())
    if hasattr(said, "_asdict"):
        return iter(said._asdict().items())
    return iter([("score", said)])


def _draws(metric: Callable[[Any, Any], dict], codes: Any, factors: Any, n_draws: int, seed: int):
    """The numbers of a metric, of its half samples (draws, numbers) and of its shuffles (draws, numbers)."""
    check_rows(codes, factors)
    if n_draws < 1:
        raise ValueError(f"{n_draws} draws give neither an interval nor a floor: at least 1 is needed")
    n, rng = len(codes), np.random.default_rng(seed)
    z, f = (x.to_numpy() if isinstance(x, pd.DataFrame) else x for x in (codes, factors))
    call = lambda z, f: [float(x) for x in metric(z, f).values()]  # noqa: E731
    shuffles = [rng.permutation(n) for _ in range(n_draws)]
    halves = [np.sort(order[: n // 2]) for order in (rng.permutation(n) for _ in range(n_draws))]
    null = np.array([call(z, f[order]) for order in shuffles])
    spread = np.array([call(z[rows], f[rows]) for rows in halves])
    return np.array(call(codes, factors)), spread, null


def _interval(value: float, halves: Float[ndarray, "draws"]) -> tuple[float, float]:
    """About the score: half samples have a bias of their own (fewer rows), which is not the score's."""
    low, high = np.quantile(halves - halves.mean(), [0.025, 0.975])
    return float(value + low), float(value + high)
