"""A full disk, a folder that may not be written, a loss that explodes: said in a line, and nothing is lost by it."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from ivekit import Views
from ivekit.__main__ import main
from ivekit.io import prepare
from ivekit.recipe import load
from ivekit.training import State
from ivekit.watch import Csv, read_csv

sys.path.append(str(Path(__file__).parent / "kill"))

import tasks  # type: ignore[import-not-found]  # noqa: E402
from killer import copied, in_child  # type: ignore[import-not-found]  # noqa: E402

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="disks are filled, and users changed, as Linux does it")
NOBODY = 65534
TINY = str(tasks.TINY)


def limited(size: int, does: Callable[[], Any]) -> str:
    """What is said when no file may grow beyond a size, which the system refuses as it does on a full disk."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        does()
    except OSError as error:
        assert error.errno in (errno.EFBIG, None), error
        return str(error)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    return ""


SIZES = {"save rows": (0, 1000, 600_000), "save results": (0, 100, 5000), "save a model": (0, 500, 900),
         "prepare again": (0, 1500, 100_000), "train": (0, 1000, 5000), "export": (0, 5000)}  # fmt: skip


@pytest.fixture(scope="module")
def begun(tmp_path_factory) -> Path:
    """What there is before each task, and after it."""
    root = tmp_path_factory.mktemp("disk")
    for name in SIZES:
        for part in ("before", "after"):
            (root / name / part).mkdir(parents=True)
        told, status = in_child(partial(tasks.TASKS[name].begin, root / name / "before"))
        assert status == 0, told
        copied(root / name / "before", root / name / "after")
        told, status = in_child(partial(tasks.TASKS[name].does, root / name / "after"))
        assert status == 0, told
    return root


@pytest.mark.parametrize("name", SIZES)
def test_a_disk_that_is_full_at_any_moment_is_said_and_the_old_is_kept(begun, tmp_path, name):
    task, refused = tasks.TASKS[name], []
    for size in SIZES[name]:
        copied(begun / name / "before", tmp_path)
        told, status = in_child(partial(limited, size, partial(task.does, tmp_path)))
        assert status == 0, told
        refused.append(told)
        assert "cannot be written: " in told and str(tmp_path) in told and "unfinished" not in told, told
        assert not list(tmp_path.rglob("*.unfinished"))
        said, status = in_child(partial(task.stands, tmp_path))
        assert status == 0, said
    told, status = in_child(partial(task.does, tmp_path))  # there is room again
    assert status == 0, told
    assert task.ends(tmp_path) == task.ends(begun / name / "after")


def test_a_disk_that_is_really_full(begun, tmp_path):
    """Four hundred kB in memory, which rows of more than two MB fill."""

    def child() -> str:
        import ctypes

        if ctypes.CDLL(None).unshare(0x20000):  # a mount of this process alone
            return "no right to mount"
        mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "none", str(tmp_path)]
        if subprocess.run(["mount", "--make-rprivate", "/"], capture_output=True, check=False).returncode:
            return "no right to mount"
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            return "no right to mount"
        tasks.rows(0, 40).save(tmp_path / "rows")
        try:
            tasks.rows(1, 600).save(tmp_path / "rows")
        except OSError as error:
            kept = Views.open(tmp_path / "rows")["film"] + 0
            assert torch.equal(kept, tasks.rows(0, 40)["film"]) and os.listdir(tmp_path) == ["rows"]
            return str(error)
        return "it was not full"

    told, status = in_child(child)
    assert status == 0, told
    if "no right to mount" in told:
        pytest.skip("this user, or this container, may not mount a file system")
    assert "rows cannot be written: No space left on device (0.2 MB are free in" in told


def test_prepare_ends_at_once_when_the_disk_is_full_and_goes_on(tmp_path):
    """It is no fault of the recordings, and those that are kept stay so."""
    tasks.some_recordings(tmp_path)
    recordings = sorted((tmp_path / "recordings").iterdir())

    told, status = in_child(partial(limited, 83_000, partial(prepare, recordings, tmp_path / "rows", Views.open)))
    assert status == 0 and "r0" not in told and "r1-" in told and "cannot be written: File too large" in told, told
    assert not (tmp_path / "rows").exists()
    assert [path.name[:2] for path in (tmp_path / ".rows-parts").iterdir()] == ["r0"]
    assert len(prepare(recordings, tmp_path / "rows", Views.open)) == 86


def test_a_line_of_losses_that_a_full_disk_cut_is_left_out_and_made_again(tmp_path):
    path = tmp_path / "losses.csv"
    lines = [{"step": i, "loss": 0.125} for i in (1, 2, 3)]
    Csv(path, "step").add(lines[:2])
    told, status = in_child(partial(limited, path.stat().st_size + 3, partial(Csv(path, "step").add, lines[2:])))
    assert status == 0 and "losses.csv cannot be written: File too large" in told
    assert not path.read_text().endswith("\n") and read_csv(path)["step"].tolist() == [1, 2]
    Csv(path, "step").add(lines[2:])
    assert path.read_text() == "step,loss\n1,0.125\n2,0.125\n3,0.125\n"


# folders that may not be written -------------------------------------------------------------------------------------


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A folder that any user reaches: pytest's own are its user's."""
    root = Path(tempfile.mkdtemp(prefix="read-only-"))
    root.chmod(0o755)
    yield root
    shutil.rmtree(root)


def as_nobody(does: Callable[[], Any]) -> str:
    """What is said to a user who may write nothing."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    try:
        does()
    except PermissionError as error:
        return str(error)
    except SystemExit as error:
        return str(error.code)
    return ""


READ_ONLY = {
    "save rows": "rows", "save results": "results", "save a model": "run/weights.safetensors",
    "prepare again": ".rows-parts/r0", "export": "out",
}  # fmt: skip


@pytest.mark.parametrize("name", READ_ONLY)
def test_a_folder_that_may_not_be_written_is_said_and_stays_as_it_is(begun, open_to_all, name):
    copied(begun / name / "before", folder := open_to_all / "place")
    before = tasks.contents(folder)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    told, status = in_child(partial(as_nobody, partial(tasks.TASKS[name].does, folder)))
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    assert status == 0 and "cannot be written: Permission denied" in told and str(folder / READ_ONLY[name]) in told, (
        told
    )
    assert tasks.contents(folder) == before


def test_the_command_says_it_in_one_line(open_to_all):
    line = ["train", TINY, "--out", str(open_to_all / "run")]
    open_to_all.chmod(0o555)
    told, status = in_child(partial(as_nobody, partial(main, line)))
    open_to_all.chmod(0o755)
    assert status == 0 and told.startswith("'ivekit: ") and "cannot be written: Permission denied" in told, told
    assert not list(open_to_all.iterdir())


# a loss that explodes ------------------------------------------------------------------------------------------------

EXPLODES = """
import torch
from tiny_recipe import Weighed, data, model, objective
from tiny_recipe import training as calm

def training(data, epochs: int = 40, lr: float = 1e-2, batch_size: int = 16):
    seen = []
    def augment(views):  # numbers that no float holds come up in the third epoch
        seen.append(None)
        return views if len(seen) <= 2 * -(-len(data) // batch_size) else views.replace(a=views["a"] * 1e38)
    return calm(data, epochs, lr, batch_size) | {"augment": augment}
"""


def test_a_loss_that_explodes_ends_the_run_in_one_line_and_what_was_good_is_kept(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(TINY).parent)
    (tmp_path / "wild.py").write_text(EXPLODES)
    with pytest.raises(SystemExit, match=r"^ivekit: .*step \d+.*not finite") as ended:
        main(["train", str(tmp_path / "wild.py"), "--out", str(tmp_path / "run")])
    assert "\n" not in str(ended.value.code)
    model, _ = load(tmp_path / "run", trust=True)
    assert all(bool(x.isfinite().all()) for x in model.state_dict().values())
    state = State.open(tmp_path / "run" / "checkpoint")
    assert all(bool(x.isfinite().all()) for x in state.model.values()) and state.step >= 6
    assert read_csv(tmp_path / "run/losses.csv")["validation"].notna().sum() >= 2
