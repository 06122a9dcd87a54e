"""One of each thing that ivekit keeps on disk, as this version keeps it: later ones must read it (tests/test_old.py).

python tests/old/make.py        # before a release: makes tests/old/MAJOR.MINOR, of some 20 kB, to be committed

A folder that is there is never made again: it is what that version wrote. `rows` are saved rows with all that rows can
have; `run` is a run that was stopped in the midst of its second epoch, with the recipe as it was; `results` are tables
and arrays; `known.json` says what was in them, read in the process that wrote them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd
import torch

import ivekit as ive
from ivekit import Views, io, recipe, training
from ivekit.atomic import whole

HERE = Path(__file__).parent


def rows() -> Views:
    """Four rows of sensors, a table with gaps, and classes."""
    random = torch.Generator().manual_seed(0)
    info = mne.create_info(["MEG 0111", "MEG 0121"], 50.0, "mag")
    for i, channel in enumerate(info["chs"]):
        channel["loc"][:3] = 0.01, 0.02 * i, 0.1
    frame = pd.DataFrame(
        {
            "subject": pd.Categorical(["s1", "s1", "s2", "s2"]),
            "trial": [1, 2, 1, 2],
            "rt": [0.5, np.nan, 0.25, 1.0],
            "word": ["yes", "no", "", "a\ttab"],
            "seen": [True, False, True, True],
        }
    )
    meg, table = torch.randn(4, 2, 5, generator=random), torch.rand(4, 2, generator=random).double()
    present = {"meg": torch.arange(4) != 2, "table": table > 0.2}
    about = {
        "meg": ive.Sensors.from_info(info),
        "table": {"columns": ["rt", "pupil"], "units": ["s", "mm"]},
        "label": {"classes": ["no", "yes"]},
    }
    views = Views({"meg": meg, "table": table, "label": torch.tensor([0, 1, 1, 0])}, present, frame, about)
    return views.noted(meg="filtered", table="rounded")


def stopped(folder: Path) -> None:
    """A run that was interrupted at its fifth step, the second of the second epoch."""
    mine = recipe.Recipe(HERE / "small.py")
    try:
        recipe.run(mine, folder, minutes=0, disable=True)
    except KeyboardInterrupt:
        return
    raise ValueError("the run was not interrupted")


def said(folder: Path) -> dict[str, Any]:
    """What is in the folders, as it is read now: what a later version must find, too."""
    views, results = Views.open(folder / "rows"), io.read_results(folder / "results")
    model, of = recipe.load(folder / "run", trust=True)
    state = training.State.open(folder / "run" / "checkpoint")
    codes = ive.latents(model, of.data())
    return {
        "tensors": {name: x.tolist() for name, x in views.items()},
        "present": {name: x.tolist() for name, x in views.present.items()},
        "about": {name: _about(what) for name, what in views.about.items()},
        "metadata": [[str(value) for value in row] for row in views.metadata.itertuples(index=False)],
        "dtypes": {name: str(dtype) for name, dtype in views.metadata.dtypes.items() if name != "word"},  # pandas' own
        "settings": of.settings,
        "codes": {name: x[:4].tolist() for name, x in codes.items()},
        "state": {"step": state.step, "seed": state.seed, "loss": float(state.epoch_loss)},
        "moments": float(sum(each["exp_avg"].abs().sum() for each in state.optimizer["state"].values())),
        "tables": {name: table.to_dict("list") for name, table in results.tables.items()},
        "arrays": {name: array.tolist() for name, array in results.arrays.items()},
    }


def _about(what: Any) -> Any:
    """What is said of a view, in words and numbers."""
    if not isinstance(what, ive.Sensors):
        return what
    placed = {"pos": what.pos.tolist(), "info": what.info["ch_names"], "history": list(what.history)}
    return {"names": list(what.names), "kinds": list(what.kinds), "sfreq": what.sfreq, **placed}


def main() -> None:
    """Makes the folder of this version."""
    folder = HERE / ".".join(ive.__version__.split(".")[:2])
    if folder.exists():
        sys.exit(f"{folder} is there: it is what that version wrote, and stays")
    table = pd.DataFrame({"subject": pd.Categorical(["s1", "s2"]), "z": [0.5, -1.0]})
    with whole(folder) as new:
        rows().save(new / "rows")
        stopped(new / "run")
        io.write_results(new / "results", {"codes": table}, {"map": np.arange(6.0).reshape(2, 3), "words": ["a", "b"]})
        (new / "known.json").write_text(json.dumps(said(new), indent=1) + "\n", encoding="utf-8")
    print(f"{folder}: {sum(path.stat().st_size for path in folder.rglob('*') if path.is_file()) / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
