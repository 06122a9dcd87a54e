"""Explanations against the truth: the scoreboard of evidence/truth.csv, and one of its models made again.

python tests/benchmarks/truth.py
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from results import keep

EVIDENCE = Path(__file__).parents[2] / "evidence"
sys.path.insert(0, str(EVIDENCE))
truth: Any = importlib.import_module("truth")
truth_said: Any = importlib.import_module("truth_said")
AGAIN = dict(seed=0, times=2, trials=256, snr_db=6, encoder="basis")
SAME = ("topography", "auroc", "pixel_auc")
SHOWN = {
    "topography": ("field", 2), "dipole_mm": ("dipole mm", 0), "latency_ms": ("latency ms", 0),
    "auroc": ("place", 2), "pixel_auc": ("pixels", 2),
}  # fmt: skip


def anew() -> pd.DataFrame:
    """One model's rows, stored and made again, a row a factor and method."""
    stored = truth_said.tables()[0].query(" and ".join(f"{name} == {value!r}" for name, value in AGAIN.items()))
    with tempfile.TemporaryDirectory() as folder:
        truth.TABLE, truth.MODELS, truth.KEPT = (Path(folder) / name for name in ("maps.csv", "models.csv", "kept"))
        truth.study(**AGAIN)
        return stored.merge(pd.read_csv(truth.TABLE), on=["factor", "method"], suffixes=(" stored", " anew"))


def told(found: pd.DataFrame, both: pd.DataFrame) -> list[dict[str, Any]]:
    """A row a method, and how far the model that was made again is from the one that is stored."""
    rows = []
    for method, said in found.iterrows():
        shown = [
            f"{word} {said[name]:.{digits}f}" for name, (word, digits) in SHOWN.items() if said[name] == said[name]
        ]
        rows.append({"what": str(method), "measured": ", ".join(shown), "number": said["topography"]})
    apart = max(float((both[f"{name} stored"] - both[f"{name} anew"]).abs().max()) for name in SAME)
    what = f"the largest difference of {', '.join(SAME)}: one model's {len(both)} maps, stored and made again"
    asked = f"at most 0.01: {'met' if apart <= 0.01 else 'missed'}"
    return [*rows, {"what": what, "measured": f"{apart:.4f}", "asked": asked, "number": apart}]


def main() -> None:
    """The medians over maps of recovered factors, and one model anew."""
    torch.set_num_threads(1)
    maps = truth_said.tables()[0]
    found = truth_said.by_method(maps[maps["recovery"] >= truth_said.FOUND])
    rows = told(found, anew())
    note = (
        f"Medians over the {int(found['n'].max())} maps of factors that a model had recovered (readout R2 of at least "
        f"{truth_said.FOUND:g}): the correlation with the true field, how far its dipole and its latency are off, and "
        "how well the true sensors and times, and pixels, are told from others (area under the curve)."
    )
    keep("truth", "Explanations against the truth", "python tests/benchmarks/truth.py", rows, note)
    for row in rows:
        print(f"{row['what']}: {row['measured']}")


if __name__ == "__main__":
    main()
