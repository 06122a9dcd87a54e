"""What 10,000 subjects would cost, by arithmetic from what a few recordings cost here.

python tests/benchmarks/cost.py      # about a minute; writes the tables of docs/howto/cost.md too

The constants are seconds of one core (its own time, so that a busy machine does not count) and bytes, a row each, of
the default world's shapes and the default IVE; `steps` is the arithmetic, and a test holds the page and it together.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from time import process_time
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent))
import timing  # noqa: F401  sets one thread, before torch is imported
from bigger import TRIALS, read, simulate
from results import KEPT, ROOT, keep

from ivekit import Views, io, synth
from ivekit.recipe import Recipe, parts
from ivekit.training import evaluate, train

PAGE = ROOT / "docs" / "howto" / "cost.md"
SUBJECTS, EPOCHS, BATCH = 10_000, 10, 64
DISK, NETWORK = 2e9, 1.25e9  # bytes a second, assumed: a file server, and 10 Gbit/s between machines
TRAINED, JUDGED = 0.8, 0.1  # parts of the rows that are trained on, and that choose the epoch
SHOWN = (1, 8, 64)  # processes
UNITS = {"a row in bytes": "B", "a state in bytes": "B", "parameters": ""}


class Line(NamedTuple):
    """A step of the work: the formula as it is read, and its number for so many processes."""

    what: str
    formula: str
    of: Callable[[int], float]
    unit: str


def lines(c: Mapping[str, float]) -> list[Line]:
    """What everything costs, by the measured constants."""
    rows = SUBJECTS * TRIALS
    hours = {name: seconds * rows / 3600 for name, seconds in c.items()}
    exchange = 2 * 4 * c["parameters"] / NETWORK / 3600 * rows * TRAINED / BATCH  # a ring sends each number twice
    return [
        Line("rows", "subjects x trials", lambda n: rows, ""),
        Line("rows on disk", "rows x bytes of a row", lambda n: rows * c["a row in bytes"] / 1e12, "TB"),
        Line("prepare", "rows x prepare / processes", lambda n: hours["prepare"] / n, "h"),
        Line("standardisation fitted", "0.8 rows x fit (the first process)", lambda n: TRAINED * hours["fit"], "h"),
        Line("looked through for NaN", "0.8 rows x look / processes", lambda n: TRAINED * hours["look"] / n, "h"),
        Line("an epoch", "0.8 rows x train / processes", lambda n: TRAINED * hours["train"] / n, "h"),
        Line("its validation", "0.1 rows x evaluate (the first process)", lambda n: JUDGED * hours["evaluate"], "h"),
        Line("its gradients sent", "steps x 8 B x parameters / network", lambda n: exchange if n > 1 else 0.0, "h"),
        Line(
            f"all of it, {EPOCHS} epochs",
            f"prepare + fit + look + {EPOCHS} x (epoch + validation + gradients)",
            lambda n: (
                hours["prepare"] / n + TRAINED * (hours["fit"] + hours["look"] / n)
                + EPOCHS * (TRAINED * hours["train"] / n + JUDGED * hours["evaluate"] + (exchange if n > 1 else 0))
            ),
            "h",
        ),
        Line(
            "read from the disk while training",
            "processes x bytes of a row / train",
            lambda n: n * c["a row in bytes"] / c["train"] / 1e9,
            "GB/s",
        ),
    ]  # fmt: skip


def limits(c: Mapping[str, float]) -> list[tuple[str, str, float]]:
    """From how many processes on each thing takes as long as the training itself: the first is what saturates."""
    exchange = 8 * c["parameters"] / NETWORK  # seconds of a step
    found = [
        ("validation in the first process", "8 train / evaluate", TRAINED * c["train"] / (JUDGED * c["evaluate"])),
        ("the disk", "disk x train / bytes of a row", DISK * c["train"] / c["a row in bytes"]),
        ("the network", "batch x train x network / (8 B x parameters)", BATCH * c["train"] / exchange),
        ("the batch: a row each", "batch", BATCH),
        ("fitting, over all epochs", "epochs x train / fit", EPOCHS * c["train"] / c["fit"]),
    ]  # fmt: skip
    return sorted(found, key=lambda limit: limit[2])


def tables(c: Mapping[str, float]) -> str:
    """The tables of the page."""
    many = " | ".join(f"{n} process" + "es" * (n > 1) for n in SHOWN)
    head = f"| what | formula | {many} |\n{'|---' * (2 + len(SHOWN))}|"
    body = [
        f"| {line.what} | {line.formula} | {' | '.join(f'{said(line.of(n))} {line.unit}'.strip() for n in SHOWN)} |"
        for line in lines(c)
    ]
    ends = [f"| {what} | {formula} | {said(n)} |" for what, formula, n in limits(c)]
    measured = [f"| {name} | {with_unit(name, value)} |" for name, value in c.items()]
    return "\n".join(
        ["| of a row, on one core | measured |\n|---|---|", *measured, "", head, *body, "",
         "| takes as long as the training | formula | from so many processes on |\n|---|---|---|", *ends]
    )  # fmt: skip


def said(value: float) -> str:
    """Three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def with_unit(name: str, value: float) -> str:
    """A constant as it is read."""
    return f"{said(value)} {UNITS.get(name, 's')}".strip()


def write(c: Mapping[str, float]) -> str:
    """The page with the tables that these constants make."""
    old = PAGE.read_text(encoding="utf-8")
    marks = r"(?<=<!-- made by tests/benchmarks/cost.py -->\n).*?(?=<!-- end -->)"
    return re.sub(marks, lambda _: f"\n{tables(c)}\n\n", old, flags=re.S)


def constants() -> dict[str, float]:
    """What was measured last."""
    rows = json.loads((KEPT / "cost.json").read_text(encoding="utf-8"))["rows"]
    return {row["name"]: row["number"] for row in rows}


# what is measured -----------------------------------------------------------------------------------------------


def measured(folder: Path) -> dict[str, float]:
    """The constants, by three recordings."""
    simulate(folder, 0.3)
    about, files = synth.audiovisual(8, n_subjects=1).views.about, sorted((folder / "recordings").iterdir())
    reader = partial(read, sensors=about["meg"], columns=about["behaviour"])
    begun = process_time()
    io.prepare(files, folder / "rows", reader, validation=["s001"], test=["s002"])
    prepare = (process_time() - begun) / (TRIALS * len(files))
    recipe = Recipe("ive", {"data": str(folder / "rows"), "epochs": 1, "batch_size": BATCH})
    learn = parts(recipe.data())["train"]
    model, objective = recipe.model(learn), recipe.objective(learn)
    steps = [*train(model, objective, learn[: 2 * BATCH], **recipe.training(learn))]
    steps[-1].state().save(folder)
    return {
        "prepare": prepare,
        "fit": a_row(recipe.model, learn),
        "look": a_row(lambda rows: rows.require_finite(), learn),
        "train": a_row(lambda rows: [*train(model, objective, rows, **recipe.training(rows))], learn),
        "evaluate": a_row(lambda rows: evaluate(model, objective, rows), learn),
        "a row in bytes": sum(x.nbytes for x in learn.tensors.values()) / len(learn),
        "parameters": sum(p.numel() for p in model.parameters()),
        "a state in bytes": (folder / "state.safetensors").stat().st_size,
    }


def a_row(does: Callable[[Views], object], rows: Views) -> float:
    """The seconds of this core that a row more costs: of all rows less those of a few, which have what is of no row."""
    took = []
    for some in (rows[:BATCH], rows[:BATCH], rows):  # the first time is slower
        begun = process_time()
        does(some)
        took.append(process_time() - begun)
    return (took[2] - took[1]) / (len(rows) - BATCH)


def main() -> None:
    """Measures, keeps, writes the page."""
    with tempfile.TemporaryDirectory() as folder:
        c = measured(Path(folder))
    rows = [
        {"what": name, "measured": with_unit(name, value), "name": name, "number": value} for name, value in c.items()
    ]
    note = "Of a row of the default world and the default IVE, seconds of one core; docs/howto/cost.md is what follows."
    keep("cost", "What a row costs", "python tests/benchmarks/cost.py", rows, note)
    PAGE.write_text(write(c), encoding="utf-8")


if __name__ == "__main__":
    main()
