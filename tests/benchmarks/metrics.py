"""The default relation matrix against the mutual information gap as it is usually computed: medians of runs in turn.

python tests/benchmarks/metrics.py [runs]

The other side is the algorithm of disentanglement_lib (Locatello et al., 2019), written from its description: codes and
factors cut by `numpy.histogram` and `numpy.digitize`, scikit-learn's `mutual_info_score` of every pair and of each
factor with itself.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from statistics import median
from time import perf_counter

import numpy as np
from sklearn.metrics import mutual_info_score

from ivekit import metrics

ROWS, CODES, FACTORS = 10_000, 10, 5


def usual_mig(z: np.ndarray, f: np.ndarray) -> float:
    """The gap by one call of scikit-learn a pair."""
    cut = [[np.digitize(x, np.histogram(x, 20)[1][:-1]) for x in columns.T] for columns in (z, f)]
    told = np.array([[mutual_info_score(y, x) for y in cut[1]] for x in cut[0]])
    h = [mutual_info_score(y, y) for y in cut[1]]
    ranked = np.sort(told, 0)
    return float(np.mean((ranked[-1] - ranked[-2]) / h))


def in_turn(what: dict[str, Callable[[], object]], runs: int) -> dict[str, float]:
    """Median seconds of each, done in turn, after one that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in what}
    for i in range(runs + 1):
        for name, done in what.items():
            begun = perf_counter()
            done()
            if i:
                seconds[name].append(perf_counter() - begun)
    return {name: median(each) for name, each in seconds.items()}


def main(runs: int = 15) -> None:
    """Prints medians and ratios."""
    rng = np.random.default_rng(0)
    f = rng.standard_normal((ROWS, FACTORS))
    z = np.concatenate([f, f], 1)[:, :CODES] + 0.5 * rng.standard_normal((ROWS, CODES))
    once = metrics.rank_bins(z), metrics.rank_bins(f)
    took = in_turn(
        {
            "usual MIG": lambda: usual_mig(z, f),
            "relation": lambda: metrics.relation(z, f),
            "scores": lambda: metrics.scores(z, f),
            "mig": lambda: metrics.mig(z, f),
            "relation, binned once": lambda: metrics.relation(*once),
        },
        runs,
    )
    print(f"{ROWS} rows, {CODES} codes, {FACTORS} factors; medians of {runs} runs in turn")
    for name, seconds in took.items():
        print(f"{name:>22}: {1e3 * seconds:7.1f} ms, {took['usual MIG'] / seconds:5.1f} times as fast as the usual MIG")
    print(f"relation over the usual MIG: {took['usual MIG'] / took['relation']:.1f} (at least 10)")
    assert abs(usual_mig(z, f) - metrics.mig(z, f)) < 1e-6  # it is the same number
    begun = perf_counter()
    metrics.score_table(metrics.scores, *once, n_draws=200)
    print(f"scores with floor and interval, 200 shuffles and 200 half samples: {perf_counter() - begun:.1f} s")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
