"""Recordings in a BIDS folder (Gorgolewski et al., 2016; Niso et al., 2018; Pernet et al., 2019), as `Views`."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from ..signal import Sensors
from ..views import Views
from .entities import Wanted, entities, is_wanted, read_participants
from .events import kinds_of
from .fmriprep import read_fmriprep
from .guard import reachable, reading
from .meg import read_meg
from .recording import check_whole
from .table import read_frame

logger = logging.getLogger(__name__)
PICKS = {"meg": "mag", "eeg": "eeg", "ieeg": "ieeg"}  # datatype -> channels, unless others are asked for
ENDINGS = {".fif", ".ds", ".con", ".sqd", ".vhdr", ".edf", ".bdf", ".set", ".mefd", ""}  # "": the folder of a 4D run
SIDECARS = {"events": ".tsv", "channels": ".tsv", "electrodes": ".tsv", "coordsystem": ".json"}
NEEDS = {"events": "onset", "channels": "name", "electrodes": "name"}  # a column of each table
HOW = ("picks", "tmin", "tmax", "baseline", "band", "sfreq", "event_id")  # of read_meg
NO_RECORDINGS = {"calibration", "crosstalk"}  # what an acquisition is called that is of the machine


def read_bids(
    root: str | Path,
    *,
    subject: Wanted = None,
    session: Wanted = None,
    task: Wanted = None,
    run: Wanted = None,
    datatype: str | None = None,
    **how: Any,
) -> Views:
    """The trials of every recording of a BIDS folder, with what its tables say of events and participants.

    root : the folder that holds sub-01, sub-02 ... Needs ``ivekit[bids]``.
    subject, session, task, run : which of them; a word, a pattern ("0[1-4]"), a number, a list of these; all by
        default. An empty room is no subject, unless it is asked for by name.
    datatype : "meg", "eeg", "ieeg", or "func", which is what fMRIPrep made of it (`read_fmriprep`). It must be said
        where the folder has several.
    how : of `read_meg`: picks (magnetometers, electrodes by default), tmin, tmax, baseline, band, sfreq, event_id. Of
        `read_fmriprep`: space, labels, mask, confounds, align.

    Trials are the rows of events.tsv; where a recording has none, the pulses of its stimulus channel. An `event_id` may
    be missing in some recordings, not in all. Channels that channels.tsv calls bad are masked.
    `metadata`: subject, session, task, run and what else the file names say; trial (the row in events.tsv, from 0);
    event_name; the other columns of events.tsv; and those of participants.tsv (site, age ...). A column whose name is
    taken is called "events.NAME", "participants.NAME". `about`: the `Sensors` of the recording with most channels: what
    another recording lacks of these is masked in its rows.

    A recording that cannot be read, or has no such events, is left out, and named with the reason in a log message.

    Raises
    ------
    FileNotFoundError, ValueError : no such folder; no recording is wanted, or none can be read, or they differ in the
        times of their samples; an event that no recording has.
    ImportError : mne-bids is not installed.

    >>> read_bids("nowhere", subject="0[1-4]", tmin=-0.1, tmax=0.5)
    Traceback (most recent call last):
    FileNotFoundError: there is no folder nowhere
    """
    root, wanted = reachable(root), {"subject": subject, "session": session, "task": task, "run": run}
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}")
    root = root.resolve()  # of "." the name, too
    datatype = datatype or _only_datatype(root)
    if datatype == "func":
        return read_fmriprep(_derivatives(root), **wanted, **how)
    paths = _recordings(root, datatype, wanted)
    people = read_participants(root)
    if strange := sorted(set(how) - set(HOW)):
        reason = ": the events are those of the events.tsv beside each recording" * ("events" in strange)
        raise TypeError(f"read_bids of {datatype} takes {', '.join(HOW)}, not {', '.join(strange)}{reason}")
    rows = _read_all(paths, people, {"picks": PICKS.get(datatype, datatype)} | how)
    _check_events(rows.values(), how.get("event_id"), root)
    return Views.concat(_alike(rows))


# which files ---------------------------------------------------------------------------------------------------------


def _only_datatype(root: Path) -> str:
    """The one that the folder has."""
    fields = [kind for kind in PICKS if any(_files(root, kind, f"*_{kind}.*"))]
    kinds = fields or (["func"] if any(_files(root, "func", "*_bold.nii*")) else [])
    if len(kinds) != 1:
        what = f"recordings of {' and '.join(kinds)}: say which as datatype=" if kinds else "no recordings sub-*/meg/*"
        raise ValueError(f"{root.name} holds {what}")
    return kinds[0]


def _files(root: Path, datatype: str, pattern: str) -> Iterator[Path]:
    """Files of a datatype, be there sessions or not."""
    return (path for place in ("sub-*", "sub-*/ses-*") for path in root.glob(f"{place}/{datatype}/{pattern}"))


def _derivatives(root: Path) -> Path:
    """Where fMRIPrep wrote: here, or below."""
    below = root / "derivatives" / "fmriprep"
    return below if below.is_dir() else root


def _recordings(root: Path, datatype: str, wanted: Mapping[str, Wanted]) -> list[Path]:
    """The files of the recordings that are wanted, in the order of their names."""
    paths = sorted(_files(root, datatype, f"*_{datatype}*"))
    every = {path: said for path in paths if _is_recording(path, said := entities(path), datatype)}
    found = [p for p, said in every.items() if all(is_wanted(said.get(key), of) for key, of in wanted.items())]
    found = [path for path in found if wanted["subject"] is not None or every[path]["subject"] != "emptyroom"]
    if not found:
        asked = ", ".join(f"{key}={of!r}" for key, of in wanted.items() if of is not None) or "any subject"
        there = {key: sorted({said[key] for said in every.values() if key in said}) for key in wanted}
        there = ", ".join(f"{key} {values}" for key, values in there.items() if values) or "none"
        raise ValueError(f"{root.name} has no {datatype} recording of {asked}; there are {there}")
    return found


def _is_recording(path: Path, said: Mapping[str, str], datatype: str) -> bool:
    first = said.get("split", "01").lstrip("0") == "1"  # it goes on in the others
    ours = path.suffix.lower() in ENDINGS and (path.suffix or path.is_dir())
    named = "subject" in said and said["suffix"] == datatype and said.get("acq") not in NO_RECORDINGS
    return bool(first and ours and named)


# one recording -------------------------------------------------------------------------------------------------------


def _read_all(paths: Sequence[Path], people: pd.DataFrame, how: Mapping[str, Any]) -> dict[str, Views]:
    """The rows of each recording by its name; those that cannot be read are said."""
    rows, failed = {}, []
    for path in paths:
        try:
            rows[path.name] = _read(path, people, how)
        except (ValueError, FileNotFoundError) as error:
            why = str(error)
            failed.append(why if path.name in why else f"{path.name}: {why}")
    if not rows:
        raise ValueError(f"none of {len(paths)} recordings can be read: {'; '.join(failed[:12])}")
    if failed:
        logger.warning("%d of %d recordings are left out: %s", len(failed), len(paths), "; ".join(failed))
    subjects = {entities(name)["subject"] for name in rows}
    if len(people) and (lacking := sorted(subjects - set(people["subject"]))):
        logger.warning("participants.tsv lacks %d of %d subjects: %s", len(lacking), len(subjects), ", ".join(lacking))
    return rows


def _read(path: Path, people: pd.DataFrame, how: Mapping[str, Any]) -> Views:
    said = {key: value for key, value in entities(path).items() if key not in ("suffix", "split")}
    raw, table = _open(path)
    if table is not None and "trial" not in table:
        table.insert(0, "trial", range(len(table)))
    views = read_meg(raw, **dict(how) | {"events": table, "event_id": _there(table, how.get("event_id"), path.name)})
    frame: Any = views.metadata
    frame = frame if table is not None else frame.assign(trial=frame["epoch"])
    # codes of events, which another recording may give to other names
    frame = frame.drop(columns=[c for c in ("epoch", "event") if table is None or c not in table])
    first = pd.DataFrame(said, index=frame.index).assign(trial=frame["trial"], event_name=frame["event_name"])
    frame = _beside(first, frame.drop(columns=["trial", "event_name"]), "events")
    own = people[people["subject"] == said["subject"]].drop(columns="subject")
    if len(own):
        frame = _beside(frame, own.iloc[[0] * len(frame)].set_axis(frame.index), "participants")
    return Views(views.tensors, views.present, frame, views.about)


def _open(path: Path) -> tuple[Any, pd.DataFrame | None]:
    """MNE's Raw with its bad channels and places of electrodes, and the table of its events."""
    try:
        import mne_bids
    except ImportError:
        raise ImportError(f"{path.name} needs mne-bids: install ivekit[bids]") from None
    with reading(path):
        check_whole(path)
        place: Any = mne_bids.get_bids_path_from_fname(path, check=False, verbose="error")
        place.update(extension=path.suffix or ".pdf")  # mne-bids' word for the folder of a 4D run
        said = _beside_it(place, {**SIDECARS, path.parent.name: ".json"})
        return mne_bids.read_raw_bids(place, verbose="error"), said.get("events")


def _beside_it(place: Any, kinds: Mapping[str, str]) -> dict[str, Any]:
    """The tables and texts that mne-bids would read with a recording, each known to be sound."""
    paths = {kind: place.find_matching_sidecar(kind, ending, on_error="ignore") for kind, ending in kinds.items()}
    read = {".tsv": read_frame, ".json": _read_json}
    said = {kind: read[Path(path).suffix](path) for kind, path in paths.items() if path is not None}
    for kind, column in NEEDS.items():
        if kind in said and column not in said[kind]:
            raise ValueError(f"{Path(paths[kind]).name} needs a column {column}, it has {list(said[kind])}")
    return said


def _read_json(path: str | Path) -> Any:
    with reading(path, "sidecar") as path:
        return json.loads(path.read_text(encoding="utf-8-sig"))


def _there(table: pd.DataFrame | None, event_id: Any, name: str) -> Any:
    """The events asked for that this recording has, of those it may have."""
    if table is None or event_id is None or "trial_type" not in table:
        return event_id
    wanted, kinds = _words(event_id), set(kinds_of(table))
    if not (here := [kind for kind in wanted if kind in kinds]):
        raise ValueError(f"{name} has no event {wanted}; there are {sorted(kinds)}")
    return here


def _words(event_id: Any) -> list[str]:
    """The names of events, of which one may be asked for by itself, and a code by its number."""
    listed = [event_id] if isinstance(event_id, str | int) else event_id or ()
    return [str(what) for what in listed]


def _beside(frame: pd.DataFrame, more: pd.DataFrame, whose: str) -> pd.DataFrame:
    """Columns beside others; one whose name is taken says whose it is."""
    return pd.concat([frame, more.rename(columns={c: f"{whose}.{c}" for c in more if c in frame})], axis=1)


# all recordings ------------------------------------------------------------------------------------------------------


def _check_events(rows: Any, event_id: Any, root: Path) -> None:
    """An event that no recording has is a slip of the pen."""
    wanted = set(_words(event_id))
    there = {kind for views in rows for kind in views.metadata["event_name"]}
    if lost := sorted(wanted - there):
        raise ValueError(f"no recording of {root.name} has an event {lost}; there are {sorted(there)}")


def _alike(rows: Mapping[str, Views]) -> list[Views]:
    """The rows of all recordings with the channels of the one that has most of them."""
    (whose, first), *_ = rows.items()
    models = {view: max((r.about[view] for r in rows.values()), key=lambda s: len(s.names)) for view in first}
    for name, views in rows.items():
        for view, like in models.items():
            _check_times(views, view, name, first, whose)
            _say_channels(views.about[view], like, name)
    return [_with_channels(views, models) for views in rows.values()]


def _check_times(views: Views, view: str, name: str, first: Views, whose: str) -> None:
    own, like = (f"{v[view].shape[-1]} samples at {v.about[view].sfreq:g} Hz" for v in (views, first))
    if own != like:
        raise ValueError(f"a trial of {name} is {own}, one of {whose} is {like}: give them one sfreq")


def _say_channels(own: Sensors, like: Sensors, name: str) -> None:
    lacks = [channel for channel in like.names if channel not in set(own.names)]
    more = [channel for channel in own.names if channel not in set(like.names)]
    if len(lacks) == len(like.names):
        raise ValueError(f"{name} has none of the {like} of another recording: read those of one array at a time")
    if lacks:
        logger.warning("%s lacks %d channels, which are masked: %s", name, len(lacks), ", ".join(lacks))
    if more:
        logger.warning("%s has %d channels more, which are left out: %s", name, len(more), ", ".join(more))


def _with_channels(views: Views, models: Mapping[str, Sensors]) -> Views:
    """The same rows with other channels, or these in another order; what is not there is masked."""
    tensors, present = dict(views.tensors), dict(views.present)
    for view, like in models.items():
        own = list(views.about[view].names)
        if own == list(like.names):
            continue
        at = [own.index(name) if name in own else len(own) for name in like.names]  # the last one is nothing
        mask = present[view]
        whole = mask if mask.ndim > 1 else mask[:, None, None].expand(views[view].shape)
        tensors[view] = torch.nn.functional.pad(views[view], (0, 0, 0, 1))[:, at]
        present[view] = torch.nn.functional.pad(whole, (0, 0, 0, 1))[:, at]
    return Views(tensors, present, views.metadata, dict(models))
