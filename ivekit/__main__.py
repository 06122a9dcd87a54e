"""The command line: ``python -m ivekit train ive latent=16 --out runs/ive``; the same under ``torchrun -m ivekit``."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import yaml
from torch.distributed.rendezvous import rendezvous

from . import io
from .recipe import Recipe, export, interactive, is_first, load, parts, report, run, score

ROOT = Path(__file__).parents[1]
SETTING = re.compile(r"[A-Za-z_]\w*=")
PATIENCE = timedelta(hours=6)  # of a process with the others: one that dies is noticed at once all the same


def main(arguments: Sequence[str] | None = None) -> None:
    """Does what the line says; a mistake in it is one line of words, not a traceback."""
    said = _parsed(arguments)
    try:
        said.do(said)
    except (ValueError, FloatingPointError, OSError, ImportError) as error:
        if os.environ.get("IVEKIT_TRACEBACK"):
            raise
        sys.exit(f"ivekit: {error}")


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The line, in which a setting=value may come after options, too."""
    said, rest = parser().parse_known_args(arguments)
    more = [word for word in rest if SETTING.match(word)]
    where = "files" if hasattr(said, "files") else "settings"
    if len(more) < len(rest) or more and not hasattr(said, where):
        parser().parse_args(arguments)  # says what it does not know
    if more:
        setattr(said, where, [*getattr(said, where), *more])
    return said


def parser() -> argparse.ArgumentParser:
    """What can be said."""
    top = argparse.ArgumentParser("ivekit", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="train the IVE on the recordings in data_samples; scores and a report")
    demo.set_defaults(do=_demo)

    _add_tune(commands.add_parser("tune", help="search settings of a recipe on its validation rows, then run the best"))
    _add_prepare(commands.add_parser("prepare", help="recordings to one folder of rows that train can read"))

    _add_train(commands.add_parser("train", help="train a recipe"))
    _add_of_a_run(commands)
    commands.add_parser("lab", help="JupyterLab at the first notebook").set_defaults(do=_lab)
    return top


def _add_train(train: argparse.ArgumentParser) -> None:
    train.add_argument("recipe", help="the name of a shipped one, or your own file")
    train.add_argument("settings", nargs="*", metavar="setting=value")
    train.add_argument("--config", metavar="FILE", help="settings from a YAML file; those on the line come after")
    train.add_argument("--out", metavar="DIR", type=Path, help="the run's folder; runs/RECIPE by default")
    train.add_argument("--resume", action="store_true", help="go on from the folder's checkpoint")
    train.add_argument(
        "--keep",
        type=float,
        default=10.0,
        metavar="MINUTES",
        help="after which a checkpoint is kept within an epoch too; 10 by default",
    )
    train.add_argument(
        "--log",
        action="append",
        default=[],
        choices=["tensorboard", "wandb"],
        help="beside losses.csv; WANDB_MODE=offline needs no network",
    )
    train.add_argument(
        "--print-config", action="store_true", help="write every setting with its meaning, and train nothing"
    )
    train.set_defaults(do=_train)


def _add_of_a_run(commands: Any) -> None:
    for name, do, does in (
        ("evaluate", _evaluate, "score the test rows again"),
        ("report", _report, "write report.html again"),
        ("export", _export, "latents, reconstructions, attributions and scores for other programs"),
    ):
        one = commands.add_parser(name, help=f"{does}, from a run's folder")
        one.add_argument("run", type=Path, metavar="RUN")
        one.add_argument("--trust", action="store_true", help="run the folder's own recipe.py")
        one.add_argument("--recipe", help="run this recipe instead")
        one.set_defaults(do=do)
    commands.choices["report"].add_argument(
        "--interactive", action="store_true", help="and latents.html: sliders that decode in the browser, one page"
    )
    commands.choices["export"].add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="a new folder: Parquet, NPZ, FIF and PNG"
    )


def _add_tune(tune: argparse.ArgumentParser) -> None:
    tune.add_argument("recipe", help="the name of a shipped one, or your own file")
    tune.add_argument(
        "settings",
        nargs="+",
        metavar="setting=value",
        help="dim=[16,32] is a choice to be made, lr=0.001..0.01 a range to search; others stay",
    )
    tune.add_argument("--out", metavar="DIR", type=Path, help="the study's folder; runs/tune-RECIPE by default")
    tune.add_argument("--trials", type=int, default=20, help="how many there shall be in all; 20 by default")
    tune.add_argument("--sampler", default="tpe", help="tpe, random or grid")
    tune.add_argument("--folds", type=int, default=1, help="parts that judge a trial in turn; 1: the validation rows")
    tune.add_argument("--processes", type=int, default=1, help="that work on the study here, at once")
    tune.add_argument(
        "--storage",
        metavar="WHERE",
        help="of the study: postgresql://host/name, or a journal file; study.db in the folder by default",
    )
    tune.set_defaults(do=_tune)


def _tune(said: argparse.Namespace) -> None:
    from . import tune

    searched, fixed = tune.space(said.settings)
    recipe = Recipe.parse(said.recipe, fixed)
    folder = said.out or Path("runs", f"tune-{recipe.name}")
    how = dict(sampler=said.sampler, folds=said.folds, processes=said.processes, storage=said.storage)
    print(tune.tune(recipe, searched, folder, said.trials, **how).head(10).round(3).to_string(index=False))
    print(f"\nthe best one, run to its end, on rows that chose nothing ({folder / 'best'}):")
    if (folder / "best" / "report.html").exists():
        _tell(folder / "best")
    else:
        print("another process is at it; the same line says its scores when it is done")


def _add_prepare(prepare: argparse.ArgumentParser) -> None:
    files = "recordings, folders of them, or a BIDS folder; then what their reader is told, such as tmin=-0.1 tmax=0.5"
    prepare.add_argument("files", nargs="+", metavar="FILE or setting=value", help=files)
    prepare.add_argument("--out", required=True, type=Path, metavar="DIR", help="the folder of saved rows")
    signal = (
        "of tables: such as ecg=ECG:0.5-14, the view, its column, and the band in Hz to keep, if any; once a signal"
    )
    prepare.add_argument("--signal", action="append", metavar="VIEW=COLUMN:LOW-HIGH", help=signal)
    prepare.add_argument("--sfreq", type=float, help="samples a second: of tables in the file, of MEG and EEG in rows")
    prepare.add_argument("--to", type=float, help="of tables: samples a second in the rows; 30 by default")
    prepare.add_argument("--window", type=float, help="of tables: seconds of a window; 8 by default")
    prepare.add_argument("--step", type=float, help="seconds from one window to the next; a window by default")
    prepare.add_argument("--gap", type=float, help="of tables: seconds of a gap that a straight line may bridge")
    prepare.add_argument("--scale", help="of tables: what is z-scored: none, recording or window")
    prepare.add_argument("--validation", nargs="*", default=[], metavar="SUBJECT", help="who chooses the epoch")
    prepare.add_argument("--test", nargs="*", default=[], metavar="SUBJECT", help="who is scored at the end")
    prepare.add_argument("--processes", type=int, default=1, help="that read at once")
    prepare.set_defaults(do=_prepare)


def _prepare(said: argparse.Namespace) -> None:
    flags = {name: getattr(said, name) for name in ("sfreq", "to", "window", "step", "gap", "scale")}
    subjects = {
        part: [word for word in getattr(said, part) if not SETTING.match(word)] for part in ("validation", "test")
    }
    words = [*said.files, *filter(SETTING.match, [*said.validation, *said.test])]  # an option takes all that follow it
    pairs = [word.partition("=") for word in words if "=" in word and not Path(word).exists()]
    how = {name: value for name, value in flags.items() if value is not None}
    values = {name: yaml.safe_load(value) for name, _, value in pairs}
    how |= {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    files = [word for word in words if "=" not in word or Path(word).exists()]
    if said.signal:
        signals = [io.parse_signal(text) for text in said.signal]
        read: Any = {view: column for view, column, _ in signals}
        how["band"] = {view: edges for view, _, edges in signals}
    else:
        files, read = io.recordings_of_meg(files)
    print(io.prepare(files, said.out, read, processes=said.processes, **subjects, **how))


def _demo(said: argparse.Namespace) -> None:
    folder = Path("runs/demo")
    if (folder / "settings.json").exists():  # the demonstration is repeated, whatever became of the last one
        shutil.rmtree(folder)
    _run(Recipe("ive"), folder)


def _train(said: argparse.Namespace) -> None:
    folder = said.out or Path("runs", Path(said.recipe).stem)
    begun = folder / "settings.json"  # a run that goes on has its own settings, and need not be told them again
    configs = [*([begun] if said.resume and begun.exists() else []), *([said.config] if said.config else [])]
    recipe = Recipe.parse(said.recipe, said.settings, *configs)
    if said.print_config:
        print(recipe.config(), end="")
    else:
        _run(recipe, folder, resume=said.resume, logs=said.log, minutes=said.keep)


def _run(recipe: Recipe, folder: Path, **how: Any) -> None:
    if "RANK" in os.environ:
        _meet()
    try:
        run(recipe, folder, **how)
        if is_first():
            _tell(folder)
        if torch.distributed.is_initialized():
            torch.distributed.barrier()  # who hangs up while another still speaks is an error there
    except KeyboardInterrupt:
        sys.exit(f"\ninterrupted: {folder} holds the weights of the best epoch so far, and --resume goes on")
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _meet() -> None:
    """Joins the processes that torchrun began."""
    store, rank, world = next(rendezvous("env://"))
    if os.environ.get("GROUP_WORLD_SIZE") == "1":  # torchrun keeps its store: call no dead of the last try
        store = torch.distributed.PrefixStore(f"try {os.environ.get('TORCHELASTIC_RESTART_COUNT')}", store)
    # the others wait while the first looks at validation rows and writes the report
    how: dict[str, Any] = dict(store=store, rank=rank, world_size=world, timeout=PATIENCE)
    torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo", **how)


def _evaluate(said: argparse.Namespace) -> None:
    model, recipe = load(said.run, said.trust, said.recipe)
    score(said.run, model, parts(recipe.data()))
    _tell(said.run)


def _report(said: argparse.Namespace) -> None:
    model, recipe = load(said.run, said.trust, said.recipe)
    data, factors, owners = recipe.world()
    links = []
    if said.interactive:
        page = interactive(said.run, recipe, model, data, factors)
        links.append(("Move the latents yourself", page.name))
        print(page)
    print(report(said.run, recipe, model, data, factors, owners, links))


def _export(said: argparse.Namespace) -> None:
    model, recipe = load(said.run, said.trust, said.recipe)
    for path in export(said.run, said.out, model, recipe.data()):
        print(path)


def _lab(said: argparse.Namespace) -> None:
    notebooks = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
    if not notebooks:
        raise FileNotFoundError(
            f"there are no notebooks in {ROOT / 'notebooks'}: they are in the repository, not in the package"
        )
    subprocess.run([sys.executable, "-m", "jupyter", "lab", str(notebooks[0])], check=False)


def _tell(folder: Path) -> None:
    """The scores of a run as a table, and where its report is."""
    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    print(table(scores))
    drawn = [said.get("drawn", {}) for metrics in scores.values() for said in metrics.values()]
    for part, (n, of) in (drawn[0] if drawn else {}).items():
        print(f"of {of} {part} rows {n} were drawn for these scores, and all that is linear or constant")
    print(f"\nreport: {folder / 'report.html'}")


def table(scores: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Held-out scores as text, the model's beside what is reached without it.

    >>> print(table({"meg": {"reconstruction": {"model": 0.5, "interval": [0.45, 0.55], "constant": 0.0}}}))
    held-out rows                     model          95 % interval  constant      zero    linear
    meg reconstruction                0.500         0.450 .. 0.550     0.000         -         -
    """
    kinds = ("constant", "zero", "linear")
    lines = [f"{'held-out rows':28}{'model':>11}{'95 % interval':>23}" + "".join(f"{kind:>10}" for kind in kinds)]
    for view, metrics in scores.items():
        for metric, said in metrics.items():
            low_high = said.get("interval")
            interval = " .. ".join(map(_number, low_high)) if low_high else "-"
            lines.append(
                f"{f'{view} {metric}':28}{_number(said.get('model')):>11}{interval:>23}"
                + "".join(f"{_number(said.get(kind)):>10}" for kind in kinds)
            )
    return "\n".join(lines)


def _number(value: float | int | None) -> str:
    return "-" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    main()
