"""Some changed files of every format are read or refused by one clear error; and a reader at fault is found out.

The script in tests/fuzz does the same with ten thousand of each. What it has found stands in tests/hostile/found.py.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parent / "fuzz"
RUNS = 15
ENVIRONMENT = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1", PYTHONUTF8="1")
WANTED = {
    "well": "",
    "key": "raised KeyError",
    "nameless": "ValueError that does not name the file",
    "dies": "died of SIGSEGV",
    "hangs": "no end within 1 s",
    "leaves": "left behind ['a.part']",
}

AT_FAULT = """
import json, os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import feed, good

def reader(name):
    def read(path):
        if path.read_bytes() == good_one:
            return
        if name == "key":
            raise KeyError("x")
        if name == "dies":
            os.kill(os.getpid(), signal.SIGSEGV)
        while name == "hangs":
            pass
        if name == "leaves":
            path.with_name("a.part").write_text("x")
        raise ValueError("nothing" if name == "nameless" else f"{path.name} is broken")
    return read

feed.SECONDS = 1
make = good.written("a.csv", good.SIGNALS)
good_one = good.SIGNALS.encode()
for name in json.loads(sys.argv[3]):
    good.KINDS[name] = good.Kind(make, reader(name))
    told = feed.feed(name, Path(sys.argv[2]), range(3))
    print(json.dumps([name, told.inputs, [fault["what"] for fault in told.faults]]))
"""

SAME = """
import hashlib, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import feed, good

for name in good.KINDS:
    files = feed.Good.of(name, Path(sys.argv[2]) / name)
    spoilt = [body for i in range(20) for body in [files.spoilt(name, i)[1]]]
    print(name, hashlib.sha1(b"".join(spoilt)).hexdigest(), len(set(spoilt) - set(files.files.values())))
"""


def run(code: str, *words: str) -> list[str]:
    line = [sys.executable, "-c", code, str(FUZZ), *words]
    told = subprocess.run(line, env=ENVIRONMENT, capture_output=True, text=True, timeout=280, check=True)
    return told.stdout.splitlines()


def test_changed_files_of_every_format_are_read_or_refused(tmp_path):
    line = [sys.executable, str(FUZZ), "--runs", str(RUNS), "--counts", str(tmp_path / "counts")]
    told = subprocess.run(line, env=ENVIRONMENT, capture_output=True, text=True, timeout=580)
    assert told.returncode == 0, told.stdout
    with (tmp_path / "counts" / "counts.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 35 and {int(row["inputs"]) for row in rows} == {RUNS}
    read = sum(int(row["read"]) for row in rows)
    assert 0.1 < read / (RUNS * len(rows)) < 0.7  # both happen: changes reach what lies behind the first look


def test_counting_goes_on_where_it_was_stopped(tmp_path):
    for runs in ("3", "5", "5"):
        line = [sys.executable, str(FUZZ), "weights", "--runs", runs, "--counts", str(tmp_path)]
        subprocess.run(line, env=ENVIRONMENT, capture_output=True, timeout=280, check=True)
    with (tmp_path / "counts.csv").open() as file:
        assert [(row["first"], row["inputs"]) for row in csv.DictReader(file)] == [("0", "3"), ("3", "2")]


def test_every_fault_is_seen(tmp_path):
    for line in run(AT_FAULT, str(tmp_path), json.dumps(list(WANTED))):
        name, inputs, faults = json.loads(line)
        assert inputs == 3 and faults == [WANTED[name]] * 3 * bool(WANTED[name]), name


def test_the_inputs_are_the_same_in_every_process(tmp_path):
    one, two = (run(SAME, str(tmp_path / name)) for name in ("one", "two"))
    assert one == two and len(one) > 35
    assert all(int(line.split()[-1]) > 5 for line in one), "changes change something"


@pytest.mark.parametrize("edits", [[(3, 4, b"X")], [(0, 1, b""), (10, 12, b"abc")], [(5, 5, b"12"), (40, 60, b"")]])
def test_a_fault_is_told_by_its_least_change(edits, monkeypatch):
    monkeypatch.syspath_prepend(str(FUZZ))
    from least import applied, least

    good = bytes(range(65, 90)) * 4
    many = sorted([*edits, (80, 81, b"?"), (90, 91, b"!"), (95, 97, b"")])
    found = least(good, applied(good, many), lambda body: all(new in body for _, _, new in edits) and len(body) > 40)
    assert 0 < len(found) <= max(1, sum(bool(new) for _, _, new in edits))
    assert all(new in applied(good, found) for _, _, new in edits)
