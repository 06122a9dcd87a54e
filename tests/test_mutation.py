"""The survivors that are excused: each has a reason, and is of a line that is still there."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
KEY = ("module", "operator", "before", "after", "nth")


def rows(name: str) -> list[dict[str, str]]:
    with (ROOT / "tests" / "mutation" / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("row", rows("equivalent.csv"), ids=lambda row: f"{row['module']}-{row['before'][:30]}")
def test_an_excused_mutant_has_a_reason_and_a_line(row):
    path = ROOT / (row["module"].replace(".", "/") + ".py")
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    assert lines.count(row["before"]) > 0, "the line has changed: take the mutant out, or try it again"
    assert len(row["reason"].split()) > 3 and row["before"] != row["after"]


def test_no_mutant_is_excused_twice_or_was_noticed():
    excused = [tuple(row[name] for name in KEY) for row in rows("equivalent.csv")]
    last = {tuple(row[name] for name in KEY): row["outcome"] for row in rows("trials.csv")}
    assert len(set(excused)) == len(excused)
    assert [key for key in excused if last.get(key) == "killed"] == []
