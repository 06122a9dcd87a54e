"""The tests that touch other packages, in environments of the oldest and the newest versions that ivekit promises.

python tests/matrix                  # oldest, newest, and the oldest numpy (with what allows it), mne and captum
python tests/matrix oldest           # one of them
python tests/matrix torch-2.6        # another torch: by name only, since each is a large download

An environment is made in .venv-matrix/NAME, used and removed; what was found is a line of results/matrix.csv, and an
environment whose versions and tests have a line of this commit already is not made again.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "benchmarks"))

from results import KEPT, keep, where  # noqa: E402

PLACE = ROOT / ".venv-matrix"
FOUND = KEPT / "matrix.csv"
COLUMNS = ("environment", "commit", "date", "versions", "passed", "skipped", "failed", "seconds", "names")
SHOWN = ("torch", "numpy", "scipy", "pandas", "scikit-learn", "matplotlib", "mne", "captum", "h5py", "av", "plotly")
EXTRAS = ("bids", "physio", "imaging", "imzml", "parquet", "tune")
# Of the extra `test`, what these tests need.
TOOLS = ("pytest", "hypothesis", "beartype", "edfio", "pybv", "eeglabio", "onnxruntime")

# Modules whose answers come from another package: no notebooks, whose stored numbers are those of constraints.txt.
TESTS = (
    "test_signal", "test_topomap", "test_io_formats", "test_io_meg", "test_attribute", "test_h5", "test_io_tables",
    "test_views", "test_filters", "test_covariance", "test_metrics", "test_io_physio", "test_io_imzml", "test_events",
    "test_join", "test_engine", "test_distributions", "test_objectives", "test_io_bids", "test_models", "test_fmri",
    "test_recipe", "test_report", "test_io_video", "test_viz", "test_fmriprep", "test_tune", "test_export",
    "test_widgets",
)  # fmt: skip

DEFAULT = ("oldest", "newest", "old-numpy+pandas+mne+nilearn", "old-mne", "old-captum")  # new mne, nilearn: newer numpy

NOTE = (
    "Tests that touch other packages, without notebooks, whose stored numbers are compared under constraints.txt only. "
    "`oldest` holds every range of pyproject.toml at its lower end, `old-NAME` that one alone, the rest as pinned in "
    "constraints.txt; `newest` is what pip finds. numpy 2.0 needs the mne and the nilearn of its time. captum's lower "
    "end is its newest, 0.9: the first that allows numpy 2. What is skipped reads real recordings, where `IVEKIT_DATA` "
    "names none. `python tests/matrix torch-2.6` takes another torch; none was run."
)


def wanted() -> list[Requirement]:
    """What ivekit and its extras need, and what the tests do."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    tools = [line for line in extras["test"] if Requirement(line).name in TOOLS]
    return [Requirement(line) for line in (*project["dependencies"], *(x for e in EXTRAS for x in extras[e]), *tools)]


def pins() -> dict[str, str]:
    """{name: version} of constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {canonicalize_name(line.partition("==")[0]): line.partition("==")[2] for line in lines if "==" in line}


def lowest(requirement: Requirement) -> str:
    """The lower end of a range.

    >>> lowest(Requirement("mne>=1.9,<2"))
    '1.9'
    """
    return next(one.version for one in requirement.specifier if one.operator == ">=")


def oldest(*names: str) -> dict[str, str]:
    """The lower ends of what ivekit needs, of all or of some by name; torch and the tools of the tests as pinned."""
    lower = {canonicalize_name(r.name): lowest(r) for r in wanted() if r.name not in ("torch", *TOOLS)}
    return {name: version for name, version in lower.items() if name in names} if names else lower


def constraints(name: str) -> dict[str, str]:
    """{package: version} that an environment is held to; of what is not named pip takes the newest that fits."""
    if version := re.fullmatch(r"torch-([\d.]+)", name):
        return pins() | {"torch": version[1]}
    if some := re.fullmatch(r"old-([\w+-]+)", name):
        return pins() | oldest(*some[1].split("+"))
    known = {"oldest": pins() | oldest(), "newest": {"torch": pins()["torch"]}, "pinned": pins()}
    if name not in known:
        raise SystemExit(f"no environment {name!r}: there are {', '.join(known)}, old-NAME and torch-VERSION")
    return known[name]


def make(name: str) -> Path:
    """An environment's Python."""
    place = PLACE / name
    shutil.rmtree(place, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    held = place / "constraints.txt"
    held.write_text("".join(f"{package}=={version}\n" for package, version in constraints(name).items()))
    python = place / "bin" / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--prefer-binary", "-c", held]
    subprocess.run([*pip, *map(str, wanted())], check=True)
    subprocess.run([*pip, "--no-deps", "--editable", ROOT], check=True)  # so that its version is known
    return python


def versions(python: Path) -> dict[str, str]:
    """What an environment holds of the packages that the table shows."""
    ask = f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {SHOWN}}}))"
    return json.loads(subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True).stdout)


def test(python: Path, tests: Sequence[str]) -> dict[str, str | int | float]:
    """How many tests passed, were skipped and failed, and the names of those that failed."""
    said = python.parents[1] / "junit.xml"
    files = [str(path) for name in tests if (path := ROOT / "tests" / f"{name}.py").is_file()]
    ours = "filterwarnings=error:::ivekit"  # what old packages warn of is not ours to change
    pytest = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", ours, f"--junitxml={said}", *files]
    subprocess.run(pytest, cwd=ROOT, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}, check=False)
    suite = next(ElementTree.parse(said).getroot().iter("testsuite"))
    counts = {key: int(suite.get(key, 0)) for key in ("tests", "skipped", "failures", "errors")}
    bad = [
        f"{c.get('classname')}::{c.get('name')}"
        for c in suite.iter("testcase")
        if {x.tag for x in c} & {"failure", "error"}
    ]
    failed = counts["failures"] + counts["errors"]
    passed = counts["tests"] - counts["skipped"] - failed
    return dict(
        passed=passed, skipped=counts["skipped"], failed=failed, seconds=suite.get("time", ""), names="; ".join(bad)
    )


def known() -> list[dict[str, str]]:
    """The lines of the CSV."""
    if not FOUND.exists():
        return []
    with FOUND.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def add(row: dict[str, str | int | float]) -> None:
    """One line more."""
    fresh = not FOUND.exists()
    with FOUND.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if fresh:
            writer.writeheader()
        writer.writerow(row)


def run(name: str, tests: Sequence[str] = TESTS) -> None:
    """Makes an environment, runs the tests in it, keeps what was found and removes it."""
    here = where()
    if any(row["environment"] == name and row["commit"] == here["commit"] for row in known()):
        return
    python = make(name)
    try:
        add({"environment": name, "commit": here["commit"], "date": here["date"]}
            | {"versions": json.dumps(versions(python))} | test(python, tests))  # fmt: skip
    finally:
        shutil.rmtree(python.parents[1])
    table()


def table() -> None:
    """The last line of each environment, stored as a table."""
    last = {row["environment"]: row for row in known()}
    rows = [{"what": said(row), "measured": verdict(row), "asked": "0 failed"} for row in last.values()]
    keep("matrix", "Oldest and newest versions", "python tests/matrix", rows, NOTE)


def said(row: dict[str, str]) -> str:
    held = json.loads(row["versions"])
    return f"`{row['environment']}`: {', '.join(f'{n} {held[n]}' for n in SHOWN)}"


def verdict(row: dict[str, str]) -> str:
    failed = f": {row['names']}" if row["names"] else ""
    counts = ", ".join(f"{row[key]} {key}" for key in ("passed", "skipped", "failed"))
    return f"{counts}{failed} ({row['date']}, {row['commit']})"


def main(names: Iterable[str]) -> None:
    for name in names or DEFAULT:
        run(name)


if __name__ == "__main__":
    main(sys.argv[1:])
