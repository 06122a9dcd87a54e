"""What a run goes on from: its state, kept at the end of every epoch and, where epochs are long, within them.

``checkpoint/state.safetensors`` is the state of the training; ``checkpoint/epoch.safetensors`` is beside it where that
is one of the middle of an epoch: the losses since the epoch began and the latents at its beginning, which whoever
watches the run would otherwise have lost.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from time import monotonic

from .. import watch
from ..training import State, Step, read_tensors, write_tensors


class Checkpoint:
    """The checkpoint of a run's folder: what there is to go on from, and when it is written next.

    minutes : after which one is written within an epoch too. start : the state that the run goes on from, if any.

    history : the validation scores of the epochs behind it. earlier : of the epoch that it is in, a row a step done.
    before : the latents at the beginning of that epoch, by block; empty where the run is at one.
    """

    def __init__(self, folder: str | Path, minutes: float | int = 10, start: State | None = None):
        self.folder, self.seconds, self.written = Path(folder) / "checkpoint", 60 * minutes, monotonic()
        path, losses = self.folder / "epoch.safetensors", Path(folder) / "losses.csv"
        before, said = read_tensors(path) if start and path.exists() else ({}, {"rows": "[]"})
        earlier = json.loads(said["rows"])
        # within the first epoch there is no file of losses yet
        rows = _rows(losses, start.step) if start and (losses.exists() or not earlier) else []
        ended = [row for row in rows if row["validation"]]
        self.history = [float(row["validation"]) for row in ended]
        last = int(ended[-1]["step"]) if ended else 0  # a kill may have left a file that is older than the state
        self.earlier = [row for row in earlier if start and last < row["step"] <= start.step]
        self.before = before if self.earlier else {}
        self.steps: list[Step] = []

    def after(self, step: Step) -> None:
        """Writes a checkpoint if the epoch has ended, or if it is time."""
        self.steps.append(step)
        if step.last_of_epoch:
            step.state().save(self.folder)
            (self.folder / "epoch.safetensors").unlink(missing_ok=True)
            self.steps, self.earlier, self.written = [], [], monotonic()
        elif monotonic() - self.written >= self.seconds:
            rows = self.earlier + watch.values(self.steps)
            write_tensors(self.folder / "epoch.safetensors", self.before, {"rows": json.dumps(rows)})
            step.state().save(self.folder)
            self.written = monotonic()


def _rows(path: Path, last: int) -> list[dict[str, str]]:
    """The lines of a run's losses up to a step."""
    with path.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if int(row["step"]) <= last]
