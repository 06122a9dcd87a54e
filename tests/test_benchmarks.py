"""What README and RESULTS.md say was measured is what is kept; and what is timed is timed as it is said."""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
HERE = ROOT / "tests" / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def scripts():
    """The scripts import one another by their own names."""
    sys.path.insert(0, str(HERE))
    yield
    sys.path.remove(str(HERE))


def script(name: str) -> Any:
    return importlib.import_module(name)


def test_the_readme_shows_the_table_of_what_is_kept():
    results = script("results")
    (shown,) = results.TABLE.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    assert shown == results.table(), "python tests/benchmarks/results.py writes it again"


def test_results_shows_all_that_is_kept():
    said = (HERE / "RESULTS.md").read_text(encoding="utf-8")
    for path in (HERE / "results").glob("*.json"):
        told = json.loads(path.read_text(encoding="utf-8"))
        assert f"## {told['title']}\n\n```sh\n{told['command']}\n```" in said, f"{path.stem}: run results.py again"
        assert told["rows"] and all({"what", "measured"} <= set(row) for row in told["rows"])
        assert {"date", "commit", "machine", "versions"} <= set(told)


def test_every_command_names_a_file():
    for path in (HERE / "results").glob("*.json"):
        command = json.loads(path.read_text(encoding="utf-8"))["command"]
        scripts = [word for word in command.split() if "/" in word and not word.startswith(".venv")]
        assert scripts and all((ROOT / word).exists() for word in scripts), command


def test_the_runner_knows_every_benchmark():
    runner = (HERE / "__main__.py").read_text(encoding="utf-8")
    by_hand = re.findall(r"(\w+)\.py", runner.split('"""')[1])
    parts = {"results", "timing", "stub", "__main__"}
    names = {path.stem for path in HERE.glob("*.py")} - parts - set(by_hand)
    assert {name for name in names if f'"{name}"' not in runner} == set()
    kept = {path.stem for path in (HERE / "results").glob("*.json")}
    assert names | set(by_hand) <= kept, "each keeps what it measures"


def test_a_result_is_kept_where_readme_and_results_find_it(tmp_path, monkeypatch):
    results = script("results")
    (tmp_path / "README.md").write_text("before\n<!-- python tests/benchmarks -->\nold\n<!-- end -->\nafter\n")
    (tmp_path / "results").mkdir()
    for name, value in {"HERE": tmp_path, "KEPT": tmp_path / "results", "ROOT": tmp_path}.items():
        monkeypatch.setattr(results, name, value)
    monkeypatch.setattr(results, "where", lambda packages: {"date": "d", "commit": "c", "machine": "m", "versions": {}})
    row = {"what": "speed", "measured": "3", "asked": "at least 2", "number": 3.0}
    results.keep("one", "One", "python tests/one.py", [row | {"readme": "our speed"}, row])
    said = (tmp_path / "README.md").read_text()
    assert said.startswith("before\n<!-- python") and said.endswith("<!-- end -->\nafter\n") and "old" not in said
    assert said.count("| our speed | 3 | at least 2 | [one.py](tests/one.py) |") == 1 and "speed | 3" in said
    assert (tmp_path / "RESULTS.md").read_text().count("| speed | 3 | at least 2 |") == 2


def test_things_are_done_in_turn_and_the_first_rounds_are_not_counted():
    done, clock = [], iter([100, 100, 0, 1, 0, 5, 0, 3, 0, 5, 0, 2, 0, 9])
    things = {name: lambda name=name: done.append(name) for name in "ab"}
    assert script("timing").in_turn(things, 3, 1, lambda: next(clock)) == {"a": 2, "b": 5}
    assert "".join(done) == "abababab"


def test_a_bar_is_met_or_missed():
    over = script("timing").over
    assert over("x", 0.96, 0.97)["asked"].endswith("missed") and over("x", 0.97, 0.97)["asked"].endswith("met")


def test_memory_is_that_of_the_thing_alone():
    scaling = script("scaling")

    def make(n):
        return lambda: len(b"x" * n)

    one = scaling.Series("bytes", "made", (10_000,), make)
    _, little = scaling.apart(one, 10_000)
    _, much = scaling.apart(one, 200_000_000)
    assert little < 50 < 190 < much < 250


def test_a_slope_is_the_power_of_growth():
    slope = script("scaling").slope
    assert slope([10, 100, 1000], [5, 50, 500]) == pytest.approx(1) and slope([2, 4], [3, 12]) == pytest.approx(2)
