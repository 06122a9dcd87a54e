"""Something is done in a child that is killed at a moment drawn by lot; then it is done again, and its end compared."""

from __future__ import annotations

import ast
import mmap
import os
import select
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from random import Random
from time import monotonic
from typing import IO, Any, NamedTuple

PATIENCE = 300  # seconds after which a child hangs
EVENTS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree")


class Task(NamedTuple):
    """What is killed, and what must hold.

    begin : what there is before, in an empty folder. does : what is killed, and is done again.
    stands : what there is right after a kill can be read; an error if not, or words for what there is.
    ends : what there is at the end, {file: bytes}.
    """

    begin: Callable[[Path], Any]
    does: Callable[[Path], Any]
    stands: Callable[[Path], str]
    ends: Callable[[Path], Mapping[str, bytes]]


class Whole(NamedTuple):
    """A task that nobody killed: its end, how often it touched its folder, its seconds, and what it imported."""

    end: dict[str, bytes]
    events: int
    seconds: float
    modules: list[str]


class Outcome(NamedTuple):
    """How often it was killed, when, what there was then, and what went wrong, if anything."""

    kills: int
    moments: str
    found: str
    wrong: str


def never_killed(task: Task, folder: Path) -> Whole:
    """What a task ends with; FOLDER/before, with which every trial begins, is made here, too."""
    before, here = fresh(folder / "before"), folder / "whole"
    for does in (partial(task.begin, before), partial(_measured, task, before, here)):
        told, status = in_child(does)
        if status:
            raise RuntimeError(f"it cannot be done at all: {told}")
    n, seconds, modules = ast.literal_eval(told)
    return Whole(dict(task.ends(here)), n, seconds, modules)


def _measured(task: Task, before: Path, here: Path) -> tuple[int, float, list[str]]:
    """Does it, and says how often it touched the folder, its seconds, and what it imported."""
    copied(before, here)
    began, events = monotonic(), Shared(0)
    with hooked(here, lambda: events.add(1)):
        task.does(here)
    return events.add(0), monotonic() - began, sorted(sys.modules)


def trial(task: Task, whole: Whole, folder: Path, seed: str) -> Outcome:
    """One to three kills, one after another, and then the end; each is looked at."""
    random = Random(seed)
    copied(folder / "before", folder := folder / "killed")
    kills, moments, found = 0, [], []
    for _ in range(random.choice((1, 1, 2, 3))):
        if random.random() < 0.6:
            event, after = random.randint(1, whole.events), None
        else:
            event, after = None, random.uniform(0, whole.seconds)
        moments.append(f"event {event}" if event else f"{after:.3f} s")
        told, status = in_child(partial(_killed_at, event, partial(task.does, folder), folder), after)
        if status not in (0, -signal.SIGKILL):
            return Outcome(kills, ", ".join(moments), ", ".join(found), f"done again, it said: {told}")
        kills += status == -signal.SIGKILL
        said, status = in_child(partial(task.stands, folder))
        if status:
            return Outcome(kills, ", ".join(moments), ", ".join(found), f"after a kill: {said}")
        found.append(ast.literal_eval(said))
    told, status = in_child(partial(task.does, folder))
    wrong = f"done again, it said: {told}" if status else "; ".join(differences(whole.end, task.ends(folder)))
    return Outcome(kills, ", ".join(moments), ", ".join(found), wrong)


def differences(one: Mapping[str, bytes], other: Mapping[str, bytes]) -> Iterator[str]:
    """In words."""
    for name in sorted({*one, *other}):
        if one.get(name) != other.get(name):
            yield f"{name} differs" if name in one and name in other else f"{name} is in one alone"


def contents(folder: Path, but: str = "") -> dict[str, bytes]:
    """Every file beneath a folder, those with a hidden name, too: {path: bytes}."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != but]
    empty = [path for path in folder.rglob("*") if path.is_dir() and not any(path.iterdir())]
    named = {str(path.relative_to(folder)): path.read_bytes() for path in files}
    return named | {f"{path.relative_to(folder)}/": b"" for path in empty}


def fresh(folder: Path) -> Path:
    """An empty folder in its place."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def copied(one: Path, other: Path) -> None:
    """The same files, in place of what is there."""
    shutil.rmtree(other, ignore_errors=True)
    shutil.copytree(one, other)


def in_child(does: Callable[[], Any], after: float | None = None) -> tuple[str, int]:
    """What a child's work came to, as text, and how the child ended: 0, or minus the signal that ended it.

    after : seconds to the SIGKILL. A child of a process without threads begins with all that is imported.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8") as tell:
        if not (child := os.fork()):
            os.setpgid(0, 0)
            _do(does, tell)
        dead = os.pidfd_open(child)
        ended = select.select([dead], [], [], PATIENCE if after is None else after)[0]
        for kill in (os.killpg, os.kill):  # and the children that it may have left
            with suppress(ProcessLookupError):
                kill(child, signal.SIGKILL)
        os.close(dead)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        tell.seek(0)
        told = tell.read()
    if after is None and not ended:
        return f"nothing for {PATIENCE} s", 1
    return told, status


def _do(does: Callable[[], Any], tell: IO[str]) -> None:
    """All that a child does."""
    status = 1
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        tell.write(repr(does()))
        status = 0
    except BaseException as error:  # noqa: BLE001  # whatever it is, the parent must hear of it
        lines = [line.strip() for line in traceback.format_exc().splitlines() if "File " in line]
        tell.write(f"{type(error).__name__}: {error} {lines[-4:]}")
    finally:
        tell.flush()
        os._exit(status)


def _killed_at(event: int | None, does: Callable[[], Any], folder: Path) -> None:
    """Does it in a process that kills itself when it, or one that it began, touches the folder for the n-th time."""
    left = Shared(event or 0)

    def hook() -> None:
        if left.add(-1) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    with hooked(folder, hook):
        does()


class Shared:
    """A number that a process and its children have in common."""

    def __init__(self, value: int):
        self.memory = mmap.mmap(-1, 8)
        self.memory[:] = value.to_bytes(8, "little", signed=True)

    def add(self, n: int) -> int:
        value = n + int.from_bytes(self.memory[:], "little", signed=True)
        self.memory[:] = value.to_bytes(8, "little", signed=True)
        return value


@contextmanager
def hooked(folder: Path, does: Callable[[], Any]) -> Iterator[None]:
    """Does something before the process opens, makes, renames or removes anything in a folder, or exchanges names."""
    inside = str(folder)

    def hook(name: str, told: tuple) -> None:
        here = name in EVENTS and isinstance(told[0], str | Path) and str(told[0]).startswith(inside)
        in_a_tree = name in ("os.remove", "os.rmdir") and told[1] != -1  # named from the folder that it is in
        if on and (here or in_a_tree or name == "ctypes.dlsym" and "renameat2" in told):
            does()

    on = [True]
    sys.addaudithook(hook)
    try:
        yield
    finally:
        on.clear()
