"""Fixtures and settings of the unit tests."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import matplotlib
import pytest
import torch

torch.set_num_threads(1)
matplotlib.use("agg")  # no test opens a window
# The same examples on every run, and no deadline: a busy machine is not a bug.
hypothesis.settings.register_profile("ivekit", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("ivekit")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real recordings that IVEKIT_DATA names; the test is skipped where that is unset."""
    folder = os.environ.get("IVEKIT_DATA")
    if not folder:
        pytest.skip("IVEKIT_DATA is not set: it names the folder of real recordings that this test reads")
    if not Path(folder).is_dir():
        pytest.fail(f"IVEKIT_DATA={folder} is not a folder")
    return Path(folder)
