"""What is killed: training, preparing, searching, saving, exporting, reporting; small enough for 200 times."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd
import torch
from killer import Task, contents

from ivekit import Views, tune
from ivekit.atomic import whole
from ivekit.io import prepare, read_results, write_results
from ivekit.recipe import Recipe, export, interactive, load, parts, report, run, save
from ivekit.report.page import put
from ivekit.training import State
from ivekit.watch import read_csv

TINY = Path(__file__).parents[1] / "tiny_recipe.py"


def tiny(**settings: Any) -> Recipe:
    return Recipe(TINY, {"epochs": 4, "n": 48} | settings)


def rows(seed: int, n: int) -> Views:
    """A film, answers with gaps, and who they are of."""
    noise = torch.Generator().manual_seed(seed)
    frame = pd.DataFrame({"subject": f"s{seed}", "trial": range(n)})
    film = torch.randn(n, 4, 16, 16, generator=noise)
    answers = torch.rand(n, 1, generator=noise)
    return Views({"film": film, "rt": answers}, {"rt": torch.arange(n) != seed}, frame, {"film": {"fps": 25}})


def swept(folder: Path) -> dict[str, bytes]:
    """All there is once somebody has written beside it; what a kill had left is gone then."""
    with whole(folder / "next") as new:
        new.touch()
    (folder / "next").unlink()
    return contents(folder)


# runs ----------------------------------------------------------------------------------------------------------------


def a_run_stands(folder: Path) -> str:
    """A run that was killed can be read as far as it is; what there is was written whole."""
    found = folder / "run"
    if not (found / "weights.safetensors").exists():
        try:
            load(found, trust=True)
        except FileNotFoundError:
            return "no weights yet"
        raise AssertionError("there are no weights, and it loads")
    load(found, trust=True)
    if (found / "losses.csv").exists():
        losses = read_csv(found / "losses.csv")
        assert losses["step"].tolist() == list(range(1, len(losses) + 1)), "a line is lost, or there twice"
    if (found / "checkpoint/state.safetensors").exists():
        State.open(found / "checkpoint")
    if (found / "scores.json").exists():
        json.loads((found / "scores.json").read_text())
    if (found / "report.html").exists():
        assert (found / "report.html").read_text().endswith("</html>\n"), "half a report"
        return "a report"
    return "scores" if (found / "scores.json").exists() else "weights"


def trains(recipe: Recipe, folder: Path, **how: Any) -> None:
    """To a page that is quickly written: the report takes longer than all the rest, and has a task of its own."""
    with patch("ivekit.report.write", a_page):
        run(recipe, folder / "run", resume=True, disable=True, **how)


def a_page(path: Path, title: str, **_: Any) -> Path:
    return put(path, f"{title}</html>\n")


def trains_and_reports(folder: Path) -> None:
    run(tiny(), folder / "run", resume=True, disable=True)


def trains_on(folder: Path) -> None:
    """The second part of a run: it was told of fewer epochs first."""
    trains(tiny(), folder)


def two_train(folder: Path) -> None:
    """A run of two processes; either may be killed, and the other does not outlive it."""
    (folder / "meet").unlink(missing_ok=True)
    try:
        torch.multiprocessing.start_processes(one_of_two, (str(folder),), 2, start_method="fork")
    except torch.multiprocessing.ProcessExitedException as error:
        if error.signal_name != "SIGKILL":
            raise
        os.kill(os.getpid(), signal.SIGKILL)  # as whoever began them does


def one_of_two(rank: int, folder: str) -> None:
    meet = f"file://{folder}/meet"
    torch.distributed.init_process_group("gloo", init_method=meet, rank=rank, world_size=2)
    trains(tiny(), Path(folder))
    torch.distributed.destroy_process_group()


def ended(recipe: Recipe, folder: Path) -> None:
    """A whole run, made once and kept: for what is done with one."""
    trains(recipe, folder)


# what is done with a run ---------------------------------------------------------------------------------------------


def exports(folder: Path) -> None:
    if not (folder / "out").exists():
        model, recipe = load(folder / "run", trust=True)
        export(folder / "run", folder / "out", model, recipe.data())


def an_export_stands(folder: Path) -> str:
    if not (folder / "out").exists():
        return "nothing"
    assert set(read_results(folder / "out").tables) == {"latents", "scores", "losses"}
    return "all of it"


def reports(folder: Path) -> None:
    model, recipe = load(folder / "run", trust=True)
    data, factors, owners = recipe.world()
    page = interactive(folder / "run", recipe, model, data, factors)
    report(folder / "run", recipe, model, data, factors, owners, [("Move the latents", page.name)])


def reports_stand(folder: Path) -> str:
    pages = {name: (folder / "run" / name).read_text() for name in ("report.html", "latents.html")}
    assert all(text == "old" or text.endswith("</html>\n") for text in pages.values()), "half a page"
    return f"{sum(text == 'old' for text in pages.values())} old pages"


def saves_a_model(folder: Path) -> None:
    recipe = tiny(latent=3)
    data = parts(recipe.data())["train"]
    save(folder / "run", recipe, recipe.model(data), data, recipe.objective(data))


def a_model_stands(folder: Path) -> str:
    """Its weights are those of its settings, or gone."""
    try:
        model, recipe = load(folder / "run", trust=True)
    except FileNotFoundError as error:
        assert "weights.safetensors does not exist" in str(error)
        return "no weights"
    old = float(next(iter(model.state_dict().values())).sum()) if recipe.settings["latent"] == 2 else None
    return "new" if old is None else "old"


# rows ----------------------------------------------------------------------------------------------------------------


def some_recordings(folder: Path, before: int = 0) -> None:
    for i in range(4):
        rows(i, 20 + i).save(folder / "recordings" / f"r{i}")
    if before:
        rows(9, before).save(folder / "rows")


def prepares(folder: Path) -> None:
    prepare(sorted((folder / "recordings").iterdir()), folder / "rows", Views.open, test=["s3"])


def prepared_stands(folder: Path, before: int = 0) -> str:
    if not before and not (folder / "rows").exists():
        return "nothing"
    found = Views.open(folder / "rows")
    assert len(found) in (86, before), f"{len(found)} rows"
    if len(found) == 86:
        assert torch.equal(found["film"] + 0, torch.cat([rows(i, 20 + i)["film"] for i in range(4)]))
        return "all rows"
    assert torch.equal(found["film"] + 0, rows(9, before)["film"])
    return "the old rows"


def saves_rows(folder: Path) -> None:
    rows(1, 600).save(folder / "rows")


def rows_stand(folder: Path) -> str:
    found = Views.open(folder / "rows")
    seed = {300: 0, 600: 1}[len(found)]
    assert torch.equal(found["film"] + 0, rows(seed, len(found))["film"]) and not bool(found.present["rt"][seed])
    return "new" if seed else "old"


def writes_results(folder: Path) -> None:
    write_results(folder / "results", {"a": pd.DataFrame({"x": range(9)})}, {"y": torch.ones(1000, 100)})


def results_stand(folder: Path) -> str:
    found = read_results(folder / "results")
    assert (list(found.tables), list(found.arrays)) in ((["old"], ["old"]), (["a"], ["y"])), "a mixture"
    return "new" if "a" in found.tables else "old"


# a search ------------------------------------------------------------------------------------------------------------


def searches(folder: Path) -> None:
    with patch("ivekit.report.write", a_page):
        tune.tune(tiny(epochs=2), {"latent": [1, 2], "lr": [0.01, 0.02]}, folder / "study", 4, "grid")


def a_search_stands(folder: Path) -> str:
    """A study that is killed at its start may not be there yet; what is there can be read."""
    if not (folder / "study" / "best" / "weights.safetensors").exists():
        return "no best yet"
    model, recipe = load(folder / "study" / "best", trust=True)
    assert recipe.settings["epochs"] == 2
    return "the best"


def a_search_ends(folder: Path) -> dict[str, bytes]:
    """All points of the grid with their scores, each once, whatever number they have; and the best run."""
    found = tune.table(folder / "study", "tiny_recipe").drop(columns="trial").drop_duplicates()
    points = found.sort_values(["latent", "lr"]).to_csv(index=False)
    return contents(folder / "study" / "best") | {"points": points.encode()}


# all -----------------------------------------------------------------------------------------------------------------


def after(make: Callable[[Path], Any], *more: Callable[[Path], Any]) -> Callable[[Path], None]:
    def begin(folder: Path) -> None:
        for one in (make, *more):
            one(folder)

    return begin


def nothing(folder: Path) -> None:
    """An empty folder."""


def old_pages(folder: Path) -> None:
    for name in ("report.html", "latents.html"):
        (folder / "run" / name).write_text("old")


def old_results(folder: Path) -> None:
    write_results(folder / "results", {"old": pd.DataFrame({"x": [1]})}, {"old": torch.zeros(2)})


TASKS: Mapping[str, Task] = {
    "train": Task(nothing, partial(trains, tiny()), a_run_stands, contents),
    "train, with its report": Task(nothing, trains_and_reports, a_run_stands, contents),
    "train, a checkpoint a step": Task(
        nothing, partial(trains, tiny(patience=1, epochs=8, lr=0.1), minutes=0.0), a_run_stands, contents
    ),
    "train --resume": Task(partial(ended, tiny(epochs=2)), trains_on, a_run_stands, contents),
    "train in two processes": Task(nothing, two_train, a_run_stands, partial(contents, but="meet")),
    "prepare": Task(some_recordings, prepares, prepared_stands, swept),
    "prepare again": Task(partial(some_recordings, before=7), prepares, partial(prepared_stands, before=7), swept),
    "tune": Task(nothing, searches, a_search_stands, a_search_ends),
    "export": Task(partial(ended, tiny()), exports, an_export_stands, swept),
    "report": Task(after(partial(ended, tiny()), old_pages), reports, reports_stand, contents),
    "save rows": Task(lambda folder: rows(0, 300).save(folder / "rows"), saves_rows, rows_stand, swept),
    "save a model": Task(partial(ended, tiny()), saves_a_model, a_model_stands, contents),
    "save results": Task(old_results, writes_results, results_stand, swept),
}
