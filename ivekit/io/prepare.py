"""From a folder of recordings, one file a subject, to one folder of saved rows that every recipe trains on."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ..views import Views
from .physio import Band, read_physio
from .table import read_frame

ENDINGS = (".csv", ".tsv", ".parquet")
log = logging.getLogger("ivekit")


def prepare(
    files: Iterable[str | Path],
    out: str | Path,
    columns: Mapping[str, str],
    *,
    validation: Sequence[str] = (),
    test: Sequence[str] = (),
    **how: Any,
) -> Views:
    """Reads recordings of several subjects, makes them windows, says who is for what, and saves all as one folder.

    files : a CSV, TSV or Parquet file a subject, who is called as the file is, but for its ending; or their folder.
    out : the folder, which `Views.open` and ``train mimo_ae data=OUT`` take. It is there whole or not at all.
    columns : {view: column}. A subject whose file lacks a column lacks that view.
    validation, test : the subjects whose rows choose the epoch, and those that are scored at the end. With neither,
        no split is made here, and the recipe makes one (``split_by=subject``).
    how : `sfreq`, `to`, `window`, `step`, `band`, `gap`, `scale` of `read_physio`; `block` too, by default the whole.

    What is done of a long list stays done: subjects are kept beside `out`, in ``.OUT-parts``, until all are there, and
    a second call with the same settings and unchanged files goes on from them.

    Raises
    ------
    FileNotFoundError, ValueError : of a file, named; two subjects of one name; a column that no file has; a subject
        in `validation` or `test` that there is not; `out` is there and holds something else than saved rows.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as tmp:
    ...     for name in ("s1", "s2"):
    ...         pd.DataFrame({"ECG": np.sin(np.arange(2000.0))}).to_csv(f"{tmp}/{name}.csv", index=False)
    ...     prepare([f"{tmp}/s1.csv", f"{tmp}/s2.csv"], f"{tmp}/rows", {"ecg": "ECG"}, test=["s2"], sfreq=100)
    Views of 4 rows
      ecg  (1, 240)  1 ecg at 30 Hz
      metadata: subject, block, start, split
    """
    paths, out = recordings(files), Path(out)
    _check(paths, out, columns, (*validation, *test))
    if unknown := set(how.get("band") or {}) - set(columns):
        raise ValueError(f"a band is given for {sorted(unknown)}, the signals are {list(columns)}")
    how, parts = {"block": None} | how, out.with_name(f".{out.name}-parts")
    rows = Views.concat(_subject(path, parts, columns, how) for path in paths)
    if never := [view for view in rows if not bool(rows.rows_present(view).any())]:
        raise ValueError(f"no file has a column {[columns[view] for view in never]}; {paths[0].name} has "
                         f"{list(read_frame(paths[0]))}")  # fmt: skip
    rows = assign_split(rows, validation, test) if validation or test else rows
    rows.save(out)
    shutil.rmtree(parts, ignore_errors=True)
    return Views.open(out)


def parse_signal(said: str) -> tuple[str, str, Band]:
    """A signal as it is typed, ``view=column:low-high``, as view, column and band; what is not said is open.

    >>> parse_signal("ecg=ECG II:0.5-14"), parse_signal("eda=EDA:-3"), parse_signal("rsp")
    (('ecg', 'ECG II', (0.5, 14.0)), ('eda', 'EDA', (None, 3.0)), ('rsp', 'rsp', (None, None)))
    """
    signal, _, edges = said.partition(":")
    view, equals, column = signal.partition("=")
    low, dash, high = edges.partition("-")
    try:
        band = float(low) if low else None, float(high) if high else None
    except ValueError:
        band = None
    if not view or (equals and not column) or band is None or (edges and not dash):
        raise ValueError(f"a signal is written view=column:low-high (Hz), such as ecg=ECG:0.5-14; got {said!r}")
    return view, column or view, band


def recordings(paths: Iterable[str | Path]) -> list[Path]:
    """The files that are named, and those of folders that are named, in order.

    >>> recordings(["nowhere.csv"])
    [PosixPath('nowhere.csv')]
    """
    found: list[Path] = []
    for path in map(Path, paths):
        inside = sorted(p for p in path.iterdir() if p.suffix in ENDINGS) if path.is_dir() else [path]
        if not inside:
            raise FileNotFoundError(f"{path} holds no file that ends in {', '.join(ENDINGS)}")
        found += inside
    return found


def assign_split(views: Views, validation: Sequence[str] | str, test: Sequence[str] | str) -> Views:
    """The same rows, those of some subjects (or recordings) for validation or test, all others for training.

    >>> v = Views({"a": torch.arange(3)}, metadata=pd.DataFrame({"subject": ["s1", "s2", "s3"]}))
    >>> assign_split(v, ["s2"], "s3").metadata["split"].tolist()
    ['train', 'validation', 'test']
    """
    wanted = {"validation": _names(validation), "test": _names(test)}
    frame = pd.DataFrame(index=range(len(views))) if views.metadata is None else views.metadata.reset_index(drop=True)
    by = next((column for column in ("subject", "recording") if column in frame), None)
    if by is None:
        raise ValueError(f"rows have neither subject nor recording in their metadata, which has {list(frame)}")
    there = frame[by].astype(str)
    if unknown := set(wanted["validation"] + wanted["test"]) - set(there):
        raise ValueError(f"no {by} {sorted(unknown)}; there are {', '.join(sorted(set(there)))}")
    if twice := set(wanted["validation"]) & set(wanted["test"]):
        raise ValueError(f"{sorted(twice)} cannot be for validation and for test")
    split = np.select([there.isin(names) for names in wanted.values()], list(wanted), "train")
    if "train" not in split:
        raise ValueError(f"with {wanted} no {by} is left to train on")
    return Views(views.tensors, views.present, frame.assign(split=split), views.about)


def _names(said: Sequence[str] | str) -> list[str]:
    return [said] if isinstance(said, str) else [str(name) for name in said]


def _check(paths: Sequence[Path], out: Path, columns: Mapping[str, str], wanted: Sequence[str]) -> None:
    if not paths or not columns:
        raise ValueError("nothing to prepare: name at least one file and one signal, such as ecg=ECG")
    subjects = [path.stem for path in paths]
    if twice := sorted({s for s in subjects if subjects.count(s) > 1}):
        raise ValueError(f"several files are called {twice}, and a file's name is its subject's")
    if unknown := set(map(str, wanted)) - set(subjects):
        raise ValueError(f"no subject {sorted(unknown)}; the files are of {', '.join(subjects)}")
    if lost := [str(path) for path in paths if not path.is_file()]:
        raise FileNotFoundError(f"there is no file {', '.join(lost)}")
    if out.exists() and not (out / "about.json").is_file():
        raise FileExistsError(f"{out} is there and is no folder of saved rows: name another")


def _subject(path: Path, parts: Path, columns: Mapping[str, str], how: Mapping[str, Any]) -> Views:
    """One subject's windows: as kept by an earlier call with the same settings and file, or made now."""
    said = json.dumps([dict(columns), dict(how), path.stat().st_size, path.stat().st_mtime_ns], default=str)
    kept = parts / f"{path.stem}-{hashlib.sha256(said.encode()).hexdigest()[:12]}"
    if not (kept / "about.json").is_file():
        _read(path, columns, how).save(kept)
    return Views.open(kept)


def _read(path: Path, columns: Mapping[str, str], how: Mapping[str, Any]) -> Views:
    there = set(read_frame(path))
    found = {view: column for view, column in columns.items() if column in there}
    if not found:
        raise ValueError(f"{path.name} has none of the columns {list(columns.values())}; there are {sorted(there)}")
    if lacking := [column for column in columns.values() if column not in there]:
        log.warning("%s has no column %s: those views are missing in its rows", path.name, lacking)
    band = {view: edges for view, edges in (how.get("band") or {}).items() if view in found}
    views = read_physio(path, found, **{**how, "band": band})
    blank = torch.zeros_like(next(iter(views.tensors.values())))
    nowhere = torch.zeros(len(views), dtype=torch.bool)
    tensors = {view: views[view] if view in found else blank for view in columns}
    present = {view: views.present[view] if view in found else nowhere for view in columns}
    frame: Any = views.metadata
    return Views(tensors, present, frame.rename(columns={"recording": "subject"}), views.about)
