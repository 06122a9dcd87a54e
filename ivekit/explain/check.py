"""A check of an explanation: a number beside what it would be if the explanation meant nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor, nn

from ..views import Views

Target = Callable[..., Any]  # Outputs -> (b,) or (b, k); or (Outputs, Views) -> the same, with the rows explained
Explainer = Callable[[nn.Module, Views, Target], Mapping[str, Tensor]]  # -> the shapes of the views


@dataclass(frozen=True, eq=False)
class Check:
    """A statistic of an explanation, and draws of what it is when the explanation means nothing.

    name : what was checked. value : the statistic; always the larger, the better for the explanation.
    null : draws of it under the null, none where there is a fixed bar instead. passed : by the check's own rule.
    note : in words, what was compared with what. bar : from where on it passes, where that is fixed.

    >>> Check("deletion", 3.1, np.array([0.2, -0.4, 0.9]), True, "most against least relevant first")
    deletion: 3.1, by chance up to 0.83 (p = 0.25, 3 draws): passed
    """

    name: str
    value: float
    null: Float[ndarray, "draws"] = field(default_factory=lambda: np.empty(0))
    passed: bool = False
    note: str = ""
    bar: float = float("nan")

    @property
    def p(self) -> float:
        """How often chance does as well, (1 + draws as large) / (1 + draws) (Phipson & Smyth, 2010); NaN without."""
        return (1 + int((self.null >= self.value).sum())) / (1 + len(self.null)) if len(self.null) else float("nan")

    @property
    def floor(self) -> float:
        """What chance stays below in 95 of 100 draws; without draws, the fixed bar."""
        return float(np.quantile(self.null, 0.95)) if len(self.null) else self.bar

    def __repr__(self) -> str:
        chance = f", the bar {self.bar:.3g}" if self.bar == self.bar else ""
        if len(self.null):
            chance = f", by chance up to {self.floor:.2g} (p = {self.p:.2g}, {len(self.null)} draws)"
        return f"{self.name}: {self.value:.3g}{chance}: {'passed' if self.passed else 'FAILED'}"


def verdict(checks: Sequence[Check], alpha: float = 0.05) -> str:
    """What may be claimed of an explanation after its checks, in a sentence.

    Every check must pass by its own rule. Where chance was drawn, the p values are corrected for their number (Holm,
    1979): those that do not hold among so many are named, and so are those that could not, with as few draws as were
    made. (That all of many checks pass by chance is rarer than that one does, so the correction is on the safe side.)

    >>> verdict([Check("completeness", 0.99, passed=True), Check("weights", -0.1, passed=False)])
    'Not to be believed: it failed weights (1 of 2 checks).'
    >>> verdict([Check("completeness", 0.99, passed=True)])
    'Nothing speaks against it: it passed completeness (1 check).'
    >>> verdict([Check("seeds", 0.9, np.zeros(99), True), Check("labels", 0.9, np.zeros(9), True)])
    'Nothing speaks against it: it passed seeds and labels (2 checks), but labels was drawn too few times to be sure.'
    """
    if not checks:
        return "Nothing may be claimed: no check was made."
    if failed := [check.name for check in checks if not check.passed]:
        return f"Not to be believed: it failed {_listed(failed)} ({len(failed)} of {_counted(len(checks))})."
    said = f"Nothing speaks against it: it passed {_listed([c.name for c in checks])} ({_counted(len(checks))})"
    few, weak = _after_holm(checks, alpha)
    doubts = [
        *([f"{_listed(weak)} could be chance among so many"] if weak else []),
        *([f"{_listed(few)} {'was' if len(few) == 1 else 'were'} drawn too few times to be sure"] if few else []),
    ]
    return f"{said}, but {' and '.join(doubts)}." if doubts else f"{said}."


def _after_holm(checks: Sequence[Check], alpha: float) -> tuple[list[str], list[str]]:
    """Those whose p value does not hold when corrected for their number: because of too few draws, and in spite of."""
    drawn = sorted((c for c in checks if len(c.null)), key=lambda check: check.p)
    held = [check.p <= alpha / (len(drawn) - i) for i, check in enumerate(drawn)]
    first = held.index(False) if False in held else len(drawn)
    few = [check.p <= 1 / (1 + len(check.null)) for check in drawn]
    names = [(check.name, short) for check, short in zip(drawn[first:], few[first:])]
    return [name for name, short in names if short], [name for name, short in names if not short]


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _counted(n: int) -> str:
    return f"{n} check" if n == 1 else f"{n} checks"
