"""`import ivekit` brings what every use needs; what some uses need comes when they are used."""

from __future__ import annotations

import json
import subprocess
import sys

LATER = {
    "mne",
    "captum",
    "plotly",
    "sklearn",
    "scipy",
    "matplotlib",
    "ipywidgets",
    "anywidget",
    "onnxscript",
    "yaml",
    "h5py",
}


def test_what_takes_long_to_import_waits_until_it_is_used():
    code = "import json, sys, ivekit; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    there = set(json.loads(done.stdout))
    assert {"torch", "ivekit", "pandas"} <= there
    assert not LATER & there
