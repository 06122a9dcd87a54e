"""Explanations against the truth: prints the scoreboard of evidence/truth.csv, and makes one of its models again.

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

EVIDENCE = Path(__file__).parents[2] / "evidence"
sys.path.insert(0, str(EVIDENCE))
truth: Any = importlib.import_module("truth")
truth_said: Any = importlib.import_module("truth_said")
AGAIN = dict(seed=0, times=2, trials=256, snr_db=6, encoder="basis")


def main() -> None:
    """The medians over maps of recovered factors, then one model's rows, stored and anew."""
    torch.set_num_threads(1)
    maps = truth_said.tables()[0]
    found = truth_said.by_method(maps[maps["recovery"] >= truth_said.FOUND])
    print(found.round(2).to_string(), end="\n\n")
    stored = maps.query(" and ".join(f"{name} == {value!r}" for name, value in AGAIN.items()))
    with tempfile.TemporaryDirectory() as folder:
        truth.TABLE, truth.MODELS, truth.KEPT = (Path(folder) / name for name in ("maps.csv", "models.csv", "kept"))
        truth.study(**AGAIN)
        anew = pd.read_csv(truth.TABLE)
    both = stored.merge(anew, on=["factor", "method"], suffixes=(" stored", " anew"))
    shown = [f"{column} {when}" for column in ("topography", "auroc", "pixel_auc") for when in ("stored", "anew")]
    print(both[["factor", "method", *shown]].to_string(index=False))


if __name__ == "__main__":
    main()
