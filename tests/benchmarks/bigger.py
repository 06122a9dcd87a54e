"""More recordings than memory: what preparing and training on them take, beside the same rows in memory.

python tests/benchmarks/bigger.py GIGABYTES [FOLDER] [simulate | prepare | train ...]

Recordings of the default world's shapes (MEG, film, behaviour; 90 kB a trial, 100 MB a recording) are simulated on
disk, made one folder of rows by two processes, and the default IVE is fitted and trained on it, the page cache emptied
of it before. Each part is a process of its own, whose peak of resident memory (with its children) is watched, that of
its own (anonymous) and that of files (mapped) apart. The folder is deleted at the end, unless parts of it are named;
what all parts together have measured is kept.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from results import keep

import ivekit as ive
from ivekit import io, synth
from ivekit.recipe import Recipe, parts
from ivekit.training import evaluate, train

TRIALS, STEPS, WARM_UP = 1100, 150, 10  # of a recording; in training; of them not timed
KINDS = ("RssAnon", "RssFile")
SAID = "said.jsonl"  # in the folder: what each part has measured


def simulate(folder: Path, gigabytes: float) -> None:
    """Recordings as NPZ files: the simulated trials, each time with other noise."""
    world = synth.audiovisual(TRIALS, n_subjects=1).views
    x = {name: t.numpy() for name, t in world.items()}
    n_bytes = sum(t.nbytes for t in x.values())
    (folder / "recordings").mkdir(parents=True)
    for i in range(round(gigabytes * 1e9 / n_bytes)):
        random, gain = np.random.default_rng(i), 0.1 * x["meg"].std()
        noise = random.standard_normal(x["meg"].shape, np.float32)
        np.savez(folder / "recordings" / f"s{i:03d}.npz", **(x | {"meg": x["meg"] + gain * noise}))
    say(folder, "recordings simulated", f"{i + 1} of {n_bytes / 1e6:.0f} MB and {TRIALS} trials")


def read(path: Path, sensors: ive.Sensors, columns: dict) -> ive.Views:
    """A recording."""
    with np.load(path) as file:
        tensors = {name: torch.from_numpy(file[name]) for name in file.files}
    return ive.Views(tensors, about={"meg": sensors, "behaviour": columns})


def prepare(folder: Path) -> None:
    """One folder of rows, the last recordings for testing."""
    about = synth.audiovisual(8, n_subjects=1).views.about
    files = sorted((folder / "recordings").iterdir())
    n, names = max(1, len(files) // 10), [path.stem for path in files]
    reader = partial(read, sensors=about["meg"], columns=about["behaviour"])
    rows = io.prepare(files, folder / "rows", reader, processes=2, validation=names[-n:], test=names[-2 * n : -n])
    n_bytes = sum(x.nbytes for x in rows.tensors.values())
    say(folder, "rows prepared", f"{len(rows)}, {n_bytes / 1e9:.1f} GB", number=n_bytes / 1e9)


def learn(folder: Path) -> None:
    """Fits and trains the default IVE, a step on rows on disk and one on rows in memory in turn, and evaluates it."""
    for path in (folder / "rows").glob("*.npy"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    recipe = Recipe("ive", {"data": str(folder / "rows"), "epochs": STEPS})
    with timed(folder, "standardisation fitted, weights drawn"):
        rows = parts(recipe.data())
        some = rows["train"][: 64 * 32]
        model, objective = recipe.model(rows["train"]), recipe.objective(rows["train"])
    size, how = recipe.settings["batch_size"], recipe.training(rows["train"])
    with timed(folder, "all training rows looked through for what is not finite"):
        disk = train(model, objective, rows["train"], **how)
    memory = train(model, objective, some, **how)
    seconds = {"on disk": [], "in memory": []}
    for _ in range(STEPS):
        for where, steps in zip(seconds, (disk, memory)):
            begun = time.perf_counter()
            next(steps)
            seconds[where].append(time.perf_counter() - begun)
    sums = {where: sum(each[WARM_UP:]) for where, each in seconds.items()}
    for where, each in seconds.items():
        speed = size * (STEPS - WARM_UP) / sums[where]
        say(folder, f"trained {where}", f"{speed:.0f} rows/s in steps of {size}, median {1e3 * median(each):.1f} ms")
    ratio = sums["in memory"] / sums["on disk"]
    say(folder, "throughput on disk over in memory", f"{ratio:.3f}", bar(ratio >= 0.8, "at least 0.8"), ratio)
    with timed(folder, f"evaluated on {len(rows['validation'])} validation rows"):
        evaluate(model, objective, rows["validation"])


@contextmanager
def timed(folder: Path, what: str) -> Iterator[None]:
    """Says the seconds that the block took."""
    begun = time.perf_counter()
    yield
    say(folder, what, f"{time.perf_counter() - begun:.0f} s")


def say(folder: Path, what: str, measured: str, asked: str = "", number: float | None = None) -> None:
    """Prints what was measured, and notes it in the folder, whichever process does."""
    row: dict[str, Any] = {"what": what, "measured": measured, "asked": asked, "number": number}
    print(*filter(None, (f"{what}: {measured}", asked)), sep="; ", flush=True)
    with (folder / SAID).open("a") as file:
        file.write(json.dumps({name: value for name, value in row.items() if value not in ("", None)}) + "\n")


def bar(is_met: bool, asked: str) -> str:
    return f"{asked}: {'met' if is_met else 'missed'}"


def resident(pid: int) -> np.ndarray:
    """Bytes that a process and its children hold: of their own, and of files."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it has ended
        return np.zeros(len(KINDS))
    held = {name: 1024 * int(said.split()[0]) for name, said in (line.split(":", 1) for line in lines) if name in KINDS}
    return np.array([held.get(kind, 0) for kind in KINDS]) + sum(resident(int(child)) for child in children)


def part(name: str, folder: Path, gigabytes: float) -> None:
    """One part in a process of its own, watched fifty times a second."""
    begun, peak, together = time.perf_counter(), np.zeros(len(KINDS)), 0.0
    process = subprocess.Popen([sys.executable, "-u", __file__, str(gigabytes), str(folder), f"={name}"])
    while process.poll() is None:
        held = resident(process.pid)
        peak, together = np.maximum(peak, held), max(together, float(held.sum()))
        time.sleep(0.02)
    if process.returncode:
        sys.exit(f"{name} failed")
    held = f"{together / 1e9:.2f} GB (of its own {peak[0] / 1e9:.2f} GB, of files {peak[1] / 1e9:.2f} GB)"
    seconds = f"{time.perf_counter() - begun:.0f} s"
    say(folder, f"{name}: peak of resident memory", f"{held} in {seconds}", bar(together < 2e9, "below 2 GB"), together)


def main(gigabytes: str = "0.5", folder: str = "", *names: str) -> None:
    """Does the parts that are named, or all, and deletes what they made."""
    where = Path(folder or tempfile.mkdtemp())
    does = {"simulate": partial(simulate, gigabytes=float(gigabytes)), "prepare": prepare, "train": learn}
    if names and names[0].startswith("="):
        return does[names[0][1:]](where)
    for name in names or does:
        part(name, where, float(gigabytes))
    if not names:
        rows = [json.loads(line) for line in (where / SAID).read_text().splitlines()]
        note = f"{gigabytes} GB of recordings, of which rows are made and trained on; a part a process."
        keep("bigger", "Rows beyond memory", f"python tests/benchmarks/bigger.py {gigabytes}", rows, note)
        shutil.rmtree(where)


if __name__ == "__main__":
    main(*sys.argv[1:])
