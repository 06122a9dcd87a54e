"""Truncated, empty, wrong, unreadable and hostile files each give one clear error, soon, in little memory.

What the files are and how they are read is in tests/hostile; here it is said what must come of it.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tokenize import TokenError

import pandas as pd
import pytest
import torch
from scipy.io.matlab import MatReadError

from ivekit import Views, guard
from ivekit.io import read_table

HOSTILE = Path(__file__).parent / "hostile"
KINDS = (
    ("fif", "fif.gz", "epochs", "covariance", "edf", "brainvision", "eeglab", "events"),
    ("csv", "csv.gz", "tsv", "parquet", "physio", "wfdb", "ts", "points", "h5", "npz"),
    ("nifti", "nifti.gz", "mask", "imzml", "mp4", "mkv", "about.json", "rows.npy", "metadata.tsv", "weights"),
    (
        "evoked",
        "present.npy",
        "info.fif",
        "results.npz",
        "results.parquet",
        "fmriprep",
        "fmriprep mask",
        "confounds",
        "participants",
        "bids",
        "bids events",
        "prepare",
    ),
)
SECONDS, MB = 8, 1100  # a child may take 700 MB, and what its libraries had in reserve


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that anybody may enter, unlike pytest's: so that a file in it is unreadable for its own sake."""
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


@pytest.mark.parametrize("kinds", KINDS, ids=lambda kinds: f"{kinds[0]}-{kinds[-1]}")
def test_a_hostile_file_is_one_clear_error(kinds, folder):
    environment = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", PYTHONUTF8="1")
    line = [sys.executable, str(HOSTILE), str(folder), *kinds]
    told = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=280, check=True)
    rows = [json.loads(line) for line in told.stdout.splitlines()]
    faults = [f"{row['kind']}, {row['way']}: {fault}" for row in rows if (fault := fault_of(row))]
    assert not faults, "\n".join(faults)
    assert Counter(row["kind"] for row in rows if row["way"] == "good") == Counter(kinds)
    assert not (folder / "UNPICKLED").exists()
    frame = pd.DataFrame(rows)
    frame["outcome"] = frame["raised"].replace("", "read")
    print(f"\n{pd.crosstab(frame['kind'], frame['outcome'], margins=True)}")
    print(f"slowest {frame['seconds'].max():.1f} s, most memory {frame['peak'].max():.0f} MB")


def fault_of(row: dict) -> str:
    """What is wrong with what came of reading a file; nothing if all is well."""
    if row["way"] == "good" or not row["raised"]:
        return "" if row["way"] == "good" and not row["raised"] or row.get("may") else row["message"] or "it was read"
    if not {"ValueError", "FileNotFoundError"} & set(row["types"]):
        return f"{row['raised']}: {row['message']}"
    if row["file"] not in row["message"] and row["way"] != "missing" and row["kind"] not in row["message"]:
        return f"the error does not name {row['file']}: {row['message']}"
    if row["seconds"] > SECONDS or row["peak"] > MB:
        return f"{row['seconds']:.1f} s, {row['peak']:.0f} MB"
    return f"left behind: {row['left']}" if row["left"] else ""


def test_a_fault_is_seen():
    """What is asserted of a thousand files can fail."""
    well = {"kind": "csv", "way": "text", "may": False, "file": "a.csv", "raised": "ValueError", "left": []} | {
        "types": ["ValueError"], "message": "a.csv is empty", "seconds": 0.1, "peak": 3.0}  # fmt: skip
    assert not fault_of(well)
    for wrong in (
        {"raised": "", "message": ""},
        {"types": ["MemoryError"]},
        {"message": "is empty"},
        {"seconds": 30.0},
        {"peak": 1900.0},
        {"left": ["a.csv.part 3"]},
        {"way": "good"},
    ):
        assert fault_of(well | wrong)


@pytest.mark.parametrize("text", ["=1+1", "=cmd|' /C calc'!A0", "@SUM(1)", "+1-1", "-2+3", "\t=1"])
def test_a_formula_in_a_table_stays_text(text, tmp_path):
    frame = pd.DataFrame({"rt": [0.5, 0.25], "note": [text, "plain"]})
    frame.to_csv(tmp_path / "a.csv", index=False)
    views = read_table(tmp_path / "a.csv", ["rt"])
    assert views.metadata["note"].tolist() == [text, "plain"]
    views.save(tmp_path / "rows")
    assert Views.open(tmp_path / "rows").metadata["note"].tolist() == [text, "plain"]


@pytest.mark.parametrize("text", ["=1+1", "=cmd|' /C calc'!A0", "@SUM(1)", "+1-1", "-2+3", "\t=1", "'", "'=1", "n=1"])
def test_no_cell_that_is_stored_would_be_run_by_a_spreadsheet(text, tmp_path):
    """What is stored begins with an apostrophe instead; what is read is what it was."""
    frame = pd.DataFrame({"note": [text, "plain", None], "kind": pd.Categorical([text, "b", None], ["b", text], True)})
    frame = frame.assign(age=[-1.5, 2.0, float("nan")], level=pd.Categorical([-2, 3, -2]), **{text: [1, -2, 3]})
    Views({"a": torch.zeros(3)}, metadata=frame).save(tmp_path / "rows")
    with (tmp_path / "rows" / "metadata.tsv").open(newline="") as file:
        cells = [cell for line in csv.reader(file, delimiter="\t") for cell in line]
    numbers = {"-1.5", "-2"}
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t")) and cell not in numbers]
    pd.testing.assert_frame_equal(Views.open(tmp_path / "rows").metadata, frame)


def test_what_is_named_but_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="a.vhdr cannot be read: .*gone.eeg"):
        (tmp_path / "a.vhdr").write_text("x")
        with guard.reading(tmp_path / "a.vhdr"):
            raise FileNotFoundError("gone.eeg")


@pytest.mark.parametrize("error", [KeyError, UnboundLocalError, TokenError, zlib.error, MatReadError, Exception])
def test_whatever_a_library_raises_is_one_error(error, tmp_path):
    (tmp_path / "a.fif").write_text("x")
    with pytest.raises(ValueError, match="a.fif cannot be read"):
        with guard.reading(tmp_path / "a.fif"):
            raise error("")


def test_memory_is_the_least_of_what_system_job_and_process_leave(tmp_path, monkeypatch):
    for name, text in {"memory.max": "1000\n", "memory.current": "700\n", "memory.stat": "inactive_file 200\n"}.items():
        (tmp_path / name).write_text(text)
    assert guard._left(tmp_path) == 500
    monkeypatch.setattr(guard, "_of_job", lambda: guard._left(tmp_path))
    assert guard.available() == 500
    guard.fits(500, "a.h5")
    with pytest.raises(ValueError, match="a.h5 would take"):
        guard.fits(501, "a.h5")
    with pytest.raises(ValueError, match="a.h5 would take"):
        guard.fits(-1, "a.h5")
    (tmp_path / "memory.max").write_text("max\n")
    assert guard._left(tmp_path) == float("inf")


@pytest.mark.parametrize("name", [b"caf\xe9.csv", "café.csv".encode(), b"new\nline.csv", b"'; drop.csv"])
def test_a_path_of_another_encoding_is_a_path(name, tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    path.write_text("rt\n0.5\n")
    assert read_table(path)["table"].tolist() == [[0.5]]
    path.write_text("rt\n")
    with pytest.raises(ValueError, match="has no rows"):
        read_table(path)
