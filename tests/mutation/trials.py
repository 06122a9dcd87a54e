"""A pytest session that, in place of running its tests once, runs those that reach a change once for each mutant.

The tests are imported and collected once; each trial is a fork with the mutant's code put in place, where the
tests run, the quickest first, until one fails.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import coverage
import hypothesis
import pytest
from _pytest.runner import runtestprotocol
from mutants import ROOT, Mutant, changed, statement
from patched import Elsewhere, functions_of, put

BUDGET = 6.0  # seconds of tests that a mutant has to live through: the quickest of those that reach it
SLOWEST = 3.0  # a test that takes longer is not asked
MEMORY = 3 * 2**30  # bytes beside what the process has
KILLED, SURVIVED, TIMEOUT, ELSEWHERE = 1, 0, 3, 4  # how a child ends
Reach = dict[str, Any]


class Trials:
    """The plugin: makes the maps of tests that are not there, then tries every mutant that is given.

    maps : the folder of the maps, one of each file of tests. wanted : the mutants. tell : is called with each mutant,
        its outcome, the test that noticed it, the seconds, and how many tests there were for it.
    """

    def __init__(self, maps: Path, wanted: Iterable[Mutant], tell: Callable[..., None]):
        self.maps, self.wanted, self.tell = maps, wanted, tell

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> None:
        phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]  # that it fails is enough: no smallest example
        hypothesis.settings.register_profile("quick", deadline=None, derandomize=True, database=None, phases=phases)
        hypothesis.settings.load_profile("quick")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = {item.nodeid: item for item in session.items}
        functions = functions_of(str(ROOT / "ivekit"))
        gc.collect()
        gc.freeze()
        reach = self.reach(session.items)
        for mutant in self.wanted:
            module = importlib.import_module(mutant.place.module)
            names = [name for name in asked(mutant, reach) if name in items]
            chosen, places = [items[name] for name in names], functions[module.__file__]
            budget = 10 + 5 * sum(reach["seconds"][name] for name in names)
            code, seconds, last = in_child(partial(trial, module, mutant, places, chosen), budget)
            outcome = {SURVIVED: "survived", ELSEWHERE: "not tried"}.get(code, "killed")
            self.tell(mutant, outcome if names else "not reached", last, seconds, len(names))
        return True

    def reach(self, items: list[pytest.Item]) -> Reach:
        """The maps of all files of tests, put together."""
        every: Reach = {"seconds": {}, "failed": [], "lines": {}}
        for path, group in groupby(items, key=lambda item: item.path):
            kept = self.maps / f"{path.relative_to(ROOT).with_suffix('')}.json".replace("/", ".")
            if not kept.exists():
                in_child(partial(mapped, list(group), kept), seconds=3000)
            told = json.loads(kept.read_text())
            every["seconds"].update(told["seconds"])
            every["failed"] += told["failed"]
            for file, lines in told["lines"].items():
                merged = every["lines"].setdefault(file, {})
                for line, names in lines.items():
                    merged.setdefault(line, []).extend(names)
        return every


def mapped(items: list[pytest.Item], kept: Path) -> int:
    """Runs every test of a file once and keeps which lines of ours it reached, and its seconds, as JSON."""
    measure = coverage.Coverage(data_file=None, include=[str(ROOT / "ivekit" / "*")], config_file=False)
    seconds, failed = {}, []
    signal.signal(signal.SIGPROF, too_slow)
    measure.start()
    for item, following in zip(items, [*items[1:], None]):
        measure.switch_context(item.nodeid)
        begun = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, 2 * SLOWEST)  # coverage takes time, too
        reports = runtestprotocol(item, log=False, nextitem=following)
        signal.setitimer(signal.ITIMER_PROF, 0)
        seconds[item.nodeid] = time.process_time() - begun
        if not all(report.passed for report in reports):  # one that is skipped, or too slow, notices nothing either
            failed.append(item.nodeid)
    measure.stop()
    data = measure.get_data()
    lines = {file: data.contexts_by_lineno(file) for file in data.measured_files()}
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps({"seconds": seconds, "failed": failed, "lines": lines}))
    return 0


def too_slow(*_: Any) -> None:
    """Ends a test that takes too long to be asked again for each mutant."""
    raise TimeoutError(f"over {2 * SLOWEST:g} s")


def asked(mutant: Mutant, reach: Reach) -> list[str]:
    """The tests that reach a mutant's statement, the quickest first, as many as there is time for."""
    source = mutant.place.path.read_text(encoding="utf-8")
    lines = reach["lines"].get(str(mutant.place.path), {})
    (first, last), function = statement(source, mutant.place.line)
    names = among(lines, first, last)
    if function is None and not names:  # a constant, or a default
        names = among(lines, 1, len(source.splitlines()))
    names = sorted(names - set(reach["failed"]), key=reach["seconds"].__getitem__)
    return list(within(names, reach["seconds"]))


def among(lines: dict[str, list[str]], first: int, last: int) -> set[str]:
    return {name for line, names in lines.items() if first <= int(line) <= last for name in names if name}


def within(names: Iterable[str], seconds: dict[str, float]) -> Iterator[str]:
    spent = 0.0
    for name in names:
        spent += seconds[name]
        if seconds[name] > SLOWEST or spent > BUDGET:
            return
        yield name


def trial(module: Any, mutant: Mutant, functions: list, items: list[pytest.Item]) -> int:
    """Puts the mutant in place and runs tests until one fails; its name goes to the parent's pipe by `say`."""
    try:
        put(module, mutant.place.path.read_text(encoding="utf-8"), changed(mutant.place), functions)
    except Elsewhere:
        return ELSEWHERE
    for item, following in zip(items, [*items[1:], None]):
        say(item.nodeid)
        if not all(report.passed or report.skipped for report in runtestprotocol(item, log=False, nextitem=following)):
            return KILLED
    say("")
    return SURVIVED


SAYS = [-1]


def say(name: str) -> None:
    os.write(SAYS[0], f"{name}\n".encode())


def in_child(work: Callable[[], int], seconds: float) -> tuple[int, float, str]:
    """Runs something in a fork with limits of time and memory: how it ended, its seconds, and what it said last."""
    sys.stdout.flush()
    reading, SAYS[0] = os.pipe()
    begun = time.monotonic()
    child = os.fork()
    if not child:
        os.close(reading)
        limits(seconds)
        code = KILLED  # whatever a mutant makes of pytest itself is noticed
        try:
            code = work()
        finally:
            os._exit(code)
    os.close(SAYS[0])
    with os.fdopen(reading) as told:
        words = told.read().splitlines()
    _, status = os.waitpid(child, 0)
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else TIMEOUT
    return code, time.monotonic() - begun, words[-1] if words else ""


def limits(seconds: float) -> None:
    """No more than so many seconds of the processor, ten times as many by the clock, and no more memory than that."""
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 5))
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    size = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(int(10 * seconds) + 1)
