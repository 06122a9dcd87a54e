"""What a reader cannot be asked for is one sentence that says what it could be, before anything is read."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ivekit import io
from ivekit.io import asked

TABLE = "subject,rt,word\ns1,0.5,yes\ns2,0.25,no\n"
WRONG = [
    (io.read_meg, {"band": 40}, r"band must be \(low, high\) in Hz, either or None, got 40"),
    (io.read_meg, {"band": "1-40"}, "band must be"),
    (io.read_meg, {"baseline": 0}, r"baseline must be \(from, to\) in s, either or None, got 0"),
    (io.read_meg, {"sfreq": 0}, "sfreq must be a number above 0, got 0"),
    (io.read_meg, {"sfreq": "125"}, "sfreq must be a number above 0, got '125'"),
    (io.read_meg, {"sfreq": float("nan")}, "sfreq must be a number above 0, got nan"),
    (io.read_meg, {"tmin": "a", "tmax": 1}, "tmin, tmax must be two numbers of seconds"),
    (io.read_table, {"keys": "trial"}, r"keys must be a list of names, such as \['trial'\], got 'trial'"),
    (io.read_table, {"columns": "rt"}, "columns must be a list of names"),
    (io.read_table, {"classes": "word"}, "classes must be a list of names"),
    (io.read_physio, {"columns": ["ECG"]}, r"columns must be \{view: signal\}.* got \['ECG'\]"),
    (io.read_physio, {"band": (1, 40)}, r"band must be \{view: \(low, high\)\}"),
    (io.read_physio, {"band": {"ecg": 40}}, r"band\['ecg'\] must be \(low, high\)"),
    (io.read_physio, {"sfreq": 100, "to": 0}, "to must be a number above 0"),
    (io.read_physio, {"gap": -1}, "gap must be 0 or more seconds, got -1"),
    (io.read_h5, {"old": 0}, "old must be a number above 0, got 0"),
    (io.read_npz, {"names": ["ecg"]}, r"names must be \{view: array\}"),
    (io.read_ts, {"sfreq": 0}, "sfreq must be a number above 0"),
    (io.read_imzml, {"mz": 885.5}, r"mz must be a list of masses over charge, such as \[885.55\], got 885.5"),
    (io.read_imzml, {"mz": [885.5], "ppm": 0}, "ppm must be a number above 0"),
    (io.read_points, {"coords": "x"}, "coords must be the names of three columns"),
    (io.read_video, {"onsets": [0.0], "n_frames": 8, "size": 32}, r"size must be \(height, width\) in pixels.* got 32"),
    (io.read_video, {"onsets": [0.0], "n_frames": 8, "size": (0, 3)}, "size must be"),
    (io.read_video, {"onsets": [0.0], "n_frames": 8, "fps": 0}, "fps must be a number above 0, got 0"),
    (io.read_video, {"onsets": [0.0], "n_frames": 1.5}, "with n_frames >= 1"),
]


@pytest.mark.parametrize(
    ("read", "how", "said"), WRONG, ids=[f"{r.__name__}-{list(h)[-1]}-{i}" for i, (r, h, _) in enumerate(WRONG)]
)
def test_what_cannot_be_asked_is_said_before_it_is_read(read, how, said):
    """The file is not there: had it been looked at first, that would be the error."""
    with pytest.raises(ValueError, match=said):
        inspect.unwrap(read)("nowhere.fif", **how)  # users have no checks of types around it, as the tests do


def test_numbers_of_numpy_are_numbers():
    asked.positive(sfreq=np.float32(100), window=np.int64(8), step=None)
    asked.pair("band", np.array([1.0, 20.0]), "(low, high)")
    asked.pair("band", [None, np.float32(20)], "(low, high)")


@pytest.mark.parametrize(
    ("read", "given"),
    [
        (io.prepare, {"files": 5, "out": "o", "read": io.read_meg}),
        (io.prepare, {"files": [b"a"], "out": "o", "read": io.read_meg}),
        (io.prepare, {"files": "", "out": "o", "read": io.read_meg}),
        (io.recordings_of_meg, {"paths": None}),
        (io.read_h5, {"paths": 5}),
        (io.read_ts, {"paths": None}),
        (io.read_imzml, {"paths": [Path("a"), 5], "mz": [885.5]}),
    ],
)
def test_what_is_no_path_is_said(read, given):
    with pytest.raises(ValueError, match="files are a path or a list of paths, got"):
        inspect.unwrap(read)(**given)


def test_no_file_at_all_is_said():
    with pytest.raises(ValueError, match="read_h5 needs a file at least"):
        io.read_h5([])


@pytest.mark.parametrize("name", ["events", "foo"])
def test_bids_refuses_what_it_would_not_use(name, tmp_path):
    func = tmp_path / "study" / "sub-01" / "eeg"
    func.mkdir(parents=True)
    (func / "sub-01_task-see_eeg.edf").write_text("x")
    with pytest.raises(TypeError, match=f"read_bids of eeg takes picks, .*, not {name}"):
        io.read_bids(tmp_path / "study", tmin=-0.1, tmax=0.2, **{name: "x.tsv"})


CLOSED = """
import os, sys
from pathlib import Path
from ivekit import Views, io
import mne, h5py, nibabel, pandas  # while we may read them
folder = Path(sys.argv[1])
if os.geteuid() == 0:
    os.setresuid(65534, 65534, 65534)
readers = [io.read_meg, io.read_table, io.read_physio, io.read_h5, io.read_npz, io.read_nifti, io.read_ts, io.read_bids,
    io.read_fmriprep, io.read_results, Views.open, io.read_points, lambda path: io.read_video(path, [0.0], 3),
    lambda path: io.prepare([path], "/nowhere", {"ecg": "ECG"}, sfreq=100)]
for read in readers:
    try:
        read(folder / "inside.csv")
    except ValueError as error:
        assert "inside" in str(error) or "about.json" in str(error), error
        print("said")
"""


@pytest.mark.skipif(os.name == "nt", reason="rights of folders are POSIX's")
def test_a_folder_that_may_not_be_entered_is_one_clear_error():
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made, "closed")
        folder.mkdir()
        (folder / "inside.csv").write_text(TABLE)
        Path(made).chmod(0o755)
        folder.chmod(0)
        told = subprocess.run([sys.executable, "-c", CLOSED, str(folder)], capture_output=True, text=True, timeout=280)
        folder.chmod(0o755)
    assert told.stdout.split() == ["said"] * 14, told.stderr


def test_a_covariance_of_no_channel_is_refused(tmp_path):
    import mne

    sensors = io.read_meg(
        mne.EpochsArray(np.zeros((1, 1, 50)), mne.create_info(["a"], 125.0, "mag"), verbose="error")
    ).about["meg"]
    mne.Covariance(np.zeros((0, 0)), [], [], [], nfree=1).save(tmp_path / "a-cov.fif", verbose="error")
    with pytest.raises(ValueError, match="a-cov.fif"):
        io.read_covariance(tmp_path / "a-cov.fif", sensors)


def test_confounds_are_numbers(tmp_path):
    from ivekit.io.fmriprep import _confounds

    path = tmp_path / "sub-01_task-rest_desc-preproc_bold.nii.gz"
    table = tmp_path / "sub-01_task-rest_desc-confounds_timeseries.tsv"
    for cells, said in ((["1", "high"], "are no numbers"), (["1", "inf"], "are infinite")):
        pd.DataFrame({"csf": cells}).to_csv(table, sep="\t", index=False)
        with pytest.raises(ValueError, match=f"{table.name}.*{said}"):
            _confounds(path, ["csf"])
