"""Folders of rows, runs and results that earlier versions wrote are read as they were, and a run goes on."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import ivekit as ive
from ivekit import recipe

OLD = Path(__file__).parent / "old"
VERSIONS = sorted(path for path in OLD.iterdir() if (path / "known.json").is_file())
sys.path.append(str(OLD))

from make import said  # type: ignore[import-not-found]  # noqa: E402

pytest.importorskip("pyarrow", reason="pyarrow is not installed: it is the extra ivekit[parquet]")


@pytest.fixture(scope="module", params=VERSIONS, ids=lambda path: path.name)
def old(request) -> Path:
    return request.param


def alike(found: Any, known: Any, where: str = "") -> None:
    """The same trees of the same words; numbers to what another machine may round otherwise."""
    if isinstance(known, dict):
        assert found.keys() == known.keys(), where
        for name in known:
            alike(found[name], known[name], f"{where}/{name}")
    elif isinstance(known, list):
        assert len(found) == len(known), where
        for i, pair in enumerate(zip(found, known)):
            alike(*pair, f"{where}/{i}")
    elif isinstance(known, float):
        np.testing.assert_allclose(found, known, rtol=1e-4, atol=1e-6, err_msg=where)
    else:
        assert found == known, where


def test_what_a_version_wrote_is_read_as_it_was(old, tmp_path):
    shutil.copytree(old, tmp_path / "old")  # where reading writes, such as caches, nothing is to change
    known = json.loads((old / "known.json").read_text(encoding="utf-8"))
    found = json.loads(json.dumps(said(tmp_path / "old")))
    assert known.keys() <= found.keys()
    alike({name: found[name] for name in known}, known)


def test_a_run_that_a_version_began_goes_on_to_its_end(old, tmp_path):
    shutil.copytree(old / "run", tmp_path / "run")
    of = recipe.open_recipe(tmp_path / "run", trust=True)
    before = pd.read_csv(tmp_path / "run" / "losses.csv")
    recipe.run(of, tmp_path / "run", resume=True, disable=True)
    after = pd.read_csv(tmp_path / "run" / "losses.csv")
    steps = 3 * of.settings["epochs"]  # 48 of 60 rows, in batches of 16
    assert len(before) < steps and after["step"].tolist() == list(range(1, steps + 1))
    pd.testing.assert_frame_equal(after[: len(before)], before)
    assert json.loads((tmp_path / "run" / "scores.json").read_text()).keys() == {"a", "b"}


def test_every_version_from_the_first_to_this_one_is_kept():
    """`python tests/old/make.py` makes the folder of a version that is to be released."""
    now = ".".join(ive.__version__.split(".")[:2])
    assert (OLD / "0.1").is_dir() and (".dev" in ive.__version__ or (OLD / now).is_dir())
