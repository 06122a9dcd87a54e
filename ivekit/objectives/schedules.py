"""Schedules, ``step -> float``: how a weight changes in training; evaluation (step None) is told their end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Schedule = Callable[[int | None], float]


@dataclass(frozen=True)
class Linear:
    """From `low` to `high` in `steps` steps, then `high`.

    >>> [Linear(0.0, 2.0, steps=4)(step) for step in (0, 1, 4, 100, None)]
    [0.0, 0.5, 2.0, 2.0, 2.0]
    """

    low: float
    high: float
    steps: int

    def __call__(self, step: int | None) -> float:
        done = 1.0 if step is None or step >= self.steps else step / self.steps
        return self.low + (self.high - self.low) * done


@dataclass(frozen=True)
class Cyclical:
    """Up from `low` to `high` over the first half of every `period` steps, then flat (Fu et al., 2019).

    >>> [Cyclical(0.0, 1.0, period=4)(step) for step in (0, 1, 2, 3, 4, None)]
    [0.0, 0.5, 1.0, 1.0, 0.0, 1.0]
    """

    low: float
    high: float
    period: int

    def __call__(self, step: int | None) -> float:
        done = 1.0 if step is None else min(1.0, 2 * (step % self.period) / self.period)
        return self.low + (self.high - self.low) * done


def at(value: float | Schedule, step: int | None) -> float:
    """A weight at a step: a number stays, a schedule is asked."""
    return value(step) if callable(value) else value
