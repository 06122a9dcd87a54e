"""Kills what ivekit does, at moments drawn by lot, and looks at what is left and at how it ends.

python tests/kill [TASK ...] [--times 200]

A trial is one to three SIGKILLs, one after another: after a time, or just before the n-th time that a file of the
folder is opened, renamed or removed. After each the folder must stand: what is in it is old or new, and whole. Then the
same is done to its end, and every file must be, byte for byte, what it is where nobody was killed, none left over.
Trials are drawn by a seed; each that is wrong is printed, and the exit status is then 1.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / "benchmarks")]

from killer import Outcome, Task, Whole, never_killed, trial  # noqa: E402
from results import keep  # type: ignore[import-not-found]  # noqa: E402
from tasks import TASKS  # noqa: E402

SLOW = {"report": 0.25, "train, with its report": 0.25, "tune": 0.5, "train in two processes": 0.5}  # fewer trials


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("tests/kill", description=__doc__)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"of {', '.join(TASKS)}; all by default")
    parser.add_argument("--times", type=int, default=200, help="trials in all, at least one a task")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", action="store_true", help="outcomes go to kill.csv, which a next call goes on with, "
                        "and the table to RESULTS.md in tests/benchmarks")  # fmt: skip
    said = parser.parse_args(arguments)
    names = said.tasks or list(TASKS)
    if unknown := [name for name in names if name not in TASKS]:
        parser.error(f"no task {unknown}: there are {', '.join(TASKS)}")
    weight = sum(SLOW.get(name, 1) for name in names)
    outcomes: list[dict[str, str]] = []
    kept = Kept(KEPT) if said.keep else None
    where = Path(tempfile.mkdtemp(prefix="kill-"))
    for name in names:
        drawn = [f"{said.seed} {name} {i}" for i in range(max(1, round(said.times * SLOW.get(name, 1) / weight)))]
        done = kept.rows() if kept else []
        todo = [seed for seed in drawn if seed not in {row["trial"] for row in done}]
        for seed, one in trials(TASKS[name], todo, where / name) if todo else ():
            outcomes.append({"trial": seed, "task": name, **{key: str(value) for key, value in one._asdict().items()}})
            if kept:
                kept.add(outcomes[-1])
        tell(name, [row for row in (kept.rows() if kept else outcomes) if row["task"] == name])
    shutil.rmtree(where)
    if kept:
        keep("kill", "Killed at any moment", "python tests/kill --keep", table(kept.rows()), NOTE)
    return int(any(row["wrong"] for row in outcomes))


KEPT = Path(__file__).parents[1] / "benchmarks" / "results" / "kill.csv"
NOTE = (
    "Each trial is one to three SIGKILLs, at a random time or file event, then the same thing done to its end. Right "
    "are trials where after each kill every file stood (old or new, and whole), and all ended byte for byte as without."
)


class Kept:
    """Outcomes in a CSV, a line each, as they come; several processes may add to it."""

    def __init__(self, path: Path):
        self.path, self.columns = path, ["trial", "task", *Outcome._fields]

    def rows(self) -> list[dict[str, str]]:
        if not self.path.exists():
            return []
        with self.path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def add(self, row: dict[str, str]) -> None:
        begun = self.path.exists()
        with self.path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, self.columns, lineterminator="\n")
            if not begun:
                writer.writeheader()
            writer.writerow(row)


def trials(task: Task, seeds: Sequence[str], folder: Path) -> Iterator[tuple[str, Outcome]]:
    warm(never_killed(task, folder))
    whole = never_killed(task, folder)  # and how long it takes when nothing is left to import
    for seed in seeds:
        yield seed, trial(task, whole, folder, seed)


def tell(name: str, rows: Sequence[Mapping[str, str]]) -> None:
    for row in rows:
        if row["wrong"]:
            print(f"WRONG {row['trial']} ({row['moments']}; {row['found']}): {row['wrong']}", flush=True)
    found = Counter(word for row in rows for word in row["found"].split(", "))
    print(f"{name}: {said(rows)}; found {dict(found)}", flush=True)


def said(rows: Sequence[Mapping[str, str]]) -> str:
    right, kills = sum(not row["wrong"] for row in rows), sum(int(row["kills"]) for row in rows)
    return f"{right} of {len(rows)} trials, {kills} kills"


def warm(whole: Whole) -> None:
    """Imports what a task imports, so that its children need not, one by one."""
    with warnings.catch_warnings(action="ignore"):
        for module in whole.modules:
            if module.partition(".")[0] not in ("__main__", "__mp_main__"):
                with suppress(ImportError, AttributeError):
                    importlib.import_module(module)
    threads = sorted((thread / "comm").read_text().strip() for thread in Path("/proc/self/task").iterdir())
    others = [name for name in threads if not name.startswith(("python", "jemalloc"))]  # Arrow's memory minds forks
    assert not others and threads.count("python") < 2, f"threads {threads}: children of this process might hang"


def table(rows: Sequence[Mapping[str, str]]) -> list[dict[str, object]]:
    parts = {name: [row for row in rows if row["task"] == name] for name in TASKS} | {"all": rows}
    return [
        {"what": name, "measured": said(each), "asked": "all", "number": sum(not r["wrong"] for r in each) / len(each)}
        for name, each in parts.items()
        if each
    ]


if __name__ == "__main__":
    sys.exit(main())
