"""The search for settings: validation rows judge, the test rows wait, a study goes on, processes share it."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from forks import ended, forked

import ivekit.tune
from ivekit import Views
from ivekit.recipe import Recipe
from ivekit.tune import Range, space, table, tune

optuna = pytest.importorskip("optuna", reason="optuna (the extra 'tune') is not installed")

RECIPE = '''
"""A line through points, of which too large a step makes nonsense."""
from __future__ import annotations
import torch
import ivekit as ive
from ivekit.nn import Flat, Gaussian, MLPDecoder, MLPEncoder

def data(data: str = "points", n_trials: int = 120, seed: int = 0):
    """data : points"""
    x = torch.randn(n_trials, 3, generator=torch.Generator().manual_seed(seed))
    return ive.Views({"x": x, "y": x @ torch.tensor([[1.0], [2.0], [-1.0]])})

def model(data, blind: bool = False, dim: int = 8, trap: str = "none"):
    """blind : whether it sees nothing. trap : a file that whoever finds it trips over"""
    from pathlib import Path
    if Path(trap).exists():
        Path(trap).unlink()
        raise ValueError("a model that cannot be made")
    encoder = MLPEncoder(3, dim)
    if blind:
        for p in encoder.parameters():
            p.requires_grad_(False).zero_()
    return ive.Conditional({"x": encoder}, {"y": Gaussian(MLPDecoder(dim, 1, ()))})

def objective():
    return ive.Objective(nll=ive.NLL())

def training(epochs: int = 6, lr: float = 1e-2, batch_size: int = 16):
    return dict(epochs=epochs, lr=lr, batch_size=batch_size)
'''


@pytest.fixture
def recipe(tmp_path) -> Path:
    path = tmp_path / "line.py"
    path.write_text(RECIPE)
    return path


def test_what_is_typed_is_a_choice_a_range_or_stays():
    searched, fixed = space(["dim=[16,32]", "lr=1e-4..1e-2", "n=2..5", "encoder=[gru, lstm]", "epochs=10", "data=a..b"])
    assert searched == {"dim": [16, 32], "lr": Range(1e-4, 1e-2), "n": Range(2, 5), "encoder": ["gru", "lstm"]}
    assert fixed == ["epochs=10", "data=a..b"] and isinstance(searched["n"].low, int)


def test_the_best_is_found_and_only_then_the_test_rows_are_scored(recipe, tmp_path, monkeypatch):
    judged = []
    scored = ivekit.tune.held_out
    monkeypatch.setattr(
        ivekit.tune, "held_out", lambda m, a, b, *s, **k: judged.append((a, b)) or scored(m, a, b, *s, **k)
    )
    found = tune(Recipe(recipe), {"blind": [True, False]}, tmp_path / "study", trials=2, sampler="grid")
    assert found["blind"].tolist() == [False, True] and found["score"][0] > 0.8 > 0.3 > found["score"][1]
    assert len(judged) == 2
    for learnt, judges in judged:
        assert set(learnt.metadata["split"]) == {"train"} and set(judges.metadata["split"]) == {"validation"}
    best = tmp_path / "study" / "best"
    assert (best / "scores.json").is_file() and '"blind": false' in (best / "settings.json").read_text()


def test_inner_folds_are_of_training_and_validation_rows_and_keep_groups(recipe):
    frame = pd.DataFrame(
        {"subject": np.repeat(list("abcdef"), 20), "split": ["train"] * 60 + ["validation"] * 40 + ["test"] * 20}
    )
    data = Views({"x": torch.arange(120)}, metadata=frame)
    rows = {name: data[(frame["split"] == name).to_numpy()] for name in ("train", "validation", "test")}
    judged = []
    for learn, judge in ivekit.tune._folds(rows, 5, "subject", 0):
        assert not set(learn.metadata["subject"]) & set(judge.metadata["subject"])
        judged += judge["x"].tolist()
    assert sorted(judged) == list(range(100))


def test_a_study_goes_on_where_it_was_and_draws_nothing_twice(recipe, tmp_path):
    among = {"lr": Range(1e-4, 1e-1)}
    first = tune(Recipe(recipe, {"epochs": 1}), among, tmp_path / "study", trials=2, sampler="random")
    scores = (tmp_path / "study" / "best" / "scores.json").read_bytes()
    both = tune(Recipe(recipe, {"epochs": 1}), among, tmp_path / "study", trials=4, sampler="random")
    assert len(first) == 2 and len(both) == 4 and both["lr"].nunique() == 4
    assert set(first["lr"]) < set(both["lr"])
    assert (tmp_path / "study" / "best" / "scores.json").read_bytes() == scores
    with pytest.raises(ValueError, match="holds a study of .* name another folder"):
        tune(Recipe(recipe, {"epochs": 2}), among, tmp_path / "study", trials=4, sampler="random")


def test_several_processes_work_on_one_study(recipe, tmp_path):
    command = [sys.executable, "-m", "ivekit", "tune", str(recipe), "epochs=1", "lr=0.001..0.1", "--trials", "4"]
    done = subprocess.run([*command, "--processes", "2", "--out", str(tmp_path / "s")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = table(tmp_path / "s", "line")
    assert 4 <= len(found) <= 5 and found["lr"].nunique() == len(found)
    assert "held-out rows" in done.stdout and "y from_others" in done.stdout


@pytest.mark.parametrize("storage", [None, "journal"])
def test_commands_that_begin_at_once_share_a_study_and_one_of_them_runs_the_best(recipe, tmp_path, storage):
    where = storage and str(tmp_path / storage)
    how = dict(trials=4, sampler="random", storage=where)
    among, folder = {"lr": Range(1e-4, 1e-1)}, tmp_path / "study"
    children = [forked(tune, Recipe(recipe, {"epochs": 1}), among, folder, **how) for _ in range(3)]
    assert ended(children) == [0, 0, 0]
    found = table(folder, "line", where)
    assert 4 <= len(found) <= 6 and found["lr"].nunique() == len(found), "two drew the same"
    assert (folder / "best" / "scores.json").is_file() and (folder / "study.db").exists() == (storage is None)
    epochs = pd.read_csv(folder / "best" / "losses.csv")["step"]
    assert epochs.tolist() == list(range(1, len(epochs) + 1)), "two ran it into one folder"


def test_the_trial_of_a_process_that_was_killed_is_done_again(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(ivekit.tune, "HEARTBEAT", 1)
    ours, theirs = os.pipe()

    def hangs(*_):
        os.write(theirs, b"begun")
        signal.pause()

    with monkeypatch.context() as patch:
        patch.setattr(ivekit.tune, "_score", hangs)
        among = {"lr": Range(1e-4, 1e-1)}
        child = forked(tune, Recipe(recipe, {"epochs": 1}), among, tmp_path / "study", trials=2, sampler="random")
    assert os.read(ours, 5) == b"begun"
    os.kill(child, signal.SIGKILL)
    assert ended([child]) == [-signal.SIGKILL]
    study = optuna.load_study(study_name="line", storage=ivekit.tune._opened(f"sqlite:///{tmp_path}/study/study.db"))
    (begun,) = study.trials
    assert begun.state.name == "RUNNING"
    while not study._storage._get_stale_trial_ids(study._study_id):
        time.sleep(0.1)  # until it is known that nobody is at it
    found = tune(Recipe(recipe, {"epochs": 1}), among, tmp_path / "study", trials=2, sampler="random")
    assert len(found) == 2 and begun.params["lr"] in found["lr"].tolist()


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_worker_that_slept_while_its_trial_was_given_away_goes_on_with_the_next(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(ivekit.tune, "HEARTBEAT", 1)
    scored, told = ivekit.tune._score, tmp_path / "told.txt"
    monkeypatch.setattr(ivekit.tune.log, "handlers", [handler := logging.FileHandler(told)])

    def sleeps(*of):
        if not told.read_text():
            told.write_text("asleep\n")
            with closing(sqlite3.connect(tmp_path / "study" / "study.db")) as study:
                while not study.execute("select 1 from trial_heartbeats").fetchone():
                    time.sleep(0.05)  # that is a thread's, and whoever slept while it wrote would hold the database
            os.kill(os.getpid(), signal.SIGSTOP)
        return scored(*of)

    monkeypatch.setattr(ivekit.tune, "_score", sleeps)
    among = {"lr": Range(1e-4, 1e-1)}
    child = forked(tune, Recipe(recipe, {"epochs": 1}), among, tmp_path / "study", trials=2, sampler="random")
    assert os.WIFSTOPPED(os.waitpid(child, os.WUNTRACED)[1])
    study = optuna.load_study(study_name="line", storage=ivekit.tune._opened(f"sqlite:///{tmp_path}/study/study.db"))
    try:
        while study.trials[0].state.name == "RUNNING":
            optuna.storages.fail_stale_trials(study)  # as whoever begins a trial does
            time.sleep(0.1)
    finally:
        os.kill(child, signal.SIGCONT)
    assert ended([child]) == [0]
    handler.close()
    assert told.read_text() == (
        "asleep\ntrial 0 was given to another process while this one slept: its result is not kept\n"
    )
    found = table(tmp_path / "study", "line")
    assert len(found) == found["lr"].nunique() == 2 and study.trials[0].params["lr"] in found["lr"].tolist()


def test_an_error_of_one_worker_ends_the_others_after_their_trial_and_the_same_command_goes_on(recipe, tmp_path):
    (tmp_path / "trap").touch()
    of = Recipe(recipe, {"epochs": 1, "trap": str(tmp_path / "trap")})
    how = dict(sampler="random", processes=2)
    with pytest.raises(ValueError, match="a model that cannot be made"):
        tune(of, {"lr": Range(1e-4, 1e-1)}, tmp_path / "study", trials=60, **how)
    before = optuna.load_study(study_name="line", storage=f"sqlite:///{tmp_path}/study/study.db").trials
    assert len(before) < 30 and {trial.state.name for trial in before} <= {"COMPLETE", "FAIL", "WAITING"}
    done = sum(trial.state.name == "COMPLETE" for trial in before)
    found = tune(of, {"lr": Range(1e-4, 1e-1)}, tmp_path / "study", trials=done + 1, sampler="random")
    (failed,) = [trial for trial in before if trial.state.name == "FAIL"]
    assert len(found) == done + 1 and failed.params["lr"] in found["lr"].tolist()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_point_of_a_grid_that_ended_in_an_error_is_begun_anew(recipe, tmp_path, monkeypatch, error):
    def fails(*_):
        raise error("in the midst of it")

    among = {"dim": [2, 4, 8]}
    with monkeypatch.context() as patch, pytest.raises(error, match="in the midst"):
        patch.setattr(ivekit.tune, "_score", fails)
        tune(Recipe(recipe, {"epochs": 1}), among, tmp_path / "study", sampler="grid")
    found = tune(Recipe(recipe, {"epochs": 1}), among, tmp_path / "study", sampler="grid")
    assert sorted(found["dim"]) == [2, 4, 8]


@pytest.mark.parametrize(("error", "left"), [(ValueError, [2, 8]), (KeyboardInterrupt, [2, 4, 8])])
def test_a_point_that_never_works_is_left_out_and_said_but_not_one_that_somebody_stops(
    recipe, tmp_path, monkeypatch, caplog, error, left
):
    score, asked = ivekit.tune._score, Recipe(recipe, {"epochs": 1})

    def fails(recipe, *rest):
        if recipe.settings["dim"] == 4:
            raise error("in the midst of it")
        return score(recipe, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(ivekit.tune, "_score", fails)
        for _ in range(3):
            with pytest.raises(error, match="in the midst"):
                tune(asked, {"dim": [2, 4, 8]}, tmp_path / "study", sampler="grid")
    found = tune(asked, {"dim": [2, 4, 8]}, tmp_path / "study", sampler="grid")
    assert sorted(found["dim"]) == left and ("left out" in caplog.text) == (error is ValueError)


def test_settings_that_never_work_are_no_endless_search(recipe, tmp_path, monkeypatch):
    def fails(*_):
        raise ValueError("in the midst of it")

    monkeypatch.setattr(ivekit.tune, "_score", fails)
    for said in 3 * ["in the midst"] + ["no trial came to an end"]:
        with pytest.raises(ValueError, match=said):
            tune(Recipe(recipe), {"dim": [2]}, tmp_path / "study", trials=1, sampler="random")


@pytest.mark.parametrize(
    ("searched", "how", "found"),
    [
        ({}, {}, "nothing is searched"),
        ({"widht": [1, 2]}, {}, "no setting 'widht'.*"),
        ({"lr": Range(0.1, 0.2)}, {"sampler": "grid"}, r"a grid has choices: lr is the range 0.1..0.2"),
        ({"dim": [4]}, {"sampler": "guess"}, "sampler is one of tpe, random, grid; got 'guess'"),
        ({"dim": []}, {}, "nothing to choose from for dim"),
        ({"dim": [4]}, {"trials": 0}, "trials, folds and processes are at least 1"),
    ],
)
def test_what_cannot_be_searched_is_said(recipe, tmp_path, searched, how, found):
    with pytest.raises(ValueError, match=found):
        tune(Recipe(recipe), searched, tmp_path / "study", **how)


def test_a_trial_whose_loss_explodes_is_the_worst_and_the_search_goes_on(recipe, tmp_path, monkeypatch):
    trained = ivekit.tune.train

    def exploding(model, objective, data, *, lr, **how):
        if lr > 0.05:
            raise FloatingPointError("the loss is not finite")
        yield from trained(model, objective, data, lr=lr, **how)

    monkeypatch.setattr(ivekit.tune, "train", exploding)
    found = tune(Recipe(recipe), {"lr": [0.01, 0.1]}, tmp_path / "study", trials=2, sampler="grid")
    assert found["lr"].tolist() == [0.01, 0.1] and found["score"][1] == -np.inf


def test_the_best_is_of_the_first_trials_whoever_asks(recipe, tmp_path):
    study = optuna.create_study(direction="maximize")
    for number, score in enumerate([0.1, 0.5, 0.3, 0.9]):
        draw = optuna.distributions.FloatDistribution(0, 9)
        study.add_trial(optuna.trial.create_trial(params={"x": number}, distributions={"x": draw}, value=score))
    assert ivekit.tune._best(study, 3) == {"x": 1} and ivekit.tune._best(study, 9) == {"x": 3}


def test_without_optuna_the_extra_is_named(recipe, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ImportError, match=r"pip install 'ivekit\[tune\]'"):
        tune(Recipe(recipe), {"dim": [4, 8]}, tmp_path / "study")
