"""Settings searched for, by grid, at random or by what trials before them found; the test rows are touched once.

A trial trains the recipe with the settings it drew and is scored on validation rows alone. When all trials are done
the best one is run as any other (`ivekit.recipe.run`), and that run scores the test rows. The study is a SQLite file, a
journal or a database: the same command goes on with it, as often at once as one likes, on all machines that see it.
"""

from __future__ import annotations

import json
import logging
import math
import multiprocessing
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import yaml
from sklearn.model_selection import GroupKFold, KFold

from .baselines import held_out
from .recipe import Recipe, parts, run
from .recipe.folder import read_settings
from .recipe.rows import few
from .training import train
from .views import Views

log = logging.getLogger("ivekit.tune")
SAMPLERS = ("tpe", "random", "grid")
HEARTBEAT = 60  # seconds between two signs of life that a trial gives to a database
AGAIN = 2  # times that a trial is begun anew that died or ended in an error: it may be the trial that kills


class Range(NamedTuple):
    """Numbers from low to high, both among them: whole ones evenly, others evenly in their logarithm if above 0."""

    low: float | int
    high: float | int


Space = Mapping[str, "list | Range"]


def space(texts: Iterable[str]) -> tuple[dict[str, Any], list[str]]:
    """What is to be searched, as it is typed, and the settings that stay.

    A list is a choice, ``dim=[16,32]``; two numbers are a range, ``lr=0.001..0.01``; anything else stays as it is.

    >>> space(["dim=[16,32]", "lr=0.001..0.01", "epochs=10"])
    ({'dim': [16, 32], 'lr': Range(low=0.001, high=0.01)}, ['epochs=10'])
    """
    searched: dict[str, Any] = {}
    fixed = []
    for text in texts:
        name, _, value = text.partition("=")
        low, dots, high = value.partition("..")
        if dots and all(re.fullmatch(r"[-+]?\d+(\.\d*)?(e[-+]?\d+)?", end) for end in (low, high)):
            whole = all(re.fullmatch(r"[-+]?\d+", end) for end in (low, high))
            searched[name] = Range(*(int(end) if whole else float(end) for end in (low, high)))
        elif value.startswith("["):
            searched[name] = [float(v) if re.fullmatch(r"\d+e-?\d+", str(v)) else v for v in yaml.safe_load(value)]
        else:
            fixed.append(text)
    return searched, fixed


def tune(
    recipe: Recipe,
    searched: Space,
    folder: str | Path,
    trials: int = 20,
    sampler: str = "tpe",
    folds: int = 1,
    processes: int = 1,
    storage: str | None = None,
) -> pd.DataFrame:
    """Searches settings, then runs the best ones into ``folder/best``; returns the trials, the best first.

    recipe : with the settings that stay. searched : name -> choices, or a `Range`.
    folder : of the study, ``study.db``; an unfinished one goes on, and a finished one is only run to its end. Several
        calls may work on it at once; one of them runs the best settings, and the others come back before that is done.
    trials : how many there shall be in all; a grid has as many as it has points, if that is less.
    sampler : tpe (Bergstra et al., 2011), random, or grid, which takes choices only.
    folds : 1 scores a trial on the recipe's validation rows; more, on that many parts of the training and validation
        rows in turn, kept together by ``split_by``.

    processes : that work on the study here, at once.
    storage : where the study is, if not in the folder: the address of a database, ``postgresql://host/name``, or the
        path of a journal file, which many machines may write over a network's file system as SQLite may not.

    The score of a trial is the mean over views and metrics of `ivekit.baselines.held_out`: R2, or accuracy; one whose
    loss explodes scores minus infinity. The best are those of the first `trials` that were done. A trial whose process
    died is begun anew when a database has had no sign of life for two minutes; in a journal others take its place. A
    process that only slept goes on with the next trial: what it found in the one that others begin anew is not kept.

    Raises
    ------
    Whatever a trial raises, once those beside it are done; the same command begins that trial anew, twice at most, and
        then goes on without it.
    ImportError : without optuna (the extra "tune").
    ValueError : for settings that the recipe does not take, or a study of other settings.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _check(recipe, searched, sampler, trials, folds, processes)
    if sampler == "grid":
        trials = min(trials, math.prod(map(len, searched.values())))
    where = _where(folder, storage)
    study, first = _joined(recipe, searched, folder, where, folds, processes)
    jobs = [
        (str(recipe.path), recipe.settings, dict(searched), where, study.study_name, trials, sampler, folds, first, i)
        for i in range(processes)
    ]
    _work(*jobs[0]) if processes == 1 else _at_once(jobs, study, _over(first))
    best = Recipe(recipe.path, recipe.settings | _best(study, trials))
    with _alone(folder / "best.lock") as mine:
        if mine and not (folder / "best" / "report.html").exists():  # the last that a run writes
            run(best, folder / "best", resume=True, disable=True)
        elif mine and not _is_of(best, read_settings(folder / "best")):
            raise ValueError(
                f"{folder / 'best'} was the best earlier: move it away, and the same command runs what is now"
            )
    return table(folder, recipe.name, storage)


def table(folder: str | Path, name: str, storage: str | None = None) -> pd.DataFrame:
    """The finished trials of a recipe's study, the best first: number, score and what was drawn."""
    folder = Path(folder)
    study = _optuna().load_study(study_name=_name(folder, name, storage), storage=_opened(_where(folder, storage)))
    done = [trial for trial in study.trials if trial.value is not None and trial.datetime_complete]
    rows = [{"trial": t.number, "score": t.value, **t.params} for t in done]
    return pd.DataFrame(rows).sort_values(["score", "trial"], ascending=[False, True], ignore_index=True)


# where a study is -----------------------------------------------------------------------------------------------


def _where(folder: Path, storage: str | None) -> str:
    return storage or f"sqlite:///{folder.resolve() / 'study.db'}"


def _name(folder: Path, recipe: str, storage: str | None) -> str:
    """What a study is called: in a storage of many studies, as its folder is."""
    return recipe if storage is None else folder.resolve().name


def _opened(where: str) -> Any:
    """The storage of studies: a database by its address, or the journal at a path."""
    storages = _optuna().storages
    if "://" not in where:
        return storages.JournalStorage(storages.journal.JournalFileBackend(where))
    with warnings.catch_warnings():  # that a heartbeat is an experiment: a test kills what it is for
        warnings.simplefilter("ignore", _optuna().exceptions.ExperimentalWarning)
        return storages.RDBStorage(where, heartbeat_interval=HEARTBEAT, heartbeat_stale_trial_callback=_again)


def _again(study: Any, trial: Any, counts: int = 1) -> None:
    """Puts what a trial drew that came to no end in the queue, for whoever asks next; not for ever, where it counts."""
    times = trial.user_attrs.get("again", 0) + counts
    if times > AGAIN:
        study.set_user_attr(f"left out {trial.number}", True)
        return log.warning("trial %d (%s) came to no end %d times: left out", trial.number, trial.params, times)
    drawn = dict(params=trial.params, distributions=trial.distributions, system_attrs=trial.system_attrs)
    trials = _optuna().trial
    waiting = trials.TrialState.WAITING
    study.add_trial(trials.create_trial(state=waiting, user_attrs={"again": times}, **drawn))


def _enough(study: Any, trials: int) -> bool:
    """Whether so many trials are done, or left out for good."""
    left_out = sum(name.startswith("left out") for name in study.user_attrs)
    return len(_finished(study)) + left_out >= trials


def _joined(recipe: Recipe, searched: Space, folder: Path, where: str, folds: int, processes: int) -> tuple[Any, int]:
    """The study, made if it is not there yet, and how many processes have worked on it before these."""
    question = json.dumps(
        {"recipe": recipe.name, "fixed": _fixed(recipe, searched), "searched": searched, "folds": folds}
    )
    name = _name(folder, recipe.name, None if where == _where(folder, None) else where)
    with _alone(folder / "study.lock", wait=True):  # of two processes that both would make it, one dies
        study = _optuna().create_study(
            study_name=name, storage=_opened(where), direction="maximize", load_if_exists=True
        )
        if (asked := study.user_attrs.get("question", question)) != question:
            raise ValueError(f"{folder} holds a study of {asked}, and this is {question}: name another folder")
        study.set_user_attr("question", question)
        first = study.user_attrs.get("processes", 0)
        study.set_user_attr("processes", first + processes)
    return study, first


@contextmanager
def _alone(path: Path, wait: bool = False) -> Iterator[bool]:
    """Whether this process has the lock of that name, or, if it is to `wait`, until it has it.

    The system takes it from whoever dies. Where a file system has no locks all go on: start one process before others.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield True
        return
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            mine = True
        except BlockingIOError:
            mine = False
        except OSError as error:
            log.warning("%s cannot be locked (%s)", path, error)
            mine = True
        yield mine


# trials ---------------------------------------------------------------------------------------------------------


def _at_once(jobs: list[tuple], study: Any, over: str) -> None:
    """A process a job; one that is killed leaves its trials to the others, and after an error none begins another."""
    killed, pools = 0, [ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) for _ in jobs]
    try:
        for ended in as_completed([pool.submit(_work, *job) for pool, job in zip(pools, jobs)]):
            try:
                ended.result()
            except BrokenProcessPool:
                killed += 1
                log.warning("a process that worked on the study was killed")
    except BaseException:
        study.set_user_attr(over, True)
        raise
    finally:
        for pool in pools:
            pool.shutdown()
    if killed == len(jobs):
        done = len(_finished(study))
        raise ValueError(f"all processes of the search were killed; {done} trials are done, the same command goes on")


def _over(call: int) -> str:
    """What the study says when the processes of one call shall begin no further trial."""
    return f"over {call}"


def _work(
    path: str, settings: dict, searched: dict, where: str, name: str, trials: int, sampler: str, folds: int,
    call: int, worker: int,
) -> None:  # fmt: skip
    """Does trials until there are enough of them; every process does this."""
    optuna = _optuna()
    torch.set_num_threads(1)
    recipe = Recipe(path, settings)
    searched = {name: Range(*s) if isinstance(s, tuple) else s for name, s in searched.items()}
    study = optuna.load_study(study_name=name, storage=_opened(where))
    # another seed for every process that ever works on a study: none must draw what another drew
    study.sampler = _sampler(optuna, sampler, searched, settings["seed"] + 1000 * (call + worker) + len(study.trials))
    rows = parts(recipe.data())

    def score(trial: Any) -> float:
        drawn = {name: _draw(trial, name, among) for name, among in searched.items()}
        return _score(Recipe(recipe.path, settings | drawn), rows, folds)

    def stop(study: Any, _: Any) -> None:
        if _enough(study, trials) or _over(call) in study.user_attrs:
            study.stop()

    while not _enough(study, trials) and _over(call) not in study.user_attrs:
        if _searched(optuna, study, score, stop):
            return


def _searched(optuna: Any, study: Any, score: Callable[[Any], float], stop: Callable[[Any, Any], None]) -> bool:
    """Whether trials were done until `stop`; False: one was given to another process, of which optuna knows no way on.

    That is so of a trial whose process slept, with its machine or by a signal, longer than its heartbeat may pause.
    """
    begun = []

    def objective(trial: Any) -> float:
        begun[:] = [trial.number]
        try:
            return score(trial)
        except BaseException as error:
            if (mine := study.trials[trial.number]).state.name == "RUNNING":
                _again(study, mine, isinstance(error, Exception))  # what somebody stops may be as good as any
            if not isinstance(error, optuna.exceptions.UpdateFinishedTrialError):
                begun.clear()  # an error of the trial's own, whoever has it by now
            raise

    try:
        study.optimize(objective, callbacks=[stop])
    except (AssertionError, ValueError, optuna.exceptions.UpdateFinishedTrialError):
        if not begun or study.trials[begun[0]].state.name != "FAIL":
            raise
        log.warning("trial %d was given to another process while this one slept: its result is not kept", *begun)
        return False
    return True


def _finished(study: Any) -> list[Any]:
    """The trials that are done, in the order in which they were."""
    done = [trial for trial in study.trials if trial.value is not None and trial.datetime_complete]
    return sorted(done, key=lambda trial: (trial.datetime_complete, trial.number))


def _best(study: Any, trials: int) -> dict[str, Any]:
    """What the best of the first so many trials drew: the same for whoever asks, though others are still at work."""
    if not (done := _finished(study)[:trials]):
        raise ValueError("no trial came to an end: the settings that are searched do not work")
    return max(done, key=lambda trial: trial.value).params


def _score(recipe: Recipe, rows: Mapping[str, Views], folds: int) -> float:
    """How well a recipe does on rows that it did not learn from, none of them a test row."""
    found = []
    for learn, judge in _folds(rows, folds, recipe.settings["split_by"], recipe.settings["seed"]):
        model = recipe.model(learn)
        try:
            for _ in train(model, recipe.objective(learn), learn, **recipe.training(learn)):
                pass
        except FloatingPointError as error:
            log.info("%s: %s", recipe.changed(), error)
            return -math.inf
        scores = held_out(model, few(learn), few(judge), recipe.settings["seed"], n_boot=1, trained=learn)
        found += [said["model"] for metrics in scores.values() for said in metrics.values()]
    score = float(np.mean(found))
    return -math.inf if math.isnan(score) else score


def _folds(rows: Mapping[str, Views], folds: int, by: str | None, seed: int) -> Iterator[tuple[Views, Views]]:
    if folds == 1:
        yield rows["train"], rows["validation"]
        return
    both = Views.concat([rows["train"], rows["validation"]])
    frame: Any = both.metadata
    both = Views(both.tensors, both.present, frame.assign(split="train"), both.about)  # a fold says who is judged
    groups: Any = np.arange(len(both)) if by is None else pd.factorize(frame[by])[0]
    splitter = KFold(folds, shuffle=True, random_state=seed) if by is None else GroupKFold(folds)
    for learn, judge in splitter.split(groups, groups=groups):
        yield both[torch.from_numpy(learn)], both[torch.from_numpy(judge)]


def _draw(trial: Any, name: str, among: list | Range) -> Any:
    if not isinstance(among, Range):
        return trial.suggest_categorical(name, among)
    if isinstance(among.low, int) and isinstance(among.high, int):
        return trial.suggest_int(name, among.low, among.high)
    return trial.suggest_float(name, among.low, among.high, log=among.low > 0)


def _sampler(optuna: Any, sampler: str, searched: Space, seed: int) -> Any:
    if sampler == "grid":
        grid = optuna.samplers.GridSampler({name: list(among) for name, among in searched.items()}, seed=0)
        grid.reseed_rng()  # its points have the same numbers in every process; which is taken next is drawn
        return grid
    return {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}[sampler](seed=seed)


def _check(recipe: Recipe, searched: Space, sampler: str, trials: int, folds: int, processes: int) -> None:
    if sampler not in SAMPLERS:
        raise ValueError(f"sampler is one of {', '.join(SAMPLERS)}; got {sampler!r}")
    if not searched:
        raise ValueError("nothing is searched: say choices, dim=[16,32], or a range, lr=0.001..0.01")
    if min(trials, folds, processes) < 1:
        raise ValueError(f"trials, folds and processes are at least 1, got {trials}, {folds} and {processes}")
    for name, among in searched.items():
        if sampler == "grid" and isinstance(among, Range):
            raise ValueError(f"a grid has choices: {name} is the range {among.low}..{among.high}")
        if not isinstance(among, Range) and not len(among):
            raise ValueError(f"there is nothing to choose from for {name}")
        Recipe(recipe.path, recipe.settings | {name: among[0]})  # refuses what the recipe does not take


def _is_of(recipe: Recipe, settings: Mapping[str, Any]) -> bool:
    """Whether a run with these settings, as they are stored, is of this recipe with its own."""
    now = json.loads(json.dumps(recipe.settings))
    return all(settings.get(name, value) == value for name, value in now.items() if name != "device")


def _fixed(recipe: Recipe, searched: Space) -> dict[str, Any]:
    """The settings that make a trial what it is, but those that are searched."""
    return {name: value for name, value in recipe.changed().items() if name not in (*searched, "device")}


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise ImportError("the search for settings needs optuna: pip install 'ivekit[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
