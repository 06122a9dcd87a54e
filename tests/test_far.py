"""Where one process ends: runs of several, one of them killed; rows of which each reads its share; checkpoints."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tiny_recipe
import torch
from forks import ended, forked

from ivekit import Views, ondisk
from ivekit import __main__ as cli
from ivekit.recipe import Recipe, fill_split, leave_out, load, parts, run, score
from ivekit.recipe.checkpoint import Checkpoint
from ivekit.training import State

HERE = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
LINE = ["train", tiny_recipe.__file__, "n=300", "epochs=3"]  # 14 steps an epoch
RESULTS = ("losses.csv", "latents.csv", "weights.safetensors", "objective.safetensors", "scores.json")


@pytest.fixture(autouse=True)
def quick_report(monkeypatch):
    """A report takes longer than these runs, and is tested elsewhere: here only its file is made."""
    monkeypatch.setattr("ivekit.report.write", lambda path, **said: path.write_text(said["title"]) and path)


def results(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in RESULTS}


def launched(processes: int, said: Path, *words: str) -> subprocess.Popen:
    """``torchrun -m ivekit ...`` with some processes, begun again twice at most; all they say goes into a file."""
    many = [f"--nproc_per_node={processes}", "--max-restarts=2", "--monitor-interval=0.1"]
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", *many, "-m", "ivekit", *words]
    with said.open("w") as file:
        return subprocess.Popen(line, env=HERE, stdout=file, stderr=subprocess.STDOUT)


def workers(parent: int) -> dict[int, int]:
    """The processes that torchrun has begun, by their rank."""
    found = {}
    for child in map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split()):
        said = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        found |= {int(words[5:]): child for words in said if words.startswith(b"RANK=")}
    return found


def step_of(folder: Path) -> int:
    """The step of a run's checkpoint; 0 where there is none yet."""
    there = (folder / "checkpoint" / "state.safetensors").exists()
    return State.open(folder / "checkpoint").step if there else 0


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The folder of a run of one process."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    run(Recipe(tiny_recipe.__file__, {"n": 300, "epochs": 3}), folder, disable=True)
    return folder


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/task").exists(), reason="the processes to be killed are found in Linux's /proc"
)
def test_processes_of_which_one_is_killed_end_as_those_that_were_not(finished, tmp_path):
    said = tmp_path / "said.txt"
    whole = launched(2, said, *LINE, "--out", str(tmp_path / "whole"))
    assert whole.wait(600) == 0, said.read_text()
    assert said.read_text().count("held-out rows") == 1
    one, two = (pd.read_csv(folder / "losses.csv") for folder in (finished, tmp_path / "whole"))
    pd.testing.assert_frame_equal(one, two, rtol=1e-4)

    cut = launched(2, said, *LINE, "pause=0.1", "--resume", "--keep", "0", "--out", str(tmp_path / "cut"))
    while step_of(tmp_path / "cut") < 18:  # within the second epoch
        assert cut.poll() is None, said.read_text()
        time.sleep(0.02)
    os.kill(workers(cut.pid)[1], signal.SIGKILL)
    assert cut.wait(600) == 0, said.read_text()
    assert "exitcode: -9" in said.read_text()
    assert results(tmp_path / "cut") == results(tmp_path / "whole")


def reads(rank: int, folder: Path) -> None:
    """One of two processes of a run on rows on disk; notes which rows of view "a" it reads before the run is scored."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    read, noted = ondisk._read, []

    def note(file, array, rows):
        noted.extend(rows.tolist() if array.ndim == 2 and array.shape[1] == 3 else [])
        return read(file, array, rows)

    ondisk._read = note
    recipe = Recipe(tiny_recipe.__file__, {"data": str(folder / "rows"), "epochs": 3})
    run(recipe, folder / "run", disable=True)
    (folder / f"{rank}.json").write_text(json.dumps(noted))


def test_each_process_reads_its_share_of_rows_on_disk(tmp_path, monkeypatch):
    Recipe(tiny_recipe.__file__, {"n": 300}).data().save(tmp_path / "rows")
    monkeypatch.setattr(ondisk, "LARGE", 700)  # bytes: the training rows stay on disk, a batch of them does not
    monkeypatch.setattr(sys.modules["ivekit.recipe.run"], "too_many", lambda rows: True)
    assert ended([forked(reads, rank, tmp_path) for rank in (0, 1)]) == [0, 0]
    rows = Views.open(tmp_path / "rows")
    metadata: Any = rows.metadata
    train = (metadata["split"] == "train").to_numpy().nonzero()[0]
    times = Counter(row for row in json.loads((tmp_path / "1.json").read_text()) if row in set(train))
    # its half of the rows is looked through for what is not finite, and half a batch of each step is trained on
    assert isinstance(parts(rows)["train"]["a"], ondisk.OnDisk)
    assert times.total() == pytest.approx(len(train) / 2 + 3 * len(train) / 2, abs=3), times.total() / len(train)
    both = times + Counter(row for row in json.loads((tmp_path / "0.json").read_text()))
    assert min(both[row] for row in train) >= 4


def cut_short(recipe: Recipe, folder: Path, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a recipe with a checkpoint at every step, and interrupts it at one; at 0, before there is any."""
    after = Checkpoint.after

    def until(self, step):
        if at:
            after(self, step)
        if step.step == max(1, at):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Checkpoint, "after", until)
        run(recipe, folder, resume=True, minutes=0, disable=True)


@pytest.mark.parametrize("at", [[0], [5], [14], [15, 20, 27, 29], [42]])
def test_a_run_that_goes_on_from_the_middle_of_an_epoch_is_the_same(finished, tmp_path, monkeypatch, at):
    recipe = Recipe(tiny_recipe.__file__, {"n": 300, "epochs": 3})
    for step in at:
        cut_short(recipe, tmp_path / "cut", step, monkeypatch)
        assert step_of(tmp_path / "cut") == step
    run(recipe, tmp_path / "cut", resume=True, disable=True)
    assert results(tmp_path / "cut") == results(finished)
    assert [path.name for path in (tmp_path / "cut" / "checkpoint").iterdir()] == ["state.safetensors"]


def test_a_checkpoint_is_as_old_as_its_older_file(finished, tmp_path, monkeypatch):
    recipe = Recipe(tiny_recipe.__file__, {"n": 300, "epochs": 3})
    cut_short(recipe, tmp_path / "cut", 20, monkeypatch)
    older = (tmp_path / "cut" / "checkpoint" / "state.safetensors").read_bytes()
    cut_short(recipe, tmp_path / "cut", 23, monkeypatch)
    (tmp_path / "cut" / "checkpoint" / "state.safetensors").write_bytes(older)  # a kill came between the two
    run(recipe, tmp_path / "cut", resume=True, disable=True)
    assert results(tmp_path / "cut") == results(finished)


def test_a_run_that_had_waited_long_enough_does_not_go_on(tmp_path, monkeypatch):
    recipe = Recipe(tiny_recipe.__file__, {"epochs": 9, "patience": 1, "lr": 1.0})
    run(recipe, tmp_path / "run", disable=True)
    before, step = results(tmp_path / "run"), step_of(tmp_path / "run")
    assert step < 9 * 3, "it was to stop early"
    (tmp_path / "run" / "scores.json").unlink()  # it was killed while the test rows were scored
    run(recipe, tmp_path / "run", resume=True, disable=True)
    assert results(tmp_path / "run") == before and step_of(tmp_path / "run") == step


def test_scores_of_some_of_the_rows_say_so(finished, tmp_path, monkeypatch, capsys):
    model, recipe = load(finished, trust=True)
    rows = parts(recipe.data())
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(sys.modules["ivekit.recipe.run"], "few", lambda of: of[:40] if len(of) > 100 else of)
    scores = score(tmp_path / "run", model, rows)
    drawn = [said["drawn"] for metrics in scores.values() for said in metrics.values()]
    assert len(drawn) == 4 and all(said == {"train": [40, 210]} for said in drawn)
    cli._tell(tmp_path / "run")
    assert "of 210 train rows 40 were drawn for these scores" in capsys.readouterr().out


def test_a_row_of_nobody_is_in_no_part():
    frame = pd.DataFrame({"subject": ["a", "b", None, "c", None, "d"]})
    data = Views({"x": torch.zeros(6)}, metadata=frame)
    for split in (lambda: fill_split(data, by="subject"), lambda: list(leave_out(data))):
        with pytest.raises(ValueError, match="2 rows have no subject, first row 2: say whose they are"):
            split()
    with pytest.raises(ValueError, match="1 row has no subject, first row 2"):
        fill_split(data[:4], by="subject", held_out="a")


def test_processes_that_see_other_folders_do_not_train_together(finished, monkeypatch):
    monkeypatch.setattr(sys.modules["ivekit.recipe.run"], "agreed", lambda number, device: 14)
    with pytest.raises(ValueError, match=r"finds step 42 in .*, and the first of them step 14: all must"):
        run(Recipe(tiny_recipe.__file__, {"n": 300, "epochs": 3}), finished, resume=True)


def test_a_setting_that_there_was_not_yet_had_its_default(tmp_path):
    recipe = Recipe(tiny_recipe.__file__, {"epochs": 1})
    run(recipe, tmp_path / "run", disable=True)
    path = tmp_path / "run" / "settings.json"
    path.write_text(path.read_text().replace('"precision": "float32",', ""))
    assert "precision" not in path.read_text()
    run(recipe, tmp_path / "run", resume=True, disable=True)
    path.write_text(path.read_text().replace('"precision": "float32",', ""))
    with pytest.raises(ValueError, match="other settings: precision was 'float32'"):
        run(Recipe(tiny_recipe.__file__, {"epochs": 1, "precision": "bfloat16"}), tmp_path / "run", resume=True)
