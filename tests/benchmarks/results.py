"""What was measured, kept with the day, the machine, the versions and the commit; RESULTS.md shows all of it, and
README.md the rows that say so.

python tests/benchmarks/results.py      # writes both again from results/*.json
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ivekit.store import whole

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
KEPT = HERE / "results"
SCRIPTS = "tests/*.py"  # in any folder of it
VERSIONS = ("torch", "numpy", "mne", "captum")
TABLE = re.compile(r"(?<=<!-- python tests/benchmarks -->\n).*?(?=<!-- end -->)", re.DOTALL)  # in README.md


def keep(
    name: str,
    title: str,
    command: str,
    rows: Sequence[Mapping[str, Any]],
    note: str = "",
    packages: Sequence[str] = VERSIONS,
) -> None:
    """Stores what one script measured as ``results/NAME.json`` and writes RESULTS.md and README's table again.

    command : the line that measures it again, from the project's folder.
    rows : of the table, each with "what" and "measured", and "asked" where there is a bar, all as they are to be read;
        "number", the value unrounded, for whoever compares; and "readme", what README calls it, where it shows it.
    packages : whose versions matter.
    """
    told = {"title": title, "command": command, "note": note, **where(packages), "rows": [dict(row) for row in rows]}
    with whole(KEPT / f"{name}.json") as new:
        new.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    write()


def where(packages: Sequence[str] = VERSIONS) -> dict[str, Any]:
    """The day, the commit (with a + where files differ from it), the machine and the versions."""
    changed = bool(_git("status", "--porcelain", "--untracked-files=no", "--", "ivekit", SCRIPTS))
    return {
        "date": date.today().isoformat(),
        "commit": _git("rev-parse", "--short", "HEAD") + "+" * changed,
        "machine": f"{_processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
    }


def kept() -> dict[str, dict[str, Any]]:
    """What is stored, by name."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(KEPT.glob("*.json"))}


def write() -> None:
    """RESULTS.md, a section of each file of results; and README.md, if its table has changed."""
    parts = ["# Measured\n\nEach table can be made again by the command above it.\n"]
    parts += [_section(told) for told in kept().values()]
    with whole(HERE / "RESULTS.md") as new:
        new.write_text("\n".join(parts), encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    if (changed := TABLE.sub(lambda _: table(), readme)) != readme:
        with whole(ROOT / "README.md") as new:
            new.write_text(changed, encoding="utf-8")


def table() -> str:
    """README's table: the rows that say what README calls them, with the script that measures them."""
    lines = ["| | measured | asked | by |", "|---|---|---|---|"]
    for told in kept().values():
        path = next((word for word in told["command"].split() if word.endswith(".py")), "tests/benchmarks")
        by, shown = f"[{Path(path).name}]({path})", [row for row in told["rows"] if "readme" in row]
        for row in shown:  # what stands behind a number is in RESULTS.md
            lines.append(f"| {row['readme']} | {row['measured'].split(' (')[0]} | {row.get('asked', '')} | {by} |")
    return "\n".join(["", *lines, "", ""])


def _section(told: Mapping[str, Any]) -> str:
    names = [name for name in ("what", "measured", "asked") if any(name in row for row in told["rows"])]
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    lines += [f"| {' | '.join(str(row.get(name, '')) for name in names)} |" for row in told["rows"]]
    versions = ", ".join(f"{name} {number}" for name, number in told["versions"].items())
    said = f"{told['date']}, commit {told['commit']}; {told['machine']}; {versions}"
    note = f"{told['note']}\n\n" if told["note"] else ""
    table = "\n".join(lines)
    return f"## {told['title']}\n\n```sh\n{told['command']}\n```\n\n{said}\n\n{note}{table}\n"


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def _processor() -> str:
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].partition(":")[2].strip() if names else platform.machine()


if __name__ == "__main__":
    write()
