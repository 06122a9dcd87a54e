"""The study of explanations against the truth: its words are what its tables say, its ends where they must be."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

EVIDENCE = Path(__file__).parents[1] / "evidence"
KEY = ["snr_db", "trials", "seed", "times", "encoder"]


@pytest.fixture(scope="module")
def told() -> Any:
    spec: Any = importlib.util.spec_from_file_location("truth_said", EVIDENCE / "truth_said.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_words_are_what_the_tables_say(told):
    readme = (EVIDENCE / "README.md").read_text(encoding="utf-8")
    between = readme.partition(told.BEGIN)[2].partition(told.END)[0].strip()
    assert between == told.said().strip(), "run python evidence/truth_said.py"
    assert told.FIGURE.is_file()


def test_every_map_is_there_once_and_has_its_model(told):
    small, default, models = told.tables()
    maps = pd.concat([small, default])
    assert not maps.duplicated([*KEY, "factor", "method"]).any() and not models.duplicated(KEY).any()
    assert set(small[KEY].itertuples(index=False)) == set(models[KEY].itertuples(index=False))
    basis = small[small["encoder"] == "basis"]
    assert (basis.groupby([*KEY, "factor"])["method"].nunique() == basis["method"].nunique()).all()


def test_chance_is_at_chance_and_the_truth_at_the_top(told):
    maps = told.tables()[0]
    of = told.by_method(maps)
    assert of.loc["random", "place"] < 0.1 and abs(of.loc["random", "auroc"] - 0.5) < 0.05
    assert of.loc["true factor", "place"] > 0.95 and of.loc["true factor", "topography"] > 0.9
    found = told.by_method(maps[maps["recovery"] >= told.FOUND])
    assert (
        found.loc["pattern", "topography"] > 0.9 > maps["topography_floor"].max() > found.loc["gradient", "topography"]
    )


def test_the_table_and_the_bullets_are_wrapped_markdown(told):
    lines = told.said().splitlines()
    assert sum(line.startswith("- **") for line in lines) >= 8
    assert all(len(line) <= 120 for line in lines if line.startswith(("- ", "  ")))
