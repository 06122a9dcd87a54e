"""The recording in data_samples is what its script makes, its README says and its truth explains."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from ivekit import Views, baselines, metrics, synth
from ivekit.io import read_meg, read_samples, read_table, read_video
from ivekit.recipe import load, parts

FOLDER = Path(__file__).parents[1] / "data_samples"
RUN = FOLDER / "runs" / "world"
STORED = sorted(path.name for path in FOLDER.iterdir() if path.is_file() and path.suffix not in (".py", ".md"))


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("make_samples", FOLDER / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def again(script, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    script.make(folder)
    return folder


@pytest.fixture(scope="module")
def world(script) -> synth.World:
    return synth.audiovisual(**script.WORLD)


@pytest.fixture(scope="module")
def samples() -> Views:
    return read_samples()


def content(path: Path) -> np.ndarray:
    """The numbers in a file, each over the difference that another processor's order of adding may make."""
    if path.suffix == ".fif":
        return read_meg(path)["meg"].numpy() / 0.01  # fT
    if path.suffix == ".mp4":
        return read_video(path, [0.0], 900)["video"].mean((3, 4)).numpy() * 255  # grey levels, of whole frames
    return pd.read_csv(path, sep="\t").select_dtypes("number").to_numpy() / 2e-4


@pytest.mark.parametrize("name", STORED)
def test_the_script_makes_the_same_bytes(again, name):
    stored, new = FOLDER / name, again / name
    if stored.read_bytes() != new.read_bytes():  # allowed only where the arithmetic is another machine's
        assert stored.suffix != ".json"
        np.testing.assert_allclose(content(new), content(stored), rtol=0, atol=1)


def test_the_script_makes_the_same_bytes_twice(script, again, tmp_path):
    script.make(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == STORED
    assert [name for name in STORED if (tmp_path / name).read_bytes() != (again / name).read_bytes()] == []


def test_nothing_says_when_or_where_they_were_made(again):
    info = read_meg(again / "sub-01_epo.fif").about["meg"].info
    assert info["meas_date"] is None
    assert info["file_id"]["machid"].tolist() == [0, 0] and info["file_id"]["secs"] == 0


def test_they_are_small_and_described():
    assert sum((FOLDER / name).stat().st_size for name in STORED) < 10e6
    said = (FOLDER / "README.md").read_text()
    assert [
        name for name in STORED if name.replace("02", "01").replace("03", "01").replace("04", "01") not in said
    ] == []


def test_the_views_are_the_world_s(samples, world):
    keys = ["subject", "trial"]
    pd.testing.assert_frame_equal(samples.metadata[keys], world.views.metadata[keys].reset_index(drop=True))
    there = {name: samples.rows_present(name) for name in samples}
    torch.testing.assert_close(samples["meg"][there["meg"]], world.views["meg"][there["meg"]], atol=1e-3, rtol=1e-5)
    torch.testing.assert_close(samples["behaviour"], world.views["behaviour"], atol=6e-5, rtol=0)
    error = (samples["video"] - world.views["video"])[there["video"]]
    assert error.std() < 0.3 * 0.05 and error.mean().abs() < 1e-3  # a third of the film's own noise
    about, stated = samples.about["meg"], world.views.about["meg"]
    assert about.names == stated.names and about.tmin == stated.tmin and about.sfreq == stated.sfreq
    np.testing.assert_allclose(about.pos, stated.pos, atol=1e-6)
    for name in ("video", "behaviour"):  # what was done to the files is their own history
        assert {k: v for k, v in samples.about[name].items() if k != "history"} == world.views.about[name]


def test_what_is_missing_is_what_the_readme_says(samples, caplog):
    frame = samples.metadata
    missing = {
        name: {tuple(key) for key in frame.loc[~samples.rows_present(name).numpy(), ["subject", "trial"]].to_numpy()}
        for name in samples
    }
    assert missing == {"meg": {("s03", 17)}, "video": {("s02", 11), ("s02", 12)}, "behaviour": set()}
    read_samples()
    for said in (
        "meg is missing in 1 of 192 trials: s03/17",
        "video is missing in 2 of 192 trials: s02/11, s02/12",
        "MUSCLE",
    ):
        assert said in caplog.text


def test_the_truth_is_in_the_files(samples, world):
    truth = read_table(FOLDER / "truth.tsv", keys=["trial"])
    pd.testing.assert_frame_equal(truth.metadata[["subject", "trial"]], samples.metadata[["subject", "trial"]])
    torch.testing.assert_close(truth["table"], torch.tensor(world.factors.to_numpy("f4")), atol=1e-6, rtol=0)
    factors = dict(zip(truth.about["table"]["columns"], truth["table"].T))
    meg = samples["meg"][samples.rows_present("meg")].double()
    for name, field in world.topographies.items():
        strength = torch.einsum(
            "bct,c,t->b", meg, torch.tensor(field).double(), torch.tensor(world.time_courses[name]).double()
        )
        seen = factors[name][samples.rows_present("meg")].double()
        assert torch.corrcoef(torch.stack([strength, seen]))[0, 1] > 0.5, name
    rises = samples.metadata["event_name"].map({"rises": True, "falls": False})
    assert (rises == (factors["motion"] > 0).numpy())[samples.rows_present("meg").numpy()].all()


def test_each_subject_is_split_alike(samples):
    shares = pd.crosstab(samples.metadata["subject"], samples.metadata["split"], normalize="index")
    assert np.abs(shares[["train", "validation", "test"]].to_numpy() - [0.7, 0.1, 0.2]).max() < 0.02
    assert read_samples().metadata["split"].equals(samples.metadata["split"])
    assert not read_samples(seed=1).metadata["split"].equals(samples.metadata["split"])


def test_a_folder_without_them_says_where_they_are(tmp_path):
    with pytest.raises(FileNotFoundError, match="a wheel and the repository .data_samples. have them"):
        read_samples(tmp_path)


def test_the_stored_run_is_what_its_scores_say():
    """Weights, settings and scores belong together: told anew, held-out behaviour is as well told as is written."""
    model, recipe = load(RUN, recipe="ive")
    rows = recipe.data()
    train, rows = (rows[rows.metadata["split"].to_numpy() == name] for name in ("train", "test"))
    said = json.loads((RUN / "scores.json").read_text())["behaviour"]
    with torch.no_grad():
        told = model(rows).p["behaviour"].mean.numpy()
    seen = train["behaviour"].numpy()
    r2 = metrics.r2(rows["behaviour"].numpy(), told, mean=seen.mean(0), weight=1 / seen.var(0))
    assert abs(r2 - said["reconstruction"]["model"]) < 0.005


@pytest.mark.parametrize("name", ["physio", "physio_concat", "physio_attention", "physio_experts"])
def test_the_stored_autoencoders_are_what_their_scores_say(name):
    """Weights, settings and scores belong together, of each way to fuse the signals."""
    model, recipe = load(FOLDER / "runs" / name, recipe="mimo_ae")
    assert recipe.settings["fusion"] == name.partition("_")[2] or name == "physio"
    rows = recipe.data()
    train, rows = (rows[rows.metadata["split"].to_numpy() == split] for split in ("train", "test"))
    said = json.loads((FOLDER / "runs" / name / "scores.json").read_text())
    with torch.no_grad():
        told = {view: p.mean.numpy() for view, p in model(rows).p.items()}
    for view, guess in told.items():
        r2 = metrics.r2(rows[view].numpy(), guess, mean=train[view].numpy().mean(0))
        assert abs(r2 - said[view]["reconstruction"]["model"]) < 0.005, view


@pytest.mark.parametrize(
    ("name", "recipe", "view", "metric"),
    [
        ("hand", "meg_decoding", "label", "from_others"),
        ("body", "mimo_ae", "rsp", "reconstruction"),
        ("head", FOLDER.parent / "evidence" / "head.py", "head", "from_others"),
    ],
)
def test_runs_on_real_recordings_are_what_their_scores_say(name, recipe, view, metric, data_dir):
    """Weights, settings, scores and the recordings belong together."""
    model, found = load(FOLDER / "runs" / name, recipe=recipe)
    rows = parts(found.data())
    said = json.loads((FOLDER / "runs" / name / "scores.json").read_text())[view][metric]
    now = baselines.held_out(model, rows["train"], rows["test"], n_boot=2)[view][metric]
    for who in ("model", "constant", "zero", "linear"):
        assert now[who] == pytest.approx(said[who], abs=0.005), who
