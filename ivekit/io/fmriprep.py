"""What fMRIPrep leaves behind: cleaned BOLD series, their brain masks and their confounds."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool
from numpy import ndarray

from ..signal.fmri import regress_out
from ..views import Views
from .atlas import Align, Where, same_grid
from .entities import KEYS, Wanted, entities, is_wanted, read_participants
from .guard import reachable, reading
from .nifti import beside, open_image, read_nifti

logger = logging.getLogger(__name__)
OWN = {"space", "res", "desc", "suffix"}  # entities that do not say which run a file is of
ENDS = ("desc-confounds_timeseries.tsv", "desc-confounds_regressors.tsv")  # the second before fMRIPrep 20.2


def read_fmriprep(
    root: str | Path, *, subject: Wanted = None, session: Wanted = None, task: Wanted = None, run: Wanted = None,
    space: Wanted = None, labels: Where = None, mask: Where = None, confounds: Sequence[str] = (),
    align: Align = same_grid,
) -> Views:  # fmt: skip
    """The BOLD series of an fMRIPrep folder, one row a volume, without what head motion and the like explain.

    root : the derivatives, root/sub-01[/ses-01]/func/... . Needs ``ivekit[imaging]``.
    subject, session, task, run, space : which of them; a word, a pattern ("0[1-4]"), a list; all by default.
    labels : an atlas: the view "bold" is (rows, parcels), each the mean of its voxels in the brain. Without, it is
        (rows, voxels): those that are in the brain in every run, which must then share one grid.
    mask : instead of the brain masks that lie beside the series. align : as of `read_nifti`.
    confounds : columns of desc-confounds_timeseries.tsv, as patterns ("trans_*", "csf"), regressed out of each run
        together with its mean, which is put back.

    `metadata`: subject, session, task, run and what else the file names say, volume, time (s), and the columns of
    participants.tsv (site, age ...). `about`: as of `read_nifti`. Volumes that are no steady state are marked as such
    by columns of the confounds, and stay.

    Raises
    ------
    FileNotFoundError, ValueError : no such folder, no such series, a series twice (several spaces or resolutions: the
        error lists them), series of several TR, a column that the confounds lack.
    """
    found = _series(Path(root), dict(subject=subject, session=session, task=task, run=run, space=space))
    masks = [_brain(path) if mask is None else mask for path in found]
    if labels is None and len(found) > 1:
        masks = [_common(found, masks, align)] * len(found)
    people = read_participants(root)
    rows = [_read(path, labels, inside, align, confounds, people) for path, inside in zip(found, masks)]
    if len(trs := {views.about["bold"]["tr"] for views in rows}) > 1:
        raise ValueError(f"the series have a volume every {sorted(trs)} s: choose those of one task")
    return Views.concat(rows)


def _series(root: Path, wanted: Mapping[str, Wanted]) -> list[Path]:
    """The series that are wanted, in the order of their names; an error unless there is one a run."""
    if not reachable(root).is_dir():
        raise FileNotFoundError(f"there is no folder {root}")
    every = {path: entities(path) for path in sorted(root.glob("sub-*/**/func/*_desc-preproc_bold.nii*"))}
    if not every:
        raise FileNotFoundError(f"{root} holds no sub-*/func/*_desc-preproc_bold.nii.gz: did fMRIPrep write it?")
    if not (chosen := [p for p, said in every.items() if all(_is(said, key, of) for key, of in wanted.items())]):
        asked = ", ".join(f"{key}={of!r}" for key, of in wanted.items() if of is not None)
        there = {key: sorted({said[key] for said in every.values() if key in said}) for key in wanted}
        raise ValueError(f"{root.name} has no series of {asked}; there are { {k: v for k, v in there.items() if v} }")
    runs: dict[tuple, Path] = {}
    for path in chosen:
        key = tuple(item for item in every[path].items() if item[0] not in OWN)
        if key in runs:
            raise ValueError(f"{runs[key].name} and {path.name} are one run: choose, as by space='MNI*_res-2'")
        runs[key] = path
    return chosen


def _is(said: Mapping[str, str], key: str, wanted: Wanted) -> bool:
    """Whether a file is of what is wanted; a space may be named with its resolution, "MNI152NLin2009cAsym_res-2"."""
    value = said.get(key)
    fine = f"{value}_res-{said['res']}" if key == "space" and "res" in said else value
    return is_wanted(value, wanted) or is_wanted(fine, wanted)


def _brain(path: Path) -> Path:
    """The brain mask beside a series."""
    return path.with_name(path.name.replace("desc-preproc_bold", "desc-brain_mask"))


def _common(found: Sequence[Path], masks: Sequence[Where], align: Align) -> Bool[ndarray, "x y z"]:
    """The voxels that all masks hold, on the grid of the first series; an error where another one has another grid."""
    with reading(found[0], "image") as first:
        image = open_image(first)
    for path in found[1:]:
        with reading(path, "image"):
            other = open_image(path)
        try:
            same_grid(other, image)
        except ValueError as error:
            why = str(error).rpartition(": ")[0]
            raise ValueError(f"{path.name} beside {first.name}: {why}. Give labels, or one space") from None
    count = sum((beside(mask, image, path, align)[0] != 0).astype(int) for path, mask in zip(found, masks))
    inside = np.asarray(count == len(found))
    if not inside.any():
        raise ValueError(f"no voxel is in the brain masks of all {len(found)} series")
    if lost := int(((count > 0) & ~inside).sum()):
        logger.warning("%d voxels that are in some brain masks, but not in all %d, are left out", lost, len(found))
    return inside


def _read(
    path: Path, labels: Where, mask: Where, align: Align, confounds: Sequence[str], people: pd.DataFrame
) -> Views:
    """One series, with what its name, its sidecar and the table of participants say of it."""
    views = read_nifti(path, labels=labels, mask=mask, align=align)
    said, sidecar = entities(path), _sidecar(path)
    about: dict[str, Any] = views.about["bold"] | {"space": said.get("space", "native")}
    about["tr"] = tr = float(sidecar.get("RepetitionTime", about["tr"]))
    frame = pd.DataFrame({key: value for key, value in said.items() if key not in OWN}, index=range(len(views)))
    frame = frame.assign(volume=range(len(views)))
    frame["time"] = (
        float(sidecar.get("StartTime", 0.0)) + tr * frame["volume"]
    )  # of the slice to which others are moved
    if said["subject"] not in set(people["subject"]) and len(people):
        logger.warning("participants.tsv has no %s", said["subject"])
    frame = frame.merge(people, "left", on="subject")
    views = Views(views.tensors, views.present, frame, {"bold": about})
    return _regressed(views, path, confounds) if confounds else views


def _sidecar(path: Path) -> dict[str, Any]:
    """The JSON beside a series, if there is one."""
    beside = path.with_name(path.name.split(".")[0] + ".json")
    if not beside.exists():
        return {}
    with reading(beside, "sidecar"):
        return json.loads(beside.read_text(encoding="utf-8"))


def _regressed(views: Views, path: Path, patterns: Sequence[str]) -> Views:
    """A run without what a straight line of its confounds explains, around its mean."""
    table = _confounds(path, patterns)
    if len(table) != len(views):
        raise ValueError(f"{path.name} has {len(views)} volumes, and its confounds {len(table)} rows")
    if len(table) < len(table.columns) + 2:
        raise ValueError(f"{path.name}: {len(table.columns)} confounds leave nothing of {len(table)} volumes")
    x = views["bold"].double().numpy()
    left = regress_out(x, table.to_numpy(float))
    mask = views.present["bold"]
    whole = mask if mask.ndim == 1 else mask & mask.all(0)  # a gap would pull at the fit: its whole run is missing
    step = f"what {', '.join(table.columns)} explain of each run taken off, its mean kept (missing values: their mean)"
    new = Views({"bold": torch.from_numpy(left).float()}, {"bold": whole}, views.metadata, views.about)
    return new.noted(bold=step)


def _confounds(path: Path, patterns: Sequence[str]) -> pd.DataFrame:
    """The columns of the table beside a series that patterns name, in its order."""
    run = "_".join(
        part for part in path.name.split("_desc-")[0].split("_") if part.split("-")[0] not in ("space", "res")
    )
    at = next((path.with_name(f"{run}_{end}") for end in ENDS if path.with_name(f"{run}_{end}").exists()), None)
    at = at or path.with_name(f"{run}_{ENDS[0]}")
    with reading(at, "table of confounds"):
        table = pd.read_csv(at, sep="\t", na_values=["n/a"])
    if alien := [pattern for pattern in patterns if not any(fnmatchcase(c, pattern) for c in table)]:
        raise ValueError(f"{at.name} has no column {alien}; there are {', '.join(map(str, table))[:300]}")
    chosen = table[[c for c in table if any(fnmatchcase(c, pattern) for pattern in patterns)]]
    if words := [c for c in chosen if not pd.api.types.is_numeric_dtype(chosen[c])]:
        raise ValueError(f"{at.name}: the columns {words} are no numbers")
    if wild := [c for c in chosen if np.isinf(chosen[c].to_numpy(float)).any()]:
        raise ValueError(f"{at.name}: the columns {wild} are infinite somewhere")
    return chosen


def with_events(views: Views, root: str | Path, delay: float | int = 5.0, column: str = "trial_type") -> Views:
    """Volumes with what went on `delay` seconds before each: a column `event` of their metadata, missing where nothing.

    views : of `read_fmriprep`. root : the raw BIDS folder, in which the events.tsv of these runs are.
    delay : seconds from what is seen to the peak of the response. column : of events.tsv, which names what it is.

    Where events overlap, the one that began last counts; one of no duration lasts until the next volume.

    Raises
    ------
    FileNotFoundError, ValueError : a run has no events.tsv, or one without onset, duration and `column`.
    """
    frame: Any = views.metadata
    frame = frame.reset_index(drop=True).assign(event=pd.Series(index=range(len(frame)), dtype=object))
    keys = [key for key in list(frame)[: list(frame).index("volume")] if key != "echo"]
    tr = views.about["bold"]["tr"]
    for _, run in frame.groupby(keys, dropna=False, sort=False):
        said = {key: value for key, value in run.iloc[0][keys].items() if pd.notna(value)}
        events = _events(Path(root), said, column)
        seen, met = run["time"] - delay, 0
        for onset, duration, name in events.sort_values("onset").itertuples(index=False):
            rows = run.index[(seen >= onset) & (seen < onset + max(duration, tr * (duration == 0)))]
            frame.loc[rows, "event"] = name
            met += len(rows) > 0
        if met < len(events):
            logger.warning(
                "%s: %d of %d events meet no volume", "_".join(said.values()), len(events) - met, len(events)
            )
    return Views(views.tensors, views.present, frame, views.about)


def _events(root: Path, said: Mapping[str, str], column: str) -> pd.DataFrame:
    """Onset, duration and name of the events of a run."""
    short = {long: key for key, long in KEYS.items()}
    name = "_".join(f"{short.get(key, key)}-{value}" for key, value in said.items())
    folder = root / f"sub-{said['subject']}" / (f"ses-{said['session']}" if "session" in said else "") / "func"
    with reading(folder / f"{name}_events.tsv", "table of events") as path:
        table = pd.read_csv(path, sep="\t", na_values=["n/a"])
    if lacking := [c for c in ("onset", "duration", column) if c not in table]:
        raise ValueError(f"{path.name} has no column {lacking}; there are {list(table)}")
    return table[["onset", "duration", column]].dropna(subset=["onset", column]).fillna({"duration": 0.0})
