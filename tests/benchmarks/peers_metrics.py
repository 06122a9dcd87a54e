"""Disentanglement scores beside those of `disent`, which has disentanglement_lib's: medians of runs in turn.

.venv-peers/bin/python tests/benchmarks/peers_metrics.py [runs]
"""

from __future__ import annotations

import sys
import warnings
from functools import partial
from time import process_time

import numpy as np
from results import keep
from stub import stub
from timing import in_turn, ms, over

from ivekit import metrics

stub("torchvision", "lightning", "pytorch_lightning")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # numba is not there: none of these uses it
    from disent.metrics import _mig, _sap

ROWS, CODES, FACTORS, VALUES = 10_000, 10, 5, 8


def main(runs: int = 5) -> None:
    """The same codes and factors to both."""
    rng = np.random.default_rng(0)
    f = rng.integers(VALUES, size=(ROWS, FACTORS))
    z = rng.standard_normal((ROWS, CODES))
    z[:, :FACTORS] += f
    real = f + rng.uniform(size=f.shape)
    pairs = {
        "mig": (partial(metrics.mig, z, f), partial(_mig._compute_mig, z.T, f.T)),
        "sap": (partial(metrics.sap, z, real), partial(_sap._compute_sap, *2 * (z.T, real.T), continuous_factors=True)),
    }
    told = []
    for name, (ours, theirs) in pairs.items():
        took = in_turn({"ours": ours, "theirs": theirs}, runs, clock=process_time)
        more = f"{ms(took['theirs'])} over {ms(took['ours'])}; {ours():.3f} and {list(theirs().values())[0]:.3f}"
        what = f"`disent` over `metrics.{name}`"
        readme = what.replace("over", "takes this many times as long as")
        told.append(over(what, took["theirs"] / took["ours"], 1, more, readme))
        print(f"{what}: {told[-1]['measured']}")
    note = f"{ROWS} rows, {CODES} codes, {FACTORS} factors; medians of {runs} runs in turn, seconds of one core."
    command = ".venv-peers/bin/python tests/benchmarks/peers_metrics.py"
    keep("peers_metrics", "Metrics beside disent", command, told, note, ("disent", "numpy", "scikit-learn"))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
