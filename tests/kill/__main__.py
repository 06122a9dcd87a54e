"""Kills what ivekit does, at moments drawn by lot, and looks at what is left and at how it ends.

python tests/kill [TASK ...] [--times 200]

A trial is one to three SIGKILLs, one after another: after a time, or just before the n-th time that a file of the
folder is opened, renamed or removed. After each the folder must stand: what is in it is old or new, and whole. Then the
same is done to its end, and every file must be, byte for byte, what it is where nobody was killed, none left over.
Trials are drawn by a seed; each that fails is printed, and the exit status is then 1.
"""

from __future__ import annotations

import argparse
import importlib
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / "benchmarks")]

from killer import Outcome, Task, Whole, never_killed, trial  # noqa: E402
from results import keep  # noqa: E402
from tasks import TASKS  # noqa: E402

SHARES = {"report": 0.4, "train in two processes": 0.5}  # of a task's share, of what takes longest


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("tests/kill", description=__doc__)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"of {', '.join(TASKS)}; all by default")
    parser.add_argument("--times", type=int, default=200, help="trials in all, at least one a task")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", action="store_true", help="the table goes to tests/benchmarks/RESULTS.md")
    said = parser.parse_args(arguments)
    names = said.tasks or list(TASKS)
    if unknown := [name for name in names if name not in TASKS]:
        parser.error(f"no task {unknown}: there are {', '.join(TASKS)}")
    weight = sum(SHARES.get(name, 1) for name in names)
    times = {name: max(1, round(said.times * SHARES.get(name, 1) / weight)) for name in names}
    where = Path(tempfile.mkdtemp(prefix="kill-"))
    outcomes = {name: trials(name, TASKS[name], times[name], said.seed, where / name) for name in names}
    shutil.rmtree(where)
    if said.keep:
        keep("kill", "Killed at any moment", "python tests/kill --keep", table(outcomes), NOTE)
    return int(any(one.wrong for each in outcomes.values() for one in each))


NOTE = (
    "Each trial is one to three SIGKILLs, at a random time or file event, then the same thing done to its end. Counted "
    "are trials after which every file stood (old or new, and whole), and all ended byte for byte as without a kill."
)


def trials(name: str, task: Task, times: int, seed: int, folder: Path) -> list[Outcome]:
    whole = never_killed(task, folder)
    warm(whole)
    outcomes = []
    for i in range(times):
        outcomes.append(one := trial(task, whole, folder, f"{seed} {name} {i}"))
        if one.wrong:
            print(f"WRONG {name} {i} ({one.moments}; {one.found}): {one.wrong}", flush=True)
    kills, found = sum(one.kills for one in outcomes), Counter(", ".join(one.found for one in outcomes).split(", "))
    wrong = sum(bool(one.wrong) for one in outcomes)
    print(f"{name}: {times} trials of {whole.seconds:.1f} s and {whole.events} events, {kills} kills, {wrong} wrong; "
          f"found {dict(found)}", flush=True)  # fmt: skip
    return outcomes


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


def table(outcomes: dict[str, list[Outcome]]) -> list[dict[str, object]]:
    rows = []
    for name, each in outcomes.items():
        right, kills = sum(not one.wrong for one in each), sum(one.kills for one in each)
        rows.append({"what": name, "measured": f"{right} of {len(each)} trials, {kills} kills", "asked": "all",
                     "number": right / len(each)})  # fmt: skip
    right, n = (sum(f(one) for each in outcomes.values() for one in each) for f in (lambda o: not o.wrong, lambda _: 1))
    kills = sum(one.kills for each in outcomes.values() for one in each)
    return [*rows, {"what": "all", "measured": f"{right} of {n} trials, {kills} kills", "asked": "all"}]


if __name__ == "__main__":
    sys.exit(main())
