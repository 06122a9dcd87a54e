"""The five systems do their jobs: each recipe, small, beats its trivial predictors on rows that it never saw.

A margin is how much better a held-out score must be than the constant predictor's and than the trained model's when it
is fed zeros, in every one of three seeds. Who wins against the linear baseline is reported in evidence/systems.csv.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
import torch

from ivekit.recipe import Recipe, load, run

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "evidence"))
import systems  # noqa: E402


class System(NamedTuple):
    """Settings small enough for every change of the code, and the margins of scores by view and metric."""

    settings: dict[str, Any]
    beats: dict[tuple[str, str], float]


SYSTEMS = {
    "ive": System(
        dict(data="samples", epochs=60),
        {
            ("meg", "reconstruction"): 0.04,
            ("video", "reconstruction"): 0.05,
            ("behaviour", "reconstruction"): 0.4,
            ("behaviour", "from_others"): 0.15,
        },
    ),
    "mimo_ae": System(
        dict(n_subjects=10, n_windows=16, epochs=30, dim=32, batch_size=16, lr=6e-3),
        {
            ("ecg", "reconstruction"): 0.3,
            ("ppg", "reconstruction"): 0.6,
            ("rsp", "reconstruction"): 0.7,
            ("ppg", "from_others"): 0.5,
            ("rsp", "from_others"): 0.6,
        },
    ),
    "lipid_cvae": System(
        dict(n_lipids=100, n_points=20, dim=32, epochs=45, batch_size=10, lr=4e-3),
        {("lipids", "from_others"): 0.3},
    ),
    "modal_merge": System(
        dict(n_rows=512, epochs=15, lr=6e-3, batch_size=32),
        {("series", "from_others"): 0.5},
    ),
    "meg_decoding": System(
        dict(array="neuromag102", n_trials=40, n_subjects=4, evoked=1.0, rhythm=1.0, members=1, epochs=15),
        {("label", "from_others"): 0.2},
    ),
}


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_beats_its_trivial_predictors(name, seed, tmp_path):
    torch.set_num_threads(1)
    system = SYSTEMS[name]
    model = run(Recipe(name, {**system.settings, "seed": seed, "device": "cpu"}), tmp_path / "run", disable=True)
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())
    for (view, metric), margin in system.beats.items():
        said = scores[view][metric]
        assert said["model"] > said["constant"] + margin, (view, metric, said)
        assert said["model"] > said["zero"] + margin, (view, metric, said)
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    again, _ = load(tmp_path / "run")  # without the data
    assert {n: w.shape for n, w in again.state_dict().items()} == {n: w.shape for n, w in model.state_dict().items()}


def test_the_table_of_the_readme_is_the_study_s():
    """All five recipes, three seeds each; no number is typed in."""
    said = systems.table()
    assert said in (ROOT / "README.md").read_text(encoding="utf-8"), "python evidence/systems.py --table"
    frame = pd.read_csv(systems.TABLE)
    assert set(zip(frame["recipe"], frame["seed"])) == set(systems.STUDY)
    assert set(frame["recipe"]) == set(SYSTEMS) and (frame["seconds"] < 300).all()
