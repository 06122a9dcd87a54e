"""The command line: runs that are killed, interrupted, spread over processes, and what it says when a line is wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import tiny_recipe

from ivekit import __main__ as cli
from ivekit.recipe import Recipe, load

TINY = tiny_recipe.__file__
HERE = {"PYTHONPATH": os.pathsep.join(sys.path)}
RESULTS = ("settings.json", "losses.csv", "latents.csv", "weights.safetensors", "objective.safetensors", "scores.json")


@pytest.fixture(autouse=True)
def quick_report(monkeypatch):
    """A report takes longer than these runs, and is tested elsewhere: here only its file is made."""
    monkeypatch.setattr("ivekit.report.write", lambda path, **said: path.write_text(said["title"]) and path)


def results(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in RESULTS}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The folder of a run."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    cli.main(["train", TINY, "epochs=10", "--out", str(folder)])
    return folder


def test_training_says_the_held_out_scores_and_where_the_report_is(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cli.main(["train", TINY, "latent=1"])
    said = capsys.readouterr().out
    scores = json.loads(Path("runs/tiny_recipe/scores.json").read_text())
    assert f"{scores['a']['reconstruction']['linear']:.3f}" in said
    assert said.splitlines()[0].split() == [
        "held-out",
        "rows",
        "model",
        "95",
        "%",
        "interval",
        "constant",
        "zero",
        "linear",
    ]
    assert (
        said.splitlines()[-1] == "report: runs/tiny_recipe/report.html"
        and Path("runs/tiny_recipe/report.html").exists()
    )
    assert json.loads(Path("runs/tiny_recipe/settings.json").read_text())["latent"] == 1


def test_a_killed_run_that_is_resumed_equals_one_that_was_not(finished, tmp_path):
    line = [sys.executable, "-m", "ivekit", "train", TINY, "epochs=10", "pause=0.1", "--out", str(tmp_path / "cut")]
    child = subprocess.Popen(line, env=os.environ | HERE, stderr=subprocess.DEVNULL)
    while not (tmp_path / "cut" / "checkpoint" / "state.safetensors").exists():
        assert child.poll() is None, "the run ended before it kept a state"
        time.sleep(0.01)
    time.sleep(0.2)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (tmp_path / "cut" / "scores.json").exists(), "killed too late to mean anything"
    cli.main(["train", TINY, "--resume", "--out", str(tmp_path / "cut")])  # the settings are those it has
    cut, whole = results(tmp_path / "cut"), results(finished)
    assert json.loads(cut.pop("settings.json")) | {"pause": 0.0} == json.loads(whole.pop("settings.json"))
    assert cut == whole


def test_a_finished_run_that_is_resumed_stays_as_it_is(finished):
    before = results(finished)
    cli.main(["train", TINY, "--resume", "--out", str(finished)])
    assert results(finished) == before


def test_an_interrupted_run_is_fit_for_use_and_goes_on(finished, tmp_path, capsys):
    with pytest.raises(SystemExit, match="interrupted: .*cut holds the weights of the best epoch so far"):
        cli.main(["train", TINY, "epochs=10", "stop=19", "--out", str(tmp_path / "cut")])
    model, recipe = load(tmp_path / "cut", trust=True)
    assert not model.training and len(pd.read_csv(tmp_path / "cut" / "losses.csv")) == 18
    cli.main(["train", TINY, "stop=19", "--resume", "--out", str(tmp_path / "cut")])
    assert pd.read_csv(tmp_path / "cut" / "losses.csv").equals(pd.read_csv(finished / "losses.csv"))


def test_a_printed_config_gives_the_same_run(finished, tmp_path, capsys):
    cli.main(["train", TINY, "epochs=10", "--print-config"])
    (tmp_path / "all.yaml").write_text(capsys.readouterr().out)
    cli.main(["train", TINY, "--config", str(tmp_path / "all.yaml"), "--out", str(tmp_path / "again")])
    assert results(tmp_path / "again") == results(finished)


def test_scores_and_report_are_made_again(finished, capsys):
    before = results(finished)
    (finished / "scores.json").unlink()
    (finished / "report.html").unlink()
    cli.main(["evaluate", str(finished), "--trust"])
    assert "a reconstruction" in capsys.readouterr().out
    cli.main(["report", str(finished), "--recipe", TINY])
    assert capsys.readouterr().out.strip() == str(finished / "report.html")
    assert results(finished) == before and (finished / "report.html").exists()


def test_a_page_of_sliders_is_made_when_it_is_asked_for(finished, capsys, monkeypatch):
    said = {}
    monkeypatch.setattr("ivekit.widgets.translate.translate", lambda decode, rows: b"the decoder")  # it takes seconds
    monkeypatch.setattr("ivekit.report.write", lambda path, **rest: said.update(rest) or path)
    cli.main(["report", str(finished), "--recipe", TINY, "--interactive"])
    assert capsys.readouterr().out.split() == [str(finished / "latents.html"), str(finished / "report.html")]
    page = (finished / "latents.html").read_text()
    scene = json.loads(re.search(r'id="ivekit-scene">(.*?)</script>', page, re.DOTALL)[1])["scene"]
    about = dict(scene["about"])
    assert about["recipe"] == "tiny_recipe" and "latent=2" in about["settings"] and about["seed"] == "0"
    assert about["again"] == "python -m ivekit train tiny_recipe epochs=10" and "12 test" in about["data"]
    assert any(latent["verdict"] and "traversal" in latent["verdict"]["text"] for latent in scene["latents"])
    assert scene["net"]["how"] == "onnx" and [href for _, href in said["links"]] == ["latents.html"]


def test_a_log_is_kept_when_it_is_asked_for(tmp_path):
    pytest.importorskip("tensorboard")
    cli.main(["train", TINY, "epochs=1", "--log", "tensorboard", "--out", str(tmp_path / "run")])
    assert list((tmp_path / "run" / "tensorboard").glob("events.*"))


def test_settings_may_come_after_options(monkeypatch):
    told = {}
    monkeypatch.setattr(cli.io, "recordings_of_meg", lambda files: (files, "a reader"))
    monkeypatch.setattr(cli.io, "prepare", lambda files, out, read, **how: told.update(files=files, **how))
    line = ["prepare", "a.fif", "--sfreq", "100", "tmax=0.5", "--out", "rows", "tmin=-0.1", "--test", "s1", "s2"]
    cli.main([*line, "baseline=[-0.1, 0]"])
    assert told["files"] == ["a.fif"] and (told["tmin"], told["tmax"], told["sfreq"]) == (-0.1, 0.5, 100)
    assert told["baseline"] == (-0.1, 0) and told["test"] == ["s1", "s2"]
    for line in (["prepare", "a.fif", "--out", "rows", "b.fif"], ["evaluate", "run", "lr=1"], ["lab", "--nope", "a=1"]):
        with pytest.raises(SystemExit, match="2"):
            cli.main(line)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["train", "nope"], "ivekit: no recipe 'nope'"),
        (["train", TINY, "latnt=3"], "ivekit: no setting 'latnt'.* did you mean 'latent'"),
        (["train", TINY, "--config", "nope.yaml"], "ivekit: there is no file of settings nope.yaml"),
        (["train", TINY, "epochs=0", "--out", "OUT"], "ivekit: epochs must be at least 1, got 0"),
        (["train", TINY, "n=2", "--out", "OUT"], "ivekit: no row is left for train"),
        (["train", TINY, "data=nowhere", "--out", "OUT"], "ivekit: data=nowhere is not a folder of saved rows"),
        (["evaluate", "nowhere"], "ivekit: nowhere is not the folder of a run"),
    ],
)
def test_a_wrong_line_is_answered_in_words(line, says, tmp_path):
    with pytest.raises(SystemExit, match=says):
        cli.main([str(tmp_path / "run") if word == "OUT" else word for word in line])


def test_a_folder_that_holds_a_run_is_not_written_over(finished):
    with pytest.raises(SystemExit, match="holds a run already"):
        cli.main(["train", TINY, "--out", str(finished)])


def test_the_demonstration_can_be_repeated(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    asked = []
    monkeypatch.setattr(cli, "Recipe", lambda name: asked.append(name) or Recipe(TINY, {"epochs": 1}))
    cli.main(["demo"])
    cli.main(["demo"])
    assert asked == ["ive", "ive"] and capsys.readouterr().out.count("report: runs/demo/report.html") == 2


def test_the_lab_opens_at_the_first_notebook(monkeypatch, tmp_path):
    opened = []
    monkeypatch.setattr(cli, "ROOT", tmp_path)
    monkeypatch.setattr(cli.subprocess, "run", lambda line, check: opened.append(line))
    with pytest.raises(SystemExit, match="there are no notebooks"):
        cli.main(["lab"])
    (tmp_path / "notebooks").mkdir()
    for name in ("01_views.ipynb", "00_quickstart.ipynb", "conftest.py"):
        (tmp_path / "notebooks" / name).touch()
    cli.main(["lab"])
    assert opened == [[sys.executable, "-m", "jupyter", "lab", str(tmp_path / "notebooks" / "00_quickstart.ipynb")]]
