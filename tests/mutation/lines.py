"""What the tests have run of ivekit, lines and branches together, kept as a table: the files with less than most.

    make coverage     # the tests with coverage, then this

reads ``.coverage``. A branch is a jump that was or was not taken, both ways of every ``if``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import coverage

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "benchmarks"))

from results import keep  # noqa: E402

ASKED = 95.0  # percent


def main(data: str = ".coverage") -> None:
    totals, files = measured(data)
    rows = [{"what": "all of ivekit", "asked": f"over {ASKED:g} %", **said(totals)}]
    low = sorted((told["percent_covered"], name) for name, told in files.items() if told["percent_covered"] < ASKED)
    rows += [{"what": name, **said(files[name])} for _, name in low]
    note = "Unit tests, doctests and notebooks. Below the total: the files under the bar."
    keep("coverage", "Lines and branches that the tests run", "make coverage  # tests/mutation/lines.py", rows, note)


def measured(data: str) -> tuple[dict, dict]:
    """coverage.py's sums of all files, and of each."""
    known = coverage.Coverage(data_file=data)
    known.load()
    known.json_report(outfile=str(out := ROOT / "build" / "coverage.json"), ignore_errors=True)
    told = json.loads(out.read_text(encoding="utf-8"))
    return told["totals"], {name: file["summary"] for name, file in told["files"].items()}


def said(told: dict) -> dict[str, object]:
    """One row: percent, and how many lines and branches were not run."""
    missed = f"{told['missing_lines']} of {told['num_statements']} lines, "
    missed += f"{told['missing_branches']} of {told['num_branches']} branches not run"
    return {"measured": f"{told['percent_covered']:.1f} % ({missed})", "number": told["percent_covered"]}


if __name__ == "__main__":
    main(*sys.argv[1:2])
