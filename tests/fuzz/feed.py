"""Spoilt files are read one after another in a child of little memory and little time; what went wrong is told.

A child lives for many inputs. When it dies (of a signal, of the limit of time) the one that it was at is the fault,
and another child goes on behind it.
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import resource
import shutil
import signal
import struct
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from change import changed
from good import FOLDERS, KINDS, make

MEMORY = 400 * 2**20  # bytes that reading may take beside what the process has
SECONDS, PATIENCE = 10, 120  # of the processor, and on a busy machine's clock, after which an input counts as a hang
OURS = {"this RawArray"}  # what events are of, where only they come from a file
MAY = ("FileNotFoundError", "ValueError")
COST = 2  # good files beside the one that is spoilt, to splice with


class Told(NamedTuple):
    """What came of some inputs."""

    inputs: int
    read: int
    seconds: float  # of the processor, of all
    slowest: float
    peak: float  # MB
    faults: list[dict[str, Any]]


class Good(NamedTuple):
    """A good file, those beside it, and others of its format, all as bytes."""

    root: Path
    path: Path
    files: dict[Path, bytes]
    others: dict[Path, list[bytes]]

    @classmethod
    def of(cls, name: str, root: Path) -> Good:
        root = root.absolute()
        path = make(name, root / "good")
        files = _files(root / "good")
        others: dict[Path, list[bytes]] = {file: [] for file in files}
        for seed in range(1, 1 + COST):
            make(name, root / f"other{seed}", seed)
            for file, body in _files(root / f"other{seed}").items():
                others.setdefault(root / "good" / file.relative_to(root / f"other{seed}"), []).append(body)
            shutil.rmtree(root / f"other{seed}")
        return cls(root / "good", path, files, others)

    def spoilt(self, name: str, i: int) -> tuple[Path, bytes]:
        """The i-th input of a kind: which file, and what stands in it instead."""
        random = Random(f"{name} {i}")
        any_of = sorted(self.files) if name in FOLDERS else []
        file = random.choice([self.path, *any_of])
        return file, changed(file.name, self.files[file], self.others[file], random)

    def restore(self) -> None:
        """The folder as it was."""
        for path in sorted(set(self.root.rglob("*")) - set(self.files), reverse=True):
            if path.is_dir() and not any(path in file.parents for file in self.files):
                shutil.rmtree(path)
            elif not path.is_dir():
                path.unlink()

    @property
    def names(self) -> set[str]:
        """What an error may call what it is about."""
        return {file.name for file in self.files} | {str(self.path.parent)}


def _files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def feed(name: str, root: Path, inputs: range) -> Told:
    """What comes of these inputs of a kind."""
    shared, told = mmap.mmap(-1, 64), []
    start = inputs.start
    while start < inputs.stop:
        here = range(start, inputs.stop)
        one, died = _in_child(lambda out, here=here: _read_all(name, root, here, shared, out), root)
        at, read, seconds, slowest, peak = struct.unpack("<qqddd", shared[:40])
        faults = [json.loads(line) for line in one.splitlines()]
        if died and at < 0:
            raise RuntimeError(f"{name}: the good file cannot be made or read: {died} {faults}")
        faults += [{"kind": name, "input": at, "what": died, "message": ""}] if died else []
        start = at + 1
        told.append(Told(start - here.start, read, seconds, slowest, peak, faults))
    return total(told)


def total(told: list[Told]) -> Told:
    sums = [sum(getattr(one, name) for one in told) for name in ("inputs", "read", "seconds")]
    most = [max(getattr(one, name) for one in told) for name in ("slowest", "peak")]
    return Told(*sums, *most, [fault for one in told for fault in one.faults])


def _in_child(act: Callable[[Any], None], root: Path) -> tuple[str, str]:
    """What an act writes in a fork, and of what that died, if it did."""
    told = root / "told"
    told.write_text("")
    if not (pid := os.fork()):
        code = 1
        try:
            with told.open("a", buffering=1) as out:
                act(out)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    number = os.waitstatus_to_exitcode(status)
    slow = {-signal.SIGPROF: f"no end within {SECONDS} s", -signal.SIGALRM: f"no end within {PATIENCE} s of clock"}
    died = slow.get(number, f"died of {signal.Signals(-number).name}" if number < 0 else f"left with {number}")
    died = died if number else ""
    return told.read_text(), died


def _read_all(name: str, root: Path, inputs: range, shared: mmap.mmap, out: Any) -> None:
    """Reads each input in turn, and says where it is."""
    shared[:40] = struct.pack("<qqddd", -1, 0, 0.0, 0.0, 0.0)
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    work = root / str(os.getpid())
    good, kind = Good.of(name, work), KINDS[name]
    kind.read(good.path)  # what is imported late is so now
    good.restore()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    had, read, seconds, slowest, most = peak(), 0, 0.0, 0.0, 0.0
    for i in inputs:
        shared[:40] = struct.pack("<qqddd", i, read, seconds, slowest, most)
        file, body = good.spoilt(name, i)
        file.write_bytes(body)
        told, took = _one(kind.read, good)
        read, seconds, slowest = read + (told == {}), seconds + took, max(slowest, took)
        most = max(most, peak() - had)
        file.write_bytes(good.files[file])
        if told.get("what"):
            print(json.dumps({"kind": name, "input": i, "file": file.name, **told}), file=out)
    shared[:40] = struct.pack("<qqddd", inputs.stop - 1, read, seconds, slowest, most)
    shutil.rmtree(work, ignore_errors=True)


def _one(read: Callable[[Path], Any], good: Good) -> tuple[dict[str, str], float]:
    """What is wrong with how an input is read, {} if it is; how long it took."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    start = time.process_time()
    told = outcome(read, good)
    took = time.process_time() - start
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    return told, took


def outcome(read: Callable[[Path], Any], good: Good) -> dict[str, str]:
    """{} if the file is read; else what is wrong with the error, "" if nothing is, and its message."""
    try:
        repr(read(good.path))
        good.restore()
        return {}
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is what is looked at
        kind, message = type(error), str(error)[:2000]
    what = "" if {each.__name__ for each in kind.__mro__} & set(MAY) else f"raised {kind.__name__}"
    if not what and not any(name in message for name in good.names | OURS):
        what = f"{kind.__name__} that does not name the file"
    if left := sorted(path.name for path in set(good.root.rglob("*")) - set(good.files) if path.is_file()):
        what = what or f"left behind {left[:3]}"
        good.restore()
    return {"what": what, "message": message[:300]}


def peak() -> float:
    """The most memory that this process has had since it was asked to count anew, MB."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024


def where(name: str, root: Path, i: int) -> Iterator[tuple[Path, bytes]]:
    """The one input i of a kind, written to disk: for whoever looks at a fault."""
    good = Good.of(name, root)
    file, body = good.spoilt(name, i)
    file.write_bytes(body)
    yield good.path, body
