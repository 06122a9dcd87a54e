"""Ten thousand spoilt files of every format that ivekit reads: each is read, or refused by one clear error.

python tests/fuzz [KIND ...] [--runs 10000] [--seconds S]      # goes on where it was stopped
python tests/fuzz KIND --again                                 # forgets what was counted of a kind, and begins anew
python tests/fuzz KIND --show 1234                             # one input: what is wrong, and where it lies

Counts are kept in tests/fuzz/counts.csv, a line for each some hundred inputs, faults in tests/fuzz/faults.jsonl, and
the table of all in tests/benchmarks/results/fuzz.json. The inputs are the same on every machine (change.py).
"""

from __future__ import annotations

import argparse
import csv
import fcntl
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[threads] = "1"  # a process of several threads should not fork

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent / "benchmarks"))

from feed import Good, Told, feed, outcome  # noqa: E402
from good import KINDS  # noqa: E402

BATCH = 500
FIELDS = ("kind", "first", "inputs", "read", "faults", "seconds", "slowest", "peak")


def main(told: argparse.Namespace, out: Any) -> int:
    names = told.kinds or list(KINDS)
    if unknown := set(names) - set(KINDS):
        raise SystemExit(f"there is no kind {sorted(unknown)}; there are {list(KINDS)}")
    end = time.monotonic() + told.seconds
    if told.again:
        forget(told.counts, names)
    for name, inputs in to_do(told.counts, names, told.runs):
        if time.monotonic() > end:
            break
        with tempfile.TemporaryDirectory(dir=told.scratch) as folder:
            one = feed(name, Path(folder), inputs)
        note(told.counts, name, inputs, one)
        said = f"{one.read} read, {len(one.faults)} faults, slowest {one.slowest:.2f} s, {one.peak:.0f} MB"
        print(f"{name} {inputs.start}-{inputs.stop}: {said}, {one.seconds:.1f} s", file=out, flush=True)
        for fault in one.faults:
            print(f"  {json.dumps(fault)[:300]}", file=out, flush=True)
    if told.counts == HERE:
        table()
    return sum(int(row["faults"]) for row in rows(told.counts))


def to_do(counts: Path, names: list[str], runs: int) -> Iterator[tuple[str, range]]:
    """What is not yet counted: some hundred inputs of each kind in turn."""
    done = Counter({name: 0 for name in names})
    for row in rows(counts):
        done[row["kind"]] = max(done[row["kind"]], int(row["first"]) + int(row["inputs"]))
    for first in range(0, runs, BATCH):
        for name in names:
            start, stop = max(first, done[name]), min(first + BATCH, runs)
            if start < stop:
                yield name, range(start, stop)


def rows(counts: Path) -> list[dict[str, str]]:
    """What is counted so far."""
    path = counts / "counts.csv"
    with path.open(newline="") if path.exists() else open(os.devnull) as file:
        return list(csv.DictReader(file))


@contextmanager
def locked(counts: Path) -> Iterator[None]:
    """Several of these may run, each of other kinds."""
    with open(Path(tempfile.gettempdir()) / "ivekit-fuzz.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        counts.mkdir(parents=True, exist_ok=True)
        yield


def note(counts: Path, name: str, inputs: range, one: Told) -> None:
    new = dict(zip(FIELDS, (name, inputs.start, one.inputs, one.read, len(one.faults)))) | {
        "seconds": f"{one.seconds:.1f}", "slowest": f"{one.slowest:.2f}", "peak": f"{one.peak:.0f}"}  # fmt: skip
    with locked(counts):
        write(counts, [*rows(counts), new])
        with (counts / "faults.jsonl").open("a") as file:
            file.writelines(json.dumps(fault) + "\n" for fault in one.faults)


def write(counts: Path, kept: list[dict[str, Any]]) -> None:
    new = counts / ".counts.csv"
    with new.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)
    new.replace(counts / "counts.csv")


def forget(counts: Path, names: list[str]) -> None:
    with locked(counts):
        write(counts, [row for row in rows(counts) if row["kind"] not in names])
        path = counts / "faults.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        path.write_text("".join(line for line in lines if json.loads(line)["kind"] not in names))


def table() -> None:
    """The counts, a row a kind, among the project's results."""
    from results import keep

    told = []
    for name in KINDS:
        mine = [row for row in rows(HERE) if row["kind"] == name]
        if mine:
            n, read, faults = (sum(int(row[key]) for row in mine) for key in ("inputs", "read", "faults"))
            slowest, peak = (max(float(row[key]) for row in mine) for key in ("slowest", "peak"))
            said = f"{n:,} inputs: {read:,} read, {n - read - faults:,} refused, {faults} faults; "
            said += f"slowest {slowest:.2f} s, most memory {peak:.0f} MB"
            told.append({"what": name, "measured": said, "asked": "10,000 inputs, no fault", "number": faults})
    note = (
        "A fault is an exception other than ValueError or FileNotFoundError, one that does not name the file, no end "
        "within 10 s of the processor, a process that dies, or a file left behind. Seconds are the processor's, memory "
        "is what one input took beside what the process had, of which it was given 400 MB. Inputs are changed files: "
        "what is read was changed where it does not matter, or in its numbers."
    )
    keep("fuzz", "Spoilt files, read", "python tests/fuzz", told, note)


def show(name: str, i: int, out: Any) -> None:
    """One input, in a folder that stays."""
    good = Good.of(name, Path(tempfile.mkdtemp(prefix="fuzz-")) / "one")
    file, body = good.spoilt(name, i)
    file.write_bytes(body)
    print(f"{file}: {len(body)} bytes, {len(good.files[file])} were good", file=out)
    print(json.dumps(outcome(KINDS[name].read, good), indent=1), file=out)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python tests/fuzz", description="Reads spoilt files of every format.")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="which; all by default")
    parser.add_argument("--runs", type=int, default=10_000, help="inputs of each kind")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="after which nothing more is begun")
    parser.add_argument("--again", action="store_true", help="forget what was counted of these kinds")
    parser.add_argument("--show", type=int, metavar="I", help="look at one input of one kind")
    parser.add_argument("--counts", type=Path, default=HERE, help="the folder of counts.csv and faults.jsonl")
    parser.add_argument("--scratch", type=Path, help="where the files are written; the system's temporary folder")
    return parser.parse_args()


def hushed() -> Any:
    """The standard output; what libraries write there from now on goes nowhere."""
    out, nowhere = os.fdopen(os.dup(1), "w"), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    return out


if __name__ == "__main__":
    asked = parsed()
    if asked.show is not None:
        show(asked.kinds[0], asked.show, sys.stdout)
    else:
        sys.exit(bool(main(asked, hushed())))
