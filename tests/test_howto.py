"""The how-tos do what they say: their code is run, block by block, on a small folder of the layout they are about."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from derivatives import SHAPE, atlas, write_image, write_participants, write_run
from torch.distributed.run import get_args_parser

from ivekit import __main__ as cli
from ivekit import tune
from ivekit.recipe import Recipe, parts

HOWTO = Path(__file__).parents[1] / "docs" / "howto"
RNG = np.random.default_rng(0)


def follow(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    """Everything that the code of a how-to has named, after it was run in a folder."""
    monkeypatch.chdir(folder)
    named: dict = {}
    for code in re.findall(r"```python\n(.*?)```", (HOWTO / f"{name}.md").read_text(encoding="utf-8"), re.S):
        exec(compile(code, f"{name}.md", "exec"), named)
    return named


def of_parcels(values: np.ndarray) -> np.ndarray:
    """A series or a volume whose parcels hold these values, around 100."""
    return 100 + np.concatenate([np.zeros((1, *values.shape[1:])), values])[atlas()]


def test_openneuro(tmp_path, monkeypatch, capsys):
    raw = tmp_path / "ds000114"
    write_image(tmp_path / "atlas.nii.gz", atlas().astype("i2"))
    write_participants(raw, ["01", "02", "03"], age=[20, 30, 40])
    time, face = 0.9 + 2.0 * np.arange(40), np.zeros(40, bool)
    events = pd.DataFrame({"onset": np.arange(0, 76, 8.0), "duration": 6.0})
    events["trial_type"] = ["face", "house"] * 5
    for start in events["onset"][::2]:
        face |= (time - 5 >= start) & (time - 5 < start + 6)
    for subject in ("01", "02", "03"):
        x = RNG.standard_normal((6, 40)) * 0.3
        x[2] += 2 * face
        folder = write_run(raw / "derivatives" / "fmriprep", of_parcels(x), subject, task="faces")
        path = folder / f"sub-{subject}_task-faces_desc-confounds_timeseries.tsv"
        table = pd.read_csv(path, sep="\t").assign(
            rot_x=RNG.standard_normal(40), cosine00=np.cos(np.pi * np.arange(40) / 40)
        )
        table.to_csv(path, sep="\t", index=False)
        (raw / f"sub-{subject}" / "func").mkdir(parents=True)
        events.to_csv(raw / f"sub-{subject}" / "func" / f"sub-{subject}_task-faces_events.tsv", sep="\t", index=False)
    named = follow("openneuro", tmp_path, monkeypatch)
    assert named["names"] == ["face", "house"] and set(named["scores"]) == {"01", "02", "03"}
    scores = pd.DataFrame(named["scores"].values())
    assert scores["model"].mean() > 0.9 > 0.7 > scores["constant"].mean(), scores
    assert "cosine00 explain of each run taken off" in capsys.readouterr().out


def test_hcp(tmp_path, monkeypatch, caplog):
    write_image(tmp_path / "atlas.nii.gz", atlas().astype("i2"))
    people = range(100, 124)
    for i in people[:-1]:
        at = tmp_path / "HCP" / str(i) / "MNINonLinear" / "Results" / "rfMRI_REST1_LR"
        x = RNG.standard_normal((6, 30))
        x[1] = x[0] + 0.3 * x[1]
        write_image(at / "rfMRI_REST1_LR_hp2000_clean.nii.gz", of_parcels(x).astype("f4"), 0.72)
        write_image(at / "brainmask_fs.2.nii.gz", np.ones(SHAPE, "u1"))
        np.savetxt(at / "Movement_Regressors.txt", RNG.standard_normal((30, 12)))
    table = {"Subject": people, "Family_ID": [f"f{i // 2}" for i in people], "PMAT24_A_CR": 18.0, "Age_mid": 30.0}
    pd.DataFrame(table).to_csv(tmp_path / "HCP" / "behaviour.csv", index=False)
    views = follow("hcp", tmp_path, monkeypatch)["views"]
    assert views["parcels"].shape == (24, 6, 2) and views.rows_present("parcels").sum() == 23
    assert "parcels is missing in 1 of 24 trials: 123" in caplog.text
    (first, *_) = sorted(views.about["parcels"]["edges"], key=lambda edge: -edge[2])
    assert first[:2] == [0, 1] and len(views.about["parcels"]["edges"]) == 3
    family = views.metadata.groupby("Family_ID")["split"].nunique()
    assert (family == 1).all() and views.metadata["split"].nunique() == 3
    recipe = Recipe("modal_merge", {"data": "rows", "source": "parcels", "target": "behaviour", "dim": 8})
    model = recipe.model(parts(recipe.data())["train"])
    assert type(model.encoders["parcels"]).__name__ == "GraphEncoder"


def test_adni(tmp_path, monkeypatch, capsys):
    write_image(tmp_path / "atlas.nii.gz", atlas().astype("i2"))
    visits = []
    offset = RNG.standard_normal((3, 6))
    for i in range(48):
        site, dx = (2, 27, 41)[i % 3], ("CN", "MCI", "Dementia")[(i // 3) % 3]
        who = f"{site:03d}_S_{i:04d}"
        x = offset[i % 3] + 0.3 * RNG.standard_normal(6) - 1.0 * ["CN", "MCI", "Dementia"].index(dx)
        folder = tmp_path / "ADNI" / who / "MPRAGE" / "2006-04-18_08_20_30.0" / f"I{i}"
        write_image(folder / "scan.nii", of_parcels(x[:, None])[..., 0].astype("f4"))
        late = "2009-01-01" if i == 0 else "2006-05-02"
        visits.append({"PTID": who, "EXAMDATE": late, "SITE": site, "DX": dx, "AGE": 70.0 + i})
    pd.DataFrame(visits).to_csv(tmp_path / "ADNIMERGE.csv", index=False)
    named = follow("adni", tmp_path, monkeypatch)
    assert "1 of 48 scans have no diagnosis within half a year" in capsys.readouterr().out
    assert named["views"]["parcels"].shape == (47, 6) and named["views"].metadata["subject"].is_unique
    wanted = [("CN", "MCI", "Dementia").index(visit["DX"]) for visit in visits[1:]]
    assert named["views"]["diagnosis"].tolist() == [wanted[int(s[-4:]) - 1] for s in named["views"].metadata["subject"]]
    assert named["raw"]["site"].tolist() == [2, 27, 41]
    assert named["mended"]["across"].mean() > named["raw"]["across"].mean()


def test_brats(tmp_path, monkeypatch):
    for i in range(10):
        case = tmp_path / "BraTS2021" / f"BraTS2021_{i:05d}"
        case.mkdir(parents=True)
        for name in ("flair", "t1", "t1ce", "t2", "seg"):
            if (i, name) != (3, "t1"):
                x = RNG.integers(0, 3 if name == "seg" else 900, (33, 32, 34)).astype("i2")
                nibabel.save(nibabel.Nifti1Image(x, np.eye(4)), case / f"{case.name}_{name}.nii.gz")
    named = follow("brats", tmp_path, monkeypatch)
    views = named["views"]
    assert views["flair"].shape == (10, 1, 8, 8, 8) and views.rows_present("t1").tolist() == [i != 3 for i in range(10)]
    for x in (views["flair"], views["t2"]):
        np.testing.assert_allclose(x.mean((1, 2, 3, 4)), 1, rtol=1e-4)
    first = nibabel.load(tmp_path / "BraTS2021" / "BraTS2021_00000" / "BraTS2021_00000_seg.nii.gz").get_fdata()
    assert float(views["seg"][0, 0, 0, 0, 0]) == pytest.approx(first[:4, :4, :4].mean(), rel=1e-6)
    assert views.history.query("view == 't2'")["step"].tolist() == [
        "mean of cubes of 4 voxels", "divided by the mean of the scan's own brain",
    ]  # fmt: skip
    assert (tmp_path / "runs" / "brats" / "report.html").exists()


def test_cluster(tmp_path, monkeypatch):
    """Every word of the scripts is taken by bash, torchrun and ivekit; that runs of many end well, test_far says."""
    blocks = re.findall(r"```sh\n(.*?)```", (HOWTO / "cluster.md").read_text(encoding="utf-8"), re.S)
    for name in ("torchrun", "python"):  # what a machine of the job would run is written down instead
        program = tmp_path / name
        program.write_text(f'#!/bin/bash\nprintf "%s\\n" {name} "$@" >> {tmp_path}/said\necho >> {tmp_path}/said\n')
        program.chmod(0o755)
    for name, does in {"srun": 'exec "$@"', "scontrol": "printf 'node1\nnode2\n'"}.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{does}\n")
        (tmp_path / name).chmod(0o755)
    slurm = {"SLURM_JOB_NODELIST": "node[1-2]", "SLURM_NNODES": "2", "SLURM_JOB_ID": "7", "SCRATCH": str(tmp_path)}
    for script in blocks:
        path = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
        subprocess.run(["bash", "-euc", script], env=os.environ | slurm | path, check=True, cwd=tmp_path)
    one, many, study = (line.splitlines() for line in (tmp_path / "said").read_text().strip().split("\n\n"))
    for line in (one, many):
        said = get_args_parser().parse_args(line[1:])
        assert said.module and said.training_script == "ivekit" and said.max_restarts == "3" or said.max_restarts == 3
        ours = cli._parsed(said.training_script_args)
        assert Recipe.parse(ours.recipe, ours.settings).name == "ive" and ours.resume
    assert said.rdzv_endpoint == "node1:29500" and said.nnodes == "2" and said.rdzv_id == "7"
    assert study[1:3] == ["-m", "ivekit"]
    ours = cli._parsed(study[3:])
    searched, fixed = tune.space(ours.settings)
    tune._check(Recipe.parse(ours.recipe, fixed), searched, ours.sampler, ours.trials, ours.folds, ours.processes)
    assert searched == {"shared": [8, 16, 32], "lr": tune.Range(0.0001, 0.01)}
    assert tune._where(ours.out, ours.storage) == f"{tmp_path}/studies/shared.journal"


def test_cost(monkeypatch):
    """The page says what the arithmetic makes of the constants that were measured last."""
    monkeypatch.syspath_prepend(Path(__file__).parent / "benchmarks")
    cost = importlib.import_module("cost")
    constants = cost.constants()
    assert cost.write(constants) == (HOWTO / "cost.md").read_text(encoding="utf-8")
    at = {line.what: line.of for line in cost.lines(constants)}
    assert at["an epoch"](8) == pytest.approx(at["an epoch"](1) / 8)
    from_so_many_on = {what: n for what, _, n in cost.limits(constants)}
    n = from_so_many_on["fitting, over all epochs"]
    assert cost.EPOCHS * at["an epoch"](n) == pytest.approx(at["standardisation fitted"](n))
    n = from_so_many_on["validation in the first process"]
    assert at["an epoch"](n) == pytest.approx(at["its validation"](n))
    n = from_so_many_on["the network"]
    assert at["an epoch"](n) == pytest.approx(at["its gradients sent"](n))
    n = from_so_many_on["the disk"]
    assert at["read from the disk while training"](n) == pytest.approx(cost.DISK / 1e9)


def test_every_how_to_is_run_here_and_in_the_index():
    ours = {path.stem for path in HOWTO.glob("*.md")} - {"index"}
    assert ours and ours <= {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    index = (HOWTO / "index.md").read_text(encoding="utf-8")
    assert all(f"{name}.md" in index for name in ours) and "howto/index" in (HOWTO.parent / "index.md").read_text()
