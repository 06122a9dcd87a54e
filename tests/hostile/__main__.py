"""Reads every spoilt file in a child of little memory and little time, and prints a line of JSON for each.

``python tests/hostile FOLDER [KIND ...]``. A line says what was raised, how many seconds it took, how many MB beside
those that the process had, and what is in the folder that was not there before. The last line of each kind is of the
good file.
"""

from __future__ import annotations

import json
import os
import resource
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from found import FOUND
from kinds import KINDS, Kind
from spoilt import Way, ways

MEMORY = 700 * 2**20  # bytes that reading may take beside what the process has
SECONDS = 20  # a child that makes a bomb needs some of them for that
NOBODY = 65534  # who may read nothing of ours; root may read all, so only for this user is a file unreadable
GOOD = Way("good", lambda _: None)


def main(root: Path, wanted: list[str], out: TextIO) -> None:
    root.chmod(0o755)
    for name in wanted or KINDS:
        for told in reports(root, name, KINDS[name]):
            print(json.dumps(told), file=out, flush=True)


def reports(root: Path, name: str, kind: Kind) -> Iterator[dict[str, Any]]:
    good, place = root / name / "good", root / name / "place"
    good.mkdir(parents=True)
    if (told := in_child(partial(made, kind, good, place)))[
        "raised"
    ]:  # this process must have no threads when it forks
        raise RuntimeError(f"no good file of {name}: {told['raised']}: {told['message']}")
    path = Path(place.read_text())
    for i, way in enumerate([*ways(name, root), *FOUND.get(name, ()), GOOD]):
        folder = root / name / str(i)
        shutil.copytree(good, folder)
        spoilt = folder / path.relative_to(good)
        told = in_child(partial(outcome, kind, way, spoilt, folder, path))
        left = sorted(set(listing(folder)) - set(told.pop("before")))
        yield {"kind": name, "way": way.name, "may": way.may, "file": spoilt.name, "left": left, **told}
        shutil.rmtree(folder)


def made(kind: Kind, folder: Path, place: Path) -> dict[str, Any]:
    return caught(lambda: place.write_text(str(kind.make(folder))))


def outcome(kind: Kind, way: Way, path: Path, folder: Path, good: Path) -> dict[str, Any]:
    """Spoils a file, then reads it with little memory."""
    act = partial(caught, partial(way.spoil, path))
    told = in_child(act) if way.heavy else act()  # in a child, the memory it takes is none of ours
    if told["raised"]:
        return told | {"raised": f"not spoilt: {told['raised']}"}
    before = listing(folder)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
    had, start = peak(), time.perf_counter()
    if way.name == "unreadable" and os.geteuid() == 0:
        kind.read(good)  # libraries that are imported late are so now, while we may
        os.setresuid(NOBODY, NOBODY, NOBODY)
    told = caught(lambda: kind.read(path))
    return told | {"before": before, "seconds": time.perf_counter() - start, "peak": peak() - had}


def caught(act: Callable[[], Any]) -> dict[str, Any]:
    """What an act raises, if anything."""
    try:
        act()
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is what is looked at
        types = [each.__name__ for each in type(error).__mro__]
        return {"raised": types[0], "types": types, "message": str(error)[:600], "before": []}
    return {"raised": "", "types": [], "message": "", "before": []}


def peak() -> float:
    """The most memory that this process has had at once, MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def listing(folder: Path) -> list[str]:
    """Everything in a folder, and how large it is."""
    return [f"{path.relative_to(folder)} {path.lstat().st_size}" for path in folder.rglob("*")]


def in_child(act: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What an act says in a fork, which is killed after `SECONDS`."""
    receive, send = os.pipe()
    if not (pid := os.fork()):
        os.write(send, json.dumps(act()).encode()[:60_000])
        os._exit(0)
    os.close(send)
    if not (in_time := bool(select.select([receive], [], [], SECONDS)[0])):
        os.kill(pid, signal.SIGKILL)
    said = b"".join(iter(partial(os.read, receive, 2**16), b""))
    os.close(receive)
    _, status = os.waitpid(pid, 0)
    died = f"died of {status}" if in_time else f"no end within {SECONDS} s"
    return json.loads(said) if said else {"raised": died, "types": [], "message": "", "before": []}


def hushed() -> TextIO:
    """The standard output; what libraries write there from now on goes nowhere."""
    out, nowhere = os.fdopen(os.dup(1), "w"), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    return out


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:], sys.stdout if os.environ.get("LOUD") else hushed())
