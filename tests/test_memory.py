"""What a step frees is there for the next one, and the environment has the last word."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

# Pages that the system has to clear while 40 MB are taken and given back, twenty times.
PAGES = """
import resource, torch
{ours}
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def step():
    rows = [torch.ones(2**20) for _ in range(10)]
step(), step()
before = faults()
for _ in range(20): step()
print(faults() - before)
"""
GLIBC = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be asked to keep what is freed")


def pages(ours: str, **environment: str) -> int:
    """The page faults of a fresh process."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    code = PAGES.format(ours=ours)
    done = subprocess.run([sys.executable, "-c", code], env=clean | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@GLIBC
def test_memory_that_a_step_frees_is_there_for_the_next():
    assert pages("import ivekit") < 5000  # of 200,000 where every block is the system's; the heap may grow by some


@GLIBC
def test_what_the_environment_says_of_malloc_holds():
    assert pages("import ivekit", MALLOC_TRIM_THRESHOLD_="131072") > 10_000


HELD = """
import torch, ivekit
from ivekit.memory import give_back
parts = [(torch.ones(2**20), torch.ones(2**14)) for _ in range(200)]  # large ones and small ones in turn
kept = [small for _, small in parts]
held = lambda: 4096 * int(open("/proc/self/statm").read().split()[1]) / 1e6
del parts
before = held()
give_back()
print(round(before - held()))
"""


@GLIBC
def test_what_lies_between_is_given_back_when_a_training_begins():
    done = subprocess.run([sys.executable, "-c", HELD], capture_output=True, text=True)
    assert done.returncode == 0 and int(done.stdout) > 500, done.stderr  # MB, of 800
