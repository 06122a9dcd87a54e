"""The default relation matrix against the mutual information gap as it is usually computed: medians of runs in turn.

python tests/benchmarks/metrics.py [runs]

The other side is the algorithm of disentanglement_lib (Locatello et al., 2019), written from its description: codes and
factors cut by `numpy.histogram` and `numpy.digitize`, scikit-learn's `mutual_info_score` of every pair and of each
factor with itself.
"""

from __future__ import annotations

import sys
from time import process_time

import numpy as np
from results import keep
from sklearn.metrics import mutual_info_score
from timing import in_turn, ms, over

from ivekit import metrics

ROWS, CODES, FACTORS = 10_000, 10, 5
SHOWN = ("`relation`", "`mig`")  # in README


def usual_mig(z: np.ndarray, f: np.ndarray) -> float:
    """The gap by one call of scikit-learn a pair."""
    cut = [[np.digitize(x, np.histogram(x, 20)[1][:-1]) for x in columns.T] for columns in (z, f)]
    told = np.array([[mutual_info_score(y, x) for y in cut[1]] for x in cut[0]])
    h = [mutual_info_score(y, y) for y in cut[1]]
    ranked = np.sort(told, 0)
    return float(np.mean((ranked[-1] - ranked[-2]) / h))


def main(runs: int = 15) -> None:
    """Medians and ratios."""
    rng = np.random.default_rng(0)
    f = rng.standard_normal((ROWS, FACTORS))
    z = np.concatenate([f, f], 1)[:, :CODES] + 0.5 * rng.standard_normal((ROWS, CODES))
    once = metrics.rank_bins(z), metrics.rank_bins(f)
    took = in_turn(
        {
            "usual": lambda: usual_mig(z, f),
            "`relation`": lambda: metrics.relation(z, f),
            "`scores`": lambda: metrics.scores(z, f),
            "`mig`": lambda: metrics.mig(z, f),
            "`relation` of what is binned already": lambda: metrics.relation(*once),
        },
        runs,
        clock=process_time,
    )
    assert abs(usual_mig(z, f) - metrics.mig(z, f)) < 1e-6  # it is the same number
    usual = took.pop("usual")
    told = [
        over(
            f"the usual MIG over {name}",
            usual / seconds,
            10 if name == "`relation`" else None,
            f"{ms(usual)} over {ms(seconds)}",
            f"disentanglement: the usual gap (scikit-learn) takes this many times as long as {name}" * (name in SHOWN),
        )
        for name, seconds in took.items()
    ]
    begun = process_time()
    metrics.score_table(metrics.scores, *once, n_draws=200)
    seconds = process_time() - begun
    what = "`scores` with floor and interval: 200 shuffles and 200 half samples"
    told.append({"what": what, "measured": f"{seconds:.1f} s", "number": seconds})
    note = f"{ROWS} rows, {CODES} codes, {FACTORS} factors: {runs} runs in turn, core time; `mig` is the same number."
    keep("metrics", "Metrics", "python tests/benchmarks/metrics.py", told, note)
    for row in told:
        print(f"{row['what']}: {row['measured']}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
