"""Ten trials of tests/kill: whoever is killed leaves what is old or new, goes on, and ends as if never killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

KILL = Path(__file__).parent / "kill"
sys.path.append(str(KILL))

from killer import Task, contents, in_child, never_killed, trial  # type: ignore[import-not-found]  # noqa: E402

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="kills are waited for by Linux's pidfd")


def test_killed_anywhere_it_stands_goes_on_and_ends_the_same():
    tasks = ["save rows", "save results", "save a model", "prepare again", "train, a checkpoint a step"]
    line = [sys.executable, str(KILL), *tasks, "--times", "10"]
    done = subprocess.run(line, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(KILL.parents[1])})
    assert done.returncode == 0, done.stdout + done.stderr
    told = re.findall(r"^(.*): 2 of 2 trials, (\d+) kills; found", done.stdout, re.MULTILINE)
    assert [name for name, _ in told] == tasks and sum(int(kills) for _, kills in told) >= 5


# what finds it -------------------------------------------------------------------------------------------------------


def in_halves(folder: Path) -> None:
    """As nobody should."""
    for half in ("one", "one and two"):
        (folder / "a.txt").write_text(half)
    (folder / "b.txt").touch()


def all_of_it(folder: Path) -> str:
    text = (folder / "a.txt").read_text() if (folder / "a.txt").exists() else ""
    assert text in ("", "one and two"), "half of it"
    return "all" if text else "nothing"


def test_what_is_written_in_halves_is_found(tmp_path):
    task = Task(lambda folder: None, in_halves, all_of_it, contents)
    whole = never_killed(task, tmp_path)
    assert whole.events == 3 and whole.end == {"a.txt": b"one and two", "b.txt": b""}
    wrong = [trial(task, whole, tmp_path, f"{i}").wrong for i in range(12)]
    assert any("half of it" in one for one in wrong)


def test_an_end_that_differs_is_found(tmp_path):
    """It counts how often it was begun."""

    def does(folder: Path) -> None:
        with (folder / "begun").open("a") as file:
            file.write("x")
        (folder / "b.txt").touch()

    task = Task(lambda folder: None, does, lambda folder: "", contents)
    whole = never_killed(task, tmp_path)
    outcomes = [trial(task, whole, tmp_path, f"{i}") for i in range(12)]
    assert "begun differs" in {one.wrong for one in outcomes}
    assert all(not one.wrong for one in outcomes if "event 1" == one.moments)  # before it had begun


def test_a_child_says_what_it_came_to_and_how_it_ended():
    assert in_child(lambda: 3) == ("3", 0)
    assert in_child(lambda: os.kill(os.getpid(), signal.SIGKILL)) == ("", -signal.SIGKILL)
    assert in_child(signal.pause, after=0.05) == ("", -signal.SIGKILL)
    told, status = in_child(lambda: Path("nowhere").read_text())
    assert status == 1 and told.startswith("FileNotFoundError")
