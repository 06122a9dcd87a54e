"""The notebooks with other numbers of threads, another processor and a second time; prints what became of each.

    python notebooks/matrix.py                      all of this folder, two at a time; -n 1 for one at a time
    python notebooks/matrix.py notebooks/01_views.ipynb

Every stored output is compared in every run, as in `pytest --nbval notebooks/`. The exit code is 1 when a cell differs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
RUNS = {
    "1 thread": dict.fromkeys(THREADS, "1"),
    "2 threads": dict.fromkeys(THREADS, "2"),
    # the kernels that a machine from before AVX would take
    "older processor": dict.fromkeys(THREADS, "1")
    | {"ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "ONEDNN_MAX_CPU_ISA": "SSE41"},
    "again": dict.fromkeys(THREADS, "1"),
}


def cells(report: str) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """Cells, those that differ, and seconds, by notebook, of a JUnit report.

    >>> cases = '<testcase classname="notebooks.01_views.ipynb" name="Cell 0" time="2.5"/>'
    >>> cases += '<testcase classname="notebooks.01_views.ipynb" name="Cell 1" time="1"><failure/></testcase>'
    >>> [dict(count) for count in cells(f"<testsuite>{cases}</testsuite>")]
    [{'01_views': 2}, {'01_views': 1}, {'01_views': 3.5}]
    """
    run, differ, seconds = Counter[str](), Counter[str](), Counter[str]()
    for case in xml.etree.ElementTree.fromstring(report).iter("testcase"):
        name = next(part for part in case.get("classname", "").split(".") if part[:2].isdigit())
        run[name] += 1
        differ[name] += any(part.tag in ("failure", "error") for part in case)
        seconds[name] += float(case.get("time", 0))
    return run, differ, seconds


def table(found: dict[str, tuple[Counter[str], Counter[str], Counter[str]]]) -> str:
    """Markdown: a line a notebook, a column a run; the cells that differ, or how many passed, and the seconds.

    >>> one = Counter({"01_views": 12}), Counter({"01_views": 0}), Counter({"01_views": 9.6})
    >>> print(table({"1 thread": one}))
    | notebook | 1 thread |
    |---|---|
    | 01_views | 12 passed, 10 s |
    """
    lines = [f"| notebook | {' | '.join(found)} |", "|---" * (len(found) + 1) + "|"]
    for name in sorted(set().union(*(run for run, _, _ in found.values()))):
        said = [
            f"**{differ[name]} of {run[name]} differ**"
            if differ[name]
            else f"{run[name]} passed, {seconds[name]:.0f} s"
            for run, differ, seconds in found.values()
        ]
        lines.append(f"| {name} | {' | '.join(said)} |")
    return "\n".join(lines)


def run(paths: list[str], workers: int, settings: dict[str, str]) -> str:
    """The JUnit report of one run of pytest; what it prints of failures is shown."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        asked = [
            "-m",
            "pytest",
            "-q",
            "-n",
            str(workers),
            "--dist",
            "loadfile",
            f"--junitxml={report}",
            "--nbval",
            *paths,
        ]
        subprocess.run([sys.executable, *asked], env={**os.environ, **settings}, check=False)
        return report.read_text(encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="*", default=[str(path) for path in sorted(HERE.glob("[0-9]*.ipynb"))])
    parser.add_argument("-n", "--workers", type=int, default=2)
    asked = parser.parse_args()
    found = {name: cells(run(asked.paths, asked.workers, settings)) for name, settings in RUNS.items()}
    print(table(found))
    return int(any(differ.total() for _, differ, _ in found.values()))


if __name__ == "__main__":
    raise SystemExit(main())
