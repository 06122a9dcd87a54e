"""A run: a recipe is trained, the epoch is chosen on validation rows, and the test rows are scored at the end.

The epoch whose weights are kept is the one with the lowest sum of the objective's terms on validation rows, each at
the end of its schedule: so a warm-up of beta does not make early epochs look better than they are.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import nn

from .. import explain, watch
from .. import report as page
from ..atomic import sweep
from ..baselines import held_out
from ..report.figures import pictures
from ..training import State, Step, agreed, best_device, collapse, evaluate, latents, train
from ..training.evaluation import still
from ..views import Views
from .checkpoint import Checkpoint
from .folder import load_weights, read_settings, save, save_settings, save_weights, write_text
from .recipe import Recipe
from .rows import few, parts, too_many

SHOWN = 256  # rows that a report or a watch looks at
MAY_CHANGE = ("epochs", "patience", "device", "accumulate")  # between the two parts of a run that was stopped


def run(
    recipe: Recipe,
    folder: str | Path,
    resume: bool = False,
    logs: Sequence[str] = (),
    minutes: float | int = 10,
    **bar: Any,
) -> nn.Module:
    """Trains a recipe and leaves its folder complete; returns the model with the weights of its best epoch.

    resume : go on from the folder's checkpoint, if there is one; otherwise a folder that holds a run is refused.
    logs : "tensorboard" or "wandb", beside the CSV that is always kept. bar : options of `ivekit.watch.progress`.
    minutes : after which a checkpoint is kept within an epoch too, and not at its end alone.

    Under ``torchrun`` all processes train, and the first alone writes; all must see the folder.
    """
    folder = Path(folder)
    start, first = _start(recipe, folder, resume), is_first()
    _all_see(folder, start, recipe.settings["device"])
    data, factors, owners = recipe.world()
    rows = parts(data)
    model, objective = _first_weights(recipe, rows["train"], fit=first and not start), recipe.objective(rows["train"])
    if first:
        sweep(folder / "checkpoint")
        save_settings(folder, recipe) if start else save(folder, recipe, model, rows["train"], objective)
    steps: Any = train(model, objective, rows["train"], start=start, **recipe.training(rows["train"]))
    kept = Checkpoint(folder, minutes, start)
    if first:
        steps = _watched(steps, recipe, folder, rows["validation"], model, objective, kept, logs, bar)
    with closing(steps):
        stopped = _enough(kept.history, recipe.settings["patience"])  # and was killed after that
        for step in () if stopped else steps:
            if _keep(step, kept, folder, model, objective, recipe.settings["patience"]):
                break
    if first:
        load_best(folder, model, objective)
        score(folder, model, rows)
        report(folder, recipe, model, data, factors, owners)
    return model


def is_first() -> bool:
    """Whether this process is the only one, or the first of several."""
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def _start(recipe: Recipe, folder: Path, resume: bool) -> State | None:
    if not (folder / "checkpoint" / "state.safetensors").exists():
        return None
    if not resume:
        raise FileExistsError(f"{folder} holds a run already: resume it, or name another folder")
    if (folder / "recipe.py").read_bytes() != recipe.path.read_bytes():
        raise ValueError(f"{recipe.path} is not what it was when the run in {folder} began, so it cannot go on")
    now, usual = json.loads(json.dumps([recipe.settings, {name: each.default for name, each in recipe.known.items()}]))
    then = usual | read_settings(folder)  # a setting that there was not yet had no other value
    if changed := [f"{n} was {then[n]!r}" for n in now if n not in MAY_CHANGE and now[n] != then[n]]:
        raise ValueError(f"the run in {folder} cannot go on with other settings: {', '.join(changed)}")
    return State.open(folder / "checkpoint")


def _all_see(folder: Path, start: State | None, device: str | None) -> None:
    """An error in a process that goes on from elsewhere than the first of them does."""
    here = start.step if start else 0
    if (there := agreed(here, torch.device(device or best_device()))) != here:
        raise ValueError(
            f"this process finds step {here} in {folder}, and the first of them step {there}: all must see one folder"
        )


def _first_weights(recipe: Recipe, rows: Views, fit: bool) -> nn.Module:
    """The model that a run begins with. Whoever is given its weights need not `fit` it to rows larger than memory."""
    return recipe.model(rows if fit or not too_many(rows) else rows[:0], len(rows))


def _best(history: Sequence[float]) -> int:
    """The epoch with the lowest score; one that is not a number is the worst."""
    return min(range(len(history)), key=lambda i: (math.isnan(history[i]), history[i], i))


def _enough(history: Sequence[float], patience: int | None) -> bool:
    """Whether the best epoch is as many epochs ago as a run is to wait for a better one."""
    return patience is not None and bool(history) and len(history) - 1 - _best(history) >= patience


def _keep(step: Step, kept: Checkpoint, folder: Path, model: nn.Module, objective: Any, patience: int | None) -> bool:
    """Keeps what a run needs to go on, and the weights if they are the best so far; says whether to stop."""
    if is_first():
        if step.last_of_epoch and _best(kept.history) == len(kept.history) - 1:
            save_weights(folder, model, objective)
        kept.after(step)
    stop = is_first() and _enough(kept.history, patience)
    return step.last_of_epoch and bool(agreed(int(stop), step.loss.device))


def load_best(folder: str | Path, model: nn.Module, objective: Any = None) -> None:
    """Puts the weights of a run's best epoch into its model, and its objective if that learned."""
    load_weights(model, Path(folder) / "weights.safetensors")
    if (Path(folder) / "objective.safetensors").exists() and isinstance(objective, nn.Module):
        load_weights(objective, Path(folder) / "objective.safetensors")


def _watched(
    steps: Iterator[Step], recipe: Recipe, folder: Path, validation: Views, model: nn.Module, objective: Any,
    kept: Checkpoint, logs: Sequence[str], bar: Mapping[str, Any],
) -> Iterator[Step]:  # fmt: skip
    """The steps with a CSV, the latents' watch, the logs that were asked for, and a bar."""
    said: dict[str, float] = {}

    def scores() -> dict[str, float]:
        said.update(evaluate(model, objective, validation))
        kept.history.append(sum(said.values()))
        return said

    steps = watch.losses_csv(steps, folder / "losses.csv", scores, kept.earlier)
    if hasattr(model, "encode"):
        keep = partial(_add, watch.Csv(folder / "latents.csv", "epoch"))
        steps = watch.watch_latents(steps, model, validation[:SHOWN], keep, kept.before)
    drawn = partial(reconstructions, model, validation[:SHOWN])
    if "tensorboard" in logs:
        steps = watch.tensorboard(steps, folder / "tensorboard", lambda: said, drawn)
    if "wandb" in logs:
        about = dict(project="ivekit", name=folder.name, config=recipe.settings, dir=str(folder))
        steps = watch.wandb(steps, lambda: said, drawn, **about)
    return watch.progress(steps, **bar)


def _add(file: watch.Csv, table: pd.DataFrame) -> None:
    file.add(table.to_dict("records"))


def reconstructions(model: nn.Module, rows: Views) -> dict[str, Figure]:
    """What a model says of rows beside what they are, as figures by view."""
    with still(model) as device:
        views, _ = page.compare(model(rows.to(device)), rows)
    figures = {}
    for view in views:
        for i, (size, draw, _) in enumerate(pictures(view)):
            figures[f"{view.name} {i}"] = figure = Figure((size[0] / 25.4, size[1] / 25.4), layout="constrained")
            draw(figure)
    return figures


# the end -----------------------------------------------------------------------------------------------------


def score(folder: str | Path, model: nn.Module, rows: Mapping[str, Views]) -> dict[str, dict]:
    """Scores of a model on the test rows beside constant, zero-input and linear predictors, kept as scores.json.

    Of a folder of rows larger than memory some are drawn for it, see `few`; how many of them, each score says as
    ``"drawn": {part: [drawn, there are]}``.
    """
    drawn = {part: few(rows[part]) for part in ("train", "test")}
    scores = held_out(model, drawn["train"], drawn["test"], trained=rows["train"])
    if told := {part: [len(drawn[part]), len(rows[part])] for part in drawn if drawn[part] is not rows[part]}:
        for said in (said for metrics in scores.values() for said in metrics.values()):
            said["drawn"] = told
    write_text(Path(folder) / "scores.json", json.dumps(scores, indent=1) + "\n")
    return scores


def report(
    folder: str | Path, recipe: Recipe, model: nn.Module, data: Views, factors: pd.DataFrame | None = None,
    owners: Mapping[str, Any] | None = None, links: Sequence[tuple[str, str]] = (),
) -> Path:  # fmt: skip
    """A run as one HTML page, report.html, from its folder, its model and its rows.

    factors, owners : what is known of the rows, as `Recipe.world` gives it. links : pages beside it, (words, href).
    """
    folder, shown = Path(folder), parts(data)["test"][:SHOWN]
    with still(model) as device:
        outputs = model(shown.to(device))
    used = collapse(model, shown) if hasattr(model, "encode") else pd.DataFrame({"block": [], "kl": []})
    changed = " ".join(f"{name}={value}" for name, value in recipe.changed().items())
    return page.write(
        folder / "report.html",
        title=recipe.name,
        question=recipe.about,
        settings=recipe.settings,
        data=data,
        scores=json.loads(_kept(folder / "scores.json", "{}")),
        losses=_table(folder / "losses.csv"),
        outputs=outputs,
        views=shown,
        latents=latents(model, shown) if hasattr(model, "encode") else {},
        kl={block: of["kl"].to_numpy() for block, of in used.groupby("block", sort=False)},
        watch=_table(folder / "latents.csv"),
        notes=_notes(folder),
        command=f"python -m ivekit train {recipe.name} {changed}".strip(),
        model=model,
        factors=factors,
        owners=owners,
        links=links,
    )


def _kept(path: Path, otherwise: str) -> str:
    """A file of a run's folder; a run that was passed on may have been stripped of it."""
    return path.read_text(encoding="utf-8") if path.exists() else otherwise


def _table(path: Path) -> pd.DataFrame:
    return watch.read_csv(path) if path.exists() else pd.DataFrame()


def interactive(
    folder: str | Path, recipe: Recipe, model: nn.Module, data: Views, factors: pd.DataFrame | None = None
) -> Path:
    """A run's latents as one page whose sliders decode without Python, latents.html, with the run's provenance."""
    from ..widgets import explore  # it needs widgets and a translator, and no other command does

    folder, of = Path(folder), parts(data)
    changed = " ".join(f"{name}={value}" for name, value in recipe.changed().items())
    about = {
        "recipe": recipe.name,
        "data": f"{recipe.settings.get('data', '')}: {', '.join(f'{len(of[name])} {name}' for name in of)} rows",
        "seed": recipe.settings.get("seed", ""),
        "settings": ", ".join(f"{name}={value}" for name, value in recipe.settings.items()),
        "again": f"python -m ivekit train {recipe.name} {changed}".strip(),
    }
    known = None if factors is None else factors[(data.metadata["split"] == "test").to_numpy()]  # type: ignore[index]
    explorer = explore(
        model,
        of["test"],
        known,
        verdicts=verdicts(model, of["test"][:SHOWN]),
        title=f"{recipe.name}: latents",
        about=about,
    )
    return explorer.export(folder / "latents.html")


def verdicts(model: nn.Module, rows: Views) -> dict[tuple[str, int], explain.Check]:
    """Of each latent in use: when it is moved and decoded, does encoding find that it has moved, and no other?

    `ivekit.explain.check_traversal`, the one check of a latent that needs neither an explanation nor another model. A
    model of conditions, or without latents, has none.
    """
    if not hasattr(model, "decode") or getattr(model, "condition", ()):
        return {}
    used = collapse(model, rows)
    named = [(str(b), int(i)) for b, i in zip(used["block"][used["active"]], used["index"][used["active"]])]
    return {
        (block, index): explain.check_traversal(model, rows, lambda out, b=block, i=index: out.z[b][:, i])
        for block, index in named
    }


def _notes(folder: Path) -> list[str]:
    """Which epoch was kept, and whether the latents had settled."""
    if not (folder / "losses.csv").exists():
        return ["The run's losses.csv is not in its folder: which epoch was kept cannot be said."]
    losses = watch.read_csv(folder / "losses.csv")
    ends = losses[losses["validation"].notna()]
    best = ends.iloc[_best(ends["validation"].tolist())]
    notes = [
        f"Kept is epoch {int(best['epoch']) + 1} of the {len(ends)} that were run, the one with the lowest loss on the "
        f"validation rows ({best['validation']:.4g} nats a row, every schedule at its end)."
    ]
    if (folder / "latents.csv").exists():
        table = watch.read_csv(folder / "latents.csv")
        last = table[table["epoch"] == table["epoch"].max()]
        most, idle = last.loc[last["drift"].idxmax()], int((~last["active"]).sum())
        notes.append(
            f"Over the last epoch the latents moved by {last['drift'].mean():.3f} prior standard deviations on average,"
            f" most {most['block']} {most['index']} ({most['drift']:.3f}); {idle} of {len(last)} told nothing of the "
            "validation rows. All epochs are in latents.csv."
        )
    return notes
