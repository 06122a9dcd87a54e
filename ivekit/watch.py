"""Small things around the training loop: a progress bar, early stopping, curves, logs, a watch on the latents.

Each takes the steps of `train` and gives them on, so they go around it in any number:

    for step in progress(early_stopping(train(model, objective, rows), score, model)):
        ...

Values are read from the device once an epoch (a progress bar: twice a second), never at every step.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from io import StringIO
from pathlib import Path
from time import monotonic
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from tqdm.auto import tqdm

from . import viz
from .atomic import whole, writing
from .training import Step, agreed, collapse, latents
from .training.state import copied
from .views import Views

Score = Callable[[], float]
Scores = Callable[[], Mapping[str, float]]
Figures = Callable[[], Mapping[str, Figure]]


def progress(steps: Iterable[Step], every: float = 0.5, **options: Any) -> Iterator[Step]:
    """A bar over the steps of a run, with the terms of the loss beside it.

    every : seconds between two looks at the terms. options : those of `tqdm.tqdm`.
    """
    bar, read = None, -every
    try:
        for step in steps:
            bar = bar or tqdm(total=step.total, initial=step.step - 1, unit="step", **options)
            if monotonic() - read >= every or step.step == step.total:
                values = {"loss": float(step.loss)} | {name: float(term) for name, term in step.terms.items()}
                bar.set_postfix({name: f"{value:.4g}" for name, value in values.items()}, refresh=False)
                read = monotonic()
            bar.update()
            yield step
    finally:
        if bar:
            bar.close()


def early_stopping(steps: Iterable[Step], score: Score, *parts: nn.Module, patience: int = 10) -> Iterator[Step]:
    """Stops when `score` has not fallen for `patience` epochs; the best weights are put back at the end.

    score : asked after every epoch, smaller is better; take one that no schedule moves, on validation rows:
        ``lambda: sum(evaluate(model, objective, validation).values())``.
    parts : the model, and the objective if it learns.

    >>> from ivekit.training import train
    >>> class Line(nn.Linear):
    ...     def forward(self, views): return super().forward(views["x"])
    >>> line, size = Line(1, 1), lambda out, views, step: {"size": out.square().mean()}
    >>> data, scores = Views({"x": torch.ones(4, 1)}), iter([2.0, 1.0, 3.0, 4.0])
    >>> [step.epoch for step in early_stopping(train(line, size, data, seed=0), lambda: next(scores), line, patience=2)]
    [0, 1, 2, 3]
    """
    if patience < 1:
        raise ValueError(f"patience must be at least 1 epoch, got {patience}")
    return _early_stopping(steps, score, parts, patience)


def _early_stopping(steps: Iterable[Step], score: Score, parts: tuple, patience: int) -> Iterator[Step]:
    best, waited, kept = float("inf"), 0, None
    try:
        for step in steps:
            if step.last_of_epoch:
                now = agreed(score(), step.loss.device)  # all processes stop together
                waited = 0 if now < best else waited + 1
                if now < best:
                    best, kept = now, [copied(part.state_dict()) for part in parts]
            yield step
            if waited >= patience:
                return
    finally:
        for part, weights in zip(parts, kept or []):
            part.load_state_dict(weights)


class Csv:
    """Rows added to a CSV while a run goes on, each a dict; the first that come give the columns.

    key : a column that only grows, such as "step". What an earlier run left in the file is kept up to the first value
    of it that comes, and the rest, which a run that goes on makes again, is cut off.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as tmp:
    ...     Csv(f"{tmp}/a.csv", "step").add([{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}])
    ...     Csv(f"{tmp}/a.csv", "step").add([{"step": 2, "loss": 0.125}])
    ...     print(Path(f"{tmp}/a.csv").read_text())
    step,loss
    1,0.5
    2,0.125
    """

    def __init__(self, path: str | Path, key: str):
        self.path, self.key, self.columns = Path(path), key, list[str]()

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Appends rows; a column that one of them lacks is empty there."""
        if not self.columns:
            self.columns = list(dict.fromkeys(name for row in rows for name in row))
            self._begin(rows[0][self.key])
        lines = "".join(_line(row.get(name, "") for name in self.columns) for row in rows)
        with writing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())  # a checkpoint that is written after it counts on these lines

    def _begin(self, first: int) -> None:
        """The header and the whole lines before `first`: a kill may have cut the last."""
        old, header = self.path.read_text(encoding="utf-8") if self.path.exists() else "", _line(self.columns)
        head, *lines = old[: old.rfind("\n") + 1].splitlines(keepends=True) or [header]
        if head != header and first > 1:
            raise ValueError(f"{self.path} is of another run: it has {head.strip()}, this one {header.strip()}")
        place = self.columns.index(self.key)
        kept = [line for line in lines if int(next(csv.reader([line]))[place]) < first] if head == header else []
        with whole(self.path) as new:
            new.write_text(header + "".join(kept), encoding="utf-8")


def read_csv(path: str | Path) -> pd.DataFrame:
    """A table that `Csv` keeps, without what a kill, or a full disk, has left of its last line.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as tmp:
    ...     _ = Path(tmp, "a.csv").write_text("step,loss\\n1,0.5\\n2,0.1")
    ...     read_csv(f"{tmp}/a.csv")["loss"].tolist()
    [0.5]
    """
    text = Path(path).read_text(encoding="utf-8")
    return pd.read_csv(StringIO(text[: text.rfind("\n") + 1]))


def _line(cells: Iterable[Any]) -> str:
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def losses_csv(
    steps: Iterable[Step], path: str | Path, scores: Scores | None = None, earlier: Sequence[Mapping[str, Any]] = ()
) -> Iterator[Step]:
    """Keeps the losses as a CSV, a row a step: step, epoch, lr, loss and its terms; written at the end of each epoch.

    scores : asked after every epoch; what it says is in columns such as ``validation nll``, its sum in ``validation``.
    earlier : the rows of the first epoch's steps that were done before, where a run goes on within one (see `values`).
    Rows that are there already, of a run that goes on, stay up to the first step that comes.
    """
    file = Csv(path, "step")
    for step, rows in _epochs(steps, scores, earlier):
        if rows:
            file.add(rows)
        yield step


def watch_latents(
    steps: Iterable[Step], model: nn.Module, rows: Views, into: Callable[[pd.DataFrame], Any],
    before: dict[str, Tensor] | None = None,
) -> Iterator[Step]:  # fmt: skip
    """Gives `into` a table after every epoch: which latents collapsed (see `collapse`), and how far each moved.

    drift : the root mean square, over these rows, of what the posterior mean moved since the epoch before, in standard
    deviations of the prior. Latents that still move when the loss no longer falls have not settled on a meaning.

    before : the latents of these rows when the epoch began, which is now if it is empty; filled, and brought up to date
    after every epoch, for whoever keeps them with a state.
    """
    before = {} if before is None else before
    if not before:
        before |= latents(model, rows)
    for step in steps:
        if step.last_of_epoch:
            now, table = latents(model, rows), collapse(model, rows)
            moved = torch.cat([(now[block] - before[block]).square().mean(0).sqrt() for block in now])
            into(table.assign(epoch=step.epoch, drift=moved.tolist()))
            before |= now
        yield step


def live_curves(steps: Iterable[Step], scores: Scores | None = None) -> Iterator[Step]:
    """Draws the losses in a notebook while the model is trained, anew after every epoch.

    scores : asked after every epoch, and drawn as a dashed line.
    """
    display = _needed("IPython.display", "live curves", "jupyterlab").display
    kept: list[dict[str, Any]] = []
    shown = None
    for step, rows in _epochs(steps, scores):
        kept += rows
        if rows:
            figure = Figure(figsize=(7, 3), layout="constrained")
            viz.losses(pd.DataFrame(kept), figure.subplots())
            if shown:
                shown.update(figure)
            else:
                shown = display(figure, display_id=True)
        yield step


# logs --------------------------------------------------------------------------------------------------------


def tensorboard(
    steps: Iterable[Step], folder: str | Path, scores: Scores | None = None, figures: Figures | None = None
) -> Iterator[Step]:
    """Logs the losses to TensorBoard files in `folder`, and after every epoch scores and figures (by name).

    Raises
    ------
    ImportError : without the package tensorboard; says how to install it.
    """
    writer = _needed("torch.utils.tensorboard", "a TensorBoard log", "ivekit[log]").SummaryWriter(str(folder))
    return _tensorboard(steps, writer, scores, figures)


def _tensorboard(steps: Iterable[Step], writer: Any, scores: Scores | None, figures: Figures | None) -> Iterator[Step]:
    with writer:
        for step, rows in _epochs(steps, scores):
            for row in rows:
                for name, value in row.items():
                    writer.add_scalar(name.replace(" ", "/"), value, row["step"])
            for name, figure in (figures() if rows and figures else {}).items():
                writer.add_figure(name, figure, step.step)
            yield step


def wandb(
    steps: Iterable[Step], scores: Scores | None = None, figures: Figures | None = None, **options: Any
) -> Iterator[Step]:
    """Logs the losses to Weights & Biases, and after every epoch scores and figures (by name).

    options : those of `wandb.init`: ``project``, ``dir``, ``config``; ``mode="offline"`` needs no network.

    Raises
    ------
    ImportError : without the package wandb; says how to install it.
    """
    return _wandb(steps, _needed("wandb", "a Weights & Biases log", "ivekit[log]"), scores, figures, options)


def _wandb(steps: Iterable[Step], client: Any, scores: Any, figures: Any, options: dict) -> Iterator[Step]:
    with client.init(**options) as run:
        for step, rows in _epochs(steps, scores):
            drawn = figures() if rows and figures else {}
            for row in rows:
                pictures = drawn if row is rows[-1] else {}
                run.log(row | {name: client.Image(figure) for name, figure in pictures.items()}, step=row["step"])
            yield step


def _needed(module: str, purpose: str, package: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(f"{purpose} needs a package that is not here ({error}): pip install '{package}'") from None


def _epochs(
    steps: Iterable[Step], scores: Scores | None, earlier: Sequence[Mapping[str, Any]] = ()
) -> Iterator[tuple[Step, list[dict[str, Any]]]]:
    """Each step; with the last of an epoch the values of all its steps, the scores in the last one's."""
    held: list[Step] = []
    for step in steps:
        held.append(step)
        rows = [*map(dict, earlier), *values(held)] if step.last_of_epoch else []
        if rows:
            held, earlier = [], ()
            found = scores() if scores else {}
            total = {"validation": sum(found.values())} if found else {}
            rows[-1] |= total | {f"validation {name}": value for name, value in found.items()}
        yield step, rows


def values(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """What steps say, as plain numbers, read from the device in one go: step, epoch, lr, loss and its terms.

    >>> said = dict(loss=torch.tensor(1.5), terms={"nll": torch.tensor(0.5)}, lr=0.1, last_of_epoch=True, total=1)
    >>> values([Step(step=1, epoch=0, **said, skipped=torch.tensor(0), state=lambda: None)])
    [{'step': 1, 'epoch': 0, 'lr': 0.1, 'loss': 1.5, 'nll': 0.5}]
    """
    numbers = torch.stack([torch.stack([s.loss, *s.terms.values()]) for s in steps]).tolist()
    places = ({"step": s.step, "epoch": s.epoch, "lr": float(s.lr)} for s in steps)
    return [place | dict(zip(["loss", *steps[0].terms], row)) for place, row in zip(places, numbers)]
